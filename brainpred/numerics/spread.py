"""Tell units that vary from constant ones, whatever rounding leaves in their variance."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["varies"]


def varies(values: ArrayLike, axis: int = 0) -> NDArray[np.bool_]:
    """Tell where values differ by more than their last digits.

    Parameters
    ----------
    values : array_like
        Values.
    axis : int
        Axis along which they may vary.

    Returns
    -------
    ndarray of bool
        Without that axis. The variance of a constant such as 0.1 is seldom exactly 0; its range is.

    Examples
    --------
    >>> varies([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]])
    array([False,  True])
    """
    values = np.asarray(values)
    digits = np.finfo(values.dtype).eps if values.dtype.kind == "f" else 0.0
    high, low = values.max(axis=axis), values.min(axis=axis)
    checked: NDArray[np.bool_] = (high - low) > 4 * digits * np.maximum(np.abs(high), np.abs(low))
    return checked
