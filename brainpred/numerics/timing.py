"""Bring frames and scans onto one clock."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.spread import varies

__all__ = [
    "HOLDS",
    "HeldScans",
    "centre_runs",
    "check_repetition_time",
    "frame_scans",
    "hold_scans",
    "lanczos_scans",
    "middle_frames",
    "n_whole_scans",
    "rows_of_runs",
    "zscore_runs",
]

LANCZOS_LOBES = 3
HOLDS = ("nearest", "linear")


def check_repetition_time(tr_s: float) -> None:
    """Raise :class:`ConfigError` unless the repetition time is a positive number of seconds."""
    if not np.isfinite(tr_s) or tr_s <= 0:
        raise ConfigError(f"tr_s must be a positive number of seconds (the repetition time), received {tr_s}.")


def n_whole_scans(duration_s: float, tr_s: float) -> int:
    """Count the scans that a movie fills from beginning to end.

    Parameters
    ----------
    duration_s, tr_s : float
        Length of the movie and repetition time, in seconds.

    Returns
    -------
    int
        Number of whole scans; a movie within 1 % of a scan of being whole counts it.

    Examples
    --------
    >>> n_whole_scans(9.99, 2.0), n_whole_scans(9.0, 2.0)
    (5, 4)
    """
    return int(duration_s / tr_s + 0.01)


def frame_scans(times_s: ArrayLike, tr_s: float) -> NDArray[np.int64]:
    """Tell during which scan each frame is shown.

    Parameters
    ----------
    times_s : array_like (n_frames,)
        Presentation times in seconds from the beginning of the run, ascending.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    ndarray of int64 (n_frames,)
        Scan numbers, from 0.

    Examples
    --------
    >>> frame_scans([0.0, 0.9, 1.0, 2.5], 1.0).tolist()
    [0, 0, 1, 2]
    """
    times = np.asarray(times_s, dtype=float)
    if np.any(np.diff(times) < 0) or tr_s <= 0:
        raise DataError("Frame times must ascend and tr_s must be positive; the movie's timestamps are damaged.")
    # Times such as 2.9999999 s, from a clock in fifteenths of a second, belong to the scan at 3 s.
    return np.floor(times / tr_s + 1e-6).astype(np.int64)


class HeldScans(NamedTuple):
    """Say from which scans each frame takes its values.

    Attributes
    ----------
    earlier, later : ndarray of int64 (n_frames,)
        The two scans.
    weight : ndarray of float32 (n_frames,)
        Part of the later one, 0 to 1.
    """

    earlier: NDArray[np.int64]
    later: NDArray[np.int64]
    weight: NDArray[np.float32]


def hold_scans(times_s: ArrayLike, tr_s: float, n_scans: int, hold: str = "nearest") -> HeldScans:
    """Carry values that are known once a scan over to the frames of a movie.

    Parameters
    ----------
    times_s : array_like (n_frames,)
        Presentation times in seconds from the beginning of the run, ascending.
    tr_s : float
        Repetition time in seconds.
    n_scans : int
        Number of scans that have values.
    hold : {"nearest", "linear"}
        Whether a value lasts as long as its scan, whose middle is then the nearest to all of its frames, or changes
        linearly from the middle of one scan to the middle of the next (and stays before the first and after the last).

    Returns
    -------
    HeldScans
        Scans and weights of each frame.

    Raises
    ------
    ConfigError
        If there is no such way.
    DataError
        If times do not ascend.

    Examples
    --------
    >>> hold_scans([0.0, 0.5, 1.0, 1.25], 1.0, 2, "linear").weight.tolist()
    [0.0, 0.0, 0.5, 0.75]
    """
    if hold not in HOLDS:
        raise ConfigError(f"Unknown hold {hold!r}. Choose one of: {', '.join(HOLDS)}.")
    scans = np.minimum(frame_scans(times_s, tr_s), n_scans - 1)
    if hold == "nearest":
        return HeldScans(scans, scans, np.zeros(len(scans), dtype=np.float32))
    place = np.clip(np.asarray(times_s, dtype=float) / tr_s - 0.5, 0, n_scans - 1)
    earlier = np.floor(place).astype(np.int64)
    return HeldScans(earlier, np.minimum(earlier + 1, n_scans - 1), (place - earlier).astype(np.float32))


def middle_frames(times_s: ArrayLike, tr_s: float, n_scans: int) -> NDArray[np.int64]:
    """Tell which frame is on the screen in the middle of each scan.

    Parameters
    ----------
    times_s : array_like (n_frames,)
        Presentation times in seconds from the beginning of the run, ascending.
    tr_s : float
        Repetition time in seconds.
    n_scans : int
        Number of scans.

    Returns
    -------
    ndarray of int64 (n_scans,)
        Frame numbers, from 0; where frames are far apart, two scans may share one.

    Examples
    --------
    >>> middle_frames([0.0, 0.25, 0.5, 0.75, 1.0, 1.25], 1.0, 2).tolist()
    [2, 5]
    """
    middles_s = (np.arange(n_scans) + 0.5) * tr_s
    return np.maximum(np.searchsorted(np.asarray(times_s, dtype=float), middles_s + 1e-6, side="right") - 1, 0)


def lanczos_scans(time_s: float, tr_s: float) -> dict[int, float]:
    r"""Weight a frame's part in the scans around it by a Lanczos filter, a low-pass at half the scans' rate.

    .. math:: w = \mathrm{sinc}(x)\,\mathrm{sinc}(x / 3), \qquad x = (t - t_\mathrm{scan}) / \mathrm{TR}, \quad |x| < 3,

    where :math:`t_\mathrm{scan}` is the middle of the scan.

    Parameters
    ----------
    time_s : float
        When the frame is shown, in seconds from the beginning of the run.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    dict of int to float
        Weight for every scan within reach, ascending; scans before the run are left out.

    References
    ----------
    C. E. Duchon, "Lanczos filtering in one and two dimensions", J. Appl. Meteorol. 18, 1979.

    Examples
    --------
    >>> {scan: round(weight, 3) for scan, weight in lanczos_scans(1.5, 1.0).items()}
    {0: 0.0, 1: 1.0, 2: 0.0, 3: -0.0}
    """
    place = time_s / tr_s - 0.5
    scans = range(max(0, int(np.floor(place - LANCZOS_LOBES)) + 1), int(np.ceil(place + LANCZOS_LOBES)))
    return {scan: float(np.sinc(place - scan) * np.sinc((place - scan) / LANCZOS_LOBES)) for scan in scans}


def rows_of_runs(runs: ArrayLike) -> list[NDArray[np.int64]]:
    """Find the samples of every run.

    Parameters
    ----------
    runs : array_like (n_samples,)
        Run of each sample.

    Returns
    -------
    list of ndarray of int64
        Rows of each run, in the order in which runs appear.

    Examples
    --------
    >>> [rows.tolist() for rows in rows_of_runs(["b", "a", "b"])]
    [[0, 2], [1]]
    """
    runs = np.asarray(runs)
    return [np.flatnonzero(runs == run) for run in dict.fromkeys(runs.tolist())]


def centre_runs(values: NDArray[np.floating], runs: ArrayLike) -> NDArray[np.floating]:
    """Take the mean of every unit in every run away.

    Parameters
    ----------
    values : ndarray (n_samples, n_units)
        Values; left as they are.
    runs : array_like (n_samples,)
        Run of each sample.

    Returns
    -------
    ndarray (n_samples, n_units)
        Values of mean 0 in every run.
    """
    centred = np.empty_like(values)
    for rows in rows_of_runs(runs):
        centred[rows] = values[rows] - values[rows].mean(axis=0)
    return centred


def zscore_runs(
    values: NDArray[np.floating], runs: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Standardise every unit within every run.

    Parameters
    ----------
    values : ndarray (n_samples, n_units)
        Values; left as they are.
    runs : array_like (n_samples,)
        Run of each sample.

    Returns
    -------
    zscored : ndarray (n_samples, n_units)
        Mean 0 and standard deviation 1 in every run; 0 where a unit is constant in a run.
    mean, std : ndarray (n_units,)
        Mean over runs of the means, and root mean square over runs of the standard deviations.
    """
    runs = np.asarray(runs)
    zscored = np.empty_like(values)
    means, variances = [], []
    for run in np.unique(runs):
        rows = np.flatnonzero(runs == run)
        mean, std = values[rows].mean(axis=0), values[rows].std(axis=0)
        centred = values[rows] - mean
        zscored[rows] = np.divide(centred, std, out=np.zeros_like(centred), where=varies(values[rows]) & (std > 0))
        means.append(mean)
        variances.append(std**2)
    return zscored, np.mean(means, axis=0), np.sqrt(np.mean(variances, axis=0))
