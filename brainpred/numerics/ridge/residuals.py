"""Residuals of samples that are left out, for every fold from one factorisation, without fitting anew."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.errors import DataError

__all__ = ["Fold", "Inverse", "invert", "left_out_residuals", "prediction_weights", "scored_rows", "unscored"]

# A condition number that float32 stands: its cross-validated losses are then right to 1e-4.
LARGEST_CONDITION = 1e5
LARGEST_CONDITION_64 = 1e13
# So few that float64 costs next to nothing.
FEW_SAMPLES = 1024
POWER_ITERATIONS = 8

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # samples trained on, samples tested


class Inverse(NamedTuple):
    r"""Hold the inverse of a regularised kernel, with the intercept taken out.

    Attributes
    ----------
    dual : Tensor (n_samples, n_samples)
        :math:`\tilde G = G - g g^\top / 1^\top g` with :math:`G = (K + \alpha I)^{-1}` and :math:`g = G 1`: targets Y
        have dual weights :math:`\tilde G Y`. Without an intercept, G itself.
    mean : Tensor (n_samples,)
        :math:`g / 1^\top g`: targets Y have the intercept :math:`\mathrm{mean}^\top Y`. Zeros without an intercept.
    """

    dual: Tensor
    mean: Tensor


def invert(kernel: Tensor, alpha: float, *, intercept: bool = True) -> Inverse:
    r"""Invert :math:`K + \alpha I` by Cholesky, and take the intercept out.

    The intercept is a kernel :math:`c\,1 1^\top` without penalty, :math:`c \to \infty`, whose limit is exact. Where
    float32 would not do (condition number above 1e5), or samples are few, the work is done in float64.

    Parameters
    ----------
    kernel : Tensor (n_samples, n_samples)
        Symmetric, positive semidefinite; left as it is.
    alpha : float
        Regularisation, positive.
    intercept : bool
        Whether there is an intercept.

    Returns
    -------
    Inverse
        On the kernel's device; float64 if the kernel is, if float32 would not do, or if samples are few.

    Raises
    ------
    DataError
        If the matrix is not positive definite even in float64.
    """
    condition = _largest_eigenvalue(kernel) / alpha
    exact = kernel.dtype == torch.float64 or condition > LARGEST_CONDITION or len(kernel) <= FEW_SAMPLES
    regularised = kernel.double() if exact else kernel.clone()
    regularised = regularised.clone() if regularised is kernel else regularised
    regularised.diagonal().add_(alpha)
    factor, failed = torch.linalg.cholesky_ex(regularised)
    if failed or condition > LARGEST_CONDITION_64:
        if not exact:
            return invert(kernel.double(), alpha, intercept=intercept)
        raise DataError(
            f"The kernel plus {alpha:.3g} on its diagonal is not positive definite, even in float64: alpha is too "
            "small for a kernel of samples that depend on each other. Use a larger alpha."
        )
    inverse = torch.cholesky_inverse(factor)
    if not intercept:
        return Inverse(inverse, inverse.new_zeros(len(inverse)))
    sums = inverse.sum(dim=1)
    mean = sums / sums.sum()
    return Inverse(inverse.addr_(sums, mean, alpha=-1), mean)


def _largest_eigenvalue(kernel: Tensor) -> float:
    """Estimate the largest eigenvalue from below, by power iteration."""
    # Irregular, so that hardly any eigenvector is at right angles to it.
    vector = 1.1 + torch.cos(torch.arange(len(kernel), dtype=kernel.dtype, device=kernel.device) ** 2)
    size = 0.0
    for _ in range(POWER_ITERATIONS):
        vector = kernel @ (vector / vector.norm())
        size = float(vector.norm())
        if size == 0:
            break
    return size


def unscored(fold: Fold, n_samples: int) -> NDArray[np.int64]:
    """Give the samples that a fold does not train on, its test samples among them."""
    return np.setdiff1d(np.arange(n_samples), fold[0])


def scored_rows(folds: Sequence[Fold]) -> list[slice]:
    """Give the rows of each fold in what :func:`left_out_residuals` stacks."""
    ends = np.cumsum([len(test) for _, test in folds])
    return [slice(int(end) - len(test), int(end)) for end, (_, test) in zip(ends, folds, strict=True)]


def left_out_residuals(inverse: Inverse, folds: Sequence[Fold]) -> list[Tensor]:
    r"""Give, for every fold, the matrix that turns targets into the residuals of what it leaves out.

    With :math:`s` the samples that a fold does not train on, the residuals of fitting the others are
    :math:`(\tilde G_{ss})^{-1} \tilde G_{s,:} Y`, exactly; nothing is fitted again.

    Parameters
    ----------
    inverse : Inverse
        Of all samples.
    folds : sequence of (train, test) index arrays
        Samples of neither (such as those near the test block) are left out with the test samples.

    Returns
    -------
    list of Tensor (n_left_out, n_samples)
        One matrix a fold; its rows are the samples that :func:`unscored` gives.
    """
    n_samples = len(inverse.dual)
    matrices = []
    for fold in folds:
        rows = torch.as_tensor(unscored(fold, n_samples), device=inverse.dual.device)
        block = inverse.dual[rows]  # (n_left_out, n_samples)
        factor, failed = torch.linalg.cholesky_ex(block[:, rows])
        residuals = torch.linalg.solve(block[:, rows], block) if failed else torch.cholesky_solve(block, factor)
        matrices.append(residuals)
    return matrices


def prediction_weights(inverse: Inverse, kernel: Tensor) -> Tensor:
    r"""Give the matrix that turns targets of the training samples into predictions for others.

    Parameters
    ----------
    inverse : Inverse
        Of the training samples.
    kernel : Tensor (n_others, n_samples)
        Kernel between the others and the training samples.

    Returns
    -------
    Tensor (n_others, n_samples)
        :math:`K_* \tilde G`; add the intercept :math:`\mathrm{mean}^\top Y` to what it predicts.
    """
    return (kernel.to(inverse.dual.dtype) @ inverse.dual).to(kernel.dtype)
