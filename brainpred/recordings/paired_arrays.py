"""Read arrays that belong together row by row, such as brain patterns and the pictures seen."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainpred.arrays import open_array, split_address
from brainpred.errors import DataError

__all__ = ["load_array"]


def load_array(address: Path | str, what: str) -> NDArray[Any]:
    """Read one array of numbers, whole.

    Parameters
    ----------
    address : Path or str
        File of any kind that :func:`brainpred.arrays.open_array` knows, or ``FILE::NAME`` where it holds several
        arrays.
    what : str
        What it is, for messages, such as ``"brain"``.

    Returns
    -------
    ndarray
        The numbers, of finite values.

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds no such array of finite numbers.
    """
    path, name = split_address(address)
    with open_array(path, name, what, "Give a file of numbers, or FILE::NAME.") as stored:
        array = stored.read()
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise DataError(
            f"{what}: {broken} of {array.size} values in {path.name} are NaN or infinite. Leave those rows or "
            "voxels out."
        )
    return array
