"""Lessons in reading: alignDRAW's encoder learns what captions say before there is anything to draw."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from brainpred.models.language import PADDING, CaptionEncoder
from brainpred.movies.captions import Caption, Grammar, group_by_template

__all__ = ["CaptionReader", "caption_facts", "teach_reading"]

NO_DIGIT = 10
CAPTIONS_A_LESSON = 50
LEARNING_RATE = 5e-3
WARM_UP_LESSONS = 50


def caption_facts(grammar: Grammar, captions: Sequence[Caption]) -> Tensor:
    """Give what captions say as numbers, a fact a column: the template, then each digit in the order of naming.

    Parameters
    ----------
    grammar : Grammar
        Grammar of the captions.
    captions : sequence of Caption
        Captions.

    Returns
    -------
    Tensor of int64 (n_captions, 1 + n_digits)
        Number of the template; the digits, 10 where a caption has fewer than the longest of the grammar.
    """
    numbers = {template.places: number for number, template in enumerate(grammar.templates)}
    n_digits = max(map(len, numbers))
    rows = []
    for caption in captions:
        digits, places = zip(*caption.scene, strict=True)
        rows.append([numbers[places], *digits, *[NO_DIGIT] * (n_digits - len(digits))])
    return torch.tensor(rows)


class CaptionReader(nn.Module):
    """Tell by linear maps of the mean of an encoder's vectors what captions say.

    The mean is what even attention hands to the drawing, so that reading is learned before anything is attended to.
    Of a bidirectional encoder only the half that reads forwards tells digits. In Japanese it has not read the place
    yet; the other half has, and would learn which digits were seen there rather than what a digit looks like.

    Parameters
    ----------
    language : CaptionEncoder
        Encoder whose vectors are read.
    grammar : Grammar
        What captions may say.
    """

    def __init__(self, language: CaptionEncoder, grammar: Grammar):
        super().__init__()
        n_digits = max(len(template.places) for template in grammar.templates)
        self.n_before = language.n_outputs // (2 if language.encoder == "bidirectional" else 1)
        self.template = _undecided(language.n_outputs, len(grammar.templates))
        self.digits = nn.ModuleList(_undecided(self.n_before, NO_DIGIT + 1) for _ in range(n_digits))

    def forward(self, encoded: Tensor, tokens: Tensor) -> list[Tensor]:
        """Tell each fact of :func:`caption_facts`.

        Parameters
        ----------
        encoded : Tensor (n_captions, n_places, n_outputs)
            Vectors of the encoder, zeros at padding.
        tokens : Tensor of int64 (n_captions, n_places)
            Captions.

        Returns
        -------
        list of Tensor (n_captions, n_answers)
            Logits of the answers, a tensor a fact.
        """
        mean = encoded.sum(1) / (tokens != PADDING).sum(1, keepdim=True)
        return [self.template(mean), *(digit(mean[:, : self.n_before]) for digit in self.digits)]


def _undecided(n_inputs: int, n_outputs: int) -> nn.Linear:
    """Make a linear map without an opinion, and without a random number."""
    linear = skip_init(nn.Linear, n_inputs, n_outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def teach_reading(language: CaptionEncoder, grammar: Grammar, n_lessons: int, seed: int = 0) -> float:
    """Train an encoder until a :class:`CaptionReader` can tell what a caption says; the reader is then thrown away.

    Each fact is told by itself, never which digit is where as one. Captions with held-out combinations of digit and
    place are never read.

    Parameters
    ----------
    language : CaptionEncoder
        Encoder; it is changed.
    grammar : Grammar
        Its captions.
    n_lessons : int
        Updates, of 50 captions each; every template is as frequent as every other.
    seed : int
        Which captions come.

    Returns
    -------
    float
        Part of the captions for training of which every fact is told.
    """
    rng = np.random.default_rng(seed)
    seen, _ = grammar.split()
    templates, reader = group_by_template(seen), CaptionReader(language, grammar)
    optimizer = torch.optim.Adam([*language.parameters(), *reader.parameters()], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / WARM_UP_LESSONS) * (1 - done / n_lessons)
    )
    for _ in range(n_lessons):
        groups = (templates[number] for number in rng.integers(len(templates), size=CAPTIONS_A_LESSON))
        captions = [group[rng.integers(len(group))] for group in groups]
        tokens, facts = torch.from_numpy(grammar.encode(captions)), caption_facts(grammar, captions).T
        told = reader(language(tokens), tokens)
        loss = torch.stack([functional.cross_entropy(*pair) for pair in zip(told, facts, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        tokens = torch.from_numpy(grammar.encode(seen))
        answers = torch.stack([part.argmax(1) for part in reader(language(tokens), tokens)], dim=1)
    return float((answers == caption_facts(grammar, seen)).all(1).float().mean())
