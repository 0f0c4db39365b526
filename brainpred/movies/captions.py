"""Captions that say which digit is where: the templates of the alignDRAW studies, their tokens and their words."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import ConfigError

__all__ = [
    "GRAMMARS",
    "PADDING_TOKEN",
    "Caption",
    "Grammar",
    "Template",
    "group_by_template",
    "load_grammar",
    "understand",
]

PADDING_TOKEN = ""  # number 0 of every vocabulary
BLANK = "_"  # stands for a digit in a template


@dataclass(frozen=True)
class Caption:
    """Hold one caption and what it says.

    Attributes
    ----------
    text : str
        As written.
    tokens : tuple of str
        What the network reads.
    words : tuple of str
        Units of meaning, in order; their boundaries are what a grammar of characters removes.
    scene : tuple of (int, str)
        Each digit with its place, such as ``(3, "top left")``.
    """

    text: str
    tokens: tuple[str, ...]
    words: tuple[str, ...]
    scene: tuple[tuple[int, str], ...]

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Say before which characters, spaces aside, a new word begins (the first one aside).

        Examples
        --------
        >>> load_grammar("A").parse("すうじ3ががぞうのひだりうえにある。").boundaries
        (3, 4, 5, 8, 9, 12, 14, 15, 17)
        """
        return tuple(int(end) for end in np.cumsum([len(word) for word in self.words])[:-1])


@dataclass(frozen=True)
class Template:
    """Hold a sentence with blanks for digits.

    Attributes
    ----------
    words : tuple of str
        Units of meaning; ``"_"`` is a digit.
    places : tuple of str
        Where the digits are, in the order of the blanks.
    """

    words: tuple[str, ...]
    places: tuple[str, ...]

    def fill(self, digits: Sequence[int], *, characters: bool, separator: str) -> Caption:
        """Put digits into the blanks."""
        remaining = iter(digits)
        words = tuple(str(next(remaining)) if word == BLANK else word for word in self.words)
        tokens = tuple("".join(words)) if characters else words
        text = separator.join(words).replace(" .", ".")
        return Caption(text, tokens, words, tuple(zip(digits, self.places, strict=True)))


@dataclass(frozen=True)
class Grammar:
    """Hold all captions of a study.

    Attributes
    ----------
    name : str
        ``"A"``, ``"B"`` or ``"english"``.
    templates : tuple of Template
        Its sentences.
    characters : bool
        Whether tokens are characters, with no sign of where words begin, or words.
    separator : str
        What stands between words when written.
    """

    name: str
    templates: tuple[Template, ...]
    characters: bool
    separator: str

    @cached_property
    def captions(self) -> tuple[Caption, ...]:
        """Every caption, template by template."""
        return tuple(
            template.fill(digits, characters=self.characters, separator=self.separator)
            for template in self.templates
            for digits in product(range(10), repeat=len(template.places))
        )

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Every token, in the order of their numbers; number 0 is padding."""
        tokens = {token: None for template in self.templates for token in self._tokens(template)}
        return (PADDING_TOKEN, *map(str, range(10)), *(token for token in tokens if token != BLANK))

    def _tokens(self, template: Template) -> Iterable[str]:
        return "".join(template.words) if self.characters else template.words

    @property
    def sentences(self) -> tuple[str, ...]:
        """What can be said, with ``_`` for a digit."""
        return tuple(self.separator.join(template.words).replace(" .", ".") for template in self.templates)

    @cached_property
    def by_text(self) -> dict[str, Caption]:
        """Every caption by its text, reduced to what matters."""
        return {_plain(caption.text): caption for caption in self.captions}

    def parse(self, text: str) -> Caption:
        """Understand a caption, as :func:`understand` does among several grammars."""
        return understand(text, [self])[1]

    def encode(self, captions: Sequence[Caption]) -> NDArray[np.int64]:
        """Turn captions into the numbers of their tokens.

        Parameters
        ----------
        captions : sequence of Caption
            Captions of this grammar.

        Returns
        -------
        ndarray of int64 (n_captions, n_places)
            Numbers of tokens, filled up with 0 to the longest caption.
        """
        numbers = {token: number for number, token in enumerate(self.vocabulary)}
        encoded = np.zeros((len(captions), max((len(caption.tokens) for caption in captions), default=0)), np.int64)
        for row, caption in zip(encoded, captions, strict=True):
            row[: len(caption.tokens)] = [numbers[token] for token in caption.tokens]
        return encoded

    @cached_property
    def held_out(self) -> frozenset[tuple[int, str]]:
        """Combinations of digit and place that training never shows: one place a digit, every place at least once."""
        return frozenset((digit, self.places[3 * digit % len(self.places)]) for digit in range(10))

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Where digits can be, in the order in which templates first name them."""
        return tuple(dict.fromkeys(place for template in self.templates for place in template.places))

    def split(self) -> tuple[tuple[Caption, ...], tuple[Caption, ...]]:
        """Part the captions into those for training and those that name a held-out combination.

        Returns
        -------
        seen, held_out : tuple of Caption
            The two parts.
        """
        parts: tuple[list[Caption], list[Caption]] = ([], [])
        for caption in self.captions:
            parts[not self.held_out.isdisjoint(caption.scene)].append(caption)
        return tuple(parts[0]), tuple(parts[1])


def understand(text: str, grammars: Sequence[Grammar]) -> tuple[Grammar, Caption]:
    """Find the grammar of a caption, and what it says.

    Spaces, full-width digits, capitals and the final full stop make no difference.

    Parameters
    ----------
    text : str
        As a user writes it.
    grammars : sequence of Grammar
        Where to look.

    Returns
    -------
    grammar : Grammar
        The one whose caption it is.
    caption : Caption
        The caption.

    Raises
    ------
    ConfigError
        If it is empty, has characters that no caption of the nearest grammar has, or is no sentence of any; every
        sentence of the grammars is a note of the error.
    """
    plain = _plain(text)
    for grammar in grammars:
        if plain in grammar.by_text:
            return grammar, grammar.by_text[plain]
    blanks = re.sub(r"\d+", BLANK, plain)

    def likeness(grammar: Grammar) -> float:
        return max(SequenceMatcher(None, blanks, _plain(sentence)).ratio() for sentence in grammar.sentences)

    nearest = max(grammars, key=likeness)
    known = set("".join(nearest.by_text))
    unknown = list(dict.fromkeys(letter for letter in plain if letter not in known))
    what = (
        "The caption is empty."
        if not plain
        else f"The caption {text.strip()!r} has characters that networks of grammar {nearest.name} have never read: "
        f"{' '.join(unknown)}."
        if unknown
        else f"The caption {text.strip()!r} is no sentence of grammar {nearest.name}."
    )
    error = ConfigError(f"{what} Write one of these sentences, with a digit for each _:")
    for grammar in grammars:
        for sentence in grammar.sentences:
            error.add_note(sentence)
    raise error


def group_by_template(captions: Iterable[Caption]) -> list[list[Caption]]:
    """Part captions by their templates, which the places in the order of naming tell apart.

    Parameters
    ----------
    captions : iterable of Caption
        Captions of one grammar.

    Returns
    -------
    list of list of Caption
        A list a template, in the order in which templates first come.

    Examples
    --------
    >>> [len(group) for group in group_by_template(load_grammar("B").captions)]
    [10, 10, 10, 10, 10, 10, 10, 10]
    """
    groups: dict[tuple[str, ...], list[Caption]] = {}
    for caption in captions:
        groups.setdefault(tuple(place for _, place in caption.scene), []).append(caption)
    return list(groups.values())


def _plain(text: str) -> str:
    """Reduce a text to what matters."""
    return re.sub(r"[\s.。]", "", unicodedata.normalize("NFKC", text)).lower()


def _template(words: str, *places: str) -> Template:
    return Template(tuple(words.split()), places)


# Opposite places, of the first digit named and of the second.
_SIDES = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
_HIRAGANA = {"left": "ひだり", "right": "みぎ", "top": "うえ", "bottom": "した"}
_CORNERS = {
    "top left": "ひだり うえ",
    "bottom right": "みぎ した",
    "top right": "みぎ うえ",
    "bottom left": "ひだり した",
}
_KANJI = {
    "left": "左", "right": "右", "top": "上", "bottom": "下",
    "top left": "左上", "bottom right": "右下", "top right": "右上", "bottom left": "左下",
}  # fmt: skip

_A = Grammar(
    "A",
    (
        *(_template(f"すうじ _ が すうじ _ の {_HIRAGANA[at]} に ある 。", at, other) for at, other in _SIDES.items()),
        *(_template(f"すうじ _ が がぞう の {words} に ある 。", at) for at, words in _CORNERS.items()),
    ),
    characters=True,
    separator="",
)
_B = Grammar(
    "B",
    tuple(_template(f"数字 _ が 画像 の {word} に ある 。", at) for at, word in _KANJI.items()),
    characters=False,
    separator="",
)
_ENGLISH = Grammar(
    "english",
    (
        *(
            _template(
                f"the digit _ is {'on' if at in ('left', 'right') else 'at'} the {at} of the digit _ .", at, other
            )
            for at, other in _SIDES.items()
        ),
        *(_template(f"the digit _ is at the {at} of the image .", at) for at in _CORNERS),
    ),
    characters=False,
    separator=" ",
)
GRAMMARS = {grammar.name: grammar for grammar in (_A, _B, _ENGLISH)}


def load_grammar(name: str) -> Grammar:
    """Give a grammar by name.

    Parameters
    ----------
    name : {"A", "B", "english"}
        Captions of characters without word boundaries or of words (document 000, table 1), or English ones.

    Returns
    -------
    Grammar
        The grammar.

    Raises
    ------
    ConfigError
        If there is none of that name.

    References
    ----------
    The English sentences are those of Mansimov, Parisotto, Ba and Salakhutdinov, "Generating images from captions
    with attention", ICLR 2016, section 4.1 and the authors' code.
    """
    if name not in GRAMMARS:
        raise ConfigError(f"Unknown grammar {name!r}. Choose one of: {', '.join(GRAMMARS)}.")
    return GRAMMARS[name]
