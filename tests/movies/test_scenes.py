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


# First and last row and column that a digit may begin at, as Mansimov et al.'s code has them.
TOP, UPRIGHT, BOTTOM = range(3), range(16, 19), range(30, 33)
LEFT, LEVEL, RIGHT = range(5), range(16, 19), range(28, 33)
BEGINNINGS = {
    "left": (UPRIGHT, LEFT),
    "right": (UPRIGHT, RIGHT),
    "top": (TOP, LEVEL),
    "bottom": (BOTTOM, LEVEL),
    "top left": (TOP, LEFT),
    "bottom right": (BOTTOM, RIGHT),
    "top right": (TOP, RIGHT),
    "bottom left": (BOTTOM, LEFT),
}


@pytest.mark.parametrize("place", BEGINNINGS)
def test_one_digit_begins_everywhere_in_its_range_and_nowhere_else(place):
    caption = next(c for c in load_grammar("B").captions if c.scene == ((7, place),))
    ones = (np.full((10, 28, 28), 255, np.uint8), np.arange(10))
    beginnings = set()
    for seed in range(40):
        for picture in paint_scenes([caption] * 10, ones, np.random.default_rng(seed)):
            row, column = np.argwhere(picture).min(0)
            assert (picture[row : row + 28, column : column + 28] == 1).all()
            assert picture.sum() == 28 * 28
            beginnings.add((int(row), int(column)))
    rows, columns = BEGINNINGS[place]
    assert beginnings == {(row, column) for row in rows for column in columns}


@pytest.mark.parametrize("words", ["ひだり", "みぎ", "うえ", "した"])
def test_both_digits_begin_everywhere_in_their_ranges_and_nowhere_else(words):
    caption = load_grammar("A").parse(f"すうじ2がすうじ6の{words}にある。")
    for digit, place in caption.scene:
        images = np.zeros((10, 28, 28), np.uint8)
        images[digit] = 255  # the other one is black, and hides nothing
        pictures = paint_scenes([caption] * 300, (images, np.arange(10)), np.random.default_rng(2))
        beginnings = np.array([np.argwhere(picture).min(0) for picture in pictures])
        assert tuple(sorted(set(column)) for column in beginnings.T.tolist()) == tuple(map(list, BEGINNINGS[place]))
        assert (pictures.sum((1, 2)) == 28 * 28).all()


def test_where_digits_meet_the_brighter_pixel_counts():
    for text in ("すうじ9がすうじ1のひだりにある。", "すうじ1がすうじ9のひだりにある。"):
        pictures = paint_scenes([load_grammar("A").parse(text)] * 50, SQUARES, np.random.default_rng(3))
        bright, dark = ((np.round(255 * pictures) == value).sum((1, 2)) for value in (240, 80))
        assert (bright == 28 * 28).all()
        assert dark.min() < 28 * 28, "they never met"


def test_every_image_of_the_digit_is_shown_and_none_of_another():
    labels = np.random.default_rng(4).permutation(np.repeat(np.arange(10), [4, 3, 5, 3, 3, 4, 3, 3, 1, 4]))
    images = np.broadcast_to((np.arange(33, dtype=np.uint8) + 100)[:, None, None], (33, 28, 28))
    for digit in range(10):
        caption = next(c for c in load_grammar("B").captions if c.scene == ((digit, "right"),))
        pictures = paint_scenes([caption] * 120, (images, labels), np.random.default_rng(digit))
        shown = np.round(255 * pictures.max((1, 2))).astype(int) - 100
        assert set(shown) == set(np.flatnonzero(labels == digit))


def test_brightness_is_divided_by_255_and_digits_stay_as_they_were():
    images = np.random.default_rng(5).integers(0, 256, (10, 28, 28), np.uint8)
    images.flags.writeable = False
    caption = load_grammar("B").parse("数字4が画像の下にある。")
    (picture,) = paint_scenes([caption], (images, np.arange(10)), np.random.default_rng(6))
    places = [(r, c) for r in BOTTOM for c in LEVEL]
    expected = (images[4] / 255).astype(np.float32)
    assert any(np.array_equal(picture[r : r + 28, c : c + 28], expected) for r, c in places)
    assert picture.dtype == np.float32
    assert picture.shape == (60, 60)
    assert paint_scenes([], (images, np.arange(10)), np.random.default_rng(6)).shape == (0, 60, 60)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None, "y_train": None}, "it lacks x_train, y_train"),
        ({"x_test": np.zeros((20, 784), np.uint8)}, r"x_test of uint8 \(n, 28, 28\), received uint8 \(20, 784\)"),
        ({"x_train": np.zeros((60, 28, 28), np.float32)}, r"x_train of uint8 \(n, 28, 28\), received float32"),
        ({"y_train": np.arange(59, dtype=np.uint8) % 10}, "y_train to give a digit 0-9 for each of 60"),
        ({"y_test": np.arange(20, dtype=np.uint8) % 11}, "y_test to give a digit 0-9 for each of 20"),
        ({"y_test": np.array([None] * 20)}, "does not hold MNIST"),
    ],
    ids=["two missing", "flat", "float", "too few labels", "eleven", "objects"],
)
def test_arrays_of_another_kind_are_refused_by_name(tmp_path, changes, message):
    np.savez(tmp_path / "mnist.npz", **_mnist(**changes))
    with pytest.raises(DataError, match=message):
        load_digits(tmp_path / "mnist.npz")


def test_files_of_another_kind_are_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "cut.npz", **_mnist())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-200])
    (tmp_path / "empty.npz").touch()
    for name in ("array.npy", "cut.npz", "empty.npz", "missing.npz", "."):
        with pytest.raises(DataError, match=r"does not hold MNIST .*x_train, y_train, x_test, y_test"):
            load_digits(tmp_path / name)


def test_the_last_images_of_a_whole_mnist_choose(tmp_path, monkeypatch):
    monkeypatch.setattr("brainpred.movies.scenes.N_TRAIN_MNIST", 37)
    content = _mnist()
    np.savez(tmp_path / "mnist.npz", **content)
    digits = load_digits(str(tmp_path / "mnist.npz"))
    for part, images, labels in (
        (digits.train, content["x_train"][:37], content["y_train"][:37]),
        (digits.validation, content["x_train"][37:], content["y_train"][37:]),
        (digits.test, content["x_test"], content["y_test"]),
    ):
        np.testing.assert_array_equal(part[0], images)
        np.testing.assert_array_equal(part[1], labels)
        assert part[1].dtype == np.int64
