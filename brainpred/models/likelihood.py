"""Estimate log-likelihoods of models with latents: by importance sampling, on a grid, and as conditional means."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from brainpred.errors import ConfigError, DataError

__all__ = [
    "LatentModel",
    "LikelihoodEstimate",
    "conditional_log_likelihood",
    "grid_log_likelihood",
    "importance_log_likelihood",
    "log_standard_normal",
    "summarise_weights",
]

BROADENED = 1.5  # how much wider than the posterior the second part of the proposal is
SHARE_BROAD = 0.2  # of the draws that come from it
AT_ONCE = 65_536  # latents that are decoded in one go


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


@dataclass(frozen=True)
class LikelihoodEstimate:
    """Hold estimates of log-likelihoods.

    Attributes
    ----------
    values : Tensor of float64 (n,)
        Estimate for each sample, in nats.
    errors : Tensor of float64 (n,)
        Standard error of each that comes from the number of draws; 0 on a grid.
    effective : Tensor of float64 (n,)
        Effective number of draws; few say that the proposal misses where the likelihood lies.
    """

    values: Tensor
    errors: Tensor
    effective: Tensor

    @classmethod
    def join(cls, parts: Sequence["LikelihoodEstimate"]) -> "LikelihoodEstimate":
        """Put estimates of several samples one after the other."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("values", "errors", "effective")))

    @property
    def mean(self) -> float:
        """Mean over samples, in nats."""
        return float(self.values.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean of these samples: the error of the draws alone."""
        half = 1.96 * float(self.errors.square().sum().sqrt()) / len(self.values)
        return self.mean - half, self.mean + half


def log_standard_normal(z: Tensor) -> Tensor:
    """Give the log density of N(0, I) at latents (..., n_latent): Tensor (...)."""
    return -0.5 * (z.square().sum(dim=-1) + z.shape[-1] * math.log(2 * math.pi))


def summarise_weights(log_weights: Tensor) -> LikelihoodEstimate:
    r"""Estimate :math:`\log E[w]` from draws of w, with its standard error by the delta method.

    Parameters
    ----------
    log_weights : Tensor (n_draws, n)
        Logarithms of independent draws.

    Returns
    -------
    LikelihoodEstimate
        Of n samples; the effective number of draws is :math:`(\sum w)^2 / \sum w^2`.

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, equation 8; A. B. Owen, "Monte Carlo
    theory, methods and examples", 2013, chapter 9, for the effective number.
    """
    log_weights = log_weights.double()
    n_draws = len(log_weights)
    values = log_weights.logsumexp(dim=0) - math.log(n_draws)
    relative = (log_weights - values).exp()  # mean 1
    errors = relative.std(dim=0) / math.sqrt(n_draws) if n_draws > 1 else torch.full_like(values, torch.inf)
    return LikelihoodEstimate(values, errors, n_draws / relative.square().mean(dim=0))


def conditional_log_likelihood(
    model: LatentModel, x: Tensor, draw: Callable[[int], Tensor], n_draws: int = 100
) -> LikelihoodEstimate:
    r"""Give document 002's estimate, :math:`\log \frac1K \sum_k p(x|z_k)` with z_k from what conditions the latents.

    With z from the posterior of x itself this is no marginal likelihood: x has been looked at. For labels it comes out
    above :math:`-\log 10`, the best that a marginal can be.

    Parameters
    ----------
    model : LatentModel
        Model of x.
    x : Tensor (n, ...)
        Data.
    draw : callable
        A number of draws to latents (n_draws, n, n_latent).
    n_draws : int
        Draws for each sample.

    Returns
    -------
    LikelihoodEstimate
        One estimate for each of n samples.
    """
    return summarise_weights(torch.cat([model.likelihood(z).log_prob(x) for z in _parts(draw, n_draws, len(x))]))


def importance_log_likelihood(
    model: LatentModel,
    x: Tensor,
    log_density: Callable[[Tensor], Tensor] | None = None,
    n_draws: int = 500,
    generator: torch.Generator | None = None,
) -> LikelihoodEstimate:
    r"""Estimate :math:`\log \int p(x|z) p(z) dz` by importance sampling from the posterior and a wider one.

    .. math:: \log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{r(z_k)}, \qquad r = 0.8\, q(z|x) + 0.2\, q_{wide}(z|x).

    Parameters
    ----------
    model : LatentModel
        Model of x.
    x : Tensor (n, ...)
        Data.
    log_density : callable, optional
        Log density p(z) of latents (n_draws, n, n_latent), of every sample its own where it depends on a condition:
        Tensor (n_draws, n). N(0, I) by default: then this is log p(x).
    n_draws : int
        Draws for each sample.
    generator : Generator, optional
        Where the draws come from; seeded with 0 by default.

    Returns
    -------
    LikelihoodEstimate
        One estimate for each of n samples.
    """
    density = log_density or log_standard_normal
    generator = generator or torch.Generator(x.device).manual_seed(0)
    mean, spread = normal_parameters(model.posterior(x))
    wide = torch.maximum(spread, (BROADENED * spread).clamp(max=1.0))

    def draw(n: int) -> Tensor:
        chosen = torch.rand((n, len(x), 1), generator=generator, device=x.device) < SHARE_BROAD
        noise = torch.randn((n, *mean.shape), generator=generator, device=x.device, dtype=mean.dtype)
        return mean + torch.where(chosen, wide, spread) * noise

    def proposal(z: Tensor) -> Tensor:
        parts = [log_standard_normal((z - mean) / width) - width.log().sum(dim=-1) for width in (spread, wide)]
        return torch.logaddexp(parts[0] + math.log(1 - SHARE_BROAD), parts[1] + math.log(SHARE_BROAD))

    weights = [model.likelihood(z).log_prob(x) + density(z) - proposal(z) for z in _parts(draw, n_draws, len(x))]
    return summarise_weights(torch.cat(weights))


def grid_log_likelihood(
    model: LatentModel,
    x: Tensor,
    log_density: Callable[[Tensor], Tensor] | None = None,
    n_points: int = 121,
    reach: float = 6.0,
) -> LikelihoodEstimate:
    r"""Integrate :math:`\log \int p(x|z) p(z) dz` on a grid: exact to the grid's step, for two latents at the most.

    Parameters
    ----------
    model : LatentModel
        Model of x, with one latent or two.
    x : Tensor (n, ...)
        Data.
    log_density : callable, optional
        Log density p(z) of latents (n_grid, n, n_latent): Tensor (n_grid, n). N(0, I) by default.
    n_points : int
        Points along each axis.
    reach : float
        The grid goes from minus this to plus this.

    Returns
    -------
    LikelihoodEstimate
        One value for each of n samples, without error.

    Raises
    ------
    ConfigError
        If the model has more than two latents.
    """
    density = log_density or log_standard_normal
    mean, _ = normal_parameters(model.posterior(x))
    n_latent = mean.shape[1]
    if n_latent > 2:
        raise ConfigError(
            f"A grid serves for one latent or two, the model has {n_latent}. Use the estimator 'importance'."
        )
    axis = torch.linspace(-reach, reach, n_points, dtype=mean.dtype, device=mean.device)
    grid = torch.cartesian_prod(*[axis] * n_latent).reshape(-1, n_latent)  # (n_grid, n_latent)
    cell = n_latent * math.log(float(axis[1] - axis[0]))
    total = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=mean.device)
    for part in grid.split(max(1, AT_ONCE // len(x))):
        z = part[:, None].expand(-1, len(x), -1)  # (n_part, n, n_latent)
        weights = (model.likelihood(z).log_prob(x) + density(z)).double()
        total = torch.logaddexp(total, weights.logsumexp(dim=0) + cell)
    return LikelihoodEstimate(total, torch.zeros_like(total), torch.full_like(total, torch.inf))


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


def _parts(draw: Callable[[int], Tensor], n_draws: int, n: int):  # type: ignore[no-untyped-def]
    """Draw so many at a time that memory suffices."""
    at_once = max(1, AT_ONCE // n)
    for first in range(0, n_draws, at_once):
        yield draw(min(at_once, n_draws - first))
