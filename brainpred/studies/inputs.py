"""Find what a study works on, as its settings ask for it: scans, how they are cleaned, and features."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from brainpred.decoding.splits import CleanRun, check_groups, clean_recording
from brainpred.devices import memory_budget_bytes, resolve_device, resolve_precision
from brainpred.errors import ConfigError, DataError
from brainpred.features.baselines import BASELINES, baseline_files
from brainpred.features.extract import FeatureConfig, feature_files
from brainpred.features.source import (
    ClipFeatures,
    FeatureSource,
    JoinedFeatures,
    check_layers,
    check_movie_lengths,
    load_table,
)
from brainpred.models.prednet_weights import load_prednet, read_frame_size
from brainpred.numerics.ridge.delays import delays_in_samples
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.cleaning import Cleaning
from brainpred.recordings.fetch import cache_folder
from brainpred.recordings.manifest import load_manifest
from brainpred.recordings.readers import check_subject, load_recording
from brainpred.recordings.recording import Recording
from brainpred.storage import file_fingerprint, fingerprint
from brainpred.studies.simulate import simulate_subject

__all__ = [
    "Inputs",
    "Wanted",
    "check_network",
    "check_wanted",
    "find_cleaning",
    "find_features",
    "find_recording",
    "read_inputs",
]


class Wanted(Protocol):
    """What the settings of a study say of its inputs."""

    @property
    def subject(self) -> str:
        """Whose scans."""

    @property
    def dataset(self) -> str:
        """Data set, by name or manifest."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers wanted; empty: all."""

    @property
    def delays_s(self) -> tuple[float, ...]:
        """Delays between features and scans, in seconds."""

    @property
    def precision(self) -> str:
        """What is multiplied in."""

    @property
    def memory_budget(self) -> str | None:
        """Memory to work in."""

    @property
    def n_permutations(self) -> int:
        """Permutations that tell what chance gives."""

    @property
    def device(self) -> str:
        """Where to compute."""

    @property
    def features(self) -> str | None:
        """File of features; None: PredNet's."""

    @property
    def weights(self) -> str:
        """PredNet."""

    @property
    def dummy_scans(self) -> int | None:
        """Scans at the beginning of every run to leave out; None: as the manifest says, here and below."""

    @property
    def high_pass_s(self) -> float | None:
        """Longest period that is kept, in seconds; 0: all."""

    @property
    def confounds(self) -> str | None:
        """Strategy by which confounds are removed; ``"none"``: none are."""

    @property
    def percent_signal_change(self) -> bool | None:
        """Whether voxels are scaled to percent of their mean."""


def check_wanted(config: Wanted) -> None:
    """Check, before anything is computed, what decoding and encoding ask for alike.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    """
    manifest = load_manifest(config.dataset)
    check_subject(manifest, config.subject)
    delays_in_samples(config.delays_s, manifest.tr_s)
    device = resolve_device(config.device)
    resolve_precision(config.precision, device)
    memory_budget_bytes(config.memory_budget, device)
    if config.n_permutations < 1:
        raise ConfigError(f"At least one permutation is needed, received {config.n_permutations}.")
    if not config.features:
        check_network(config.weights, config.layers)
    find_cleaning(config)


def find_cleaning(config: Wanted) -> Cleaning:
    """Tell how scans are cleaned: as the manifest says, but for what the settings ask for."""
    return Cleaning.of_manifest(
        load_manifest(config.dataset), dummy_scans=config.dummy_scans, high_pass_s=config.high_pass_s,
        confounds=config.confounds, percent_signal_change=config.percent_signal_change,
    )  # fmt: skip


def find_recording(config: Wanted, data: Path | str | None = None, reporter: Reporter = SILENT) -> Recording:
    """Open a subject's scans, without dummy scans; those of a simulated subject are made first.

    Parameters
    ----------
    config : Wanted
        Whose scans.
    data : Path or str, optional
        Folder that holds one folder a data set.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Recording
        The scans, which are read when they are wanted.

    Raises
    ------
    ConfigError
        If the data set, the subject, or what the scans are to be cleaned of does not exist.
    DataError
        If files are missing or broken, or runs have no more scans than are to be left out.
    """
    if load_manifest(config.dataset).reader == "simulated":
        recording = simulate_subject(config.subject, data=data, device=config.device, reporter=reporter)
    else:
        recording = load_recording(config.dataset, config.subject, data)
    for note in recording.notes:
        reporter.say(f"Note: {note}")
    cleaning = find_cleaning(config)
    recording = recording.without_dummies(cleaning.dummy_scans)
    if cleaning.high_pass_s is not None:
        short = [run for run in recording.runs if 2 * run.n_scans * recording.tr_s < cleaning.high_pass_s]
        if short:
            reporter.say(
                f"Note: {len(short)} of {len(recording.runs)} runs are shorter than half the high-pass period "
                f"({cleaning.high_pass_s:g} s), so that of slow drifts they lose the linear trend alone."
            )
    return recording


def check_network(weights: str, layers: Sequence[str]) -> None:
    """Check weights and layers before anything is computed; :class:`ConfigError` where they do not exist."""
    read_frame_size(weights)
    known = [*(f"R{layer}" for layer in range(load_prednet(weights).n_layers)), *BASELINES]
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise ConfigError(f"Unknown layer {', '.join(unknown)}. There are: {', '.join(known)}.")


def find_features(config: Wanted, recording: Recording, reporter: Reporter = SILENT) -> tuple[FeatureSource, str]:
    """Give the features of every run, computing those of movies that are not yet in the cache.

    Parameters
    ----------
    config : Wanted
        Which features.
    recording : Recording
        The scans, without dummy scans: movies are on the clock of what is left.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    source : FeatureSource
        The features.
    key : str
        Fingerprint of what they come from.

    Raises
    ------
    DataError
        If movies or a table cannot be read, or do not fit the runs.
    """
    if config.features:
        return load_table(config.features, recording), file_fingerprint(config.features)
    check_movie_lengths(recording)
    clips = {run.stimulus: recording.stimuli[run.stimulus] for run in recording.runs if run.stimulus}
    cache, movies = cache_folder() / "features", list(clips.values())
    settings = FeatureConfig(recording.tr_s, weights=config.weights)
    kinds = [kind for kind in BASELINES if kind in (config.layers or BASELINES)]
    try:
        files = [feature_files(movies, cache, settings, device=config.device, reporter=reporter)]
        if kinds:
            files.append(baseline_files(movies, cache, kinds, recording.tr_s, reporter=reporter))
    except DataError as error:
        raise DataError(f"{recording.label}: {error}") from error
    sources = [ClipFeatures(dict(zip(clips, own, strict=True))) for own in files]
    return JoinedFeatures(sources), fingerprint(files=[file.path.name for file in files[0]])


@dataclass(frozen=True, eq=False)
class Inputs:
    """Hold what decoding and encoding work on.

    Attributes
    ----------
    recording : Recording
        The scans, as measured, without dummy scans.
    cleaning : Cleaning
        How they were cleaned.
    runs : sequence of CleanRun
        The runs, cleaned.
    source : FeatureSource
        The features.
    layers : sequence of str
        Layers that are wanted.
    key : str
        Fingerprint of scans, features and cleaning: what decoding and encoding must share to be shown side by side.
    """

    recording: Recording
    cleaning: Cleaning
    runs: Sequence[CleanRun]
    source: FeatureSource
    layers: Sequence[str]
    key: str


def read_inputs(config: Wanted, data: Path | str | None = None, reporter: Reporter = SILENT) -> Inputs:
    """Open a subject's scans and features, and clean every run.

    Parameters
    ----------
    config : Wanted
        What is wanted.
    data : Path or str, optional
        Folder that holds one folder a data set.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Inputs
        Scans, cleaned runs and features.

    Raises
    ------
    ConfigError
        As :func:`find_recording` and :func:`find_features`, and if a layer is unknown.
    DataError
        As those, and if too few runs are left where those that show some of the same are left out together.
    """
    cleaning = find_cleaning(config)
    recording = find_recording(config, data, reporter)
    check_groups(recording)
    source, features_key = find_features(config, recording, reporter)
    layers = list(config.layers or source.shapes)
    check_layers(layers, source)
    runs = []
    with reporter.task("Cleaning runs", len(recording.runs)) as advance:
        for run in clean_recording(recording, cleaning):
            runs.append(run)
            advance(1)
    scans = [
        f"{run.run.name} {run.run.role} {run.run.stimulus} {run.group} {run.bold.shape} {run.fingerprint}"
        for run in runs
    ]
    key = fingerprint(
        scans=scans, rois=recording.rois.tolist(), tr_s=recording.tr_s, features=features_key, cleaning=asdict(cleaning)
    )
    return Inputs(recording, cleaning, runs, source, layers, key)
