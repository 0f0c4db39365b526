"""Read NIfTI volumes scan by scan, and check that mask and scan share a grid."""

import gzip
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainpred.arrays import absence, refusing
from brainpred.errors import DataError
from brainpred.recordings.spaces import Volume

__all__ = ["VolumeFiles", "check_grid", "open_image", "read_volume", "read_volumes", "reading"]

BYTES_AT_ONCE = 2**24
AFFINE_TOLERANCE_MM = 0.01
DAMAGES = (OSError, EOFError, ValueError, IndexError, KeyError, zlib.error, ImageFileError, HeaderDataError)


def reading(path: Path, where: str, remedy: str) -> AbstractContextManager[None]:
    """Turn what nibabel raises over a damaged file into a :class:`DataError`; see :func:`brainpred.arrays.refusing`."""
    return refusing(path, where, remedy, DAMAGES)


def open_image(path: Path, where: str, remedy: str) -> Any:
    """Open an image of any kind that nibabel knows, without reading its data."""
    if not path.is_file():
        raise DataError(f"{where}: {path} {absence(path)}. {remedy}")
    with reading(path, where, remedy):
        return nib.load(path)


def check_grid(where: str, path: Path, image: Any, reference: Path, expected: Any) -> None:
    """Raise :class:`DataError` unless two images share grid and affine.

    Parameters
    ----------
    where : str
        Data set, subject and run.
    path, reference : Path
        The files, for the message.
    image, expected : SpatialImage
        The images; a fourth dimension does not count.
    """
    if image.shape[:3] != expected.shape[:3]:
        raise DataError(
            f"{where}: the grid of {path.name} is {image.shape[:3]}, that of {reference.name} {expected.shape[:3]}. "
            "Use the mask that belongs to this scan, or resample it (nilearn.image.resample_to_img)."
        )
    worst = float(np.abs(image.affine - expected.affine).max())
    if not worst <= AFFINE_TOLERANCE_MM:
        raise DataError(
            f"{where}: the affine of {path.name} differs from that of {reference.name} by up to {worst:.3g} mm, "
            "so that they lie elsewhere in space. Use the mask that belongs to this scan, or resample it."
        )


def read_volume(path: Path, where: str, remedy: str) -> tuple[Any, NDArray[Any]]:
    """Read a three-dimensional image, such as a mask or an atlas.

    Parameters
    ----------
    path : Path
        NIfTI file.
    where, remedy : str
        Whose it is, and how to get it again.

    Returns
    -------
    image : SpatialImage
        The image.
    values : ndarray (x, y, z)
        Its values.
    """
    image = open_image(path, where, remedy)
    with reading(path, where, remedy):
        _check_gzip(path)
        values = np.asanyarray(image.dataobj)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise DataError(f"{where}: {path.name} must be three-dimensional, but its shape is {values.shape}.")
    return image, values


def read_volumes(
    path: Path, inside: NDArray[np.bool_], scans: NDArray[np.integer], where: str, remedy: str
) -> NDArray[np.float32]:
    """Read some scans of a four-dimensional image, a few at a time.

    Parameters
    ----------
    path : Path
        NIfTI file, compressed or not.
    inside : ndarray of bool (x, y, z)
        Voxels to read.
    scans : ndarray of int (n_scans,)
        Scans to read, ascending.
    where, remedy : str
        Whose they are, and how to get them again.

    Returns
    -------
    ndarray of float32 (n_scans, n_voxels)
        Voxels in the order of C-contiguous flattening.
    """
    bold = np.empty((len(scans), int(inside.sum())), dtype=np.float32)
    with reading(path, where, remedy), ExitStack() as stack:
        image = nib.load(path)
        stream = None
        if path.name.endswith(".nii.gz"):  # read in one go, to its end: that is where the checksum is
            stream = stack.enter_context(gzip.open(path))
            holder = nib.FileHolder(fileobj=stream)
            image = type(image).from_file_map(dict.fromkeys(image.file_map, holder))
        step = max(1, BYTES_AT_ONCE // (inside.size * np.dtype(np.float64).itemsize))
        for begin in range(0, len(scans), step):
            wanted = scans[begin : begin + step]
            block = np.asanyarray(image.dataobj[..., wanted[0] : wanted[-1] + 1])  # (x, y, z, n)
            bold[begin : begin + len(wanted)] = block[inside][:, wanted - wanted[0]].T
        if stream is not None:
            _drain(stream)
    return bold


def _check_gzip(path: Path) -> None:
    """Read a compressed file to its end, where its checksum is: nibabel stops before."""
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            _drain(stream)


def _drain(stream: Any) -> None:
    while stream.read(1 << 20):
        pass


class VolumeFiles:
    """Stand for runs of NIfTI volumes on one grid.

    Parameters
    ----------
    runs : sequence of (str, tuple of Path)
        Where each run is from (data set, subject and run), and its file.
    remedy : str
        How to get files again.

    Raises
    ------
    DataError
        If a file is missing or damaged, or lies on another grid than the first.
    """

    def __init__(self, runs: Sequence[tuple[str, tuple[Path, ...]]], remedy: str):
        self._runs, self._remedy = runs, remedy
        self._images = [open_image(path, where, remedy) for where, (path,) in runs]
        first = self._images[0]
        for (where, (path,)), image in zip(runs, self._images, strict=True):
            if len(image.shape) != 4:
                raise DataError(
                    f"{where}: {path.name} must hold scans in a fourth dimension, but its shape is {image.shape}."
                )
            check_grid(where, path, image, runs[0][1][0], first)
        self.grid: tuple[int, ...] = first.shape[:3]
        self.n_voxels = int(np.prod(self.grid))

    def n_scans(self, run: int) -> int:
        """Count the scans of a run."""
        return int(self._images[run].shape[3])

    def tr_s(self, run: int) -> float | None:
        """Give the repetition time of a run by its header: None, since headers of this kind cannot be relied on."""
        return None

    def values_of(self, paths: tuple[Path, ...], where: str) -> NDArray[Any]:
        """Read an image of one number a voxel on the grid of the scans, (n_voxels,)."""
        (path,) = paths
        image = open_image(path, where, self._remedy)
        check_grid(where, path, image, self._runs[0][1][0], self._images[0])
        return read_volume(path, where, self._remedy)[1].ravel()

    def space(self, inside: NDArray[np.bool_]) -> Volume:
        """Give the space of the voxels that are read."""
        return Volume.like(inside.reshape(self.grid), self._images[0])

    def read(self, run: int, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Read the scans of a run, (n_scans, n_voxels_inside)."""
        where, (path,) = self._runs[run]
        return read_volumes(path, inside.reshape(self.grid), np.arange(self.n_scans(run)), where, self._remedy)
