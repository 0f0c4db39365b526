"""Ask of alignDRAW's attention whether it follows units of meaning: word boundaries, and what is being drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.movies.captions import Caption

__all__ = [
    "Agreement",
    "attention_entropy",
    "boundary_agreement",
    "boundary_strength",
    "drawing_agreement",
    "word_gaps",
]


class Agreement(NamedTuple):
    """Hold how well boundaries of attention fall on those of words, beside chance.

    Attributes
    ----------
    f1, f1_null, f1_p : float
        F1 of the boundaries found, its mean with word lengths in another order, and the share of such orders (+1)
        that reach it.
    mutual_information, mutual_information_null, mutual_information_p : float
        The same for the mutual information between found and true boundaries, in bits a gap.
    best_f1, best_f1_null, best_f1_p : float
        The same for F1 at the threshold that serves best, which is chosen anew for every order.
    n_gaps, n_boundaries : int
        Gaps between tokens, and how many of them are boundaries of words.
    """

    n_gaps: int
    n_boundaries: int
    f1: float
    f1_null: float
    f1_p: float
    mutual_information: float
    mutual_information_null: float
    mutual_information_p: float
    best_f1: float
    best_f1_null: float
    best_f1_p: float


def boundary_strength(alpha: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Say how much attention changes from each token to the next.

    .. math:: b_k = \frac{\sum_t |\alpha_{tk} - \alpha_{t,k+1}|}{\sum_t (\alpha_{tk} + \alpha_{t,k+1})}

    0: both are always attended to alike, as the characters of one word would be. 1: never both at once.

    Parameters
    ----------
    alpha : ndarray of float (n_steps, n_tokens)
        Attention to the tokens of one caption; rows sum to one.

    Returns
    -------
    ndarray of float64 (n_tokens - 1,)
        Strength of the boundary in each gap.
    """
    alpha = np.asarray(alpha, np.float64)
    here, following = alpha[:, :-1], alpha[:, 1:]
    total = (here + following).sum(0)
    return np.abs(here - following).sum(0) / np.maximum(total, np.finfo(np.float64).tiny)


def word_gaps(words: Sequence[str], order: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """Mark the gaps between characters at which a word ends.

    Parameters
    ----------
    words : sequence of str
        Words of a caption.
    order : ndarray of int64 (n_words,), optional
        Another order for their lengths, as chance would have it.

    Returns
    -------
    ndarray of bool (n_characters - 1,)
        Whether each gap is a boundary.

    Examples
    --------
    >>> word_gaps(["うえ", "に", "ある"]).astype(int)
    array([0, 1, 1, 0])
    """
    lengths = np.array([len(word) for word in words])
    if order is not None:
        lengths = lengths[order]
    gaps = np.zeros(lengths.sum() - 1, bool)
    gaps[np.cumsum(lengths)[:-1] - 1] = True
    return gaps


def _f1(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    return float(2 * (found & true).sum() / max(found.sum() + true.sum(), 1))


def _mutual_information(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Give the mutual information of two binary variables in bits."""
    total = 0.0
    for a in (False, True):
        for b in (False, True):
            joint = np.mean((found == a) & (true == b))
            if joint:
                total += joint * np.log2(joint / (np.mean(found == a) * np.mean(true == b)))
    return float(total)


def _best_f1(strength: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Give F1 at the best of all thresholds."""
    ranked = true[np.argsort(-strength, kind="stable")]
    hits = np.cumsum(ranked)
    return float(np.max(2 * hits / (np.arange(1, len(ranked) + 1) + true.sum())))


def boundary_agreement(
    strengths: Sequence[NDArray[np.float64]],
    words: Sequence[Sequence[str]],
    rng: np.random.Generator,
    n_draws: int = 2000,
) -> Agreement:
    """Compare the gaps at which attention changes with the true boundaries of words.

    A boundary is found where the strength is above the mean of its sentence. For chance, the lengths of the words
    are put into another order, the same one in all sentences of as many words: sentences share their beginnings and
    are no independent witnesses.

    Parameters
    ----------
    strengths : sequence of ndarray (n_tokens - 1,)
        Strength of boundaries, one array a sentence (mean over captions of one template).
    words : sequence of sequence of str
        Words of each sentence.
    rng : Generator
        Where the orders come from.
    n_draws : int
        How many.

    Returns
    -------
    Agreement
        F1 and mutual information beside chance.

    Raises
    ------
    DataError
        If strengths and words do not belong together.
    """
    for strength, sentence in zip(strengths, words, strict=True):
        if len(strength) != sum(map(len, sentence)) - 1:
            raise DataError(
                f"{''.join(sentence)} has {sum(map(len, sentence))} characters and so {sum(map(len, sentence)) - 1} "
                f"gaps, received {len(strength)} strengths. Boundaries are sought between characters, as in grammar A."
            )
    flat = np.concatenate(strengths)
    found = np.concatenate([strength > strength.mean() for strength in strengths])

    def measures(true: NDArray[np.bool_]) -> tuple[float, float, float]:
        return _f1(found, true), _mutual_information(found, true), _best_f1(flat, true)

    true = np.concatenate([word_gaps(sentence) for sentence in words])
    observed = np.array(measures(true))
    null = np.empty((n_draws, 3))
    for draw in null:
        orders = {n: rng.permutation(n) for n in sorted({len(sentence) for sentence in words})}
        draw[:] = measures(np.concatenate([word_gaps(sentence, orders[len(sentence)]) for sentence in words]))
    means, p = null.mean(0), (1 + (null >= observed - 1e-12).sum(0)) / (1 + n_draws)
    values = np.stack([observed, means, p], axis=1).ravel().tolist()
    return Agreement(len(true), int(true.sum()), *values)


def attention_entropy(alpha: NDArray[np.floating]) -> float:
    """Give the mean entropy of attention in nats; log(n_tokens) where it is spread evenly.

    Parameters
    ----------
    alpha : ndarray of float (..., n_tokens)
        Attention; sums to one over tokens.

    Returns
    -------
    float
        Entropy, mean over everything else.
    """
    alpha = np.asarray(alpha, np.float64)
    logs = np.log(np.where(alpha > 0, alpha, 1))
    return float(-(alpha * logs).sum(-1).mean())


def drawing_agreement(
    captions: Sequence[Caption],
    alpha: NDArray[np.floating],
    pictures: NDArray[np.floating],
    rng: np.random.Generator,
    n_draws: int = 2000,
) -> tuple[float, float, float]:
    """Ask whether the digit whose name is attended to is the one that is being drawn.

    In captions that name two digits, at each step: how much more ink changes in the half of the canvas that belongs
    to the first digit than in the other, and how much more attention the part of the caption that names the first
    digit gets (its word and the one before it) than the part that names the second. The agreement is the correlation
    of the two over steps, each caption's mean removed, all captions together. A negative one says that the other digit
    is attended to. For chance, attention is shifted along the steps, those that leave at the end coming in at the
    beginning: by the same number of steps in all captions with the same places, as a network may draw these in the same
    order, and by another one for other places.

    Parameters
    ----------
    captions : sequence of Caption
        Captions; those with one digit are passed over.
    alpha : ndarray of float (n_captions, n_steps, n_tokens)
        Attention to characters.
    pictures : ndarray of float (n_captions, n_steps + 1, height, width)
        Picture before the first step and after each.
    rng : Generator
        Where the shifts come from.
    n_draws : int
        How many shifts.

    Returns
    -------
    r, null_mean, p : float
        Correlation, its mean for other shifts, and the share of these (+1) with one as far from 0.

    Raises
    ------
    DataError
        If no caption names two digits.
    """
    chosen = [index for index, caption in enumerate(captions) if len(caption.scene) == 2]
    if len(chosen) < 2:
        raise DataError("Agreement with the drawing needs at least two captions that name two digits each.")
    attended = np.stack([_lead_of_attention(captions[index], alpha[index]) for index in chosen])
    drawn = np.stack([_lead_of_ink(captions[index], pictures[index]) for index in chosen])
    attended, drawn = (lead - lead.mean(1, keepdims=True) for lead in (attended, drawn))
    places = [captions[index].scene[0][1] for index in chosen]
    groups = [np.flatnonzero([place == other for other in places]) for place in dict.fromkeys(places)]
    scale = np.sqrt((attended**2).sum() * (drawn**2).sum())
    if scale == 0:
        return 0.0, 0.0, 1.0
    n_steps = attended.shape[1]
    products = np.array(
        [[(np.roll(attended[own], shift, axis=1) * drawn[own]).sum() for shift in range(n_steps)] for own in groups]
    )  # (n_groups, n_steps)
    observed = float(products[:, 0].sum() / scale)
    shifts = rng.integers(n_steps, size=(n_draws, len(groups)))
    null = products[np.arange(len(groups)), shifts].sum(axis=1) / scale
    as_far = np.abs(null) >= abs(observed) - 1e-12
    return observed, float(null.mean()), float((1 + as_far.sum()) / (1 + n_draws))


def _lead_of_attention(caption: Caption, alpha: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give, at each step, the attention to what names the first digit less that to the second."""
    starts = np.cumsum([0, *(len(word) for word in caption.words)])
    spans = [
        slice(starts[at - 1], starts[at + 1]) for at, word in enumerate(caption.words) if word.isdecimal()
    ]  # such as すうじ3
    first, second = (np.asarray(alpha[:, span], np.float64).sum(1) for span in spans)
    return np.asarray(first - second)


def _lead_of_ink(caption: Caption, pictures: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give, at each step, the change in the first digit's half of the canvas less that in the other half."""
    change = np.abs(np.diff(np.asarray(pictures, np.float64), axis=0))
    height, width = change.shape[1:]
    place = caption.scene[0][1]
    halves = (
        (change[:, : height // 2], change[:, height // 2 :])
        if place in ("top", "bottom")
        else (change[:, :, : width // 2], change[:, :, width // 2 :])
    )
    before, after = (half.sum((1, 2)) for half in halves)
    return np.asarray(before - after if place in ("top", "left") else after - before)
