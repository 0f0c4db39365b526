"""Figures and films of alignDRAW show the numbers that they are given."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from brainpred.movies.captions import load_grammar
from brainpred.probes.composition import DOCUMENT
from brainpred.reporting.drawings import ATTENTION_COLOURS, composition_figure, drawing_frames

CAPTION = load_grammar("B").parse("数字3が画像の左上にある。")
BAR = 517  # row of pixels that runs through the middle of the bars


def _bars(alpha):
    """Give the row through the bars of each frame, and where each bar begins and ends."""
    rows = [frame[BAR] for frame in drawing_frames(CAPTION, alpha, np.zeros((len(alpha), 60, 60)))]
    nothing = next(drawing_frames(CAPTION, np.zeros((1, alpha.shape[1])), np.zeros((1, 60, 60))))[BAR]
    edges = np.flatnonzero((nothing < 255).any(axis=1))
    inside = np.flatnonzero(np.diff(edges) > 10)  # between bars there are fewer pixels
    return rows, [(edges[i] + 1, edges[i + 1]) for i in inside], nothing


def test_bars_of_a_film_have_one_scale_from_white_to_the_highest_attention():
    alpha = np.zeros((2, len(CAPTION.tokens)))
    alpha[0, :2] = 0.8, 0.2
    alpha[1] = 1 / alpha.shape[1]  # each step's own maximum would make these as dark as 0.8
    (first, second), bars, nothing = _bars(alpha)
    assert len(bars) == len(CAPTION.tokens)
    for at, (left, right) in enumerate(bars):
        middle = (left + right) // 2
        assert (nothing[middle] == 255).all()
        for row, step in ((first, 0), (second, 1)):
            expected = 255 * np.array(to_rgb(ATTENTION_COLOURS(alpha[step, at] / 0.8)))
            np.testing.assert_allclose(row[middle], expected, atol=1.5)


def test_bars_of_a_film_are_as_wide_as_their_tokens():
    _, bars, _ = _bars(np.zeros((1, len(CAPTION.tokens))))
    widths = dict(zip(CAPTION.tokens, (right - left for left, right in bars), strict=True))
    assert widths["数字"] == pytest.approx(widths["画像"], abs=2)
    assert 1.9 < widths["左上"] / widths["が"] < 2.4
    assert all(left > previous for (_, previous), (left, _) in pairwise(bars))


@pytest.mark.parametrize("n_networks", [1, 2])
def test_bars_of_compositions_stand_for_intervals_alone(n_networks):
    numbers = ("cosine", "wrong_parts", "best_wrong", "random_parts")
    half = 0.1 if n_networks > 1 else np.nan
    row = {name: value for number in numbers for name, value in
           ((number, 0.5), (f"{number}_low", 0.5 - half), (f"{number}_high", 0.5 + half))}  # fmt: skip
    names = [{"vectors": kind, "compound": word} for kind in ("raw", "centred") for word in DOCUMENT]
    figure = composition_figure(pd.DataFrame([{**name, **row, "n_networks": n_networks} for name in names]))
    assert len(figure.legends[0].get_texts()) == 5
    assert len(figure.axes[0].collections) == (4 if n_networks > 1 else 0), "lines of intervals"
    assert len(figure.axes[0].containers) == (4 if n_networks > 1 else 0)
