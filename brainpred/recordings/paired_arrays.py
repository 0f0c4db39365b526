"""Read arrays that belong together row by row, such as brain patterns and the pictures seen."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.arrays import open_array, split_address
from brainpred.errors import DataError

__all__ = ["arrange_pairs", "load_array", "read_rows"]

Say = Callable[[str], None]
CHANNELS = (3, 4)
OVERSHOOT = 0.25  # of the range of grey levels, by which resizing may have gone beyond it
LEAST_OF_255 = 20.0  # a brightest picture below this is no picture of 0 to 255


def load_array(address: Path | str, what: str) -> NDArray[Any]:
    """Read one array of numbers, whole.

    Parameters
    ----------
    address : Path or str
        File of any kind that :func:`brainpred.arrays.open_array` knows, or ``FILE::NAME`` where it holds several
        arrays.
    what : str
        What it is, for messages, such as ``"brain"``.

    Returns
    -------
    ndarray
        The numbers; whether they are finite is for its use to check.

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds no such array of numbers.
    """
    path, name = split_address(address)
    with open_array(path, name, what, "Give a file of numbers, or FILE::NAME.") as stored:
        return stored.read()


def arrange_pairs(
    brain: NDArray[Any],
    images: NDArray[Any],
    size: tuple[int, int],
    *,
    names: tuple[str, str] = ("--brain", "--images"),
    say: Say = lambda text: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bring brain patterns and pictures of any usual order of axes, and any usual grey levels, to one form.

    Parameters
    ----------
    brain : ndarray
        Patterns, (pairs, voxels) or (voxels, pairs). A voxel may be NaN throughout, as outside a mask.
    images : ndarray
        Pictures: (pairs, rows, columns), (pairs, pixels), (pairs, channels, rows, columns) or (pairs, rows, columns,
        channels), or with the pairs on the last axis in place of the first. Grey levels of 0 to 1 or of 0 to 255; what
        resizing has moved a little beyond is clipped. Colours are averaged.
    size : (height, width)
        Pixels that pictures are resized to.
    names : (str, str)
        What the two are called in messages.
    say : callable
        Told of everything that was done to the arrays.

    Returns
    -------
    patterns : ndarray of float32 (pairs, voxels)
        Patterns; NaN where a voxel is so throughout.
    pictures : ndarray of float32 (pairs, height, width)
        Grey levels in [0, 1].

    Raises
    ------
    DataError
        If the two do not belong together, hold no patterns or pictures, or NaN or infinity elsewhere.
    """
    if brain.ndim != 2:
        raise DataError(f"{names[0]}: expected an array (pairs, voxels), received shape {brain.shape}.")
    n_pairs, turned, last = _find_pairs(brain, images, names)
    if turned:
        say(f"{names[0]}: {brain.shape[0]} voxels by {n_pairs} pairs; the array is turned.")
        brain = brain.T
    if last:
        say(f"{names[1]}: the last axis counts the pictures.")
        images = np.moveaxis(images, -1, 0)
    _check_finite(brain[:, ~np.isnan(brain).all(axis=0)], names[0])
    _check_finite(images, names[1])
    pictures = _in_unit_range(_grey(images.astype(np.float32), names[1]), names[1], say)
    if pictures.shape[1:] != size:
        from skimage.transform import resize

        say(f"{names[1]}: {pictures.shape[1]} x {pictures.shape[2]} pixels are resized to {size[0]} x {size[1]}.")
        pictures = np.asarray([resize(picture, size, anti_aliasing=True) for picture in pictures], np.float32)
    return np.ascontiguousarray(brain, np.float32), np.ascontiguousarray(pictures.clip(0, 1))


def _check_finite(array: NDArray[Any], name: str) -> None:
    """Raise :class:`DataError` if numbers are NaN or infinite."""
    broken = np.argwhere(~np.isfinite(array))
    if len(broken):
        raise DataError(
            f"{name}: {len(broken)} of {array.size} values are NaN or infinite, the first at index "
            f"{tuple(broken[0].tolist())} (from 0). Leave those pairs out; a voxel that is NaN in all pairs is left "
            "out by itself."
        )


def _find_pairs(brain: NDArray[Any], images: NDArray[Any], names: tuple[str, str]) -> tuple[int, bool, bool]:
    """Give the number of pairs, whether the brain array must be turned, whether pictures are on the last axis."""
    for turned in (False, True):
        for last in (False, True):
            count = brain.shape[1 if turned else 0]
            rest = images.shape[:-1] if last else images.shape[1:]
            one = [length for length in rest if length != 1]
            if images.ndim > 1 and images.shape[-1 if last else 0] == count and (
                len(one) > 1 or (len(one) == 1 and math.isqrt(one[0]) ** 2 == one[0])
            ):  # fmt: skip
                return count, turned, last
    raise DataError(
        f"Every brain pattern needs its picture: {names[0]} holds {brain.shape[0]} patterns of {brain.shape[1]} "
        f"voxels, {names[1]} an array of shape {images.shape}. Expected pictures (pairs, rows, columns), or (pairs, "
        "pixels) whose pixels make a square, with the pairs on the first axis of both, or on the last."
    )


def _grey(images: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Give pictures (pairs, rows, columns) of arrays whose first axis counts the pairs."""
    shape = images.shape
    if images.ndim == 4 and (1 in (shape[1], shape[3]) or shape[3] in CHANNELS or shape[1] in CHANNELS):
        axis = 3 if shape[3] == 1 or (shape[3] in CHANNELS and shape[1] != 1) else 1
        images = images.take(range(min(shape[axis], 3)), axis=axis).mean(axis=axis)
    if images.ndim == 3 and 1 in images.shape[1:]:
        images = images.reshape(len(images), -1)
    if images.ndim == 2:
        side = math.isqrt(images.shape[1])
        images = images.reshape(-1, side, side)
    if images.ndim != 3:
        raise DataError(
            f"{name}: expected (pairs, rows, columns), (pairs, pixels) or (pairs, channels, rows, columns), received "
            f"shape {shape}."
        )
    return images


def _in_unit_range(pictures: NDArray[np.float32], name: str, say: Say) -> NDArray[np.float32]:
    """Divide grey levels by 255 where they go so far, and clip what is a little beyond."""
    low, high = float(pictures.min()), float(pictures.max())
    top = 255.0 if high > LEAST_OF_255 else 1.0
    if low == high:
        raise DataError(f"{name}: every pixel of every picture is {low:g}: nothing was shown. Check the array's name.")
    if low < -OVERSHOOT * top or high > (1 + OVERSHOOT) * top:
        raise DataError(
            f"{name}: expected grey levels of 0 to 1 or 0 to 255, received {low:g} to {high:g}. Rescale the pictures."
        )
    if low < 0 or high > top:
        say(f"{name}: grey levels of {low:g} to {high:g} are clipped to 0 to {top:g}.")
    return (pictures / np.float32(top)).clip(0, 1)


def read_rows(rows: Sequence[str], n_pairs: int, what: str = "--test-rows") -> NDArray[np.int64]:
    """Read which pairs are test pairs: numbers, ranges, or a file of numbers or marks.

    Parameters
    ----------
    rows : sequence of str
        Numbers and ranges such as ``90-99``, from 0; or one file or ``FILE::NAME``. A file holds numbers of pairs (from
        0; in a ``.mat`` file from 1), each once, or a mark for each pair: 0 for training and 1 for test, or 1 and 2.
    n_pairs : int
        Pairs that there are.
    what : str
        What is read, for messages.

    Returns
    -------
    ndarray of int64 (n_rows,)
        Numbers of pairs from 0, ascending.

    Raises
    ------
    DataError
        If a number is none of a pair or comes twice, a file cannot be used, or test pairs are more than the others.

    Examples
    --------
    >>> read_rows(["3", "7-9"], 20)
    array([3, 7, 8, 9])
    """
    bounds = [[int(part) for part in row.split("-")] for row in rows if re.fullmatch(r"\d+(-\d+)?", row)]
    if rows and len(bounds) == len(rows) and all(bound[0] <= bound[-1] for bound in bounds):
        found = np.concatenate([np.arange(bound[0], bound[-1] + 1) for bound in bounds])
    elif len(rows) == 1 and any(letter.isalpha() for letter in rows[0]):
        found = _rows_in_file(rows[0], n_pairs, what)
    else:
        raise DataError(
            f"{what}: expected numbers and ranges of pairs, such as 90-99 3, with spaces between, or one file; "
            f"received {' '.join(rows)}."
        )
    found, counts = np.unique(found, return_counts=True)
    if not len(found) or found[0] < 0 or found[-1] >= n_pairs:
        raise DataError(
            f"{what}: expected numbers of {n_pairs} pairs (from 0 to {n_pairs - 1}; in a .mat file, from 1 to "
            f"{n_pairs}), or a mark for each pair (0 and 1, or 1 and 2); received {len(found)} numbers"
            + (f" from {found[0]} to {found[-1]}." if len(found) else ".")
        )
    if counts.max() > 1:
        raise DataError(f"{what}: expected each pair once, received {found[counts > 1][0]} more than once.")
    if len(found) > n_pairs - len(found):
        raise DataError(
            f"{what}: expected no more test pairs than training pairs, received {len(found)} of {n_pairs}. The greater "
            "mark is for test; more test pairs than training pairs are given as --test-brain and --test-images."
        )
    return found


def _rows_in_file(address: str, n_pairs: int, what: str) -> NDArray[np.int64]:
    """Read numbers of pairs from 0, or those marked, from a file."""
    values = load_array(address, what).ravel()
    if not np.isfinite(values).all() or not np.array_equal(values, np.round(values)):
        raise DataError(f"{what}: expected numbers of pairs or marks, received {values[:3].tolist()} ...")
    marks = np.unique(values).astype(np.int64)
    if len(values) == n_pairs and marks.tolist() in ([0, 1], [1, 2]):
        return np.flatnonzero(values == marks[1])
    if len(marks) < len(values):
        told = ", ".join(map(str, marks[:4])) + (", ..." if len(marks) > 4 else "")
        raise DataError(
            f"{what}: expected each number of a pair once, or a mark for each of {n_pairs} pairs (0 for training and 1 "
            f"for test, or 1 and 2); received {len(values)} values, some of them again and again: {told}."
        )
    return values.astype(np.int64) - (split_address(address)[0].suffix.lower() == ".mat")
