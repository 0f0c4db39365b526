"""Reconstruct what a subject saw: pictures of decoded layers, as movie, film strip, frames and scores."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice, tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.decoding.result import open_result, saved_key
from brainpred.devices import resolve_device
from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import load_prednet, read_frame_size, weights_fingerprint
from brainpred.movies.video import frame_times, iterate_frames, probe_video, write_video
from brainpred.numerics.timing import frame_scans, hold_scans
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.reconstruction.bridged import bridge_pictures
from brainpred.reconstruction.controls import COMPUTED, Arm, ClipRepresentations, PictureGenerator, make_arms
from brainpred.reconstruction.film import film_strip, labelled_frames, save_picture
from brainpred.reconstruction.frames import Clip, FrameWriter, reconstruction_name, strip_moments
from brainpred.reconstruction.scoring import METRICS, ClipScorer, ClipScores, score_table
from brainpred.reconstruction.swap import generate_pictures, layer_numbers
from brainpred.reconstruction.tables import KEYS, merge_scores, read_scores, write_frame_scores
from brainpred.reconstruction.units import SwapUnits, open_units
from brainpred.recordings.manifest import load_manifest
from brainpred.recordings.readers import check_subject, load_recording
from brainpred.recordings.recording import Recording
from brainpred.reporting.page import write_report
from brainpred.storage import file_fingerprint, fingerprint, make_directory, read_json, write_json
from brainpred.studies.decode import default_folder
from brainpred.studies.frame_bridge import learn_frame_bridge, load_frame_vae
from brainpred.studies.reconstruct_settings import ReconstructConfig, check_config

__all__ = ["reconstruct_subject"]

# What is shown side by side in the movie, and row by row in the film strip; all are scored.
LABELS = {
    "stimulus": "stimulus",
    "prediction": "PredNet's prediction",
    "true": "true {}",
    "decoded": "decoded {}",
    "shifted": "decoded {}, other time",
    "mean": "mean {}",
    "leak": "mean {}, stimulus drives",
    "wrong": "true {}, other movie",
}
QUALITY = 22  # of the movie, H.264's constant rate factor: a film of 100 s fits into the report
PANELS = ("stimulus", "prediction", "true", "decoded", "mean", "leak")
VERSION = 4  # raise it when the same decoded units and settings give other pictures or scores


@dataclass(frozen=True)
class _Job:
    """Hold what all reconstructions of one call share."""

    config: ReconstructConfig
    folder: Path
    network: PredNet
    weights: str
    size: tuple[int, int]
    recording: Recording
    keys: dict[str, str]
    reporter: Reporter

    def name(self, layers: Sequence[str]) -> str:
        """Name the files of one reconstruction."""
        return reconstruction_name("+".join(layers), asdict(self.config))

    def key(self, layers: Sequence[str]) -> str:
        """Fingerprint all that one reconstruction depends on."""
        settings = {name: value for name, value in asdict(self.config).items() if name not in ("layers", "each")}
        settings["device"] = str(next(self.network.parameters()).device)
        if self.config.vae:
            settings["vae"] = file_fingerprint(self.config.vae)
        return fingerprint(decoded=[self.keys[layer] for layer in layers], version=VERSION, **settings)


def _read_settings(folder: Path, config: ReconstructConfig) -> tuple[dict[str, Any], PredNet]:
    """Read how the subject was decoded, with which network, and check that all that is needed is there."""
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
    network = load_prednet(weights)
    layer_numbers(config.layers, network)  # names are wrong before they are missing
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
    return settings, network


def reconstruct_subject(
    config: ReconstructConfig,
    out: Path | str | None = None,
    *,
    data: Path | str | None = None,
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """Generate movies from decoded representations, beside controls that tell what the brain contributed.

    Pictures come from PredNet, into which representations are swapped, or through a latent bridge. The controls are
    listed in :data:`brainpred.reconstruction.controls.EXPLANATIONS`. A reconstruction that is in ``out`` already, from
    the same decoded units and settings, is not computed again.

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
        Scores, a row a picture and metric; see :func:`brainpred.reconstruction.scoring.score_table`.

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
    check_config(config)
    config = replace(config, layers=tuple(sorted(config.layers)))  # the order changes nothing
    folder = Path(out or default_folder(config.dataset, config.subject))
    settings, network = _read_settings(folder, config)
    if (folder / "reconstruction.tsv").is_file():
        read_scores(folder / "reconstruction.tsv")  # what cannot be added to is told before anything is computed
    make_directory(folder)
    network = network.to(device)
    numbers = dict(zip(config.layers, layer_numbers(config.layers, network), strict=True))
    recording = load_recording(config.dataset, config.subject, data)
    recording = recording.without_dummies(settings.get("cleaning", {}).get("dummy_scans", 0))
    weights = settings["features"]["weights"]
    size = read_frame_size(weights)
    if config.vae:
        load_frame_vae(config.vae, size)
    job = _Job(config, folder, network, weights, size, recording, settings["keys"], reporter)
    sets = [(layer,) for layer in config.layers] if config.each else [config.layers]
    if config.drive == "stimulus" and any("R0" in layers for layers in sets):
        reporter.say("Note: where R0 is swapped, the picture depends on R0 alone, and the drive changes nothing.")
    tables = []
    for layers in sets:
        tables.append(_saved_table(job, layers))
        if tables[-1] is None:
            tables[-1] = _reconstruct(job, {numbers[layer]: layer for layer in layers})
    if config.each:
        _write_figure(job)
    write_report(folder, reporter)
    return pd.concat(tables, ignore_index=True)


def _saved_table(job: _Job, layers: Sequence[str]) -> pd.DataFrame | None:
    """Give the scores of a reconstruction that is complete in the folder; None where there is none."""
    name = job.name(layers)
    path, table = job.folder / f"reconstruct_{name}.json", job.folder / "reconstruction.tsv"
    files = [job.folder / f"reconstruction_{name}{suffix}" for suffix in (".h5", ".mp4", "_frames.tsv")]
    files += [job.folder / f"filmstrip_{name}.png"]
    if not all(file.is_file() for file in (path, table, *files)) or read_json(path).get("key") != job.key(layers):
        return None
    rows = read_scores(table)
    wanted = _settings_columns(job, layers)
    rows = rows[(rows[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    n_rows = len(METRICS) * len({arm.name for arm in _arms(job.config)})
    if len(rows) != n_rows:  # the table was cut short
        return None
    job.reporter.say(
        f"{name} is there already, from the same decoded units and settings; delete {path} to do it again."
    )
    return rows.reset_index(drop=True)


def _arms(config: ReconstructConfig) -> list[Arm]:
    """List all that is generated, scored and shown."""
    arms = make_arms(config.drive, config.n_shifts, leak=config.through == "swap")
    return arms + [Arm(name, "") for name in COMPUTED]


def _settings_columns(job: _Job, layers: Sequence[str]) -> dict[str, str]:
    return {"layers": "+".join(layers), **{name: getattr(job.config, name) for name in KEYS[1:]}}


def _find_clips(recording: Recording, labels: NDArray[np.str_]) -> list[Clip]:
    """Tell which frames of each clip fall into decoded scans."""
    clips: list[Clip] = []
    for name in dict.fromkeys(labels.tolist()):
        rows = np.flatnonzero(labels == name)
        times_s = frame_times(recording.stimuli[name])
        scans = frame_scans(times_s, recording.tr_s)
        inside = scans < len(rows)
        begins_s = clips[-1].begins_s + clips[-1].n_scans * recording.tr_s if clips else 0.0
        clips.append(Clip(name, int(rows[0]), len(rows), begins_s, times_s[inside], scans[inside]))
    return clips


def _reconstruct(job: _Job, layers: dict[int, str]) -> pd.DataFrame:
    """Generate, score and write one reconstruction."""
    config, names = job.config, list(layers.values())
    arms = _arms(config)
    stem = f"reconstruction_{job.name(names)}"
    (job.folder / f"reconstruct_{job.name(names)}.json").unlink(missing_ok=True)  # it vouches for what is replaced now
    scores: list[ClipScores] = []
    generate = _generator(job, layers)
    with ExitStack() as stack:
        units = {}
        for number, layer in layers.items():
            file = stack.enter_context(open_result(job.folder / f"decoded_{layer}.h5"))
            units[number] = stack.enter_context(open_units(file, config.runs, config.variance, scratch=job.folder))
        clips = _find_clips(job.recording, next(iter(units.values())).clips)
        swapped = "+".join(names)
        title = _title(job, swapped)
        # A picture depends on R0 alone where that is swapped: nothing leaks then.
        texts = {name: label.format(swapped) for name, label in LABELS.items() if name != "leak" or "R0" not in names}
        writer = stack.enter_context(
            FrameWriter(job.folder / f"{stem}.h5", clips, [arm.name for arm in arms], PANELS, texts, job.size)
        )
        writer.describe(title=title, simulated=job.recording.simulated, **_settings_columns(job, names))

        def rows() -> Iterator[tuple[list[NDArray[np.uint8]], list[str], str]]:
            for clip in clips:
                with (
                    TemporaryDirectory(prefix=".part-", dir=job.folder) as folder,
                    job.reporter.task(f"Reconstructing {clip.name}", len(clip.times_s)) as advance,
                ):
                    scorer = ClipScorer(arms, clip.scans, clip.times_s, job.recording.tr_s, job.size, Path(folder))
                    for t, (shown, generated) in enumerate(_generate(job, generate, units, arms, clip)):
                        values = scorer.add(torch.from_numpy(shown).to(generated).permute(2, 0, 1) / 255, generated)
                        yield writer.row(clip, t, shown, generated, values)
                        advance(1)
                    with job.reporter.task("Comparing scans", clip.n_scans) as compared:
                        scores.append(scorer.finish(compared))

        times_s = np.concatenate([clip.begins_s + clip.times_s for clip in clips])
        fps = probe_video(job.recording.stimuli[clips[0].name]).fps
        frames = labelled_frames(rows(), writer.panel_labels, title)
        # Two threads encode while pictures are computed.
        write_video(job.folder / f"{stem}.mp4", frames, fps, quality=QUALITY, times_s=times_s, threads=2)
    strip = film_strip(*writer.strip(), title)
    save_picture(job.folder / f"filmstrip_{job.name(names)}.png", strip)
    write_frame_scores(job.folder / f"{stem}_frames.tsv", arms, clips, scores)
    table = score_table(
        scores, [clip.name for clip in clips], arms, job.recording.tr_s, np.random.default_rng(config.seed)
    )
    table = table.assign(**_settings_columns(job, names), data="simulated" if job.recording.simulated else "measured")
    table = table[[*KEYS, "data", *(name for name in table if name not in (*KEYS, "data"))]]
    merge_scores(job.folder / "reconstruction.tsv", table)
    settings = {**asdict(config), "layers": names, "key": job.key(names), "provenance": provenance()}
    write_json(job.folder / f"reconstruct_{job.name(names)}.json", settings)
    return table


def _generator(job: _Job, layers: dict[int, str]) -> PictureGenerator:
    """Give what makes pictures of representations of some layers."""
    if job.config.through == "swap":
        return partial(generate_pictures, job.network)
    bridge = learn_frame_bridge(
        job.recording, layers, prednet=job.weights, size=job.size, vae=job.config.vae, seed=job.config.seed,
        device=job.config.device, reporter=job.reporter,
    )  # fmt: skip
    return partial(bridge_pictures, bridge)


def _generate(
    job: _Job, generate: PictureGenerator, units: dict[int, SwapUnits], arms: Sequence[Arm], clip: Clip
) -> Iterator[tuple[NDArray[np.uint8], Tensor]]:
    """Yield every frame that was shown with the pictures of all arms, (n_arms, 3, height, width)."""
    made = [arm for arm in arms if arm.name not in COMPUTED]
    held = hold_scans(clip.times_s, job.recording.tr_s, clip.n_scans, job.config.hold)
    movie = (frame for _, frame in iterate_frames(job.recording.stimuli[clip.name], job.size))
    shown, *others = tee(islice(movie, len(clip.times_s)), 3)  # one frame is held, since all three go together
    representations = ClipRepresentations(units, made, clip.first, clip.n_scans)
    generated = generate(representations, held, others[0], [arm.drive for arm in made])
    predicted = generate_pictures(job.network, lambda scan: {}, held, others[1], ["stimulus"])
    last: Tensor | None = None
    for frame, pictures, prediction in zip(shown, generated, predicted, strict=True):
        before = torch.full_like(prediction, torch.nan) if last is None else last
        yield frame, torch.cat([pictures.to(prediction), prediction, before])
        last = torch.from_numpy(frame).to(prediction).permute(2, 0, 1)[None] / 255


def _title(job: _Job, swapped: str) -> str:
    config = job.config
    origin = "simulated data" if job.recording.simulated else job.recording.dataset
    runs = "" if config.runs == "test" else ", training data (fitted to them)"
    through = "swapped into PredNet" if config.through == "swap" else "through a latent bridge"
    drive = f"drive {config.drive}, " if config.through == "swap" else ""
    how = f"{drive}hold {config.hold}, spread {config.variance}"
    return f"{config.subject} ({origin}{runs}): {swapped} {through}; {how}"


def _write_figure(job: _Job) -> None:
    """Show stimulus, PredNet's prediction, the picture decoded from each layer alone, and one without a brain."""
    config = job.config
    rows: dict[str, NDArray[np.uint8]] = {}
    blind: dict[str, NDArray[np.uint8]] = {}
    for layer in config.layers:
        with h5py.File(job.folder / f"reconstruction_{job.name([layer])}.h5") as file:
            first = file["clip"][:] == file["clip"][0]
            moments = strip_moments(int(first.sum()))
            times_s = file["time_s"][:][moments]
            for name, label in (("stimulus", "stimulus"), ("prediction", LABELS["prediction"])):
                rows.setdefault(label, file[name][moments])
            rows[f"decoded {layer}"] = file["decoded"][moments]
            blind = {f"mean {layer}: no brain": file["mean"][moments]}
    rows |= blind  # of the last layer: what good pictures are worth
    title = _title(job, "each layer alone")
    save_picture(job.folder / f"figure_{job.name(config.layers)}.png", film_strip(rows, times_s.tolist(), title))
