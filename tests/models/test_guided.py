"""Guided draws have the moments of base times evidence, where those are known in closed form."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from brainpred.errors import ConfigError
from brainpred.models.guided import blurred_evidence, draw_guided, find_mode, temper
from brainpred.models.normal_mixture import NormalMixture, join_mixtures


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
    torch.testing.assert_close(NormalMixture.of(distribution).log_prob(z), distribution.log_prob(z), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_draws_have_the_distribution_s_moments(kind):
    distribution = _mixtures(kind)
    mixture = NormalMixture.of(distribution)
    noise, chosen, rows = mixture.draw(20_000, 3, torch.Generator().manual_seed(0))
    z = mixture.unfold(noise, chosen, rows).reshape(20_000, 3, 2)
    torch.testing.assert_close(z.mean(0), distribution.mean, atol=0.04, rtol=0)
    torch.testing.assert_close(z.var(0), distribution.variance, atol=0.12, rtol=0.03)


def test_own_spreads_are_not_taken_for_factors_where_all_sizes_are_the_same():
    distribution = _mixtures("own", n=3, components=3, d=3)
    z = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(NormalMixture.of(distribution).log_prob(z), distribution.log_prob(z), atol=1e-4, rtol=0)


def test_a_light_component_counts_where_it_alone_explains():
    means = torch.tensor([[[0.0], [20.0]]])
    mixture = NormalMixture(torch.tensor([[1 - 5e-5, 5e-5]]).log(), means, torch.ones(1, 2, 1), False)
    assert float(mixture.log_prob(torch.tensor([[[20.0]]]))) == pytest.approx(-0.919 - 9.903, abs=0.01)


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_joined_mixtures_average(kind):
    parts = [_mixtures(kind, seed=seed) for seed in (0, 1)]
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


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_blurred_evidence_is_a_convolution(kind):
    distribution = _mixtures(kind, n=7, d=1)
    samples = torch.tensor([2, 0, 1, 1, 0, 2, 1])  # seven latents, of three samples in no order
    point, variance = torch.tensor([[0.4], [-1.0], [2.0]]), torch.tensor([[0.3], [0.05], [1.2]])
    told = blurred_evidence(lambda z: distribution, point, variance)(torch.zeros(7, 2), samples)
    grid = torch.linspace(-15, 15, 60_001)
    density = distribution.log_prob(grid[:, None, None]).exp()  # (grid, 7)
    blur = Normal(grid[:, None], variance[samples, 0].sqrt()).log_prob(point[samples, 0]).exp()
    expected = (density * blur).sum(0) * (grid[1] - grid[0])
    torch.testing.assert_close(told, expected.log(), atol=2e-3, rtol=0)


def test_blurred_evidence_of_many_latents_against_whole_covariances():
    distribution = _mixtures("shared", n=5, d=6)
    generator = torch.Generator().manual_seed(1)
    point, variance = torch.randn(2, 6, generator=generator), torch.rand(2, 6, generator=generator)
    samples = torch.tensor([1, 0, 1, 1, 0])
    told = blurred_evidence(lambda z: distribution, point, variance)(torch.zeros(5, 2), samples)
    parts = distribution.component_distribution
    covariance = parts.covariance_matrix + torch.diag_embed(variance[samples])[:, None]
    blurred = MixtureSameFamily(distribution.mixture_distribution, MultivariateNormal(parts.loc, covariance))
    torch.testing.assert_close(told, blurred.log_prob(point[samples]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("where", "least"), [(0.8, 0.15), (7.0, 0.4), (15.0, 0.6)])
def test_the_normaliser_is_known_however_far_the_evidence_is(where, least):
    # Two samples at once: evidence N(z; where, 0.25 I) and twice that far.
    base = NormalMixture(torch.zeros(1, 1), torch.zeros(1, 1, 3), torch.eye(3)[None], True)
    centres = torch.tensor([where, 2 * where])

    def evidence(z, rows):
        return Independent(Normal(centres[rows][:, None].expand(-1, 3), 0.5), 1).log_prob(z)

    tempered = temper(base, evidence, 2000, 2, torch.Generator().manual_seed(0))
    expected = Independent(Normal(torch.zeros(3), 1.25**0.5), 1).log_prob(centres[:, None].expand(-1, 3))
    torch.testing.assert_close(tempered.log_normaliser, expected, atol=least, rtol=0)
    z = base.unfold(*tempered[:3]).reshape(2000, 2, 3)
    torch.testing.assert_close(z.mean(0), (0.8 * centres)[:, None].expand(-1, 3), atol=0.15, rtol=0.01)


THREE = NormalMixture(
    torch.tensor([[0.5, 0.3, 0.2]]).log(),
    torch.tensor([[[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, -5.0, 2.0]]]),
    torch.stack([torch.eye(3), 0.5 * torch.eye(3), torch.diag(torch.tensor([1.0, 2.0, 0.3]))]),
    True,
)
RARE = NormalMixture(
    torch.tensor([[1 - 1e-5, 1e-5]]).log(), torch.tensor([[[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]]), THREE.factors[:2], True
)


@pytest.mark.parametrize(
    ("base", "point"),
    [
        (THREE, [0.5, 0.0, 0.0]),
        (THREE, [3.0, 0.0, 0.0]),  # two components explain it
        (THREE, [0.0, -2.0, 1.0]),
        (THREE, [4.0, -4.0, 4.0]),  # far from all
        (RARE, [9.0, 0.0, 0.0]),  # what explains it is drawn once in a hundred thousand times
    ],
)
def test_the_normaliser_of_several_components_and_which_of_them_explain(base, point):
    point, noise = torch.tensor(point), 0.6

    def evidence(z, rows):
        return Independent(Normal(point.expand(len(z), 3), noise), 1).log_prob(z) + 0 * rows

    covariances = base.factors @ base.factors.transpose(1, 2) + noise**2 * torch.eye(3)
    parts = base.logits[0] + MultivariateNormal(base.means[0], covariances).log_prob(point)
    tempered = temper(base, evidence, 2000, 1, torch.Generator().manual_seed(0))
    assert float(tempered.log_normaliser) == pytest.approx(float(parts.logsumexp(dim=0)), abs=0.2)
    shares = torch.stack([(tempered.chosen == number).float().mean() for number in range(len(parts))])
    torch.testing.assert_close(shares, parts.softmax(dim=0), atol=0.08, rtol=0)


def test_evidence_that_cannot_be_let_in_is_refused():
    base = NormalMixture(torch.zeros(1, 1), torch.zeros(1, 1, 3), torch.eye(3)[None], True)
    with pytest.raises(ConfigError, match="too far from what the bridge expects"):
        temper(base, lambda z, rows: -2000 * (z - 100).square().sum(1) + 0 * rows, 200, 1, torch.Generator())


@pytest.mark.parametrize("where", [0.8, 7.0])
def test_guided_draws_are_bayes_rule_near_and_far_from_the_base(where):
    base = NormalMixture(torch.zeros(1, 1), torch.zeros(1, 1, 2), torch.eye(2)[None], True)
    precision = torch.tensor([4.0, 1.0])

    def evidence(z, rows):
        return -0.5 * ((z - where) ** 2 * precision).sum(1) + 0 * rows

    draws = draw_guided(base, evidence, 4000, 1, torch.Generator().manual_seed(0))[:, 0]
    torch.testing.assert_close(draws.mean(0), precision * where / (1 + precision), atol=0.08, rtol=0)
    torch.testing.assert_close(draws.var(0), 1 / (1 + precision), atol=0.08, rtol=0.1)
    mode = find_mode(base, evidence, 1, torch.Generator().manual_seed(0))[0]
    torch.testing.assert_close(mode, precision * where / (1 + precision), atol=0.02, rtol=0)
