"""Read a 4-D NIfTI image whose scans a text file labels with condition and run (PyMVPA's layout)."""

from functools import partial
from pathlib import Path

import numpy as np

from brainpred.errors import DataError
from brainpred.recordings.fetch import dataset_files
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.recording import LazyScans, Recording, Run
from brainpred.recordings.selection import roi_labels
from brainpred.recordings.spaces import Volume
from brainpred.recordings.volumes import check_grid, open_image, read_volume, read_volumes, reading

__all__ = ["read"]


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a subject.

    Parameters
    ----------
    manifest : Manifest
        Data set with the files ``bold`` (4-D), ``mask`` (3-D) and ``attributes`` (a line a scan: label, run).
    subject : str
        The subject.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Recording
        Runs without test role: they are scored by leaving one out at a time.

    Raises
    ------
    DataError
        If a file is damaged, or image, mask and attributes do not belong together.
    """
    paths = dataset_files(manifest, subject, data)
    label, again = f"{manifest.name}/{subject}", f"Get it again: {manifest.access}"
    image = open_image(paths["bold"], label, again)
    mask, values = read_volume(paths["mask"], label, again)
    inside = values > 0
    with reading(paths["attributes"], label, again):
        runs_of_scans = _read_attributes(paths["attributes"])
    if len(image.shape) != 4:
        raise DataError(f"{label}: {paths['bold'].name} must hold scans in a fourth dimension, found {image.shape}.")
    check_grid(label, paths["mask"], mask, paths["bold"], image)
    if image.shape[3] != len(runs_of_scans):
        raise DataError(
            f"{label}: {paths['attributes'].name} labels {len(runs_of_scans)} scans, but the image "
            f"has {image.shape[3]}."
        )
    runs = []
    for number in dict.fromkeys(runs_of_scans.tolist()):
        name, scans = f"run-{int(number) + 1:02d}", np.flatnonzero(runs_of_scans == number)
        read_scans = partial(read_volumes, paths["bold"], inside, scans, f"{label}, run {name}", again)
        bold = LazyScans((len(scans), int(inside.sum())), read_scans)
        runs.append(Run(name, "train", bold, file=paths["bold"].name))
    space = Volume.like(inside, image)
    return Recording(manifest.name, subject, manifest.tr_s, runs, space, roi_labels({}, space.n_voxels))


def _read_attributes(path: Path) -> np.ndarray:
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if rows and not rows[0][-1].lstrip("-").isdigit():
        rows = rows[1:]
    return np.array([int(row[1]) for row in rows])
