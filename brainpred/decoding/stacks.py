"""Runs one below another, read column by column, so that no layer and no recording is ever joined in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.numerics.timing import zscore_runs

__all__ = ["StackedRuns", "ZscoredUnits"]

Columns = slice | NDArray[np.integer]


class StackedRuns:
    """Stand for the runs of a recording one below another, (n_scans_in_all, n_columns).

    It is read as ``stack[rows, columns]``, rows being a slice; runs outside of it are not touched.

    Parameters
    ----------
    readers : sequence of callable
        Gives some columns of each run, (n_scans_of_the_run or more, n_columns).
    lengths : sequence of int
        Scans of each run that count.
    n_columns : int
        Voxels, or units.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, readers: Sequence[Callable[[Columns], NDArray[np.float32]]], lengths: Sequence[int], n_columns: int
    ):
        self._readers, self._lengths = tuple(readers), tuple(lengths)
        self.shape = (sum(lengths), n_columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[slice, Columns]) -> NDArray[np.float32]:
        """Read some columns of some rows."""
        rows, columns = key
        first, last, _ = rows.indices(len(self))
        parts, begin = [], 0
        for read, length in zip(self._readers, self._lengths, strict=True):
            inside = slice(max(first - begin, 0), min(last - begin, length))
            if inside.start < inside.stop:
                parts.append(read(columns)[inside])
            begin += length
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


class ZscoredUnits:
    """Stand for units (n_scans, n_units), each z-scored within every run as it is read.

    Parameters
    ----------
    units : array, memory map, HDF5 data set or anything that slices (n_scans, n_units)
        Units as they are.
    runs : ndarray (n_scans,)
        Run of each scan.

    Attributes
    ----------
    mean, std : ndarray of float32 (n_units,)
        Mean and spread in the runs, of those units that were read; see
        :func:`brainpred.numerics.timing.zscore_runs`. NaN elsewhere.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, units: Any, runs: NDArray[Any]):
        self._units, self._runs = units, runs
        self.shape = tuple(units.shape)
        self.mean = np.full(self.shape[1], np.nan, dtype=np.float32)
        self.std = np.full(self.shape[1], np.nan, dtype=np.float32)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: tuple[slice, Columns]) -> NDArray[np.float32]:
        """Read and z-score some units in all runs."""
        rows, columns = key
        values = np.asarray(self._units[:, columns], dtype=np.float32)
        broken = np.flatnonzero(~np.isfinite(values).all(axis=0))
        if len(broken):
            first = np.arange(self.shape[1])[columns][broken[0]]
            raise DataError(f"Features hold NaN or infinity, the first in unit {first}. Leave such units out.")
        zscored, self.mean[columns], self.std[columns] = zscore_runs(values, self._runs)
        return zscored[rows]
