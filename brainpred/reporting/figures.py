"""Draw the figures of the report: scores, visual field, brain, time courses, contributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from brainpred.decoding.result import LayerResult
from brainpred.errors import DataError
from brainpred.numerics.bootstrap import fisher_mean
from brainpred.numerics.ceiling import mean_ceiling
from brainpred.reporting.style import FAINT, INK, MUTED, PALETTE, page

__all__ = [
    "TIMELINE_PERCENTILE",
    "contribution_figure",
    "layer_colours",
    "layer_figure",
    "timeline_figure",
    "visual_field_figure",
]

TIMELINE_PERCENTILE = 99.0
MAX_DOTS, FEW_UNITS, MAX_SCANS, MAX_ROIS = 400, 30, 240, 12


def layer_colours(layers: Sequence[str]) -> dict[str, str]:
    """Give every layer its colour: R0 to R3 have the same one in every figure.

    Parameters
    ----------
    layers : sequence of str
        Names.

    Returns
    -------
    dict of str to str
        Hexadecimal colour of each layer.
    """
    fixed = {f"R{number}": PALETTE[number] for number in range(4)}
    free = [colour for name, colour in fixed.items() if name not in layers] + list(PALETTE[4:])
    others = [layer for layer in layers if layer not in fixed]
    return {layer: fixed.get(layer) or free[others.index(layer) % len(free)] for layer in layers}


def _signed(value: float) -> str:
    return f"{value:z.2f}".replace("-", "−")


def _raincloud(axes: Axes, x: float, values: NDArray[np.floating], colour: str) -> None:
    """Draw a distribution at x: units as dots to the left, their density to the right, quartiles and mean between."""
    rng = np.random.default_rng(0)
    shown = rng.permutation(values)[:MAX_DOTS]
    size, alpha = (34, 0.8) if (few := len(values) < FEW_UNITS) else (9, 0.35)
    axes.scatter(x - rng.uniform(0.10, 0.36, len(shown)), shown, s=size, color=colour, alpha=alpha, lw=0)
    if not few and np.ptp(values) > 0:
        counts, edges = np.histogram(values, bins=200)
        density = gaussian_filter1d(counts.astype(float), 5.0, mode="constant")
        seen = density > 0.004 * density.max()
        width = 0.33 * density[seen] / density.max()
        centres = ((edges[1:] + edges[:-1]) / 2)[seen]
        axes.fill_betweenx(centres, x + 0.07, x + 0.07 + width, color=colour, alpha=0.75, lw=0)
    axes.vlines(x, *np.percentile(values, [25, 75]), color=colour, lw=5, alpha=0.55)
    axes.plot(x, fisher_mean(values), "o", ms=9, color=colour, mec="white", mew=1.6, zorder=5)


def layer_figure(results: Sequence[LayerResult], *, simulated: bool) -> Figure:
    """Draw how well the units of each layer are decoded.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer; only ``layer``, ``r`` and ``ceiling`` are used.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        A distribution of r over units for every layer, with its mean (by Fisher's z), zero, and the mean noise ceiling.

    Raises
    ------
    DataError
        If no layer has a unit that varies.
    """
    if not any(np.isfinite(result.r).any() for result in results):
        raise DataError("No unit has a correlation: every unit is constant in the test scans.")
    colours = layer_colours([result.layer for result in results])
    title = "Decoding accuracy"
    if any(np.isfinite(result.reliability).any() for result in results):
        title += " (dashed: noise ceiling)"
    with page(max(4.8, 1.6 + 2.0 * len(results)), 5.0, title, simulated=simulated) as figure:
        axes = figure.subplots()
        axes.axhline(0, color=MUTED, lw=1)
        for x, result in enumerate(results):
            values = result.r[np.isfinite(result.r)]
            if not len(values):
                continue
            _raincloud(axes, x, values, colours[result.layer])
            glow = [withStroke(linewidth=3, foreground="white")]
            note: dict[str, Any] = {"textcoords": "offset points", "path_effects": glow}
            mean = float(fisher_mean(values))
            axes.annotate(_signed(mean), (x, mean), (9, 0), va="center", weight="bold", zorder=6, **note)
            if np.isfinite(result.reliability).any():
                ceiling = mean_ceiling(result.reliability)
                axes.hlines(ceiling, x - 0.38, x + 0.40, color=INK, lw=1.8, linestyles=(0, (4, 2)))
                axes.annotate(f"ceiling {_signed(ceiling)}", (x - 0.38, ceiling), (0, 4), size=10, **note)
        axes.set_xticks(range(len(results)), [f"{result.layer}\n{len(result.r):,} units" for result in results])
        axes.tick_params(axis="x", length=0)
        axes.set(ymargin=0.09, xlim=(-0.55, len(results) - 0.45), ylabel="r over time of each unit (held-out)")
    return figure


def visual_field_figure(result: LayerResult, *, simulated: bool) -> Figure:
    """Draw where in the visual field the units of a layer are decoded.

    Parameters
    ----------
    result : LayerResult
        Layer of shape (channels, height, width); only ``r`` is used.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        Mean r over channels at each place, with a cross at the middle of the picture.

    Raises
    ------
    DataError
        If the layer is not spatial or none of its units varies.
    """
    if len(result.shape) != 3 or not np.isfinite(result.r).any():
        raise DataError(f"Expected varying units of shape (channels, height, width), received {result.shape}.")
    per_unit = result.r.reshape(result.shape)
    counts = np.isfinite(per_unit).sum(axis=0)
    field = np.divide(np.nansum(per_unit, axis=0), counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    limit = max(0.1, float(np.nanpercentile(np.abs(field), 99.5)))
    height, width = field.shape
    size = (3.36 * np.clip(width / height, 0.6, 2.0) + 1.3, 4.4)
    with page(*size, f"{result.layer}: accuracy over the visual field", simulated=simulated) as figure:
        axes = figure.subplots()
        extent = (0.0, float(width), float(height), 0.0)
        picture = axes.imshow(
            field, "RdBu_r", vmin=-limit, vmax=limit, extent=extent, interpolation="nearest", aspect="equal"
        )
        axes.set_title(f"r, mean over {result.shape[0]} channels")
        for colour, stroke in (("white", 4.5), ("black", 2.2)):
            axes.plot(width / 2, height / 2, "+", ms=15, mew=stroke, color=colour)
        axes.set(xticks=[], yticks=[], xlabel="left   ←   visual field   →   right")
        axes.spines[:].set_visible(False)
        figure.colorbar(picture, ax=axes, label="r (held-out)", shrink=0.85, aspect=18).outline.set_visible(False)
    return figure


def _units_at_percentile(r: NDArray[np.floating], percentile: float, n: int) -> NDArray[np.int64]:
    """Find the units whose r lies nearest to a percentile of all units that vary; highest r first."""
    varying = np.flatnonzero(np.isfinite(r))
    if not len(varying):
        return varying
    distance = np.abs(r[varying] - np.percentile(r[varying], percentile))
    nearest = varying[np.argsort(distance, kind="stable")[:n]]
    return nearest[np.argsort(-r[nearest], kind="stable")]


def _zscore(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return (values - values.mean()) / (values.std() or 1.0)


def _place(unit: int, shape: tuple[int, ...]) -> str:
    place = [int(n) for n in np.unravel_index(unit, shape)]
    return "channel {}, row {}, column {}".format(*place) if len(shape) == 3 else f"unit {', '.join(map(str, place))}"


def timeline_figure(result: LayerResult, tr_s: float, *, simulated: bool, colour: str = PALETTE[0]) -> Figure:
    """Draw the true and the decoded time course of the three units whose r is nearest to the 99th percentile.

    Parameters
    ----------
    result : LayerResult
        One layer.
    tr_s : float
        Repetition time in seconds.
    simulated : bool
        Whether the scans were simulated.
    colour : str
        Colour of the decoded course, such as the layer's of :func:`layer_colours`.

    Returns
    -------
    Figure
        A row a unit, both courses z-scored; the first held-out run, at most its first 240 scans.

    Raises
    ------
    DataError
        If no unit varies.
    """
    units = _units_at_percentile(result.r, TIMELINE_PERCENTILE, 3)
    if not len(units):
        raise DataError(f"{result.layer}: every unit is constant in the test scans.")
    rows = np.flatnonzero(result.runs == result.runs[0])[:MAX_SCANS]
    times_s = np.arange(len(rows)) * tr_s
    with page(8.0, 1.1 + 1.45 * len(units), f"{result.layer}: true and decoded", simulated=simulated) as figure:
        panels = figure.subplots(len(units), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, unit in zip(panels, units, strict=True):
            axes.axhline(0, color=FAINT, lw=1)
            axes.plot(times_s, _zscore(result.true[rows, unit]), color="#8A9299", lw=2.4, label="true")
            axes.plot(times_s, _zscore(result.decoded[rows, unit]), color=colour, lw=1.8, label="decoded")
            axes.set_title(f"{_place(unit, result.shape)}   r = {_signed(result.r[unit])}", size=10.5)
            axes.margins(x=0.01)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, borderaxespad=0)
        panels[-1].set_xlabel(f"time in {result.runs[0]} (s)")
        figure.supylabel("z-score", size=11)
    return figure


def contribution_figure(roi_table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Draw what the voxels of each ROI contribute to decoding each layer.

    Parameters
    ----------
    roi_table : DataFrame
        Columns ``layer``, ``roi``, ``n_voxels`` and ``contribution``.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        Bars by ROI and layer, the largest ROIs' (at most 12) first.

    Raises
    ------
    DataError
        If the table is empty.
    """
    if roi_table.empty:
        raise DataError("The table of ROI contributions is empty.")
    layers = list(dict.fromkeys(roi_table["layer"]))
    wide = roi_table.pivot_table(index="roi", columns="layer", values="contribution", sort=False)
    order = wide.abs().max(axis=1).sort_values(ascending=False, kind="stable").index[:MAX_ROIS]
    voxels, colours = roi_table.groupby("roi")["n_voxels"].first(), layer_colours(layers)
    thickness = min(0.8 / len(layers), 0.5)
    size = (8.0, 1.5 + len(order) * max(0.5, 0.2 * len(layers)))
    with page(*size, "Contribution of each ROI", simulated=simulated) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, lw=1)
        for number, layer in enumerate(layers):
            y = np.arange(len(order)) + (number - (len(layers) - 1) / 2) * thickness
            axes.barh(y, wide.loc[order, layer], thickness * 0.9, color=colours[layer], label=layer)
        axes.set_yticks(range(len(order)), [f"{roi}\n{voxels[roi]:,} voxels" for roi in order])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("contribution to decoding, Σ y ŷ / Σ y² (held-out)")
        axes.legend(loc="best").set_visible(len(layers) > 1)
    return figure
