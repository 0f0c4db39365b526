"""Score predictions: correlation over time and over units, R², identification."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import DataError
from brainpred.numerics.rows import number_rows
from brainpred.numerics.spread import varies

__all__ = [
    "EXCLUDED_S",
    "explained_parts",
    "identification",
    "identification_elsewhere",
    "nway_identification",
    "pattern_correlation",
    "pattern_similarity",
    "pearson_correlation",
    "product_measure",
    "r2_score",
]

# Correlations nearer to each other than this differ by rounding alone.
TIE = 1e-9
# Scans as near as this show nearly the same, and are not to be told apart.
EXCLUDED_S = 4.0
COLUMNS_AT_ONCE = 16384
ROWS_AT_ONCE = 512
# Of the table of what was decoded at any scan and shown at any other, so much at once.
CELLS_AT_ONCE = 2**18


def _pair(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape or true.ndim != 2:
        raise DataError(
            f"True and predicted values must share one shape (n_samples, n_units), received {true.shape} "
            f"and {predicted.shape}."
        )
    return true, predicted


def pearson_correlation(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.floating]:
    """Correlate truth and prediction over samples, unit by unit (the "profile" correlation).

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values.

    Returns
    -------
    ndarray (n_units,)
        Pearson's r; NaN where either is constant.

    Examples
    --------
    >>> pearson_correlation([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], [[2.0, 1.0], [4.0, 2.0], [6.0, 3.0]])
    array([ 1., -1.])
    """
    checked_true, checked_predicted = _pair(true, predicted)
    y = checked_true - checked_true.mean(axis=0)
    y_hat = checked_predicted - checked_predicted.mean(axis=0)
    norm = np.sqrt(np.sum(y**2, axis=0) * np.sum(y_hat**2, axis=0))
    defined = varies(checked_true) & varies(checked_predicted) & (norm > 0)
    return np.divide(np.sum(y * y_hat, axis=0), norm, out=np.full_like(norm, np.nan), where=defined)


def pattern_correlation(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.floating]:
    """Correlate truth and prediction over units, sample by sample.

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values, best z-scored per unit over time, lest the mean pattern decide.

    Returns
    -------
    ndarray (n_samples,)
        Pearson's r; NaN where either is constant.
    """
    checked_true, checked_predicted = _pair(true, predicted)
    samples = range(len(checked_true))  # one at a time: layers are wide
    return np.concatenate([pearson_correlation(checked_true[[t]].T, checked_predicted[[t]].T) for t in samples])


def r2_score(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.floating]:
    """Give the coefficient of determination of every unit, 1 - Σ (y - ŷ)² / Σ (y - mean y)².

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values.

    Returns
    -------
    ndarray (n_units,)
        R²; NaN where the truth is constant.
    """
    true, predicted = _pair(true, predicted)
    total = np.sum((true - true.mean(axis=0)) ** 2, axis=0)
    residual = np.sum((true - predicted) ** 2, axis=0)
    return 1 - np.divide(residual, total, out=np.full_like(total, np.nan), where=varies(true) & (total > 0))


def explained_parts(true: ArrayLike, parts: ArrayLike) -> NDArray[np.float64]:
    r"""Split the sum of squares that a prediction explains among its parts, :math:`\sum_t \hat y_b (2 y - \hat y)`.

    Parameters
    ----------
    true : array_like (n_samples, n_units)
        Values, centred.
    parts : array_like (n_parts, n_samples, n_units)
        What each part adds to the prediction :math:`\hat y`.

    Returns
    -------
    ndarray of float64 (n_parts, n_units)
        They sum to :math:`\sum_t y^2 - (y - \hat y)^2`.
    """
    y, y_hat = np.asarray(true, dtype=np.float64), np.asarray(parts, dtype=np.float64)
    return np.einsum("btu,tu->bu", y_hat, 2 * y - y_hat.sum(axis=0))


def product_measure(true: ArrayLike, parts: ArrayLike) -> NDArray[np.float64]:
    r"""Split R² among the parts of a prediction, :math:`\sum_t \hat y_b (2 y - \hat y) / \sum_t y^2`, all centred.

    Parameters
    ----------
    true : array_like (n_samples, n_units)
        Values.
    parts : array_like (n_parts, n_samples, n_units)
        What each part adds to the prediction :math:`\hat y`.

    Returns
    -------
    ndarray of float64 (n_parts, n_units)
        Shares, which sum to the R² of the centred prediction; NaN where the truth is constant.

    References
    ----------
    T. Dupré la Tour et al., "Feature-space selection with banded ridge regression", NeuroImage 264, 2022, product
    measure.
    """
    y, y_hat = np.asarray(true, dtype=np.float64), np.asarray(parts, dtype=np.float64)
    defined = varies(np.asarray(true))
    y = y - y.mean(axis=0)
    shared, power = explained_parts(y, y_hat - y_hat.mean(axis=1, keepdims=True)), np.sum(y**2, axis=0)
    return np.divide(shared, power, out=np.full_like(shared, np.nan), where=defined & (power > 0))


def _rows_correlated(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """Correlate every row of one array with every row of another, in float64, some columns at a time."""

    def moments(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean = rows.mean(axis=1, dtype=np.float64)[:, None]
        squares = sum(np.square(rows[:, part] - mean).sum(axis=1) for part in parts)
        norm = np.sqrt(squares)
        return mean, np.where(varies(rows, axis=1) & (norm > 0), norm, np.inf)

    parts = [slice(first, first + COLUMNS_AT_ONCE) for first in range(0, left.shape[1], COLUMNS_AT_ONCE)]
    (left_mean, left_norm), (right_mean, right_norm) = moments(left), moments(right)
    products = np.zeros((len(left), len(right)))
    for part in parts:
        centred = (right[:, part] - right_mean).T
        for first in range(0, len(left), ROWS_AT_ONCE):  # a table of all rows is large: no second one
            rows = slice(first, first + ROWS_AT_ONCE)
            products[rows] += (left[rows, part] - left_mean[rows]) @ centred
    products /= left_norm[:, None]
    products /= right_norm
    return products


def pattern_similarity(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Correlate, over units, every sample's prediction with every sample's truth.

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values.

    Returns
    -------
    ndarray of float64 (n_samples, n_samples)
        Row: prediction; column: truth. 0 where either is constant.
    """
    true, predicted = _pair(true, predicted)
    if len(true) < 2:
        raise DataError(f"Identification needs at least 2 samples, received {len(true)}.")
    return _rows_correlated(np.asarray(predicted), np.asarray(true))


def identification(
    similarity: NDArray[np.floating], excluded: int, n_way: int, runs: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""Tell how often what was shown is picked out of n candidates by its likeness to what was decoded.

    The other n - 1 candidates are drawn from the scans of other runs, and those of the same run that are more than
    ``excluded`` scans away; the mean over all draws is given exactly. With N such scans, m of them less alike than the
    right one,

    .. math:: P = \binom{m}{n-1} \Big/ \binom{N}{n-1},

    and scans as alike as the right one count half.

    Parameters
    ----------
    similarity : ndarray (n_scans, n_scans)
        Row: what was decoded at each scan; column: what was shown; scans in order. Such as
        :func:`pattern_similarity`.
    excluded : int
        How near in time, in scans, nothing is drawn: neighbours show nearly the same.
    n_way : int
        Number of candidates; chance is 1 / n_way.
    runs : array_like (n_scans,), optional
        Run of each scan. None: a single run.

    Returns
    -------
    ndarray of float64 (n_scans,)
        Part of draws in which each scan is picked; NaN where there are too few scans to draw from.
    """
    picked = np.empty(len(similarity))
    for rows, (elsewhere,) in identification_elsewhere(similarity, excluded, (n_way,), runs):
        picked[rows] = elsewhere[:, rows].diagonal()
    return picked


def identification_elsewhere(
    similarity: NDArray[np.floating], excluded: int, n_ways: Sequence[int], runs: ArrayLike | None = None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Tell of each scan how often it would be picked if what was decoded were what was decoded at any other scan.

    Parameters
    ----------
    similarity, excluded, runs
        As :func:`identification`; rows are read one block after the other, from a file where that is where they are.
    n_ways : sequence of int
        Numbers of candidates.

    Yields
    ------
    rows : slice
        Which scans' decoded patterns.
    elsewhere : ndarray of float64 (n_ways, n_rows, n_scans)
        Row: whose decoded pattern; column: the scan in whose place it stands. The diagonal of all rows is
        :func:`identification`.
    """
    n_scans = len(similarity)
    names = np.zeros(n_scans) if runs is None else np.asarray(runs)
    near = min(excluded, n_scans - 1)
    beside = []  # too near in time to be drawn, and the scan itself
    for step in range(-near, near + 1):
        here = np.arange(max(0, -step), n_scans - max(0, step))
        beside.append((here[names[here] == names[here + step]], step))
    drawn_from = n_scans - np.bincount(np.concatenate([here for here, _ in beside]), minlength=n_scans).astype(float)
    n_rows = max(1, CELLS_AT_ONCE // n_scans)
    for first in range(0, n_scans, n_rows):
        rows = slice(first, min(first + n_rows, n_scans))
        alike = np.asarray(similarity[rows], dtype=np.float64)
        beaten = np.stack([_beaten(row) for row in alike])
        for here, step in beside:
            gap = alike[:, here + step] - alike[:, here]
            beaten[:, here] -= (gap <= -TIE) + 0.5 * (np.abs(gap) < TIE)
        yield rows, np.stack([_picked(beaten, drawn_from, n_way) for n_way in n_ways])


def _beaten(alike: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count for each value those below it, and half of those as great, itself among them."""
    order = np.argsort(alike)
    ordered = alike[order]
    beaten = np.empty(len(alike))
    beaten[order] = np.searchsorted(ordered, ordered - TIE, "right") + np.searchsorted(ordered, ordered + TIE, "left")
    return beaten / 2


def _picked(beaten: NDArray[np.float64], drawn_from: NDArray[np.float64], n_way: int) -> NDArray[np.float64]:
    """Give the part of draws in which all other candidates are among those that are beaten."""
    probability = np.ones(beaten.shape)
    for taken in range(n_way - 1):
        left = drawn_from - taken
        probability *= np.maximum(beaten - taken, 0) / np.where(left > 0, left, 1)
    return np.where(drawn_from >= n_way - 1, probability, np.nan)


def nway_identification(
    true: ArrayLike, predicted: ArrayLike, max_candidates: int = 64
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Identify which of a few distinct patterns (categories, say) was shown.

    The candidates are the distinct rows of ``true`` that are not constant over units; samples whose truth
    is constant (rest) are left out. Features that hardly recur (each candidate shown less than twice, on
    average) have no categories to identify.

    Parameters
    ----------
    true, predicted : array_like (n_samples, n_units)
        Values; a prediction is given to the candidate it correlates with most.
    max_candidates : int
        With more distinct patterns than this, nothing is identified.

    Returns
    -------
    chosen : ndarray of int64 (n_samples,)
        Candidate that each prediction is most like, from 0; -1 when nothing can be identified.
    shown : ndarray of int64 (n_samples,)
        Candidate that was shown; -1 where there was none.
    n_candidates : int
        Number of candidates; 0 when nothing can be identified.
    """
    true, predicted = _pair(true, predicted)
    labels = number_rows(true)
    firsts = np.unique(labels, return_index=True)[1]
    varied = np.flatnonzero(varies(np.asarray(true), axis=1)[firsts])
    samples = np.flatnonzero(np.isin(labels, varied))
    if not 2 <= len(varied) <= min(max_candidates, len(samples) // 2):
        return np.full(len(true), -1), np.full(len(true), -1), 0
    numbered = np.full(len(firsts), -1)
    numbered[varied] = np.arange(len(varied))
    chosen = _rows_correlated(np.asarray(predicted), np.asarray(true)[firsts[varied]]).argmax(axis=1)
    return chosen, numbered[labels], len(varied)
