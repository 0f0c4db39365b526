"""Feature files: HDF5, one array of units by scans for every layer, written whole or not at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.storage import atomic_path

__all__ = ["FeatureFile", "read_feature_file", "write_feature_blocks", "write_feature_file"]

FORMAT = "brainpred-features-2"
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class FeatureFile:
    """Point to the features of one movie.

    Attributes
    ----------
    path : Path
        The HDF5 file.
    shapes : dict of str to tuple of int
        Shape of every layer's units, such as (channels, height, width).
    n_scans : int
        Number of scans.
    tr_s : float
        Seconds that each scan lasts.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]
    n_scans: int
    tr_s: float

    def read(self, layer: str, units: slice | NDArray[np.integer] = slice(None)) -> NDArray[np.float32]:
        """Read one layer, or some of its units.

        Parameters
        ----------
        layer : str
            One of :attr:`shapes`.
        units : slice or ndarray of int (n_units,)
            Which units (numbers ascend), in C order of the layer's shape; all by default.

        Returns
        -------
        ndarray of float32 (n_scans, n_units)
            The features.

        Raises
        ------
        DataError
            If the file is gone, or what it holds does not match its checksums.
        """
        try:
            with h5py.File(self.path) as file:
                return np.ascontiguousarray(file[layer][units].T, dtype=np.float32)
        except (OSError, KeyError) as error:
            raise _unreadable(self.path, error) from error


def _unreadable(path: Path | str, error: Exception) -> DataError:
    return DataError(f"Cannot read features from {path} ({error}). Delete the file and compute it again.")


def write_feature_file(
    path: Path | str, features: Mapping[str, NDArray[np.floating]], tr_s: float, attributes: Mapping[str, Any]
) -> FeatureFile:
    """Write the features of one movie that fit into memory.

    Parameters
    ----------
    path : Path or str
        File to write.
    features : mapping of str to ndarray (n_scans, ...)
        Features of every layer.
    tr_s : float
        Seconds that each scan lasts.
    attributes : mapping
        What to remember of their origin.

    Returns
    -------
    FeatureFile
        The file written.
    """
    n_scans = len(next(iter(features.values())))
    return write_feature_blocks(path, [(0, features)], n_scans, tr_s, attributes)


def write_feature_blocks(
    path: Path | str,
    blocks: Iterable[tuple[int, Mapping[str, NDArray[np.floating]]]],
    n_scans: int,
    tr_s: float,
    attributes: Mapping[str, Any],
    dtype: str = "float32",
) -> FeatureFile:
    """Write the features of one movie, some scans at a time.

    On disk every layer is one data set (n_units, n_scans), so that a block of units is one read; in chunks,
    each with a checksum (Fletcher 32) that is compared whenever it is read.

    Parameters
    ----------
    path : Path or str
        File to write.
    blocks : iterable of (int, mapping of str to ndarray (n_scans_of_the_block, ...))
        First scan and features of every layer.
    n_scans : int
        Scans in all.
    tr_s : float
        Seconds that each scan lasts.
    attributes : mapping
        What to remember of their origin.
    dtype : {"float32", "float16"}
        How values are stored.

    Returns
    -------
    FeatureFile
        The file written.

    Raises
    ------
    DataError
        If a scan is in no block.
    """
    path = Path(path)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({**attributes, "format": FORMAT, "tr_s": tr_s})
        missing = np.ones(n_scans, dtype=bool)
        for first, features in blocks:
            missing[first : first + len(next(iter(features.values())))] = False
            for layer, values in features.items():
                if layer not in file:
                    n_units = int(np.prod(values.shape[1:]))
                    scans_a_chunk = min(n_scans, len(values)) or 1
                    units_a_chunk = max(1, min(n_units, CHUNK_BYTES // (np.dtype(dtype).itemsize * scans_a_chunk)))
                    file.create_dataset(
                        layer, (n_units, n_scans), dtype, chunks=(units_a_chunk, scans_a_chunk), fletcher32=True
                    )
                    file[layer].attrs.update(shape=values.shape[1:], axes="units (C order of shape), scans")
                with np.errstate(over="ignore"):
                    stored = values.reshape(len(values), -1).T.astype(dtype)
                if n_broken := int(np.sum(~np.isfinite(stored))):
                    remedy = "Store float32." if dtype == "float16" else "Check the network's weights."
                    raise DataError(f"{path}: {n_broken} values of {layer} are no finite numbers in {dtype}. {remedy}")
                file[layer][:, first : first + len(values)] = stored
        if missing.any():
            raise DataError(
                f"{path}: no block holds scans {', '.join(map(str, np.flatnonzero(missing)[:5]))}"
                f"{' ...' if missing.sum() > 5 else ''} of {n_scans}. Compute the features again."
            )
    return read_feature_file(path)


def read_feature_file(path: Path | str) -> FeatureFile:
    """Open a feature file that brainpred wrote.

    Parameters
    ----------
    path : Path or str
        HDF5 file.

    Returns
    -------
    FeatureFile
        The file.

    Raises
    ------
    DataError
        If it is missing, damaged, or of another format.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise DataError(f"{path} is not a feature file of brainpred (format {FORMAT!r}).")
            shapes = {layer: tuple(int(n) for n in file[layer].attrs["shape"]) for layer in sorted(file)}
            n_scans = file[next(iter(shapes))].shape[1]
            return FeatureFile(Path(path), shapes, n_scans, float(file.attrs["tr_s"]))
    except (OSError, KeyError, AttributeError, StopIteration) as error:
        raise _unreadable(path, error) from error
