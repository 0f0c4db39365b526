"""Name the bands of a banded ridge: ROIs, delays, their products, or a single one."""

from typing import Any

from numpy.typing import NDArray

from brainpred.errors import ConfigError

__all__ = ["BAND_CHOICES", "check_bands", "ridge_bands"]

BAND_CHOICES = ("roi", "delay", "roi×delay", "none")


def check_bands(bands: str) -> str:
    """Check a choice of bands; ``roi*delay`` and ``roi-delay`` may stand for ``roi×delay``.

    Parameters
    ----------
    bands : str
        One of ``roi``, ``delay``, ``roi×delay``, ``none``.

    Returns
    -------
    str
        The choice as it is written in :data:`BAND_CHOICES`.

    Raises
    ------
    ConfigError
        If there is no such choice.

    Examples
    --------
    >>> check_bands("roi*delay")
    'roi×delay'
    """
    plain = bands.lower()
    for sign in ("*", "-", "x"):
        plain = plain.replace(f"roi{sign}delay", "roi×delay")
    if plain not in BAND_CHOICES:
        raise ConfigError(f"Unknown bands {bands!r}. Choose one of: {', '.join(BAND_CHOICES)}.")
    return plain


def ridge_bands(bands: str, rois: NDArray[Any]) -> tuple[NDArray[Any] | None, bool]:
    """Turn a choice of bands into what :class:`brainpred.BandedRidgeCV` takes.

    Parameters
    ----------
    bands : str
        As :func:`check_bands`.
    rois : ndarray of str (n_voxels,)
        ROI of each voxel.

    Returns
    -------
    labels : ndarray of str (n_voxels,) or None
        Band of each voxel.
    per_delay : bool
        Whether every delay is a band of its own.
    """
    choice = check_bands(bands)
    return (rois if choice.startswith("roi") else None), choice.endswith("delay")
