"""Write the report: one page that holds every figure, table and word about a decoded subject."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib
import nibabel as nib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from brainpred.decoding.bands import check_bands
from brainpred.decoding.result import LayerResult, load_result
from brainpred.errors import DataError
from brainpred.progress import SILENT, Reporter
from brainpred.reporting.brain import brain_figure, is_whole_brain
from brainpred.reporting.figures import (
    TIMELINE_PERCENTILE,
    contribution_figure,
    layer_colours,
    layer_figure,
    timeline_figure,
    visual_field_figure,
)
from brainpred.reporting.saved import (
    ROI_COLUMNS,
    Picture,
    data_uri,
    read_layers,
    read_reconstruction,
    read_settings,
    read_table,
)
from brainpred.reporting.style import STYLE
from brainpred.storage import atomic_path, make_directory

__all__ = ["write_report"]


@dataclass
class _Pictures:
    """Collect the figures of a page as they are drawn; a figure that fails leaves its reason."""

    folder: Path
    drawn: dict[str, Picture] = field(default_factory=dict)

    def draw(self, name: str, make: Callable[[], Figure], *, svg: bool = False) -> None:
        """Draw a figure and write it as PNG, and SVG on request."""
        path = self.folder / f"{_file_name(name)}.png"
        try:
            figure = make()
            _save_figure(figure, path)
            if svg:
                _save_figure(figure, path.with_suffix(".svg"))
            self.drawn[name] = Picture(name, data_uri(path, "image/png"))
        except Exception as error:  # whatever is wrong with one figure must not lose the page
            for stale in (path, path.with_suffix(".svg")):
                stale.unlink(missing_ok=True)
            self.fail(name, error)

    def fail(self, name: str, error: Exception) -> None:
        """Put the reason in the place of a figure."""
        self.drawn[name] = Picture(name, problem=f"{type(error).__name__}: {error}")


def write_report(folder: Path | str, reporter: Reporter = SILENT) -> Path:
    """Write ``report.html``, one file without links to others, and ``figures/`` from saved results alone.

    Parameters
    ----------
    folder : Path or str
        What ``brainpred decode`` (and perhaps ``brainpred reconstruct``) wrote to.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    DataError
        If the folder holds no results. A figure that cannot be drawn leaves a note in its place instead.
    ConfigError
        If the folder cannot be written to, or its settings name unknown bands.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    rows = read_layers(folder, settings["layers"])
    with reporter.task("Writing the report", len(settings["layers"]) + 1) as advance:
        pictures = _draw_pictures(folder, settings, advance)
    environment = Environment(
        loader=PackageLoader("brainpred.reporting"), autoescape=True, undefined=StrictUndefined, lstrip_blocks=True
    )
    environment.filters.update(
        number=_number, signed=_signed, probability=_probability, thousands=lambda n: f"{int(n):,}", joined=_joined
    )
    page = environment.get_template("report.html.j2").render(
        settings=settings,
        delays_used_s=_delays_used_s(settings),
        settings_text=json.dumps(settings, indent=2, ensure_ascii=False),
        summary=_summary(settings, rows),
        layers=rows,
        colours=layer_colours([row["layer"] for row in rows]),
        design=_design(settings),
        pictures=pictures,
        whole_brain=_is_drawn_on_glass(folder, settings),
        maps={name: _maps(settings, name) for name in _map_names(settings)},
        top_roi=_top_roi(folder, settings),
        percentile=TIMELINE_PERCENTILE,
        reconstruction=read_reconstruction(folder),
    )
    path = folder / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _delays_used_s(settings: Mapping[str, Any]) -> list[float]:
    """Give the delays that were used, in seconds: those asked for, rounded to whole scans."""
    if "delays_scans" not in settings:
        return list(settings["delays_s"])
    return [scans * settings["tr_s"] for scans in settings["delays_scans"]]


def _save_figure(figure: Figure, path: Path) -> None:
    metadata = {"Date": None} if path.suffix == ".svg" else None  # the same results, the same file
    with matplotlib.rc_context(STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata=metadata)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)


def _number(value: float, digits: int = 2) -> str:
    """Write a number for readers, with a true minus sign; no number is n/a."""
    if value is None or not math.isfinite(value):
        return "n/a"
    return f"{value:z.{digits}f}".replace("-", "−")


def _signed(value: float, digits: int = 2) -> str:
    """Write a difference, with its sign."""
    return ("+" if math.isfinite(value) and round(value, digits) > 0 else "") + _number(value, digits)


def _probability(value: float) -> str:
    """Write p with one digit that counts, or two from 0.01 on."""
    return _number(value, 2 if value >= 0.01 else 4)


def _joined(words: list[Any]) -> str:
    """Join as in prose: "3, 4 and 5"."""
    texts = [f"{word:g}" if isinstance(word, float) else str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


# ---------------------------------------------------------------------------------------------- figures


def _draw_pictures(folder: Path, settings: Mapping[str, Any], advance: Callable[[int], None]) -> dict[str, Picture]:
    """Draw everything that the saved files allow."""
    simulated, names = bool(settings["simulated"]), list(settings["layers"])
    pictures = _Pictures(make_directory(folder / "figures"))
    scores = []
    for layer in names:
        result = _draw_layer(pictures, folder, layer, settings)
        scores += [] if result is None else [result]
        advance(1)
    if scores:
        pictures.draw("layers", lambda: layer_figure(scores, simulated=simulated), svg=True)
    else:
        pictures.fail("layers", DataError("no decoded_<layer>.h5 can be read."))
    variance, title = folder / "explainable_variance.nii.gz", "Explainable variance of each voxel"
    if variance.is_file():
        pictures.draw(
            "explainable_variance",
            lambda: brain_figure(nib.load(variance), title, "explainable variance", simulated=simulated, signed=False),
        )
    if len(settings["roi_sizes"]) > 1:
        table = folder / "roi_contributions.tsv"
        pictures.draw(
            "contributions", lambda: contribution_figure(read_table(table, ROI_COLUMNS), simulated=simulated), svg=True
        )
    advance(1)
    return pictures.drawn


def _draw_layer(pictures: _Pictures, folder: Path, layer: str, settings: Mapping[str, Any]) -> LayerResult | None:
    """Draw what belongs to one layer; give its scores, without the predictions, which may fill gigabytes."""
    simulated = bool(settings["simulated"])
    colour = layer_colours(settings["layers"])[layer]
    image, title = folder / f"contribution_{layer}.nii.gz", f"{layer}: contribution of each voxel"
    if image.name in _maps(settings, f"contribution_{layer}"):
        pictures.draw(
            f"contribution_{layer}", lambda: brain_figure(nib.load(image), title, "contribution", simulated=simulated)
        )
    try:
        result = load_result(folder / f"decoded_{layer}.h5")
    except Exception as error:  # as for a figure
        pictures.fail(f"time_course_{layer}", error)
        return None
    pictures.draw(
        f"time_course_{layer}",
        lambda: timeline_figure(result, settings["tr_s"], simulated=simulated, colour=colour),
        svg=True,
    )
    if len(result.shape) == 3:
        pictures.draw(f"visual_field_{layer}", lambda: visual_field_figure(result, simulated=simulated))
    nothing = np.empty((0, 0), dtype=np.float32)
    return replace(result, true=nothing, decoded=nothing, train_true=nothing, train_decoded=nothing)


def _map_names(settings: Mapping[str, Any]) -> list[str]:
    return [*(f"contribution_{layer}" for layer in settings["layers"]), "explainable_variance"]


def _maps(settings: Mapping[str, Any], name: str) -> list[str]:
    """List the files of a map; results of before other spaces were known have a volume."""
    files: list[str] = settings.get("maps", {}).get(name, [f"{name}.nii.gz"])
    return files


def _is_drawn_on_glass(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether brain images of this folder are drawn on a glass brain, for the captions."""
    for layer in settings["layers"]:
        try:
            return is_whole_brain(nib.load(folder / f"contribution_{layer}.nii.gz"))
        except Exception:  # the figure itself tells what is wrong
            continue
    return False


# ------------------------------------------------------------------------------------------------ words


def _summary(settings: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    """Say in one or two sentences what was found."""

    def accuracy(row: Mapping[str, Any]) -> str:
        ceiling = row["mean_ceiling"]
        return _number(row["mean_r"]) + (f" (ceiling {_number(ceiling)})" if math.isfinite(ceiling) else "")

    first, *others = rows
    # "features" is what a user's own table is called.
    text = "The features are" if first["layer"] == "features" else f"{first['layer']} is"
    text += f" decoded with a mean r of {accuracy(first)} from {settings['n_voxels']:,} voxels"
    text += "".join(f"; {row['layer']} {accuracy(row)}" for row in others) + "."
    for nway in dict.fromkeys(int(row["nway"]) for row in rows if row["nway"] > 0):
        scores = [
            _number(row["identification_nway"]) + (f" ({row['layer']})" if others else "")
            for row in rows
            if row["nway"] == nway
        ]
        text += f" {nway}-way identification {', '.join(scores)} (chance {_number(1 / nway, 3)})."
    if not any(row["nway"] > 0 for row in rows):
        best = max(rows, key=lambda row: np.nan_to_num(row["identification_2way"]))
        text += f" A scan is told apart from another by its decoded {best['layer']} in"
        text += f" {_number(100 * best['identification_2way'], 0)} % of pairs (chance 50 %)."
    return text


def _design(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Count runs, clips and repeats."""
    tests = [run for run in settings["runs"] if run["role"] == "test"]
    clips = [run["stimulus"] or run["name"] for run in tests]
    repeats = [clips.count(clip) for clip in dict.fromkeys(clips)]
    n_rois, n_delays = len(settings["roi_sizes"]), len(_delays_used_s(settings))
    bands = check_bands(settings["bands"])
    n_bands = {"roi": n_rois, "delay": n_delays, "roi×delay": n_rois * n_delays}.get(bands, 1)
    return {
        "n_train": len(settings["runs"]) - len(tests), "n_test": len(tests), "n_clips": len(repeats),
        "max_repeats": max(repeats, default=0), "n_scans": sum(run["n_scans"] for run in settings["runs"]),
        "bands": bands, "n_bands": n_bands, "from_movies": settings["features"].get("source") == "prednet",
    }  # fmt: skip


def _top_roi(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the ROI that contributes most to the layer that is explained best; None where that says nothing."""
    try:
        table = read_table(folder / "roi_contributions.tsv", ROI_COLUMNS)
    except DataError:
        return None
    totals = table.groupby("layer", sort=False)["contribution"].sum()
    if len(settings["roi_sizes"]) < 2 or not totals.max() > 0:
        return None
    part = table[table["layer"] == totals.idxmax()].sort_values("contribution", ascending=False)
    top, total = part.iloc[0], totals.max()
    return {
        "layer": str(top["layer"]), "roi": str(top["roi"]), "total": float(total),
        "share": min(100.0 * top["contribution"] / total, 100.0),
        "voxels": 100.0 * top["n_voxels"] / settings["n_voxels"],
    }  # fmt: skip
