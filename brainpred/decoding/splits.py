"""Clean runs, and tell those that a decoder is fitted to from those held out: the test runs, or all runs in turn."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.stacks import StackedRuns
from brainpred.errors import DataError
from brainpred.features.source import FeatureSource
from brainpred.numerics.ceiling import explainable_variance
from brainpred.numerics.ridge.kernels import average_prepared
from brainpred.recordings.cleaning import Cleaning, read_clean_run
from brainpred.recordings.content import content_groups
from brainpred.recordings.recording import Recording, Run

__all__ = ["CleanRun", "Split", "check_groups", "clean_recording", "split_runs", "voxel_explainable_variance"]

# What is kept of the training runs to show beside the test runs: the beginning of the first.
TRAINING_SAMPLE_S = 120.0
MIN_TRAINING_GROUPS = 2  # one to fit to and one to choose the regularisation by
NAMED_RUNS = 6  # in messages


@dataclass(frozen=True, eq=False)
class CleanRun:
    """Hold one run, cleaned.

    Attributes
    ----------
    run : Run
        The run as measured.
    bold : ndarray of float32 (n_scans, n_voxels)
        BOLD without trend, standardised.
    fingerprint : str
        Hash of the scans as measured.
    group : str
        Name of the runs that show some of the same, which are left out together; where it is not told, those of the
        same clip. See :func:`brainpred.recordings.content.content_groups`.
    regressors : ndarray of float64 (n_scans, n_regressors) or None
        What was removed beside the linear trend: confounds and slow cosines; None: nothing.
    """

    run: Run
    bold: NDArray[np.float32]
    fingerprint: str = ""
    group: str = ""
    regressors: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.clip)

    @property
    def n_constant_voxels(self) -> int:
        """Number of voxels that never vary."""
        return int((~self.bold.any(axis=0)).sum())

    @property
    def clip(self) -> str:
        """Name of what was shown: runs that share it have the same features."""
        return self.run.stimulus or self.run.name


def clean_recording(recording: Recording, cleaning: Cleaning | None = None) -> Iterator[CleanRun]:
    """Read and clean every run, one at a time; see :func:`brainpred.recordings.cleaning.read_clean_run`."""
    groups = content_groups(recording)
    for run in recording.runs:
        scans = read_clean_run(recording, run, cleaning)
        fingerprint = hashlib.sha256(np.ascontiguousarray(scans.bold).data).hexdigest()
        yield CleanRun(run, scans.cleaned, fingerprint, groups[run.name], scans.removed)


def check_groups(recording: Recording) -> None:
    """Refuse a recording that cannot be cross-validated, before anything is computed.

    Parameters
    ----------
    recording : Recording
        The scans.

    Raises
    ------
    DataError
        If runs that show some of the same leave too few groups to leave out, or one has training and test runs.
    """
    groups = content_groups(recording)
    _check_groups([(run, groups[run.name]) for run in recording.runs], f"{recording.label}: ")


def _check_groups(runs: Sequence[tuple[Run, str]], label: str = "") -> None:
    members: dict[str, list[Run]] = {}
    for run, group in runs:
        members.setdefault(group, []).append(run)
    for together in members.values():
        if len({run.role for run in together}) > 1:
            raise DataError(
                f"{label}Training and test runs show some of the same: {_names(together)}. What is tested must not be "
                "trained on; give those runs one role."
            )
    has_tests = any(run.role == "test" for run, _ in runs)
    trained = [together for together in members.values() if together[0].role == "train"]
    if len(trained) < MIN_TRAINING_GROUPS + (not has_tests):
        largest = max(trained, key=len, default=[])
        why = (
            f" Runs {_names(largest)} show some of the same, be it through others, and are left out together: with "
            "scans in the manifest's runs, what they share can be left out instead."
        )
        raise DataError(
            f"{label}Decoding needs at least {MIN_TRAINING_GROUPS} training runs that share nothing of what they show, "
            f"to choose its regularisation{'' if has_tests else ', and another to be held out'}; found {len(trained)}."
            f"{why if len(largest) > 1 else ''}"
        )


def _names(runs: Sequence[Run]) -> str:
    more = f" and {len(runs) - NAMED_RUNS} more" if len(runs) > NAMED_RUNS else ""
    return ", ".join(run.name for run in runs[:NAMED_RUNS]) + more


def _repeats(tests: Sequence[CleanRun]) -> list[list[CleanRun]]:
    """Group test runs that show the same clip."""
    groups: dict[str, list[CleanRun]] = {}
    for test in tests:
        groups.setdefault(test.clip, []).append(test)
    return list(groups.values())


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


class Split:
    """Hold what is trained on and what is held out, and the kernels that all layers share.

    Parameters
    ----------
    train, tests : sequence of CleanRun
        The runs.
    source : FeatureSource
        Tells how many scans of each run have features.
    """

    def __init__(self, train: Sequence[CleanRun], tests: Sequence[CleanRun], source: FeatureSource):
        self.train, self.repeats = list(train), _repeats(tests)
        lengths = [source.n_scans(run.run) for run in train]
        self.X = _stacked_bold(train, lengths)
        self.runs = np.repeat([run.run.name for run in train], lengths)
        self.groups = np.repeat([run.group for run in train], lengths)
        self.n_scans = [
            min(source.n_scans(group[0].run), *(len(test.bold) for test in group)) for group in self.repeats
        ]
        self.sample: list[CleanRun] = []
        self.n_sample, self.n_kept_of_sample = 0, 0
        self.fitted: BrainDecoder | None = None
        self._prepared: Any = None
        self._prepared_mean: Any = None

    def units(self, layer: str, source: FeatureSource) -> StackedRuns:
        """Give a layer's units during the training runs, to be read piece by piece."""
        readers = [partial(source.of_run, layer, run.run) for run in self.train]
        lengths = [source.n_scans(run.run) for run in self.train]
        return StackedRuns(readers, lengths, int(np.prod(source.shapes[layer])))

    def take_sample(self, tr_s: float, source: FeatureSource) -> None:
        """Have the beginning of the first training clip predicted as well, by the decoder that was fitted to it."""
        self.sample = [run for run in self.train if run.clip == self.train[0].clip]
        self.n_sample = min(source.n_scans(self.sample[0].run), *(len(run.bold) for run in self.sample))
        self.n_kept_of_sample = max(2, round(TRAINING_SAMPLE_S / tr_s))

    def prepared(self, decoder: BrainDecoder) -> Any:
        """Prepare what is predicted: all repeats, one below another, and the sample of the training runs."""
        if self._prepared is None:
            tests = [run for group in self.predicted for run in group]
            lengths = [n for group, n in zip(self.predicted, self.n_predicted, strict=True) for _ in group]
            names = np.repeat([f"{number}" for number in range(len(tests))], lengths)
            self._prepared = decoder.ridge_.prepare(_stacked_bold(tests, lengths), names)
        return self._prepared

    def prepared_mean(self, decoder: BrainDecoder) -> Any:
        """Prepare the mean of every test clip's repeats, from what is prepared of each."""
        if self._prepared_mean is None:
            shapes = [(len(group), n) for group, n in zip(self.repeats, self.n_scans, strict=True)]
            names = np.repeat([group[0].clip for group in self.repeats], self.n_scans)
            self._prepared_mean = average_prepared(self.prepared(decoder), shapes, names)
        return self._prepared_mean

    @property
    def predicted(self) -> list[list[CleanRun]]:
        """Groups of runs that are predicted: the repeats of every test clip, then the sample."""
        return [*self.repeats, self.sample] if self.sample else self.repeats

    @property
    def n_predicted(self) -> list[int]:
        """Scans of each group's runs."""
        return [*self.n_scans, self.n_sample] if self.sample else self.n_scans

    def forget(self) -> None:
        """Let go of the kernels."""
        self.fitted, self._prepared, self._prepared_mean = None, None, None


def _stacked_bold(runs: Sequence[CleanRun], lengths: Sequence[int]) -> StackedRuns:
    def reader(bold: NDArray[np.float32]) -> Callable[[Any], NDArray[np.float32]]:
        return lambda columns: bold[:, columns]

    return StackedRuns([reader(run.bold) for run in runs], lengths, runs[0].bold.shape[1])


def split_runs(runs: Sequence[CleanRun], source: FeatureSource, tr_s: float) -> list[Split]:
    """Tell training runs from those held out: the test runs, or, where there are none, every group of runs in turn.

    Runs that show some of the same are a group.

    Parameters
    ----------
    runs : sequence of CleanRun
        The recording.
    source : FeatureSource
        Features during the runs.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    list of Split
        One, or one a group.

    Raises
    ------
    DataError
        If fewer than two groups are left for training, or a group holds training and test runs.
    """
    _check_groups([(run.run, run.group) for run in runs])
    tests = [run for run in runs if run.run.role == "test"]
    trains = [run for run in runs if run.run.role == "train"]
    if tests:
        split = Split(trains, tests, source)
        split.take_sample(tr_s, source)
        return [split]
    return [
        Split([run for run in trains if run.group != group], [run for run in trains if run.group == group], source)
        for group in dict.fromkeys(run.group for run in trains)
    ]
