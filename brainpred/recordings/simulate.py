"""Compute the BOLD signal of a brain that represents what PredNet represents: the simulated subject."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.signal import fftconvolve

__all__ = ["ROI_LAYERS", "Cortex", "SimulatedBrain", "cortex", "draw_brain", "simulate_runs"]

# How many voxels respond in each ROI, how strongly (median signal to noise, as amplitude), to which layers.
ROI_LAYERS: dict[str, tuple[float, float, dict[str, float]]] = {
    "early_visual": (0.60, 0.21, {"R0": 0.70, "R1": 0.25, "R2": 0.05}),
    "lateral": (0.35, 0.115, {"R0": 0.15, "R1": 0.30, "R2": 0.35, "R3": 0.20}),
    "ventral": (0.35, 0.105, {"R1": 0.20, "R2": 0.40, "R3": 0.40}),
    "dorsal": (0.30, 0.105, {"R0": 0.20, "R1": 0.40, "R2": 0.30, "R3": 0.10}),
    "frontal": (0.01, 0.05, {"R3": 1.0}),
    "rest": (0.02, 0.05, {"R1": 0.3, "R2": 0.3, "R3": 0.4}),
}
# Low layers are carried more strongly than high ones, so that R0 is decoded well and R3 hardly (document 000, 4.1).
LAYER_STRENGTH = {"none": 0.0, "R0": 1.1, "R1": 0.7, "R2": 0.5, "R3": 0.2}
HRF_ONSETS_S = np.linspace(-1.0, 1.0, 9)
BASELINE = 1000.0
NOISE = 12.0  # standard deviation of a voxel's noise, on a baseline of 1000
EDGE = 3.0  # width in pixels, at least, of a receptive field


@dataclass(frozen=True)
class Cortex:
    """Hold the voxels of the simulated subjects.

    Attributes
    ----------
    mask : nibabel.Nifti1Image
        Binary image of the voxels, in MNI152 space.
    coordinates_mm : ndarray of float64 (n_voxels, 3)
        MNI coordinates.
    rois : ndarray of str (n_voxels,)
        ROI of each voxel.
    """

    mask: nib.Nifti1Image
    coordinates_mm: NDArray[np.float64]
    rois: NDArray[np.str_]


@cache
def cortex(n_voxels: int = 65_665, resolution_mm: int = 3) -> Cortex:
    """Take the most probable grey matter voxels of the MNI152 template that ships inside nilearn.

    ROIs are drawn by simple planes in MNI space: the subjects are simulated, and need areas of a realistic
    place and size, not an atlas.

    Parameters
    ----------
    n_voxels : int
        How many voxels.
    resolution_mm : int
        Voxel size in millimetres.

    Returns
    -------
    Cortex
        The voxels.
    """
    from nilearn.datasets import load_mni152_gm_template
    from scipy.ndimage import gaussian_filter

    template = load_mni152_gm_template(resolution=resolution_mm)
    probability = np.asarray(template.get_fdata())
    # Of voxels equally probable, those amid grey matter come first.
    order = np.lexsort((-gaussian_filter(probability, 1.0).ravel(), -probability.ravel().round(6)))
    inside = np.zeros(probability.size, dtype=np.uint8)
    inside[order[:n_voxels]] = 1
    mask = nib.Nifti1Image(inside.reshape(probability.shape), template.affine)
    coordinates = apply_affine(template.affine, np.argwhere(inside.reshape(probability.shape)))
    return Cortex(mask, coordinates, _name_rois(coordinates))


def _name_rois(coordinates: NDArray[np.float64]) -> NDArray[np.str_]:
    x, y, z = np.abs(coordinates[:, 0]), coordinates[:, 1], coordinates[:, 2]
    rois = np.full(len(coordinates), "rest", dtype="U16")
    rois[y > 15] = "frontal"
    rois[(y < -55) & (z > 20)] = "dorsal"
    rois[(y < -35) & (z < -4) & (z > -28) & (x > 18)] = "ventral"
    rois[(y < -55) & (z <= 20) & (z >= -4) & (x > 30)] = "lateral"
    rois[(y < -72) & (z > -16) & (z < 22) & (x <= 30)] = "early_visual"
    return rois


@dataclass(frozen=True)
class SimulatedBrain:
    """Hold what every voxel of one subject carries.

    Attributes
    ----------
    truth : DataFrame (n_voxels rows)
        Columns: ``roi``; ``layer``, the representation it responds to (``none`` for most); ``strength``, the
        standard deviation of its signal over that of its noise; ``x``, ``y``, ``size``, the centre and width of
        its receptive field (parts of the frame, from the middle; y points down); ``hrf_onset_s``; ``ar1``.
    channel_seed : ndarray of int64 (n_voxels,)
        Seed of each voxel's channel weights.
    hrf : ndarray of int64 (n_voxels,)
        Which of the haemodynamic responses it has.
    """

    truth: pd.DataFrame
    channel_seed: NDArray[np.int64]
    hrf: NDArray[np.int64]


def _receptive_fields(
    coordinates: NDArray[np.float64], rois: NDArray[np.str_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lay the visual field over the cortex: foveal behind, contralateral, upper field below the calcarine."""
    n = len(coordinates)
    early = rois == "early_visual"
    from_pole = np.clip((coordinates[:, 1] + 104) / 32, 0, 1)  # 0 at the occipital pole, 1 at y = -72 mm
    eccentricity = np.where(early, 0.03 + 0.62 * from_pole, rng.uniform(0, 0.45, n))
    height = np.clip((coordinates[:, 2] - 3) / 18, -1, 1)  # above or below the calcarine sulcus
    angle = np.where(early, height * np.pi / 2, rng.uniform(-np.pi / 2, np.pi / 2, n))
    angle = angle + rng.normal(0, 0.25, n)
    side = -np.sign(coordinates[:, 0] + 1e-9)
    x = np.clip(side * eccentricity * np.cos(angle) + rng.normal(0, 0.02, n), -0.5, 0.5)
    y = np.clip(eccentricity * np.sin(angle) + rng.normal(0, 0.02, n), -0.5, 0.5)
    base = pd.Series(rois).map(
        {"early_visual": 0.03, "lateral": 0.10, "ventral": 0.14, "dorsal": 0.12, "frontal": 0.3, "rest": 0.3}
    )
    size = (base.to_numpy() + 0.10 * eccentricity) * rng.lognormal(0, 0.2, n)
    return x, y, size


def draw_brain(cortex: Cortex, rng: np.random.Generator, strength: float = 1.0) -> SimulatedBrain:
    """Draw what every voxel carries.

    Parameters
    ----------
    cortex : Cortex
        The voxels.
    rng : numpy.random.Generator
        Source of all chance.
    strength : float
        Factor on all signals; 0 makes a brain that sees nothing.

    Returns
    -------
    SimulatedBrain
        The subject's brain.
    """
    n = len(cortex.rois)
    layer = np.full(n, "none", dtype="U4")
    signal = np.zeros(n)
    for roi, (responsive, median, mixture) in ROI_LAYERS.items():
        voxels = np.flatnonzero(cortex.rois == roi)
        chosen = voxels[rng.random(len(voxels)) < responsive]
        layer[chosen] = rng.choice(list(mixture), size=len(chosen), p=list(mixture.values()))
        signal[chosen] = strength * median * rng.lognormal(0, 0.6, len(chosen))
    signal *= pd.Series(layer).map(LAYER_STRENGTH).to_numpy()
    x, y, size = _receptive_fields(cortex.coordinates_mm, cortex.rois, rng)
    hrf = rng.integers(len(HRF_ONSETS_S), size=n)
    truth = pd.DataFrame(
        {
            "roi": cortex.rois, "layer": layer, "strength": signal, "x": x, "y": y, "size": size,
            "hrf_onset_s": HRF_ONSETS_S[hrf], "ar1": np.clip(rng.normal(0.4, 0.1, n), 0, 0.8),
        }
    )  # fmt: skip
    return SimulatedBrain(truth, rng.integers(2**31, size=n), hrf)


def _drive(features: NDArray[np.float32], brain: SimulatedBrain, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Pool a layer (n_scans, channels, height, width) through the voxels' receptive fields: (n_scans, n_voxels)."""
    n_scans, channels, height, width = features.shape
    rows, columns = (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5
    flat = features.reshape(n_scans * channels, height * width)
    drive = np.empty((n_scans, len(voxels)), dtype=np.float32)
    for begin in range(0, len(voxels), 512):
        part = voxels[begin : begin + 512]
        place = brain.truth.iloc[part]
        size = np.maximum(place["size"].to_numpy(), EDGE / 2 / width)[:, None]
        across = np.exp(-0.5 * ((columns - place["x"].to_numpy()[:, None]) / size) ** 2)
        # Sizes are parts of the frame's width; the frame is less high than wide.
        down = np.exp(-0.5 * ((rows - place["y"].to_numpy()[:, None]) * height / width / size) ** 2)
        field = (down[:, :, None] * across[:, None, :]).reshape(len(part), -1)
        field = (field / field.sum(axis=1, keepdims=True)).astype(np.float32)
        pooled = (flat @ field.T).reshape(n_scans, channels, len(part))
        weights = np.stack([np.random.default_rng(seed).standard_normal(channels) for seed in brain.channel_seed[part]])
        drive[:, begin : begin + 512] = np.einsum("scv,vc->sv", pooled, weights.astype(np.float32), optimize=True)
    return drive


def _haemodynamics(tr_s: float) -> NDArray[np.float64]:
    """Give the haemodynamic responses, (n_responses, n_scans), each summing to 1: SPM's, early to late."""
    from nilearn.glm.first_level import spm_hrf

    responses = [spm_hrf(tr_s, oversampling=1, time_length=24.0, onset=onset) for onset in HRF_ONSETS_S]
    return np.stack([response / response.sum() for response in responses])


def _signal(
    clips: Mapping[str, Mapping[str, NDArray[np.float32]]], brain: SimulatedBrain, tr_s: float
) -> dict[str, NDArray[np.float32]]:
    """Give the noise-free response to every clip, (n_scans, n_voxels), of unit variance over all clips."""
    names = list(clips)
    lengths = [len(next(iter(clips[name].values()))) for name in names]
    n_voxels = len(brain.truth)
    signal = np.zeros((sum(lengths), n_voxels), dtype=np.float32)
    layer_of = brain.truth["layer"].to_numpy()
    responses = _haemodynamics(tr_s)
    bounds = np.cumsum([0, *lengths])
    for layer in sorted(set(layer_of) - {"none"}):
        voxels = np.flatnonzero(layer_of == layer)
        drive = _drive(np.concatenate([clips[name][layer] for name in names]), brain, voxels)
        drive -= drive.mean(axis=0)
        for begin, end in pairwise(bounds):
            for number, response in enumerate(responses):
                own = brain.hrf[voxels] == number
                convolved = fftconvolve(drive[begin:end][:, own], response[:, None], axes=0)
                signal[begin:end, voxels[own]] = convolved[: end - begin]
    spread = signal.std(axis=0)
    signal /= np.where(spread > 0, spread, 1)
    return {name: signal[begin:end] for name, (begin, end) in zip(names, pairwise(bounds), strict=True)}


def _noise(
    n_scans: int, brain: SimulatedBrain, coordinates: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw AR(1) noise of unit variance, slow drift and a few motion spikes, (n_scans, n_voxels)."""
    ar1 = brain.truth["ar1"].to_numpy(dtype=np.float32)
    n_voxels = len(ar1)
    noise = rng.standard_normal((n_scans, n_voxels), dtype=np.float32)
    innovation = np.sqrt(1 - ar1**2)
    for scan in range(1, n_scans):
        noise[scan] = ar1 * noise[scan - 1] + innovation * noise[scan]
    time = np.linspace(-1, 1, n_scans, dtype=np.float32)
    slope, curve = rng.normal(0, 0.5, (2, n_voxels)).astype(np.float32)
    noise += np.outer(time, slope) + np.outer(time**2 - 1 / 3, curve)
    # A head movement shifts intensities along a gradient through the head, for a scan or two.
    for _ in range(rng.poisson(n_scans / 60)):
        direction = rng.normal(0, 1, 3)
        gradient = (coordinates - coordinates.mean(axis=0)) @ direction / 60
        scan = int(rng.integers(n_scans))
        noise[scan : scan + 2] += (rng.gamma(2, 1.2) * gradient).astype(np.float32)
    return noise


def simulate_runs(
    clips: Mapping[str, Mapping[str, NDArray[np.float32]]],
    order: Sequence[str],
    cortex: Cortex,
    brain: SimulatedBrain,
    tr_s: float,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.float32]]:
    r"""Compute the BOLD signal of every run, one at a time.

    A voxel pools one layer, :math:`s(t) = h * \sum_{c,x,y} w_c\, G(x, y)\, R_{l,c,x,y}(t)`, with a Gaussian
    receptive field G, channel weights w and a haemodynamic response h; to that come AR(1) noise, drift and
    motion spikes.

    Parameters
    ----------
    clips : mapping of str to mapping of str to ndarray of float32 (n_scans, channels, height, width)
        R0, R1, … of every clip.
    order : sequence of str
        Clip shown in every run.
    cortex : Cortex
        The voxels.
    brain : SimulatedBrain
        What they carry.
    tr_s : float
        Repetition time in seconds.
    rng : numpy.random.Generator
        Source of all noise.

    Yields
    ------
    ndarray of float32 (n_scans, n_voxels)
        BOLD signal, on a baseline of 1000.
    """
    signal = _signal(clips, brain, tr_s)
    strength = brain.truth["strength"].to_numpy(dtype=np.float32)
    for clip in order:
        noise = _noise(len(signal[clip]), brain, cortex.coordinates_mm, rng)
        yield np.float32(BASELINE) + np.float32(NOISE) * (signal[clip] * strength + noise)
