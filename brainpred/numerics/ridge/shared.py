"""Band weights that a cluster of targets shares, found by following the gradient of its cross-validated loss."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from brainpred.errors import DataError
from brainpred.numerics.ridge.kernels import ROWS_A_BLOCK, BandKernels, mirror
from brainpred.numerics.ridge.residuals import Fold, invert, left_out_residuals, unscored
from brainpred.numerics.ridge.targets import Targets, standardise

__all__ = ["SharedWeights", "second_moment", "share_bands", "shared_loss"]

# The roots of δ, as parts of those that the search begins with: on them the loss is nearer to a parabola than on
# logarithms, and bands that play no part can reach zero.
SMALLEST_ROOT = 1e-4
# The largest δ, for kernels of mean diagonal 1, and the loss of one that cannot be used.
LARGEST, HOPELESS = 1e3, 1e3
FIRST_STEP = 0.3
TOLERANCE = 1e-6
N_STARTS = 4
N_EVALUATIONS = 20
N_PROBES = 64


class SharedWeights(NamedTuple):
    """Hold the band weights of a cluster.

    Attributes
    ----------
    gamma : ndarray of float64 (n_bands,)
        Share of each band; they sum to 1.
    alpha : float
        Regularisation that goes with it.
    loss : float
        Mean over targets of 1 - R² of what is left out.
    n_evaluations : int
        How often the loss was computed.
    """

    gamma: NDArray[np.float64]
    alpha: float
    loss: float
    n_evaluations: int


def second_moment(
    targets: Targets,
    rng: np.random.Generator,
    *,
    centre: bool = True,
    on_block: Callable[[int], None] = lambda n_targets: None,
) -> tuple[Tensor, Tensor]:
    r"""Give the mean over targets of :math:`y y^\top`, each y centred and of variance 1, and random mixtures of them.

    Parameters
    ----------
    targets : Targets
        The targets; those that are constant are left out.
    rng : numpy.random.Generator
        Draws the signs of the mixtures.
    centre : bool
        Whether targets are centred, as they are where there is an intercept.
    on_block : callable
        Called after each block with its number of targets.

    Returns
    -------
    moment : Tensor (n_samples, n_samples)
        The mean, which is all that the shared loss needs to know of the targets, however many they are.
    sketch : Tensor (n_samples, n_probes)
        Sums of the targets with random signs.
    """
    total = torch.zeros((targets.n_samples, targets.n_samples), dtype=targets.dtype, device=targets.device)
    sketch = torch.zeros((targets.n_samples, N_PROBES), dtype=targets.dtype, device=targets.device)
    n_live = 0
    for _, block in targets.blocks():
        scaled, live = standardise(block, centre=centre)
        n_live += int(live.sum())
        signs = rng.choice(np.array([-1.0, 1.0]), (block.shape[1], N_PROBES))
        sketch += scaled @ torch.as_tensor(signs, dtype=targets.dtype, device=targets.device)
        for first in range(0, targets.n_samples, ROWS_A_BLOCK):
            last = min(targets.n_samples, first + ROWS_A_BLOCK)
            total[first:last, :last].addmm_(scaled[first:last], scaled[:last].T)
        on_block(block.shape[1])
    mirror(total)
    return total / max(1, n_live), sketch


def shared_loss(
    kernels: BandKernels,
    delta: NDArray[np.float64],
    moment: Tensor,
    folds: Sequence[Fold],
    *,
    intercept: bool = True,
    gradient: bool = True,
) -> tuple[float, NDArray[np.float64]]:
    r"""Give the cross-validated loss of a cluster, and its gradient.

    .. math::
        L(\delta) = \sum_f \frac{1}{F n_f} \mathrm{tr}(E_f S E_f^\top), \qquad
        \frac{\partial L}{\partial \delta_b} = -2 \langle K_b, G H G \rangle

    with :math:`G = (\sum_b \delta_b K_b + I)^{-1}`, :math:`E_f = G_{ff}^{-1} G_{f,:}`, the second moment S of the
    targets, :math:`M_f = S E_f^\top G_{ff}^{-1} / (F n_f)` and :math:`H = \sum_f (I - R_f^\top E_f) M_f R_f`, where
    :math:`R_f` picks the rows that fold f leaves out.

    Parameters
    ----------
    kernels : BandKernels
        Of the training samples.
    delta : ndarray of float64 (n_bands,)
        Weights :math:`\gamma / \alpha`.
    moment : Tensor (n_samples, n_samples)
        As :func:`second_moment`.
    folds : sequence of (train, test) index arrays
        Cross-validation splits.
    intercept : bool
        Whether there is an intercept.
    gradient : bool
        Whether the gradient is wanted; zeros otherwise.

    Returns
    -------
    loss : float
        Mean over folds and targets of Σ (y - ŷ)² / n_f, for targets of variance 1.
    gradient : ndarray of float64 (n_bands,)
        With respect to log δ.
    """
    n_samples = kernels.shape[0]
    inverse = invert(kernels.combine(delta), 1.0, intercept=intercept)
    dual = inverse.dual
    moment = moment.to(dual.dtype)
    loss = 0.0
    inner = torch.zeros_like(dual)
    for fold, residuals in zip(folds, left_out_residuals(inverse, folds), strict=True):
        left_out = unscored(fold, n_samples)
        rows = torch.as_tensor(left_out, device=dual.device)
        weights = torch.as_tensor(
            np.isin(left_out, fold[1]) / (len(folds) * len(fold[1])), dtype=dual.dtype, device=dual.device
        )
        projected = residuals @ moment  # (n_left_out, n_samples)
        loss += float((weights[:, None] * residuals * projected).sum())
        if gradient:
            pulled = torch.linalg.solve(dual[rows][:, rows], weights[:, None] * projected).T  # M_f
            inner[:, rows] += pulled
            inner[rows[:, None], rows] -= residuals @ pulled
    if not gradient:
        return loss, np.zeros(kernels.n_bands)
    inner = dual @ inner @ dual  # its antisymmetric part has no product with a kernel
    return loss, -2 * delta * kernels.inner(inner.to(kernels.dtype))


def share_bands(
    loss: Callable[[NDArray[np.float64], bool], tuple[float, NDArray[np.float64]]],
    n_bands: int,
    alphas: Sequence[float],
    *,
    n_evaluations: int = N_EVALUATIONS,
    on_evaluation: Callable[[float], None] = lambda value: None,
) -> SharedWeights:
    r"""Find the band weights with the least cross-validated loss, by L-BFGS on :math:`\sqrt{\gamma / \alpha}`.

    The search begins at the even mixture, with the best of a few of the ``alphas``.

    Parameters
    ----------
    loss : callable
        Takes δ = γ / α (n_bands,), and whether the gradient is wanted; gives the loss and its gradient with respect
        to log δ, such as :func:`shared_loss`.
    n_bands : int
        Number of bands.
    alphas : sequence of float
        Regularisation to begin with.
    n_evaluations : int
        How often the gradient may be computed, but for the end of a line search.
    on_evaluation : callable
        Called after each evaluation with the loss.

    Returns
    -------
    SharedWeights
        The best that was met.
    """
    best = (np.inf, np.full(n_bands, 1.0))
    count, scale = 0, 0.0

    def evaluate(delta: NDArray[np.float64], *, gradient: bool) -> tuple[float, NDArray[np.float64]]:
        nonlocal best, count
        count += 1
        try:
            value, slope = loss(delta, gradient)
        except DataError:  # so near to singular that it cannot be factorised: nothing that one would want
            value, slope = HOPELESS, np.zeros(n_bands)
        if value < best[0]:
            best = (value, delta)
        on_evaluation(value)
        return value, slope

    tried = np.unique(np.linspace(0, len(alphas) - 1, N_STARTS).round().astype(int))
    starts = [np.full(n_bands, 1 / (alpha * n_bands)) for alpha in np.sort(alphas)[tried]]
    start = min(starts, key=lambda delta: evaluate(delta, gradient=False)[0])

    def by_roots(roots: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal scale
        value, slope = evaluate(start * roots**2, gradient=True)
        slope = 2 * slope / roots
        # The first step of L-BFGS is as long as the gradient: it is to move the roots, which begin at 1, by a part.
        scale = scale or FIRST_STEP / max(float(np.linalg.norm(slope)), 1e-12)
        return scale * value, scale * slope

    if n_bands > 1:
        largest_root = float(np.sqrt(max(1.0, LARGEST / start[0])))
        minimize(
            by_roots, np.ones(n_bands), jac=True, method="L-BFGS-B", bounds=[(SMALLEST_ROOT, largest_root)] * n_bands,
            options={"maxfun": n_evaluations, "ftol": TOLERANCE * FIRST_STEP, "gtol": 0.0, "maxcor": 20},
        )  # fmt: skip
    delta = np.where(best[1] <= 1e-6 * best[1].max(), 0.0, best[1])
    return SharedWeights(delta / delta.sum(), float(1 / delta.sum()), best[0], count)
