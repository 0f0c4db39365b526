"""Draw the figures of the report: scores, visual field, brain, time courses, contributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from brainpred.decoding.result import LayerResult
from brainpred.errors import DataError
from brainpred.numerics.bootstrap import fisher_mean
from brainpred.numerics.ceiling import mean_ceiling
from brainpred.reporting.numbers import number
from brainpred.reporting.style import FAINT, INK, MUTED, PALETTE, page

__all__ = [
    "TIMELINE_PERCENTILE",
    "bars_figure",
    "contribution_figure",
    "layer_colours",
    "layer_figure",
    "time_courses",
    "timeline_figure",
    "visual_field",
    "visual_field_figure",
    "visual_field_numbers",
]

TIMELINE_PERCENTILE = 99.0
MAX_DOTS, FEW_UNITS, MAX_SCANS, MAX_ROWS = 400, 30, 240, 12
SHORTEST_BAR = 0.01  # of the longest


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
    if any(np.isfinite(mean_ceiling(result.reliability, result.ceiling)) for result in results):
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
            axes.annotate(number(mean), (x, mean), (9, 0), va="center", weight="bold", zorder=6, **note)
            ceiling = mean_ceiling(result.reliability, result.ceiling)
            if np.isfinite(ceiling):
                axes.hlines(ceiling, x - 0.38, x + 0.40, color=INK, lw=1.8, linestyles=(0, (4, 2)))
                axes.annotate(f"ceiling {number(ceiling)}", (x - 0.38, ceiling), (0, 4), size=10, **note)
        axes.set_xticks(range(len(results)), [f"{result.layer}\n{len(result.r):,} units" for result in results])
        axes.tick_params(axis="x", length=0)
        axes.set(ymargin=0.09, xlim=(-0.55, len(results) - 0.45), ylabel="r over time of each unit (held-out)")
    return figure


def visual_field(result: LayerResult) -> NDArray[np.float64]:
    """Average r over the channels of a layer at each place of the visual field.

    Parameters
    ----------
    result : LayerResult
        Layer of shape (channels, height, width); only ``r`` is used.

    Returns
    -------
    ndarray of float64 (height, width)
        Mean r; NaN where no channel varies.
    """
    per_unit = result.r.reshape(result.shape)
    counts = np.isfinite(per_unit).sum(axis=0)
    return np.divide(np.nansum(per_unit, axis=0), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def visual_field_numbers(results: Sequence[LayerResult]) -> pd.DataFrame:
    """Tabulate what :func:`visual_field_figure` draws.

    Parameters
    ----------
    results : sequence of LayerResult
        Layers; those that are not spatial are left out.

    Returns
    -------
    DataFrame (one row a layer and place)
        Layer, row (from the top), column (from the left), mean r over channels.
    """
    tables = []
    for result in results:
        if len(result.shape) == 3:
            field = visual_field(result)
            row, column = np.indices(field.shape).reshape(2, -1)
            tables.append(pd.DataFrame({"layer": result.layer, "row": row, "column": column, "mean_r": field.ravel()}))
    return pd.concat(tables)


def visual_field_figure(results: Sequence[LayerResult], *, simulated: bool) -> Figure:
    """Draw where in the visual field the units of each layer are decoded, all layers in the same colours.

    Parameters
    ----------
    results : sequence of LayerResult
        Layers of shape (channels, height, width); only ``r`` is used.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        A panel a layer: mean r over channels at each place (below 0 as 0), with a cross at the middle of the picture.

    Raises
    ------
    DataError
        If no layer is spatial and varies.
    """
    shown = [result for result in results if len(result.shape) == 3 and np.isfinite(result.r).any()]
    if not shown:
        received = ", ".join(str(result.shape) for result in results)
        raise DataError(f"Expected varying units of shape (channels, height, width), received {received}.")
    fields = [visual_field(result) for result in shown]
    norm = Normalize(0.0, max(0.1, *(float(np.nanpercentile(field, 99.5)) for field in fields)))
    n_columns = min(len(shown), 3)
    n_rows = -(-len(shown) // n_columns)
    tall = n_rows * 2.9 * np.clip(fields[0].shape[0] / fields[0].shape[1], 0.5, 1.6)
    size = (3.0 * n_columns + 1.2, 1.0 + 0.3 * n_rows + tall)
    with page(*size, "Accuracy over the visual field", simulated=simulated) as figure:
        panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axes, result, field in zip(panels, shown, fields, strict=False):
            height, width = field.shape
            extent = (0.0, float(width), float(height), 0.0)
            axes.imshow(field, "viridis", norm=norm, extent=extent, interpolation="nearest", aspect="equal")
            axes.set_title(f"{result.layer}, {result.shape[0]} channels", size=10.5)
            for colour, stroke in (("white", 4.5), ("black", 2.2)):
                axes.plot(width / 2, height / 2, "+", ms=13, mew=stroke, color=colour)
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        colours = ScalarMappable(norm, "viridis")
        bar = figure.colorbar(
            colours, ax=list(panels), label="r (held-out), mean over channels", shrink=0.85, aspect=18
        )
        bar.outline.set_visible(False)
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


def time_courses(result: LayerResult, tr_s: float) -> pd.DataFrame:
    """Give the true and the decoded courses of the three units whose r is nearest to the 99th percentile.

    Parameters
    ----------
    result : LayerResult
        One layer.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``unit``, ``place``, ``r``, ``run``, ``time_s``, ``true`` and ``decoded`` (z-scored): the
        first held-out run, at most its first 240 scans; the unit of the highest r first.

    Raises
    ------
    DataError
        If no unit varies.
    """
    units = _units_at_percentile(result.r, TIMELINE_PERCENTILE, 3)
    if not len(units):
        raise DataError(f"{result.layer}: every unit is constant in the test scans.")
    rows = np.flatnonzero(result.runs == result.runs[0])[:MAX_SCANS]
    return pd.concat(
        pd.DataFrame(
            {
                "layer": result.layer, "unit": unit, "place": _place(unit, result.shape), "r": result.r[unit],
                "run": str(result.runs[0]), "time_s": np.arange(len(rows)) * tr_s,
                "true": _zscore(result.true[rows, unit]), "decoded": _zscore(result.decoded[rows, unit]),
            }
        )
        for unit in units
    )  # fmt: skip


def timeline_figure(courses: pd.DataFrame, *, simulated: bool, colour: str = PALETTE[0]) -> Figure:
    """Draw the true and the decoded time course of some units of a layer.

    Parameters
    ----------
    courses : DataFrame
        Of :func:`time_courses`.
    simulated : bool
        Whether the scans were simulated.
    colour : str
        Colour of the decoded course, such as the layer's of :func:`layer_colours`.

    Returns
    -------
    Figure
        A row a unit, both courses z-scored.
    """
    units, first = list(courses.groupby("unit", sort=False)), courses.iloc[0]
    with page(8.0, 1.1 + 1.45 * len(units), f"{first['layer']}: true and decoded", simulated=simulated) as figure:
        panels = figure.subplots(len(units), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, (_, own) in zip(panels, units, strict=True):
            axes.axhline(0, color=FAINT, lw=1)
            axes.plot(own["time_s"], own["true"], color="#8A9299", lw=2.4, label="true")
            axes.plot(own["time_s"], own["decoded"], color=colour, lw=1.8, label="decoded")
            axes.set_title(f"{own['place'].iloc[0]}   r = {number(own['r'].iloc[0])}", size=10.5)
            axes.margins(x=0.01)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, borderaxespad=0)
        panels[-1].set_xlabel(f"time in {first['run']} (s)")
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
        Bars by ROI and layer; see :func:`bars_figure`.

    Raises
    ------
    DataError
        If the table is empty.
    """
    if roi_table.empty:
        raise DataError("The table of ROI contributions is empty.")
    wide = roi_table.pivot_table(index="roi", columns="layer", values="contribution", sort=False)
    voxels = roi_table.groupby("roi")["n_voxels"].first()
    wide.index = [f"{roi}\n{voxels[roi]:,} voxels" for roi in wide.index]
    return bars_figure(
        wide, "Contribution of each ROI", "contribution to decoding, Σ y ŷ / Σ y² (held-out)", simulated=simulated
    )


def bars_figure(table: pd.DataFrame, title: str, label: str, *, simulated: bool) -> Figure:
    """Draw bars by region or band, and layer.

    Parameters
    ----------
    table : DataFrame
        A row a region or band, a column a layer.
    title, label : str
        Title, and what the length of a bar is.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        The 12 rows with the largest bars, in the order of the table, but for rows of nothing but the shortest bars.
    """
    layers = [str(name) for name in table.columns]
    longest = table.abs().max(axis=1).sort_values(ascending=False, kind="stable")[:MAX_ROWS]
    largest = longest[longest >= SHORTEST_BAR * longest.max()].index
    if len(largest) < len(table):
        label += f"\n{len(table) - len(largest)} not drawn: "
        label += f"below {SHORTEST_BAR:.0%} of the longest bar, or beyond the first {MAX_ROWS}"
    wide = table.loc[[name for name in table.index if name in largest]]
    colours, thickness = layer_colours(layers), min(0.8 / len(layers), 0.5)
    size = (8.0, 1.4 + len(wide) * max(0.5, 0.15 * len(layers)))
    with page(*size, title, simulated=simulated) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, lw=1)
        for number, layer in enumerate(layers):
            y = np.arange(len(wide)) + (number - (len(layers) - 1) / 2) * thickness
            axes.barh(y, wide.iloc[:, number], thickness * 0.9, color=colours[layer], label=layer)
        axes.set_yticks(range(len(wide)), list(wide.index))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0)).set_visible(len(layers) > 1)
    return figure
