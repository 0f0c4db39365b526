"""Brain maps as figures: a glass brain for whole brains in MNI space, slices for everything else."""

from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.reporting.style import INK, MARGIN, MUTED, page

__all__ = ["brain_figure", "is_whole_brain", "map_colours"]

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


def brain_figure(
    image: SpatialImage, title: str, label: str, *, simulated: bool, signed: bool = True, percentile: float = 95.0
) -> Figure:
    """Draw one number a voxel: on a glass brain where the image is a whole brain in MNI space, else as slices.

    Parameters
    ----------
    image : SpatialImage
        Three-dimensional image, 0 outside the brain.
    title, label : str
        Title of the figure, and what the colours are.
    simulated : bool
        Whether the scans were simulated.
    signed : bool
        Whether values below 0 mean something; else they are drawn as 0.
    percentile : float
        On the glass brain, voxels below this percentile of absolute values are left out. Slices show all.

    Returns
    -------
    Figure
        The brain, left on the left.

    Raises
    ------
    DataError
        If the image is not three-dimensional, or holds nothing but 0 or values that are no numbers.
    """
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.ndim != 3 or not np.isfinite(data).all() or not (data.any() if signed else (data > 0).any()):
        raise DataError(f"Expected finite values, not all 0, in three dimensions; received shape {data.shape}.")
    sizes = np.abs(data[data != 0]) if signed else data[data != 0].clip(min=0)
    colours, scale, label = map_colours(sizes, label, signed=signed)
    data, sizes, limit = data * np.float32(scale), sizes * np.float32(scale), float(np.max(np.abs(colours.get_clim())))
    threshold = float(np.nextafter(np.float32(np.percentile(sizes, percentile)), np.float32(0)))
    scaled = nib.Nifti1Image(data if signed else data.clip(min=0), image.affine)
    if not is_whole_brain(image):
        return _slices(scaled, title, label, colours, simulated=simulated)
    from nilearn.plotting import plot_glass_brain

    with page(12.0, 3.5, title, simulated=simulated) as figure:
        figure.set_layout_engine("none")  # nilearn places its axes itself
        plot_glass_brain(
            scaled, display_mode="lyrz", plot_abs=False, threshold=threshold, vmin=-limit if signed else 0.0,
            vmax=limit, cmap=colours.cmap, colorbar=False, figure=figure, axes=(0.005, 0.06, 0.90, 0.86), alpha=0.9,
        )  # fmt: skip
        bar = figure.colorbar(colours, cax=figure.add_axes((0.915, 0.2, 0.013, 0.56)), label=label)
        bar.outline.set_visible(False)
        for level in (threshold, -threshold)[: 2 if signed else 1]:
            bar.ax.axhline(level, color=INK, lw=1)
        note = f"voxels from the {percentile:g}th percentile{' of |value|' if signed else ''} upwards"
        figure.text(MARGIN / 12.0, MARGIN / 3.5, note, va="bottom", color=MUTED, size=10)
    return figure


def map_colours(sizes: NDArray[np.floating], label: str, *, signed: bool) -> tuple[ScalarMappable, float, str]:
    """Choose the colours of a map, and what small values are multiplied by to be read.

    Parameters
    ----------
    sizes : ndarray
        Absolute values that are drawn.
    label : str
        What the colours are.
    signed : bool
        Whether values below 0 are drawn.

    Returns
    -------
    colours : ScalarMappable
        Colours, up to the 99.9th percentile of the values that are multiplied.
    scale : float
        What to multiply by: a power of ten.
    label : str
        The label, with that power.
    """
    limit, scale = float(np.percentile(sizes, 99.9) or sizes.max()), 1.0
    exponent = int(np.floor(np.log10(limit)))
    if exponent < -2:
        scale = 10.0**-exponent
        label += f" (×10{str(exponent).translate(SUPERSCRIPTS)})"
    norm = Normalize(-limit * scale if signed else 0.0, limit * scale)
    return ScalarMappable(norm, "RdBu_r" if signed else "YlOrRd"), scale, label


def _slices(image: nib.Nifti1Image, title: str, label: str, colours: ScalarMappable, *, simulated: bool) -> Figure:
    """Draw slices across the shortest axis, cut to what is not 0."""
    oriented = nib.as_closest_canonical(image)
    data, zooms = oriented.get_fdata(dtype=np.float32), oriented.header.get_zooms()[:3]
    axis = int(np.argmin(data.shape))
    stack, (across, up) = np.moveaxis(data, axis, 0), np.delete(zooms, axis)  # (n_slices, across, up), mm
    occupied, columns, lines = (np.flatnonzero((stack != 0).any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    stack = stack[:, columns[0] : columns[-1] + 1, lines[0] : lines[-1] + 1]
    chosen = occupied[np.linspace(0, len(occupied) - 1, min(MAX_SLICES, len(occupied))).round().astype(int)]
    n_rows, n_columns = -(-len(chosen) // 4), min(4, len(chosen))
    ratio = stack.shape[2] * up / (stack.shape[1] * across)
    width = 6.0 if n_columns == 1 else 2.6
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
        figure.colorbar(colours, ax=panels, label=label, shrink=0.85, aspect=18).outline.set_visible(False)
    return figure
