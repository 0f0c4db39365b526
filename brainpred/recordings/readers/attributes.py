"""Read a 4-D NIfTI image whose scans a text file labels with condition and run (PyMVPA's layout)."""

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from brainpred.errors import DataError
from brainpred.recordings.fetch import dataset_files
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.recording import Recording, Run

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
    try:
        for name in ("bold", "mask"):
            _check_gzip(paths[name])
        image, mask = nib.load(paths["bold"]), nib.load(paths["mask"])
        volume = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
        inside = np.asanyarray(mask.dataobj) > 0  # type: ignore[attr-defined]
        runs_of_scans = _read_attributes(paths["attributes"])
    except (OSError, EOFError, ValueError, IndexError, zlib.error, ImageFileError) as error:
        raise DataError(
            f"{manifest.name}/{subject}: cannot read its files ({error}). Get them again: {manifest.access}"
        ) from error
    if volume.ndim != 4 or volume.shape[:3] != inside.shape:
        raise DataError(
            f"{manifest.name}/{subject}: the mask's grid is {inside.shape}, the scan's {volume.shape[:3]}. "
            "Use the mask that belongs to this scan."
        )
    if volume.shape[3] != len(runs_of_scans):
        raise DataError(
            f"{manifest.name}/{subject}: {paths['attributes'].name} labels {len(runs_of_scans)} scans, "
            f"but the image has {volume.shape[3]}."
        )
    bold = volume[inside].T.astype(np.float32)  # (n_scans, n_voxels)
    runs = [
        Run(f"run-{int(number) + 1:02d}", "train", bold[runs_of_scans == number])
        for number in dict.fromkeys(runs_of_scans.tolist())
    ]
    binary = nib.Nifti1Image(inside.astype(np.uint8), image.affine)  # type: ignore[attr-defined]
    return Recording(manifest.name, subject, manifest.tr_s, runs, binary, np.full(int(inside.sum()), "mask"))


def _check_gzip(path: Path) -> None:
    """Read a compressed file to its end, where its checksum is: nibabel stops before."""
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            while stream.read(1 << 24):
                pass


def _read_attributes(path: Path) -> np.ndarray:
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if rows and not rows[0][-1].lstrip("-").isdigit():
        rows = rows[1:]
    return np.array([int(row[1]) for row in rows])
