"""Put several subjects side by side: a table a subject and layer, means over subjects with intervals, one page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.bootstrap import fisher_mean
from brainpred.numerics.significance import mean_interval, ratio_of_means
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.reporting.figures import layer_colours
from brainpred.reporting.numbers import FILTERS, joined, unbroken
from brainpred.reporting.pictures import Pictures
from brainpred.reporting.saved import LAYER_COLUMNS, read_settings, read_table, table_rows
from brainpred.reporting.style import INK, MUTED, page
from brainpred.storage import atomic_path, make_directory, write_table

__all__ = ["group_figure", "group_table", "write_group_report"]

# Scores whose p is counted over subjects, and that p.
TESTED = {
    "mean_r": "p", "identification_2way": "identification_2way_p", "identification_10way": "identification_10way_p",
}  # fmt: skip
# What is averaged over subjects: correlations by Fisher's z.
METRICS = {
    "mean_r": "mean r",
    "mean_ceiling": "noise ceiling",
    "mean_r_over_ceiling": "r / ceiling",
    "mean_r2": "R²",
    "mean_pattern_r": "pattern r",
    "identification_2way": "2-way identification",
    "identification_10way": "10-way identification",
    "significant": "part of units with q < 0.05",
}
PARTS = ("identification_2way", "identification_10way", "significant")
BY_FISHER = ("mean_r", "mean_pattern_r")
# The mean of one by that of the other.
RATIO = "mean_r_over_ceiling"
# Subjects are comparable if they were decoded alike.
ALIKE = {
    "layers": "layers (p is of the best of them)",
    "bands": "bands",
    "delays_s": "delays",
    "search": "search for band weights",
    "n_candidates": "candidates of band weights",
    "features": "features",
    "weights": "weights of PredNet",
    "cleaning": "cleaning",
    "tr_s": "repetition time",
    "n_permutations": "number of permutations",
}


def group_table(subjects: pd.DataFrame, baselines: Sequence[str] = ()) -> pd.DataFrame:
    """Average the scores of each layer over subjects.

    Parameters
    ----------
    subjects : DataFrame (one row a subject and layer)
        Columns ``subject``, ``layer``, the scores and their p.
    baselines : sequence of str
        Layers that need no network: every other layer is compared with them within subjects.

    Returns
    -------
    DataFrame (one row a layer and metric)
        Mean over subjects, its 95 % interval (Student's t over subjects; by Fisher's z for correlations), spread,
        number of subjects, and, for mean r and identification, in how many of them p of the layer is below 0.05.
        r / ceiling is the ratio R of both means, with the spread of r less R times the ceiling, over the mean ceiling.
    """
    rows: list[dict[str, Any]] = []
    for layer, own in subjects.groupby("layer", sort=False):
        for metric in METRICS:
            values = _values(own, metric)
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            if metric in BY_FISHER:
                mean = float(fisher_mean(values))
                low, high = np.tanh(mean_interval(np.arctanh(values)))
            else:
                mean, (low, high) = float(values.mean()), mean_interval(values)
                if metric in PARTS:  # Student's t knows no bounds
                    low, high = max(low, 0.0), min(high, 1.0)
            rows.append(
                {
                    "layer": layer, "metric": metric, "n_subjects": len(values), "mean": mean, "low": float(low),
                    "high": float(high), "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
                    "n_significant": int((own[TESTED[metric]] < 0.05).sum()) if metric in TESTED else float("nan"),
                }
            )  # fmt: skip
    return pd.DataFrame(rows + _differences(subjects, baselines))


def _values(own: pd.DataFrame, metric: str) -> NDArray[np.float64]:
    """Give a score of every subject; ceilings of all or none, for those with one would be a choice among subjects.

    What stands for r / ceiling has the mean, and the interval, of :func:`ratio_of_means`: a ceiling of 0 has no ratio.
    """
    if metric not in ("mean_ceiling", RATIO):
        return own[metric].to_numpy(dtype=float)
    if np.isfinite(own["mean_ceiling"]).mean() <= 0.5:
        return np.full(len(own), np.nan)
    ceilings = np.sqrt(own["mean_reliability"].to_numpy(dtype=float).clip(0, 1))
    if metric == "mean_ceiling":
        return ceilings
    r = own["mean_r"].to_numpy(dtype=float)
    ratio, _ = ratio_of_means(r, ceilings)
    pairs = np.isfinite(r + ceilings)
    mean_ceiling = ceilings[pairs].mean() if np.isfinite(ratio) else np.nan
    return ratio + (r - ratio * ceilings) / mean_ceiling


def _differences(subjects: pd.DataFrame, baselines: Sequence[str]) -> list[dict[str, Any]]:
    """Compare mean r of each layer with that of the baselines, within subjects."""
    r = subjects.pivot_table(index="subject", columns="layer", values="mean_r", sort=False)
    rows = []
    for layer in dict.fromkeys(subjects["layer"]):
        for baseline in baselines:
            if layer not in baselines and baseline in r:
                values = (r[layer] - r[baseline]).dropna().to_numpy()
                low, high = mean_interval(values)
                rows.append(
                    {
                        "layer": layer, "metric": f"mean_r_less_{baseline}", "n_subjects": len(values),
                        "mean": float(values.mean()), "low": low, "high": high,
                        "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
                        "n_significant": float("nan"),
                    }
                )  # fmt: skip
    return rows


def group_figure(subjects: pd.DataFrame, group: pd.DataFrame, *, simulated: bool) -> Figure:
    """Draw the mean r of every subject and layer, and the group's.

    Parameters
    ----------
    subjects : DataFrame
        Columns ``subject``, ``layer``, ``mean_r``, ``mean_r_low``, ``mean_r_high``.
    group : DataFrame
        As :func:`group_table`.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    Figure
        A column a layer: subjects with their own intervals, the group's mean and interval beside them in black.
    """
    layers = list(dict.fromkeys(subjects["layer"]))
    names = list(dict.fromkeys(subjects["subject"]))
    colours = layer_colours(layers)
    means = group[group["metric"] == "mean_r"].set_index("layer")
    with page(max(5.0, 1.6 + 1.7 * len(layers)), 4.4, "Mean r of every subject", simulated=simulated) as figure:
        axes = figure.subplots()
        axes.axhline(0, color=MUTED, lw=1)
        for x, layer in enumerate(layers):
            own = subjects[subjects["layer"] == layer].set_index("subject")
            for name, shift in zip(names, np.linspace(-0.3, 0.12, len(names)), strict=True):
                if name in own.index:
                    row = own.loc[name]
                    axes.plot([x + shift] * 2, [row["mean_r_low"], row["mean_r_high"]], color=colours[layer], alpha=0.4)
                    axes.plot(x + shift, row["mean_r"], "o", ms=6, color=colours[layer], mec="white")
            mean = means.loc[layer]
            axes.plot([x + 0.32] * 2, [mean["low"], mean["high"]], color=INK, lw=2)
            axes.plot(x + 0.32, mean["mean"], "D", ms=7, color=INK)
        axes.set_xticks(range(len(layers)), layers)
        axes.tick_params(axis="x", length=0)
        axes.set(xlabel=f"each layer: {names[0]} to {names[-1]} from left to right, mean in black")
        axes.set(ylabel="mean r (held-out), 95 % interval", xlim=(-0.6, len(layers) - 0.4))
    return figure


def write_group_report(folders: Mapping[str, Path], out: Path | str, reporter: Reporter = SILENT) -> Path:
    """Write ``group.html``, ``group_subjects.tsv`` and ``group_layers.tsv`` from the results of several subjects.

    Parameters
    ----------
    folders : mapping of str to Path
        Where ``brainpred decode`` wrote the results of each subject.
    out : Path or str
        Folder to write to.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ConfigError
        If there are fewer than two subjects.
    DataError
        If a subject has no results, or simulated and measured subjects are mixed.
    """
    if len(folders) < 2:
        name = next(iter(folders), "S")
        raise ConfigError(
            f"A group needs two or more different subjects, received {joined(list(folders)) if folders else 'none'}. "
            f"The page of one subject is made by: brainpred report --subject {name}"
        )
    out = make_directory(out)
    settings = {subject: read_settings(folder) for subject, folder in folders.items()}
    kinds = {bool(one["simulated"]) for one in settings.values()}
    if len(kinds) > 1:
        simulated = ", ".join(subject for subject, one in settings.items() if one["simulated"])
        raise DataError(f"Simulated and measured subjects are no group. Simulated: {simulated}.")
    tables = []
    for subject, folder in folders.items():
        table = read_table(folder / "layers.tsv", LAYER_COLUMNS)
        table.insert(0, "subject", subject)
        tables.append(table[table["layer"].isin(settings[subject]["layers"])])
    subjects = pd.concat(tables, ignore_index=True)
    baselines = list(dict.fromkeys(name for one in settings.values() for name in one["baselines"]))
    group = group_table(subjects, baselines)
    for name, table in (("group_subjects", subjects), ("group_layers", group)):
        write_table(out / f"{name}.tsv", table)
    pictures = Pictures(make_directory(out / "figures"))
    with reporter.task("Writing the group's report", 1) as advance:
        pictures.draw("group", lambda: group_figure(subjects, group, simulated=kinds == {True}))
        advance(1)
    environment = Environment(
        loader=PackageLoader("brainpred.reporting"), autoescape=True, undefined=StrictUndefined, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    text = environment.get_template("group.html.j2").render(
        names=list(folders), dataset=next(iter(settings.values()))["dataset"], simulated=kinds == {True},
        subjects=table_rows(subjects), group=table_rows(group),
        metrics=METRICS | {f"mean_r_less_{name}": f"mean r less that of {name}" for name in baselines},
        picture=pictures.drawn["group"],
        layers=list(dict.fromkeys(subjects["layer"])), colours=layer_colours(list(dict.fromkeys(subjects["layer"]))),
        unlike=_unlike(list(settings.values())), same_clips=_same_clips(list(settings.values())),
        provenance=provenance(),
    )  # fmt: skip
    path = out / "group.html"
    with atomic_path(path) as temporary:
        temporary.write_text(unbroken(text), encoding="utf-8")
    return path


def _unlike(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the settings that differ between subjects."""
    return [words for name, words in ALIKE.items() if any(one.get(name) != settings[0].get(name) for one in settings)]


def _same_clips(settings: Sequence[Mapping[str, Any]]) -> int:
    """Count the test clips if all subjects saw the same ones, else give 0."""
    clips = [{run["stimulus"] for run in one["runs"] if run["role"] == "test" and run["stimulus"]} for one in settings]
    return len(clips[0]) if all(own == clips[0] for own in clips) else 0
