"""Look at every file of a data set and read every run once: what is present, missing, corrupt."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import pooch

from brainpred.errors import DataError
from brainpred.movies.video import VIDEO_SUFFIXES, frame_times, probe_video
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.archives import archive_names
from brainpred.recordings.bids_files import subject_label
from brainpred.recordings.fetch import dataset_file, dataset_folder, dataset_movies
from brainpred.recordings.manifest import Manifest, load_manifest
from brainpred.recordings.readers import check_subject, load_recording
from brainpred.recordings.readers.bids import BidsOptions
from brainpred.recordings.readers.bids_check import look_at_files
from brainpred.recordings.readers.simulated import is_written
from brainpred.stimulus import Movie

__all__ = ["ANOTHER", "CORRUPT", "MISSING", "PRESENT", "Check", "verify_dataset"]

PRESENT, MISSING, CORRUPT = "present", "missing", "corrupt"
ANOTHER = "another"
PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Check:
    """Say what was found.

    Attributes
    ----------
    subject : str
        Whose it is; empty where it belongs to all.
    what : str
        What was looked at: a file's role, a clip or a run.
    file : str
        File, relative to the data set's folder; empty where there are several.
    state : {"present", "missing", "corrupt", "another"}
        What it is; another: whole, but not the file of which the manifest states the checksum.
    detail : str
        What was read, or what is wrong and what to do; empty for a file that :attr:`Manifest.access` tells how to get.
    """

    subject: str
    what: str
    file: str
    state: str
    detail: str = ""


def verify_dataset(
    dataset: str,
    data: Path | str | None = None,
    *,
    subjects: Sequence[str] | None = None,
    reporter: Reporter = SILENT,
) -> list[Check]:
    """Look at all that a manifest names: downloads by their checksums, movies to their ends, scans voxel by voxel.

    One run is in memory at a time.

    Parameters
    ----------
    dataset : str
        Name of the data set, or path of a manifest file.
    data : Path or str, optional
        Folder that holds the data sets.
    subjects : sequence of str, optional
        Subjects to look at; all by default.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of Check
        One a file, a clip and a run.

    Raises
    ------
    ConfigError
        If the data set is not known, a subject is not in it, or the data folder does not exist.
    ManifestError
        If the manifest is malformed or names no reader there is.
    """
    manifest = load_manifest(dataset)
    for subject in subjects or ():
        check_subject(manifest, subject)
    checks = [*_downloads(manifest, data), *_movies(manifest, data, reporter)]
    checks += _named_files(manifest, data, "")
    wanted = list(subjects or manifest.subjects)
    with reporter.task("Reading the scans", len(wanted)) as advance:
        for subject in wanted:
            files = _named_files(manifest, data, subject)
            checks += files
            if manifest.reader == "bids" and dataset_folder(manifest, data).is_dir():
                checks += _bids_runs(dataset, manifest, data, subject)
            elif all(check.state == PRESENT for check in files):
                checks += _runs(dataset, manifest, data, subject)
            advance(1)
    return checks


def _downloads(manifest: Manifest, data: Path | str | None) -> Iterator[Check]:
    folder = dataset_folder(manifest, data)
    for download in manifest.downloads:
        path, remedy = folder / download.file, f"Run: brainpred data fetch {manifest.name}"
        if not path.is_file():
            yield Check("", "download", download.file, MISSING, remedy)
        elif pooch.file_hash(str(path)) != download.sha256:
            damaged = _is_damaged(path)
            state = "It is damaged." if damaged else "Its checksum is another: packed otherwise, or another release."
            detail = f"{state} To have the manifest's: delete it. {remedy}"
            yield Check("", "download", download.file, CORRUPT if damaged else ANOTHER, detail)
        else:
            yield Check("", "download", download.file, PRESENT, "checksum as stated")
            for name in archive_names(path) if download.unpack else ():
                if not (folder / name).exists():
                    yield Check("", "unpacked", name, MISSING, remedy)


def _is_damaged(path: Path) -> bool:
    """Tell whether what should be an archive cannot be unpacked; other files tell nothing of themselves."""
    try:
        if path.suffix in (".zip", ".npz"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is not None
        if ".tar" in path.suffixes or path.suffix == ".tgz":
            with tarfile.open(path) as archive:
                for member in archive:
                    stream = archive.extractfile(member)
                    while stream is not None and stream.read(PIECE_BYTES):
                        pass
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError):
        return True
    return False


def _movies(manifest: Manifest, data: Path | str | None, reporter: Reporter) -> Iterator[Check]:
    """Play every movie without looking at it."""
    folder = dataset_folder(manifest, data)
    with reporter.task("Playing the movies", len(manifest.stimuli)) as advance:
        for name, address in manifest.stimuli.items():
            try:
                movie = dataset_movies(manifest.model_copy(update={"stimuli": {name: address}}), data)[name]
                path = movie.excerpts[0].path
                if path.exists():
                    yield Check("", f"clip {name}", _below(path, folder), PRESENT, _played(movie))
                else:
                    yield Check("", f"clip {name}", _below(path, folder), MISSING)
            except DataError as error:
                yield Check("", f"clip {name}", address, CORRUPT, str(error))
            advance(1)


def _played(movie: Movie) -> str:
    """Play a movie, or each of a folder of them, and say what it is."""
    path = movie.excerpts[0].path
    films = sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES) if path.is_dir() else []
    for film in films:
        frame_times(film)
    if films:
        return f"{len(films)} movies"
    times_s, info = frame_times(movie), probe_video(movie)
    return f"{len(times_s)} frames of {info.height}x{info.width}, {info.duration_s:.1f} s"


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _named_files(manifest: Manifest, data: Path | str | None, subject: str) -> list[Check]:
    """Look for the files that a manifest names: those of a subject, or with none those that belong to all."""
    is_bids = manifest.reader == "bids"  # whose scans are looked at run by run
    names = {} if is_bids else dict(manifest.files)
    names |= {f"ROI {name}": file for name, file in manifest.rois.items()}
    if manifest.atlas:
        names |= {"atlas": manifest.atlas.image, "atlas labels": manifest.atlas.labels}
    names |= {role: name for role, name in (("mask", manifest.mask), ("voxel index", manifest.voxel_index)) if name}
    folder = dataset_folder(manifest, data)
    found: dict[Path, Check] = {}
    for role, name, run, session in _for_every_run(manifest, names):
        if is_bids and role not in names:
            continue
        fields = {field for _, field, _, _ in Formatter().parse(name) if field}
        if ("subject" in fields) != bool(subject):
            continue
        for hemi in ("L", "R") if "hemi" in fields else ("",):
            try:
                path = dataset_file(manifest, name, data, subject=subject, session=session, run=run, hemi=hemi)
            except DataError as error:
                found[folder / name] = Check(subject, role, name, CORRUPT, str(error))
                continue
            state = PRESENT if path.is_file() else MISSING
            found.setdefault(path, Check(subject, role, _below(path, folder), state))
    return list(found.values())


def _for_every_run(manifest: Manifest, names: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Give role, name, run and session of every file."""
    for role, name in names.items():
        if "{run}" not in name and "{session}" not in name:
            yield role, name, "", ""
        elif manifest.runs:
            for run in manifest.runs:
                if role not in run.files:
                    yield role, name, run.name, run.session or ""
        else:
            for session in manifest.sessions:
                yield role, name, "", session
    for entry in manifest.runs:
        for role, name in entry.files.items():
            yield role, name, entry.name, entry.session or ""


def _bids_runs(dataset: str, manifest: Manifest, data: Path | str | None, subject: str) -> list[Check]:
    """Look at every file of a subject's runs; read the scans as decoding would, or, where that fails, by themselves."""
    try:
        found = list(look_at_files(manifest, subject, data, read_scans=False))
    except DataError as error:
        derivatives = manifest.options.get("derivatives", BidsOptions().derivatives)
        own = dataset_folder(manifest, data) / str(derivatives) / subject_label(subject)
        return [Check(subject, "recording", "", CORRUPT if own.is_dir() else MISSING, str(error))]
    runs = list(_runs(dataset, manifest, data, subject))
    cannot_be_opened = runs[0].what == "recording"
    if cannot_be_opened:
        found = list(look_at_files(manifest, subject, data, read_scans=True))
    folder, read_by_run = dataset_folder(manifest, data), {check.what: check for check in runs}
    checks = []
    for one in found:
        state = MISSING if not one.is_there else CORRUPT if one.wrong else PRESENT
        read = read_by_run.get(f"run {one.run}") if one.role == "scans" and state == PRESENT else None
        detail = one.wrong or one.detail
        if read is not None:
            state, detail = read.state, read.detail
        checks.append(Check(subject, f"{one.run} {one.role}", _below(one.path, folder), state, detail))
    if cannot_be_opened and all(check.state == PRESENT for check in checks):
        checks += runs
    return checks


def _runs(dataset: str, manifest: Manifest, data: Path | str | None, subject: str) -> Iterator[Check]:
    """Open a subject's recording and read its runs, one after the other."""
    if manifest.reader == "simulated" and not is_written(subject, data):
        remedy = f"It is made on first use, or by: brainpred data simulate --subject {subject}"
        yield Check(subject, "recording", "", MISSING, remedy)
        return
    if manifest.reader != "simulated" and not dataset_folder(manifest, data).is_dir():
        yield Check(subject, "recording", "", MISSING)
        return
    try:
        recording = load_recording(dataset, subject, data)
    except DataError as error:
        yield Check(subject, "recording", "", CORRUPT, str(error))
        return
    for run in recording.runs:
        try:
            n_scans, n_voxels = recording.read_run(run).shape
            yield Check(subject, f"run {run.name}", run.file, PRESENT, f"{n_scans} scans of {n_voxels} voxels")
        except DataError as error:
            yield Check(subject, f"run {run.name}", run.file, CORRUPT, str(error))
