"""Predict targets from the band weights and α that were chosen for each; their dual weights are never stored."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.numerics.ridge.delays import delayed_rows
from brainpred.numerics.ridge.kernels import BandKernels, column_chunks, read_columns
from brainpred.numerics.ridge.residuals import Inverse, invert, prediction_weights
from brainpred.numerics.ridge.search import BandChoice
from brainpred.numerics.ridge.targets import Targets

__all__ = ["Predictor", "feature_contributions"]

Columns = slice | NDArray[np.int64]


class Predictor:
    """Turn the targets of the training samples into predictions for others.

    Parameters
    ----------
    kernels : BandKernels
        Of the training samples.
    targets : Targets
        Targets of the training samples.
    choice : BandChoice
        Band weights and α of each target.
    alphas : sequence of float
        Regularisation that was chosen from.
    intercept : bool
        Whether there is an intercept.
    held_bytes : float
        What matrices (n_others, n_samples), one a pair of γ and α, may take; with less than all need, targets are
        read more than once.
    """

    def __init__(
        self,
        kernels: BandKernels,
        targets: Targets,
        choice: BandChoice,
        alphas: Sequence[float],
        *,
        intercept: bool,
        held_bytes: float = np.inf,
    ):
        self._kernels, self._targets, self._gammas, self._alphas = kernels, targets, choice.gammas, alphas
        self._pairs = choice.gamma.astype(np.int64) * len(alphas) + choice.alpha
        self._intercept, self._held_bytes = intercept, held_bytes

    def blocks(self, cross: BandKernels) -> Iterator[tuple[Columns, Tensor]]:
        """Predict other samples, block after block of targets.

        Parameters
        ----------
        cross : BandKernels
            Kernels (n_others, n_samples) between the others and the training samples.

        Yields
        ------
        columns : slice or ndarray of int64
            Which targets; a slice unless memory forbids.
        predictions : Tensor (n_others, n_columns)
            Their predictions.
        """
        for group in self._groups(cross.shape[0]):
            weights = {
                pair: prediction_weights(inverse, cross.combine(gamma)) + inverse.mean.to(cross.dtype)
                for pair, gamma, inverse in self._inverses(group)
            }
            for columns, block in self._blocks(group):
                predictions = block.new_empty((cross.shape[0], block.shape[1]))
                for pair, here in _columns_of_pairs(self._pairs[columns], block.device):
                    predictions[:, here] = weights[pair] @ block[:, here]
                yield columns, predictions + self._offsets(columns).to(block.device)

    def band_blocks(self, cross: BandKernels) -> Iterator[tuple[Columns, Tensor]]:
        """Predict other samples from each band alone, without the intercept.

        Parameters
        ----------
        cross : BandKernels
            Kernels (n_others, n_samples) between the others and the training samples.

        Yields
        ------
        columns : slice or ndarray of int64
            Which targets; a slice unless memory forbids.
        parts : Tensor (n_bands, n_others, n_columns)
            What each band adds to their predictions.
        """
        n_bands, n_others = self._kernels.n_bands, cross.shape[0]
        for group in self._groups(n_bands * n_others):
            weights = {  # a band without weight adds nothing, exactly
                pair: [
                    (band, prediction_weights(inverse, cross.combine(row)))
                    for band, row in enumerate(np.diag(gamma))
                    if gamma[band]
                ]
                for pair, gamma, inverse in self._inverses(group)
            }
            for columns, block in self._blocks(group):
                parts = block.new_zeros((n_bands, n_others, block.shape[1]))
                for pair, here in _columns_of_pairs(self._pairs[columns], block.device):
                    for band, of_band in weights[pair]:
                        parts[band][:, here] = of_band @ block[:, here]
                yield columns, parts

    def intercepts(self) -> NDArray[np.floating]:
        """Give the intercept of every target, (n_targets,)."""
        pairs = np.unique(self._pairs)
        means = {pair: inverse.mean.to(self._kernels.dtype) for pair, _, inverse in self._inverses(pairs)}
        intercepts, numbers = torch.empty(len(self._pairs), dtype=self._kernels.dtype), np.arange(len(self._pairs))
        for columns, block in self._blocks(pairs):
            for pair, here in _columns_of_pairs(self._pairs[columns], block.device):
                intercepts[torch.as_tensor(numbers[columns])[here.cpu()]] = (means[pair] @ block[:, here]).cpu()
        return (intercepts + self._offsets(slice(None))).numpy()

    def band_covariances(self, truth: Targets) -> list[Tensor]:
        r"""Give, for every band, the matrix that tells how pairs of samples add to what truth and prediction share.

        With A the dual weights, :math:`M_b = \gamma_b / s_b \, \tilde Y A^\top`, and the mean over targets of
        :math:`\sum_t y_t \hat y_t / \sum_t y_t^2` is :math:`\sum_b \langle M_b, K_b \rangle`, K_b not scaled.

        Parameters
        ----------
        truth : Targets
            True targets of the others, (n_others, n_targets).

        Returns
        -------
        list of Tensor (n_others, n_samples)
            One a band.
        """
        shape = (truth.n_samples, self._targets.n_samples)
        matrices = [torch.zeros(shape, dtype=truth.dtype, device=truth.device) for _ in range(self._kernels.n_bands)]
        for group in self._groups(truth.n_samples):
            products = {int(pair): torch.zeros_like(matrices[0]) for pair in group}
            for columns, block in self._blocks(group):
                true = truth.read(truth.columns[columns])
                centred = true - true.mean(dim=0)
                power = centred.square().sum(dim=0)
                scaled = centred * torch.where(power > 0, 1 / power, 0) / truth.n_targets
                for pair, here in _columns_of_pairs(self._pairs[columns], block.device):
                    products[pair].addmm_(scaled[:, here], block[:, here].T)
            for pair, gamma, inverse in self._inverses(group):
                dual = prediction_weights(inverse, products[pair])
                for matrix, share in zip(matrices, gamma / self._kernels.scale, strict=True):
                    matrix.add_(dual, alpha=float(share))
        return matrices

    def _offsets(self, columns: Columns) -> Tensor:
        """Give the means that were taken away from the targets as they were read."""
        return torch.as_tensor(self._targets.offsets[self._targets.columns[columns]], dtype=self._kernels.dtype)

    def _groups(self, n_others: int) -> list[NDArray[np.int64]]:
        """Divide the pairs that occur into groups whose matrices (n_others, n_samples) can be held at once."""
        pairs = np.unique(self._pairs)
        bytes_each = n_others * self._targets.n_samples * torch.finfo(self._kernels.dtype).bits // 8
        n_held = int(max(1, min(len(pairs), self._held_bytes // max(1, bytes_each))))
        return [pairs[first : first + n_held] for first in range(0, len(pairs), n_held)]

    def _blocks(self, pairs: NDArray[np.int64]) -> Iterator[tuple[Columns, Tensor]]:
        """Read the targets that have one of these pairs, block by block."""
        for columns, block in self._targets.blocks():
            wanted = np.isin(self._pairs[columns], pairs)
            if wanted.all():
                yield columns, block
            elif wanted.any():
                yield columns.start + np.flatnonzero(wanted), block[:, torch.as_tensor(wanted, device=block.device)]

    def _inverses(self, pairs: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float64], Inverse]]:
        """Factorise some pairs of γ and α."""
        combined, kernel = -1, None
        for pair in pairs:
            row, column = divmod(int(pair), len(self._alphas))
            if row != combined or kernel is None:
                combined, kernel = row, self._kernels.combine(self._gammas[row])
            yield int(pair), self._gammas[row], invert(kernel, self._alphas[column], intercept=self._intercept)


def _columns_of_pairs(pairs: NDArray[np.int64], device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Give, for every pair that occurs, the columns that have it."""
    for pair in np.unique(pairs):
        yield int(pair), torch.as_tensor(np.flatnonzero(pairs == pair), device=device)


def feature_contributions(
    matrices: Sequence[Tensor],
    left: Any,
    left_runs: NDArray[Any],
    right: Any,
    right_runs: NDArray[Any],
    means: NDArray[np.float64],
    bands: NDArray[np.int64],
    delays: Sequence[int],
    *,
    per_delay: bool,
) -> NDArray[np.float64]:
    r"""Split what truth and prediction share among features and delays: :math:`x_v(t+d)^\top M_b\, x_v(s+d)`.

    The weights of single features are never formed.

    Parameters
    ----------
    matrices : sequence of Tensor (n_others, n_samples)
        One a band, as :meth:`Predictor.band_covariances`.
    left, left_runs : array-like (n_others, n_features), ndarray (n_others,)
        Features of the others, and their runs.
    right, right_runs : array-like (n_samples, n_features), ndarray (n_samples,)
        Features of the training samples, and their runs.
    means : ndarray of float64 (n_features,)
        Mean of every feature over the training samples.
    bands : ndarray of int64 (n_features,)
        Number of each feature's band.
    delays : sequence of int
        Delays in samples.
    per_delay : bool
        Whether every delay is a band of its own.

    Returns
    -------
    ndarray of float64 (n_delays, n_features)
        Contributions.
    """
    dtype, device = matrices[0].dtype, matrices[0].device
    contributions = np.zeros((len(delays), len(means)))
    each = len(delays) if per_delay else 1  # matrices of a band
    of_band = [list(matrices[first : first + each]) for first in range(0, len(matrices), each)]
    # A band that is given no weight adds nothing, exactly.
    used = [any(matrix.any() for matrix in own) for own in of_band]
    shifted = [
        _shifted(own if per_delay else own * len(delays), left_runs, right_runs, delays) if any_used else None
        for own, any_used in zip(of_band, used, strict=True)
    ]
    for columns in column_chunks(len(left_runs) + len(right_runs), len(means), dtype):
        wanted = [band for band in np.unique(bands[columns]) if used[band]]
        if not wanted:
            continue
        x_left, x_right = (_centred(X, columns, means, device, dtype) for X in (left, right))
        for band in wanted:
            matrix = shifted[band]
            assert matrix is not None
            members = torch.as_tensor(np.flatnonzero(bands[columns] == band), device=device)
            shared = (matrix @ x_right[:, members]).unflatten(0, (len(delays), -1))
            parts = (x_left[:, members] * shared).sum(dim=1)  # (n_delays, n_members)
            contributions[:, np.arange(columns.start, columns.stop)[members.cpu().numpy()]] = parts.cpu().numpy()
    return contributions


def _centred(X: Any, columns: slice, means: NDArray[np.float64], device: torch.device, dtype: torch.dtype) -> Tensor:
    values = read_columns(X, columns)
    return torch.as_tensor(values - means[columns].astype(values.dtype), device=device).to(dtype)


def _shifted(
    matrices: Sequence[Tensor], left_runs: NDArray[Any], right_runs: NDArray[Any], delays: Sequence[int]
) -> Tensor:
    """Lay the matrix of every delay over undelayed scans, one below another: (n_delays × n_others, n_samples)."""
    laid = torch.zeros((len(delays), *matrices[0].shape), dtype=matrices[0].dtype, device=matrices[0].device)
    for number, (matrix, delay) in enumerate(zip(matrices, delays, strict=True)):
        rows, row_scans = map(torch.as_tensor, delayed_rows(left_runs, delay))
        cols, col_scans = map(torch.as_tensor, delayed_rows(right_runs, delay))
        laid[number, row_scans[:, None], col_scans] = matrix[rows[:, None], cols]
    return laid.flatten(0, 1)
