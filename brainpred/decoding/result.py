"""What decoding one layer gives: predictions, scores, ceilings, contributions; saved as HDF5, tabulated as TSV."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.errors import CheckpointError
from brainpred.storage import atomic_path

__all__ = ["LayerResult", "layer_table", "load_result", "open_result", "save_result", "saved_key", "unit_table"]

FORMAT = "brainpred-decoded-3"


@dataclass(frozen=True)
class LayerResult:
    """Hold what decoding one layer gave on held-out data.

    Attributes
    ----------
    layer : str
        Name.
    shape : tuple of int
        Shape of the units.
    runs : ndarray of str (n_scans,)
        Held-out run (or clip, where repeats were averaged) of each scan.
    true, decoded : ndarray of float32 (n_scans, n_units)
        Units of the stimulus and as decoded, in the layer's own scale.
    mean, std : ndarray of float32 (n_units,)
        Mean and spread in the training runs.
    r, r2, ceiling : ndarray of float32 (n_units,)
        Correlation over time, R² of z-scored units, and the highest correlation that the noise of the test
        scans allows this decoder (NaN without repeats).
    alphas, cv_r2 : ndarray of float32 (n_units,)
        Chosen regularisation and its cross-validated R².
    regret : ndarray of float32 (2,)
        Cross-validated R² that the choice lost against scoring every candidate exactly, in units drawn at random:
        mean and 99th percentile.
    form : {"dual", "primal"}
        Whether kernels were used, or principal components since kernels did not fit into memory.
    pattern_r, identification : ndarray of float32 (n_scans,)
        Correlation over units at each scan; part of other scans that each is told apart from (chance 0.5).
    nway_correct : ndarray of bool (n_identified,)
        Whether each scan's pattern was identified among the ``n_patterns`` distinct ones (categories).
    n_patterns : int
        Number of distinct patterns; 0 where features vary freely.
    band_names : tuple of str
        Bands.
    band_weights : ndarray of float32 (n_bands,)
        Mean share γ of each band.
    contributions : ndarray of float32 (n_voxels,)
        Held-out contribution of each voxel; see :meth:`brainpred.BandedRidgeCV.feature_contributions`.
    train_runs : ndarray of str (n_train_scans,)
        Clip of each scan of a sample of the training runs, the first two minutes of the first clip; empty where every
        run was held out in turn.
    train_true, train_decoded : ndarray of float32 (n_train_scans, n_units)
        Units of the sample: true, and as the decoder that was fitted to them gives them. They say nothing of how well
        new scans are decoded.
    """

    layer: str
    shape: tuple[int, ...]
    runs: NDArray[np.str_]
    true: NDArray[np.float32]
    decoded: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    r: NDArray[np.float32]
    r2: NDArray[np.float32]
    ceiling: NDArray[np.float32]
    alphas: NDArray[np.float32]
    cv_r2: NDArray[np.float32]
    regret: NDArray[np.float32]
    form: str
    pattern_r: NDArray[np.float32]
    identification: NDArray[np.float32]
    nway_correct: NDArray[np.bool_]
    n_patterns: int
    band_names: tuple[str, ...]
    band_weights: NDArray[np.float32]
    contributions: NDArray[np.float32]
    train_runs: NDArray[np.str_]
    train_true: NDArray[np.float32]
    train_decoded: NDArray[np.float32]


def save_result(result: LayerResult, path: Path | str, key: str, *, simulated: bool) -> None:
    """Write a result as HDF5.

    Parameters
    ----------
    result : LayerResult
        What to write.
    path : Path or str
        File.
    key : str
        Fingerprint of everything the result depends on.
    simulated : bool
        Whether the scans were simulated.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, key=key, simulated=simulated, axes="scans, units (C order of shape)")
        for name, value in ((field.name, getattr(result, field.name)) for field in fields(result)):
            if isinstance(value, np.ndarray) and value.dtype.kind != "U":
                file[name] = value
            elif isinstance(value, np.ndarray):
                file[name] = np.char.encode(value, "utf-8")
            else:
                file.attrs[name] = value


def saved_key(path: Path | str) -> str | None:
    """Give the fingerprint of a saved result, or None where there is no readable one."""
    try:
        with h5py.File(path) as file:
            return str(file.attrs["key"]) if file.attrs.get("format") == FORMAT else None
    except (OSError, KeyError):
        return None


@contextmanager
def open_result(path: Path | str) -> Iterator[h5py.File]:
    """Open a saved result, to read parts of it.

    Parameters
    ----------
    path : Path or str
        File that :func:`save_result` wrote.

    Yields
    ------
    h5py.File
        The file: arrays by the names of :class:`LayerResult`'s fields, other fields as attributes.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or of another format.
    """
    try:
        file = h5py.File(path)
    except OSError as error:
        raise CheckpointError(f"Cannot read {path} ({error}). Run brainpred decode again.") from error
    with file:
        if file.attrs.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} is not a result of brainpred decode, or one of another version. Run brainpred decode again."
            )
        yield file


def load_result(path: Path | str) -> LayerResult:
    """Read a result.

    Parameters
    ----------
    path : Path or str
        File that :func:`save_result` wrote.

    Returns
    -------
    LayerResult
        The result.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or of another format.
    """
    values: dict[str, Any] = {}
    with open_result(path) as file:
        try:
            for field in fields(LayerResult):
                value = file[field.name][:] if field.name in file else file.attrs[field.name]
                is_text = getattr(value, "dtype", np.dtype(int)).kind == "S"
                values[field.name] = np.char.decode(value, "utf-8") if is_text else value
        except (OSError, KeyError) as error:
            raise CheckpointError(f"Cannot read {path} ({error}). Run brainpred decode again.") from error
    values["shape"] = tuple(int(n) for n in values["shape"])
    values["band_names"] = tuple(str(name) for name in values["band_names"])
    values["n_patterns"], values["form"] = int(values["n_patterns"]), str(values["form"])
    return LayerResult(**values)


def unit_table(result: LayerResult, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Tabulate the scores of every unit.

    Parameters
    ----------
    result : LayerResult
        Scores of one layer.
    names : sequence of str, optional
        Names of its units.

    Returns
    -------
    DataFrame (n_units rows)
        Layer, unit, its place in the layer (channel, row, column where there are such), r, r2, ceiling,
        r / ceiling, α and cross-validated R².
    """
    n_units = len(result.r)
    axes = {1: ("channel",), 3: ("channel", "row", "column")}.get(
        len(result.shape), tuple(f"axis{axis}" for axis in range(len(result.shape)))
    )
    place = dict(zip(axes, np.unravel_index(np.arange(n_units), result.shape), strict=True))
    normalised = np.divide(
        result.r, result.ceiling, out=np.full_like(result.r, np.nan), where=np.nan_to_num(result.ceiling) > 0
    )
    return pd.DataFrame(
        {
            "layer": result.layer, "unit": np.arange(n_units),
            **({} if names is None else {"name": list(names)}), **place, "r": result.r, "r2": result.r2,
            "ceiling": result.ceiling, "r_over_ceiling": normalised, "alpha": result.alphas, "cv_r2": result.cv_r2,
        }
    )  # fmt: skip


def layer_table(results: Sequence[LayerResult], *, simulated: bool) -> pd.DataFrame:
    """Tabulate the scores of every layer.

    Parameters
    ----------
    results : sequence of LayerResult
        One a layer.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a layer)
        Means over units (r, R², ceiling) and over scans (pattern r, identification), n-way identification
        where features have few distinct patterns, and the origin of the scans.
    """

    def mean(values: NDArray[np.floating]) -> float:
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    rows = []
    for result in results:
        ceiling = mean(result.ceiling)
        r = mean(result.r)
        rows.append(
            {
                "layer": result.layer, "data": "simulated" if simulated else "measured", "n_units": len(result.r),
                "n_constant_units": int(np.isnan(result.r).sum()), "n_scans": len(result.runs), "mean_r": r,
                "median_r": float(np.nanmedian(result.r)) if np.isfinite(result.r).any() else float("nan"),
                "mean_r2": mean(result.r2), "mean_ceiling": ceiling,
                # A ceiling below r was estimated from too few scans to divide by.
                "mean_r_over_ceiling": r / ceiling if ceiling >= abs(r) > 0 else float("nan"),
                "mean_pattern_r": mean(result.pattern_r), "identification_2way": mean(result.identification),
                "nway": result.n_patterns,
                "identification_nway": float(result.nway_correct.mean()) if len(result.nway_correct) else float("nan"),
                "mean_cv_r2": mean(result.cv_r2), "cv_regret_mean": float(result.regret[0]),
                "cv_regret_p99": float(result.regret[1]), "form": result.form,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
