"""Choose the form of a ridge, dual or primal, and use again what one ridge prepared for another."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from brainpred.errors import ConfigError
from brainpred.numerics.ridge.dual import DualForm
from brainpred.numerics.ridge.plan import RidgePlan
from brainpred.numerics.ridge.primal import PrimalForm
from brainpred.progress import Reporter

__all__ = ["Voxels", "form_again", "make_form", "prepared_plan"]


class Voxels(NamedTuple):
    """Hold the features of the training samples, and how they are banded and delayed.

    Attributes
    ----------
    X : array, memory map or HDF5 data set (n_samples, n_features)
        Features.
    runs : ndarray (n_samples,)
        Run of each sample.
    bands : ndarray of int64 (n_features,)
        Number of each feature's band.
    delays : tuple of int
        Delays in samples.
    per_delay : bool
        Whether every delay is a band of its own.
    """

    X: Any
    runs: NDArray[Any]
    bands: NDArray[np.int64]
    delays: tuple[int, ...]
    per_delay: bool


def make_form(
    plan: RidgePlan, voxels: Voxels, device: torch.device, dtype: torch.dtype, seed: int, reporter: Reporter
) -> DualForm | PrimalForm:
    """Prepare the features of the training samples as the plan says.

    Parameters
    ----------
    plan : RidgePlan
        Tells the form.
    voxels : Voxels
        The features.
    device, dtype : torch.device, torch.dtype
        Where, and in what, to hold what is prepared.
    seed : int
        Seed of what is drawn, in primal form.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    DualForm or PrimalForm
        The form.
    """
    X, runs, bands, delays, per_delay = voxels
    if plan.form == "dual":
        return DualForm(X, runs, bands, delays, per_delay=per_delay, device=device, dtype=dtype, reporter=reporter)
    return PrimalForm(
        X, runs, bands, delays, per_delay=per_delay, n_components=plan.n_components, device=device, dtype=dtype,
        seed=seed, reporter=reporter,
    )  # fmt: skip


def prepared_plan(ridge: Any, like: Any) -> RidgePlan:
    """Give the plan of a ridge that prepared X, for another that wants to use it again.

    Parameters
    ----------
    ridge, like : BandedRidgeCV
        The one that wants to, and the one that prepared X.

    Returns
    -------
    RidgePlan
        The plan of ``like``.

    Raises
    ------
    ConfigError
        If the form that X was prepared in is not the one that the other wants, or can use.
    """
    check_is_fitted(like, "gammas_")
    plan: RidgePlan = like.plan_
    if ridge.form not in ("auto", plan.form) or (plan.form == "primal" and ridge.search != "shared"):
        raise ConfigError(
            f"like was fitted in {plan.form} form, but form={ridge.form!r} and search={ridge.search!r} were asked for. "
            "Leave like out, or ask for the same."
        )
    return plan


def form_again(like: Any, voxels: Voxels, device: torch.device, dtype: torch.dtype) -> DualForm | PrimalForm:
    """Give what another ridge prepared, if it is what these features need.

    Parameters
    ----------
    like : BandedRidgeCV
        The other ridge.
    voxels : Voxels
        The features.
    device, dtype : torch.device, torch.dtype
        Where, and in what, it must be held.

    Returns
    -------
    DualForm or PrimalForm
        The same form.

    Raises
    ------
    ConfigError
        If the other ridge was fitted on other features, or in another way.
    """
    form: DualForm | PrimalForm = like._form
    same = (
        voxels.X is form.X
        and np.array_equal(voxels.runs, form.runs)
        and np.array_equal(voxels.bands, form.bands)
        and (voxels.delays, voxels.per_delay) == (form.delays, form.per_delay)
        and (device.type, dtype) == (form.device.type, form.dtype)
    )
    if not same:
        raise ConfigError(
            "like must be a ridge fitted on the same X and runs, with the same bands, delays, device and precision. "
            "Leave it out to prepare X anew."
        )
    return form
