"""Choose the strength of a ridge regression by leaving out samples, or groups of them that belong together."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import DataError

__all__ = ["choose_alpha"]

FOLDS = 10


def choose_alpha(x: NDArray[np.floating], y: NDArray[np.floating], groups: ArrayLike, alphas: ArrayLike) -> float:
    """Choose one strength for all targets.

    Parameters
    ----------
    x : ndarray (n, n_features)
        What is predicted from.
    y : ndarray (n, n_targets)
        What is predicted.
    groups : array_like (n,)
        Samples of the same group, such as repeats of a picture, are left out together, in ten folds at the most. If
        no group has two, every sample is left out by itself.
    alphas : array_like of float
        Strengths to choose from.

    Returns
    -------
    float
        The one with the least mean squared error of what was left out.

    Raises
    ------
    DataError
        If all samples are of one group.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold

    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise DataError(
            "A ridge regression's strength is chosen by leaving out groups of samples: expected 2 or more, such as "
            f"2 different pictures, received {n_groups}."
        )
    if n_groups == len(x):
        return float(RidgeCV(alphas).fit(x, y).alpha_)
    tried = np.asarray(alphas, np.float64)
    errors = np.zeros(len(tried))
    for rest, held_out in GroupKFold(min(FOLDS, n_groups)).split(x, groups=groups):
        centre, level = x[rest].mean(axis=0), y[rest].mean(axis=0)
        left, sizes, right = np.linalg.svd(x[rest] - centre, full_matrices=False)  # once for all strengths
        known, new = left.T @ (y[rest] - level), (x[held_out] - centre) @ right.T
        for number, alpha in enumerate(tried):
            predicted = (new * (sizes / (sizes**2 + alpha))) @ known + level
            errors[number] += np.square(predicted - y[held_out], dtype=np.float64).sum()
    return float(tried[errors.argmin()])
