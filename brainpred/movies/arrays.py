"""Read arrays of frames in files as movies: NumPy, HDF5 and MATLAB, a block of frames at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.arrays import DAMAGES, SUFFIXES, StoredArray, open_array
from brainpred.errors import DataError
from brainpred.movies.containers import Frame, VideoInfo

__all__ = ["SUFFIXES", "array_frames", "array_info"]

BLOCK_BYTES = 2**24
CACHE_BYTES = 2**26  # a compressed chunk that does not fit is unpacked once for each of its frames


class _Frames:
    """Give the frames of an array, uint8 (height, width, 3), whatever the order of its axes.

    Parameters
    ----------
    array : StoredArray
        (n_frames, height, width), (n_frames, height, width, 3) or (n_frames, 3, height, width); of MATLAB's files
        height x width x n_frames or height x width x 3 x n_frames.
    path : Path
        Its file, for messages.
    data_set : str
        Name of the array, for messages.
    """

    def __init__(self, array: StoredArray, path: Path, data_set: str):
        # MATLAB counts axes from the other end, and its files store them so: there the frames come first, too.
        self._array: Any = array.stored if array.matlab else array
        self._path, self._data_set, shape = path, data_set, tuple(self._array.shape)
        if len(shape) == 3:
            self._axes: tuple[int, ...] = (0, 1)
        elif len(shape) == 4 and shape[3] == 3 and not array.matlab:
            self._axes = (0, 1, 2)
        elif len(shape) == 4 and shape[1] == 3:
            self._axes = (1, 2, 0)
        else:
            raise self._refused(
                f"has the shape {array.shape}, but frames are (n, height, width), (n, height, width, 3) or (n, 3, "
                "height, width); in MATLAB height x width x 3 x n"
            )
        if array.matlab:
            self._axes = (*reversed(self._axes[:2]), *self._axes[2:])
        if 0 in shape:
            raise self._refused(f"has the shape {array.shape}: it is empty")
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise self._refused(f"holds {array.dtype}, but frames are uint8 (0 to 255) or floating point (0 to 1)")
        frame_bytes = array.dtype.itemsize * int(np.prod(shape[1:]))
        n_chunk = (getattr(array.stored, "chunks", None) or (1,))[0]
        whole_chunks = n_chunk if n_chunk * frame_bytes <= CACHE_BYTES else 1
        self._n_block = max(whole_chunks, BLOCK_BYTES // frame_bytes, 1)
        self._block, self._first = np.empty(0), 0

    def __len__(self) -> int:
        return int(self._array.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        height, width = (self._array.shape[1:][axis] for axis in self._axes[:2])
        return int(height), int(width)

    def read(self, number: int) -> NDArray[np.uint8]:
        """Read a frame."""
        if not self._first <= number < self._first + len(self._block):
            first = number // self._n_block * self._n_block
            try:
                self._block, self._first = np.asarray(self._array[first : first + self._n_block]), first
            except DAMAGES as error:
                raise self._refused(f"cannot be read at frame {number} ({error}): damaged. Copy it again") from error
        frame = self._block[number - self._first].transpose(self._axes)
        if frame.dtype != np.uint8:
            if not (frame.min() >= 0 and frame.max() <= 1):  # NaN fails both
                raise self._refused(f"holds NaN or values outside 0 to 1 in frame {number}. Scale them, or save uint8")
            frame = np.round(255 * frame).astype(np.uint8)
        return frame if frame.ndim == 3 else np.repeat(frame[:, :, None], 3, axis=2)  # (height, width, 3)

    def _refused(self, what: str) -> DataError:
        return DataError(f"Movie {self._path}{f', data set {self._data_set},' * bool(self._data_set)} {what}.")


def array_info(path: Path, data_set: str, fps: float | None) -> VideoInfo:
    """Tell rate, length and frame size of a file of frames.

    Parameters
    ----------
    path : Path
        A file of any kind that :func:`brainpred.arrays.open_array` knows.
    data_set : str
        Array in a file that holds several; the only one of three or four axes, if empty.
    fps : float or None
        Frames per second, which must be known.

    Returns
    -------
    VideoInfo
        Rate, length and frame size.

    Raises
    ------
    DataError
        If the file is missing or damaged, the array is not there or no frames, or the rate is not known.
    """
    if fps is None:
        name = f"{path.name}::{data_set}" if data_set else path.name
        raise DataError(
            f"The frames in {path} do not state their rate. Write it after the name, such as {name}@15, or state "
            "frame_rate_hz in the manifest."
        )
    with _opened(path, data_set) as frames:
        return VideoInfo(fps, len(frames) / fps, *frames.size)


def array_frames(path: Path, data_set: str, fps: float | None) -> Iterator[tuple[float, Frame]]:
    """Give the frames of a file of frames, with the time at which each is shown.

    Parameters
    ----------
    path, data_set, fps
        As of :func:`array_info`.

    Yields
    ------
    time_s : float
        When the frame is shown, in seconds from the first.
    frame : Frame
        Reads the frame, before the next is asked for.

    Raises
    ------
    DataError
        As :func:`array_info`; and if a block cannot be read, or floating-point frames leave 0 to 1.
    """
    info = array_info(path, data_set, fps)
    with _opened(path, data_set) as frames:
        for number in range(len(frames)):
            yield number / info.fps, partial(frames.read, number)


@contextmanager
def _opened(path: Path, data_set: str) -> Iterator[_Frames]:
    if not path.is_file():
        raise DataError(f"Movie {path} does not exist.")
    with open_array(path, data_set, "Movie", "Copy it again.", n_axes=(3, 4), cache_bytes=CACHE_BYTES) as array:
        yield _Frames(array, path, data_set)
