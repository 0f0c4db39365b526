"""Noise ceilings from repeated presentations of the same stimulus."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import DataError
from brainpred.numerics.spread import varies

__all__ = ["explainable_variance", "reliability_of_mean"]


def explainable_variance(repeats: ArrayLike, *, bias_corrected: bool = True) -> NDArray[np.floating]:
    r"""Estimate what part of a signal's variance repeats when the stimulus repeats.

    .. math::
        EV = \mathrm{Var}_t(\bar y) / \overline{\mathrm{Var}_t(y_k)}, \qquad EV - (1 - EV) / (n - 1)

    the second being free of the bias that averaged noise leaves in the mean (both with ddof 1).

    Parameters
    ----------
    repeats : array_like (n_repeats, n_samples, n_units)
        The same samples, measured ``n_repeats`` times.
    bias_corrected : bool
        Whether to correct the bias.

    Returns
    -------
    ndarray (n_units,)
        Explainable variance of a single presentation, at most 1; below 0 by chance where there is none, and
        NaN where a unit is constant.

    Raises
    ------
    DataError
        If there are fewer than two repeats or samples.

    References
    ----------
    A. Hsu, A. Borst, F. E. Theunissen, "Quantifying variability in neural responses", Network 15, 2004.
    """
    repeats = np.asarray(repeats)
    if repeats.ndim != 3 or repeats.shape[0] < 2 or repeats.shape[1] < 2:
        raise DataError(f"A noise ceiling needs (n_repeats >= 2, n_samples >= 2, n_units), received {repeats.shape}.")
    n_repeats = len(repeats)
    changes = varies(repeats, axis=1).any(axis=0)
    of_mean = repeats.mean(axis=0).var(axis=0, ddof=1)
    mean_of = np.mean([repeat.var(axis=0, ddof=1) for repeat in repeats], axis=0)
    variance = np.divide(of_mean, mean_of, out=np.full_like(of_mean, np.nan), where=changes & (mean_of > 0))
    return variance - (1 - variance) / (n_repeats - 1) if bias_corrected else variance


def reliability_of_mean(single: ArrayLike, n_repeats: int) -> NDArray[np.floating]:
    """Turn the explainable variance of one presentation into that of the mean of several (Spearman-Brown).

    Parameters
    ----------
    single : array_like
        Explainable variance of a single presentation.
    n_repeats : int
        Presentations averaged.

    Returns
    -------
    ndarray
        Part of the mean's variance that is signal, in [0, 1]. Its square root is the highest correlation
        that anything noise-free can reach with the mean.

    Examples
    --------
    >>> reliability_of_mean([0.5, -0.1], 3)
    array([0.75, 0.  ])
    """
    clipped: NDArray[np.floating] = np.clip(np.asarray(single, dtype=float), 0.0, 1.0)
    return n_repeats * clipped / (1 + (n_repeats - 1) * clipped)
