"""Look through a BIDS folder: what fMRIPrep has written for whom, at which pace, and what events name."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainpred.errors import DataError
from brainpred.recordings.bids_files import (
    OF_FILES,
    RunFiles,
    entities_of,
    kind_of,
    natural_order,
    read_sidecar,
    subject_label,
)
from brainpred.recordings.manifest import MAX_TR_S

__all__ = [
    "Output",
    "clips_of_events",
    "find_outputs",
    "is_simulated",
    "look_through",
    "read_title",
    "repetition_time",
    "runs_without_scans",
]

OF_BIDS = ("stim_file", "file", "trial_type")
WRITER = "brainpred data simulate"


@dataclass(frozen=True)
class Output:
    """Say what one folder of derivatives holds.

    Attributes
    ----------
    folder : str
        The folder, relative to the data set's; a whole path where it lies elsewhere, or is a link that leads elsewhere.
    subjects : tuple of str
        Subjects with functional files, without ``sub-``.
    files : tuple of (str, str, str, str)
        Kind, task, space and resolution (or density) of the preprocessed scans there are.
    """

    folder: str
    subjects: tuple[str, ...]
    files: tuple[tuple[str, str, str, str], ...]

    def choices(self, position: int, **chosen: str) -> list[str]:
        """List what there is of kind (0), task (1), space (2) or resolution (3), given the choices before."""
        wanted = list(chosen.values())
        return sorted({file[position] for file in self.files if list(file[: len(wanted)]) == wanted})


def find_outputs(folder: Path) -> list[Output]:
    """Find the folders of preprocessed scans in a BIDS data set.

    Parameters
    ----------
    folder : Path
        The data set; or fMRIPrep's output itself.

    Returns
    -------
    list of Output
        One a folder, those of ``derivatives`` by name; empty where there are none.
    """
    candidates, seen = [folder], set()
    for path, names, _ in os.walk(folder / "derivatives", followlinks=True):
        if (whole := os.path.realpath(path)) in seen:
            names.clear()  # a link that leads back
            continue
        seen.add(whole)
        names[:] = sorted(name for name in names if not name.startswith(("sub-", ".")))
        candidates.append(Path(path))
    return [output for candidate in sorted(candidates) if (output := look_through(candidate, folder))]


def look_through(candidate: Path, folder: Path) -> Output | None:
    """Tell what preprocessed scans a folder holds.

    Parameters
    ----------
    candidate : Path
        The folder.
    folder : Path
        The data set.

    Returns
    -------
    Output or None
        What it holds; None where there are no preprocessed scans.
    """
    subjects, files = [], set()
    for subject in sorted(path for path in candidate.glob("sub-*") if path.is_dir()):
        own = {described for path in subject.glob("**/func/*") if (described := _describe(path))}
        if own:
            subjects.append(subject.name.removeprefix("sub-"))
            files |= own
    if not files:
        return None
    lies_inside = candidate.is_relative_to(folder) and candidate.resolve().is_relative_to(folder.resolve())
    name = str(candidate.relative_to(folder)) if lies_inside else str(candidate.resolve())
    return Output(name, tuple(subjects), tuple(sorted(files)))


def _describe(path: Path) -> tuple[str, str, str, str] | None:
    """Tell kind, task, space and resolution of preprocessed scans by their name; None of another file."""
    kind, entities = kind_of(path), entities_of(path)
    if kind is None:
        return None
    resolution = entities.get("res", entities.get("den", ""))
    return kind, entities.get("task", ""), entities.get("space", ""), resolution


def runs_without_scans(folder: Path, subject: str, runs: Sequence[RunFiles], tasks: Sequence[str]) -> dict[str, Path]:
    """Find the runs of the data set that fMRIPrep's output does not have.

    Parameters
    ----------
    folder : Path
        The data set.
    subject : str
        The subject.
    runs : sequence of RunFiles
        The runs that there are.
    tasks : sequence of str
        Tasks that are wanted; empty: all.

    Returns
    -------
    dict of str to Path
        Scans or events of each run that is not among ``runs``, by the name that it would have.
    """
    there = [_entities_of_run(run.bold[0]) for run in runs]
    lacking: dict[str, Path] = {}
    for path in sorted((folder / subject_label(subject)).glob("**/func/*"), key=natural_order):
        if not path.name.endswith(("_bold.nii.gz", "_bold.nii", "_events.tsv")) or kind_of(path) is not None:
            continue
        own = _entities_of_run(path)
        if tasks and own.get("task") not in tasks:
            continue
        # A table that holds for several runs has fewer entities than they.
        if not any(own.items() <= other.items() for other in there):
            parts = [f"{key}-{value}" for key, value in own.items() if key != "task"]
            lacking.setdefault("_".join(parts) or f"task-{own.get('task', 'unknown')}", path)
    return lacking


def _entities_of_run(path: Path) -> dict[str, str]:
    return {key: value for key, value in entities_of(path).items() if key == "task" or key not in (*OF_FILES, "echo")}


def repetition_time(runs: Sequence[RunFiles], label: str) -> float | None:
    """Read from JSON files the repetition time that all runs share.

    Parameters
    ----------
    runs : sequence of RunFiles
        The runs.
    label : str
        Data set and subject, for messages.

    Returns
    -------
    float or None
        Seconds; None where no file states it.

    Raises
    ------
    DataError
        If runs differ, a file is damaged, or the time looks like milliseconds.
    """
    times_s = {}
    for run in runs:
        for path in run.sidecars:
            if not path.is_file():
                continue
            where = f"{label}, run {run.name}"
            stated = read_sidecar(path, where).get("RepetitionTime")
            if stated is not None:
                try:
                    times_s[run.name] = float(stated)
                except (ValueError, TypeError) as error:
                    raise DataError(f"{where}: {path} states a repetition time of {stated!r}. Correct it.") from error
                break
    if len(set(times_s.values())) > 1:
        listed = ", ".join(f"{name} {tr_s:g} s" for name, tr_s in times_s.items())
        raise DataError(
            f"{label}: runs have several repetition times ({listed}). Choose runs of one "
            "with --task, or correct the JSON files."
        )
    tr_s = next(iter(times_s.values()), None)
    if tr_s is not None and tr_s > MAX_TR_S:
        raise DataError(
            f"{label}: the JSON files state a repetition time of {tr_s:g} s. It looks like milliseconds, but BIDS "
            f"wants seconds: correct them to {tr_s / 1000:g}."
        )
    return tr_s


def clips_of_events(events: Path) -> dict[str, list[str]]:
    """List what a table of events names, by column, in order and once each.

    Parameters
    ----------
    events : Path
        ``_events.tsv``, which need not exist.

    Returns
    -------
    dict of str to list of str
        Values of the columns ``stim_file``, ``file`` and ``trial_type``, as far as they are there.
    """
    if not events.is_file():
        return {}
    with open(events, newline="", encoding="utf-8-sig", errors="replace") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    named: dict[str, list[str]] = {}
    for column in OF_BIDS:
        values = [row[column] for row in rows if row.get(column) not in (None, "", "n/a")]
        if values:
            named[column] = list(dict.fromkeys(values))
    return named


def read_title(folder: Path) -> str:
    """Read the name of a data set from its description; empty where there is none."""
    return str(_description(folder).get("Name", ""))


def is_simulated(folder: Path, output: str) -> bool:
    """Tell whether brainpred itself has computed the scans of a folder of derivatives."""
    writers = _description(folder / output).get("GeneratedBy") or []
    return any(isinstance(writer, dict) and writer.get("Name") == WRITER for writer in writers)


def _description(folder: Path) -> dict:
    try:
        content = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
