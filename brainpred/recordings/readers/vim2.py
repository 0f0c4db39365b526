"""Read the voxel responses of vim-2 (Nishimoto et al., 2011): one MATLAB v7.3 file a subject."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainpred.arrays import open_hdf5
from brainpred.errors import DataError
from brainpred.recordings.array_files import read_rows
from brainpred.recordings.fetch import dataset_file
from brainpred.recordings.manifest import TR_TOLERANCE_S, Manifest
from brainpred.recordings.readers.options import ReaderOptions, files_of, read_options
from brainpred.recordings.readers.parts import Part, runs_of_parts
from brainpred.recordings.recording import LazyScans, Recording
from brainpred.recordings.selection import select_voxels
from brainpred.recordings.spaces import UNPLACED, NoSpace, Space, Volume
from brainpred.recordings.volumes import read_volume

__all__ = ["Vim2Options", "read"]


class Vim2Options(ReaderOptions):
    """Say how the responses are cut into runs.

    Attributes
    ----------
    n_train_runs : int
        Runs of equal length that ``rt`` holds one after the other.
    voxel_mm : (float, float, float)
        Size of a voxel along the axes of the ROIs, slices first. The file does not say how the head lay, so that images
        have the space code 0.
    """

    n_train_runs: int = Field(default=12, ge=1)
    voxel_mm: tuple[float, float, float] = (2.5, 2.0, 2.0)


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a subject.

    As h5py sees the file, ``rt`` is (voxels, scans of all training runs), ``rva`` (voxels, repeats, scans) the test
    clip shown several times, ``rv`` (voxels, scans) its mean, which is read where ``rva`` is missing, and ``roi/*``
    are masks whose C-contiguous flattening gives the voxels' order. Runs are named ``train-01``, ... and
    ``test_repeat-01``, ...; their stimuli ``train-01``, ... and ``test``. Voxels that are NaN in the first scans lie
    outside the cortex and are left out, unless the manifest names voxels.

    Parameters
    ----------
    manifest : Manifest
        The data set, with the file ``responses``; options are those of :class:`Vim2Options`.
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
        If the file is missing, damaged, or another one than expected.
    """
    options, (name,) = read_options(manifest, Vim2Options), files_of(manifest, "responses")
    label, again = f"{manifest.name}/{subject}", f"Get it again: {manifest.access}"
    path = dataset_file(manifest, name, data, subject=subject)
    with open_hdf5(path, label, again) as file:
        n_voxels, n_train = file["rt"].shape
        test = "rva" if "rva" in file else "rv"
        repeats: list[tuple[int, ...]] = (
            [(number,) for number in range(file["rva"].shape[1])] if test == "rva" else [()]
        )
        n_test = file[test].shape[-1]
        if file[test].shape[0] != n_voxels:
            raise DataError(
                f"{label}: {path.name} has {n_voxels} voxels in rt, {file[test].shape[0]} in {test}. {again}"
            )
        _check_tr(file, manifest, label, path)
        finite = np.isfinite(file["rt"][:, 0]) & np.isfinite(file[test][(slice(None), *repeats[0], 0)])
        rois = {roi: file[f"roi/{roi}"][()] > 0 for roi in file.get("roi", {})}
    grid = next(iter(rois.values())).shape if rois else None
    for roi, mask in rois.items():
        if mask.size != n_voxels or mask.shape != grid:
            raise DataError(
                f"{label}: {path.name} has {n_voxels} voxels in rt, but the grid of roi/{roi} is {mask.shape}. {again}"
            )
    if n_train % options.n_train_runs:
        raise DataError(
            f"{label}: rt of {path.name} holds {n_train} scans, which are not {options.n_train_runs} runs of equal "
            "length. State options: n_train_runs."
        )
    chosen = select_voxels(
        manifest, subject, data, n_voxels,
        lambda name: read_volume(dataset_file(manifest, name, data, subject=subject), label, again)[1].ravel(),
        own_mask=finite, own_mask_lacks="are NaN", own_rois={roi: mask.ravel() for roi, mask in rois.items()},
    )  # fmt: skip

    def lazily(name: str, key: str, first: int, n_scans: int, *leading: int) -> LazyScans:
        def read_scans() -> NDArray[np.float32]:
            with open_hdf5(path, f"{label}, run {name}", again) as file:
                return read_rows(file[key], chosen.inside, slice(first, first + n_scans), *leading)

        return LazyScans((n_scans, int(chosen.inside.sum())), read_scans)

    n_scans = n_train // options.n_train_runs
    train = [(f"train-{number + 1:02d}", number * n_scans) for number in range(options.n_train_runs)]
    parts = [Part(name, name, "train", lazily(name, "rt", first, n_scans)) for name, first in train]
    for number, leading in enumerate(repeats, 1):
        name = f"test_repeat-{number:02d}" if leading else "test"
        parts.append(Part(name, "test", "test", lazily(name, test, 0, n_test, *leading)))
    runs, stimuli = runs_of_parts(manifest, data, parts, path.name, label)
    space, notes = _space(chosen.inside, grid, options), (UNPLACED,) if grid else ()
    return chosen.recording(manifest, subject, runs, space, stimuli, *notes)


def _check_tr(file: dict, manifest: Manifest, label: str, path: Path) -> None:
    if "ei/TRsec" in file:
        tr_s = float(np.ravel(file["ei/TRsec"][()])[0])
        if abs(tr_s - manifest.tr_s) > TR_TOLERANCE_S:
            raise DataError(
                f"{label}: {path.name} states a repetition time of {tr_s:g} s, the manifest {manifest.tr_s:g} s. "
                "Correct the manifest."
            )


def _space(inside: NDArray[np.bool_], grid: tuple[int, ...] | None, options: Vim2Options) -> Space:
    if grid is None:
        return NoSpace(int(inside.sum()))
    return Volume.unplaced(inside.reshape(grid), options.voxel_mm)
