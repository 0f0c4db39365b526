"""Infer latents of data and of pairs, and say at the door what cannot be used."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Categorical

from brainpred.errors import DataError
from brainpred.models.conditionals import Latents
from brainpred.models.joint_mixture import PRIOR_PAIRS
from brainpred.models.latent_models import LatentModel, check_tensor, normal_parameters

__all__ = ["distinct_latents", "infer", "infer_pairs", "latent_features", "normal_of_pairs"]

FEWEST_PAIRS = 8


def infer(name: str, model: LatentModel, data: Tensor) -> Latents:
    """Give mean and standard deviation of the posteriors of data.

    Parameters
    ----------
    name : str
        What the model is of, for messages.
    model : LatentModel
        The model.
    data : Tensor (n, ...)
        Data.

    Returns
    -------
    (Tensor of float32 (n, n_latent), Tensor of float32 (n, n_latent))
        Means and standard deviations.

    Raises
    ------
    DataError
        If data are not finite or do not fit the model, or their posteriors are degenerate.
    """
    check_tensor(data, f"Data of the {name}")
    if data.is_floating_point() and not bool(torch.isfinite(data).all()):
        raise DataError(
            f"Data of the {name} hold {int((~torch.isfinite(data)).sum())} values that are not finite. Leave those "
            "samples out, or repair them."
        )
    try:
        with torch.no_grad():
            mean, spread = normal_parameters(model.posterior(data))
    except DataError as error:
        raise DataError(f"The {name} (data of {float(data.min()):g} to {float(data.max()):g}): {error}") from error
    except (RuntimeError, IndexError, ValueError) as error:
        raise DataError(
            f"The {name}'s model cannot infer latents from data of shape {tuple(data.shape)} ({data.dtype}: "
            f"{error}). Give data as the model was trained on."
        ) from error
    return mean.float(), spread.float()


def distinct_latents(latents: Latents) -> tuple[Latents, Tensor, Tensor]:
    """Give each posterior once, as many data of categories share theirs.

    Parameters
    ----------
    latents : (Tensor (n, n_latent), Tensor (n, n_latent))
        Means and standard deviations.

    Returns
    -------
    (Tensor (n_distinct, n_latent), Tensor (n_distinct, n_latent))
        Those that differ.
    Tensor of int64 (n,)
        Which one each datum has.
    Tensor of int64 (n,)
        How many data before it have the same.
    """
    both, which = torch.cat(latents, dim=1).unique(dim=0, return_inverse=True)
    mean, spread = both.chunk(2, dim=1)
    order, counts = which.argsort(stable=True), which.bincount()
    before = torch.empty_like(which)
    before[order] = torch.arange(len(which)) - (counts.cumsum(dim=0) - counts)[which[order]]
    return (mean, spread), which, before


def infer_pairs(source: LatentModel, target: LatentModel, pairs: tuple[Tensor, Tensor]) -> tuple[Latents, Latents]:
    """Check pairs and infer the latents of both sides.

    Parameters
    ----------
    source, target : LatentModel
        The models.
    pairs : (Tensor (n_pairs, ...), Tensor (n_pairs, ...))
        Data of each, row by row belonging together.

    Returns
    -------
    tuple of two (Tensor, Tensor)
        As :func:`infer`, of the source and of the target.

    Raises
    ------
    DataError
        If the two have other lengths, are too few, or cannot be used.
    """
    x, y = pairs
    if len(x) != len(y):
        raise DataError(f"A bridge learns from pairs: received {len(x)} of the source and {len(y)} of the target.")
    if len(x) < FEWEST_PAIRS:
        raise DataError(f"A bridge needs {FEWEST_PAIRS} pairs or more, received {len(x)}.")
    latents = []
    for name, model, data in (("source", source, x), ("target", target, y)):
        mean, spread = infer(name, model, data)
        with torch.no_grad():
            made = model.likelihood(mean[:1])
        if isinstance(made, Categorical) and len(x) < made.probs.shape[-1]:
            raise DataError(
                f"The {name} has {made.probs.shape[-1]} categories: {len(x)} pairs cannot show them all. Give "
                "more pairs."
            )
        latents.append((mean, spread))
    return latents[0], latents[1]


def latent_features(model: LatentModel) -> Callable[[Tensor], Tensor]:
    """Give the function from latents (n, d) to what they generate, flat: (n, n_features)."""

    def features(z: Tensor) -> Tensor:
        made = model.likelihood(z)
        return (made.probs if isinstance(made, Categorical) else made.mean).flatten(1)

    return features


def normal_of_pairs(latents: Latents) -> tuple[Tensor, Tensor]:
    """Give mean and Cholesky factor of a normal distribution around pairs' latents, drawn a little to N(0, I)."""
    mean, spread = latents
    n = len(mean)
    centre = mean.mean(dim=0)
    away = mean - centre
    scatter = away.T @ away + torch.diag((spread**2).sum(dim=0)) + PRIOR_PAIRS * torch.eye(mean.shape[1])
    return centre * n / (n + PRIOR_PAIRS), torch.linalg.cholesky(scatter / (n + PRIOR_PAIRS))
