"""Where data lie, the folder that a user keeps and the one that brainpred fills itself, and how files get there."""

import os
from pathlib import Path

import pooch

from brainpred.arrays import absence, split_address
from brainpred.errors import ConfigError, DataError, ManifestError
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.archives import archive_names, unpack_archive
from brainpred.recordings.download import download_file
from brainpred.recordings.manifest import Download, Manifest
from brainpred.stimulus import Movie
from brainpred.storage import output_folder

__all__ = [
    "cache_folder",
    "check_inside",
    "data_folder",
    "dataset_array",
    "dataset_file",
    "dataset_files",
    "dataset_folder",
    "dataset_movies",
    "fetch_dataset",
]

DOWNLOADED, THERE, ANOTHER = "downloaded", "already there", "already there, with another checksum"
UNPACKED = "downloaded and unpacked"


def cache_folder() -> Path:
    """Give the folder for what can be computed again: simulated subjects and features.

    Returns
    -------
    Path
        ``$BRAINPRED_CACHE``, or the system's cache folder.
    """
    return Path(os.environ.get("BRAINPRED_CACHE") or pooch.os_cache("brainpred"))


def data_folder(data: Path | str | None = None) -> Path:
    """Give the folder that holds one folder a data set.

    Parameters
    ----------
    data : Path or str, optional
        Folder that the user names.

    Returns
    -------
    Path
        ``data``, else ``$BRAINPRED_DATA``, else the cache folder.

    Raises
    ------
    ConfigError
        If the folder named does not exist.
    """
    named = data or os.environ.get("BRAINPRED_DATA")
    if named and not Path(named).is_dir():
        raise ConfigError(
            f"The data folder {named} does not exist. Make it, or name another with --data or BRAINPRED_DATA."
        )
    return Path(named) if named else cache_folder()


def dataset_folder(manifest: Manifest, data: Path | str | None = None) -> Path:
    """Give the folder of a data set.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Path
        The folder that the manifest states, else the one of its name in the data folder.

    Raises
    ------
    ConfigError
        If the data folder named does not exist.
    """
    return Path(manifest.folder) if manifest.folder else data_folder(data) / manifest.name


def dataset_file(
    manifest: Manifest,
    name: str,
    data: Path | str | None = None,
    *,
    subject: str = "",
    session: str = "",
    run: str = "",
    hemi: str = "",
) -> Path:
    """Give the path of a file that a manifest names, which need not exist.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    name : str
        Name of the file, as the manifest gives it; the name of an array in it does not count.
    data : Path or str, optional
        Folder that holds the data sets.
    subject, session, run, hemi : str
        What stands for ``{subject}``, ``{session}``, ``{run}`` and ``{hemi}``.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    DataError
        If a link leads out of the data set's folder.
    ManifestError
        If the name holds other things in braces.
    """
    return dataset_array(manifest, name, data, subject=subject, session=session, run=run, hemi=hemi)[0]


def dataset_array(
    manifest: Manifest,
    name: str,
    data: Path | str | None = None,
    *,
    subject: str = "",
    session: str = "",
    run: str = "",
    hemi: str = "",
) -> tuple[Path, str]:
    """Give the path of a file that a manifest names, and of an array in it where it is named as ``FILE::NAME``.

    Parameters
    ----------
    manifest, name, data, subject, session, run, hemi
        As of :func:`dataset_file`.

    Returns
    -------
    path : Path
        The path.
    array : str
        Name of the array; empty where none is given.

    Raises
    ------
    DataError, ManifestError
        As of :func:`dataset_file`.
    """
    try:
        filled = name.format(subject=subject, session=session, run=run, hemi=hemi)
    except (KeyError, IndexError, ValueError) as error:
        raise ManifestError(
            f"{manifest.name}: the file name {name!r} may hold {{subject}}, {{session}}, {{run}} and {{hemi}}, and no "
            "other braces."
        ) from error
    folder = dataset_folder(manifest, data)
    path, array = split_address(folder / filled) if "::" in filled else (folder / filled, "")
    check_inside(path, folder, ", run ".join(filter(None, (f"{manifest.name}/{subject}", run))))
    return path, array


def check_inside(path: Path, folder: Path, label: str) -> None:
    """Raise :class:`DataError` if a link, or a step up, leads from within a folder out of it.

    Parameters
    ----------
    path : Path
        File below the folder, which need not exist.
    folder : Path
        The folder, which may be a link itself.
    label : str
        Whose file it is, for the message.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{label}: {path} is a link to {path.resolve()}, outside the data set's folder {folder}. Put the file "
            "itself there, or name the folder where it lies in the manifest (folder: ...)."
        )


def dataset_files(manifest: Manifest, subject: str, data: Path | str | None = None) -> dict[str, Path]:
    """Find the files of a subject.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    subject : str
        The subject.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    dict of str to Path
        Existing file of each role that the manifest names.

    Raises
    ------
    DataError
        If one is missing, with how to get the data, or a link leads out of the data set's folder.
    """
    paths = {role: dataset_file(manifest, name, data, subject=subject) for role, name in manifest.files.items()}
    missing = [f"{path} {absence(path)}" for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(f"{manifest.name}/{subject}: {', '.join(missing)}. {manifest.access}")
    return paths


def dataset_movies(manifest: Manifest, data: Path | str | None = None) -> dict[str, Movie]:
    """Find the movies that a manifest names; they are opened later.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    dict of str to Movie
        Movie of each clip, beginning with the first scan: readers move it to where a run shows it
        (:meth:`brainpred.stimulus.Movie.shifted`).

    Raises
    ------
    DataError
        If a link leads out of the data set's folder.
    """
    folder = dataset_folder(manifest, data)
    movies = {}
    for name, address in manifest.stimuli.items():
        movies[name] = Movie.parse(folder / address, manifest.frame_rate_hz)
        if not Path(address).is_absolute():
            check_inside(movies[name].excerpts[0].path, folder, f"{manifest.name}, clip {name}")
    return movies


def fetch_dataset(manifest: Manifest, data: Path | str | None = None, reporter: Reporter = SILENT) -> dict[Path, str]:
    """Download the files of a data set, checked by their checksums; those that are there already are left alone.

    A download that broke off is gone on with. Archives are unpacked beside themselves where the manifest says so; files
    of them that are there already are left alone. A file that was put there by hand is kept even where its checksum is
    another: the same content may be packed otherwise. Whoever reads it checks what it holds.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    data : Path or str, optional
        Folder that holds the data sets.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    dict of Path to str
        Each file, and what was done: ``"downloaded"``, ``"downloaded and unpacked"``, ``"already there"`` or
        ``"already there, with another checksum"``.

    Raises
    ------
    ConfigError
        If the data set cannot be downloaded, or the folder cannot be written to.
    DataError
        If the network fails, or gives something else than expected, or an archive is damaged or would write
        elsewhere. Under its own name nothing half-written is left.
    """
    if not manifest.downloads:
        raise ConfigError(f"{manifest.name} is not for brainpred to download. {manifest.access}")
    folder = dataset_folder(manifest, data)
    done = {folder / download.file: _state(folder / download.file, download) for download in manifest.downloads}
    if any(what in (DOWNLOADED, UNPACKED) for what in done.values()):
        with output_folder(folder):  # written to only where something is missing: it may be a folder to read from
            for download in manifest.downloads:
                path = folder / download.file
                if done[path] in (DOWNLOADED, UNPACKED) and not path.is_file():
                    with reporter.task(f"Downloading {download.file}", 100) as advance:
                        download_file(download, path, advance)
                if done[path] == UNPACKED:
                    unpack_archive(path, folder)
    return done


def _state(path: Path, download: Download) -> str:
    """Say what is there, or else what is to be done."""
    if not path.is_file():
        return UNPACKED if download.unpack else DOWNLOADED
    if pooch.file_hash(str(path)) != download.sha256:
        return ANOTHER
    if download.unpack and not all((path.parent / name).exists() for name in archive_names(path)):
        return UNPACKED
    return THERE
