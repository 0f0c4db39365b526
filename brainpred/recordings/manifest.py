"""Data set manifests: what a data set is, who is in it, where its files lie, which reader reads them."""

import inspect
import re
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainpred.errors import ConfigError, ManifestError
from brainpred.storage import write_json

__all__ = [
    "MAX_TR_S",
    "TR_TOLERANCE_S",
    "Atlas",
    "Download",
    "Manifest",
    "RunEntry",
    "load_manifest",
    "manifest_folder",
    "manifest_names",
    "manifest_path",
    "manifest_schema",
]

TEMPLATE = "template"
MAX_TR_S = 100.0  # a longer repetition time is one in milliseconds
TR_TOLERANCE_S = 0.001  # rounding in headers and JSON files
# What every recording must state.
_REQUIRED = ("reader", "subjects", "tr_s")
# What has a meaning for pictures too; everything else is of scans alone.
_OF_PICTURES = {"name", "title", "version", "doi", "licence", "citation", "access", "folder", "kind", "downloads",
                "defects", "notes"}  # fmt: skip


def _stays_inside(name: str) -> str:
    """Refuse a name that leads out of the data set's folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
        raise ValueError(f"{name!r} leads out of the data set's folder: give a name below it, with / between folders")
    return name


def _no_step_up(name: str) -> str:
    """Allow a name below the data set's folder, or a whole path."""
    return name if PurePosixPath(name).is_absolute() else _stays_inside(name)


def _in_seconds(tr_s: float) -> float:
    if tr_s > MAX_TR_S:
        raise ValueError(f"{tr_s:g} looks like milliseconds: state seconds, {tr_s / 1000:g}")
    return tr_s


def _whole_path(folder: str) -> str:
    if not Path(folder).is_absolute():
        raise ValueError(f"{folder!r} must be a whole path, such as {Path(folder).absolute()}")
    return folder


InsideName = Annotated[str, Field(min_length=1), AfterValidator(_stays_inside)]
InsideOrWhole = Annotated[str, Field(min_length=1), AfterValidator(_no_step_up)]


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
    unpack : bool
        Whether it is a zip or tar archive whose files belong into the data set's folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^\w[\w.-]*$")
    url: str = Field(pattern=r"^https?://\S+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    unpack: bool = False


class RunEntry(BaseModel):
    """Describe a run.

    Attributes
    ----------
    name : str
        Name, unique in the data set; ``{run}`` in the names of files stands for it.
    role : {"train", "test"}
        What it serves for.
    stimulus : str or None
        Clip that it shows, one of the manifest's stimuli; test runs that share one are repeats.
    session : str or None
        Session it was measured in; ``{session}`` in the names of files stands for it.
    onset_s : float
        When the clip begins, in seconds from the first scan of the file.
    scans : list of int or None
        Scans of the file that are kept, counted from 0, up to one that is not: ``[0, 300]`` keeps 300. By this a part
        is left out that other runs show as well. All repeats of a clip keep the same.
    files : dict of str to str
        Files of this run that differ from the manifest's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.-]+$")
    role: Literal["train", "test"]
    stimulus: str | None = None
    session: str | None = None
    onset_s: float = Field(default=0.0, allow_inf_nan=False)
    scans: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=2, max_length=2)
    files: dict[str, InsideName] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _keeps_scans(self) -> Self:
        if self.scans is not None and self.scans[0] >= self.scans[1]:
            raise ValueError(
                f"run {self.name} keeps no scan from {self.scans[0]} up to {self.scans[1]}: give [first, end]"
            )
        return self


class Atlas(BaseModel):
    """Name an image of numbered regions.

    Attributes
    ----------
    image : str
        Image with a whole number for every voxel; 0: no region.
    labels : str
        Table (TSV) with the columns ``index`` and ``name``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: InsideName
    labels: InsideName


class Manifest(BaseModel):
    """Describe a data set.

    Names of files are relative to the data set's folder, and may hold ``{subject}``, ``{session}``, ``{run}`` and
    ``{hemi}`` (L, R).

    Attributes
    ----------
    name, title, licence, citation, access : str
        What it is, how it may be used and cited, and how a user gets it.
    version : str
        Release of the data that the manifest is written for; empty where releases are not numbered.
    doi : str or None
        Digital object identifier, where one is known for certain.
    folder : str or None
        Where the data set lies, as a whole path; in the folder ``name`` of the data folder where it is not stated.
    kind : {"recording", "pictures"}
        Scans of people, or pictures alone, whose manifest says nothing of readers, subjects and scans.
    reader : str
        Name of the reader in :mod:`brainpred.recordings.readers`.
    simulated : bool
        Whether the scans were computed and not measured, which tables, figures and reports then say.
    subjects, sessions : list of str
        Subjects (for a simulated data set, examples) and sessions.
    tr_s : float
        Repetition time in seconds.
    frame_rate_hz : float or None
        Frames per second of stimuli that are pictures or arrays, which do not state it themselves.
    files : dict of str to str
        Files the reader needs, by their role.
    runs : list of RunEntry
        The runs, where the reader cannot tell from the files.
    stimuli : dict of str to str
        Movie of each clip, as :meth:`brainpred.stimulus.Movie.parse` reads it; below the data set's folder, or a whole
        path.
    rois : dict of str to str
        Mask image of each region of interest.
    atlas : Atlas or None
        Regions of interest, where one image numbers them.
    mask, voxel_index : str or None
        Image of the voxels to read, or a file (``.npy``, ``.txt``) of their numbers in the data set's own order.
    confounds : str or None
        How confounds are removed, by the name of a strategy.
    high_pass_s : float or None
        Longest period that is kept, in seconds.
    dummy_scans : int
        Scans at the beginning of every run that are left out.
    percent_signal_change : bool
        Whether voxels are scaled to percent of their mean, and not to standard deviation 1.
    options : dict
        What only the data set's reader understands, which checks it.
    downloads : list of Download
        Files that ``brainpred data fetch`` can get.
    defects : list of str
        What is known to be wrong or missing in the data.
    notes : str
        Other things to know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\w[\w.-]*$")
    title: str
    licence: str
    citation: str
    access: str
    version: str = ""
    doi: str | None = Field(default=None, pattern=r"^10\.\d+/\S+$")
    folder: Annotated[str, AfterValidator(_whole_path)] | None = None
    kind: Literal["recording", "pictures"] = "recording"
    reader: str = ""
    simulated: bool = False
    subjects: list[str] = Field(default_factory=list, min_length=1)
    sessions: list[str] = Field(default_factory=list)
    tr_s: Annotated[float, AfterValidator(_in_seconds)] = Field(default=0.0, gt=0, allow_inf_nan=False)
    frame_rate_hz: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    files: dict[str, InsideName] = Field(default_factory=dict)
    runs: list[RunEntry] = Field(default_factory=list)
    stimuli: dict[str, InsideOrWhole] = Field(default_factory=dict)
    rois: dict[str, InsideName] = Field(default_factory=dict)
    atlas: Atlas | None = None
    mask: InsideName | None = None
    voxel_index: InsideName | None = None
    confounds: str | None = None
    high_pass_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    dummy_scans: int = Field(default=0, ge=0)
    percent_signal_change: bool = False
    options: dict[str, Any] = Field(default_factory=dict)
    downloads: list[Download] = Field(default_factory=list)
    defects: list[str] = Field(default_factory=list)
    notes: str = ""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        of_scans = [name for name in type(self).model_fields if name in self.model_fields_set - _OF_PICTURES]
        if self.kind == "pictures" and of_scans:
            raise ValueError(f"a manifest of kind pictures has no {', '.join(of_scans)}: take them out")
        missing = [name for name in _REQUIRED if name not in self.model_fields_set]
        if self.kind == "recording" and missing:
            raise ValueError(f"a manifest of kind recording must state {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _runs_fit(self) -> Self:
        names = [run.name for run in self.runs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"every run needs a name of its own, but there are several {', '.join(twice)}")
        for run in self.runs:
            if run.stimulus is not None and run.stimulus not in self.stimuli:
                raise ValueError(
                    f"run {run.name} shows {run.stimulus}, but the stimuli are {', '.join(self.stimuli) or 'none'}: "
                    "add it to them, or name another"
                )
            if run.session is not None and run.session not in self.sessions:
                raise ValueError(
                    f"run {run.name} is of session {run.session}, but the sessions are "
                    f"{', '.join(self.sessions) or 'none'}: add it to them, or name another"
                )
        if self.rois and self.atlas:
            raise ValueError("regions of interest are either rois or an atlas: take one of the two out")
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
    return sorted(path.stem for path in manifest_folder().glob("*.yaml") if path.stem != TEMPLATE)


def manifest_path(name: str) -> Path:
    """Find the file of a manifest.

    Parameters
    ----------
    name : str
        Data set name, or the path of a manifest file ending in ``.yaml``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name.endswith((".yaml", ".yml")) or len(Path(name).parts) > 1:
        if not Path(name).is_file():
            raise ConfigError(f"The manifest {name} does not exist in {Path.cwd()}. Write it with: brainpred data init")
        return Path(name)
    path = manifest_folder() / f"{name}.yaml"
    if not path.is_file():
        alike = get_close_matches(name, manifest_names(), 1)
        hint = f" Did you mean {alike[0]}?" if alike else ""
        raise ConfigError(f"Unknown data set {name!r}.{hint} Known: {', '.join(manifest_names())}.")
    return path


def manifest_schema() -> dict[str, Any]:
    """Give the JSON Schema of manifests, by which editors complete and check them.

    Returns
    -------
    dict
        The schema; ``data_manifests/manifest.schema.json`` holds the same.
    """
    schema = Manifest.model_json_schema()
    for model in (Manifest, RunEntry, Atlas, Download):
        _add_descriptions(schema if model is Manifest else schema["$defs"][model.__name__], model)
    return schema | {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "brainpred manifest"}


def _add_descriptions(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Take what the docstring says of each attribute over into a schema."""
    summary, _, attributes = inspect.cleandoc(model.__doc__ or "").partition("Attributes\n----------\n")
    schema["description"] = " ".join(summary.split())
    for names, text in re.findall(r"^([\w, ]+) : .*\n((?:    .*\n?)+)", attributes, re.MULTILINE):
        for name in names.split(", "):
            schema["properties"][name]["description"] = " ".join(text.split())


class _Loader(yaml.SafeLoader):
    """Read YAML, and refuse an entry that is stated twice: of two, the last would be taken without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Make a dictionary of unique keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                what = f"{key.value} is stated twice: keep one"
                raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


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
    path = manifest_path(name)
    try:
        content: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        return Manifest.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(_describe(**detail) for detail in error.errors(include_url=False))
        raise ManifestError(
            f"Manifest {path} is malformed: {wrong}. Compare it with {manifest_folder() / TEMPLATE}.yaml."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"Manifest {path} is malformed: {error}") from error


def _describe(*, loc: tuple[str | int, ...], msg: str, input: object, **_: object) -> str:
    """Say in a few words what is wrong at one place of a manifest."""
    message = msg.removeprefix("Value error, ")
    where = ".".join(map(str, loc))
    received = "" if isinstance(input, dict) else f", received {input!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{received}" if where else message


if __name__ == "__main__":
    write_json(manifest_folder() / "manifest.schema.json", manifest_schema())
