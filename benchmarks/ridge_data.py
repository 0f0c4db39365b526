"""Data of the shape that decoding has: moving 1/f scenes, the layers of a random net, and voxels that see them."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch.nn import functional

LAYERS = {
    "R0": 3,
    "R1": 48,
    "R2": 96,
    "R3": 192,
}  # channels; every layer has half the rows and columns of the one before
N_COMPONENTS = 120
HRF = {3: 0.2, 4: 0.35, 5: 0.3, 6: 0.15}  # weight of each delay in scans


def moving_scene(n_scans, height, width, rng, run_scans):
    """Yield frames (3, height, width) of 1/f clouds that drift, each run with clouds of its own."""
    fy, fx = np.fft.fftfreq(2 * height)[:, None], np.fft.fftfreq(2 * width)[None]
    rows, columns = np.arange(height), np.arange(width)
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / (2 * height))
    for scan in range(n_scans):
        if scan % run_scans == 0:
            spectra = np.fft.fft2(rng.standard_normal((6, 2 * height, 2 * width))) * falloff
            clouds = np.fft.ifft2(spectra).real  # on a torus
            velocity, place = rng.normal(0, 1.5, (6, 2)), np.zeros((6, 2))
            mixing, fade = rng.standard_normal((3, 6)), rng.uniform(0, 2 * np.pi, 6)
        velocity = 0.95 * velocity + rng.normal(0, 0.5, velocity.shape)
        place += velocity
        seen = [
            cloud[(rows + int(y)) % (2 * height)][:, (columns + int(x)) % (2 * width)]
            for cloud, (y, x) in zip(clouds, place, strict=True)
        ]
        fade = fade + rng.normal(0, 0.25, 6)
        weights = mixing * (1 + np.sin(fade))
        frame = np.einsum("cs,shw->chw", weights, np.stack(seen))
        yield (frame / frame.std()).astype(np.float32)


def layer_units(n_scans, height, width, seed, layers, run_scans, batch=60):
    """Yield (first scan, {layer: units}) of a random net whose layers have PredNet's sizes."""
    rng = np.random.default_rng(seed)
    # The same net for every seed: training and test scans see one network.
    weights_rng = np.random.default_rng(0)
    kernels, channels = [], 3
    for wide in list(LAYERS.values())[1 : max(int(layer[1]) for layer in layers) + 1]:
        kernels.append(weights_rng.standard_normal((wide, channels, 3, 3)) * np.sqrt(2 / (9 * channels)))
        channels = wide
    kernels = [torch.as_tensor(kernel, dtype=torch.float32) for kernel in kernels]
    frames = moving_scene(n_scans, height, width, rng, run_scans)
    for first in range(0, n_scans, batch):
        x = torch.as_tensor(np.stack([next(frames) for _ in range(min(batch, n_scans - first))]))
        units = {"R0": torch.tanh(x)}
        for layer, kernel in zip(list(LAYERS)[1:], kernels, strict=False):
            x = functional.max_pool2d(functional.relu(functional.conv2d(x, kernel, padding=1)), 2)
            x = x / x.std()
            units[layer] = torch.tanh(x - x.mean())
        yield first, {layer: values.reshape(len(values), -1).numpy() for layer, values in units.items()}


def write_units(path, n_scans, layers, seed, *, run_scans, height=128, width=160):
    """Write units, target-major as brainpred's feature files are, z-scored in every run."""
    if Path(path).exists():
        return
    with h5py.File(path, "w") as file:
        for first, units in layer_units(n_scans, height, width, seed, layers, run_scans):
            for layer in layers:
                values = units[layer]
                if layer not in file:
                    file.create_dataset(layer, (values.shape[1], n_scans), "float32", chunks=(1024, min(60, n_scans)))
                file[layer][:, first : first + len(values)] = values.T
        for layer in layers:
            for begin in range(0, file[layer].shape[0], 8192):
                values = file[layer][begin : begin + 8192]
                for run in range(0, n_scans, run_scans):
                    part = values[:, run : run + run_scans]
                    part -= part.mean(axis=1, keepdims=True)
                    part /= np.maximum(part.std(axis=1, keepdims=True), 1e-6)
                file[layer][begin : begin + 8192] = values


def components(path, layers, rng_seed=3):
    """Project every layer on random directions, the same for every file: what voxels are made of."""
    parts = []
    with h5py.File(path) as file:
        for number, layer in enumerate(layers):
            rng = np.random.default_rng([rng_seed, number])
            total = 0.0
            for begin in range(0, file[layer].shape[0], 8192):
                values = file[layer][begin : begin + 8192]
                total = total + rng.standard_normal((N_COMPONENTS, len(values))).astype(np.float32) @ values
            parts.append((total / total.std()).T)
    return parts


def voxels(path, layers, n_voxels, seed, *, run_scans, n_rois=4, noise=4.0):
    """Give BOLD (n_scans, n_voxels) float32 and the ROI of each voxel: every ROI sees its own mixture of layers."""
    parts = components(path, layers)
    n_scans = len(parts[0])
    runs = np.arange(n_scans) // run_scans
    fixed, own = np.random.default_rng(17), np.random.default_rng([29, seed])
    rois = np.sort(fixed.integers(0, n_rois, n_voxels))
    bold = np.empty((n_scans, n_voxels), dtype=np.float32)
    for roi in range(n_rois):
        members = np.flatnonzero(rois == roi)
        signal = np.zeros((n_scans, len(members)), dtype=np.float32)
        for number, part in enumerate(parts):
            shown = np.zeros_like(part)
            for delay, weight in HRF.items():
                same_run = runs[delay:] == runs[: n_scans - delay]
                shown[delay:][same_run] += weight * part[: n_scans - delay][same_run]
            taste = 0.15 if number % n_rois != roi else 1.0
            mixing = fixed.standard_normal((part.shape[1], len(members))).astype(np.float32)
            signal += taste * (shown @ mixing) / np.sqrt(part.shape[1])
        strength = 1.0 / (1 + roi)  # the last ROIs hardly see anything
        bold[:, members] = strength * signal
        bold[:, members] += noise * own.standard_normal(signal.shape, dtype=np.float32)
    for run in np.unique(runs):
        rows = runs == run
        bold[rows] -= bold[rows].mean(axis=0)
        bold[rows] /= bold[rows].std(axis=0)
    return bold, rois
