"""Noise ceilings from repeated presentations of the same stimulus."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc

from brainpred.errors import DataError
from brainpred.numerics.spread import varies

__all__ = [
    "PooledReliability",
    "RepeatMoments",
    "explainable_variance",
    "mean_ceiling",
    "pooled_reliability",
    "repeat_moments",
]

# A ceiling is known where chance would give as much reliability in fewer cases than this.
KNOWN_P = 0.05


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


class RepeatMoments(NamedTuple):
    """Hold how much of the variance of one clip's repeats is common, and how much is not.

    Attributes
    ----------
    n_repeats, n_samples : int
        Presentations, and samples of each.
    of_mean : ndarray of float64 (n_units,)
        Variance of their mean over time.
    of_noise : ndarray of float64 (n_units,)
        Variance of a single presentation about what is common; NaN with one presentation, which cannot tell.
    """

    n_repeats: int
    n_samples: int
    of_mean: NDArray[np.float64]
    of_noise: NDArray[np.float64]


def repeat_moments(repeats: ArrayLike) -> RepeatMoments:
    r"""Split the variance of a clip's repeats into what is common and what is not.

    .. math:: V = \mathrm{Var}_t(\bar y), \qquad
        N = \tfrac{n}{n - 1} \big(\overline{\mathrm{Var}_t(y_k)} - V\big), \qquad \mathrm E\,V = S + N / n

    with the variance S of the signal (variances with ddof 1).

    Parameters
    ----------
    repeats : array_like (n_repeats, n_samples, n_units)
        The same samples, measured ``n_repeats`` times.

    Returns
    -------
    RepeatMoments
        V and N; 0 where a unit is constant.

    Raises
    ------
    DataError
        If there are fewer than two samples.
    """
    repeats = np.asarray(repeats)
    if repeats.ndim != 3 or repeats.shape[1] < 2:
        raise DataError(f"A noise ceiling needs (n_repeats, n_samples >= 2, n_units), received {repeats.shape}.")
    n, n_samples, _ = repeats.shape
    changes = varies(repeats, axis=1).any(axis=0)
    of_mean = repeats.mean(axis=0, dtype=np.float64).var(axis=0, ddof=1) * changes
    if n < 2:
        return RepeatMoments(n, n_samples, of_mean, np.full_like(of_mean, np.nan))
    mean_of = np.mean([repeat.var(axis=0, ddof=1, dtype=np.float64) for repeat in repeats], axis=0) * changes
    return RepeatMoments(n, n_samples, of_mean, n / (n - 1) * (mean_of - of_mean))


class PooledReliability(NamedTuple):
    """Hold what part of the variance of averaged repeats is signal.

    Attributes
    ----------
    reliability : ndarray of float64 (n_units,)
        Unbiased, and so below 0 by chance where there is no signal; NaN where nothing was repeated or varies.
    p : ndarray of float64 (n_units,)
        How often chance gives as much without any signal.
    """

    reliability: NDArray[np.float64]
    p: NDArray[np.float64]

    @property
    def ceiling(self) -> NDArray[np.float64]:
        r"""Highest correlation, :math:`\sqrt\rho`, where it is beyond its own error (p < 0.05); NaN elsewhere."""
        known = (self.p < KNOWN_P) & (self.reliability > 0)
        return np.sqrt(np.where(known, np.minimum(self.reliability, 1), np.nan))


def pooled_reliability(clips: Sequence[RepeatMoments], decorrelation: ArrayLike = 1.0) -> PooledReliability:
    r"""Tell what part of the variance of averaged predictions is signal, over clips of unequal repeats.

    .. math:: \rho = 1 - \frac{d - 2}{d} \Big(1 - \frac{\sum_c T_c S_c}{\sum_c T_c V_c}\Big), \qquad
        S_c = V_c - N_c / n_c

    with each clip's own number of repeats n and length T (less 1), and d = ΣT over the decorrelation length, which
    takes the bias of the ratio away. A clip that was shown once tells no S; its part is that of a single presentation
    in the clips that were repeated. The square root of ρ is the highest correlation that anything noise-free can reach
    with the averages of all clips.

    p is of the analysis of variance with samples as groups, whose degrees of freedom are divided by the
    decorrelation length.

    Parameters
    ----------
    clips : sequence of RepeatMoments
        As :func:`repeat_moments`.
    decorrelation : array_like, a number or (n_units,)
        How many samples tell as much of a variance as one that is independent.

    Returns
    -------
    PooledReliability
        ρ and its p.

    References
    ----------
    A. Hsu, A. Borst, F. E. Theunissen, "Quantifying variability in neural responses", Network 15, 2004.
    S. R. Searle, G. Casella, C. E. McCulloch, "Variance components", 1992, chapter 3 (one-way analysis of variance).
    """
    of_mean, of_noise = (np.stack([getattr(clip, name) for clip in clips]) for name in ("of_mean", "of_noise"))
    n = np.array([clip.n_repeats for clip in clips])[:, None]
    weight = np.array([clip.n_samples - 1 for clip in clips])[:, None]
    again = n[:, 0] > 1
    if not again.any():
        nothing = np.full(of_mean.shape[1], np.nan)
        return PooledReliability(nothing, nothing.copy())
    signal = of_mean - of_noise / n
    single = _ratio((weight * signal)[again].sum(axis=0), (weight * (signal + of_noise))[again].sum(axis=0))
    signal[~again] = single * of_mean[~again]
    reliability = _ratio((weight * signal).sum(axis=0), (weight * of_mean).sum(axis=0))
    between, within = weight[again].sum(), (weight * (n - 1))[again].sum()
    f = _ratio(
        (weight * n * of_mean)[again].sum(axis=0) / between, (weight * (n - 1) * of_noise)[again].sum(axis=0) / within
    )
    length = np.asarray(decorrelation, dtype=np.float64)
    # Dividing by a variance that was estimated makes noise seem larger, by d / (d - 2) for d degrees of freedom.
    freedom = np.maximum(weight.sum() / length, 2)
    reliability = 1 - (1 - reliability) * (1 - 2 / freedom)
    return PooledReliability(reliability, fdtrc(between / length, within / length, f))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; where there is no noise at all the ratio is as large as numbers go, and NaN where nothing varies."""
    large = np.where(part > 0, np.finfo(np.float64).max, np.nan)
    return np.divide(part, whole, out=large, where=whole > 0)


def mean_ceiling(reliability: ArrayLike, ceilings: ArrayLike | None = None) -> float:
    r"""Give the noise ceiling of many units together, :math:`\sqrt{\max(\bar\rho, 0)}`.

    The root is taken of the mean: the roots of every unit's own, cut off at 0, would give units without signal a
    ceiling, and weak ones too low a one. It is the root mean square of the units' ceilings.

    Units that rise and fall together are lifted together by chance, and their mean may be far above 0 where there is no
    signal. Their own ceilings tell: unless more than half of the units have one, there is none of all. Whatever they
    have in common, chance gives so many a ceiling in at most twice as many cases as a single one (Rüger), 10 %.

    Parameters
    ----------
    reliability : array_like (n_units,)
        As :class:`PooledReliability` holds it; NaN is left out.
    ceilings : array_like (n_units,), optional
        Each unit's own, NaN where its reliability is not beyond its own error. None: the mean is taken as it is, as of
        voxels, whose noise hardly depends on each other.

    Returns
    -------
    float
        The ceiling; NaN without repeats, and where most units have none.

    References
    ----------
    B. Rüger, "Das maximale Signifikanzniveau des Tests: Lehne H0 ab, wenn k unter n gegebenen Tests zur Ablehnung
    führen", Metrika 25, 1978, 171-178.

    Examples
    --------
    >>> mean_ceiling([0.5, -0.1, float("nan"), 0.35])
    0.5
    >>> mean_ceiling([0.5, -0.1, 0.35], [0.7, float("nan"), float("nan")])
    nan
    """
    values = np.asarray(reliability, dtype=np.float64)
    known = np.isfinite(values)
    if not known.any() or (ceilings is not None and np.isfinite(np.asarray(ceilings)[known]).mean() <= 0.5):
        return float("nan")
    return float(np.sqrt(np.clip(values[known].mean(), 0, 1)))
