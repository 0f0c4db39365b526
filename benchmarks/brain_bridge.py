"""Reconstruct pictures of 6s and 9s from simulated recordings of a hundred pictures, beside ridge regression.

    python benchmarks/brain_bridge.py --mnist mnist.npz
    python benchmarks/brain_bridge.py --mnist mnist.npz --simulations 2 --recordings "fine filters, 0.5"

100 test digits of MNIST, 3,092 voxels, 90 pairs to learn from and 10 to score; every simulation has other pictures,
voxels and test pairs. Voxels are those of brainpred.probes.voxel_simulation, or linear Gabor filters, 60 % of them
responsive: coarse ones (0.05 to 0.2 cycles a pixel, standard deviation 1.2 to 4 pixels) or fine ones (0.2 to 0.4, 1 to
2). The number behind a recording is its signal-to-noise ratio (variance). The table of docs/howto/latent_bridge.rst is
what this prints. See README.md here.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from brainpred.models.vae import load_vae
from brainpred.probes.brain_bridge import reconstruct_left_out
from brainpred.probes.picture_scores import picture_scores
from brainpred.probes.voxel_simulation import simulate_voxels
from brainpred.provenance import provenance
from brainpred.studies.train_aligndraw import find_digits

LABELS, N_PICTURES, N_TEST, N_VOXELS, RESPONSIVE = (6, 9), 100, 10, 3092, 0.6
METHODS = ("bridge", "ridge to latents", "ridge to pixels")
METRICS = {"pixel_r": "pixel r", "ssim": "SSIM", "identification_2way": "2-way"}


class Filters(NamedTuple):
    """Hold ranges of standard deviations, in pixels, and of frequencies, in cycles a pixel."""

    sizes: tuple[float, float]
    frequencies: tuple[float, float]


COARSE, FINE = Filters((1.2, 4), (0.05, 0.2)), Filters((1, 2), (0.2, 0.4))


def filter_linearly(
    pictures: np.ndarray, rng: np.random.Generator, kind: Filters, signal_to_noise: float
) -> np.ndarray:
    """Simulate voxels (n, N_VOXELS) that are linear Gabor filters of pictures (n, height, width), in white noise."""
    n, height, width = pictures.shape
    rows, columns = np.mgrid[:height, :width]
    centres = rng.normal((height / 2, width / 2), 5, (N_VOXELS, 2))
    sizes, frequencies = rng.uniform(*kind.sizes, N_VOXELS), rng.uniform(*kind.frequencies, N_VOXELS)
    angles, phases = rng.uniform(0, np.pi, N_VOXELS), rng.uniform(0, 2 * np.pi, N_VOXELS)
    down, across = rows - centres[:, 0, None, None], columns - centres[:, 1, None, None]  # (voxels, height, width)
    along = across * np.cos(angles)[:, None, None] + down * np.sin(angles)[:, None, None]
    filters = np.exp(-0.5 * (down**2 + across**2) / sizes[:, None, None] ** 2) * np.cos(
        2 * np.pi * frequencies[:, None, None] * along + phases[:, None, None]
    )
    signal = pictures.reshape(n, -1) @ filters.reshape(N_VOXELS, -1).T
    signal = (signal - signal.mean(axis=0)) / (signal.std(axis=0) + 1e-9)
    strength = np.sqrt(signal_to_noise) * (rng.random(N_VOXELS) < RESPONSIVE)
    return (strength * signal + rng.normal(size=signal.shape)).astype(np.float32)


Simulate = Callable[[np.ndarray, np.random.Generator], np.ndarray]
# How voxels are simulated, and how many times.
RECORDINGS: dict[str, tuple[Simulate, int]] = {
    "simulated alike, 0.1": (lambda pictures, rng: simulate_voxels(pictures, rng, n_voxels=N_VOXELS), 6),
    "coarse filters, 0.1": (lambda pictures, rng: filter_linearly(pictures, rng, COARSE, 0.1), 5),
    "coarse filters, 0.5": (lambda pictures, rng: filter_linearly(pictures, rng, COARSE, 0.5), 5),
    "fine filters, 0.1": (lambda pictures, rng: filter_linearly(pictures, rng, FINE, 0.1), 5),
    "fine filters, 0.5": (lambda pictures, rng: filter_linearly(pictures, rng, FINE, 0.5), 5),
}


def score(pictures: np.ndarray, simulate: Simulate, seed: int) -> pd.DataFrame:
    """Simulate one recording of some of the pictures and score its test pairs: methods in rows, metrics in columns."""
    rng = np.random.default_rng(seed)
    shown = pictures[rng.permutation(len(pictures))[:N_PICTURES]]
    voxels = simulate(shown, rng)
    test = np.sort(rng.permutation(N_PICTURES)[:N_TEST])
    made = reconstruct_left_out(voxels, shown, load_vae("digits"), held_out=[test], unpaired=False, seed=seed).pictures
    means = {
        name: {metric: values.mean() for metric, values in picture_scores(made[name], shown[test]).items()}
        for name in METHODS
    }
    return pd.DataFrame(means).T[list(METRICS)]


def main() -> None:
    """Simulate, reconstruct and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--recordings", nargs="+", default=list(RECORDINGS), choices=list(RECORDINGS))
    parser.add_argument("--simulations", type=int, help="of each recording, in place of 6 and 5")
    options = parser.parse_args()
    digits = find_digits(options.mnist, None)
    images, labels = digits.test
    pictures = np.divide(images[np.isin(labels, LABELS)], 255, dtype=np.float32)
    print(f"commit {provenance()['commit']}, {digits.source}, {torch.get_num_threads()} threads")
    print(f"| recording (simulations) | method | {' | '.join(METRICS.values())} | pixel r from, to |")
    print("|---|---|---|---|---|---|")
    begin = time.perf_counter()
    for name in options.recordings:
        simulate, n = RECORDINGS[name]
        n = options.simulations or n
        tables = [score(pictures, simulate, seed) for seed in range(n)]
        mean = sum(tables) / n
        for method in METHODS:
            each = [table.loc[method, "pixel_r"] for table in tables]
            values = " | ".join(f"{value:.3f}" for value in mean.loc[method])
            print(f"| {name} ({n}) | {method} | {values} | {min(each):.2f}, {max(each):.2f} |", flush=True)
    print(f"\n{(time.perf_counter() - begin) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
