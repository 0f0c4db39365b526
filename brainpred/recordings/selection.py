"""Which voxels are read, and which regions of interest they belong to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.errors import DataError

__all__ = ["read_atlas_names", "read_voxel_index", "roi_labels"]

OUTSIDE = "other"
WITHOUT_ROIS = "mask"


def read_voxel_index(path: Path, n_voxels: int, where: str) -> NDArray[np.bool_]:
    """Read which voxels are wanted, as numbers from 0 or as a mask.

    Parameters
    ----------
    path : Path
        ``.npy`` or text file of whole numbers, in the order in which the data set holds its voxels, or of as many
        booleans as it has voxels.
    n_voxels : int
        Voxels that the data set has.
    where : str
        Data set and subject.

    Returns
    -------
    ndarray of bool (n_voxels,)
        Voxels that are wanted.

    Raises
    ------
    DataError
        If the file is missing or damaged, or names voxels that do not exist, or one twice.
    """
    if not path.is_file():
        raise DataError(f"{where}: {path} is missing. Put it there, or take it out of the manifest.")
    try:
        index: NDArray[Any] = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, ndmin=1)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{where}: cannot read {path} ({error}). Write the numbers of the voxels with numpy.save."
        ) from error
    index = np.asarray(index).ravel()
    inside = np.zeros(n_voxels, dtype=bool)
    if index.dtype == bool:
        if len(index) != n_voxels:
            raise DataError(f"{where}: {path.name} is a mask of {len(index)} voxels, but there are {n_voxels}.")
        return index
    if index.size and not np.array_equal(index, np.floor(index)):
        raise DataError(f"{where}: {path.name} must hold whole numbers, the voxels' own from 0.")
    numbers = index.astype(np.int64)
    beyond = numbers[(numbers < 0) | (numbers >= n_voxels)]
    if len(beyond):
        raise DataError(
            f"{where}: {path.name} names voxel {beyond[0]}, but they are numbered from 0 to {n_voxels - 1}. "
            "Numbers of MATLAB begin with 1: take 1 off."
        )
    inside[numbers] = True
    if not len(numbers) or inside.sum() < len(numbers):
        raise DataError(
            f"{where}: {path.name} names {len(numbers)} voxels, {inside.sum()} of them different. Name each once."
        )
    return inside


def roi_labels(masks: Mapping[str, NDArray[np.bool_]], n_voxels: int) -> NDArray[np.str_]:
    """Give every voxel one label, as bands need it, where ROIs may overlap.

    Parameters
    ----------
    masks : mapping of str to ndarray of bool (n_voxels,)
        Voxels of each ROI.
    n_voxels : int
        Number of voxels.

    Returns
    -------
    ndarray of str (n_voxels,)
        The first ROI that holds the voxel; ``"other"`` where none does, ``"mask"`` where there are no ROIs.

    Examples
    --------
    >>> roi_labels({"V1": np.array([True, True, False]), "V2": np.array([False, True, False])}, 3).tolist()
    ['V1', 'V1', 'other']
    """
    if not masks:
        return np.full(n_voxels, WITHOUT_ROIS)
    labels = np.full(n_voxels, OUTSIDE, dtype=object)
    for name in reversed(list(masks)):
        labels[masks[name]] = name
    return labels.astype(str)


def read_atlas_names(path: Path, where: str) -> dict[int, str]:
    """Read the names of an atlas' regions from a table with the columns ``index`` and ``name``.

    Parameters
    ----------
    path : Path
        TSV file.
    where : str
        Data set and subject.

    Returns
    -------
    dict of int to str
        Names by number.
    """
    try:
        table = pd.read_csv(path, sep="\t")
        return dict(zip(table["index"].astype(int).tolist(), table["name"].astype(str).tolist(), strict=True))
    except (OSError, ValueError, KeyError, pd.errors.ParserError) as error:
        raise DataError(
            f"{where}: cannot read {path} ({error}). An atlas needs a TSV table with the columns index and name."
        ) from error
