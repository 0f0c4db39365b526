"""Read the targets of a ridge in blocks: from an array, a memory map, an HDF5 data set, or anything that slices."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.errors import DataError

__all__ = ["Targets", "read_targets", "standardise"]

# On the CPU, larger blocks leave the caches and are given back to the system each time; a GPU wants them large.
BLOCK_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}
BLOCKS_A_READ = 4


class Targets:
    """Give targets (n_samples, n_targets) block by block; they are never copied whole.

    Parameters
    ----------
    Y : array, memory map, HDF5 data set or anything with ``shape`` that slices (n_samples, n_targets)
        The targets.
    device : torch.device
        Where blocks are wanted.
    dtype : torch.dtype
        What blocks are made of.
    columns : ndarray of int64, optional
        Only these targets, ascending; all by default.
    block_bytes : int, optional
        Size of a block in float32; what suits the device by default.
    centre : bool
        Whether the mean of every target is taken away, in the precision of Y, as it is read.

    Attributes
    ----------
    offsets : ndarray of float64 (n_columns_of_Y,)
        Means that were taken away, of the targets that were read.
    """

    def __init__(
        self,
        Y: Any,
        device: torch.device,
        dtype: torch.dtype,
        columns: NDArray[np.int64] | None = None,
        block_bytes: int | None = None,
        *,
        centre: bool = False,
    ):
        self.centre, self.offsets = centre, np.zeros(Y.shape[1])
        self._Y, self.device, self.dtype = Y, device, dtype
        self.columns = np.arange(Y.shape[1]) if columns is None else columns
        self.n_samples, self.n_targets = int(Y.shape[0]), len(self.columns)
        self._block_bytes = block_bytes or BLOCK_BYTES[device.type]
        self.block_size = max(1, min(self.n_targets, self._block_bytes // (4 * max(1, self.n_samples))))

    def only(self, columns: NDArray[np.int64]) -> "Targets":
        """Give some of the targets: those at these places, ascending."""
        if len(columns) == self.n_targets:
            return self
        return Targets(self._Y, self.device, self.dtype, self.columns[columns], self._block_bytes, centre=self.centre)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Give block after block: which of the targets (by their place in ``columns``), and their values."""
        for first in range(0, self.n_targets, BLOCKS_A_READ * self.block_size):
            values = self.read(self.columns[first : first + BLOCKS_A_READ * self.block_size])
            for begin in range(0, values.shape[1], self.block_size):
                block = values[:, begin : begin + self.block_size]
                yield slice(first + begin, first + begin + block.shape[1]), block

    def read(self, columns: NDArray[np.int64]) -> Tensor:
        """Read some targets, (n_samples, n_columns).

        Parameters
        ----------
        columns : ndarray of int64 (n_columns,)
            Columns of Y, ascending.

        Raises
        ------
        DataError
            If one holds NaN or infinity.
        """
        # Copied into memory that torch aligned: products of the same numbers may round otherwise elsewhere.
        values = read_targets(self._Y, columns)
        if self.centre:
            self.offsets[columns] = values.mean(axis=0, dtype=np.float64)
            precise = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
            values = precise - self.offsets[columns].astype(precise.dtype)
        return torch.tensor(values, dtype=self.dtype, device=self.device)


def read_targets(Y: Any, columns: NDArray[np.int64]) -> NDArray[Any]:
    """Read some columns of what slices like an array, and refuse what is no number.

    Parameters
    ----------
    Y : array, memory map, HDF5 data set or anything that slices (n_samples, n_targets)
        Targets.
    columns : ndarray of int64 (n_columns,)
        Columns of Y, ascending.

    Returns
    -------
    ndarray (n_samples, n_columns)
        Their values.

    Raises
    ------
    DataError
        If one holds NaN or infinity.
    """
    if len(columns) and columns[-1] - columns[0] + 1 == len(columns):
        values = np.asarray(Y[:, int(columns[0]) : int(columns[-1]) + 1])
    else:
        values = np.asarray(Y[:, columns])
    broken = np.flatnonzero(~np.isfinite(values).all(axis=0))
    if len(broken):
        raise DataError(
            f"{len(broken)} targets hold NaN or infinity, the first is target {int(columns[broken[0]])}. Leave them "
            "out or repair them."
        )
    return values


def standardise(block: Tensor, *, centre: bool = True) -> tuple[Tensor, Tensor]:
    """Give targets mean 0 and mean square 1 over all samples, and tell which are not constant (those become 0).

    Parameters
    ----------
    block : Tensor (n_samples, n_targets)
        Targets.
    centre : bool
        Whether the mean is taken away; without an intercept it is not.

    Returns
    -------
    scaled : Tensor (n_samples, n_targets)
        The targets in their own standard deviations.
    live : Tensor of bool (n_targets,)
        Which of them vary.
    """
    high, low = block.amax(dim=0), block.amin(dim=0)
    live = high - low > 4 * torch.finfo(block.dtype).eps * torch.maximum(high.abs(), low.abs())
    scaled = block - block.mean(dim=0) if centre else block
    spread = scaled.square().mean(dim=0).sqrt()
    return scaled * torch.where(live, 1 / spread, torch.zeros_like(spread)), live
