"""Write files so that an interrupted run leaves nothing half-written, and fingerprint what they hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainpred.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "atomic_path",
    "file_fingerprint",
    "fingerprint",
    "make_directory",
    "output_folder",
    "read_json",
    "write_json",
    "write_table",
    "write_text",
]


@contextmanager
def _refused_as_config_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror}. Choose another output folder.") from error


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` if the block ends well, else remove it.

    Parameters
    ----------
    path : Path or str
        Final name. Its folder must exist.

    Yields
    ------
    Path
        Name to write to, in the same folder and with the same suffix.

    Raises
    ------
    ConfigError
        If the system does not allow the file to be written.
    """
    path = Path(path)
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        with _refused_as_config_error(path):
            temporary.touch()
        yield temporary
        with _refused_as_config_error(path):
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def make_directory(path: Path | str) -> Path:
    """Make a folder, with its parents, and check that files can be written into it.

    Parameters
    ----------
    path : Path or str
        The folder; it may exist.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If it cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".part-{os.getpid()}-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"Cannot write to {path}: {error.strerror}. Choose another output folder.") from error
    return path


@contextmanager
def output_folder(path: Path | str) -> Iterator[Path]:
    """Make a folder for results; if the block fails before it wrote any, take the folder away again.

    Parameters
    ----------
    path : Path or str
        The folder; it may exist.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If it cannot be made or written to.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_directory(path)
    try:
        yield path
    except BaseException:
        # Only empty folders can be removed, and only those made here are tried, the innermost first.
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def fingerprint(**parts: Any) -> str:
    """Hash named values into a short key: equal values, equal key, on any machine.

    Parameters
    ----------
    **parts : Any
        Values that JSON can hold.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> fingerprint(a=1, b="x") == fingerprint(b="x", a=1)
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def file_fingerprint(path: Path | str) -> str:
    """Hash the content of a file.

    Parameters
    ----------
    path : Path or str
        An existing file.

    Returns
    -------
    str
        16 hexadecimal digits of its SHA-256.
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON, all or nothing.

    Parameters
    ----------
    path : Path or str
        File to write.
    content : mapping
        What to write.
    """
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as TSV, all or nothing: numbers to six digits, ``n/a`` where there is none.

    Parameters
    ----------
    path : Path or str
        File to write.
    table : DataFrame
        What to write; its index is left out.
    """
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6g", na_rep="n/a")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file in UTF-8, all or nothing.

    Parameters
    ----------
    path : Path or str
        File to write.
    text : str
        What to write.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path or str
        File to read.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    DataError
        If the file is missing or not a JSON object.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}. Delete it and run the command that writes it again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, found {type(content).__name__}.")
    return content
