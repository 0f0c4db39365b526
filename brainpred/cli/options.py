"""Options that several commands share, and lists written as ``--layers R0 R1``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from brainpred.errors import ConfigError
from brainpred.progress import SILENT, Reporter, RichReporter

__all__ = [
    "Confounds",
    "Data",
    "Dataset",
    "Delays",
    "Device",
    "DummyScans",
    "Features",
    "HighPass",
    "Layers",
    "Memory",
    "Mnist",
    "NamedDataset",
    "Out",
    "PercentSignalChange",
    "Permutations",
    "Precision",
    "Quiet",
    "Seed",
    "Subject",
    "Table",
    "Weights",
    "parse_size",
    "reporter",
    "spread_lists",
]

LIST_OPTIONS = (
    "--layers", "--delays", "--movies", "--movie", "--units", "--hold-out", "--subjects", "--test-runs", "--test-rows",
    "--pairs", "--more-pairs", "--settings", "--surfaces",
)  # fmt: skip

Data = Annotated[
    Path | None,
    typer.Option(help="Folder that holds one folder a data set (default: $BRAINPRED_DATA, else the cache)."),
]
Dataset = Annotated[str, typer.Option(help="Data set (see: brainpred data list), or a manifest file.")]
NamedDataset = Annotated[str, typer.Argument(help="Name of a data set, or a manifest file.")]
Subject = Annotated[str, typer.Option(help="Subject, such as sim01.")]
Delays = Annotated[
    list[float] | None, typer.Option(help="Seconds from the stimulus to the BOLD signal (default: 3 4 5 6).")
]
Features = Annotated[Path | None, typer.Option(help="Use these features (TSV or HDF5), not PredNet's.")]
Weights = Annotated[str, typer.Option(help="PredNet: name of a shipped one, or a file.")]
Precision = Annotated[
    str,
    typer.Option(help="What targets are multiplied in while they are scored: auto, float64, float32 or bfloat16."),
]
Memory = Annotated[
    str | None, typer.Option(help="Memory for the ridge, such as '8 GB' (default: four fifths of what is free).")
]
Permutations = Annotated[int, typer.Option(help="Permutations of blocks of time that tell what chance gives.")]
Table = Annotated[Path | None, typer.Option(help="TSV file to write.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Mnist = Annotated[
    Path | None,
    typer.Option(help="mnist.npz (default: as fetched, else the small digits that scikit-learn brings along)."),
]
HighPass = Annotated[
    float | None,
    typer.Option(help="Longest period of the BOLD signal to keep, in seconds; 0: all (default: as the manifest says)."),
]
Confounds = Annotated[
    str | None, typer.Option(help="Confounds to remove: motion, motion24, simple, compcor, ... or none.")
]
DummyScans = Annotated[
    int | None,
    typer.Option(help="Scans at the beginning of every run to leave out (default: as the manifest says)."),
]
PercentSignalChange = Annotated[
    bool | None,
    typer.Option(
        "--percent-signal-change/--z-score",
        help="Scale voxels to percent of their mean, or to variance 1 (default: as the manifest says).",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(help="Layers, such as: --layers R0 R1 (default: R0 to R3, pixels, motion; or those of --features)."),
]
Out = Annotated[Path | None, typer.Option(help="Folder for results (default: results/<dataset>/<subject>).")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn at random.")]


def spread_lists(arguments: Sequence[str]) -> list[str]:
    """Write ``--layers R0 R1`` as ``--layers R0 --layers R1``, which click understands.

    Parameters
    ----------
    arguments : sequence of str
        Command line.

    Returns
    -------
    list of str
        The same, with the name of a list option before each of its values.

    Examples
    --------
    >>> spread_lists(["decode", "--layers", "R0", "R1", "--quiet"])
    ['decode', '--layers', 'R0', '--layers', 'R1', '--quiet']
    """
    spread: list[str] = []
    current, n_values = "", 0
    for argument in arguments:
        if argument.startswith("-"):
            current, n_values = (argument if argument in LIST_OPTIONS else ""), 0
        elif current:
            if n_values:
                spread.append(current)
            n_values += 1
        spread.append(argument)
    return spread


def parse_size(size: str | None) -> tuple[int, int] | None:
    """Read a frame size such as ``128x160`` (height x width, pixels)."""
    if size is None:
        return None
    parts = size.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ConfigError(f"A size is HEIGHTxWIDTH in pixels, such as 128x160; received {size!r}.")
    return int(parts[0]), int(parts[1])


def reporter(quiet: bool) -> Reporter:
    """Give the reporter of a command."""
    return SILENT if quiet else RichReporter()
