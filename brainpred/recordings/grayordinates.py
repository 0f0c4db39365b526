"""Read CIFTI dense time series."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.recordings.spaces import Grayordinates
from brainpred.recordings.volumes import open_image, reading

__all__ = ["GrayordinateFiles"]

BYTES_AT_ONCE = 2**23


class GrayordinateFiles:
    """Stand for runs of dense time series on one set of grayordinates, such as 91k or 170k.

    Parameters
    ----------
    runs : sequence of (str, tuple of Path)
        Where each run is from (data set, subject and run), and its file.
    remedy : str
        How to get files again.

    Raises
    ------
    DataError
        If a file is missing, damaged or no dense time series, or has other grayordinates than the first.
    """

    def __init__(self, runs: Sequence[tuple[str, tuple[Path, ...]]], remedy: str):
        self._runs, self._remedy = runs, remedy
        self._images = [_open(path, where, remedy) for where, (path,) in runs]
        self.axis = self._images[0].header.get_axis(1)
        for (where, (path,)), image in zip(runs, self._images, strict=True):
            if image.header.get_axis(1) != self.axis:
                raise DataError(
                    f"{where}: {path.name} has {image.shape[1]} grayordinates, others than the {len(self.axis)} of "
                    f"{runs[0][1][0].name}. Take all runs from one space and density."
                )
        self.n_voxels = len(self.axis)

    def n_scans(self, run: int) -> int:
        """Count the scans of a run."""
        return int(self._images[run].shape[0])

    def tr_s(self, run: int) -> float | None:
        """Give the repetition time of a run by its header, in seconds."""
        axis = self._images[run].header.get_axis(0)
        return float(axis.step) if isinstance(axis, nib.cifti2.SeriesAxis) and axis.unit == "SECOND" else None

    def values_of(self, paths: tuple[Path, ...], where: str) -> NDArray[Any]:
        """Read a dense scalar or label file of the same grayordinates, (n_voxels,)."""
        (path,) = paths
        image = _open(path, where, self._remedy)
        if image.header.get_axis(1) != self.axis:
            raise DataError(
                f"{where}: {path.name} has other grayordinates than the scans. Use one of the same density."
            )
        with reading(path, where, self._remedy):
            return np.asarray(image.dataobj)[0]

    def space(self, inside: NDArray[np.bool_]) -> Grayordinates:
        """Give the space of the grayordinates that are read."""
        return Grayordinates(self.axis, inside)

    def read(self, run: int, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Read the scans of a run, (n_scans, n_grayordinates_inside)."""
        where, (path,) = self._runs[run]
        n_scans, done = self.n_scans(run), 0
        bold = np.empty((n_scans, int(inside.sum())), dtype=np.float32)
        step = max(1, BYTES_AT_ONCE // (n_scans * bold.itemsize))
        with reading(path, where, self._remedy):
            scans = self._images[run].dataobj
            for first in range(0, len(inside), step):  # the scans of one grayordinate lie together in the file
                wanted = inside[first : first + step]
                n_wanted = int(wanted.sum())
                bold[:, done : done + n_wanted] = scans[:, first : first + step][:, wanted]
                done += n_wanted
        return bold


def _open(path: Path, where: str, remedy: str) -> Any:
    image = open_image(path, where, remedy)
    if not isinstance(image, nib.Cifti2Image) or len(image.shape) != 2:
        raise DataError(f"{where}: {path} is no CIFTI file of rows by grayordinates. {remedy}")
    if not isinstance(image.header.get_axis(1), nib.cifti2.BrainModelAxis):
        raise DataError(f"{where}: {path} holds parcels or other things, not grayordinates. Use the dense file.")
    return image
