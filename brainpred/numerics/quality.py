"""Tell how good a run of scans is: signal over noise, jumps from scan to scan, shifts of the whole."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import DataError

__all__ = ["RunQuality", "run_quality"]

# Of a normal distribution, the interquartile range is so many standard deviations.
IQR_OF_NORMAL = 1.349
SPIKE_DEVIATIONS = 4.0
VOXELS_AT_ONCE = 8192


class RunQuality(NamedTuple):
    """Hold the quality of one run.

    Attributes
    ----------
    tsnr : ndarray of float32 (n_voxels,)
        Mean over time divided by the standard deviation about the linear trend; 0 where a voxel is constant.
    dvars : ndarray of float64 (n_scans,)
        Root mean square over voxels of the change since the scan before, in per cent of the mean signal; NaN for the
        first scan.
    spikes : ndarray of bool (n_scans,)
        Scans whose ``dvars`` lies more than 4 robust standard deviations above its median.
    shift_mm : ndarray of float64 (n_scans,)
        How far the centre of intensity is from its median place; NaN without coordinates.
    constant : ndarray of bool (n_voxels,)
        Voxels that never change.
    """

    tsnr: NDArray[np.float32]
    dvars: NDArray[np.float64]
    spikes: NDArray[np.bool_]
    shift_mm: NDArray[np.float64]
    constant: NDArray[np.bool_]


def run_quality(bold: NDArray[Any], places_mm: ArrayLike | None = None) -> RunQuality:
    r"""Measure the quality of a run before it is cleaned.

    .. math::
        \mathrm{tSNR}_v = \bar x_v / \sigma_v, \qquad
        \mathrm{DVARS}(t) = 100 \sqrt{\overline{(x_v(t) - x_v(t - 1))^2}} \,/\, \overline{\bar x_v}

    Parameters
    ----------
    bold : ndarray (n_scans, n_voxels)
        BOLD signal, as measured.
    places_mm : array_like (n_voxels, 3), optional
        Coordinates of the voxels.

    Returns
    -------
    RunQuality
        What was measured. A shift of intensity is a sign of movement; the parameters of a realignment tell more.

    Raises
    ------
    DataError
        If there are fewer than three scans.

    References
    ----------
    J. D. Power et al., "Spurious but systematic correlations in functional connectivity MRI networks arise from subject
    motion", NeuroImage 59, 2012 (DVARS).
    """
    n_scans, n_voxels = bold.shape
    if n_scans < 3:
        raise DataError(f"The quality of a run is told from 3 scans or more, received {n_scans}.")
    places = None if places_mm is None else np.asarray(places_mm, dtype=np.float64)
    time = np.arange(n_scans) - (n_scans - 1) / 2
    tsnr, constant = np.zeros(n_voxels, dtype=np.float32), np.zeros(n_voxels, dtype=bool)
    changes, level, moments, weight = np.zeros(n_scans - 1), 0.0, np.zeros((n_scans, 3)), np.zeros(n_scans)
    for first in range(0, n_voxels, VOXELS_AT_ONCE):
        part = slice(first, first + VOXELS_AT_ONCE)
        values = np.asarray(bold[:, part], dtype=np.float64)
        mean = values.mean(axis=0)
        residual = values - mean - np.outer(time, time @ values / (time @ time))
        spread = np.sqrt(np.sum(residual**2, axis=0) / (n_scans - 2))
        constant[part] = np.ptp(values, axis=0) == 0
        known = ~constant[part] & (spread > 0)
        tsnr[part] = np.divide(mean, spread, out=np.zeros_like(mean), where=known)
        changes += np.sum(np.diff(values, axis=0) ** 2, axis=1)
        level += float(np.abs(mean).sum())
        if places is not None:
            moments += values @ places[part]
            weight += values.sum(axis=1)
    percent = 100 * np.sqrt(changes / n_voxels) / (level / n_voxels) if level > 0 else np.full(n_scans - 1, np.nan)
    dvars = np.concatenate([[np.nan], percent])
    low, median, high = np.percentile(percent, [25, 50, 75])
    spikes = np.nan_to_num(dvars) > median + SPIKE_DEVIATIONS * (high - low) / IQR_OF_NORMAL
    shift = np.full(n_scans, np.nan)
    if places is not None and (np.abs(weight) > 0).all():
        centre = moments / weight[:, None]
        shift = np.linalg.norm(centre - np.median(centre, axis=0), axis=1)
    return RunQuality(tsnr, dvars, spikes, shift, constant)
