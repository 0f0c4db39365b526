"""Guided draws have the moments of base times evidence, where those are known in closed form."""

import pytest
import torch
from torch.distributions import Independent, MixtureSameFamily, MultivariateNormal, Normal

from brainpred.errors import ConfigError
from brainpred.models.guided import blurred_evidence, draw_guided, find_mode, temper
from brainpred.models.normal_mixture import NormalMixture
from tests.models.mixtures import make_mixtures


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_blurred_evidence_is_a_convolution(kind):
    distribution = make_mixtures(kind, n=7, d=1)
    samples = torch.tensor([2, 0, 1, 1, 0, 2, 1])  # seven latents, of three samples in no order
    point, variance = torch.tensor([[0.4], [-1.0], [2.0]]), torch.tensor([[0.3], [0.05], [1.2]])
    told = blurred_evidence(lambda z: distribution, point, variance)(torch.zeros(7, 2), samples)
    grid = torch.linspace(-15, 15, 60_001)
    density = distribution.log_prob(grid[:, None, None]).exp()  # (grid, 7)
    blur = Normal(grid[:, None], variance[samples, 0].sqrt()).log_prob(point[samples, 0]).exp()
    expected = (density * blur).sum(0) * (grid[1] - grid[0])
    torch.testing.assert_close(told, expected.log(), atol=2e-3, rtol=0)


def test_blurred_evidence_of_many_latents_against_whole_covariances():
    distribution = make_mixtures("shared", n=5, d=6)
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


def test_the_mode_is_found_in_a_component_that_is_hardly_ever_drawn():
    def evidence(z, rows):
        return -50 * (z - torch.tensor([9.0, 0.0, 0.0])).square().sum(dim=1) + 0 * rows

    mode = find_mode(RARE, evidence, 1, torch.Generator().manual_seed(0))[0]
    torch.testing.assert_close(mode, torch.tensor([9.0, 0.0, 0.0]), atol=0.03, rtol=0)


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
