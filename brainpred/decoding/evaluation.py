"""Score a decoder on scans that it was not fitted to: the test runs, or every run left out in turn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.result import LayerResult
from brainpred.errors import DataError
from brainpred.features.source import FeatureSource
from brainpred.numerics.ceiling import explainable_variance, reliability_of_mean
from brainpred.numerics.scores import (
    identification_accuracy,
    nway_identification,
    pattern_correlation,
    pearson_correlation,
    r2_score,
)
from brainpred.numerics.timing import zscore_runs
from brainpred.recordings.recording import Recording, Run, clean_run

__all__ = ["CleanRun", "clean_recording", "evaluate_layer", "n_fits", "voxel_explainable_variance"]


@dataclass(frozen=True, eq=False)
class CleanRun:
    """Hold one run, cleaned.

    Attributes
    ----------
    run : Run
        The run as measured.
    bold : ndarray of float32 (n_scans, n_voxels)
        BOLD without trend, standardised.
    """

    run: Run
    bold: NDArray[np.float32]

    @property
    def clip(self) -> str:
        """Name of what was shown: runs that share it have the same features."""
        return self.run.stimulus or self.run.name


def clean_recording(recording: Recording) -> Iterator[CleanRun]:
    """Clean every run, one at a time; see :func:`brainpred.recordings.recording.clean_run`."""
    for run in recording.runs:
        yield CleanRun(run, clean_run(run.bold, recording.tr_s))


def _repeats(tests: Sequence[CleanRun]) -> list[list[CleanRun]]:
    """Group test runs that show the same clip."""
    groups: dict[str, list[CleanRun]] = {}
    for test in tests:
        groups.setdefault(test.clip, []).append(test)
    return list(groups.values())


def n_fits(runs: Sequence[CleanRun]) -> int:
    """Count the decoders that :func:`evaluate_layer` fits: one with test runs, one a clip without."""
    return 1 if any(run.run.role == "test" for run in runs) else len({run.clip for run in runs})


def voxel_explainable_variance(runs: Sequence[CleanRun]) -> NDArray[np.floating] | None:
    """Estimate every voxel's explainable variance from repeated test clips.

    Parameters
    ----------
    runs : sequence of CleanRun
        The recording.

    Returns
    -------
    ndarray (n_voxels,) or None
        Mean over clips that were repeated; None if there is none.
    """
    repeated = [group for group in _repeats([run for run in runs if run.run.role == "test"]) if len(group) > 1]
    if not repeated:
        return None
    variances = []
    for group in repeated:
        n_scans = min(len(test.bold) for test in group)
        variances.append(explainable_variance(np.stack([test.bold[:n_scans] for test in group])))
    return np.nan_to_num(np.mean(variances, axis=0))


def _stack(
    runs: Sequence[CleanRun], layer: str, source: FeatureSource
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.str_]]:
    """Join runs: BOLD (n_scans, n_voxels), features (n_scans, n_units), run of each scan."""
    features = [source.of_run(layer, run.run) for run in runs]
    bold = [run.bold[: len(values)] for run, values in zip(runs, features, strict=True)]
    names = np.repeat([run.run.name for run in runs], [len(values) for values in features])
    return np.concatenate(bold), np.concatenate(features), names


@dataclass(frozen=True)
class _Fold:
    """Predictions for one set of held-out scans, with the decoder that made them."""

    decoder: BrainDecoder
    true: NDArray[np.float32]
    zscored: NDArray[np.float32]
    runs: NDArray[np.str_]
    ceiling: NDArray[np.floating]
    contributions: NDArray[np.float64]


def _predict_fold(decoder: BrainDecoder, tests: Sequence[CleanRun], layer: str, source: FeatureSource) -> _Fold:
    parts, truths, names, ceilings, bolds, padded, labels_in_full = [], [], [], [], [], [], []
    for group in _repeats(tests):
        features = source.of_run(layer, group[0].run)
        n_scans = min(len(features), *(len(test.bold) for test in group))
        # The last scans of a run, whose BOLD response would come after its end, tell nothing and are not scored.
        n_scored = n_scans - min(decoder.ridge_.delays_)
        if n_scored < 2:
            raise DataError(f"Run {group[0].run.name} has {n_scans} scans, too few for the shortest delay.")
        bold = np.stack([test.bold[:n_scans] for test in group])
        each = decoder.predict(bold.reshape(-1, bold.shape[2]), np.repeat(np.arange(len(group)), n_scans))
        repeats = each.reshape(len(group), n_scans, -1)[:, :n_scored]
        # The ridge is linear: the mean of the repeats' predictions is the prediction from their mean.
        parts.append(repeats.mean(axis=0))
        truths.append(features[:n_scored])
        names += [group[0].clip] * n_scored
        # BOLD goes on to the end, for the delays; the truth of scans that are not scored is put at its mean, 0.
        zscored = zscore_runs(features[:n_scored], np.zeros(n_scored))[0]
        padded.append(np.pad(zscored, ((0, n_scans - n_scored), (0, 0))))
        bolds.append(bold.mean(axis=0))
        labels_in_full += [group[0].clip] * n_scans
        if len(group) > 1:
            ceilings.append(np.sqrt(reliability_of_mean(explainable_variance(repeats), len(group))))
    true, labels = np.concatenate(truths), np.array(names)
    ceiling = np.mean(ceilings, axis=0) if ceilings else np.full(true.shape[1], np.nan)
    contributions = decoder.ridge_.feature_contributions(np.concatenate(bolds), np.concatenate(padded), labels_in_full)
    return _Fold(decoder, true, np.concatenate(parts), labels, ceiling, contributions)


def evaluate_layer(
    runs: Sequence[CleanRun],
    layer: str,
    source: FeatureSource,
    make_decoder: Callable[[], BrainDecoder],
    on_fit: Callable[[], None] = lambda: None,
) -> LayerResult:
    """Fit decoders of one layer and score them on held-out scans.

    With test runs, one decoder is fitted to the training runs, and the repeats of a test clip are averaged.
    Without, every run is predicted by a decoder fitted to all others. Regularisation is chosen inside the
    training runs each time. Runs that show the same clip have the same features: they are always left out
    together. Scans at the end of a run, too late for any response within it, are not scored.

    Parameters
    ----------
    runs : sequence of CleanRun
        The recording.
    layer : str
        Layer to decode.
    source : FeatureSource
        Its units during every run.
    make_decoder : callable
        Gives an unfitted decoder.
    on_fit : callable
        Called after every fit.

    Returns
    -------
    LayerResult
        Predictions and scores.

    Raises
    ------
    DataError
        If fewer than two clips are left for training, or a clip is shown in training and in test runs.
    """
    tests = [run for run in runs if run.run.role == "test"]
    trains = [run for run in runs if run.run.role == "train"]
    shared = {run.clip for run in tests} & {run.clip for run in trains}
    if shared:
        raise DataError(
            f"Clips are shown in training and in test runs: {', '.join(sorted(shared))}. What is tested must not be "
            "trained on; give those runs one role."
        )
    splits = [(trains, tests)] if tests else [
        ([run for run in trains if run.clip != clip], [run for run in trains if run.clip == clip])
        for clip in dict.fromkeys(run.clip for run in trains)
    ]  # fmt: skip
    folds = []
    for train, test in splits:
        n_clips = len({run.clip for run in train})
        if n_clips < 2:
            raise DataError(
                "Decoding needs at least 2 training runs, of different clips, to choose its regularisation, "
                f"found {n_clips}."
            )
        bold, features, names = _stack(train, layer, source)
        clips = np.array([run.clip for run in train])
        groups = np.repeat(clips, [int(np.sum(names == run.run.name)) for run in train])
        decoder = make_decoder().fit(bold, features, names, groups)
        folds.append(_predict_fold(decoder, test, layer, source))
        on_fit()
    return _collect(layer, source.shapes[layer], folds)


def _collect(layer: str, shape: tuple[int, ...], folds: Sequence[_Fold]) -> LayerResult:
    true = np.concatenate([fold.true for fold in folds])
    zscored = np.concatenate([fold.zscored for fold in folds])
    runs = np.concatenate([fold.runs for fold in folds])
    decoded = np.concatenate([fold.decoder.restore(fold.zscored) for fold in folds])
    zscored_true = zscore_runs(true, runs)[0]
    correct, _, n_patterns = nway_identification(true, decoded)
    ridges = [fold.decoder.ridge_ for fold in folds]
    shares = np.mean([np.mean(ridge.band_weights_ * ridge.alphas_, axis=1) for ridge in ridges], axis=0)

    def average(values: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
        return np.mean(values, axis=0).astype(np.float32)

    return LayerResult(
        layer=layer,
        shape=tuple(shape),
        runs=runs,
        true=true,
        decoded=decoded,
        mean=average([fold.decoder.mean_ for fold in folds]),
        std=average([fold.decoder.std_ for fold in folds]),
        r=pearson_correlation(zscored_true, zscored).astype(np.float32),
        r2=r2_score(zscored_true, zscored).astype(np.float32),
        ceiling=average([fold.ceiling for fold in folds]),
        alphas=average([ridge.alphas_ for ridge in ridges]),
        cv_r2=average([ridge.cv_scores_ for ridge in ridges]),
        pattern_r=pattern_correlation(zscored_true, zscored).astype(np.float32),
        identification=identification_accuracy(zscored_true, zscored).astype(np.float32),
        nway_correct=correct,
        n_patterns=n_patterns,
        band_names=tuple(ridges[0].band_names_),
        band_weights=shares.astype(np.float32),
        contributions=average([fold.contributions for fold in folds]),
    )
