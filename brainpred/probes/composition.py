"""Ask whether the embedding of a compound word is the sum of those of its parts, as in 左 + 上 = 左上."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student_t

from brainpred.errors import DataError

__all__ = ["COMPOUNDS", "DOCUMENT", "analogies", "compositionality", "summarise"]

# Compound: its parts.
COMPOUNDS = {"左上": ("左", "上"), "左下": ("左", "下"), "右上": ("右", "上"), "右下": ("右", "下")}
# Cosines of document 000, table 3.
DOCUMENT = {"左上": 0.89, "左下": 0.80, "右上": 0.29, "右下": 0.92}
# Columns of the tables whose numbers lie between -1 and 1.
COSINES = ("cosine", "wrong_parts", "best_wrong", "random_parts")
HIGHEST_COSINE = 1 - 1e-6  # Fisher's z of 1 is infinite


def _cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _by_word(vectors: NDArray[np.floating], vocabulary: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    found = {word: np.asarray(vectors[number], np.float64) for number, word in enumerate(vocabulary) if word}
    wanted = {word for compound, parts in COMPOUNDS.items() for word in (compound, *parts)}
    if missing := sorted(wanted - found.keys()):
        raise DataError(
            f"The vocabulary lacks {', '.join(missing)}: composition is measured on words of grammar B, "
            "with a network that embeds them."
        )
    return found


def compositionality(vectors: NDArray[np.floating], vocabulary: Sequence[str]) -> pd.DataFrame:
    r"""Give the cosine of each compound with the sum of its parts, beside controls.

    .. math:: \cos(e(左) + e(上),\ e(左上))

    Parameters
    ----------
    vectors : ndarray of float (n_tokens, n_dimensions)
        Embedding of every token.
    vocabulary : sequence of str
        The tokens; an empty one is padding.

    Returns
    -------
    DataFrame
        A row a compound and vectors used (``raw``, or ``centred``: less the mean of the eight words of place), with

        - ``cosine``;
        - ``wrong_parts``, the mean cosine with the sums of the other three pairs of a horizontal and a vertical word,
          and ``best_wrong``, the highest of them: close to ``cosine`` where only one of the two parts counts;
        - ``random_parts``, the mean with the sums of pairs of words that are no places;
        - ``rank`` of the true sum among the four sums (1: the highest cosine);
        - ``length``, the compound's norm: the direction of a short vector says little.

    References
    ----------
    Document 000, section 4.2 and table 3, for ``cosine``; the controls are additions.
    """
    words = _by_word(vectors, vocabulary)
    places = [*dict.fromkeys(part for parts in COMPOUNDS.values() for part in parts), *COMPOUNDS]
    others = [word for word in words if word not in places]
    rows = []
    for kind in ("raw", "centred"):
        mean = np.mean([words[word] for word in places], axis=0)
        shift = mean if kind == "centred" else np.zeros_like(mean)
        used = {word: vector - shift for word, vector in words.items()}
        for compound, parts in COMPOUNDS.items():
            cosines = {pair: _cosine(used[pair[0]] + used[pair[1]], used[compound]) for pair in COMPOUNDS.values()}
            wrong = [value for pair, value in cosines.items() if pair != parts]
            random = [_cosine(used[a] + used[b], used[compound]) for a, b in permutations(others, 2)]
            rows.append(
                {
                    "vectors": kind,
                    "compound": compound,
                    "cosine": cosines[parts],
                    "wrong_parts": float(np.mean(wrong)),
                    "best_wrong": max(wrong),
                    "random_parts": float(np.mean(random)),
                    "rank": 1 + sum(value > cosines[parts] for value in wrong),
                    "length": float(np.linalg.norm(used[compound])),
                }
            )
    return pd.DataFrame(rows)


def analogies(vectors: NDArray[np.floating], vocabulary: Sequence[str]) -> pd.DataFrame:
    r"""Ask for the fourth word of an analogy, such as :math:`e(左上) - e(左) + e(右) ≈ e(右上)`.

    Parameters
    ----------
    vectors : ndarray of float (n_tokens, n_dimensions)
        Embedding of every token.
    vocabulary : sequence of str
        The tokens; an empty one is padding.

    Returns
    -------
    DataFrame
        A row an analogy: ``question``, ``answer``, ``cosine`` with the answer, and its ``rank`` among all words but
        the three of the question (1: the nearest), of ``n_words``.
    """
    words = _by_word(vectors, vocabulary)
    rows = []
    for (compound, parts), (answer, other) in permutations(COMPOUNDS.items(), 2):
        changed = [at for at in range(2) if parts[at] != other[at]]
        if len(changed) != 1:
            continue
        old, new = parts[changed[0]], other[changed[0]]
        guess = words[compound] - words[old] + words[new]
        cosines = {word: _cosine(guess, vector) for word, vector in words.items() if word not in (compound, old, new)}
        rows.append(
            {
                "question": f"{compound} - {old} + {new}",
                "answer": answer,
                "cosine": cosines[answer],
                "rank": 1 + sum(value > cosines[answer] for value in cosines.values()),
                "n_words": len(cosines),
            }
        )
    return pd.DataFrame(rows)


def summarise(tables: Sequence[pd.DataFrame], keys: Sequence[str], level: float = 0.95) -> pd.DataFrame:
    """Average tables of several networks.

    Parameters
    ----------
    tables : sequence of DataFrame
        One a network, all with the same rows.
    keys : sequence of str
        Columns that name a row; all other columns are numbers.
    level : float
        Of the intervals.

    Returns
    -------
    DataFrame
        A row a name, with

        - each cosine's mean over networks, and ``<cosine>_low`` and ``<cosine>_high``: mean and interval of Fisher's z
          (Student's t, networks as the sample; empty for a single one), turned back into cosines. Cosines beyond
          0.999999 count as that;
        - each other number's mean, and ``<number>_least`` and ``<number>_most`` over networks;
        - ``n_networks``.
    """
    together = pd.concat(tables)
    rows = []
    for name, part in together.groupby(list(keys), sort=False):
        row: dict[Any, Any] = dict(zip(keys, name if isinstance(name, tuple) else (name,), strict=True))
        n = len(part)
        for number in [column for column in together if column not in keys]:
            values = part[number].to_numpy(np.float64)
            if number in COSINES:
                z = np.arctanh(np.clip(values, -HIGHEST_COSINE, HIGHEST_COSINE))
                half = student_t.ppf((1 + level) / 2, n - 1) * z.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
                mean, low, high = np.tanh(z.mean() + np.array([0, -half, half]))
                row |= {number: mean, f"{number}_low": low, f"{number}_high": high}
            else:
                row |= {number: values.mean(), f"{number}_least": values.min(), f"{number}_most": values.max()}
        rows.append({**row, "n_networks": n})
    return pd.DataFrame(rows)
