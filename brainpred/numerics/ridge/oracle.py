"""Let himalaya choose: the oracle of the tests, and there for whoever wants it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from brainpred.numerics.ridge.kernels import BandKernels
from brainpred.numerics.ridge.residuals import Fold
from brainpred.numerics.ridge.targets import Targets

__all__ = ["choose_himalaya"]

TARGETS_PER_BATCH = 4096


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


def choose_himalaya(
    kernels: BandKernels,
    gammas: NDArray[np.float64],
    alphas: Sequence[float],
    targets: Targets,
    folds: Sequence[Fold],
    *,
    intercept: bool,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    r"""Choose (γ, α) for every target with himalaya's random search.

    Kernels and targets are in memory as they are, and every fold of every candidate is diagonalised.

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
    intercept : bool
        Whether there is an intercept.

    Returns
    -------
    gamma, alpha : ndarray of int32 (n_targets,)
        Rows of ``gammas`` and places among ``alphas``.
    cv_scores : ndarray of float32 (n_targets,)
        Cross-validated R² of the choice.

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
    with _himalaya_backend(kernels.device), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solving .* is slower than solving")
        log_weights, _, cv_scores, best_alphas, *_ = solve_multiple_kernel_ridge_random_search(
            kernels.materialise(),
            targets.read(targets.columns),
            n_iter=torch.as_tensor(gammas, dtype=kernels.dtype, device=kernels.device),
            alphas=torch.as_tensor(np.asarray(alphas), dtype=kernels.dtype, device=kernels.device),
            score_func=r2_score,
            cv=splitter,
            fit_intercept=intercept,
            return_weights="dual" if intercept else None,  # no intercept without them
            return_alphas=True,
            n_targets_batch=TARGETS_PER_BATCH,
            n_targets_batch_refit=TARGETS_PER_BATCH,
            progress_bar=False,
        )
    shares = np.exp(log_weights.cpu().numpy().astype(np.float64)) * best_alphas.cpu().numpy()  # (n_bands, n_targets)
    gamma = np.abs(gammas[:, :, None] - shares).sum(axis=1).argmin(axis=0)
    alpha = np.abs(np.log(np.asarray(alphas))[:, None] - np.log(best_alphas.cpu().numpy())).argmin(axis=0)
    return gamma.astype(np.int32), alpha.astype(np.int32), cv_scores.cpu().numpy().max(axis=0).astype(np.float32)
