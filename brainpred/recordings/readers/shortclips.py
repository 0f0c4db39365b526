"""Read the responses of shortclips (Huth et al., 2012): HDF5 files as the voxelwise tutorials keep them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from brainpred.arrays import open_hdf5
from brainpred.errors import DataError
from brainpred.recordings.array_files import read_columns
from brainpred.recordings.fetch import dataset_file
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.readers.options import ReaderOptions, files_of, read_options
from brainpred.recordings.readers.parts import Part, runs_of_parts
from brainpred.recordings.recording import LazyScans, Recording
from brainpred.recordings.selection import select_voxels
from brainpred.recordings.spaces import MappedSurfaces, NoSpace, Space

__all__ = ["ShortclipsOptions", "read"]

ROI_PREFIX = "roi_mask_"


class ShortclipsOptions(ReaderOptions):
    """Say how images are made.

    Attributes
    ----------
    surface : str
        Map of the mapper file by which voxels become vertices, such as ``"voxel_to_fsaverage"``.
    """

    surface: str = "voxel_to_fsaverage"


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a subject.

    ``responses`` holds ``Y_train`` (scans, voxels), whose runs begin at ``run_onsets``, and ``Y_test`` (repeats, scans,
    voxels). ``mapper``, where the manifest states it, holds masks ``roi_mask_*`` and sparse maps of voxels to surfaces.
    Runs are named ``train-01``, ... and ``test_repeat-01``, ...; their stimuli ``train-01``, ... and ``test``. Voxels
    that are NaN in the first scans are left out, unless the manifest names voxels.

    Parameters
    ----------
    manifest : Manifest
        The data set, with the file ``responses`` and perhaps ``mapper``; options are those of
        :class:`ShortclipsOptions`.
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
        If a file is missing, damaged, or another one than expected.
    """
    options, (name,) = read_options(manifest, ShortclipsOptions), files_of(manifest, "responses")
    label, again = f"{manifest.name}/{subject}", f"Get it again: {manifest.access}"
    path = dataset_file(manifest, name, data, subject=subject)
    with open_hdf5(path, label, again) as file:
        n_train, n_voxels = file["Y_train"].shape
        n_repeats, n_test, n_test_voxels = file["Y_test"].shape
        onsets = np.asarray(file["run_onsets"][()]).astype(np.int64).tolist()
        if n_test_voxels != n_voxels:
            raise DataError(
                f"{label}: {path.name} has {n_voxels} voxels in Y_train, {n_test_voxels} in Y_test. {again}"
            )
        finite = np.isfinite(file["Y_train"][0]) & np.isfinite(file["Y_test"][0, 0])
    if not onsets or onsets[0] != 0 or onsets != sorted(set(onsets)) or onsets[-1] >= n_train:
        raise DataError(
            f"{label}: run_onsets of {path.name} must ascend from 0 and end before scan {n_train}, received {onsets}. "
            f"{again}"
        )
    rois, matrix = _read_mapper(manifest, options, subject, data, n_voxels, label, again)

    chosen = select_voxels(
        manifest, subject, data, n_voxels, None, own_mask=finite, own_mask_lacks="are NaN", own_rois=rois
    )

    def lazily(name: str, key: str, first: int, last: int, *leading: int) -> LazyScans:
        def read_scans() -> NDArray[np.float32]:
            with open_hdf5(path, f"{label}, run {name}", again) as file:
                return read_columns(file[key], chosen.inside, slice(first, last), *leading)

        return LazyScans((last - first, int(chosen.inside.sum())), read_scans)

    parts = []
    for number, (first, last) in enumerate(pairwise([*onsets, n_train]), 1):
        name = f"train-{number:02d}"
        parts.append(Part(name, name, "train", lazily(name, "Y_train", first, last)))
    for number in range(n_repeats):
        name = f"test_repeat-{number + 1:02d}"
        parts.append(Part(name, "test", "test", lazily(name, "Y_test", 0, n_test, number)))
    runs, stimuli = runs_of_parts(manifest, data, parts, path.name, label)
    space: Space = NoSpace(int(chosen.inside.sum()))
    if matrix is not None:
        space = MappedSurfaces(matrix[:, np.flatnonzero(chosen.inside)])
    return chosen.recording(manifest, subject, runs, space, stimuli)


def _read_mapper(
    manifest: Manifest,
    options: ShortclipsOptions,
    subject: str,
    data: Path | str | None,
    n_voxels: int,
    label: str,
    again: str,
) -> tuple[dict[str, NDArray[np.bool_]], Any]:
    """Read ROIs and the map onto surfaces, where the manifest states a mapper."""
    if "mapper" not in manifest.files:
        return {}, None
    path = dataset_file(manifest, manifest.files["mapper"], data, subject=subject)
    with open_hdf5(path, label, again) as file:
        rois = {key.removeprefix(ROI_PREFIX): file[key][()] > 0 for key in file if key.startswith(ROI_PREFIX)}
        parts = [file[f"{options.surface}_{part}"][()] for part in ("data", "indices", "indptr", "shape")]
        matrix = csr_array((parts[0], parts[1], parts[2]), shape=tuple(int(size) for size in parts[3]))
    if matrix.shape[1] != n_voxels or any(mask.shape != (n_voxels,) for mask in rois.values()):
        raise DataError(
            f"{label}: {path.name} maps {matrix.shape[1]} voxels, but the responses have {n_voxels}. Take the mapper "
            "of this subject."
        )
    return rois, matrix
