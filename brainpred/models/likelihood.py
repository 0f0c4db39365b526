"""Estimate log-likelihoods of models with latents: by importance sampling, on a grid, and as conditional means."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t
from torch import Tensor

from brainpred.errors import ConfigError
from brainpred.models.latent_models import LatentModel, normal_parameters
from brainpred.models.proposals import propose

__all__ = [
    "BATCHES",
    "LikelihoodEstimate",
    "conditional_log_likelihood",
    "grid_log_likelihood",
    "importance_log_likelihood",
    "log_standard_normal",
    "summarise_weights",
]

BATCHES = 10  # of draws, whose scatter gives the errors
BLOCK = 4  # points along each axis of a grid that are computed together, or not at all
NOTHING = 30.0  # nats below the highest at which a block of the grid is left out
AT_ONCE = 65_536  # latents that are decoded in one go

# Latents (k, n, n_latent) to log densities (k, n), of every sample its own; or (n_repeats, k, n): of the same.
Density = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LikelihoodEstimate:
    """Hold estimates of log-likelihoods.

    Attributes
    ----------
    values : Tensor of float64 (n,)
        Estimate for each sample, in nats. With few effective draws it is too low rather than too high.
    effective : Tensor of float64 (n,)
        Effective number of draws; few say that the draws miss where the likelihood lies. Infinite on a grid.
    left_out : Tensor of float64 (n_batches, n)
        The same estimates without one batch of draws after the other. What a batch shares between samples, such as a
        normaliser, shows in all of them at once.
    """

    values: Tensor
    effective: Tensor
    left_out: Tensor

    @classmethod
    def join(cls, parts: Sequence["LikelihoodEstimate"]) -> "LikelihoodEstimate":
        """Put estimates of several samples one after the other."""
        names = ("values", "effective", "left_out")
        return cls(*(torch.cat([getattr(part, name) for part in parts], dim=-1) for name in names))

    @property
    def errors(self) -> Tensor:
        """Standard error of each estimate, by the jackknife over batches: float64 (n,)."""
        return _jackknife(self.left_out)

    @property
    def mean(self) -> float:
        """Mean over samples, in nats."""
        return float(self.values.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean of these samples: the error of the draws, by Student's t over batches."""
        error = float(_jackknife(self.left_out.mean(dim=1, keepdim=True)))
        half = error * float(t.ppf(0.975, max(1, len(self.left_out) - 1)))
        return self.mean - half, self.mean + half


def _jackknife(left_out: Tensor) -> Tensor:
    """Give standard errors (n,) of what was estimated without each batch, (n_batches, n); 0 of a single one."""
    n = len(left_out)
    return ((n - 1) * left_out.var(dim=0, correction=0)).sqrt()


def log_standard_normal(z: Tensor) -> Tensor:
    """Give the log density of N(0, I) at latents (..., n_latent): Tensor (...)."""
    return -0.5 * (z.square().sum(dim=-1) + z.shape[-1] * math.log(2 * math.pi))


def summarise_weights(log_weights: Sequence[Tensor]) -> LikelihoodEstimate:
    r"""Estimate :math:`\log E[w]` from batches of draws of w.

    Parameters
    ----------
    log_weights : sequence of Tensor (n_draws, n) or (n_batches, n_draws, n)
        Logarithms of draws, batch by batch; batches are independent of each other. In the second form, weights by as
        many densities as there are batches, which are averaged; a batch is left out with the density of its number.

    Returns
    -------
    LikelihoodEstimate
        Of n samples; the effective number of draws is :math:`(\sum w)^2 / \sum w^2`.

    Raises
    ------
    ConfigError
        If there are several densities, and not as many as batches.

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, equation 8; A. B. Owen, "Monte Carlo
    theory, methods and examples", 2013, chapter 9, for the effective number; R. G. Miller, "The jackknife: a review",
    Biometrika 61, 1974, for errors.
    """
    log_weights = [batch[0] if batch.ndim == 3 and len(batch) == 1 else batch for batch in log_weights]
    if any(batch.ndim == 3 and len(batch) != len(log_weights) for batch in log_weights):
        raise ConfigError(
            f"Expected one density, or as many as there are batches of draws ({len(log_weights)}), received "
            f"{len(log_weights[0])}."
        )
    scaled = [batch.double() - math.log(batch.shape[-2]) for batch in log_weights]  # batches count the same
    every = torch.cat([_average(batch[None] if batch.ndim == 2 else batch) for batch in scaled])
    effective = (2 * every.logsumexp(dim=0) - (2 * every).logsumexp(dim=0)).exp()
    means = torch.stack([batch.logsumexp(dim=-2) for batch in scaled])  # (batches, n) or (batches, densities, n)
    return LikelihoodEstimate(_average(every) + math.log(len(every) / len(scaled)), effective, _leave_out(means))


def _average(logarithms: Tensor) -> Tensor:
    """Give the logarithm of the mean over the first axis."""
    return logarithms.logsumexp(dim=0) - math.log(len(logarithms))


def _leave_out(means: Tensor) -> Tensor:
    """Average likelihoods without each batch, and without its density: logarithms (b, n) or (b, b, n) to (b, n)."""
    if len(means) == 1:
        return means.flatten(0, -2)
    kept = ~torch.eye(len(means), dtype=torch.bool, device=means.device)
    if means.ndim == 2:
        return torch.stack([_average(means[rows]) for rows in kept])
    return torch.stack([_average(means[rows][:, rows].flatten(0, 1)) for rows in kept])


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
        Draws for each sample, 10 or more.

    Returns
    -------
    LikelihoodEstimate
        One estimate for each of n samples.

    Raises
    ------
    ConfigError
        If the draws are fewer than 10.
    """
    with torch.no_grad():
        drawn = draw(_enough(n_draws)).split(max(1, AT_ONCE // len(x)))
        return summarise_weights(torch.cat([model.likelihood(z).log_prob(x) for z in drawn]).tensor_split(BATCHES))


def importance_log_likelihood(
    model: LatentModel,
    x: Tensor,
    log_density: Density = log_standard_normal,
    n_draws: int = 500,
    generator: torch.Generator | None = None,
    near: tuple[Tensor, Tensor] | None = None,
) -> LikelihoodEstimate:
    r"""Estimate :math:`\log \int p(x|z) p(z) dz` by importance sampling around the mode of the integrand.

    .. math:: \log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{r(z_k)}

    with z from r, which :func:`brainpred.models.proposals.propose` makes for each datum.

    Parameters
    ----------
    model : LatentModel
        Model of x.
    x : Tensor (n, ...)
        Data.
    log_density : callable
        Log density p(z) of latents (k, n, n_latent), of every sample its own where it depends on a condition: Tensor
        (k, n). N(0, I) by default: then this is log p(x). Ten estimates of the same density, from other draws each,
        may be given as (10, k, n): they are averaged, and what they differ by is part of the error.
    n_draws : int
        Draws for each sample, 10 or more.
    generator : Generator, optional
        Where the draws come from; seeded with 0 by default.
    near : (Tensor (n, d), Tensor (n, d, d)), optional
        Mean and covariance of a normal distribution that is near p(z), to look for the mode with; N(0, I) by default.

    Returns
    -------
    LikelihoodEstimate
        One estimate for each of n samples.

    Raises
    ------
    ConfigError
        If the draws are fewer than 10.
    """
    generator = generator or torch.Generator(x.device).manual_seed(0)
    proposal = propose(model, x, near)

    def weigh(z: Tensor) -> Tensor:
        return model.likelihood(z).log_prob(x) + log_density(z) - proposal.log_prob(z)

    with torch.no_grad():
        return summarise_weights(_batches(lambda k: proposal.draw(k, generator), weigh, n_draws, len(x)))


def grid_log_likelihood(
    model: LatentModel,
    x: Tensor,
    log_density: Density = log_standard_normal,
    n_points: int = 120,
    reach: float = 6.0,
) -> LikelihoodEstimate:
    r"""Integrate :math:`\log \int p(x|z) p(z) dz` on a grid: exact to the grid's step, for two latents at the most.

    Blocks of four points along each axis are left out where, in their middle, there is 30 nats less than elsewhere.

    Parameters
    ----------
    model : LatentModel
        Model of x, with one latent or two.
    x : Tensor (n, ...)
        Data.
    log_density : callable
        As of :func:`importance_log_likelihood`.
    n_points : int
        Points along each axis, a multiple of 4.
    reach : float
        The grid goes from minus this to plus this.

    Returns
    -------
    LikelihoodEstimate
        One value for each of n samples; without error but for what several densities differ by.

    Raises
    ------
    ConfigError
        If the model has more than two latents, or the number of points is no multiple of 4.
    """
    mean, _ = normal_parameters(model.posterior(x))
    n_latent = mean.shape[1]
    if n_points < BLOCK or n_points % BLOCK:
        raise ConfigError(f"Expected a multiple of {BLOCK} points along each axis, received {n_points}.")
    if n_latent > 2:
        raise ConfigError(
            f"A grid serves for one latent or two, the model has {n_latent}. Use the estimator 'importance'."
        )
    axis = torch.linspace(-reach, reach, n_points, dtype=mean.dtype, device=mean.device).reshape(-1, BLOCK)
    middles, offsets = (
        torch.cartesian_prod(*[points] * n_latent).reshape(-1, n_latent)
        for points in (axis.mean(dim=1), axis[0] - axis[0].mean())
    )
    cell = n_latent * math.log(float(axis[0, 1] - axis[0, 0]))

    def weigh(z: Tensor) -> Tensor:
        return (model.likelihood(z).log_prob(x) + log_density(z)).double()

    with torch.no_grad():
        pieces = middles[:, None].expand(-1, len(x), -1).split(max(1, AT_ONCE // len(x)))
        rough = torch.cat([weigh(piece).reshape(-1, len(piece), len(x)).amax(dim=0) for piece in pieces])
        n_kept = int((rough > rough.amax(dim=0) - NOTHING).sum(dim=0).max())
        kept = middles[rough.topk(n_kept, dim=0).indices]  # (n_kept, n, n_latent)
        at_once = max(1, AT_ONCE // len(x) // len(offsets))
        sums = [
            weigh((blocks[:, None] + offsets[:, None]).flatten(0, 1)).logsumexp(dim=-2)
            for blocks in kept.split(at_once)
        ]
    total = torch.stack(sums).logsumexp(dim=0) + cell
    total = total[None] if total.ndim == 1 else total
    return LikelihoodEstimate(_average(total), torch.full_like(total[0], torch.inf), _leave_out(total))


def _batches(draw: Callable[[int], Tensor], weigh: Callable[[Tensor], Tensor], n_draws: int, n: int) -> list[Tensor]:
    """Weigh draws for n samples in ten batches, so many at a time that memory suffices."""
    at_once, batches = max(1, AT_ONCE // n), []
    for batch in range(BATCHES):
        wanted = _enough(n_draws) // BATCHES + (batch < n_draws % BATCHES)
        parts = [weigh(draw(min(at_once, wanted - first))) for first in range(0, wanted, at_once)]
        batches.append(torch.cat(parts, dim=-2))
    return batches


def _enough(n_draws: int) -> int:
    """Refuse too few draws."""
    if n_draws < BATCHES:
        raise ConfigError(f"Expected {BATCHES} draws or more, whose scatter gives the error, received {n_draws}.")
    return n_draws
