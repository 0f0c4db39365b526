"""Show what a latent bridge generates: pictures from labels and from the brain, latents, likelihoods."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainpred.reporting.style import FAINT, INK, MUTED, PALETTE, page

__all__ = [
    "FOUND",
    "curve_figure",
    "label_figure",
    "latents_figure",
    "quality_figure",
    "reconstruction_figure",
    "scores_figure",
    "shown_rows",
]

SHOWN = 16  # pictures a row
FOUND = 0.05  # false discovery rate up to which voxels count as found
METRICS = {
    "pixel_r": "pixel r",
    "ssim": "SSIM",
    "mse": "mean squared error (low is good)",
    "identification_2way": "2-way identification (line: chance)",
}
# Ten digits need ten colours that remain apart; matplotlib's tab10 has them.
DIGIT_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip


def _strip(pictures: NDArray[np.floating]) -> NDArray[np.floating]:
    """Put pictures side by side with a white line between."""
    padded = [np.pad(picture, ((0, 0), (0, 2)), constant_values=1) for picture in pictures]
    return np.concatenate(padded, axis=1)[:, :-2]


def shown_rows(n: int) -> NDArray[np.int64]:
    """Give the pictures out of n that :func:`reconstruction_figure` shows, evenly over the recording."""
    return np.linspace(0, n - 1, min(SHOWN, n)).round().astype(np.int64)


def reconstruction_figure(
    seen: NDArray[np.floating],
    made: Mapping[str, NDArray[np.floating]],
    spread: NDArray[np.floating],
    *,
    simulated: bool,
    split: bool = False,
) -> Figure:
    """Show pictures seen, and below each what every method made of the brain, with the bridge's uncertainty.

    Parameters
    ----------
    seen : ndarray of float (n, height, width)
        Pictures seen, in [0, 1]; every so many are shown, evenly over the recording.
    made : mapping of str to ndarray of float (n, height, width)
        Reconstructions by method.
    spread : ndarray of float (n, height, width)
        Standard deviation of the bridge's draws.
    simulated : bool
        Whether the voxels were.
    split : bool
        Whether these are test pairs, in place of pairs each left out in turn.

    Returns
    -------
    Figure
        The figure.
    """
    shown = shown_rows(len(seen))
    rows = {"seen": seen, "bridge": made["bridge"], "2 SD over draws": 2 * spread}
    rows |= {name: pictures for name, pictures in made.items() if name != "bridge"}
    title = "Pictures from the brain, " + ("of test pairs" if split else "each left out")
    with page(
        0.55 * len(shown) + 1.9, 0.62 * len(rows) + 0.7, title, simulated=simulated, tight=True
    ) as figure:  # fmt: skip
        for axes, (name, pictures) in zip(figure.subplots(len(rows), 1), rows.items(), strict=True):
            axes.imshow(_strip(pictures[shown]), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            weight = "bold" if name in ("seen", "bridge") else "normal"
            axes.set_ylabel(name, rotation=0, ha="right", va="center", weight=weight, labelpad=8)
    return figure


def scores_figure(table: pd.DataFrame, coverage: float, voxels: pd.DataFrame, *, simulated: bool) -> Figure:
    """Show every method's scores with intervals, and how well voxels are predicted from pictures.

    Parameters
    ----------
    table : DataFrame
        As :func:`brainpred.probes.picture_scores.summarise_pictures`.
    coverage : float
        Part of the latents that lie in the bridge's 90 % intervals.
    voxels : DataFrame
        A row a voxel: ``r``, ``r_shuffled`` and ``q``, as ``voxels.tsv`` of ``brainpred probe bridge brain``.
    simulated : bool
        Whether the voxels were.

    Returns
    -------
    Figure
        The figure.
    """
    methods = list(dict.fromkeys(table["method"]))
    with page(11.5, 5.6, "The bridge beside its controls, 95 % intervals over pictures", simulated=simulated) as figure:
        grid = figure.subplots(2, 3)
        for axes, (metric, label) in zip(grid.flat, METRICS.items(), strict=False):
            rows = table[table["metric"] == metric].set_index("method").loc[methods]
            for place, (name, row) in enumerate(rows.iterrows()):
                colour = PALETTE[0] if name == "bridge" else MUTED
                axes.plot([row["low"], row["high"]], [place, place], color=colour, lw=2)
                axes.plot(row["mean"], place, "o", color=colour, ms=6)
                digits = 3 if metric == "mse" else 2
                axes.annotate(f"{row['mean']:.{digits}f}", (row["mean"], place), (0, 6), textcoords="offset points",
                              ha="center", size=9, color=INK)  # fmt: skip
            if metric == "identification_2way":
                axes.axvline(0.5, color=FAINT, lw=1, zorder=0)
            axes.set(title=label, yticks=range(len(methods)), ylim=(len(methods) - 0.5, -0.7))
            axes.set_yticklabels(methods if axes in grid[:, 0] else [])
        axes = grid[1, 1]
        bins = np.histogram_bin_edges(voxels[["r", "r_shuffled"]], 40)
        axes.hist(voxels["r_shuffled"], bins, color=FAINT, label="shuffled pairs")
        axes.hist(voxels["r"], bins, histtype="step", color=PALETTE[0], lw=2, label="bridge")
        axes.set(title="voxels from pictures", xlabel="r over pictures", ylabel="voxels")
        axes.margins(y=0.45)
        axes.legend(loc="upper right", bbox_to_anchor=(1, 1.03))
        found = f"{(voxels['q'] <= FOUND).sum():,} of {len(voxels):,}\nbeyond chance\n(q < {FOUND})"
        axes.text(0.02, 0.98, found, transform=axes.transAxes, va="top", color=PALETTE[0], size=10.5)
        axes = grid[1, 2]
        axes.bar([0], [coverage], color=PALETTE[0], width=0.5)
        axes.axhline(0.9, color=INK, lw=1)
        axes.set(title="coverage of 90 % intervals", ylim=(0, 1), xlim=(-1, 1), xticks=[0], xticklabels=["latents"])
        axes.annotate(
            f"{100 * coverage:.1f} %", (0, coverage), (0, -14), textcoords="offset points", ha="center", color="white"
        )
    return figure


def label_figure(pictures: Mapping[str, NDArray[np.floating]], title: str) -> Figure:
    """Show pictures generated from each label, a block a model (document 002, figures 2 and 4).

    Parameters
    ----------
    pictures : mapping of str to ndarray of float (n_samples, 10, height, width)
        By what generated them.
    title : str
        Heading.

    Returns
    -------
    Figure
        The figure: labels in columns, samples below each other.
    """
    n_samples = min(len(block) for block in pictures.values())
    with page(3.3 * len(pictures) + 0.2, 0.34 * n_samples + 1.1, title, simulated=False, tight=True) as figure:
        for axes, (name, block) in zip(
            figure.subplots(1, len(pictures), squeeze=False)[0], pictures.items(), strict=True
        ):
            rows = [np.pad(_strip(row), ((0, 2), (0, 0)), constant_values=1) for row in block[:n_samples]]
            axes.imshow(np.concatenate(rows)[:-2], cmap="gray", vmin=0, vmax=1)
            axes.set_title(name, size=11)
            side = block.shape[-1] + 2
            axes.set_xticks(np.arange(10) * side + side / 2 - 1, [str(label) for label in range(10)])
            axes.tick_params(length=0)
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
    return figure


def latents_figure(latents: Mapping[str, tuple[NDArray[np.floating], NDArray[np.integer]]], title: str) -> Figure:
    """Show label latents inferred from images, a panel a model (document 002, figures 3 and 5).

    Parameters
    ----------
    latents : mapping of str to (ndarray of float (n, 2), ndarray of int (n,))
        Latents and the true label of each, by what inferred them.
    title : str
        Heading.

    Returns
    -------
    Figure
        The figure.
    """
    reach = max(float(np.quantile(np.abs(points), 0.995)) for points, _ in latents.values()) * 1.1
    with page(3.0 * len(latents) + 0.9, 3.6, title, simulated=False) as figure:
        for axes, (name, (points, labels)) in zip(
            figure.subplots(1, len(latents), squeeze=False, sharey=True)[0], latents.items(), strict=True
        ):
            for label in range(10):
                here = labels == label
                axes.scatter(*points[here].T, s=4, color=DIGIT_COLOURS[label], label=str(label), lw=0, alpha=0.7)
            axes.set(title=name, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=3, title="label")
    return figure


def curve_figure(curves: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """Show objectives while bridges are trained (document 002, figure 1).

    Parameters
    ----------
    curves : mapping of str to mapping of str to sequence of float
        A panel a direction, a line a number of pairs; smoothed over 25 updates.
    title : str
        Heading.

    Returns
    -------
    Figure
        The figure.
    """
    with page(5 * len(curves), 3.6, title, simulated=False) as figure:
        for axes, (name, lines) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
            for colour, (label, values) in zip(PALETTE, lines.items(), strict=False):
                smooth = pd.Series(values).rolling(25, min_periods=1).mean()
                axes.plot(smooth, color=colour, label=label, lw=1.5)
            # The first updates are far above everything after.
            late = np.concatenate([values[50:] for values in lines.values()])
            span = np.ptp(np.quantile(late, [0.01, 0.99]))
            axes.set(title=name, xlabel="update", ylabel="objective (nats)")
            axes.set_ylim(np.quantile(late, 0.01) - 0.3 * span, np.quantile(late, 0.99) + 0.6 * span)
            axes.legend()
    return figure


def quality_figure(table: pd.DataFrame, own: Mapping[str, float], title: str) -> Figure:
    """Show how a bridge's quality grows with the number of pairs.

    Parameters
    ----------
    table : DataFrame
        A row a setting, number of pairs and seed: ``setting``, ``pairs`` and the columns that ``own`` names.
    own : mapping of str to float
        What the target's own model reaches, by column; NaN where there is no such thing.
    title : str
        Heading.

    Returns
    -------
    Figure
        The figure: a panel a column, seeds as points, their mean as a line.
    """
    labels = {
        "log_p_x": "log p(image | label), nats", "recognised": "generated digits recognised",
        "diversity": "diversity (VAE's own: 1)", "accuracy": "label read from image",
    }  # fmt: skip
    with page(3.4 * len(own), 3.7, title, simulated=False) as figure:
        for axes, (column, level) in zip(figure.subplots(1, len(own), squeeze=False)[0], own.items(), strict=True):
            for colour, (name, rows) in zip(PALETTE, table.groupby("setting", sort=False), strict=False):
                rows = rows.dropna(subset=[column])
                axes.plot(rows["pairs"], rows[column], "o", color=colour, ms=3, alpha=0.5)
                mean = rows.groupby("pairs")[column].mean()
                axes.plot(mean.index, mean, color=colour, label=name, lw=1.8)
            if np.isfinite(level):
                axes.axhline(level, color=INK, lw=1, ls=":", label="VAE's own")
            ticks = sorted(set(table["pairs"]))
            axes.set_xscale("log", base=2)
            axes.set_xticks([tick for tick in ticks if tick in (32, 256, 1024, 8192)] or ticks)
            axes.xaxis.set_major_formatter("{x:.0f}")
            axes.set(title=labels.get(column, column), xlabel="pairs")
        axes.legend(loc="best")
    return figure
