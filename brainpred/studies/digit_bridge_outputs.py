"""What the study of document 002 writes: tables over seeds, its five figures, and what the figures show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainpred.progress import Reporter
from brainpred.provenance import provenance
from brainpred.storage import atomic_path, write_json, write_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from brainpred.studies.digit_bridge import DigitBridgeConfig

__all__ = ["COMPARED", "run_file", "write_digit_bridge"]

COMPARED = ("default", "document")  # at every number of pairs, with every seed and both image models
UPDATES_A_POINT = 10  # of a learning curve
Shown = dict[str, NDArray[Any]]


def run_file(setting: str, image_vae: str, pairs: int, seed: int) -> str:
    """Name the file of one bridge in both directions."""
    return f"{setting}_{image_vae}_{pairs}_{seed}.npz".replace(" ", "-")


def write_digit_bridge(
    out: Path,
    table: pd.DataFrame,
    own: Mapping[str, Any],
    config: DigitBridgeConfig,
    source: str,
    reporter: Reporter,
) -> None:
    """Write tables, figures and what they show.

    Parameters
    ----------
    out : Path
        Folder that holds ``runs/``.
    table : DataFrame
        A row a bridge.
    own : mapping of str to mapping
        By image model, ``scores``, ``made`` and ``points`` of the models themselves.
    config : DigitBridgeConfig
        Which experiments these are.
    source : str
        Where the digits come from.
    reporter : Reporter
        Where progress goes.
    """
    from brainpred.reporting.style import save_figure

    tables = {
        "runs": table,
        "table1": _summary(
            table,
            own,
            (
                "log_p_x",
                "log_p_x_effective",
                "log_p_x_own",
                "log_p_x_gain",
                "log_p_x_document",
                "recognised",
                "diversity",
            ),
        ),
        "table2": _summary(
            table, own, ("log_p_y", "log_p_y_effective", "log_p_y_grid", "log_p_y_document", "accuracy")
        ),
    }
    for name, frame in tables.items():
        write_table(out / f"{name}.tsv", frame)
    shown = _shown(out, own, config)
    with atomic_path(out / "figures.npz") as temporary:
        np.savez_compressed(temporary, **shown)  # type: ignore[arg-type]
    for name, figure in _figures(shown, table, own, config):
        for suffix in (".png", ".svg"):
            save_figure(figure, out / f"{name}{suffix}")
        reporter.say(f"Figure: {out / name}.png")
    write_json(out / "bridge.json", {**asdict(config), "digits": source, "provenance": provenance()})


def _shown(out: Path, own: Mapping[str, Any], config: DigitBridgeConfig) -> Shown:
    """Collect what the figures show: pictures of 0 to 255, latents, learning curves, of the first seed."""
    shown: Shown = {}
    for image_vae, content in own.items():
        shown[f"own/{image_vae}/made"] = content["made"]
        shown["own/points"], shown["own/labels"] = content["points"][0].astype(np.float16), content["points"][1]
    for setting in (name for name in config.settings if name in COMPARED):
        for image_vae in own:
            for pairs in sorted(config.pairs):
                with np.load(out / "runs" / run_file(setting, image_vae, pairs, config.seed)) as saved:
                    part = {"made": saved["made"], "points": saved["points"].astype(np.float16)}
                    part["labels"] = saved["labels"].astype(np.uint8)
                    for name in ("image_curve", "label_curve"):
                        curve = saved[name]
                        whole = curve[: len(curve) // UPDATES_A_POINT * UPDATES_A_POINT]
                        part[name] = whole.reshape(-1, UPDATES_A_POINT).mean(axis=1).astype(np.float32)
                shown |= {f"{setting}/{image_vae}/{pairs}/{name}": array for name, array in part.items()}
    return shown


def _figures(
    shown: Shown, table: pd.DataFrame, own: Mapping[str, Any], config: DigitBridgeConfig
) -> Iterator[tuple[str, Figure]]:
    """Draw document 002's five figures for every setting that was compared, and quality against pairs."""
    from brainpred.reporting.bridge import curve_figure, label_figure, latents_figure, quality_figure

    numbers, first = {f"N = {pairs}": pairs for pairs in sorted(config.pairs)}, next(iter(own))
    if "document" in config.settings:
        panels = {"label from image": "label_curve", "image from label": "image_curve"}
        curves = {
            panel: {
                name: shown[f"document/{first}/{pairs}/{key}"].repeat(UPDATES_A_POINT).tolist()
                for name, pairs in numbers.items()
            }
            for panel, key in panels.items()
        }
        yield "figure1_objective", curve_figure(curves, "Objective of document 002's bridge while it is trained")
    figures = dict(zip(own, ((2, 3), (4, 5)), strict=False))
    for setting in (name for name in config.settings if name in COMPARED):
        for image_vae, (images, latents) in figures.items():
            keys = {name: f"{setting}/{image_vae}/{pairs}" for name, pairs in numbers.items()}
            what = f"{'document 002' if setting == 'document' else 'default'}, image VAE: {image_vae}"
            made = {name: f"{key}/made" for name, key in keys.items()} | {"VAE itself": f"own/{image_vae}/made"}
            yield (
                f"figure{images}_images_{setting}",
                label_figure({name: shown[key] / 255 for name, key in made.items()}, f"Images from labels ({what})"),
            )
            points = {
                name: (shown[f"{key}/points"].astype(float), shown[f"{key}/labels"])
                for name, key in (keys | {"label VAE itself": "own"}).items()
            }
            yield f"figure{latents}_latents_{setting}", latents_figure(points, f"Label latents from images ({what})")
    level = own[first]["scores"]["log_p_x"]
    chosen = table[(table["image_vae"] == first) & table["setting"].isin(COMPARED)]
    yield "figure6_quality", quality_figure(
        chosen, {"log_p_x": level, "recognised": math.nan, "diversity": 1.0, "accuracy": math.nan},
        "Quality against the number of pairs",
    )  # fmt: skip


def _interval(values: NDArray[np.floating]) -> tuple[float, float, float]:
    """Give the mean over seeds with its 95 % interval by Student's t."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def _summary(table: pd.DataFrame, own: Mapping[str, Any], columns: Sequence[str]) -> pd.DataFrame:
    """Average columns over seeds, with intervals; the models' own scores below."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for (setting, image_vae, pairs), group in table.groupby(["setting", "image_vae", "pairs"], sort=False):
        row: dict[str, Any] = {"setting": setting, "image_vae": image_vae, "pairs": pairs, "seeds": len(group)}
        for column in columns:
            row[column], row[f"{column}_low"], row[f"{column}_high"] = _interval(group[column].to_numpy())
        rows.append(row)
    for image_vae, content in own.items():
        scores = {column: content["scores"].get(column, math.nan) for column in columns}
        rows.append({"setting": "the VAE itself", "image_vae": image_vae, **scores})
    return pd.DataFrame(rows)
