"""Linear kernels of bands of voxels with delays, without ever copying a delayed voxel."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.numerics.ridge.delays import delayed_rows

__all__ = ["band_kernels", "band_names", "voxel_bands"]


def voxel_bands(bands: ArrayLike | None, n_features: int) -> tuple[list[str], list[NDArray[np.int64]]]:
    """Group the columns of X by band label.

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
    columns : list of ndarray of int64
        Columns of each band.
    """
    if bands is None:
        return ["all"], [np.arange(n_features)]
    labels = np.asarray(bands)
    unique = np.unique(labels)
    return [str(label) for label in unique], [np.flatnonzero(labels == label) for label in unique]


def band_names(bands: ArrayLike | None, n_features: int, delays: Sequence[int], *, per_delay: bool) -> list[str]:
    """Name the bands in the order of :func:`band_kernels`.

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


def band_kernels(
    left: NDArray[np.floating],
    left_runs: ArrayLike,
    right: NDArray[np.floating],
    right_runs: ArrayLike,
    columns: Sequence[NDArray[np.int64]],
    delays: Sequence[int],
    *,
    per_delay: bool = False,
    on_band: Callable[[], None] | None = None,
) -> NDArray[np.floating]:
    r"""Compute the kernel of every band, :math:`K_b[i,j] = \sum_d x_b(i+d) \cdot x_b(j+d)`.

    A delay only shifts the undelayed Gram matrix, so voxels are multiplied once however many delays there
    are. Terms whose scan lies past the end of a run are zero.

    Parameters
    ----------
    left : ndarray (n_left, n_features)
        BOLD of the rows of the kernels.
    left_runs : array_like (n_left,)
        Run of each row of ``left``.
    right : ndarray (n_right, n_features)
        BOLD of the columns of the kernels.
    right_runs : array_like (n_right,)
        Run of each row of ``right``.
    columns : sequence of ndarray of int64
        Voxels of each band.
    delays : sequence of int
        Delays in scans.
    per_delay : bool
        Whether every delay is a band of its own (band-major order).
    on_band : callable, optional
        Called after each group of voxels.

    Returns
    -------
    ndarray (n_bands, n_left, n_right)
        Kernels, of the dtype of ``left``.
    """
    left_pairs = [delayed_rows(left_runs, delay) for delay in delays]
    right_pairs = [delayed_rows(right_runs, delay) for delay in delays]
    kernels = []
    for band in columns:
        whole = len(band) == left.shape[1]
        left_band = left if whole else left[:, band]
        right_band = left_band if right is left else right if whole else right[:, band]
        gram = left_band @ right_band.T
        shifted = np.zeros((len(delays) if per_delay else 1, *gram.shape), gram.dtype)
        for d, ((rows, row_scans), (cols, col_scans)) in enumerate(zip(left_pairs, right_pairs, strict=True)):
            shifted[d if per_delay else 0][np.ix_(rows, cols)] += gram[np.ix_(row_scans, col_scans)]
        kernels.append(shifted)
        if on_band:
            on_band()
    return np.concatenate(kernels)
