"""Read pickles of NumPy arrays, and nothing else: a pickle may otherwise run any program."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from brainpred.arrays import absence
from brainpred.errors import DataError

__all__ = ["read_arrays"]

# What pickles of arrays name, by NumPy before and since 2.0, and the bytes of protocols before 3.
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Load containers and arrays; refuse to import anything else."""

    def __init__(self, stream: BinaryIO):
        super().__init__(stream, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """Give what pickles of arrays are made of."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return super().find_class(module, name)


def read_arrays(path: Path, where: str, remedy: str) -> dict[str, NDArray[Any]]:
    """Read a pickled dict of arrays.

    Parameters
    ----------
    path : Path
        The pickle.
    where : str
        Data set and subject.
    remedy : str
        How to get it again.

    Returns
    -------
    dict of str to ndarray
        Arrays of numbers, by name.

    Raises
    ------
    DataError
        If it is missing, damaged, holds other things, or arrays of objects.
    """
    if not path.is_file():
        raise DataError(f"{where}: {path} {absence(path)}. {remedy}")
    try:
        with open(path, "rb") as stream:
            content = _ArrayUnpickler(stream).load()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{where}: {path} is refused ({error}): a pickle may hold arrays of numbers and nothing else. {remedy}"
        ) from error
    # A damaged pickle can raise nearly anything.
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError,
            OverflowError, LookupError) as error:  # fmt: skip
        raise DataError(f"{where}: cannot read {path} ({error}). {remedy}") from error
    if not isinstance(content, dict) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise DataError(f"{where}: {path} must hold a dict of arrays, found a {type(content).__name__}. {remedy}")
    objects = [str(name) for name, value in content.items() if value.dtype.hasobject]
    if objects:
        raise DataError(f"{where}: {path} holds arrays of objects ({', '.join(objects)}), not of numbers. {remedy}")
    return {str(name): value for name, value in content.items()}
