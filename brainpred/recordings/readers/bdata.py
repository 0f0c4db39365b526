"""Read BData, the files of KamitaniLab: samples by columns, with metadata that say what the columns are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainpred.arrays import absence, open_hdf5
from brainpred.errors import DataError
from brainpred.recordings.array_files import read_columns, read_rows
from brainpred.recordings.bids_files import matches
from brainpred.recordings.fetch import dataset_file, dataset_movies
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.placing import place_runs
from brainpred.recordings.readers.options import ReaderOptions, files_of, read_options
from brainpred.recordings.recording import LazyScans, Recording, Run
from brainpred.recordings.selection import select_voxels
from brainpred.recordings.spaces import NoSpace, Space, Volume

__all__ = ["BDataOptions", "read"]

# Names in files of bdpy today, and of before.
ARRAYS, METADATA = ("dataset", "dataSet"), ("metadata", "metaData")
GRID_TOLERANCE = 0.01  # of a voxel


class BDataOptions(ReaderOptions):
    """Say which columns and samples are meant.

    Attributes
    ----------
    voxels : str
        Metadata that mark the columns of voxels.
    roi_prefix : str
        Beginning of the names of metadata that mark an ROI.
    test_runs : list of str
        Names of test runs, such as ``"ses-02_*"``, where the manifest lists no runs.
    """

    voxels: str = "VoxelData"
    roi_prefix: str = "ROI_"
    test_runs: list[str] = Field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _BData:
    """What is known before scans are read: all columns but the voxels' of all samples, and the metadata."""

    n_samples: int
    keys: dict[str, NDArray[np.float64]]
    runs: NDArray[np.float64]
    sessions: NDArray[np.float64] | None


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a subject.

    Samples are scans, in the order of the file. A new run begins where the column ``Run`` (or ``Session``) changes;
    runs are named ``run-01``, ..., with ``ses-01_`` before it where there are several sessions. Voxels whose metadata
    ``voxel_x``, ``voxel_y`` and ``voxel_z`` (mm) lie on a grid become a volume.

    Parameters
    ----------
    manifest : Manifest
        The data set, with the file ``bdata`` (``.h5`` or ``.mat``); runs give roles and stimuli, by name. Options are
        those of :class:`BDataOptions`.
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
        If the file is missing, damaged, or lacks runs or voxels.
    """
    options, (name,) = read_options(manifest, BDataOptions), files_of(manifest, "bdata")
    label, again = f"{manifest.name}/{subject}", f"Get it again: {manifest.access}"
    path = dataset_file(manifest, name, data, subject=subject)
    content = _open(path, label, again)
    marked = content.keys.get(options.voxels)
    if marked is None or not (marked == 1).any():
        raise DataError(
            f"{label}: {path.name} marks no voxels as {options.voxels}; its metadata are {', '.join(content.keys)}. "
            "State options: voxels."
        )
    columns = np.flatnonzero(marked == 1)
    cells, order, affine, grid = _place(content.keys, columns)
    columns = columns[order]
    rois = {
        key.removeprefix(options.roi_prefix): values[columns] == 1
        for key, values in content.keys.items()
        if key.startswith(options.roi_prefix)
    }

    chosen = select_voxels(manifest, subject, data, len(columns), None, own_rois=rois)
    wanted = np.zeros(len(marked), dtype=bool)
    wanted[columns[chosen.inside]] = True
    # Columns are read in the file's order, and brought into that of the volume.
    within = np.argsort(np.argsort(columns[chosen.inside]))
    entries = {entry.name: entry for entry in manifest.runs}
    stretches = _stretches(content)
    if missing := [entry for entry in entries if entry not in stretches]:
        raise DataError(
            f"{label}, run {missing[0]}: the manifest lists it, but {path.name} holds {', '.join(stretches)} alone. "
            "Name runs as the file does."
        )
    names = [name for name in stretches if not entries or name in entries]
    roles = {
        name: entries[name].role if entries else "test" if matches(name, options.test_runs) else "train"
        for name in names
    }
    shown = {name: (entries[name].stimulus, entries[name].onset_s) if entries else (None, 0.0) for name in names}
    stimulus_of_run, stimuli = place_runs(dataset_movies(manifest, data), shown, manifest.tr_s)

    def lazily(name: str) -> LazyScans:
        def read_scans() -> NDArray[np.float32]:
            return _read(path, wanted, stretches[name], f"{label}, run {name}", again)[:, within]

        return LazyScans((stretches[name].stop - stretches[name].start, int(wanted.sum())), read_scans)

    runs = [Run(name, roles[name], lazily(name), stimulus_of_run.get(name), file=path.name) for name in names]
    space: Space = NoSpace(int(wanted.sum()))
    if grid is not None:
        volume = np.zeros(grid, dtype=np.uint8)
        volume.ravel()[cells[chosen.inside]] = 1
        mask = nib.Nifti1Image(volume, affine)
        mask.header.set_xyzt_units("mm")
        space = Volume(mask)
    return chosen.recording(manifest, subject, runs, space, stimuli)


def _find(file: Any, names: tuple[str, str]) -> Any:
    for name in names:
        if name in file:
            return file[name]
    raise KeyError(names[0])


def _is_of_matlab(metadata: Any) -> bool:
    """Tell whether MATLAB wrote an HDF5 file: its cells are references to arrays of characters."""
    return h5py.check_ref_dtype(metadata["key"].dtype) is not None


def _open(path: Path, label: str, again: str) -> _BData:
    """Read metadata, and the columns that tell runs and sessions."""
    if not path.is_file():
        raise DataError(f"{label}: {path} {absence(path)}. {again}")
    if h5py.is_hdf5(path):
        with open_hdf5(path, label, again) as file:
            metadata, array = _find(file, METADATA), _find(file, ARRAYS)
            values = np.asarray(metadata["value"][()], dtype=np.float64)
            if _is_of_matlab(metadata):  # v7.3, whose axes h5py sees from the other end
                cells = [file[cell][()] for cell in np.ravel(metadata["key"][()])]
                names = ["".join(map(chr, np.ravel(cell))) for cell in cells]
                keys = dict(zip(names, values.T, strict=True))
                return _told(keys, array.shape[::-1], lambda column: array[column], label, path)
            names = [key.decode() if isinstance(key, bytes) else str(key) for key in metadata["key"][()]]
            keys = dict(zip(names, values, strict=True))
            return _told(keys, array.shape, lambda column: array[:, column], label, path)
    array, keys = _load_mat(path, label, again)
    return _told(keys, array.shape, lambda column: array[:, column], label, path)


def _load_mat(path: Path, label: str, again: str) -> tuple[NDArray[Any], dict[str, NDArray[np.float64]]]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path)
        metadata, array = _find(content, METADATA)[0, 0], _find(content, ARRAYS)
        names = [str(np.ravel(name)[0]) for name in np.ravel(metadata["key"])]
        return array, dict(zip(names, np.asarray(metadata["value"], dtype=np.float64), strict=True))
    except KeyError as error:
        raise DataError(f"{label}: {path} lacks what BData hold ({error.args[0]}). {again}") from error
    except (OSError, ValueError, TypeError, IndexError, NotImplementedError, MatReadError) as error:
        raise DataError(f"{label}: cannot read {path} as BData ({error}). {again}") from error


def _told(
    keys: dict[str, NDArray[np.float64]], shape: tuple[int, ...], column_of: Any, label: str, path: Path
) -> _BData:
    if len(shape) != 2 or any(values.shape != (shape[1],) for values in keys.values()):
        raise DataError(
            f"{label}: {path.name} has {shape} samples and columns, but metadata of other columns. Repair it."
        )

    def column(name: str) -> NDArray[np.float64] | None:
        found = np.flatnonzero(keys.get(name, np.empty(0)) == 1)
        return np.asarray(column_of(int(found[0])), dtype=np.float64) if len(found) == 1 else None

    runs, sessions = column("Run"), column("Session")
    if runs is None:
        raise DataError(f"{label}: {path.name} has no column that its metadata call Run, so runs are unknown. Add it.")
    for name, numbers in {"Run": runs, "Session": sessions}.items():
        if numbers is None:
            continue
        odd = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.floor(numbers)))
        if len(odd):
            raise DataError(
                f"{label}: the column {name} of {path.name} must hold whole numbers, but sample {odd[0]} has "
                f"{numbers[odd[0]]:g}. Repair it."
            )
    return _BData(int(shape[0]), keys, runs, sessions)


def _stretches(content: _BData) -> dict[str, slice]:
    """Tell where each run begins and ends."""
    sessions = np.zeros(content.n_samples) if content.sessions is None else content.sessions
    both = np.column_stack([sessions, content.runs])
    begins = [0, *(np.flatnonzero((both[1:] != both[:-1]).any(axis=1)) + 1).tolist()]
    several = len(np.unique(sessions)) > 1
    found: dict[str, slice] = {}
    for first, last in zip(begins, [*begins[1:], content.n_samples], strict=True):
        name = (f"ses-{int(sessions[first]):02d}_" if several else "") + f"run-{int(content.runs[first]):02d}"
        if name in found:  # numbered anew in a session that nobody marked
            name += f"_part-{sum(other.startswith(name) for other in found) + 1}"
        found[name] = slice(first, last)
    return found


def _read(path: Path, wanted: NDArray[np.bool_], scans: slice, where: str, again: str) -> NDArray[np.float32]:
    if h5py.is_hdf5(path):
        with open_hdf5(path, where, again) as file:
            read = read_rows if _is_of_matlab(_find(file, METADATA)) else read_columns
            return read(_find(file, ARRAYS), wanted, scans)
    return read_columns(_load_mat(path, where, again)[0], wanted, scans)


def _place(
    keys: dict[str, NDArray[np.float64]], columns: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float64], tuple[int, ...] | None]:
    """Find the grid of the voxels' coordinates: their cells in it, ascending, and the order that makes them so."""
    nothing = np.arange(len(columns))
    if not {"voxel_x", "voxel_y", "voxel_z"} <= set(keys):
        return nothing, nothing, np.eye(4), None
    places_mm = np.column_stack([keys[f"voxel_{axis}"][columns] for axis in "xyz"])
    if not np.isfinite(places_mm).all():
        return nothing, nothing, np.eye(4), None
    steps = []
    for axis in range(3):
        apart = np.diff(np.unique(places_mm[:, axis]))
        steps.append(float(apart[apart > GRID_TOLERANCE].min()) if (apart > GRID_TOLERANCE).any() else 1.0)
    low = places_mm.min(axis=0)
    cells = (places_mm - low) / steps
    whole = np.rint(cells).astype(np.int64)
    grid = tuple(int(size) for size in whole.max(axis=0) + 1)
    flat = np.ravel_multi_index(tuple(whole.T), grid)
    if np.abs(cells - whole).max() > GRID_TOLERANCE or len(np.unique(flat)) < len(flat):
        return nothing, nothing, np.eye(4), None
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = low
    order = np.argsort(flat)
    return flat[order], order, affine, grid
