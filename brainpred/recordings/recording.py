"""One form for every scan: runs of scans by voxels, read when asked, with what was shown, ROIs and a place in space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import DataError
from brainpred.recordings.spaces import NoSpace, Space, Volume
from brainpred.stimulus import Movie
from brainpred.storage import atomic_path

__all__ = ["LazyScans", "Recording", "Run"]

ROLES = ("train", "test")


class LazyScans:
    """Stand for the scans of a run that lie in a file, and read them whenever they are wanted; nothing is kept.

    Parameters
    ----------
    shape : (n_scans, n_voxels)
        Their number, known without reading them.
    read : callable
        Reads them, float32 (n_scans, n_voxels).
    """

    dtype = np.dtype(np.float32)

    def __init__(self, shape: tuple[int, int], read: Callable[[], NDArray[np.float32]]):
        self.shape, self._read = shape, read

    @property
    def ndim(self) -> int:
        """Two."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._read().astype(dtype or self.dtype, copy=False)


Scans = NDArray[np.float32] | LazyScans


@dataclass(frozen=True, eq=False)
class Run:
    """Describe one run of a recording.

    Attributes
    ----------
    name : str
        Name, unique in the recording.
    role : {"train", "test"}
        What the run serves for. A recording without test runs is scored by leaving out one run at a time.
    bold : array or LazyScans of float32 (n_scans, n_voxels)
        The BOLD signal, as measured; :meth:`Recording.read_run` reads and checks it.
    stimulus : str or None
        Name of what was shown, of which :attr:`Recording.stimuli` has the movie; test runs that share it are repeats.
    confounds : callable or None
        Gives the confounds of a named strategy, (n_scans, n_confounds); None where none are known.
    file : str
        File that the scans come from, for messages.
    """

    name: str
    role: str
    bold: Scans
    stimulus: str | None = None
    confounds: Callable[[str], NDArray[np.floating]] | None = None
    file: str = ""

    @property
    def n_scans(self) -> int:
        """Number of scans."""
        return int(self.bold.shape[0])


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
    space : Space
        Where the voxels lie; see :mod:`brainpred.recordings.spaces`.
    rois : ndarray of str (n_voxels,)
        One ROI for each voxel, as bands need it.
    stimuli : mapping of str to Movie
        Movie of each stimulus, on the clock of the runs that show it.
    simulated : bool
        Whether the scans were computed and not measured.
    simulation : mapping of str to object
        How they were computed.
    roi_masks : mapping of str to ndarray of bool (n_voxels,)
        Voxels of each ROI, where ROIs overlap.
    notes : tuple of str
        What a reader should tell: voxels that are left out, places that are not known.
    """

    dataset: str
    subject: str
    tr_s: float
    runs: Sequence[Run]
    space: Space
    rois: NDArray[np.str_]
    stimuli: Mapping[str, Movie] = field(default_factory=dict)
    simulated: bool = False
    simulation: Mapping[str, Any] = field(default_factory=dict)
    roi_masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
            if len(run.bold.shape) != 2 or run.bold.shape[1] != n_voxels:
                raise DataError(
                    f"{where}: the mask selects {n_voxels} voxels, but the scan has {run.bold.shape[-1]}. "
                    "Use the mask that belongs to this scan."
                )

        self._check_repeats()

    def _check_repeats(self) -> None:
        """Refuse runs that show the same but go on for longer than others by more than a scan."""
        first: dict[tuple[str, str], Run] = {}
        for run in self.runs:  # that training and test runs show the same is another matter, and worse
            other = first.setdefault((run.role, run.stimulus or run.name), run)
            if abs(other.n_scans - run.n_scans) > 1:
                raise DataError(
                    f"{self.label}, run {run.name}: it has {run.n_scans} scans, but run {other.name}, which shows "
                    f"{run.stimulus} as well, has {other.n_scans}. Repeats may differ by one scan: name their stimuli "
                    "differently, or look for the missing scans."
                )

    @property
    def label(self) -> str:
        """Name for messages, such as ``"simulated/sim01"``."""
        return f"{self.dataset}/{self.subject}"

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.space.n_voxels

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

    @property
    def repeats(self) -> dict[str, list[Run]]:
        """Runs that show the same, by stimulus, where more than one does."""
        shown: dict[str, list[Run]] = {}
        for run in self.runs:
            if run.stimulus is not None:
                shown.setdefault(run.stimulus, []).append(run)
        return {stimulus: runs for stimulus, runs in shown.items() if len(runs) > 1}

    def onset_s(self, run: Run) -> float | None:
        """Tell when what a run shows begins, in seconds from its first scan; None where no movie is known."""
        movie = self.stimuli.get(run.stimulus or "")
        return None if movie is None else movie.excerpts[0].onset_s

    def read_run(self, run: Run) -> NDArray[np.float32]:
        """Read the scans of one run, and check them.

        Parameters
        ----------
        run : Run
            One of the recording's runs.

        Returns
        -------
        ndarray of float32 (n_scans, n_voxels)
            The BOLD signal, as measured.

        Raises
        ------
        DataError
            If voxels hold NaN or infinity, or none varies.
        """
        where = f"{self.label}, run {run.name}" + (f" ({run.file})" if run.file else "")
        bold = np.asarray(run.bold, dtype=np.float32)
        if bold.shape != tuple(run.bold.shape):
            raise DataError(f"{where}: expected {run.bold.shape} scans and voxels, read {bold.shape}.")
        with np.errstate(invalid="ignore"):  # infinities of both signs make NaN
            broken = ~np.isfinite(bold.sum(axis=0, dtype=np.float64))  # no second array of the run's size
        if broken.any():
            first = int(np.flatnonzero(broken)[0])
            cell = f" at {', '.join(map(str, self.space.cell(first)))}" if isinstance(self.space, Volume) else ""
            raise DataError(
                f"{where}: {broken.sum()} of {self.n_voxels} voxels hold NaN or infinity (the first is voxel "
                f"{first}{cell}). Leave them out of the mask or voxel index, or "
                "repair the scan."
            )
        if not (bold.max(axis=0) > bold.min(axis=0)).any():
            raise DataError(
                f"{where}: no voxel varies over its {len(bold)} scans. Look whether the file is the right one."
            )
        return bold

    def without_dummies(self, n_dummies: int) -> "Recording":
        """Leave out the first scans of every run, taken before the magnetisation is steady.

        Parameters
        ----------
        n_dummies : int
            Scans to leave out.

        Returns
        -------
        Recording
            The same, with shorter runs and with stimuli that begin as many scans earlier.

        Raises
        ------
        DataError
            If a run has no more scans than that.
        """
        if not n_dummies:
            return self
        for run in self.runs:
            if run.n_scans <= n_dummies:
                raise DataError(
                    f"{self.label}, run {run.name}: {n_dummies} dummy scans are to be left out, but it has "
                    f"{run.n_scans}. Ask for fewer."
                )
        stimuli = {name: movie.shifted(-n_dummies * self.tr_s) for name, movie in self.stimuli.items()}
        return replace(self, runs=[_shortened(run, n_dummies, run.n_scans) for run in self.runs], stimuli=stimuli)

    def with_scans(self, scans: Mapping[str, tuple[int, int]]) -> "Recording":
        """Keep a part of some runs, such as all but a clip that other runs show as well.

        Parameters
        ----------
        scans : mapping of str to (int, int)
            By the name of a run, the first scan that is kept, counted from 0, and the first after it that is not.

        Returns
        -------
        Recording
            The same, with shorter runs, and with stimuli that begin with the first scan and end with the last.

        Raises
        ------
        DataError
            If a run has fewer scans, or runs that show the same are to keep other scans.
        """
        if not scans:
            return self
        kept: dict[str, tuple[int, int]] = {}
        stimuli = dict(self.stimuli)
        for run in self.runs:
            first, stop = scans.get(run.name, (0, run.n_scans))
            if stop > run.n_scans:
                raise DataError(
                    f"{self.label}, run {run.name}: scans {first} to {stop - 1}, counted from 0, are to be kept, but "
                    f"it has {run.n_scans}. Correct scans in the manifest's runs."
                )
            others = [other for other in self.runs if other.stimulus == run.stimulus and run.stimulus is not None]
            if any(scans.get(other.name) != scans.get(run.name) for other in others):
                raise DataError(
                    f"{self.label}: runs {', '.join(other.name for other in others)} show the same "
                    f"({run.stimulus}), but other scans of them are to be kept. State the same scans for all of them."
                )
            kept[run.name] = (first, stop)
            if run.name in scans and run.stimulus is not None and run.stimulus in self.stimuli:
                movie = self.stimuli[run.stimulus].shifted(-first * self.tr_s)
                cut = stop < run.n_scans
                stimuli[run.stimulus] = movie.until((stop - first) * self.tr_s) if cut else movie
        return replace(self, runs=[_shortened(run, *kept[run.name]) for run in self.runs], stimuli=stimuli)

    def to_image(self, values: ArrayLike) -> Any:
        """Put one number a voxel back into the space of the scan.

        Parameters
        ----------
        values : array_like (n_voxels,)
            Numbers.

        Returns
        -------
        nibabel.Nifti1Image, nibabel.Cifti2Image or tuple of two nibabel.GiftiImage
            float32 image of the scan's own kind, 0 where no voxel was read; for surfaces, left and right hemisphere.

        Raises
        ------
        DataError
            If there is another number of values than voxels, or nobody knows where the voxels lie.
        """
        images = tuple(self.space.images(self._checked(values)).values())
        return images if len(images) > 1 else images[0]

    def write_map(self, stem: Path, values: ArrayLike, description: str = "") -> list[Path]:
        """Write one number a voxel as an image of the scan's own kind, or as a table where there is no space.

        Parameters
        ----------
        stem : Path
            File name without its ending.
        values : array_like (n_voxels,)
            Numbers.
        description : str
            What they are.

        Returns
        -------
        list of Path
            ``.nii.gz``, two ``.func.gii``, ``.dscalar.nii`` or ``.tsv``.
        """
        values = self._checked(values)
        if isinstance(self.space, NoSpace):
            path = stem.with_name(f"{stem.name}.tsv")
            with atomic_path(path) as temporary:
                table = pd.DataFrame({"voxel": np.arange(self.n_voxels), "roi": self.rois, "value": values})
                table.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
            return [path]
        paths = []
        for ending, image in self.space.images(values, description).items():
            paths.append(stem.with_name(f"{stem.name}{ending}"))
            with atomic_path(paths[-1]) as temporary:
                image.to_filename(temporary)
        return paths

    def _checked(self, values: ArrayLike) -> NDArray[np.float32]:
        values = np.asarray(values, dtype=np.float32)
        if values.shape != (self.n_voxels,):
            raise DataError(
                f"{self.label}: expected {self.n_voxels} values, one a voxel, received shape {values.shape}."
            )
        return values


def _shortened(run: Run, first: int, stop: int) -> Run:
    """Keep some scans of a run, one after the other, and their confounds."""
    if (first, stop) == (0, run.n_scans):
        return run
    bold, confounds = run.bold, run.confounds
    return replace(
        run,
        bold=LazyScans((stop - first, int(bold.shape[1])), lambda: np.asarray(bold, dtype=np.float32)[first:stop]),
        confounds=None if confounds is None else lambda strategy: confounds(strategy)[first:stop],
    )
