"""Write a recording as a BIDS data set with the files of fMRIPrep, to try what a laboratory's own would do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.recordings.recording import Recording
from brainpred.recordings.spaces import Volume
from brainpred.storage import atomic_path, make_directory, write_json, write_table

__all__ = ["write_bids"]

SPACE = "MNI152NLin2009cAsym"
VERSION = "1.9.0"
TASK = "movie"
# BOLD comes in percent around zero; scanners give positive numbers.
BASELINE, PER_UNIT = 1000.0, 10.0
SECONDS_PER_COSINE = 128


def write_bids(recording: Recording, movies: Mapping[str, str], folder: Path, rng: np.random.Generator) -> Path:
    """Write a recording of volumes: events, and in ``derivatives/fmriprep`` scans, masks, confounds and JSON files.

    Runs are numbered in order, ``run-1`` and so on. Regions of interest become ``derivatives/rois/rois.nii.gz`` with
    ``rois.tsv``. The scans of ``derivatives`` have no raw scans beside them, which decoding does not need.

    Parameters
    ----------
    recording : Recording
        The scans, of a :class:`brainpred.recordings.spaces.Volume`.
    movies : mapping of str to str
        File below ``stimuli/`` of each clip.
    folder : Path
        Folder of the data set.
    rng : Generator
        For head movements, which are noise in a table of confounds and not in the scans.

    Returns
    -------
    Path
        The folder.
    """
    assert isinstance(recording.space, Volume)
    subject = f"sub-{recording.subject}"
    raw = make_directory(folder / subject / "func")
    derived = make_directory(folder / "derivatives" / "fmriprep" / subject / "func")
    sidecar = {"RepetitionTime": recording.tr_s, "TaskName": TASK, "SliceTimingCorrected": False}
    for number, run in enumerate(recording.runs, 1):
        prefix = f"{subject}_task-{TASK}_run-{number}"
        image = f"{prefix}_space-{SPACE}"
        _save(_volumes(recording, recording.read_run(run)), derived / f"{image}_desc-preproc_bold.nii.gz")
        _save(recording.space.mask, derived / f"{image}_desc-brain_mask.nii.gz")
        write_json(derived / f"{image}_desc-preproc_bold.json", sidecar)
        confounds = derived / f"{prefix}_desc-confounds_timeseries.tsv"
        write_table(confounds, _draw_confounds(run.n_scans, recording.tr_s, rng))
        if run.stimulus:
            events = {"onset": [0.0], "duration": [run.n_scans * recording.tr_s], "stim_file": [movies[run.stimulus]]}
            write_table(raw / f"{prefix}_events.tsv", pd.DataFrame(events))
    _write_rois(recording, make_directory(folder / "derivatives" / "rois"))
    write_json(folder / f"task-{TASK}_bold.json", {"RepetitionTime": recording.tr_s, "TaskName": TASK})
    about = {"Name": f"{recording.dataset} {recording.subject}", "BIDSVersion": VERSION, "DatasetType": "raw"}
    of_derivatives = {**about, "DatasetType": "derivative", "GeneratedBy": [{"Name": "brainpred data simulate"}]}
    write_json(folder / "derivatives" / "fmriprep" / "dataset_description.json", of_derivatives)
    write_json(folder / "dataset_description.json", about)  # comes last and marks the data set complete
    return folder


def _save(image: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _volumes(recording: Recording, bold: NDArray[np.float32]) -> nib.Nifti1Image:
    """Put scans into volumes, (x, y, z, n_scans)."""
    inside = recording.space.inside  # type: ignore[attr-defined]
    volumes = np.zeros((*inside.shape, len(bold)), dtype=np.float32)
    volumes[inside] = BASELINE + PER_UNIT * bold.T
    image = nib.Nifti1Image(volumes, recording.space.mask.affine)  # type: ignore[attr-defined]
    image.header.set_zooms((*image.header.get_zooms()[:3], recording.tr_s))
    image.header.set_xyzt_units("mm", "sec")
    return image


def _draw_confounds(n_scans: int, tr_s: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draw what fMRIPrep would say of movements and tissues, with its columns of slow cosines."""
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"] + ["csf", "white_matter", "global_signal"]
    columns: dict[str, NDArray[np.floating]] = {}
    for name in names:
        values = rng.normal(0, 0.01, n_scans)
        change = np.concatenate([[np.nan], np.diff(values)])
        columns |= {name: values, f"{name}_derivative1": change}
        columns |= {f"{name}_power2": values**2, f"{name}_derivative1_power2": change**2}
    for number in range(1, int(2 * n_scans * tr_s / SECONDS_PER_COSINE) + 1):
        columns[f"cosine{number - 1:02d}"] = np.cos(np.pi * number * (np.arange(n_scans) + 0.5) / n_scans)
    return pd.DataFrame(columns)


def _write_rois(recording: Recording, folder: Path) -> None:
    names = list(dict.fromkeys(recording.rois.tolist()))
    (image,) = recording.space.images(np.array([names.index(roi) + 1 for roi in recording.rois], np.float32)).values()
    _save(image, folder / "rois.nii.gz")
    write_table(folder / "rois.tsv", pd.DataFrame({"index": range(1, len(names) + 1), "name": names}))
