"""Look through a BIDS folder: what fMRIPrep has written for whom, at which pace, and what events name."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainpred.errors import DataError
from brainpred.recordings.bids_files import RunFiles, entities_of, kind_of

__all__ = ["Output", "clips_of_events", "find_outputs", "is_simulated", "read_title", "repetition_time"]

OF_BIDS = ("stim_file", "file", "trial_type")
WRITER = "brainpred data simulate"


@dataclass(frozen=True)
class Output:
    """Say what one folder of derivatives holds.

    Attributes
    ----------
    folder : str
        The folder, relative to the data set's.
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
    derivatives = folder / "derivatives"
    below = sorted(path for path in derivatives.glob("**/") if path != derivatives) if derivatives.is_dir() else []
    found = []
    for candidate in [folder, *below]:
        if any(part.startswith("sub-") for part in candidate.relative_to(folder).parts):
            continue
        subjects, files = [], set()
        for subject in sorted(path for path in candidate.glob("sub-*") if path.is_dir()):
            own = {described for path in subject.glob("**/func/*") if (described := _describe(path))}
            if own:
                subjects.append(subject.name.removeprefix("sub-"))
                files |= own
        if files:
            name = str(candidate.relative_to(folder))
            found.append(Output(name, tuple(subjects), tuple(sorted(files))))
    return found


def _describe(path: Path) -> tuple[str, str, str, str] | None:
    """Tell kind, task, space and resolution of preprocessed scans by their name; None of another file."""
    kind, entities = kind_of(path), entities_of(path)
    if kind is None:
        return None
    resolution = entities.get("res", entities.get("den", ""))
    return kind, entities.get("task", ""), entities.get("space", ""), resolution


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
            try:
                stated = json.loads(path.read_text(encoding="utf-8")).get("RepetitionTime")
                if stated is not None:
                    times_s[run.name] = float(stated)
                    break
            except (OSError, ValueError, TypeError, AttributeError) as error:
                raise DataError(f"{label}, run {run.name}: cannot read {path} ({error}). Correct it.") from error
    if len(set(times_s.values())) > 1:
        listed = ", ".join(f"{name} {tr_s:g} s" for name, tr_s in times_s.items())
        raise DataError(
            f"{label}: runs have several repetition times ({listed}). Choose runs of one "
            "with --task, or correct the JSON files."
        )
    tr_s = next(iter(times_s.values()), None)
    if tr_s is not None and tr_s > 100:
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
