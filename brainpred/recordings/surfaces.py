"""Read GIFTI functional data of both hemispheres."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainpred.arrays import absence
from brainpred.errors import DataError
from brainpred.recordings.spaces import Surfaces

__all__ = ["SurfaceFiles"]

HEMISPHERES = ("left", "right")


class SurfaceFiles:
    """Stand for runs of two GIFTI files each, left and right hemisphere, on one pair of surfaces.

    Parameters
    ----------
    runs : sequence of (str, tuple of Path)
        Where each run is from (data set, subject and run), and its files, left and right.
    remedy : str
        How to get files again.

    Raises
    ------
    DataError
        If a file is missing or damaged, hemispheres have different lengths, or a run lies on other surfaces.
    """

    def __init__(self, runs: Sequence[tuple[str, tuple[Path, ...]]], remedy: str):
        self._runs, self._remedy = runs, remedy
        shapes = [[_shape(path, where, remedy) for path in paths] for where, paths in runs]
        self.n_vertices = [n_vertices for n_vertices, _ in shapes[0]]
        for (where, paths), (left, right) in zip(runs, shapes, strict=True):
            if left[1] != right[1]:
                raise DataError(
                    f"{where}: the hemispheres differ in length: {paths[0].name} has {left[1]} scans, {paths[1].name} "
                    f"{right[1]}. One of the two is cut short, or of another run: get it again."
                )
            if [left[0], right[0]] != self.n_vertices:
                raise DataError(
                    f"{where}: {left[0]} and {right[0]} vertices, but {self.n_vertices[0]} and {self.n_vertices[1]} in "
                    "the first run. Take all runs from one surface (options: space)."
                )
        self._n_scans = [left[1] for left, _ in shapes]
        self.n_voxels = sum(self.n_vertices)

    def n_scans(self, run: int) -> int:
        """Count the scans of a run."""
        return self._n_scans[run]

    def tr_s(self, run: int) -> float | None:
        """Give the repetition time of a run by its header: None, since headers of this kind cannot be relied on."""
        return None

    def values_of(self, paths: tuple[Path, ...], where: str) -> NDArray[Any]:
        """Read two files of one number a vertex, (n_voxels,), left before right."""
        return np.concatenate([_scans(path, where, self._remedy)[0] for path in paths])

    def space(self, inside: NDArray[np.bool_]) -> Surfaces:
        """Give the space of the vertices that are read."""
        return Surfaces(inside[: self.n_vertices[0]], inside[self.n_vertices[0] :])

    def read(self, run: int, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Read the scans of a run, (n_scans, n_vertices_inside)."""
        where, paths = self._runs[run]
        bold = np.empty((self.n_scans(run), int(inside.sum())), dtype=np.float32)
        n_left = int(inside[: self.n_vertices[0]].sum())
        for path, wanted, columns in zip(
            paths,
            (inside[: self.n_vertices[0]], inside[self.n_vertices[0] :]),
            (slice(0, n_left), slice(n_left, None)),
            strict=True,
        ):
            for scan, vertices in enumerate(_scans(path, where, self._remedy)):
                bold[scan, columns] = vertices[wanted]
        return bold


def _shape(path: Path, where: str, remedy: str) -> tuple[int, int]:
    """Read from the beginning of a file how many vertices and scans it holds."""
    if not path.is_file():
        raise DataError(f"{where}: {path} {absence(path)}. {remedy}")
    try:
        n_arrays = 0
        for _, element in ElementTree.iterparse(path, events=("start",)):
            if element.tag == "GIFTI":
                n_arrays = int(element.attrib["NumberOfDataArrays"])
            elif element.tag == "DataArray":
                dimensions = [
                    int(element.attrib[f"Dim{axis}"]) for axis in range(int(element.attrib["Dimensionality"]))
                ]
                return (dimensions[0], n_arrays) if len(dimensions) == 1 else (dimensions[0], dimensions[1])
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise DataError(f"{where}: cannot read {path} ({error}). {remedy}") from error
    raise DataError(f"{where}: {path} holds no data. {remedy}")


def _scans(path: Path, where: str, remedy: str) -> Sequence[NDArray[Any]]:
    """Read a file of one array a scan, or one of vertices by scans: the vertices of each scan."""
    n_vertices, n_scans = _shape(path, where, remedy)
    try:
        arrays = [array.data for array in nib.load(path).darrays]
    except Exception as error:  # expat and zlib raise errors of their own kinds out of nibabel's parser
        raise DataError(f"{where}: cannot read {path} ({error}). {remedy}") from error
    scans = list(arrays[0].T) if len(arrays) == 1 and arrays[0].ndim == 2 else arrays
    if len(scans) != n_scans or any(scan.shape != (n_vertices,) for scan in scans):
        raise DataError(f"{where}: {path} should hold {n_scans} arrays of {n_vertices} vertices. {remedy}")
    return scans
