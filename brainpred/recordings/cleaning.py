"""Clean scans within each run, with nilearn: dummy scans, slow drifts, confounds, and the scale of every voxel."""

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.spread import varies
from brainpred.recordings.confounds import STRATEGIES, n_unsteady_scans
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.recording import Recording, Run

__all__ = ["CleanedScans", "Cleaning", "check_confounds", "clean_run", "read_clean_run"]

VOXELS_AT_ONCE = 8192  # nilearn copies what it is given several times
# What little is left of scans from which nearly all is removed is brought to variance 1 all the same.
LEAST_LEFT = 0.1
SAME = 1e-6  # rounding in tables


@dataclass(frozen=True)
class Cleaning:
    """Say how scans are cleaned; every run by itself, so that no run tells anything about another.

    Attributes
    ----------
    dummy_scans : int
        Scans at the beginning of every run that are left out.
    high_pass_s : float or None
        Longest period that is kept, in seconds: slower drifts are removed as cosines, beside the linear trend. A run of
        less than half that length has none. Cosines that the confounds bring already are taken once.
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

    @property
    def settings(self) -> dict[str, int | float | str | bool | None]:
        """All that is done to a run, for records: what can be chosen, and what is always done."""
        scale = "percent signal change" if self.percent_signal_change else "z-score (n - 1)"
        return {**asdict(self), "detrend": "linear", "scale": scale}

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
        stated = cls(manifest.dummy_scans, manifest.high_pass_s, manifest.confounds, manifest.percent_signal_change)
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
    :func:`nilearn.signal.clean`, :func:`nilearn.glm.first_level.design_matrix.create_cosine_drift`.
    """
    from nilearn.signal import clean

    cleaning = cleaning or Cleaning()
    cleaned = np.empty(bold.shape, dtype=np.float32)
    regressors = _regressors(confounds, len(bold), tr_s, cleaning.high_pass_s)
    for first in range(0, bold.shape[1], VOXELS_AT_ONCE):
        voxels = slice(first, first + VOXELS_AT_ONCE)
        cleaned[:, voxels] = clean(
            bold[:, voxels], detrend=True, standardize="psc" if cleaning.percent_signal_change else "zscore_sample",
            confounds=regressors if regressors.size else None, t_r=tr_s, ensure_finite=False,
        )  # fmt: skip
    # Without its trend, a constant is rounding error, which must not be blown up to variance 1.
    cleaned[:, ~varies(bold)] = 0
    return cleaned


def _regressors(
    confounds: NDArray[np.floating] | None, n_scans: int, tr_s: float, high_pass_s: float | None
) -> NDArray[np.float64]:
    """Put confounds and slow cosines side by side, (n_scans, n_regressors).

    nilearn's own filter leaves all its cosines out where one of them is among the confounds, as fMRIPrep's are.
    """
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    given = np.empty((n_scans, 0)) if confounds is None else np.asarray(confounds, dtype=np.float64)
    if high_pass_s is None:
        return given
    cosines = create_cosine_drift(1 / high_pass_s, tr_s * np.arange(n_scans))[:, :-1]  # the last is the constant
    rest = cosines - given @ np.linalg.lstsq(given, cosines, rcond=None)[0]
    return np.hstack([given, cosines[:, np.linalg.norm(rest, axis=0) > SAME]])  # each cosine is of norm 1


class CleanedScans(NamedTuple):
    """Hold one run as measured and cleaned.

    Attributes
    ----------
    bold, cleaned : ndarray of float32 (n_scans, n_voxels)
        The BOLD signal, before and after.
    removed : ndarray of float64 (n_scans, n_regressors)
        Confounds and slow cosines that were removed, beside the linear trend.
    """

    bold: NDArray[np.float32]
    cleaned: NDArray[np.float32]
    removed: NDArray[np.float64]


def read_clean_run(recording: Recording, run: Run, cleaning: Cleaning | None = None) -> CleanedScans:
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
    CleanedScans
        The BOLD signal as measured, and cleaned, and what was removed.

    Raises
    ------
    ConfigError
        If the high-pass period is not longer than two scans, or no confounds are known.
    DataError
        If the run is broken, holds scans that fMRIPrep marks as not yet steady, has too few scans for all that is to be
        removed, or no mean to take percents of.
    """
    cleaning = cleaning or Cleaning()
    where = f"{recording.label}, run {run.name}"
    if cleaning.high_pass_s is not None and cleaning.high_pass_s <= 2 * recording.tr_s:
        raise ConfigError(
            f"The high-pass period must be longer than 2 scans ({2 * recording.tr_s:g} s), received "
            f"{cleaning.high_pass_s:g} s. 128 s is usual."
        )
    confounds = _confounds(where, run, cleaning)
    removed = _regressors(confounds, run.n_scans, recording.tr_s, cleaning.high_pass_s)
    _check_freedom(where, removed, 0 if confounds is None else confounds.shape[1])
    bold = recording.read_run(run)
    if cleaning.percent_signal_change and (bold.mean(axis=0)[varies(bold)] <= 0).any():
        raise DataError(
            f"{where}: percent signal change needs a mean above 0 in every voxel, but these scans are centred already. "
            "Leave --percent-signal-change out."
        )
    return CleanedScans(bold, clean_run(bold, recording.tr_s, cleaning, confounds), removed)


def _confounds(where: str, run: Run, cleaning: Cleaning) -> NDArray[np.float64] | None:
    """Read the confounds that are to be removed; None if none are."""
    confounds = None
    if cleaning.confounds is not None:
        if run.confounds is None:
            raise ConfigError(
                f"{where}: no confounds are known of these scans, so that {cleaning.confounds!r} cannot be removed. "
                "Ask for --confounds none."
            )
        confounds = np.asarray(run.confounds(cleaning.confounds), dtype=np.float64)
        check_confounds(where, confounds, run.n_scans, cleaning.dummy_scans)
    return confounds


def check_confounds(where: str, confounds: NDArray[np.float64], n_scans: int, dummy_scans: int) -> None:
    """Refuse confounds of another run, of scans that are not yet steady, and such as are no numbers.

    Parameters
    ----------
    where : str
        Data set, subject and run.
    confounds : ndarray of float64 (n_scans, n_confounds)
        What is to be removed, without dummy scans.
    n_scans : int
        Scans of the run, without dummy scans.
    dummy_scans : int
        Dummy scans that are left out already.

    Raises
    ------
    DataError
        If the confounds cannot be used.
    """
    if len(confounds) != n_scans:
        raise DataError(
            f"{where}: the confounds have {len(confounds)} rows, but there are {n_scans} scans. "
            "Take the table of this run."
        )
    if n_unsteady := n_unsteady_scans(confounds):
        whole = dummy_scans + n_unsteady
        raise DataError(
            f"{where}: fMRIPrep marks its first {whole} scans as not yet steady (non_steady_state_outlier), and "
            f"{dummy_scans or 'none'} are left out. Ask for --dummy-scans {whole}, or state "
            f"dummy_scans: {whole} in the manifest."
        )
    if not np.isfinite(confounds).all():
        raise DataError(f"{where}: the confounds hold values that are no numbers. Make the table again.")


def _check_freedom(where: str, removed: NDArray[np.float64], n_confounds: int) -> None:
    """Refuse a run of which trend, cosines and confounds leave hardly anything."""
    n_scans = len(removed)
    design = np.column_stack([np.ones(n_scans), np.arange(n_scans), removed])
    norms = np.linalg.norm(design, axis=0)
    n_left = n_scans - int(np.linalg.matrix_rank(design / np.where(norms > 0, norms, 1)))
    if n_left < max(1, LEAST_LEFT * n_scans):
        raise DataError(
            f"{where}: trend, {n_confounds} confounds and {removed.shape[1] - n_confounds} slow cosines leave "
            f"{n_left} of {n_scans} degrees of freedom. Choose a strategy with fewer confounds, or a longer "
            "--high-pass-s."
        )
