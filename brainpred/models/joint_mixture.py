r"""One density over the latents of both models: a mixture of normal distributions, which conditions either way."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from brainpred.errors import DataError
from brainpred.models.conditionals import Latents
from brainpred.models.latent_models import LatentModel, normal_parameters
from brainpred.models.normal_mixture import NormalMixture

__all__ = ["JointMixture", "fit_joint_mixture"]

ROUNDS = 20  # of expectation and maximisation, at the most
SETTLED = 1e-4  # mean change of a membership after which there are no more
N_COMPONENTS = (1, 3, 10, 20, 40)
SHRINKAGES = (3.0, 10.0, 30.0, 100.0)
FIRST_SHRINKAGE = 30.0
LEAST_MEMBERS = 6  # pairs a component, on average
PRIOR_PAIRS = 5.0  # how many pairs the prior N(0, I) of both models counts for
FOLDS = 3
ENTIRE = 2000  # with more pairs than this, one fold in place of all chooses, and no latents are remade
CHAINS = 5  # how often the latents of each pair are remade
STEPS = 4  # times that each chain draws, generates and infers
AT_ONCE = 128  # latents that are remade in one go: what they generate may be large

_How = tuple[str, int, float, bool]  # start, components, shrinkage, whether the latents given are remade


class JointMixture(nn.Module):
    r"""Hold :math:`q(z_a, z_b) = \sum_k \pi_k N(m_k, C_k)` and condition it: a mixture of linear regressions.

    Parameters
    ----------
    weights : Tensor (n_components,)
        :math:`\pi`.
    means : Tensor (n_components, n_a + n_b)
        m.
    covariances : Tensor (n_components, n_a + n_b, n_a + n_b)
        C.
    n_given : int
        :math:`n_a`; the first so many latents are given, the others wanted.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    _gain: Tensor
    _factors: Tensor

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor, n_given: int):
        super().__init__()
        self.n_given = n_given
        for name, tensor in (("weights", weights), ("means", means), ("covariances", covariances)):
            self.register_buffer(name, tensor)
        a, b = slice(None, n_given), slice(n_given, None)
        gain = torch.linalg.solve(covariances[:, a, a], covariances[:, a, b])  # (components, n_a, n_b)
        left = covariances[:, b, b] - covariances[:, b, a] @ gain
        factors = torch.linalg.cholesky((left + left.transpose(1, 2)) / 2)
        for name, tensor in (("_gain", gain), ("_factors", factors)):
            self.register_buffer(name, tensor, persistent=False)

    def swapped(self) -> "JointMixture":
        """Give the same density with the other latents given."""
        n = self.means.shape[1]
        order = [*range(self.n_given, n), *range(self.n_given)]
        return JointMixture(
            self.weights, self.means[:, order], self.covariances[:, order][:, :, order], n - self.n_given
        )

    def given(self, z: Tensor) -> MixtureSameFamily:
        """Give the distribution of the latents wanted.

        Parameters
        ----------
        z : Tensor (n, n_given)
            Latents given.

        Returns
        -------
        MixtureSameFamily
            Batch (n,), event (n_wanted,).
        """
        a = slice(None, self.n_given)
        logits = _log_densities(z, self.means[:, a], self.covariances[:, a, a]) + self.weights.log()  # (n, components)
        away = z[:, None] - self.means[:, a]  # (n, components, n_a)
        means = self.means[:, self.n_given :] + torch.einsum("nka,kab->nkb", away, self._gain)
        parts = MultivariateNormal(means, scale_tril=self._factors.expand(len(z), -1, -1, -1), validate_args=False)
        return MixtureSameFamily(Categorical(logits=logits, validate_args=False), parts, validate_args=False)


def _log_densities(z: Tensor, means: Tensor, covariances: Tensor, variances: Tensor | None = None) -> Tensor:
    """Give the log density of latents (n, d) under each normal distribution, or its mean over posteriors: (n, k)."""
    factors = torch.linalg.cholesky(covariances)
    identity = torch.eye(z.shape[1], dtype=z.dtype).expand_as(covariances)
    inverse = torch.linalg.solve_triangular(factors, identity, upper=False)  # (k, d, d)
    squares = torch.stack(
        [((z - mean) @ part.T).square().sum(dim=1) for mean, part in zip(means, inverse, strict=True)], dim=1
    )
    if variances is not None:
        squares = squares + variances @ inverse.square().sum(dim=1).T
    log_volume = factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    return -0.5 * (squares + z.shape[1] * math.log(2 * math.pi)) - log_volume


def _maximise(means: Tensor, variances: Tensor, members: Tensor, shrinkage: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give weights, means and covariances for memberships (n, k)."""
    d = means.shape[1]
    counts = members.sum(dim=0) + 1e-9
    centres = members.T @ means / counts[:, None]
    scatter = torch.stack(
        [
            (weight[:, None] * (means - centre)).T @ (means - centre) + torch.diag(weight @ variances)
            for weight, centre in zip(members.T, centres, strict=True)
        ]
    )
    pooled = (scatter.sum(dim=0) + PRIOR_PAIRS * torch.eye(d, dtype=means.dtype)) / (members.sum() + PRIOR_PAIRS)
    covariances = (scatter + shrinkage * pooled) / (counts + shrinkage)[:, None, None]
    return counts / counts.sum(), centres, covariances


def _fit(latents: Latents, labels: Tensor, n_components: int, shrinkage: float, n_given: int) -> JointMixture:
    """Run expectation and maximisation from clusters (n_pairs,), with the latents of each pair (copies, n_pairs, d)."""
    share = 1 / len(latents[0])
    means, variances = latents[0].flatten(0, 1), latents[1].flatten(0, 1) ** 2
    labels = labels.repeat(len(latents[0]))
    members = share * torch.nn.functional.one_hot(labels, n_components).to(means.dtype)
    for _ in range(ROUNDS if n_components > 1 else 1):
        weights, centres, covariances = _maximise(means, variances, members, shrinkage)
        if n_components > 1:
            before = members
            members = share * (_log_densities(means, centres, covariances, variances) + weights.log()).softmax(dim=1)
            if float((members - before).abs().mean()) < share * SETTLED:
                break
    return JointMixture(weights, centres, covariances, n_given)


def _clusters(points: Tensor, spreads: Tensor, n_components: int, seed: int) -> Tensor:
    """Group points by k-means, each axis in units of what is uncertain along it."""
    if n_components == 1:
        return torch.zeros(len(points), dtype=torch.int64)
    from sklearn.cluster import KMeans

    scaled = (points / spreads.mean(dim=0)).numpy()
    groups = KMeans(n_components, n_init=3, random_state=seed).fit(scaled).labels_
    return torch.from_numpy(groups).long()


def _remake(model: LatentModel, latents: Latents, seed: int) -> Latents | None:
    """Draw latents, generate from them, infer again, and so on: (CHAINS * STEPS, n, d) each.

    None for categories, and for every model that cannot infer from the mean of what it generates.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, spread = (parameter.repeat(CHAINS, 1) for parameter in latents)
    steps = []
    for _ in range(STEPS):
        z = mean + spread * torch.randn(mean.shape, generator=generator)
        again = [_infer_again(model, part) for part in z.split(AT_ONCE)]
        parts = [part for part in again if part is not None]
        if len(parts) < len(again):
            return None
        mean, spread = (torch.cat(parameters) for parameters in zip(*parts, strict=True))
        steps.append((mean, spread))
    means, spreads = (torch.cat(parameters).reshape(-1, *latents[0].shape) for parameters in zip(*steps, strict=True))
    return means, spreads


def _infer_again(model: LatentModel, z: Tensor) -> Latents | None:
    """Infer the latents of what latents (m, d) generate; None where that is not to be had."""
    try:
        with torch.no_grad():
            made = model.likelihood(z)
            if isinstance(made, Categorical) or not bool(torch.isfinite(made.mean).all()):
                return None
            mean, spread = normal_parameters(model.posterior(made.mean))
    except (DataError, RuntimeError, IndexError, ValueError, TypeError, NotImplementedError):
        return None
    return (mean.float(), spread.float()) if mean.shape == z.shape else None


def fit_joint_mixture(
    given: Latents,
    wanted: Latents,
    *,
    model: LatentModel | None = None,
    groups: Tensor | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
) -> tuple[JointMixture, dict[str, Any]]:
    r"""Fit a joint mixture by expectation and maximisation; cross-validation chooses how.

    The latents of a pair are known as normal posteriors, whose variances enter both steps. A component's covariance is
    shrunk to the pooled one as if that had been seen :math:`\nu` times more, and that to I, the prior of both models.
    As draws of the latents given stand for them, slopes are flatter than between the latents themselves, as they are
    for every network that sees such draws. The components start from clusters of the latents given or of those wanted.

    Few pairs say little about how latents that mean the same differ; the model of the latents given knows more: what
    it generates from a draw and infers again may be another such draw. So a pair's latents given can be remade, step
    by step in several chains, and all of them stand for the pair.

    Size and start, then shrinkage, then whether the latents given are remade: what counts is the mean
    :math:`\log q(z_b|z_a)` of pairs left out, whose own latents are never remade.

    Parameters
    ----------
    given, wanted : (Tensor, Tensor), (n_pairs, n_latent) each
        Means and standard deviations of the pairs' posteriors.
    model : LatentModel, optional
        Model of the latents given, which remakes them, of 2,000 pairs at the most: more say enough. One of categories
        does not, as they come back as they were; nor does one that cannot infer from the mean of what it generates.
    groups : Tensor of int64 (n_pairs,), optional
        Pairs of the same number are left out together, such as repeats of a picture.
    seed : int
        Seed of folds, clusters and chains.
    advance : callable
        Told of progress, in hundredths.

    Returns
    -------
    JointMixture
        float32.
    dict
        ``n_components``, ``shrinkage``, ``start``, ``remade``; ``score``, the log density of pairs left out, in nats;
        ``spread``, for each latent wanted, how much wider than the conditional those pairs lie about it (1: as wide as
        it says).

    References
    ----------
    C. M. Bishop, "Pattern recognition and machine learning", 2006, section 9.2; Z. Ghahramani, M. I. Jordan,
    "Supervised learning from incomplete data via an EM approach", NIPS 1993, for its conditioning.
    """
    n_pairs, n_given = given[0].shape
    points = torch.cat([given[0], wanted[0]], dim=1).double()
    spreads = torch.cat([given[1], wanted[1]], dim=1).double()
    groups = torch.arange(n_pairs) if groups is None else groups.unique(return_inverse=True)[1]
    parts = torch.randperm(int(groups.max()) + 1, generator=torch.Generator().manual_seed(seed)).tensor_split(FOLDS)
    folds = [torch.isin(groups, part).nonzero()[:, 0] for part in parts][: FOLDS if n_pairs <= ENTIRE else 1]
    sides = {"given": slice(None, n_given), "wanted": slice(n_given, None)}
    clusters: dict[tuple[str, int, int], Tensor] = {}
    spread: dict[_How, list[float]] = {}
    # By whether they are remade: the latents to learn from, (copies, n_pairs, n).
    learned: dict[bool, Latents] = {False: (points[None], spreads[None])}

    def grouped(start: str, n_components: int, fold: int, rows: Tensor) -> Tensor:
        """Cluster the pairs of a fold, once."""
        key, side = (start, n_components, fold), sides[start]
        if key not in clusters:
            clusters[key] = _clusters(points[rows][:, side], spreads[rows][:, side], n_components, seed)
        return clusters[key]

    def fit(how: _How, fold: int, rows: Tensor) -> JointMixture:
        start, n_components, shrinkage, remade = how
        labels = grouped(start, n_components, fold, rows)
        latents = learned[remade][0][:, rows], learned[remade][1][:, rows]
        return _fit(latents, labels, n_components, shrinkage, n_given)

    def score(how: _How) -> float:
        total, squares = 0.0, []
        for number, held_out in enumerate(folds):
            rest = torch.ones(n_pairs, dtype=torch.bool)
            rest[held_out] = False
            mixture = fit(how, number, rest)
            q, y = NormalMixture.of(mixture.given(points[held_out, :n_given])), points[held_out, n_given:]
            mean, covariance = q.moments()
            total += float(q.log_prob(y[None]).mean())
            away = (y - mean).square() + spreads[held_out, n_given:] ** 2
            squares.append((away / covariance.diagonal(dim1=1, dim2=2)).mean(dim=0))
        spread[how] = torch.stack(squares).mean(dim=0).sqrt().tolist()
        return total / len(folds)

    sizes = [size for size in N_COMPONENTS if size == 1 or n_pairs >= LEAST_MEMBERS * size]
    tried: dict[_How, float] = {}
    every = torch.ones(n_pairs, dtype=torch.bool)
    distinct = {
        start: min(len(points[np.setdiff1d(np.arange(n_pairs), fold)][:, side].unique(dim=0)) for fold in folds)
        for start, side in sides.items()
    }
    candidates = [("given", 1), *((start, n) for n in sizes if n > 1 for start in sides if n <= distinct[start])]
    for start, size in candidates:
        how = (start, size, FIRST_SHRINKAGE, False)
        tried[how] = score(how)
        advance(75 // len(candidates))
    start, size, *_ = max(tried, key=tried.__getitem__)
    for shrinkage in SHRINKAGES:
        if (how := (start, size, shrinkage, False)) not in tried:
            tried[how] = score(how)
        advance(5)
    best = max(tried, key=tried.__getitem__)
    if model is not None and n_pairs <= ENTIRE and (again := _remake(model, given, seed)) is not None:
        means, stds = (
            torch.cat([latents, own.expand(len(latents), -1, -1)], dim=2).double()
            for latents, own in zip(again, wanted, strict=True)
        )
        learned[True] = (means, stds)
        how = (*best[:3], True)
        tried[how] = score(how)
        best = max(best, how, key=tried.__getitem__)
    advance(5)
    mixture = fit(best, -1, every).float()
    chosen = dict(zip(("start", "n_components", "shrinkage", "remade"), best, strict=True))
    return mixture, {**chosen, "score": tried[best], "spread": spread[best]}
