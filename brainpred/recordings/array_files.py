"""Open arrays of scans by voxels in .npy, .npz, HDF5 and MATLAB files, in parts where the format allows it."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.recordings.hdf5 import open_hdf5, read_columns, read_rows

__all__ = ["ArrayFile"]

KINDS = (".npy", ".npz", ".h5", ".hdf5", ".hdf", ".mat")


class ArrayFile:
    """Stand for an array of scans by voxels, or voxels by scans.

    Parameters
    ----------
    path : Path
        The file. A ``.mat`` file may be of v7.3 or before; in one of v7.3, axes are as h5py sees them, the reverse of
        MATLAB's.
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
        if path.suffix.lower() not in KINDS:
            raise DataError(f"{where}: {path.name} is none of {', '.join(KINDS)}. Save it as one of those.")
        if not path.is_file():
            raise DataError(f"{where}: {path} is missing. {remedy}")
        shape = self._with_array(lambda array: (tuple(array.shape), array.dtype.kind))
        if len(shape[0]) != 2 or shape[1] not in "fiu":
            raise DataError(
                f"{where}: {path.name} must hold numbers in two dimensions, found shape {shape[0]} of kind "
                f"{shape[1]!r}. State options: array, or save it anew."
            )
        self.n_scans, self.n_voxels = shape[0][::-1] if voxels_first else shape[0]

    def read(self, inside: NDArray[np.bool_], scans: slice) -> NDArray[np.float32]:
        """Read some voxels of some scans, (n_scans, n_voxels_inside)."""
        read = read_rows if self._voxels_first else read_columns
        return self._with_array(lambda array: read(array, inside, scans))

    def _with_array(self, use: Callable[[Any], Any]) -> Any:
        if self.path.suffix.lower() in {".npy", ".npz", ".mat"} and not h5py.is_hdf5(self.path):
            try:
                return use(self._load())
            except DataError:
                raise
            except (OSError, EOFError, ValueError, TypeError, KeyError, NotImplementedError, zlib.error,
                    zipfile.BadZipFile) as error:  # fmt: skip
                raise DataError(f"{self._where}: cannot read {self.path} ({error}). {self._remedy}") from error
        with open_hdf5(self.path, self._where, self._remedy) as file:
            found = {key: item for key, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim == 2}
            return use(file[self._name] if self._name else self._only(found))

    def _load(self) -> Any:
        if self.path.suffix.lower() == ".npy":
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        if self.path.suffix.lower() == ".npz":
            with open(self.path, "rb") as stream, np.load(stream, allow_pickle=False) as content:
                name = self._name or self._only({key: key for key in content.files})
                return content[name]
        from scipy.io import loadmat

        content = {key: value for key, value in loadmat(self.path).items() if not key.startswith("__")}
        return content[self._name] if self._name else self._only(content)

    def _only(self, found: dict[str, Any]) -> Any:
        if len(found) != 1:
            raise DataError(
                f"{self._where}: {self.path.name} holds {len(found)} arrays ({', '.join(found) or 'none'}). Name the "
                "scans' with options: array."
            )
        return next(iter(found.values()))
