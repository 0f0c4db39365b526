"""Proposals are distributions: what they draw has the density that they tell; and they lie about the mode."""

import pytest
import torch
from torch.distributions import Independent, Normal

from brainpred.models.latent_models import LatentModel
from brainpred.models.proposals import propose


class Bent:
    """x = (z, z^2) + noise in three latents: a posterior in closed form nowhere, with a mode that is known."""

    def posterior(self, x):
        mean = x[:, :3]
        return Independent(Normal(mean, torch.full_like(mean, 0.3)), 1)

    def likelihood(self, z):
        return Independent(Normal(torch.cat([z, z.square()], dim=-1), 0.5), 1)


@pytest.fixture(scope="module")
def bent():
    z = 0.7 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    model: LatentModel = Bent()
    return model, model.likelihood(z).mean


@pytest.mark.parametrize("prior", [None, 0.5])
def test_draws_have_the_density_that_is_told(bent, prior):
    model, x = bent
    near = None if prior is None else (torch.full((4, 3), 0.3), prior * torch.eye(3).expand(4, -1, -1))
    proposal = propose(model, x, near)
    z = proposal.draw(40_000, torch.Generator().manual_seed(0))
    # E[f / r] under r is the integral of f, for any density f that is narrower than r.
    for centre, spread in ((proposal.centres[0], 0.15), (proposal.centres[1] + 0.1, 0.12)):
        weights = (Normal(centre, spread).log_prob(z).sum(dim=-1) - proposal.log_prob(z)).exp()
        error = weights.std(dim=0) / 200
        assert ((weights.mean(dim=0) - 1).abs() < 4 * error).all()
        assert (error < 0.03).all()


def test_the_first_part_lies_at_the_mode_with_the_curvature_there(bent):
    model, x = bent
    near = (torch.full((4, 3), 0.3), 0.5 * torch.eye(3).expand(4, -1, -1))
    proposal = propose(model, x, near)
    mode = proposal.centres[0].clone().requires_grad_(True)

    def height(z):
        return model.likelihood(z).log_prob(x) - (z - 0.3).square().sum(dim=-1)

    slope = torch.autograd.grad(height(mode).sum(), mode)[0]
    assert slope.abs().max() < 0.3  # of a curvature of about 10: a thirtieth of a unit away, where spreads are 0.3
    for sample in range(4):
        hessian = torch.autograd.functional.hessian(
            lambda z, row=sample: height(z[None].expand(4, -1))[row], mode[sample].detach()
        )
        variances = torch.linalg.inv(-hessian).diagonal()
        told = (proposal.factors[0][sample] @ proposal.factors[0][sample].T).diagonal()
        torch.testing.assert_close(told, variances, rtol=0.25, atol=0)
