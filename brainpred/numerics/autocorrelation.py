"""Tell how long blocks of time must be for autocorrelated series: what decorrelates slowest decides."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft, next_fast_len, rfft

from brainpred.numerics.spread import varies
from brainpred.numerics.timing import rows_of_runs

__all__ = ["BlockLength", "block_length", "decorrelation_lengths", "resampling_block_length"]

# A permutation keeps what neighbours share within a block and loses it at the borders: blocks of four times the
# decorrelation length lose at most an eighth of the variance that correlations have by chance.
DECORRELATIONS_A_BLOCK = 4
FEWEST_BLOCKS = 5
# With fewer, intervals and p are said to be coarse: a spread over ten is uncertain by a quarter of itself.
FEW_BLOCKS = 10
# Autocorrelation below this counts as none: it is what short series have of it by chance.
LEAST_AUTOCORRELATION = 0.05
UNITS_FOR_LENGTH = 2000
UNITS_AT_ONCE = 4096
# Blocks are long enough for the most autocorrelated units, one in so many.
ONE_IN = 20


class BlockLength(NamedTuple):
    """Hold how long blocks are, and how long they should be.

    Attributes
    ----------
    samples : int
        Length in samples.
    wanted : int
        Four times the decorrelation length; more than ``samples`` where runs would hold fewer than five such blocks.
    """

    samples: int
    wanted: int


def _shared_autocorrelation(true: NDArray[Any], predicted: NDArray[Any], runs: NDArray[Any]) -> NDArray[np.float32]:
    """Multiply the autocorrelations of both series, within runs, lag by lag: (n_lags, n_units); 0 where constant."""
    product = _autocorrelation(true, runs) * _autocorrelation(predicted, runs)
    product[:, ~(varies(true) & varies(predicted))] = 0
    return product


def _autocorrelation(values: NDArray[Any], runs: NDArray[Any]) -> NDArray[np.float32]:
    """Autocorrelate every unit within runs, at lags from 0 up to the longest run: (n_lags, n_units)."""
    places = rows_of_runs(runs)
    total = np.zeros((max(map(len, places)), values.shape[1]), dtype=np.float32)
    for inside in places:
        part = np.asarray(values[inside], dtype=np.float32)
        part = part - part.mean(axis=0, dtype=np.float64).astype(np.float32)
        n, padded = len(part), next_fast_len(2 * len(part), real=True)
        total[:n] += irfft(np.abs(rfft(part, padded, axis=0)) ** 2, padded, axis=0)[:n]
    scaled: NDArray[np.float32] = np.divide(total, total[0], out=np.zeros_like(total), where=total[0] > 0)
    return scaled


def _summed(shared: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum products of autocorrelations up to the last lag before they fall below 0.05: (n_units,)."""
    reached = np.cumprod(shared[1:] >= LEAST_AUTOCORRELATION, axis=0).astype(bool)
    return np.asarray(1 + 2 * np.sum(shared[1:], axis=0, where=reached, dtype=np.float64))


def uncertainty_of_spread(n_blocks: int) -> float:
    r"""Tell by what part of itself a standard deviation over few blocks is uncertain, :math:`1 / \sqrt{2 (B - 1)}`.

    Parameters
    ----------
    n_blocks : int
        Blocks B, 2 or more.

    Returns
    -------
    float
        Its standard error, as a part of it, as of normal values.

    Examples
    --------
    >>> round(uncertainty_of_spread(6), 2)
    0.32
    """
    return float(1 / np.sqrt(2 * (n_blocks - 1)))


def decorrelation_lengths(true: ArrayLike, predicted: ArrayLike, runs: ArrayLike) -> NDArray[np.float64]:
    r"""Tell for each unit how many samples tell as much of its correlation as one that is independent.

    The correlation of two autocorrelated series varies as if there were one independent sample in

    .. math:: \ell = 1 + 2 \sum_{k=1}^{K} \rho_y(k)\, \rho_{\hat y}(k)

    with the autocorrelations within runs, up to the last lag before their product falls below 0.05.

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values.
    runs : array_like (n_samples,)
        Run of each sample; the samples of a run are neighbours.

    Returns
    -------
    ndarray of float64 (n_units,)
        Length in samples, 1 or more; 1 where a series is constant.

    References
    ----------
    M. S. Bartlett, "Some aspects of the time-correlation problem in regard to tests of significance", J. R. Stat. Soc.
    98, 1935, 536-543.
    """
    true, predicted, runs = np.asarray(true), np.asarray(predicted), np.asarray(runs)
    lengths = np.ones(true.shape[1])
    for first in range(0, true.shape[1], UNITS_AT_ONCE):
        units = slice(first, first + UNITS_AT_ONCE)
        lengths[units] = _summed(_shared_autocorrelation(true[:, units], predicted[:, units], runs))
    return lengths


def block_length(decorrelation: float, runs: ArrayLike) -> BlockLength:
    """Make blocks four times as long as series take to decorrelate, unless runs then hold fewer than five.

    Parameters
    ----------
    decorrelation : float
        Decorrelation length in samples.
    runs : array_like (n_samples,)
        Run of each sample.

    Returns
    -------
    BlockLength
        The length, and the one that was wanted.

    Examples
    --------
    >>> block_length(5.0, [0] * 60)
    BlockLength(samples=12, wanted=20)
    """
    return fitting_length(int(np.ceil(DECORRELATIONS_A_BLOCK * decorrelation - 1e-6)), runs)


def fitting_length(wanted: int, runs: ArrayLike) -> BlockLength:
    """Make blocks as long as is wanted, unless runs then hold fewer than five.

    Parameters
    ----------
    wanted : int
        Samples of a block.
    runs : array_like (n_samples,)
        Run of each sample.

    Returns
    -------
    BlockLength
        The length, and the one that was wanted.
    """
    run_lengths = np.unique(np.asarray(runs), return_counts=True)[1]
    fitting = (one for one in range(wanted, 0, -1) if np.sum(run_lengths // one) >= FEWEST_BLOCKS)
    return BlockLength(next(fitting, 1), wanted)


def resampling_block_length(true: ArrayLike, predicted: ArrayLike, runs: ArrayLike) -> BlockLength:
    """Choose how long blocks must be for the correlations of many units.

    The length is that of :func:`decorrelation_lengths` with the product of autocorrelations averaged over units, or, if
    it is more, that of the twentieth part of the units that are the most autocorrelated. These are found in one half of
    every run and measured in the other, and the other way round, lest chance make some of them out of equals.

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values; 2,000 units, evenly spaced, are looked at.
    runs : array_like (n_samples,)
        Run of each sample; the samples of a run are neighbours.

    Returns
    -------
    BlockLength
        The length, and the one that was wanted.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> resampling_block_length(rng.standard_normal((90, 50)), rng.standard_normal((90, 50)), [0] * 90)
    BlockLength(samples=4, wanted=4)
    """
    true, predicted, runs = np.asarray(true), np.asarray(predicted), np.asarray(runs)
    some = np.unique(np.linspace(0, true.shape[1] - 1, UNITS_FOR_LENGTH).round().astype(int))
    some = some[(varies(true[:, some]) & varies(predicted[:, some]))]
    if not len(some):
        return block_length(1.0, runs)
    true, predicted = true[:, some], predicted[:, some]
    lengths = [float(_summed(_shared_autocorrelation(true, predicted, runs).mean(axis=1, keepdims=True))[0])]
    if len(some) >= 2 * ONE_IN and len(runs) >= 2 * FEWEST_BLOCKS:
        lengths.append(_length_of_slowest(true, predicted, runs))
    return block_length(max(lengths), runs)


def _length_of_slowest(true: NDArray[Any], predicted: NDArray[Any], runs: NDArray[Any]) -> float:
    """Measure the decorrelation length of the most autocorrelated units in samples that they were not chosen by."""
    place = np.concatenate([np.arange(n) < n // 2 for n in np.unique(runs, return_counts=True)[1]])
    order = np.argsort(runs, kind="stable")
    shared = [
        _shared_autocorrelation(true[half], predicted[half], runs[half]) for half in (order[place], order[~place])
    ]
    slowest = [np.argsort(_summed(part))[-(true.shape[1] // ONE_IN) :] for part in shared]
    measured = [
        _summed(shared[1 - number][:, chosen].mean(axis=1, keepdims=True))[0] for number, chosen in enumerate(slowest)
    ]
    return float(np.mean(measured))
