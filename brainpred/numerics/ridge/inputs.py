"""Check what a ridge is given: arrays in memory by scikit-learn, others by their shapes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data

from brainpred.errors import ConfigError, DataError

__all__ = [
    "SEARCHES",
    "check_features",
    "check_groups",
    "check_pair",
    "check_runs",
    "check_settings",
    "check_truth",
    "cluster_columns",
    "is_lazy",
]

DTYPES = [np.float64, np.float32]  # what is neither becomes float64
SEARCHES = ("shared", "per-target", "himalaya")
FORMS = ("auto", "dual", "primal")


def is_lazy(values: Any) -> bool:
    """Tell whether an array is read piece by piece: a memory map, an HDF5 data set, or what slices like one."""
    if isinstance(values, np.ndarray):
        return isinstance(values, np.memmap)
    slices = all(hasattr(values, name) for name in ("shape", "dtype", "__getitem__"))
    # Tables and sparse matrices slice as well, but are scikit-learn's to check.
    return slices and not any(hasattr(values, name) for name in ("__array_interface__", "iloc", "tocsr"))


def check_settings(ridge: BaseEstimator, n_features: int) -> None:
    """Refuse parameters of a ridge that cannot be used.

    Parameters
    ----------
    ridge : BandedRidgeCV
        The ridge.
    n_features : int
        Columns of X.

    Raises
    ------
    ConfigError, DataError
        If one cannot be used.
    """
    if (
        np.ndim(ridge.alphas) != 1
        or not len(ridge.alphas)
        or not np.all(np.isfinite(ridge.alphas))
        or min(ridge.alphas) <= 0
    ):
        raise ConfigError(f"alphas must be one or more positive numbers, received {ridge.alphas!r}.")
    if ridge.n_candidates < 1:
        raise ConfigError(f"n_candidates must be 1 or more, received {ridge.n_candidates}.")
    if ridge.shortlist is not None and ridge.shortlist < 1:
        raise ConfigError(f"shortlist must be 1 or more, or None for all, received {ridge.shortlist}.")
    if ridge.search not in SEARCHES:
        raise ConfigError(f"Unknown search {ridge.search!r}. Choose one of: {', '.join(SEARCHES)}.")
    if ridge.form not in FORMS:
        raise ConfigError(f"Unknown form {ridge.form!r}. Choose one of: {', '.join(FORMS)}.")
    if ridge.form == "primal" and ridge.search != "shared":
        raise ConfigError(f"form='primal' needs search='shared', received search={ridge.search!r}.")
    if ridge.bands is not None and np.shape(ridge.bands) != (n_features,):
        raise DataError(
            f"bands must label every feature: expected {n_features} labels, received shape {np.shape(ridge.bands)}."
        )
    if ridge.cluster is not None and ridge.search != "shared":
        raise ConfigError(f"cluster is for search='shared', received search={ridge.search!r}.")


def cluster_columns(cluster: ArrayLike | None, n_targets: int) -> list[NDArray[np.int64]]:
    """Give the targets of each cluster, ascending; all targets where there are no clusters."""
    if cluster is None:
        return [np.arange(n_targets)]
    labels = np.asarray(cluster)
    if labels.shape != (n_targets,):
        raise DataError(f"cluster must label every target: expected ({n_targets},), received {labels.shape}.")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def check_features(estimator: BaseEstimator, X: Any) -> Any:
    """Check features to predict from against those that were fitted.

    Parameters
    ----------
    estimator : BaseEstimator
        Fitted.
    X : array_like, memory map or HDF5 data set (n_samples, n_features)
        Features.

    Returns
    -------
    array-like (n_samples, n_features)
        The same, as an array if it was in memory.

    Raises
    ------
    DataError, ValueError
        If they do not fit.
    """
    if not is_lazy(X):
        return validate_data(estimator, X, dtype=DTYPES, reset=False)
    if len(X.shape) != 2 or X.shape[1] != estimator.n_features_in_:
        raise DataError(f"Expected X (n_samples, {estimator.n_features_in_}), as it was fitted, received {X.shape}.")
    return X


def check_pair(estimator: BaseEstimator, X: Any, y: Any) -> tuple[Any, Any]:
    """Check features and targets to fit.

    Parameters
    ----------
    estimator : BaseEstimator
        Told the number of features.
    X : array_like, memory map or HDF5 data set (n_samples, n_features)
        Features.
    y : array_like, memory map or HDF5 data set (n_samples,) or (n_samples, n_targets)
        Targets.

    Returns
    -------
    X, y : array-like
        The same, as arrays if they were in memory.

    Raises
    ------
    DataError, ValueError
        If they cannot be fitted.
    """
    if not is_lazy(X) and not is_lazy(y):
        return validate_data(estimator, X, y, multi_output=True, y_numeric=True, dtype=DTYPES, ensure_min_samples=2)
    if not is_lazy(X):
        X = validate_data(estimator, X, dtype=DTYPES, ensure_min_samples=2)
    if not is_lazy(y):
        y = check_array(y, ensure_2d=False, dtype=DTYPES)
    if len(X.shape) != 2 or len(y.shape) not in (1, 2) or X.shape[0] != y.shape[0] or X.shape[0] < 2:
        raise DataError(
            "Expected X (n_samples, n_features) and Y (n_samples, n_targets) with the same samples, 2 or more, "
            f"received {tuple(X.shape)} and {tuple(y.shape)}. Data stored target by target must be turned around."
        )
    estimator.n_features_in_ = int(X.shape[1])
    return X, y


def check_runs(n_samples: int, runs: ArrayLike | None) -> NDArray[Any]:
    """Check that runs name the run of every sample, and that the samples of a run are neighbours.

    Parameters
    ----------
    n_samples : int
        Number of samples.
    runs : array_like (n_samples,) or None
        Run of each sample; None: a single run.

    Returns
    -------
    ndarray (n_samples,)
        The runs.

    Raises
    ------
    DataError
        If they do not fit the samples, or a run is in pieces.
    """
    checked = np.zeros(n_samples, dtype=np.int64) if runs is None else np.asarray(runs)
    if checked.shape != (n_samples,):
        raise DataError(f"runs must name the run of every sample: expected ({n_samples},), received {checked.shape}.")
    if int(np.sum(checked[1:] != checked[:-1])) + 1 != len(np.unique(checked)):
        raise DataError("The samples of a run must be neighbours; sort the samples by run.")
    return checked


def check_groups(runs: NDArray[Any], groups: ArrayLike) -> NDArray[Any]:
    """Check that groups label every sample, and that there is something to leave out; give them as an array."""
    checked = np.asarray(groups)
    if checked.shape != runs.shape:
        raise DataError(f"groups must label every sample: expected {runs.shape}, received {checked.shape}.")
    if len(np.unique(checked)) == 1 and len(np.unique(runs)) > 1:
        raise DataError(
            "All runs are in one group: what must be left out together leaves nothing to train on. Expected 2 groups "
            "or more, such as clips; runs that show the same clip cannot test each other."
        )
    return checked


def check_truth(y: Any, shape: tuple[int, int]) -> Any:
    """Check true targets against the samples and targets that they belong to.

    Parameters
    ----------
    y : array_like, memory map or HDF5 data set (n_samples,) or (n_samples, n_targets)
        True targets.
    shape : (int, int)
        Number of samples and of targets.

    Returns
    -------
    array-like (n_samples, n_targets)
        The same, as an array if it was in memory.

    Raises
    ------
    DataError, ValueError
        If they do not fit.
    """
    if not is_lazy(y):
        y = check_array(y, ensure_2d=False, dtype=DTYPES)
    y = np.asarray(y)[:, None] if len(y.shape) == 1 else y
    if tuple(y.shape) != shape:
        raise DataError(f"The truth must be {shape}, as expected from X and from the fit, received {tuple(y.shape)}.")
    return y
