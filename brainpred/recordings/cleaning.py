"""Clean scans within each run, with nilearn: dummy scans, slow drifts, confounds, and the scale of every voxel."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.spread import varies
from brainpred.recordings.confounds import STRATEGIES
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.recording import Recording, Run

__all__ = ["Cleaning", "clean_run", "read_clean_run"]

VOXELS_AT_ONCE = 8192  # nilearn copies what it is given several times


@dataclass(frozen=True)
class Cleaning:
    """Say how scans are cleaned; every run by itself, so that no run tells anything about another.

    Attributes
    ----------
    dummy_scans : int
        Scans at the beginning of every run that are left out.
    high_pass_s : float or None
        Longest period that is kept, in seconds: slower drifts are removed as cosines, beside the linear trend.
    confounds : str or None
        Name of the strategy by which confounds are removed, such as ``"motion"``; see
        :data:`brainpred.recordings.confounds.STRATEGIES`.
    percent_signal_change : bool
        Whether voxels are scaled to percent of their mean in the run, and not to standard deviation 1.
    """

    dummy_scans: int = 0
    high_pass_s: float | None = None
    confounds: str | None = None
    percent_signal_change: bool = False

    def __post_init__(self) -> None:
        if self.confounds is not None and self.confounds not in STRATEGIES:
            raise ConfigError(f"Unknown confounds {self.confounds!r}. Choose one of: {', '.join(STRATEGIES)}, none.")
        if self.dummy_scans < 0:
            raise ConfigError(f"The number of dummy scans must be 0 or more, received {self.dummy_scans}.")
        if self.high_pass_s is not None and not 0 < self.high_pass_s < np.inf:
            raise ConfigError(f"The high-pass period must be a number of seconds above 0, received {self.high_pass_s}.")

    @classmethod
    def of_manifest(cls, manifest: Manifest, **asked: int | float | str | bool | None) -> "Cleaning":
        """Take what the manifest states, but for what is asked for and is not None.

        Parameters
        ----------
        manifest : Manifest
            The data set.
        **asked : int, float, str, bool or None
            Attributes; the confounds ``"none"`` ask for none, a high-pass period of 0 for the linear trend alone.

        Returns
        -------
        Cleaning
            How to clean.
        """
        stated = cls(manifest.dummy_scans, manifest.high_pass_s, manifest.confounds)
        wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        if wanted.get("confounds") == "none":
            wanted["confounds"] = None
        if wanted.get("high_pass_s") == 0:
            wanted["high_pass_s"] = None
        return replace(stated, **wanted)


def clean_run(
    bold: NDArray[np.float32],
    tr_s: float,
    cleaning: Cleaning | None = None,
    confounds: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Remove trend, drifts and confounds of every voxel, and scale it, within one run.

    Parameters
    ----------
    bold : ndarray of float32 (n_scans, n_voxels)
        BOLD signal; left as it is.
    tr_s : float
        Repetition time in seconds.
    cleaning : Cleaning, optional
        How; by default, the linear trend alone is removed. Dummy scans are gone already.
    confounds : ndarray (n_scans, n_confounds), optional
        What is to be removed, by least squares, once trend and drifts are gone.

    Returns
    -------
    ndarray of float32 (n_scans, n_voxels)
        Mean 0 and standard deviation 1, or percent of the mean; 0 where a voxel is constant.

    References
    ----------
    :func:`nilearn.signal.clean`.
    """
    from nilearn.signal import clean

    cleaning = cleaning or Cleaning()
    cleaned = np.empty(bold.shape, dtype=np.float32)
    slow = {} if cleaning.high_pass_s is None else {"filter": "cosine", "high_pass": 1 / cleaning.high_pass_s}
    for first in range(0, bold.shape[1], VOXELS_AT_ONCE):
        voxels = slice(first, first + VOXELS_AT_ONCE)
        cleaned[:, voxels] = clean(
            bold[:, voxels], detrend=True, standardize="psc" if cleaning.percent_signal_change else "zscore_sample",
            confounds=confounds, t_r=tr_s, ensure_finite=False, **slow,
        )  # fmt: skip
    # Without its trend, a constant is rounding error, which must not be blown up to variance 1.
    cleaned[:, ~varies(bold)] = 0
    return cleaned


def read_clean_run(
    recording: Recording, run: Run, cleaning: Cleaning | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read one run and clean it.

    Parameters
    ----------
    recording : Recording
        The scans, without their dummy scans.
    run : Run
        One of its runs.
    cleaning : Cleaning, optional
        How to clean; by default, the linear trend alone is removed.

    Returns
    -------
    bold, cleaned : ndarray of float32 (n_scans, n_voxels)
        The BOLD signal as measured, and cleaned.

    Raises
    ------
    ConfigError
        If the high-pass period is shorter than two scans, or no confounds are known.
    DataError
        If the run is broken, has too few scans for so many confounds, or no mean to take percents of.
    """
    cleaning = cleaning or Cleaning()
    where = f"{recording.label}, run {run.name}"
    if cleaning.high_pass_s is not None and cleaning.high_pass_s < 2 * recording.tr_s:
        raise ConfigError(
            f"The high-pass period must be 2 scans ({2 * recording.tr_s:g} s) or longer, received "
            f"{cleaning.high_pass_s:g} s. 128 s is usual."
        )
    confounds = None
    if cleaning.confounds is not None:
        if run.confounds is None:
            raise ConfigError(
                f"{where}: no confounds are known of these scans, so that {cleaning.confounds!r} cannot be removed. "
                "Ask for --confounds none."
            )
        confounds = np.asarray(run.confounds(cleaning.confounds), dtype=np.float64)
        _check_confounds(where, confounds, run.n_scans)
    bold = recording.read_run(run)
    if cleaning.percent_signal_change and (bold.mean(axis=0)[varies(bold)] <= 0).any():
        raise DataError(
            f"{where}: percent signal change needs a mean above 0 in every voxel, but these scans are centred already. "
            "Leave --percent-signal-change out."
        )
    return bold, clean_run(bold, recording.tr_s, cleaning, confounds)


def _check_confounds(where: str, confounds: NDArray[np.float64], n_scans: int) -> None:
    if len(confounds) != n_scans:
        raise DataError(
            f"{where}: the confounds have {len(confounds)} rows, but there are {n_scans} scans. "
            "Take the table of this run."
        )
    if confounds.shape[1] + 2 >= n_scans:
        raise DataError(
            f"{where}: {confounds.shape[1]} confounds leave nothing of {n_scans} scans. Choose a strategy with fewer."
        )
    if not np.isfinite(confounds).all():
        raise DataError(f"{where}: the confounds hold values that are no numbers. Make the table again.")
