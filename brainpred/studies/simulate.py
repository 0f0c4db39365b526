"""Make a simulated subject, as one file or as BIDS: a movie, shown to PredNet, and the BOLD signal of it."""

import shutil
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from brainpred.errors import ConfigError, DataError
from brainpred.features.extract import FeatureConfig, feature_files
from brainpred.models.prednet_weights import weights_fingerprint
from brainpred.movies.programme import movie_fingerprint
from brainpred.movies.synthesis import FPS, synthesise_movie
from brainpred.movies.video import iterate_frames, probe_video, write_video
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.bids_example import write_bids
from brainpred.recordings.fetch import cache_folder
from brainpred.recordings.manifest import load_manifest
from brainpred.recordings.readers import check_subject, simulated
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.simulate import cortex, draw_brain, simulate_runs
from brainpred.recordings.spaces import Volume
from brainpred.stimulus import Movie
from brainpred.storage import fingerprint, make_directory, output_folder

__all__ = ["SimulationConfig", "simulate_bids", "simulate_subject"]

MOVIE_SEED = 2011
BRAIN_SEED = 6  # chosen among three, so that R0 of sim01 is near 0.25: see docs/decisions/0004
SHORTEST_RUN_S = 10
VERSION = 3  # of the recipe: raise it when the same settings give other data


@dataclass(frozen=True)
class SimulationConfig:
    """Say what a simulated subject is like.

    Attributes
    ----------
    n_train_runs, run_s : int
        Training runs, and the length of every run in seconds.
    n_test_repeats : int
        How often the test clip is shown.
    strength : float
        Factor on all signals; 1 is the default subject, 0 one that sees nothing.
    n_voxels, resolution_mm : int
        Voxels of the cortex and their size.
    tr_s : float
        Repetition time in seconds.
    weights : str
        PredNet that the brain computes with.
    """

    n_train_runs: int = 6
    run_s: int = 100
    n_test_repeats: int = 5
    strength: float = 1.0
    n_voxels: int = 65_665
    resolution_mm: int = 3
    tr_s: float = 1.0
    weights: str = "small"


def _clip_names(config: SimulationConfig) -> list[str]:
    return [*(f"train-{number:02d}" for number in range(1, config.n_train_runs + 1)), "test-01"]


def _synthesise(config: SimulationConfig, folder: Path, reporter: Reporter) -> dict[str, Path]:
    key = fingerprint(run_s=config.run_s, n=config.n_train_runs, seed=MOVIE_SEED, version=VERSION)
    paths = {name: folder / f"{name}_{key}.mp4" for name in _clip_names(config)}
    todo = [name for name, path in paths.items() if not path.is_file()]
    if todo:
        with reporter.task("Synthesising the movie", len(todo)) as advance:
            for name in todo:
                rng = np.random.default_rng([MOVIE_SEED, list(paths).index(name)])
                write_video(paths[name], synthesise_movie(config.run_s, rng), FPS)
                advance(1)
    return paths


def _cut(movie: Movie, config: SimulationConfig, folder: Path, reporter: Reporter) -> dict[str, Path]:
    """Cut a movie into equal clips of whole seconds; the last is the test clip."""
    names = _clip_names(config)
    info = probe_video(movie)
    run_s = min(config.run_s, int(info.duration_s / len(names)))
    if not run_s >= SHORTEST_RUN_S:
        raise DataError(
            f"{movie} lasts {info.duration_s:.1f} s; {len(names)} clips of {SHORTEST_RUN_S} s or more need "
            f"{len(names) * SHORTEST_RUN_S} s. Give a longer movie or fewer runs."
        )
    key = fingerprint(movie=movie_fingerprint(movie, {}), run_s=run_s, n=config.n_train_runs, version=1)
    paths = {name: folder / f"{name}_{key}.mp4" for name in names}
    if all(path.is_file() for path in paths.values()):
        return paths
    height = min(128, info.height)
    size = (height // 2 * 2, height * 5 // 4 // 2 * 2)
    n_frames = round(run_s * info.fps)
    with closing(iterate_frames(movie, size)) as frames, reporter.task("Cutting the movie", len(names)) as advance:
        for path in paths.values():
            clip = [frame for _, frame in islice(frames, n_frames)]
            if len(clip) < n_frames:
                raise DataError(
                    f"{movie} has fewer frames than its length and rate state ({info.duration_s:.1f} s at "
                    f"{info.fps:.2f} a second); convert it to a constant frame rate."
                )
            write_video(path, clip, info.fps)
            advance(1)
    return paths


def _compare_settings(
    subject: str, saved: dict[str, Any], wanted: dict[str, Any], reporter: Reporter, *, asked: bool
) -> None:
    """Refuse to pass off a saved subject as one with other settings; tell when its recipe has changed since."""
    remedy = f"To make it anew: brainpred data simulate --subject {subject} --overwrite (with the same options)."
    if any(saved.get(name) != wanted[name] for name in ("version", "weights_sha256")):
        reporter.say(f"Note: {subject} was made by another version of the simulation or of PredNet. {remedy}")
    other = [name for name in wanted if name in saved and saved[name] != wanted[name]]
    other = [name for name in other if name not in ("version", "weights_sha256")]
    if asked and other:
        differences = ", ".join(f"{name} {saved[name]} (not {wanted[name]})" for name in other)
        raise ConfigError(f"{subject} exists already, with {differences}. {remedy}")


def simulate_subject(
    subject: str = "sim01",
    config: SimulationConfig | None = None,
    *,
    movie: Path | str | None = None,
    data: Path | str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> Recording:
    """Make a simulated subject, or read it where it is made already.

    All subjects watch the same movie with brains of their own: ``sim01`` is the same on every machine.

    Parameters
    ----------
    subject : str
        ``sim`` and a number, such as ``"sim01"``.
    config : SimulationConfig, optional
        What the subject is like.
    movie : Path or str, optional
        Movie to show instead of the synthesised one, or its address (:func:`brainpred.movies.video.probe_video`); it is
        cut into as many clips as there are.
    data : Path or str, optional
        Folder of data sets; ``$BRAINPRED_DATA`` or the cache by default.
    overwrite : bool
        Whether to make it anew if it exists.
    device : {"auto", "cpu", "cuda"}
        Where PredNet computes.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Recording
        The subject, as read back from disk. ``truth.tsv`` in its folder tells what every voxel carries.

    Raises
    ------
    ConfigError
        If the name is not of a simulated subject, a number is out of range, or the subject exists with other settings.
    DataError
        If the movie is damaged or too short.
    """
    asked = config is not None or movie is not None
    config = config or SimulationConfig()
    manifest = load_manifest("simulated")
    check_subject(manifest, subject)
    if config.strength < 0 or config.n_train_runs < 2 or config.n_test_repeats < 2 or config.run_s < SHORTEST_RUN_S:
        raise ConfigError(
            f"A simulated subject needs strength >= 0, at least 2 training runs, 2 test repeats and runs of "
            f"{SHORTEST_RUN_S} s; received {config}."
        )
    made_with = {"version": VERSION, "weights_sha256": weights_fingerprint(config.weights)}
    settings = {**asdict(config), "movie": Movie.of(movie).name if movie else None, **made_with}
    if movie:
        probe_video(movie)
        settings["movie_sha256"] = movie_fingerprint(movie, {})
    if simulated.is_written(subject, data) and not overwrite:
        _compare_settings(subject, simulated.read_settings(subject, data), settings, reporter, asked=asked)
        return simulated.read(manifest, subject, data)
    stimuli = make_directory(simulated.subject_folder(subject, data).parent / "stimuli")
    clips = _cut(Movie.of(movie), config, stimuli, reporter) if movie else _synthesise(config, stimuli, reporter)
    files = feature_files(
        list(clips.values()), cache_folder() / "features", FeatureConfig(config.tr_s, weights=config.weights),
        device=device, reporter=reporter,
    )  # fmt: skip
    features = {
        name: {layer: file.read(layer).reshape(-1, *shape) for layer, shape in file.shapes.items()}
        for name, file in zip(clips, files, strict=True)
    }
    brain_cortex = cortex(config.n_voxels, config.resolution_mm)
    # Three numbers where the clips have two: no brain is drawn from the stream of a clip.
    rng = np.random.default_rng([MOVIE_SEED, BRAIN_SEED, int(subject.removeprefix("sim"))])
    brain = draw_brain(brain_cortex, rng, config.strength)
    shown = [*(name for name in clips if name != "test-01"), *(["test-01"] * config.n_test_repeats)]
    names = [*shown[: config.n_train_runs], *(f"test-01_repeat-{n + 1:02d}" for n in range(config.n_test_repeats))]
    runs = []
    with reporter.task("Computing the BOLD signal", len(shown)) as advance:
        for name, clip, bold in zip(
            names, shown, simulate_runs(features, shown, brain_cortex, brain, config.tr_s, rng), strict=True
        ):
            runs.append(Run(name, "test" if clip == "test-01" else "train", bold, clip))
            advance(1)
    recording = Recording(
        manifest.name,
        subject,
        config.tr_s,
        runs,
        Volume(brain_cortex.mask),
        brain_cortex.rois,
        {name: Movie.parse(path) for name, path in clips.items()},
        simulated=True,
    )
    simulated.write(recording, brain.truth, settings, data)
    return recording


def simulate_bids(
    folder: Path | str,
    subject: str = "sim01",
    config: SimulationConfig | None = None,
    *,
    movie: Path | str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> Path:
    """Write a simulated subject as a BIDS data set with fMRIPrep's files and its movie, to try one's own way with.

    Parameters
    ----------
    folder : Path or str
        Folder to write into.
    subject, config, movie
        As of :func:`simulate_subject`.
    overwrite : bool
        Whether to write into a folder that is a data set already.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If an option cannot be used, or the folder holds a data set.
    DataError
        If the movie is damaged or too short.
    """
    folder = Path(folder)
    if (folder / "dataset_description.json").exists() and not overwrite:
        raise ConfigError(
            f"{folder} is a BIDS data set already. Name another folder, or write over it with --overwrite."
        )
    with output_folder(folder), TemporaryDirectory(prefix=".part-", dir=folder) as made:
        recording = simulate_subject(subject, config, movie=movie, data=made, device=device, reporter=reporter)
        stimuli = make_directory(folder / "stimuli")
        for name, file in recording.stimuli.items():
            shutil.move(Movie.of(file).excerpts[0].path, stimuli / f"{name}.mp4")
        with reporter.task("Writing BIDS", 1) as advance:
            names = {name: f"{name}.mp4" for name in recording.stimuli}
            write_bids(recording, names, folder, np.random.default_rng([MOVIE_SEED, *subject.encode()]))
            advance(1)
    return folder
