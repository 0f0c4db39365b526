"""How pictures are laid out in films and film strips."""

import numpy as np

from brainpred.reconstruction.film import film_strip, labelled_frames, save_picture


def test_frames_keep_order_and_even_sides():
    reds, blues = np.zeros((2, 11, 15, 3), np.uint8)
    reds[..., 0], blues[..., 2] = 255, 255
    rows = [([reds, blues], ["r 0.50", ""], "scan 0"), ([blues, reds], ["r 0.25", ""], "scan 1")]
    first, second = labelled_frames(rows, ["red", "blue"], "title")
    assert first.shape == second.shape
    assert first.shape[0] % 2 == 0
    assert first.shape[1] % 2 == 0
    middle = first[first.shape[0] // 2].astype(int)
    quarter = len(middle) // 4
    assert middle[quarter, 0] > 250 > 5 > middle[quarter, 2]
    assert middle[3 * quarter, 2] > 250 > 5 > middle[3 * quarter, 0]
    # What is written below changes with the frame, what is written above does not.
    assert (first[:40] == second[:40]).all()
    assert (first[-60:] != second[-60:]).any()


def test_strip_has_a_row_a_movie_and_a_column_a_moment(tmp_path):
    rows = {name: np.full((4, 8, 10, 3), value, np.uint8) for name, value in (("one", 60), ("two", 180))}
    strip = film_strip(rows, [0.0, 1.0, 2.0, 3.0], "title")
    assert abs(np.mean(strip == 60) / np.mean(strip == 180) - 1) < 0.02
    save_picture(tmp_path / "strip.png", strip)
    assert (tmp_path / "strip.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["strip.png"]
