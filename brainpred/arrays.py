"""Open arrays in files, in parts where the format allows it: NumPy, HDF5 and MATLAB in one way."""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError

__all__ = ["DAMAGES", "SUFFIXES", "StoredArray", "absence", "open_array", "open_hdf5", "refusing", "split_address"]

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".hdf", ".mat")
BYTES_AT_ONCE = 2**23
CACHE_BYTES = 2**20  # of HDF5, for chunks
NUMBERS = "fiub"
# What reading a damaged file may raise.
DAMAGES = (OSError, EOFError, RuntimeError, ValueError, TypeError, NotImplementedError, zlib.error, zipfile.BadZipFile)
# MATLAB's classes, as they are called in files before v7.3, by NumPy's types.
CLASSES = {"double": "f8", "single": "f4", "logical": "u1"} | {
    f"{sign}int{8 * size}": f"{kind}{size}" for sign, kind in (("", "i"), ("u", "u")) for size in (1, 2, 4, 8)
}

WRAPPED = {"struct": "fields", "cell": "cells"}  # of MATLAB, what holds arrays, and what it holds them in


@dataclass(frozen=True, eq=False)
class StoredArray:
    """Stand for an array in a file that is open.

    Axes are those of its writer: what MATLAB calls 40 x 7 has the shape (40, 7) in files of every version.

    Attributes
    ----------
    stored : h5py.Dataset or object of the same use
        The array in the order in which it is stored, of which parts along the first axis are read quickly.
    turned : bool
        Whether ``stored`` has the axes from the other end, as MATLAB and Fortran store them.
    matlab : bool
        Whether MATLAB's habits hold, such as time on the last axis.
    """

    stored: Any
    turned: bool = False
    matlab: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as its writer counts axes."""
        shape = tuple(int(size) for size in self.stored.shape)
        return shape[::-1] if self.turned else shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""
        return np.dtype(self.stored.dtype)

    def __getitem__(self, first_axis: slice) -> NDArray[Any]:
        """Read a part along the first axis."""
        if self.turned:
            return np.asarray(self.stored[(..., first_axis)]).T
        return np.asarray(self.stored[first_axis])

    def read(self) -> NDArray[Any]:
        """Read it whole."""
        whole = np.asarray(self.stored[()])
        return whole.T if self.turned else whole


def absence(path: Path) -> str:
    """Say for a message in what way a file is not there: missing, or a link that leads nowhere.

    Parameters
    ----------
    path : Path
        A path at which no file can be read.

    Returns
    -------
    str
        ``"is missing"``, or what the link is.
    """
    if not path.is_symlink():
        return "is missing"
    annex = ".git/annex" in os.readlink(path)
    return "is a link to what is not there" + (f" (of DataLad: datalad get {path.name})" if annex else "")


def split_address(address: Path | str) -> tuple[Path, str]:
    """Split ``FILE::NAME`` into a file and the name of an array in it.

    A file whose own name looks so is taken as it is.

    Parameters
    ----------
    address : Path or str
        File, or file and name.

    Returns
    -------
    path : Path
        The file.
    name : str
        The name; empty where none is given.

    Examples
    --------
    >>> split_address("scans.mat::bold")[1]
    'bold'
    """
    text = str(address)
    path, mark, name = text.rpartition("::")
    return (Path(path), name) if mark and not Path(text).exists() else (Path(text), "")


@contextmanager
def open_array(
    path: Path, name: str, where: str, remedy: str, *, n_axes: tuple[int, ...] = (), cache_bytes: int = CACHE_BYTES
) -> Iterator[StoredArray]:
    """Open an array of numbers; whatever goes wrong while it is read is a :class:`DataError` that names the file.

    Parts of ``.npy`` and ``.npz`` files and of HDF5, which MATLAB's v7.3 is, are read without the rest; arrays of
    MATLAB before v7.3 are read as a whole. Objects are never loaded.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Name of the array in a file that may hold several, with the groups that it lies in; empty: the only one.
    where : str
        Whose it is, for messages: data set, subject and run.
    remedy : str
        How to get the file again.
    n_axes : tuple of int
        Numbers of axes of arrays that may be meant where no name is given; empty: any.
    cache_bytes : int
        Memory for chunks of HDF5 that were read.

    Yields
    ------
    StoredArray
        The array.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, or the array is not there or holds no numbers.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{where}: {path.name} is none of {', '.join(SUFFIXES)}. Save the array as one of those; one of several in "
            "a file is named as FILE::NAME."
        )
    with _refusing(path, where, remedy):
        if path.suffix.lower() in (".h5", ".hdf5", ".hdf") or (path.suffix.lower() == ".mat" and h5py.is_hdf5(path)):
            opened = _open_hdf5(path, name, where, n_axes, cache_bytes)
        elif path.suffix.lower() == ".mat":
            opened = _open_matlab(path, name, where, n_axes)
        elif path.suffix.lower() == ".npz":
            opened = _open_npz(path, name, where, n_axes)
        else:
            opened = _open_npy(path)
        with opened as array:
            if array.dtype.kind not in NUMBERS:
                raise DataError(f"{where}: {path.name} holds {array.dtype}, and no numbers. Save it anew.")
            yield array


@contextmanager
def open_hdf5(path: Path, where: str, remedy: str) -> Iterator[Any]:
    """Open an HDF5 file; whatever goes wrong while it is read is a :class:`DataError` that names it.

    Parameters
    ----------
    path : Path
        The file.
    where : str
        Whose it is: data set, subject and run.
    remedy : str
        How to get it again.

    Yields
    ------
    h5py.File
        The file, open for reading.
    """
    with _refusing(path, where, remedy), h5py.File(path) as file:
        yield file


@contextmanager
def refusing(path: Path, where: str, remedy: str, damages: tuple[type[Exception], ...] = DAMAGES) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into a :class:`DataError` that names it.

    Parameters
    ----------
    path : Path
        The file.
    where : str
        Whose it is: data set, subject and run.
    remedy : str
        How to get it again.
    damages : tuple of type
        What the library may raise.
    """
    try:
        yield
    except DataError:
        raise
    except damages as error:
        raise DataError(f"{where}: cannot read {path} ({str(error) or type(error).__name__}). {remedy}") from error


@contextmanager
def _refusing(path: Path, where: str, remedy: str) -> Iterator[None]:
    if not path.is_file():
        raise DataError(f"{where}: {path} {absence(path)}. {remedy}")
    with refusing(path, where, remedy):
        try:
            yield
        except KeyError as error:
            raise DataError(f"{where}: {path} lacks what it should hold ({error.args[0]}). {remedy}") from error


def _choose(
    shapes: Mapping[str, tuple[int, ...]],
    name: str,
    path: Path,
    where: str,
    n_axes: tuple[int, ...],
    wrapped: Mapping[str, str] | None = None,
) -> str:
    """Give the name asked for, or that of the only array that may be meant; ``wrapped`` are MATLAB's structs, cells."""
    meant = name.strip("/")
    if meant in shapes:
        return meant
    asked = meant if meant or shapes else next(iter(wrapped or {}), "")
    if wrapped and asked in wrapped and not any(one.startswith(f"{asked}/") for one in shapes):
        kind = wrapped[asked]
        raise DataError(
            f"{where}: {asked} in {path.name} is a {kind}, and no array of numbers. Save its {WRAPPED[kind]} as "
            f"arrays, such as {path.name}::NAME."
        )
    fitting = {one: shape for one, shape in shapes.items() if not n_axes or len(shape) in n_axes}
    if not meant and len(fitting) == 1:
        return next(iter(fitting))
    if meant:
        found = f"no array {meant}, but"
    elif fitting:
        found = f"{len(fitting)} arrays:"
    else:
        found = f"no array of {' or '.join(map(str, n_axes))} axes, but" if n_axes else "no array of numbers, but"
    told = ", ".join(f"{one} {shape}" for one, shape in (fitting or shapes).items())
    raise DataError(
        f"{where}: {path.name} holds {found} {told or 'none at all'}. Name one, such as "
        f"{path.name}::{next(iter(fitting or shapes), 'NAME')}."
    )


@contextmanager
def _open_hdf5(path: Path, name: str, where: str, n_axes: tuple[int, ...], cache_bytes: int) -> Iterator[StoredArray]:
    with h5py.File(path, rdcc_nbytes=cache_bytes) as file:
        arrays: dict[str, h5py.Dataset] = {}
        wrapped: dict[str, str] = {}

        def note(key: str, item: Any) -> None:
            kind = item.attrs.get("MATLAB_class", b"")
            if not key.startswith("#") and kind in (b"struct", b"cell"):
                wrapped[key] = kind.decode()
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in NUMBERS or item.shape is None:
                return
            # Of MATLAB, #refs# holds what cells are made of, and text is kept as numbers.
            if not key.startswith("#") and item.attrs.get("MATLAB_class") != b"char":
                arrays[key] = item

        file.visititems(note)
        opened = {}
        for key, item in arrays.items():
            matlab = path.suffix.lower() == ".mat" or "MATLAB_class" in item.attrs
            opened[key] = StoredArray(item, turned=matlab, matlab=matlab)
        yield opened[_choose({key: array.shape for key, array in opened.items()}, name, path, where, n_axes, wrapped)]


@contextmanager
def _open_npy(path: Path) -> Iterator[StoredArray]:
    with open(path, "rb") as stream:
        rows, turned = _read_header(stream)
        n_bytes = rows.first_byte + math.prod(rows.shape) * rows.dtype.itemsize
        if rows.dtype.kind in NUMBERS and os.fstat(stream.fileno()).st_size < n_bytes:
            raise EOFError(rows.cut_short)
        yield StoredArray(rows, turned)


@contextmanager
def _open_npz(path: Path, name: str, where: str, n_axes: tuple[int, ...]) -> Iterator[StoredArray]:
    with zipfile.ZipFile(path) as packed:
        shapes = {}
        for member in packed.namelist():
            with packed.open(member) as stream:
                rows, turned = _read_header(stream)
            if rows.dtype.kind in NUMBERS:
                shapes[member.removesuffix(".npy")] = rows.shape[::-1] if turned else rows.shape
        with packed.open(_choose(shapes, name, path, where, n_axes) + ".npy") as stream:
            rows, turned = _read_header(stream)
            yield StoredArray(rows, turned)
            if rows.was_read:
                while stream.read(BYTES_AT_ONCE):  # to the end, where the checksum is
                    pass


@contextmanager
def _open_matlab(path: Path, name: str, where: str, n_axes: tuple[int, ...]) -> Iterator[StoredArray]:
    with _matlab_errors():
        from scipy.io import whosmat

        content = whosmat(path)
    found = {key: (shape, kind) for key, shape, kind in content if kind in CLASSES}
    wrapped = {key: kind for key, _, kind in content if kind in WRAPPED}
    chosen = _choose({key: shape for key, (shape, _) in found.items()}, name, path, where, n_axes, wrapped)
    shape, kind = found[chosen]
    yield StoredArray(_OldMatlab(path, chosen, shape[::-1], np.dtype(CLASSES[kind])), turned=True, matlab=True)


@contextmanager
def _matlab_errors() -> Iterator[None]:
    """Turn scipy's own error into one of those that a damaged file may raise."""
    from scipy.io.matlab import MatReadError

    try:
        yield
    except (MatReadError, KeyError, IndexError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


class _OldMatlab:
    """Stand for an array of MATLAB before v7.3, and load it whole when a part is wanted."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.shape, self.dtype = shape, dtype
        self._path, self._name = path, name
        self._loaded: NDArray[Any] | None = None

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if self._loaded is None:
            from scipy.io import loadmat

            with _matlab_errors():
                loaded = loadmat(self._path, variable_names=[self._name])[self._name]
            if loaded.dtype.kind not in NUMBERS:
                raise TypeError(f"{self._name} holds {loaded.dtype}")
            self._loaded = np.ascontiguousarray(loaded.T)
        return np.asarray(self._loaded[key])


class _Rows:
    """Read parts of an array in NumPy's format from a stream, without mapping it into memory.

    A memory map would count as memory of the process, page by page, until the system wants it back.
    """

    def __init__(self, stream: Any, shape: tuple[int, ...], dtype: np.dtype[Any], first_byte: int):
        self.shape, self.dtype, self.first_byte = shape, dtype, first_byte
        self.was_read = False
        self._stream = stream

    @property
    def cut_short(self) -> str:
        """What to say where the stream ends too early."""
        return f"it ends before its {' x '.join(map(str, self.shape))} numbers of type {self.dtype}"

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part: a slice of the first axis in blocks, and of each block what is asked of the other axes."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if keys[:1] == [Ellipsis]:
            keys[:1] = [slice(None)] * (len(self.shape) + 1 - len(keys))
        if not self.shape:
            return self._block(0, 1)[0]
        first, *others = keys or [slice(None)]
        begin, end, _ = first.indices(self.shape[0])
        step = max(1, BYTES_AT_ONCE // max(1, self._row_bytes))
        part = self._block(begin, min(begin + step, end))[(slice(None), *others)]
        if end <= begin + step:
            return part
        found = np.empty((end - begin, *part.shape[1:]), self.dtype)
        found[:step] = part
        for at in range(begin + step, end, step):
            found[at - begin : at - begin + step] = self._block(at, min(at + step, end))[(slice(None), *others)]
        return found

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def _block(self, begin: int, end: int) -> NDArray[Any]:
        n_rows = max(0, end - begin)
        self.was_read = True
        self._go_to(self.first_byte + begin * self._row_bytes)
        content = self._stream.read(n_rows * self._row_bytes)
        if len(content) < n_rows * self._row_bytes:
            raise EOFError(self.cut_short)
        return np.frombuffer(content, self.dtype).reshape(n_rows, *self.shape[1:])

    def _go_to(self, byte: int) -> None:
        ahead = byte - self._stream.tell()
        if ahead < 0 or not isinstance(self._stream, zipfile.ZipExtFile):
            self._stream.seek(byte)
            return
        while ahead > 0 and (
            skipped := self._stream.read(min(ahead, BYTES_AT_ONCE))
        ):  # seek would give up the checksum
            ahead -= len(skipped)


def _read_header(stream: Any) -> tuple[_Rows, bool]:
    """Read what an array in NumPy's format is; tell whether its axes are stored from the other end."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of NumPy's format, which is for tables and not for arrays of numbers")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, turned, dtype = read(stream)
    return _Rows(stream, shape[::-1] if turned else shape, dtype, stream.tell()), turned
