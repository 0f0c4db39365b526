"""Draw what speaks for and against the scores: chance, other features, bands, delays, voxels predicted, quality."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainpred.decoding.chance import NULL_EDGES, Chance
from brainpred.decoding.result import LayerResult
from brainpred.errors import DataError
from brainpred.reporting.figures import bars_figure, layer_colours
from brainpred.reporting.numbers import probability
from brainpred.reporting.style import ALERT, FAINT, INK, MUTED, PALETTE, page

__all__ = [
    "band_figure",
    "comparison_figure",
    "encoding_figure",
    "lag_figure",
    "null_figure",
    "null_means",
    "null_numbers",
    "quality_figure",
]

MAX_RUNS = 40


def null_figure(results: Sequence[LayerResult], chance: Chance, *, simulated: bool) -> Figure:
    """Draw how r is distributed over units, and how chance would distribute it.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer; only ``layer`` and ``r`` are used.
    chance : Chance
        The permutations.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        A panel a layer: grey, r under permutations; colour, r as found; in black the mean and its interval.

    Raises
    ------
    DataError
        If no layer has a unit that varies.
    """
    shown = [result for result in results if np.isfinite(result.r).any()]
    if not shown:
        raise DataError("No unit has a correlation: every unit is constant in the test scans.")
    colours = layer_colours([result.layer for result in results])
    n_columns = min(3, len(shown))
    n_rows = -(-len(shown) // n_columns)
    centres, width = (NULL_EDGES[1:] + NULL_EDGES[:-1]) / 2, NULL_EDGES[1] - NULL_EDGES[0]
    low = min(float(np.nanmin(result.r)) for result in shown)
    high = max(float(np.nanmax(result.r)) for result in shown)
    width_in = 9.0 if len(results) <= 4 else 12.6  # a page shows more than four across its whole width
    with page(width_in, 0.7 + 2.1 * n_rows, "r of units against chance", simulated=simulated) as figure:
        panels = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
        for axes, result in zip(panels, shown, strict=False):
            tested = chance.of(result.layer)
            r = result.r[np.isfinite(result.r)]
            null = tested.null_counts / max(tested.null_counts.sum(), 1) / width
            found = np.histogram(r, NULL_EDGES)[0] / len(r) / width
            axes.fill_between(centres, null, step="mid", color="#B9C0C7", lw=0, label="chance")
            axes.step(centres, found, where="mid", color=colours[result.layer], lw=1.6, label="found")
            top = 1.08 * max(float(found.max()), float(null.max()))
            axes.plot([tested.low, tested.high], [top, top], color=INK, lw=1.5, clip_on=False)
            axes.plot(tested.mean_r, top, "o", ms=5, color=INK, clip_on=False)
            axes.set_title(f"{result.layer}   p = {probability(tested.mean_p)}", size=10.5)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set(yticks=[], ylim=(0, 1.15 * top), xlim=(min(low, -0.3) - 0.02, max(high, 0.3) + 0.02))
            axes.spines["left"].set_visible(False)
            axes.axvline(0, color=FAINT, lw=1, zorder=0)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="upper right", ncols=2, fontsize=10)
        figure.supxlabel("r over time of each unit (held-out)", size=11)
        figure.supylabel("density of units", size=11)
    return figure


def null_numbers(results: Sequence[LayerResult], chance: Chance) -> pd.DataFrame:
    """Tabulate what :func:`null_figure` draws.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer; only ``layer`` and ``r`` are used.
    chance : Chance
        The permutations.

    Returns
    -------
    DataFrame (one row a layer and bin)
        Between what r a bin lies, and the part of all units in it as found and under the permutations.
    """
    tables = []
    for result in results:
        null = chance.of(result.layer).null_counts
        found = np.histogram(result.r[np.isfinite(result.r)], NULL_EDGES)[0]
        tables.append(
            pd.DataFrame(
                {
                    "layer": result.layer, "r_from": NULL_EDGES[:-1], "r_to": NULL_EDGES[1:],
                    "found": found / max(found.sum(), 1), "chance": null / max(null.sum(), 1),
                }
            )
        )  # fmt: skip
    return pd.concat(tables)


def null_means(chance: Chance) -> pd.DataFrame:
    """Tabulate the mean r of every layer under every permutation, with what was permuted.

    Parameters
    ----------
    chance : Chance
        The permutations.

    Returns
    -------
    DataFrame (one row a layer and permutation)
        Layer, number of the permutation, mean r under it; scans of a block and number of blocks.
    """
    return pd.concat(
        pd.DataFrame(
            {
                "layer": one.layer, "permutation": np.arange(len(one.null_mean_r)), "mean_r": one.null_mean_r,
                "block_scans": chance.block_length, "n_blocks": chance.n_blocks,
            }
        )
        for one in chance.layers
    )  # fmt: skip


def comparison_figure(layers: pd.DataFrame, baselines: Sequence[str], *, simulated: bool) -> Figure:
    """Draw how well PredNet's layers and features that need no network are decoded.

    Parameters
    ----------
    layers : DataFrame
        Columns ``layer``, ``mean_r``, ``mean_r_low``, ``mean_r_high`` and ``mean_ceiling``.
    baselines : sequence of str
        Layers that are no network's.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        A row a layer: mean r with its interval, and the noise ceiling; baselines below a line.
    """
    order = [*layers[~layers["layer"].isin(baselines)].index, *layers[layers["layer"].isin(baselines)].index]
    rows = layers.loc[order]
    colours = layer_colours(list(layers["layer"]))
    n_own = int((~rows["layer"].isin(baselines)).sum())
    with page(7.0, 1.2 + 0.42 * len(rows), "Beside features that need no network", simulated=simulated) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, lw=1)
        for y, (_, row) in enumerate(rows.iterrows()):
            colour = colours[row["layer"]]
            axes.plot([row["mean_r_low"], row["mean_r_high"]], [y, y], color=colour, lw=4, alpha=0.45)
            axes.plot(row["mean_r"], y, "o", ms=9, color=colour, mec="white", mew=1.4)
            if np.isfinite(row["mean_ceiling"]):
                axes.plot([row["mean_ceiling"]] * 2, [y - 0.3, y + 0.3], color=INK, lw=1.8)
        axes.axhline(n_own - 0.5, color=FAINT, lw=1)
        axes.set_yticks(range(len(rows)), list(rows["layer"]))
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="mean r (Fisher’s z), 95 % interval; upright bar: noise ceiling")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def band_figure(bands: pd.DataFrame, *, simulated: bool) -> Figure:
    """Draw what each band adds to the R² of each layer.

    Parameters
    ----------
    bands : DataFrame
        Columns ``layer``, ``band``, ``r2``.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        Bars by band and layer; see :func:`brainpred.reporting.figures.bars_figure`.

    Raises
    ------
    DataError
        If the table is empty.
    """
    if bands.empty:
        raise DataError("The table of bands is empty.")
    wide = bands.pivot_table(index="band", columns="layer", values="r2", sort=False, dropna=False)
    label = "part in R² (product measure), mean over units; the parts of a layer sum to its R²"
    return bars_figure(wide, "Part of each band in R²", label, simulated=simulated)


def lag_figure(lags: pd.DataFrame, *, simulated: bool) -> Figure:
    """Draw from what time lag the information comes.

    Parameters
    ----------
    lags : DataFrame
        Columns ``layer``, ``delay_s``, ``roi``, ``contribution``.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        A line a layer: contribution of all voxels at each delay.

    Raises
    ------
    DataError
        If there is only one delay.
    """
    summed = lags.pivot_table(index="layer", columns="delay_s", values="contribution", aggfunc="sum", sort=False)
    if summed.shape[1] < 2:
        raise DataError("There is one delay only; information cannot be told by delay.")
    colours = layer_colours(list(summed.index))
    with page(6.0, 3.8, "From what delay the information comes", simulated=simulated) as figure:
        axes = figure.subplots()
        axes.axhline(0, color=MUTED, lw=1)
        for layer, row in summed.iterrows():
            axes.plot(summed.columns, row, "o-", color=colours[str(layer)], lw=1.8, ms=6, label=layer)
        axes.set_xticks(list(summed.columns))
        axes.set(xlabel="BOLD, seconds after the stimulus", ylabel="contribution, Σ y ŷ / Σ y²")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0)).set_visible(len(summed) > 1)
    return figure


def encoding_figure(regions: pd.DataFrame, bands: Sequence[str], *, simulated: bool) -> Figure:
    """Draw what each layer of features explains of the voxels of each ROI.

    Parameters
    ----------
    regions : DataFrame
        Columns ``roi``, ``n_voxels`` and ``r2_<band>``.
    bands : sequence of str
        Layers of features.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        Bars by ROI and layer; see :func:`brainpred.reporting.figures.bars_figure`.
    """
    wide = regions[[f"r2_{band}" for band in bands]].set_axis(list(bands), axis="columns")
    wide.index = [f"{row.roi}\n{row.n_voxels:,} voxels" for row in regions.itertuples()]
    label = "part in R² (product measure), mean over the ROI’s voxels"
    return bars_figure(wide, "Voxels predicted from the features", label, simulated=simulated)


def quality_figure(scans: pd.DataFrame, *, simulated: bool) -> Figure:
    """Draw how the signal jumps from scan to scan, and shifts.

    Parameters
    ----------
    scans : DataFrame
        Columns ``run``, ``scan``, ``dvars``, ``spike``, ``shift_mm``.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        DVARS with spikes marked and, where it is known, the shift of the centre of intensity; runs one after another.

    Raises
    ------
    DataError
        If there are no scans.
    """
    if scans.empty:
        raise DataError("The table of scans is empty.")
    series = ["dvars"] + (["shift_mm"] if np.isfinite(scans["shift_mm"]).any() else [])
    runs = list(dict.fromkeys(scans["run"]))
    begins = [int(np.flatnonzero(scans["run"] == run)[0]) for run in runs]
    labels = {"dvars": "DVARS (%)", "shift_mm": "shift (mm)"}
    with page(12.6, 0.9 + 1.9 * len(series), "From scan to scan", simulated=simulated) as figure:
        panels = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        place = np.arange(len(scans))
        spikes = scans["spike"].to_numpy() > 0
        for axes, name in zip(panels, series, strict=True):
            values = scans[name].to_numpy(dtype=float)
            for begin in begins:
                axes.axvline(begin, color=FAINT, lw=1)
            axes.plot(place, values, color=PALETTE[0], lw=1)
            axes.plot(place[spikes], values[spikes], "o", ms=3.5, color=ALERT, label="spike of DVARS")
            axes.set_ylabel(labels[name])
            axes.margins(x=0.005)
            axes.yaxis.set_major_locator(MaxNLocator(4))
        if spikes.any():
            panels[0].legend(loc="upper right", borderaxespad=0)
        if len(runs) <= MAX_RUNS:
            ends = [*begins[1:], len(scans)]
            middles = [(begin + end) / 2 for begin, end in zip(begins, ends, strict=True)]
            panels[-1].set_xticks(
                middles, runs, rotation=30 if len(runs) > 4 else 0, ha="right" if len(runs) > 4 else "center", size=8.5
            )
            panels[-1].tick_params(axis="x", length=0)
            panels[-1].set_xlabel("scans, run after run")
        else:
            panels[-1].set_xlabel(f"scans of {len(runs)} runs, one after another")
    return figure
