"""Read voxels and scans out of HDF5 files (MATLAB v7.3 too), a part at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError

__all__ = ["open_hdf5", "read_columns", "read_rows"]

BYTES_AT_ONCE = 2**23


@contextmanager
def open_hdf5(path: Path, where: str, remedy: str) -> Iterator[Any]:
    """Open an HDF5 file; whatever goes wrong while it is read is a :class:`DataError` that names it.

    Parameters
    ----------
    path : Path
        The file.
    where : str
        Whose it is: data set, subject and run.
    remedy : str
        How to get it again.

    Yields
    ------
    h5py.File
        The file, open for reading.
    """
    if not path.is_file():
        raise DataError(f"{where}: {path} is missing. {remedy}")
    try:
        with h5py.File(path) as file:
            yield file
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{where}: {path} lacks what it should hold ({error.args[0]}). {remedy}") from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{where}: cannot read {path} ({error}). {remedy}") from error


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
