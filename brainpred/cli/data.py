"""Commands about data sets."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from brainpred.cli.options import Data, Device, Quiet, reporter

__all__ = ["app"]

EXAMPLE_VOXELS, EXAMPLE_MM = 8_000, 6

app = typer.Typer(help="List, describe, fetch, verify and simulate data sets.", no_args_is_help=True)


@app.command("list")
def list_datasets() -> None:
    """List the data sets that brainpred knows."""
    from brainpred.recordings.manifest import load_manifest, manifest_names

    for name in manifest_names():
        manifest = load_manifest(name)
        typer.echo(f"{name:<14} {manifest.title} ({', '.join(manifest.subjects) or manifest.kind})")


@app.command()
def show(dataset: Annotated[str, typer.Argument(help="Name of a data set, or a manifest file.")]) -> None:
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
    dataset: Annotated[str, typer.Argument(help="Name of a data set, or a manifest file.")],
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
    dataset: Annotated[str, typer.Argument(help="Name of a data set, or a manifest file.")],
    subjects: Annotated[list[str] | None, typer.Option(help="Subjects to look at (default: all).")] = None,
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Look at every file of a data set and read every run once: present, missing or corrupt."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from brainpred.recordings.manifest import load_manifest
    from brainpred.studies.verify import PRESENT, verify_dataset

    checks = verify_dataset(dataset, data, subjects=subjects, reporter=reporter(quiet))
    table = Table(title=load_manifest(dataset).name, title_justify="left")
    for column in ("subject", "what", "file", "state", "found"):
        table.add_column(column, overflow="fold")
    for check in checks:
        colour = "green" if check.state == PRESENT else "red"
        state = f"[{colour}]{check.state}[/{colour}]"
        table.add_row(check.subject, escape(check.what), escape(check.file), state, escape(check.detail))
    Console().print(table)
    wrong = [check for check in checks if check.state != PRESENT]
    typer.echo(f"{len(checks) - len(wrong)} of {len(checks)} present.")
    if wrong:
        raise typer.Exit(1)


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
