"""Show what alignDRAW draws: grids of pictures, a drawing as it comes about, attention over a caption."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from brainpred.movies.captions import Caption
from brainpred.probes.composition import DOCUMENT
from brainpred.reporting.style import FAINT, INK, MUTED, PALETTE, page

__all__ = ["attention_figure", "composition_figure", "drawing_frames", "drawing_grid", "japanese"]

ATTENTION_COLOURS = LinearSegmentedColormap.from_list("attention", ["white", PALETTE[0]])
FRAME_PIXELS = (600, 560)  # width and height


def japanese(size: float) -> FontProperties:
    """Give a font with kana and kanji (IPAex Gothic, which matplotlib-fontja brings along)."""
    spec = find_spec("matplotlib_fontja")
    assert spec is not None
    assert spec.origin is not None
    return FontProperties(fname=Path(spec.origin).parent / "fonts" / "ipaexg.ttf", size=size)  # type: ignore[arg-type]


def drawing_grid(captions: Sequence[Caption], pictures: NDArray[np.floating]) -> Figure:
    """Show several pictures of each caption, a caption a row, as in figure 4 of document 000.

    Parameters
    ----------
    captions : sequence of Caption
        One a row.
    pictures : ndarray of float (n_captions, n_samples, height, width)
        Pictures in [0, 1].

    Returns
    -------
    Figure
        The figure.
    """
    n_rows, n_samples = pictures.shape[:2]
    wide = max(len(caption.text) for caption in captions) * 0.19
    with page(
        wide + 0.9 * n_samples + 0.4, 0.95 * n_rows + 0.6, "Pictures drawn from captions", simulated=False
    ) as figure:
        grid = figure.subplots(n_rows, 1, squeeze=False)[:, 0]
        for axes, caption, row in zip(grid, captions, pictures, strict=True):
            # A line between neighbours, as dark canvases would run into each other.
            shown = np.concatenate([np.pad(picture, ((0, 0), (0, 2)), constant_values=1) for picture in row], axis=1)
            axes.imshow(shown[:, :-2], cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[], anchor="E")  # what is left of the width goes to the captions
            axes.spines[:].set_visible(False)
            axes.set_ylabel(caption.text, rotation=0, ha="right", va="center", fontproperties=japanese(13), labelpad=10)
    return figure


def attention_figure(caption: Caption, alpha: NDArray[np.floating], pictures: NDArray[np.floating]) -> Figure:
    """Show attention to each token at each step, with the canvas at some of the steps above.

    Parameters
    ----------
    caption : Caption
        The caption.
    alpha : ndarray of float (n_steps, n_tokens)
        Attention.
    pictures : ndarray of float (n_steps, height, width)
        Picture after each step, in [0, 1].

    Returns
    -------
    Figure
        The figure; horizontal lines are boundaries of words, where tokens are characters.
    """
    n_steps, n_tokens = alpha.shape
    shown = np.unique(np.linspace(0, n_steps - 1, 8).round().astype(int))
    with page(9, 2.2 + 0.24 * n_tokens, f"Attention while drawing, {n_steps} steps", simulated=False) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(1.3, 0.24 * n_tokens + 0.6), squeeze=False)[:, 0]
        for axes, step in zip(np.atleast_1d(above.subplots(1, len(shown))), shown, strict=True):
            axes.imshow(pictures[step], cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"step {step + 1}", loc="center", size=10)
        axes = below.subplots()
        image = axes.imshow(alpha.T, cmap=ATTENTION_COLOURS, vmin=0, vmax=max(alpha.max(), 1e-6), aspect="auto")
        axes.set_yticks(range(n_tokens), caption.tokens, fontproperties=japanese(12))
        axes.set(xlabel="step", xticks=[0, *range(7, n_steps, 8)], xticklabels=[1, *range(8, n_steps + 1, 8)])
        if len(caption.tokens) == sum(map(len, caption.words)):
            for boundary in caption.boundaries:
                axes.axhline(boundary - 0.5, color=FAINT, lw=0.8)
        below.colorbar(image, ax=axes, label="attention", shrink=0.8)
    return figure


def drawing_frames(
    caption: Caption, alpha: NDArray[np.floating], pictures: NDArray[np.floating]
) -> Iterator[NDArray[np.uint8]]:
    """Show a drawing step by step, with the caption below and a bar under each token, darker where attended to.

    The colours of the bars go from white, attention 0, to the darkest, the highest attention of the drawing.

    Parameters
    ----------
    caption : Caption
        The caption.
    alpha : ndarray of float (n_steps, n_tokens)
        Attention.
    pictures : ndarray of float (n_steps, height, width)
        Picture after each step, in [0, 1].

    Yields
    ------
    ndarray of uint8 (height, width, 3)
        A frame a step.
    """
    width, height = FRAME_PIXELS
    separator = 0.0 if caption.text == "".join(caption.tokens) else 0.6  # spaces, in characters
    lengths = np.array([_extent(token) for token in caption.tokens])
    middles = np.cumsum(lengths + separator) - lengths / 2 - separator
    total = middles[-1] + lengths[-1] / 2
    size = min(22.0, 0.92 * width * 0.72 / total)
    font = japanese(size)
    character = size / 72 * 100 / width  # width of one, of the frame's
    places, widths = 0.5 + (middles - total / 2) * character, (lengths - 0.15) * character
    colours = ATTENTION_COLOURS(alpha / max(float(alpha.max()), 1e-6))
    for step, picture in enumerate(pictures):
        figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
        axes = figure.add_axes((0.12, 0.2, 0.76, 0.76 * width / height))
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
        for place, wide, token, colour in zip(places, widths, caption.tokens, colours[step], strict=True):
            figure.text(place, 0.13, token, ha="center", va="center", color=INK, fontproperties=font)
            bar = Rectangle((place - wide / 2, 0.06), wide, 0.035, facecolor=colour, edgecolor=FAINT, linewidth=0.8)
            figure.add_artist(bar)
        figure.text(0.5, 0.025, f"step {step + 1} of {len(alpha)}", ha="center", va="center", color=MUTED, size=10)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _extent(token: str) -> float:
    """Give the width of a token in characters: those of ASCII are half as wide."""
    return max(1.0, sum(0.5 if character.isascii() else 1.0 for character in token))


def composition_figure(summary: pd.DataFrame) -> Figure:
    """Show cosines of compounds with the sums of their parts, beside controls and the document's.

    Parameters
    ----------
    summary : DataFrame
        What :func:`brainpred.probes.composition.summarise` gives for tables of
        :func:`brainpred.probes.composition.compositionality`.

    Returns
    -------
    Figure
        The figure; bars are the intervals, which a single network does not have.
    """
    series = {
        "cosine": "its parts", "best_wrong": "the best other parts", "wrong_parts": "other parts, mean",
        "random_parts": "words that are no places, mean",
    }  # fmt: skip
    several = summary["n_networks"].min() > 1
    with page(9, 3.8, "Is a compound the sum of its parts?", simulated=False) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (kind, rows) in zip(panels, summary.groupby("vectors", sort=False), strict=True):
            x = np.arange(len(rows))
            for at, (column, label) in enumerate(series.items()):
                mean = rows[column].to_numpy()
                place, style = x + 0.16 * (at - 1.5), {"color": PALETTE[at], "label": label}
                if several:
                    errors = np.abs(np.stack([rows[f"{column}_low"], rows[f"{column}_high"]]) - mean)
                    axes.errorbar(place, mean, errors, fmt="o", capsize=3, **style)
                else:
                    axes.plot(place, mean, "o", **style)
            if kind == "raw":
                axes.plot(x, [DOCUMENT[word] for word in rows["compound"]], "x", color=INK, ms=8, label="document 000")
            axes.axhline(0, color=FAINT, lw=1, zorder=0)
            axes.set_xticks(x, rows["compound"], fontproperties=japanese(13))
            axes.set_title("as learned" if kind == "raw" else "less the mean of the eight words of place")
        panels[0].set_ylabel("cosine with the sum of …")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=10)
    return figure
