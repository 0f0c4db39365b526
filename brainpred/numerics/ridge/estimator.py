"""Banded ridge regression with delays, as a scikit-learn estimator."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from brainpred.devices import memory_budget_bytes, resolve_device, resolve_precision
from brainpred.numerics.ridge.delays import delays_in_samples
from brainpred.numerics.ridge.folds import make_folds
from brainpred.numerics.ridge.forms import Voxels, form_again, make_form, prepared_plan
from brainpred.numerics.ridge.inputs import (
    SEARCHES,
    check_features,
    check_groups,
    check_pair,
    check_runs,
    check_settings,
    check_truth,
    cluster_columns,
)
from brainpred.numerics.ridge.kernels import BandKernels, band_names, voxel_bands
from brainpred.numerics.ridge.plan import plan_ridge
from brainpred.numerics.ridge.search import BandChoice, SearchSettings
from brainpred.numerics.ridge.targets import Targets, read_targets
from brainpred.numerics.scores import product_measure, r2_score
from brainpred.progress import SILENT, Reporter

__all__ = ["DEFAULT_ALPHAS", "SEARCHES", "BandedRidgeCV"]

DEFAULT_ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 4, 10))


class BandedRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Predict many targets from bands of features, each band with its own regularisation.

    .. math::
        \min_W \; \|Y - \textstyle\sum_b X_b W_b\|^2 + \sum_b \lambda_b \|W_b\|^2

    It is solved in dual form, :math:`K = \sum_b \gamma_b K_b`, :math:`\hat Y = K (K + \alpha I)^{-1} Y`,
    with :math:`\gamma` on the simplex and :math:`(\gamma, \alpha)` chosen by leaving out one run at a time. Every
    K_b, centred, has a mean diagonal of 1 on the training samples. X_b holds the band's features at every delay:
    sample i sees the features of sample i + delay, and their training mean where that lies past its run.

    X and Y may be arrays, memory maps, HDF5 data sets, or anything that has a shape and slices; neither is copied
    whole. The estimator keeps them and reads them again to predict: leave them as they were. Weights of targets
    are never stored, but made anew from (γ, α) when they are needed.

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
    search : {"shared", "per-target", "himalaya"}
        ``"shared"``: one γ for all targets of a cluster, by following the gradient of their cross-validated loss; then
        the best α for each target. ``"per-target"``: the best of ``n_candidates`` random γ and of the alphas, for each
        target. ``"himalaya"``: the same candidates, searched by himalaya.
    cluster : array_like (n_targets,), optional
        Label of the cluster of each target, for ``search="shared"``. None: one cluster.
    n_candidates : int
        Band weights γ to try per target (even mixture first, then Dirichlet draws).
    shortlist : int or None
        Candidates (γ, α) of each target that are scored exactly; the others are ruled out by a compressed score.
        None: all are scored exactly.
    cv : None, int, scikit-learn splitter, or iterable of (train, test) index arrays
        None: every run (or group) is left out once. An int: so many folds of whole runs.
    fit_intercept : bool
        Whether targets have an intercept.
    form : {"auto", "dual", "primal"}
        ``"dual"``: kernels between samples. ``"primal"``: weights of the leading principal components of every band's
        features; band weights must be shared. ``"auto"``: dual, but primal where kernels would not fit into the memory
        budget.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    precision : {"auto", "float64", "float32", "bfloat16"}
        What targets are multiplied in while they are scored; see :func:`brainpred.devices.resolve_precision`.
        Kernels, factors and predictions are float32, or float64 if that is asked for.
    memory_budget : float or str, optional
        Memory to work in, in bytes or such as ``"8 GB"``. None: four fifths of what is free.
    random_state : int
        Seed of the candidates and of the audit.

    Attributes
    ----------
    band_names_ : list of str
        Names of the bands.
    gammas_ : ndarray of float64 (n_candidates, n_bands)
        Band weights that were tried; with ``search="shared"``, those of each cluster.
    gamma_index_ : ndarray of int32 (n_targets,)
        Row of ``gammas_`` that each target has.
    alpha_index_ : ndarray of int32 (n_targets,)
        Place of each target's α in ``alphas``.
    cv_scores_ : ndarray of float32 (n_targets,)
        Cross-validated R² of the choice, averaged over the folds.
    audit_ : Audit
        What the choice lost against scoring every candidate exactly, in targets drawn at random.
    plan_ : RidgePlan
        What the fit was to take.
    delays_ : tuple of int
        Delays in samples.

    References
    ----------
    A. O. Nunez-Elizalde, A. G. Huth, J. L. Gallant, "Voxelwise encoding models with non-spherical
    multivariate normal priors", NeuroImage 197, 2019, equation 9 (banded ridge).
    T. Dupré la Tour et al., "Feature-space selection with banded ridge regression", NeuroImage 264, 2022.

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
        search: str = "shared",
        cluster: ArrayLike | None = None,
        n_candidates: int = 40,
        shortlist: int | None = 4,
        cv: Any = None,
        fit_intercept: bool = True,
        form: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        memory_budget: float | str | None = None,
        random_state: int = 0,
    ):
        self.bands = bands
        self.per_delay = per_delay
        self.delays_s = delays_s
        self.tr_s = tr_s
        self.alphas = alphas
        self.search = search
        self.cluster = cluster
        self.n_candidates = n_candidates
        self.shortlist = shortlist
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.form = form
        self.device = device
        self.precision = precision
        self.memory_budget = memory_budget
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        runs: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        like: "BandedRidgeCV | None" = None,
        reporter: Reporter = SILENT,
    ) -> "BandedRidgeCV":
        """Choose γ and α for every target and fit.

        Parameters
        ----------
        X : array_like, memory map or HDF5 data set (n_samples, n_features)
            Features, such as the BOLD of the voxels.
        y : array_like, memory map or HDF5 data set (n_samples,) or (n_samples, n_targets)
            Targets, such as the units of a network.
        runs : array_like (n_samples,), optional
            Run of each sample; the samples of a run are neighbours. None: a single run.
        groups : array_like (n_samples,), optional
            What must be left out together in cross-validation, such as the clip shown: runs that show the same
            clip have the same targets. None: the runs.
        like : BandedRidgeCV, optional
            A ridge that was fitted on the same X and runs, with the same bands and delays: its kernels are used
            again.
        reporter : Reporter
            Where the plan, progress and the audit go.

        Returns
        -------
        BandedRidgeCV
            Itself.

        Raises
        ------
        ConfigError, MemoryBudgetError
            If a parameter cannot be used, or the memory budget cannot hold the fit.
        DataError, ValueError
            If samples, runs or bands do not match each other, or values are missing.
        """
        X, Y = check_pair(self, X, y)
        check_settings(self, X.shape[1])
        one_target = len(Y.shape) == 1
        Y = np.asarray(Y)[:, None] if one_target else Y
        n_samples, n_targets = Y.shape
        runs_checked = check_runs(n_samples, runs)
        held_together = check_groups(runs_checked, runs_checked if groups is None else groups)
        self.delays_ = delays_in_samples(self.delays_s, self.tr_s)
        self.band_names_ = band_names(self.bands, X.shape[1], self.delays_, per_delay=self.per_delay)
        clusters = cluster_columns(self.cluster, n_targets)
        folds = make_folds(self.cv, held_together, gap=max(self.delays_))
        device = resolve_device(self.device)
        held, multiplied = resolve_precision(self.precision, device)
        names, numbers = voxel_bands(self.bands, X.shape[1])
        budget = memory_budget_bytes(self.memory_budget, device)
        prepared = None if like is None else prepared_plan(self, like)
        budget += prepared.kernel_bytes if prepared and self.memory_budget is None else 0  # they are there already
        plan = plan_ridge(
            n_samples=n_samples, n_features=X.shape[1], n_targets=n_targets, n_grams=len(names),
            n_bands=len(self.band_names_), n_delays=len(self.delays_), n_folds=len(folds), form=self.form,
            n_gammas=1 if self.search == "shared" or len(self.band_names_) == 1 else self.n_candidates,
            n_alphas=len(self.alphas), n_clusters=len(clusters), search=self.search, shortlist=self.shortlist,
            device=device, dtype=held, precision=multiplied, budget_bytes=budget, prepared=prepared,
        )  # fmt: skip
        reporter.say(str(plan))
        rng = np.random.default_rng(self.random_state)
        settings = SearchSettings(
            self.search, tuple(map(float, self.alphas)), self.n_candidates, self.shortlist, multiplied,
            self.fit_intercept, plan.candidate_bytes,
        )  # fmt: skip
        voxels = Voxels(X, runs_checked, numbers, self.delays_, self.per_delay)
        if like is None:
            form = make_form(plan, voxels, device, held, self.random_state, reporter)
        else:
            form = form_again(like, voxels, device, held)
        targets = Targets(Y, device, held, block_bytes=plan.block_bytes, centre=self.fit_intercept)
        choice = form.choose(targets, clusters, folds, settings, rng, reporter)
        self.plan_, self._form, self._Y, self._one_target = plan, form, Y, one_target
        self._take(choice)
        reporter.say(str(self.audit_))
        return self

    @property
    def alphas_(self) -> NDArray[np.float64]:
        """Chosen α of each target, (n_targets,)."""
        check_is_fitted(self, "alpha_index_")
        return np.asarray(self.alphas, dtype=np.float64)[self.alpha_index_]

    @property
    def band_weights_(self) -> NDArray[np.float64]:
        """Chosen γ of each target, (n_bands, n_targets); they sum to 1."""
        check_is_fitted(self, "gamma_index_")
        return self.gammas_[self.gamma_index_].T

    def prepare(self, X: Any, runs: ArrayLike | None = None) -> BandKernels | Tensor:
        """Prepare other samples for :meth:`predict_blocks`: the costly part, which does not depend on the targets.

        Parameters
        ----------
        X : array_like, memory map or HDF5 data set (n_others, n_features)
            Features.
        runs : array_like (n_others,), optional
            Run of each sample, as in :meth:`fit`.

        Returns
        -------
        BandKernels or Tensor
            For this ridge, and for others that were fitted ``like`` it.
        """
        check_is_fitted(self, "gammas_")
        X = check_features(self, X)
        return self._form.prepare(X, check_runs(X.shape[0], runs))

    def predict_blocks(
        self, prepared: BandKernels | Tensor, *, by_band: bool = False
    ) -> Iterator[tuple[slice | NDArray[np.int64], Tensor]]:
        """Predict block after block of targets, where all predictions would be too much at once.

        Parameters
        ----------
        prepared : BandKernels or Tensor
            As :meth:`prepare`.
        by_band : bool
            Whether each band predicts alone; the parts lack the intercept.

        Yields
        ------
        columns : slice or ndarray of int64
            Which targets; a slice unless memory forbids.
        predictions : Tensor (n_others, n_columns) or (n_bands, n_others, n_columns)
            Their predictions.
        """
        check_is_fitted(self, "gammas_")
        return self._predictor().band_blocks(prepared) if by_band else self._predictor().blocks(prepared)

    def predict(self, X: Any, runs: ArrayLike | None = None) -> NDArray[np.floating]:
        """Predict the targets.

        Parameters
        ----------
        X : array_like, memory map or HDF5 data set (n_samples, n_features)
            Features.
        runs : array_like (n_samples,), optional
            Run of each sample, as in :meth:`fit`.

        Returns
        -------
        ndarray (n_samples,) or (n_samples, n_targets)
            Predictions, of the shape of the ``y`` that was fitted.
        """
        prepared = self.prepare(X, runs)
        predictions = np.empty((prepared.shape[0], self._Y.shape[1]), dtype=self._form.numpy_dtype)
        for columns, block in self.predict_blocks(prepared):
            predictions[:, columns] = block.cpu().numpy()
        return predictions[:, 0] if self._one_target else predictions

    def split_predict(self, X: Any, runs: ArrayLike | None = None) -> NDArray[np.floating]:
        """Predict the targets from each band alone; the parts and ``intercept_`` sum to :meth:`predict`.

        Parameters
        ----------
        X : array_like, memory map or HDF5 data set (n_samples, n_features)
            Features.
        runs : array_like (n_samples,), optional
            Run of each sample.

        Returns
        -------
        ndarray (n_bands, n_samples, n_targets)
            Part of each band.
        """
        prepared = self.prepare(X, runs)
        shape = (len(self.band_names_), prepared.shape[0], self._Y.shape[1])
        parts = np.empty(shape, dtype=self._form.numpy_dtype)
        for columns, block in self.predict_blocks(prepared, by_band=True):
            parts[:, :, columns] = block.cpu().numpy()
        return parts

    @property
    def intercept_(self) -> NDArray[np.floating]:
        """Intercept of each target, (n_targets,); computed when it is asked for."""
        check_is_fitted(self, "gammas_")
        return self._predictor().intercepts()

    def score(self, X: Any, y: Any, runs: ArrayLike | None = None) -> float:
        """Give the mean R² over targets.

        Parameters
        ----------
        X, y, runs
            Features, true targets and runs of samples, as in :meth:`fit`.

        Returns
        -------
        float
            Mean R², over targets that are not constant.
        """
        prepared = self.prepare(X, runs)
        true = check_truth(y, (prepared.shape[0], self._Y.shape[1]))
        numbers = np.arange(self._Y.shape[1])
        scores = [
            r2_score(read_targets(true, numbers[columns]), block.cpu().numpy())
            for columns, block in self.predict_blocks(prepared)
        ]
        return float(np.nanmean(np.concatenate(scores)))

    def split_score(self, X: Any, y: Any, runs: ArrayLike | None = None) -> NDArray[np.float64]:
        r"""Split the R² of every target among the bands, by the product measure.

        .. math:: R^2_b = \sum_t \hat y_b (2 y - \hat y) / \sum_t y^2, \qquad \sum_b R^2_b = R^2

        with y and the bands' parts centred over the samples given.

        Parameters
        ----------
        X, y, runs
            As :meth:`score`.

        Returns
        -------
        ndarray of float64 (n_bands, n_targets)
            Parts of R²; NaN where the truth is constant. They sum to the R² of the centred prediction. (Dupré la Tour
            et al., 2022, equation 18.)
        """
        prepared = self.prepare(X, runs)
        true = check_truth(y, (prepared.shape[0], self._Y.shape[1]))
        scores = np.full((len(self.band_names_), self._Y.shape[1]), np.nan)
        numbers = np.arange(self._Y.shape[1])
        for columns, parts in self.predict_blocks(prepared, by_band=True):
            scores[:, columns] = product_measure(read_targets(true, numbers[columns]), parts.cpu().numpy())
        return scores

    def feature_contributions(self, X: Any, y: Any, runs: Any = None, *, by_delay: bool = False) -> NDArray[np.float64]:
        r"""Split the covariance between truth and prediction among the features.

        Feature v alone predicts :math:`\hat y^{(v)}`, and its contribution is the mean over targets of
        :math:`\sum_t y_t \hat y^{(v)}_t / \sum_t y_t^2`, y centred. On held-out data it is positive where a feature
        carries what generalises, and zero on average in noise.

        Parameters
        ----------
        X, y, runs
            As :meth:`score`; best of held-out data.
        by_delay : bool
            Whether it is split among the delays too.

        Returns
        -------
        ndarray of float64 (n_features,) or (n_delays, n_features)
            Contributions; their sum is the mean over targets of Σ y ŷ / Σ y².
        """
        check_is_fitted(self, "gammas_")
        X = check_features(self, X)
        true = check_truth(y, (X.shape[0], self._Y.shape[1]))
        truth = Targets(true, self._form.device, self._form.dtype)
        parts = self._form.contributions(self._predictor(), X, check_runs(X.shape[0], runs), truth)
        return parts if by_delay else parts.sum(axis=0)

    def save(self, path: Path | str) -> None:
        """Write the fitted ridge, with its training data, as HDF5 (a file as large as they are)."""
        from brainpred.numerics.ridge.saving import save_ridge

        check_is_fitted(self, "gammas_")
        save_ridge(self, path)

    @classmethod
    def load(cls, path: Path | str) -> "BandedRidgeCV":
        """Read a ridge that :meth:`save` wrote; it predicts the same bits."""
        from brainpred.numerics.ridge.saving import load_ridge

        return load_ridge(path)

    def _take(self, choice: BandChoice) -> None:
        self.gammas_, self.gamma_index_, self.alpha_index_ = choice.gammas, choice.gamma, choice.alpha
        self.cv_scores_, self.audit_ = choice.cv_scores, choice.audit

    def _targets(self) -> Targets:
        form = self._form
        return Targets(self._Y, form.device, form.dtype, block_bytes=self.plan_.block_bytes, centre=self.fit_intercept)

    def _predictor(self) -> Any:
        choice = BandChoice(self.gammas_, self.gamma_index_, self.alpha_index_, self.cv_scores_, self.audit_)
        held, alphas = memory_budget_bytes(self.memory_budget, self._form.device) / 4, tuple(map(float, self.alphas))
        return self._form.predictor(self._targets(), choice, alphas, intercept=self.fit_intercept, held_bytes=held)
