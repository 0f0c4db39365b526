"""Read scans out of arrays in files, of scans by voxels or voxels by scans, a part at a time."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.arrays import open_array
from brainpred.errors import DataError

__all__ = ["ArrayFile", "read_columns", "read_rows"]

BYTES_AT_ONCE = 2**23


class ArrayFile:
    """Stand for an array of scans by voxels, or voxels by scans.

    Parameters
    ----------
    path : Path
        The file, of any kind that :func:`brainpred.arrays.open_array` knows.
    name : str
        Name of the array in a file that holds several; empty: the only two-dimensional one.
    voxels_first : bool
        Whether it is voxels by scans.
    where : str
        Data set, subject and run.
    remedy : str
        How to get it again.

    Attributes
    ----------
    n_scans, n_voxels : int
        Its size.

    Raises
    ------
    DataError
        If the file is missing, damaged, of an unknown kind, or holds no such array.
    """

    def __init__(self, path: Path, name: str, *, voxels_first: bool, where: str, remedy: str):
        self.path, self._name, self._where, self._remedy = path, name, where, remedy
        self._voxels_first = voxels_first
        with open_array(path, name, where, remedy, n_axes=(2,)) as array:
            shape = array.shape
        if len(shape) != 2:
            raise DataError(
                f"{where}: {path.name} must hold numbers in two dimensions, found shape {shape}. Name another array in "
                f"it, such as {path.name}::NAME, or save it anew."
            )
        self.n_scans, self.n_voxels = shape[::-1] if voxels_first else shape

    def read(self, inside: NDArray[np.bool_], scans: slice) -> NDArray[np.float32]:
        """Read some voxels of some scans, (n_scans, n_voxels_inside)."""
        with open_array(self.path, self._name, self._where, self._remedy, n_axes=(2,)) as array:
            read = read_rows if self._voxels_first != array.turned else read_columns
            return read(array.stored, inside, scans)


def read_rows(data_set: Any, rows: NDArray[np.bool_], scans: slice, *leading: int) -> NDArray[np.float32]:
    """Read scans of a data set of voxels by scans, and turn them round.

    Parameters
    ----------
    data_set : h5py.Dataset (n_all_voxels, ..., n_all_scans)
        Where to read from.
    rows : ndarray of bool (n_all_voxels,)
        Voxels to read.
    scans : slice
        Scans to read.
    *leading : int
        Position on the axes between, such as a repeat.

    Returns
    -------
    ndarray of float32 (n_scans, n_voxels)
        The scans. Beside them, no more than some megabytes are held in memory.
    """
    n_scans = len(range(*scans.indices(data_set.shape[-1])))
    bold = np.empty((n_scans, int(rows.sum())), dtype=np.float32)
    step = _step(data_set, n_scans)
    done = 0
    for first in range(0, len(rows), step):
        wanted = rows[first : first + step]
        n_wanted = int(wanted.sum())
        if n_wanted:
            block = data_set[(slice(first, first + step), *leading, scans)]  # (n_step, n_scans)
            bold[:, done : done + n_wanted] = block[wanted].T
            done += n_wanted
    return bold


def read_columns(data_set: Any, columns: NDArray[np.bool_], scans: slice, *leading: int) -> NDArray[np.float32]:
    """Read scans of a data set of scans by voxels.

    Parameters
    ----------
    data_set : h5py.Dataset, memory map or array (..., n_all_scans, n_all_voxels)
        Where to read from.
    columns : ndarray of bool (n_all_voxels,)
        Voxels to read.
    scans : slice
        Scans to read.
    *leading : int
        Position on the axes before, such as a repeat.

    Returns
    -------
    ndarray of float32 (n_scans, n_voxels)
        The scans.
    """
    begin, end, _ = scans.indices(data_set.shape[-2])
    bold = np.empty((max(end - begin, 0), int(columns.sum())), dtype=np.float32)
    step = max(1, BYTES_AT_ONCE // (data_set.shape[-1] * data_set.dtype.itemsize))
    for first in range(begin, end, step):
        last = min(first + step, end)
        bold[first - begin : last - begin] = data_set[(*leading, slice(first, last))][:, columns]
    return bold


def _step(data_set: Any, n_scans: int) -> int:
    """Choose how many voxels to read at once: whole chunks, where the file has any."""
    step = max(1, BYTES_AT_ONCE // max(1, n_scans * data_set.dtype.itemsize))
    chunk = data_set.chunks[0] if getattr(data_set, "chunks", None) else 1
    return max(chunk, step // chunk * chunk)
