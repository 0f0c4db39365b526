"""Measure how long it takes to tell units from chance: 491,520 units, 1,000 permutations of blocks of time.

    python benchmarks/significance.py                          540 scans, as in the vim-2 test movie
    python benchmarks/significance.py --units 61440 --scans 2700

Truth and predictions are noise that decorrelates as PredNet's units do. See README.md here.
"""

import argparse
import resource
import time

import numpy as np
from scipy.signal import lfilter

from brainpred.decoding.chance import compare_with_chance
from brainpred.decoding.result import LayerResult
from brainpred.numerics.scores import pattern_similarity
from brainpred.provenance import provenance

AR1 = 0.8


def noise(n_scans: int, n_units: int, rng: np.random.Generator) -> np.ndarray:
    """Draw AR(1) noise (n_scans, n_units) in place, some units at a time."""
    values = rng.standard_normal((n_scans, n_units), dtype=np.float32)
    for first in range(0, n_units, 4096):
        part = values[:, first : first + 4096]
        part[:] = lfilter([np.sqrt(1 - AR1**2)], [1, -AR1], part, axis=0)
    return values


def make_layer(n_scans: int, n_units: int) -> LayerResult:
    """Make a layer whose prediction has nothing to do with the truth."""
    rng = np.random.default_rng(0)
    true, decoded = noise(n_scans, n_units, rng), noise(n_scans, n_units, rng)
    r = np.concatenate(
        [
            np.einsum("tu,tu->u", *(part - part.mean(axis=0) for part in parts))
            / np.sqrt(np.prod([np.square(part - part.mean(axis=0)).sum(axis=0) for part in parts], axis=0))
            for parts in zip(*(np.array_split(values, 120, axis=1) for values in (true, decoded)), strict=True)
        ]
    ).astype(np.float32)
    one, none = np.ones(n_units, np.float32), np.empty((0, n_units), np.float32)
    flat = np.zeros(n_scans, np.float32)
    return LayerResult(
        layer="noise", shape=(n_units,), runs=np.array(["clip"] * n_scans), true=true, decoded=decoded, mean=0 * one,
        std=one, folds=np.zeros(n_scans, np.int64), fold_mean=0 * one[None], fold_std=one[None], r=r, r2=one,
        reliability=one, ceiling=one, alphas=one, cv_r2=one, regret=np.zeros(2, np.float32), form="dual",
        pattern_r=flat, identification=flat, identification_10way=flat, n_patterns=0,
        nway_chosen=np.full(n_scans, -1), nway_shown=np.full(n_scans, -1),
        similarity=pattern_similarity(true, decoded).astype(np.float32), excluded=4,
        band_names=("all",), band_weights=np.ones(1, np.float32), band_r2=one[None], delays=np.array([4]),
        lag_contributions=np.zeros((1, 1), np.float32), pattern=np.zeros(1, np.float32),
        train_runs=np.array([], dtype="U1"), train_true=none, train_decoded=none,
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=491_520)
    parser.add_argument("--scans", type=int, default=540)
    parser.add_argument("--permutations", type=int, default=1000)
    options = parser.parse_args()
    layer = make_layer(options.scans, options.units)
    begin = time.perf_counter()
    chance = compare_with_chance([layer], n_permutations=options.permutations)
    seconds = time.perf_counter() - begin
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    p = chance.layers[0].p
    print(f"commit {provenance()['commit']}")
    print("| units | scans | blocks | permutations | minutes | peak memory (GB) | part of p <= 0.05 |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {options.units:,} | {options.scans} | {chance.n_blocks} of {chance.block_length} | "
        f"{options.permutations:,} | {seconds / 60:.1f} | {peak_gb:.1f} | {np.mean(p <= 0.05):.3f} |"
    )


if __name__ == "__main__":
    main()
