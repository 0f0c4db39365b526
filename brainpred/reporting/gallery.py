"""Draw every figure that the saved results of a subject allow; one that fails leaves its reason in its place."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainpred.decoding.chance import Chance, load_chance
from brainpred.decoding.result import LayerResult, load_result
from brainpred.errors import DataError
from brainpred.reporting.brain import is_whole_brain
from brainpred.reporting.evidence import (
    band_figure,
    comparison_figure,
    encoding_figure,
    lag_figure,
    null_figure,
    null_means,
    null_numbers,
    quality_figure,
)
from brainpred.reporting.figures import (
    contribution_figure,
    layer_colours,
    layer_figure,
    time_courses,
    timeline_figure,
    visual_field_figure,
    visual_field_numbers,
)
from brainpred.reporting.map_pictures import draw_map
from brainpred.reporting.maps import read_map
from brainpred.reporting.pictures import Pictures
from brainpred.reporting.saved import (
    BAND_COLUMNS,
    LAG_COLUMNS,
    LAYER_COLUMNS,
    QUALITY_SCAN_COLUMNS,
    ROI_COLUMNS,
    Picture,
    read_encoding,
    read_maps,
    read_table,
)
from brainpred.storage import make_directory

__all__ = ["draw_pictures", "is_drawn_on_glass"]


def draw_pictures(folder: Path, settings: Mapping[str, Any], advance: Callable[[int], None]) -> dict[str, Picture]:
    """Draw everything that the saved files allow, into ``figures/``.

    Parameters
    ----------
    folder : Path
        What ``brainpred decode`` (and perhaps ``brainpred encode``) wrote to.
    settings : mapping
        How the subject was decoded.
    advance : callable
        Told of every layer that is done, and of the rest.

    Returns
    -------
    dict of str to Picture
        Every figure, or the reason why it could not be drawn, by name.
    """
    simulated, names, maps = bool(settings["simulated"]), list(settings["layers"]), read_maps(folder, settings)
    pictures = Pictures(make_directory(folder / "figures"))
    scores = []
    for layer in names:
        result = _draw_layer(pictures, folder, layer, settings, maps)
        scores += [] if result is None else [result]
        advance(1)
    if scores:
        pictures.draw("layers", lambda: layer_figure(scores, simulated=simulated))
        pictures.draw(
            "null",
            lambda: null_figure(scores, _chance(folder), simulated=simulated),
            {"null": lambda: null_numbers(scores, _chance(folder)), "null_means": lambda: null_means(_chance(folder))},
        )
        if any(len(result.shape) == 3 for result in scores):
            pictures.draw(
                "visual_field",
                lambda: visual_field_figure(scores, simulated=simulated),
                {"visual_field": lambda: visual_field_numbers(scores)},
            )
    else:
        for name in ("layers", "null"):
            pictures.fail(name, DataError("no decoded_<layer>.h5 can be read."))
    _draw_tables(pictures, folder, settings)
    for kind in ("contribution_any", "explainable_variance", "tsnr", "encoding_r"):
        draw_map(pictures, folder, maps, kind, simulated=simulated)
    pictures.forget_others()
    advance(1)
    return pictures.drawn


def _chance(folder: Path) -> Chance:
    chance = load_chance(folder / "significance.h5")
    if chance is None:
        raise DataError(f"{folder / 'significance.h5'} is missing, or of another version. Run brainpred decode again.")
    return chance


def _draw_tables(pictures: Pictures, folder: Path, settings: Mapping[str, Any]) -> None:
    """Draw what is in tables alone."""
    simulated = bool(settings["simulated"])

    def read(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        return read_table(folder / f"{name}.tsv", columns)

    baselines = list(settings["baselines"])
    if baselines and len(settings["layers"]) > len(baselines):
        pictures.draw(
            "comparison", lambda: comparison_figure(read("layers", LAYER_COLUMNS), baselines, simulated=simulated)
        )
    if len(settings["roi_sizes"]) > 1:
        pictures.draw(
            "contributions", lambda: contribution_figure(read("roi_contributions", ROI_COLUMNS), simulated=simulated)
        )
    if settings["bands"] != "none":
        pictures.draw("bands", lambda: band_figure(read("bands", BAND_COLUMNS), simulated=simulated))
    if len(settings["delays_scans"]) > 1:
        pictures.draw("lags", lambda: lag_figure(read("lags", LAG_COLUMNS), simulated=simulated))
    pictures.draw("quality", lambda: quality_figure(read("quality_scans", QUALITY_SCAN_COLUMNS), simulated=simulated))
    if (folder / "encode.json").is_file():
        pictures.draw("encoding", lambda: _encoding(folder, simulated=simulated))


def _encoding(folder: Path, *, simulated: bool) -> Figure:
    encoding = read_encoding(folder)
    assert encoding is not None
    return encoding_figure(encoding["table"], encoding["bands"], simulated=simulated)


def _draw_layer(
    pictures: Pictures, folder: Path, layer: str, settings: Mapping[str, Any], maps: Mapping[str, list[str]]
) -> LayerResult | None:
    """Draw what belongs to one layer; give its scores, without the predictions, which may fill gigabytes."""
    simulated = bool(settings["simulated"])
    colour = layer_colours(settings["layers"])[layer]
    compared = layer in settings["baselines"] and len(settings["layers"]) > len(settings["baselines"])
    if not compared:
        for kind in ("pattern", "contribution"):
            draw_map(pictures, folder, maps, kind, simulated=simulated, layer=layer)
    try:
        result = load_result(folder / f"decoded_{layer}.h5")
    except Exception as error:  # as for a figure
        pictures.fail(f"time_course_{layer}", error)
        return None
    if not compared:
        name, tr_s = f"time_course_{layer}", settings["tr_s"]
        pictures.draw(
            name,
            lambda: timeline_figure(time_courses(result, tr_s), simulated=simulated, colour=colour),
            {name: lambda: time_courses(result, tr_s)},
        )
    nothing = np.empty((0, 0), dtype=np.float32)
    return replace(result, true=nothing, decoded=nothing, train_true=nothing, train_decoded=nothing)


def is_drawn_on_glass(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether what of the maps of this folder lies in a volume is drawn on a glass brain, for the captions."""
    for layer in settings["layers"]:
        try:
            volume = read_map(folder, settings["maps"][f"pattern_{layer}"]).volume
        except (DataError, KeyError):  # the figure itself tells what is wrong
            continue
        return volume is not None and is_whole_brain(volume)
    return False
