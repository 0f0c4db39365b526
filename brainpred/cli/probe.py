"""Commands of the generative probes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainpred.cli.options import Device, Quiet, Seed, reporter

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["app"]

app = typer.Typer(help="Probe small generative models.", no_args_is_help=True)
aligndraw = typer.Typer(help="alignDRAW: pictures from captions.", no_args_is_help=True)
app.add_typer(aligndraw, name="aligndraw")

Networks = Annotated[list[str], typer.Argument(help="Weights: B or files.")]


@app.callback()
def _group() -> None:
    """Probe small generative models."""


@aligndraw.command()
def generate(
    caption: Annotated[str, typer.Argument(help="Such as 数字3が画像の左上にある。")],
    weights: Annotated[
        str | None, typer.Option(help="B or a file (default: the one that ships and reads the caption).")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Pictures to draw.")] = 8,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("results/drawing"),
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw a caption: pictures, the drawing as it comes about, attention."""
    from brainpred.studies.aligndraw import draw_one

    files = draw_one(
        caption, out, weights=weights, n_pictures=pictures, seed=seed, device=device, reporter=reporter(quiet)
    )
    for name, path in files.items():
        typer.echo(f"{name.capitalize()}: {path}")


@aligndraw.command()
def score(
    networks: Networks,
    pictures: Annotated[
        int, typer.Option(help="Pictures to judge, of captions trained on and of held-out ones.")
    ] = 1000,
    out: Annotated[Path | None, typer.Option(help="TSV file to write.")] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Count the pictures that show what their captions say."""
    import pandas as pd

    from brainpred.studies.train_aligndraw import score_aligndraw

    rows = [
        {"weights": weights, "captions": kind, **numbers}
        for weights in networks
        for kind, numbers in score_aligndraw(weights, n_pictures=pictures, seed=seed, device=device).items()
    ]
    _show(pd.DataFrame(rows), out)


@aligndraw.command()
def attention(
    networks: Networks,
    out: Annotated[Path | None, typer.Option(help="TSV file to write.")] = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Compare attention with the boundaries of words and with what is drawn (networks of study A)."""
    from brainpred.studies.aligndraw import study_attention

    _show(study_attention(networks, seed=seed, device=device, reporter=reporter(quiet)), out)


@aligndraw.command()
def composition(
    networks: Networks,
    out: Annotated[Path | None, typer.Option(help="Folder for tables (TSV) and figure (PNG).")] = None,
) -> None:
    """Compare embeddings of compound words with sums of their parts' (networks of study B)."""
    from brainpred.reporting.drawings import composition_figure
    from brainpred.storage import atomic_path, make_directory
    from brainpred.studies.aligndraw import study_composition

    for name, table in study_composition(networks).items():
        _show(table, make_directory(out) / f"{name}.tsv" if out else None)
        if out and name == "composition":
            with atomic_path(out / "composition.png") as temporary:
                composition_figure(table).savefig(temporary, dpi=150)


def _show(table: "pd.DataFrame", out: Path | None) -> None:
    """Print a table, and write it if a file is named."""
    from brainpred.storage import atomic_path

    typer.echo(table.to_csv(sep="\t", index=False, float_format="%.4g"), nl=False)
    if out is not None:
        with atomic_path(out) as temporary:
            table.to_csv(temporary, sep="\t", index=False)
        typer.echo(f"Written: {out}")
