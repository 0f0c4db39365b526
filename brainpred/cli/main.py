"""The commands of the main job, and the door through which every command goes."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainpred.cli import data, probe, train
from brainpred.cli.options import (
    Confounds,
    Data,
    Dataset,
    Delays,
    Device,
    DummyScans,
    Features,
    HighPass,
    Layers,
    Memory,
    Out,
    PercentSignalChange,
    Permutations,
    Precision,
    Quiet,
    Seed,
    Subject,
    Weights,
    parse_size,
    reporter,
    spread_lists,
)
from brainpred.errors import BrainpredError, ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="brainpred",
    help="Decode fMRI into the representations of PredNet, and turn them back into movies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(probe.app, name="probe")

LAYER_COLUMNS = {
    "layer": "layer",
    "n_units": "units",
    "mean_r": "mean r",
    "p": "p",
    "mean_ceiling": "ceiling",
    "mean_pattern_r": "pattern r",
    "identification_2way": "2-way",
    "identification_2way_p": "p (2-way)",
    "identification_nway": "n-way",
}
VOXEL_COLUMNS = {
    "roi": "ROI",
    "n_voxels": "voxels",
    "mean_r": "mean r",
    "significant": "q < 0.05",
    "mean_r2": "R²",
}
GAIN_COLUMNS = {
    "layers": "swapped",
    "metric": "metric",
    "gain": "brain gain",
    "interval": "95 % interval",
    "gain_p": "p",
    "null_p": "p, null",
}

INTERRUPTED = 130
# Typer may bring its own copy of click; this is the error class of the one in use.
USAGE_ERROR: Any = typer.BadParameter.__base__


def _show_version(wanted: bool) -> None:
    if wanted:
        from brainpred import __version__

        typer.echo(f"brainpred {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Decode fMRI into the representations of PredNet, and turn them back into movies."""


@app.command()
def decode(
    subject: Subject,
    dataset: Dataset = "simulated",
    layers: Layers = None,
    bands: Annotated[
        str, typer.Option(help="What shares a regularisation: roi, delay, roi×delay (roi*delay) or none.")
    ] = "roi",
    delays: Delays = None,
    features: Features = None,
    weights: Weights = "small",
    search: Annotated[
        str,
        typer.Option(help="How band weights are found: shared (by gradient, one set a layer), per-target or himalaya."),
    ] = "shared",
    candidates: Annotated[int, typer.Option(help="Band weights to try, where the search is not shared.")] = 40,
    high_pass_s: HighPass = None,
    confounds: Confounds = None,
    dummy_scans: DummyScans = None,
    percent_signal_change: PercentSignalChange = None,
    device: Device = "auto",
    precision: Precision = "auto",
    memory: Memory = None,
    permutations: Permutations = 1000,
    refit_permutations: Annotated[
        int, typer.Option(help="Beside them, fit again so often to features whose blocks changed places (slow).")
    ] = 0,
    refit_units: Annotated[int, typer.Option(help="Units of every layer that are fitted again.")] = 20,
    out: Out = None,
    data: Data = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Decode a subject's scans: scores, decoded features, brain maps and a report."""
    from brainpred.decoding.decoder import DEFAULT_DELAYS_S
    from brainpred.reporting.saved import read_settings, read_table
    from brainpred.studies.decode import DecodeConfig, decode_subject, default_folder

    config = DecodeConfig(
        subject, dataset, tuple(layers or ()), bands, tuple(delays or DEFAULT_DELAYS_S), search, candidates, device,
        precision, memory, seed, str(features) if features else None, weights, permutations, refit_permutations,
        refit_units, dummy_scans, high_pass_s, confounds, percent_signal_change,
    )  # fmt: skip
    decode_subject(config, out, data=data, reporter=reporter(quiet))
    folder = out or default_folder(dataset, subject)
    settings = read_settings(folder)
    title = f"{Path(dataset).stem}/{subject}" + (" (simulated)" if settings["simulated"] else "")
    _print_table(title, read_table(folder / "layers.tsv", tuple(LAYER_COLUMNS)), LAYER_COLUMNS)
    typer.echo(
        f"p: of a mean r, or of 2-way identification, as high in the best of all layers, by {permutations} "
        f"permutations of {settings['n_blocks']} blocks of {settings['block_scans']} scans."
    )
    typer.echo(f"Report: {folder / 'report.html'}")


@app.command()
def encode(
    subject: Subject,
    dataset: Dataset = "simulated",
    layers: Layers = None,
    delays: Delays = None,
    features: Features = None,
    weights: Weights = "small",
    high_pass_s: HighPass = None,
    confounds: Confounds = None,
    dummy_scans: DummyScans = None,
    percent_signal_change: PercentSignalChange = None,
    device: Device = "auto",
    precision: Precision = "auto",
    memory: Memory = None,
    permutations: Permutations = 100_000,
    out: Out = None,
    data: Data = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Predict every voxel from the features, the reverse of decode: scores, brain maps, tables by region.

    Decoding need not come first; where it did, the report gains a section.
    """
    from brainpred.decoding.decoder import DEFAULT_DELAYS_S
    from brainpred.reporting.saved import ENCODING_COLUMNS, read_table
    from brainpred.studies.decode import default_folder
    from brainpred.studies.encode import EncodeConfig, encode_subject

    config = EncodeConfig(
        subject, dataset, tuple(layers or ()), tuple(delays or DEFAULT_DELAYS_S), device, precision, memory, seed,
        str(features) if features else None, weights, permutations, dummy_scans, high_pass_s, confounds,
        percent_signal_change,
    )  # fmt: skip
    encode_subject(config, out, data=data, reporter=reporter(quiet))
    folder = out or default_folder(dataset, subject)
    table = read_table(folder / "encoding.tsv", ENCODING_COLUMNS)
    _print_table(f"{Path(dataset).stem}/{subject}, voxels predicted", table, VOXEL_COLUMNS)
    typer.echo(f"Maps and scores of every voxel: {folder}")
    if (folder / "decode.json").is_file():
        typer.echo(f"Report, with a section on encoding: {folder / 'report.html'}")


@app.command()
def reconstruct(
    subject: Subject,
    dataset: Dataset = "simulated",
    layers: Annotated[
        list[str] | None, typer.Option(help="Layers that pictures are made of, all at once (default: R0).")
    ] = None,
    through: Annotated[
        str, typer.Option(help="What makes the pictures: swap (into PredNet) or bridge (a latent bridge to frames).")
    ] = "swap",
    drive: Annotated[
        str, typer.Option(help="What the error units see: closed-loop (the brain alone) or stimulus.")
    ] = "closed-loop",
    hold: Annotated[
        str, typer.Option(help="From scans to frames: nearest (a value lasts for its scan) or linear.")
    ] = "nearest",
    variance: Annotated[
        str,
        typer.Option(help="Spread of decoded units: ridge (as decoded), matched (to the training runs) or halfway."),
    ] = "halfway",
    runs: Annotated[
        str, typer.Option(help="test (held out) or train (a sample that the decoder was fitted to).")
    ] = "test",
    each: Annotated[
        bool, typer.Option("--each", help="Take each of the layers alone, and show them together in one figure.")
    ] = False,
    shifts: Annotated[int, typer.Option(help="Time shifts of the decoded R that make up the null.")] = 5,
    vae: Annotated[
        str | None, typer.Option(help="Model of frames for the bridge (default: trained on the training movies).")
    ] = None,
    device: Device = "auto",
    out: Out = None,
    data: Data = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Make pictures of decoded representations: movie, film strip, and scores beside controls."""
    from brainpred.reconstruction.tables import METRIC_NAMES, gain_table, picture_table
    from brainpred.studies.decode import default_folder
    from brainpred.studies.reconstruct import reconstruct_subject
    from brainpred.studies.reconstruct_settings import ReconstructConfig

    config = ReconstructConfig(
        subject, dataset, tuple(layers or ("R0",)), through, drive, hold, variance, runs, each, shifts, device, seed,
        vae,
    )  # fmt: skip
    scores = reconstruct_subject(config, out, data=data, reporter=reporter(quiet))
    folder = out or default_folder(dataset, subject)
    how = f"drive {drive}" if through == "swap" else "through a latent bridge"
    title = f"{Path(dataset).stem}/{subject}, {how}" + (", training data" if runs == "train" else "")
    made_of = {"layers": "swapped" if through == "swap" else "bridged"}
    _print_table(title, picture_table(scores), made_of | {"picture": "picture", **METRIC_NAMES})
    gains = gain_table(scores).replace({"metric": METRIC_NAMES})
    _print_table("What the brain adds: decoded less mean", gains, GAIN_COLUMNS | made_of, digits=4)
    n_blocks = int(gains["n_blocks"].min())
    typer.echo(
        f"p: of a gain, by the signs of {n_blocks} blocks of time (at least {2.0**-n_blocks:.1g}). "
        "p, null: of a score as high with the brain of another time."
    )
    typer.echo(f"Movie, film strip, frames and scores: {folder}")


@app.command()
def features(
    movie: Annotated[
        list[Path] | None,
        typer.Option(
            help="Movies: video files, folders of pictures (DIR@25), arrays (FILE::NAME@15), clip lists (TSV)."
        ),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Instead of --movie: the movies that this subject saw.")] = None,
    dataset: Dataset = "simulated",
    units: Annotated[list[str] | None, typer.Option(help="Units, such as R0 E2 Ahat0 (default: every R).")] = None,
    tr: Annotated[
        float | None, typer.Option(help="Seconds of a scan: one row of features (default: 1, or the subject's own).")
    ] = None,
    pooling: Annotated[str, typer.Option(help="Frames of a scan: mean, last, or lanczos (low-pass).")] = "mean",
    weights: Weights = "small",
    size: Annotated[str | None, typer.Option(help="Frame size HEIGHTxWIDTH (default: as trained).")] = None,
    dtype: Annotated[str, typer.Option(help="How values are stored: float32 or float16.")] = "float32",
    precision: Annotated[str, typer.Option(help="How the network computes: float32 or bfloat16 (faster).")] = "float32",
    pieces: Annotated[int, typer.Option(help="Pieces to cut each movie into, computed side by side; 1 is exact.")] = 1,
    burn_in: Annotated[float, typer.Option(help="Seconds that each piece sees before its first scan.")] = 10.0,
    at_once: Annotated[
        int | None, typer.Option(help="Movies or pieces computed side by side (default: 4, on a GPU 16).")
    ] = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder, or HDF5 file for one movie (default: <movie>_features.h5 here).")
    ] = None,
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Turn movies into PredNet's units at the pace of the scans (HDF5); R0-R3 averaged by default."""
    from brainpred.errors import ConfigError
    from brainpred.features.extract import FeatureConfig
    from brainpred.studies.features import recording_movies, write_movie_features

    if bool(movie) == bool(subject):
        both = " (not both)" if movie else ""
        raise ConfigError(f"Name the movies with --movie FILE ..., or whose movies with --subject S{both}.")
    movies, own_tr = (movie, 1.0) if movie else recording_movies(str(subject), dataset, data)
    config = FeatureConfig(
        own_tr if tr is None else tr, tuple(units or ()), weights, parse_size(size), pooling, dtype, precision, pieces,
        burn_in, at_once,
    )  # fmt: skip
    for file in write_movie_features(movies, out, config, device=device, reporter=reporter(quiet)):
        for layer, shape in file.shapes.items():
            typer.echo(f"{layer}: {file.n_scans} x {'x'.join(map(str, shape))}")
        typer.echo(f"Written: {file.path}")


@app.command()
def report(
    subject: Annotated[str | None, typer.Option(help="Build the page of this subject again.")] = None,
    subjects: Annotated[
        list[str] | None, typer.Option(help="Instead: put these subjects side by side, with means and intervals.")
    ] = None,
    dataset: Dataset = "simulated",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results (default: results/<dataset>/<subject>); with --subjects, the one above."
        ),
    ] = None,
    surfaces: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --subject: inflated cortex that maps of vertices are drawn on, LEFT.surf.gii RIGHT.surf.gii "
            "(default: fsaverage5, where it fits). Kept with the results."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Build report pages from saved results: report.html of a subject, or group.html and group_*.tsv of a group."""
    from brainpred.errors import ConfigError
    from brainpred.reporting.group import write_group_report
    from brainpred.reporting.meshes import keep_surfaces
    from brainpred.reporting.page import write_report
    from brainpred.studies.decode import default_folder

    if bool(subject) == bool(subjects):
        raise ConfigError("Name one subject with --subject S, or a group with --subjects S1 S2 ... (not both).")
    if surfaces and (subjects or len(surfaces) != 2):
        raise ConfigError("--surfaces takes two files, the left and the right hemisphere, with --subject S.")
    if subject:
        folder = out or default_folder(dataset, subject)
        if surfaces:
            keep_surfaces(folder, *surfaces)
        page = write_report(folder, reporter(quiet))
    else:
        names = list(dict.fromkeys(subjects or ()))
        folders = {name: out / name if out else default_folder(dataset, name) for name in names}
        page = write_group_report(folders, out or default_folder(dataset, names[0]).parent, reporter(quiet))
    typer.echo(f"Report: {page}")


def _print_table(title: str, table: "pd.DataFrame", columns: dict[str, str], digits: int = 3) -> None:
    """Print some columns of a table under shorter names, leaving out those that hold nothing."""
    from rich.console import Console
    from rich.table import Table

    shown = table[list(columns)].rename(columns=columns).dropna(axis="columns", how="all")
    printed = Table(title=title, title_justify="left")
    for name in shown:
        printed.add_column(str(name), justify="right" if shown[name].dtype.kind in "fi" else "left")
    for row in shown.itertuples(index=False):
        texts = (f"{value:.{digits}f}" if isinstance(value, float) else str(value) for value in row)
        printed.add_row(*("n/a" if text == "nan" else text for text in texts))
    Console().print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; ``sys.argv`` by default.

    Returns
    -------
    int
        0 done, 1 the data or the run failed, 2 the command line cannot be used, 130 interrupted.
    """
    given = spread_lists(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="brainpred", standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except USAGE_ERROR as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrainpredError as error:
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        for note in getattr(error, "__notes__", ()):
            typer.echo(note, err=True)
        code = 2 if isinstance(error, ConfigError) else 1
    if code == INTERRUPTED:
        typer.echo("Interrupted. What was finished is kept; run the same command again to do the rest.", err=True)
    return int(code or 0)


def run() -> None:
    """Run the command line as a program: the entry point that is installed."""
    # A batch system that ends the job should find the same clean end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
