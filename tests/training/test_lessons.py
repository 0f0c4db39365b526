"""Lessons in reading before alignDRAW draws."""

import torch
from torch import nn
from torch.nn import functional

from brainpred.models.language import Attention, CaptionEncoder
from brainpred.movies.captions import Grammar, load_grammar
from brainpred.training import lessons
from brainpred.training.lessons import CaptionReader, caption_facts, teach_reading

A = load_grammar("A")


def _pupil(n_units, grammar=A, n_embedding=None):
    torch.manual_seed(0)
    language = CaptionEncoder(len(grammar.vocabulary), "bidirectional", n_embedding, n_units)
    return language, Attention(language.n_outputs, 2 * n_units)


def test_facts_are_template_and_digit_of_each_place():
    texts = ("すうじ3がすうじ5のひだりにある。", "すうじ7ががぞうのみぎしたにある。", "すうじ0がすうじ0のしたにある。")
    facts = caption_facts(A, [A.parse(text) for text in texts])
    no = -100
    assert A.places == ("left", "right", "top", "bottom", "top left", "bottom right", "top right", "bottom left")
    assert facts.tolist() == [
        [0, 3, 5, no, no, no, no, no, no],
        [5, no, no, no, no, no, 7, no, no],
        [3, no, no, 0, 0, no, no, no, no],
    ]
    assert len(set(map(tuple, caption_facts(A, A.captions).tolist()))) == len(A.captions), (
        "no two captions say the same"
    )


def test_held_out_captions_are_never_learned_from(monkeypatch):
    encode, read = Grammar.encode, []

    def noted(self, captions):
        read.append(captions)
        return encode(self, captions)

    monkeypatch.setattr(Grammar, "encode", noted)
    teach_reading(*_pupil(n_units=2), A, 12)
    seen, held_out = A.split()
    assert len(read) == 12 + 2
    assert {caption for lesson in read[:12] for caption in lesson} <= set(seen)
    assert tuple(read[12:]) == (seen, held_out), "the end is told of both"


def test_captions_are_read_after_lessons_and_not_before_and_what_was_never_shown_too():
    words = load_grammar("B")
    first, last = (teach_reading(*_pupil(32, words, 32), words, n_lessons) for n_lessons in (1, 600))
    assert max(first) < 0.3
    assert min(last) > 0.9, last


def test_the_reader_attends_with_a_question_a_fact_and_tells_digits_by_one_map_of_what_is_read_forwards():
    language, attention = _pupil(n_units=3)
    captions = A.captions[3:400:66]
    tokens = torch.from_numpy(A.encode(captions))
    encoded, reader = language(tokens), CaptionReader(language, attention, A, torch.Generator().manual_seed(1))
    begun = reader(reader.attended(attention, encoded, tokens))
    assert all(torch.equal(part, torch.zeros_like(part)) for part in begun), "it begins undecided"
    for parameter in reader.parameters():
        nn.init.normal_(parameter)
    attended = reader.attended(attention, encoded, tokens)
    for row, caption in enumerate(captions):
        h = encoded[row, : len(caption.tokens)]
        for s, question in zip(attended[row], reader.questions, strict=True):
            energy = torch.stack([attention.v @ torch.tanh(attention.keys.weight @ vector + question) for vector in h])
            torch.testing.assert_close(s, (energy.exp() / energy.exp().sum()) @ h)
    template, digits = reader(attended)
    assert template.shape == (len(captions), 8)
    assert digits.shape == (len(captions), 8, 10)
    torch.testing.assert_close(template[1], reader.template(attended[1, 0]))
    torch.testing.assert_close(digits[1, 2], reader.digit.weight @ attended[1, 3, :3] + reader.digit.bias)


def test_what_is_attended_to_is_compared_with_the_sum_of_a_digit_and_a_place():
    language, attention = _pupil(n_units=3)
    reader = CaptionReader(language, attention, A, torch.Generator().manual_seed(1))
    for parts in (reader.digit_parts, reader.place_parts):
        nn.init.normal_(parts)
    captions = [A.parse(text) for text in ("すうじ3がすうじ5のひだりにある。", "すうじ7ががぞうのみぎしたにある。")]
    facts, attended = caption_facts(A, captions), torch.randn(2, 9, 6)
    with torch.no_grad():
        for row, place, digit in ((0, 0, 3), (0, 1, 5), (1, 5, 7)):
            attended[row, 1 + place] = reader.digit_parts[digit] + reader.place_parts[place]
        assert reader.combination_error(attended, facts) < 1e-10, "what is nowhere named does not count"
        attended[1, 6, 0] += 3
        torch.testing.assert_close(reader.combination_error(attended, facts), torch.tensor(9 / 3))


def test_after_lessons_held_out_combinations_are_nearer_the_sum_of_their_parts(monkeypatch):
    readers, missed = [], []

    class Noted(CaptionReader):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            readers.append(self)

    monkeypatch.setattr(lessons, "CaptionReader", Noted)
    for weight in (0.0, lessons.COMBINATION_WEIGHT):
        monkeypatch.setattr(lessons, "COMBINATION_WEIGHT", weight)
        language, attention = _pupil(24)
        teach_reading(language, attention, A, 400)
        vectors, design = [], []
        for captions in A.split():
            tokens, digits = torch.from_numpy(A.encode(captions)), caption_facts(A, captions)[:, 1:]
            with torch.no_grad():
                attended = readers[-1].attended(attention, language(tokens), tokens)[:, 1:]
            rows, places = torch.nonzero(digits >= 0, as_tuple=True)
            vectors.append(attended[rows, places])
            which = functional.one_hot(digits[rows, places], 10), functional.one_hot(places, 8)
            design.append(torch.cat(which, dim=1).float())
        parts = torch.linalg.pinv(design[0]) @ vectors[0]
        missed.append(float((vectors[1] - design[1] @ parts).square().sum(1).mean() / vectors[1].var(0).sum()))
    assert missed[1] < 0.9 * missed[0], missed


def test_lessons_are_the_same_for_a_seed_and_leave_other_chance_alone():
    pupils = [_pupil(n_units=3) for _ in range(3)]
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    for pupil, seed in zip(pupils, (1, 1, 2), strict=True):
        teach_reading(*pupil, A, 3, seed)
    first, again, other = (language.lstm.weight_hh_l0 for language, _ in pupils)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    first, again, other = (attention.keys.weight for _, attention in pupils)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(3), expected)
