"""Score candidates by what they predict for samples left out: compressed first, then exactly."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.numerics.ridge.kernels import BandKernels
from brainpred.numerics.ridge.residuals import Fold, invert, left_out_residuals, scored_rows, unscored
from brainpred.numerics.ridge.targets import Targets, standardise

__all__ = ["Basis", "Choice", "choose", "principal_basis"]

N_AUDITED = 1000
POWER_ITERATIONS = 3
MOST_PIECES = 3  # products that a fold's predictions are computed in


class Basis(NamedTuple):
    """Hold the directions in time that most of the targets' variance lies in.

    Attributes
    ----------
    directions : Tensor (n_samples, n_directions)
        Leading left singular vectors of the standardised targets.
    rest : Tensor (n_samples, n_probes)
        Random mixtures of what the targets are outside of them.
    """

    directions: Tensor
    rest: Tensor


class Choice(NamedTuple):
    """Hold what was chosen for every target.

    Attributes
    ----------
    gamma, alpha : ndarray of int32 (n_targets,)
        Rows of the candidates and of the alphas.
    cv_scores : ndarray of float32 (n_targets,)
        Cross-validated R² of the choice, the mean over folds.
    audited : ndarray of float32 (n_audited,)
        Regret of targets drawn at random.
    """

    gamma: NDArray[np.int32]
    alpha: NDArray[np.int32]
    cv_scores: NDArray[np.float32]
    audited: NDArray[np.float32]


def principal_basis(moment: Tensor, sketch: Tensor, n_directions: int, rng: np.random.Generator) -> Basis:
    """Find the leading directions of the targets from their second moment, by subspace iteration.

    Parameters
    ----------
    moment : Tensor (n_samples, n_samples)
        Mean over targets of y yᵀ.
    sketch : Tensor (n_samples, n_probes)
        Random mixtures of the targets.
    n_directions : int
        How many directions.
    rng : numpy.random.Generator
        Source of the directions to begin with.

    Returns
    -------
    Basis
        The directions, and what the sketch holds outside of them.
    """
    begin = rng.standard_normal((len(moment), n_directions))
    directions = torch.as_tensor(begin, dtype=moment.dtype, device=moment.device)
    for _ in range(POWER_ITERATIONS):
        directions, _ = torch.linalg.qr(moment @ directions)
    return Basis(directions, sketch - directions @ (directions.T @ sketch))


class _Candidate:
    """Score one (γ, α): what it predicts for left-out samples, as a matrix that multiplies the targets."""

    def __init__(self, kernel: Tensor, alpha: float, folds: Sequence[Fold], *, intercept: bool, basis: Basis | None):
        n_samples = len(kernel)
        inverse = invert(kernel, alpha, intercept=intercept)
        n_directions = 0 if basis is None else basis.directions.shape[1]
        predictions, self.rest = [], 0.0
        self.quadratic = kernel.new_zeros((n_directions, n_directions))
        for fold, residuals in zip(folds, left_out_residuals(inverse, folds), strict=True):
            left_out = unscored(fold, n_samples)
            tested = torch.as_tensor(np.searchsorted(left_out, fold[1]), device=kernel.device)
            residuals = residuals[tested].to(kernel.dtype)  # (n_test, n_samples)
            if basis is not None:
                weight = 1 / (len(folds) * len(fold[1]))
                reduced = residuals @ basis.directions
                self.quadratic.addmm_(reduced.T, reduced, alpha=weight)
                self.rest += weight * float((residuals @ basis.rest).square().sum())
            predicted = -residuals
            predicted[:, torch.as_tensor(left_out, device=kernel.device)] = 0  # where residuals are the identity
            predictions.append(predicted)
        self.predictions = torch.cat(predictions)  # (n_scored, n_samples)
        if basis is not None:
            self.rest /= max(float(basis.rest.square().sum()), torch.finfo(kernel.dtype).tiny)


class _Scorer:
    """Score targets of one block: R² of left-out samples, the mean over folds."""

    def __init__(self, block: Tensor, folds: Sequence[Fold], precision: torch.dtype, *, centre: bool):
        self.targets, _ = standardise(block, centre=centre)
        self.low = self.targets.to(precision)
        test = torch.as_tensor(np.concatenate([test for _, test in folds]), device=block.device)
        self.true = self.targets[test]
        self.rows = scored_rows(folds)
        self.trained = [_pieces(fold, len(block)) for fold in folds]
        totals = []
        for rows in self.rows:
            part = self.true[rows]
            high, low = part.amax(dim=0), part.amin(dim=0)
            total = (part - part.mean(dim=0)).square().sum(dim=0)
            varies = high - low > 4 * torch.finfo(part.dtype).eps * torch.maximum(high.abs(), low.abs())
            totals.append(torch.where(varies, 1 / total, torch.zeros_like(total)))
        self.inverse_totals = torch.stack(totals)  # (n_folds, n_targets); 0 where a target is constant in a fold

    def score(self, predictions: Tensor, columns: Tensor | slice = slice(None)) -> Tensor:
        """Give the R² of some targets (all by default) with one candidate; 0 counts where a target is constant."""
        low, inverse_totals = self.low[:, columns], self.inverse_totals[:, columns]
        scores = torch.zeros_like(inverse_totals[0])
        for rows, pieces, inverse_total in zip(self.rows, self.trained, inverse_totals, strict=True):
            residuals = self.true[rows, columns]
            for piece in pieces:  # what is left out has no part in the predictions: a fifth of the work, say
                if predictions.dtype == residuals.dtype:
                    residuals = torch.addmm(residuals, predictions[rows, piece], low[piece], alpha=-1)
                else:
                    residuals = residuals - predictions[rows, piece] @ low[piece]  # promoted to the truth's precision
            lost = torch.linalg.vector_norm(residuals, dim=0).square() * inverse_total
            scores += torch.where(inverse_total > 0, 1 - lost, 0)
        return scores / len(self.rows)


def _pieces(fold: Fold, n_samples: int) -> list[slice]:
    """Give the stretches of samples that a fold trains on; all samples at once where they are many."""
    trained = np.ones(n_samples + 2, dtype=bool)
    trained[[0, -1]] = False
    trained[1 + unscored(fold, n_samples)] = False
    ends = np.flatnonzero(np.diff(trained.astype(np.int8)))
    pieces = [slice(int(first), int(last)) for first, last in ends.reshape(-1, 2)]
    return pieces if len(pieces) <= MOST_PIECES else [slice(0, n_samples)]


def choose(
    kernels: BandKernels,
    gammas: NDArray[np.float64],
    alphas: Sequence[float],
    targets: Targets,
    folds: Sequence[Fold],
    *,
    basis: Basis | None = None,
    shortlist: int = 4,
    precision: torch.dtype = torch.float32,
    intercept: bool = True,
    candidate_bytes: float = np.inf,
    rng: np.random.Generator,
    on_candidate: Callable[[float], None] = lambda part: None,
    on_block: Callable[[float], None] = lambda n_targets: None,
) -> Choice:
    r"""Choose (γ, α) for every target by leaving folds out.

    With a ``basis`` U, every candidate is first scored in it,
    :math:`\ell_j \approx c_j^\top (U^\top E^\top E U) c_j + \tau \|\rho_j\|^2` with :math:`c_j = U^\top y_j` and
    :math:`\rho_j` the rest of the target, and only each target's best few are scored exactly.

    Parameters
    ----------
    kernels : BandKernels
        Of the training samples.
    gammas : ndarray of float64 (n_gammas, n_bands)
        Band weights to try.
    alphas : sequence of float
        Regularisation to try with each.
    targets : Targets
        Targets.
    folds : sequence of (train, test) index arrays
        Cross-validation splits.
    basis : Basis, optional
        Where to score first; None: everything exactly.
    shortlist : int
        Candidates a target that are scored exactly.
    precision : torch.dtype
        What predictions are multiplied in; residuals are taken in the precision of the kernels.
    intercept : bool
        Whether there is an intercept.
    candidate_bytes : float
        What the candidates' matrices may take; with less than all need, targets are read more than once.
    rng : numpy.random.Generator
        Draws the targets that are audited.
    on_candidate, on_block : callable
        Called after each candidate, and after each block with its number of targets; with a part of them where
        memory makes each come several times.

    Returns
    -------
    Choice
        What was chosen.
    """
    n_pairs = len(gammas) * len(alphas)
    basis = basis if n_pairs > shortlist else None
    sampled = np.sort(rng.choice(targets.n_targets, min(N_AUDITED, targets.n_targets), replace=False))
    audit = _Scorer(targets.read(targets.columns[sampled]), folds, kernels.dtype, centre=intercept)
    audit_scores = torch.empty((n_pairs, len(sampled)), dtype=kernels.dtype, device=kernels.device)

    def candidates(pairs: Iterable[int], basis: Basis | None) -> Iterator[_Candidate]:
        row, kernel = -1, None
        for pair in pairs:
            if pair // len(alphas) != row or kernel is None:
                row = pair // len(alphas)
                kernel = kernels.combine(gammas[row])
            candidate = _Candidate(kernel, alphas[pair % len(alphas)], folds, intercept=intercept, basis=basis)
            audit_scores[pair] = audit.score(candidate.predictions)
            candidate.predictions = candidate.predictions.to(precision)
            on_candidate(1 / n_factorised)
            yield candidate

    n_scored = sum(len(test) for _, test in folds)
    bytes_each = n_scored * targets.n_samples * torch.finfo(precision).bits // 8
    n_held = int(max(1, min(n_pairs, candidate_bytes // bytes_each)))
    groups = [range(first, min(first + n_held, n_pairs)) for first in range(0, n_pairs, n_held)]
    n_factorised = 2 if basis is not None and len(groups) > 1 else 1  # times each candidate
    held: list[_Candidate] = []
    ranking = []
    if basis is not None:
        for candidate in candidates(range(n_pairs), basis):
            ranking.append((candidate.quadratic, candidate.rest))
            if len(groups) == 1:
                held.append(candidate)
    scores = np.full(targets.n_targets, -np.inf, dtype=np.float32)
    chosen = np.zeros(targets.n_targets, dtype=np.int64)
    listed_all = np.empty((shortlist if basis is not None else 0, targets.n_targets), dtype=np.int32)
    for number, group in enumerate(groups):
        held = held or list(candidates(group, None))
        for here, block in targets.blocks():
            scorer = _Scorer(block, folds, precision, centre=intercept)
            if basis is not None and number == 0:
                listed_all[:, here] = _shortlist(scorer.targets, basis, ranking, shortlist).cpu().numpy()
            listed = torch.as_tensor(listed_all[:, here], device=block.device)
            best = torch.as_tensor(scores[here], device=block.device)
            best_pair = torch.as_tensor(chosen[here], device=block.device)
            for pair, candidate in zip(group, held, strict=True):
                columns = slice(None) if basis is None else (listed == pair).any(dim=0).nonzero()[:, 0]
                new = scorer.score(candidate.predictions, columns).float()
                better = new > best[columns]
                best[columns] = torch.where(better, new, best[columns])
                best_pair[columns] = torch.where(better, pair, best_pair[columns])
            scores[here], chosen[here] = best.cpu().numpy(), best_pair.cpu().numpy()
            on_block(block.shape[1] / len(groups))
        held = []
    picked = audit_scores[torch.as_tensor(chosen[sampled]), torch.arange(len(sampled))]
    regret = (audit_scores.amax(dim=0) - picked).cpu().numpy().astype(np.float32)
    return Choice((chosen // len(alphas)).astype(np.int32), (chosen % len(alphas)).astype(np.int32), scores, regret)


def _shortlist(standardised: Tensor, basis: Basis, ranking: Sequence[tuple[Tensor, float]], n_best: int) -> Tensor:
    """Give the candidates with the least approximate loss, (n_best, n_targets)."""
    inside = basis.directions.T @ standardised  # (n_directions, n_targets)
    outside = (standardised.square().sum(dim=0) - inside.square().sum(dim=0)).clamp(min=0)
    losses = torch.stack([(inside * (quadratic @ inside)).sum(dim=0) + rest * outside for quadratic, rest in ranking])
    return losses.topk(n_best, dim=0, largest=False).indices
