"""Tabulate what decoding gave: units, channels, layers, regions, bands and delays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.decoding.chance import Chance
from brainpred.decoding.result import LayerResult
from brainpred.numerics.bootstrap import fisher_mean
from brainpred.numerics.ceiling import mean_ceiling
from brainpred.numerics.scores import pearson_correlation

__all__ = ["band_table", "channel_table", "difference_table", "lag_table", "layer_table", "roi_table", "unit_table"]

SIGNIFICANT_Q = 0.05


def _mean(values: NDArray[np.floating]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _places(shape: tuple[int, ...]) -> dict[str, NDArray[np.int64]]:
    axes = {1: ("channel",), 3: ("channel", "row", "column")}.get(
        len(shape), tuple(f"axis{axis}" for axis in range(len(shape)))
    )
    return dict(zip(axes, np.unravel_index(np.arange(int(np.prod(shape))), shape), strict=True))


def unit_table(result: LayerResult, chance: Chance, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Tabulate the scores of every unit.

    Parameters
    ----------
    result : LayerResult
        Scores of one layer.
    chance : Chance
        Its p.
    names : sequence of str, optional
        Names of its units.

    Returns
    -------
    DataFrame (n_units rows)
        Layer, unit, its place in the layer (channel, row, column where there are such), r, p, q, r2, the part of each
        band in it, reliability, ceiling, r / ceiling (both NaN where the ceiling is not beyond its own error), α and
        cross-validated R².
    """
    tested = chance.of(result.layer)
    bands = {f"r2_{name}": part for name, part in zip(result.band_names, result.band_r2, strict=True)}
    return pd.DataFrame(
        {
            "layer": result.layer, "unit": np.arange(len(result.r)),
            **({} if names is None else {"name": list(names)}), **_places(result.shape), "r": result.r,
            "p": tested.p, "q": tested.q, "r2": result.r2, **(bands if len(bands) > 1 else {}),
            "reliability": result.reliability, "ceiling": result.ceiling,
            "r_over_ceiling": result.r / result.ceiling, "alpha": result.alphas, "cv_r2": result.cv_r2,
        }
    )  # fmt: skip


def channel_table(result: LayerResult, chance: Chance) -> pd.DataFrame:
    """Tabulate the scores of every channel of a layer.

    Parameters
    ----------
    result : LayerResult
        Scores of one layer.
    chance : Chance
        Its p.

    Returns
    -------
    DataFrame (one row a channel)
        Mean r by Fisher's z with its 95 % interval, R² and the part of each band in it, pattern r (over the channel's
        units, mean over scans), ceiling, r / ceiling (both NaN where most units have no ceiling of their own),
        cross-validated R², and the part of the units whose q is below 0.05.
    """
    tested = chance.of(result.layer)
    found = np.where(np.isfinite(result.r), tested.q < SIGNIFICANT_Q, np.nan)
    size = len(result.r) // result.shape[0]
    nothing = np.full(result.shape[0], np.nan)  # where each unit is a channel
    low, high = (tested.channel_low, tested.channel_high) if len(result.shape) > 1 else (nothing, nothing)
    rows: list[dict[str, Any]] = []
    for number in range(result.shape[0]):
        own = slice(number * size, (number + 1) * size)
        true, predicted = result.zscored_pair(own)
        r, ceiling = float(fisher_mean(result.r[own])), mean_ceiling(result.reliability[own], result.ceiling[own])
        bands = {f"r2_{name}": _mean(part[own]) for name, part in zip(result.band_names, result.band_r2, strict=True)}
        rows.append(
            {
                "layer": result.layer, "channel": number, "n_units": size,
                "mean_r": r, "mean_r_low": low[number], "mean_r_high": high[number],
                "mean_r2": _mean(result.r2[own]), **(bands if len(bands) > 1 else {}),
                "mean_pattern_r": _mean(pearson_correlation(true.T, predicted.T)), "mean_ceiling": ceiling,
                "mean_r_over_ceiling": r / ceiling if ceiling > 0 else float("nan"),
                "mean_cv_r2": _mean(result.cv_r2[own]), "significant": _mean(found[own]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def layer_table(results: Sequence[LayerResult], chance: Chance, *, simulated: bool) -> pd.DataFrame:
    """Tabulate the scores of every layer.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer.
    chance : Chance
        What chance makes of them.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a layer)
        Means over units (r by Fisher's z, R², reliability; the ceiling is the root of the mean reliability, NaN where
        most units have no ceiling of their own) and over scans
        (pattern r, identification) with their intervals, p over layers of mean r and of identification, the part of
        units whose q is below 0.05, n-way identification where features have few distinct patterns, and the origin of
        the scans.
    """
    rows = []
    for result in results:
        ceiling, r = mean_ceiling(result.reliability, result.ceiling), float(fisher_mean(result.r))
        tested = chance.of(result.layer)
        defined = np.isfinite(tested.q)
        rows.append(
            {
                "layer": result.layer, "data": "simulated" if simulated else "measured", "n_units": len(result.r),
                "n_constant_units": int(np.isnan(result.r).sum()), "n_scans": len(result.runs), "mean_r": r,
                "mean_r_low": tested.low, "mean_r_high": tested.high, "p": tested.mean_p,
                "median_r": float(np.nanmedian(result.r)) if np.isfinite(result.r).any() else float("nan"),
                "significant": float(np.mean(tested.q[defined] < SIGNIFICANT_Q)) if defined.any() else float("nan"),
                "mean_r2": _mean(result.r2), "mean_reliability": _mean(result.reliability), "mean_ceiling": ceiling,
                "mean_r_over_ceiling": r / ceiling if ceiling > 0 else float("nan"),
                "mean_pattern_r": _mean(result.pattern_r), "pattern_r_low": tested.pattern_r.low,
                "pattern_r_high": tested.pattern_r.high, "identification_2way": _mean(result.identification),
                "identification_2way_low": tested.identification.low,
                "identification_2way_high": tested.identification.high,
                "identification_2way_p": tested.identification_p,
                "identification_10way": _mean(result.identification_10way),
                "identification_10way_low": tested.identification_10way.low,
                "identification_10way_high": tested.identification_10way.high,
                "identification_10way_p": tested.identification_10way_p, "nway": result.n_patterns,
                "identification_nway": float(result.nway_correct.mean()) if len(result.nway_correct) else float("nan"),
                "identification_nway_chance": result.nway_chance,
                "identification_nway_p": tested.identification_nway_p,
                "mean_cv_r2": _mean(result.cv_r2), "cv_regret_mean": float(result.regret[0]),
                "cv_regret_p99": float(result.regret[1]), "form": result.form,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def difference_table(
    results: Sequence[LayerResult], chance: Chance, baselines: Sequence[str], *, simulated: bool
) -> pd.DataFrame:
    """Tabulate by how much every layer is decoded better than each of the features that need no network.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer.
    chance : Chance
        Their draws of blocks of time.
    baselines : sequence of str
        Which of the layers need no network.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a layer and baseline)
        Mean r of the layer less that of the baseline, and its 95 % interval from the same draws of blocks for both.
    """
    rows = []
    for result in results:
        for baseline in baselines:
            if result.layer not in baselines:
                difference, interval = chance.difference(result.layer, baseline)
                rows.append(
                    {
                        "layer": result.layer, "data": "simulated" if simulated else "measured", "baseline": baseline,
                        "difference": difference, "low": interval.low, "high": interval.high,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows, columns=["layer", "data", "baseline", "difference", "low", "high"])


def band_table(results: Sequence[LayerResult], *, simulated: bool) -> pd.DataFrame:
    """Tabulate what each band adds to the R² of each layer.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a layer and band)
        Share γ of the band in the kernel, and its part in R² (mean over units); the parts of a layer sum to its R².
    """
    return pd.DataFrame(
        [
            {
                "layer": result.layer, "data": "simulated" if simulated else "measured", "band": band,
                "weight": float(weight), "r2": _mean(part),
            }
            for result in results
            for band, weight, part in zip(result.band_names, result.band_weights, result.band_r2, strict=True)
        ]
    )  # fmt: skip


def roi_table(results: Sequence[LayerResult], rois: NDArray[np.str_], *, simulated: bool) -> pd.DataFrame:
    """Tabulate what the voxels of each ROI contribute, and how strongly decoded units show in them.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer.
    rois : ndarray of str (n_voxels,)
        ROI of each voxel.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a layer and ROI)
        Number of voxels, sum of their contributions, and root mean square of their forward patterns.
    """
    rows = []
    for result in results:
        for roi in np.unique(rois):
            own = rois == roi
            rows.append(
                {
                    "layer": result.layer, "data": "simulated" if simulated else "measured", "roi": str(roi),
                    "n_voxels": int(own.sum()), "contribution": float(result.contributions[own].sum()),
                    "pattern": float(np.sqrt(np.mean(np.square(result.pattern[own])))),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def lag_table(results: Sequence[LayerResult], rois: NDArray[np.str_], tr_s: float, *, simulated: bool) -> pd.DataFrame:
    """Tabulate from what time lag the information comes.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer.
    rois : ndarray of str (n_voxels,)
        ROI of each voxel.
    tr_s : float
        Repetition time in seconds.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a layer, delay and ROI)
        Sum of the contributions of the ROI's voxels, as they were so many seconds after the stimulus.
    """
    return pd.DataFrame(
        [
            {
                "layer": result.layer, "data": "simulated" if simulated else "measured", "delay_s": delay * tr_s,
                "roi": str(roi), "contribution": float(part[rois == roi].sum()),
            }
            for result in results
            for delay, part in zip(result.delays.tolist(), result.lag_contributions, strict=True)
            for roi in np.unique(rois)
        ]
    )  # fmt: skip
