"""Cut samples into folds for cross-validation: by default, every run is left out once."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.ridge.residuals import Fold

__all__ = ["leave_run_out", "make_folds"]

BLOCKS_WITHOUT_RUNS = 5


def leave_run_out(runs: NDArray[Any], gap: int = 0, *, n_blocks: int = BLOCKS_WITHOUT_RUNS) -> list[Fold]:
    """Split samples so that every run is left out once.

    Parameters
    ----------
    runs : ndarray (n_samples,)
        Run of each sample, or any label of what must be left out together.
    gap : int
        Samples left out of training on both sides of a block, where a single run is cut into blocks.
    n_blocks : int
        Blocks that a single run is cut into.

    Returns
    -------
    list of (train, test) index arrays
        One pair a run. A single run is cut into (up to) ``n_blocks`` of neighbouring samples instead.

    Examples
    --------
    >>> [test.tolist() for _, test in leave_run_out(np.array([1, 1, 2, 2, 2]))]
    [[0, 1], [2, 3, 4]]
    """
    names = np.unique(runs)
    if len(names) > 1:
        tests = [np.flatnonzero(runs == name) for name in names]
    else:
        tests = np.array_split(np.arange(len(runs)), max(1, n_blocks))
    everything = np.arange(len(runs))
    reach = gap if len(names) == 1 else 0
    near = [np.unique(np.clip(test[:, None] + np.arange(-reach, reach + 1), 0, len(runs) - 1)) for test in tests]
    return [(np.setdiff1d(everything, around), test) for around, test in zip(near, tests, strict=True)]


def make_folds(cv: Any, groups: NDArray[Any], gap: int) -> list[Fold]:
    """Turn what a user asks for into folds, and refuse what cannot be scored.

    Parameters
    ----------
    cv : None, int, scikit-learn splitter, or iterable of (train, test) index arrays
        None leaves out one group at a time; an int makes so many folds of whole groups.
    groups : ndarray (n_samples,)
        What must be left out together, such as runs or clips.
    gap : int
        As :func:`leave_run_out`.

    Returns
    -------
    list of (train, test) index arrays
        The folds.

    Raises
    ------
    ConfigError
        If ``cv`` is none of these, or asks for more folds than there are groups.
    DataError
        If a fold trains or tests on nothing, or tests what it trains on.
    """
    if cv is None:
        folds = leave_run_out(groups, gap, n_blocks=min(BLOCKS_WITHOUT_RUNS, len(groups) // 2))
    elif isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        names = list(dict.fromkeys(groups.tolist()))
        if (not 2 <= cv <= max(len(names), 1) and len(names) > 1) or cv < 2:
            raise ConfigError(f"cv asks for {cv} folds, but there are {len(names)} runs (or groups) to leave out.")
        if len(names) == 1:
            folds = leave_run_out(groups, gap, n_blocks=int(cv))
        else:
            # Neighbours go together: groups are given out in the order of time, in folds of like size.
            part = {name: number * cv // len(names) for number, name in enumerate(names)}
            folds = leave_run_out(np.array([part[name] for name in groups.tolist()]))
    elif hasattr(cv, "split") and not isinstance(cv, str):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The groups parameter is ignored")
            folds = list(cv.split(np.zeros((len(groups), 1)), None, groups))
    elif isinstance(cv, Iterable) and not isinstance(cv, str):
        folds = [(np.asarray(train), np.asarray(test)) for train, test in cv]
    else:
        raise ConfigError(
            f"cv must be None, a number of folds, a scikit-learn splitter or pairs of index arrays, received {cv!r}."
        )
    _check_folds(folds, len(groups))
    return folds


def _check_folds(folds: Sequence[Fold], n_samples: int) -> None:
    if len(folds) < 2:
        raise DataError(f"Cross-validation needs 2 folds or more, received {len(folds)} for {n_samples} samples.")
    for number, (train, test) in enumerate(folds):
        if not len(train) or len(test) < 2:
            raise DataError(
                f"Fold {number} has {len(train)} samples to train on and {len(test)} to test, of {n_samples}; expected "
                "1 and 2 or more. There are too few samples, or too many folds, for R² and these delays in one run."
            )
        for rows in (train, test):
            numbers = rows.dtype.kind in "iu" and len(np.unique(rows)) == len(rows)
            if not numbers or not 0 <= rows.min() <= rows.max() < n_samples:
                raise DataError(f"Fold {number} must hold numbers of samples, 0 to {n_samples - 1}, each once.")
        if len(np.intersect1d(train, test)):
            raise DataError(f"Fold {number} tests samples that it trains on. What is tested must not be trained on.")
