"""Encode: predict every voxel from the features of the stimulus, the reverse of decoding, with the same ridge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainpred.decoding.splits import CleanRun, Split
from brainpred.decoding.stacks import StackedRuns
from brainpred.errors import DataError
from brainpred.features.source import FeatureSource
from brainpred.numerics.autocorrelation import decorrelation_lengths, resampling_block_length
from brainpred.numerics.bootstrap import BlockBootstrap, fisher_mean
from brainpred.numerics.ceiling import RepeatMoments, mean_ceiling, pooled_reliability, repeat_moments
from brainpred.numerics.resampling import block_permutations, false_discovery_rates, permuted_p
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.scores import explained_parts, pearson_correlation, r2_score
from brainpred.numerics.timing import centre_runs
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.recording import Run

__all__ = ["EncodingResult", "encode_voxels", "encoding_table", "voxel_table"]

SIGNIFICANT_Q = 0.05
VOXELS_AT_ONCE = 4096


@dataclass(frozen=True)
class EncodingResult:
    """Hold how well every voxel is predicted from the features, on held-out scans.

    Attributes
    ----------
    bands : tuple of str
        Layers of features, each a band.
    r, r2 : ndarray of float32 (n_voxels,)
        Correlation over time and R², of scans and predictions that are centred within each run.
    reliability, ceiling : ndarray of float32 (n_voxels,)
        Part of the variance of averaged scans that is signal, and its root, the highest correlation that the voxel's
        noise allows; see :func:`brainpred.numerics.ceiling.pooled_reliability` (NaN without repeats).
    band_r2 : ndarray of float32 (n_bands, n_voxels)
        Part of each layer in R² (product measure); they sum to R².
    p, q : ndarray of float32 (n_voxels,)
        One-sided p of r from permuted blocks of time, and adjusted for the number of voxels.
    cv_r2 : ndarray of float32 (n_voxels,)
        Cross-validated R² in the training runs.
    band_weights : ndarray of float32 (n_bands, n_voxels)
        Share γ of each layer in the kernel.
    roi_low, roi_high : dict of str to float
        95 % interval of the mean r of every ROI, from blocks of time drawn again.
    n_scans, block_length, wanted_length, n_blocks : int
        Held-out scans, and the blocks that were permuted: their length, the one that was wanted, and their number.
    """

    bands: tuple[str, ...]
    r: NDArray[np.float32]
    r2: NDArray[np.float32]
    reliability: NDArray[np.float32]
    ceiling: NDArray[np.float32]
    band_r2: NDArray[np.float32]
    p: NDArray[np.float32]
    q: NDArray[np.float32]
    cv_r2: NDArray[np.float32]
    band_weights: NDArray[np.float32]
    roi_low: dict[str, float]
    roi_high: dict[str, float]
    n_scans: int
    block_length: int
    wanted_length: int
    n_blocks: int


def encode_voxels(
    splits: Sequence[Split],
    layers: Sequence[str],
    source: FeatureSource,
    rois: ArrayLike,
    make_ridge: Callable[..., BandedRidgeCV],
    *,
    n_permutations: int = 100_000,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> EncodingResult:
    r"""Predict the BOLD signal of every voxel from the features that came some seconds before.

    .. math:: \hat x_v(t) = \sum_l \sum_d w_{v,l,d} \cdot y_l(t - d)

    Each layer of features y is a band. The ridge is the one that decodes; it reads later samples, so it is given time
    backwards. Band weights are shared by the voxels of a ROI, and each voxel has its own α. The first scans of a run,
    which come before any response to it, are not scored. Repeats of a test clip are averaged.

    Parameters
    ----------
    splits : sequence of Split
        What is trained on and what is held out.
    layers : sequence of str
        Layers of features to predict from.
    source : FeatureSource
        Their units during every run.
    rois : array_like (n_voxels,)
        ROI of each voxel.
    make_ridge : callable
        Gives an unfitted ridge, told ``bands`` of the features and ``cluster`` of the voxels.
    n_permutations : int
        Permutations of blocks of time for p.
    seed : int
        Seed of the permutations and of the intervals.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    EncodingResult
        Scores of every voxel.

    Raises
    ------
    DataError
        If runs are too short.
    """
    bands = np.repeat(list(layers), [int(np.prod(source.shapes[layer])) for layer in layers])
    folds, n_voxels = [], len(np.asarray(rois))
    n_steps = n_voxels * (2 * len(splits) + 1)  # voxels are fitted and predicted once a split, and compared with chance
    with reporter.task("Encoding " + " ".join(layers), n_steps) as advance:
        for split in splits:
            ridge = make_ridge(bands=bands, cluster=np.asarray(rois))
            lengths = [source.n_scans(run.run) for run in split.train]
            X = _stacked([run.run for run in split.train], lengths, layers, source)
            ridge.fit(X, _backwards_bold(split), split.runs, split.groups, reporter=reporter)
            advance(n_voxels)
            with reporter.task("Predicting voxels", 2 * n_voxels) as on_block:
                folds.append(_predict(ridge, split, layers, source, on_block))
            advance(n_voxels)
        result = _collect(folds, np.asarray(rois), n_permutations, seed, reporter)
        advance(n_voxels)
    return result


def _stacked(runs: Sequence[Run], lengths: Sequence[int], layers: Sequence[str], source: FeatureSource) -> StackedRuns:
    """Give the units of all layers side by side, z-scored within runs, time backwards: (n_scans, n_units_in_all)."""
    ends = np.cumsum([int(np.prod(source.shapes[layer])) for layer in layers])

    def reader(run: Run, n_scans: int) -> Callable[[Any], NDArray[np.float32]]:
        def read(columns: Any) -> NDArray[np.float32]:
            first, last, _ = columns.indices(int(ends[-1]))
            parts = [
                source.of_run(layer, run, slice(max(first - begin, 0), min(last, end) - begin))[:n_scans]
                for layer, begin, end in zip(layers, [0, *ends[:-1]], ends, strict=True)
                if first < end and last > begin
            ]
            values = np.concatenate(parts, axis=1)
            spread = values.std(axis=0)
            centred = values - values.mean(axis=0)
            return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)[::-1]

        return read

    readers = [reader(run, n) for run, n in zip(runs, lengths, strict=True)]
    return StackedRuns(readers, lengths, int(ends[-1]))


def _backwards_bold(split: Split) -> StackedRuns:
    lengths = [int(np.sum(split.runs == run.run.name)) for run in split.train]

    def reader(bold: NDArray[np.float32], n_scans: int) -> Callable[[Any], NDArray[np.float32]]:
        return lambda columns: bold[:n_scans][::-1, columns]

    readers = [reader(run.bold, n) for run, n in zip(split.train, lengths, strict=True)]
    return StackedRuns(readers, lengths, split.train[0].bold.shape[1])


@dataclass(frozen=True)
class _Fold:
    true: NDArray[np.float32]
    predicted: NDArray[np.float32]
    explained: NDArray[np.float64]
    repeats: list[RepeatMoments]
    cv_r2: NDArray[np.float32]
    band_weights: NDArray[np.float64]
    band_names: tuple[str, ...]
    runs: NDArray[np.str_]


def _predict(
    ridge: BandedRidgeCV,
    split: Split,
    layers: Sequence[str],
    source: FeatureSource,
    advance: Callable[[float], None],
) -> _Fold:
    shortest = min(ridge.delays_)
    clips = [group[0].clip for group in split.repeats]
    if min(split.n_scans) - shortest < 2:
        raise DataError(f"Clips {', '.join(clips)} are too short for the shortest delay, {shortest} scans.")
    runs = np.repeat(clips, split.n_scans)
    X = _stacked([group[0].run for group in split.repeats], split.n_scans, layers, source)
    true = [_mean_bold(group, n)[shortest:] for group, n in zip(split.repeats, split.n_scans, strict=True)]
    scored = [np.arange(n) < n - shortest for n in split.n_scans]  # backwards: the first scans come last
    kept = np.concatenate(scored)
    truth = centre_runs(np.concatenate([part[::-1] for part in true]), runs[kept])
    explained = np.empty((len(ridge.band_names_), truth.shape[1]))
    predicted = np.empty_like(truth)
    prepared = ridge.prepare(X, runs)
    for voxels, block in ridge.predict_blocks(prepared):
        predicted[:, voxels] = centre_runs(block.float().cpu().numpy()[kept], runs[kept])
        advance(block.shape[1])
    for voxels, block in ridge.predict_blocks(prepared, by_band=True):
        parts = [centre_runs(part, runs[kept]) for part in block.float().cpu().numpy()[:, kept]]
        explained[:, voxels] = explained_parts(truth[:, voxels], np.stack(parts))
        advance(block.shape[2])
    repeats = [
        repeat_moments(np.stack([run.bold[shortest:n] for run in group]))
        for group, n in zip(split.repeats, split.n_scans, strict=True)
    ]
    return _Fold(
        true=truth,
        predicted=predicted,
        explained=explained,
        repeats=repeats,
        cv_r2=ridge.cv_scores_,
        band_weights=ridge.band_weights_,
        band_names=tuple(ridge.band_names_),
        runs=runs[kept],
    )


def _mean_bold(group: Sequence[CleanRun], n_scans: int) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = np.mean([run.bold[:n_scans] for run in group], axis=0)
    return mean


def _collect(
    folds: Sequence[_Fold], rois: NDArray[Any], n_permutations: int, seed: int, reporter: Reporter
) -> EncodingResult:
    true, predicted = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("true", "predicted"))
    runs, rng = np.concatenate([fold.runs for fold in folds]), np.random.default_rng(seed)
    weights = [len(fold.runs) for fold in folds]

    def average(name: str) -> NDArray[np.float32]:
        return np.average([getattr(fold, name) for fold in folds], axis=0, weights=weights).astype(np.float32)

    r = pearson_correlation(true, predicted).astype(np.float32)
    explained, power = np.sum([fold.explained for fold in folds], axis=0), np.square(true, dtype=np.float64).sum(axis=0)
    reliability = pooled_reliability(
        [clip for fold in folds for clip in fold.repeats], decorrelation_lengths(true, true, runs)
    )
    length = resampling_block_length(true, predicted, runs)
    permutations = block_permutations(runs, length.samples, n_permutations, rng)
    with reporter.task("Permuting blocks of time", len(r)) as advance:
        p = permuted_p(r, true, predicted, permutations, advance)
    with reporter.task("Drawing blocks of time", len(r)) as advance:
        low, high = _roi_intervals(true, predicted, rois, BlockBootstrap(runs, length.samples, rng), advance)
    return EncodingResult(
        bands=folds[0].band_names, r=r, r2=r2_score(true, predicted).astype(np.float32),
        reliability=reliability.reliability.astype(np.float32), ceiling=reliability.ceiling.astype(np.float32),
        band_r2=np.divide(explained, power, out=np.full_like(explained, np.nan), where=power > 0).astype(np.float32),
        p=p, q=false_discovery_rates(p).astype(np.float32), cv_r2=average("cv_r2"),
        band_weights=average("band_weights"),
        roi_low=low, roi_high=high, n_scans=len(runs), block_length=permutations.rows.shape[2],
        wanted_length=length.wanted, n_blocks=permutations.rows.shape[1],
    )  # fmt: skip


def _roi_intervals(
    true: NDArray[np.float32],
    predicted: NDArray[np.float32],
    rois: NDArray[Any],
    bootstrap: BlockBootstrap,
    advance: Callable[[float], None],
) -> tuple[dict[str, float], dict[str, float]]:
    low, high = {}, {}
    for roi in np.unique(rois):
        own = np.flatnonzero(rois == roi)
        parts = [own[first : first + VOXELS_AT_ONCE] for first in range(0, len(own), VOXELS_AT_ONCE)]
        mean = bootstrap.mean((true[:, part], predicted[:, part]) for part in parts)
        low[str(roi)], high[str(roi)] = bootstrap.interval(mean)
        advance(len(own))
    return low, high


def voxel_table(result: EncodingResult, rois: NDArray[np.str_], *, simulated: bool) -> pd.DataFrame:
    """Tabulate the scores of every voxel.

    Parameters
    ----------
    result : EncodingResult
        Scores.
    rois : ndarray of str (n_voxels,)
        ROI of each voxel.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (n_voxels rows)
        Voxel (in the order of the mask), ROI, r, p, q, R² and the part of each layer in it, reliability
        of the averaged scans, ceiling, cross-validated R².
    """
    return pd.DataFrame(
        {
            "voxel": np.arange(len(result.r)), "data": "simulated" if simulated else "measured", "roi": rois,
            "r": result.r, "p": result.p, "q": result.q, "r2": result.r2,
            **{f"r2_{band}": part for band, part in zip(result.bands, result.band_r2, strict=True)},
            "reliability": result.reliability, "ceiling": result.ceiling, "cv_r2": result.cv_r2,
        }
    )  # fmt: skip


def encoding_table(result: EncodingResult, rois: NDArray[np.str_], *, simulated: bool) -> pd.DataFrame:
    """Tabulate the scores of every ROI.

    Parameters
    ----------
    result : EncodingResult
        Scores.
    rois : ndarray of str (n_voxels,)
        ROI of each voxel.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a ROI)
        Voxels, mean r by Fisher's z with its 95 % interval, 99th percentile of r, part of voxels whose q is below
        0.05, ceiling (root of the mean reliability), mean R², and the part of each layer in it.
    """
    rows: list[dict[str, Any]] = []
    for roi in np.unique(rois):
        own = rois == roi
        r, q = result.r[own], result.q[own]
        known = np.isfinite(r)

        def mean(values: NDArray[np.floating], own: NDArray[np.bool_] = own) -> float:
            return float(np.nanmean(values[own])) if np.isfinite(values[own]).any() else float("nan")

        rows.append(
            {
                "roi": str(roi), "data": "simulated" if simulated else "measured", "n_voxels": int(own.sum()),
                "mean_r": float(fisher_mean(r)), "mean_r_low": result.roi_low[str(roi)],
                "mean_r_high": result.roi_high[str(roi)],
                "r_p99": float(np.percentile(r[known], 99)) if known.any() else np.nan,
                "significant": float(np.mean(q[known] < SIGNIFICANT_Q)) if known.any() else np.nan,
                "mean_ceiling": mean_ceiling(result.reliability[own]), "mean_r2": mean(result.r2),
                **{f"r2_{band}": mean(part) for band, part in zip(result.bands, result.band_r2, strict=True)},
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
