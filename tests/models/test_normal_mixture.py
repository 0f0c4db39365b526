"""Mixtures of normal distributions have the densities, draws and moments of torch's own."""

import pytest
import torch
from torch.distributions import MixtureSameFamily, MultivariateNormal

from brainpred.models.normal_mixture import NormalMixture, join_mixtures
from tests.models.mixtures import make_mixtures


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_the_density_is_that_of_the_distribution(kind):
    distribution = make_mixtures(kind)
    z = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(NormalMixture.of(distribution).log_prob(z), distribution.log_prob(z), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_draws_have_the_distribution_s_moments(kind):
    distribution = make_mixtures(kind)
    mixture = NormalMixture.of(distribution)
    noise, chosen, rows = mixture.draw(20_000, 3, torch.Generator().manual_seed(0))
    z = mixture.unfold(noise, chosen, rows).reshape(20_000, 3, 2)
    torch.testing.assert_close(z.mean(0), distribution.mean, atol=0.04, rtol=0)
    torch.testing.assert_close(z.var(0), distribution.variance, atol=0.12, rtol=0.03)


def test_own_spreads_are_not_taken_for_factors_where_all_sizes_are_the_same():
    distribution = make_mixtures("own", n=3, components=3, d=3)
    z = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(NormalMixture.of(distribution).log_prob(z), distribution.log_prob(z), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("weight", [1e-5, 1e-9])
def test_a_density_does_not_depend_on_the_samples_beside(shared, weight):
    means = torch.tensor([[[0.0], [20.0]]]).repeat(2, 1, 1)
    logits = torch.tensor([[1 - weight, weight], [0.5, 0.5]]).log()
    factors = torch.ones(2, 1, 1) if shared else torch.ones(2, 2, 1)
    told = NormalMixture(logits, means, factors, shared).log_prob(torch.full((1, 2, 1), 20.0))[0]
    expected = torch.tensor([weight, 0.5]).log() - 0.9189
    torch.testing.assert_close(told, expected, atol=1e-3, rtol=0)


def test_narrow_components_are_summed_exactly():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(1, 30, 16, generator=generator)
    mixture = NormalMixture(torch.zeros(1, 30).log_softmax(1), means, 0.02 * torch.eye(16)[None], True)
    z = means[:, :5].transpose(0, 1) + 0.02 * torch.randn(5, 1, 16, generator=generator)
    double = NormalMixture(mixture.logits.double(), means.double(), mixture.factors.double(), True)
    torch.testing.assert_close(mixture.log_prob(z), double.log_prob(z.double()).float(), atol=2e-3, rtol=0)


def test_a_light_component_counts_where_it_alone_explains():
    means = torch.tensor([[[0.0], [20.0]]])
    mixture = NormalMixture(torch.tensor([[1 - 5e-5, 5e-5]]).log(), means, torch.ones(1, 2, 1), False)
    assert float(mixture.log_prob(torch.tensor([[[20.0]]]))) == pytest.approx(-0.919 - 9.903, abs=0.01)


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_joined_mixtures_average(kind):
    parts = [make_mixtures(kind, seed=seed) for seed in (0, 1)]
    if kind == "shared":  # joined are those of one conditional, whose factors are the same
        factors = parts[0].component_distribution.scale_tril
        parts[1] = MixtureSameFamily(
            parts[1].mixture_distribution, MultivariateNormal(parts[1].component_distribution.loc, scale_tril=factors)
        )
    z = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([part.log_prob(z).exp() for part in parts]).mean(0).log()
    joined = join_mixtures([NormalMixture.of(part) for part in parts])
    torch.testing.assert_close(joined.log_prob(z), expected, atol=1e-4, rtol=0)
    each = torch.stack([part.log_prob(z) for part in parts])
    torch.testing.assert_close(joined.log_prob_of_each(z, 2), each, atol=1e-4, rtol=0)
    drawn = joined.unfold(*joined.draw(40_000, 3, torch.Generator().manual_seed(0))).reshape(40_000, 3, 2)
    mean, covariance = joined.moments()
    torch.testing.assert_close(mean, torch.stack([part.mean for part in parts]).mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)
    told = torch.stack([torch.cov(drawn[:, sample].T) for sample in range(3)])
    torch.testing.assert_close(told, covariance, atol=0.15, rtol=0.03)
