"""One form for every scan: runs of scans by voxels, with the stimulus, the mask and the ROIs they belong to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import DataError
from brainpred.numerics.spread import varies

__all__ = ["Recording", "Run", "clean_run"]

ROLES = ("train", "test")


@dataclass(frozen=True, eq=False)
class Run:
    """Describe one run of a recording.

    Attributes
    ----------
    name : str
        Name, unique in the recording.
    role : {"train", "test"}
        What the run serves for. A recording without test runs is scored by leaving out one run at a time.
    bold : ndarray of float32 (n_scans, n_voxels)
        The BOLD signal, as measured.
    stimulus : str or None
        Name of the movie clip shown; test runs that share a clip are repeats.
    """

    name: str
    role: str
    bold: NDArray[np.float32]
    stimulus: str | None = None

    @property
    def n_scans(self) -> int:
        """Number of scans."""
        return len(self.bold)


@dataclass(frozen=True)
class Recording:
    """Hold the scans of one subject.

    Attributes
    ----------
    dataset, subject : str
        Where they come from.
    tr_s : float
        Repetition time in seconds.
    runs : sequence of Run
        The runs, in order.
    mask : SpatialImage
        Binary image of the voxels, in the order of C-contiguous flattening.
    rois : ndarray of str (n_voxels,)
        ROI of each voxel.
    stimuli : mapping of str to Path
        Movie file of each clip.
    simulated : bool
        Whether the scans were computed and not measured.
    simulation : mapping of str to object
        How they were computed.
    """

    dataset: str
    subject: str
    tr_s: float
    runs: Sequence[Run]
    mask: SpatialImage
    rois: NDArray[np.str_]
    stimuli: Mapping[str, Path] = field(default_factory=dict)
    simulated: bool = False
    simulation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_voxels = self.n_voxels
        if not n_voxels or not self.tr_s > 0:
            raise DataError(f"{self.label}: expected voxels in the mask and tr_s > 0, got {n_voxels} and {self.tr_s}.")
        if not self.runs:
            raise DataError(f"{self.label}: the recording has no runs.")
        if len(self.rois) != n_voxels:
            raise DataError(
                f"{self.label}: expected one ROI label for each of {n_voxels} voxels, got {len(self.rois)}."
            )
        names = [run.name for run in self.runs]
        if len(set(names)) < len(names):
            raise DataError(f"{self.label}: every run needs a name of its own, received {', '.join(names)}.")
        for run in self.runs:
            where = f"{self.label}, run {run.name}"
            if run.role not in ROLES:
                raise DataError(f"{where}: role must be one of {', '.join(ROLES)}, received {run.role!r}.")
            if run.bold.ndim != 2 or run.bold.shape[1] != n_voxels:
                raise DataError(
                    f"{where}: the mask selects {n_voxels} voxels, but the scan has {run.bold.shape[-1]}. "
                    "Use the mask that belongs to this scan."
                )
            broken = ~np.isfinite(run.bold).all(axis=0)
            if broken.any():
                raise DataError(
                    f"{where}: {broken.sum()} of {n_voxels} voxels hold NaN or infinity (the first is voxel "
                    f"{int(np.flatnonzero(broken)[0])}). Leave them out of the mask, or repair the scan."
                )

    @property
    def label(self) -> str:
        """Name for messages, such as ``"simulated/sim01"``."""
        return f"{self.dataset}/{self.subject}"

    @property
    def n_voxels(self) -> int:
        """Number of voxels inside the mask."""
        return int(np.count_nonzero(np.asanyarray(self.mask.dataobj) > 0))

    def runs_with_role(self, role: str) -> list[Run]:
        """Give the runs that serve for training or testing.

        Parameters
        ----------
        role : {"train", "test"}
            The role.

        Returns
        -------
        list of Run
            Runs of that role, in order.
        """
        return [run for run in self.runs if run.role == role]

    def to_image(self, values: ArrayLike) -> nib.Nifti1Image:
        """Put one number a voxel back into the space of the scan.

        Parameters
        ----------
        values : array_like (n_voxels,)
            Numbers.

        Returns
        -------
        nibabel.Nifti1Image
            float32 image with the affine of the mask, 0 outside it.
        """
        values = np.asarray(values, dtype=np.float32)
        if values.shape != (self.n_voxels,):
            raise DataError(
                f"{self.label}: expected {self.n_voxels} values, one a voxel, received shape {values.shape}."
            )
        inside = np.asanyarray(self.mask.dataobj) > 0
        volume = np.zeros(inside.shape, dtype=np.float32)
        volume[inside] = values
        return nib.Nifti1Image(volume, self.mask.affine)


def clean_run(bold: NDArray[np.float32], tr_s: float) -> NDArray[np.float32]:
    """Remove the linear trend of every voxel and standardise it within the run, with nilearn.

    Parameters
    ----------
    bold : ndarray of float32 (n_scans, n_voxels)
        BOLD signal; left as it is.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    ndarray of float32 (n_scans, n_voxels)
        Mean 0 and standard deviation 1; 0 where a voxel is constant.
    """
    from nilearn.signal import clean

    cleaned = clean(bold, detrend=True, standardize="zscore_sample", t_r=tr_s, ensure_finite=False).astype(np.float32)
    # Without its trend, a constant is rounding error, which must not be blown up to variance 1.
    cleaned[:, ~varies(bold)] = 0
    return cleaned
