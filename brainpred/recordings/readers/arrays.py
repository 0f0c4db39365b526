"""Read plain arrays (.npy, .npz, HDF5, MATLAB), a file a run, or one file with a sidecar that lists its runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainpred.errors import DataError, ManifestError
from brainpred.recordings.array_files import ArrayFile
from brainpred.recordings.fetch import dataset_array, dataset_file, dataset_movies
from brainpred.recordings.manifest import TR_TOLERANCE_S, Manifest
from brainpred.recordings.placing import place_runs
from brainpred.recordings.readers.options import ReaderOptions, files_of, read_options
from brainpred.recordings.recording import LazyScans, Recording, Run
from brainpred.recordings.selection import select_voxels
from brainpred.recordings.spaces import NoSpace, Space, Volume
from brainpred.recordings.volumes import check_grid, read_volume

__all__ = ["ArraysOptions", "Sidecar", "SidecarRun", "read"]


class ArraysOptions(ReaderOptions):
    """Say how arrays are laid out.

    Attributes
    ----------
    axes : {"scans,voxels", "voxels,scans"}
        Their axes, of MATLAB's files as MATLAB shows them.
    """

    axes: Literal["scans,voxels", "voxels,scans"] = "scans,voxels"


class SidecarRun(BaseModel):
    """Describe a run in a sidecar.

    Attributes
    ----------
    name : str
        Name.
    n_scans : int
        Its length.
    role : {"train", "test"}
        What it serves for.
    stimulus : str or None
        Clip that it shows.
    onset_s : float
        When the clip begins, in seconds from the first scan.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    n_scans: int = Field(gt=0)
    role: Literal["train", "test"]
    stimulus: str | None = None
    onset_s: float = Field(default=0.0, allow_inf_nan=False)


class Sidecar(BaseModel):
    """Describe an array, in a JSON file beside it.

    Attributes
    ----------
    RepetitionTime : float
        Repetition time in seconds, compared with the manifest's.
    runs : list of SidecarRun
        Runs that the array holds one after the other.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    RepetitionTime: float
    runs: list[SidecarRun] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class _Stretch:
    """A run's place in a file."""

    name: str
    role: str
    stimulus: str | None
    onset_s: float
    file: ArrayFile
    scans: slice

    @property
    def n_scans(self) -> int:
        return len(range(*self.scans.indices(self.file.n_scans)))


@dataclass(frozen=True, eq=False)
class _Mask:
    """Where columns lie: the cells of an image, ascending."""

    path: Path
    image: Any
    cells: NDArray[np.integer]

    def space(self, inside: NDArray[np.bool_]) -> Volume:
        """Give the space of the columns that are read."""
        volume = np.zeros(self.image.shape[:3], dtype=bool)
        volume.ravel()[self.cells[inside]] = True
        return Volume.like(volume, self.image)


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a subject.

    Parameters
    ----------
    manifest : Manifest
        The data set. Either ``files`` has ``bold`` with ``{run}``, and the manifest lists the runs; or it has ``bold``
        and ``sidecar``, a JSON file as :class:`Sidecar` describes. ``bold`` is a file, or ``FILE::NAME`` where one
        holds several arrays. ``mask``, an image with as many voxels above 0 as the arrays have, says where they lie, in
        the order of C-contiguous flattening. Options are those of :class:`ArraysOptions`.
    subject : str
        The subject.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Recording
        The scans, read when they are asked for.

    Raises
    ------
    DataError
        If files are missing, damaged, or do not belong together.
    """
    options, label = read_options(manifest, ArraysOptions), f"{manifest.name}/{subject}"
    again = f"Get it again: {manifest.access}"
    stretches = _stretches(manifest, options, subject, data, label, again)
    n_voxels = stretches[0].file.n_voxels
    for one in stretches:
        if one.file.n_voxels != n_voxels:
            raise DataError(
                f"{label}, run {one.name}: {one.file.path.name} has {one.file.n_voxels} voxels, "
                f"{stretches[0].file.path.name} has {n_voxels}. All runs need the same voxels; if scans come last, "
                "state options: axes."
            )

    mask = _read_mask(manifest, subject, data, n_voxels, label, again)

    def values_of(name: str) -> NDArray[Any]:
        if mask is None:
            raise DataError(
                f"{label}: nobody says where the voxels of these arrays lie, so that {name} cannot choose any. State "
                "files: mask, or use .npy or .txt files of numbers."
            )
        path = dataset_file(manifest, name, data, subject=subject)
        image, values = read_volume(path, label, again)
        check_grid(label, path, image, mask.path, mask.image)
        return values.ravel()[mask.cells]

    chosen = select_voxels(manifest, subject, data, n_voxels, values_of)
    shown = {one.name: (one.stimulus, one.onset_s) for one in stretches}
    stimulus_of_run, stimuli = place_runs(dataset_movies(manifest, data), shown, manifest.tr_s)

    def lazily(one: _Stretch) -> LazyScans:
        return LazyScans((one.n_scans, int(chosen.inside.sum())), lambda: one.file.read(chosen.inside, one.scans))

    runs = [
        Run(one.name, one.role, lazily(one), stimulus_of_run.get(one.name), file=one.file.path.name)
        for one in stretches
    ]
    space: Space = NoSpace(int(chosen.inside.sum())) if mask is None else mask.space(chosen.inside)
    return chosen.recording(manifest, subject, runs, space, stimuli)


def _stretches(
    manifest: Manifest, options: ArraysOptions, subject: str, data: Path | str | None, label: str, again: str
) -> Sequence[_Stretch]:
    """Find every run: a file of its own, or a part of one."""
    (name,) = files_of(manifest, "bold")
    voxels_first = options.axes == "voxels,scans"
    if "{run}" in name or any("bold" in entry.files for entry in manifest.runs):
        if not manifest.runs:
            raise ManifestError(
                f"Manifest {manifest.name}: files: bold names a file a run, so that runs must be listed."
            )
        found = []
        for entry in manifest.runs:
            path, array = dataset_array(
                manifest,
                entry.files.get("bold", name),
                data,
                subject=subject,
                session=entry.session or "",
                run=entry.name,
            )
            where = f"{label}, run {entry.name}"
            file = ArrayFile(path, array, voxels_first=voxels_first, where=where, remedy=again)
            found.append(_Stretch(entry.name, entry.role, entry.stimulus, entry.onset_s, file, slice(None)))
        return found
    (sidecar_name,) = files_of(manifest, "sidecar")
    sidecar_path = dataset_file(manifest, sidecar_name, data, subject=subject)
    sidecar = _read_sidecar(sidecar_path, label, again)
    if abs(sidecar.RepetitionTime - manifest.tr_s) > TR_TOLERANCE_S:
        raise DataError(
            f"{label}: {sidecar_path.name} states a repetition time of {sidecar.RepetitionTime:g} s, the manifest "
            f"{manifest.tr_s:g} s. Correct the one that is wrong (seconds are meant)."
        )
    path, array = dataset_array(manifest, name, data, subject=subject)
    file = ArrayFile(path, array, voxels_first=voxels_first, where=label, remedy=again)
    ends = np.cumsum([one.n_scans for one in sidecar.runs]).tolist()
    if ends[-1] != file.n_scans:
        raise DataError(
            f"{label}: the runs of {sidecar_path.name} have {ends[-1]} scans together, {path.name} has {file.n_scans}. "
            "Correct n_scans; if voxels come first, state options: axes."
        )
    return [
        _Stretch(one.name, one.role, one.stimulus, one.onset_s, file, slice(end - one.n_scans, end))
        for one, end in zip(sidecar.runs, ends, strict=True)
    ]


def _read_sidecar(path: Path, label: str, again: str) -> Sidecar:
    if not path.is_file():
        raise DataError(f"{label}: the sidecar {path} is missing. {again}")
    try:
        return Sidecar.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise DataError(f"{label}: {path} does not describe scans ({wrong}). Correct it.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{label}: cannot read {path} ({error}). Correct it, it must be JSON.") from error


def _read_mask(
    manifest: Manifest, subject: str, data: Path | str | None, n_voxels: int, label: str, again: str
) -> _Mask | None:
    """Read the image that says where columns lie, where there is one."""
    if "mask" not in manifest.files:
        return None
    path = dataset_file(manifest, manifest.files["mask"], data, subject=subject)
    image, values = read_volume(path, label, again)
    cells = np.flatnonzero(values.ravel() > 0)
    if len(cells) != n_voxels:
        raise DataError(
            f"{label}: {path.name} has {len(cells)} voxels above 0, but the arrays have {n_voxels}. Use the mask that "
            "they were made with."
        )
    return _Mask(path, image, cells)
