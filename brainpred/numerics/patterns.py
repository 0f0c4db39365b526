"""Forward patterns: where in the brain what a decoder gives shows, as opposed to what it reads from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import DataError
from brainpred.numerics.ridge.delays import delayed_rows

__all__ = ["forward_pattern_strength"]

COLUMNS_AT_ONCE = 8192


def forward_pattern_strength(
    X: ArrayLike, decoded: ArrayLike, runs: ArrayLike, samples: ArrayLike, delays: Sequence[int]
) -> NDArray[np.float64]:
    r"""Tell how strongly what was decoded shows in each voxel.

    The forward pattern of unit u at voxel v is its slope on the decoded unit, which correlation makes free of units:

    .. math:: a_{vu}(d) = \frac{\mathrm{Cov}(x_v(t + d), \hat y_u(t))}{\mathrm{Var}(\hat y_u)}, \qquad
        \rho_{vu}(d) = a_{vu}(d)\, \frac{\sigma_{\hat y_u}}{\sigma_{x_v}}.

    There are too many pairs to keep. What is given is the root mean square of ρ over units and delays, which needs only
    the products of pairs of samples, :math:`G = \sum_u \hat z_u \hat z_u^\top`: the mean of ρ² is
    :math:`z_v^\top G\, z_v` over the number of units, with z centred and of norm 1. Chance gives it more than 0, alike
    in all voxels.

    Parameters
    ----------
    X : array_like (n_scans, n_voxels)
        BOLD signal.
    decoded : array_like (n_samples, n_units)
        Decoded units at ``samples``.
    runs : array_like (n_scans,)
        Run of each scan.
    samples : array_like of int (n_samples,)
        Scan of each row of ``decoded``, ascending.
    delays : sequence of int
        Delays of the BOLD signal, in scans; they do not cross runs.

    Returns
    -------
    ndarray of float64 (n_voxels,)
        Strength from 0 to 1; 0 where a voxel is constant.

    Raises
    ------
    DataError
        If shapes do not fit.

    References
    ----------
    S. Haufe et al., "On the interpretation of weight vectors of linear models in multivariate neuroimaging",
    NeuroImage 87, 2014, equation 6 for one decoded unit at a time.
    """
    X, decoded, samples = np.asarray(X), np.asarray(decoded), np.asarray(samples)
    runs = np.asarray(runs)
    if len(X) != len(runs) or decoded.shape[0] != len(samples):
        raise DataError(f"Expected {len(runs)} scans and {len(samples)} samples, got {X.shape} and {decoded.shape}.")
    row_of = np.full(len(runs), -1)
    row_of[samples] = np.arange(len(samples))
    strength = np.zeros(X.shape[1])
    for delay in delays:
        times, scans = delayed_rows(runs, delay)
        known = row_of[times] >= 0
        pairs = _pair_products(decoded, row_of[times[known]])
        for first in range(0, X.shape[1], COLUMNS_AT_ONCE):
            voxels = slice(first, first + COLUMNS_AT_ONCE)
            z = _unit_norm(X[scans[known], voxels])
            strength[voxels] += np.einsum("tv,tv->v", z, pairs @ z)
    return np.sqrt(np.clip(strength / len(delays), 0, 1))


def _unit_norm(values: NDArray[Any]) -> NDArray[np.float32]:
    centred = values - values.mean(axis=0)
    norm = np.sqrt(np.sum(centred**2, axis=0))
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-6 * np.abs(values).max(initial=0.0))


def _pair_products(decoded: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Average, over units, the products of every pair of samples: (n_rows, n_rows)."""
    total = np.zeros((len(rows), len(rows)), dtype=np.float32)
    for first in range(0, decoded.shape[1], COLUMNS_AT_ONCE):
        z = _unit_norm(decoded[rows, first : first + COLUMNS_AT_ONCE])
        total += z @ z.T
    return total / decoded.shape[1]
