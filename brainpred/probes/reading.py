"""Read a drawn scene: find its digits, tell which they are and where, and compare with the caption."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import binomtest

from brainpred.models.digit_reader import DigitReader
from brainpred.movies.captions import Caption
from brainpred.movies.scenes import COLUMNS, DIGIT, ROWS

__all__ = ["DrawnDigit", "locate_digits", "obeys", "read_scenes", "validity"]

INK = 0.3  # a pixel brighter than this is ink
LEAST_INK = 15.0  # summed brightness; fainter spots are no digits


@dataclass(frozen=True)
class DrawnDigit:
    """Hold a digit found in a picture.

    Attributes
    ----------
    digit : int
        Which it looks like.
    probability : float
        How sure the reader is.
    row, column : float
        Centre of mass in pixels.
    """

    digit: int
    probability: float
    row: float
    column: float

    @property
    def place(self) -> str:
        """Name the ninth of the canvas that it is in, such as ``"top left"``; ``"middle"`` in the middle."""
        return " ".join(filter(None, (_nearest(self.row, ROWS), _nearest(self.column, COLUMNS)))) or "middle"


def _nearest(centre: float, ranges: dict[str, tuple[int, int]]) -> str:
    """Name the range whose digits have their middle nearest."""
    return min(ranges, key=lambda name: abs(centre - (sum(ranges[name]) + DIGIT - 1) / 2))


def locate_digits(picture: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Find the digits of a picture: connected ink, with gaps of two pixels bridged.

    Parameters
    ----------
    picture : ndarray of float32 (height, width)
        Picture in [0, 1].

    Returns
    -------
    centres : ndarray of float64 (n_digits, 2)
        Row and column of each centre of mass, in pixels.
    crops : ndarray of float32 (n_digits, 28, 28)
        Each digit alone, with its centre of mass in the middle.
    """
    thick = ndimage.binary_dilation(picture > INK, np.ones((3, 3), bool))
    labels, n_parts = ndimage.label(thick, np.ones((3, 3), bool))
    parts = [np.where(labels == part, picture, 0) for part in range(1, n_parts + 1)]
    parts = [part for part in parts if part.sum() >= LEAST_INK]
    centres = np.array([ndimage.center_of_mass(part) for part in parts]).reshape(-1, 2)
    crops = np.zeros((len(parts), DIGIT, DIGIT), np.float32)
    for crop, part, centre in zip(crops, parts, centres, strict=True):
        padded = np.pad(part, DIGIT)
        row, column = (round(value) + DIGIT - DIGIT // 2 for value in centre)
        crop[:] = padded[row : row + DIGIT, column : column + DIGIT]
    return centres, crops


def read_scenes(pictures: NDArray[np.float32], reader: DigitReader) -> list[list[DrawnDigit]]:
    """Read the digits of pictures.

    Parameters
    ----------
    pictures : ndarray of float32 (n_pictures, height, width)
        Pictures in [0, 1].
    reader : DigitReader
        What tells digits apart.

    Returns
    -------
    list of list of DrawnDigit
        The digits of each picture, in no order.
    """
    found = [locate_digits(picture) for picture in pictures]
    crops = np.concatenate([crops for _, crops in found]) if found else np.zeros((0, DIGIT, DIGIT), np.float32)
    if not len(crops):
        return [[] for _ in found]
    sure, digits = (values.numpy() for values in reader.probabilities(torch.from_numpy(crops)).max(dim=1))
    scenes, start = [], 0
    for centres, _ in found:
        own = range(start, start + len(centres))
        scenes.append(
            [
                DrawnDigit(int(digits[i]), float(sure[i]), *map(float, centre))
                for i, centre in zip(own, centres, strict=True)
            ]
        )
        start += len(centres)
    return scenes


def obeys(scene: Sequence[DrawnDigit], caption: Caption) -> tuple[bool, bool]:
    """Compare a picture with its caption.

    A single digit must be in the ninth of the canvas that the caption names. Of two digits, the one must be left of,
    right of, above or below the other: in that direction they are further apart than across it.

    Parameters
    ----------
    scene : sequence of DrawnDigit
        What the picture shows.
    caption : Caption
        What it should show.

    Returns
    -------
    digits, joint : bool
        Whether the digits are those named, and whether they are also in the right places.
    """
    right_digits = sorted(one.digit for one in scene) == sorted(digit for digit, _ in caption.scene)
    if not right_digits:
        return False, False
    if len(scene) == 1:
        return True, scene[0].place == caption.scene[0][1]
    first, second = scene if scene[0].digit == caption.scene[0][0] else (scene[1], scene[0])
    place = _relation(first, second)
    same = first.digit == second.digit  # then either may be the one that is named first
    return True, place == caption.scene[0][1] or (same and place == caption.scene[1][1])


def _relation(first: DrawnDigit, second: DrawnDigit) -> str:
    down, across = first.row - second.row, first.column - second.column
    if abs(across) > abs(down):
        return "left" if across < 0 else "right"
    return "top" if down < 0 else "bottom"


def validity(captions: Sequence[Caption], pictures: NDArray[np.float32], reader: DigitReader) -> dict[str, float | int]:
    """Count how many pictures show what their captions say.

    Parameters
    ----------
    captions : sequence of Caption
        What should be shown.
    pictures : ndarray of float32 (n_captions, height, width)
        Pictures in [0, 1].
    reader : DigitReader
        What tells digits apart.

    Returns
    -------
    dict of str to float or int
        ``n_pictures``; ``digits``, the part with the digits named and no others; ``joint``, the part with these in
        the right places; ``joint_low`` and ``joint_high``, its 95 % interval (Wilson).
    """
    judged = np.array([obeys(s, c) for s, c in zip(read_scenes(pictures, reader), captions, strict=True)])
    digits, joint = judged.mean(axis=0)
    interval = binomtest(int(judged[:, 1].sum()), len(judged)).proportion_ci(method="wilson")
    return {
        "n_pictures": len(judged),
        "digits": float(digits),
        "joint": float(joint),
        "joint_low": float(interval.low),
        "joint_high": float(interval.high),
    }
