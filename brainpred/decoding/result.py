"""What decoding one layer gives: predictions, scores, ceilings, contributions; saved as HDF5."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import CheckpointError
from brainpred.numerics.timing import zscore_runs
from brainpred.storage import atomic_path

__all__ = [
    "LayerResult",
    "greatest_contribution",
    "load_result",
    "open_result",
    "save_result",
    "saved_key",
    "saved_similarity",
]

FORMAT = "brainpred-decoded-7"


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
    folds : ndarray of int64 (n_scans,)
        Which decoder predicted each scan: 0, but where every run was left out in turn.
    fold_mean, fold_std : ndarray of float32 (n_folds, n_units)
        Mean and spread in the training runs of each decoder, with which its z-scores became ``decoded``.
    r, r2 : ndarray of float32 (n_units,)
        Correlation over time, and R² of z-scored units, the prediction centred within runs as they are.
    reliability : ndarray of float32 (n_units,)
        Part of the variance of averaged predictions that is signal, over all test clips; see
        :func:`brainpred.numerics.ceiling.pooled_reliability` (NaN without repeats).
    ceiling : ndarray of float32 (n_units,)
        Its square root, the highest correlation that the noise of the test scans allows this decoder; NaN too where the
        reliability is not beyond its own error.
    alphas, cv_r2 : ndarray of float32 (n_units,)
        Chosen regularisation and its cross-validated R².
    regret : ndarray of float32 (2,)
        Cross-validated R² that the choice lost against scoring every candidate exactly, in units drawn at random:
        mean and 99th percentile.
    form : {"dual", "primal"}
        Whether kernels were used, or principal components since kernels did not fit into memory.
    pattern_r : ndarray of float32 (n_scans,)
        Correlation over units at each scan.
    identification, identification_10way : ndarray of float32 (n_scans,)
        How often each scan is picked out of 2, or 10, by its pattern (chance 0.5 and 0.1); see
        :func:`brainpred.numerics.scores.identification`. Scans within 4 s are no candidates.
    similarity : ndarray of float32 (n_scans, n_scans)
        Correlation over units of what was decoded at each scan (row) with what was shown at any (column). That of a
        saved result stays in the file, and rows are read when they are needed (:func:`saved_similarity`).
    excluded : int
        How many scans before and after a scan are no candidates when it is identified.
    nway_chosen, nway_shown : ndarray of int64 (n_scans,)
        Which of the ``n_patterns`` distinct patterns (categories) each scan's decoded pattern is most like, and which
        was shown, from 0; -1 where there was none.
    n_patterns : int
        Number of distinct patterns; 0 where features vary freely.
    band_names : tuple of str
        Bands.
    band_weights : ndarray of float32 (n_bands,)
        Mean share γ of each band.
    band_r2 : ndarray of float32 (n_bands, n_units)
        Part of each band in R² (product measure); they sum to ``r2``.
    delays : ndarray of int64 (n_delays,)
        Delays in scans.
    lag_contributions : ndarray of float32 (n_delays, n_voxels)
        Held-out contribution of each voxel at each delay; see :meth:`brainpred.BandedRidgeCV.feature_contributions`.
    pattern : ndarray of float32 (n_voxels,)
        Strength of each voxel's forward pattern; see :func:`brainpred.numerics.patterns.forward_pattern_strength`.
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
    folds: NDArray[np.int64]
    fold_mean: NDArray[np.float32]
    fold_std: NDArray[np.float32]
    r: NDArray[np.float32]
    r2: NDArray[np.float32]
    reliability: NDArray[np.float32]
    ceiling: NDArray[np.float32]
    alphas: NDArray[np.float32]
    cv_r2: NDArray[np.float32]
    regret: NDArray[np.float32]
    form: str
    pattern_r: NDArray[np.float32]
    identification: NDArray[np.float32]
    identification_10way: NDArray[np.float32]
    similarity: NDArray[np.float32]
    excluded: int
    nway_chosen: NDArray[np.int64]
    nway_shown: NDArray[np.int64]
    n_patterns: int
    band_names: tuple[str, ...]
    band_weights: NDArray[np.float32]
    band_r2: NDArray[np.float32]
    delays: NDArray[np.int64]
    lag_contributions: NDArray[np.float32]
    pattern: NDArray[np.float32]
    train_runs: NDArray[np.str_]
    train_true: NDArray[np.float32]
    train_decoded: NDArray[np.float32]

    @property
    def contributions(self) -> NDArray[np.float32]:
        """Held-out contribution of each voxel, all delays together, (n_voxels,)."""
        return self.lag_contributions.sum(axis=0)

    @property
    def nway_correct(self) -> NDArray[np.bool_]:
        """Whether each scan that showed one of the distinct patterns was identified among them, (n_identified,)."""
        return (self.nway_chosen == self.nway_shown)[self.nway_shown >= 0]

    @property
    def nway_chance(self) -> float:
        r"""Part of scans that the same choices would identify in any order, :math:`\sum_k P(chosen = k) P(shown = k)`.

        It is 1 / n where the n patterns are shown, or chosen, equally often; NaN where nothing is identified.
        """
        identified = self.nway_shown >= 0
        if not identified.any():
            return float("nan")
        parts = [np.bincount(one[identified], minlength=self.n_patterns) for one in (self.nway_chosen, self.nway_shown)]
        return float(np.prod(parts, axis=0).sum() / identified.sum() ** 2)

    def zscored_pair(self, units: slice = slice(None)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give some units as they are scored: z-scored within runs, true and as predicted, (n_scans, n_units).

        Parameters
        ----------
        units : slice
            Which units; all by default.

        Returns
        -------
        true, predicted : ndarray of float32 (n_scans, n_units)
            z-scores of the truth, and what the decoders predicted before it was restored.
        """
        spread = self.fold_std[:, units][self.folds]
        centred = self.decoded[:, units] - self.fold_mean[:, units][self.folds]
        predicted = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
        return zscore_runs(self.true[:, units], self.runs)[0], predicted


def greatest_contribution(contributions: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    r"""Tell where any of several layers is read from: :math:`\max_l c_{lv} / s_l`, with the spread over voxels.

    Parameters
    ----------
    contributions : sequence of ndarray (n_voxels,)
        Contributions of every voxel, one array a layer.

    Returns
    -------
    ndarray of float32 (n_voxels,)
        The greatest, in standard deviations over voxels; a layer that is read from nowhere counts for nothing.
    """
    scaled = [one / one.std() if one.std() > 0 else np.zeros_like(one) for one in contributions]
    return np.max(scaled, axis=0).astype(np.float32)


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


def saved_similarity(path: Path | str) -> NDArray[np.float32]:
    """Give the similarities of a saved result without reading them, for they grow as the scans squared.

    Parameters
    ----------
    path : Path or str
        File that :func:`save_result` wrote.

    Returns
    -------
    ndarray of float32 (n_scans, n_scans)
        Rows are read from the file when they are asked for.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or of another format.
    """
    with open_result(path) as file:
        try:
            saved = file["similarity"]
            return np.asarray(np.memmap(path, saved.dtype, "r", saved.id.get_offset(), saved.shape))
        except (OSError, KeyError, ValueError) as error:
            raise CheckpointError(f"Cannot read {path} ({error}). Run brainpred decode again.") from error


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
                if field.name == "similarity":
                    continue
                value = file[field.name][:] if field.name in file else file.attrs[field.name]
                is_text = getattr(value, "dtype", np.dtype(int)).kind == "S"
                values[field.name] = np.char.decode(value, "utf-8") if is_text else value
        except (OSError, KeyError) as error:
            raise CheckpointError(f"Cannot read {path} ({error}). Run brainpred decode again.") from error
    values["shape"] = tuple(int(n) for n in values["shape"])
    values["band_names"] = tuple(str(name) for name in values["band_names"])
    values["n_patterns"], values["form"] = int(values["n_patterns"]), str(values["form"])
    values["excluded"], values["similarity"] = int(values["excluded"]), saved_similarity(path)
    return LayerResult(**values)
