"""Score reconstructed pictures, and compare methods picture by picture."""

import numpy as np
from numpy.typing import NDArray

from brainpred.numerics.rows import number_rows

__all__ = ["picture_scores", "summarise_pictures"]

RESAMPLED = 2000


def picture_scores(made: NDArray[np.floating], seen: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Score reconstructed pictures.

    Parameters
    ----------
    made, seen : ndarray (n, 28, 28)
        Pictures in [0, 1].

    Returns
    -------
    dict of str to ndarray (n,)
        ``pixel_r``; ``mse``; ``ssim`` (Wang et al. 2004, windows of 7 x 7, by scikit-image);
        ``identification_2way``, the part of the other pictures seen (repeats are none) that resemble the reconstruction
        less than the right one does (pixel r, ties half; chance 0.5).
    """
    from skimage.metrics import structural_similarity

    n = len(seen)
    with np.errstate(invalid="ignore"):
        similarity = np.nan_to_num(np.corrcoef(made.reshape(n, -1), seen.reshape(n, -1))[:n, n:])
    own = np.diag(similarity)[:, None]
    shown = number_rows(seen)
    others = shown[:, None] != shown
    won = ((similarity < own) & others).sum(axis=1) + 0.5 * ((similarity == own) & others).sum(axis=1)
    return {
        "pixel_r": np.diag(similarity).astype(float),
        "mse": np.square(made - seen).mean(axis=(1, 2), dtype=float),
        "ssim": np.array([structural_similarity(a, b, data_range=1.0) for a, b in zip(made, seen, strict=True)]),
        "identification_2way": won / others.sum(axis=1),
    }


def summarise_pictures(
    scores: dict[str, dict[str, NDArray[np.float64]]], seed: int = 0
) -> list[dict[str, str | float]]:
    """Average scores over pictures, with bootstrap intervals, and compare every method with the bridge.

    Parameters
    ----------
    scores : dict of str to dict
        :func:`picture_scores` of every method, ``"bridge"`` among them.
    seed : int
        Where resamples come from.

    Returns
    -------
    list of dict
        A row a method and metric: ``method``, ``metric``, ``mean``, ``low``, ``high`` (95 %), and by how much the
        bridge is better than this method, picture by picture, ``gain``, ``gain_low``, ``gain_high`` (of ``mse``, by
        how much it is lower).
    """
    rng = np.random.default_rng(seed)
    n = len(next(iter(scores["bridge"].values())))
    resamples = rng.integers(n, size=(RESAMPLED, n))
    rows: list[dict[str, str | float]] = []
    for method, metrics in scores.items():
        for metric, values in metrics.items():
            gain = (scores["bridge"][metric] - values) * (-1 if metric == "mse" else 1)
            low, high = np.quantile(values[resamples].mean(axis=1), [0.025, 0.975])
            gain_low, gain_high = np.quantile(gain[resamples].mean(axis=1), [0.025, 0.975])
            rows.append(
                {
                    "method": method, "metric": metric, "mean": float(values.mean()), "low": float(low),
                    "high": float(high), "gain": float(gain.mean()), "gain_low": float(gain_low),
                    "gain_high": float(gain_high),
                }
            )  # fmt: skip
    return rows
