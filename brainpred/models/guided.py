r"""Draw from a mixture of normal distributions times an evidence, :math:`b(z)\,e(z)`, and find its mode."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from brainpred.errors import ConfigError
from brainpred.models.normal_mixture import NormalMixture

__all__ = ["Evidence", "Tempered", "blurred_evidence", "draw_guided", "find_mode", "temper"]

CANDIDATES = 500  # draws of the base for each sample that a search for the mode, or a draw, begins with
EFFECTIVE = 0.5  # part of the draws that stay effective when more of the evidence is let in
MOST_TEMPERATURES = 200
MOVES = 3  # updates of each draw before more of the evidence is let in
SLICES = 20  # updates of each draw at the end
MOST_SHRINKS = 40
LEAST_SPREAD = 1e-3  # of the draws that ellipses are drawn about
CLIMBS = 100
CLIMB_RATE = 0.1
STARTS = 4  # of the search for the mode
AT_ONCE = 20_000  # latents whose evidence is computed in one go

# Latents (m, d) and the samples (m,) that they are for, to logarithms (m,), up to a constant for each sample.
Evidence = Callable[[Tensor, Tensor], Tensor]
# Standard normal numbers (m, d), components and samples (m,) to the logarithm of what draws are weighted by (m,).
Height = Callable[[Tensor, Tensor, Tensor], Tensor]


def blurred_evidence(given: Callable[[Tensor], Distribution], point: Tensor, variance: Tensor) -> Evidence:
    r"""Give the log of :math:`\int N(point; x, variance)\, q(x|z)\, dx` for normal q, or mixtures of such.

    Parameters
    ----------
    given : callable
        Latents z (m, d) to q, batch (m,), event (d_source,).
    point, variance : Tensor (n, d_source)
        Where each of n samples is, and how uncertain along each axis.

    Returns
    -------
    callable
        Latents (m, d) and the samples (m,) that they are for, to log densities (m,). Covariances are factored once a
        sample and component.
    """
    factored: dict[int, tuple[Tensor, Tensor]] = {}

    def factor(row: int, q: NormalMixture) -> tuple[Tensor, Tensor]:
        """Give inverse factors (components, d, d) and half log volumes (components,) of a sample's covariances."""
        if row not in factored:
            factors = torch.linalg.cholesky(q.factors @ q.factors.transpose(1, 2) + torch.diag(variance[row]))
            identity = torch.eye(factors.shape[1], dtype=factors.dtype).expand_as(factors)
            inverse = torch.linalg.solve_triangular(factors, identity, upper=False)
            factored[row] = inverse, factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        return factored[row]

    def part(z: Tensor, rows: Tensor) -> Tensor:
        q = NormalMixture.of(given(z))
        away = point[rows][:, None] - q.means  # (m, components, d)
        if not q.shared:
            total = q.factors.square() + variance[rows][:, None]
            density = -0.5 * (away.square() / total + total.log()).sum(dim=2)
        else:
            density = torch.empty_like(q.logits)
            order = rows.argsort()
            for here in order.split(torch.unique_consecutive(rows[order], return_counts=True)[1].tolist()):
                inverse, volume = factor(int(rows[here[0]]), q)
                turned = away[here].transpose(0, 1) @ inverse.transpose(1, 2)  # (components, m, d)
                density = density.index_copy(0, here, -0.5 * turned.square().sum(dim=2).T - volume)
        log_scale = 0.5 * point.shape[1] * math.log(2 * math.pi)
        return torch.logsumexp(density + q.logits, dim=1) - log_scale

    def evidence(z: Tensor, rows: Tensor) -> Tensor:
        pieces = zip(z.split(AT_ONCE), rows.split(AT_ONCE), strict=True)
        return torch.cat([part(piece, which) for piece, which in pieces])

    return evidence


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


class Tempered(NamedTuple):
    """Hold draws of base times evidence, and the normaliser of that.

    Attributes
    ----------
    noise : Tensor (k n, d)
        Draws as standard normal numbers of the component chosen; :meth:`NormalMixture.unfold` turns them into latents.
    chosen, rows : Tensor (k n,)
        Their components, and the samples that they are of.
    heights : Tensor (k n,)
        Logarithms of the evidence there, and of what their component was drawn too rarely by.
    log_normaliser : Tensor (n,)
        Logarithm of the mean evidence of the base.
    """

    noise: Tensor
    chosen: Tensor
    rows: Tensor
    heights: Tensor
    log_normaliser: Tensor


def temper(base: NormalMixture, evidence: Evidence, k: int, n: int, generator: torch.Generator) -> Tempered:
    r"""Draw from base times evidence by letting in the evidence little by little.

    Draws of :math:`b\,e^{t}` are weighted by :math:`e^{t' - t}`, with t' so near t that half of them count, picked by
    these weights, and moved by elliptical slice sampling; from t = 0 to t' = 1. The mean weights multiply to
    :math:`\int b\,e`. Draws stay in the component that they began in; half of them begin in components drawn evenly,
    which the weights make up for, so that a rare one is there if it is where the evidence is. Evidence 30 standard
    deviations away is told a quarter of a nat too low.

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
    Tempered
        Draws, those of one sample every n-th, and normalisers.

    Raises
    ------
    ConfigError
        If the evidence is so far from the base that it could not be let in.

    References
    ----------
    P. Del Moral, A. Doucet, A. Jasra, "Sequential Monte Carlo samplers", Journal of the Royal Statistical Society B
    68, 2006, section 3.3; R. Nishihara, I. Murray, R. P. Adams, "Parallel MCMC with generalized elliptical slice
    sampling", Journal of Machine Learning Research 15, 2014, for moves about where the draws are.
    """
    evened, height = _evened(base, evidence)
    noise, chosen, rows = evened.draw(k, n, generator)
    heights = height(noise, chosen, rows)
    let_in, total = torch.zeros(n), torch.zeros(n)
    for _ in range(MOST_TEMPERATURES):
        left = 1 - let_in
        step = torch.minimum(left, _step(heights.reshape(k, n)))
        weights = step * heights.reshape(k, n)
        total = total + weights.logsumexp(dim=0) - math.log(k)
        let_in = let_in + step
        picked = torch.multinomial(weights.softmax(dim=0).T, k, replacement=True, generator=generator).T * n
        picked = (picked + torch.arange(n)).flatten()
        noise, chosen, heights = noise[picked], chosen[picked], heights[picked]
        if bool((step == left).all()):
            break
        about = _about(noise, n)
        for _ in range(MOVES):
            noise, heights = _slice(height, noise, chosen, rows, heights, let_in, about, generator)
    else:
        raise ConfigError(
            f"What the source says is too far from what the bridge expects: after {MOST_TEMPERATURES} steps only "
            f"{float(let_in.min()):.0%} of it was let in. Expected data like those of the pairs. Use guidance 0 for "
            "such sources."
        )
    return Tempered(noise, chosen, rows, heights, total)


def _step(heights: Tensor) -> Tensor:
    """Give the power of the evidence (k, n) by which as many draws as wanted stay effective: (n,)."""
    low, high = torch.zeros(heights.shape[1]), torch.ones(heights.shape[1])
    for _ in range(30):
        middle = (low + high) / 2
        effective = 1 / (middle * heights).softmax(dim=0).square().sum(dim=0)
        enough = effective >= EFFECTIVE * len(heights)
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return torch.where(high == 1, high, low)  # never less than what was let in


def draw_guided(base: NormalMixture, evidence: Evidence, k: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw from base times evidence: as :func:`temper`, and each draw moved until it is one of its own.

    Parameters
    ----------
    base, evidence, k, n, generator
        As of :func:`temper`.

    Returns
    -------
    Tensor (k, n, d)
        Draws.
    """
    tempered = temper(base, evidence, CANDIDATES, n, generator)
    picked = torch.randint(CANDIDATES, (k, n), generator=generator) if k > CANDIDATES else torch.arange(k)[:, None]
    picked = (picked * n + torch.arange(n)).flatten()
    noise, chosen, rows, heights = (part[picked] for part in tempered[:4])
    whole, about, (_, height) = torch.ones(n), _about(tempered.noise, n), _evened(base, evidence)
    for _ in range(SLICES):
        noise, heights = _slice(height, noise, chosen, rows, heights, whole, about, generator)
    return base.unfold(noise, chosen, rows).reshape(k, n, -1)


def _evened(base: NormalMixture, evidence: Evidence) -> tuple[NormalMixture, Height]:
    """Even the weights of components half out; what this changes is part of the heights, beside the evidence."""
    evened = torch.logaddexp(base.logits, -torch.full_like(base.logits, base.logits.shape[1]).log()) - math.log(2)

    def height(noise: Tensor, chosen: Tensor, rows: Tensor) -> Tensor:
        which = rows if len(evened) > 1 else torch.zeros_like(rows)
        return evidence(base.unfold(noise, chosen, rows), rows) + (base.logits - evened)[which, chosen]

    return replace(base, logits=evened), height


def _about(noise: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Give mean and spread (n, d) of each sample's draws, (k n, d)."""
    spread, mean = torch.std_mean(noise.reshape(-1, n, noise.shape[1]), dim=0)
    return mean, spread.clamp(min=LEAST_SPREAD)


def _slice(
    height: Height,
    noise: Tensor,
    chosen: Tensor,
    rows: Tensor,
    heights: Tensor,
    let_in: Tensor,
    about: tuple[Tensor, Tensor],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Move every draw once along an ellipse about where its sample's draws are, to where the density is above a level.

    The ellipses are those of N(about), and the density that a level is set in is the one wanted over that.
    """
    centre, width, power = about[0][rows], about[1][rows], let_in[rows]

    def density(here: Tensor, noise: Tensor, heights: Tensor) -> Tensor:
        scaled = (noise - centre[here]) / width[here]
        return power[here] * heights + 0.5 * (scaled.square() - noise.square()).sum(dim=1)

    waiting = torch.arange(len(noise))
    away, other = noise - centre, width * torch.randn(noise.shape, generator=generator)
    level = density(waiting, noise, heights) + torch.rand(len(noise), generator=generator).log()
    angle = 2 * math.pi * torch.rand(len(noise), generator=generator)
    low, high = angle - 2 * math.pi, angle.clone()
    moved, heights = noise.clone(), heights.clone()
    for _ in range(MOST_SHRINKS):
        turned = angle[waiting, None]
        proposed = centre[waiting] + away[waiting] * turned.cos() + other[waiting] * turned.sin()
        reached = height(proposed, chosen[waiting], rows[waiting])
        fits = density(waiting, proposed, reached) > level[waiting]
        moved[waiting[fits]], heights[waiting[fits]] = proposed[fits], reached[fits]
        waiting = waiting[~fits]
        if not len(waiting):
            break
        below = angle[waiting] < 0
        low[waiting] = torch.where(below, angle[waiting], low[waiting])
        high[waiting] = torch.where(below, high[waiting], angle[waiting])
        span = high[waiting] - low[waiting]
        angle[waiting] = low[waiting] + span * torch.rand(len(waiting), generator=generator)
    return moved, heights


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
    evened, height_of = _evened(base, evidence)
    noise, chosen, rows = evened.draw(CANDIDATES, n, generator)
    weights = height_of(noise, chosen, rows).reshape(CANDIDATES, n)
    best = (weights.topk(STARTS, dim=0).indices * n + torch.arange(n)).flatten()
    noise, chosen, rows = noise[best], chosen[best], torch.arange(n).repeat(STARTS)
    noise[:n] = 0
    z = base.unfold(_climb(base, evidence, noise, chosen, rows), chosen, rows).reshape(STARTS, n, -1)
    height = evidence(z.flatten(0, 1), rows).reshape(STARTS, n) + base.log_prob(z)
    return z[height.argmax(dim=0), torch.arange(n)]
