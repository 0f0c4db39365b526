"""Permute blocks of time: what correlations chance gives, and how often they reach what was found."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from scipy.stats import false_discovery_control

from brainpred.errors import DataError
from brainpred.numerics.autocorrelation import FEWEST_BLOCKS
from brainpred.numerics.spread import varies
from brainpred.numerics.timing import rows_of_runs

__all__ = [
    "BlockPermutations",
    "block_permutations",
    "exceedances",
    "false_discovery_rates",
    "max_statistic_p",
    "null_correlations",
    "null_means",
    "p_of_exceedances",
    "permuted_p",
    "permuted_samples",
    "standardised",
]

# With fewer blocks than this, their orders are so few that runs are cut into blocks at several places.
MANY_BLOCKS, MOST_CUTS = 20, 8
UNITS_AT_ONCE = 2048
# Correlations nearer to each other than this differ by rounding (in float32) alone.
TIE = 1e-5
# What permutations spread less than this they do not change.
NO_SPREAD = 1e-7


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
    leaves the fewest samples over is taken. Where blocks are fewer than twenty, each permutation is of
    one of up to eight ways to cut the runs, which are closed to rings for that: 720 orders of six blocks are too few.

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
    places = rows_of_runs(runs)

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


def permuted_samples(permutations: BlockPermutations) -> Iterator[NDArray[np.int64]]:
    """Give for every permutation which sample comes to each place.

    Parameters
    ----------
    permutations : BlockPermutations
        As :func:`block_permutations`.

    Yields
    ------
    ndarray of int64 (n_samples,)
        Samples in their new order.
    """
    n_samples = permutations.rows[0].size + permutations.rest.shape[1]
    for order, cut in zip(permutations.orders, permutations.cuts, strict=True):
        samples = np.arange(n_samples)
        samples[permutations.rows[cut]] = permutations.rows[cut][order]
        yield samples


def null_means(
    elsewhere: Iterable[tuple[slice, NDArray[np.floating]]], permutations: BlockPermutations
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Average scores of every sample, as they are and under permutations, :math:`\frac{1}{T} \sum_t S_{\pi(t), t}`.

    As in :func:`null_correlations`, what any block adds at the place of any other is needed only once.

    Parameters
    ----------
    elsewhere : iterable of (slice, ndarray (n_scores, n_rows, n_samples))
        Blocks of rows: the scores of each sample's (column's) truth with the prediction of any other (row), such as
        :func:`brainpred.numerics.scores.identification_elsewhere`; columns of NaN are left out.
    permutations : BlockPermutations
        As :func:`block_permutations`.

    Returns
    -------
    found : ndarray of float64 (n_scores,)
        Means; NaN where there is nothing to average.
    null : ndarray of float64 (n_scores, n_permutations)
        The same under permutations.
    """
    n_cuts, n_blocks, _ = permutations.rows.shape
    n_samples = permutations.rows[0].size + permutations.rest.shape[1]
    block, place = np.full((2, n_cuts, n_samples), -1)
    for cut, rows_of_blocks in enumerate(permutations.rows):
        block[cut, rows_of_blocks], place[cut, rows_of_blocks] = np.indices(rows_of_blocks.shape)
    found: Any = 0.0
    products: Any = 0.0
    rest: Any = 0.0
    count = np.zeros(0)
    for rows, with_gaps in elsewhere:
        known = np.isfinite(with_gaps)
        scores, count = np.where(known, with_gaps, 0), known[:, 0].sum(axis=1)
        diagonal = scores[:, :, rows].diagonal(axis1=1, axis2=2)  # (n_scores, n_rows)
        found = found + diagonal.sum(axis=1)
        added = []
        for cut, rows_of_blocks in enumerate(permutations.rows):
            comes = np.flatnonzero(block[cut, rows] >= 0)
            at = rows_of_blocks[:, place[cut, rows][comes]]  # (n_blocks, n_comes)
            added.append(scores[:, comes, at] @ (block[cut, rows][comes][:, None] == np.arange(n_blocks)))
        products = products + np.stack(
            added, axis=1
        )  # (n_scores, n_cuts, n_blocks, n_blocks): at each place, each block
        rest = rest + diagonal @ (block[:, rows].T < 0)
    null = np.empty((len(count), len(permutations.orders)))
    for cut in range(n_cuts):
        own = np.flatnonzero(permutations.cuts == cut)
        sums = _picked_entries(permutations.orders[own]) @ products[:, cut].reshape(len(count), -1).T
        null[:, own] = sums.T + rest[:, [cut]]
    n_known = np.where(count > 0, count, np.nan)
    return found / n_known, null / n_known[:, None]


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
        y, y_hat = standardised(true[:, units]), standardised(predicted[:, units])  # (n_units, n_samples)
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


def standardised(values: NDArray[Any]) -> NDArray[np.float32]:
    """Centre every unit and divide it by its norm, NaN where it is constant: (n_units, n_samples)."""
    centred = (values - values.mean(axis=0, dtype=np.float64)).T
    norm = np.sqrt(np.sum(np.square(centred), axis=1))
    return (centred / np.where(varies(values) & (norm > 0), norm, np.nan)[:, None]).astype(np.float32)


def permuted_p(
    observed: NDArray[Any],
    true: ArrayLike,
    predicted: ArrayLike,
    permutations: BlockPermutations,
    advance: Callable[[float], None] = lambda n_units: None,
) -> NDArray[np.float32]:
    r"""Tell how often chance gives a correlation as high, :math:`(1 + \#\{r_\pi \ge r\}) / (1 + n)`.

    Parameters
    ----------
    observed : ndarray (n_units,)
        Correlations that were found.
    true, predicted, permutations
        As :func:`null_correlations`.
    advance : callable
        Told of every so many units that are tested.

    Returns
    -------
    ndarray of float32 (n_units,)
        p, one-sided; NaN where there is no correlation.

    References
    ----------
    B. Phipson, G. K. Smyth, "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. Biol. 9, 2010.
    """
    p = np.full(len(observed), np.nan, dtype=np.float32)
    for units, null in null_correlations(true, predicted, permutations):
        p[units] = p_of_exceedances(observed[units], null)
        advance(null.shape[1])
    return p


def p_of_exceedances(observed: NDArray[Any], null: NDArray[Any]) -> NDArray[np.float64]:
    """Give p of what was observed (n_units,) from draws (n_draws, n_units); NaN where either is not defined."""
    p: NDArray[np.float64] = (1 + exceedances(observed, null)) / (1 + len(null))
    return np.where(np.isfinite(observed) & np.isfinite(null[0]), p, np.nan)


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

    Every statistic is taken relative to the mean and the spread that chance gives it, so that none rules the greatest:

    .. math:: z_l = \frac{s_l - \mathrm{mean}_\pi s_l^\pi}{\mathrm{sd}_\pi s_l^\pi}, \qquad
        p_l = \frac{1 + \#\{\pi : \max_m z_m^\pi \ge z_l\}}{1 + n}

    Parameters
    ----------
    observed : array_like (n_statistics,)
        What was found, such as the mean r of every layer.
    null : array_like (n_permutations, n_statistics)
        The same under permutations, which are the same for all statistics.

    Returns
    -------
    ndarray of float64 (n_statistics,)
        p, one-sided, with the family-wise error controlled; NaN where there is no statistic, or one that no permutation
        changes.

    References
    ----------
    T. E. Nichols, A. P. Holmes, "Nonparametric permutation tests for functional neuroimaging", Hum. Brain Mapp. 15,
    2002.
    """
    observed, null = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    centre, spread = null.mean(axis=0), null.std(axis=0)
    tested = np.isfinite(observed) & np.isfinite(spread) & (spread > NO_SPREAD)
    p = np.full(len(observed), np.nan)
    if tested.any():
        greatest = ((null[:, tested] - centre[tested]) / spread[tested]).max(axis=1)
        scaled = (observed[tested] - centre[tested]) / spread[tested]
        p[tested] = (1 + np.sum(greatest[:, None] >= scaled - TIE, axis=0)) / (1 + len(null))
    return p
