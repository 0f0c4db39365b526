"""Keep what is generated: frames as HDF5, the panels of the movie, the moments of the film strip."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brainpred.reconstruction.metrics import FRAME_METRICS
from brainpred.storage import atomic_path

__all__ = ["SETTINGS", "Clip", "FrameWriter", "reconstruction_name", "strip_moments"]

# What tells one reconstruction of the same layers from another, and what is the default.
SETTINGS = {"through": "swap", "drive": "closed-loop", "hold": "nearest", "variance": "halfway", "runs": "test"}

STRIP_COLUMNS = 10
CHUNK_BYTES = 2**20


class Clip(NamedTuple):
    """Place one clip among the decoded scans and in the movie that is written.

    Attributes
    ----------
    name : str
        Name.
    first, n_scans : int
        Its rows among the decoded scans.
    begins_s : float
        When it begins in the movie, after the clips before it.
    times_s : ndarray of float64 (n_frames,)
        When each frame is shown, from the beginning of the clip.
    scans : ndarray of int64 (n_frames,)
        Scan of the clip that each frame falls into.
    """

    name: str
    first: int
    n_scans: int
    begins_s: float
    times_s: NDArray[np.float64]
    scans: NDArray[np.int64]


def reconstruction_name(layers: str, settings: Mapping[str, str]) -> str:
    """Name the files of a reconstruction: the layers, and what of the settings is not the default.

    Examples
    --------
    >>> reconstruction_name("R1+R2", SETTINGS | {"drive": "stimulus", "variance": "ridge"})
    'R1+R2_stimulus_ridge'
    """
    return "_".join([layers, *(settings[name] for name, default in SETTINGS.items() if settings[name] != default)])


def strip_moments(n_frames: int) -> list[int]:
    """Spread the columns of a film strip evenly over the frames of a clip."""
    places = np.linspace(0, n_frames - 1, 2 * STRIP_COLUMNS + 1)[1::2]
    return sorted({int(place) for place in places.round()})


class FrameWriter:
    """Write pictures as they are generated into an HDF5 file that appears when it is complete.

    The file holds ``stimulus`` and a data set for every panel, (n_frames, height, width, 3) uint8, with ``clip``,
    ``scan``, ``time_s`` (from the beginning of the clip) and ``movie_time_s`` (from that of the movie) of each frame.

    Parameters
    ----------
    path : Path
        The file.
    clips : sequence of Clip
        The clips, in order.
    arms : sequence of str
        Names of the pictures that come with each frame, in order; of those with the same name, the first is shown.
    panels : sequence of str
        Names of those to be kept, and shown in the movie, as far as there are such arms; ``"stimulus"`` always is.
    labels : mapping of str to str
        What is written beside each, in the order of the film strip.
    size : (height, width)
        Frame size in pixels.
    """

    def __init__(
        self,
        path: Path,
        clips: Sequence[Clip],
        arms: Sequence[str],
        panels: Sequence[str],
        labels: Mapping[str, str],
        size: tuple[int, int],
    ):
        self._path, self._clips, self._labels, self._size = path, clips, labels, size
        self._index = {name: list(arms).index(name) for name in arms if name in labels}
        self._scored = [name for name in dict.fromkeys(arms) if name != "shifted"]
        self._panels = [name for name in panels if name == "stimulus" or name in self._index]
        self._moments = set(strip_moments(len(clips[0].times_s)))
        self._kept: list[dict[str, NDArray[np.uint8]]] = []
        self._kept_times: list[float] = []
        self._n_frames, self._n_written = sum(len(clip.times_s) for clip in clips), 0
        self._held: list[list[NDArray[np.uint8]]] = []
        self._chunk = max(1, min(self._n_frames, CHUNK_BYTES // (3 * size[0] * size[1])))

    @property
    def panel_labels(self) -> list[str]:
        """What is written above each panel of the movie."""
        return [self._labels[name] for name in self._panels]

    def __enter__(self) -> "FrameWriter":
        with ExitStack() as stack:  # what fails here leaves nothing behind
            temporary = stack.enter_context(atomic_path(self._path))
            self._file: h5py.File = stack.enter_context(h5py.File(temporary, "w"))
            self._create()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _create(self) -> None:
        """Write when each frame is shown, and make room for the pictures."""
        clips = self._clips
        self._file["movie_time_s"] = np.concatenate([clip.begins_s + clip.times_s for clip in clips])
        self._file["time_s"] = np.concatenate([clip.times_s for clip in clips])
        self._file["scan"] = np.concatenate([clip.scans for clip in clips])
        self._file["clip"] = np.repeat([clip.name.encode() for clip in clips], [len(clip.times_s) for clip in clips])
        shape = (self._n_frames, *self._size, 3)
        for name in self._panels:  # gzip, since every HDF5 program reads it
            self._file.create_dataset(
                name, shape, np.uint8, chunks=(self._chunk, *shape[1:]), compression=1, shuffle=True
            )

    def describe(self, **attributes: Any) -> None:
        """Write attributes of the file."""
        self._file.attrs.update(axes="frames, height, width, RGB", **attributes)

    def row(
        self, clip: Clip, t: int, shown: NDArray[np.uint8], generated: Tensor, scores: NDArray[np.float32]
    ) -> tuple[list[NDArray[np.uint8]], list[str], str]:
        """Keep the pictures of the next frame, and lay it out for the movie.

        Parameters
        ----------
        clip : Clip
            The clip.
        t : int
            Number of the frame in it.
        shown : ndarray of uint8 (height, width, 3)
            The frame of the stimulus.
        generated : Tensor (n_arms, 3, height, width)
            The pictures, in [0, 1]; NaN where there is none.
        scores : ndarray of float32 (n_scored_arms, n_frame_metrics)
            Scores of all arms but the shifted ones.

        Returns
        -------
        pictures : list of ndarray of uint8 (height, width, 3)
            The panels.
        captions : list of str
            What is written below each.
        footer : str
            Clip, time and scan.
        """
        kept = generated[list(self._index.values())].permute(0, 2, 3, 1).float().cpu().numpy()
        kept = np.round(255 * np.nan_to_num(kept).clip(0, 1)).astype(np.uint8)
        pictures = {"stimulus": shown, **dict(zip(self._index, kept, strict=True))}
        self._keep(pictures)
        time_s = float(clip.times_s[t])
        if clip is self._clips[0] and t in self._moments:
            self._kept.append(pictures)
            self._kept_times.append(time_s)
        of_arm = dict(zip(self._scored, scores, strict=True))
        captions = ["" if name == "stimulus" else _caption(of_arm[name]) for name in self._panels]
        footer = f"{clip.name}   {time_s:.2f} s   scan {int(clip.scans[t])}"
        return [pictures[name] for name in self._panels], captions, footer

    def _keep(self, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write frames by whole chunks."""
        self._held.append([pictures[name] for name in self._panels])
        if len(self._held) == self._chunk or self._n_written + len(self._held) == self._n_frames:
            frames = slice(self._n_written, self._n_written + len(self._held))
            for name, values in zip(self._panels, zip(*self._held, strict=True), strict=True):
                self._file[name][frames] = np.stack(values)
            self._n_written, self._held = frames.stop, []

    def strip(self) -> tuple[dict[str, NDArray[np.uint8]], list[float]]:
        """Give the rows of the film strip, (n_moments, height, width, 3) by label, and the times of its columns."""
        names = [name for name in self._labels if name in self._kept[0]]
        rows = {self._labels[name]: np.stack([pictures[name] for pictures in self._kept]) for name in names}
        return rows, self._kept_times


def _caption(scores: NDArray[np.float32]) -> str:
    values = dict(zip(FRAME_METRICS, scores, strict=True))
    return f"r {values['pixel_r']:.2f}   SSIM {values['ssim']:.2f}" if np.isfinite(scores).all() else ""
