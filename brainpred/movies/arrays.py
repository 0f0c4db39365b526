"""Read files of frames as movies: NumPy arrays and HDF5, MATLAB's among them, a block of frames at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.movies.containers import Frame, VideoInfo

__all__ = ["SUFFIXES", "array_frames", "array_info"]

SUFFIXES = (".npy", ".h5", ".hdf5", ".hdf", ".mat")
BLOCK_BYTES = 2**24
CACHE_BYTES = 2**26  # a compressed chunk that does not fit is unpacked once for each of its frames


class _Frames:
    """Give the frames of an array, uint8 (height, width, 3), whatever the order of its axes.

    Parameters
    ----------
    array : h5py.Dataset or ndarray
        (n_frames, height, width), (n_frames, height, width, 3) or (n_frames, 3, height, width); of MATLAB's files, as
        h5py sees them, (n_frames, width, height) or (n_frames, 3, width, height).
    path : Path
        Its file, for messages.
    matlab : bool
        Whether MATLAB wrote it, which counts axes from the other end.
    """

    def __init__(self, array: Any, path: Path, *, matlab: bool):
        self._array, self._path, shape = array, path, array.shape
        if len(shape) == 3:
            self._axes: tuple[int, ...] = (0, 1)
        elif len(shape) == 4 and shape[3] == 3 and not matlab:
            self._axes = (0, 1, 2)
        elif len(shape) == 4 and shape[1] == 3:
            self._axes = (1, 2, 0)
        else:
            raise self._refused(
                f"has the shape {shape}, but frames are (n, height, width), (n, height, width, 3) or (n, 3, height, "
                "width); in MATLAB height x width x 3 x n"
            )
        if matlab:
            self._axes = (*reversed(self._axes[:2]), *self._axes[2:])
        if 0 in shape:
            raise self._refused(f"has the shape {shape}: it is empty")
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise self._refused(f"holds {array.dtype}, but frames are uint8 (0 to 255) or floating point (0 to 1)")
        frame_bytes = array.dtype.itemsize * int(np.prod(shape[1:]))
        n_chunk = (getattr(array, "chunks", None) or (1,))[0]
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
            except OSError as error:
                raise self._refused(f"cannot be read at frame {number} ({error}): damaged. Copy it again") from error
        frame = self._block[number - self._first].transpose(self._axes)
        if frame.dtype != np.uint8:
            if not (frame.min() >= 0 and frame.max() <= 1):  # NaN fails both
                raise self._refused(f"holds NaN or values outside 0 to 1 in frame {number}. Scale them, or save uint8")
            frame = np.round(255 * frame).astype(np.uint8)
        return frame if frame.ndim == 3 else np.repeat(frame[:, :, None], 3, axis=2)  # (height, width, 3)

    def _refused(self, what: str) -> DataError:
        name = getattr(self._array, "name", "")
        return DataError(f"Movie {self._path}{f', data set {name},' if name else ''} {what}.")


def array_info(path: Path, data_set: str, fps: float | None) -> VideoInfo:
    """Tell rate, length and frame size of a file of frames.

    Parameters
    ----------
    path : Path
        ``.npy``, or HDF5 (``.h5``, ``.hdf5``, ``.hdf``, and ``.mat`` of MATLAB's version 7.3).
    data_set : str
        Array in an HDF5 file; the only one of three or four axes, if empty.
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
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"Movie {path} cannot be read ({error}): damaged, or an array of objects.") from error
        yield _Frames(array, path, matlab=False)
        return
    try:
        file = h5py.File(path, rdcc_nbytes=CACHE_BYTES)
    except OSError as error:
        old = " Files of MATLAB before 7.3 are not HDF5: save again with -v7.3." if path.suffix == ".mat" else ""
        raise DataError(f"Movie {path} cannot be read as HDF5 ({error}): truncated or no HDF5.{old}") from error
    with file:
        array = _find(file, path, data_set)
        yield _Frames(array, path, matlab=path.suffix.lower() == ".mat" or "MATLAB_class" in array.attrs)


def _find(file: h5py.File, path: Path, data_set: str) -> h5py.Dataset:
    arrays: dict[str, h5py.Dataset] = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and len(item.shape or ()) in (3, 4):
            arrays[name] = item

    file.visititems(note)
    wanted = data_set.strip("/") or (next(iter(arrays)) if len(arrays) == 1 else "")
    if wanted not in arrays:
        which = f"data set {data_set!r} is not" if data_set else f"{len(arrays)} data sets that may be frames are"
        raise DataError(
            f"Movie {path}: {which} there; its arrays of three or four axes: {', '.join(arrays) or 'none'}. Name one, "
            f"such as {path.name}::{next(iter(arrays), 'frames')}."
        )
    return arrays[wanted]
