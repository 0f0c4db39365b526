r"""The latent bridge: generate one kind of data from another through two models that were trained apart.

Two models with latents, :math:`p(x|z_x)\,p(z_x)` and :math:`p(y|z_y)\,p(z_y)`, are joined by what N pairs (x, y) tell
about :math:`z_y` given :math:`z_x` (document 002). Both directions are the same code: exchange source and target.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from brainpred.errors import ConfigError, DataError
from brainpred.models.bridge_settings import BridgeSettings
from brainpred.models.conditionals import Latents, fit_linear, fit_network
from brainpred.models.guided import Evidence, blurred_evidence, draw_guided, find_mode, temper
from brainpred.models.inference import distinct_latents, infer, infer_pairs, latent_features, normal_of_pairs
from brainpred.models.joint_mixture import fit_joint_mixture
from brainpred.models.latent_models import LatentModel, added_precision
from brainpred.models.likelihood import (
    BATCHES,
    LikelihoodEstimate,
    conditional_log_likelihood,
    grid_log_likelihood,
    importance_log_likelihood,
)
from brainpred.models.normal_mixture import NormalMixture, join_mixtures
from brainpred.progress import SILENT, Reporter

__all__ = ["ESTIMATORS", "BridgeState", "LatentBridge"]

ESTIMATORS = ("importance", "conditional", "grid")
N_SOURCE = 16  # draws of the source's latents that a density is averaged over
SAMPLES_AT_ONCE = 500  # whose likelihood is estimated in one go
N_NORMALISER = 500  # draws that the guided density is normalised by


class BridgeState(NamedTuple):
    """Hold what a bridge has learned: conditionals, where there are such, the prior of draws, numbers of latents."""

    forward: nn.Module | None
    backward: nn.Module | None
    prior: tuple[Tensor, Tensor]
    n_latent: tuple[int, int]


class LatentBridge:
    r"""Learn :math:`q(z_y|z_x)` from pairs and generate y from x.

    Latents are drawn from

    .. math:: p(z_y|x) \propto b(z_y|x)\; q(x|z_y)^{\gamma},

    where b is the ``base`` and :math:`\gamma` the ``guidance``. :math:`q(x|z_y)` is what the opposite conditional says
    of the source, :math:`\int \frac{p(z_x|x)}{p(z_x)}\, q(z_x|z_y)\, dz_x`, in closed form for normal posteriors.

    ============================  ==================================================================================
    base, guidance                what is drawn from
    ============================  ==================================================================================
    ``"conditional"``, 0          :math:`q(z_y|z_x)` itself, as in document 002
    ``"conditional"``, above 0    the same, pushed to what names its source beyond doubt
    ``"standard"``, 1             Bayes' rule with the target model's own prior N(0, I)
    ``"pairs"``, 1                Bayes' rule with a prior that the pairs' latents are normal around
    ============================  ==================================================================================

    Parameters
    ----------
    source, target : LatentModel
        Models of x and of y: anything with ``posterior(x)`` and ``likelihood(z)``, and the prior N(0, I); see
        :class:`brainpred.models.latent_models.LatentModel`.
    family : {"joint", "gaussian", "mixture", "linear"}
        What the conditional is made of: a mixture of normal distributions over both latents; a network that gives one
        normal distribution (document 002) or a mixture; a normal distribution around a linear function of what the
        latents given generate.
    divergence : {"forward", "reverse"}
        What a network minimises, KL[posterior || q] or KL[q || posterior] (document 002). The other families know the
        forward one.
    base : {"conditional", "standard", "pairs"}
        Where draws begin.
    guidance : float
        Weight of the opposite conditional, 0 or more.
    guide : {"joint", "gaussian", "mixture", "linear"} or None
        Family of the opposite conditional; None: that of ``family``. Another one errs otherwise than the conditional
        that it corrects.
    n_components : int
        Of the family ``"mixture"``; the joint mixture chooses its own number.
    updates : int
        Updates of a network.
    seed : int
        Seed of all that is random in the fit.

    Attributes
    ----------
    curve_ : list of float
        Value of the objective at each update of the network that gives :math:`q(z_y|z_x)`; empty for other families.
    chosen_ : dict
        What cross-validation chose for the joint mixture.

    References
    ----------
    Document 002: S. Imakiire, M. Ochi, J. Mori, I. Sakata, "Bi-directional multimodal generation via estimating
    conditional distribution of latent variables obtained from pre-trained generative models", equations 1 to 4.

    Examples
    --------
    >>> import torch
    >>> from brainpred.models.ppca import ProbabilisticPCA
    >>> generator = torch.Generator().manual_seed(0)
    >>> z = torch.randn(60, 2, generator=generator)
    >>> x, y = (z @ torch.randn(2, n, generator=generator) for n in (7, 5))
    >>> x, y = (data + 0.1 * torch.randn(data.shape, generator=generator) for data in (x, y))
    >>> models = [ProbabilisticPCA(2).fit(data[:40]) for data in (x, y)]
    >>> bridge = LatentBridge(*models).fit((x[:40], y[:40]))
    >>> bool((bridge.predict(x[40:]) - y[40:]).square().mean() < 0.1 * y.var())
    True
    """

    def __init__(
        self,
        source: LatentModel,
        target: LatentModel,
        *,
        family: str = "joint",
        divergence: str = "forward",
        base: str = "conditional",
        guidance: float = 0.0,
        guide: str | None = None,
        n_components: int = 10,
        updates: int = 1500,
        seed: int = 0,
    ):
        self.source, self.target = source, target
        self.settings = BridgeSettings(
            family, divergence, base, float(guidance), guide or family, n_components, updates, seed
        )  # fmt: skip

    # ------------------------------------------------------------------ fitting

    def fit(
        self, pairs: tuple[Tensor, Tensor], reporter: Reporter = SILENT, groups: Tensor | None = None
    ) -> LatentBridge:
        """Learn from pairs.

        Parameters
        ----------
        pairs : (Tensor (n_pairs, ...), Tensor (n_pairs, ...))
            Data of the source and of the target, row by row belonging together.
        reporter : Reporter
            Where progress goes.
        groups : Tensor of int64 (n_pairs,), optional
            Pairs of the same number, such as repeats, are left out together where cross-validation chooses.

        Returns
        -------
        LatentBridge
            This one.

        Raises
        ------
        DataError
            If the two have other lengths, are too few, hold values that are not finite, or their latents cannot be
            used.
        """
        source, target = infer_pairs(self.source, self.target, pairs)
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed)
        self.curve_: list[float] = []
        self.chosen_: dict[str, Any] = {}
        self._forward: nn.Module | None = None
        self._backward: nn.Module | None = None
        if settings.base == "conditional":
            self._forward = self._fit_one(settings.family, source, target, self.source, groups, generator, reporter)
        if settings.guidance > 0:
            curve, chosen = self.curve_, self.chosen_
            self._backward = self._fit_one(settings.guide, target, source, self.target, groups, generator, reporter)
            if self._forward is not None:  # what is told is about the way there
                self.curve_, self.chosen_ = curve, chosen
        self._n_latent = source[0].shape[1], target[0].shape[1]
        standard = (torch.zeros(self._n_latent[1]), torch.eye(self._n_latent[1]))
        self._prior = normal_of_pairs(target) if settings.base == "pairs" else standard
        return self

    def _fit_one(
        self,
        family: str,
        given: Latents,
        wanted: Latents,
        model: LatentModel,
        groups: Tensor | None,
        generator: torch.Generator,
        reporter: Reporter,
    ) -> nn.Module:
        """Fit the conditional of one direction; ``model`` is that of the latents given."""
        settings = self.settings
        if family == "linear":
            return fit_linear(given, wanted, latent_features(model), generator, groups)
        if family == "joint":
            with reporter.task("Bridge", 100) as advance:
                mixture, self.chosen_ = fit_joint_mixture(
                    given, wanted, model=model, groups=groups, seed=settings.seed, advance=advance
                )
            return mixture
        with reporter.task("Bridge", settings.updates) as advance:
            network, curve = fit_network(
                given, wanted, n_components=settings.n_components if family == "mixture" else 1,
                divergence=settings.divergence, updates=settings.updates, generator=generator, advance=advance,
            )  # fmt: skip
        self.curve_ = curve
        return network

    def save(self, path: Path | str) -> None:
        """Write what was learned as safetensors; source and target are not part of it."""
        from brainpred.models.bridge_files import save_bridge

        save_bridge(self, path)

    @classmethod
    def load(cls, path: Path | str, source: LatentModel, target: LatentModel) -> LatentBridge:
        """Load what :meth:`save` wrote; see :func:`brainpred.models.bridge_files.load_bridge`."""
        from brainpred.models.bridge_files import load_bridge

        return load_bridge(path, source, target)

    def fitted_state(self) -> BridgeState:
        """Give what was learned, or raise :class:`ConfigError` if nothing was."""
        if not hasattr(self, "_prior"):
            raise ConfigError("This bridge is not fitted yet: call fit(pairs) first.")
        return BridgeState(self._forward, self._backward, self._prior, self._n_latent)

    def take(
        self,
        forward: nn.Module | None,
        backward: nn.Module | None,
        prior: tuple[Tensor, Tensor],
        chosen: dict[str, Any],
        n_latent: tuple[int, int],
    ) -> LatentBridge:
        """Take over what was learned before."""
        self._forward, self._backward, self._prior, self._n_latent = forward, backward, prior, n_latent
        self.curve_, self.chosen_ = [], dict(chosen)
        return self

    # ------------------------------------------------------------------ latents of the target

    def _conditional(self, name: str) -> Any:
        """Give a fitted conditional."""
        if getattr(self, name, None) is None:
            raise ConfigError("This bridge is not fitted yet: call fit(pairs) first.")
        return getattr(self, name)

    def _base(self, latents: Latents, n: int, generator: torch.Generator) -> NormalMixture:
        """Give the mixture that draws begin with, for each sample whose source latents are known as posteriors."""
        if self.settings.base != "conditional":
            self._conditional("_backward")
            return NormalMixture(torch.zeros(1, 1), self._prior[0][None, None], self._prior[1][None], True)
        forward, (mean, spread) = self._conditional("_forward"), latents
        draws = mean + spread * torch.randn((n, *mean.shape), generator=generator)
        return join_mixtures([NormalMixture.of(forward.given(z)) for z in draws])

    def _evidence(self, latents: Latents) -> Evidence:
        """Give the function from target latents (m, d) and samples (m,) to the weighted log evidence (m,)."""
        mean, spread = latents
        precision = added_precision(spread)
        point, variance = mean * spread**-2 / precision, 1 / precision
        inner = blurred_evidence(self._conditional("_backward").given, point, variance)
        return lambda z, rows: self.settings.guidance * inner(z, rows)

    def draw_latents(self, x: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents of the target.

        Parameters
        ----------
        x : Tensor (n_samples, ...)
            Data of the source.
        n : int
            Draws for each.
        generator : Generator, optional
            Where they come from; seeded with the bridge's seed by default.

        Returns
        -------
        Tensor of float32 (n, n_samples, n_latent)
            Latents.
        """
        generator = generator or torch.Generator().manual_seed(self.settings.seed)
        with torch.no_grad():
            latents = infer("source", self.source, x)
            if self.settings.guidance == 0:
                base = self._base(latents, n, generator)
                return base.unfold(*base.draw_from_each(n, len(x), generator)).reshape(n, len(x), -1)
            latents, which, times = distinct_latents(latents)
            base = self._base(latents, N_SOURCE, generator)
            drawn = draw_guided(base, self._evidence(latents), n * (int(times.max()) + 1), len(latents[0]), generator)
            return drawn[n * times + torch.arange(n)[:, None], which]

    def sample(self, x: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Generate data of the target.

        Parameters
        ----------
        x : Tensor (n_samples, ...)
            Data of the source.
        n : int
            How many for each.
        generator : Generator, optional
            Where the draws come from; seeded with the bridge's seed by default.

        Returns
        -------
        Tensor (n, n_samples, ...)
            What the latents drawn generate: the mean of the likelihood (grey pictures), or the likeliest category.
        """
        return self._decode(self.draw_latents(x, n, generator))

    def predict(self, x: Tensor) -> Tensor:
        """Generate one datum: of the densest latents or, without guidance, of the mean of the latents.

        Parameters
        ----------
        x : Tensor (n_samples, ...)
            Data of the source.

        Returns
        -------
        Tensor (n_samples, ...)
            As :meth:`sample`.
        """
        return self._decode(self.predict_latents(x))

    def predict_latents(self, x: Tensor) -> Tensor:
        """Find the target's latents for each datum of the source, (n_samples, n_latent): see :meth:`predict`."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        with torch.no_grad():
            mean, spread = infer("source", self.source, x)
            base = self._base((mean, torch.zeros_like(spread)), 1, generator)
            if self.settings.guidance == 0:
                return (base.logits.softmax(dim=1)[:, :, None] * base.means).sum(dim=1)
            return find_mode(base, self._evidence((mean, spread)), len(x), generator)

    def _decode(self, z: Tensor) -> Tensor:
        """Give what latents stand for."""
        with torch.no_grad():
            made = self.target.likelihood(z)
            return made.probs.argmax(dim=-1) if isinstance(made, Categorical) else made.mean

    # ------------------------------------------------------------------ likelihoods

    def log_density(self, x: Tensor, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
        r"""Give the log density of the target's latents given the source, :math:`\log p(z_y|x)`.

        Parameters
        ----------
        x : Tensor (n_samples, ...)
            Data of the source.
        generator : Generator, optional
            Where the draws come from that the source's latents and the normaliser are averaged over.

        Returns
        -------
        callable
            Latents (k, n_samples, n_latent) to Tensor (k, n_samples).
        """
        generator = generator or torch.Generator().manual_seed(self.settings.seed)
        with torch.no_grad():
            repeats, _ = self._densities(x, 1, N_SOURCE, generator)
        return lambda z: repeats(z)[0]

    def _densities(
        self, x: Tensor, n_repeats: int, n_source: int, generator: torch.Generator
    ) -> tuple[Callable[[Tensor], Tensor], NormalMixture]:
        """Estimate the log density several times, (n_repeats, k, n); and give the base of all of them."""
        latents, which, _ = distinct_latents(infer("source", self.source, x))
        bases = [self._base(latents, n_source, generator) for _ in range(n_repeats)]
        joined = join_mixtures(bases).take(which)
        if self.settings.guidance > 0:
            evidence, n = self._evidence(latents), len(latents[0])
            tempered = [temper(base, evidence, N_NORMALISER, n, generator) for base in bases]
            normalisers = torch.stack([one.log_normaliser for one in tempered])[:, None, which]

        def densities(z: Tensor) -> Tensor:
            z = z.float()
            plain = joined.log_prob_of_each(z, n_repeats)
            if self.settings.guidance == 0:
                return plain
            return plain + evidence(z.flatten(0, 1), which.repeat(len(z))).reshape(z.shape[:2]) - normalisers

        return densities, joined

    def log_likelihood(
        self,
        x: Tensor,
        y: Tensor,
        estimator: str = "importance",
        n_draws: int = 500,
        generator: torch.Generator | None = None,
    ) -> LikelihoodEstimate:
        r"""Estimate :math:`\log p(y|x)`, for pairs that the bridge was not fitted to.

        Parameters
        ----------
        x, y : Tensor (n_samples, ...)
            Data of the source and of the target.
        estimator : {"importance", "conditional", "grid"}
            Importance sampling around the mode of p(y|z) p(z|x); document 002's mean over draws given x; quadrature,
            where the target has two latents at the most.
        n_draws : int
            Draws for each sample, 10 or more.
        generator : Generator, optional
            Where the draws come from; seeded with the bridge's seed by default.

        Returns
        -------
        LikelihoodEstimate
            Nats, with error and effective number of draws for each sample.

        Raises
        ------
        ConfigError
            If there is no such estimator, or it does not serve for this target.
        DataError
            If the two have other lengths, or cannot be used.
        """
        if estimator not in ESTIMATORS:
            raise ConfigError(f"Unknown estimator {estimator!r}. Choose one of: {', '.join(ESTIMATORS)}.")
        if len(x) != len(y):
            raise DataError(f"Every x needs its y: received {len(x)} of the source and {len(y)} of the target.")
        generator = generator or torch.Generator().manual_seed(self.settings.seed)
        infer("target", self.target, y)
        parts = zip(x.split(SAMPLES_AT_ONCE), y.split(SAMPLES_AT_ONCE), strict=True)
        return LikelihoodEstimate.join([self._estimate(*part, estimator, n_draws, generator) for part in parts])

    def _estimate(
        self, x: Tensor, y: Tensor, estimator: str, n_draws: int, generator: torch.Generator
    ) -> LikelihoodEstimate:
        """Estimate the log-likelihoods of as many pairs as memory suffices for."""
        with torch.no_grad():
            if estimator == "conditional":
                return conditional_log_likelihood(self.target, y, lambda n: self.draw_latents(x, n, generator), n_draws)
            own = torch.Generator().manual_seed(self.settings.seed)  # the same densities for both estimators
            densities, base = self._densities(x, BATCHES, N_SOURCE // 2, own)
            if estimator == "grid":
                return grid_log_likelihood(self.target, y, densities)
            mean, covariance = base.moments()
            near = mean.expand(len(y), -1), covariance.expand(len(y), -1, -1)
            return importance_log_likelihood(self.target, y, densities, n_draws, generator, near)
