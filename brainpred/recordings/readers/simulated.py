"""Read and write a simulated subject: one HDF5 file of runs, the mask and the ROI labels as NIfTI and TSV."""

import json
import zlib
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from brainpred.arrays import open_hdf5
from brainpred.errors import DataError
from brainpred.recordings.fetch import data_folder
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.recording import LazyScans, Recording, Run
from brainpred.recordings.spaces import Volume
from brainpred.stimulus import Movie
from brainpred.storage import atomic_path, make_directory

__all__ = ["is_written", "read", "read_settings", "subject_folder", "write"]


def subject_folder(subject: str, data: Path | str | None = None) -> Path:
    """Give the folder of a simulated subject.

    Parameters
    ----------
    subject : str
        Such as ``"sim01"``.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Path
        The folder, which need not exist.
    """
    return data_folder(data) / "simulated" / subject


def is_written(subject: str, data: Path | str | None = None) -> bool:
    """Tell whether a simulated subject is complete on disk."""
    return (subject_folder(subject, data) / "recording.h5").is_file()


def read_settings(subject: str, data: Path | str | None = None) -> dict[str, Any]:
    """Tell how a simulated subject was made.

    Parameters
    ----------
    subject : str
        Such as ``"sim01"``.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    dict
        Settings; empty where they cannot be read.
    """
    try:
        with h5py.File(subject_folder(subject, data) / "recording.h5") as file:
            return dict(json.loads(file.attrs["settings"]))
    except (OSError, KeyError, ValueError):
        return {}


def write(recording: Recording, truth: pd.DataFrame, settings: dict[str, Any], data: Path | str | None = None) -> Path:
    """Write a simulated subject; ``recording.h5`` comes last and marks it complete.

    Parameters
    ----------
    recording : Recording
        The subject.
    truth : DataFrame (n_voxels rows)
        What every voxel carries.
    settings : dict
        How it was made.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Path
        The subject's folder.
    """
    folder = make_directory(subject_folder(recording.subject, data))
    names = list(dict.fromkeys(recording.rois.tolist()))
    labels = recording.to_image([names.index(roi) + 1 for roi in recording.rois])
    mask = recording.space.mask  # type: ignore[attr-defined]
    for name, image in (("mask.nii.gz", mask), ("rois.nii.gz", labels)):
        with atomic_path(folder / name) as temporary:
            nib.save(image, temporary)
    for name, table in (
        ("rois.tsv", pd.DataFrame({"index": range(1, len(names) + 1), "name": names})),
        ("truth.tsv", truth),
    ):
        with atomic_path(folder / name) as temporary:
            table.to_csv(temporary, sep="\t", index=False, float_format="%.5g", na_rep="n/a")
    with atomic_path(folder / "recording.h5") as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            dataset=recording.dataset,
            subject=recording.subject,
            tr_s=recording.tr_s,
            simulated=True,
            settings=json.dumps(settings),
            # Stimuli lie beside the subjects, since all subjects watch the same movie.
            stimuli=json.dumps({name: movie.name for name, movie in recording.stimuli.items()}),
            run_order=json.dumps([run.name for run in recording.runs]),
        )
        file["rois"] = np.array(recording.rois, dtype="S")
        for run in recording.runs:
            data_set = file.create_dataset(f"runs/{run.name}", data=np.asarray(run.bold), dtype=np.float32)
            data_set.attrs.update(role=run.role, stimulus=run.stimulus or "")
    return folder


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a simulated subject that :func:`write` wrote.

    Parameters
    ----------
    manifest : Manifest
        The simulated data set.
    subject : str
        The subject.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Recording
        The subject.

    Raises
    ------
    DataError
        If it has not been made or its files are damaged.
    """
    folder = subject_folder(subject, data)
    remedy = f"Make it again with: brainpred data simulate --subject {subject} --overwrite"
    if not is_written(subject, data):
        raise DataError(f"{manifest.name}/{subject}: not found in {folder}. {remedy}")
    try:
        mask = nib.load(folder / "mask.nii.gz")
        np.asanyarray(mask.dataobj)  # type: ignore[attr-defined]
        with h5py.File(folder / "recording.h5") as file:
            attributes = dict(file.attrs)
            runs = [
                Run(
                    name,
                    str(file[f"runs/{name}"].attrs["role"]),
                    _lazily(
                        folder / "recording.h5", name, file[f"runs/{name}"].shape, f"{manifest.name}/{subject}", remedy
                    ),
                    str(file[f"runs/{name}"].attrs["stimulus"]) or None,
                )
                for name in json.loads(attributes["run_order"])
            ]
            rois = file["rois"][:].astype(str)
        movies = json.loads(attributes["stimuli"])
        tr_s = float(attributes["tr_s"])
    except (OSError, EOFError, KeyError, ValueError, zlib.error, ImageFileError) as error:
        raise DataError(f"{manifest.name}/{subject}: damaged files in {folder} ({error}). {remedy}") from error
    stimuli = {name: Movie.parse(folder.parent / "stimuli" / file) for name, file in movies.items()}
    return Recording(
        manifest.name,
        subject,
        tr_s,
        runs,
        Volume(mask),
        rois,
        stimuli,
        simulated=True,
        simulation=read_settings(subject, data),  # type: ignore[arg-type]
    )


def _lazily(path: Path, name: str, shape: tuple[int, int], label: str, remedy: str) -> LazyScans:
    def read_scans() -> NDArray[np.float32]:
        with open_hdf5(path, f"{label}, run {name}", remedy) as file:
            return np.asarray(file[f"runs/{name}"][:], dtype=np.float32)

    return LazyScans(shape, read_scans)
