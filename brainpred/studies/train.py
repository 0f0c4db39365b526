"""Train the networks that brainpred ships or that a lab needs for its own movies."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import ConfigError
from brainpred.provenance import provenance
from brainpred.storage import file_fingerprint, make_directory, read_json, write_json

__all__ = ["PredNetTrainingConfig", "find_movies", "score_prednet", "train_prednet"]

MOVIE_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm")


@dataclass(frozen=True)
class PredNetTrainingConfig:
    """Say how to train a PredNet; the defaults are those published, at the small network's size.

    Attributes
    ----------
    size : (height, width)
        Frame size in pixels.
    channels : tuple of int
        Channels a layer.
    loss : {"L0", "Lall"}
        Layers whose error counts.
    n_frames, batch_size, sequences_per_epoch, epochs : int
        Frames a sequence, sequences a step, and how many of them.
    synthetic_s : float
        Seconds of synthesised movie added to the movies given.
    precision : str
        Lightning's precision, such as ``"32-true"`` or ``"bf16-mixed"``.
    seed : int
        Seed of weights, synthesis and augmentation.
    """

    size: tuple[int, int] = (64, 80)
    channels: tuple[int, ...] = (3, 16, 32, 64)
    loss: str = "L0"
    n_frames: int = 10
    batch_size: int = 4
    sequences_per_epoch: int = 500
    epochs: int = 150
    synthetic_s: float = 300.0
    precision: str = "32-true"
    seed: int = 0


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
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in MOVIE_SUFFIXES) if path.is_dir() else [path]
        if not path.exists() or not inside:
            raise ConfigError(f"No movie at {path}. Expected a file or folder with {', '.join(MOVIE_SUFFIXES)}.")
        found += inside
    return found


def _load(movies: Sequence[Path], size: tuple[int, int], margin: float) -> list[NDArray[np.uint8]]:
    from brainpred.movies.video import read_video

    larger = (round(size[0] * margin), round(size[1] * margin))
    return [read_video(path, larger)[0] for path in movies]


def train_prednet(
    movies: Sequence[Path | str],
    out: Path | str,
    config: PredNetTrainingConfig | None = None,
    *,
    hold_out: Sequence[str] = (),
    quiet: bool = False,
) -> Path:
    """Train a PredNet on movies and synthesised ones; resume where a run before was stopped.

    Parameters
    ----------
    movies : sequence of Path or str
        Movie files or folders of them.
    out : Path or str
        Folder for checkpoints, logs, weights and scores.
    config : PredNetTrainingConfig, optional
        How to train.
    hold_out : sequence of str
        File names of movies kept for validation (whole clips); at least one.
    quiet : bool
        Whether to show no progress.

    Returns
    -------
    Path
        The safetensors file of the best epoch on the held-out clips.

    Raises
    ------
    ConfigError
        If no clip is held out, or a name to hold out is not among the movies.
    """
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader

    from brainpred.models.prednet import PredNet
    from brainpred.models.prednet_weights import save_prednet
    from brainpred.movies.synthesis import synthesise_movie
    from brainpred.training.prednet import PredNetTraining
    from brainpred.training.sequences import MARGIN, TrainingSequences, WholeSequences

    settings = config or PredNetTrainingConfig()
    files = find_movies(movies)
    held = [path for path in files if path.name in hold_out]
    missing = set(hold_out) - {path.name for path in held}
    if missing or not held:
        raise ConfigError(
            f"Cannot hold out {', '.join(missing) or 'nothing'}: name at least one of the movies found, "
            f"{', '.join(path.name for path in files)}."
        )
    out = make_directory(out)
    _check_same_training(
        out,
        {
            **asdict(settings),
            "movies": {path.name: file_fingerprint(path) for path in files},
            "hold_out": sorted(hold_out),
        },
    )
    rng = np.random.default_rng(settings.seed)
    larger = (round(settings.size[0] * MARGIN), round(settings.size[1] * MARGIN))
    clips = _load([path for path in files if path not in held], settings.size, MARGIN)
    clips += [
        synthesise_movie(min(60.0, settings.synthetic_s), rng, size=larger)
        for _ in range(int(np.ceil(settings.synthetic_s / 60)))
    ]
    validation = WholeSequences(_load(held, settings.size, 1.0), settings.n_frames)

    class _Data(lightning.LightningDataModule):
        def train_dataloader(self) -> DataLoader:
            epoch = self.trainer.current_epoch if self.trainer else 0
            sequences = TrainingSequences(
                clips, settings.size, settings.n_frames, settings.sequences_per_epoch, seed=settings.seed, epoch=epoch
            )
            return DataLoader(sequences, batch_size=settings.batch_size)

        def val_dataloader(self) -> DataLoader:
            return DataLoader(validation, batch_size=settings.batch_size)

    lightning.seed_everything(settings.seed, verbose=False)
    training = PredNetTraining(PredNet(settings.channels), settings.loss, drop_epoch=settings.epochs // 2)
    best = ModelCheckpoint(
        out / "checkpoints", monitor="mse_predicted", save_last=True, filename="best", enable_version_counter=False
    )
    trainer = lightning.Trainer(
        max_epochs=settings.epochs,
        accelerator="auto",
        devices=1,
        precision=settings.precision,  # type: ignore[arg-type]
        callbacks=[best],
        logger=CSVLogger(out, name="log"),
        enable_progress_bar=not quiet,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    last = out / "checkpoints" / "last.ckpt"
    trainer.fit(training, datamodule=_Data(), ckpt_path=last if last.exists() else None, weights_only=False)
    import torch

    state = torch.load(best.best_model_path, weights_only=False)["state_dict"]
    training.load_state_dict(state)
    weights = out / "prednet.safetensors"
    save_prednet(training.network, weights, settings.size)
    write_json(out / "scores.json", score_prednet(weights, held, settings.size, settings.n_frames))
    return weights


def _check_same_training(out: Path, wanted: dict[str, Any]) -> None:
    """Write what a training is about to do; refuse to go on with one that did something else."""
    path = out / "train.json"
    wanted = json.loads(json.dumps(wanted))
    if path.is_file() and (saved := read_json(path)["settings"]) != wanted:
        other = [name for name in wanted if saved.get(name) != wanted[name]]
        raise ConfigError(
            f"{out} holds a training with other {', '.join(other)}; to go on with it, give the same options. "
            "To train anew, choose another --out."
        )
    if not path.is_file():
        write_json(path, {"settings": wanted, "provenance": provenance()})


def score_prednet(
    weights: str | Path, movies: Sequence[Path | str], size: tuple[int, int], n_frames: int = 10
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

    Returns
    -------
    dict of str to dict of str to float
        For each file name: ``n_sequences``, mean squared errors ``mse_predicted`` and ``mse_copied``, and ``ratio``.
    """
    import torch

    from brainpred.models.prednet_weights import load_prednet
    from brainpred.training.sequences import WholeSequences

    network = load_prednet(weights)
    scores = {}
    for path in map(Path, movies):
        sequences = WholeSequences(_load([path], size, 1.0), n_frames)
        errors = []
        with torch.inference_mode():
            for index in range(len(sequences)):
                frames = sequences[index][None]
                predicted = network(frames)[:, 1:]
                errors.append(
                    [float(torch.mean((guess - frames[:, 1:]) ** 2)) for guess in (predicted, frames[:, :-1])]
                )
        predicted_mse, copied_mse = np.mean(errors, axis=0)
        scores[path.name] = {
            "n_sequences": len(errors),
            "mse_predicted": float(predicted_mse),
            "mse_copied": float(copied_mse),
            "ratio": float(predicted_mse / copied_mse),
        }
    return scores
