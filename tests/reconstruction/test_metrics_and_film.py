"""Scores of pictures, and how pictures are laid out."""

import numpy as np
import pytest

from brainpred.reconstruction.film import film_strip, labelled_frames, save_picture
from brainpred.reconstruction.metrics import pixel_correlation, structural_similarity


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((2, 13, 17, 3))


def test_scores_of_equal_opposite_and_unrelated_pictures(pictures):
    shown, other = pictures
    assert structural_similarity(shown, shown) == pytest.approx(1)
    assert pixel_correlation(shown, 0.3 * shown + 0.1) == pytest.approx(1)
    assert pixel_correlation(shown, 1 - shown) == pytest.approx(-1)
    assert abs(pixel_correlation(shown, other)) < 0.2
    assert structural_similarity(shown, other) < 0.3
    assert np.isnan(pixel_correlation(shown, np.full_like(shown, 0.5)))


def test_pixel_correlation_against_a_loop(pictures):
    a, b = pictures[0].ravel().tolist(), pictures[1].ravel().tolist()
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    norm = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    assert pixel_correlation(*pictures) == pytest.approx(covariance / norm)


def test_frames_keep_order_and_even_sides():
    reds, blues = np.zeros((2, 11, 15, 3), np.uint8)
    reds[..., 0], blues[..., 2] = 255, 255
    frame = next(labelled_frames([[reds, blues]], ["red", "blue"], "footer"))
    assert frame.shape[0] % 2 == 0
    assert frame.shape[1] % 2 == 0
    middle = frame[frame.shape[0] // 2].astype(int)
    quarter = len(middle) // 4
    assert middle[quarter, 0] > 250 > 5 > middle[quarter, 2]
    assert middle[3 * quarter, 2] > 250 > 5 > middle[3 * quarter, 0]


def test_strip_has_a_row_a_movie_and_a_column_a_moment(tmp_path):
    rows = {name: np.full((4, 8, 10, 3), value, np.uint8) for name, value in (("one", 60), ("two", 180))}
    strip = film_strip(rows, [0.0, 1.0, 2.0, 3.0], "title")
    assert np.mean(strip == 60) == pytest.approx(np.mean(strip == 180), rel=0.02)
    save_picture(tmp_path / "strip.png", strip)
    assert (tmp_path / "strip.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["strip.png"]
