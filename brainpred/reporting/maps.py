"""Brain maps as they were saved: a volume, two surfaces, or a CIFTI file's cortex and what lies below it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.reporting.brain import is_whole_brain
from brainpred.reporting.meshes import SIDES, Mesh, find_mesh, fsaverage5, sample_volume

__all__ = ["BrainMap", "cortex_on_mesh", "read_map"]

CORTEX = {"CIFTI_STRUCTURE_CORTEX_LEFT": "left", "CIFTI_STRUCTURE_CORTEX_RIGHT": "right"}


@dataclass(frozen=True, eq=False)
class BrainMap:
    """Hold one number a place.

    Attributes
    ----------
    volume : SpatialImage or None
        What lies in a volume, 0 outside the mask.
    cortex : dict of str to ndarray (n_vertices,), or None
        What lies on the left and the right hemisphere, 0 where nothing was measured.
    """

    volume: SpatialImage | None = None
    cortex: dict[str, NDArray[np.floating]] | None = None


def read_map(folder: Path, files: Sequence[str]) -> BrainMap:
    """Read a map.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    files : sequence of str
        Its files: ``.nii.gz``, two ``.func.gii`` or ``.dscalar.nii``.

    Returns
    -------
    BrainMap
        The map.

    Raises
    ------
    DataError
        If a file is missing or damaged, or of another kind.
    """
    paths = [folder / name for name in files]
    try:
        if len(paths) == 2 and all(path.name.endswith(".gii") for path in paths):
            return BrainMap(cortex={side: nib.load(path).agg_data() for side, path in zip(SIDES, paths, strict=True)})
        if paths[0].name.endswith(".dscalar.nii"):
            return _of_grayordinates(nib.load(paths[0]))
        if paths[0].name.endswith(".nii.gz"):
            image = nib.load(paths[0])
            return BrainMap(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine))
    except Exception as error:  # nibabel raises whatever the damage leads it to
        names = " and ".join(path.name for path in paths)
        raise DataError(f"Cannot read {names} ({error}). Run the command that writes it again.") from error
    raise DataError(f"{paths[0].name} is no image.")


def _of_grayordinates(image: nib.Cifti2Image) -> BrainMap:
    values, axis = image.get_fdata(dtype=np.float32)[0], image.header.get_axis(1)
    cortex = {}
    for name, rows, part in axis.iter_structures():
        if name in CORTEX:
            cortex[CORTEX[name]] = np.zeros(part.nvertices[name], dtype=np.float32)
            cortex[CORTEX[name]][part.vertex] = values[rows]
    volume = None
    below = ~axis.surface_mask
    if axis.volume_shape is not None and below.any():
        data = np.zeros(axis.volume_shape, dtype=np.float32)
        data[tuple(axis.voxel[below].T)] = values[below]
        volume = nib.Nifti1Image(data, axis.affine)
    return BrainMap(volume, cortex if len(cortex) == 2 else None)


def cortex_on_mesh(folder: Path, brain: BrainMap) -> tuple[dict[str, NDArray[np.floating]], Mesh] | None:
    """Give what of a map can be drawn on the inflated cortex, and the mesh of it.

    Parameters
    ----------
    folder : Path
        Folder of the results, where the user's own meshes may lie.
    brain : BrainMap
        The map; a volume is averaged around the vertices of fsaverage5.

    Returns
    -------
    tuple or None
        Values of the left and the right hemisphere, (n_vertices,), and their mesh; None for a volume that is no whole
        brain in MNI space.

    Raises
    ------
    DataError
        If no mesh is at hand for the vertices of the map.
    """
    if brain.cortex is not None:
        mesh = find_mesh(folder, (len(brain.cortex["left"]), len(brain.cortex["right"])))
        kept = dict(zip(SIDES, mesh.n_vertices, strict=True))
        return {side: brain.cortex[side][: kept[side]] for side in SIDES}, mesh
    if brain.volume is not None and is_whole_brain(brain.volume):
        return sample_volume(brain.volume), fsaverage5()
    return None
