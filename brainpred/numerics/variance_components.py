"""Split the variance that many voxels share with kernels of features into the part of each, free of the noise."""

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import toeplitz
from scipy.optimize import lsq_linear

from brainpred.errors import DataError
from brainpred.numerics.timing import rows_of_runs

__all__ = ["VarianceShares", "variance_shares"]

MIN_GROUPS = 3  # a pair is left when one group is left out
DRIFT_DEGREE = 2  # polynomials that a run's drift may follow, beside which nothing is told
N_WEIGHTINGS = 3  # noise alone, then noise and the signal found so far
LARGEST_AR1 = 0.9
LEAST_NOISE = 0.1  # of the variance, in the weights
SINGULAR = 1e-10
INTERVAL_DEVIATIONS = 1.96  # of a normal distribution, for 95 %


class VarianceShares(NamedTuple):
    """Hold what part of the voxels' variance follows each kernel.

    Attributes
    ----------
    share : ndarray of float64 (n_kernels,)
        Parts of the variance of one presentation, 0 or more.
    low, high : ndarray of float64 (n_kernels,)
        95 % intervals, from leaving out every group in turn.
    """

    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class _Run(NamedTuple):
    group: Hashable
    samples: NDArray[np.int64]
    rows: NDArray[np.int64]
    drifts: NDArray[np.float64]
    noise: NDArray[np.float64]
    n_repeats: int


def variance_shares(
    products: ArrayLike,
    kernels: Sequence[NDArray[np.floating]],
    rows: ArrayLike,
    runs: ArrayLike,
    groups: ArrayLike,
    kept: ArrayLike,
) -> VarianceShares:
    r"""Estimate how much of the variance of many voxels follows each of several kernels.

    The voxels are taken to be linear in the features, with weights drawn at random, so that their courses have the
    covariance

    .. math:: \tfrac1V \sum_v y_v y_v^\top = S \approx \sum_l s_l K_l + \text{noise}

    where noise of different runs has nothing in common. Repeats of a clip have all in common that goes with the clip,
    be it in a kernel or in none, and any kernel fits a little of it. So the shares s are fitted to pairs of runs of
    different clips alone, by generalised least squares, and cannot be less than 0:

    .. math:: \min_{s \ge 0} \sum_{i, j} \big\| V_i^{-1/2} \big(S_{ij} - \textstyle\sum_l s_l K_{l,ij}\big)
        V_j^{-1/2} \big\|^2, \qquad V_i = N_i + n_i \sum_l s_l K_{l,ii}

    V weights the scans: N is AR(1) noise with the autocorrelation found, n_i the presentations of the clip. What V is
    taken to be makes s more or less certain, but not wrong. What follows a polynomial of second degree within a run is
    left out as drift, of the voxels' variance too. Kernels are scaled to mean variance 1, and s divided by that of the
    voxels.

    Parameters
    ----------
    products : array_like (n_samples, n_samples)
        S, means over voxels of the products of their cleaned scans.
    kernels : sequence of ndarray (n_rows, n_rows)
        Inner products of features, of any scale.
    rows : array_like of int (n_samples,)
        Row of the kernels that belongs to each sample: runs of the same clip share theirs.
    runs : array_like (n_samples,)
        Run of each sample.
    groups : array_like (n_samples,)
        Group of each sample's run: pairs of runs of one group, which show some of the same, are not used.
    kept : array_like of bool (n_samples,)
        Samples that count; others, such as scans during which the head moved, do not.

    Returns
    -------
    VarianceShares
        Shares, with intervals by the jackknife over groups.

    Raises
    ------
    DataError
        If there are fewer than three groups, or a run keeps no more samples than drifts take away.

    References
    ----------
    J. Diedrichsen, A. Yokoi, S. A. Arbuckle, "Pattern component modeling", NeuroImage 180, 2018 (the model).
    J. K. Haseman, R. C. Elston, Behav. Genet. 2, 1972; D. Golan, E. S. Lander, S. Rosset, PNAS 111, 2014 (variance
    components by regression on pairs).
    A. Walther et al., "Reliability of dissimilarity measures", NeuroImage 137, 2016 (products across runs, which noise
    does not bias).

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> features = [gain * rng.standard_normal((160, 7)) for gain in (3.0, 0.5)]
    >>> scans = features[0] @ rng.standard_normal((7, 500)) / 9 + rng.standard_normal((160, 500))
    >>> clips = np.repeat(range(4), 40)
    >>> shares = variance_shares(
    ...     scans @ scans.T / 500, [x @ x.T for x in features], np.arange(160), clips, clips, np.ones(160, bool)
    ... )
    >>> shares.share.round(1).tolist()
    [0.4, 0.0]
    """
    products, rows, kept = np.asarray(products), np.asarray(rows), np.asarray(kept, dtype=bool)
    parts = _runs(products, rows, runs, np.asarray(groups), kept)
    pairs = [(one.group, other.group) for one, other in _of_different_groups(parts)]
    total = float(np.mean([_detrended_variance(products, run.samples, run.drifts) for run in parts]))
    if not total > 0:
        return VarianceShares(*np.full((3, len(kernels)), np.nan))
    sizes = [
        float(np.mean([_detrended_variance(kernel, run.rows, run.drifts) for run in parts])) or 1.0
        for kernel in kernels
    ]
    share = np.zeros(len(kernels))
    for _ in range(N_WEIGHTINGS):
        moments, information = _pairs(products, kernels, sizes, parts, share, total)
        share = _fit(moments.sum(axis=0), information.sum(axis=0))
    names = list(dict.fromkeys(run.group for run in parts))
    left_out = [[group not in pair for pair in pairs] for group in names]
    without = [_fit(moments[rest].sum(axis=0), information[rest].sum(axis=0), least=-np.inf) for rest in left_out]
    error = np.sqrt((len(names) - 1) * np.var(without, axis=0))
    low, high = share - INTERVAL_DEVIATIONS * error, share + INTERVAL_DEVIATIONS * error
    return VarianceShares(share / total, np.maximum(low, 0) / total, high / total)


def _runs(
    products: NDArray[np.floating],
    rows: NDArray[np.int64],
    runs: ArrayLike,
    groups: NDArray[Any],
    kept: NDArray[np.bool_],
) -> list[_Run]:
    """Prepare what is needed of every run: samples that count, drifts, and AR(1) noise of the correlation found."""
    samples = rows_of_runs(runs)
    if (n_groups := len(np.unique(groups))) < MIN_GROUPS:
        raise DataError(
            f"Shares of variance need {MIN_GROUPS} runs or more that show nothing of the same, received {n_groups}."
        )
    before = np.concatenate([own[:-1] for own in samples])
    before = before[kept[before] & kept[before + 1]]
    variance = products.diagonal()[kept].mean()
    ar1 = np.clip(products[before, before + 1].mean() / variance, 0, LARGEST_AR1) if variance > 0 else 0.0
    parts = []
    for own in samples:
        at = np.flatnonzero(kept[own])
        if len(at) <= DRIFT_DEGREE + 1:
            raise DataError(
                f"Of the {len(own)} scans of run {np.asarray(runs)[own[0]]} {len(at)} can be used, but shares of "
                f"variance need {DRIFT_DEGREE + 2} or more. Leave the run out."
            )
        drifts, _ = np.linalg.qr(np.vander(at / len(own) - 0.5, DRIFT_DEGREE + 1))
        n_repeats = sum(np.isin(rows[other[0]], rows[own]) for other in samples)
        noise = toeplitz(ar1 ** np.arange(len(own)))[np.ix_(at, at)]
        parts.append(_Run(groups[own[0]], own[at], rows[own[at]], drifts, noise, int(n_repeats)))
    return parts


def _of_different_groups(runs: Sequence[_Run]) -> list[tuple[_Run, _Run]]:
    return [(one, other) for one, other in combinations(runs, 2) if one.group != other.group]


def _detrended_variance(products: NDArray[np.floating], at: NDArray[np.int64], drifts: NDArray[np.float64]) -> float:
    """Give the mean variance, about drifts, of what has these products over time."""
    own = products[np.ix_(at, at)].astype(np.float64)
    return float((np.trace(own) - np.sum(drifts * (own @ drifts))) / len(own))


def _pairs(
    products: NDArray[np.floating],
    kernels: Sequence[NDArray[np.floating]],
    sizes: Sequence[float],
    runs: Sequence[_Run],
    share: NDArray[np.float64],
    total: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give what every pair that is used adds to the normal equations: (n_pairs, n_kernels), (n_pairs, n_kernels, …)."""

    def blocks(one: _Run, other: _Run) -> NDArray[np.float64]:
        rows = np.ix_(one.rows, other.rows)
        return np.stack([kernel[rows] / size for kernel, size in zip(kernels, sizes, strict=True)])

    weights = {}
    for run in runs:
        noise = max(total - share.sum(), LEAST_NOISE * total) * run.noise
        inverse = np.linalg.inv(noise + run.n_repeats * np.tensordot(share, blocks(run, run), axes=1))
        drifting = inverse @ run.drifts
        weights[run.samples[0]] = inverse - drifting @ np.linalg.solve(run.drifts.T @ drifting, drifting.T)
    moments, information = [], []
    for one, other in _of_different_groups(runs):
        parts = blocks(one, other)
        weighted = (weights[one.samples[0]] @ parts @ weights[other.samples[0]]).reshape(len(kernels), -1)
        moments.append(weighted @ products[np.ix_(one.samples, other.samples)].ravel())
        information.append(weighted @ parts.reshape(len(kernels), -1).T)
    return np.stack(moments), np.stack(information)


def _fit(moments: NDArray[np.float64], information: NDArray[np.float64], least: float = 0.0) -> NDArray[np.float64]:
    """Minimise s'Ms - 2m's; kernels that tell nothing get 0."""
    size = np.sqrt(information.diagonal())
    known = size > 0
    fitted = np.zeros(len(moments))
    if known.any():
        size = size[known]
        values, vectors = np.linalg.eigh(information[np.ix_(known, known)] / np.outer(size, size))
        firm = values > SINGULAR * values[-1]
        root = np.sqrt(values[firm])
        solved = lsq_linear((vectors[:, firm] * root).T, (vectors[:, firm] / root).T @ (moments[known] / size),
                            bounds=(least, np.inf))  # fmt: skip
        fitted[known] = solved.x / size
    return fitted
