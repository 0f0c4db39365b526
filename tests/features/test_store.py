"""Feature files come back as they were written, and files that are none are refused."""

import h5py
import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.features.store import read_feature_file, write_feature_file


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
