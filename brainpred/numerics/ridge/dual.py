"""Banded ridge in dual form: kernels between samples, however many voxels and targets there are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainpred.numerics.ridge.kernels import BandKernels, cross_grams
from brainpred.numerics.ridge.predict import Predictor, feature_contributions
from brainpred.numerics.ridge.residuals import Fold
from brainpred.numerics.ridge.search import BandChoice, SearchSettings, choose_bands
from brainpred.numerics.ridge.targets import Targets
from brainpred.progress import Reporter

__all__ = ["DualForm"]


class DualForm:
    """Fit and predict with kernels (n_samples, n_samples).

    Parameters
    ----------
    X : array, memory map or HDF5 data set (n_samples, n_features)
        Features of the training samples; read once.
    runs : ndarray (n_samples,)
        Run of each sample.
    bands : ndarray of int64 (n_features,)
        Number of each feature's band.
    delays : sequence of int
        Delays in samples.
    per_delay : bool
        Whether every delay is a band of its own.
    device, dtype : torch.device, torch.dtype
        Where, and in what, kernels are held.
    reporter : Reporter
        Where progress goes.
    """

    def __init__(
        self,
        X: Any,
        runs: NDArray[Any],
        bands: NDArray[np.int64],
        delays: Sequence[int],
        *,
        per_delay: bool,
        device: torch.device,
        dtype: torch.dtype,
        reporter: Reporter,
    ):
        self.X, self.runs, self.bands, self.delays, self.per_delay = X, runs, bands, tuple(delays), per_delay
        self.device, self.dtype, self.seed = device, dtype, 0  # nothing is drawn
        with reporter.task("Kernels of the voxels", X.shape[1]) as advance:
            self.kernels, self.means = BandKernels.of(
                X, runs, bands, delays, per_delay=per_delay, device=device, dtype=dtype, on_chunk=advance
            )
        self.numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
        self.n_bands = self.kernels.n_bands

    def choose(
        self,
        targets: Targets,
        clusters: Sequence[NDArray[np.int64]],
        folds: Sequence[Fold],
        settings: SearchSettings,
        rng: np.random.Generator,
        reporter: Reporter,
    ) -> BandChoice:
        """Choose (γ, α) for every target; see :func:`brainpred.numerics.ridge.search.choose_bands`."""
        return choose_bands(self.kernels, targets, clusters, folds, settings, rng, reporter)

    def prepare(self, X: Any, runs: NDArray[Any]) -> BandKernels:
        """Give the kernels between other samples and the training samples."""
        grams = cross_grams(X, self.X, self.means, self.bands, device=self.device, dtype=self.dtype)
        return BandKernels(grams, runs, self.runs, self.delays, per_delay=self.per_delay, scale=self.kernels.scale)

    def predictor(
        self, targets: Targets, choice: BandChoice, alphas: Sequence[float], *, intercept: bool, held_bytes: float
    ) -> Predictor:
        """Give what predicts from the kernels that :meth:`prepare` gives."""
        return Predictor(self.kernels, targets, choice, alphas, intercept=intercept, held_bytes=held_bytes)

    def contributions(self, predictor: Predictor, X: Any, runs: NDArray[Any], truth: Targets) -> NDArray[np.float64]:
        """Split what truth and prediction share among delays and features; see :func:`feature_contributions`."""
        return feature_contributions(
            predictor.band_covariances(truth), X, runs, self.X, self.runs, self.means, self.bands, self.delays,
            per_delay=self.per_delay,
        )  # fmt: skip
