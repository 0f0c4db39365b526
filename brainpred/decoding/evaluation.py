"""Score a decoder on scans that it was not fitted to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.result import LayerResult
from brainpred.decoding.splits import Split
from brainpred.decoding.stacks import StackedRuns
from brainpred.errors import DataError
from brainpred.features.source import FeatureSource
from brainpred.numerics.autocorrelation import decorrelation_lengths
from brainpred.numerics.ceiling import RepeatMoments, pooled_reliability, repeat_moments
from brainpred.numerics.patterns import forward_pattern_strength
from brainpred.numerics.scores import (
    EXCLUDED_S,
    explained_parts,
    identification,
    nway_identification,
    pattern_correlation,
    pattern_similarity,
    pearson_correlation,
    r2_score,
)
from brainpred.numerics.timing import centre_runs, zscore_runs
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.recording import Run

__all__ = ["evaluate_layer", "evaluation_steps", "predict_repeats", "scored_scans"]

UNITS_AT_ONCE = 8192


@dataclass(frozen=True)
class _Fold:
    """Predictions for one set of held-out scans, and what is kept of the decoder that made them (not its kernels)."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    alphas: NDArray[np.float64]
    cv_r2: NDArray[np.float32]
    regret: tuple[float, float]
    form: str
    band_names: tuple[str, ...]
    band_weights: NDArray[np.float64]
    true: NDArray[np.float32]
    zscored: NDArray[np.float32]
    decoded: NDArray[np.float32]
    runs: NDArray[np.str_]
    repeats: Sequence[RepeatMoments]
    tr_s: float
    delays: tuple[int, ...]
    explained: NDArray[np.float64]
    lag_contributions: NDArray[np.float64]
    pattern: NDArray[np.float64]
    train_true: NDArray[np.float32]
    train_decoded: NDArray[np.float32]
    train_runs: NDArray[np.str_]


def _predict_fold(decoder: BrainDecoder, split: Split, layer: str, source: FeatureSource, reporter: Reporter) -> _Fold:
    """Predict what is held out, and split it among bands, delays and voxels, each of which goes through all units."""
    n_units = len(decoder.mean_)
    with reporter.task(f"Predicting {layer}", 4 * n_units) as advance:
        return _predict(decoder, split, layer, source, advance)


def _predict(
    decoder: BrainDecoder, split: Split, layer: str, source: FeatureSource, advance: Callable[[float], None]
) -> _Fold:
    n_scored = scored_scans(decoder, split)
    n_tests, n_held_out = len(split.repeats), sum(n_scored[: len(split.repeats)])
    true = [source.of_run(layer, group[0].run)[:n] for group, n in zip(split.predicted, n_scored, strict=True)]
    zscored, repeats = predict_repeats(decoder, split, n_scored, advance)
    labels = [np.repeat(group[0].clip, n) for group, n in zip(split.predicted, n_scored, strict=True)]
    nothing = np.empty((0, true[0].shape[1]), dtype=np.float32)
    held_out = _HeldOut(decoder, split, layer, source, n_scored[:n_tests])
    ridge = decoder.ridge_
    explained = held_out.explained(advance)
    lag_contributions = held_out.contributions()
    advance(len(decoder.mean_))
    pattern = held_out.pattern(zscored[:n_held_out])
    advance(len(decoder.mean_))
    return _Fold(
        mean=decoder.mean_,
        std=decoder.std_,
        alphas=ridge.alphas_,
        cv_r2=ridge.cv_scores_,
        regret=(ridge.audit_.mean_regret, ridge.audit_.p99_regret),
        form=ridge.plan_.form,
        band_names=tuple(ridge.band_names_),
        band_weights=ridge.band_weights_.mean(axis=1),
        true=np.concatenate(true[:n_tests]),
        zscored=zscored[:n_held_out],
        decoded=decoder.restore(zscored[:n_held_out]),
        runs=np.concatenate(labels[:n_tests]),
        repeats=repeats,
        tr_s=decoder.tr_s,
        delays=ridge.delays_,
        explained=explained,
        lag_contributions=lag_contributions,
        pattern=pattern,
        train_true=np.concatenate([nothing, *true[n_tests:]]),
        train_decoded=decoder.restore(zscored[n_held_out:]),
        train_runs=np.concatenate([np.empty(0, dtype=labels[0].dtype), *labels[n_tests:]]),
    )


def predict_repeats(
    decoder: BrainDecoder,
    split: Split,
    n_scored: Sequence[int],
    advance: Callable[[float], None] = lambda n_units: None,
) -> tuple[NDArray[np.float32], list[RepeatMoments]]:
    """Predict everything that a split holds out, averaged over the repeats of a clip.

    The ridge is linear: the mean of the repeats' predictions is the prediction from their mean.

    Parameters
    ----------
    decoder : BrainDecoder
        Fitted to the training runs.
    split : Split
        What is held out.
    n_scored : sequence of int
        Scans that are kept of each group of ``split.predicted``.
    advance : callable
        Told of every so many units that are predicted.

    Returns
    -------
    zscored : ndarray of float32 (sum of n_scored, n_units)
        Averaged predictions, in standard deviations.
    moments : list of RepeatMoments
        Variances over the repeats of every test clip.
    """
    n_units, n_tests = len(decoder.mean_), len(split.repeats)
    zscored = np.empty((sum(n_scored), n_units), dtype=np.float32)
    of_mean, of_noise = np.empty((2, n_tests, n_units), dtype=np.float32)
    for units, block in decoder.predict_blocks(split.prepared(decoder)):
        begin, first = 0, 0
        for number, (group, n, n_kept) in enumerate(zip(split.predicted, split.n_predicted, n_scored, strict=True)):
            repeats = block[begin : begin + n * len(group)].reshape(len(group), n, -1)[:, :n_kept]
            zscored[first : first + n_kept, units] = repeats.mean(axis=0)
            if number < n_tests:
                moments = repeat_moments(repeats)
                of_mean[number, units] = moments.of_mean
                of_noise[number, units] = moments.of_noise
            begin, first = begin + n * len(group), first + n_kept
        advance(block.shape[1])
    return zscored, [
        RepeatMoments(len(group), n, of_mean[number], of_noise[number])
        for number, (group, n) in enumerate(zip(split.repeats, n_scored[:n_tests], strict=True))
    ]


def scored_scans(decoder: BrainDecoder, split: Split) -> list[int]:
    """Count the scans that are scored: the last ones of a run, whose response comes after its end, tell nothing."""
    n_scored = [n_scans - min(decoder.ridge_.delays_) for n_scans in split.n_predicted]
    for group, n_scans, n in zip(split.predicted, split.n_predicted, n_scored, strict=True):
        if n < 2:
            raise DataError(f"Run {group[0].run.name} has {n_scans} scans, too few for the shortest delay.")
    if split.sample:
        n_scored[-1] = min(n_scored[-1], split.n_kept_of_sample)
    return n_scored


class _HeldOut:
    """Split what a decoder predicts of the test runs, from the mean of repeats, among bands, delays and voxels."""

    def __init__(self, decoder: BrainDecoder, split: Split, layer: str, source: FeatureSource, n_scored: Sequence[int]):
        self._ridge, self._split = decoder, split
        self._clips = np.repeat([group[0].clip for group in split.repeats], split.n_scans)
        self._bold = np.concatenate(
            [
                np.mean([test.bold[:n] for test in group], axis=0)
                for group, n in zip(split.repeats, split.n_scans, strict=True)
            ]
        )

        # BOLD goes on to the end, for the delays; the truth of scans that are not scored is put at its mean, 0.
        def reader(run: Run, n_kept: int, n_scans: int) -> Callable[[Any], NDArray[np.float32]]:
            def read(units: Any) -> NDArray[np.float32]:
                zscored = zscore_runs(source.of_run(layer, run, units)[:n_kept], np.zeros(n_kept))[0]
                return np.pad(zscored, ((0, n_scans - n_kept), (0, 0)))

            return read

        readers = [
            reader(group[0].run, n_kept, n)
            for group, n_kept, n in zip(split.repeats, n_scored, split.n_scans, strict=True)
        ]
        self._truth = StackedRuns(readers, split.n_scans, int(np.prod(source.shapes[layer])))
        ends = np.cumsum(split.n_scans)
        self._scored = np.concatenate(
            [np.arange(end - n, end - n + kept) for end, n, kept in zip(ends, split.n_scans, n_scored, strict=True)]
        )

    def explained(self, advance: Callable[[float], None]) -> NDArray[np.float64]:
        """Give the part of each band in the sum of squares that is explained, (n_bands, n_units)."""
        ridge = self._ridge.ridge_
        parts_explained = np.empty((len(ridge.band_names_), self._truth.shape[1]))
        numbers, clips = np.arange(self._truth.shape[1]), self._clips[self._scored]
        for units, parts in self._ridge.predict_blocks(self._split.prepared_mean(self._ridge), by_band=True):
            true = self._truth[slice(None), numbers[units]][self._scored]
            centred = [centre_runs(part, clips) for part in parts[:, self._scored]]
            parts_explained[:, units] = explained_parts(true, np.stack(centred))
            advance(true.shape[1])
        return parts_explained

    def contributions(self) -> NDArray[np.float64]:
        """Give the contribution of each voxel at each delay, (n_delays, n_voxels)."""
        return self._ridge.ridge_.feature_contributions(self._bold, self._truth, self._clips, by_delay=True)

    def pattern(self, zscored: NDArray[np.float32]) -> NDArray[np.float64]:
        """Give the strength of each voxel's forward pattern, (n_voxels,)."""
        delays = self._ridge.ridge_.delays_
        return forward_pattern_strength(self._bold, zscored, self._clips, self._scored, delays)


def evaluation_steps(n_units: int, n_splits: int) -> int:
    """Count what a bar counts while a layer is evaluated: units are fitted and predicted once a split, and scored."""
    return n_units * (2 * n_splits + 1)


def evaluate_layer(
    splits: Sequence[Split],
    layer: str,
    source: FeatureSource,
    make_decoder: Callable[[], BrainDecoder],
    reporter: Reporter = SILENT,
    advance: Callable[[float], None] = lambda steps: None,
) -> LayerResult:
    """Fit decoders of one layer and score them on held-out scans.

    With test runs, one decoder is fitted to the training runs, and the repeats of a test clip are averaged.
    Without, every run is predicted by a decoder fitted to all others. Regularisation is chosen inside the
    training runs each time. Runs that show some of the same (:mod:`brainpred.recordings.content`) are always left out
    together. Scans at the end of a run, too late for any response within it, are not scored.

    Parameters
    ----------
    splits : sequence of Split
        What is trained on and what is held out; kernels of a single split are kept for the next layer.
    layer : str
        Layer to decode.
    source : FeatureSource
        Its units during every run.
    make_decoder : callable
        Gives an unfitted decoder.
    reporter : Reporter
        Where progress goes.
    advance : callable
        Told of how many units are fitted, predicted and scored: in all :func:`evaluation_steps`.

    Returns
    -------
    LayerResult
        Predictions and scores.
    """
    folds = []
    n_units = int(np.prod(source.shapes[layer]))
    for split in splits:
        units = split.units(layer, source)
        decoder = make_decoder().fit(split.X, units, split.runs, split.groups, like=split.fitted, reporter=reporter)
        advance(n_units)
        folds.append(_predict_fold(decoder, split, layer, source, reporter))
        advance(n_units)
        split.fitted = decoder if len(splits) == 1 else None
        if len(splits) > 1:
            split.forget()
    with reporter.task(f"Scoring {layer}", n_units) as on_block:
        result = _collect(layer, source.shapes[layer], folds, on_block)
    advance(n_units)
    return result


def _collect(
    layer: str, shape: tuple[int, ...], folds: Sequence[_Fold], on_block: Callable[[float], None]
) -> LayerResult:
    def join(name: str) -> NDArray[Any]:
        parts = [getattr(fold, name) for fold in folds]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]  # a layer is large: no copy without need

    true, zscored, runs, decoded = (join(name) for name in ("true", "zscored", "runs", "decoded"))
    zscored_true = np.empty_like(true)
    r, r2 = np.empty(true.shape[1], dtype=np.float32), np.empty(true.shape[1], dtype=np.float32)
    for first in range(0, true.shape[1], UNITS_AT_ONCE):
        units = slice(first, first + UNITS_AT_ONCE)
        zscored_true[:, units] = zscore_runs(true[:, units], runs)[0]
        r[units] = pearson_correlation(zscored_true[:, units], zscored[:, units])
        # z-scoring took the level of a run from the truth: a prediction's own is no error.
        r2[units] = r2_score(zscored_true[:, units], centre_runs(zscored[:, units], runs))
        on_block(len(r[units]))
    power = np.square(zscored_true, dtype=np.float64).sum(axis=0)
    reliability = pooled_reliability(
        [clip for fold in folds for clip in fold.repeats], decorrelation_lengths(zscored, zscored, runs)
    )
    chosen, shown, n_patterns = nway_identification(true, decoded)
    similarity = pattern_similarity(zscored_true, zscored)
    excluded = int(np.ceil(EXCLUDED_S / folds[0].tr_s))
    n_scans = [len(fold.runs) for fold in folds]
    explained = np.sum([fold.explained for fold in folds], axis=0)

    def average(values: Sequence[Any]) -> NDArray[np.float32]:
        return np.mean(values, axis=0).astype(np.float32)

    return LayerResult(
        layer=layer,
        shape=tuple(shape),
        runs=runs,
        true=true,
        decoded=decoded,
        mean=average([fold.mean for fold in folds]),
        std=average([fold.std for fold in folds]),
        folds=np.repeat(np.arange(len(folds)), n_scans),
        fold_mean=np.stack([fold.mean for fold in folds]),
        fold_std=np.stack([fold.std for fold in folds]),
        r=r,
        r2=r2,
        reliability=reliability.reliability.astype(np.float32),
        ceiling=reliability.ceiling.astype(np.float32),
        alphas=average([fold.alphas for fold in folds]),
        cv_r2=average([fold.cv_r2 for fold in folds]),
        regret=average([fold.regret for fold in folds]),
        form="primal" if any(fold.form == "primal" for fold in folds) else "dual",
        pattern_r=pattern_correlation(zscored_true, zscored).astype(np.float32),
        identification=identification(similarity, excluded, 2, runs).astype(np.float32),
        identification_10way=identification(similarity, excluded, 10, runs).astype(np.float32),
        similarity=similarity.astype(np.float32),
        excluded=excluded,
        nway_chosen=chosen,
        nway_shown=shown,
        n_patterns=n_patterns,
        band_names=folds[0].band_names,
        band_weights=average([fold.band_weights for fold in folds]),
        band_r2=np.divide(explained, power, out=np.full_like(explained, np.nan), where=power > 0).astype(np.float32),
        delays=np.array(folds[0].delays, dtype=np.int64),
        lag_contributions=average([fold.lag_contributions for fold in folds]),
        pattern=average([fold.pattern for fold in folds]),
        train_runs=join("train_runs"),
        train_true=join("train_true"),
        train_decoded=join("train_decoded"),
    )
