"""Write the report: one page that holds every figure, table and word about a decoded subject."""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import matplotlib
import nibabel as nib
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from brainpred.decoding.bands import check_bands
from brainpred.decoding.result import LayerResult, load_result
from brainpred.errors import DataError
from brainpred.progress import SILENT, Reporter
from brainpred.reconstruction.frames import SETTINGS, reconstruction_name
from brainpred.reporting.brain import brain_figure, is_whole_brain
from brainpred.reporting.figures import (
    TIMELINE_PERCENTILE,
    contribution_figure,
    layer_colours,
    layer_figure,
    timeline_figure,
    visual_field_figure,
)
from brainpred.reporting.style import STYLE
from brainpred.storage import atomic_path, make_directory, read_json

__all__ = ["MAX_VIDEO_BYTES", "Picture", "write_report"]

MAX_VIDEO_BYTES = 8_000_000
NEEDED = (
    "dataset", "subject", "simulated", "tr_s", "n_voxels", "runs", "layers", "bands", "delays_s", "search",
    "n_candidates", "seed", "device", "features", "roi_sizes", "provenance",
)  # fmt: skip
LAYER_COLUMNS = (
    "layer", "n_units", "n_constant_units", "n_scans", "mean_r", "median_r", "mean_r2", "mean_ceiling",
    "mean_r_over_ceiling", "mean_pattern_r", "identification_2way", "nway", "identification_nway",
)  # fmt: skip
ROI_COLUMNS = ("layer", "roi", "n_voxels", "contribution")
RECONSTRUCTION_SETTINGS = ("layers", *SETTINGS)
RECONSTRUCTION_COLUMNS = (
    *RECONSTRUCTION_SETTINGS, "data", "picture", "metric", "score", "low", "high", "p", "gain", "gain_low", "gain_high",
    "block_s",
)  # fmt: skip
METRIC_NAMES = {
    "pixel_r": "Pixel r",
    "ssim": "SSIM",
    "psnr": "PSNR (dB)",
    "motion_r": "Motion r",
    "identification_2way": "2-way id.",
    "identification_10way": "10-way id.",
}
TEXT_COLUMNS = ("layer", "roi", "data", "picture", "metric", *RECONSTRUCTION_SETTINGS)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """Hold a picture of the page, or the reason why there is none.

    Attributes
    ----------
    name : str
        File name without suffix.
    uri : str or None
        The picture as a data URI.
    problem : str or None
        Why it could not be drawn.
    """

    name: str
    uri: str | None = None
    problem: str | None = None


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
            self.drawn[name] = Picture(name, _data_uri(path, "image/png"))
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
    settings = _read_settings(folder)
    rows = _read_layers(folder, settings["layers"])
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
        top_roi=_top_roi(folder, settings),
        percentile=TIMELINE_PERCENTILE,
        reconstruction=_reconstruction(folder),
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


def _remedy(folder: Path) -> str:
    return f"Run: brainpred decode --subject SUBJECT --out {folder}"


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / "decode.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no results: there is no decode.json. {_remedy(folder)}")
    settings = read_json(path)
    missing = [name for name in NEEDED if name not in settings]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. {_remedy(folder)}")
    return settings


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a table, with names as they are written: "NA" may be a ROI."""
    if not path.is_file():
        raise DataError(f"{path} is missing. {_remedy(path.parent)}")
    numbers = [name for name in columns if name not in TEXT_COLUMNS]
    try:
        table = pd.read_csv(
            path, sep="\t", dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False,
            na_values={name: ["n/a", ""] for name in numbers},
        )  # fmt: skip
        missing = [name for name in columns if name not in table]
        if missing or table.empty:
            raise DataError(f"{path} lacks {', '.join(missing) or 'rows'}. {_remedy(path.parent)}")
        table[numbers] = table[numbers].apply(pd.to_numeric)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}. {_remedy(path.parent)}") from error
    return table


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _read_layers(folder: Path, layers: list[str]) -> list[dict[str, Any]]:
    """Read the scores of the layers that were decoded last, in order."""
    rows = {row["layer"]: row for row in _rows(_read_table(folder / "layers.tsv", LAYER_COLUMNS))}
    missing = [layer for layer in layers if layer not in rows]
    if missing:
        raise DataError(f"{folder / 'layers.tsv'} lacks layer {', '.join(missing)}. {_remedy(folder)}")
    return [rows[layer] for layer in layers]


def _save_figure(figure: Figure, path: Path) -> None:
    metadata = {"Date": None} if path.suffix == ".svg" else None  # the same results, the same file
    with matplotlib.rc_context(STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata=metadata)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)


def _data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


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
            "contributions", lambda: contribution_figure(_read_table(table, ROI_COLUMNS), simulated=simulated), svg=True
        )
    advance(1)
    return pictures.drawn


def _draw_layer(pictures: _Pictures, folder: Path, layer: str, settings: Mapping[str, Any]) -> LayerResult | None:
    """Draw what belongs to one layer; give its scores, without the predictions, which may fill gigabytes."""
    simulated = bool(settings["simulated"])
    colour = layer_colours(settings["layers"])[layer]
    image, title = folder / f"contribution_{layer}.nii.gz", f"{layer}: contribution of each voxel"
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
    return replace(result, true=nothing, decoded=nothing)


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
        table = _read_table(folder / "roi_contributions.tsv", ROI_COLUMNS)
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


def _reconstruction(folder: Path) -> dict[str, Any] | None:
    """Gather what ``brainpred reconstruct`` wrote; None where it did not run."""
    path = folder / "reconstruction.tsv"
    if not path.is_file():
        return None
    try:
        table, problem = _read_table(path, RECONSTRUCTION_COLUMNS), None
        groups = [_score_group(rows) for _, rows in table.groupby(list(RECONSTRUCTION_SETTINGS), sort=False)]
    except DataError as error:
        groups, problem = [], str(error)
    strips, videos = _strips(folder, "filmstrip_"), {}
    for path in sorted(folder.glob("reconstruction_*.mp4")):
        videos[path.stem.removeprefix("reconstruction_")] = _player(path)
    for group in groups:
        group["strip"], group["video"] = strips.pop(group["name"], None), videos.pop(group["name"], None)
    # What has no scores stands by itself.
    groups += [
        {"name": name, "strip": strips.get(name), "video": videos.get(name), "pictures": {}}
        for name in dict.fromkeys([*strips, *videos])
    ]
    return {"groups": groups, "figures": list(_strips(folder, "figure_").values()), "problem": problem}


def _strips(folder: Path, prefix: str) -> dict[str, Picture]:
    """Read the pictures that ``brainpred reconstruct`` drew, by the name of the reconstruction."""
    strips = {}
    for path in sorted(folder.glob(f"{prefix}*.png")):
        whole = path.read_bytes()[:8] == PNG_SIGNATURE
        note = None if whole else f"{path.name} is not a PNG file."
        strips[path.stem.removeprefix(prefix)] = Picture(
            path.stem, _data_uri(path, "image/png") if whole else None, note
        )
    return strips


def _score_group(rows: pd.DataFrame) -> dict[str, Any]:
    """Lay the scores of one reconstruction out by picture and metric."""
    first = rows.iloc[0]
    pictures = {
        str(picture): {row["metric"]: row for row in _rows(of_picture)}
        for picture, of_picture in rows.groupby("picture", sort=False)
    }
    settings = {name: str(first[name]) for name in SETTINGS}
    return {
        "name": reconstruction_name(first["layers"], settings),
        "title": f"{first['layers']} swapped, {first['drive']}", "pictures": pictures, "block_s": first["block_s"],
        "data": first["data"], "train": first["runs"] == "train",
        "settings": f"hold {first['hold']}, variance {first['variance']}",
        "metrics": {name: label for name, label in METRIC_NAMES.items() if name in set(rows["metric"])},
        "decoded": pictures.get("decoded", {}),
    }  # fmt: skip


def _player(path: Path) -> dict[str, Any]:
    """Gather a movie, and when each of its frames is shown; without those it can be played, but not stepped through."""
    small = path.stat().st_size < MAX_VIDEO_BYTES
    clock: dict[str, Any] = {}
    try:
        with h5py.File(path.with_suffix(".h5")) as file:
            clock = {
                "times": [round(float(time_s), 4) for time_s in file["movie_time_s"][:]],
                "scans": [int(scan) for scan in file["scan"][:]],
            }
    except (OSError, KeyError):
        pass
    # What is too large for the page lies beside it, and is played from there.
    return {"name": path.stem, "src": _data_uri(path, "video/mp4") if small else path.name, "clock": clock,
            "inside": small}  # fmt: skip
