"""Arrays from every format that labs use, and what is said of those that cannot serve."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from brainpred.errors import DataError
from brainpred.recordings.paired_arrays import load_array

ARRAY = np.arange(35, dtype=np.float64).reshape(5, 7)


def _write(path, kind):
    if kind == "npy":
        np.save(path / "a.npy", ARRAY)
    elif kind == "npz":
        np.savez(path / "a.npz", X=ARRAY)
    elif kind == "npz, several":
        np.savez(path / "a.npz", X=ARRAY, other=ARRAY[0])
        return f"{path / 'a.npz'}::X"
    elif kind == "mat":
        savemat(path / "a.mat", {"X": ARRAY})
    elif kind == "mat v7.3":
        with h5py.File(path / "a.mat", "w") as file:
            file["X"] = ARRAY.T
    else:
        with h5py.File(path / "a.h5", "w") as file:
            file["group/X"] = ARRAY
            file["group/other"] = ARRAY[0]
        return f"{path / 'a.h5'}::group/X"
    return next(iter(path.iterdir()))


@pytest.mark.parametrize("kind", ["npy", "npz", "npz, several", "mat", "mat v7.3", "h5"])
def test_every_format_gives_the_same_array(tmp_path, kind):
    np.testing.assert_array_equal(load_array(_write(tmp_path, kind), "--brain"), ARRAY)


def test_what_is_wrong_is_told(tmp_path):
    with pytest.raises(DataError, match=r"--brain: .*a\.npy is missing"):
        load_array(tmp_path / "a.npy", "--brain")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(DataError, match=r"a\.txt is none of \.npy"):
        load_array(tmp_path / "a.txt", "--brain")
    (tmp_path / "b.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot read .*b\.npy"):
        load_array(tmp_path / "b.npy", "--brain")
    np.savez(tmp_path / "c.npz", X=ARRAY, Y=ARRAY)
    with pytest.raises(DataError, match=r"holds 2 arrays: X \(5, 7\), Y \(5, 7\)\. Name one, such as c\.npz::X\."):
        load_array(tmp_path / "c.npz", "--brain")
    with pytest.raises(DataError, match=r"holds no array Z, but X \(5, 7\)"):
        load_array(f"{tmp_path / 'c.npz'}::Z", "--brain")
    np.save(tmp_path / "d.npy", np.where(ARRAY == 3, np.nan, ARRAY))
    with pytest.raises(DataError, match="1 of 35 values"):
        load_array(tmp_path / "d.npy", "--brain")
    np.save(tmp_path / "e.npy", np.array(["a"]))
    with pytest.raises(DataError, match="no numbers"):
        load_array(tmp_path / "e.npy", "--brain")
    np.save(tmp_path / "f.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(DataError, match="holds object, and no numbers"):
        load_array(tmp_path / "f.npy", "--brain")
