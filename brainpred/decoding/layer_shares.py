"""How much of a ROI's variance follows each layer of features: shares that the layers have between them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainpred.decoding.splits import CleanRun
from brainpred.devices import memory_budget_bytes, resolve_device
from brainpred.errors import MemoryBudgetError
from brainpred.features.source import FeatureSource
from brainpred.numerics.haemodynamics import canonical_response, convolution_matrix
from brainpred.numerics.timing import zscore_runs
from brainpred.numerics.variance_components import VarianceShares, variance_shares
from brainpred.progress import SILENT, Reporter

__all__ = ["layer_shares", "share_table"]

UNITS_AT_ONCE = VOXELS_AT_ONCE = 4096
MOVED = 2.0  # of the median variance over the brain


def layer_shares(
    runs: Sequence[CleanRun],
    layers: Sequence[str],
    source: FeatureSource,
    rois: ArrayLike,
    tr_s: float,
    *,
    simulated: bool,
    memory_budget: float | str | None = None,
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """Tell how much of the variance of every ROI's voxels follows each layer of features.

    The R² of layers that compete is what can be *predicted* from each, by a ridge that gives what layers have in common
    to the one that serves best. Here nothing is predicted: all voxels of a ROI, and all pairs of runs that show nothing
    of the same, tell together how much of the variance of a single presentation has the covariance over time that a
    layer would give it; see
    :func:`brainpred.numerics.variance_components.variance_shares`. A layer's covariance is that of its units, z-scored
    within runs and convolved with the canonical haemodynamic response. Scans of more than twice the run's median
    variance over the brain, during which the head moved, are left out.

    Parameters
    ----------
    runs : sequence of CleanRun
        The recording, training and test runs.
    layers : sequence of str
        Layers of features.
    source : FeatureSource
        Their units during every run.
    rois : array_like (n_voxels,)
        ROI of each voxel.
    tr_s : float
        Repetition time in seconds.
    simulated : bool
        Whether the scans were simulated.
    memory_budget : float, str or None
        Memory to work in, in bytes or such as ``"8 GB"``; None: four fifths of what is free. A GPU is not used.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    DataFrame (one row a ROI and layer)
        See :func:`share_table`.

    Raises
    ------
    MemoryBudgetError
        If the covariances over time do not fit into the memory.
    DataError
        If there are fewer than three groups of runs that show nothing of the same, or a run has too few scans.
    """
    rois = np.asarray(rois)
    lengths = [min(source.n_scans(run.run), len(run.bold)) for run in runs]
    clips: dict[str, tuple[CleanRun, int]] = {}
    for run, n in zip(runs, lengths, strict=True):
        if n > clips.get(run.clip, (run, 0))[1]:
            clips[run.clip] = run, n
    begins = dict(zip(clips, np.cumsum([0, *(n for _, n in clips.values())]), strict=False))
    rows = np.concatenate([begins[run.clip] + np.arange(n) for run, n in zip(runs, lengths, strict=True)])
    names = np.repeat([run.run.name for run in runs], lengths)
    groups = np.repeat([run.group for run in runs], lengths)
    kept = np.concatenate([_steady(run.bold[:n]) for run, n in zip(runs, lengths, strict=True)])
    _check_memory(len(layers), sum(n for _, n in clips.values()), len(rows), memory_budget)
    shares: dict[str, VarianceShares] = {}
    with reporter.task("Shares of layers", len(layers) + len(np.unique(rois))) as advance:
        kernels = []
        for layer in layers:
            kernels.append(_kernel(layer, list(clips.values()), source, tr_s))
            advance(1)
        for roi in np.unique(rois):
            products = _products(runs, lengths, np.flatnonzero(rois == roi))
            shares[str(roi)] = variance_shares(products, kernels, rows, names, groups, kept)
            advance(1)
    return share_table(rois, layers, shares, simulated=simulated)


def share_table(
    rois: ArrayLike, layers: Sequence[str], shares: Mapping[str, VarianceShares], *, simulated: bool
) -> pd.DataFrame:
    """Lay out the shares of all layers in all ROIs.

    Parameters
    ----------
    rois : array_like (n_voxels,)
        ROI of each voxel.
    layers : sequence of str
        Layers of features.
    shares : mapping of str to VarianceShares
        Shares of all layers, by ROI; a ROI that is not in it has none.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a ROI and layer)
        ROI, origin of the data, layer, its share of the variance with a 95 % interval, NaN where there is none.
    """
    unknown = VarianceShares(*np.full((3, len(layers)), np.nan))
    data = "simulated" if simulated else "measured"
    return pd.DataFrame(
        [
            {"roi": roi, "data": data, "layer": layer, "share": share, "share_low": low, "share_high": high}
            for roi in np.unique(rois).astype(str)
            for layer, share, low, high in zip(layers, *shares.get(roi, unknown), strict=True)
        ]
    )


def _check_memory(n_layers: int, n_rows: int, n_samples: int, memory_budget: float | str | None) -> None:
    """Refuse covariances over time that do not fit into the memory."""
    budget = memory_budget_bytes(memory_budget, resolve_device("cpu"))
    matrices = n_layers * n_rows**2 + 2 * max(n_rows, n_samples) ** 2
    needed = 4 * (matrices + 2 * max(n_rows, n_samples) * UNITS_AT_ONCE)
    if needed > budget:
        raise MemoryBudgetError(
            f"Shares of {n_layers} layers over {n_samples:,} scans need {needed / 2**30:.2f} GiB, the memory budget is "
            f"{budget / 2**30:.2f} GiB. Expected as much, or fewer layers."
        )


def _steady(bold: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell the scans whose variance over the brain is not that of a head that moves."""
    variance = np.mean(np.square(bold), axis=1)
    steady: NDArray[np.bool_] = variance <= MOVED * np.median(variance)
    return steady


def _kernel(
    layer: str, clips: Sequence[tuple[CleanRun, int]], source: FeatureSource, tr_s: float
) -> NDArray[np.float32]:
    """Give the inner products of a layer's responses to all clips, (n_rows, n_rows)."""
    lengths = [n for _, n in clips]
    number = np.repeat(np.arange(len(clips)), lengths)
    n_units = int(np.prod(source.shapes[layer]))
    kernel = np.zeros((len(number), len(number)), dtype=np.float32)
    for first in range(0, n_units, UNITS_AT_ONCE):
        units = slice(first, min(first + UNITS_AT_ONCE, n_units))
        values = np.concatenate([source.of_run(layer, run.run, units)[:n] for run, n in clips])
        zscored, _, _ = zscore_runs(values, number)
        kernel += zscored @ zscored.T
    response = canonical_response(tr_s)
    for clip, n in enumerate(lengths):
        own, convolve = number == clip, convolution_matrix(response, n).astype(np.float32)
        kernel[own] = convolve @ kernel[own]
        kernel[:, own] = kernel[:, own] @ convolve.T
    return kernel


def _products(runs: Sequence[CleanRun], lengths: Sequence[int], voxels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Give the means over voxels of the products of their scans, (n_samples, n_samples)."""
    products = np.zeros((sum(lengths), sum(lengths)), dtype=np.float32)
    for first in range(0, len(voxels), VOXELS_AT_ONCE):
        part = voxels[first : first + VOXELS_AT_ONCE]
        bold = np.concatenate([run.bold[:n, part] for run, n in zip(runs, lengths, strict=True)])
        products += bold @ bold.T
    return products / np.float32(len(voxels))
