"""Write numbers for readers."""

import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["FILTERS", "capitalised", "joined", "number", "probability", "signed", "thousands", "unbroken"]


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with a true minus sign; no number is n/a.

    Examples
    --------
    >>> number(-0.254), number(-0.001), number(float("nan"))
    ('−0.25', '0.00', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    return f"{value:z.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """Write a difference, with its sign.

    Examples
    --------
    >>> signed(0.254), signed(-0.254), signed(0.001)
    ('+0.25', '−0.25', '0.00')
    """
    return ("+" if math.isfinite(value) and round(value, digits) > 0 else "") + number(value, digits)


def probability(value: float) -> str:
    """Write p: three digits, two where it is large and four where it is small.

    Examples
    --------
    >>> probability(0.4612), probability(0.0291), probability(1 / 1001), probability(0.0004)
    ('0.46', '0.029', '0.001', '0.0004')
    """
    return number(value, 2 if value >= 0.1 else 3 if round(value, 4) >= 0.001 else 4)


def thousands(value: float) -> str:
    """Write a whole number; no number is n/a.

    Examples
    --------
    >>> thousands(65665.0), thousands(float("nan"))
    ('65,665', 'n/a')
    """
    return f"{int(value):,}" if math.isfinite(value) else "n/a"


def joined(words: Sequence[Any]) -> str:
    """Join as in prose.

    Examples
    --------
    >>> joined([3.0, 4.0, 5.5]), joined(["R0"])
    ('3, 4 and 5.5', 'R0')
    """
    texts = [f"{word:g}" if isinstance(word, float) else str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def capitalised(words: str) -> str:
    """Begin with a capital and leave the rest as it is.

    Examples
    --------
    >>> capitalised("r of R0")
    'R of R0'
    """
    return words[:1].upper() + words[1:]


def unbroken(page: str) -> str:
    """Keep a number and its per cent, and p and its number, on one line of a page.

    Examples
    --------
    >>> unbroken("95 % interval, p = 0.002").replace(chr(160), "~")
    '95~% interval, p~=~0.002'
    """
    return re.sub(r"\bp = (?=\d)", "p\u00a0=\u00a0", re.sub(r"(?<=\d) (?=%)", "\u00a0", page))


FILTERS: dict[str, Any] = {
    one.__name__: one for one in (number, signed, probability, thousands, joined, capitalised)
}  # what templates write as {{ value | number }}
