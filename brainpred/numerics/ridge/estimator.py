"""Banded ridge regression with delays, as a scikit-learn estimator."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from brainpred.devices import resolve_device
from brainpred.errors import ConfigError, DataError
from brainpred.numerics.ridge.delays import delayed_rows, delays_in_samples
from brainpred.numerics.ridge.kernels import band_kernels, band_names, voxel_bands
from brainpred.numerics.ridge.search import draw_candidates, solve_himalaya
from brainpred.numerics.scores import r2_score

__all__ = ["DEFAULT_ALPHAS", "BandedRidgeCV", "leave_run_out"]

DEFAULT_ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 4, 10))
BLOCKS_WITHOUT_RUNS = 5


def leave_run_out(runs: NDArray[Any], gap: int = 0) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split samples so that every run is left out once.

    Parameters
    ----------
    runs : ndarray (n_samples,)
        Run of each sample, or any label of what must be left out together.
    gap : int
        Samples left out of training on both sides of a block, where a single run is cut into blocks.

    Returns
    -------
    list of (train, test) index arrays
        One pair a run. A single run is cut into (up to) five blocks of neighbouring samples instead.

    Examples
    --------
    >>> [test.tolist() for _, test in leave_run_out(np.array([1, 1, 2, 2, 2]))]
    [[0, 1], [2, 3, 4]]
    """
    names = np.unique(runs)
    if len(names) > 1:
        tests = [np.flatnonzero(runs == name) for name in names]
    else:
        tests = np.array_split(np.arange(len(runs)), min(BLOCKS_WITHOUT_RUNS, len(runs)))
    everything = np.arange(len(runs))
    reach = gap if len(names) == 1 else 0
    near = [np.unique(np.clip(test[:, None] + np.arange(-reach, reach + 1), 0, len(runs) - 1)) for test in tests]
    return [(np.setdiff1d(everything, around), test) for around, test in zip(near, tests, strict=True)]


class BandedRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Predict many targets from bands of features, each band with its own regularisation.

    .. math::
        \min_W \; \|Y - \textstyle\sum_b X_b W_b\|^2 + \sum_b \lambda_b \|W_b\|^2

    It is solved in dual form, :math:`K = \sum_b \gamma_b K_b`, :math:`\hat Y = K (K + \alpha I)^{-1} Y`,
    with :math:`\gamma` on the simplex and :math:`(\gamma, \alpha)` chosen per target by leaving out one run
    at a time. Every K_b has a mean diagonal of 1 on the training samples. X_b holds the band's features at
    every delay: sample i sees the features of sample i + delay, and zeros where that lies past its run.

    Parameters
    ----------
    bands : array_like (n_features,), optional
        Label of the band that each feature belongs to (such as its ROI). None: one band.
    per_delay : bool
        Whether every delay is a band of its own (times the bands given).
    delays_s : sequence of float
        How many seconds after the target the features are read.
    tr_s : float
        Time between samples in seconds.
    alphas : sequence of float
        Regularisation to try.
    n_candidates : int
        Band weights γ to try (even mixture first, then Dirichlet draws).
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    random_state : int
        Seed of the candidates.

    Attributes
    ----------
    band_names_ : list of str
        Names of the bands.
    band_weights_ : ndarray of float32 (n_bands, n_targets)
        γ / α of each band and target.
    alphas_ : ndarray of float32 (n_targets,)
        Chosen α.
    cv_scores_ : ndarray of float32 (n_targets,)
        Cross-validated R² of the choice, averaged over the runs left out.
    dual_coef_ : ndarray of float32 (n_samples, n_targets)
        Dual weights.
    intercept_ : ndarray of float32 (n_targets,)
        Intercept.

    References
    ----------
    A. O. Nunez-Elizalde, A. G. Huth, J. L. Gallant, "Voxelwise encoding models with non-spherical
    multivariate normal priors", NeuroImage 197, 2019, equation 9 (banded ridge).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((90, 7))
    >>> Y = X @ rng.standard_normal((7, 3))
    >>> BandedRidgeCV().fit(X, Y, runs=np.repeat([1, 2, 3], 30)).score(X, Y) > 0.99
    True
    """

    def __init__(
        self,
        bands: ArrayLike | None = None,
        *,
        per_delay: bool = False,
        delays_s: Sequence[float] = (0.0,),
        tr_s: float = 1.0,
        alphas: Sequence[float] = DEFAULT_ALPHAS,
        n_candidates: int = 6,
        device: str = "auto",
        random_state: int = 0,
    ):
        self.bands = bands
        self.per_delay = per_delay
        self.delays_s = delays_s
        self.tr_s = tr_s
        self.alphas = alphas
        self.n_candidates = n_candidates
        self.device = device
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike, runs: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> "BandedRidgeCV":
        """Choose γ and α for every target and fit.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Features, such as the BOLD of the voxels.
        y : array_like (n_samples,) or (n_samples, n_targets)
            Targets, such as the units of a network.
        runs : array_like (n_samples,), optional
            Run of each sample; the samples of a run are neighbours. None: a single run.
        groups : array_like (n_samples,), optional
            What must be left out together in cross-validation, such as the clip shown: runs that show the same
            clip have the same targets. None: the runs.

        Returns
        -------
        BandedRidgeCV
            The fitted estimator.

        Raises
        ------
        DataError
            If samples, runs or bands do not match each other.
        ValueError
            If an array holds NaN or infinity, or has the wrong number of dimensions (scikit-learn's check).
        """
        checked: tuple[NDArray[Any], NDArray[Any]] = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=[np.float32, np.float64], ensure_min_samples=2
        )
        features, targets = checked
        kernels, runs_checked = self._fit_kernels(features, runs)
        self._one_target = targets.ndim == 1
        targets = targets.astype(kernels.dtype, copy=False).reshape(len(features), -1)
        held_together = runs_checked if groups is None else np.asarray(groups)
        if held_together.shape != (len(features),):
            raise DataError(
                f"groups must label every sample: expected ({len(features)},), received {held_together.shape}."
            )
        folds = leave_run_out(held_together, gap=max(self.delays_))
        if min(len(train) for train, _ in folds) < 1:
            raise DataError(
                f"{len(features)} samples are too few for delays of {max(self.delays_)} samples in one run."
            )
        candidates = draw_candidates(len(kernels), self.n_candidates, np.random.default_rng(self.random_state))
        solution = solve_himalaya(
            kernels,
            targets,
            candidates,
            np.asarray(self.alphas, dtype=np.float64),
            folds,
            resolve_device(self.device),
        )
        # The weights in use are those of kernels with unit mean diagonal.
        self.band_weights_ = solution.band_weights
        self.dual_coef_, self.intercept_ = solution.dual_coef, solution.intercept
        self.alphas_, self.cv_scores_ = solution.alphas, solution.cv_scores
        return self

    def _fit_kernels(self, X: NDArray[np.floating], runs: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any]]:
        runs_checked = self._check_runs(X, runs)
        if self.bands is not None and np.shape(self.bands) != (X.shape[1],):
            raise DataError(
                f"bands must label every feature: expected {X.shape[1]} labels, received shape {np.shape(self.bands)}."
            )
        if not len(self.alphas) or not np.all(np.isfinite(self.alphas)) or min(self.alphas) <= 0:
            raise ConfigError(f"alphas must be one or more positive numbers, received {list(self.alphas)}.")
        if self.n_candidates < 1:
            raise ConfigError(f"n_candidates must be 1 or more, received {self.n_candidates}.")
        self.delays_ = delays_in_samples(self.delays_s, self.tr_s)
        self.band_names_ = band_names(self.bands, X.shape[1], self.delays_, per_delay=self.per_delay)
        self._columns = voxel_bands(self.bands, X.shape[1])[1]
        self._train_X, self._train_runs = X, runs_checked
        kernels = self._kernels(X, runs_checked)
        scale = np.einsum("bii->b", kernels) / len(X)
        # A band of nothing but zeros keeps its kernel of zeros.
        self.kernel_scale_ = np.where(scale > 0, scale, 1.0).astype(kernels.dtype)
        return kernels / self.kernel_scale_[:, None, None], runs_checked

    def _kernels(self, X: NDArray[np.floating], runs: NDArray[Any]) -> NDArray[np.floating]:
        return band_kernels(
            X, runs, self._train_X, self._train_runs, self._columns, self.delays_, per_delay=self.per_delay
        )

    @staticmethod
    def _check_runs(X: NDArray[np.floating], runs: ArrayLike | None) -> NDArray[Any]:
        runs_checked = np.zeros(len(X), dtype=np.int64) if runs is None else np.asarray(runs)
        if runs_checked.shape != (len(X),):
            raise DataError(
                f"runs must name the run of every sample: expected ({len(X)},), received {runs_checked.shape}."
            )
        n_changes = int(np.sum(runs_checked[1:] != runs_checked[:-1]))
        if n_changes + 1 != len(np.unique(runs_checked)):
            raise DataError("The samples of a run must be neighbours; sort the samples by run.")
        return runs_checked

    def _band_predictions(self, X: ArrayLike, runs: ArrayLike | None) -> Iterator[NDArray[np.floating]]:
        """Yield each band's part of the prediction, (n_samples, n_targets), without the intercept."""
        check_is_fitted(self, "dual_coef_")
        features: NDArray[Any] = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        kernels = self._kernels(features.astype(self._train_X.dtype, copy=False), self._check_runs(features, runs))
        for kernel, scale, weights in zip(kernels, self.kernel_scale_, self.band_weights_, strict=True):
            yield (kernel / scale) @ (self.dual_coef_ * weights)

    def predict(self, X: ArrayLike, runs: ArrayLike | None = None) -> NDArray[np.floating]:
        """Predict the targets.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Features.
        runs : array_like (n_samples,), optional
            Run of each sample, as in :meth:`fit`.

        Returns
        -------
        ndarray (n_samples,) or (n_samples, n_targets)
            Predictions, of the shape of the ``y`` that was fitted.
        """
        total: Any = None
        for part in self._band_predictions(X, runs):
            total = part if total is None else total + part
        total = total + self.intercept_
        return total[:, 0] if self._one_target else total

    def split_predict(self, X: ArrayLike, runs: ArrayLike | None = None) -> NDArray[np.floating]:
        """Predict the targets from each band alone; the parts and the intercept sum to :meth:`predict`.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Features.
        runs : array_like (n_samples,), optional
            Run of each sample.

        Returns
        -------
        ndarray (n_bands, n_samples, n_targets)
            Part of each band.
        """
        return np.stack(list(self._band_predictions(X, runs)))

    def score(self, X: ArrayLike, y: ArrayLike, runs: ArrayLike | None = None) -> float:
        """Give the mean R² over targets.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Features.
        y : array_like (n_samples,) or (n_samples, n_targets)
            True targets.
        runs : array_like (n_samples,), optional
            Run of each sample.

        Returns
        -------
        float
            Mean R².
        """
        true: NDArray[Any] = check_array(y, ensure_2d=False)
        predicted = self.predict(X, runs)
        return float(np.mean(r2_score(true.reshape(len(true), -1), predicted.reshape(len(true), -1))))

    def feature_contributions(
        self, X: ArrayLike, Y: ArrayLike, runs: ArrayLike | None = None, chunk: int = 4096
    ) -> NDArray[np.float64]:
        r"""Split the covariance between truth and prediction among the features.

        Feature v alone predicts :math:`\hat y^{(v)}`, and its contribution is the mean over targets of
        :math:`\sum_t y_t \hat y^{(v)}_t / \sum_t y_t^2`, y centred. On data held out of the fit, features that
        carry what generalises are positive, and noise is zero on average. With
        :math:`M_b = Y A_b^\top` (time of test by time of training) this is :math:`\sum_d x_v(t+d)^\top M_b\, x_v(s+d)`:
        the weights of single features are never formed.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Features, best of held-out data.
        Y : array_like (n_samples, n_targets)
            True targets.
        runs : array_like (n_samples,), optional
            Run of each sample.
        chunk : int
            Features at a time.

        Returns
        -------
        ndarray of float64 (n_features,)
            Contributions; their sum is the mean over targets of Σ y ŷ / Σ y².
        """
        check_is_fitted(self, "dual_coef_")
        features: NDArray[Any] = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        runs_checked = self._check_runs(features, runs)
        true: NDArray[Any] = check_array(Y, ensure_2d=False, dtype=self.dual_coef_.dtype)
        true = true[:, None] if true.ndim == 1 else true
        if true.shape != (len(features), self.dual_coef_.shape[1]):
            raise DataError(
                f"The truth must be {(len(features), self.dual_coef_.shape[1])}, as expected from X and from the fit, "
                f"received {true.shape}."
            )
        centred = true - true.mean(axis=0)
        power = np.sum(centred**2, axis=0)
        scaled = np.divide(centred, power, out=np.zeros_like(centred), where=power > 0) / true.shape[1]
        contributions = np.zeros(features.shape[1])
        n_per_band = len(self.delays_) if self.per_delay else 1
        for number, columns in enumerate(self._columns):
            for d, delay in enumerate(self.delays_):
                if d == 0 or self.per_delay:
                    band = number * n_per_band + (d if self.per_delay else 0)
                    whole = (scaled * self.band_weights_[band]) @ self.dual_coef_.T / self.kernel_scale_[band]
                rows, row_scans = delayed_rows(runs_checked, delay)
                cols, col_scans = delayed_rows(self._train_runs, delay)
                shared = whole[np.ix_(rows, cols)]  # (n_samples, n_train)
                for begin in range(0, len(columns), chunk):
                    part = columns[begin : begin + chunk]
                    right = shared @ self._train_X[np.ix_(col_scans, part)]
                    contributions[part] += np.sum(features[np.ix_(row_scans, part)] * right, axis=0)
        return contributions
