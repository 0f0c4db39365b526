"""Decode a subject: recording and features in, decoded features, scores, maps and a report out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.decoding.bands import check_bands
from brainpred.decoding.chance import Chance, compare_with_chance, load_chance, save_chance
from brainpred.decoding.decoder import DEFAULT_DELAYS_S, BrainDecoder
from brainpred.decoding.evaluation import evaluate_layer, evaluation_steps
from brainpred.decoding.refit import RefitChance, load_refit, refit_permutations, refit_table, save_refit
from brainpred.decoding.result import (
    LayerResult,
    greatest_contribution,
    load_result,
    save_result,
    saved_key,
    saved_similarity,
)
from brainpred.decoding.splits import (
    CleanRun,
    Split,
    split_runs,
    voxel_explainable_variance,
)
from brainpred.decoding.tables import (
    band_table,
    channel_table,
    difference_table,
    lag_table,
    layer_table,
    roi_table,
    unit_table,
)
from brainpred.devices import resolve_device, resolve_precision
from brainpred.errors import ConfigError
from brainpred.features.baselines import BASELINES
from brainpred.features.source import FeatureSource
from brainpred.models.prednet_weights import read_frame_size, weights_fingerprint
from brainpred.numerics.ridge.delays import delays_in_samples
from brainpred.numerics.ridge.estimator import DEFAULT_ALPHAS, SEARCHES
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.recordings.recording import Recording
from brainpred.reporting.page import write_report
from brainpred.storage import fingerprint, output_folder, read_json, write_json, write_table
from brainpred.studies.inputs import check_wanted, read_inputs
from brainpred.studies.outputs import forget_encoding, forget_map, tell_chance, write_map
from brainpred.studies.quality import write_quality
from brainpred.studies.voxels import voxel_table

__all__ = ["DecodeConfig", "decode_subject", "default_folder"]

N_TABLES = 7  # what _write_tables writes
RESULT_VERSION = 7  # raise it when the same scans, features and settings give other results


@dataclass(frozen=True)
class DecodeConfig:
    """Say what to decode and how.

    Attributes
    ----------
    subject, dataset : str
        Whose scans.
    layers : tuple of str
        Layers to decode, and baselines (:data:`brainpred.features.baselines.BASELINES`); empty: all that the features
        have, and with PredNet's all baselines.
    bands : {"roi", "delay", "roi×delay", "none"}
        What shares one regularisation.
    delays_s : tuple of float
        How many seconds after the stimulus the BOLD signal is read.
    search : {"shared", "per-target", "himalaya"}
        How band weights are found; see :class:`brainpred.BandedRidgeCV`.
    n_candidates : int
        Band weights to try, where the search is not shared.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    precision : {"auto", "float64", "float32", "bfloat16"}
        What units are multiplied in while they are scored.
    memory_budget : str or None
        Memory to work in, such as ``"8 GB"``; None: four fifths of what is free.
    seed : int
        Seed of the band weights to try.
    features : str or None
        File of features to decode; None: PredNet's, from the movies of the data set.
    weights : str
        PredNet, by shipped name or file.
    n_permutations : int
        Permutations of blocks of time that tell what chance gives.
    n_refit_permutations, n_refit_units : int
        How often to fit again to permuted features, and how many units of every layer; 0: not at all.
    dummy_scans, high_pass_s, confounds, percent_signal_change : int, float, str, bool or None
        How scans are cleaned, where it is not as the manifest says; see
        :meth:`brainpred.recordings.cleaning.Cleaning.of_manifest`.
    """

    subject: str
    dataset: str = "simulated"
    layers: tuple[str, ...] = ()
    bands: str = "roi"
    delays_s: tuple[float, ...] = DEFAULT_DELAYS_S
    search: str = "shared"
    n_candidates: int = 40
    device: str = "auto"
    precision: str = "auto"
    memory_budget: str | None = None
    seed: int = 0
    features: str | None = None
    weights: str = "small"
    n_permutations: int = 1000
    n_refit_permutations: int = 0
    n_refit_units: int = 20
    dummy_scans: int | None = None
    high_pass_s: float | None = None
    confounds: str | None = None
    percent_signal_change: bool | None = None


def default_folder(dataset: str, subject: str) -> Path:
    """Give the folder that results go to unless another is named: ``results/<dataset>/<subject>``."""
    return Path("results") / Path(dataset).stem / subject


def decode_subject(
    config: DecodeConfig, out: Path | str | None = None, *, data: Path | str | None = None, reporter: Reporter = SILENT
) -> list[LayerResult]:
    """Decode every layer of a subject and write everything a reader of the results needs.

    A layer whose result is already in ``out``, for the same scans, features and settings, is not computed again.

    Parameters
    ----------
    config : DecodeConfig
        What to decode and how.
    out : Path or str, optional
        Folder for results; ``results/<dataset>/<subject>`` by default.
    data : Path or str, optional
        Folder that holds one folder a data set.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of LayerResult
        One a layer.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    DataError
        If scans, movies or features cannot be used.
    """
    check_bands(config.bands)
    device = str(resolve_device(config.device))
    check_wanted(config)
    if config.search not in SEARCHES:
        raise ConfigError(f"Unknown search {config.search!r}. Choose one of: {', '.join(SEARCHES)}.")
    if config.n_candidates < 1:
        raise ConfigError(f"At least one set of band weights must be tried, received {config.n_candidates}.")
    if config.n_refit_permutations < 0 or config.n_refit_units < 1:
        raise ConfigError(
            "Fitting again to permuted features needs 0 or more permutations and 1 or more units, received "
            f"{config.n_refit_permutations} and {config.n_refit_units}."
        )
    with output_folder(out or default_folder(config.dataset, config.subject)) as folder:
        return _decode_into(folder, config, device, data, reporter)


def _decode_into(
    folder: Path, config: DecodeConfig, device: str, data: Path | str | None, reporter: Reporter
) -> list[LayerResult]:
    """Decode, with options that are checked, into a folder that exists."""
    began = time.monotonic()
    inputs = read_inputs(config, data, reporter)
    recording, runs, source, layers = inputs.recording, inputs.runs, inputs.source, inputs.layers
    _tell_constant_voxels(runs, reporter)
    maps = {"tsnr": write_quality(folder, recording, reporter)}  # of scans that can be cleaned: else nothing is written
    keys = _layer_keys(config, inputs.key, layers)
    _forget_other_results(folder, keys)
    if forget_encoding(folder, inputs.key):
        reporter.say("Note: removed what brainpred encode wrote here for other scans, features or cleaning.")
    splits = split_runs(runs, source, recording.tr_s)
    results = _decode_layers(config, recording, splits, layers, source, keys, folder, reporter)
    chance = _find_chance(folder, config, results, keys, reporter)
    if config.n_refit_permutations:
        _fit_again(folder, config, recording, splits, keys, source, chance.block_length, reporter)
    baselines = [] if config.features else [layer for layer in layers if layer in BASELINES]
    with reporter.task("Writing tables and maps", N_TABLES + len(results) + 1) as advance:
        _write_tables(folder, recording, results, chance, source.unit_names, baselines, advance)
        maps |= _write_maps(folder, recording, runs, results, baselines, advance)
    write_json(
        folder / "decode.json",
        {
            **asdict(config), "layers": layers,
            "baselines": baselines,
            "bands": check_bands(config.bands), "device": device,
            "alphas": DEFAULT_ALPHAS, "simulated": recording.simulated,
            "tr_s": recording.tr_s, "n_voxels": recording.n_voxels, "cleaning": inputs.cleaning.settings,
            "runs": [
                {
                    "name": run.run.name, "role": run.run.role, "n_scans": run.run.n_scans,
                    "stimulus": run.run.stimulus, "group": run.group, "n_constant_voxels": run.n_constant_voxels,
                }
                for run in runs
            ],
            "roi_sizes": {str(roi): int(np.sum(recording.rois == roi)) for roi in np.unique(recording.rois)},
            "maps": maps, "data_key": inputs.key, "keys": keys, "simulation": dict(recording.simulation),
            "features": _describe_features(config),
            "delays_scans": delays_in_samples(config.delays_s, recording.tr_s),
            "block_scans": chance.block_length, "block_scans_wanted": chance.wanted_length,
            "n_blocks": chance.n_blocks, "provenance": provenance(),
            "seconds": round(time.monotonic() - began, 1),
            "notes": recording.notes,
        },
    )  # fmt: skip
    write_report(folder, reporter)
    return results


def _tell_constant_voxels(runs: Sequence[CleanRun], reporter: Reporter) -> None:
    """Say where voxels never vary: they are no mistake outside the brain, but they tell nothing."""
    told = [f"{run.n_constant_voxels} in run {run.run.name}" for run in runs if run.n_constant_voxels]
    if told:
        more = f" and {len(told) - 3} more runs" if len(told) > 3 else ""
        reporter.say(
            f"Note: voxels that never vary are taken as 0: {', '.join(told[:3])}{more}, of {runs[0].bold.shape[1]}."
        )


def _describe_features(config: DecodeConfig) -> dict[str, Any]:
    if config.features:
        return {"source": "table", "file": Path(config.features).name}
    return {
        "source": "prednet", "weights": config.weights, "weights_sha256": weights_fingerprint(config.weights),
        "frame_size": read_frame_size(config.weights),
    }  # fmt: skip


def _layer_keys(config: DecodeConfig, data_key: str, layers: Sequence[str]) -> dict[str, str]:
    """Fingerprint, layer by layer, everything that a result depends on."""
    shared = {
        "data": data_key, "bands": check_bands(config.bands), "delays_s": list(config.delays_s),
        "alphas": list(DEFAULT_ALPHAS),
        "search": config.search, "n_candidates": config.n_candidates if config.search != "shared" else None,
        "precision": [str(dtype) for dtype in resolve_precision(config.precision, resolve_device(config.device))],
        "seed": config.seed, "version": RESULT_VERSION,
    }  # fmt: skip
    return {layer: fingerprint(layer=layer, **shared) for layer in layers}


def _forget_other_results(folder: Path, keys: Mapping[str, str]) -> None:
    """Remove what was made from results that are about to be replaced, lest old pictures stand under new scores."""
    settings = folder / "decode.json"
    before = read_json(settings).get("keys", {}) if settings.is_file() else keys
    if any(before.get(layer) != key for layer, key in keys.items() if layer in before) or not set(before) & set(keys):
        for pattern in ("decode.json", "reconstruct*", "filmstrip_*.png", "figure_*.png", "report.html", "refit*"):
            for stale in folder.glob(pattern):
                stale.unlink()


def _decoder_maker(config: DecodeConfig, recording: Recording) -> Callable[[], BrainDecoder]:
    return partial(
        BrainDecoder, recording.rois, bands=config.bands, delays_s=config.delays_s, tr_s=recording.tr_s,
        search=config.search, n_candidates=config.n_candidates, device=config.device, precision=config.precision,
        memory_budget=config.memory_budget, random_state=config.seed,
    )  # fmt: skip


def _decode_layers(
    config: DecodeConfig,
    recording: Recording,
    splits: Sequence[Split],
    layers: Sequence[str],
    source: FeatureSource,
    keys: Mapping[str, str],
    folder: Path,
    reporter: Reporter,
) -> list[LayerResult]:
    results = []
    n_steps = {layer: evaluation_steps(int(np.prod(source.shapes[layer])), len(splits)) for layer in layers}
    with reporter.task("Decoding " + " ".join(layers), sum(n_steps.values())) as advance:
        for layer in layers:
            path, key = folder / f"decoded_{layer}.h5", keys[layer]
            if saved_key(path) == key:
                result = load_result(path)
                advance(n_steps[layer])
            else:
                result = evaluate_layer(splits, layer, source, _decoder_maker(config, recording), reporter, advance)
                save_result(result, path, key, simulated=recording.simulated)
                result = replace(result, similarity=saved_similarity(path))  # scans squared, for every layer
            results.append(result)
    return results


def _fit_again(
    folder: Path,
    config: DecodeConfig,
    recording: Recording,
    splits: Sequence[Split],
    keys: Mapping[str, str],
    source: FeatureSource,
    block_length: int,
    reporter: Reporter,
) -> None:
    """Fit decoders of some units to permuted features, layer by layer, and write what they make of p.

    A layer whose fits are already in the folder, for the same scans, features and settings, is not fitted again.
    """
    how = {"n_permutations": config.n_refit_permutations, "n_units": config.n_refit_units, "block_length": block_length}
    n_fits = len(splits) * (1 + config.n_refit_permutations)
    refitted: list[RefitChance] = []
    with reporter.task("Fitting to permuted features", len(keys) * n_fits) as advance:
        for layer, layer_key in keys.items():
            path, key = folder / f"refit_{layer}.h5", fingerprint(layer=layer_key, **how)
            result = load_refit(path, key)
            if result is None:
                result = refit_permutations(
                    splits, layer, source, _decoder_maker(config, recording), seed=config.seed, advance=advance, **how
                )
                save_refit(result, path, key)
            else:
                advance(n_fits)
            refitted.append(result)
    write_table(folder / "refit.tsv", refit_table(refitted, simulated=recording.simulated))


def _find_chance(
    folder: Path, config: DecodeConfig, results: Sequence[LayerResult], keys: Mapping[str, str], reporter: Reporter
) -> Chance:
    """Permute, unless that was done for the same results."""
    path = folder / "significance.h5"
    key = fingerprint(layers=dict(keys), n_permutations=config.n_permutations, seed=config.seed, version=2)
    chance = load_chance(path, key)
    if chance is None:
        chance = compare_with_chance(results, n_permutations=config.n_permutations, seed=config.seed, reporter=reporter)
        save_chance(chance, path, key)
    tell_chance(chance.block_length, chance.wanted_length, chance.n_blocks, config.n_permutations, reporter)
    return chance


def _write_tables(
    folder: Path,
    recording: Recording,
    results: Sequence[LayerResult],
    chance: Chance,
    unit_names: Mapping[str, list[str]],
    baselines: Sequence[str],
    advance: Callable[[float], None],
) -> None:
    simulated, rois = recording.simulated, recording.rois

    def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
        table = pd.concat(tables, ignore_index=True)
        table.insert(1, "data", "simulated" if simulated else "measured")
        return table

    tables: dict[str, Callable[[], pd.DataFrame]] = {
        "layers": lambda: layer_table(results, chance, simulated=simulated),
        "scores": lambda: joined([unit_table(one, chance, unit_names.get(one.layer)) for one in results]),
        "channels": lambda: joined([channel_table(one, chance) for one in results]),
        "differences": lambda: difference_table(results, chance, baselines, simulated=simulated),
        "bands": lambda: band_table(results, simulated=simulated),
        "roi_contributions": lambda: roi_table(results, rois, simulated=simulated),
        "lags": lambda: lag_table(results, rois, recording.tr_s, simulated=simulated),
    }
    for name, tabulate in tables.items():
        write_table(folder / f"{name}.tsv", tabulate())
        advance(1)


def _write_maps(
    folder: Path,
    recording: Recording,
    runs: Sequence[CleanRun],
    results: Sequence[LayerResult],
    baselines: Sequence[str],
    advance: Callable[[float], None],
) -> dict[str, list[str]]:
    """Write maps, and give the names of each one's files."""
    maps: dict[str, list[str]] = {}
    columns: dict[str, NDArray[np.floating]] = {}

    def write(name: str, values: NDArray[np.floating], what: str) -> None:
        maps[name] = write_map(folder / name, recording, values, what)
        columns[name] = values

    for result in results:
        write(f"contribution_{result.layer}", result.contributions, f"contribution to decoding {result.layer}")
        write(f"pattern_{result.layer}", result.pattern, f"forward pattern of decoded {result.layer}")
        advance(1)
    own = [result.contributions for result in results if result.layer not in baselines]
    if own:
        write("contribution_any", greatest_contribution(own), "contribution to decoding any layer, in spreads")
    variance = voxel_explainable_variance(runs)
    if variance is None:
        forget_map(folder / "explainable_variance")
    else:
        write("explainable_variance", variance, "explainable variance of one scan")
    write_table(folder / "voxels.tsv", voxel_table(recording, columns))
    advance(1)
    return maps
