"""Feature files come back as they were written, and files that are none are refused."""

from itertools import pairwise

import h5py
import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.features import store
from brainpred.features.store import read_feature_file, write_feature_blocks, write_feature_file


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return {
        "R1": rng.random((7, 5, 2, 3), dtype=np.float32),
        "R0": rng.random((7, 3, 4, 6), dtype=np.float32),
        "words": rng.random((7, 11), dtype=np.float32),
    }


def test_written_features_come_back(features, tmp_path):
    written = write_feature_file(tmp_path / "f.h5", features, 1.3, {"movie": "clip.mp4", "frame_size": (4, 6)})
    read = read_feature_file(str(tmp_path / "f.h5"))
    assert read == written
    assert read.shapes == {"R0": (3, 4, 6), "R1": (5, 2, 3), "words": (11,)}
    assert (read.n_scans, read.tr_s) == (7, 1.3)
    for layer, values in features.items():
        assert read.read(layer).dtype == np.float32
        assert read.read(layer).flags.c_contiguous
        np.testing.assert_array_equal(read.read(layer), values.reshape(7, -1))
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_units_lie_before_scans_on_disk(features, tmp_path):
    write_feature_file(tmp_path / "f.h5", features, 1.3, {"movie": "clip.mp4"})
    with h5py.File(tmp_path / "f.h5") as file:
        assert file.attrs["movie"] == "clip.mp4"
        assert file["R0"].shape == (72, 7)
        assert file["R0"].dtype == np.float32
        np.testing.assert_array_equal(file["R0"][17], features["R0"].reshape(7, 72)[:, 17])


def test_float64_features_are_stored_as_float32(tmp_path):
    values = np.random.default_rng(1).random((5, 3))
    values.setflags(write=False)
    stored = write_feature_file(tmp_path / "f.h5", {"R0": values}, 1.0, {})
    np.testing.assert_array_equal(stored.read("R0"), values.astype(np.float32))


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.99])
def test_truncated_file_is_refused(features, tmp_path, kept):
    path = tmp_path / "f.h5"
    write_feature_file(path, features, 1.0, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"Cannot read features from .*f\.h5.*compute it again"):
        read_feature_file(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read features from .*none\.h5"):
        read_feature_file(tmp_path / "none.h5")


def test_file_of_another_format_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["R0"] = np.ones((3, 5))
    with pytest.raises(DataError, match=r"other\.h5 is not a feature file of brainpred"):
        read_feature_file(tmp_path / "other.h5")


@pytest.mark.parametrize("damage", ["no layers", "no repetition time", "no shape", "a group for a layer"])
def test_file_that_lacks_something_is_refused(features, tmp_path, damage):
    path = tmp_path / "f.h5"
    write_feature_file(path, features, 1.0, {})
    with h5py.File(path, "a") as file:
        if damage == "no layers":
            for layer in features:
                del file[layer]
        elif damage == "no repetition time":
            del file.attrs["tr_s"]
        elif damage == "no shape":
            del file["R1"].attrs["shape"]
        else:
            del file["R0"]
            file.create_group("R0").attrs["shape"] = (3, 4, 6)
    with pytest.raises(DataError, match="Cannot read features from"):
        read_feature_file(path)


def test_interrupted_write_leaves_the_file_as_it_was(features, tmp_path):
    class Interrupted(dict):
        def items(self):
            yield from super().items()
            raise KeyboardInterrupt

    path = tmp_path / "f.h5"
    write_feature_file(path, features, 1.0, {})
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_feature_file(path, Interrupted(R0=np.ones((3, 2))), 1.0, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f.h5"]


def cut(features, edges):
    """Give the features in blocks of scans."""
    for first, last in pairwise(edges):
        yield first, {layer: values[first:last] for layer, values in features.items()}


@pytest.mark.parametrize("edges", [(0, 7), (0, 3, 7), (0, 1, 6, 7), (0, 5, 6, 7)])
def test_several_blocks_equal_one(features, tmp_path, edges):
    whole = write_feature_file(tmp_path / "whole.h5", features, 1.3, {})
    file = write_feature_blocks(tmp_path / "f.h5", cut(features, edges), 7, 1.3, {"movie": "clip.mp4"})
    assert (file.shapes, file.n_scans, file.tr_s) == (whole.shapes, 7, 1.3)
    for layer, values in features.items():
        np.testing.assert_array_equal(file.read(layer), values.reshape(7, -1))
        np.testing.assert_array_equal(file.read(layer), whole.read(layer))
    with h5py.File(tmp_path / "f.h5") as stored:
        assert stored.attrs["movie"] == "clip.mp4"
        assert stored["R0"].shape == (72, 7)


def test_blocks_may_come_in_any_order_and_the_last_word_counts(features, tmp_path):
    first, middle, last = cut(features, (0, 2, 5, 7))
    again = (4, {layer: values[4:6] + 1 for layer, values in features.items()})
    file = write_feature_blocks(tmp_path / "f.h5", [last, first, middle, again], 7, 1.3, {})
    for layer, values in features.items():
        expected = values.reshape(7, -1).copy()
        expected[4:6] += 1
        np.testing.assert_array_equal(file.read(layer), expected)


def test_blocks_of_a_file_are_read_one_at_a_time(features, tmp_path):
    """Blocks are asked for only once the one before is written, so that memory does not grow with the movie."""
    asked = []

    def blocks():
        for first, block in cut(features, (0, 3, 5, 7)):
            asked.append(first)
            yield first, block
            block.clear()

    file = write_feature_blocks(tmp_path / "f.h5", blocks(), 7, 1.3, {})
    assert asked == [0, 3, 5]
    np.testing.assert_array_equal(file.read("words"), features["words"])


@pytest.mark.parametrize("units", [slice(0, 1), slice(17, 31), slice(60, None), slice(None), slice(5, 50, 7)])
def test_some_units_are_read(features, tmp_path, monkeypatch, units):
    monkeypatch.setattr(store, "CHUNK_BYTES", 4 * 7 * 11)  # eleven units a chunk
    file = write_feature_blocks(tmp_path / "f.h5", cut(features, (0, 7)), 7, 1.3, {})
    with h5py.File(tmp_path / "f.h5") as stored:
        assert stored["R0"].chunks == (11, 7)
    values = file.read("R0", units)
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, features["R0"].reshape(7, 72)[:, units])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_flipped_byte_is_noticed(features, tmp_path, dtype):
    path = tmp_path / "f.h5"
    file = write_feature_blocks(path, cut(features, (0, 4, 7)), 7, 1.3, {}, dtype)
    with h5py.File(path) as stored:
        places = [stored["R0"].id.get_chunk_info(number).byte_offset for number in range(2)]
    before = path.read_bytes()
    for place in (*places, places[1] + 99):
        damaged = bytearray(before)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"Cannot read features from .*f\.h5.*compute it again"):
            file.read("R0")
        np.testing.assert_array_equal(file.read("R1"), features["R1"].reshape(7, -1).astype(dtype))
    path.write_bytes(before)
    assert len(file.read("R0")) == 7


def test_layer_that_a_file_does_not_hold_is_refused(features, tmp_path):
    file = write_feature_file(tmp_path / "f.h5", features, 1.3, {})
    with pytest.raises(DataError, match=r"Cannot read features from .*f\.h5"):
        file.read("R7")
    file.path.unlink()
    with pytest.raises(DataError, match=r"Cannot read features from .*f\.h5"):
        file.read("R0")


def test_half_precision_takes_half_the_place(tmp_path):
    values = np.random.default_rng(2).normal(0, 1, (23, 3, 40, 60)).astype(np.float32)
    for dtype in ("float32", "float16"):
        file = write_feature_blocks(tmp_path / f"{dtype}.h5", cut({"R0": values}, (0, 11, 23)), 23, 1.3, {}, dtype)
        with h5py.File(file.path) as stored:
            assert stored["R0"].dtype == dtype
        assert file.read("R0").dtype == np.float32
        np.testing.assert_array_equal(file.read("R0"), values.reshape(23, -1).astype(dtype))
    size = {dtype: (tmp_path / f"{dtype}.h5").stat().st_size for dtype in ("float32", "float16")}
    assert size["float16"] < 0.6 * size["float32"]


def test_scans_that_no_block_holds_are_refused(features, tmp_path):
    first, _, last = cut(features, (0, 2, 5, 7))
    with pytest.raises(DataError, match="scan"):
        write_feature_blocks(tmp_path / "f.h5", [first, last], 7, 1.3, {})


def test_interrupted_blocks_leave_nothing(features, tmp_path):
    def blocks():
        yield from cut(features, (0, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_feature_blocks(tmp_path / "f.h5", blocks(), 7, 1.3, {})
    assert list(tmp_path.iterdir()) == []
