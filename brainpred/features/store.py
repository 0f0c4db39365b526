"""Feature files: HDF5, one array of units by scans for every layer, written whole or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.storage import atomic_path

__all__ = ["FeatureFile", "read_feature_file", "write_feature_file"]

FORMAT = "brainpred-features-1"


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
        Seconds that each scan averages.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]
    n_scans: int
    tr_s: float

    def read(self, layer: str) -> NDArray[np.float32]:
        """Read one layer.

        Parameters
        ----------
        layer : str
            One of :attr:`shapes`.

        Returns
        -------
        ndarray of float32 (n_scans, n_units)
            The features.
        """
        with h5py.File(self.path) as file:
            return np.ascontiguousarray(file[layer][:].T)


def write_feature_file(
    path: Path | str, features: Mapping[str, NDArray[np.floating]], tr_s: float, attributes: Mapping[str, Any]
) -> FeatureFile:
    """Write the features of one movie.

    On disk every layer is one data set (n_units, n_scans), so that a block of units is one read.

    Parameters
    ----------
    path : Path or str
        File to write.
    features : mapping of str to ndarray (n_scans, ...)
        Features of every layer.
    tr_s : float
        Seconds that each scan averages.
    attributes : mapping
        What to remember of their origin.

    Returns
    -------
    FeatureFile
        The file written.
    """
    path = Path(path)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, tr_s=tr_s, **attributes)
        for layer, values in features.items():
            by_unit = values.reshape(len(values), -1).T
            data_set = file.create_dataset(layer, data=by_unit, dtype=np.float32)
            data_set.attrs["shape"] = values.shape[1:]
            data_set.attrs["axes"] = "units (C order of shape), scans"
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
        raise DataError(f"Cannot read features from {path} ({error}). Delete the file and compute it again.") from error
