"""Where voxels lie: in a volume, on two surfaces, among grayordinates, or nowhere that is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from brainpred.errors import DataError

__all__ = ["UNPLACED", "Grayordinates", "MappedSurfaces", "NoSpace", "Space", "Surfaces", "Volume"]

HEMISPHERES = {"L": "CortexLeft", "R": "CortexRight"}
FLOAT32 = "NIFTI_TYPE_FLOAT32"
UNPLACED = (
    "The files do not say where the head lay: maps have the right grid and size of voxels, but no place (space code 0)."
)


class Space(Protocol):
    """What a recording needs to know of the place of its voxels."""

    @property
    def n_voxels(self) -> int:
        """Number of voxels, vertices or grayordinates that are read."""
        ...

    def images(self, values: NDArray[np.float32], description: str = "") -> Mapping[str, Any]:
        """Put one number a voxel back: image by the ending of its file name; 0 where nothing was read."""
        ...

    def places(self) -> Mapping[str, NDArray[Any]]:
        """Give columns of a table that say where each voxel lies; none where nobody says."""
        ...


@dataclass(frozen=True, eq=False)
class Volume:
    """Place voxels in a volume.

    Attributes
    ----------
    mask : SpatialImage
        Binary image of the voxels, in the order of C-contiguous flattening.
    """

    mask: SpatialImage

    @classmethod
    def like(cls, inside: NDArray[np.bool_], reference: Any) -> Self:
        """Place voxels in the space of an image.

        Parameters
        ----------
        inside : ndarray of bool (x, y, z)
            Where the voxels are.
        reference : SpatialImage
            Image of the same grid, which gives affine, space codes and units.

        Returns
        -------
        Volume
            The space.
        """
        return cls(_in_space_of(reference, inside.astype(np.uint8)))

    @classmethod
    def unplaced(cls, inside: NDArray[np.bool_], voxel_mm: tuple[float, ...]) -> Self:
        """Place voxels on a grid of which nobody says where it lies, and say so in its header.

        Parameters
        ----------
        inside : ndarray of bool (x, y, z)
            Where the voxels are.
        voxel_mm : (float, float, float)
            Size of a voxel.

        Returns
        -------
        Volume
            The space.
        """
        mask = nib.Nifti1Image(inside.astype(np.uint8), np.diag([*voxel_mm, 1.0]))
        mask.set_sform(None)
        mask.set_qform(None)
        mask.header.set_xyzt_units("mm")
        return cls(mask)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Where the voxels are, in the mask's grid."""
        return np.asanyarray(self.mask.dataobj) > 0

    @property
    def n_voxels(self) -> int:
        """Number of voxels inside the mask."""
        return int(np.count_nonzero(self.inside))

    def cell(self, voxel: int) -> tuple[int, ...]:
        """Give the indices i, j, k of a voxel in the grid, from 0."""
        return tuple(np.argwhere(self.inside)[voxel].tolist())

    def images(self, values: NDArray[np.float32], description: str = "") -> Mapping[str, nib.Nifti1Image]:
        """Put one number a voxel back into a float32 volume in the space of the mask, 0 outside it."""
        inside = self.inside
        volume = np.zeros(inside.shape, dtype=np.float32)
        volume[inside] = values
        image = _in_space_of(self.mask, volume)
        image.header["descrip"] = description.encode()[:79]
        image.header.set_xyzt_units("mm")
        return {".nii.gz": image}

    def places(self) -> Mapping[str, NDArray[Any]]:
        """Give the indices i, j, k of each voxel, counted from 0, and its coordinates in mm by the affine."""
        return _places_in_volume(np.argwhere(self.inside), self.mask.affine)


def _places_in_volume(indices: NDArray[np.integer], affine: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
    places_mm = nib.affines.apply_affine(affine, indices)
    return dict(zip("ijk", indices.T, strict=True)) | {f"{axis}_mm": places_mm[:, n] for n, axis in enumerate("xyz")}


def _in_space_of(reference: Any, values: NDArray[Any]) -> nib.Nifti1Image:
    """Make an image with affine, space codes and units of another."""
    image = nib.Nifti1Image(values, reference.affine)
    if isinstance(reference, nib.Nifti1Pair):  # others have no codes
        image.set_sform(*reference.get_sform(coded=True))
        image.set_qform(*reference.get_qform(coded=True))
        image.header.set_xyzt_units(reference.header.get_xyzt_units()[0])
    return image


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Place vertices on the surfaces of the left and the right hemisphere.

    Attributes
    ----------
    left, right : ndarray of bool (n_vertices,)
        Which vertices are read; first those of the left hemisphere.
    """

    left: NDArray[np.bool_]
    right: NDArray[np.bool_]

    @property
    def n_voxels(self) -> int:
        """Number of vertices that are read."""
        return int(self.left.sum() + self.right.sum())

    def images(self, values: NDArray[np.float32], description: str = "") -> Mapping[str, nib.GiftiImage]:
        """Put one number a vertex back into a GIFTI file a hemisphere."""
        images, n_left = {}, int(self.left.sum())
        for hemi, inside, part in (("L", self.left, values[:n_left]), ("R", self.right, values[n_left:])):
            vertices = np.zeros(len(inside), dtype=np.float32)
            vertices[inside] = part
            meta = nib.gifti.GiftiMetaData({"AnatomicalStructurePrimary": HEMISPHERES[hemi], "Name": description})
            array = nib.gifti.GiftiDataArray(vertices, intent="NIFTI_INTENT_SHAPE", datatype=FLOAT32, meta=meta)
            images[f"_hemi-{hemi}.func.gii"] = nib.GiftiImage(meta=meta, darrays=[array])
        return images

    def places(self) -> Mapping[str, NDArray[Any]]:
        """Give the hemisphere, L or R, and the vertex, counted from 0."""
        vertices = [np.flatnonzero(inside) for inside in (self.left, self.right)]
        return {"hemisphere": np.repeat(["L", "R"], [len(part) for part in vertices]), "vertex": np.hstack(vertices)}


@dataclass(frozen=True, eq=False)
class Grayordinates:
    """Place grayordinates on the axis of a CIFTI file: surface vertices and subcortical voxels.

    Attributes
    ----------
    axis : nibabel.cifti2.BrainModelAxis
        Axis of the file.
    inside : ndarray of bool (n_grayordinates,)
        Which of them are read.
    """

    axis: Any
    inside: NDArray[np.bool_]

    @property
    def n_voxels(self) -> int:
        """Number of grayordinates that are read."""
        return int(self.inside.sum())

    def images(self, values: NDArray[np.float32], description: str = "") -> Mapping[str, nib.Cifti2Image]:
        """Put one number a grayordinate back into a dense scalar file."""
        dense = np.zeros((1, len(self.inside)), dtype=np.float32)
        dense[0, self.inside] = values
        image = nib.Cifti2Image(dense, (nib.cifti2.ScalarAxis([description or "map"]), self.axis))
        image.update_headers()
        return {".dscalar.nii": image}

    def places(self) -> Mapping[str, NDArray[Any]]:
        """Give the structure; the vertex, -1 below the cortex; i, j, k and mm, -1 and NaN on it."""
        axis = self.axis[self.inside]
        below = ~axis.surface_mask
        columns: dict[str, NDArray[Any]] = {"structure": axis.name, "vertex": np.where(below, -1, axis.vertex)}
        if axis.affine is not None:
            for name, values in _places_in_volume(axis.voxel, axis.affine).items():
                columns[name] = np.where(below, values, -1 if name in "ijk" else np.nan)
        return columns


@dataclass(frozen=True, eq=False)
class NoSpace:
    """Stand for voxels of which nobody says where they lie.

    Attributes
    ----------
    n_voxels : int
        Number of voxels.
    """

    n_voxels: int

    def images(self, values: NDArray[np.float32], description: str = "") -> Mapping[str, Any]:
        """Refuse: there is no image to put them into."""
        raise DataError(
            "These scans do not say where their voxels lie, so there is no image of them. State a "
            "mask in the manifest, or take the values as a table."
        )

    def places(self) -> Mapping[str, NDArray[Any]]:
        """Give nothing."""
        return {}


@dataclass(frozen=True, eq=False)
class MappedSurfaces:
    """Place voxels on two surfaces by a linear map, such as a data set's own onto fsaverage.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array (n_vertices, n_voxels)
        Weights of the voxels in each vertex, the left hemisphere's before as many of the right's.
    """

    matrix: Any

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(self.matrix.shape[1])

    def images(self, values: NDArray[np.float32], description: str = "") -> Mapping[str, nib.GiftiImage]:
        """Map one number a voxel onto the vertices, a GIFTI file a hemisphere."""
        half = np.ones(self.matrix.shape[0] // 2, dtype=bool)
        return Surfaces(half, half).images((self.matrix @ values).astype(np.float32), description)

    def places(self) -> Mapping[str, NDArray[Any]]:
        """Give nothing: a voxel goes to several vertices."""
        return {}
