"""Every estimator of a log-likelihood lies within its interval of the truth, where the truth is known."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from brainpred.errors import ConfigError, DataError
from brainpred.models.likelihood import (
    conditional_log_likelihood,
    grid_log_likelihood,
    importance_log_likelihood,
    normal_parameters,
    summarise_weights,
)
from brainpred.models.ppca import ProbabilisticPCA


class Linear:
    """x = z w + noise, with the exact posterior of one latent."""

    def __init__(self, weights, noise=0.7):
        self.weights, self.noise = weights, noise
        self.precision = 1 + weights.square().sum() / noise**2

    def posterior(self, x):
        mean = (x @ self.weights / self.noise**2 / self.precision)[:, None]
        return Independent(Normal(mean, self.precision**-0.5 * torch.ones_like(mean)), 1)

    def likelihood(self, z):
        return Independent(Normal(z @ self.weights[None], self.noise), 1)

    def log_marginal(self, x):
        n = len(self.weights)
        covariance = torch.outer(self.weights, self.weights) + self.noise**2 * torch.eye(n)
        return MultivariateNormal(torch.zeros(n), covariance).log_prob(x)


@pytest.fixture
def toy():
    generator = torch.Generator().manual_seed(3)
    model = Linear(torch.randn(5, generator=generator))
    x = torch.randn(7, 1, generator=generator) @ model.weights[None] + 0.7 * torch.randn(7, 5, generator=generator)
    return model, x


def test_importance_sampling_finds_the_marginal_of_a_linear_model(toy):
    model, x = toy
    estimate = importance_log_likelihood(model, x, n_draws=4000)
    truth = model.log_marginal(x).double()
    assert ((estimate.values - truth).abs() < 4 * estimate.errors + 1e-4).all()
    assert estimate.interval[0] - 1e-3 < truth.mean() < estimate.interval[1] + 1e-3
    # The proposal is four fifths the exact posterior.
    assert (estimate.effective > 2500).all()


def test_the_grid_finds_the_marginal_of_a_linear_model(toy):
    model, x = toy
    torch.testing.assert_close(grid_log_likelihood(model, x).values, model.log_marginal(x).double(), atol=1e-4, rtol=0)


def test_a_condition_takes_the_place_of_the_prior(toy):
    model, x = toy
    mean, spread = torch.linspace(-1, 1, 7)[:, None], 0.6

    def density(z):
        return Normal(mean, spread).log_prob(z).sum(-1)

    n = len(model.weights)
    covariance = spread**2 * torch.outer(model.weights, model.weights) + model.noise**2 * torch.eye(n)
    truth = MultivariateNormal(mean * model.weights, covariance).log_prob(x).double()
    torch.testing.assert_close(grid_log_likelihood(model, x, density).values, truth, atol=1e-4, rtol=0)
    estimate = importance_log_likelihood(model, x, density, n_draws=4000)
    assert ((estimate.values - truth).abs() < 4 * estimate.errors + 1e-4).all()


def test_the_document_s_estimate_from_the_posterior_is_above_the_marginal(toy):
    model, x = toy
    q = model.posterior(x).base_dist
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        return q.mean + q.stddev * torch.randn((n, *q.mean.shape), generator=generator)

    estimate = conditional_log_likelihood(model, x, draw, 500)
    assert (estimate.values > model.log_marginal(x)).all()


def test_with_latents_from_the_prior_it_is_the_marginal(toy):
    model, x = toy
    generator = torch.Generator().manual_seed(0)
    estimate = conditional_log_likelihood(model, x, lambda n: torch.randn((n, len(x), 1), generator=generator), 20_000)
    assert ((estimate.values - model.log_marginal(x)).abs() < 5 * estimate.errors + 1e-3).all()


def test_summarised_weights_against_numbers_worked_out_by_hand():
    estimate = summarise_weights(torch.log(torch.tensor([[1.0, 2.0], [3.0, 2.0]])))
    assert estimate.values.tolist() == pytest.approx([math.log(2), math.log(2)])
    assert estimate.effective.tolist() == pytest.approx([16 / 10, 2.0])
    assert estimate.errors.tolist() == pytest.approx([2**0.5 / 2 / 2**0.5, 0.0])


def test_a_grid_serves_two_latents_at_the_most():
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="the model has 3"):
        grid_log_likelihood(ProbabilisticPCA(3).fit(x), x)


@pytest.mark.parametrize("spread", [0.0, float("nan"), float("inf")])
def test_degenerate_posteriors_are_told(spread):
    normal = Independent(
        Normal(torch.zeros(4, 2), torch.tensor([[1.0, 1.0]] * 3 + [[1.0, spread]]), validate_args=False), 1
    )
    with pytest.raises(DataError, match=r"1 of 4 posteriors are degenerate.*sample 3"):
        normal_parameters(normal)


def test_a_posterior_must_have_one_event_axis():
    with pytest.raises(DataError, match=r"batch \(4, 2\) and event \(\)"):
        normal_parameters(Normal(torch.zeros(4, 2), 1.0))
