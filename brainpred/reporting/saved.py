"""Read what decode and reconstruct saved, for the page."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from brainpred.errors import DataError
from brainpred.reconstruction.frames import SETTINGS, reconstruction_name
from brainpred.reconstruction.tables import KEYS, METRIC_NAMES, read_scores
from brainpred.storage import read_json

__all__ = [
    "BAND_COLUMNS",
    "DIFFERENCE_COLUMNS",
    "ENCODING_COLUMNS",
    "LAG_COLUMNS",
    "LAYER_COLUMNS",
    "MAX_VIDEO_BYTES",
    "QUALITY_ROI_COLUMNS",
    "QUALITY_RUN_COLUMNS",
    "QUALITY_SCAN_COLUMNS",
    "ROI_COLUMNS",
    "Picture",
    "data_uri",
    "read_encoding",
    "read_layers",
    "read_maps",
    "read_reconstruction",
    "read_settings",
    "read_table",
    "table_rows",
]

MAX_VIDEO_BYTES = 8_000_000
NEEDED = (
    "dataset", "subject", "simulated", "tr_s", "n_voxels", "runs", "layers", "bands", "delays_s", "search",
    "n_candidates", "seed", "device", "features", "roi_sizes", "provenance", "n_permutations", "block_scans",
    "block_scans_wanted", "n_blocks", "delays_scans", "baselines", "maps",
)  # fmt: skip
LAYER_COLUMNS = (
    "layer", "n_units", "n_constant_units", "n_scans", "mean_r", "mean_r_low", "mean_r_high", "median_r", "p",
    "significant", "mean_r2", "mean_reliability", "mean_ceiling", "mean_r_over_ceiling", "mean_pattern_r",
    "pattern_r_low", "pattern_r_high", "identification_2way", "identification_2way_low", "identification_2way_high",
    "identification_2way_p", "identification_10way", "identification_10way_p", "nway", "identification_nway",
    "identification_nway_chance", "identification_nway_p",
)  # fmt: skip
ROI_COLUMNS = ("layer", "roi", "n_voxels", "contribution")
BAND_COLUMNS = ("layer", "band", "weight", "r2")
DIFFERENCE_COLUMNS = ("layer", "baseline", "difference", "low", "high")
LAG_COLUMNS = ("layer", "roi", "delay_s", "contribution")
QUALITY_RUN_COLUMNS = (
    "run", "role", "n_scans", "median_tsnr", "median_dvars", "n_spikes", "largest_shift_mm", "n_constant_voxels",
)  # fmt: skip
QUALITY_SCAN_COLUMNS = ("run", "scan", "dvars", "spike", "shift_mm")
QUALITY_ROI_COLUMNS = ("roi", "n_voxels", "n_constant_voxels", "median_tsnr")
ENCODING_COLUMNS = ("roi", "n_voxels", "mean_r", "r_p99", "significant", "mean_ceiling", "mean_r2")
SHARE_COLUMNS = ("roi", "layer", "share", "share_low", "share_high", "n_scans", "n_left_out")
TEXT_COLUMNS = ("layer", "baseline", "roi", "data", "band", "run", "role")
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
    note : str or None
        Why there is nothing to be drawn, where that is no fault.
    finding : str
        What can be seen in it, for those who cannot.
    """

    name: str
    uri: str | None = None
    problem: str | None = None
    note: str | None = None
    finding: str = ""


def _remedy(folder: Path, file: str = "") -> str:
    """Say which command writes a file of the results."""
    try:
        settings = read_json(folder / "decode.json")
    except DataError:
        settings = {}
    data_set = settings.get("dataset", "simulated")
    named = f" --dataset {data_set}" if data_set != "simulated" else ""
    command = "encode" if file.startswith("encod") else "decode"
    return f"Run: brainpred {command} --subject {settings.get('subject', 'SUBJECT')}{named} --out {folder}"


def read_settings(folder: Path) -> dict[str, Any]:
    """Read how a subject was decoded; :class:`DataError` where there are no results."""
    path = folder / "decode.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no results: there is no decode.json. {_remedy(folder)}")
    settings = read_json(path)
    missing = [name for name in NEEDED if name not in settings]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. {_remedy(folder)}")
    return settings


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a table, with names as they are written: "NA" may be a ROI."""
    if not path.is_file():
        raise DataError(f"{path} is missing. {_remedy(path.parent, path.name)}")
    numbers = [name for name in columns if name not in TEXT_COLUMNS]
    try:
        table = pd.read_csv(
            path, sep="\t", dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False,
            na_values={name: ["n/a", ""] for name in numbers},
        )  # fmt: skip
        missing = [name for name in columns if name not in table]
        if missing or table.empty:
            raise DataError(f"{path} lacks {', '.join(missing) or 'rows'}. {_remedy(path.parent, path.name)}")
        table[numbers] = table[numbers].apply(pd.to_numeric)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}. {_remedy(path.parent, path.name)}") from error
    return table


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def read_layers(folder: Path, layers: list[str]) -> list[dict[str, Any]]:
    """Read the scores of the layers that were decoded last, in order."""
    rows = {row["layer"]: row for row in table_rows(read_table(folder / "layers.tsv", LAYER_COLUMNS))}
    missing = [layer for layer in layers if layer not in rows]
    if missing:
        raise DataError(f"{folder / 'layers.tsv'} lacks layer {', '.join(missing)}. {_remedy(folder)}")
    return [rows[layer] for layer in layers]


def read_encoding(folder: Path) -> dict[str, Any] | None:
    """Read how voxels were predicted, how well in each ROI, and the shares of layers; None without an encoding."""
    settings = _encode_settings(folder)
    if settings is None:
        return None
    columns = (*ENCODING_COLUMNS, *(f"r2_{layer}" for layer in sorted(settings["layers"])))
    table = read_table(folder / "encoding.tsv", columns)
    shares = read_table(folder / "encoding_layers.tsv", SHARE_COLUMNS)
    by_roi = [(roi, table_rows(own)) for roi, own in shares.groupby("roi", sort=False)]
    return {
        "settings": settings, "bands": sorted(settings["layers"]), "table": table, "rows": table_rows(table),
        "shares": by_roi,
    }  # fmt: skip


def _encode_settings(folder: Path) -> dict[str, Any] | None:
    """Read how voxels were predicted; :class:`DataError` where it was from other data than were decoded."""
    path = folder / "encode.json"
    if not path.is_file():
        return None
    settings = read_json(path)
    if settings.get("data_key") != read_settings(folder).get("data_key"):
        raise DataError(
            f"{path} tells of other scans, features or cleaning than decode.json. Run brainpred encode again, with the "
            "settings of brainpred decode."
        )
    return settings


def read_maps(folder: Path, settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """List the files of every map of one number a voxel, those of ``brainpred encode`` too, by the map's name."""
    try:
        encoded = (_encode_settings(folder) or {}).get("maps", {})
    except DataError:  # what is said of the encoding tells
        encoded = {}
    return {**settings["maps"], **encoded}


def data_uri(path: Path, kind: str) -> str:
    """Put a file into a URI of its own, for a page that needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def read_reconstruction(folder: Path) -> dict[str, Any] | None:
    """Gather what ``brainpred reconstruct`` wrote; None where it did not run."""
    path = folder / "reconstruction.tsv"
    if not path.is_file():
        return None
    try:
        table, problem = read_scores(path), None
        groups = [_score_group(rows) for _, rows in table.groupby(list(KEYS), sort=False)]
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
            path.stem, data_uri(path, "image/png") if whole else None, note
        )
    return strips


def _score_group(rows: pd.DataFrame) -> dict[str, Any]:
    """Lay the scores of one reconstruction out by picture and metric."""
    first = rows.iloc[0]
    pictures = {
        str(picture): {row["metric"]: row for row in table_rows(of_picture)}
        for picture, of_picture in rows.groupby("picture", sort=False)
    }
    settings = {name: str(first[name]) for name in SETTINGS}
    return {
        "name": reconstruction_name(first["layers"], settings),
        "title": f"{first['layers']} {_how(first)}", "pictures": pictures,
        "block_s": first["block_s"], "n_blocks": first["n_blocks"], "data": first["data"],
        "train": first["runs"] == "train", "settings": f"hold {first['hold']}, variance {first['variance']}",
        "metrics": {name: label for name, label in METRIC_NAMES.items() if name in set(rows["metric"])},
        "decoded": pictures.get("decoded", {}),
    }  # fmt: skip


def _how(row: "pd.Series[Any]") -> str:
    """Say what made the pictures of the representations."""
    return f"swapped, {row['drive']}" if row["through"] == "swap" else "through a latent bridge"


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
    return {"name": path.stem, "src": data_uri(path, "video/mp4") if small else path.name, "clock": clock,
            "inside": small}  # fmt: skip
