"""Scenes for captions: handwritten digits pasted on a canvas where a caption says."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.movies.captions import Caption

__all__ = ["CANVAS", "COLUMNS", "DIGIT", "ROWS", "DigitImages", "load_digits", "paint_scenes"]

CANVAS = (60, 60)
DIGIT = 28  # pixels a side
# First and last pixel that a digit may begin at; the ranges of Mansimov et al.'s own code.
ROWS = {"top": (0, 2), "": (16, 18), "bottom": (30, 32)}
COLUMNS = {"left": (0, 4), "": (16, 18), "right": (28, 32)}
N_TRAIN_MNIST = 50_000  # the last 10,000 training images of MNIST choose, the 10,000 test images judge


@dataclass(frozen=True)
class DigitImages:
    """Hold handwritten digits.

    Attributes
    ----------
    source : str
        What they are, for people.
    train, validation, test : (ndarray of uint8 (n_images, 28, 28), ndarray of int64 (n_images,))
        Images and which digit each is.
    """

    source: str
    train: tuple[NDArray[np.uint8], NDArray[np.int64]]
    validation: tuple[NDArray[np.uint8], NDArray[np.int64]]
    test: tuple[NDArray[np.uint8], NDArray[np.int64]]


def load_digits(path: Path | str | None = None) -> DigitImages:
    """Read MNIST, or take the small digits that scikit-learn brings along.

    Parameters
    ----------
    path : Path or str, optional
        ``mnist.npz`` with ``x_train``, ``y_train``, ``x_test`` and ``y_test``. None: scikit-learn's 1,797 digits of
        8 x 8 pixels, enlarged to 20 x 20 inside 28 x 28.

    Returns
    -------
    DigitImages
        For MNIST 50,000 images for training, 10,000 for validation and 10,000 for the test.

    Raises
    ------
    DataError
        If the file holds something else.
    """
    if path is None:
        return _bundled_digits()
    wanted = ("x_train", "y_train", "x_test", "y_test")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as content:
            missing = [name for name in wanted if name not in content]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
            images, labels, test_images, test_labels = (content[name] for name in wanted)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} does not hold MNIST ({error}). Expected an .npz file with {', '.join(wanted)}; get it with: "
            "brainpred data fetch mnist"
        ) from error
    for name, pictures, digits in (("train", images, labels), ("test", test_images, test_labels)):
        if pictures.ndim != 3 or pictures.shape[1:] != (DIGIT, DIGIT) or pictures.dtype != np.uint8:
            raise DataError(
                f"{path}: expected x_{name} of uint8 (n, 28, 28), received {pictures.dtype} {pictures.shape}."
            )
        if digits.shape != pictures.shape[:1] or set(np.unique(digits)) != set(range(10)):
            raise DataError(f"{path}: expected y_{name} to give a digit 0-9 for each of {len(pictures)} images.")
    n_train = N_TRAIN_MNIST if len(images) > N_TRAIN_MNIST else len(images) * 5 // 6
    labels, test_labels = labels.astype(np.int64), test_labels.astype(np.int64)
    return DigitImages(
        "MNIST",
        (images[:n_train], labels[:n_train]),
        (images[n_train:], labels[n_train:]),
        (test_images, test_labels),
    )


def _bundled_digits() -> DigitImages:
    from skimage.transform import resize
    from sklearn.datasets import load_digits as load_small_digits

    small = load_small_digits()
    pictures = np.zeros((len(small.images), DIGIT, DIGIT), np.uint8)
    for picture, image in zip(pictures, small.images, strict=True):
        picture[4:24, 4:24] = np.round(255 * np.clip(resize(image / 16, (20, 20), order=3), 0, 1))
    labels = small.target.astype(np.int64)
    first, second = 1200, 1500
    return DigitImages(
        "scikit-learn's digits (1,797 of 8 x 8 pixels, enlarged)",
        (pictures[:first], labels[:first]),
        (pictures[first:second], labels[first:second]),
        (pictures[second:], labels[second:]),
    )


def paint_scenes(
    captions: Sequence[Caption],
    digits: tuple[NDArray[np.uint8], NDArray[np.int64]],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Paint a scene for each caption, with digits drawn at random and moved by a few pixels.

    Parameters
    ----------
    captions : sequence of Caption
        What to show.
    digits : (ndarray of uint8 (n_images, 28, 28), ndarray of int64 (n_images,))
        Handwritten digits to choose from, and which they are.
    rng : Generator
        Where the choice comes from.

    Returns
    -------
    ndarray of float32 (n_captions, 60, 60)
        Pictures in [0, 1]; where digits meet, the brighter pixel counts.

    References
    ----------
    Mansimov, Parisotto, Ba and Salakhutdinov, "Generating images from captions with attention", ICLR 2016: the ranges
    of placement are those of the authors' code.
    """
    images, labels = digits
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], np.arange(11))  # where each digit begins in that order
    pictures = np.zeros((len(captions), *CANVAS), np.uint8)
    for picture, caption in zip(pictures, captions, strict=True):
        for digit, place in caption.scene:
            row, column = (int(rng.integers(low, high, endpoint=True)) for low, high in _ranges(place))
            chosen = images[order[rng.integers(first[digit], first[digit + 1])]]
            window = picture[row : row + DIGIT, column : column + DIGIT]
            np.maximum(window, chosen, out=window)
    return np.divide(pictures, 255, dtype=np.float32)


def _ranges(place: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Give the ranges of rows and of columns in which a digit may begin."""
    words = place.split()
    rows = next((ROWS[word] for word in words if word in ROWS), ROWS[""])
    columns = next((COLUMNS[word] for word in words if word in COLUMNS), COLUMNS[""])
    return rows, columns
