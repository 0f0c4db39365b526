"""Arrays from every format that labs use, and what is said of those that cannot serve."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from brainpred.errors import DataError
from brainpred.recordings.paired_arrays import arrange_pairs, load_array, read_rows

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
    np.save(tmp_path / "e.npy", np.array(["a"]))
    with pytest.raises(DataError, match="no numbers"):
        load_array(tmp_path / "e.npy", "--brain")
    np.save(tmp_path / "f.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(DataError, match="holds object, and no numbers"):
        load_array(tmp_path / "f.npy", "--brain")


N, SIDE = 11, 7
PICTURES = np.random.default_rng(0).random((N, SIDE, SIDE)).astype(np.float32)
PATTERNS = np.random.default_rng(1).random((N, 5)).astype(np.float32)
FLAT = PICTURES.reshape(N, -1)


@pytest.mark.parametrize(
    "images",
    [
        PICTURES,
        FLAT,
        FLAT.T,
        PICTURES[:, None],
        PICTURES[..., None],
        FLAT[:, None],
        np.moveaxis(PICTURES, 0, -1),
        np.moveaxis(PICTURES[:, None], 0, -1),
        PICTURES[:, None].repeat(3, axis=1),
        PICTURES[..., None].repeat(3, axis=3),
        np.moveaxis(PICTURES[..., None].repeat(3, axis=3), 0, -1),
    ],
    ids=lambda images: str(images.shape),
)
@pytest.mark.parametrize("turned", [False, True])
def test_pairs_in_any_order_of_axes_come_out_alike(images, turned):
    brain = PATTERNS.T if turned else PATTERNS
    patterns, pictures = arrange_pairs(brain, images, (SIDE, SIDE))
    np.testing.assert_array_equal(patterns, PATTERNS)
    np.testing.assert_allclose(pictures, PICTURES, atol=1e-6)


@pytest.mark.parametrize(("factor", "told"), [(1, False), (255, False), (1.1, True), (1.1 * 255, True)])
def test_grey_levels_come_out_alike_and_a_little_beyond_is_clipped(factor, told):
    said = []
    stretched = PICTURES / PICTURES.max() * factor
    _, pictures = arrange_pairs(PATTERNS, stretched, (SIDE, SIDE), say=said.append)
    top = 255 if factor > 2 else 1
    np.testing.assert_allclose(pictures, (stretched / top).clip(0, 1), atol=1e-6)
    assert bool(said) is told
    assert all("are clipped to 0 to" in text for text in said)


def test_pictures_are_resized_and_stay_in_range():
    said = []
    _, pictures = arrange_pairs(PATTERNS, PICTURES, (14, 14), say=said.append)
    assert pictures.shape == (N, 14, 14)
    assert 0 <= pictures.min() < pictures.max() <= 1
    assert said == ["--images: 7 x 7 pixels are resized to 14 x 14."]


@pytest.mark.parametrize(
    ("brain", "images", "match"),
    [
        (PATTERNS[0], PICTURES, "expected an array .pairs, voxels., received shape .5,."),
        (PATTERNS[:8], PICTURES, r"--brain holds 8 patterns of 5 voxels, --images an array of shape \(11, 7, 7\)"),
        (PATTERNS, FLAT[:, :48], "whose pixels make a square"),
        (PATTERNS, np.zeros((N, 2, 3, 4, 5)), r"received shape \(11, 2, 3, 4, 5\)"),
        (PATTERNS, PICTURES * 3, "expected grey levels of 0 to 1 or 0 to 255, received .* to 2.9"),
        (PATTERNS, PICTURES * 1000, "received .* to 9"),
        (PATTERNS, PICTURES - 1, "received -0.99"),
        (PATTERNS, np.ones_like(PICTURES), "every pixel of every picture is 1"),
    ],
)
def test_arrays_that_are_no_pairs_are_told(brain, images, match):
    with pytest.raises(DataError, match=match):
        arrange_pairs(brain, images, (SIDE, SIDE))


@pytest.mark.parametrize("turned", [False, True])
def test_a_voxel_that_is_nan_throughout_stays_and_other_nan_is_told(turned):
    missing = PATTERNS.copy()
    missing[:, 2] = np.nan
    given, _ = arrange_pairs(missing.T if turned else missing, PICTURES, (SIDE, SIDE))
    np.testing.assert_array_equal(given, missing)
    for value in (np.nan, np.inf):
        broken = missing.copy()
        broken[3, 4] = value
        with pytest.raises(DataError, match="--brain: 1 of 44 values are NaN or infinite"):
            arrange_pairs(broken.T if turned else broken, PICTURES, (SIDE, SIDE))
    broken = np.full_like(PATTERNS, 1.0)
    broken[:, 1] = np.inf
    with pytest.raises(DataError, match="--brain: 11 of 55 values"):
        arrange_pairs(broken, PICTURES, (SIDE, SIDE))
    with pytest.raises(DataError, match="--images: 49 of 539 values are NaN"):
        arrange_pairs(PATTERNS, np.where(np.arange(N)[:, None, None] == 2, np.nan, PICTURES), (SIDE, SIDE))


def test_rows_are_numbers_ranges_files_or_marks(tmp_path):
    np.save(tmp_path / "numbers.npy", [7, 3, 8])
    np.save(tmp_path / "marks.npy", np.array([1, 1, 2, 1, 2])[:, None])
    np.save(tmp_path / "mask.npy", [False, True, True, False, False])
    savemat(tmp_path / "matlab.mat", {"test": np.array([[1, 5]])})
    for rows, n_pairs, expected in (
        (["2", "4-6"], 9, [2, 4, 5, 6]),
        ([str(tmp_path / "numbers.npy")], 9, [3, 7, 8]),
        ([str(tmp_path / "marks.npy")], 5, [2, 4]),
        ([str(tmp_path / "mask.npy")], 5, [1, 2]),
        ([f"{tmp_path / 'matlab.mat'}::test"], 5, [0, 4]),
    ):
        np.testing.assert_array_equal(read_rows(rows, n_pairs), expected)


def test_rows_that_are_none_are_told(tmp_path):
    np.save(tmp_path / "half.npy", [0.5, 1.0])
    np.save(tmp_path / "nan.npy", [1.0, np.nan])
    savemat(tmp_path / "zero.mat", {"test": np.array([[0, 3]])})
    for rows, match in (
        (["5-9"], "expected numbers of 9 pairs .from 0 to 8.*received 5 numbers from 5 to 9"),
        (["one", "two"], "received one two"),
        (["7-8,3"], "expected numbers and ranges of pairs, such as 90-99 3, .*received 7-8,3"),
        (["6:8"], "such as 90-99 3, .*received 6:8"),
        (["7-3", "5"], "such as 90-99 3, .*received 7-3 5"),
        (["3", "2-4"], "each pair once, received 3 more than once"),
        ([str(tmp_path / "half.npy")], "expected numbers of pairs or marks"),
        ([str(tmp_path / "nan.npy")], "expected numbers of pairs or marks"),
        ([str(tmp_path / "zero.mat")], "numbers from -1 to 2"),
    ):
        with pytest.raises(DataError, match=match):
            read_rows(rows, 9)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([1, 1, 1, 1, 2, 2, 2, 3, 3], "9 values, some of them again and again: 1, 2, 3"),  # training, validation, test
        ([6, 6, 6, 6, 6, 9, 9, 9, 9], "received 9 values, .*: 6, 9"),  # labels
        ([0, 0, 0, 0, 0, 0, 1, 1], "a mark for each of 9 pairs .*received 8 values, .*: 0, 1"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0], "received 9 values, .*: 0"),
        ([4, 4, 5], "received 3 values, .*: 4, 5"),
        ([1, 1, 1, 1, 1, 1, 1, 0, 0], "no more test pairs than training pairs, received 7 of 9"),  # marks of training
        ([0, 1, 2, 3, 4, 5], "no more test pairs than training pairs, received 6 of 9"),
    ],
)
def test_files_of_something_else_are_no_test_pairs(tmp_path, values, match):
    np.save(tmp_path / "rows.npy", values)
    with pytest.raises(DataError, match=match):
        read_rows([str(tmp_path / "rows.npy")], 9)
