"""Finding the digits of a picture, and telling whether it shows what the caption says."""

import numpy as np
import pytest
import torch

from brainpred.models.digit_reader import DigitReader, load_digit_reader
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import COLUMNS, ROWS, paint_scenes
from brainpred.probes.reading import DrawnDigit, locate_digits, obeys, read_scenes, validity

A, B = load_grammar("A"), load_grammar("B")


def _canvas(*squares):
    picture = np.zeros((60, 60), np.float32)
    for top, left, height, width in squares:
        picture[top : top + height, left : left + width] = 1
    return picture


def test_digits_are_found_apart_and_centred():
    centres, crops = locate_digits(_canvas((3, 5, 12, 9), (40, 33, 11, 7)))
    np.testing.assert_allclose(centres, [[8.5, 9], [45, 36]])
    assert [crop.sum() for crop in crops] == [12 * 9, 11 * 7]
    for crop in crops:
        middle = (np.argwhere(crop).mean(0) + 0.5) / 28
        np.testing.assert_allclose(middle, 0.5, atol=0.04)


def test_gaps_of_two_pixels_are_bridged_and_wider_ones_are_not():
    assert len(locate_digits(_canvas((10, 10, 8, 8), (20, 10, 8, 8)))[0]) == 1
    assert len(locate_digits(_canvas((10, 10, 8, 8), (21, 10, 8, 8)))[0]) == 2


def test_faint_and_small_spots_are_no_digits():
    picture = _canvas((10, 10, 8, 8), (40, 40, 3, 4))
    picture[50:58, 2:10] = 0.25
    assert len(locate_digits(picture)[0]) == 1
    assert len(locate_digits(np.zeros((60, 60), np.float32))[0]) == 0


def test_a_digit_at_the_edge_is_cropped_with_black_beyond():
    _, crops = locate_digits(_canvas((0, 0, 10, 10)))
    assert crops[0].sum() == 100
    assert crops[0][:8].sum() == 0


def test_places():
    for row_name, rows in ROWS.items():
        for column_name, columns in COLUMNS.items():
            digit = DrawnDigit(3, 1.0, np.mean(rows) + 13.5 + 3, np.mean(columns) + 13.5 - 3)
            assert digit.place == (f"{row_name} {column_name}".strip() or "middle")


def _at(digit, row, column):
    return DrawnDigit(digit, 1.0, row, column)


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        ([_at(3, 30, 15), _at(5, 32, 45)], (True, True)),
        ([_at(5, 32, 45), _at(3, 30, 15)], (True, True)),  # in no order
        ([_at(3, 30, 45), _at(5, 32, 15)], (True, False)),  # the wrong way round
        ([_at(3, 15, 30), _at(5, 45, 32)], (True, False)),  # one above the other
        ([_at(3, 30, 15), _at(8, 32, 45)], (False, False)),
        ([_at(3, 30, 15)], (False, False)),
        ([_at(3, 30, 15), _at(5, 32, 45), _at(1, 50, 50)], (False, False)),
        ([], (False, False)),
    ],
)
def test_two_digits(scene, expected):
    assert obeys(scene, A.parse("すうじ3がすうじ5のひだりにある。")) == expected


@pytest.mark.parametrize(
    ("word", "first"), [("ひだり", (30, 15)), ("みぎ", (30, 45)), ("うえ", (15, 30)), ("した", (45, 30))]
)
def test_every_relation(word, first):
    second = (60 - first[0], 60 - first[1])
    for text, right in ((f"すうじ1がすうじ2の{word}にある。", True), (f"すうじ2がすうじ1の{word}にある。", False)):
        assert obeys([_at(1, *first), _at(2, *second)], A.parse(text)) == (True, right)
    same = A.parse(f"すうじ4がすうじ4の{word}にある。")
    assert obeys([_at(4, *first), _at(4, *second)], same) == (True, True)
    assert obeys([_at(4, *second), _at(4, *first)], same) == (True, True)
    assert obeys([_at(4, *first[::-1]), _at(4, *second[::-1])], same) == (True, False)


def test_one_digit():
    caption = B.parse("数字6が画像の右上にある。")
    assert obeys([_at(6, 15, 45)], caption) == (True, True)
    assert obeys([_at(6, 30, 45)], caption) == (True, False)
    assert obeys([_at(0, 15, 45)], caption) == (False, False)


class _Counter(DigitReader):
    """Reads the width of a square."""

    @torch.inference_mode()
    def probabilities(self, pictures):
        widths = (pictures > 0).any(1).sum(1)
        return torch.nn.functional.one_hot(widths, 28)[:, :10].float()


def test_validity_counts():
    captions = [B.parse("数字6が画像の左上にある。")] * 4
    pictures = np.stack([_canvas((8, 12, 9, 6))] * 2 + [_canvas((40, 12, 9, 6)), _canvas((8, 12, 9, 7))])
    found = validity(captions, pictures, _Counter())
    assert (found["n_pictures"], found["digits"], found["joint"]) == (4, 0.75, 0.5)
    # Wilson's interval of 2 out of 4, by hand.
    z, n, p = 1.959964, 4, 0.5
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (found["joint_low"], found["joint_high"]) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))


def test_empty_pictures_read_as_no_digits():
    assert read_scenes(np.zeros((2, 60, 60), np.float32), load_digit_reader()) == [[], []]


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (1, 1), (1, -1)])
def test_gaps_are_bridged_across_and_aslant_too(shift):
    down, right = shift
    for gap, n_parts in ((2, 1), (3, 2)):
        step = 8 + gap
        found = locate_digits(_canvas((20, 20, 8, 8), (20 + step * down, 20 + step * right, 8, 8)))[0]
        assert len(found) == n_parts


def test_centres_weigh_brightness_and_crops_hold_one_digit_each():
    picture = _canvas((20, 10, 8, 6), (20, 19, 8, 6))
    picture[20:28, 13:16] = 0.5  # the right half of the first one is darker
    centres, crops = locate_digits(picture)
    columns = np.arange(10, 16)
    weights = np.array([1, 1, 1, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(centres, [[23.5, (columns * weights).sum() / weights.sum()], [23.5, 21.5]])
    assert [crop.sum() for crop in crops] == [8 * 3 * 1.5, 8 * 6]
    assert crops.dtype == np.float32
    for crop, (row, column), inside in zip(crops, centres, ((20, 10), (20, 19)), strict=True):
        shifted = np.argwhere(crop).min(0) - (14 - np.round([row, column]))
        np.testing.assert_array_equal(shifted, inside)


def test_a_digit_of_just_enough_ink_is_found():
    for brightness, n_digits in ((15.1, 1), (14.9, 0)):
        picture = np.zeros((60, 60), np.float32)
        picture[30:35, 30:35] = brightness / 25
        assert len(locate_digits(picture)[1]) == n_digits


def test_digits_painted_where_a_caption_says_are_placed_there():
    images = np.zeros((10, 28, 28), np.uint8)
    images[:, 4:24, 9:19] = 255
    for grammar in (A, B):
        rng = np.random.default_rng(7)
        for caption, picture in zip(
            grammar.captions[::11], paint_scenes(grammar.captions[::11], (images, np.arange(10)), rng), strict=True
        ):
            if len(caption.scene) == 1 or caption.scene[0][1] in ("left", "right"):  # the others touch
                places = [_at(0, *centre).place for centre in locate_digits(picture)[0]]
                assert sorted(places) == sorted(place for _, place in caption.scene)


def test_digits_stay_with_their_pictures():
    pictures = np.stack(
        [
            _canvas(),
            _canvas((5, 5, 9, 3), (5, 40, 9, 4)),
            _canvas((40, 5, 9, 5)),
            _canvas(),
            _canvas((5, 5, 9, 6), (40, 5, 9, 7), (40, 40, 9, 8)),
        ]
    )
    scenes = read_scenes(pictures, _Counter())
    assert [[one.digit for one in scene] for scene in scenes] == [[], [3, 4], [5], [], [6, 7, 8]]
    assert [(one.row, one.column) for one in scenes[4]] == [(9, 7.5), (44, 8), (44, 43.5)]
    assert [one.place for one in scenes[4]] == ["top left", "bottom left", "bottom right"]
    assert all(one.probability == 1 for scene in scenes for one in scene)
    assert read_scenes(np.zeros((0, 60, 60), np.float32), _Counter()) == []


@pytest.mark.parametrize("place", ["左", "右", "上", "下", "左上", "右下", "右上", "左下"])
def test_a_single_digit_must_be_in_the_ninth_that_is_named(place):
    caption = B.parse(f"数字6が画像の{place}にある。")
    right = [
        (row, column)
        for row in (14.5, 30.5, 44.5)
        for column in (15.5, 30.5, 43.5)
        if obeys([_at(6, row, column)], caption) == (True, True)
    ]
    rows, columns = {"上": 14.5, "下": 44.5}, {"左": 15.5, "右": 43.5}
    expected = [rows[word] for word in place if word in rows], [columns[word] for word in place if word in columns]
    assert right == [((expected[0] or [30.5])[0], (expected[1] or [30.5])[0])]
    assert obeys([_at(6, 14.5, 15.5), _at(6, 44.5, 43.5)], caption) == (False, False)  # once too often


def test_the_same_digit_twice_is_not_one_of_it():
    caption = A.parse("すうじ4がすうじ4のうえにある。")
    assert obeys([_at(4, 15, 30)], caption) == (False, False)
    assert obeys([_at(4, 15, 30), _at(5, 45, 30)], caption) == (False, False)
    assert obeys([_at(4, 15, 30), _at(4, 45, 30)], A.parse("すうじ4がすうじ5のうえにある。")) == (False, False)


@pytest.mark.parametrize("n_right", [0, 2, 5, 7])
def test_interval_follows_wilsons_formula(n_right):
    captions = [B.parse("数字6が画像の左上にある。")] * 7
    pictures = np.stack([_canvas((8, 12, 9, 6))] * n_right + [_canvas((40, 12, 9, 6))] * (7 - n_right))
    found = validity(captions, pictures, _Counter())
    z, n, p = 1.959963984540054, 7, n_right / 7
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert found == {
        "n_pictures": 7,
        "digits": 1.0,
        "joint": pytest.approx(p),
        "joint_low": pytest.approx(middle - half, abs=1e-9),
        "joint_high": pytest.approx(middle + half, abs=1e-9),
    }
