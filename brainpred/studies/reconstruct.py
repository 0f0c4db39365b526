"""Reconstruct what a subject saw: swap decoded layers into PredNet, write film strip, movie and scores."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.decoding.result import LayerResult, load_result, saved_key
from brainpred.devices import resolve_device
from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet_weights import load_prednet, read_frame_size, weights_fingerprint
from brainpred.movies.video import probe_video, read_video, write_video
from brainpred.numerics.timing import frame_scans
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.reconstruction.film import film_strip, labelled_frames, save_picture
from brainpred.reconstruction.metrics import pixel_correlation, structural_similarity
from brainpred.reconstruction.swap import DRIVES, generate_pictures, layer_numbers
from brainpred.recordings.manifest import load_manifest
from brainpred.recordings.readers import check_subject, load_recording
from brainpred.reporting.page import write_report
from brainpred.storage import atomic_path, make_directory, read_json, write_json
from brainpred.studies.decode import default_folder

__all__ = ["PICTURES", "ReconstructConfig", "reconstruct_subject"]

# Rows of the film strip, the movie and the table: what R_l is replaced by.
PICTURES = {"true": "true {}", "decoded": "decoded {}", "mean": "mean {} (control)"}
STRIP_COLUMNS = 10


@dataclass(frozen=True)
class ReconstructConfig:
    """Say what to reconstruct and how.

    Attributes
    ----------
    subject, dataset : str
        Whose scans.
    layers : tuple of str
        Layers to swap, all at once.
    drive : {"closed-loop", "stimulus"}
        What PredNet's error units see; see :func:`brainpred.reconstruction.swap.generate_pictures`.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    """

    subject: str
    dataset: str = "simulated"
    layers: tuple[str, ...] = ("R0",)
    drive: str = "closed-loop"
    device: str = "auto"


def _load_decoded(folder: Path, config: ReconstructConfig) -> tuple[dict[str, Any], list[LayerResult]]:
    command = (
        f"brainpred decode --subject {config.subject} --dataset {config.dataset} --layers {' '.join(config.layers)}"
    )
    command += f" --out {folder}"
    settings_file = folder / "decode.json"
    if not settings_file.is_file():
        raise DataError(f"{config.dataset}/{config.subject} is not decoded in {folder}. Run first: {command}")
    settings = read_json(settings_file)
    if settings["subject"] != config.subject:
        raise ConfigError(f"{folder} holds results of subject {settings['subject']}, not {config.subject}.")
    if settings["dataset"] != config.dataset:
        raise ConfigError(f"{folder} holds results of data set {settings['dataset']}, not {config.dataset}.")
    if settings["features"]["source"] != "prednet":
        raise DataError(
            f"{folder} holds decoded features of the user's own ({settings['features']['file']}), which cannot be "
            "put into PredNet. Decode a movie data set without --features."
        )
    weights = settings["features"]["weights"]
    if weights_fingerprint(weights) != settings["features"]["weights_sha256"]:
        raise DataError(f"The PredNet weights {weights} have changed since {folder} was decoded. Run again: {command}")
    keys = settings["keys"]
    missing = [
        layer
        for layer in config.layers
        if layer not in keys or saved_key(folder / f"decoded_{layer}.h5") != keys[layer]
    ]
    if missing:
        raise DataError(
            f"{', '.join(missing)} of {config.dataset}/{config.subject} not decoded in {folder}. Run: {command}"
        )
    return settings, [load_result(folder / f"decoded_{layer}.h5") for layer in config.layers]


def reconstruct_subject(
    config: ReconstructConfig,
    out: Path | str | None = None,
    *,
    data: Path | str | None = None,
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """Generate movies from decoded representations, beside those from true and from mean ones.

    Parameters
    ----------
    config : ReconstructConfig
        What to reconstruct and how.
    out : Path or str, optional
        Folder that ``brainpred decode`` wrote to, and that the pictures go to;
        ``results/<dataset>/<subject>`` by default.
    data : Path or str, optional
        Folder that holds one folder a data set.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    DataFrame
        SSIM and pixel r of each row, averaged over frames.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    DataError
        If the subject is not decoded yet, or files cannot be used.
    """
    device = resolve_device(config.device)
    manifest = load_manifest(config.dataset)
    check_subject(manifest, config.subject)
    if config.drive not in DRIVES:
        raise ConfigError(f"Unknown drive {config.drive!r}. Choose one of: {', '.join(DRIVES)}.")
    if not config.layers:
        raise ConfigError("Name at least one layer to swap, such as --layers R0.")
    folder = Path(out or default_folder(config.dataset, config.subject))
    unknown = [layer for layer in config.layers if not re.fullmatch(r"R\d+", layer)]
    if unknown:
        raise ConfigError(f"Only representations can be swapped, not {', '.join(unknown)}: R0, R1, R2, R3.")
    settings, results = _load_decoded(folder, config)
    make_directory(folder)
    weights = str(settings["features"]["weights"])
    network = load_prednet(weights).to(device)
    numbers = layer_numbers(list(config.layers), network)
    if 0 in numbers and config.drive == "stimulus":
        reporter.say("Note: where R0 is swapped, the picture depends on R0 alone, and the drive changes nothing.")
    size = read_frame_size(weights)
    recording = load_recording(config.dataset, config.subject, data)

    name = "+".join(config.layers) + ("" if config.drive == "closed-loop" else f"_{config.drive}")
    origin = "simulated data" if recording.simulated else recording.dataset
    title = f"{config.subject} ({origin}), {' + '.join(config.layers)} swapped into PredNet, drive: {config.drive}"
    labels = ["stimulus", *(label.format("+".join(config.layers)) for label in PICTURES.values())]
    clips = list(dict.fromkeys(results[0].runs.tolist()))
    scores: list[list[tuple[float, float]]] = []
    strips: list[NDArray[np.uint8]] = []
    strip_times: list[float] = []

    def rows() -> Iterator[list[NDArray[np.uint8]]]:
        for clip in clips:
            frames, scans = _clip_frames(
                recording.stimuli[clip], size, int((results[0].runs == clip).sum()), recording.tr_s
            )
            swapped = {number: _representations(result, clip) for number, result in zip(numbers, results, strict=True)}
            moments = np.linspace(0, len(frames) - 1, 2 * STRIP_COLUMNS + 1).round().astype(int)[1::2]
            generated = generate_pictures(network, swapped, scans, size, drive=config.drive, stimulus=frames)
            with reporter.task(f"Reconstructing {clip}", len(frames)) as advance:
                for t, pictures in enumerate(generated):
                    shown = frames[t].astype(np.float32) / 255
                    scores.append(
                        [
                            (structural_similarity(shown, picture), pixel_correlation(shown, picture))
                            for picture in pictures
                        ]
                    )
                    row = [frames[t], *(np.round(pictures * 255).astype(np.uint8))]
                    if t in moments and clip == clips[0]:
                        strips.append(np.stack(row))
                        strip_times.append(float(scans[t] * recording.tr_s))
                    yield row
                    advance(1)

    fps = probe_video(recording.stimuli[clips[0]]).fps
    write_video(folder / f"reconstruction_{name}.mp4", labelled_frames(rows(), labels, title), fps)
    strip = np.stack(strips, axis=1)  # (rows, moments, height, width, 3)
    save_picture(
        folder / f"filmstrip_{name}.png", film_strip(dict(zip(labels, strip, strict=True)), strip_times, title)
    )
    table = _score_table(config, scores, simulated=recording.simulated)
    _merge_table(folder / "reconstruction.tsv", table)
    write_json(folder / f"reconstruct_{name}.json", {**asdict(config), "provenance": provenance()})
    write_report(folder, reporter)
    return table


def _clip_frames(
    movie: Path, size: tuple[int, int], n_scans: int, tr_s: float
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the frames of a clip that fall in decoded scans, with the scan of each."""
    frames, times_s = read_video(movie, size)
    scans = frame_scans(times_s, tr_s)
    return frames[scans < n_scans], scans[scans < n_scans]


def _representations(result: LayerResult, clip: str) -> NDArray[np.float32]:
    """Stack what R_l is replaced by, in the order of PICTURES: (3, n_scans, channels, height, width)."""
    inside = result.runs == clip
    mean = np.broadcast_to(result.mean, result.true[inside].shape)
    return np.stack([result.true[inside], result.decoded[inside], mean]).reshape(3, -1, *result.shape)


def _score_table(
    config: ReconstructConfig, scores: list[list[tuple[float, float]]], *, simulated: bool
) -> pd.DataFrame:
    each = np.asarray(scores)  # (n_frames, rows, 2)
    mean = np.nanmean(each, axis=0)
    return pd.DataFrame(
        {
            "layers": "+".join(config.layers), "drive": config.drive, "data": "simulated" if simulated else "measured",
            "picture": list(PICTURES), "ssim": mean[:, 0], "pixel_r": mean[:, 1], "n_frames": len(each),
        }
    )  # fmt: skip


def _merge_table(path: Path, table: pd.DataFrame) -> None:
    """Add rows to the table on disk, in the place of those for the same layers and drive."""
    keys = ["layers", "drive"]
    if path.is_file():
        before = pd.read_csv(path, sep="\t")
        same = before[keys].apply(tuple, axis=1).isin(table[keys].apply(tuple, axis=1))
        table = pd.concat([before[~same], table], ignore_index=True)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6g", na_rep="n/a")
