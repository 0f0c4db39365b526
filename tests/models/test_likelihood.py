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
    log_standard_normal,
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
    # Nine tenths of the draws come from the exact posterior, or nearly so.
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
    batches = [torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([[6.0, 2.0]])]  # batches count the same
    estimate = summarise_weights([batch.log() for batch in batches])
    assert estimate.values.exp().tolist() == pytest.approx([(2 + 6) / 2, 2.0])
    assert estimate.effective.tolist() == pytest.approx([8**2 / (0.5**2 + 1.5**2 + 6**2), 4**2 / (1 + 1 + 4)])
    assert estimate.left_out.exp().flatten().tolist() == pytest.approx([6.0, 2.0, 2.0, 2.0])
    # The jackknife of two: half of what leaving out one or the other differs by.
    assert estimate.errors.tolist() == pytest.approx([math.log(6 / 2) / 2, 0.0])
    half = 12.706 * math.log(6 / 2) / 2 / 2  # Student's t with one degree of freedom; the mean of two samples
    assert estimate.interval == pytest.approx((estimate.mean - half, estimate.mean + half), abs=1e-3)


def test_densities_are_averaged_and_left_out_with_their_batches():
    weights = (
        torch.rand(3, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    )  # batches, densities, draws, n
    estimate = summarise_weights(list(weights.log()))
    torch.testing.assert_close(estimate.values.exp(), weights.mean(dim=(0, 1, 2)).double())
    for left_out in range(3):
        others = [number for number in range(3) if number != left_out]
        expected = weights[others][:, others].mean(dim=(0, 1, 2)).double()
        torch.testing.assert_close(estimate.left_out[left_out].exp(), expected)
    averaged = weights.mean(dim=1).flatten(0, 1)
    expected = averaged.sum(dim=0).square() / averaged.square().sum(dim=0)
    torch.testing.assert_close(estimate.effective, expected.double())


class Astray(Linear):
    """Claims a posterior that is a standard deviation beside the truth, and half as wide."""

    def posterior(self, x):
        q = super().posterior(x).base_dist
        return Independent(Normal(q.mean + q.stddev, 0.5 * q.stddev), 1)


class Detached(Astray):
    """Computes its likelihood where no gradient comes from."""

    def likelihood(self, z):
        return super().likelihood(z.detach())


class Trainable(Detached):
    """Has parameters with gradients, but none for latents."""

    def __init__(self, weights):
        super().__init__(weights.clone().requires_grad_(True))


class Outside(Astray):
    """Computes its likelihood outside torch."""

    def likelihood(self, z):
        return super().likelihood(torch.from_numpy(z.numpy()))


def test_draws_lie_where_the_integrand_does_even_if_the_model_s_posterior_does_not(toy):
    astray, *opaque = (kind(toy[0].weights) for kind in (Astray, Detached, Trainable, Outside))
    estimates = [importance_log_likelihood(model, toy[1], n_draws=2000) for model in (astray, *opaque)]
    truth = astray.log_marginal(toy[1]).double()
    assert (estimates[0].effective > 1000).all()
    for estimate in estimates[1:]:
        assert (estimate.effective < 600).all()  # no mode was looked for
    for estimate in estimates:
        assert ((estimate.values - truth).abs() < 5 * estimate.errors + 1e-4).all()
    with torch.inference_mode():  # nor can a gradient be taken here, but the estimate must be the same
        again = importance_log_likelihood(astray, toy[1], n_draws=2000)
    torch.testing.assert_close(again.values, estimates[0].values)


def test_intervals_hold_the_truth_as_often_as_they_say(toy):
    model, x = Astray(toy[0].weights), toy[1]
    truth = float(model.log_marginal(x).mean())
    inside = [
        low < truth < high
        for seed in range(100)
        for low, high in [
            importance_log_likelihood(model, x, n_draws=100, generator=torch.Generator().manual_seed(seed)).interval
        ]
    ]
    assert sum(inside) >= 90


@pytest.mark.parametrize("noise", [0.03, 0.001])
def test_narrow_posteriors_are_not_left_behind(noise):
    model = Linear(torch.tensor([0.6, -1.0, 0.8]), noise)
    x = torch.tensor([[0.5], [-2.0]]) * model.weights
    estimate = importance_log_likelihood(model, x, n_draws=1000)
    assert (estimate.effective > 800).all()
    assert ((estimate.values - model.log_marginal(x)).abs() < 5 * estimate.errors + 1e-2).all()


def test_a_model_that_is_being_trained_keeps_its_gradients(toy):
    weights = toy[0].weights.clone().requires_grad_(True)
    importance_log_likelihood(Astray(weights), toy[1])
    assert weights.grad is None


def test_a_model_fitted_under_inference_mode_serves():
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    plain = importance_log_likelihood(ProbabilisticPCA(2).fit(x), x)
    with torch.inference_mode():
        model = ProbabilisticPCA(2).fit(x)
    estimate = importance_log_likelihood(model, x)
    assert abs(estimate.mean - plain.mean) < 0.02


def test_what_cannot_be_estimated_is_told(toy):
    with pytest.raises(ConfigError, match="10 draws or more"):
        importance_log_likelihood(*toy, n_draws=9)
    with pytest.raises(ConfigError, match=r"as many as there are batches of draws \(10\), received 3"):
        importance_log_likelihood(*toy, lambda z: torch.stack([log_standard_normal(z)] * 3))
    with pytest.raises(ConfigError, match="multiple of 4 points along each axis, received 121"):
        grid_log_likelihood(*toy, n_points=121)


def test_one_density_may_have_an_axis_of_its_own(toy):
    plain, stacked = (
        importance_log_likelihood(*toy, density)
        for density in (log_standard_normal, lambda z: log_standard_normal(z)[None])
    )
    torch.testing.assert_close(stacked.values, plain.values)


@pytest.mark.parametrize("n_points", [120, 240])
def test_the_grid_leaves_out_nothing_that_counts(toy, n_points):
    # Two narrow densities far apart, of very different weight.
    model, x = toy
    means, spread, shares = torch.tensor([-4.3, 2.1]), 0.15, torch.tensor([1e-6, 1.0])

    def density(z):
        return (Normal(means, spread).log_prob(z) + shares.log()).logsumexp(dim=-1)

    covariance = spread**2 * torch.outer(model.weights, model.weights) + model.noise**2 * torch.eye(len(model.weights))
    parts = [MultivariateNormal(mean * model.weights, covariance).log_prob(x) for mean in means]
    truth = torch.logsumexp(torch.stack(parts) + shares.log()[:, None], dim=0).double()
    told = grid_log_likelihood(model, x, density, n_points)
    torch.testing.assert_close(told.values, truth, atol=1e-4, rtol=0)
    assert told.errors.tolist() == [0.0] * 7


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
