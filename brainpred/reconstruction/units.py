"""Decoded units as they are swapped in: their variance restored where that is wanted, read scan by scan."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import ConfigError, DataError

__all__ = ["RUNS", "VARIANCES", "SwapUnits", "open_units", "restore_variance"]

RUNS = ("test", "train")
# How much of the spread that ridge regression takes away is restored.
VARIANCES = {"ridge": 0.0, "halfway": 0.5, "matched": 1.0}
BLOCK_BYTES = 64 * 2**20


def restore_variance(
    decoded: NDArray[np.float32],
    runs: NDArray[Any],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    power: float,
) -> NDArray[np.float32]:
    r"""Bring the spread of decoded units nearer to that of the training runs.

    .. math:: \hat R' = \mu + (\hat R - \bar{\hat R}) \, (\sigma / s)^p

    Ridge regression shrinks what it is unsure of, which is best for single scans of an ordinary run. With p = 1 the
    spread s of what was decoded becomes that of the training runs, noise included; p = 1/2 goes half of the way, on a
    logarithmic scale. Mean and spread of what was decoded are those of each clip: nothing of the truth is used.

    Parameters
    ----------
    decoded : ndarray of float32 (n_scans, n_units)
        Units as the ridge gives them; left as they are.
    runs : ndarray (n_scans,)
        Clip of each scan.
    mean, std : ndarray of float32 (n_units,)
        Mean and spread in the training runs.
    power : float
        How much of the spread is restored, 0 to 1.

    Returns
    -------
    ndarray of float32 (n_scans, n_units)
        The units; the mean where the decoded ones are constant.
    """
    restored = np.empty_like(decoded)
    for run in np.unique(runs):
        rows = runs == run
        part = decoded[rows]
        spread = part.std(axis=0)
        # Rounding must not be blown up to the variance of a unit.
        gain = np.divide(std, spread, out=np.zeros_like(std), where=spread > 1e-4 * std)
        restored[rows] = mean + (part - part.mean(axis=0)) * gain**power
    return restored


class SwapUnits:
    """Give one layer's units of some clips, scan by scan: true, decoded, and of another movie.

    Parameters
    ----------
    file : h5py.File
        A saved result.
    runs : {"test", "train"}
        Held-out clips, or the sample of the training runs.
    decoded : array_like (n_scans, n_units), optional
        What stands for the decoded units; those of the file by default.

    Attributes
    ----------
    shape : tuple of int
        Shape of the units.
    mean : ndarray of float32 (n_units,)
        Mean in the training runs.
    clips : ndarray of str (n_scans,)
        Clip of each scan.
    """

    def __init__(self, file: h5py.File, runs: str, decoded: Any = None):
        prefix, other = ("", "train_") if runs == "test" else ("train_", "")
        self.shape = tuple(int(n) for n in file.attrs["shape"])
        self.mean: NDArray[np.float32] = file["mean"][:]
        self.clips: NDArray[np.str_] = np.char.decode(file[f"{prefix}runs"][:], "utf-8")
        self._true = file[f"{prefix}true"]
        self._decoded = file[f"{prefix}decoded"] if decoded is None else decoded
        self._other, self._rows_of_other = file[f"{other}true"], np.arange(len(self.clips))
        if not len(self._other):  # every run was held out in turn: the next clip is another movie
            self._other, self._rows_of_other = self._true, _rows_of_next_clip(self.clips)

    def true(self, row: int) -> NDArray[np.float32]:
        """Give the units of the stimulus at one scan, (n_units,)."""
        return np.asarray(self._true[row])

    def decoded(self, row: int) -> NDArray[np.float32]:
        """Give the decoded units of one scan, (n_units,)."""
        return np.asarray(self._decoded[row])

    def wrong(self, row: int) -> NDArray[np.float32]:
        """Give units of another movie, (n_units,), from its beginning again when it is over."""
        return np.asarray(self._other[self._rows_of_other[row] % len(self._other)])


def _rows_of_next_clip(clips: NDArray[np.str_]) -> NDArray[np.int64]:
    """Give for every scan one of the clip that comes next, after the last the first."""
    names = list(dict.fromkeys(clips.tolist()))
    rows = np.empty(len(clips), dtype=np.int64)
    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        inside, others = np.flatnonzero(clips == name), np.flatnonzero(clips == following)
        rows[inside] = others[np.arange(len(inside)) % len(others)]
    return rows


@contextmanager
def open_units(
    file: h5py.File, runs: str = "test", variance: str = "halfway", *, scratch: Path | None = None
) -> Iterator[SwapUnits]:
    """Take the units out of a saved result; what has to be computed of them lies in a temporary file meanwhile.

    Parameters
    ----------
    file : h5py.File
        A saved result, as :func:`brainpred.decoding.result.open_result` opens it.
    runs : {"test", "train"}
        Held-out clips, or the sample of the training runs.
    variance : {"ridge", "halfway", "matched"}
        Decoded units as the ridge gives them, or with their spread restored; see :func:`restore_variance`.
    scratch : Path, optional
        Where the temporary file lies; the system's place for such by default, which may be memory.

    Yields
    ------
    SwapUnits
        The units.

    Raises
    ------
    ConfigError
        If an option is unknown.
    DataError
        If the result has no sample of training runs.
    """
    for name, value, choices in (("runs", runs, RUNS), ("variance", variance, VARIANCES)):
        if value not in choices:
            raise ConfigError(f"Unknown {name} {value!r}. Choose one of: {', '.join(choices)}.")
    if runs == "train" and not len(file["train_runs"]):
        raise DataError(
            f"{file.filename} holds no sample of training runs, since every run was held out in turn. Reconstruct the "
            "held-out runs, with --runs test."
        )
    with TemporaryDirectory(prefix=".part-", dir=scratch) as folder:
        units = SwapUnits(file, runs)
        if VARIANCES[variance]:
            prefix = "" if runs == "test" else "train_"
            restored = _restored(file, prefix, units.clips, VARIANCES[variance], Path(folder) / "decoded")
            units = SwapUnits(file, runs, restored)
        yield units


def _restored(file: h5py.File, prefix: str, clips: NDArray[np.str_], power: float, path: Path) -> NDArray[np.float32]:
    """Write decoded units with their variance restored into a file, some units at a time, and map it."""
    decoded = file[f"{prefix}decoded"]
    restored = np.memmap(path, np.float32, "w+", shape=decoded.shape)
    n_scans, n_units = decoded.shape
    at_once = max(1, BLOCK_BYTES // (4 * n_scans))
    for first in range(0, n_units, at_once):
        units = slice(first, first + at_once)
        restored[:, units] = restore_variance(decoded[:, units], clips, file["mean"][units], file["std"][units], power)
    return restored
