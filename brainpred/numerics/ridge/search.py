"""Find band weights and α for every target: shared by gradient, or drawn at random for each."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.numerics.ridge.kernels import BandKernels
from brainpred.numerics.ridge.oracle import choose_himalaya
from brainpred.numerics.ridge.residuals import Fold
from brainpred.numerics.ridge.scoring import Choice, choose, principal_basis
from brainpred.numerics.ridge.shared import N_EVALUATIONS, second_moment, share_bands, shared_loss
from brainpred.numerics.ridge.targets import Targets
from brainpred.progress import Reporter

__all__ = ["Audit", "BandChoice", "SearchSettings", "choose_bands", "draw_candidates", "one_by_one"]

# Directions kept of the targets' time courses, as a part of the samples.
COMPRESSION = 0.1
SMALLEST_BASIS = 32


class Audit(NamedTuple):
    """Hold what a choice lost against scoring every candidate exactly, in targets drawn at random.

    Candidates are pairs of γ and α; where γ is shared, they differ by α alone.

    Attributes
    ----------
    n_targets : int
        Number of targets drawn; 0 where no candidate was ruled out unscored.
    mean_regret, p99_regret : float
        Best cross-validated R² of any candidate less that of the choice: mean and 99th percentile.
    """

    n_targets: int
    mean_regret: float
    p99_regret: float

    def __str__(self) -> str:
        if not self.n_targets:
            return "Audit: for these band weights, every candidate was scored exactly."
        return (
            f"Audit: {self.n_targets} random targets lose {self.mean_regret:.1e} of cross-validated R² on average, "
            f"{self.p99_regret:.1e} at the 99th percentile, against scoring every candidate exactly."
        )


class BandChoice(NamedTuple):
    """Hold what was chosen.

    Attributes
    ----------
    gammas : ndarray of float64 (n_gammas, n_bands)
        Band weights that targets may have.
    gamma, alpha : ndarray of int32 (n_targets,)
        Row of ``gammas`` and place among the alphas that each target has.
    cv_scores : ndarray of float32 (n_targets,)
        Cross-validated R² of the choice.
    audit : Audit
        What was lost.
    """

    gammas: NDArray[np.float64]
    gamma: NDArray[np.int32]
    alpha: NDArray[np.int32]
    cv_scores: NDArray[np.float32]
    audit: Audit


def draw_candidates(n_bands: int, n_candidates: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw band weights from the simplex: the even mixture first, then Dirichlet draws, sparse and dense in turn.

    Parameters
    ----------
    n_bands : int
        Number of bands.
    n_candidates : int
        How many to draw; one band has but one candidate.
    rng : numpy.random.Generator
        Source of all chance.

    Returns
    -------
    ndarray of float64 (n_candidates, n_bands)
        Rows sum to 1.
    """
    even = np.full((1, n_bands), 1 / n_bands)
    if n_bands == 1:
        return even
    draws = [rng.dirichlet(np.full(n_bands, (0.3, 1.0)[i % 2])) for i in range(n_candidates - 1)]
    return np.concatenate([even, np.reshape(draws, (-1, n_bands))])


class SearchSettings(NamedTuple):
    """Say how (γ, α) are searched; see :class:`brainpred.BandedRidgeCV`.

    Attributes
    ----------
    search : {"shared", "per-target", "himalaya"}
        How γ is found.
    alphas : tuple of float
        Regularisation to try.
    n_candidates : int
        Band weights to try for each target, where the search is not shared.
    shortlist : int or None
        Candidates of each target to score exactly; None: all.
    precision : torch.dtype
        What targets are multiplied in.
    intercept : bool
        Whether there is an intercept.
    candidate_bytes : float
        Memory for the candidates' matrices.
    n_evaluations : int
        How often the gradient of the shared loss may be computed.
    """

    search: str
    alphas: tuple[float, ...]
    n_candidates: int = 40
    shortlist: int | None = 4
    precision: torch.dtype = torch.float32
    intercept: bool = True
    candidate_bytes: float = np.inf
    n_evaluations: int = N_EVALUATIONS


def choose_bands(
    kernels: BandKernels,
    targets: Targets,
    clusters: Sequence[NDArray[np.int64]],
    folds: Sequence[Fold],
    settings: SearchSettings,
    rng: np.random.Generator,
    reporter: Reporter,
) -> BandChoice:
    """Choose (γ, α) for every target.

    Parameters
    ----------
    kernels : BandKernels
        Of the training samples.
    targets : Targets
        Targets.
    clusters : sequence of ndarray of int64
        Targets that share band weights, where the search is shared; together they are all.
    folds : sequence of (train, test) index arrays
        Cross-validation splits.
    settings : SearchSettings
        How to search.
    rng : numpy.random.Generator
        Source of all chance.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    BandChoice
        What was chosen.
    """
    search, alphas, intercept = settings.search, settings.alphas, settings.intercept
    gammas = draw_candidates(kernels.n_bands, settings.n_candidates, rng)
    if search == "himalaya":
        gamma, alpha, scores = choose_himalaya(kernels, gammas, alphas, targets, folds, intercept=intercept)
        return BandChoice(gammas, gamma, alpha, scores, Audit(0, 0.0, 0.0))
    found, choices = [], []
    shared = search == "shared" and kernels.n_bands > 1
    n_pairs = len(alphas) * (1 if search == "shared" else len(gammas))
    shortlist = n_pairs if settings.shortlist is None else min(settings.shortlist, n_pairs)
    for columns in one_by_one(clusters, reporter):
        members = targets.only(columns)
        basis = None
        if shared or shortlist < n_pairs:
            with reporter.task("Second moment of the targets", members.n_targets) as advance:
                moment, sketch = second_moment(members, rng, centre=intercept, on_block=advance)
            n_directions = min(targets.n_samples, max(SMALLEST_BASIS, int(COMPRESSION * targets.n_samples)))
            if shortlist < n_pairs:
                basis = principal_basis(moment, sketch, n_directions, rng)
        if shared:
            loss = partial(_shared_loss, kernels, moment, folds, intercept)
            with reporter.task("Band weights", settings.n_evaluations) as advance:
                weights = share_bands(
                    loss, kernels.n_bands, alphas, n_evaluations=settings.n_evaluations,
                    on_evaluation=lambda value: advance(1),
                )  # fmt: skip
            candidates = weights.gamma[None]
        else:
            candidates = gammas
        with (
            reporter.task("Factorising candidates", n_pairs) as on_candidate,
            reporter.task("Scoring targets", members.n_targets) as on_block,
        ):
            choice = choose(
                kernels, candidates, alphas, members, folds, basis=basis, shortlist=shortlist,
                precision=settings.precision, intercept=intercept, candidate_bytes=settings.candidate_bytes,
                rng=rng, on_candidate=on_candidate, on_block=on_block,
            )  # fmt: skip
        choices.append(choice)
        found.append(candidates)
    return _join(found, choices, clusters, targets.n_targets, shared=search == "shared")


def one_by_one(clusters: Sequence[NDArray[np.int64]], reporter: Reporter) -> Iterator[NDArray[np.int64]]:
    """Give the targets of each cluster; where there are several, a bar tells how many targets are done."""
    if len(clusters) == 1:
        yield clusters[0]
        return
    with reporter.task("Clusters of targets", sum(map(len, clusters))) as advance:
        for columns in clusters:
            yield columns
            advance(len(columns))


def _shared_loss(
    kernels: BandKernels,
    moment: Tensor,
    folds: Sequence[Fold],
    intercept: bool,
    delta: NDArray[np.float64],
    slope: bool,
) -> tuple[float, NDArray[np.float64]]:
    return shared_loss(kernels, delta, moment, folds, intercept=intercept, gradient=slope)


def _join(
    found: Sequence[NDArray[np.float64]],
    choices: Sequence[Choice],
    clusters: Sequence[NDArray[np.int64]],
    n_targets: int,
    *,
    shared: bool,
) -> BandChoice:
    gamma, alpha = np.empty(n_targets, dtype=np.int32), np.empty(n_targets, dtype=np.int32)
    scores = np.empty(n_targets, dtype=np.float32)
    for number, (columns, choice) in enumerate(zip(clusters, choices, strict=True)):
        gamma[columns] = number if shared else choice.gamma
        alpha[columns], scores[columns] = choice.alpha, choice.cv_scores
    table = np.concatenate(found) if shared else found[0]
    return BandChoice(table, gamma, alpha, scores, _audit(np.concatenate([choice.audited for choice in choices])))


def _audit(regret: NDArray[np.float32]) -> Audit:
    return Audit(len(regret), float(regret.mean()), float(np.percentile(regret, 99)))
