"""Probabilistic principal components against the closed forms of Tipping and Bishop, computed otherwise."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from brainpred.errors import ConfigError, DataError
from brainpred.models.ppca import ProbabilisticPCA, _decompose, _log_density, _model


def _data(n=83, features=11, latents=3, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = (
        rng.normal(size=(n, latents)) @ rng.normal(size=(latents, features)) * 2
        + rng.normal(size=(n, features)) * noise
    )
    return torch.from_numpy(x + rng.normal(size=features)).float()


def test_posterior_is_bayes_rule():
    x = _data()
    model = ProbabilisticPCA(3).fit(x)
    w, s2, mean = model.loadings_.double(), model.noise_variance_, model.mean_.double()
    m = w.T @ w + s2 * torch.eye(3)
    q = model.posterior(x).base_dist
    torch.testing.assert_close(q.mean.double(), (x.double() - mean) @ w @ torch.linalg.inv(m), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.diag(q.variance[0]).double(), s2 * torch.linalg.inv(m), atol=1e-5, rtol=1e-4)


def test_the_maximum_likelihood_covariance_keeps_the_sample_s_leading_axes():
    x = _data()
    model = ProbabilisticPCA(3).fit(x)
    mine = model.loadings_ @ model.loadings_.T + model.noise_variance_ * torch.eye(11)
    sample = torch.cov(x.T, correction=0)
    values = torch.linalg.eigvalsh(sample)
    torch.testing.assert_close(torch.linalg.eigvalsh(mine)[-3:], values[-3:], atol=1e-3, rtol=1e-3)
    assert model.noise_variance_ == pytest.approx(float(values[:-3].mean()), rel=1e-3)


def test_log_density_against_scipy():
    x = _data().double()
    mean, axes, variances, noise = _model(_decompose(x), 3, 11)
    covariance = axes @ torch.diag(variances - noise) @ axes.T + noise * torch.eye(11)
    expected = multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(x[:9].numpy()).sum()
    assert _log_density(x[:9], mean, axes, variances, noise) == pytest.approx(expected, rel=1e-8)


def test_cross_validation_finds_the_number_of_latents():
    assert ProbabilisticPCA().fit(_data(n=211, features=37, latents=5, noise=0.3)).n_latent_ == 5


def test_more_latents_than_samples_can_tell_are_refused():
    with pytest.raises(ConfigError, match="1 to 9 latents, not 10"):
        ProbabilisticPCA(10).fit(_data(n=40))


@pytest.mark.parametrize("x", [torch.zeros(2, 5), torch.full((6, 5), torch.nan), torch.zeros(7)])
def test_data_that_cannot_serve_are_refused(x):
    with pytest.raises(DataError, match="Principal components need"):
        ProbabilisticPCA().fit(x)
