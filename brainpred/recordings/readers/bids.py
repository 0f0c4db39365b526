"""Read BIDS data sets that fMRIPrep has preprocessed, as volumes, surfaces or grayordinates; or files like those."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainpred.arrays import absence
from brainpred.errors import DataError, ManifestError
from brainpred.recordings.bids_files import NOWHERE, RunFiles, find_runs, matches, read_sidecar
from brainpred.recordings.confounds import load_strategy
from brainpred.recordings.events import read_events
from brainpred.recordings.fetch import check_inside, dataset_file, dataset_folder, dataset_movies
from brainpred.recordings.grayordinates import GrayordinateFiles
from brainpred.recordings.manifest import TR_TOLERANCE_S, Manifest, RunEntry
from brainpred.recordings.placing import Placed, name_stimuli, place_clip
from brainpred.recordings.readers.options import ReaderOptions, files_of, read_options
from brainpred.recordings.recording import LazyScans, Recording, Run
from brainpred.recordings.selection import select_voxels
from brainpred.recordings.spaces import Space
from brainpred.recordings.surfaces import SurfaceFiles
from brainpred.recordings.volumes import VolumeFiles
from brainpred.stimulus import Movie

__all__ = ["KINDS", "BidsOptions", "check_times", "find_files", "names_clips", "read", "what_it_shows"]


class ScanFiles(Protocol):
    """What is read alike from volumes, surfaces and grayordinates: runs on one grid, voxel after voxel."""

    n_voxels: int

    def n_scans(self, run: int) -> int:
        """Count the scans of a run."""
        ...

    def tr_s(self, run: int) -> float | None:
        """Give the repetition time that a run's header states, if it can be relied on."""
        ...

    def values_of(self, paths: tuple[Path, ...], where: str) -> NDArray[Any]:
        """Read an image of one number a voxel, (n_voxels,)."""
        ...

    def space(self, inside: NDArray[np.bool_]) -> Space:
        """Give the space of the voxels that are read."""
        ...

    def read(self, run: int, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Read the scans of a run, (n_scans, n_voxels_inside)."""
        ...


KINDS: Mapping[str, Callable[[Sequence[tuple[str, tuple[Path, ...]]], str], ScanFiles]] = {
    "volume": VolumeFiles,
    "surface": SurfaceFiles,
    "grayordinates": GrayordinateFiles,
}
HEMISPHERES = ("L", "R")


class BidsOptions(ReaderOptions):
    """Say which of fMRIPrep's files are meant.

    Attributes
    ----------
    kind : {"volume", "surface", "grayordinates"}
        NIfTI volumes, GIFTI surfaces of both hemispheres, or CIFTI dense time series.
    derivatives : str
        Folder of fMRIPrep's output, relative to the data set's; or a whole path, where it lies elsewhere.
    task : str or list of str
        Tasks; empty: all.
    space : str
        Space as file names give it, such as ``"T1w"`` or ``"fsaverage5"``; empty: the only one there is.
    resolution : str
        Resolution or density as file names give it; empty: the only one there is.
    test_runs : list of str
        Names of test runs, such as ``"*run-5"``, where the manifest lists no runs.
    check_tr : bool
        Whether a JSON file must state the repetition time of each run. Only for data whose JSON files are lost.
    """

    kind: Literal["volume", "surface", "grayordinates"] = "volume"
    derivatives: str = "derivatives/fmriprep"
    task: str | list[str] = ""
    space: str = ""
    resolution: str = ""
    test_runs: list[str] = Field(default_factory=list)
    check_tr: bool = True


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a subject.

    Runs are found in the folder of fMRIPrep's output. Where the manifest states the file ``bold`` (with ``{run}``,
    ``{session}`` and, for surfaces, ``{hemi}``), its runs are read from there instead, and ``mask``, ``confounds``,
    ``events`` and ``json`` from where it says.

    Parameters
    ----------
    manifest : Manifest
        The data set; options are those of :class:`BidsOptions`.
    subject : str
        The subject, with or without ``sub-``.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Recording
        The scans. Where slice timing was corrected to a time other than the middle of a scan, stimuli are moved by the
        difference.

    Raises
    ------
    DataError
        If files are missing, damaged, or do not belong together.
    ManifestError
        If the options cannot be used.
    """
    options = read_options(manifest, BidsOptions)
    label, folder = f"{manifest.name}/{subject}", dataset_folder(manifest, data)
    files, entries = find_files(manifest, options, subject, data)
    wheres = [f"{label}, run {one.name}" for one in files]
    _check_links(folder, options, files, label)
    again = f"Get it again: {manifest.access}"
    scans = KINDS[options.kind]([(where, one.bold) for where, one in zip(wheres, files, strict=True)], again)

    def values_of(name: str) -> Any:
        hemispheres = HEMISPHERES if options.kind == "surface" else ("",)
        paths = tuple(dataset_file(manifest, name, data, subject=subject, hemi=hemi) for hemi in hemispheres)
        if gone := [path for path in paths if not path.is_file()]:
            raise DataError(
                f"{label}: {gone[0]} {absence(gone[0])}. The manifest names it ({name}): put it there, or "
                "correct its name."
            )
        return scans.values_of(paths, label)

    own_mask = _common_mask(scans, files, wheres) if not (manifest.mask or manifest.voxel_index) else None
    chosen = select_voxels(manifest, subject, data, scans.n_voxels, values_of, own_mask=own_mask)
    shifts = [
        check_times(manifest, options, one, scans.tr_s(number), wheres[number]) for number, one in enumerate(files)
    ]
    movies = dataset_movies(manifest, data)
    lengths_s = [scans.n_scans(number) * manifest.tr_s for number in range(len(files))]
    placed = {
        one.name: shown
        for one, entry, where, shift_s, run_s in zip(files, entries, wheres, shifts, lengths_s, strict=True)
        if (shown := what_it_shows(manifest, one, entry, movies, folder, shift_s, run_s, where)) is not None
    }
    stimulus_of_run, stimuli = name_stimuli(placed, manifest.tr_s)
    runs = []
    for number, (one, entry, where) in enumerate(zip(files, entries, wheres, strict=True)):
        confounds = None if one.confounds == NOWHERE else partial(load_strategy, one.confounds, where=where)
        bold, stimulus = _lazily(scans, number, chosen.inside), stimulus_of_run.get(one.name)
        runs.append(Run(one.name, entry.role, bold, stimulus, confounds, one.bold[0].name))
    space = scans.space(chosen.inside)
    return chosen.recording(manifest, subject, runs, space, stimuli)


def _check_links(folder: Path, options: BidsOptions, files: Sequence[RunFiles], label: str) -> None:
    """Refuse files that lie elsewhere than they seem to."""
    derivatives = folder / options.derivatives  # a whole path stays one
    own = derivatives if Path(options.derivatives).is_absolute() else folder
    if own == folder and not derivatives.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{label}: {derivatives} is a link to {derivatives.resolve()}, outside the data set's folder. State in the "
            f"manifest that it lies there: options: derivatives: {derivatives.resolve()}."
        )
    for one in files:
        where = f"{label}, run {one.name}"
        for path in (*one.bold, one.mask, one.confounds, one.events, *one.sidecars):
            if path is not None and path.exists():
                check_inside(path, own if path.is_relative_to(own) else folder, where)


def _lazily(scans: ScanFiles, number: int, inside: NDArray[np.bool_]) -> LazyScans:
    return LazyScans((scans.n_scans(number), int(inside.sum())), lambda: scans.read(number, inside))


def find_files(
    manifest: Manifest, options: BidsOptions, subject: str, data: Path | str | None
) -> tuple[list[RunFiles], list[RunEntry]]:
    """Find the files of every run, and what the manifest says of it."""
    if "bold" in manifest.files or any("bold" in entry.files for entry in manifest.runs):
        if not manifest.runs:
            raise ManifestError(f"Manifest {manifest.name}: files state bold, so that runs must be listed as well.")
        return [_named(manifest, options, entry, subject, data) for entry in manifest.runs], list(manifest.runs)
    label, folder = f"{manifest.name}/{subject}", dataset_folder(manifest, data)
    tasks = [options.task] if isinstance(options.task, str) else options.task
    found = find_runs(
        folder, options.derivatives, subject, options.kind, tasks=[task for task in tasks if task],
        sessions=manifest.sessions, space=options.space, resolution=options.resolution, where=label,
    )  # fmt: skip
    if not manifest.runs:
        names = [one.name for one in found]
        for pattern in options.test_runs:
            if not any(matches(name, [pattern]) for name in names):
                raise DataError(
                    f"{label}, run {pattern}: test_runs of the manifest name it, but {folder / options.derivatives} "
                    f"holds {', '.join(names)} alone. Put its scans there, or name test runs by patterns that fit all "
                    "subjects."
                )
        roles = ["test" if matches(name, options.test_runs) else "train" for name in names]
        return found, [RunEntry(name=one.name, role=role) for one, role in zip(found, roles, strict=True)]  # type: ignore[arg-type]
    by_name = {one.name: one for one in found}
    missing = [entry.name for entry in manifest.runs if entry.name not in by_name]
    if missing:
        raise DataError(
            f"{label}, run {missing[0]}: the manifest lists it, but {folder / options.derivatives} holds "
            f"{', '.join(by_name)} alone. Put its scans there, or take it out of the manifest."
        )
    return [by_name[entry.name] for entry in manifest.runs], list(manifest.runs)


def _named(
    manifest: Manifest, options: BidsOptions, entry: RunEntry, subject: str, data: Path | str | None
) -> RunFiles:
    """Give the files that the manifest names for a run."""
    names = {**manifest.files, **entry.files}

    def path_of(role: str, hemi: str = "") -> Path:
        if role not in names:
            files_of(manifest, role)
        return dataset_file(
            manifest, names[role], data, subject=subject, session=entry.session or "", run=entry.name, hemi=hemi
        )

    bold = tuple(path_of("bold", hemi) for hemi in (HEMISPHERES if options.kind == "surface" else ("",)))
    confounds, events = (path_of(role) if role in names else NOWHERE for role in ("confounds", "events"))
    mask, sidecar = (path_of(role) if role in names else None for role in ("mask", "json"))
    return RunFiles(entry.name, bold, mask, confounds, events, (sidecar,) if sidecar else ())


def _common_mask(scans: ScanFiles, files: Sequence[RunFiles], wheres: Sequence[str]) -> NDArray[np.bool_] | None:
    """Take the voxels that are in the brain mask of every run."""
    common = None
    for one, where in zip(files, wheres, strict=True):
        if one.mask is None or not one.mask.is_file():
            if isinstance(scans, VolumeFiles):
                raise DataError(
                    f"{where}: fMRIPrep's brain mask of {one.bold[0].name} {absence(one.mask or NOWHERE)}. Put it "
                    "there, or state a mask in the manifest."
                )
            continue
        inside = scans.values_of((one.mask,), where) > 0
        common = inside if common is None else common & inside
    return common


def check_times(
    manifest: Manifest, options: BidsOptions, files: RunFiles, header_tr_s: float | None, where: str
) -> float:
    """Compare repetition times; give how much later than its middle a scan stands for, in seconds."""
    known: dict[str, Any] = {}
    for path in reversed([path for path in files.sidecars if path.is_file()]):
        known |= read_sidecar(path, where)
    if "RepetitionTime" not in known and header_tr_s is None and options.check_tr:
        raise DataError(
            f"{where}: no JSON file states the repetition time of {files.bold[0].name}; looked for "
            f"{', '.join(path.name for path in files.sidecars) or 'files: json'}. Put it there, or state options: "
            "check_tr: false."
        )
    try:
        tr_s = float(known.get("RepetitionTime", header_tr_s or manifest.tr_s))
        start_s = float(known.get("StartTime", manifest.tr_s / 2))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: a JSON file gives times that are no numbers ({error}). Correct it.") from error
    if abs(tr_s - manifest.tr_s) > TR_TOLERANCE_S:
        milliseconds = abs(tr_s / 1000 - manifest.tr_s) <= TR_TOLERANCE_S
        hint = "It looks like milliseconds: BIDS wants seconds. " if milliseconds else ""
        source = "JSON file" if "RepetitionTime" in known else "header"
        raise DataError(
            f"{where}: its {source} states a repetition time of {tr_s:g} s, the manifest {manifest.tr_s:g} s. {hint}"
            "Correct the one that is wrong."
        )
    return start_s - manifest.tr_s / 2 if known.get("SliceTimingCorrected") else 0.0


def what_it_shows(
    manifest: Manifest,
    files: RunFiles,
    entry: RunEntry,
    movies: Mapping[str, Movie],
    folder: Path,
    shift_s: float,
    run_s: float,
    where: str,
) -> Placed | None:
    """Tell what a run shows: as the manifest says, else as its events say."""
    if entry.stimulus is not None:
        return place_clip(entry.stimulus, movies[entry.stimulus], entry.onset_s - shift_s, manifest.tr_s)
    if files.events == NOWHERE or (not movies and not names_clips(files.events)):
        return None
    return read_events(files.events, movies, folder, manifest.tr_s, shift_s, run_s, where, manifest.frame_rate_hz)


def names_clips(events: Path) -> bool:
    """Tell whether a table of events names files of its own."""
    if not events.is_file():
        return False
    with open(events, encoding="utf-8", errors="replace") as stream:
        return bool({"stim_file", "file"} & set(stream.readline().strip().split("\t")))
