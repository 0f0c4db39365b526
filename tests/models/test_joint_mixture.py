"""A joint mixture conditions as the quotient of its densities, and finds clusters that are there."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from brainpred.models.joint_mixture import JointMixture, fit_joint_mixture


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
