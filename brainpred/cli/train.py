"""Commands that train networks."""

from pathlib import Path
from typing import Annotated

import typer

from brainpred.cli.options import Quiet, Seed, parse_size

__all__ = ["app"]

app = typer.Typer(help="Train networks.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train networks."""


@app.command()
def prednet(
    movies: Annotated[list[Path], typer.Option(help="Movie files or folders of them.")],
    hold_out: Annotated[list[str], typer.Option(help="File names of movies kept for validation.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, checkpoints and logs.")] = Path("results/prednet"),
    size: Annotated[str, typer.Option(help="Frame size HEIGHTxWIDTH.")] = "64x80",
    channels: Annotated[str, typer.Option(help="Channels a layer.")] = "3,16,32,64",
    loss: Annotated[str, typer.Option(help="L0 (lowest layer's error) or Lall (all layers').")] = "L0",
    epochs: Annotated[int, typer.Option(help="Epochs; the learning rate drops at half.")] = 150,
    sequences: Annotated[int, typer.Option(help="Sequences an epoch.")] = 500,
    batch_size: Annotated[int, typer.Option(help="Sequences a step.")] = 4,
    synthetic_s: Annotated[float, typer.Option(help="Seconds of synthesised movie to add.")] = 300.0,
    precision: Annotated[str, typer.Option(help="Lightning's precision: 32-true, bf16-mixed, ...")] = "32-true",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a PredNet on movies; run it again to go on where it was stopped."""
    from brainpred.errors import ConfigError
    from brainpred.studies.train import PredNetTrainingConfig, train_prednet

    parts = channels.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f"Channels are numbers with commas between, such as 3,48,96,192; received {channels!r}.")
    config = PredNetTrainingConfig(
        size=parse_size(size) or (64, 80), channels=tuple(int(part) for part in parts), loss=loss,
        batch_size=batch_size,
        sequences_per_epoch=sequences, epochs=epochs, synthetic_s=synthetic_s, precision=precision, seed=seed,
    )  # fmt: skip
    weights = train_prednet(movies, out, config, hold_out=hold_out, quiet=quiet)
    typer.echo(f"Weights: {weights}")
    typer.echo(f"Scores on held-out clips: {out / 'scores.json'}")
