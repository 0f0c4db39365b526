"""Readers: one module a layout, each with ``read(manifest, subject, data) -> Recording``."""

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from brainpred.errors import ConfigError, ManifestError
from brainpred.recordings.bids_files import subject_label
from brainpred.recordings.content import check_roles
from brainpred.recordings.manifest import Manifest, load_manifest, manifest_names
from brainpred.recordings.recording import Recording

__all__ = ["READERS", "check_subject", "load_recording"]

READERS = ("simulated", "attributes", "bids", "vim2", "shortclips", "algonauts", "bdata", "arrays")
REPEAT = "_repeat-"  # between the name of a part and the number of its repeat


def check_subject(manifest: Manifest, subject: str) -> None:
    """Raise :class:`ConfigError` unless the data set has the subject, listing those it has."""
    if manifest.kind == "pictures":
        others = [name for name in manifest_names() if load_manifest(name).kind == "recording"]
        raise ConfigError(
            f"Data set {manifest.name} holds pictures and no recordings, so it has no subject {subject!r}. "
            f"Data sets with recordings: {', '.join(others)}."
        )
    if manifest.reader == "simulated":
        if not re.fullmatch(r"sim(0[1-9]|[1-9]\d+)", subject):
            raise ConfigError(
                f"Unknown subject {subject!r} in data set {manifest.name}. Simulated subjects are named "
                f"{', '.join(manifest.subjects)}, ..."
            )
    elif subject not in manifest.subjects:
        alike = [name for name in manifest.subjects if subject_label(name) == subject_label(subject)]
        hint = f"Did you mean {alike[0]}? " if alike else ""
        raise ConfigError(
            f"Unknown subject {subject!r} in data set {manifest.name}. {hint}It has: {', '.join(manifest.subjects)}."
        )


def load_recording(dataset: str, subject: str, data: Path | str | None = None) -> Recording:
    """Read the scans of one subject.

    Parameters
    ----------
    dataset : str
        Data set name (see ``brainpred data list``), or path of a manifest file.
    subject : str
        The subject.
    data : Path or str, optional
        Folder that holds one folder a data set; ``$BRAINPRED_DATA`` or the cache by default.

    Returns
    -------
    Recording
        The scans, of each run those that the manifest keeps.

    Raises
    ------
    ConfigError
        If data set or subject are unknown, or the data set holds no recordings.
    ManifestError
        If the manifest is malformed or names no reader there is.
    DataError
        If files are missing or damaged, or training runs show something that test runs show as well.
    """
    manifest = load_manifest(dataset)
    check_subject(manifest, subject)
    if manifest.reader not in READERS:
        raise ManifestError(f"{manifest.name}: no reader {manifest.reader!r}. There are: {', '.join(READERS)}.")
    recording: Recording = import_module(f"{__name__}.{manifest.reader}").read(manifest, subject, data)
    recording = recording.with_scans(_kept_scans(manifest, recording))
    check_roles(recording)
    return replace(recording, simulated=True) if manifest.simulated else recording


def _kept_scans(manifest: Manifest, recording: Recording) -> dict[str, tuple[int, int]]:
    """Tell which scans the manifest keeps, run by run; what it says of a part holds for all repeats of it."""
    kept: dict[str, tuple[int, int]] = {}
    for entry in manifest.runs:
        if entry.scans is not None:
            names = [run.name for run in recording.runs if entry.name in (run.name, run.name.partition(REPEAT)[0])]
            if not names:
                raise ManifestError(
                    f"{manifest.name}: the reader {manifest.reader} knows no run {entry.name}, whose scans are stated. "
                    f"There are: {', '.join(run.name for run in recording.runs)}."
                )
            kept |= dict.fromkeys(names, (entry.scans[0], entry.scans[1]))
    return kept
