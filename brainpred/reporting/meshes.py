"""Meshes of the cortex that maps are drawn on: fsaverage5, which comes with nilearn, or the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.storage import atomic_path

__all__ = ["SIDES", "Mesh", "find_mesh", "fsaverage5", "keep_surfaces", "sample_volume"]

SIDES = ("left", "right")
OWN = {"left": "surface_hemi-L.surf.gii", "right": "surface_hemi-R.surf.gii"}
FSAVERAGE5 = 10_242
# The vertices of fsaverage6 and of fsaverage begin with those of fsaverage5.
FINER_FSAVERAGE = {40_962: "fsaverage6", 163_842: "fsaverage"}
KNOWN = {32_492: "fsLR 32k", 59_292: "fsLR 59k", 163_842: "fsaverage"}
RADIUS_MM = 5.0
MIN_SHARE = 0.05  # of the surroundings that must lie within the mask


@dataclass(frozen=True, eq=False)
class Mesh:
    """Hold an (inflated) cortex.

    Attributes
    ----------
    name : str
        What it is.
    places : mapping of str to ndarray of float (n_vertices, 3)
        Coordinates of the vertices of the left and the right hemisphere, in mm; x to the right, y to the front, z up.
    faces : mapping of str to ndarray of int (n_triangles, 3)
        Vertices of each triangle.
    sulci : mapping of str to ndarray of bool (n_vertices,)
        Where sulci are; nowhere if that is not known.
    """

    name: str
    places: Mapping[str, NDArray[np.floating]]
    faces: Mapping[str, NDArray[np.integer]]
    sulci: Mapping[str, NDArray[np.bool_]]

    @property
    def n_vertices(self) -> tuple[int, int]:
        """Vertices of the left and the right hemisphere."""
        return len(self.places["left"]), len(self.places["right"])


@cache
def fsaverage5() -> Mesh:
    """Give the inflated surface of fsaverage5."""
    from nilearn.datasets import load_fsaverage_data

    parts = _fsaverage5_meshes()["inflated"].parts
    depth = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts
    return Mesh(
        "fsaverage5", {side: parts[side].coordinates for side in SIDES}, {side: parts[side].faces for side in SIDES},
        {side: depth[side] > 0 for side in SIDES},
    )  # fmt: skip


@cache
def _fsaverage5_meshes() -> Any:
    from nilearn.datasets import load_fsaverage

    return load_fsaverage("fsaverage5")


def sample_volume(image: SpatialImage) -> dict[str, NDArray[np.float32]]:
    """Average a volume in MNI space within 5 mm of every vertex of fsaverage5, midway through the cortex.

    Parameters
    ----------
    image : SpatialImage
        Three-dimensional image, 0 outside the mask; what is 0 does not count.

    Returns
    -------
    dict of str to ndarray of float32 (10242,)
        The left and the right hemisphere; 0 where nothing was measured.
    """
    from nilearn.surface import InMemoryMesh, vol_to_surf

    meshes = _fsaverage5_meshes()
    inside = nib.Nifti1Image((np.asanyarray(image.dataobj) != 0).astype(np.float32), image.affine)
    sampled = {}
    for side in SIDES:
        white, pial = (meshes[name].parts[side] for name in ("white_matter", "pial"))
        middle = InMemoryMesh(coordinates=(white.coordinates + pial.coordinates) / 2, faces=pial.faces)
        total, share = (vol_to_surf(one, middle, kind="ball", radius=RADIUS_MM) for one in (image, inside))
        measured = np.nan_to_num(share) > MIN_SHARE
        sampled[side] = np.divide(total, share, out=np.zeros(len(share)), where=measured).astype(np.float32)
    return sampled


def find_mesh(folder: Path, n_vertices: tuple[int, int]) -> Mesh:
    """Find the mesh that vertices lie on: the user's own in the folder of the results, else fsaverage5.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    n_vertices : tuple of int
        Vertices of the left and the right hemisphere.

    Returns
    -------
    Mesh
        With as many vertices, or fsaverage5, whose vertices are the first of the finer fsaverage.

    Raises
    ------
    DataError
        If no such mesh is at hand.
    """
    own = [folder / name for name in OWN.values()]
    if all(path.is_file() for path in own):
        mesh = _read(*own)
        if mesh.n_vertices == n_vertices:
            return mesh
    left, right = n_vertices
    if left == right and (left == FSAVERAGE5 or left in FINER_FSAVERAGE):
        return fsaverage5()
    named = f" ({KNOWN[left]})" if left == right and left in KNOWN else ""
    raise DataError(
        f"No mesh is at hand for {left:,} and {right:,} vertices{named}. Name one, such as the inflated one: "
        "brainpred report --subject S --surfaces LEFT.surf.gii RIGHT.surf.gii"
    )


def keep_surfaces(folder: Path, left: Path, right: Path) -> None:
    """Copy the user's own meshes into the folder of the results, so that every later report finds them.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    left, right : Path
        GIFTI surfaces.

    Raises
    ------
    DataError
        If they cannot be read as surfaces.
    """
    _read(left, right)
    for name, path in zip(OWN.values(), (left, right), strict=True):
        content = path.read_bytes()
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)


def _read(left: Path, right: Path) -> Mesh:
    places, faces = {}, {}
    for side, path in zip(SIDES, (left, right), strict=True):
        try:
            places[side], faces[side] = nib.load(path).agg_data(("pointset", "triangle"))
            if faces[side].max() >= len(places[side]):
                raise ValueError("triangles name vertices that it lacks")
        except Exception as error:  # nibabel raises whatever the damage leads it to
            raise DataError(f"{path} is no GIFTI surface (.surf.gii): {error}") from error
    nowhere = {side: np.zeros(len(places[side]), dtype=bool) for side in SIDES}
    return Mesh("the surfaces given", places, faces, nowhere)
