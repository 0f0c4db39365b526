"""Measure the quality of a recording: tables of runs, scans and regions, and a map of tSNR."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.numerics.quality import RunQuality, run_quality
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.recording import Recording
from brainpred.recordings.spaces import Volume
from brainpred.storage import write_table
from brainpred.studies.outputs import write_map
from brainpred.studies.voxels import voxel_table

__all__ = ["voxel_places_mm", "write_quality"]


def write_quality(folder: Path, recording: Recording, reporter: Reporter = SILENT) -> list[str]:
    """Measure the quality of every run as measured, and write ``quality_*.tsv`` and the map ``tsnr``.

    Parameters
    ----------
    folder : Path
        Where to.
    recording : Recording
        The scans, without dummy scans; one run at a time is read.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of str
        Names of the map's files.
    """
    data = "simulated" if recording.simulated else "measured"
    places = voxel_places_mm(recording)
    runs: list[dict[str, Any]] = []
    scans, tsnr = [], np.zeros(recording.n_voxels)
    constant = np.zeros(recording.n_voxels, dtype=bool)
    with reporter.task("Quality of the scans", len(recording.runs)) as advance:
        for run in recording.runs:
            quality = run_quality(recording.read_run(run), places)
            runs.append({"run": run.name, "data": data, "role": run.role, **_of_run(quality)})
            scans.append(_of_scans(run.name, quality))
            tsnr += quality.tsnr / len(recording.runs)
            constant |= quality.constant
            advance(1)
    rois = [
        {
            "roi": str(roi), "data": data, "n_voxels": int(own.sum()), "n_constant_voxels": int(np.sum(constant[own])),
            "median_tsnr": float(np.median(tsnr[own])),
        }
        for roi, own in ((roi, recording.rois == roi) for roi in np.unique(recording.rois))
    ]  # fmt: skip
    if np.any(~constant) and np.median(np.abs(tsnr[~constant])) < 1:
        reporter.say(
            "Note: the scans vary about 0, as they do once they are z-scored, so that tSNR says nothing of them."
        )
    write_table(folder / "quality_runs.tsv", pd.DataFrame(runs))
    write_table(folder / "quality_scans.tsv", pd.concat(scans))
    write_table(folder / "quality_rois.tsv", pd.DataFrame(rois))
    write_table(folder / "quality_voxels.tsv", voxel_table(recording, {"tsnr": tsnr}))
    return write_map(folder / "tsnr", recording, tsnr, "temporal signal-to-noise ratio")


def _of_run(quality: RunQuality) -> dict[str, Any]:
    varying = quality.tsnr[~quality.constant]
    return {
        "n_scans": len(quality.dvars), "median_tsnr": float(np.median(varying)) if len(varying) else float("nan"),
        "median_dvars": float(np.nanmedian(quality.dvars)), "n_spikes": int(quality.spikes.sum()),
        "largest_shift_mm": float(quality.shift_mm.max()), "n_constant_voxels": int(quality.constant.sum()),
    }  # fmt: skip


def _of_scans(run: str, quality: RunQuality) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": run,
            "scan": np.arange(len(quality.dvars)),
            "dvars": quality.dvars,
            "spike": quality.spikes.astype(int),
            "shift_mm": quality.shift_mm,
        }
    )


def voxel_places_mm(recording: Recording) -> NDArray[np.float64] | None:
    """Give the coordinates of the voxels, (n_voxels, 3), by the affine of the mask; None where scans are no volume."""
    if not isinstance(recording.space, Volume):
        return None
    places: NDArray[np.float64] = nib.affines.apply_affine(
        recording.space.mask.affine, np.argwhere(recording.space.inside)
    )
    return places
