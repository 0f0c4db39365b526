"""Guided draws have the moments of base times evidence, where those are known in closed form."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from brainpred.models.guided import NormalMixture, blurred_log_density, draw_guided, find_mode, join_mixtures


def _mixtures(kind, n=3, components=4, d=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, components, generator=generator)
    means = torch.randn(n, components, d, generator=generator)
    if kind == "shared":
        factors = torch.linalg.cholesky(
            (f := torch.randn(components, d, d, generator=generator)) @ f.transpose(1, 2) + 0.3 * torch.eye(d)
        )
        parts = MultivariateNormal(means, scale_tril=factors.expand(n, -1, -1, -1))
    else:
        parts = Independent(Normal(means, torch.rand(n, components, d, generator=generator) + 0.2), 1)
    return MixtureSameFamily(Categorical(logits=logits), parts)


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_the_density_is_that_of_the_distribution(kind):
    distribution = _mixtures(kind)
    z = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(NormalMixture.of(distribution).log_prob(z), distribution.log_prob(z), atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_draws_have_the_distribution_s_moments(kind):
    distribution = _mixtures(kind)
    mixture = NormalMixture.of(distribution)
    noise, chosen, rows = mixture.draw(20_000, 3, torch.Generator().manual_seed(0))
    z = mixture.unfold(noise, chosen, rows).reshape(20_000, 3, 2)
    torch.testing.assert_close(z.mean(0), distribution.mean, atol=0.04, rtol=0)
    torch.testing.assert_close(z.var(0), distribution.variance, atol=0.12, rtol=0.03)


def test_joined_mixtures_average():
    parts = [_mixtures("own", seed=seed) for seed in (0, 1)]
    z = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([part.log_prob(z).exp() for part in parts]).mean(0).log()
    joined = join_mixtures([NormalMixture.of(part) for part in parts])
    torch.testing.assert_close(joined.log_prob(z), expected, atol=2e-3, rtol=0)


def test_blurred_density_is_a_convolution():
    distribution = _mixtures("shared", n=1, d=1)
    point, variance = torch.tensor([[0.4]]), torch.tensor([[0.3]])
    grid = torch.linspace(-15, 15, 60_001)
    density = distribution.log_prob(grid[:, None, None]).squeeze().exp()
    expected = (density * Normal(grid, 0.3**0.5).log_prob(point[0]).exp()).sum() * (grid[1] - grid[0])
    assert float(blurred_log_density(distribution, point, variance)) == pytest.approx(float(expected.log()), abs=2e-3)


@pytest.mark.parametrize("where", [0.8, 7.0])
def test_guided_draws_are_bayes_rule_near_and_far_from_the_base(where):
    base = NormalMixture(torch.zeros(1, 1), torch.zeros(1, 1, 2), torch.eye(2)[None])
    precision = torch.tensor([4.0, 1.0])

    def evidence(z, rows):
        return -0.5 * ((z - where) ** 2 * precision).sum(1) + 0 * rows

    draws = draw_guided(base, evidence, 4000, 1, torch.Generator().manual_seed(0))[:, 0]
    torch.testing.assert_close(draws.mean(0), precision * where / (1 + precision), atol=0.08, rtol=0)
    torch.testing.assert_close(draws.var(0), 1 / (1 + precision), atol=0.08, rtol=0.1)
    mode = find_mode(base, evidence, 1, torch.Generator().manual_seed(0))[0]
    torch.testing.assert_close(mode, precision * where / (1 + precision), atol=0.02, rtol=0)
