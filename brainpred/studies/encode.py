"""Encode a subject: predict every voxel from the features of the movies; scores, maps and tables."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainpred.decoding.decoder import DEFAULT_DELAYS_S
from brainpred.decoding.encoding import EncodingResult, encode_voxels, encoding_table, voxel_table
from brainpred.decoding.layer_shares import layer_shares, share_table
from brainpred.decoding.splits import split_runs
from brainpred.errors import BrainpredError, ConfigError
from brainpred.numerics.ridge.delays import delays_in_samples
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.reporting.page import write_report
from brainpred.storage import output_folder, read_json, write_json, write_table
from brainpred.studies.decode import default_folder
from brainpred.studies.inputs import Inputs, check_wanted, read_inputs
from brainpred.studies.outputs import tell_chance, write_map

__all__ = ["EncodeConfig", "encode_subject"]


@dataclass(frozen=True)
class EncodeConfig:
    """Say what to encode and how.

    Attributes
    ----------
    subject, dataset : str
        Whose scans.
    layers : tuple of str
        Layers of features to predict from, each a band; empty: PredNet's and all baselines, or all of ``features``.
    delays_s : tuple of float
        How many seconds before the BOLD signal the features are read.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    precision : {"auto", "float64", "float32", "bfloat16"}
        What voxels are multiplied in while they are scored.
    memory_budget : str or None
        Memory to work in, such as ``"8 GB"``; None: four fifths of what is free.
    seed : int
        Seed of the permutations and of the audit.
    features : str or None
        File of features to predict from; None: PredNet's, from the movies of the data set.
    weights : str
        PredNet, by shipped name or file.
    n_permutations : int
        Permutations of blocks of time that tell what chance gives.
    dummy_scans, high_pass_s, confounds, percent_signal_change : int, float, str, bool or None
        How scans are cleaned, where it is not as the manifest says; see
        :meth:`brainpred.recordings.cleaning.Cleaning.of_manifest`.
    """

    subject: str
    dataset: str = "simulated"
    layers: tuple[str, ...] = ()
    delays_s: tuple[float, ...] = DEFAULT_DELAYS_S
    device: str = "auto"
    precision: str = "auto"
    memory_budget: str | None = None
    seed: int = 0
    features: str | None = None
    weights: str = "small"
    n_permutations: int = 100_000
    dummy_scans: int | None = None
    high_pass_s: float | None = None
    confounds: str | None = None
    percent_signal_change: bool | None = None


def encode_subject(
    config: EncodeConfig, out: Path | str | None = None, *, data: Path | str | None = None, reporter: Reporter = SILENT
) -> EncodingResult:
    """Predict every voxel of a subject from features, and write scores, maps and tables.

    The report is made again where the folder holds decoded layers.

    Parameters
    ----------
    config : EncodeConfig
        What to encode and how.
    out : Path or str, optional
        Folder for results; ``results/<dataset>/<subject>`` by default.
    data : Path or str, optional
        Folder that holds one folder a data set.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    EncodingResult
        Scores of every voxel.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    DataError
        If scans, movies or features cannot be used.
    """
    check_wanted(config)
    with output_folder(out or default_folder(config.dataset, config.subject)) as folder:
        return _encode_into(folder, config, data, reporter)


def _check_decoding(folder: Path, data_key: str) -> None:
    """Refuse a folder whose decoded layers are of other data: the report would show both as one."""
    settings = folder / "decode.json"
    if settings.is_file() and read_json(settings).get("data_key") != data_key:
        raise ConfigError(
            f"{folder} holds layers decoded from other scans, with other features or other cleaning. Name another "
            "folder with --out, or run brainpred decode with the same settings first."
        )


def _encode_into(folder: Path, config: EncodeConfig, data: Path | str | None, reporter: Reporter) -> EncodingResult:
    began = time.monotonic()
    inputs = read_inputs(config, data, reporter)
    recording, source, layers = inputs.recording, inputs.source, inputs.layers
    _check_decoding(folder, inputs.key)

    def make_ridge(**settings: Any) -> BandedRidgeCV:
        return BandedRidgeCV(
            delays_s=config.delays_s, tr_s=recording.tr_s, device=config.device, precision=config.precision,
            memory_budget=config.memory_budget, random_state=config.seed, **settings,
        )  # fmt: skip

    result = encode_voxels(
        split_runs(inputs.runs, source, recording.tr_s), layers, source, recording.rois, make_ridge,
        n_permutations=config.n_permutations, seed=config.seed, reporter=reporter,
    )  # fmt: skip
    tell_chance(result.block_length, result.wanted_length, result.n_blocks, config.n_permutations, reporter)
    simulated = recording.simulated
    write_table(folder / "encoding.tsv", encoding_table(result, recording.rois, simulated=simulated))
    write_table(folder / "encoding_layers.tsv", share_table(recording.rois, layers, {}, simulated=simulated))
    write_table(folder / "encoding_voxels.tsv", voxel_table(result, recording.rois, simulated=simulated))
    values: Mapping[str, Any] = {"r": result.r, "q": result.q, "r2": result.r2} | {
        f"r2_{band}": part for band, part in zip(result.bands, result.band_r2, strict=True)
    }
    maps = {
        f"encoding_{name}": write_map(folder / f"encoding_{name}", recording, value, f"encoding, {name}")
        for name, value in values.items()
    }
    write_json(
        folder / "encode.json",
        {
            **asdict(config), "layers": layers, "simulated": simulated, "tr_s": recording.tr_s,
            "n_voxels": recording.n_voxels, "cleaning": inputs.cleaning.settings, "maps": maps, "data_key": inputs.key,
            "n_units": {layer: list(source.shapes[layer]) for layer in layers},
            "delays_scans": delays_in_samples(config.delays_s, recording.tr_s), "n_scans": result.n_scans,
            "block_scans": result.block_length, "block_scans_wanted": result.wanted_length,
            "n_blocks": result.n_blocks, "provenance": provenance(),
            "seconds": round(time.monotonic() - began, 1),
            "notes": recording.notes,
        },
    )  # fmt: skip
    _add_shares(folder, config, inputs, reporter)
    if (folder / "decode.json").is_file():
        write_report(folder, reporter)
    return result


def _add_shares(folder: Path, config: EncodeConfig, inputs: Inputs, reporter: Reporter) -> None:
    """Write the shares of layers, if they can be told: the encoding, which is written already, does without."""
    recording = inputs.recording
    try:
        shares = layer_shares(
            inputs.runs, inputs.layers, inputs.source, recording.rois, recording.tr_s, simulated=recording.simulated,
            memory_budget=config.memory_budget, reporter=reporter,
        )  # fmt: skip
    except (BrainpredError, MemoryError, np.linalg.LinAlgError) as error:
        reporter.say(f"Note: the shares of layers (encoding_layers.tsv) are left out. {error}")
    else:
        write_table(folder / "encoding_layers.tsv", shares)
