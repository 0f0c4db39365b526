"""Which voxels are read, and which regions of interest they belong to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.recordings.fetch import dataset_file
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import Space
from brainpred.stimulus import Movie

__all__ = ["Selection", "read_atlas_names", "read_voxel_index", "roi_labels", "select_voxels"]

OUTSIDE = "other"
WITHOUT_ROIS = "mask"


def read_voxel_index(path: Path, n_voxels: int, where: str) -> NDArray[np.bool_]:
    """Read which voxels are wanted, as numbers from 0 or as a mask.

    Parameters
    ----------
    path : Path
        ``.npy`` or text file of whole numbers, in the order in which the data set holds its voxels, or of a mask: as
        many booleans, or 0 and 1, as it has voxels.
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
    # More than two numbers, each of another voxel, cannot all be 0 or 1.
    if index.dtype == bool or (len(index) > 2 and np.isin(index, (0, 1)).all()):
        if len(index) != n_voxels:
            raise DataError(f"{where}: {path.name} is a mask of {len(index)} voxels, but there are {n_voxels}.")
        return index.astype(bool)
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


@dataclass(frozen=True, eq=False)
class Selection:
    """Say which voxels are read.

    Attributes
    ----------
    inside : ndarray of bool (n_all_voxels,)
        Which of all voxels that the files hold.
    rois : ndarray of str (n_voxels,)
        One ROI for each voxel that is read.
    roi_masks : dict of str to ndarray of bool (n_voxels,)
        Voxels of each ROI.
    notes : tuple of str
        Which voxels are left out that one might expect.
    """

    inside: NDArray[np.bool_]
    rois: NDArray[np.str_]
    roi_masks: dict[str, NDArray[np.bool_]]
    notes: tuple[str, ...] = ()

    def recording(
        self,
        manifest: Manifest,
        subject: str,
        runs: Sequence[Run],
        space: Space,
        stimuli: Mapping[str, Movie],
        *notes: str,
    ) -> Recording:
        """Put the recording of the voxels that are read together.

        Parameters
        ----------
        manifest : Manifest
            The data set.
        subject : str
            Its subject.
        runs : sequence of Run
            The runs, of these voxels.
        space : Space
            Where these voxels lie.
        stimuli : mapping of str to Movie
            What the runs show.
        *notes : str
            What else is to be known of the recording.

        Returns
        -------
        Recording
            The recording.
        """
        return Recording(
            manifest.name, subject, manifest.tr_s, runs, space, self.rois, stimuli,
            roi_masks=self.roi_masks, notes=(*self.notes, *notes),
        )  # fmt: skip


def select_voxels(
    manifest: Manifest,
    subject: str,
    data: Path | str | None,
    n_voxels: int,
    values_of: Callable[[str], NDArray[Any]] | None,
    *,
    own_mask: NDArray[np.bool_] | None = None,
    own_mask_lacks: str = "",
    own_rois: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Selection:
    """Choose voxels by the manifest's mask and voxel index, and tell their ROIs.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    subject : str
        The subject.
    data : Path or str or None
        Folder that holds the data sets.
    n_voxels : int
        Voxels that the files hold.
    values_of : callable or None
        Reads a file of one number a voxel, given its name in the manifest, (n_voxels,); None where voxels have no place
        in any image.
    own_mask : ndarray of bool (n_voxels,), optional
        Voxels that the data set itself holds for good, where the manifest names neither mask nor voxel index.
    own_mask_lacks : str
        What is wrong with the others, such as ``"are NaN"``, where that deserves a note.
    own_rois : mapping of str to ndarray of bool (n_voxels,), optional
        ROIs of the data set itself, where the manifest names none.

    Returns
    -------
    Selection
        Voxels and their ROIs.

    Raises
    ------
    DataError
        If a file is missing, damaged, or of another number of voxels; or no voxel is left.
    """
    where = f"{manifest.name}/{subject}"

    def read(name: str) -> NDArray[Any]:
        if Path(name).suffix in {".npy", ".txt"}:
            return read_voxel_index(dataset_file(manifest, name, data, subject=subject), n_voxels, where)
        if values_of is None:
            raise DataError(
                f"{where}: the voxels of this data set are chosen by .npy or .txt files of numbers, not by {name}."
            )
        values = values_of(name)
        if values.shape != (n_voxels,):
            raise DataError(
                f"{where}: {name} holds {values.size} values, but the scans {n_voxels} voxels. "
                "Use one of the same space."
            )
        return values

    inside, notes = np.ones(n_voxels, dtype=bool), []
    if manifest.mask:
        inside = read(manifest.mask) > 0
    if manifest.voxel_index:
        named = read(manifest.voxel_index) > 0
        if n_outside := int((named & ~inside).sum()):
            notes.append(
                f"{n_outside} of {named.sum()} voxels of {manifest.voxel_index} lie outside {manifest.mask} and are "
                "left out."
            )
        inside = inside & named
    elif own_mask is not None and not manifest.mask:
        inside = own_mask
        if own_mask_lacks and not inside.all():
            notes.append(f"{(~inside).sum()} of {n_voxels} voxels {own_mask_lacks} and are left out.")
    if not inside.any():
        raise DataError(f"{where}: mask and voxel index leave no voxel of {n_voxels}. Check them.")
    masks = {name: read(file) > 0 for name, file in manifest.rois.items()}
    if manifest.atlas is not None:
        numbers = np.rint(read(manifest.atlas.image)).astype(np.int64)
        names = read_atlas_names(dataset_file(manifest, manifest.atlas.labels, data, subject=subject), where)
        masks = _atlas_masks(numbers, names)
        if unnamed := np.setdiff1d(numbers[inside], [0, *names]).tolist():
            n_unnamed = np.isin(numbers[inside], unnamed).sum()
            told = ", ".join(map(str, unnamed[:5])) + (", ..." if len(unnamed) > 5 else "")
            notes.append(f"{manifest.atlas.labels} does not name region {told}: {n_unnamed} voxels belong to none.")
    masks = masks or dict(own_rois or {})
    chosen = {name: mask[inside] for name, mask in masks.items() if mask[inside].any()}
    if masks and not chosen:
        raise DataError(f"{where}: no voxel that is read belongs to any ROI ({', '.join(masks)}). Check their space.")
    return Selection(inside, roi_labels(chosen, int(inside.sum())), chosen, tuple(notes))


def _atlas_masks(numbers: NDArray[np.integer], names: Mapping[int, str]) -> dict[str, NDArray[np.bool_]]:
    """Find the voxels of each name: a region may have several numbers, such as one a hemisphere."""
    numbers_of: dict[str, list[int]] = {}
    for number, name in names.items():
        if number != 0:
            numbers_of.setdefault(name, []).append(number)
    return {name: np.isin(numbers, wanted) for name, wanted in numbers_of.items()}
