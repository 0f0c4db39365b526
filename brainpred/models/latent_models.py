"""What is asked of a model with latents, and of its posteriors."""

from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from brainpred.errors import DataError

__all__ = ["LatentModel", "added_precision", "check_tensor", "normal_parameters"]

LEAST_PRECISION = 1e-4  # of a latent that data say nothing about


class LatentModel(Protocol):
    """Say what a bridge needs of a model whose latents have the prior N(0, I).

    Any class with these two methods will do; nothing need be inherited.
    """

    def posterior(self, x: Tensor) -> Distribution:
        """Infer latents from data (n, ...): independent normal distributions, batch (n,), event (n_latent,)."""
        ...

    def likelihood(self, z: Tensor) -> Distribution:
        """Give the distribution of data that latents (..., n_latent) generate, batch (...)."""
        ...


def added_precision(spread: Tensor) -> Tensor:
    """Give the precision that data add to the prior N(0, I), of posteriors with these standard deviations."""
    return (spread**-2 - 1).clamp(min=LEAST_PRECISION)


def check_tensor(data: object, what: str) -> None:
    """Raise :class:`DataError` if data, such as an array, are no torch tensor."""
    if not isinstance(data, Tensor):
        raise DataError(
            f"{what}: expected a torch tensor, received {type(data).__name__}. An array becomes one by "
            "torch.from_numpy(array).float(), pictures of 0 to 255 divided by 255."
        )


def normal_parameters(posterior: Distribution) -> tuple[Tensor, Tensor]:
    """Give mean and standard deviation (n, n_latent) of posteriors, or say why they cannot be used.

    Raises
    ------
    DataError
        If they are not independent normal distributions of finite mean and spread above 0.
    """
    if len(posterior.event_shape) != 1 or len(posterior.batch_shape) != 1:
        raise DataError(
            "A model's posterior must be a distribution with batch (n,) and event (n_latent,), received batch "
            f"{tuple(posterior.batch_shape)} and event {tuple(posterior.event_shape)}. Wrap it in "
            "torch.distributions.Independent(..., 1)."
        )
    mean, spread = posterior.mean, posterior.stddev
    broken = ~(torch.isfinite(mean) & torch.isfinite(spread) & (spread > 0)).all(dim=1)
    if bool(broken.any()):
        raise DataError(
            f"{int(broken.sum())} of {len(broken)} posteriors are degenerate (the first is sample "
            f"{int(broken.nonzero()[0])}): expected finite means and standard deviations above 0. Check the data and "
            "the model that infers their latents."
        )
    return mean, spread
