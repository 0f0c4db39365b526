"""Brain maps on the inflated surface of fsaverage5, which comes with nilearn."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.reporting.brain import is_whole_brain, map_colours
from brainpred.reporting.style import INK, MUTED, page

__all__ = ["surface_figure"]

PIXEL_MM = 0.7
SUBDIVISIONS = 8  # of each triangle's sides: finer than a pixel
GYRUS, SULCUS = 0.82, 0.66  # greys


class _View(NamedTuple):
    """Hold a hemisphere as seen from one side: what each pixel shows."""

    title: str
    hemisphere: str
    vertices: NDArray[np.integer]  # (height, width, 3)
    weights: NDArray[np.floating]  # (height, width, 3)
    seen: NDArray[np.bool_]  # (height, width)

    def paint(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Give every pixel the value of the surface there, between that of the triangle's corners."""
        return np.sum(values[self.vertices] * self.weights, axis=-1)


# Where the viewer stands, and which way is right in the picture.
SIDES = {
    "left, lateral": ("left", (-1, 0, 0), (0, -1, 0)),
    "left, medial": ("left", (1, 0, 0), (0, 1, 0)),
    "left, back": ("left", (0, -1, 0), (1, 0, 0)),
    "right, back": ("right", (0, -1, 0), (1, 0, 0)),
    "right, medial": ("right", (-1, 0, 0), (0, -1, 0)),
    "right, lateral": ("right", (1, 0, 0), (0, 1, 0)),
}


def surface_figure(
    image: SpatialImage, title: str, label: str, *, simulated: bool, signed: bool = True, percentile: float = 90.0
) -> Figure:
    """Draw one number a voxel on the inflated cortex.

    Parameters
    ----------
    image : SpatialImage
        Three-dimensional image of a whole brain in MNI space, 0 outside the mask.
    title, label : str
        Title of the figure, and what the colours are.
    simulated : bool
        Whether the scans were simulated.
    signed : bool
        Whether values below 0 mean something; else they are not drawn.
    percentile : float
        Places below this percentile of absolute values are left grey.

    Returns
    -------
    Figure
        Six views; light grey is gyri, dark grey sulci.

    Raises
    ------
    DataError
        If the image is no whole brain in MNI space, or holds nothing on the cortex.
    """
    if not is_whole_brain(image):
        raise DataError(f"Only whole brains in MNI space lie on this surface; received shape {image.shape}.")
    values = {side: _on_surface(image, side) for side in ("left", "right")}
    sizes = np.concatenate([np.abs(part) if signed else part.clip(min=0) for part in values.values()])
    if not np.isfinite(sizes).all() or not sizes.any():
        raise DataError("Expected finite values, not all 0, on the cortex.")
    colours, scale, label = map_colours(sizes[sizes > 0], label, signed=signed)
    threshold = float(np.percentile(sizes[sizes > 0], percentile)) * scale
    views = _views()
    with page(12.0, 2.5, title, simulated=simulated, tight=True) as figure:
        widths = [view.seen.shape[1] for view in views]
        panels = figure.subplots(1, len(views), gridspec_kw={"width_ratios": widths})
        for axes, view in zip(panels, views, strict=True):
            shown = view.paint(values[view.hemisphere] * scale)
            fold = np.where(view.paint(_sulci(view.hemisphere)) > 0, SULCUS, GYRUS)
            picture = np.repeat(fold[..., None], 4, axis=-1)
            picture[..., 3] = view.seen
            strong = view.seen & ((np.abs(shown) if signed else shown) >= threshold)
            picture[strong] = colours.to_rgba(shown[strong])
            axes.imshow(picture, interpolation="bilinear", aspect="equal")
            axes.set_title(view.title, size=9, color=MUTED, loc="center")
            axes.set_axis_off()
        bar = figure.colorbar(colours, ax=panels, label=label, shrink=0.9, aspect=14, pad=0.01)
        bar.outline.set_visible(False)
        for level in (threshold, -threshold)[: 2 if signed else 1]:
            bar.ax.axhline(level, color=INK, lw=1)
    return figure


def _on_surface(image: SpatialImage, side: str) -> NDArray[np.float32]:
    """Average an image between the white matter and the pia, at every vertex of a hemisphere."""
    from nilearn.surface import vol_to_surf

    meshes = _meshes()
    sampled = vol_to_surf(image, meshes["pial"].parts[side], inner_mesh=meshes["white_matter"].parts[side])
    values: NDArray[np.float32] = np.nan_to_num(sampled).astype(np.float32)
    return values


@cache
def _meshes() -> Any:
    from nilearn.datasets import load_fsaverage

    return load_fsaverage("fsaverage5")


@cache
def _sulci(side: str) -> NDArray[np.float32]:
    from nilearn.datasets import load_fsaverage_data

    depth: NDArray[np.float32] = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts[side]
    return depth


@cache
def _views() -> tuple[_View, ...]:
    """Look at the inflated hemispheres from six sides."""
    meshes, views = _meshes()["inflated"].parts, []
    for title, (side, towards, right) in SIDES.items():
        mesh = meshes[side]
        views.append(_look(title, side, mesh.coordinates, mesh.faces, np.array(towards), np.array(right)))
    return tuple(views)


def _look(
    title: str,
    side: str,
    places: NDArray[np.floating],
    triangles: NDArray[np.integer],
    towards: NDArray[np.int64],
    right: NDArray[np.int64],
) -> _View:
    """Find the triangle, and the place within it, that is nearest to the viewer in each pixel."""
    steps = [(a, b) for a in range(SUBDIVISIONS + 1) for b in range(SUBDIVISIONS + 1 - a)]
    within = (
        np.array([(a, b, SUBDIVISIONS - a - b) for a, b in steps], dtype=np.float32) / SUBDIVISIONS
    )  # (n_points, 3)
    points = np.einsum("pc,tcx->tpx", within, places[triangles]).reshape(-1, 3)
    across, up, depth = points @ right, points[:, 2], points @ towards
    columns = np.floor((across - across.min()) / PIXEL_MM).astype(int)
    rows = np.floor((up.max() - up) / PIXEL_MM).astype(int)
    height, width = rows.max() + 1, columns.max() + 1
    nearest_last = np.argsort(depth, kind="stable")
    point = np.full((height, width), -1)
    point[rows[nearest_last], columns[nearest_last]] = nearest_last
    seen = point >= 0
    triangle, place = np.divmod(point.clip(min=0), len(within))
    return _View(title, side, triangles[triangle], within[place], seen)
