"""Read arrays that belong together row by row, such as brain patterns and the pictures seen."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError

__all__ = ["load_array"]

KINDS = (".npy", ".npz", ".mat", ".h5", ".hdf5")


def load_array(path: Path | str, what: str) -> NDArray[Any]:
    """Read one array of numbers, whole.

    Parameters
    ----------
    path : Path or str
        File (.npy, .npz, .mat, .h5), or ``FILE:KEY`` where it holds several arrays. MATLAB's axes are MATLAB's, also in
        files of v7.3.
    what : str
        What it is, for messages, such as ``"brain"``.

    Returns
    -------
    ndarray
        The numbers, of finite values.

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds no such array of finite numbers.
    """
    file, key = Path(path), ""
    if not file.is_file() and ":" in str(path):
        name, _, key = str(path).rpartition(":")
        file = Path(name)
    if not file.is_file():
        raise DataError(f"{what}: there is no file {file}. Give a file of {', '.join(KINDS)}, or FILE:KEY.")
    if file.suffix.lower() not in KINDS:
        raise DataError(f"{what}: {file.name} is none of {', '.join(KINDS)}. Save the array as one of those.")
    try:
        array = _read(file, key, what)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, TypeError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{what}: cannot read {file} ({error}). Save it anew.") from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what}: {file.name} holds {array.dtype} and no numbers.")
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise DataError(
            f"{what}: {broken} of {array.size} values in {file.name} are NaN or infinite. Leave those rows or "
            "voxels out."
        )
    return array


def _read(file: Path, key: str, what: str) -> NDArray[Any]:
    if file.suffix.lower() == ".npy":
        return np.asarray(np.load(file, allow_pickle=False))
    if h5py.is_hdf5(file):
        with h5py.File(file, "r") as content:
            found: dict[str, Any] = {}
            content.visititems(
                lambda name, item: found.__setitem__(name, item) if isinstance(item, h5py.Dataset) else None
            )
            array = np.asarray(found[_choose(found, key, file, what)])
        return array.T if file.suffix.lower() == ".mat" else array
    if file.suffix.lower() == ".npz":
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as packed:
            return np.asarray(packed[_choose(dict.fromkeys(packed.files), key, file, what)])
    from scipy.io import loadmat

    variables = {name: value for name, value in loadmat(file).items() if not name.startswith("__")}
    return np.asarray(variables[_choose(variables, key, file, what)])


def _choose(found: Mapping[str, Any], key: str, file: Path, what: str) -> str:
    """Give the key asked for, or the only one there is."""
    if key in found:
        return key
    if not key and len(found) == 1:
        return next(iter(found))
    received = f"no {key!r}" if key else "several"
    raise DataError(
        f"{what}: {file.name} holds {received}: {', '.join(found) or 'no arrays at all'}. Name one as {file.name}:KEY."
    )
