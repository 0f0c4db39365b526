"""Read a folder of pictures as a movie: one picture a frame, numbered in their names."""

import math
import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainpred.errors import DataError
from brainpred.movies.containers import Frame, VideoInfo

__all__ = ["folder_frames", "folder_info"]

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
OF_UNKNOWN_RANGE = ("I", "F")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def folder_info(folder: Path, fps: float | None) -> VideoInfo:
    """Tell rate, length and frame size of a folder of pictures.

    Parameters
    ----------
    folder : Path
        The folder.
    fps : float or None
        Frames per second, which must be known.

    Returns
    -------
    VideoInfo
        Rate, length (to the end of the last picture) and size of the first picture.

    Raises
    ------
    DataError
        If there are no pictures, two have the same number, the first cannot be read, or the rate is not known.
    """
    places = _places(folder)
    if fps is None:
        raise DataError(
            f"The pictures in {folder} do not state their frame rate. Write it after the folder, such as "
            f"{folder.name}@25, or state frame_rate_hz in the manifest."
        )
    with _open(next(iter(places))) as first:
        return VideoInfo(fps, (max(places.values()) + 1) / fps, first.height, first.width)


def folder_frames(folder: Path, fps: float | None) -> Iterator[tuple[float, Frame]]:
    """Give the pictures of a folder in order, with the time at which each is shown.

    Pictures are ordered by the last number in their names. A number that is missing is a frame that is missing: the
    others keep their time. Where a name has no number, all are ordered by name, without gaps. Grey pictures of 16 bits
    are brought from 0 to 65535 to 0 to 255.

    Parameters
    ----------
    folder : Path
        The folder.
    fps : float or None
        Frames per second, which must be known.

    Yields
    ------
    time_s : float
        When the picture is shown, in seconds from the first.
    frame : Frame
        Reads the picture.

    Raises
    ------
    DataError
        As :func:`folder_info`; and if a picture cannot be read, has another size than the first, or holds numbers of
        which nobody knows what is white.
    """
    info = folder_info(folder, fps)
    for path, place in _places(folder).items():
        yield place / info.fps, partial(_read, path, (info.height, info.width))


def _places(folder: Path) -> dict[Path, int]:
    """Find the pictures, and the place of each in the movie."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not paths:
        raise DataError(f"Folder {folder} holds no pictures ({', '.join(SUFFIXES)}), so it is no movie.")
    found = [re.findall(r"\d+", path.stem) for path in paths]
    if not all(found):
        return {path: place for place, path in enumerate(paths)}
    numbered = sorted((int(numbers[-1]), path) for numbers, path in zip(found, paths, strict=True))
    for (number, path), (after, other) in pairwise(numbered):
        if number == after:
            raise DataError(
                f"Folder {folder}: {path.name} and {other.name} have the same number, so their order is not known. "
                "Number the pictures."
            )
    first = numbered[0][0]
    # Every fifth frame of a movie, say, is numbered 0, 5, 10: that is one step.
    step = math.gcd(*(number - first for number, _ in numbered)) or 1
    return {path: (number - first) // step for number, path in numbered}


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        raise DataError(f"Picture {path} cannot be read ({error}): damaged or no picture. Copy it again.") from error


def _read(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    with _open(path) as image:
        if (image.height, image.width) != size:
            raise DataError(
                f"Picture {path} is {image.height}x{image.width} pixels, but the first of its folder "
                f"{size[0]}x{size[1]}. Bring all to one size, or take out what does not belong there."
            )
        if image.mode in OF_UNKNOWN_RANGE:
            raise DataError(
                f"Picture {path} holds numbers of 32 bits (mode {image.mode}), of which nobody knows what is black and "
                "what is white. Save it with 8 or 16 bits."
            )
        try:
            if image.mode in SIXTEEN_BITS:
                grey = np.round(np.asarray(image) / 257).astype(np.uint8)  # 65535 = 255 * 257
                return np.repeat(grey[:, :, None], 3, axis=2)  # (height, width, 3)
            return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise DataError(f"Picture {path} is damaged ({error}). Copy it again.") from error
