"""Train PredNet on movies, score it, and take over the weights that its authors published."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainpred.devices import exact_float32, resolve_device
from brainpred.errors import ConfigError
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.storage import file_fingerprint, make_directory, write_json, write_text

if TYPE_CHECKING:
    import lightning

    from brainpred.models.prednet import PredNet

__all__ = ["PredNetTrainingConfig", "find_movies", "import_keras_prednet", "score_prednet", "train_prednet"]

STARTS = ("published", "copying")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")
CLIP_S = 60.0  # length of a synthesised movie


@dataclass(frozen=True)
class PredNetTrainingConfig:
    """Say how to train a PredNet; the defaults are those published, at the small network's size.

    Attributes
    ----------
    size : (height, width)
        Frame size in pixels.
    channels : tuple of int
        Channels a layer, for a network that starts anew.
    start : str
        ``"published"`` (random weights as in the paper), ``"copying"`` (random, but predicting at first that
        nothing moves) or a file of weights to go on from.
    loss : {"L0", "Lall", "MSE", "relative"}
        Mean error of the lowest layer or of all; the squared error of the prediction, or that relative to copying.
    learning_rate : float
        Adam's highest rate.
    schedule : {"drop", "cosine"}
        A tenth of the rate from half of the epochs on, or a cosine.
    n_frames, batch_size, sequences_per_epoch, epochs : int
        Frames a sequence, sequences a step (on each device), and how many of them.
    margin : float
        How much larger than the frame the movies are kept; crops of all sizes between are trained on.
    synthetic_s : float
        Seconds of synthesised movie added to the movies given.
    precision : str
        Lightning's precision, such as ``"32-true"`` or ``"bf16-mixed"``.
    seed : int
        Seed of weights, synthesis and augmentation.
    """

    size: tuple[int, int] = (64, 80)
    channels: tuple[int, ...] = (3, 32, 48, 48)
    start: str = "published"
    loss: str = "L0"
    learning_rate: float = 1e-3
    schedule: str = "drop"
    n_frames: int = 10
    batch_size: int = 4
    sequences_per_epoch: int = 500
    epochs: int = 150
    margin: float = 2.0
    synthetic_s: float = 300.0
    precision: str = "32-true"
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`ConfigError` unless every number can be used."""
        least = {"n_frames": 2, "batch_size": 1, "sequences_per_epoch": 1, "epochs": 1, "synthetic_s": 0, "margin": 1}
        least["learning_rate"] = 0
        for name, smallest in least.items():
            if not getattr(self, name) >= smallest:
                raise ConfigError(f"{name} must be {smallest} or more, received {getattr(self, name)}.")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"Unknown precision {self.precision!r}. Choose one of: {', '.join(PRECISIONS)}.")


def find_movies(paths: Sequence[Path | str]) -> list[Path]:
    """List movie files, looking inside folders.

    Parameters
    ----------
    paths : sequence of Path or str
        Files and folders.

    Returns
    -------
    list of Path
        Movie files, sorted.

    Raises
    ------
    ConfigError
        If a path does not exist or a folder holds no movie.
    """
    from brainpred.movies.video import VIDEO_SUFFIXES

    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES) if path.is_dir() else [path]
        if not path.exists() or not inside:
            raise ConfigError(f"No movie at {path}. Expected a file or folder with {', '.join(VIDEO_SUFFIXES)}.")
        found += inside
    return found


def _load(movies: Sequence[Path], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    from brainpred.movies.video import read_video

    return [read_video(path, size)[0] for path in movies]


def train_prednet(
    movies: Sequence[Path | str],
    out: Path | str,
    config: PredNetTrainingConfig | None = None,
    *,
    hold_out: Sequence[str] = (),
    device: str = "auto",
    devices: int | str = "auto",
    reporter: Reporter = SILENT,
) -> Path:
    """Train a PredNet on movies and synthesised ones; resume where a run before was stopped.

    Parameters
    ----------
    movies : sequence of Path or str
        Movie files or folders of them.
    out : Path or str
        Folder for weights (``prednet.safetensors``), their model card (``prednet.md``), ``scores.json``, the
        learning curve (``curve.csv``, TensorBoard) and checkpoints.
    config : PredNetTrainingConfig, optional
        How to train.
    hold_out : sequence of str
        File names of movies kept for validation (whole clips); at least one.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    devices : int or "auto"
        How many GPUs; all by default.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        The safetensors file of the best epoch on the held-out clips.

    Raises
    ------
    ConfigError
        If no clip is held out, a name to hold out is not among the movies, or ``out`` holds another training.
    """
    import lightning

    from brainpred.models.prednet_weights import save_prednet, weights_fingerprint
    from brainpred.training.prednet import PredNetTraining
    from brainpred.training.run import claim_folder, fit

    settings = config or PredNetTrainingConfig()
    settings.check()
    files = sorted(find_movies(movies), key=lambda path: path.name)
    names = [path.name for path in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"Movies are told apart by their names; several are called {', '.join(twice)}. Rename them.")
    hold_out = [Path(name).name for name in hold_out]
    held = [path for path in files if path.name in hold_out]
    missing = set(hold_out) - {path.name for path in held}
    if missing or not held:
        raise ConfigError(
            f"Cannot hold out {', '.join(missing) or 'nothing'}: name at least one of the movies found, "
            f"{', '.join(path.name for path in files)}."
        )
    fingerprints = {path.name: file_fingerprint(path) for path in files}
    held_prints = {fingerprints[path.name] for path in held}
    if copies := [path.name for path in files if path not in held and fingerprints[path.name] in held_prints]:
        raise ConfigError(f"Held-out movies are among those to train on under other names: {', '.join(copies)}.")
    out = make_directory(out)
    lightning.seed_everything(settings.seed, verbose=False)
    network = _starting_network(settings)
    training = PredNetTraining(network, settings.loss, settings.learning_rate, settings.schedule)
    wanted = {**asdict(settings), "movies": fingerprints, "hold_out": sorted(hold_out), "devices": devices}
    if settings.start not in STARTS:
        wanted |= {"start": weights_fingerprint(settings.start), "channels": network.channels}
    claim_folder(out, wanted)
    data = _sequences(
        [path for path in files if path not in held], held, settings, resolve_device(device).type == "cuda"
    )
    if len(held) == len(files):
        reporter.say("Every movie is held out: training on synthesised movie alone.")
    writes = fit(
        training,
        data,
        out,
        epochs=settings.epochs,
        monitor="mse_predicted",
        precision=settings.precision,
        device=device,
        devices=devices,
        description=f"PredNet, {settings.epochs} epochs",
        reporter=reporter,
    )
    weights = out / "prednet.safetensors"
    if writes:
        save_prednet(training.network, weights, settings.size)
        scores = score_prednet(weights, held, settings.size, settings.n_frames, device=device)
        write_json(out / "scores.json", scores)
        for name, score in scores.items():
            advice = " Copying the last frame predicts better." if score["ratio"] >= 1 else ""
            reporter.say(f"{name}: squared error {score['ratio']:.2f} times that of copying the last frame.{advice}")
        write_text(out / "prednet.md", _card(network, settings, fingerprints, hold_out, scores))
    return weights


def import_keras_prednet(path: Path | str, out: Path | str, size: tuple[int, int] = (128, 160)) -> Path:
    """Turn the weights that the authors of PredNet published into a safetensors file.

    Parameters
    ----------
    path : Path or str
        Keras HDF5 file, as :func:`brainpred.models.prednet_keras.load_keras_prednet` reads it.
    out : Path or str
        Folder to write ``prednet_imported.safetensors`` into.
    size : (height, width)
        Frame size in pixels that they were trained on.

    Returns
    -------
    Path
        The file written.
    """
    from brainpred.models.prednet_keras import load_keras_prednet
    from brainpred.models.prednet_weights import save_prednet

    network = load_keras_prednet(path)
    network.check_frame_size(*size)
    weights = make_directory(out) / "prednet_imported.safetensors"
    save_prednet(network, weights, size)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    card = f"""# PredNet {network.channels}, {size[0]}x{size[1]} pixels

{n_parameters:,} parameters, float32. Imported from the Keras file `{Path(path).name}` (SHA-256 begins with
{file_fingerprint(path)}). Trained by its authors; their licence and citation apply: Lotter, Kreiman and Cox, "Deep
predictive coding networks for video prediction and unsupervised learning", ICLR 2017.
"""
    write_text(weights.with_suffix(".md"), card)
    return weights


def _starting_network(settings: PredNetTrainingConfig) -> PredNet:
    from brainpred.models.prednet import PredNet
    from brainpred.models.prednet_weights import load_prednet
    from brainpred.training.prednet import start_by_copying

    network = (
        PredNet(settings.channels)
        if settings.start in STARTS
        else load_prednet(settings.start).train().requires_grad_()
    )
    network.check_frame_size(*settings.size)
    if settings.start == "copying":
        start_by_copying(network)
    return network


def _sequences(
    train: Sequence[Path], held: Sequence[Path], settings: PredNetTrainingConfig, on_gpu: bool
) -> lightning.LightningDataModule:
    """Read and synthesise the movies; give batches of sequences of them."""
    import lightning
    from torch.utils.data import DataLoader

    from brainpred.movies.synthesis import synthesise_movie
    from brainpred.training.sequences import TrainingSequences, WholeSequences

    rng = np.random.default_rng(settings.seed)
    larger = (round(settings.size[0] * settings.margin), round(settings.size[1] * settings.margin))
    clips = _load(train, larger)
    for begin_s in np.arange(0, settings.synthetic_s, CLIP_S):
        clips.append(synthesise_movie(min(CLIP_S, settings.synthetic_s - begin_s), rng, size=larger))
    sequences = TrainingSequences(
        clips, settings.size, settings.n_frames, settings.sequences_per_epoch, seed=settings.seed
    )
    validation = WholeSequences(_load(held, settings.size), settings.n_frames)

    class Data(lightning.LightningDataModule):
        def train_dataloader(self) -> DataLoader:
            sequences.epoch = self.trainer.current_epoch if self.trainer else 0
            # A GPU would wait for one process to read and augment.
            n_workers = min(8, os.cpu_count() or 1) if on_gpu else 0
            return DataLoader(sequences, batch_size=settings.batch_size, num_workers=n_workers)

        def val_dataloader(self) -> DataLoader:
            return DataLoader(validation, batch_size=settings.batch_size)

    return Data()


def score_prednet(
    weights: str | Path,
    movies: Sequence[Path | str],
    size: tuple[int, int],
    n_frames: int = 10,
    *,
    device: str = "auto",
) -> dict[str, dict[str, float]]:
    """Compare next-frame prediction with copying the last frame, clip by clip.

    Sequences of ``n_frames`` without a cut are predicted from frame 1 on.

    Parameters
    ----------
    weights : str or Path
        PredNet weights.
    movies : sequence of Path or str
        Clips.
    size : (height, width)
        Frame size in pixels.
    n_frames : int
        Frames a sequence.
    device : {"auto", "cpu", "cuda"}
        Where to compute.

    Returns
    -------
    dict of str to dict of str to float
        For each file name: ``n_sequences``; mean squared errors ``mse_predicted`` and ``mse_copied`` of pixels
        in [0, 1] and their ``ratio``; structural similarities ``ssim_predicted`` and ``ssim_copied``.
    """
    import torch

    from brainpred.models.prednet_weights import load_prednet
    from brainpred.reconstruction.metrics import structural_similarity
    from brainpred.training.sequences import WholeSequences

    place = resolve_device(device)
    network = load_prednet(weights).to(place)
    scores = {}
    for path in map(Path, movies):
        sequences = WholeSequences(_load([path], size), n_frames)
        rows = []
        for index in range(len(sequences)):
            frames = sequences[index][None]
            with torch.inference_mode(), exact_float32():
                guesses = (network(frames.to(place))[0, 1:].cpu(), frames[0, :-1])
            shown = frames[0, 1:]
            mse = [float(torch.mean((guess - shown) ** 2)) for guess in guesses]
            ssim = [float(structural_similarity(shown, guess).mean()) for guess in guesses]
            rows.append(mse + ssim)
        mse_predicted, mse_copied, ssim_predicted, ssim_copied = (float(value) for value in np.mean(rows, axis=0))
        scores[path.name] = {
            "n_sequences": len(rows),
            "mse_predicted": mse_predicted,
            "mse_copied": mse_copied,
            "ratio": mse_predicted / mse_copied if mse_copied else float("nan"),
            "ssim_predicted": ssim_predicted,
            "ssim_copied": ssim_copied,
        }
    return scores


def _card(
    network: PredNet,
    settings: PredNetTrainingConfig,
    movies: Mapping[str, str],
    hold_out: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
) -> str:
    """Describe trained weights, in Markdown, for those who will use them."""
    used = {**asdict(settings), "channels": network.channels}
    options = "\n".join(f"| {name} | {value} |" for name, value in used.items())
    data = "\n".join(
        f"| {name} | {'held out' if name in hold_out else 'trained on'} | {key} |" for name, key in movies.items()
    )
    rows = "\n".join(
        f"| {name} | {row['n_sequences']:.0f} | {row['mse_predicted']:.2e} | {row['mse_copied']:.2e} | "
        f"{row['ratio']:.2f} | {row['ssim_predicted']:.3f} | {row['ssim_copied']:.3f} |"
        for name, row in scores.items()
    )
    version = provenance()["versions"]["brainpred"]
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    return f"""# PredNet {network.channels}, {settings.size[0]}x{settings.size[1]} pixels

{n_parameters:,} parameters, float32. Written by `brainpred train prednet` (version {version}).
Licence: to be stated by whoever gives these weights away; the movies' licences apply.

## Settings

| setting | value |
|---|---|
{options}

## Movies

{settings.synthetic_s:g} s of synthesised movie, and:

| file | use | SHA-256, first digits |
|---|---|---|
{data}

## Scores

Next-frame prediction on the held-out clips, which also chose the epoch: sequences of {settings.n_frames} frames
without a cut, all frames but the first.

| clip | sequences | MSE predicted | MSE copied | ratio | SSIM predicted | SSIM copied |
|---|---|---|---|---|---|---|
{rows}
"""
