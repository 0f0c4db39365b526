"""Lessons in reading before alignDRAW draws."""

import torch
from torch import nn

from brainpred.models.language import CaptionEncoder
from brainpred.movies.captions import Grammar, load_grammar
from brainpred.training.lessons import CaptionReader, caption_facts, teach_reading

A = load_grammar("A")


def _encoder(n_units):
    torch.manual_seed(0)
    return CaptionEncoder(len(A.vocabulary), "bidirectional", None, n_units)


def test_facts_are_template_and_digits_in_order_of_naming():
    texts = ("すうじ3がすうじ5のひだりにある。", "すうじ7ががぞうのみぎしたにある。", "すうじ0がすうじ0のしたにある。")
    facts = caption_facts(A, [A.parse(text) for text in texts])
    assert facts.tolist() == [[0, 3, 5], [5, 7, 10], [3, 0, 0]]
    assert len(set(map(tuple, caption_facts(A, A.captions).tolist()))) == len(A.captions), (
        "no two captions say the same"
    )
    assert caption_facts(load_grammar("B"), load_grammar("B").captions[11:12]).tolist() == [[1, 1]]


def test_held_out_captions_are_never_read(monkeypatch):
    encode, read = Grammar.encode, set()

    def noted(self, captions):
        read.update(captions)
        return encode(self, captions)

    monkeypatch.setattr(Grammar, "encode", noted)
    teach_reading(_encoder(n_units=2), A, 12)
    assert len(read) > 200
    assert read <= set(A.split()[0])


def test_captions_are_read_after_lessons_and_not_before():
    words = load_grammar("B")
    torch.manual_seed(0)
    language = CaptionEncoder(len(words.vocabulary), "bidirectional", None, 32)
    first, last = (teach_reading(language, words, n_lessons) for n_lessons in (1, 250))
    assert first < 0.2
    assert last > 0.9


def test_the_reader_tells_the_mean_over_tokens_and_digits_by_what_is_read_forwards():
    language, captions = _encoder(n_units=3), A.captions[3:400:66]
    tokens = torch.from_numpy(A.encode(captions))
    encoded, reader = language(tokens), CaptionReader(language, A)
    assert all(torch.equal(part, torch.zeros_like(part)) for part in reader(encoded, tokens)), "it begins undecided"
    for parameter in reader.parameters():
        nn.init.normal_(parameter)
    parts = reader(encoded, tokens)
    assert [part.shape[1] for part in parts] == [8, 11, 11]
    for row, caption in enumerate(captions):
        mean = sum(encoded[row, k] for k in range(len(caption.tokens))) / len(caption.tokens)
        torch.testing.assert_close(parts[0][row], reader.template.weight @ mean + reader.template.bias)
        for part, digit in zip(parts[1:], reader.digits, strict=True):
            torch.testing.assert_close(part[row], digit.weight @ mean[:3] + digit.bias)


def test_lessons_are_the_same_for_a_seed_and_leave_other_chance_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    encoders = [_encoder(n_units=3) for _ in range(3)]
    torch.manual_seed(4)
    for encoder, seed in zip(encoders, (1, 1, 2), strict=True):
        teach_reading(encoder, A, 3, seed)
    first, again, other = (encoder.lstm.weight_hh_l0 for encoder in encoders)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(3), expected)
