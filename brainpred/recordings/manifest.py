"""Data set manifests: what a data set is, who is in it, where its files lie, which reader reads them."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainpred.errors import ConfigError, ManifestError

__all__ = ["Download", "Manifest", "load_manifest", "manifest_folder", "manifest_names"]


# What has a meaning for scans alone; those that every recording must state come first.
_OF_RECORDINGS = ("reader", "subjects", "tr_s", "files")


class Download(BaseModel):
    """Say where a file can be had.

    Attributes
    ----------
    file : str
        Its name in the data set's folder.
    url : str
        Address, ``http://`` or ``https://``.
    sha256 : str
        Checksum of what lies there, 64 hexadecimal digits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^\w[\w.-]*$")
    url: str = Field(pattern=r"^https?://\S+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """Describe a data set.

    Attributes
    ----------
    name, title, licence, citation, access : str
        What it is, how it may be used and cited, and how a user gets it.
    doi : str or None
        Digital object identifier, where one is known for certain.
    kind : {"recording", "pictures"}
        Scans of people, or pictures alone, whose manifest has no reader, subjects, tr_s and files (here empty, or 0).
    reader : str
        Name of the reader in :mod:`brainpred.recordings.readers`.
    subjects : list of str
        Subjects; for a simulated data set, examples.
    tr_s : float
        Repetition time in seconds.
    files : dict of str to str
        Files the reader needs, relative to the data set's folder; ``{subject}`` stands for the subject.
    downloads : list of Download
        Files that ``brainpred data fetch`` can get.
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
    kind: Literal["recording", "pictures"] = "recording"
    reader: str = ""
    subjects: list[str] = Field(default_factory=list, min_length=1)
    tr_s: float = Field(default=0.0, gt=0)
    files: dict[str, str] = Field(default_factory=dict)
    downloads: list[Download] = Field(default_factory=list)
    notes: str = ""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        given = [name for name in _OF_RECORDINGS if name in self.model_fields_set]
        if self.kind == "pictures" and given:
            raise ValueError(f"a manifest of kind pictures has no {', '.join(given)}: take them out")
        missing = [name for name in _OF_RECORDINGS[:3] if name not in given]
        if self.kind == "recording" and missing:
            raise ValueError(f"a manifest of kind recording must state {', '.join(missing)}")
        return self


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
