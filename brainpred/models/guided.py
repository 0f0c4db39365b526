r"""Draw from a mixture of normal distributions times an evidence, :math:`b(z)\,e(z)`, and find its mode."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, MultivariateNormal, Normal

__all__ = ["NormalMixture", "blurred_log_density", "draw_guided", "find_mode", "join_mixtures"]

CANDIDATES = 500  # draws of the base for each sample, of which the evidence picks
FEW = 20  # effective candidates below which a search for the mode comes first
CLIMBS = 100
CLIMB_RATE = 0.1
SLICES = 20  # updates of each draw by elliptical slice sampling
SLICES_FAR = 100  # where a climb came first, and neighbours began at one place
MOST_SHRINKS = 40
LEFT_OUT = 1e-4  # weight of the components that a density need not be summed over
STARTS = 4  # of the search for the mode

# Latents (m, d) and the samples (m,) that they are for, to logarithms (m,), up to a constant for each sample.
Evidence = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class NormalMixture:
    """Hold a mixture of normal distributions for each of n samples.

    Attributes
    ----------
    logits : Tensor (n, components)
        Logarithms of the weights, normalised.
    means : Tensor (n, components, d)
        Means.
    factors : Tensor (components, d, d) or (n, components, d)
        Lower Cholesky factors of covariances that all samples share, or standard deviations of independent latents.
    """

    logits: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    def of(cls, distribution: Distribution) -> "NormalMixture":
        """Take the parameters of a conditional distribution, batch (n,)."""
        if isinstance(distribution, MixtureSameFamily):
            logits = distribution.mixture_distribution.logits
            parts = distribution.component_distribution
        else:
            logits, parts = torch.zeros((*distribution.batch_shape, 1)), distribution
        if isinstance(parts, MultivariateNormal):
            means, factors = parts.loc, parts.scale_tril[0]  # the same for every sample
            shared = True
        else:
            means, factors = parts.base_dist.loc, parts.base_dist.scale  # type: ignore[attr-defined]
            shared = False
        if not isinstance(distribution, MixtureSameFamily):
            means, factors = means[:, None], factors[None] if shared else factors[:, None]
        return cls(logits.log_softmax(dim=1), means, factors)

    @property
    def shared(self) -> bool:
        """Whether all samples share the covariances."""
        return self.factors.shape[-1] == self.factors.shape[-2] and len(self.factors) == self.means.shape[1]

    def unfold(self, noise: Tensor, chosen: Tensor, rows: Tensor) -> Tensor:
        """Turn standard normal numbers (m, d) into latents of the components chosen (m,), of the samples named (m,)."""
        if len(self.means) == 1:  # one mixture for all samples
            rows = torch.zeros_like(rows)
        means = self.means[rows, chosen]
        if not self.shared:
            return means + self.factors[rows, chosen] * noise
        if len(self.factors) == 1:
            return means + noise @ self.factors[0].T
        away = torch.empty_like(noise)
        for component in chosen.unique():
            here = chosen == component
            away[here] = noise[here] @ self.factors[component].T
        return means + away

    def draw(self, k: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw k times for each of n samples: standard normal numbers (k n, d), components and samples (k n,)."""
        weights = self.logits.exp().expand(n, -1)
        chosen = torch.multinomial(weights, k, replacement=True, generator=generator).T.flatten()
        noise = torch.randn((k * n, self.means.shape[2]), generator=generator)
        return noise, chosen, torch.arange(n).repeat(k)

    def draw_from_each(self, n: int, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw once from each of the n mixtures that this one was joined of; as :meth:`draw`."""
        each = self.logits.shape[1] // n
        weights = self.logits.reshape(n_samples * n, each).softmax(dim=1)
        chosen = torch.multinomial(weights, 1, generator=generator).reshape(n_samples, n).T
        chosen = chosen + each * torch.arange(n)[:, None]
        noise = torch.randn((n * n_samples, self.means.shape[2]), generator=generator)
        return noise, chosen.flatten(), torch.arange(n_samples).repeat(n)

    def log_prob(self, z: Tensor) -> Tensor:
        """Give the log density of latents (k, n, d): (k, n)."""
        d = z.shape[-1]
        logits, kept = self.logits.sort(dim=1, descending=True)
        n_kept = int((logits.exp().cumsum(dim=1) < 1 - LEFT_OUT).sum(dim=1).max()) + 1
        logits, kept = logits[:, :n_kept], kept[:, :n_kept]
        rows = torch.arange(len(kept))[:, None]
        means, total = self.means[rows, kept], torch.full(z.shape[:-1], -torch.inf, dtype=z.dtype)
        if self.shared:
            identity = torch.eye(d, dtype=z.dtype).expand_as(self.factors)
            inverses = torch.linalg.solve_triangular(self.factors, identity, upper=False)
            volumes = self.factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        for place in range(kept.shape[1]):
            away = z - means[:, place]
            if self.shared:
                inverse, volume = inverses[kept[:, place]], volumes[kept[:, place]]  # (n, d, d), (n,)
                squares = (away.transpose(0, 1) @ inverse.transpose(1, 2)).square().sum(dim=-1).T  # (k, n)
            else:
                spread = self.factors[rows[:, 0], kept[:, place]]
                squares, volume = (away / spread).square().sum(dim=-1), spread.log().sum(dim=-1)
            density = -0.5 * (squares + d * math.log(2 * math.pi)) - volume
            total = torch.logaddexp(total, density + logits[:, place])
        return total


def join_mixtures(parts: list[NormalMixture]) -> NormalMixture:
    """Make one mixture of several that count the same."""
    first = parts[0]
    return NormalMixture(
        torch.cat([part.logits for part in parts], dim=1) - math.log(len(parts)),
        torch.cat([part.means for part in parts], dim=1),
        torch.cat([part.factors for part in parts], dim=0 if first.shared else 1),
    )


def blurred_log_density(distribution: Distribution, point: Tensor, variance: Tensor) -> Tensor:
    r"""Give the log of :math:`\int N(point; z, variance)\, q(z)\, dz` for normal q, or mixtures of such.

    Parameters
    ----------
    distribution : Distribution
        q, batch (m,), event (d,).
    point, variance : Tensor (m, d)
        Where, and how uncertain along each axis.

    Returns
    -------
    Tensor (m,)
        Log densities.
    """
    if isinstance(distribution, MixtureSameFamily):
        parts = _blur(distribution.component_distribution, variance[:, None])
        inside = parts.log_prob(point[:, None])  # (m, components)
        return torch.logsumexp(inside + distribution.mixture_distribution.logits.log_softmax(dim=1), dim=1)
    return _blur(distribution, variance).log_prob(point)


def _blur(distribution: Distribution, variance: Tensor) -> Distribution:
    """Add variances along the axes to normal distributions."""
    if isinstance(distribution, MultivariateNormal):
        covariance = distribution.covariance_matrix + torch.diag_embed(variance.expand(distribution.loc.shape))
        return MultivariateNormal(distribution.loc, covariance, validate_args=False)
    inner = distribution.base_dist  # type: ignore[attr-defined]
    return Independent(Normal(inner.loc, (inner.scale.square() + variance).sqrt(), validate_args=False), 1)


def _climb(base: NormalMixture, evidence: Evidence, noise: Tensor, chosen: Tensor, rows: Tensor) -> Tensor:
    """Go up the density, within the components chosen, from standard normal numbers (m, d)."""
    noise = noise.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([noise], lr=CLIMB_RATE)
    with torch.enable_grad():
        for _ in range(CLIMBS):
            loss = 0.5 * noise.square().sum() - evidence(base.unfold(noise, chosen, rows), rows).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return noise.detach()


def draw_guided(base: NormalMixture, evidence: Evidence, k: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw from base times evidence: candidates picked by the evidence, then moved by elliptical slice sampling.

    Where next to no candidate fits, a climb leads to where others do.

    Parameters
    ----------
    base : NormalMixture
        Of n samples, or one for all.
    evidence : callable
        Latents (m, d) and the samples (m,) that they are for, to the logarithm of the evidence (m,).
    k, n : int
        Draws for each sample, samples.
    generator : Generator
        Where the draws come from.

    Returns
    -------
    Tensor (k, n, d)
        Draws.

    References
    ----------
    I. Murray, R. P. Adams, D. J. C. MacKay, "Elliptical slice sampling", AISTATS 2010, figure 2.
    """
    noise, chosen, rows = base.draw(CANDIDATES, n, generator)
    weights = evidence(base.unfold(noise, chosen, rows), rows).reshape(CANDIDATES, n).softmax(dim=0)
    picked = torch.multinomial(weights.T, k, replacement=True, generator=generator).T * n + torch.arange(n)  # (k, n)
    noise, chosen, rows = noise[picked.flatten()], chosen[picked.flatten()], torch.arange(n).repeat(k)
    few = (1 / weights.square().sum(dim=0) < FEW)[rows]
    far = bool(few.any())
    if far:
        noise[few] = _climb(base, evidence, noise[few], chosen[few], rows[few])
    for _ in range(SLICES_FAR if far else SLICES):
        noise = _slice(base, evidence, noise, chosen, rows, generator)
    return base.unfold(noise, chosen, rows).reshape(k, n, -1)


def _slice(
    base: NormalMixture, evidence: Evidence, noise: Tensor, chosen: Tensor, rows: Tensor, generator: torch.Generator
) -> Tensor:
    """Move every draw once along an ellipse, to where the evidence is above a level."""
    other = torch.randn(noise.shape, generator=generator)
    level = evidence(base.unfold(noise, chosen, rows), rows) + torch.rand(len(noise), generator=generator).log()
    angle = 2 * math.pi * torch.rand(len(noise), generator=generator)
    low, high = angle - 2 * math.pi, angle.clone()
    moved, waiting = noise.clone(), torch.arange(len(noise))
    for _ in range(MOST_SHRINKS):
        turned = angle[waiting, None]
        proposed = noise[waiting] * turned.cos() + other[waiting] * turned.sin()
        z = base.unfold(proposed, chosen[waiting], rows[waiting])
        fits = evidence(z, rows[waiting]) > level[waiting]
        moved[waiting[fits]] = proposed[fits]
        waiting = waiting[~fits]
        if not len(waiting):
            break
        below = angle[waiting] < 0
        low[waiting] = torch.where(below, angle[waiting], low[waiting])
        high[waiting] = torch.where(below, high[waiting], angle[waiting])
        width = high[waiting] - low[waiting]
        angle[waiting] = low[waiting] + width * torch.rand(len(waiting), generator=generator)
    return moved


def find_mode(base: NormalMixture, evidence: Evidence, n: int, generator: torch.Generator) -> Tensor:
    """Find where base times evidence is most dense, from the best candidates and from the middle of a component.

    Parameters
    ----------
    base : NormalMixture
        Of n samples, or one for all.
    evidence : callable
        As :func:`draw_guided`.
    n : int
        Samples.
    generator : Generator
        Where the candidates come from.

    Returns
    -------
    Tensor (n, d)
        Modes.
    """
    noise, chosen, rows = base.draw(CANDIDATES, n, generator)
    weights = evidence(base.unfold(noise, chosen, rows), rows).reshape(CANDIDATES, n)
    best = (weights.topk(STARTS, dim=0).indices * n + torch.arange(n)).flatten()
    noise, chosen, rows = noise[best], chosen[best], torch.arange(n).repeat(STARTS)
    noise[:n] = 0
    z = base.unfold(_climb(base, evidence, noise, chosen, rows), chosen, rows).reshape(STARTS, n, -1)
    height = evidence(z.flatten(0, 1), rows).reshape(STARTS, n) + base.log_prob(z)
    return z[height.argmax(dim=0), torch.arange(n)]
