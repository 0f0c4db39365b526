"""Lessons in reading: alignDRAW's encoder and attention learn what captions say before there is anything to draw."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from brainpred.models.language import PADDING, Attention, CaptionEncoder
from brainpred.movies.captions import Caption, Grammar, group_by_template
from brainpred.progress import SILENT, Reporter

__all__ = ["CaptionReader", "caption_facts", "teach_reading"]

NO_DIGIT = -100  # what cross-entropy leaves out
CAPTIONS_A_LESSON = 50
LEARNING_RATE = 1.5e-3
CLIP_NORM = 5.0
WARM_UP_LESSONS = 50
FIRST_QUESTIONS = 0.1  # standard deviation
# Weights in the loss of the digits and of what is attended to not being a digit's and a place's vector.
DIGITS_WEIGHT, COMBINATION_WEIGHT = 2.0, 0.5


def caption_facts(grammar: Grammar, captions: Sequence[Caption]) -> Tensor:
    """Give what captions say as numbers, a fact a column: the template, then the digit at each place.

    Parameters
    ----------
    grammar : Grammar
        Grammar of the captions.
    captions : sequence of Caption
        Captions.

    Returns
    -------
    Tensor of int64 (n_captions, 1 + n_places)
        Number of the template; the digit at each place of :attr:`~brainpred.movies.captions.Grammar.places`, -100 where
        there is none.
    """
    numbers = {template.places: number for number, template in enumerate(grammar.templates)}
    facts = torch.full((len(captions), 1 + len(grammar.places)), NO_DIGIT)
    for row, caption in zip(facts, captions, strict=True):
        row[0] = numbers[tuple(place for _, place in caption.scene)]
        for digit, place in caption.scene:
            row[1 + grammar.places.index(place)] = digit
    return facts


class CaptionReader(nn.Module):
    """Tell what captions say by attending to them with a learned question a fact.

    One question asks for the template, and one a place for the digit there. One linear map tells digits of all places,
    so that a digit that was never seen at a place can be told there. Of a bidirectional encoder it has only the half
    that reads forwards. In Japanese that half has not read the place yet; the other has, and would learn which digits
    were seen there rather than what a digit looks like.

    What is attended to should be the sum of a vector of the digit and one of the place
    (:meth:`combination_error`). The drawing then meets a combination that it never drew as a sum of two parts that it
    knows.

    Parameters
    ----------
    language : CaptionEncoder
        Encoder whose vectors are read.
    attention : Attention
        Attention to them.
    grammar : Grammar
        What captions may say.
    generator : torch.Generator
        Where the first questions are drawn from.
    """

    def __init__(self, language: CaptionEncoder, attention: Attention, grammar: Grammar, generator: torch.Generator):
        super().__init__()
        self.n_before = language.n_outputs // (2 if language.encoder == "bidirectional" else 1)
        first = torch.randn(1 + len(grammar.places), len(attention.v), generator=generator)
        self.questions = nn.Parameter(FIRST_QUESTIONS * first)
        self.template = _undecided(language.n_outputs, len(grammar.templates))
        self.digit = _undecided(self.n_before, 10)
        self.digit_parts = nn.Parameter(torch.zeros(10, language.n_outputs))
        self.place_parts = nn.Parameter(torch.zeros(len(grammar.places), language.n_outputs))

    def attended(self, attention: Attention, encoded: Tensor, tokens: Tensor) -> Tensor:
        """Attend with each question.

        Parameters
        ----------
        attention : Attention
            Attention to the vectors.
        encoded : Tensor (n_captions, n_tokens, n_outputs)
            Vectors of the encoder.
        tokens : Tensor of int64 (n_captions, n_tokens)
            Captions.

        Returns
        -------
        Tensor (n_captions, 1 + n_places, n_outputs)
            What was attended to.
        """
        keys, padded = attention.keys(encoded), tokens == PADDING
        asked = (question.expand(len(tokens), -1) for question in self.questions)
        return torch.stack([attention(keys, question, encoded, padded)[0] for question in asked], dim=1)

    def forward(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Answer each question of :func:`caption_facts`.

        Parameters
        ----------
        attended : Tensor (n_captions, 1 + n_places, n_outputs)
            As :meth:`attended` gives it.

        Returns
        -------
        template : Tensor (n_captions, n_templates)
            Logits of the template.
        digits : Tensor (n_captions, n_places, 10)
            Logits of the digit at each place.
        """
        return self.template(attended[:, 0]), self.digit(attended[:, 1:, : self.n_before])

    def combination_error(self, attended: Tensor, facts: Tensor) -> Tensor:
        """Measure how far what is attended to is from the sum of a digit's and a place's vector.

        Parameters
        ----------
        attended : Tensor (n_captions, 1 + n_places, n_outputs)
            As :meth:`attended` gives it.
        facts : Tensor of int64 (n_captions, 1 + n_places)
            As :func:`caption_facts` gives them.

        Returns
        -------
        Tensor ()
            Squared distance, mean over the digits that the captions name.
        """
        digits = facts[:, 1:]
        parts = self.digit_parts[digits.clamp_min(0)] + self.place_parts
        return (attended[:, 1:] - parts).square().sum(2)[digits != NO_DIGIT].mean()


def _undecided(n_inputs: int, n_outputs: int) -> nn.Linear:
    """Make a linear map without an opinion, and without a random number."""
    linear = skip_init(nn.Linear, n_inputs, n_outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def teach_reading(
    language: CaptionEncoder,
    attention: Attention,
    grammar: Grammar,
    n_lessons: int,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> tuple[float, float]:
    """Train an encoder and its attention until a :class:`CaptionReader` can tell what a caption says.

    The reader is then thrown away. Captions with held-out combinations of digit and place are never learned from.

    Parameters
    ----------
    language : CaptionEncoder
        Encoder; it is changed.
    attention : Attention
        Attention to it; it is changed.
    grammar : Grammar
        Its captions.
    n_lessons : int
        Updates, of 50 captions each; every template is as frequent as every other.
    seed : int
        Which captions come, and the first questions.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    seen, held_out : float
        Part of the captions of which every fact is told: of those learned from, and of those with a combination that
        was never learned from.
    """
    rng = np.random.default_rng(seed)
    parts = grammar.split()
    templates = group_by_template(parts[0])
    reader = CaptionReader(language, attention, grammar, torch.Generator().manual_seed(seed))
    learning = [*language.parameters(), *attention.parameters(), *reader.parameters()]
    optimizer = torch.optim.Adam(learning, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / WARM_UP_LESSONS) * (1 - done / n_lessons)
    )
    with reporter.task("Lessons in reading", n_lessons) as advance:
        for _ in range(n_lessons):
            groups = (templates[number] for number in rng.integers(len(templates), size=CAPTIONS_A_LESSON))
            captions = [group[rng.integers(len(group))] for group in groups]
            tokens, facts = torch.from_numpy(grammar.encode(captions)), caption_facts(grammar, captions)
            attended = reader.attended(attention, language(tokens), tokens)
            template, digits = reader(attended)
            loss = functional.cross_entropy(template, facts[:, 0])
            loss = loss + DIGITS_WEIGHT * functional.cross_entropy(digits.transpose(1, 2), facts[:, 1:])
            loss = loss + COMBINATION_WEIGHT * reader.combination_error(attended, facts)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learning, CLIP_NORM)
            optimizer.step()
            schedule.step()
            advance(1)
    seen, held_out = (_part_read(reader, language, attention, grammar, captions) for captions in parts)
    return seen, held_out


@torch.no_grad()
def _part_read(
    reader: CaptionReader,
    language: CaptionEncoder,
    attention: Attention,
    grammar: Grammar,
    captions: Sequence[Caption],
) -> float:
    """Give the part of captions of which every fact is told."""
    tokens, facts = torch.from_numpy(grammar.encode(captions)), caption_facts(grammar, captions)
    template, digits = reader(reader.attended(attention, language(tokens), tokens))
    answers = torch.cat([template.argmax(1, keepdim=True), digits.argmax(2)], dim=1)
    return float(((answers == facts) | (facts == NO_DIGIT)).all(1).float().mean())
