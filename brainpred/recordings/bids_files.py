"""Find the files of a subject in a BIDS data set with fMRIPrep's derivatives, of today and of older versions."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from brainpred.errors import DataError

__all__ = [
    "NOWHERE",
    "OF_FILES",
    "RunFiles",
    "entities_of",
    "find_runs",
    "kind_of",
    "matches",
    "natural_order",
    "read_sidecar",
    "subject_label",
]

# Endings of preprocessed scans: fMRIPrep 1.2 and later, and before.
ENDINGS = {
    "volume": (r"_desc-preproc_bold\.nii(\.gz)?$", r"_bold_space-\w+_preproc\.nii(\.gz)?$"),
    "surface": (r"_hemi-L_.*_bold\.func\.gii$|_hemi-L_bold\.func\.gii$", r"_bold_space-\w+\.L\.func\.gii$"),
    "grayordinates": (r"_bold\.dtseries\.nii$",),
}
JSON_ENDINGS = {
    "volume": (".json",),
    "surface": (".json", ".func.json"),
    "grayordinates": (".json", ".dtseries.json"),
}
CONFOUNDS = ("_desc-confounds_timeseries.tsv", "_desc-confounds_regressors.tsv", "_bold_confounds.tsv")
NOWHERE = Path("not stated")
# What tells versions of one run apart, and not one run from another.
OF_FILES = ("sub", "task", "space", "res", "den", "desc", "hemi", "cohort", "part")


@dataclass(frozen=True)
class RunFiles:
    """Hold the files of a run.

    Attributes
    ----------
    name : str
        What tells it from others, such as ``"ses-01_run-2"``; ``"task-movie"`` where there is one.
    bold : tuple of Path
        The scans: one file, or left and right hemisphere.
    mask : Path or None
        fMRIPrep's brain mask on the grid of the scans, which need not exist; None for surfaces and grayordinates, which
        have none.
    confounds : Path
        Table of confounds, which need not exist; :data:`NOWHERE` where nobody says where it lies.
    events : Path
        Table of events, likewise.
    sidecars : tuple of Path
        JSON files that may state the repetition time, those of the derivatives first.
    """

    name: str
    bold: tuple[Path, ...]
    mask: Path | None
    confounds: Path
    events: Path
    sidecars: tuple[Path, ...]


def subject_label(subject: str) -> str:
    """Give the name of a subject's folder: ``sub-01`` for ``01`` and for ``sub-01``."""
    return subject if subject.startswith("sub-") else f"sub-{subject}"


def find_runs(
    folder: Path,
    derivatives: str,
    subject: str,
    kind: str,
    *,
    tasks: Sequence[str],
    sessions: Sequence[str],
    space: str,
    resolution: str,
    where: str,
) -> list[RunFiles]:
    """Find a subject's preprocessed runs.

    Parameters
    ----------
    folder : Path
        The BIDS data set.
    derivatives : str
        fMRIPrep's output, relative to it, or a whole path.
    subject : str
        The subject.
    kind : {"volume", "surface", "grayordinates"}
        What to look for.
    tasks : sequence of str
        Tasks; empty: all.
    sessions : sequence of str
        Sessions, with or without ``ses-``; empty: all.
    space, resolution : str
        Space and resolution (or density), as file names give them; empty: the only one there is.
    where : str
        Data set and subject.

    Returns
    -------
    list of RunFiles
        The runs, by session and name.

    Raises
    ------
    DataError
        If there is none, or several spaces to choose from.
    """
    own = folder / derivatives / subject_label(subject)
    if not own.is_dir():
        raise DataError(f"{where}: {own} does not exist. Put fMRIPrep's output there, or state options: derivatives.")
    found = [
        path
        for path in sorted(own.glob("**/func/*"), key=natural_order)
        if kind_of(path) == kind
        and (not tasks or entities_of(path).get("task") in tasks)
        and (not sessions or entities_of(path).get("ses") in [name.removeprefix("ses-") for name in sessions])
    ]
    what = f"{kind} runs" + (f" of task {' or '.join(tasks)}" if tasks else "")
    if not found:
        raise DataError(
            f"{where}: no {what} in {own}. Check options: task and kind, and that fMRIPrep wrote them (several echoes "
            "combined: single ones are not read)."
        )
    found = _choose(found, "space", space, what, where)
    found = _choose(found, "resolution", resolution, what, where)
    several = len({entities_of(path).get("task") for path in found}) > 1
    return [_run_files(folder, path, kind, with_task=several) for path in found]


def natural_order(path: Path) -> list[list[tuple[int, str]]]:
    """Give the key that sorts paths folder by folder, and ``run-10`` after ``run-9``.

    Parameters
    ----------
    path : Path
        A path.

    Returns
    -------
    list of list of (int, str)
        What :func:`sorted` compares.

    Examples
    --------
    >>> [path.name for path in sorted([Path("run-10"), Path("run-9")], key=natural_order)]
    ['run-9', 'run-10']
    """
    return [
        [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", part)]
        for part in path.parts
    ]


def entities_of(path: Path) -> dict[str, str]:
    """Read the entities of a file's name, such as ``{"sub": "01", "task": "movie"}``."""
    return dict(re.findall(r"(?:^|_)([A-Za-z]+)-([A-Za-z0-9+]+)", path.name))


def kind_of(path: Path) -> str | None:
    """Tell what preprocessed scans a file holds by its name; None of another file, of one echo, and of phases."""
    entities = entities_of(path)
    if "echo" in entities or entities.get("part", "mag") != "mag":
        return None
    return next((kind for kind, endings in ENDINGS.items() if any(re.search(end, path.name) for end in endings)), None)


def _value(path: Path, what: str) -> str:
    entities = entities_of(path)
    return entities.get("space", "") if what == "space" else entities.get("res", entities.get("den", ""))


def _choose(paths: list[Path], what: str, wanted: str, runs: str, where: str) -> list[Path]:
    """Keep the files of one space, or resolution."""
    there = sorted({_value(path, what) for path in paths})
    if not wanted and len(there) > 1:
        raise DataError(
            f"{where}: {runs} lie in several places ({', '.join(name or 'native' for name in there)}). Choose one with "
            f"options: {what}."
        )
    kept = [path for path in paths if not wanted or _value(path, what) == wanted]
    if not kept:
        raise DataError(
            f"{where}: no {runs} with {what} {wanted}; there are {', '.join(name or 'native' for name in there)}. "
            f"Choose one of them with options: {what}."
        )
    return kept


def _run_files(folder: Path, bold: Path, kind: str, *, with_task: bool) -> RunFiles:
    entities = entities_of(bold)
    parts = [
        f"{key}-{value}" for key, value in entities.items() if key not in OF_FILES or (key == "task" and with_task)
    ]
    prefix = re.split(r"_(?:space|hemi|res|den|desc|bold|cohort)(?=[-_.])", bold.name)[0]
    beside = bold.parent
    right = bold.with_name(bold.name.replace("_hemi-L", "_hemi-R").replace(".L.func", ".R.func"))
    masks = [
        bold.with_name(bold.name.replace("_desc-preproc_bold", "_desc-brain_mask")),
        bold.with_name(bold.name.replace("_preproc.", "_brainmask.")),
    ]
    masks = [path for path in masks if path != bold]
    confounds = [beside / f"{prefix}{ending}" for ending in CONFOUNDS]
    raw = folder / bold.parent.relative_to(next(path for path in bold.parents if path.name.startswith("sub-")).parent)
    events = [*_inherited(folder, raw, entities, "events.tsv"), beside / f"{prefix}_events.tsv"]
    stem = re.sub(r"\.(nii(\.gz)?|func\.gii|dtseries\.nii)$", "", bold.name)
    sidecars = [beside / f"{stem}{ending}" for ending in JSON_ENDINGS[kind]]
    sidecars += [raw / f"{prefix}_bold.json", *_inherited(folder, raw, entities, "bold.json")]
    sidecars += [folder / f"task-{entities.get('task', '')}_bold.json"]
    return RunFiles(
        name="_".join(parts) or f"task-{entities.get('task', 'unknown')}",
        bold=(bold, right) if kind == "surface" else (bold,),
        mask=next((path for path in masks if path.is_file()), masks[0]) if kind == "volume" else None,
        confounds=next((path for path in confounds if path.is_file()), confounds[0]),
        events=next((path for path in events if path.is_file()), raw / f"{prefix}_events.tsv"),
        sidecars=tuple(dict.fromkeys(sidecars)),
    )


def _inherited(folder: Path, raw: Path, entities: Mapping[str, str], ending: str) -> list[Path]:
    """Find the files that hold for a run by BIDS' inheritance: from its own folder up to the data set's, nearest first.

    Of one folder, the file that shares most with the run comes first. Files of one echo hold for all of them together.
    """
    found: list[Path] = []
    for level in (raw, *(parent for parent in raw.parents if parent.is_relative_to(folder))):
        stated = [(path, entities_of(path)) for path in level.glob(f"*{ending}")]
        fitting = [
            (-len(own), path)
            for path, own in stated
            if all(_number(entities.get(key)) == _number(own[key]) for key in own if key not in ("echo", "part"))
        ]
        found += [path for _, path in sorted(fitting)]
    return found


def _number(value: str | None) -> str | None:
    """Take ``run-01`` and ``run-1`` as the same run: versions of fMRIPrep write either."""
    return value.lstrip("0") or "0" if value is not None and value.isdecimal() else value


def read_sidecar(path: Path, where: str) -> dict[str, Any]:
    """Read a JSON file that says how scans were made.

    Parameters
    ----------
    path : Path
        The file.
    where : str
        Data set, subject and run.

    Returns
    -------
    dict
        What it states.

    Raises
    ------
    DataError
        If it is damaged or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot read {path} ({error}). Get it again, or correct it.") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: {path} must hold a JSON object, found a {type(content).__name__}. Get it again.")
    return content


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a run's name fits one of some patterns such as ``"*run-5"``."""
    return any(fnmatch(name, pattern) for pattern in patterns)
