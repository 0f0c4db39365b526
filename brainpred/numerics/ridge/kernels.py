"""Linear kernels of bands of voxels with delays, without ever copying a delayed voxel."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from brainpred.errors import DataError
from brainpred.numerics.ridge.delays import delayed_rows
from brainpred.numerics.spread import varies

__all__ = [
    "BandKernels",
    "average_prepared",
    "average_rows",
    "band_names",
    "column_chunks",
    "cross_grams",
    "mirror",
    "read_columns",
    "voxel_bands",
]

CHUNK_BYTES = 256 * 2**20
ROWS_A_BLOCK = 2048


def voxel_bands(bands: ArrayLike | None, n_features: int) -> tuple[list[str], NDArray[np.int64]]:
    """Tell the band of every column of X.

    Parameters
    ----------
    bands : array_like (n_features,) or None
        Label of each column; None puts all in one band.
    n_features : int
        Columns of X.

    Returns
    -------
    names : list of str
        Band names, sorted.
    numbers : ndarray of int64 (n_features,)
        Place of each column's band in ``names``.
    """
    if bands is None:
        return ["all"], np.zeros(n_features, dtype=np.int64)
    unique, numbers = np.unique(np.asarray(bands), return_inverse=True)
    return [str(label) for label in unique], numbers.reshape(-1)


def band_names(bands: ArrayLike | None, n_features: int, delays: Sequence[int], *, per_delay: bool) -> list[str]:
    """Name the bands in the order of :class:`BandKernels`.

    Parameters
    ----------
    bands, n_features : array_like or None, int
        As :func:`voxel_bands`.
    delays : sequence of int
        Delays in scans.
    per_delay : bool
        Whether every delay is a band of its own.

    Returns
    -------
    list of str
        Such as ``"early_visual"`` or ``"early_visual+4"`` (4 scans later).
    """
    names, _ = voxel_bands(bands, n_features)
    return [f"{name}+{delay}" for name in names for delay in delays] if per_delay else names


def read_columns(X: Any, columns: slice) -> NDArray[np.floating]:
    """Read some columns of an array, a memory map or an HDF5 data set, and refuse what is no number."""
    values = np.asarray(X[:, columns])
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
    broken = ~np.isfinite(values)
    if broken.any():
        first = columns.start + int(np.flatnonzero(broken.any(axis=0))[0])
        raise DataError(
            f"X holds NaN or infinity: {int(broken.sum())} values in columns {columns.start} to "
            f"{columns.start + values.shape[1] - 1}, the first in column {first}. Leave such features out."
        )
    return values


def average_rows(matrix: Tensor, repeats: Sequence[tuple[int, int]]) -> Tensor:
    """Average rows that belong to the same sample.

    Parameters
    ----------
    matrix : Tensor (n_rows, n_columns)
        Rows, the repeats of every group one below another.
    repeats : sequence of (int, int)
        Repeats and samples of each group, in order; rows beyond the last are left out.

    Returns
    -------
    Tensor (n_averaged, n_columns)
        The means.
    """
    begins = np.cumsum([0, *(n_repeats * n for n_repeats, n in repeats)])
    return torch.cat(
        [
            matrix[begin : begin + n_repeats * n].unflatten(0, (n_repeats, n)).mean(dim=0)
            for begin, (n_repeats, n) in zip(begins.tolist(), repeats, strict=False)
        ]
    )


class BandKernels:
    r"""Hold the kernel of every band, :math:`K_b[i,j] = \sum_d x_b(i+d) \cdot x_b(j+d) / s_b`.

    A delay only shifts the undelayed Gram matrix, so voxels are multiplied once however many delays there are.
    Features are centred on their mean over the training samples, and terms whose scan lies past the end of a run
    are zero: what is not measured stands at the mean. :math:`s_b` gives K_b, centred, a mean diagonal of 1 over the
    training samples.

    With a band for every delay only the undelayed matrices are held, and shifted when they are used.

    Attributes
    ----------
    n_bands : int
        Number of bands; a band for every delay stands in band-major order.
    shape : (int, int)
        Rows and columns of every kernel.
    scale : ndarray of float64 (n_bands,)
        The factors s_b; 1 for a band of constant features, whose kernel is zero.
    dtype, device : torch.dtype, torch.device
        Of the kernels.
    """

    def __init__(
        self,
        grams: Sequence[Tensor],
        left_runs: NDArray[Any],
        right_runs: NDArray[Any],
        delays: Sequence[int],
        *,
        per_delay: bool,
        scale: NDArray[np.float64] | None = None,
    ):
        self._grams = list(grams)
        self._left = [_Shift(left_runs, delay) for delay in delays]
        self._right = [_Shift(right_runs, delay) for delay in delays]
        self.shape = (len(left_runs), len(right_runs))
        if not per_delay:
            # In place of the undelayed matrix, since it is needed no more.
            for number, gram in enumerate(self._grams):
                summed = torch.zeros_like(gram)
                for left, right in zip(self._left, self._right, strict=True):
                    _add_shifted(summed, gram.clone(), left, right)
                self._grams[number] = summed
            self._left, self._right = [_Shift(left_runs, 0)], [_Shift(right_runs, 0)]
        self.n_bands = len(self._grams) * len(self._left)
        self.dtype, self.device = self._grams[0].dtype, self._grams[0].device
        self.scale = np.ones(self.n_bands)
        self.scale = self._mean_diagonals() if scale is None else scale

    @classmethod
    def of(
        cls,
        X: Any,
        runs: ArrayLike,
        bands: NDArray[np.int64],
        delays: Sequence[int],
        *,
        per_delay: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        on_chunk: Callable[[int], None] = lambda n_columns: None,
    ) -> tuple["BandKernels", NDArray[np.float64]]:
        """Compute the kernels of the training samples, columns of X in chunks.

        Parameters
        ----------
        X : array, memory map or HDF5 data set (n_samples, n_features)
            Features; never copied whole.
        runs : array_like (n_samples,)
            Run of each sample.
        bands : ndarray of int64 (n_features,)
            Number of each feature's band, from 0.
        delays : sequence of int
            Delays in scans.
        per_delay : bool
            Whether every delay is a band of its own.
        device : torch.device
            Where the kernels are.
        dtype : torch.dtype
            Of the kernels.
        on_chunk : callable
            Called after each chunk with its number of columns.

        Returns
        -------
        kernels : BandKernels
            The kernels (n_samples, n_samples).
        means : ndarray of float64 (n_features,)
            Mean of every feature.

        Raises
        ------
        DataError
            If X holds NaN or infinity.
        """
        n_samples, n_features = X.shape
        grams = [torch.zeros((n_samples, n_samples), dtype=dtype, device=device) for _ in range(int(bands.max()) + 1)]
        means = np.empty(n_features)
        for columns in column_chunks(n_samples, n_features, dtype):
            values = read_columns(X, columns)
            means[columns] = values.mean(axis=0, dtype=np.float64)
            centred = values - means[columns].astype(values.dtype)
            centred[:, ~varies(values)] = 0  # and not rounding error
            chunk = torch.as_tensor(centred, device=device).to(dtype)
            for number, gram in enumerate(grams):
                part = chunk[:, torch.as_tensor(bands[columns] == number, device=device)]
                if part.shape[1]:
                    for first in range(0, n_samples, ROWS_A_BLOCK):
                        last = min(n_samples, first + ROWS_A_BLOCK)
                        gram[first:last, :last].addmm_(part[first:last], part[:last].T)
            on_chunk(values.shape[1])
        for gram in grams:
            mirror(gram)
        runs = np.asarray(runs)
        return cls(grams, runs, runs, delays, per_delay=per_delay), means

    def averaged(self, repeats: Sequence[tuple[int, int]], runs: NDArray[Any]) -> "BandKernels":
        """Give the kernels of the means of samples that were measured repeatedly: kernels are linear in them.

        Parameters
        ----------
        repeats : sequence of (int, int)
            Repeats and samples of each group of rows, the repeats one below another; rows beyond the last are left out.
        runs : ndarray (n_averaged,)
            Run of each averaged sample.

        Returns
        -------
        BandKernels (n_averaged, n_right)
            The kernels.
        """
        mean = copy(self)
        mean._grams = [average_rows(gram, repeats) for gram in self._grams]
        mean._left = [_Shift(runs, shift.delay) for shift in self._left]
        mean.shape = (len(runs), self.shape[1])
        return mean

    def combine(self, weights: ArrayLike) -> Tensor:
        r"""Give the sum of the kernels, each with its weight.

        Parameters
        ----------
        weights : array_like (n_bands,)
            Weights.

        Returns
        -------
        Tensor (n_left, n_right)
            :math:`\sum_b w_b K_b`.
        """
        shares = (np.asarray(weights, dtype=np.float64) / self.scale).reshape(len(self._grams), -1)
        combined = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        for d, (left, right) in enumerate(zip(self._left, self._right, strict=True)):
            mixed = torch.zeros_like(combined)
            for gram, share in zip(self._grams, shares[:, d], strict=True):
                if share:
                    mixed.add_(gram, alpha=float(share))
            _add_shifted(combined, mixed, left, right)
        return combined

    def inner(self, matrix: Tensor) -> NDArray[np.float64]:
        r"""Give the inner product of every kernel with a matrix.

        Parameters
        ----------
        matrix : Tensor (n_left, n_right)
            Any matrix.

        Returns
        -------
        ndarray of float64 (n_bands,)
            :math:`\sum_{ij} K_b[i,j] M[i,j]`.
        """
        products = np.empty((len(self._grams), len(self._left)))
        for d, (left, right) in enumerate(zip(self._left, self._right, strict=True)):
            back = _shifted_back(matrix, left, right)
            for number, gram in enumerate(self._grams):
                products[number, d] = sum(
                    torch.dot(a.reshape(-1), b.reshape(-1)).item()
                    for a, b in zip(gram.split(ROWS_A_BLOCK), back.split(ROWS_A_BLOCK), strict=True)
                )
        return products.reshape(-1) / self.scale

    def materialise(self) -> Tensor:
        """Give all kernels, (n_bands, n_left, n_right)."""
        return torch.stack([self.combine(row) for row in np.eye(self.n_bands)])

    def _mean_diagonals(self) -> NDArray[np.float64]:
        """Give the mean diagonal of every centred kernel, 1 where the kernel is zero."""
        n_samples = self.shape[0]
        centring = torch.full_like(self._grams[0], -1 / n_samples)
        centring.diagonal().add_(1)
        diagonals = self.inner(centring) / n_samples
        return np.where(diagonals > 0, diagonals, 1.0)


def mirror(matrix: Tensor) -> None:
    """Make a matrix symmetric of which only the blocks below the diagonal were computed, in place."""
    for first in range(0, len(matrix), ROWS_A_BLOCK):
        last = min(len(matrix), first + ROWS_A_BLOCK)
        matrix[:first, first:last] = matrix[first:last, :first].T


def column_chunks(n_samples: int, n_features: int, dtype: torch.dtype) -> list[slice]:
    """Cut the columns of X into chunks that take no more than CHUNK_BYTES each."""
    width = max(1, min(n_features, CHUNK_BYTES // (n_samples * torch.finfo(dtype).bits // 8)))
    return [slice(first, min(first + width, n_features)) for first in range(0, n_features, width)]


def cross_grams(
    left: Any,
    right: Any,
    means: NDArray[np.float64],
    bands: NDArray[np.int64],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Compute undelayed Gram matrices between other samples and the training samples.

    Parameters
    ----------
    left : array, memory map or HDF5 data set (n_left, n_features)
        Other samples.
    right : array, memory map or HDF5 data set (n_right, n_features)
        The training samples.
    means : ndarray of float64 (n_features,)
        Mean of every feature over the training samples, subtracted from both.
    bands : ndarray of int64 (n_features,)
        Number of each feature's band.
    device, dtype : torch.device, torch.dtype
        Of the matrices.

    Returns
    -------
    list of Tensor (n_left, n_right)
        One a band.
    """
    n_features = len(means)
    grams = [
        torch.zeros((left.shape[0], right.shape[0]), dtype=dtype, device=device) for _ in range(int(bands.max()) + 1)
    ]
    for columns in column_chunks(left.shape[0] + right.shape[0], n_features, dtype):
        sides = []
        for X in (left, right):
            values = read_columns(X, columns)
            sides.append(torch.as_tensor(values - means[columns].astype(values.dtype), device=device).to(dtype))
        for number, gram in enumerate(grams):
            chosen = torch.as_tensor(bands[columns] == number, device=device)
            if chosen.any():
                gram.addmm_(sides[0][:, chosen], sides[1][:, chosen].T)
    return grams


class _Shift:
    """Say where the scan of every sample lies: ``delay`` rows below, if in the same run."""

    def __init__(self, runs: NDArray[Any], delay: int):
        self.delay, self.n_rows = delay, max(0, len(runs) - delay)
        samples, _ = delayed_rows(runs, delay)
        self.outside = torch.as_tensor(np.setdiff1d(np.arange(self.n_rows), samples))

    @property
    def samples(self) -> slice:
        """Rows of samples whose scan is not past the last row."""
        return slice(0, self.n_rows)

    @property
    def scans(self) -> slice:
        """Rows of their scans."""
        return slice(self.delay, self.delay + self.n_rows)


def _add_shifted(total: Tensor, gram: Tensor, left: _Shift, right: _Shift) -> None:
    """Add the Gram matrix of the scans to that of their samples; ``gram`` is used up."""
    part = gram[left.scans, right.scans]
    part[left.outside] = 0
    part[:, right.outside] = 0
    total[left.samples, right.samples] += part


def _shifted_back(matrix: Tensor, left: _Shift, right: _Shift) -> Tensor:
    """Bring a matrix over samples to their scans: the transpose of :func:`_add_shifted`."""
    if not left.delay and not right.delay:
        return matrix
    back = torch.zeros_like(matrix)
    part = back[left.scans, right.scans]
    part.copy_(matrix[left.samples, right.samples])
    part[left.outside] = 0
    part[:, right.outside] = 0
    return back


def average_prepared(
    prepared: BandKernels | Tensor, repeats: Sequence[tuple[int, int]], runs: ArrayLike
) -> BandKernels | Tensor:
    """Prepare the mean of samples that were measured repeatedly, from what is prepared of each.

    Parameters
    ----------
    prepared : BandKernels or Tensor
        As :meth:`brainpred.BandedRidgeCV.prepare` gives it, the repeats of every group of samples one below another.
    repeats : sequence of (int, int)
        Repeats and samples of each group, in order; rows beyond the last are left out.
    runs : array_like (n_averaged,)
        Run of each averaged sample.

    Returns
    -------
    BandKernels or Tensor
        For :meth:`brainpred.BandedRidgeCV.predict_blocks`.
    """
    if isinstance(prepared, BandKernels):
        return prepared.averaged(repeats, np.asarray(runs))
    return average_rows(prepared, repeats)
