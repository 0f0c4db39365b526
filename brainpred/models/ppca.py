"""Probabilistic principal components: a linear model with latents, for voxels and for anything else that is many."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from brainpred.errors import ConfigError, DataError
from brainpred.models.latent_models import check_tensor

__all__ = ["ProbabilisticPCA"]

CANDIDATES = (1, 2, 5, 10, 15, 20, 30, 40, 60, 80, 120, 160)
FOLDS = 5


class ProbabilisticPCA:
    r"""Model data as :math:`x = W z + \mu + \epsilon`, :math:`z \sim N(0, I)`, :math:`\epsilon \sim N(0, \sigma^2 I)`.

    W holds the principal axes, each scaled by :math:`\sqrt{\lambda_i - \sigma^2}`, so that the posterior

    .. math:: p(z|x) = N\left(\mathrm{diag}\left(\frac{\sqrt{\lambda_i - \sigma^2}}{\lambda_i}\right) U^\top (x - \mu),
       \ \mathrm{diag}\,\frac{\sigma^2}{\lambda_i}\right)

    has independent latents, as a bridge wants it.

    Parameters
    ----------
    n_latent : int or None
        Latents; None: as many as let data that are left out be most likely (5 folds).
    seed : int
        Seed of the folds.

    Attributes
    ----------
    n_latent_ : int
        Latents.
    mean_ : Tensor (n_features,)
        :math:`\mu`.
    loadings_ : Tensor (n_features, n_latent)
        W.
    noise_variance_ : float
        :math:`\sigma^2`.
    scores_ : dict of int to float
        Mean log density of data left out, by number of latents; empty if that was given.

    References
    ----------
    M. E. Tipping, C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal Statistical Society
    B 61, 1999, equations 7 to 9.
    """

    def __init__(self, n_latent: int | None = None, seed: int = 0):
        self.n_latent, self.seed = n_latent, seed

    def fit(self, x: Tensor) -> "ProbabilisticPCA":
        """Fit the model.

        Parameters
        ----------
        x : Tensor (n, n_features)
            Data.

        Returns
        -------
        ProbabilisticPCA
            This one.

        Raises
        ------
        DataError
            If there are fewer than 3 samples, or values that are not finite.
        ConfigError
            If more latents are wanted than the data can tell.
        """
        check_tensor(x, "Principal components")
        if x.ndim != 2 or len(x) < 3 or not bool(torch.isfinite(x).all()):
            raise DataError(
                f"Principal components need finite data (n, n_features) of 3 samples or more, received shape "
                f"{tuple(x.shape)} with {int((~torch.isfinite(x)).sum())} values that are not finite."
            )
        most = min(len(x), x.shape[1]) - 2
        if self.n_latent is not None and not 1 <= self.n_latent <= most:
            raise ConfigError(f"{tuple(x.shape)} data can tell 1 to {most} latents, not {self.n_latent}.")
        x = x.double()
        self.scores_: dict[int, float] = {}
        if self.n_latent is None:
            order = np.random.default_rng(self.seed).permutation(len(x))
            folds = np.array_split(order, min(FOLDS, len(x)))
            smallest = len(x) - max(len(fold) for fold in folds)
            candidates = [n for n in CANDIDATES if n <= min(smallest, x.shape[1]) - 2] or [1]
            totals = dict.fromkeys(candidates, 0.0)
            for fold in folds:
                rest = np.setdiff1d(order, fold)
                decomposition = _decompose(x[rest])
                for n in candidates:
                    totals[n] += _log_density(x[fold], *_model(decomposition, n, x.shape[1]))
            self.scores_ = {n: total / len(x) for n, total in totals.items()}
        self.n_latent_ = self.n_latent or max(self.scores_, key=self.scores_.__getitem__)
        mean, axes, variances, noise = _model(_decompose(x), self.n_latent_, x.shape[1])
        self.mean_, self.noise_variance_ = mean.float(), float(noise)
        self.loadings_ = (axes * (variances - noise).clamp(min=0).sqrt()).float()
        self._gain = (axes * (variances - noise).clamp(min=0).sqrt() / variances).float()
        self._spread = (noise / variances).sqrt().float()
        return self

    def posterior(self, x: Tensor) -> Independent:
        """Infer latents from data (n, n_features): independent normal distributions, event (n_latent,)."""
        mean = (x.to(self.mean_) - self.mean_) @ self._gain
        return Independent(Normal(mean, self._spread.expand_as(mean)), 1)

    def likelihood(self, z: Tensor) -> Independent:
        """Give the distribution of data that latents (..., n_latent) generate, event (n_features,)."""
        mean = z @ self.loadings_.T + self.mean_
        return Independent(Normal(mean, math.sqrt(self.noise_variance_), validate_args=False), 1)


def _decompose(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give mean, principal axes (n_features, rank) and the variance along each."""
    mean = x.mean(dim=0)
    _, singular, axes = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, axes.T, singular.square() / len(x)


def _model(
    decomposition: tuple[Tensor, Tensor, Tensor], n: int, n_features: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep n axes and make noise of the others."""
    mean, axes, variances = decomposition
    noise = (variances[n:].sum() / (n_features - n)).clamp(min=1e-12)
    return mean, axes[:, :n], variances[:n].clamp(min=1e-12), noise


def _log_density(x: Tensor, mean: Tensor, axes: Tensor, variances: Tensor, noise: Tensor) -> float:
    """Sum the log density of data under N(mean, axes (variances - noise) axes' + noise I)."""
    away = x - mean
    along = away @ axes
    variances = torch.maximum(variances, noise)
    squares = (away.square().sum(dim=1) - along.square().sum(dim=1)) / noise + (along.square() / variances).sum(dim=1)
    n_features, n = axes.shape
    log_volume = variances.log().sum() + (n_features - n) * noise.log()
    return float(-0.5 * (squares + log_volume + n_features * math.log(2 * math.pi)).sum())
