"""An array is the same array in every kind of file, read whole or in parts; what is no array of numbers is refused."""

import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from brainpred import arrays
from brainpred.arrays import open_array, split_address
from brainpred.errors import DataError
from tests.movies.files import write_matlab

ARRAY = np.arange(2 * 3 * 5 * 7, dtype=np.float32).reshape(6, 5, 7)
KINDS = ("npy", "npy of Fortran", "npz", "npz, compressed", "h5", "mat v5", "mat v7.3")


def write(folder, kind, array=ARRAY):
    path = folder / f"a.{kind.split()[0].strip(',')}"
    if kind.startswith("npy"):
        np.save(path, np.asfortranarray(array) if "Fortran" in kind else array)
    elif kind.startswith("npz"):
        (np.savez_compressed if "compressed" in kind else np.savez)(path, bold=array, text=np.array(["a"]))
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["group/bold"], file["text"], file["nothing"] = array, "a", h5py.Empty("f4")
    elif kind == "mat v5":
        savemat(path, {"bold": array, "text": "a", "cell": np.array([{}], dtype=object)})
    else:
        write_matlab(path, bold=array)
        with h5py.File(path, "a") as file:
            file["#refs#/a"] = np.ones((4, 4))
            file["text"] = np.array([[97]], np.uint16)
            file["text"].attrs["MATLAB_class"] = np.bytes_("char")
    return path


@pytest.mark.parametrize("block", [8, 2**20])
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_gives_the_same_array(tmp_path, monkeypatch, kind, block):
    monkeypatch.setattr(arrays, "BYTES_AT_ONCE", block)
    with open_array(write(tmp_path, kind), "", "here", "Again.") as array:
        assert array.shape == ARRAY.shape
        assert array.dtype == ARRAY.dtype
        for part in (slice(2, 4), slice(None), slice(0, 1), slice(5, 9), slice(3, 3)):
            np.testing.assert_array_equal(array[part], ARRAY[part])
        np.testing.assert_array_equal(array.read(), ARRAY)
        stored = ARRAY.T if array.turned else ARRAY
        np.testing.assert_array_equal(array.stored[1:3, 2, 1:4], stored[1:3, 2, 1:4])
        np.testing.assert_array_equal(array.stored[..., 2:4], stored[..., 2:4])


@pytest.mark.parametrize("kind", ["npz", "npz, compressed", "h5", "mat v5", "mat v7.3"])
def test_array_is_found_by_its_name(tmp_path, kind):
    path = write(tmp_path, kind)
    name = "group/bold" if kind == "h5" else "bold"
    with open_array(path, f"/{name}", "here", "Again.", n_axes=(2,)) as array:
        assert array.shape == ARRAY.shape
    with (
        pytest.raises(DataError, match=rf"^here: {path.name} holds no array x, but {name} \(6, 5, 7\)\. Name one"),
        open_array(path, "x", "here", "Again."),
    ):
        pass
    with (
        pytest.raises(DataError, match=rf"holds no array of 2 or 4 axes, but {name} \(6, 5, 7\)"),
        open_array(path, "", "here", "Again.", n_axes=(2, 4)),
    ):
        pass


@pytest.mark.parametrize("old", [True, False])
def test_structs_and_cells_of_matlab_are_called_what_they_are(tmp_path, old):
    path = tmp_path / "a.mat"
    cell = np.empty((1, 2), dtype=object)
    cell[0, 0], cell[0, 1] = ARRAY, ARRAY
    if old:
        savemat(path, {"data": {"brain": ARRAY, "seen": ARRAY}, "runs": cell})
    else:  # an array of structs: its fields hold references
        with h5py.File(path, "w") as file:
            file["#refs#/a"] = ARRAY
            for name, kind in (("data/brain", None), ("runs", "cell")):
                file[name] = np.array([[file["#refs#/a"].ref] * 2], h5py.ref_dtype)
                file[name].attrs["MATLAB_class"] = np.bytes_(kind or "double")
            file["data"].attrs["MATLAB_class"] = np.bytes_("struct")
    for name, match in (
        ("data", r"data in a\.mat is a struct, and no array of numbers\. Save its fields as arrays, such as a\.mat::"),
        ("", "data in a.mat is a struct"),
        ("runs", "runs in a.mat is a cell, and no array of numbers. Save its cells as arrays"),
        ("other", "holds no array other, but none at all"),
    ):
        with pytest.raises(DataError, match=match), open_array(path, name, "here", "Again."):
            pass


def test_a_field_of_a_struct_is_taken_by_its_name(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:  # a struct of v7.3
        file["data/brain"], file["data/seen"] = ARRAY.T, ARRAY[0].T
        file["data"].attrs["MATLAB_class"] = np.bytes_("struct")
    with open_array(tmp_path / "a.mat", "data/brain", "here", "Again.") as array:
        np.testing.assert_array_equal(array.read(), ARRAY)
    with (
        pytest.raises(DataError, match="no array data, but data/brain"),
        open_array(tmp_path / "a.mat", "data", "", ""),
    ):
        pass


def test_address_names_a_file_and_an_array_in_it(tmp_path):
    assert split_address(f"{tmp_path}/b.npz::x/y") == (tmp_path / "b.npz", "x/y")
    (tmp_path / "odd::name.npy").touch()
    assert split_address(tmp_path / "odd::name.npy") == (tmp_path / "odd::name.npy", "")
    assert split_address(tmp_path / "b.npy") == (tmp_path / "b.npy", "")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_named(tmp_path, kind):
    path = write(tmp_path, kind, np.random.default_rng(0).random((60, 50, 7)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"^here: cannot read .*{path.name} \(.*\)\. Again\."):  # noqa: SIM117
        with open_array(path, "", "here", "Again.") as array:
            array.read()
    path.unlink()
    with pytest.raises(DataError, match=r"^here: .* is missing\. Again\."), open_array(path, "", "here", "Again."):
        pass


@pytest.mark.parametrize("kind", ["npz", "npz, compressed"])
def test_a_wrong_bit_of_an_archive_is_found_whatever_part_is_read(tmp_path, kind):
    path = write(tmp_path, kind)
    with zipfile.ZipFile(path) as packed:
        begin = packed.getinfo("bold.npy").header_offset
    content = bytearray(path.read_bytes())
    content[begin + 260] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="cannot read"):  # noqa: SIM117
        with open_array(path, "bold", "here", "Again.") as array:
            array[4:5]


def test_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, 1], dtype=object))
    np.savez(tmp_path / "a.npz", bad=np.array([{}, 1], dtype=object), good=ARRAY)
    with (
        pytest.raises(DataError, match=r"here: a\.npy holds object, and no numbers"),
        open_array(tmp_path / "a.npy", "", "here", "Again."),
    ):
        pass
    with open_array(tmp_path / "a.npz", "", "here", "Again.") as array:
        np.testing.assert_array_equal(array.read(), ARRAY)


@pytest.mark.parametrize("kind", ["npy", "npy of Fortran", "npz", "npz, compressed", "h5", "mat v7.3"])
def test_a_part_is_read_without_the_rest(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(arrays, "BYTES_AT_ONCE", 2**16)
    values = np.random.default_rng(0).random((701, 1009)).astype(np.float32)
    path = write(tmp_path, kind, values)

    def read():
        with open_array(path, "", "here", "Again.") as array:
            return array.stored[301:350]

    read()  # imports take memory, once
    tracemalloc.start()
    try:
        part = read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    turned = kind in ("npy of Fortran", "mat v7.3")
    np.testing.assert_array_equal(part, (values.T if turned else values)[301:350])
    assert peak <= 1.5 * part.nbytes + 4 * 2**16
