"""Where data lie: the folder of data sets that a user keeps, and the folder that brainpred fills itself."""

import os
from pathlib import Path

import pooch

from brainpred.errors import ConfigError, DataError
from brainpred.recordings.manifest import Manifest

__all__ = ["cache_folder", "data_folder", "dataset_files"]


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
        If one is missing; the message says how to get the data.
    """
    folder = data_folder(data) / manifest.name
    paths = {role: folder / name.format(subject=subject) for role, name in manifest.files.items()}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(f"{manifest.name}/{subject}: missing {', '.join(missing)}. {manifest.access}")
    return paths
