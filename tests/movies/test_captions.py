"""The captions of the studies: templates, tokens, words, what is held out, what is refused."""

from itertools import pairwise

import numpy as np
import pytest

from brainpred.errors import ConfigError
from brainpred.movies.captions import GRAMMARS, load_grammar, understand

A, B, ENGLISH = (load_grammar(name) for name in ("A", "B", "english"))


def test_templates_are_those_of_the_document():
    assert list(A.sentences) == [
        *(f"すうじ_がすうじ_の{word}にある。" for word in ("ひだり", "みぎ", "うえ", "した")),
        *(f"すうじ_ががぞうの{word}にある。" for word in ("ひだりうえ", "みぎした", "みぎうえ", "ひだりした")),
    ]
    assert list(B.sentences) == [
        f"数字_が画像の{word}にある。" for word in ("左", "右", "上", "下", "左上", "右下", "右上", "左下")
    ]
    assert ENGLISH.sentences[0] == "the digit _ is on the left of the digit _."
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
    assert "すうじ_ががぞうのひだりうえにある。" in caught.value.__notes__


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


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_boundaries_are_where_one_word_ends_and_the_next_begins(grammar):
    for caption in grammar.captions[:: 7 if grammar.characters else 3]:
        letters = caption.text.replace(" ", "")
        ends = (0, *caption.boundaries, len(letters))
        assert tuple(letters[a:b] for a, b in pairwise(ends)) == caption.words
    assert (grammar.name == "A") == all(len(token) == 1 for token in grammar.vocabulary[1:])


def test_nothing_in_the_tokens_of_a_tells_words_apart():
    for caption in A.captions:
        assert "".join(caption.tokens) == caption.text
        assert all(len(token) == 1 and not token.isspace() for token in caption.tokens)
        assert len(caption.words) < len(caption.tokens)
    for grammar in (B, ENGLISH):
        assert all(caption.tokens == caption.words for caption in grammar.captions)


@pytest.mark.parametrize("grammar", [A, ENGLISH], ids=["A", "english"])
def test_the_second_digit_is_opposite_the_first(grammar):
    opposites = {("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top")}
    places = [tuple(place for _, place in caption.scene) for caption in grammar.captions if len(caption.scene) == 2]
    assert set(places) == opposites
    assert len(places) == 400


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_words_say_the_place_of_the_scene(grammar):
    words = {"left": "ひだり 左 left", "right": "みぎ 右 right", "top": "うえ 上 top", "bottom": "した 下 bottom"}
    for caption in grammar.captions:
        said = {name for name, forms in words.items() if any(form in caption.text for form in forms.split())}
        assert said == set(caption.scene[0][1].split())
        assert [int(word) for word in caption.words if word.isdigit()] == [digit for digit, _ in caption.scene]


def test_english_is_written_with_spaces_and_read_as_words():
    caption = ENGLISH.parse("the digit 4 is at the bottom of the digit 7.")
    assert caption.text == "the digit 4 is at the bottom of the digit 7."
    assert caption.tokens == ("the", "digit", "4", "is", "at", "the", "bottom", "of", "the", "digit", "7", ".")
    assert caption.scene == ((4, "bottom"), (7, "top"))
    assert caption.boundaries[:4] == (3, 8, 9, 11)


@pytest.mark.parametrize(
    ("grammar", "text", "written"),
    [
        (A, "すうじ３が すうじ５　の したに ある", "すうじ3がすうじ5のしたにある。"),
        (B, "数字 ０ が 画像 の 左上 に ある", "数字0が画像の左上にある。"),
        (B, "\n数字０が画像の左上にある。\n", "数字0が画像の左上にある。"),
        (ENGLISH, "The Digit ９ is on the RIGHT of the digit 2", "the digit 9 is on the right of the digit 2."),
        (
            ENGLISH,
            "  the digit 9 is at  the top right\tof the image . ",
            "the digit 9 is at the top right of the image.",
        ),
    ],
)
def test_captions_are_understood_as_people_write_them(grammar, text, written):
    assert grammar.parse(text).text == written


def test_encoding_of_unequal_captions_by_hand():
    short, long = A.parse("すうじ3がすうじ5のうえにある。"), A.parse("すうじ3ががぞうのひだりうえにある。")
    encoded = A.encode([short, long])
    assert encoded.dtype == np.int64
    assert encoded.shape == (2, len(long.tokens))
    assert encoded[0, len(short.tokens) - 1] == A.vocabulary.index("。")
    assert (encoded[0, len(short.tokens) :] == 0).all()
    assert (encoded[1] > 0).all()
    assert encoded[0, 3] == encoded[1, 3] == 4, "digit 0 is number 1"
    assert A.encode([short]).shape == (1, len(short.tokens))
    assert A.encode([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("grammar", "text", "message", "shown"),
    [
        (B, "数字7が犬の猫、犬にある。", "never read: 犬 猫 、\\.", "数字_が画像の左上にある。"),
        (B, "すうじ3ががぞうのひだりうえにある。", "never read: す う じ", "数字_が画像の右にある。"),
        (B, "数字77が画像の左にある。", "no sentence of grammar B", "数字_が画像の左にある。"),
        (B, " \t\n", "The caption is empty", "数字_が画像の下にある。"),
        (
            ENGLISH,
            "the digit 3 is at the left of the image",
            "no sentence",
            "the digit _ is at the top left of the image.",
        ),
        (ENGLISH, "quite a joy", "never read: q u j y", "the digit _ is on the right of the digit _."),
    ],
)
def test_errors_name_what_is_wrong_and_show_what_can_be_said(grammar, text, message, shown):
    with pytest.raises(ConfigError, match=message) as caught:
        grammar.parse(text)
    assert shown in caught.value.__notes__
    assert caught.value.__notes__ == list(grammar.sentences)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "The caption is empty."),
        ("すうじ3は猫のうえにある。", "networks of grammar A have never read: は 猫."),
        ("すうじ7ががぞうのひだりにある。", "no sentence of grammar A."),
        ("数字3が画像の猫にある。", "networks of grammar B have never read: 猫."),
        ("数字12が画像の左にある。", "no sentence of grammar B."),
        ("the digit 3 is at the left of the image", "no sentence of grammar english."),
    ],
)
def test_among_several_grammars_the_nearest_gives_the_reason_and_each_sentence_is_listed_once(text, reason):
    grammars = list(GRAMMARS.values())
    with pytest.raises(ConfigError) as caught:
        understand(text, grammars)
    assert str(caught.value).endswith(f"{reason} Write one of these sentences, with a digit for each _:")
    assert str(caught.value).count("caption") == 1
    assert caught.value.__notes__ == [sentence for grammar in grammars for sentence in grammar.sentences]


def test_the_grammar_of_a_caption_is_found():
    for grammar in GRAMMARS.values():
        for caption in grammar.captions[::37]:
            assert understand(caption.text, list(GRAMMARS.values())) == (grammar, caption)


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_ten_combinations_are_held_out_and_each_half_of_them_is_seen_elsewhere(grammar):
    seen, held_out = grammar.split()
    assert len(grammar.held_out) == 10
    assert len({digit for digit, _ in grammar.held_out}) == 10
    for digit, place in grammar.held_out:
        assert len({at for caption in seen for one, at in caption.scene if one == digit} - {place}) >= 2
        assert len({one for caption in seen for one, at in caption.scene if at == place} - {digit}) >= 2
    assert len(seen) + len(held_out) == len(grammar.captions)
    assert set(seen).isdisjoint(held_out)
    assert {caption.text for caption in (*seen, *held_out)} == {caption.text for caption in grammar.captions}
    assert not any(pair in grammar.held_out for caption in seen for pair in caption.scene)
    assert len({tuple(place for _, place in caption.scene) for caption in seen}) == len(grammar.templates)


def test_all_grammars_hold_out_the_same_combinations():
    """Or a network that starts from the drawing of another would have seen some of its own."""
    assert len({load_grammar(name).held_out for name in GRAMMARS}) == 1
