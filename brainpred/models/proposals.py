"""Where to draw the latents of data from when a likelihood is estimated: around the mode of their true posterior."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from brainpred.models.latent_models import LatentModel, added_precision, normal_parameters

__all__ = ["Proposal", "propose"]

CLIMBS = 50
CLIMB_RATE = 0.2
FREEDOM = 30  # degrees of freedom about the mode: tails a little heavier than a normal distribution's
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
        Degrees of freedom of multivariate t distributions, whole numbers; infinity: normal.
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
                normal = torch.randn((int(freedom), k, len(first), 1), generator=generator, device=first.device)
                away = away / normal.square().mean(dim=0).sqrt().to(away)
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
    about, precision = torch.zeros_like(mean), identity.expand(len(mean), -1, -1)
    if prior is not None:
        about, precision = prior[0].to(mean), torch.linalg.inv(prior[1].to(mean))

    def heights(z: Tensor) -> Tensor:
        return model.likelihood(z).log_prob(x)

    def slopes(z: Tensor) -> Tensor:
        z = z.clone().requires_grad_(True)
        return torch.autograd.grad(heights(z).sum(), z)[0]

    if not _has_slopes(heights, mean):
        return Proposal((SHARES[0] + SHARES[1], SHARES[2]), [mean] * 2, [spread, wide], (math.inf,) * 2)
    mode = _climb(heights, *_expected(mean, spread, about, precision), about, precision)
    curvature = torch.stack(
        [
            (slopes(mode + step) - slopes(mode - step)) / (2 * width[:, None])
            for step, width in zip(torch.diag_embed(spread).unbind(1), spread.unbind(1), strict=True)
        ],
        dim=1,
    )
    bent = precision - _symmetric(curvature)
    values, vectors = torch.linalg.eigh(bent)
    least = torch.linalg.eigvalsh(precision)[:, :1]  # the likelihood adds to what the prior knows
    covariance = vectors @ (1 / torch.maximum(values, least)[:, :, None] * vectors.transpose(1, 2))
    factor = torch.linalg.cholesky(_symmetric(covariance))
    return Proposal(SHARES, [mode, mean, mean], [factor, spread, wide], (FREEDOM, math.inf, math.inf))


def _has_slopes(heights: Callable[[Tensor], Tensor], z: Tensor) -> bool:
    """Tell whether gradients of the likelihood can be had, and are finite, at latents (n, d)."""
    z = z.clone().requires_grad_(True)
    try:
        (slope,) = torch.autograd.grad(heights(z).sum(), z, allow_unused=True)
    except RuntimeError:
        return False
    return slope is not None and bool(torch.isfinite(slope).all())


def _expected(mean: Tensor, spread: Tensor, about: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Put the prior in the place of N(0, I) in the model's posterior: means (n, d) and lower factors (n, d, d)."""
    total = torch.diag_embed(added_precision(spread)) + precision
    weighted = mean * spread**-2 + torch.einsum("nij,nj->ni", precision, about)
    covariance = torch.linalg.inv(total)
    return torch.einsum("nij,nj->ni", covariance, weighted), torch.linalg.cholesky(_symmetric(covariance))


def _symmetric(matrices: Tensor) -> Tensor:
    """Take away what rounding leaves of asymmetry in matrices (n, d, d)."""
    return (matrices + matrices.transpose(1, 2)) / 2


def _climb(
    heights: Callable[[Tensor], Tensor], start: Tensor, factor: Tensor, about: Tensor, precision: Tensor
) -> Tensor:
    """Find the mode of the likelihood times a normal prior, from where a normal distribution expects it.

    Steps are in units of that distribution. Gradients are of the latents alone: a model's own stay as they are.
    """
    away = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([away], lr=CLIMB_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, CLIMBS)
    for _ in range(CLIMBS):
        z = start + torch.einsum("nij,nj->ni", factor, away)
        loss = 0.5 * torch.einsum("ni,nij,nj->", z - about, precision, z - about) - heights(z).sum()
        (away.grad,) = torch.autograd.grad(loss, away)
        optimizer.step()
        schedule.step()
    return (start + torch.einsum("nij,nj->ni", factor, away)).detach()
