"""Resample blocks of time: what correlations chance gives, and how far a mean correlation may be off."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft, rfft
from scipy.sparse import csr_matrix
from scipy.special import stdtrit
from scipy.stats import false_discovery_control

from brainpred.errors import DataError
from brainpred.numerics.significance import Interval, time_blocks
from brainpred.numerics.spread import varies

__all__ = [
    "BlockPermutations",
    "FisherMean",
    "block_permutations",
    "bootstrap_fisher_mean",
    "exceedances",
    "false_discovery_rates",
    "fisher_mean",
    "max_statistic_p",
    "null_correlations",
    "resampling_block_length",
]

# A permutation keeps what neighbours share within a block and loses it at the borders: blocks of four times the
# decorrelation length lose at most an eighth of the variance that correlations have by chance.
DECORRELATIONS_A_BLOCK = 4
FEWEST_BLOCKS = 5
# With fewer blocks than this, their orders are so few that runs are cut into blocks at several places.
MANY_BLOCKS, MOST_CUTS = 10, 8
# Autocorrelation below this counts as none: it is what short series have of it by chance.
LEAST_AUTOCORRELATION = 0.05
UNITS_FOR_LENGTH = 2000
UNITS_AT_ONCE = 2048
# Correlations nearer to each other than this differ by rounding (in float32) alone.
TIE = 1e-5
LARGEST_R = 1 - 1e-7


def _autocorrelation(values: NDArray[Any], runs: NDArray[Any]) -> NDArray[np.float64]:
    """Autocorrelate every unit within runs, at lags from 0 up to the longest run: (n_lags, n_units)."""
    names = list(dict.fromkeys(runs.tolist()))
    longest = max(int(np.sum(runs == name)) for name in names)
    total = np.zeros((longest, values.shape[1]))
    for name in names:
        part = np.asarray(values[runs == name], dtype=np.float64)
        part = part - part.mean(axis=0)
        n = len(part)
        total[:n] += irfft(np.abs(rfft(part, 2 * n, axis=0)) ** 2, 2 * n, axis=0)[:n]
    return np.divide(total, total[0], out=np.zeros_like(total), where=total[0] > 0)


def resampling_block_length(true: ArrayLike, predicted: ArrayLike, runs: ArrayLike) -> int:
    r"""Choose how long blocks must be for the correlation of two autocorrelated series.

    Such a correlation varies as if there were one independent sample in

    .. math:: \ell = 1 + 2 \sum_{k=1}^{K} \overline{\rho_y(k)\, \rho_{\hat y}(k)}

    with the autocorrelations within runs, averaged over units, up to the last lag before they fall below 0.05. A block
    is four times as long, unless runs would then hold fewer than five whole blocks.

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values; 2,000 units, evenly spaced, are looked at.
    runs : array_like (n_samples,)
        Run of each sample; the samples of a run are neighbours.

    Returns
    -------
    int
        Length in samples.

    References
    ----------
    M. S. Bartlett, "Some aspects of the time-correlation problem in regard to tests of significance", J. R. Stat. Soc.
    98, 1935, 536-543.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> resampling_block_length(rng.standard_normal((90, 50)), rng.standard_normal((90, 50)), [0] * 90)
    4
    """
    true, predicted, runs = np.asarray(true), np.asarray(predicted), np.asarray(runs)
    some = np.unique(np.linspace(0, true.shape[1] - 1, UNITS_FOR_LENGTH).round().astype(int))
    some = some[(varies(true[:, some]) & varies(predicted[:, some]))]
    length = 1.0
    if len(some):
        shared = np.mean(_autocorrelation(true[:, some], runs) * _autocorrelation(predicted[:, some], runs), axis=1)
        below = np.flatnonzero(shared < LEAST_AUTOCORRELATION)
        length += 2 * float(shared[1 : below[0] if len(below) else len(shared)].sum())
    run_lengths = np.unique(runs, return_counts=True)[1]
    lengths = range(int(np.ceil(DECORRELATIONS_A_BLOCK * length)), 0, -1)
    return next((one for one in lengths if np.sum(run_lengths // one) >= FEWEST_BLOCKS), 1)


class BlockPermutations(NamedTuple):
    """Hold ways to put the blocks of a prediction at each other's places.

    Attributes
    ----------
    rows : ndarray of int64 (n_cuts, n_blocks, block_length)
        Samples of each block, for each way to cut runs into blocks.
    rest : ndarray of int64 (n_cuts, n_rest)
        Samples that fill no block, and stay where they are.
    orders : ndarray of int64 (n_permutations, n_blocks)
        Which block comes to each place.
    cuts : ndarray of int64 (n_permutations,)
        Which cut each permutation is of.
    """

    rows: NDArray[np.int64]
    rest: NDArray[np.int64]
    orders: NDArray[np.int64]
    cuts: NDArray[np.int64]


def block_permutations(
    runs: ArrayLike, block_length: int, n_permutations: int, rng: np.random.Generator
) -> BlockPermutations:
    """Draw permutations of blocks of time.

    Blocks of all runs are exchanged with each other. Of lengths up to a quarter longer than asked for, the one that
    leaves the fewest samples over is taken. Where blocks are fewer than ten, each permutation is of one
    of up to eight ways to cut the runs, which are closed to rings for that: 720 orders of six blocks are too few.

    Parameters
    ----------
    runs : array_like (n_samples,)
        Run of each sample; the samples of a run are neighbours.
    block_length : int
        Samples of a block, at least.
    n_permutations : int
        How many.
    rng : numpy.random.Generator
        Source of all chance.

    Returns
    -------
    BlockPermutations
        The permutations.

    Raises
    ------
    DataError
        If there are fewer than two whole blocks.
    """
    runs = np.asarray(runs)
    places = [np.flatnonzero(runs == run) for run in dict.fromkeys(runs.tolist())]

    def left_over(length: int) -> int:
        return sum(len(inside) % length for inside in places)

    def n_whole(length: int) -> int:
        return sum(len(inside) // length for inside in places)

    lengths = range(max(1, block_length), block_length + block_length // 4 + 1)
    length = min((one for one in lengths if n_whole(one) >= min(FEWEST_BLOCKS, n_whole(block_length))), key=left_over)
    n_blocks = n_whole(length)
    if n_blocks < 2:
        raise DataError(
            f"{len(runs)} scans hold {n_blocks} block(s) of {length}, too few to permute. Test on longer runs."
        )
    n_cuts = min(length, MOST_CUTS) if n_blocks < MANY_BLOCKS else 1
    begins = np.arange(n_cuts) * length // n_cuts
    turned = [[np.roll(inside, -begin) for inside in places] for begin in begins]
    rows = [[part[: len(part) // length * length].reshape(-1, length) for part in parts] for parts in turned]
    rest = [[part[len(part) // length * length :] for part in parts] for parts in turned]
    return BlockPermutations(
        np.stack([np.concatenate(parts) for parts in rows]),
        np.stack([np.concatenate(parts) for parts in rest]),
        rng.permuted(np.tile(np.arange(n_blocks), (n_permutations, 1)), axis=1),
        rng.integers(n_cuts, size=n_permutations),
    )


def null_correlations(
    true: ArrayLike, predicted: ArrayLike, permutations: BlockPermutations
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    r"""Correlate truth with predictions whose blocks of time have changed places, block after block of units.

    Neither mean nor spread depends on the order, and the products of any two blocks are needed only once:

    .. math:: r_\pi = \frac{1}{T \sigma_y \sigma_{\hat y}} \Big(\sum_b C_{b, \pi(b)} + c_\mathrm{rest}\Big), \qquad
        C_{bc} = \sum_{k} y_{b,k}\, \hat y_{c,k},

    with y and ŷ centred. A thousand permutations are a thousand sums of a few entries of C.

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values.
    permutations : BlockPermutations
        As :func:`block_permutations`.

    Yields
    ------
    units : slice
        Which units.
    null : ndarray of float32 (n_permutations, n_units)
        Their correlations; NaN where truth or prediction is constant.
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    of_cut = [np.flatnonzero(permutations.cuts == cut) for cut in range(len(permutations.rows))]
    picks = [_picked_entries(permutations.orders[own]) for own in of_cut]
    for first in range(0, true.shape[1], UNITS_AT_ONCE):
        units = slice(first, first + UNITS_AT_ONCE)
        y, y_hat = _standardised(true[:, units]), _standardised(predicted[:, units])  # (n_units, n_samples)
        null = np.empty((len(permutations.orders), len(y)), dtype=np.float32)
        for rows, stay, own, pick in zip(permutations.rows, permutations.rest, of_cut, picks, strict=True):
            blocks, others = (torch.from_numpy(values[:, rows]) for values in (y, y_hat))
            products = torch.bmm(blocks, others.transpose(1, 2))  # (n_units, n_blocks, n_blocks)
            rest = np.sum(y[:, stay] * y_hat[:, stay], axis=1)
            null[own] = pick @ products.flatten(1).numpy().T.copy() + rest
        yield units, null


def _picked_entries(orders: NDArray[np.int64]) -> csr_matrix:
    """Give the matrix that sums, for every order, its entries of a table (n_blocks × n_blocks) that is laid flat."""
    n_permutations, n_blocks = orders.shape
    entries = (np.arange(n_blocks) * n_blocks + orders).ravel()
    bounds = np.arange(0, len(entries) + 1, n_blocks)
    return csr_matrix((np.ones(len(entries), np.float32), entries, bounds), shape=(n_permutations, n_blocks**2))


def _standardised(values: NDArray[Any]) -> NDArray[np.float32]:
    """Centre every unit and divide it by its norm, NaN where it is constant: (n_units, n_samples)."""
    centred = (values - values.mean(axis=0, dtype=np.float64)).T
    norm = np.sqrt(np.sum(np.square(centred), axis=1))
    return (centred / np.where(varies(values) & (norm > 0), norm, np.nan)[:, None]).astype(np.float32)


def exceedances(observed: NDArray[Any], null: NDArray[Any]) -> NDArray[np.int64]:
    """Count the draws (n_draws, n_units) that reach what was observed (n_units,), up to rounding."""
    counts: NDArray[np.int64] = np.sum(null >= observed - TIE, axis=0)
    return counts


def false_discovery_rates(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p for many tests (Benjamini and Hochberg): the false discovery rate at which each would be found.

    Parameters
    ----------
    p : array_like (n_tests,)
        Values of p; NaN is no test.

    Returns
    -------
    ndarray of float64 (n_tests,)
        Adjusted p; NaN stays.

    References
    ----------
    Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57, 1995, 289-300.

    Examples
    --------
    >>> false_discovery_rates([0.01, 0.02, float("nan"), 0.5]).round(3).tolist()
    [0.03, 0.03, nan, 0.5]
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted, tested = np.full(values.shape, np.nan), np.isfinite(values)
    if tested.any():
        adjusted[tested] = false_discovery_control(values[tested])
    return adjusted


def max_statistic_p(observed: ArrayLike, null: ArrayLike) -> NDArray[np.float64]:
    r"""Tell how often chance makes the greatest of several statistics as great as each.

    Every statistic is divided by the spread that chance gives it, so that none rules the greatest:

    .. math:: p_l = \frac{1 + \#\{\pi : \max_m s_m^\pi \ge s_l\}}{1 + n}

    Parameters
    ----------
    observed : array_like (n_statistics,)
        What was found, such as the mean r of every layer.
    null : array_like (n_permutations, n_statistics)
        The same under permutations, which are the same for all statistics.

    Returns
    -------
    ndarray of float64 (n_statistics,)
        p, one-sided, with the family-wise error controlled; NaN where there is no statistic.

    References
    ----------
    T. E. Nichols, A. P. Holmes, "Nonparametric permutation tests for functional neuroimaging", Hum. Brain Mapp. 15,
    2002.
    """
    observed, null = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    spread = null.std(axis=0)
    tested = np.isfinite(observed) & np.isfinite(spread) & (spread > 0)
    p = np.full(len(observed), np.nan)
    if tested.any():
        greatest = (null[:, tested] / spread[tested]).max(axis=1)
        scaled = observed[tested] / spread[tested]
        p[tested] = (1 + np.sum(greatest[:, None] >= scaled - TIE, axis=0)) / (1 + len(null))
    return p


def fisher_mean(r: ArrayLike, axis: int | None = None) -> Any:
    """Average correlations by Fisher's z, tanh of the mean of artanh r; NaN is left out.

    Parameters
    ----------
    r : array_like
        Correlations.
    axis : int, optional
        Axis to average over; all by default.

    Returns
    -------
    float or ndarray
        The mean; NaN where there is nothing to average.

    Examples
    --------
    >>> round(float(fisher_mean([0.0, 0.8])), 3)
    0.5
    """
    z = np.arctanh(np.clip(np.asarray(r, dtype=np.float64), -LARGEST_R, LARGEST_R))
    n = np.isfinite(z).sum(axis=axis)
    total = np.nansum(z, axis=axis)
    return np.tanh(np.divide(total, n, out=np.full_like(total, np.nan, dtype=np.float64), where=n > 0))


@dataclass(frozen=True)
class FisherMean:
    """Hold a mean correlation with its interval.

    Attributes
    ----------
    mean : float
        tanh of the mean of artanh r over units.
    interval : Interval
        Confidence interval; NaN with fewer than two blocks of time.
    """

    mean: float
    interval: Interval


def bootstrap_fisher_mean(
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]],
    runs: ArrayLike,
    block_length: int,
    rng: np.random.Generator,
    *,
    n_draws: int = 200,
    level: float = 0.95,
) -> FisherMean:
    r"""Average the correlations of units, with an interval from drawing blocks of time again.

    Every draw takes as many blocks as there are, with replacement; all units see the same. The spread s of the mean of
    artanh r over draws gives

    .. math:: \tanh\Big(\bar z \pm t_{B-1} \sqrt{\tfrac{B}{B-1}}\, s\Big)

    with Student's t, since the blocks B may be few.

    Parameters
    ----------
    pairs : iterable of (ndarray (n_samples, n_units), ndarray (n_samples, n_units))
        True and predicted values, some units at a time.
    runs : array_like (n_samples,)
        Run of each sample.
    block_length : int
        Samples of a block.
    rng : numpy.random.Generator
        Source of all chance.
    n_draws : int
        Draws.
    level : float
        Part of such intervals that hold the truth, if blocks are independent.

    Returns
    -------
    FisherMean
        Mean and interval.
    """
    blocks = time_blocks(runs, block_length)
    n_blocks = int(blocks.max()) + 1
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    taken = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_draws).astype(np.float32)
    n = taken @ np.diff([*starts, len(blocks)]).astype(np.float32)  # samples of each draw
    total, counted, observed = np.zeros(n_draws), np.zeros(n_draws), []
    for true, predicted in pairs:
        y, y_hat = _standardised(true).T, _standardised(predicted).T
        observed.append(np.sum(y * y_hat, axis=0))
        sums = [taken @ np.add.reduceat(part, starts) for part in (y, y_hat, y * y, y_hat * y_hat, y * y_hat)]
        covariance = sums[4] - sums[0] * sums[1] / n[:, None]
        power = (sums[2] - sums[0] ** 2 / n[:, None]) * (sums[3] - sums[1] ** 2 / n[:, None])
        r = np.divide(covariance, np.sqrt(power.clip(min=0)), out=np.full_like(power, np.nan), where=power > 0)
        z = np.arctanh(r.clip(-LARGEST_R, LARGEST_R))
        total += np.nansum(z, axis=1)
        counted += np.isfinite(z).sum(axis=1)
    mean = float(fisher_mean(np.concatenate(observed)))
    if n_blocks < 2 or not counted.all():
        return FisherMean(mean, Interval(float("nan"), float("nan")))
    reach = stdtrit(n_blocks - 1, (1 + level) / 2) * np.sqrt(n_blocks / (n_blocks - 1)) * np.std(total / counted)
    centre = np.arctanh(np.clip(mean, -LARGEST_R, LARGEST_R))
    return FisherMean(mean, Interval(float(np.tanh(centre - reach)), float(np.tanh(centre + reach))))
