"""Data set manifests: what a data set is, who is in it, where its files lie, which reader reads them."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainpred.errors import ConfigError, ManifestError

__all__ = ["Manifest", "load_manifest", "manifest_folder", "manifest_names"]


class Manifest(BaseModel):
    """Describe a data set.

    Attributes
    ----------
    name, title, licence, citation, access : str
        What it is, how it may be used and cited, and how a user gets it.
    doi : str or None
        Digital object identifier, where one is known for certain.
    reader : str
        Name of the reader in :mod:`brainpred.recordings.readers`.
    subjects : list of str
        Subjects; for a simulated data set, examples.
    tr_s : float
        Repetition time in seconds.
    files : dict of str to str
        Files the reader needs, relative to the data set's folder; ``{subject}`` stands for the subject.
    notes : str
        Known defects and other things to know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    licence: str
    citation: str
    access: str
    doi: str | None = None
    reader: str
    subjects: list[str] = Field(min_length=1)
    tr_s: float = Field(gt=0)
    files: dict[str, str] = Field(default_factory=dict)
    notes: str = ""


def manifest_folder() -> Path:
    """Give the folder of the manifests: inside an installed package, or the repository's own.

    Returns
    -------
    Path
        The folder.
    """
    packaged = Path(str(files("brainpred"))) / "data_manifests"
    return packaged if packaged.is_dir() else packaged.parents[1] / "data_manifests"


def manifest_names() -> list[str]:
    """List the data sets that have a manifest.

    Returns
    -------
    list of str
        Names, sorted.
    """
    return sorted(path.stem for path in manifest_folder().glob("*.yaml"))


def load_manifest(name: str) -> Manifest:
    """Read and check the manifest of a data set.

    Parameters
    ----------
    name : str
        Data set name, or the path of a manifest file ending in ``.yaml``.

    Returns
    -------
    Manifest
        The manifest.

    Raises
    ------
    ConfigError
        If no such data set is known.
    ManifestError
        If the manifest is malformed.
    """
    path = Path(name) if name.endswith(".yaml") else manifest_folder() / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"Unknown data set {name!r}. Known: {', '.join(manifest_names())}.")
    try:
        content: Any = yaml.safe_load(path.read_text())
        return Manifest.model_validate(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise ManifestError(f"Manifest {path} is malformed: {error}") from error
