"""Commands about data sets."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainpred.cli.options import Data, Device, NamedDataset, Quiet, reporter

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["app"]

EXAMPLE_VOXELS, EXAMPLE_MM = 8_000, 6
MAX_WIDTH = 1000

app = typer.Typer(help="List, show, fetch, verify, simulate data sets, and describe your own.", no_args_is_help=True)


@app.command("list")
def list_datasets() -> None:
    """List the data sets that brainpred knows."""
    from brainpred.recordings.manifest import load_manifest, manifest_names

    for name in manifest_names():
        manifest = load_manifest(name)
        typer.echo(f"{name:<14} {manifest.title} ({', '.join(manifest.subjects) or manifest.kind})")


@app.command()
def show(dataset: NamedDataset) -> None:
    """Show a data set's manifest: licence, citation, how to get it, subjects."""
    from brainpred.recordings.manifest import load_manifest, manifest_path

    typer.echo(f"manifest: {manifest_path(dataset)}")
    for field, value in load_manifest(dataset).model_dump(exclude_defaults=True).items():
        if isinstance(value, dict | list) and field not in ("subjects", "sessions"):
            typer.echo("\n  ".join([f"{field}:", *_lines(value)]))
        else:
            typer.echo(f"{field}: {', '.join(value) if isinstance(value, list) else value}")


def _lines(value: object) -> list[str]:
    """Write a value of a manifest, a part a line."""
    if isinstance(value, dict):
        return [f"{name}: {part}" for name, part in value.items()]
    if isinstance(value, list):
        return ["- " + ", ".join(_lines(part)) for part in value]
    return [str(value)]


@app.command()
def fetch(
    dataset: NamedDataset,
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Download a data set into the data folder, where its manifest says from where (see: brainpred data show)."""
    from brainpred.recordings.fetch import fetch_dataset
    from brainpred.recordings.manifest import load_manifest

    for path, what in fetch_dataset(load_manifest(dataset), data, reporter(quiet)).items():
        typer.echo(f"{path}: {what}")


@app.command()
def verify(
    dataset: NamedDataset,
    subjects: Annotated[list[str] | None, typer.Option(help="Subjects to look at (default: all).")] = None,
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Look at every file of a data set and read every run once: present, missing or corrupt."""
    from rich.console import Console
    from rich.markup import escape

    from brainpred.recordings.manifest import load_manifest
    from brainpred.studies.verify import ANOTHER, MISSING, PRESENT, verify_dataset

    checks = verify_dataset(dataset, data, subjects=subjects, reporter=reporter(quiet))
    manifest = load_manifest(dataset)
    console = Console()
    console = console if console.is_terminal else Console(width=MAX_WIDTH)  # programs read a line a file
    colours = {PRESENT: "green", ANOTHER: "yellow"}
    rows = [
        {
            "subject": check.subject,
            "what": escape(check.what),
            "state": f"[{colours.get(check.state, 'red')}]{check.state}[/]",
            "found": escape(check.detail) if check.state == PRESENT else "",
            "file": escape(check.file),
        }
        for check in checks
    ]
    table = _table(manifest.name, rows, "subject", "what", "state", "found", "file")
    whole = console.measure(table, options=console.options.update_width(MAX_WIDTH)).maximum
    if whole > console.width:  # what is wrong stands below, with its file
        table = _table(manifest.name, rows, "subject", "what", "state", "found")
    console.print(table)
    for check in checks:
        if check.state != PRESENT:
            about = ", ".join(filter(None, (check.subject, check.what, check.file)))
            typer.echo(f"{check.state}: {about}" + (f": {check.detail}" if check.detail else ""))
    wrong = [check for check in checks if check.state not in (PRESENT, ANOTHER)]
    others = sum(check.state == ANOTHER for check in checks)
    n_present = len(checks) - len(wrong) - others
    typer.echo(f"{n_present} of {len(checks)} present" + (f", {others} with another checksum." if others else "."))
    if any(check.state == MISSING and not check.detail for check in wrong):
        typer.echo(f"What is missing: {manifest.access}")
    if wrong:
        raise typer.Exit(1)


def _table(title: str, rows: Sequence[dict[str, str]], *columns: str) -> "Table":
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    return table


@app.command()
def init(
    bids: Annotated[Path, typer.Argument(help="BIDS folder, with fMRIPrep's output in derivatives.")],
    movie: Annotated[
        Path | None,
        typer.Option(
            help="Movie (video, folder of pictures, array of frames), or folder of movies, where events do not name "
            "files below stimuli/."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the folder's).")] = None,
    derivatives: Annotated[
        str | None, typer.Option(help="fMRIPrep's output, relative to the BIDS folder or a whole path.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="volume, surface or grayordinates.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, such as movie.")] = None,
    space: Annotated[str | None, typer.Option(help="Space as in file names, such as T1w.")] = None,
    resolution: Annotated[str | None, typer.Option(help="Resolution or density as in file names.")] = None,
    tr: Annotated[float | None, typer.Option(help="Repetition time in seconds, where no JSON file states it.")] = None,
    test_runs: Annotated[
        list[str] | None, typer.Option(help="Test runs, such as run-5 'run-*' (default: runs that repeat a clip).")
    ] = None,
    atlas: Annotated[Path | None, typer.Option(help="Image of numbered ROIs, with a .tsv of index and name.")] = None,
    frame_rate: Annotated[
        float | None, typer.Option(help="Frames per second of movies that are folders of pictures or arrays.")
    ] = None,
    confounds: Annotated[
        str | None, typer.Option(help="Strategy, such as motion (default where fMRIPrep's tables are there), or none.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Manifest to write (default: <name>.yaml here).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over a manifest that is there.")] = False,
) -> None:
    """Write the manifest of a BIDS data set and its movie; asks where there is a choice."""
    from brainpred.recordings.manifest import load_manifest
    from brainpred.studies.describe import DescribeConfig, describe_dataset

    config = DescribeConfig(
        bids, movie, name, derivatives, kind, task, space, resolution, tr, tuple(test_runs or ()), atlas, frame_rate,
        confounds,
    )  # fmt: skip
    path, recording = describe_dataset(
        config, out, overwrite=overwrite, ask=_ask if sys.stdin.isatty() else None, reporter=reporter(quiet=False)
    )
    manifest = load_manifest(str(path))
    for run in recording.runs:
        typer.echo(f"{run.name}: {run.role}, {run.n_scans} scans of {recording.tr_s:g} s, shows {run.stimulus}")
    dummies = f"; the first {manifest.dummy_scans} scans of every run are left out" if manifest.dummy_scans else ""
    typer.echo(f"Confounds: {manifest.confounds or 'none'}{dummies}")
    typer.echo(f"Manifest: {path}")
    typer.echo(f"Next: brainpred decode --dataset {path} --subject {recording.subject}")


def _ask(question: str, choices: Sequence[str], flag: str) -> str:
    """Let the user choose one of several by number or name."""
    typer.echo(f"{question} ({flag})")
    for number, choice in enumerate(choices, 1):
        typer.echo(f"  {number}: {choice or 'none'}")
    while True:
        answer = str(typer.prompt("Which", default="1"))
        if answer in choices:
            return answer
        if answer.isdigit() and 0 < int(answer) <= len(choices):
            return choices[int(answer) - 1]


@app.command()
def simulate(
    subject: Annotated[str, typer.Option(help="sim01, sim02, ...")] = "sim01",
    movie: Annotated[Path | None, typer.Option(help="Movie to show instead of the synthesised one.")] = None,
    strength: Annotated[float, typer.Option(help="Factor on all signals; 0: a brain that sees nothing.")] = 1.0,
    runs: Annotated[int, typer.Option(help="Training runs.")] = 6,
    run_s: Annotated[int, typer.Option(help="Length of a run in seconds.")] = 100,
    repeats: Annotated[int, typer.Option(help="Presentations of the test clip.")] = 5,
    bids: Annotated[
        Path | None,
        typer.Option(help="Write a BIDS data set with fMRIPrep's files there instead (voxels of 6 mm, to be quick)."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make the subject anew.")] = False,
    device: Device = "auto",
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Make a simulated subject (decode does so by itself with the default settings)."""
    from brainpred.recordings.readers.simulated import subject_folder
    from brainpred.studies.simulate import SimulationConfig, simulate_bids, simulate_subject

    config = SimulationConfig(n_train_runs=runs, run_s=run_s, n_test_repeats=repeats, strength=strength)
    if bids:
        config = replace(config, n_voxels=EXAMPLE_VOXELS, resolution_mm=EXAMPLE_MM)
        simulate_bids(bids, subject, config, movie=movie, overwrite=overwrite, device=device, reporter=reporter(quiet))
        typer.echo(f"BIDS data set of {subject} (simulated): {bids}")
        return
    recording = simulate_subject(
        subject, config, movie=movie, data=data, overwrite=overwrite, device=device, reporter=reporter(quiet)
    )
    scans = sum(run.n_scans for run in recording.runs)
    typer.echo(f"{recording.label} (simulated): {len(recording.runs)} runs, {scans} scans, {recording.n_voxels} voxels")
    typer.echo(f"Folder: {subject_folder(subject, data)}")
