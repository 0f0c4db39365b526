"""Look at every file of a subject's BIDS runs by itself, so that one that is wrong hides no other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainpred.arrays import absence
from brainpred.errors import DataError
from brainpred.recordings.bids_files import NOWHERE, RunFiles, matches, subject_label
from brainpred.recordings.cleaning import check_confounds
from brainpred.recordings.confounds import load_strategy
from brainpred.recordings.fetch import dataset_folder, dataset_movies
from brainpred.recordings.manifest import Manifest, RunEntry
from brainpred.recordings.readers.bids import (
    KINDS,
    BidsOptions,
    check_times,
    find_files,
    names_clips,
    what_it_shows,
)
from brainpred.recordings.readers.options import read_options
from brainpred.recordings.survey import runs_without_scans
from brainpred.recordings.volumes import read_volume

__all__ = ["Found", "look_at_files"]


@dataclass(frozen=True)
class Found:
    """Say how a file of a run was found.

    Attributes
    ----------
    run : str
        Name of the run.
    role : {"scans", "mask", "confounds", "events", "JSON"}
        What the file is for.
    path : Path
        The file.
    is_there : bool
        Whether there is such a file.
    wrong : str
        What is wrong with it; empty where nothing is.
    detail : str
        What was read.
    """

    run: str
    role: str
    path: Path
    is_there: bool = True
    wrong: str = ""
    detail: str = ""


def look_at_files(manifest: Manifest, subject: str, data: Path | str | None, *, read_scans: bool) -> Iterator[Found]:
    """Look at the scans, mask, confounds, events and JSON files of a subject's runs, as far as they are needed.

    Parameters
    ----------
    manifest : Manifest
        The data set, of the reader ``bids``.
    subject : str
        The subject.
    data : Path or str or None
        Folder that holds the data sets.
    read_scans : bool
        Whether to read scans to their end, or their headers alone.

    Yields
    ------
    Found
        One a file, run by run.

    Raises
    ------
    DataError
        If it is not known which files there should be.
    """
    options = read_options(manifest, BidsOptions)
    label = f"{manifest.name}/{subject}"
    if "bold" in manifest.files or any("bold" in entry.files for entry in manifest.runs):
        files, entries = find_files(manifest, options, subject, data)
        lacking: list[Found] = []
    else:
        all_runs = manifest.model_copy(update={"runs": []}), options.model_copy(update={"test_runs": []})
        files, entries = find_files(*all_runs, subject, data)
        lacking = list(_lacking_runs(manifest, options, subject, data, files))
        if manifest.runs:
            there = {one.name: one for one in files}
            entries = [entry for entry in manifest.runs if entry.name in there]
            files = [there[entry.name] for entry in entries]
    for one, entry in zip(files, entries, strict=True):
        yield from _look_at_run(manifest, options, one, entry, data, f"{label}, run {one.name}", read_scans)
    yield from lacking


def _lacking_runs(
    manifest: Manifest, options: BidsOptions, subject: str, data: Path | str | None, files: Sequence[RunFiles]
) -> Iterator[Found]:
    """Give the runs that the manifest names, or the data set itself has, without scans of fMRIPrep."""
    folder, names = dataset_folder(manifest, data), [one.name for one in files]
    own = folder / options.derivatives / subject_label(subject)
    for run in [entry.name for entry in manifest.runs if entry.name not in names]:
        yield Found(run, "scans", own, is_there=False, wrong="The manifest lists this run.")
    if manifest.runs:
        return
    tasks = [task for task in ([options.task] if isinstance(options.task, str) else options.task) if task]
    sessions = [f"ses-{session.removeprefix('ses-')}_" for session in manifest.sessions]
    for run, path in runs_without_scans(folder, subject, files, tasks).items():
        if not sessions or any(session in path.name for session in sessions):
            names.append(run)
            yield Found(run, "scans", own, is_there=False, wrong=f"There is {path.name}, but no preprocessed scans.")
    for pattern in options.test_runs:
        if not any(matches(name, [pattern]) for name in names):
            yield Found(pattern, "scans", own, is_there=False, wrong="test_runs of the manifest name this run.")


def _look_at_run(
    manifest: Manifest,
    options: BidsOptions,
    one: RunFiles,
    entry: RunEntry,
    data: Path | str | None,
    where: str,
    read_scans: bool,
) -> Iterator[Found]:
    again = f"Get it again: {manifest.access}"
    missing = [path for path in one.bold if not path.is_file()]
    yield from (Found(one.name, "scans", path, is_there=False, wrong=_link(path)) for path in missing)
    scans: Any = None
    if not missing:
        try:
            scans = KINDS[options.kind]([(where, one.bold)], again)
            if read_scans:
                # Files are read to their end whatever is wanted of them: of one voxel, little is kept.
                scans.read(0, np.arange(scans.n_voxels) == 0)
            yield Found(one.name, "scans", one.bold[0], detail=f"{scans.n_scans(0)} scans")
        except DataError as error:
            yield Found(one.name, "scans", one.bold[0], wrong=str(error))
    if one.mask is not None and not (manifest.mask or manifest.voxel_index):
        yield _look(
            one.name, "mask", one.mask,
            lambda path: scans.values_of((path,), where) if scans else read_volume(path, where, again),
        )  # fmt: skip
    if manifest.confounds and one.confounds != NOWHERE:
        yield _look(one.name, "confounds", one.confounds, lambda path: _check_table(manifest, path, scans, where))
    run_s = math.inf if scans is None else scans.n_scans(0) * manifest.tr_s
    header_tr_s, movies = scans and scans.tr_s(0), dataset_movies(manifest, data)
    if one.sidecars or scans is not None:
        yield from _look_at_times(manifest, options, one, header_tr_s, where)
    if entry.stimulus is None and one.events != NOWHERE and (movies or names_clips(one.events)):
        folder = dataset_folder(manifest, data)
        yield _look(
            one.name, "events", one.events,
            lambda path: what_it_shows(manifest, one, entry, movies, folder, 0.0, run_s, where),
        )  # fmt: skip


def _look_at_times(
    manifest: Manifest, options: BidsOptions, one: RunFiles, header_tr_s: float | None, where: str
) -> Iterator[Found]:
    """Look at the JSON file nearest to the scans, and whether all there are agree with the manifest."""
    there = [path for path in one.sidecars if path.is_file()]
    path = (there or [*one.sidecars, *one.bold])[0]
    try:
        check_times(manifest, options, one, header_tr_s, where)
    except DataError as error:
        yield Found(one.name, "JSON", path, is_there=bool(there), wrong=str(error))
        return
    if there:
        yield Found(one.name, "JSON", path)


def _look(run: str, role: str, path: Path, read: Any) -> Found:
    """Read one file, if it is there."""
    if not path.is_file():
        return Found(run, role, path, is_there=False, wrong=_link(path))
    try:
        read(path)
    except DataError as error:
        return Found(run, role, path, wrong=str(error))
    return Found(run, role, path)


def _check_table(manifest: Manifest, path: Path, scans: Any, where: str) -> None:
    confounds = load_strategy(path, str(manifest.confounds), where)
    n_dummies = manifest.dummy_scans
    n_scans = len(confounds) if scans is None else scans.n_scans(0)
    check_confounds(where, confounds[n_dummies:], n_scans - n_dummies, n_dummies)


def _link(path: Path) -> str:
    """Say of a link that leads nowhere that it is one; of what is not there at all, nothing needs to be said."""
    return f"It {absence(path)}." if path.is_symlink() else ""
