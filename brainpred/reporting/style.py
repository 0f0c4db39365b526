"""The look of all figures: colours, fonts, and a page that says when data are simulated."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from brainpred.storage import atomic_path

__all__ = ["ALERT", "FAINT", "INK", "MARGIN", "MUTED", "PALETTE", "STYLE", "page", "save_figure"]

# Okabe and Ito's colours, which remain apart in every form of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
INK, MUTED, FAINT, ALERT = "#1F2328", "#667079", "#D4D9DE", "#A63D00"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 11, "text.color": INK, "text.parse_math": False,
    "svg.hashsalt": "brainpred", "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.labelsize": 11, "axes.titlelocation": "left",
    "axes.titlesize": 12, "axes.spines.right": False, "axes.spines.top": False, "legend.frameon": False,
    "legend.fontsize": 10.5, "xtick.color": MUTED, "xtick.labelcolor": INK, "xtick.labelsize": 10.5,
    "ytick.color": MUTED, "ytick.labelcolor": INK, "ytick.labelsize": 10.5,
}  # fmt: skip
MARGIN = 0.12  # inches of white around every figure


@contextmanager
def page(
    width: float, height: float, title: str, *, simulated: bool, tight: bool = False, foot: bool = False
) -> Iterator[Figure]:
    """Give an empty figure in the house style; mark it as simulated and lay it out when the block ends.

    With ``foot`` a line at the bottom is left free.
    """
    with matplotlib.rc_context(STYLE):
        across, up, head = MARGIN / width, MARGIN / height, 0.3 / height
        line = 0.22 / height if simulated or foot else 0.0
        inside = (across, up + line, 1 - 2 * across, 1 - 2 * up - line - head)
        spacing: dict[str, Any] = {"w_pad": 0.02, "h_pad": 0.02, "wspace": 0.0, "hspace": 0.0} if tight else {}
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(rect=inside, **spacing))
        figure.suptitle(title, x=across, y=1 - up, ha="left", va="top", weight="bold", size=13)
        yield figure
        if simulated:
            figure.text(1 - across, up, "simulated data", ha="right", va="bottom", color=ALERT, weight="bold", size=10)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: each format would do so again


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, all or nothing, as what the file's ending says: the same results give the same file."""
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with matplotlib.rc_context(STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata=metadata)
