"""Attention that follows words is found to, attention that does not is not."""

import numpy as np
import pytest
from scipy.stats import entropy

from brainpred.errors import DataError
from brainpred.movies.captions import load_grammar
from brainpred.probes.attention import (
    attention_entropy,
    boundary_agreement,
    boundary_strength,
    drawing_agreement,
    word_gaps,
)

A = load_grammar("A")
SENTENCES = [caption.words for caption in (*A.captions[:400:100], *A.captions[400::10])]


def _follow_words(words, rng):
    """Attention that is spread evenly within each word."""
    by_word = rng.dirichlet(np.ones(len(words)), size=32)
    lengths = [len(word) for word in words]
    return np.repeat(by_word / lengths, lengths, axis=1)


def test_strength_is_by_hand():
    alpha = np.array([[0.5, 0.25, 0.25], [0.1, 0.9, 0.0]])
    np.testing.assert_allclose(boundary_strength(alpha), [(0.25 + 0.8) / 1.75, 0.9 / 1.4])
    np.testing.assert_allclose(boundary_strength(np.array([[1.0, 0, 0], [0, 1, 0]])), [1, 1])


def test_attention_to_whole_words_is_found():
    rng = np.random.default_rng(0)
    strengths = [boundary_strength(_follow_words(words, rng)) for words in SENTENCES]
    found = boundary_agreement(strengths, SENTENCES, rng, n_draws=500)
    assert found.n_gaps == sum(sum(map(len, words)) - 1 for words in SENTENCES)
    assert found.n_boundaries == 8 * 9
    assert found.best_f1 == 1
    assert found.f1 > 0.9
    assert found.mutual_information > 0.5
    assert max(found.f1_p, found.mutual_information_p, found.best_f1_p) < 0.01
    assert found.f1_null < 0.75


def test_attention_to_single_characters_is_not():
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        strengths = [boundary_strength(rng.dirichlet(np.ones(sum(map(len, words))), size=32)) for words in SENTENCES]
        p.append(boundary_agreement(strengths, SENTENCES, rng, n_draws=99).f1_p)
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) <= 0.05) <= 0.15


def test_orders_keep_the_words():
    order = np.array([2, 0, 1])
    np.testing.assert_array_equal(word_gaps(["うえ", "に", "ある"], order), [0, 1, 0, 1])


def test_words_as_tokens_are_refused():
    with pytest.raises(DataError, match="17 characters and so 16 gaps, received 8"):
        boundary_agreement([np.zeros(8)], [A.captions[0].words], np.random.default_rng(0))


def test_entropy_equals_scipy():
    alpha = np.random.default_rng(0).dirichlet(np.ones(7), size=(3, 5))
    alpha[0, 0] = np.eye(7)[2]
    assert attention_entropy(alpha) == pytest.approx(np.mean(entropy(alpha, axis=-1)))


SPOTS = {"left": np.s_[4, 1], "right": np.s_[4, 4], "top": np.s_[1, 3], "bottom": np.s_[6, 3]}  # in pictures of 8 x 6
PAIRS = [
    A.parse(f"すうじ{digit}がすうじ{9 - digit}の{place}にある。")
    for place in ("ひだり", "みぎ", "うえ", "した")
    for digit in range(10)
]


def _drawn(turns):
    """Draw the first digit of each pair where it is its turn, and else the second: (n_captions, n_steps + 1, 8, 6)."""
    pictures = np.zeros((len(PAIRS), turns.shape[1] + 1, 8, 6))
    for row, caption in enumerate(PAIRS):
        for step, turn in enumerate(turns[row]):
            pictures[row, step + 1] = pictures[row, step]
            pictures[row, step + 1][SPOTS[caption.scene[0 if turn else 1][1]]] += 0.05
    return pictures


def _attended(turns):
    alpha = np.zeros((*turns.shape, max(len(caption.tokens) for caption in PAIRS)))
    alpha[:, :, 3], alpha[:, :, 8] = turns, ~turns
    return alpha


@pytest.mark.parametrize(("sign", "expected"), [(1, 1), (-1, -1), (0, 0)])
@pytest.mark.parametrize("order", ["every caption its own", "one for all"])
def test_agreement_with_the_drawing(sign, expected, order):
    rng = np.random.default_rng(4)
    turns = rng.random((len(PAIRS), 12)) < 0.5
    if order == "one for all":
        turns[:] = np.arange(12) < 5
    other = turns[0] * 0 + (np.arange(12) % 4 < 2) if order == "one for all" else rng.random(turns.shape) < 0.5
    attended = turns if sign > 0 else ~turns if sign < 0 else np.broadcast_to(other.astype(bool), turns.shape)
    r, null, p = drawing_agreement(PAIRS, _attended(attended), _drawn(turns), rng)
    assert r == pytest.approx(expected, abs=0.25 if not sign else 1e-6)
    assert abs(null) < 0.1
    assert (p < 0.01) == (sign != 0), "that the other digit is attended to is no chance either"


def test_drawings_of_one_digit_are_refused():
    caption = A.captions[-1]
    with pytest.raises(DataError, match="two digits each"):
        drawing_agreement([caption] * 3, np.zeros((3, 2, 19)), np.zeros((3, 3, 4, 4)), np.random.default_rng(0))
