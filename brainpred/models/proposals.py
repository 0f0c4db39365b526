"""Where to draw the latents of data from when a likelihood is estimated: around the mode of their true posterior."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Chi2

from brainpred.models.latent_models import LatentModel, normal_parameters

__all__ = ["Proposal", "propose"]

CLIMBS = 50
CLIMB_RATE = 0.1
FREEDOM = 30.0  # degrees of freedom about the mode: tails a little heavier than a normal distribution's
BROADENED = 1.5  # how much wider than the model's own posterior the last part is
SHARES = (0.7, 0.2, 0.1)  # of the draws: about the mode, from the model's own posterior, from that broadened


@dataclass(frozen=True)
class Proposal:
    """Hold a mixture of two or three distributions for each of n samples, to draw from.

    Attributes
    ----------
    shares : tuple of float
        Part of the draws that come from each.
    centres : list of Tensor (n, d)
        Where each is.
    factors : list of Tensor (n, d, d) or (n, d)
        By what standard normal numbers are multiplied: triangular, or one number an axis.
    freedom : tuple of float
        Degrees of freedom of multivariate t distributions; infinity: normal.
    """

    shares: tuple[float, ...]
    centres: list[Tensor]
    factors: list[Tensor]
    freedom: tuple[float, ...]

    def draw(self, k: int, generator: torch.Generator) -> Tensor:
        """Draw k times for each sample: (k, n, d)."""
        first = self.centres[0]
        shape = (k, *first.shape)
        noise = torch.randn(shape, generator=generator, dtype=first.dtype, device=first.device)
        weights = torch.tensor(self.shares, device=first.device).expand(k * len(first), -1)
        chosen = torch.multinomial(weights, 1, generator=generator).reshape(k, -1, 1)
        z = torch.empty_like(noise)
        for part, (centre, factor, freedom) in enumerate(zip(self.centres, self.factors, self.freedom, strict=True)):
            away = noise * factor if factor.ndim == 2 else torch.einsum("nij,knj->kni", factor, noise)
            if math.isfinite(freedom):
                away = away / _chi_squared(freedom, (k, len(first), 1), generator).to(away).div(freedom).sqrt()
            z = torch.where(chosen == part, centre + away, z)
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Give the log density of latents (k, n, d): (k, n)."""
        d, parts = z.shape[-1], []
        for share, centre, factor, freedom in zip(self.shares, self.centres, self.factors, self.freedom, strict=True):
            away = z - centre
            if factor.ndim == 2:
                squares, volume = (away / factor).square().sum(dim=-1), factor.log().sum(dim=-1)
            else:
                turned = torch.linalg.solve_triangular(factor, away.permute(1, 2, 0), upper=False)  # (n, d, k)
                squares = turned.square().sum(dim=1).T
                volume = factor.diagonal(dim1=1, dim2=2).log().sum(dim=-1)
            if math.isfinite(freedom):
                scale = math.lgamma((freedom + d) / 2) - math.lgamma(freedom / 2) - d / 2 * math.log(freedom * math.pi)
                density = scale - (freedom + d) / 2 * torch.log1p(squares / freedom)
            else:
                density = -0.5 * (squares + d * math.log(2 * math.pi))
            parts.append(density - volume + math.log(share))
        return torch.stack(parts).logsumexp(dim=0)


def _chi_squared(freedom: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from a chi-squared distribution, which torch draws from its own generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        return Chi2(torch.tensor(freedom)).sample(shape)


def propose(model: LatentModel, x: Tensor, prior: tuple[Tensor, Tensor] | None = None) -> Proposal:
    r"""Find where :math:`p(x|z)\,p(z)` lies for each datum, and give a distribution to draw latents from.

    The model's own posterior is an approximation that was made for all data at once, and with a condition in the
    prior's place it is that of another density. Seven tenths of the draws come from a t distribution about the mode of
    :math:`p(x|z)\,p(z)`, with the curvature there (Laplace's approximation); the others from the model's posterior and
    from a broader one. The curvature of the likelihood is taken over a standard deviation of the model's posterior to
    either side, as networks bend in many small kinks.

    Parameters
    ----------
    model : LatentModel
        Model of x. Where its likelihood cannot be differentiated, its own posterior serves alone.
    x : Tensor (n, ...)
        Data.
    prior : (Tensor (n, d), Tensor (n, d, d)), optional
        Mean and covariance of a normal distribution that is near p(z); N(0, I) by default.

    Returns
    -------
    Proposal
        For n samples.

    References
    ----------
    L. Tierney, J. B. Kadane, "Accurate approximations for posterior moments and marginal densities", Journal of the
    American Statistical Association 81, 1986, for the curvature; T. Hesterberg, "Weighted average importance sampling
    and defensive mixture distributions", Technometrics 37, 1995, for the other parts.
    """
    with torch.inference_mode(False), torch.enable_grad():
        if x.is_inference():
            x = x.clone()
        return _propose(model, x, prior)


def _propose(model: LatentModel, x: Tensor, prior: tuple[Tensor, Tensor] | None) -> Proposal:
    """Make the proposal, where gradients are computed."""
    mean, spread = (part.detach() for part in normal_parameters(model.posterior(x)))
    wide = torch.maximum(spread, (BROADENED * spread).clamp(max=1.0))
    identity = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
    about, precision = (torch.zeros_like(mean), identity.expand(len(mean), -1, -1)) if prior is None else (
        prior[0], torch.linalg.inv(prior[1])
    )  # fmt: skip

    def heights(z: Tensor) -> Tensor:
        return model.likelihood(z).log_prob(x)

    def slopes(z: Tensor) -> Tensor:
        z = z.clone().requires_grad_(True)
        return torch.autograd.grad(heights(z).sum(), z)[0]

    if not heights(mean.clone().requires_grad_(True)).requires_grad:
        return Proposal((SHARES[0] + SHARES[1], SHARES[2]), [mean] * 2, [spread, wide], (math.inf,) * 2)
    mode = _climb(heights, mean, about, precision)
    curvature = torch.stack(
        [
            (slopes(mode + step) - slopes(mode - step)) / (2 * width[:, None])
            for step, width in zip(torch.diag_embed(spread).unbind(1), spread.unbind(1), strict=True)
        ],
        dim=1,
    )
    bent = precision - (curvature + curvature.transpose(1, 2)) / 2
    values, vectors = torch.linalg.eigh(bent)
    least = torch.linalg.eigvalsh(precision)[:, :1]  # the likelihood adds to what the prior knows
    covariance = vectors @ (1 / torch.maximum(values, least)[:, :, None] * vectors.transpose(1, 2))
    factor = torch.linalg.cholesky((covariance + covariance.transpose(1, 2)) / 2)
    return Proposal(SHARES, [mode, mean, mean], [factor, spread, wide], (FREEDOM, math.inf, math.inf))


def _climb(heights: Callable[[Tensor], Tensor], start: Tensor, about: Tensor, precision: Tensor) -> Tensor:
    """Find the mode of the likelihood times a normal prior, from where the model's own posterior is."""
    z = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=CLIMB_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, CLIMBS)
    for _ in range(CLIMBS):
        away = z - about
        loss = 0.5 * torch.einsum("ni,nij,nj->", away, precision, away) - heights(z).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return z.detach()
