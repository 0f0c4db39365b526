"""Digits lie where the caption says, and come from where they should."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.movies.captions import GRAMMARS, load_grammar
from brainpred.movies.scenes import COLUMNS, ROWS, load_digits, paint_scenes

# Each digit is a full square of its own brightness, so that place and identity can be read off.
SQUARES = (np.repeat(np.arange(10, dtype=np.uint8) * 20 + 60, 28 * 28).reshape(10, 28, 28), np.arange(10))


def _corner(picture, digit):
    """Rows and columns at which a digit begins; the other one may lie over its far side, never over its corner."""
    found = np.argwhere(np.round(picture * 255) == digit * 20 + 60)
    return found.min(0)


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_digits_lie_where_the_caption_says(grammar):
    rng = np.random.default_rng(0)
    captions = [c for c in grammar.captions if len({digit for digit, _ in c.scene}) == len(c.scene)]
    for caption, picture in zip(captions, paint_scenes(captions, SQUARES, rng), strict=True):
        ends = np.argwhere(picture > 0)
        for digit, place in caption.scene:
            row, column = _corner(picture, digit)
            words = place.split()
            low, high = next((ROWS[word] for word in words if word in ROWS), ROWS[""])
            # An overlap may hide up to four of the first columns of a darker digit.
            assert low <= row <= high + 4
            low, high = next((COLUMNS[word] for word in words if word in COLUMNS), COLUMNS[""])
            assert low <= column <= high + 4
        assert ends.max() < 60


def test_all_places_of_the_range_occur():
    caption = load_grammar("B").parse("数字9が画像の左上にある。")
    pictures = paint_scenes([caption] * 400, SQUARES, np.random.default_rng(1))
    corners = {tuple(_corner(picture, 9)) for picture in pictures}
    assert corners == {(row, column) for row in range(3) for column in range(5)}
    np.testing.assert_allclose(pictures.sum((1, 2)), 28 * 28 * 240 / 255, rtol=1e-5)


def test_pictures_depend_on_the_seed_alone():
    captions, digits = load_grammar("A").captions[:9], load_digits().train
    one, same, other = (paint_scenes(captions, digits, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
    assert one.min() == 0
    assert 0.9 < one.max() <= 1


def test_bundled_digits_are_told_apart_from_mnist():
    digits = load_digits()
    assert "scikit-learn" in digits.source
    for images, labels in (digits.train, digits.validation, digits.test):
        assert images.shape[1:] == (28, 28)
        assert images.dtype == np.uint8
        assert len(images) == len(labels)
        assert set(labels) == set(range(10))
        assert images[:, :4].max() == 0
    assert sum(len(part[1]) for part in (digits.train, digits.validation, digits.test)) == 1797


def _mnist(**changes):
    rng = np.random.default_rng(0)
    content = {
        "x_train": rng.integers(0, 255, (60, 28, 28), np.uint8),
        "y_train": np.arange(60, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 255, (20, 28, 28), np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    }
    return {name: value for name, value in {**content, **changes}.items() if value is not None}


def test_mnist_is_split_in_its_order(tmp_path):
    content = _mnist()
    np.savez(tmp_path / "mnist.npz", **content)
    digits = load_digits(tmp_path / "mnist.npz")
    assert digits.source == "MNIST"
    np.testing.assert_array_equal(digits.train[0], content["x_train"][:50])
    np.testing.assert_array_equal(digits.validation[0], content["x_train"][50:])
    np.testing.assert_array_equal(digits.test[1], content["y_test"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "it lacks y_test"),
        ({"x_train": np.zeros((60, 14, 14), np.uint8)}, r"uint8 \(n, 28, 28\), received uint8 \(60, 14, 14\)"),
        ({"y_train": np.zeros(60, np.uint8)}, "a digit 0-9 for each of 60"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, message):
    np.savez(tmp_path / "mnist.npz", **_mnist(**changes))
    with pytest.raises(DataError, match=message):
        load_digits(tmp_path / "mnist.npz")


def test_no_archive_at_all(tmp_path):
    (tmp_path / "mnist.npz").write_text("no archive")
    with pytest.raises(DataError, match="brainpred data fetch mnist"):
        load_digits(tmp_path / "mnist.npz")
