"""Finding the digits of a picture, and telling whether it shows what the caption says."""

import numpy as np
import pytest
import torch

from brainpred.models.digit_reader import DigitReader, load_digit_reader
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import COLUMNS, ROWS
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
