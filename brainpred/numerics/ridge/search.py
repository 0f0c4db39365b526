"""Choose band weights and regularisation for every target by cross-validation, with himalaya as the engine."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["RidgeSolution", "draw_candidates", "solve_himalaya"]

TARGETS_PER_BATCH = 4096


class RidgeSolution(NamedTuple):
    """Hold what the search found.

    Attributes
    ----------
    band_weights : ndarray of float32 (n_bands, n_targets)
        γ / α: the factor of each band's kernel in the target's kernel.
    dual_coef : ndarray of float32 (n_samples, n_targets)
        Dual weights a of ``Ŷ = (Σ_b γ_b / α K_b) a + intercept``.
    intercept : ndarray of float32 (n_targets,)
        Intercept.
    alphas : ndarray of float32 (n_targets,)
        Chosen α.
    cv_scores : ndarray of float32 (n_targets,)
        Cross-validated R² of the choice.
    """

    band_weights: NDArray[np.float32]
    dual_coef: NDArray[np.float32]
    intercept: NDArray[np.float32]
    alphas: NDArray[np.float32]
    cv_scores: NDArray[np.float32]


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


@contextmanager
def _himalaya_backend(device: torch.device) -> Iterator[None]:
    """Set himalaya's global backend for the length of a block, then put back the one before."""
    from himalaya.backend import get_backend, set_backend

    before = get_backend()
    set_backend("torch_cuda" if device.type == "cuda" else "torch")
    try:
        yield
    finally:
        set_backend(before)


def solve_himalaya(
    kernels: NDArray[np.floating],
    targets: NDArray[np.floating],
    candidates: NDArray[np.float64],
    alphas: NDArray[np.float64],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    device: torch.device,
) -> RidgeSolution:
    r"""Solve :math:`\min \|Y - \sum_b K_b W_b\|^2 + \ldots` for every target with himalaya's random search.

    Parameters
    ----------
    kernels : ndarray (n_bands, n_samples, n_samples)
        Kernels of the bands.
    targets : ndarray (n_samples, n_targets)
        Targets.
    candidates : ndarray of float64 (n_candidates, n_bands)
        Band weights to try.
    alphas : ndarray of float64 (n_alphas,)
        Regularisation to try.
    folds : sequence of (train, test) index arrays
        Cross-validation splits.
    device : torch.device
        Where to compute.

    Returns
    -------
    RidgeSolution
        The best candidate and α of each target, refitted on all samples.

    References
    ----------
    T. Dupré la Tour et al., "Feature-space selection with banded ridge regression", NeuroImage 264, 2022.
    """
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
    from himalaya.scoring import r2_score
    from sklearn.model_selection import PredefinedSplit

    splitter = PredefinedSplit([0, 1])
    splitter.split = lambda *_args: iter(folds)  # type: ignore[method-assign]
    splitter.get_n_splits = lambda *_args: len(folds)  # type: ignore[method-assign]
    with _himalaya_backend(device), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solving .* is slower than solving")
        log_weights, dual, cv_scores, best_alphas, intercept = solve_multiple_kernel_ridge_random_search(
            torch.as_tensor(np.require(kernels, requirements=["C", "W"]), device=device),
            torch.as_tensor(np.require(targets, requirements=["C", "W"]), device=device),
            n_iter=torch.as_tensor(candidates.astype(kernels.dtype), device=device),
            alphas=torch.as_tensor(alphas.astype(kernels.dtype), device=device),
            score_func=r2_score,
            cv=splitter,
            fit_intercept=True,
            return_weights="dual",
            return_alphas=True,
            n_targets_batch=TARGETS_PER_BATCH,
            n_targets_batch_refit=TARGETS_PER_BATCH,
            progress_bar=False,
        )
    return RidgeSolution(
        np.exp(log_weights.cpu().numpy()),
        dual.cpu().numpy(),
        intercept.cpu().numpy(),
        best_alphas.cpu().numpy(),
        cv_scores.cpu().numpy().max(axis=0),
    )
