"""The captions of the studies: templates, tokens, words, what is held out, what is refused."""

import numpy as np
import pytest

from brainpred.errors import ConfigError
from brainpred.movies.captions import GRAMMARS, load_grammar

A, B, ENGLISH = (load_grammar(name) for name in ("A", "B", "english"))


def test_templates_are_those_of_the_document():
    assert str(A).split(" · ") == [
        *(f"すうじ_がすうじ_の{word}にある。" for word in ("ひだり", "みぎ", "うえ", "した")),
        *(f"すうじ_ががぞうの{word}にある。" for word in ("ひだりうえ", "みぎした", "みぎうえ", "ひだりした")),
    ]
    assert str(B).split(" · ") == [
        f"数字_が画像の{word}にある。" for word in ("左", "右", "上", "下", "左上", "右下", "右上", "左下")
    ]
    assert str(ENGLISH).startswith("the digit _ is on the left of the digit _. · ")
    assert [len(grammar.captions) for grammar in (A, B, ENGLISH)] == [440, 80, 440]


def test_tokens_have_no_boundaries_in_a_and_are_words_in_b():
    caption = A.parse("すうじ3がすうじ5のひだりにある。")
    assert caption.tokens == tuple("すうじ3がすうじ5のひだりにある。")
    assert caption.words == ("すうじ", "3", "が", "すうじ", "5", "の", "ひだり", "に", "ある", "。")
    assert caption.scene == ((3, "left"), (5, "right"))
    assert caption.boundaries == (3, 4, 5, 8, 9, 10, 13, 14, 16)
    assert B.parse("数字7が画像の右下にある。").tokens == ("数字", "7", "が", "画像", "の", "右下", "に", "ある", "。")
    assert B.parse("数字7が画像の右下にある。").scene == ((7, "bottom right"),)


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_encoding_names_every_token_and_pads_with_zero(grammar):
    encoded = grammar.encode(grammar.captions)
    assert grammar.vocabulary[0] == ""
    assert len(set(grammar.vocabulary)) == len(grammar.vocabulary)
    for row, caption in zip(encoded, grammar.captions, strict=True):
        n = len(caption.tokens)
        assert tuple(grammar.vocabulary[number] for number in row[:n]) == caption.tokens
        assert not row[n:].any()
    assert set(np.unique(encoded)) - {0} == set(range(1, len(grammar.vocabulary)))


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_every_caption_is_understood(grammar):
    assert all(grammar.parse(caption.text) is caption for caption in grammar.captions)


def test_small_differences_of_writing_do_not_matter():
    assert A.parse(" すうじ３が すうじ５のひだりにある ") is A.parse("すうじ3がすうじ5のひだりにある。")
    assert ENGLISH.parse("The digit 3 is at the top left of the IMAGE").scene == ((3, "top left"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The caption is empty"),
        ("　 。", "The caption is empty"),
        ("すうじ3が犬のうえにある", "never read: 犬"),
        ("すうじ3がある。", "no sentence of grammar A"),
        ("すうじ12ががぞうのみぎうえにある。", "no sentence of grammar A"),
    ],
)
def test_errors_show_the_grammar(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        A.parse(text)
    assert "すうじ_ががぞうのひだりうえにある。" in str(caught.value)


def test_unknown_grammar():
    with pytest.raises(ConfigError, match=r"Unknown grammar 'C'.*A, B, english"):
        load_grammar("C")


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_held_out_combinations_are_never_seen_but_their_parts_are(grammar):
    seen, held_out = grammar.split()
    assert sorted(map(str, (*seen, *held_out))) == sorted(map(str, grammar.captions))
    combinations = {pair for caption in seen for pair in caption.scene}
    assert combinations.isdisjoint(grammar.held_out)
    assert sorted(digit for digit, _ in grammar.held_out) == list(range(10))
    places = {place for caption in grammar.captions for _, place in caption.scene}
    assert {place for _, place in grammar.held_out} == places
    assert combinations | grammar.held_out == {(digit, place) for digit in range(10) for place in places}
    assert all(grammar.held_out & set(caption.scene) for caption in held_out)
