"""Write the manifest of a laboratory's own BIDS data set: what can be seen is filled in, the rest is asked."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainpred.arrays import absence
from brainpred.errors import ConfigError, DataError
from brainpred.features.source import check_movie_lengths
from brainpred.numerics.timing import check_repetition_time
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.bids_files import RunFiles, find_runs
from brainpred.recordings.confounds import STRATEGIES, load_strategy, n_unsteady_scans
from brainpred.recordings.manifest import MAX_TR_S, TR_TOLERANCE_S
from brainpred.recordings.readers import load_recording
from brainpred.recordings.readers.bids import KINDS
from brainpred.recordings.recording import Recording
from brainpred.recordings.survey import (
    Output,
    find_outputs,
    is_simulated,
    look_through,
    read_title,
    repetition_time,
    runs_without_scans,
)
from brainpred.stimulus import Movie
from brainpred.storage import atomic_path
from brainpred.studies.describe_stimuli import Shown, below, choose_stimuli, choose_test_runs, find_movies

__all__ = ["Ask", "DescribeConfig", "describe_dataset"]

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
        Movie (a video, a folder of pictures, an array of frames), or folder of movies, where events do not name them or
        they lie elsewhere.
    name : str or None
        Name of the data set; that of the folder by default.
    derivatives, kind, task, space, resolution : str or None
        Which preprocessed scans; derivatives may be a whole path, of a folder that lies elsewhere.
    tr_s : float or None
        Repetition time in seconds, where no JSON file states it.
    test_runs : tuple of str
        Names or patterns of test runs; where there are none, runs that repeat what another one showed.
    atlas : Path or None
        Image of numbered regions of interest, with a table of the same name ending in ``.tsv``.
    frame_rate_hz : float or None
        Frames per second of movies that are folders of pictures or arrays.
    confounds : str or None
        Name of a strategy, or ``"none"``; by default ``"motion"`` where there are tables of confounds.
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
    frame_rate_hz: float | None = None
    confounds: str | None = None


def describe_dataset(
    config: DescribeConfig,
    out: Path | str | None = None,
    *,
    overwrite: bool = False,
    ask: Ask | None = None,
    reporter: Reporter = SILENT,
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
    reporter : Reporter
        Where runs are told that some subjects lack.

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
    bids, name, path = _check_config(config, out, overwrite=overwrite)
    output = _choose_output(config, bids, ask or _refuse)
    options = _choose_scans(config, output, ask or _refuse)
    subject = output.subjects[0]
    label, runs = f"{name}/{subject}", _find_runs(bids, options, subject, name)
    stated_s = repetition_time(runs, label)
    tr_s = _agreed_time(stated_s, config.tr_s, label)
    shown = _choose_shown(config, bids, label, options["kind"], runs, tr_s)
    tests = choose_test_runs(config.test_runs, shown)
    # Where events say what runs show, subjects may differ in their runs.
    entries = [] if shown.by_events else [
        {"name": run, "role": "test" if run in tests else "train", "stimulus": clip}
        for run, (clip,) in shown.clips_of_run.items()
    ]  # fmt: skip
    if tests and not entries:
        options["test_runs"] = tests
    content = {
        "name": name, "title": read_title(bids) or name, "licence": "not stated", "citation": "not stated",
        "access": f"It belongs into {bids}: put it there, or correct its name in the manifest.", "folder": str(bids),
        "reader": "bids", "subjects": list(map(_Quoted, output.subjects)), "tr_s": tr_s,
        "frame_rate_hz": config.frame_rate_hz or (config.movie and Movie.parse(config.movie).excerpts[0].fps),
        "options": options | ({"check_tr": False} if stated_s is None else {}), "stimuli": shown.stimuli,
        "runs": entries,
        **({"atlas": _atlas(config.atlas, bids)} if config.atlas else {}),
        **_choose_cleaning(config.confounds, label, runs),
        "simulated": is_simulated(bids, output.folder), "defects": [],
    }  # fmt: skip
    content = {key: value for key, value in content.items() if value or key == "defects"}
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(HEAD.format(name=name, file=path) + text, encoding="utf-8")
            recording = load_recording(str(temporary), subject)
            if recording.stimuli:
                check_movie_lengths(recording)
    except DataError as error:
        raise DataError(f"No manifest is written: {error}") from error
    for remark in _differences(bids, options, output, name):
        reporter.say(f"Note: {remark}")
    return path, recording


class _Quoted(str):
    """A subject's name, which must not be taken for a number: 08 is one to some programs, and none to others."""


class _Dumper(yaml.SafeDumper):
    """Write manifests."""


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'"))


def _check_config(config: DescribeConfig, out: Path | str | None, *, overwrite: bool) -> tuple[Path, str, Path]:
    """Check what can be checked before files are looked at; give data set, name and manifest."""
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
        if config.tr_s > MAX_TR_S:
            raise ConfigError(
                f"--tr {config.tr_s:g} looks like milliseconds. State seconds: --tr {config.tr_s / 1000:g}."
            )
    if config.confounds not in (None, "none", *STRATEGIES):
        raise ConfigError(f"Unknown confounds {config.confounds!r}. Choose one of: {', '.join(STRATEGIES)}, none.")
    if path.suffix != ".yaml":
        raise ConfigError(f"A manifest's name ends in .yaml, received {path}.")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already. Name another file with --out, or write over it with --overwrite.")
    return bids, name, path


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
    elsewhere = look_through(bids / config.derivatives, bids) if config.derivatives else None
    if elsewhere:
        return elsewhere
    outputs = {output.folder: output for output in find_outputs(bids)}
    if not outputs:
        raise DataError(
            f"{bids} holds no preprocessed scans (sub-*/func/*_desc-preproc_bold.nii.gz, *_bold.func.gii or "
            "*_bold.dtseries.nii) in derivatives. Run fMRIPrep first, or name its output with --derivatives."
        )
    chosen = _pick(config.derivatives, list(outputs), "There are several folders of derivatives.", "--derivatives", ask)
    return outputs[chosen]


def _choose_scans(config: DescribeConfig, output: Output, ask: Ask) -> dict[str, Any]:
    """Choose kind, task, space and resolution: what the manifest's options say."""
    kind = _pick(config.kind, output.choices(0), "Scans come in several kinds.", "--kind", ask)
    task = _pick(config.task, output.choices(1, kind=kind), "There are several tasks.", "--task", ask)
    spaces = output.choices(2, kind=kind, task=task)
    space = _pick(config.space, spaces, "Scans come in several spaces.", "--space", ask)
    resolutions = output.choices(3, kind=kind, task=task, space=space)
    resolution = _pick(config.resolution, resolutions, "Scans come in several resolutions.", "--resolution", ask)
    options = {"kind": kind, "derivatives": output.folder, "task": task, "space": space, "resolution": resolution}
    return {key: value for key, value in options.items() if value}


def _find_runs(bids: Path, options: dict[str, Any], subject: str, name: str) -> list[RunFiles]:
    tasks = [options["task"]] if "task" in options else []
    return find_runs(
        bids, options["derivatives"], subject, options["kind"], tasks=tasks, space=options.get("space", ""),
        resolution=options.get("resolution", ""), sessions=[], where=f"{name}/{subject}",
    )  # fmt: skip


def _choose_shown(
    config: DescribeConfig, bids: Path, label: str, kind: str, runs: Sequence[RunFiles], tr_s: float
) -> Shown:
    files: Any = KINDS[kind]([(f"{label}, run {run.name}", run.bold) for run in runs], "Get it again.")
    lengths_s = [files.n_scans(number) * tr_s for number in range(len(runs))]
    movies = find_movies(config.movie, bids, config.frame_rate_hz)
    return choose_stimuli(movies, bids, label, runs, lengths_s, tr_s)


def _choose_cleaning(wanted: str | None, label: str, runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Tell how scans are cleaned: of what is wanted, else of movements where fMRIPrep's tables are there."""
    tables = {run.name: run.confounds for run in runs}
    lacking = [run for run, table in tables.items() if not table.is_file()]
    if wanted == "none" or (wanted is None and len(lacking) == len(tables)):
        return {}
    if lacking:
        path = tables[lacking[0]]
        raise DataError(
            f"{label}, run {lacking[0]}: the table of confounds {path} {absence(path)}, as of {len(lacking)} of "
            f"{len(tables)} runs. Put it there, or ask for --confounds none."
        )
    strategy = wanted or "motion"
    loaded = [load_strategy(table, strategy, f"{label}, run {run}") for run, table in tables.items()]
    return {"confounds": strategy, "dummy_scans": max(map(n_unsteady_scans, loaded))}


def _differences(bids: Path, options: dict[str, Any], output: Output, name: str) -> list[str]:
    """Say which runs subjects lack: those that the first one has, and those that the data set itself has."""
    remarks, first, tasks = [], None, [options["task"]] if "task" in options else []
    for subject in output.subjects:
        try:
            runs = _find_runs(bids, options, subject, name)
        except DataError as error:
            remarks.append(str(error))
            continue
        names = [run.name for run in runs]
        first = first or names
        lacking = {run: f"which subject {output.subjects[0]} has" for run in first if run not in names}
        lacking |= {run: f"though there is {path.name}" for run, path in
                    runs_without_scans(bids, subject, runs, tasks).items()}  # fmt: skip
        remarks += [
            f"{name}/{subject}, run {run}: no scans in {bids / options['derivatives']}, {why}."
            for run, why in lacking.items()
        ]
    return remarks


def _atlas(atlas: Path, bids: Path) -> dict[str, str]:
    labels = atlas.with_name(re.sub(r"\.nii(\.gz)?$", "", atlas.name) + ".tsv")
    for path in (atlas, labels):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist. An atlas is an image with a table (.tsv) of index and name.")
        if not Path(os.path.abspath(path)).is_relative_to(bids):
            raise ConfigError(f"{path} lies outside {bids}. Copy it into the data set.")
    return {"image": below(atlas, bids), "labels": below(labels, bids)}
