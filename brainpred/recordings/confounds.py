"""Confounds of fMRIPrep by named strategies, through nilearn; never all columns of the table."""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.arrays import absence
from brainpred.errors import ConfigError, DataError

__all__ = ["STRATEGIES", "load_strategy", "n_unsteady_scans"]

STRATEGIES: dict[str, dict[str, Any]] = {
    "motion": {"strategy": ("motion",), "motion": "basic"},
    "motion24": {"strategy": ("motion",), "motion": "full"},
    "motion+wm_csf": {"strategy": ("motion", "wm_csf"), "motion": "basic", "wm_csf": "basic"},
    "simple": {"strategy": ("high_pass", "motion", "wm_csf"), "motion": "full", "wm_csf": "basic"},
    "simple+global": {
        "strategy": ("high_pass", "motion", "wm_csf", "global_signal"),
        "motion": "full",
        "wm_csf": "basic",
        "global_signal": "basic",
    },
    "compcor": {
        "strategy": ("high_pass", "motion", "compcor"),
        "motion": "full",
        "compcor": "anat_combined",
        "n_compcor": 6,
    },
}
"""Arguments of :func:`nilearn.interfaces.fmriprep.load_confounds` by the name of a strategy."""

# What the columns were called before fMRIPrep 1.2.
OLDER_COLUMNS = {
    "X": "trans_x", "Y": "trans_y", "Z": "trans_z", "RotX": "rot_x", "RotY": "rot_y", "RotZ": "rot_z",
    "CSF": "csf", "WhiteMatter": "white_matter", "GlobalSignal": "global_signal",
}  # fmt: skip
OLDER_OUTLIER, OUTLIER = "NonSteadyStateOutlier", "non_steady_state_outlier"
DAMAGES = (OSError, ValueError, KeyError, UnicodeDecodeError, pd.errors.ParserError)
# Under these names nilearn finds a table, whatever its own name is.
IMAGE, TABLE = "sub-x_task-x_desc-preproc_bold.nii.gz", "sub-x_task-x_desc-confounds_timeseries.tsv"


def load_strategy(path: Path, strategy: str, where: str) -> NDArray[np.float64]:
    """Load the confounds of a strategy.

    Parameters
    ----------
    path : Path
        Table of fMRIPrep, of today (``_desc-confounds_timeseries.tsv``), of 1.2 to 20.1
        (``_desc-confounds_regressors.tsv``) or before (``_bold_confounds.tsv``), whose motion parameters and tissue
        signals alone are used.
    strategy : str
        Name of a strategy; see :data:`STRATEGIES`.
    where : str
        Data set, subject and run.

    Returns
    -------
    ndarray of float64 (n_scans, n_confounds)
        The confounds; a derivative's first row, which does not exist, is 0. The rows of scans at the beginning that
        fMRIPrep marks as not yet steady are NaN: whoever cleans must have left those scans out.

    Raises
    ------
    ConfigError
        If there is no such strategy.
    DataError
        If the table is missing, damaged, or lacks what the strategy needs.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"Unknown confounds {strategy!r}. Choose one of: {', '.join(STRATEGIES)}, none.")
    if not path.is_file():
        raise DataError(
            f"{where}: the table of confounds {path} {absence(path)}. Put it there, or ask for --confounds none."
        )
    try:
        table = pd.read_csv(path, sep="\t", na_values="n/a")
    except DAMAGES as error:
        raise DataError(f"{where}: cannot read {path} ({_what_is_wrong(error)}). Get it again.") from error
    try:
        confounds, sample_mask = _choose_columns(table, path, strategy)
    except DAMAGES as error:
        others = [name for name in STRATEGIES if name != strategy and _has_columns(table, path, name)]
        remedy = f"Choose {' or '.join(others)}, whose columns it has" if others else "Take fMRIPrep's own table"
        raise DataError(
            f"{where}: {path.name} cannot serve the strategy {strategy} ({_what_is_wrong(error)}). {remedy}, or ask "
            "for --confounds none."
        ) from error
    if sample_mask is not None and not np.array_equal(sample_mask, np.arange(len(table))[-len(sample_mask) :]):
        raise DataError(f"{where}: {path.name} marks scans within the run to be left out, which brainpred does not do.")
    values: NDArray[np.float64] = confounds.to_numpy(dtype=np.float64)
    values[0] = np.where(np.isnan(values[0]), 0.0, values[0])
    if sample_mask is not None:
        values[: len(table) - len(sample_mask)] = np.nan
    return values


def _choose_columns(table: pd.DataFrame, path: Path, strategy: str) -> tuple[pd.DataFrame, NDArray[np.integer] | None]:
    """Give the columns of a strategy, and the scans that are kept if not all are."""
    from nilearn.interfaces.fmriprep import load_confounds

    with tempfile.TemporaryDirectory() as folder:
        _write_as_today(table, path, Path(folder))
        confounds, kept = load_confounds(str(Path(folder) / IMAGE), demean=False, **STRATEGIES[strategy])
    return confounds, kept


def _has_columns(table: pd.DataFrame, path: Path, strategy: str) -> bool:
    try:
        _choose_columns(table, path, strategy)
    except DAMAGES:
        return False
    return True


def n_unsteady_scans(confounds: NDArray[np.floating]) -> int:
    """Count the scans at the beginning that :func:`load_strategy` marks with NaN as not yet steady."""
    steady = ~np.isnan(confounds).all(axis=1)
    return int(np.argmax(steady)) if steady.any() else 0


def _write_as_today(table: pd.DataFrame, path: Path, folder: Path) -> None:
    """Write a table, and the JSON beside it, under the names and columns of today's fMRIPrep."""
    renamed = table.rename(columns=OLDER_COLUMNS).rename(columns=lambda name: name.replace(OLDER_OUTLIER, OUTLIER))
    if set(OLDER_COLUMNS) & set(table.columns):
        known = [name for name in renamed if name in OLDER_COLUMNS.values()]
        renamed = renamed[[name for name in renamed if name in known or str(name).startswith(OUTLIER)]]
        for name in known:  # derivatives and squares were not written then
            change = renamed[name].diff()
            extra = {"derivative1": change, "power2": renamed[name] ** 2, "derivative1_power2": change**2}
            renamed = renamed.assign(**{f"{name}_{ending}": column for ending, column in extra.items()})
    renamed.to_csv(folder / TABLE, sep="\t", index=False, na_rep="n/a")
    (folder / IMAGE).touch()
    sidecar = path.with_suffix(".json")
    if sidecar.is_file():
        shutil.copy(sidecar, (folder / TABLE).with_suffix(".json"))
    else:
        (folder / TABLE).with_suffix(".json").write_text(json.dumps({}))


def _what_is_wrong(error: Exception) -> str:
    """Say in a few words what nilearn or pandas says, which may list dozens of columns."""
    message = re.sub(r"\s+", " ", str(error).strip())
    listed = re.findall(r"'([^']+)'", message)
    if "missing" in message and listed:
        return f"it lacks {', '.join(listed[:3])}" + (f" and {len(listed) - 3} columns more" if len(listed) > 3 else "")
    return message if len(message) <= 200 else f"{message[:200]} ..."
