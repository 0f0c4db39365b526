"""Files are written whole or not at all, and fingerprints follow content."""

import hashlib

import numpy as np
import pytest

from brainpred.errors import ConfigError, DataError
from brainpred.storage import atomic_path, file_fingerprint, fingerprint, make_directory, read_json, write_json


def test_file_appears_whole_at_the_end(tmp_path):
    path = tmp_path / "scores.csv"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".csv"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_old_file_is_replaced_whole(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old and long")
    with atomic_path(str(path)) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old and long"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        write_half(tmp_path / "scores.csv", error)
    assert list(tmp_path.iterdir()) == []


def test_failure_before_anything_is_written_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "scores.csv"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(path, RuntimeError)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(ConfigError, match=r"Cannot write .*scores\.csv"), atomic_path(tmp_path / "scores.csv") as path:
        path.write_text("new")
    assert [child.name for child in tmp_path.iterdir()] == ["scores.csv"]


def test_folder_is_made_with_its_parents(tmp_path):
    made = make_directory(str(tmp_path / "a" / "b"))
    assert made == tmp_path / "a" / "b"
    assert made.is_dir()
    assert list(made.iterdir()) == []


def test_folder_that_exists_keeps_its_files(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    assert make_directory(tmp_path) == tmp_path
    assert [child.name for child in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize("below", ["file", "file/folder", "file/folder/deeper"])
def test_folder_under_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ConfigError, match=r"Cannot write to .*Choose another output folder"):
        make_directory(tmp_path / below)
    assert (tmp_path / "file").read_text() == "a file"


def test_fingerprint_follows_names_and_values_but_not_their_order():
    key = fingerprint(size=(64, 80), units=["R0", "R1"], seed=3)
    assert key == fingerprint(seed=3, units=["R0", "R1"], size=[64, 80])
    assert len(key) == 16
    assert set(key) <= set("0123456789abcdef")
    others = [
        fingerprint(size=(80, 64), units=["R0", "R1"], seed=3),
        fingerprint(size=(64, 80), units=["R1", "R0"], seed=3),
        fingerprint(size=(64, 80), units=["R0", "R1"], seed=4),
        fingerprint(shape=(64, 80), units=["R0", "R1"], seed=3),
        fingerprint(size=(64, 80), units=["R0", "R1"]),
    ]
    assert len({key, *others}) == 6


def test_fingerprint_is_the_same_on_any_machine():
    assert fingerprint(a=1, b="x") == hashlib.sha256(b'{"a": 1, "b": "x"}').hexdigest()[:16]


def test_file_fingerprint_follows_the_content(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 100_003, dtype=np.uint8).tobytes()
    first, copy, other = (tmp_path / name for name in ("first", "copy", "other"))
    first.write_bytes(content)
    copy.write_bytes(content)
    other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert file_fingerprint(first) == file_fingerprint(str(copy)) == hashlib.sha256(content).hexdigest()[:16]
    assert file_fingerprint(first) != file_fingerprint(other)


def test_json_comes_back(tmp_path):
    content = {"ratio": 0.39, "layers": ["R0", "R1"], "nested": {"seed": 3, "none": None}}
    write_json(tmp_path / "scores.json", content)
    assert read_json(tmp_path / "scores.json") == content
    assert (tmp_path / "scores.json").read_text().endswith("}\n")
    assert [child.name for child in tmp_path.iterdir()] == ["scores.json"]


def test_json_that_cannot_be_written_keeps_the_old_file(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"seed": 3})
    circle = {}
    circle["circle"] = circle
    with pytest.raises(ValueError, match="Circular"):
        write_json(path, circle)
    assert read_json(path) == {"seed": 3}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", '{"half": ', "[1, 2]", "3"])
def test_text_that_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"scores\.json"):
        read_json(path)


def test_missing_json_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*absent\.json"):
        read_json(tmp_path / "absent.json")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "scores.json"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="Cannot read"):
        read_json(path)
