"""Write the report: one page that holds every figure, table and word about a decoded subject."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from brainpred.decoding.bands import check_bands
from brainpred.errors import DataError
from brainpred.numerics.autocorrelation import FEW_BLOCKS, uncertainty_of_spread
from brainpred.progress import SILENT, Reporter
from brainpred.reconstruction.controls import EXPLANATIONS
from brainpred.reporting.figures import TIMELINE_PERCENTILE, layer_colours
from brainpred.reporting.gallery import draw_pictures, is_drawn_on_glass
from brainpred.reporting.numbers import FILTERS, joined, number, probability, signed, unbroken
from brainpred.reporting.saved import (
    DIFFERENCE_COLUMNS,
    LAG_COLUMNS,
    QUALITY_ROI_COLUMNS,
    QUALITY_RUN_COLUMNS,
    ROI_COLUMNS,
    read_encoding,
    read_layers,
    read_maps,
    read_reconstruction,
    read_settings,
    read_table,
    table_rows,
)
from brainpred.reporting.viewer import viewer_data
from brainpred.storage import atomic_path

__all__ = ["write_report"]

NOT_FOUND_P = 0.05

BASELINE_WORDS = {
    "pixels": "the picture blurred to 16 × 20 pixels",
    "motion": "motion energy (Adelson and Bergen, 1985)",
}


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
    maps, differences = read_maps(folder, settings), _differences(folder)
    network_layers = [layer for layer in settings["layers"] if layer not in settings["baselines"]] or settings["layers"]
    with reporter.task("Writing the report", len(settings["layers"]) + 1) as advance:
        pictures = draw_pictures(folder, settings, advance)
    failed = [picture.name for picture in pictures.values() if picture.problem]
    if failed:
        reporter.say(f"Note: the report tells why these figures could not be drawn: {', '.join(failed)}.")
    environment = Environment(
        loader=PackageLoader("brainpred.reporting"), autoescape=True, undefined=StrictUndefined, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    page = environment.get_template("report.html.j2").render(
        settings=settings,
        delays_used_s=_delays_used_s(settings),
        settings_text=json.dumps(settings, indent=2, ensure_ascii=False),
        summary=_summary(settings, rows, differences),
        layers=rows,
        colours=layer_colours([row["layer"] for row in rows]),
        design=_design(settings),
        pictures=pictures,
        whole_brain=is_drawn_on_glass(folder, settings),
        maps=maps,
        surfaces=[f"surface_{name}" for name in maps],
        viewer=viewer_data(folder, maps, network_layers),
        top_roi=_top_roi(folder, settings),
        percentile=TIMELINE_PERCENTILE,
        reconstruction=read_reconstruction(folder),
        controls=EXPLANATIONS,
        network_layers=network_layers,
        baseline_words=[BASELINE_WORDS.get(name, name) for name in settings["baselines"]],
        quality=_quality(folder),
        late_lags=_late_lags(folder),
        differences=differences,
        encoding=_encoding(folder),
        few_blocks=FEW_BLOCKS,
        uncertain_by=100 * uncertainty_of_spread(max(settings["n_blocks"], 2)),
    )
    path = folder / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(unbroken(page), encoding="utf-8")
    return path


def _delays_used_s(settings: Mapping[str, Any]) -> list[float]:
    """Give the delays that were used, in seconds: those asked for, rounded to whole scans."""
    return [scans * settings["tr_s"] for scans in settings["delays_scans"]]


def _summary(settings: Mapping[str, Any], rows: list[dict[str, Any]], differences: Sequence[Mapping[str, Any]]) -> str:
    """Say in a few sentences what was found."""

    def accuracy(row: Mapping[str, Any]) -> str:
        facts = []
        if math.isfinite(row["mean_r_low"]):
            facts.append(f"95 % interval {number(row['mean_r_low'])} to {number(row['mean_r_high'])}")
        if math.isfinite(row["p"]):
            facts.append(f"p = {probability(row['p'])}")
        if math.isfinite(row["mean_ceiling"]):
            facts.append(f"noise ceiling {number(row['mean_ceiling'])}")
        return number(row["mean_r"]) + (f" ({', '.join(facts)})" if facts else "")

    own = [row for row in rows if row["layer"] not in settings["baselines"]] or rows
    first, *others = own
    # "features" is what a user's own table is called.
    text = "The features are" if first["layer"] == "features" else f"{first['layer']} is"
    text += f" decoded with a mean r of {accuracy(first)} from {settings['n_voxels']:,} voxels"
    text += "".join(f"; {row['layer']} {accuracy(row)}" for row in others) + "."
    if not any(row["p"] < NOT_FOUND_P for row in own):  # where there is no p, nothing was found either
        text += f" {'No mean r is' if others else 'That mean r is not'} told from chance."
    plain = [row for row in rows if row not in own]
    if plain:
        named = joined([f"{row['layer']} {number(row['mean_r'])}" for row in plain])
        text += f" Features that need no network reach: {named}."
        text += _against(own, plain, differences)
    for nway in dict.fromkeys(int(row["nway"]) for row in own if row["nway"] > 0):
        scores = [
            f"{number(row['identification_nway'])}{' of ' + row['layer'] if others else ''}"
            f" (chance {number(row['identification_nway_chance'], 3)}, p = {probability(row['identification_nway_p'])})"
            for row in own
            if row["nway"] == nway
        ]
        text += f" {nway}-way identification: {', '.join(scores)}."
    if not any(row["nway"] > 0 for row in own):
        best = max(own, key=lambda row: np.nan_to_num(row["identification_2way"]))
        text += f" A scan is told apart from another by its decoded {best['layer']} in"
        text += f" {number(100 * best['identification_2way'], 0)} % of pairs (chance 50 %"
        if math.isfinite(best["identification_2way_low"]):
            low, high = (number(100 * best[f"identification_2way_{end}"], 0) for end in ("low", "high"))
            text += f"; 95 % interval {low} to {high} %"
        if math.isfinite(best["identification_2way_p"]):
            text += f"; p = {probability(best['identification_2way_p'])}"
        text += ")."
    return text


def _against(
    own: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]
) -> str:
    """Say which layers have a higher mean r than all features that need no network, and how sure that is."""
    best = max(plain, key=lambda row: np.nan_to_num(row["mean_r"]))
    better = [str(row["layer"]) for row in own if row["mean_r"] > best["mean_r"]]
    text = f" {joined(better) if better else 'No layer'} {'have' if len(better) > 1 else 'has'}"
    text += f" a higher mean r than {best['layer']}"
    first = max(own, key=lambda row: np.nan_to_num(row["mean_r"]))
    for row in differences:
        if (row["layer"], row["baseline"]) == (first["layer"], best["layer"]):
            ends = f"{signed(row['low'], 3)} to {signed(row['high'], 3)}"
            text += f" ({row['layer']} less {row['baseline']}: {signed(row['difference'], 3)}, 95 % interval {ends})"
    return text + "."


def _design(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Count runs, clips and repeats."""
    tests = [run for run in settings["runs"] if run["role"] == "test"]
    clips = [run["stimulus"] or run["name"] for run in tests]
    repeats = [clips.count(clip) for clip in dict.fromkeys(clips)]
    groups = [run.get("group", run["stimulus"] or run["name"]) for run in settings["runs"] if run["role"] == "train"]
    n_rois, n_delays = len(settings["roi_sizes"]), len(_delays_used_s(settings))
    bands = check_bands(settings["bands"])
    n_bands = {"roi": n_rois, "delay": n_delays, "roi×delay": n_rois * n_delays}.get(bands, 1)
    return {
        "n_train": len(settings["runs"]) - len(tests), "n_test": len(tests), "n_clips": len(repeats),
        "max_repeats": max(repeats, default=0), "shares": len(set(groups)) < len(groups),
        "n_scans": sum(run["n_scans"] for run in settings["runs"]),
        "bands": bands, "n_bands": n_bands, "from_movies": settings["features"].get("source") == "prednet",
    }  # fmt: skip


def _quality(folder: Path) -> dict[str, Any]:
    """Read the quality of runs and regions; what is wrong with the tables where they cannot be read."""
    try:
        tables = {"runs": QUALITY_RUN_COLUMNS, "rois": QUALITY_ROI_COLUMNS}
        rows = {name: table_rows(read_table(folder / f"quality_{name}.tsv", own)) for name, own in tables.items()}
        return rows | {"problem": None}
    except DataError as error:
        return {"runs": [], "rois": [], "problem": str(error)}


def _late_lags(folder: Path) -> list[str]:
    """Name the layers whose contribution is largest at the last delay: information may come later still."""
    try:
        table = read_table(folder / "lags.tsv", LAG_COLUMNS)
    except DataError:
        return []
    summed = table.pivot_table(index="layer", columns="delay_s", values="contribution", aggfunc="sum", sort=False)
    late = (summed.idxmax(axis=1) == summed.columns.max()) & (summed.max(axis=1) > 0) & (summed.shape[1] > 1)
    return [str(layer) for layer in summed.index[late]]


def _differences(folder: Path) -> list[dict[str, Any]]:
    """Read by how much layers are decoded better than features that need no network, where that was compared."""
    try:
        return table_rows(read_table(folder / "differences.tsv", DIFFERENCE_COLUMNS))
    except DataError:
        return []


def _encoding(folder: Path) -> dict[str, Any] | None:
    """Read how well voxels are predicted; what is wrong with the table where it cannot be read."""
    try:
        encoding = read_encoding(folder)
        return encoding and encoding | {"problem": None}
    except (DataError, KeyError) as error:
        return {"rows": [], "bands": [], "problem": str(error)}


def _top_roi(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the ROI that contributes most to the layer that is explained best; None where that says nothing."""
    try:
        table = read_table(folder / "roi_contributions.tsv", ROI_COLUMNS)
    except DataError:
        return None
    table = (
        table[~table["layer"].isin(settings["baselines"])]
        if len(settings["layers"]) > len(settings["baselines"])
        else table
    )
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
