"""Banded ridge in primal form, for recordings too long for a kernel: sums over samples, fold by fold."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.numerics.ridge.components import Components, Moments, TargetMoments, delayed_design
from brainpred.numerics.ridge.delays import delayed_rows
from brainpred.numerics.ridge.kernels import column_chunks, read_columns
from brainpred.numerics.ridge.residuals import Fold, unscored
from brainpred.numerics.ridge.search import Audit, BandChoice, SearchSettings, one_by_one
from brainpred.numerics.ridge.shared import share_bands
from brainpred.numerics.ridge.targets import Targets, standardise
from brainpred.progress import Reporter

__all__ = ["PrimalForm", "PrimalPredictor"]

# Mixtures of targets that stand for all of them while band weights are sought.
N_MIXTURES = 512


class PrimalForm:
    """Fit and predict with weights of principal components, so that memory does not grow with the samples squared.

    Sums over samples are float64. It is exact where a group has no more voxels than it may have components, and
    elsewhere the ridge of the leading components; band weights are shared, and found on random mixtures of the
    targets if there are more than 512.

    Parameters
    ----------
    X : array, memory map or HDF5 data set (n_samples, n_features)
        Features of the training samples; read five times.
    runs : ndarray (n_samples,)
        Run of each sample.
    bands : ndarray of int64 (n_features,)
        Number of each feature's band.
    delays : sequence of int
        Delays in samples.
    per_delay : bool
        Whether every delay is a band of its own.
    n_components : int
        Components in all groups together.
    device, dtype : torch.device, torch.dtype
        Where, and in what, components are held.
    seed : int
        Seed of the axes to begin with.
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
        n_components: int,
        device: torch.device,
        dtype: torch.dtype,
        seed: int,
        reporter: Reporter,
    ):
        self.X, self.runs, self.delays, self.per_delay = X, runs, tuple(delays), per_delay
        self.bands, self.device, self.dtype, self.seed = bands, device, dtype, seed
        rng = np.random.default_rng(seed)
        with reporter.task("Components of the voxels", X.shape[0]) as advance:
            self.components = Components(X, bands, n_components, device=device, dtype=dtype, rng=rng, on_rows=advance)
        kept = ", ".join(f"{part:.0%}" for part in self.components.kept)
        reporter.say(f"Components hold these parts of the variance of each group of voxels: {kept}.")
        sizes = [part.shape[1] for part in self.components.scores]
        numbers = [
            number * len(delays) + d if per_delay else number
            for number, size in enumerate(sizes)
            for d in range(len(delays))
            for _ in range(size)
        ]
        self.feature_bands = np.array(numbers)
        self.numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
        self.n_bands = int(self.feature_bands.max()) + 1
        self._design = delayed_design(self.components.scores, runs, self.delays, np.arange(len(runs)))
        self.whole = Moments.of(self._design)
        spread = self.whole.about(self.whole.z / self.whole.n).diagonal().cpu().numpy() / self.whole.n
        total = np.bincount(self.feature_bands, weights=spread, minlength=self.n_bands)
        self.scale = np.where(total > 0, total, 1.0)

    def choose(
        self,
        targets: Targets,
        clusters: Sequence[NDArray[np.int64]],
        folds: Sequence[Fold],
        settings: SearchSettings,
        rng: np.random.Generator,
        reporter: Reporter,
    ) -> BandChoice:
        """Choose γ for every cluster, and α for every target; all alphas are scored exactly.

        Parameters
        ----------
        targets : Targets
            Targets.
        clusters : sequence of ndarray of int64
            Targets that share band weights.
        folds : sequence of (train, test) index arrays
            Cross-validation splits.
        settings : SearchSettings
            How to search.
        rng : numpy.random.Generator
            Draws the mixtures.
        reporter : Reporter
            Where progress goes.

        Returns
        -------
        BandChoice
            What was chosen.
        """
        n_samples = len(self.runs)
        left_out = [unscored(fold, n_samples) for fold in folds]
        moments = [(self._moments(rows), self._moments(fold[1])) for rows, fold in zip(left_out, folds, strict=True)]
        sought = [self.whole.less(left) for left, _ in moments]
        gammas = np.full((len(clusters), self.n_bands), 1 / self.n_bands)
        alpha = np.zeros(targets.n_targets, dtype=np.int32)
        scores = np.full(targets.n_targets, -np.inf, dtype=np.float32)
        gamma = np.zeros(targets.n_targets, dtype=np.int32)
        for number, columns in enumerate(one_by_one(clusters, reporter)):
            members = targets.only(columns)
            if self.n_bands > 1:
                gammas[number] = self._share(members, folds, left_out, moments, settings, rng, reporter)
            solvers = [
                _Solver(train, self.roots(gammas[number]), test, settings.intercept)
                for train, (_, test) in zip(sought, moments, strict=True)
            ]
            with reporter.task("Scoring targets", members.n_targets) as advance:
                for here, block in members.blocks():
                    block, _ = standardise(block, centre=settings.intercept)
                    sums = self._target_moments(block, folds, left_out)
                    best = torch.stack(
                        [
                            torch.stack([s.score(*sum_, a) for s, sum_ in zip(solvers, sums, strict=True)]).mean(dim=0)
                            for a in settings.alphas
                        ]
                    ).max(dim=0)
                    scores[columns[here]] = best.values.float().cpu().numpy()
                    alpha[columns[here]] = best.indices.cpu().numpy()
                    advance(block.shape[1])
            gamma[columns] = number
        return BandChoice(gammas, gamma, alpha, scores, Audit(0, 0.0, 0.0))

    def prepare(self, X: Any, runs: NDArray[Any]) -> Tensor:
        """Give the features of other samples, (n_others, n_components × n_delays)."""
        return delayed_design(self.components.project(X), runs, self.delays, np.arange(len(runs)))

    def predictor(
        self, targets: Targets, choice: BandChoice, alphas: Sequence[float], *, intercept: bool, held_bytes: float
    ) -> "PrimalPredictor":
        """Give what predicts from the features that :meth:`prepare` gives; nothing large is held."""
        return PrimalPredictor(self, targets, choice, alphas, intercept=intercept)

    def contributions(
        self, predictor: "PrimalPredictor", X: Any, runs: NDArray[Any], truth: Targets
    ) -> NDArray[np.float64]:
        """Split what truth and prediction share among delays and voxels: (n_delays, n_voxels)."""
        total = None
        for columns, weights, _ in predictor.weights():
            true = truth.read(truth.columns[columns])
            centred = true - true.mean(dim=0)
            power = centred.square().sum(dim=0)
            part = weights @ (centred * torch.where(power > 0, 1 / power, 0)).T / truth.n_targets
            total = part if total is None else total + part  # (n_features, n_others)
        assert total is not None
        contributions = np.zeros((len(self.delays), len(self.bands)))
        shifts = [tuple(map(torch.as_tensor, delayed_rows(runs, delay))) for delay in self.delays]
        sizes = [part.shape[1] for part in self.components.scores]
        begins = len(self.delays) * np.concatenate([[0], np.cumsum(sizes)])
        place = np.empty(len(self.bands), dtype=np.int64)
        for group in self.components.groups:
            place[group] = np.arange(len(group))
        for columns in column_chunks(len(runs), len(self.bands), self.dtype):
            values = torch.as_tensor(read_columns(X, columns) - self.components.means[columns], device=self.device)
            for number in np.unique(self.bands[columns]):
                members = np.flatnonzero(self.bands[columns] == number)
                voxels = values[:, torch.as_tensor(members, device=self.device)].to(self.dtype)
                for d, (samples, scans) in enumerate(shifts):
                    first = int(begins[number]) + d * sizes[number]
                    alone = self.components.features(
                        number, total[first : first + sizes[number]], place[columns][members]
                    )  # (n_voxels, n_others)
                    parts = (voxels[scans].T * alone[:, samples]).sum(dim=1)
                    contributions[d, np.arange(columns.start, columns.stop)[members]] = parts.double().cpu().numpy()
        return contributions

    def roots(self, gamma: NDArray[np.float64]) -> Tensor:
        """Give the square root of every feature's weight γ_b / s_b."""
        return torch.as_tensor(np.sqrt(gamma / self.scale)[self.feature_bands], device=self.device)

    def _moments(self, rows: NDArray[np.int64]) -> Moments:
        return Moments.of(self._design[torch.as_tensor(rows, device=self.device)])

    def sums(self, rows: NDArray[np.int64], block: Tensor) -> TargetMoments:
        """Sum a block of targets over some samples."""
        if len(rows) == len(self.runs):
            return TargetMoments.of(self._design, block)
        picked = torch.as_tensor(rows, device=self.device)
        return TargetMoments.of(self._design[picked], block[picked])

    def _target_moments(
        self, block: Tensor, folds: Sequence[Fold], left_out: Sequence[NDArray[np.int64]]
    ) -> list[tuple[TargetMoments, TargetMoments]]:
        """Give the sums of targets over what each fold trains on, and over what it tests."""
        whole = self.sums(np.arange(len(self.runs)), block)
        sums = []
        for rows, (_, test) in zip(left_out, folds, strict=True):
            left = self.sums(rows, block)
            tested = left if len(rows) == len(test) else self.sums(test, block)
            sums.append((whole.less(left), tested))
        return sums

    def _share(
        self,
        members: Targets,
        folds: Sequence[Fold],
        left_out: Sequence[NDArray[np.int64]],
        moments: Sequence[tuple[Moments, Moments]],
        settings: SearchSettings,
        rng: np.random.Generator,
        reporter: Reporter,
    ) -> NDArray[np.float64]:
        """Find band weights on mixtures of the targets."""
        mixtures, n_live = _mixtures(members, rng, centre=settings.intercept)
        sums = self._target_moments(mixtures, folds, left_out)
        trains = [self.whole.less(left) for left, _ in moments]

        def loss(delta: NDArray[np.float64], gradient: bool) -> tuple[float, NDArray[np.float64]]:
            log_delta = torch.as_tensor(np.log(delta), device=self.device).requires_grad_(gradient)
            weights = log_delta.exp() / torch.as_tensor(self.scale, device=self.device)
            roots = weights[torch.as_tensor(self.feature_bands, device=self.device)].sqrt()
            value, slope = 0.0, np.zeros(self.n_bands)
            for train, (_, test), (trained, tested) in zip(trains, moments, sums, strict=True):
                lost = _solve_and_lose(train, trained, test, tested, roots, intercept=settings.intercept).sum()
                part = lost / (len(folds) * test.n * n_live)
                value += float(part.detach())
                if gradient:  # fold by fold, so that what one needs is gone before the next
                    slope += torch.autograd.grad(part, log_delta, retain_graph=True)[0].cpu().numpy()
            return value, slope

        with reporter.task("Band weights", settings.n_evaluations) as advance:
            return share_bands(
                loss, self.n_bands, settings.alphas, on_evaluation=lambda value: advance(1),
                n_evaluations=settings.n_evaluations,
            ).gamma  # fmt: skip


class PrimalPredictor:
    """Predict from weights of the features, which are made anew, block after block of targets.

    Parameters
    ----------
    form : PrimalForm
        Sums over the training samples.
    targets : Targets
        Targets of the training samples.
    choice : BandChoice
        Band weights and α of each target.
    alphas : sequence of float
        Regularisation that was chosen from.
    intercept : bool
        Whether there is an intercept.
    """

    def __init__(
        self, form: PrimalForm, targets: Targets, choice: BandChoice, alphas: Sequence[float], *, intercept: bool
    ):
        self._form, self._targets, self._choice, self._alphas = form, targets, choice, alphas
        self._intercept = intercept
        self._solvers = {
            int(row): _Solver(form.whole, form.roots(choice.gammas[row]), None, intercept)
            for row in np.unique(choice.gamma)
        }

    def weights(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Fit all samples: which targets, their weights (n_features, n_columns), and intercepts (n_columns,)."""
        everything = np.arange(len(self._form.runs))
        mean = self._form.whole.z / self._form.whole.n
        for columns, block in self._targets.blocks():
            sums = self._form.sums(everything, block)
            weights = torch.empty_like(sums.zy)
            pairs = self._choice.gamma[columns].astype(np.int64) * len(self._alphas) + self._choice.alpha[columns]
            for pair in np.unique(pairs):
                here = torch.as_tensor(np.flatnonzero(pairs == pair), device=block.device)
                row, column = divmod(int(pair), len(self._alphas))
                some = TargetMoments(sums.n, sums.y[here], sums.yy[here], sums.zy[:, here])
                weights[:, here] = self._solvers[row].weights(some, self._alphas[column])
            intercepts = sums.y / sums.n - mean @ weights
            intercepts = intercepts if self._intercept else torch.zeros_like(intercepts)
            offsets = self._targets.offsets[self._targets.columns[columns]]
            intercepts = intercepts + torch.as_tensor(offsets, device=intercepts.device)
            yield columns, weights.to(self._form.dtype), intercepts.to(self._form.dtype)

    def blocks(self, prepared: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Predict other samples: which targets, and their predictions (n_others, n_columns)."""
        for columns, weights, intercepts in self.weights():
            yield columns, prepared @ weights + intercepts

    def band_blocks(self, prepared: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Predict from each band alone, without the intercept: (n_bands, n_others, n_columns)."""
        members = [
            torch.as_tensor(np.flatnonzero(self._form.feature_bands == band), device=prepared.device)
            for band in range(self._form.n_bands)
        ]
        for columns, weights, _ in self.weights():
            yield columns, torch.stack([prepared[:, some] @ weights[some] for some in members])

    def intercepts(self) -> NDArray[np.floating]:
        """Give the intercept of every target, (n_targets,)."""
        return np.concatenate([intercepts.cpu().numpy() for _, _, intercepts in self.weights()])


def _mixtures(targets: Targets, rng: np.random.Generator, *, centre: bool) -> tuple[Tensor, int]:
    """Give mixtures of the standardised targets with random signs, whose mean square is that of their sum.

    Few targets are given as they are. The number of targets that a mean must be taken over comes with them.
    """
    n_live = 0
    mixed, whole = None, []
    for _, block in targets.blocks():
        scaled, live = standardise(block, centre=centre)
        n_live += int(live.sum())
        if targets.n_targets <= N_MIXTURES:
            whole.append(scaled)
        else:
            signs = rng.choice(np.array([-1.0, 1.0]), (block.shape[1], N_MIXTURES)) / np.sqrt(N_MIXTURES)
            part = scaled @ torch.as_tensor(signs, dtype=block.dtype, device=block.device)
            mixed = part if mixed is None else mixed + part
    mixtures = torch.cat(whole, dim=1) if mixed is None else mixed
    return mixtures, max(1, n_live)


def _solve_and_lose(
    train: Moments, trained: TargetMoments, test: Moments, tested: TargetMoments, roots: Tensor, *, intercept: bool
) -> Tensor:
    """Fit with δ = roots² and give each target's squared residuals in the test samples; differentiable."""
    mean = train.z / train.n if intercept else torch.zeros_like(train.z)
    y_mean = trained.y / trained.n if intercept else torch.zeros_like(trained.y)
    system = roots[:, None] * train.about(mean) * roots
    system = system + torch.eye(len(roots), dtype=system.dtype, device=system.device)
    pull = trained.zy - trained.n * torch.outer(mean, y_mean)
    weights = roots[:, None] * torch.cholesky_solve(roots[:, None] * pull, torch.linalg.cholesky(system))
    return _lose(weights, mean, y_mean, test.about(mean), test, tested)


def _lose(weights: Tensor, mean: Tensor, y_mean: Tensor, about: Tensor, test: Moments, tested: TargetMoments) -> Tensor:
    power = tested.yy - 2 * y_mean * tested.y + tested.n * y_mean**2
    cross = tested.zy - torch.outer(test.z, y_mean) - torch.outer(mean, tested.y) + tested.n * torch.outer(mean, y_mean)
    return power - 2 * (weights * cross).sum(dim=0) + (weights * (about @ weights)).sum(dim=0)


class _Solver:
    """Solve one fold, or all samples, for any α: its system is diagonalised once."""

    def __init__(self, train: Moments, roots: Tensor, test: Moments | None, intercept: bool):
        self._train, self._test, self._intercept = train, test, intercept
        self._mean = train.z / train.n if intercept else torch.zeros_like(train.z)
        self._values, vectors = torch.linalg.eigh(roots[:, None] * train.about(self._mean) * roots)
        self._vectors = roots[:, None] * vectors
        self._about = None if test is None else test.about(self._mean)

    def weights(self, trained: TargetMoments, alpha: float) -> Tensor:
        """Give the weights of every target, (n_features, n_targets)."""
        y_mean = self._y_mean(trained)
        pull = self._vectors.T @ (trained.zy - trained.n * torch.outer(self._mean, y_mean))
        return self._vectors @ (pull / (self._values.clamp(min=0) + alpha)[:, None])

    def score(self, trained: TargetMoments, tested: TargetMoments, alpha: float) -> Tensor:
        """Give the R² of every target in the test samples; 0 where the target is constant there."""
        assert self._about is not None
        assert self._test is not None
        lost = _lose(self.weights(trained, alpha), self._mean, self._y_mean(trained), self._about, self._test, tested)
        power = tested.yy - tested.y**2 / tested.n
        varies = power > 1e-10 * tested.yy.clamp(min=1e-30)
        return torch.where(varies, 1 - lost / torch.where(varies, power, 1), 0)

    def _y_mean(self, trained: TargetMoments) -> Tensor:
        return trained.y / trained.n if self._intercept else torch.zeros_like(trained.y)
