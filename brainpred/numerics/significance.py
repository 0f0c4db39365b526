"""Tell scores from chance, over blocks of time that hardly depend on each other."""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from brainpred.errors import DataError
from brainpred.numerics.timing import rows_of_runs

__all__ = [
    "Interval",
    "block_interval",
    "block_permutation_p",
    "block_sign_p",
    "decorrelation_length",
    "mean_interval",
    "ratio_of_means",
    "time_blocks",
]


class Interval(NamedTuple):
    """Hold the ends of a confidence interval.

    Attributes
    ----------
    low, high : float
        The ends.
    """

    low: float
    high: float


def decorrelation_length(values: ArrayLike, runs: ArrayLike) -> float:
    r"""Estimate how many samples of a series tell as much as one that is independent.

    .. math:: \ell = 1 + 2 \sum_{k=1}^{K} \rho_k

    with the autocorrelation :math:`\rho_k` within runs, up to the last lag K before it first falls to zero or below.

    Parameters
    ----------
    values : array_like (n_samples,)
        The series; NaN counts as its mean.
    runs : array_like (n_samples,)
        Run of each sample; the samples of a run are neighbours.

    Returns
    -------
    float
        Length in samples, 1 or more.

    References
    ----------
    A. D. Sokal, "Monte Carlo methods in statistical mechanics", 1997, section 2 (integrated autocorrelation time).

    Examples
    --------
    >>> decorrelation_length([1, -1, 1, -1, 1, -1], [0] * 6)
    1.0
    """
    series, runs = np.asarray(values, dtype=float), np.asarray(runs)
    deviation = np.nan_to_num(series - np.nanmean(series)) if np.isfinite(series).any() else np.zeros(len(series))
    power = float(deviation @ deviation) / max(len(deviation), 1)
    length = 1.0
    for lag in range(1, len(deviation)):
        same = runs[lag:] == runs[:-lag]
        if not same.any() or power == 0:
            break
        correlation = float((deviation[lag:] * deviation[:-lag])[same].mean()) / power
        if correlation <= 0:
            break
        length += 2 * correlation
    return length


def time_blocks(runs: ArrayLike, block_length: int) -> NDArray[np.int64]:
    """Cut runs into blocks of neighbouring samples.

    Parameters
    ----------
    runs : array_like (n_samples,)
        Run of each sample; the samples of a run are neighbours.
    block_length : int
        Samples of a block; what is left at the end of a run belongs to its last whole block.

    Returns
    -------
    ndarray of int64 (n_samples,)
        Number of each sample's block, from 0.

    Examples
    --------
    >>> time_blocks(["a"] * 5 + ["b"] * 2, 2).tolist()
    [0, 0, 1, 1, 1, 2, 2]
    """
    runs = np.asarray(runs)
    if block_length < 1:
        raise DataError(f"A block needs at least 1 sample, received {block_length}.")
    blocks, first = np.empty(len(runs), dtype=np.int64), 0
    for inside in rows_of_runs(runs):
        n_blocks = max(1, len(inside) // block_length)
        blocks[inside] = first + np.minimum(np.arange(len(inside)) // block_length, n_blocks - 1)
        first += n_blocks
    return blocks


def _block_sums(values: NDArray[np.floating], blocks: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sum the last axis within blocks, and count what is not NaN: both (..., n_blocks)."""
    member = (blocks[:, None] == np.arange(blocks.max() + 1)).astype(float)  # (n_samples, n_blocks)
    return np.nan_to_num(values) @ member, np.isfinite(values).astype(float) @ member


def block_interval(values: ArrayLike, blocks: NDArray[np.int64], *, level: float = 0.95) -> Interval:
    r"""Give a confidence interval of a mean over time, from how the means of blocks differ.

    .. math:: \bar m \pm t_{B-1} \sqrt{\frac{B}{B-1} \sum_b w_b^2 (m_b - \bar m)^2}

    with the means :math:`m_b` of B blocks, their parts :math:`w_b` of the samples, and a quantile of Student's t.

    Parameters
    ----------
    values : array_like (n_samples,)
        The series; NaN is left out.
    blocks : ndarray of int64 (n_samples,)
        As :func:`time_blocks`.
    level : float
        Part of intervals that hold the truth, if blocks are independent.

    Returns
    -------
    Interval
        NaN where there are fewer than two blocks with values.
    """
    sums, counts = _block_sums(np.asarray(values, dtype=float), blocks)
    sums, counts = sums[counts > 0], counts[counts > 0]
    n_blocks = len(counts)
    if n_blocks < 2:
        return Interval(float("nan"), float("nan"))
    mean = sums.sum() / counts.sum()
    deviations = (sums - counts * mean) / counts.sum()  # w_b (m_b - mean)
    error = np.sqrt(n_blocks / (n_blocks - 1) * np.square(deviations).sum())
    reach = stdtrit(n_blocks - 1, (1 + level) / 2) * error
    return Interval(float(mean - reach), float(mean + reach))


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Give a confidence interval of a mean of independent values, such as one of each subject, by Student's t.

    Parameters
    ----------
    values : array_like (n_values,)
        Values.
    level : float
        Part of intervals that hold the truth.

    Returns
    -------
    Interval
        NaN with fewer than two values.

    Examples
    --------
    >>> [round(end, 3) for end in mean_interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    known = np.asarray(values, dtype=float)
    if len(known) < 2:
        return Interval(float("nan"), float("nan"))
    reach = stdtrit(len(known) - 1, (1 + level) / 2) * known.std(ddof=1) / np.sqrt(len(known))
    return Interval(float(known.mean() - reach), float(known.mean() + reach))


def ratio_of_means(part: ArrayLike, whole: ArrayLike, *, level: float = 0.95) -> tuple[float, Interval]:
    r"""Give the ratio of two means over the same subjects, with its interval.

    .. math:: R = \bar a / \bar b, \qquad R \pm t_{n-1}\, \frac{s(a - R b)}{\sqrt n\, \bar b}

    Parameters
    ----------
    part, whole : array_like (n_values,)
        Values a and b; a pair of which one is NaN is left out.
    level : float
        Part of intervals that hold the truth.

    Returns
    -------
    ratio : float
        The ratio; NaN where the mean of ``whole`` is not positive.
    interval : Interval
        NaN with fewer than two pairs.

    References
    ----------
    W. G. Cochran, "Sampling techniques", 1977, section 6.4.

    Examples
    --------
    >>> ratio_of_means([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])[0]
    0.5
    """
    a, b = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if not len(a) or b.mean() <= 0:
        return float("nan"), Interval(float("nan"), float("nan"))
    ratio = float(a.mean() / b.mean())
    low, high = mean_interval((a - ratio * b) / b.mean(), level=level)
    return ratio, Interval(ratio + low, ratio + high)


def block_sign_p(
    values: ArrayLike, blocks: NDArray[np.int64], rng: np.random.Generator, *, n_draws: int = 9999
) -> float:
    r"""Give the probability that a mean as high comes about where there is nothing but chance around zero.

    Without an effect, the sum of a block is as likely to be negative as positive: blocks are given other signs, in all
    ways where there are few, at random where there are many.

    Parameters
    ----------
    values : array_like (n_samples,)
        The series, such as differences; NaN is left out.
    blocks : ndarray of int64 (n_samples,)
        As :func:`time_blocks`.
    rng : numpy.random.Generator
        Source of chance where blocks are many.
    n_draws : int
        Number of draws; with no more ways than these, all are taken.

    Returns
    -------
    float
        p, one-sided; with B blocks at least 1 / 2**B. NaN without values.
    """
    sums, counts = _block_sums(np.asarray(values, dtype=float), blocks)
    sums = sums[counts > 0]
    if not len(sums):
        return float("nan")
    least = sums.sum() - 1e-12
    if 2 ** len(sums) <= n_draws:
        ways = np.array(list(product([-1.0, 1.0], repeat=len(sums))))  # what was found is among them
        return float(np.mean(ways @ sums >= least))
    draws = rng.choice([-1.0, 1.0], (n_draws, len(sums))) @ sums
    return float((1 + np.sum(draws >= least)) / (1 + n_draws))


def block_permutation_p(
    values: ArrayLike,
    shifted: ArrayLike,
    blocks: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    n_draws: int = 9999,
) -> float:
    r"""Give the probability that a mean score as high comes about by chance.

    Without a relation between brain and stimulus, the score of a block is as good as that of the same block with
    brain data from another time. Every draw takes, block by block, one of these at random; the draws' means are
    what chance gives:

    .. math:: p = \frac{1 + \#\{\text{draws} \ge \text{score}\}}{1 + n}

    Parameters
    ----------
    values : array_like (n_samples,)
        Score of every sample; NaN is left out.
    shifted : array_like (n_shifts, n_samples)
        Scores of the same samples with brain data from other times.
    blocks : ndarray of int64 (n_samples,)
        As :func:`time_blocks`.
    rng : numpy.random.Generator
        Source of all chance.
    n_draws : int
        Number of draws.

    Returns
    -------
    float
        p, one-sided; NaN where nothing can be compared.

    References
    ----------
    B. Phipson, G. K. Smyth, "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. Biol. 9, 2010.
    """
    values, shifted = np.asarray(values, dtype=float), np.asarray(shifted, dtype=float)
    if values.shape != blocks.shape or shifted.ndim != 2 or shifted.shape[1:] != blocks.shape or not len(shifted):
        raise DataError(
            f"Expected {len(blocks)} scores and as many of every shift, received {values.shape} and {shifted.shape}."
        )
    arms = np.concatenate([values[None], shifted])
    sums, counts = _block_sums(arms, blocks)  # (n_arms, n_blocks)
    if not counts[0].sum() or not counts[1:].sum():
        return float("nan")
    observed = sums[0].sum() / counts[0].sum()
    arm = rng.integers(len(arms), size=(n_draws, sums.shape[1]))
    block = np.arange(sums.shape[1])
    totals = counts[arm, block].sum(axis=1)
    means = np.divide(sums[arm, block].sum(axis=1), totals, out=np.full(n_draws, np.inf), where=totals > 0)
    return float((1 + np.sum(means >= observed - 1e-12)) / (1 + n_draws))
