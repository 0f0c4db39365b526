r"""Conditional distributions of latents given other latents: what a bridge learns from pairs.

Each family is a module with ``given(z) -> Distribution`` (batch (n,), event (n_to,)), and a function that fits it to
pairs whose latents are known as normal posteriors.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, MultivariateNormal, Normal

from brainpred.numerics.grouped_ridge import choose_alpha

__all__ = ["DIVERGENCES", "Latents", "LinearConditional", "NetworkConditional", "fit_linear", "fit_network"]

DIVERGENCES = ("forward", "reverse")
HIDDEN = (64, 128)  # document 002's
SLOPE = 0.2
LEAST_SPREAD = 0.02
BATCH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
RESIDUAL_FOLDS = 9
ALPHAS = np.logspace(-1, 5, 13)

Latents = tuple[Tensor, Tensor]  # means and standard deviations of posteriors, (n, n_latent) each


class NetworkConditional(nn.Module):
    """Give a normal distribution, or a mixture of them, whose parameters a small network computes.

    Two hidden layers of 64 and 128 units, each with batch normalisation and leaky ReLU of slope 0.2.

    Parameters
    ----------
    n_from, n_to : int
        Latents given, latents wanted.
    n_components : int
        Normal distributions in the mixture; 1: one normal distribution, as document 002 has it.

    References
    ----------
    Document 002, section 4.3.
    """

    def __init__(self, n_from: int, n_to: int, n_components: int = 1):
        super().__init__()
        self.n_from, self.n_to, self.n_components = n_from, n_to, n_components
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((n_from, *HIDDEN)):
            layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.LeakyReLU(SLOPE)]
        n_parameters = 2 * n_to * n_components + (n_components if n_components > 1 else 0)
        self.layers = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], n_parameters))

    def given(self, z: Tensor) -> Distribution:
        """Give the distribution of the latents wanted.

        Parameters
        ----------
        z : Tensor of float32 (n, n_from)
            Latents given.

        Returns
        -------
        Distribution
            Batch (n,), event (n_to,).
        """
        parameters = self.layers(z)
        if self.n_components == 1:
            mean, log_spread = parameters.chunk(2, dim=1)
            return Independent(Normal(mean, log_spread.exp() + LEAST_SPREAD, validate_args=False), 1)
        logits, rest = parameters[:, : self.n_components], parameters[:, self.n_components :]
        mean, log_spread = rest.reshape(len(z), 2, self.n_components, self.n_to).unbind(dim=1)  # (n, components, n_to)
        parts = Independent(Normal(mean, log_spread.exp() + LEAST_SPREAD, validate_args=False), 1)
        return MixtureSameFamily(Categorical(logits=logits, validate_args=False), parts, validate_args=False)


def fit_network(
    given: Latents,
    wanted: Latents,
    *,
    n_components: int,
    divergence: str,
    updates: int,
    generator: torch.Generator,
    advance: Callable[[int], None],
) -> tuple[NetworkConditional, list[float]]:
    r"""Fit a network's conditional by gradient descent on one of the two divergences from the posterior wanted.

    .. math:: \min_\psi \frac1N \sum_i E_{z \sim p(z|x_i)} D_i(z), \qquad
       D_i = KL[q_\psi(\cdot|z) \| p_i] \ \text{(reverse)} \quad \text{or} \quad KL[p_i \| q_\psi(\cdot|z)]
       \ \text{(forward)},

    where :math:`p_i` is the posterior wanted. The reverse one is document 002's; where many pairs share nearly the same
    z it settles on one place among their posteriors (it seeks a mode), while the forward one must cover all of them.
    A mixture is also trained half-way between pairs, where it has to name both ends in proportion (mixup), lest it be
    sure of itself where there are no pairs.

    Parameters
    ----------
    given, wanted : (Tensor, Tensor), (n_pairs, n_latent) each
        Means and standard deviations of the pairs' posteriors.
    n_components : int
        Normal distributions in the mixture.
    divergence : {"forward", "reverse"}
        What is minimised.
    updates : int
        Updates of the weights.
    generator : Generator
        Where weights, batches and draws come from.
    advance : callable
        Told of every update.

    Returns
    -------
    NetworkConditional
        In evaluation mode, without gradients.
    list of float
        The divergence (forward: but for the posteriors' own entropy) at each update.

    References
    ----------
    Document 002, equations 2 to 4; the sum there is N times this mean, which moves no minimum. Zhang, Cisse, Dauphin
    and Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018.
    """
    n_pairs, batch = len(given[0]), min(BATCH, len(given[0]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        network = NetworkConditional(given[0].shape[1], wanted[0].shape[1], n_components)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    curve = []
    for _ in range(updates):
        rows = torch.randperm(n_pairs, generator=generator)[:batch]
        z = given[0][rows] + given[1][rows] * torch.randn((batch, given[0].shape[1]), generator=generator)
        if divergence == "reverse":
            posterior = Independent(Normal(wanted[0][rows], wanted[1][rows]), 1)
            loss = _reverse(network.given(z), posterior, generator).mean()
        else:
            target = wanted[0][rows] + wanted[1][rows] * torch.randn((batch, wanted[0].shape[1]), generator=generator)
            share = torch.rand(batch, generator=generator) if n_components > 1 else torch.ones(batch)
            other = torch.randperm(batch, generator=generator)
            q = network.given(share[:, None] * z + (1 - share[:, None]) * z[other])
            loss = -(share * q.log_prob(target) + (1 - share) * q.log_prob(target[other])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        curve.append(float(loss.detach()))
        advance(1)
    return network.eval().requires_grad_(False), curve


def _reverse(q: Distribution, p: Distribution, generator: torch.Generator) -> Tensor:
    """Give KL[q || p], in closed form or, for a mixture, from one draw of every component."""
    if not isinstance(q, MixtureSameFamily):
        return torch.distributions.kl_divergence(q, p)
    parts = q.component_distribution.base_dist  # type: ignore[attr-defined]
    noise = torch.randn(parts.loc.shape, generator=generator)
    draws = (parts.loc + parts.scale * noise).transpose(0, 1)  # (components, n, n_to)
    difference = torch.stack([q.log_prob(z) - p.log_prob(z) for z in draws], dim=1)  # (n, components)
    return (q.mixture_distribution.probs * difference).sum(dim=1)


class LinearConditional(nn.Module):
    r"""Give a normal distribution whose mean is linear in what the given latents stand for, :math:`N(B\phi(z)+b, C)`.

    Parameters
    ----------
    features : callable
        :math:`\phi`: latents (n, n_from) to features (n, n_features).
    weights : Tensor (n_to, n_features)
        B.
    intercept : Tensor (n_to,)
        b.
    covariance : Tensor (n_to, n_to)
        C.
    """

    weights: Tensor
    intercept: Tensor
    covariance: Tensor

    def __init__(self, features: Callable[[Tensor], Tensor], weights: Tensor, intercept: Tensor, covariance: Tensor):
        super().__init__()
        self.features = features
        for name, tensor in (("weights", weights), ("intercept", intercept), ("covariance", covariance)):
            self.register_buffer(name, tensor)

    def given(self, z: Tensor) -> MultivariateNormal:
        """Give the distribution of the latents wanted, batch (n,), event (n_to,)."""
        mean = self.features(z) @ self.weights.T + self.intercept
        return MultivariateNormal(mean, self.covariance.expand(len(mean), -1, -1), validate_args=False)


def fit_linear(
    given: Latents,
    wanted: Latents,
    features: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    groups: Tensor | None = None,
) -> LinearConditional:
    """Fit a linear conditional by ridge regression, its strength chosen by leaving one out, its spread by folds.

    Parameters
    ----------
    given, wanted : (Tensor, Tensor), (n_pairs, n_latent) each
        Means and standard deviations of the pairs' posteriors; the regression is between means.
    features : callable
        Latents (n, n_from) to features (n, n_features).
    generator : Generator
        Where the folds come from.
    groups : Tensor of int64 (n_pairs,), optional
        Pairs of the same number are left out together.

    Returns
    -------
    LinearConditional
        Its covariance is that of predictions that were left out, shrunk by Ledoit and Wolf's rule.

    References
    ----------
    O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
    Multivariate Analysis 88, 2004.
    """
    from sklearn.covariance import ledoit_wolf
    from sklearn.linear_model import Ridge

    with torch.inference_mode():
        x = features(given[0]).double().numpy()
    y = wanted[0].double().numpy()
    numbers = np.arange(len(x)) if groups is None else groups.unique(return_inverse=True)[1].numpy()
    alpha = choose_alpha(x, y, numbers, ALPHAS)
    model = Ridge(alpha).fit(x, y)
    order = torch.randperm(int(numbers.max()) + 1, generator=generator).numpy()
    residual = np.empty_like(y)
    for part in np.array_split(order, min(RESIDUAL_FOLDS, len(order))):
        held_out = np.isin(numbers, part)
        predicted = Ridge(alpha).fit(x[~held_out], y[~held_out]).predict(x[held_out])
        residual[held_out] = y[held_out] - predicted.reshape(-1, y.shape[1])  # of one latent, an axis is lost
    spread = np.sqrt(np.mean(residual**2, axis=0)) + 1e-6
    shrunk = ledoit_wolf(residual / spread, assume_centered=True)[0] * np.outer(spread, spread)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(given[0].dtype)

    return LinearConditional(
        features, tensor(model.coef_.reshape(y.shape[1], -1)), tensor(np.atleast_1d(model.intercept_)), tensor(shrunk)
    )
