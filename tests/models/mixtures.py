"""Random mixtures of normal distributions."""

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal


def make_mixtures(kind, n=3, components=4, d=2, seed=0):
    """Make n mixtures: all with the covariances of each component ("shared"), or with own spreads ("own")."""
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
