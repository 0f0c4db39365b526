"""Brain maps as figures: a glass brain for whole brains in MNI space, slices for everything else."""

from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.reporting.style import INK, MARGIN, MUTED, page
from brainpred.reporting.thresholds import Shown

__all__ = ["brain_figure", "is_whole_brain", "map_colours", "mark_smallest", "slices_figure", "write_rule"]

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MAX_SLICES = 12
MNI_LOW_MM, MNI_HIGH_MM = np.array([-105.0, -145.0, -90.0]), np.array([105.0, 110.0, 130.0])


def is_whole_brain(image: SpatialImage) -> bool:
    """Tell whether an image can be laid over the MNI152 outline: a whole brain, placed as in that space.

    Parameters
    ----------
    image : SpatialImage
        Three-dimensional image.

    Returns
    -------
    bool
        Whether every axis has 10 voxels or more and spans at least 100 mm (by the affine), and what is not 0 lies
        within the MNI152 box.
    """
    if len(image.shape) != 3 or min(image.shape) < 10:
        return False
    inside = np.argwhere(np.asanyarray(image.dataobj) != 0)
    if not len(inside):
        return False
    low, high = _box_mm(image, inside.min(axis=0), inside.max(axis=0))
    first, last = _box_mm(image, np.zeros(3), np.array(image.shape) - 1)
    return bool((low >= MNI_LOW_MM).all() and (high <= MNI_HIGH_MM).all() and (last - first >= 100).all())


def _box_mm(
    image: SpatialImage, first: NDArray[Any], last: NDArray[Any]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Give the lowest and highest coordinates, in mm, of a box of voxels."""
    corners = np.array(np.meshgrid(*zip(first, last, strict=True))).reshape(3, -1).T
    places_mm = nib.affines.apply_affine(image.affine, corners)
    return places_mm.min(axis=0), places_mm.max(axis=0)


def brain_figure(image: SpatialImage, shown: Shown, title: str, label: str, *, simulated: bool) -> Figure:
    """Draw one number a voxel: on a glass brain where the image is a whole brain in MNI space, else as slices.

    Parameters
    ----------
    image : SpatialImage
        Three-dimensional image, 0 outside the brain.
    shown : Shown
        Which voxels are drawn on a glass brain. Slices show all.
    title, label : str
        Title of the figure, and what the colours are.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        The brain, left on the left.

    Raises
    ------
    DataError
        If the image is not three-dimensional, or holds nothing but 0 or values that are no numbers.
    """
    data = _checked(image, signed=shown.signed)
    if not is_whole_brain(image):
        return slices_figure(image, shown, title, label, simulated=simulated)
    drawn = data[shown.places]
    if not len(drawn):
        raise DataError("No voxel is to be drawn.")
    colours, scale, label = map_colours(drawn, label, shown)
    low, limit = colours.get_clim()
    from nilearn.plotting import plot_glass_brain

    scaled = nib.Nifti1Image(np.where(shown.places, data, 0) * np.float32(scale), image.affine)
    with page(12.0, 3.5, title, simulated=simulated) as figure:
        figure.set_layout_engine("none")  # nilearn places its axes itself
        plot_glass_brain(
            scaled, display_mode="lyrz", plot_abs=False, threshold=float(np.abs(drawn).min() * scale) * (1 - 1e-5),
            vmin=low, vmax=limit, cmap=colours.cmap, colorbar=False, figure=figure, axes=(0.005, 0.06, 0.90, 0.86),
            alpha=0.9,
        )  # fmt: skip
        bar = figure.colorbar(colours, cax=figure.add_axes((0.915, 0.2, 0.013, 0.56)), label=label)
        mark_smallest(bar, drawn * scale, shown)
        write_rule(figure, shown)
    return figure


def _checked(image: SpatialImage, *, signed: bool) -> NDArray[np.float32]:
    """Give the numbers of an image that can be drawn."""
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.ndim != 3 or not np.isfinite(data).all() or not (data.any() if signed else (data > 0).any()):
        raise DataError(f"Expected finite values, not all 0, in three dimensions; received shape {data.shape}.")
    return data


def mark_smallest(bar: Colorbar, drawn: NDArray[np.floating], shown: Shown) -> None:
    """Draw a line on a colour bar at the smallest value that is drawn, above and below 0 where colours do go there."""
    bar.outline.set_visible(False)
    for side, sign in ((drawn[drawn > 0], 1), (-drawn[drawn < 0], -1))[: 2 if shown.signed else 1]:
        if len(side):
            bar.ax.axhline(sign * side.min(), color=INK, lw=1)


def write_rule(figure: Figure, shown: Shown) -> None:
    """Write below a map which voxels are drawn."""
    width, height = figure.get_size_inches()
    figure.text(MARGIN / width, MARGIN / height, shown.rule, va="bottom", color=MUTED, size=10)


def map_colours(values: NDArray[np.floating], label: str, shown: Shown) -> tuple[ScalarMappable, float, str]:
    """Choose the colours of a map, and what small values are multiplied by to be read.

    Parameters
    ----------
    values : ndarray
        Values that are drawn.
    label : str
        What the colours are.
    shown : Shown
        Whether values below 0 are drawn, and where colours begin.

    Returns
    -------
    colours : ScalarMappable
        Colours, up to the 99th percentile of the absolute values that are multiplied.
    scale : float
        What to multiply by: a power of ten.
    label : str
        The label, with that power.
    """
    if not shown.from_zero:
        return ScalarMappable(Normalize(*np.percentile(values, [1, 99])), "viridis"), 1.0, label
    sizes = np.abs(values)
    limit, scale = float(np.percentile(sizes, 99) or sizes.max()), 1.0
    exponent = int(np.floor(np.log10(limit)))
    if exponent < -2:
        scale = 10.0**-exponent
        label += f" (×10{str(exponent).translate(SUPERSCRIPTS)})"
    both = shown.signed and (values < 0).any()
    norm = Normalize(-limit * scale if both else 0.0, limit * scale)
    return ScalarMappable(norm, "RdBu_r" if both else "YlOrRd"), scale, label


def slices_figure(image: SpatialImage, shown: Shown, title: str, label: str, *, simulated: bool) -> Figure:
    """Draw all of one number a voxel as slices: of a whole brain from below upwards, else across the shortest axis.

    Parameters
    ----------
    image : SpatialImage
        Three-dimensional image, 0 outside the brain.
    shown : Shown
        Whether values below 0 mean something, and where colours begin. All voxels are drawn.
    title, label : str
        Title of the figure, and what the colours are.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        At most 12 slices, cut to what is not 0, left on the left.

    Raises
    ------
    DataError
        If the image is not three-dimensional, or holds nothing but 0 or values that are no numbers.
    """
    data = _checked(image, signed=shown.signed)
    colours, scale, label = map_colours(data[data != 0] if shown.signed else data[data > 0], label, shown)
    scaled = (data if shown.signed else data.clip(min=0)) * np.float32(scale)
    oriented = nib.as_closest_canonical(nib.Nifti1Image(scaled, image.affine))
    data, zooms = oriented.get_fdata(dtype=np.float32), oriented.header.get_zooms()[:3]
    axis = 2 if is_whole_brain(image) else int(np.argmin(data.shape))
    stack, (across, up) = np.moveaxis(data, axis, 0), np.delete(zooms, axis)  # (n_slices, across, up), mm
    occupied, columns, lines = (np.flatnonzero((stack != 0).any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    stack = stack[:, columns[0] : columns[-1] + 1, lines[0] : lines[-1] + 1]
    counts = np.count_nonzero(stack[occupied], axis=(1, 2))
    occupied = occupied[counts >= counts.max() / 10]  # the last voxels of a brain tell little
    chosen = occupied[np.linspace(0, len(occupied) - 1, min(MAX_SLICES, len(occupied))).round().astype(int)]
    ratio = stack.shape[2] * up / (stack.shape[1] * across)
    n_columns = min(6 if ratio > 1 else 4, len(chosen))  # upright slices are narrow
    n_rows = -(-len(chosen) // n_columns)
    width = 6.0 if n_columns == 1 else 10.4 / max(n_columns, 4)
    size = (width * n_columns + 1.4, float(np.clip(n_rows * width * ratio, 2.0, 14.0)) + 0.9)
    with page(*size, title, simulated=simulated) as figure:
        bare = {"frame_on": False, "xticks": [], "yticks": []}
        panels = figure.subplots(n_rows, n_columns, squeeze=False, subplot_kw=bare)
        for axes, number in zip(panels.flat, chosen, strict=False):
            values = np.ma.masked_equal(stack[number], 0).T  # (up, across)
            look = {"origin": "lower", "aspect": up / across, "interpolation": "nearest"}
            axes.imshow(np.ones(values.shape), cmap="gray", vmin=0, vmax=1.07, **look)
            axes.imshow(values, cmap=colours.cmap, norm=colours.norm, **look)
            if len(chosen) > 1:
                axes.set_title(f"slice {number + 1}", size=10)
        bar = figure.colorbar(
            colours, ax=panels, label=label, shrink=0.85, aspect=18, extend="neither" if shown.from_zero else "both"
        )
        bar.outline.set_visible(False)
    return figure
