"""Commands that train networks."""

import os
from pathlib import Path
from typing import Annotated

import typer

from brainpred.cli.options import Data, Device, Mnist, Quiet, Seed, parse_size, reporter

__all__ = ["app"]

app = typer.Typer(help="Train networks.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train networks."""


@app.command()
def prednet(
    movies: Annotated[list[Path] | None, typer.Option(help="Movie files or folders of them.")] = None,
    hold_out: Annotated[list[str] | None, typer.Option(help="File names of movies kept for validation.")] = None,
    import_keras: Annotated[
        Path | None,
        typer.Option(help="The authors' weights (Keras HDF5): turned into brainpred's, and with --movies trained on."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for weights, checkpoints and logs.")] = Path("results/prednet"),
    size: Annotated[
        str | None, typer.Option(help="Frame size HEIGHTxWIDTH (default: 64x80; 128x160 with --import-keras).")
    ] = None,
    channels: Annotated[str, typer.Option(help="Channels a layer, of a network that starts anew.")] = "3,32,48,48",
    start: Annotated[
        str,
        typer.Option(help="published (random weights), copying (random, but predicts no change), or a weights file."),
    ] = "published",
    loss: Annotated[
        str,
        typer.Option(
            help="L0 or Lall (mean error of the lowest layer or all), MSE (squared error), relative (to copying)."
        ),
    ] = "L0",
    learning_rate: Annotated[float, typer.Option(help="Adam's highest rate.")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="drop (a tenth from half of the epochs on) or cosine.")] = "drop",
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 150,
    sequences: Annotated[int, typer.Option(help="Sequences an epoch.")] = 500,
    batch_size: Annotated[int, typer.Option(help="Sequences a step.")] = 4,
    margin: Annotated[float, typer.Option(help="How much larger than the frame movies are kept, to crop from.")] = 2.0,
    synthetic_s: Annotated[float, typer.Option(help="Seconds of synthesised movie to add.")] = 300.0,
    precision: Annotated[
        str, typer.Option(help="Lightning's precision: 32-true, bf16-mixed, 16-mixed or 64-true.")
    ] = "32-true",
    device: Device = "auto",
    devices: Annotated[
        str, typer.Option(help="How many GPUs (or processes on a CPU): auto (all GPUs) or a number.")
    ] = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a PredNet on movies; run it again to go on where it was stopped."""
    from brainpred.errors import ConfigError
    from brainpred.studies.train_prednet import PredNetTrainingConfig, import_keras_prednet, train_prednet

    default_size = (128, 160) if import_keras else (64, 80)
    if import_keras and start != "published":
        raise ConfigError("--import-keras and --start both say which weights to begin with; give one of them.")
    if import_keras:
        start = str(import_keras_prednet(import_keras, out, parse_size(size) or default_size))
        typer.echo(f"Weights: {start}")
        if not movies:
            return
    if not movies or not hold_out:
        raise ConfigError("Name the movies to train on with --movies, and those kept for validation with --hold-out.")

    parts = channels.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f"Channels are numbers with commas between, such as 3,48,96,192; received {channels!r}.")
    if devices != "auto" and not (devices.isdigit() and int(devices)):
        raise ConfigError(f"--devices is a number or auto, received {devices!r}.")
    config = PredNetTrainingConfig(
        size=parse_size(size) or default_size, channels=tuple(int(part) for part in parts), start=start, loss=loss,
        learning_rate=learning_rate, schedule=schedule, batch_size=batch_size, sequences_per_epoch=sequences,
        epochs=epochs, margin=margin, synthetic_s=synthetic_s, precision=precision, seed=seed,
    )  # fmt: skip
    weights = train_prednet(
        movies, out, config, hold_out=hold_out, device=device, devices=int(devices) if devices.isdigit() else devices,
        reporter=reporter(quiet),
    )  # fmt: skip
    if os.environ.get("LOCAL_RANK", "0") != "0":  # one of several processes that train together
        return
    _say_where(weights, "Scores on held-out clips")


@app.command()
def aligndraw(
    study: Annotated[str, typer.Option(help="Captions: A (characters), B (words) or english.")] = "B",
    mnist: Mnist = None,
    encoder: Annotated[
        str, typer.Option(help="Encoder of captions: bidirectional, forward, embedding or convolution.")
    ] = "bidirectional",
    recipe: Annotated[
        str,
        typer.Option(
            help="document (RMSProp, always 32 steps), fast (Adam, short drawings first) or lessons (fast, after "
            "lessons in reading captions)."
        ),
    ] = "document",
    updates: Annotated[int, typer.Option(help="Updates of the weights.")] = 20_000,
    batch_size: Annotated[int, typer.Option(help="Scenes an update.")] = 100,
    steps: Annotated[int, typer.Option(help="Steps of a drawing, T.")] = 32,
    entropy_penalty: Annotated[float, typer.Option(help="Weight of the attention's entropy in the loss.")] = 0.0,
    precision: Annotated[
        str, typer.Option(help="What large products are multiplied in: auto, float64, float32 or bfloat16.")
    ] = "auto",
    start: Annotated[
        str | None, typer.Option(help="Network whose drawing is taken over: A or B, which ship, or a file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights and logs (default: results/aligndraw_STUDY).")
    ] = None,
    data: Data = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train alignDRAW on captions and scenes of digits; run it again to go on where it was stopped."""
    from brainpred.studies.train_aligndraw import AlignDRAWTrainingConfig, train_aligndraw

    config = AlignDRAWTrainingConfig(
        study, encoder, recipe, updates, batch_size, steps, entropy_penalty, precision, seed, start
    )  # fmt: skip
    out = out or Path("results") / f"aligndraw_{study}"
    weights = train_aligndraw(out, config, mnist=mnist, data=data, device=device, reporter=reporter(quiet))
    _say_where(weights)


@app.command()
def digits(
    mnist: Mnist = None,
    out: Annotated[Path, typer.Option(help="Folder for weights and logs.")] = Path("results/digits"),
    data: Data = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train the reader of digits that judges drawings; run it again to go on where it was stopped."""
    from brainpred.studies.train_digits import DigitTrainingConfig, train_digit_reader

    weights = train_digit_reader(
        out, DigitTrainingConfig(seed=seed), mnist=mnist, data=data, device=device, reporter=reporter(quiet)
    )
    _say_where(weights)


@app.command()
def vae(
    of: Annotated[str, typer.Option(help="What it models: digits (64 latents), labels (2) or frames (64).")] = "digits",
    movies: Annotated[list[Path] | None, typer.Option(help="Of frames: movie files or folders of them.")] = None,
    size: Annotated[str | None, typer.Option(help="Of frames: HEIGHTxWIDTH (default: 64x80).")] = None,
    mnist: Mnist = None,
    epochs: Annotated[
        int | None, typer.Option(help="How often every sample is shown (default: 60, labels and frames 10).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for weights and logs (default: results/vae_OF).")] = None,
    data: Data = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a variational autoencoder for the latent bridge; run it again to go on where it was stopped."""
    from brainpred.studies.train_prednet import find_movies
    from brainpred.studies.train_vae import VAETrainingConfig, train_vae

    config = VAETrainingConfig(of, epochs, seed=seed, size=parse_size(size))
    out = out or Path("results") / f"vae_{of}"
    found = find_movies(movies or ())
    _say_where(train_vae(out, config, movies=found, mnist=mnist, data=data, device=device, reporter=reporter(quiet)))


def _say_where(weights: Path, scores: str = "Scores") -> None:
    """Say where the results of a training are."""
    typer.echo(f"Weights: {weights}")
    typer.echo(f"Model card: {weights.with_suffix('.md')}")
    typer.echo(f"{scores}: {weights.with_name('scores.json')}")
