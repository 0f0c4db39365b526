"""Commands of the generative probes."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainpred.cli.options import Data, Device, Mnist, Quiet, Seed, Table, reporter

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["app"]

app = typer.Typer(help="Probe small generative models.", no_args_is_help=True)
aligndraw = typer.Typer(help="alignDRAW: pictures from captions.", no_args_is_help=True)
bridge = typer.Typer(help="Latent bridge: one kind of data from another.", no_args_is_help=True)
app.add_typer(aligndraw, name="aligndraw")
app.add_typer(bridge, name="bridge")

Networks = Annotated[list[str], typer.Argument(help="Weights: A, B or files.")]


@app.callback()
def _group() -> None:
    """Probe small generative models."""


@aligndraw.command()
def generate(
    caption: Annotated[str, typer.Argument(help="Such as 数字3が画像の左上にある。")],
    weights: Annotated[
        str | None, typer.Option(help="A, B or a file (default: the one that ships and reads the caption).")
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
    out: Table = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Count the pictures that show what their captions say."""
    import pandas as pd

    from brainpred.studies.aligndraw import check_pictures
    from brainpred.studies.train_aligndraw import score_aligndraw

    check_pictures(pictures)
    rows = [
        {"weights": weights, "captions": kind, **numbers}
        for weights in networks
        for kind, numbers in score_aligndraw(weights, n_pictures=pictures, seed=seed, device=device).items()
    ]
    _show(pd.DataFrame(rows), out)


@aligndraw.command()
def attention(
    networks: Networks,
    out: Table = None,
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
    from brainpred.reporting.style import save_figure
    from brainpred.storage import make_directory
    from brainpred.studies.aligndraw import study_composition

    for name, table in study_composition(networks).items():
        _show(table, make_directory(out) / f"{name}.tsv" if out else None)
        if out and name == "composition":
            save_figure(composition_figure(table), out / "composition.png")


@bridge.command()
def mnist(
    pairs: Annotated[
        list[int] | None, typer.Option(help="Numbers of pairs, such as: --pairs 256 1024 8192 (the default).")
    ] = None,
    more_pairs: Annotated[
        list[int] | None, typer.Option(help="Further ones, for the default bridge (32 64 128 512 2048).")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How often, with other pairs.")] = 3,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            help="Out of: default, document, 'opposite divergence', 'network mixture', 'joint mixture', Bayes "
            "(default: all)."
        ),
    ] = None,
    document: Annotated[bool, typer.Option("--document", help="Document 002's setting alone.")] = False,
    image_vae: Annotated[str, typer.Option(help="Image model: digits, or a file.")] = "digits",
    early_vae: Annotated[str, typer.Option(help="Image model that was stopped early.")] = "digits_3_epochs",
    label_vae: Annotated[str, typer.Option(help="Label model: labels, or a file.")] = "labels",
    scored: Annotated[int, typer.Option(help="Digits whose likelihood is estimated.")] = 200,
    mnist: Mnist = None,
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path("results/bridge_mnist"),
    data: Data = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Run document 002's experiments: images from labels, labels from images, from few pairs."""
    from brainpred.studies.digit_bridge import SETTINGS, DigitBridgeConfig, bridge_digits

    chosen = ("document",) if document else tuple(settings or SETTINGS)
    config = DigitBridgeConfig(
        seeds=seeds, n_scored=scored, settings=chosen, image_vaes=(("trained", image_vae), ("3 epochs", early_vae)),
        label_vae=label_vae, seed=seed,
    )  # fmt: skip
    if pairs or more_pairs:
        config = replace(config, pairs=tuple(pairs or config.pairs), more_pairs=tuple(more_pairs or ()))
    bridge_digits(config, out, mnist=mnist, data=data, reporter=reporter(quiet))
    for name in ("table1", "table2"):
        typer.echo((out / f"{name}.tsv").read_text(), nl=False)
    typer.echo(f"Results: {out}")


@bridge.command()
def brain(
    brain: Annotated[
        str | None,
        typer.Option(help="Voxels (pairs x voxels, or turned): .npy, .npz, .mat or .h5, as FILE or FILE::NAME."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Pictures (pairs x rows x columns, or pairs x pixels, or turned), as --brain.")
    ] = None,
    test_brain: Annotated[
        str | None, typer.Option(help="Voxels of test pairs; --brain and --images are training pairs then.")
    ] = None,
    test_images: Annotated[str | None, typer.Option(help="Pictures of test pairs.")] = None,
    test_rows: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead: which pairs are test pairs, such as: --test-rows 90-99 (from 0), or a FILE::NAME of numbers "
            "(.mat: from 1) or of a mark for each pair."
        ),
    ] = None,
    vae: Annotated[str, typer.Option(help="Model of the pictures: digits, or a file.")] = "digits",
    subject: Annotated[
        str | None, typer.Option(help="Instead of --brain and --images: the recording of this subject.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Of --subject: data set, or a manifest file.")] = "simulated",
    delays: Annotated[
        list[float] | None, typer.Option(help="Of --subject: seconds after the picture (default: 3 4 5 6).")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Folds left out in turn (default: 10); 0: one pair at a time.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Keep patterns left out from the voxels' components, too.")
    ] = False,
    view: Annotated[
        str, typer.Option(help="auto, as they are, transposed, inverted, or transposed and inverted.")
    ] = "auto",
    pairs: Annotated[int, typer.Option(help="Pairs to simulate, without --brain and --images.")] = 90,
    mnist: Mnist = None,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results/bridge_brain"),
    data: Data = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Reconstruct pictures from voxels, of test pairs or of each pair while it is left out, beside controls."""
    from brainpred.decoding.decoder import DEFAULT_DELAYS_S
    from brainpred.studies.brain_bridge import BrainBridgeConfig, bridge_brain

    config = BrainBridgeConfig(
        brain, images, test_brain, test_images, tuple(test_rows or ()), vae, folds, not strict, view, pairs, seed,
        subject, dataset, tuple(delays or DEFAULT_DELAYS_S),
    )  # fmt: skip
    table = bridge_brain(config, out, mnist=mnist, data=data, reporter=reporter(quiet))
    _show(table, None)
    typer.echo(f"Results: {out}")


def _show(table: "pd.DataFrame", out: Path | None) -> None:
    """Print a table, and write it if a file is named."""
    from brainpred.storage import atomic_path

    typer.echo(table.to_csv(sep="\t", index=False, float_format="%.4g"), nl=False)
    if out is not None:
        with atomic_path(out) as temporary:
            table.to_csv(temporary, sep="\t", index=False)
        typer.echo(f"Written: {out}")
