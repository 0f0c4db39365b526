"""A joint mixture conditions as the quotient of its densities, finds clusters, and asks the model if pairs are few."""

import math

import pytest
import torch
from torch.distributions import Categorical, Cauchy, Independent, MixtureSameFamily, MultivariateNormal, Normal

from brainpred.models.bridge import LatentBridge
from brainpred.models.joint_mixture import JointMixture, _fit, fit_joint_mixture


def _mixture(seed=0, n_given=2, n_wanted=3, components=4):
    generator = torch.Generator().manual_seed(seed)
    d = n_given + n_wanted
    factors = torch.randn(components, d, d, generator=generator).double()
    covariances = factors @ factors.transpose(1, 2) + 0.5 * torch.eye(d)
    weights = torch.rand(components, generator=generator).double()
    means = torch.randn(components, d, generator=generator).double()
    return JointMixture(weights / weights.sum(), means, covariances, n_given)


def _density(mixture, columns):
    parts = MultivariateNormal(mixture.means[:, columns], mixture.covariances[:, columns][:, :, columns])
    return MixtureSameFamily(Categorical(mixture.weights), parts)


def test_the_conditional_is_joint_over_marginal():
    mixture = _mixture()
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).double()
    joint, marginal = _density(mixture, [0, 1, 2, 3, 4]), _density(mixture, [0, 1])
    expected = joint.log_prob(z) - marginal.log_prob(z[:, :2])
    torch.testing.assert_close(mixture.given(z[:, :2]).log_prob(z[:, 2:]), expected)


def test_swapped_it_conditions_the_other_way():
    mixture = _mixture()
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).double()
    joint, marginal = _density(mixture, [0, 1, 2, 3, 4]), _density(mixture, [2, 3, 4])
    expected = joint.log_prob(z) - marginal.log_prob(z[:, 2:])
    torch.testing.assert_close(mixture.swapped().given(z[:, 2:]).log_prob(z[:, :2]), expected)


def test_of_one_component_it_is_linear_regression():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4000, 2, generator=generator)
    b = a @ torch.tensor([[0.5, -0.3, 0.1], [0.2, 0.6, -0.4]]) + 0.3 * torch.randn(4000, 3, generator=generator)
    tiny = torch.full((4000, 2), 1e-3), torch.full((4000, 3), 1e-3)
    mixture, chosen = fit_joint_mixture((a, tiny[0]), (b, tiny[1]))
    given = mixture.given(a[:5])
    mean = (given.mixture_distribution.probs[..., None] * given.component_distribution.mean).sum(1)
    torch.testing.assert_close(mean, a[:5] @ torch.tensor([[0.5, -0.3, 0.1], [0.2, 0.6, -0.4]]), atol=0.05, rtol=0)
    assert chosen["score"] == pytest.approx(3 * (-0.5 - 0.919 - math.log(0.3)), abs=0.1)


def test_clusters_are_found_and_their_uncertainty_is_counted():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (240,), generator=generator)
    a = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]])[labels] + 0.1 * torch.randn(240, 2, generator=generator)
    b = torch.tensor([[1.0], [-1.0], [0.0]])[labels] + 0.1 * torch.randn(240, 1, generator=generator)
    spread = torch.full((240, 2), 0.4), torch.full((240, 1), 0.5)
    mixture, chosen = fit_joint_mixture((a, spread[0]), (b, spread[1]))
    assert chosen["n_components"] == 3
    middle = mixture.given(torch.tensor([[2.0, 0.0]]))
    nearest = middle.mixture_distribution.probs.argmax()
    part = middle.component_distribution
    assert part.mean[0, nearest, 0] == pytest.approx(-1, abs=0.1)
    # 0.1 of scatter and 0.5 of each posterior.
    assert part.stddev[0, nearest, 0] == pytest.approx(0.51, abs=0.12)


def test_the_same_seed_gives_the_same_fit():
    generator = torch.Generator().manual_seed(0)
    latents = [(torch.randn(60, n, generator=generator), torch.full((60, n), 0.3)) for n in (2, 3)]
    first, second = (fit_joint_mixture(*latents, seed=4)[0] for _ in range(2))
    torch.testing.assert_close(first.means, second.means, rtol=0, atol=0)


def test_repeats_do_not_choose_what_remembers_them():
    # Latents that have nothing to do with each other, each pair four times: told apart, repeats look like knowledge.
    generator = torch.Generator().manual_seed(0)
    given, wanted = (torch.randn(15, 3, generator=generator).repeat(4, 1) for _ in range(2))
    spread = torch.full((60, 3), 0.3)
    scores = [
        fit_joint_mixture((given, spread), (wanted, spread), groups=groups)[1]["score"]
        for groups in (None, torch.arange(15).repeat(4))
    ]
    assert scores[0] > scores[1] + 0.5


BACK = 0.9  # part of a latent of no meaning that comes back


class _Model:
    """Infer 21 latents: a first that is sure, and 20 of no meaning whose draws come back as others of their kind."""

    def __init__(self, kept=1.0):
        self.kept = kept  # how much of the first comes back
        self.spread = torch.tensor([0.05] + [math.sqrt(1 - BACK**2)] * 20)

    def posterior(self, x):
        return Independent(Normal(x, self.spread.expand_as(x)), 1)

    def likelihood(self, z):
        return Independent(Normal(z * torch.tensor([self.kept] + [BACK] * 20), 0.1), 1)


class _Categories(_Model):
    def likelihood(self, z):
        return Categorical(logits=z)


class _Counts(_Model):
    """Infers from whole numbers alone, such as counts looked up in a table."""

    def posterior(self, x):
        return super().posterior(x if x.dtype != torch.float32 else torch.eye(3)[x])


class _Wild(_Model):
    """Generates data of no mean."""

    def likelihood(self, z):
        return Independent(Cauchy(z, 1.0), 1)


class _Narrowing(_Model):
    """Infers nothing of use from what it generates."""

    def posterior(self, x):
        q = super().posterior(x).base_dist
        spread = q.stddev if x.requires_grad else 0 * q.stddev
        return Independent(Normal(q.mean, spread, validate_args=False), 1)


class _Point:
    """Infer one latent, which is the datum."""

    def posterior(self, x):
        return Independent(Normal(x, torch.full_like(x, 0.3)), 1)

    def likelihood(self, z):
        return Independent(Normal(z, 0.1), 1)


def _pairs(n, seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, 1, generator=generator)
    x = torch.cat([first, BACK * torch.randn(n, 20, generator=generator)], dim=1)
    return x, first.sign() + 0.1 * torch.randn(n, 1, generator=generator)


def _fitted(model, x, y, known=None):
    given = x, (known or model).posterior(x).stddev
    return fit_joint_mixture(given, (y, torch.full_like(y, 0.3)), model=model)


def test_with_few_pairs_the_model_tells_what_has_no_meaning():
    (x, y), (new_x, new_y) = _pairs(30, 0), _pairs(2000, 1)
    remade, chosen = _fitted(_Model(), x, y)
    alone, chosen_alone = _fitted(None, x, y, _Model())
    assert chosen["remade"]
    assert not chosen_alone["remade"]
    assert chosen["score"] > chosen_alone["score"]
    assert remade.given(new_x).log_prob(new_y).mean() > alone.given(new_x).log_prob(new_y).mean() + 0.1


@pytest.mark.parametrize("kind", [_Categories, _Counts, _Wild, _Narrowing, lambda: _Model(kept=0.0)])
def test_a_model_that_cannot_help_changes_nothing(kind):
    x, y = _pairs(200, 0)
    given, wanted = (x, _Model().posterior(x).stddev), (y, torch.full_like(y, 0.3))
    mixture, chosen = fit_joint_mixture(given, wanted, model=kind())
    assert not chosen["remade"]
    torch.testing.assert_close(mixture.means, fit_joint_mixture(given, wanted)[0].means, rtol=0, atol=0)


def test_a_bridge_asks_the_model_of_its_source():
    assert LatentBridge(_Model(), _Point()).fit(_pairs(30, 0)).chosen_["remade"]
    assert not LatentBridge(_Model(kept=0.0), _Point()).fit(_pairs(200, 0)).chosen_["remade"]


def test_a_pair_counts_once_whatever_stands_for_it():
    x, y = _pairs(40, 0)
    points = torch.cat([x, y], dim=1).double()[None]
    once, often = (
        _fit(
            (points.expand(n, -1, -1), torch.full_like(points, 0.3).expand(n, -1, -1)), (y[:, 0] > 0).long(), 2, 10, 21
        )
        for n in (1, 4)
    )
    torch.testing.assert_close(often.covariances, once.covariances)
