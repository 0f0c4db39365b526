"""Write the manifest of a laboratory's own BIDS data set: what can be seen is filled in, the rest is asked."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainpred.errors import ConfigError, DataError
from brainpred.features.source import check_movie_lengths
from brainpred.movies.video import probe_video
from brainpred.numerics.timing import check_repetition_time
from brainpred.recordings.bids_files import RunFiles, find_runs, matches
from brainpred.recordings.readers import load_recording
from brainpred.recordings.readers.bids import KINDS
from brainpred.recordings.recording import Recording
from brainpred.recordings.survey import (
    Output,
    clips_of_events,
    find_outputs,
    is_simulated,
    read_title,
    repetition_time,
)
from brainpred.storage import atomic_path

__all__ = ["Ask", "DescribeConfig", "describe_dataset"]

MOVIES = (".mp4", ".mkv", ".avi", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv")
TR_TOLERANCE_S = 0.001
HEAD = """\
# Manifest of {name}, written by `brainpred data init`. Correct what is wrong, and check it with:
#   brainpred data verify {file}
# Every entry there is: `brainpred data show template`, and docs/howto/manifests.rst.
"""

# Question, choices, flag; gives the choice.
Ask = Callable[[str, Sequence[str], str], str]


@dataclass(frozen=True)
class DescribeConfig:
    """Say what is known beforehand; the rest is looked up, or asked.

    Attributes
    ----------
    bids : Path
        Folder of the data set.
    movie : Path or None
        Movie, or folder of movies, where events do not name them or they lie elsewhere.
    name : str or None
        Name of the data set; that of the folder by default.
    derivatives, kind, task, space, resolution : str or None
        Which preprocessed scans.
    tr_s : float or None
        Repetition time in seconds, where no JSON file states it.
    test_runs : tuple of str
        Names or patterns of test runs; where there are none, runs that repeat what another one showed.
    atlas : Path or None
        Image of numbered regions of interest, with a table of the same name ending in ``.tsv``.
    """

    bids: Path
    movie: Path | None = None
    name: str | None = None
    derivatives: str | None = None
    kind: str | None = None
    task: str | None = None
    space: str | None = None
    resolution: str | None = None
    tr_s: float | None = None
    test_runs: tuple[str, ...] = ()
    atlas: Path | None = None


def describe_dataset(
    config: DescribeConfig, out: Path | str | None = None, *, overwrite: bool = False, ask: Ask | None = None
) -> tuple[Path, Recording]:
    """Look through a BIDS data set with fMRIPrep's derivatives, write its manifest, and see that it works.

    Before the manifest appears the first subject is opened with it, and the lengths of movies and runs are compared.

    Parameters
    ----------
    config : DescribeConfig
        What is known beforehand.
    out : Path or str, optional
        Manifest to write, ending in ``.yaml``; ``<name>.yaml`` in the working folder by default.
    overwrite : bool
        Whether to write over a file that is there.
    ask : callable, optional
        Asks the user where there are several choices; without it, :class:`ConfigError` names the flag.

    Returns
    -------
    path : Path
        The manifest's file.
    recording : Recording
        The first subject, as it is read by it.

    Raises
    ------
    ConfigError
        If something must be chosen and nobody can be asked, an option does not fit, or the file is there.
    DataError
        If there are no preprocessed scans, or what is found does not belong together.
    """
    bids = Path(os.path.abspath(config.bids))
    if not bids.is_dir():
        raise ConfigError(f"The BIDS folder {bids} does not exist.")
    name = config.name or re.sub(r"[^\w.-]+", "_", bids.name)
    path = Path(out) if out else Path(f"{name}.yaml")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(
            f"A data set's name is of letters, digits, _, - and ., received {name!r}. Choose one with --name."
        )
    if config.tr_s is not None:
        check_repetition_time(config.tr_s)
    if path.suffix != ".yaml":
        raise ConfigError(f"A manifest's name ends in .yaml, received {path}.")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already. Name another file with --out, or write over it with --overwrite.")
    output = _choose_output(config, bids, ask or _refuse)
    options, runs = _choose_scans(config, bids, output, name, ask or _refuse)
    stated_s = repetition_time(runs, f"{name}/{output.subjects[0]}")
    tr_s = _agreed_time(stated_s, config.tr_s, f"{name}/{output.subjects[0]}")
    stimuli, clip_of_run, tests = _choose_stimuli(config, bids, name, output.subjects[0], options["kind"], runs, tr_s)
    # Where events say what runs show, subjects may differ in their runs.
    entries = [
        {"name": run, "role": "test" if run in tests else "train", "stimulus": clip}
        for run, clip in clip_of_run.items()
    ]
    if tests and not entries:
        options["test_runs"] = tests
    content = {
        "name": name, "title": read_title(bids) or name, "licence": "not stated", "citation": "not stated",
        "access": f"The files of {bids} are needed.", "folder": str(bids), "reader": "bids",
        "subjects": list(output.subjects), "tr_s": tr_s,
        "options": options | ({"check_tr": False} if stated_s is None else {}), "stimuli": stimuli, "runs": entries,
        **({"atlas": _atlas(config.atlas, bids)} if config.atlas else {}),
        **({"confounds": "motion"} if all(run.confounds.is_file() for run in runs) else {}),
        "simulated": is_simulated(bids, output.folder), "defects": [],
    }  # fmt: skip
    content = {key: value for key, value in content.items() if value or key == "defects"}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(HEAD.format(name=name, file=path) + text, encoding="utf-8")
            recording = load_recording(str(temporary), output.subjects[0])
            if recording.stimuli:
                check_movie_lengths(recording)
    except DataError as error:
        raise DataError(f"No manifest is written: {error}") from error
    return path, recording


def _agreed_time(stated_s: float | None, wanted_s: float | None, label: str) -> float:
    """Take the repetition time that files or the user state, if they do not differ."""
    if stated_s is None and wanted_s is None:
        raise ConfigError(f"No JSON file of {label} states the repetition time. State it in seconds with --tr.")
    if stated_s is not None and wanted_s is not None and abs(stated_s - wanted_s) > TR_TOLERANCE_S:
        raise ConfigError(
            f"The JSON files of {label} state {stated_s:g} s, but --tr is {wanted_s:g} s. Leave it out, or correct the "
            "files."
        )
    return float(wanted_s if stated_s is None else stated_s)  # type: ignore[arg-type]


def _refuse(question: str, choices: Sequence[str], flag: str) -> str:
    raise ConfigError(f"{question} Choose with {flag}: {', '.join(choice or 'none' for choice in choices)}.")


def _pick(wanted: str | None, choices: Sequence[str], question: str, flag: str, ask: Ask) -> str:
    """Take what is wanted, or the only choice, or ask."""
    if wanted is not None and wanted not in choices:
        there = ", ".join(choice or "none" for choice in choices)
        raise ConfigError(f"{flag} {wanted} is not there. Choose one of: {there}.")
    if wanted is not None:
        return wanted
    return choices[0] if len(choices) == 1 else ask(question, choices, flag)


def _choose_output(config: DescribeConfig, bids: Path, ask: Ask) -> Output:
    outputs = {output.folder: output for output in find_outputs(bids)}
    if not outputs:
        raise DataError(
            f"{bids} holds no preprocessed scans (sub-*/func/*_desc-preproc_bold.nii.gz, *_bold.func.gii or "
            "*_bold.dtseries.nii) in derivatives. Run fMRIPrep first, or name the folder of the data set."
        )
    chosen = _pick(config.derivatives, list(outputs), "There are several folders of derivatives.", "--derivatives", ask)
    return outputs[chosen]


def _choose_scans(
    config: DescribeConfig, bids: Path, output: Output, name: str, ask: Ask
) -> tuple[dict[str, Any], list[RunFiles]]:
    """Choose kind, task, space and resolution; find the runs of the first subject."""
    kind = _pick(config.kind, output.choices(0), "Scans come in several kinds.", "--kind", ask)
    task = _pick(config.task, output.choices(1, kind=kind), "There are several tasks.", "--task", ask)
    spaces = output.choices(2, kind=kind, task=task)
    space = _pick(config.space, spaces, "Scans come in several spaces.", "--space", ask)
    resolutions = output.choices(3, kind=kind, task=task, space=space)
    resolution = _pick(config.resolution, resolutions, "Scans come in several resolutions.", "--resolution", ask)
    runs = find_runs(
        bids, output.folder, output.subjects[0], kind, tasks=[task] if task else [], space=space, resolution=resolution,
        sessions=[], where=f"{name}/{output.subjects[0]}",
    )  # fmt: skip
    options = {"kind": kind, "derivatives": output.folder, "task": task, "space": space, "resolution": resolution}
    return {key: value for key, value in options.items() if value}, runs


def _atlas(atlas: Path, bids: Path) -> dict[str, str]:
    labels = atlas.with_name(re.sub(r"\.nii(\.gz)?$", "", atlas.name) + ".tsv")
    for path in (atlas, labels):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist. An atlas is an image with a table (.tsv) of index and name.")
        if not Path(os.path.abspath(path)).is_relative_to(bids):
            raise ConfigError(f"{path} lies outside {bids}. Copy it into the data set.")
    return {"image": _below(atlas, bids), "labels": _below(labels, bids)}


def _below(path: Path, bids: Path) -> str:
    """Name a file relative to the data set, or by its whole path where it lies elsewhere."""
    whole = Path(os.path.abspath(path))
    return str(whole.relative_to(bids)) if whole.is_relative_to(bids) else str(whole)


def _choose_stimuli(
    config: DescribeConfig, bids: Path, name: str, subject: str, kind: str, runs: Sequence[RunFiles], tr_s: float
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Tell which clips there are, what each run shows where events do not say so, and which runs are test runs."""
    movies = _movies(config.movie, bids)
    clip_of_run: dict[str, str] = {}
    shown = {run.name: tuple(_shown_clips(clips_of_events(run.events), movies, bids)) for run in runs}
    if all(shown.values()):
        used = dict.fromkeys(clip for clips in shown.values() for clip in clips)
        stimuli = {clip: _below(movies[clip], bids) for clip in used}
    elif movies:
        stimuli, clip_of_run = _by_lengths(movies, bids, name, subject, kind, runs, tr_s)
        shown = {run: (clip,) for run, clip in clip_of_run.items()}
    else:
        raise ConfigError(
            f"{name}: nothing says what the runs showed. Name the movie, or a folder of movies, with --movie; or put a "
            f"column stim_file into {runs[0].events.name}, with files below {bids / 'stimuli'}."
        )
    return stimuli, clip_of_run, _test_runs(config.test_runs, shown)


def _movies(movie: Path | None, bids: Path) -> dict[str, Path]:
    """Find the movies by name: those that are named, else those below ``stimuli``."""
    folder = movie or bids / "stimuli"
    if movie and not movie.exists():
        raise ConfigError(f"Movie {movie} does not exist.")
    if not folder.is_dir():
        return {folder.stem: folder} if movie else {}
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MOVIES)
    if movie and not found:
        raise ConfigError(f"Folder {movie} holds no movie ({', '.join(MOVIES)}).")
    return {path.stem: path for path in found}


def _shown_clips(named: dict[str, list[str]], movies: dict[str, Path], bids: Path) -> list[str]:
    """Give the clips that a table of events names, if it names any whose movie is there."""
    by_file = {path.name: clip for clip, path in movies.items()}
    for column in ("stim_file", "file"):
        if files := named.get(column):
            if missing := [file for file in files if Path(file).name not in by_file]:
                raise DataError(
                    f"Events name {missing[0]}, which is neither below {bids / 'stimuli'} nor where --movie says. "
                    "Put it there."
                )
            return [by_file[Path(file).name] for file in files]
    return [clip for clip in named.get("trial_type", []) if clip in movies]


def _by_lengths(
    movies: dict[str, Path], bids: Path, name: str, subject: str, kind: str, runs: Sequence[RunFiles], tr_s: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Match movies and runs by their lengths: a movie a run in order, or one movie that goes on from run to run."""
    files: Any = KINDS[kind]([(f"{name}/{subject}, run {run.name}", run.bold) for run in runs], "Get it again.")
    lengths_s = [files.n_scans(number) * tr_s for number in range(len(runs))]
    durations_s = [probe_video(path).duration_s for path in movies.values()]
    if len(movies) == len(runs) and all(
        abs(duration_s - length_s) <= tr_s for duration_s, length_s in zip(durations_s, lengths_s, strict=True)
    ):
        clip_of_run = {run.name: clip for run, clip in zip(runs, movies, strict=True)}
        return {clip: _below(path, bids) for clip, path in movies.items()}, clip_of_run
    if len(movies) == 1 and abs(durations_s[0] - sum(lengths_s)) <= tr_s * len(runs):
        ((clip, path),) = movies.items()
        stimuli: dict[str, str] = {}
        parts, begin_s = {}, 0.0
        for run, length_s in zip(runs, lengths_s, strict=True):
            part = f"{clip}-{len(stimuli) + 1:02d}"
            end_s = min(begin_s + length_s, durations_s[0])
            stimuli[part] = f"{_below(path, bids)}[{begin_s:g}:{end_s:g}]"
            parts[run.name] = part
            begin_s += length_s
        return stimuli, parts
    raise DataError(
        f"{name}/{subject}: runs of {', '.join(f'{length:g}' for length in lengths_s)} s ({sum(lengths_s):g} s in all) "
        f"and movies of {', '.join(f'{duration:.1f}' for duration in durations_s)} s cannot be matched by their "
        "lengths: expected one movie a run, or one movie as long as all runs. Say what was shown when in events.tsv "
        "(onset, duration, stim_file)."
    )


def _test_runs(patterns: Sequence[str], shown: dict[str, tuple[str, ...]]) -> list[str]:
    """Take the runs that are named, else those that show what another run shows, too."""
    if patterns:
        tests = [run for run in shown if matches(run, patterns)]
        if not tests:
            raise ConfigError(f"No run is named {' or '.join(patterns)}. There are: {', '.join(shown)}.")
        return tests
    repeated = [run for run, clips in shown.items() if list(shown.values()).count(clips) > 1]
    return repeated if len(repeated) < len(shown) else []
