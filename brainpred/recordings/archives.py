"""Unpack zip and tar archives into a data set's folder, and nowhere else."""

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from brainpred.errors import DataError

__all__ = ["archive_names", "unpack_archive"]

DAMAGES = (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, RuntimeError, NotImplementedError)


def archive_names(archive: Path) -> list[str]:
    """List the files of an archive, and check that none would lie outside the folder it is unpacked into.

    Parameters
    ----------
    archive : Path
        Zip file, or tar file that may be compressed.

    Returns
    -------
    list of str
        Names of its files, with ``/`` between folders.

    Raises
    ------
    DataError
        If it is damaged or no archive, or a name or a link leads out of the folder.
    """
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as packed:
                names = [entry.filename for entry in packed.infolist() if not entry.is_dir()]
            links: list[tuple[str, str]] = []
        else:
            with tarfile.open(archive) as tar:
                members = tar.getmembers()
            if odd := [member.name for member in members if member.isdev()]:
                raise DataError(f"Archive {archive} holds {odd[0]}, which is a device and no file. Do not trust it.")
            names = [member.name for member in members if not member.isdir()]
            links = [(member.name, member.linkname) for member in members if member.issym()]
            links += [("", member.linkname) for member in members if member.islnk()]
    except DAMAGES as error:
        raise DataError(
            f"Archive {archive} cannot be read ({error}): truncated or no zip or tar file. Delete it and "
            "fetch it again."
        ) from error
    _check_names(archive, names, links)
    return names


def _check_names(archive: Path, names: Sequence[str], links: Sequence[tuple[str, str]]) -> None:
    for name in names:
        if _leads_out(name):
            raise DataError(
                f"Archive {archive} holds the name {name!r}, which leads out of the folder it is unpacked "
                "into. Nothing was unpacked; do not trust it, and get the data from another place."
            )
    for name, target in links:
        if _leads_out(os.path.normpath(PurePosixPath(name).parent / target)):
            raise DataError(
                f"Archive {archive} holds a link {name or target} to {target!r}, out of the folder it is unpacked "
                "into. Nothing was unpacked; do not trust it, and get the data from another place."
            )


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in (path.parts or ("",))[0]


def unpack_archive(archive: Path, folder: Path) -> list[Path]:
    """Unpack an archive; files that are in the folder already are left as they are.

    Nothing appears under its own name before all could be unpacked.

    Parameters
    ----------
    archive : Path
        Zip file, or tar file that may be compressed.
    folder : Path
        Folder to unpack into, which exists.

    Returns
    -------
    list of Path
        The files that were added.

    Raises
    ------
    DataError
        If the archive is damaged, a name or a link leads out of the folder, in the archive or in the folder itself, or
        the disk is too small.
    """
    names = archive_names(archive)
    added = []
    with TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        try:
            if archive.suffix.lower() == ".zip":
                with zipfile.ZipFile(archive) as packed:
                    _check_room(archive, sum(entry.file_size for entry in packed.infolist()), folder)
                    packed.extractall(temporary)
            else:
                with tarfile.open(archive) as tar:
                    _check_room(archive, sum(member.size for member in tar.getmembers()), folder)
                    tar.extractall(temporary, filter="data")  # which follows links, as the check of names cannot
        except DAMAGES as error:
            raise DataError(f"Archive {archive} cannot be unpacked ({error}). Delete it and fetch it again.") from error
        for name in names:
            path = folder / name
            if not path.parent.resolve().is_relative_to(folder.resolve()):
                raise DataError(
                    f"Archive {archive} holds {name!r}, but {path.parent} leads to {path.parent.resolve()}, out of the "
                    "folder it is unpacked into. Remove that link, and unpack again."
                )
        for name in names:
            path = folder / name
            if not os.path.lexists(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(temporary) / name, path)
                added.append(path)
    return added


def _check_room(archive: Path, n_bytes: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise DataError(
            f"Archive {archive} holds {n_bytes / 1e9:.1f} GB, but the disk of {folder} has {free / 1e9:.1f} GB left. "
            "Make room, or choose another folder with --data."
        )
