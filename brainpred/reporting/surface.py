"""Brain maps on the inflated surface of the cortex."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.reporting.brain import map_colours, mark_smallest, write_rule
from brainpred.reporting.meshes import SIDES, Mesh
from brainpred.reporting.style import MUTED, page
from brainpred.reporting.thresholds import Shown, label_vertices

__all__ = ["joined_labels", "surface_figure"]

PIXEL_MM = 0.7
MAX_SUBDIVISIONS = 8
GYRUS, SULCUS = 0.82, 0.66  # greys
SHADE = 0.3  # how much darker a slope is, on meshes whose sulci are not known


class _View(NamedTuple):
    """Hold a hemisphere as seen from one side: what each pixel shows."""

    title: str
    hemisphere: str
    vertices: NDArray[np.integer]  # (height, width, 3)
    weights: NDArray[np.floating]  # (height, width, 3)
    seen: NDArray[np.bool_]  # (height, width)
    light: NDArray[np.floating]  # (height, width), 1 where the surface faces the viewer

    def paint(self, values: NDArray[Any]) -> NDArray[np.floating]:
        """Give every pixel the value of the surface there, between that of the triangle's corners."""
        painted: NDArray[np.floating] = np.sum(values[self.vertices] * self.weights, axis=-1)
        return painted


# Where the viewer stands, and which way is right in the picture.
VIEWS = {
    "left, lateral": ("left", (-1, 0, 0), (0, -1, 0)),
    "left, medial": ("left", (1, 0, 0), (0, 1, 0)),
    "left, back": ("left", (0, -1, 0), (1, 0, 0)),
    "right, back": ("right", (0, -1, 0), (1, 0, 0)),
    "right, medial": ("right", (-1, 0, 0), (0, -1, 0)),
    "right, lateral": ("right", (1, 0, 0), (0, 1, 0)),
}


def joined_labels(mesh: Mesh) -> Callable[[NDArray[np.bool_]], NDArray[np.integer]]:
    """Give what numbers the clusters among chosen vertices of both hemispheres, the left one's first.

    Parameters
    ----------
    mesh : Mesh
        The cortex.

    Returns
    -------
    callable
        Takes places, (n_vertices,) of bool; gives labels from 1, 0 elsewhere.
    """
    faces = np.concatenate([mesh.faces["left"], mesh.faces["right"] + mesh.n_vertices[0]])
    return lambda places: label_vertices(faces, places)


def surface_figure(
    values: Mapping[str, NDArray[np.floating]], mesh: Mesh, shown: Shown, title: str, label: str, *, simulated: bool
) -> Figure:
    """Draw one number a vertex on the inflated cortex.

    Parameters
    ----------
    values : mapping of str to ndarray (n_vertices,)
        Values of the left and the right hemisphere.
    mesh : Mesh
        The cortex.
    shown : Shown
        Which vertices are drawn, the left hemisphere's first.
    title, label : str
        Title of the figure, and what the colours are.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        Six views; light grey is gyri, dark grey sulci.

    Raises
    ------
    DataError
        If there is nothing to be drawn, or no number.
    """
    places = dict(zip(SIDES, np.split(shown.places, [mesh.n_vertices[0]]), strict=True))
    drawn = np.concatenate([values[side][places[side]] for side in SIDES])
    if not np.isfinite(drawn).all() or not drawn.any():
        raise DataError("Expected finite values, not all 0, on the cortex.")
    colours, scale, label = map_colours(drawn, label, shown)
    views = _views(mesh)
    with page(12.0, 2.7, title, simulated=simulated, tight=True, foot=True) as figure:
        widths = [view.seen.shape[1] for view in views]
        panels = figure.subplots(1, len(views), gridspec_kw={"width_ratios": widths})
        for axes, view in zip(panels, views, strict=True):
            grey = np.where(view.paint(mesh.sulci[view.hemisphere]) > 0.5, SULCUS, GYRUS) * view.light
            picture = np.repeat(grey[..., None], 4, axis=-1)
            picture[..., 3] = view.seen
            # The nearest vertex decides: what lies between a drawn one and one that is not belongs to either.
            strong = view.seen & (view.paint(places[view.hemisphere]) > 0.5)
            picture[strong] = colours.to_rgba(view.paint(values[view.hemisphere] * scale)[strong])
            axes.imshow(picture, interpolation="bilinear", aspect="equal")
            axes.set_title(view.title, size=9, color=MUTED, loc="center")
            axes.set_axis_off()
        bar = figure.colorbar(colours, ax=panels, label=label, shrink=0.9, aspect=14, pad=0.01)
        mark_smallest(bar, drawn * scale, shown)
        write_rule(figure, shown)
    return figure


@lru_cache(maxsize=2)
def _views(mesh: Mesh) -> tuple[_View, ...]:
    """Look at the inflated hemispheres from six sides."""
    return tuple(
        _look(title, side, mesh, np.array(towards), np.array(right)) for title, (side, towards, right) in VIEWS.items()
    )


def _look(title: str, side: str, mesh: Mesh, towards: NDArray[np.int64], right: NDArray[np.int64]) -> _View:
    """Find the triangle, and the place within it, that is nearest to the viewer in each pixel."""
    triangles, corners = mesh.faces[side], mesh.places[side][mesh.faces[side]]  # corners: (n_triangles, 3, 3)
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1)
    n = int(np.clip(np.ceil(np.percentile(sides, 99) / PIXEL_MM), 1, MAX_SUBDIVISIONS))  # finer than a pixel
    steps = [(a, b) for a in range(n + 1) for b in range(n + 1 - a)]
    within = np.array([(a, b, n - a - b) for a, b in steps], dtype=np.float32) / n  # (n_points, 3)
    points = np.einsum("pc,tcx->tpx", within, corners).reshape(-1, 3)
    across, up, depth = points @ right, points[:, 2], points @ towards
    columns = np.floor((across - across.min()) / PIXEL_MM).astype(int)
    rows = np.floor((up.max() - up) / PIXEL_MM).astype(int)
    height, width = rows.max() + 1, columns.max() + 1
    nearest_last = np.argsort(depth, kind="stable")
    point = np.full((height, width), -1)
    point[rows[nearest_last], columns[nearest_last]] = nearest_last
    seen = point >= 0
    triangle, place = np.divmod(point.clip(min=0), len(within))
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.abs(normals @ towards) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    light = np.ones(seen.shape) if mesh.sulci[side].any() else 1 - SHADE * (1 - facing[triangle])
    return _View(title, side, triangles[triangle], within[place], seen, light)
