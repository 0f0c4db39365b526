"""Mixtures of normal distributions, many at a time: their densities, draws and moments."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, MixtureSameFamily, MultivariateNormal

__all__ = ["NormalMixture", "join_mixtures"]


@dataclass(frozen=True)
class NormalMixture:
    """Hold a mixture of normal distributions for each of n samples.

    Attributes
    ----------
    logits : Tensor (n, components)
        Logarithms of the weights, normalised.
    means : Tensor (n, components, d)
        Means.
    factors : Tensor (n_factors, d, d) or (n, components, d)
        Lower Cholesky factors of covariances that all samples share, component j having that of number j modulo
        n_factors; or standard deviations of independent latents.
    shared : bool
        Which of the two.
    """

    logits: Tensor
    means: Tensor
    factors: Tensor
    shared: bool

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
        return cls(logits.log_softmax(dim=1), means, factors, shared)

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
        chosen = chosen % len(self.factors)
        for number in chosen.unique():
            here = chosen == number
            away[here] = noise[here] @ self.factors[number].T
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

    def take(self, rows: Tensor) -> "NormalMixture":
        """Give the mixtures of the samples named (m,), which may come more than once."""
        if len(self.means) == 1:  # one mixture for all samples
            return self
        factors = self.factors if self.shared else self.factors[rows]
        return NormalMixture(self.logits[rows], self.means[rows], factors, self.shared)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Give means (n, d) and covariances (n, d, d)."""
        weights = self.logits.exp()
        mean = torch.einsum("nc,ncd->nd", weights, self.means)
        away = self.means - mean[:, None]
        between = torch.einsum("nc,nci,ncj->nij", weights, away, away)
        if self.shared:
            covariances = self.factors @ self.factors.transpose(1, 2)
            weights = weights.reshape(len(weights), -1, len(self.factors)).sum(dim=1)
            return mean, between + torch.einsum("nc,cij->nij", weights, covariances)
        return mean, between + torch.diag_embed(torch.einsum("nc,ncd->nd", weights, self.factors.square()))

    def log_prob(self, z: Tensor) -> Tensor:
        """Give the log density of latents (k, n, d): (k, n)."""
        return self.log_prob_of_each(z, 1)[0]

    def log_prob_of_each(self, z: Tensor, n_parts: int) -> Tensor:
        """Give the log densities of latents (k, n, d) in the mixtures that this one was joined of: (n_parts, k, n)."""
        parts = self._log_prob_shared(z, n_parts) if self.shared else self._log_prob_own(z, n_parts)
        return parts - 0.5 * z.shape[-1] * math.log(2 * math.pi) + math.log(n_parts)

    def _log_prob_shared(self, z: Tensor, n_parts: int) -> Tensor:
        """Sum over components, but for a constant; z is turned once for all that share a factor."""
        d, n_factors = z.shape[-1], len(self.factors)
        each = self.means.reshape(len(self.means), -1, n_factors, d)  # (n, repeats, factors, d)
        logits = self.logits.reshape(len(self.logits), -1, n_factors)
        identity = torch.eye(d, dtype=z.dtype).expand_as(self.factors)
        inverses = torch.linalg.solve_triangular(self.factors, identity, upper=False)
        total = None
        for number, inverse in enumerate(inverses):
            means = each[:, :, number] @ inverse.T  # (n, repeats, d)
            centre = means.mean(dim=1, keepdim=True)
            # In float64, as squares that are nearly the same are subtracted.
            away, means = (z.transpose(0, 1) @ inverse.T - centre).double(), (means - centre).double()
            squares = away.square().sum(dim=-1, keepdim=True) - 2 * away @ means.transpose(1, 2)
            squares = (squares + means.square().sum(dim=-1)[:, None]).to(z.dtype)  # (n, k, repeats)
            density = (logits[:, None, :, number] - 0.5 * squares).unflatten(2, (n_parts, -1)).logsumexp(dim=-1)
            density = density.permute(2, 1, 0) - self.factors[number].diagonal().log().sum()
            total = density if total is None else torch.logaddexp(total, density)
        assert total is not None
        return total

    def _log_prob_own(self, z: Tensor, n_parts: int) -> Tensor:
        """Sum over components, but for a constant."""
        return torch.stack(
            [
                self._log_prob_of(z, *columns)
                for columns in zip(
                    self.logits.chunk(n_parts, 1), self.means.chunk(n_parts, 1), self.factors.chunk(n_parts, 1),
                    strict=True,
                )
            ]
        )  # fmt: skip

    @staticmethod
    def _log_prob_of(z: Tensor, logits: Tensor, means: Tensor, spreads: Tensor) -> Tensor:
        """Sum over some components (n, components), but for a constant: (k, n)."""
        parts = []
        for logit, mean, spread in zip(logits.unbind(1), means.unbind(1), spreads.unbind(1), strict=True):
            parts.append(logit - 0.5 * ((z - mean) / spread).square().sum(dim=-1) - spread.log().sum(dim=-1))
        return torch.stack(parts).logsumexp(dim=0)


def join_mixtures(parts: list[NormalMixture]) -> NormalMixture:
    """Make one mixture of several that count the same; shared factors are those of the first, and of all others."""
    first = parts[0]
    return NormalMixture(
        torch.cat([part.logits for part in parts], dim=1) - math.log(len(parts)),
        torch.cat([part.means for part in parts], dim=1),
        first.factors if first.shared else torch.cat([part.factors for part in parts], dim=1),
        first.shared,
    )
