"""Archives write below their folder and nowhere else, all or nothing."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.recordings import archives
from brainpred.recordings.archives import archive_names, unpack_archive


def write_tar(path, *members, mode="w"):
    with tarfile.open(path, mode) as packed:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
            else:
                entry.type, entry.linkname = content
            packed.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_files_come_out_where_they_belong(tmp_path, kind):
    path, content = tmp_path / f"data.{kind}", {"a/b.txt": b"one", "a/c/d.txt": b"two", "e.txt": b""}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.mkdir("empty")
            for name, text in content.items():
                packed.writestr(name, text)
    else:
        write_tar(path, *content.items(), mode=f"w:{kind.partition('.')[2]}")
    (tmp_path / "out").mkdir()
    added = unpack_archive(path, tmp_path / "out")
    assert {str(item.relative_to(tmp_path / "out")): item.read_bytes() for item in added} == content
    assert archive_names(path) == list(content)
    assert not [item for item in (tmp_path / "out").iterdir() if item.name.startswith(".part")]
    assert unpack_archive(path, tmp_path / "out") == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_link_that_is_there_already_is_not_followed(tmp_path, kind):
    path = tmp_path / f"data.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("a.txt", "one")
            packed.writestr("sub/deep/b.txt", "two")
    else:
        write_tar(path, ("a.txt", b"one"), ("sub/deep/b.txt", b"two"))
    for name in ("out", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"holds 'sub/deep/b\.txt', but .*out/sub/deep leads to .*elsewhere/deep"):
        unpack_archive(path, tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["sub"]


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:/evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_name_that_leads_out_is_refused_before_anything_is_written(tmp_path, kind, name):
    path = tmp_path / f"data.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("fine.txt", "")
            packed.writestr(zipfile.ZipInfo(name), "")
    else:
        write_tar(path, ("fine.txt", b""), (name, b""))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"which leads out of the folder .* Nothing was unpacked"):
        unpack_archive(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize(
    "member",
    [
        ("link", (tarfile.SYMTYPE, "../secret")),
        ("a/link", (tarfile.SYMTYPE, "../../secret")),
        ("link", (tarfile.SYMTYPE, "/etc/passwd")),
        ("link", (tarfile.LNKTYPE, "../secret")),
        ("device", (tarfile.CHRTYPE, "")),
    ],
)
def test_link_out_and_device_are_refused(tmp_path, member):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"holds a link .*out of the folder|is a device and no file"):
        unpack_archive(write_tar(tmp_path / "data.tar", ("fine.txt", b""), member), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_link_through_a_link_is_refused_by_where_it_leads(tmp_path):
    # Read as text "a/b/../../x" stays inside; but a/b is a link to the folder itself.
    path = write_tar(
        tmp_path / "data.tar",
        ("a/b", (tarfile.SYMTYPE, "..")),
        ("c", (tarfile.SYMTYPE, "a/b/../../secret")),
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack_archive(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_links_within_are_kept(tmp_path):
    path = write_tar(tmp_path / "data.tar", ("a/b.txt", b"one"), ("a/link.txt", (tarfile.SYMTYPE, "b.txt")))
    (tmp_path / "out").mkdir()
    unpack_archive(path, tmp_path / "out")
    assert (tmp_path / "out" / "a" / "link.txt").read_bytes() == b"one"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_truncated_archive_is_refused_and_leaves_nothing(tmp_path, kind, kept):
    path, content = tmp_path / f"data.{kind}", np.random.default_rng(0).bytes(10_000)
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("a.bin", content)
    else:
        write_tar(path, ("a.bin", content), mode="w:gz")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"(?s)data\.(zip|tar\.gz) cannot be (read|unpacked).*fetch it again"):
        unpack_archive(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_disk_that_is_too_small_is_told_before(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "data.tar", ("a.bin", bytes(5000)))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 4999}))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"holds 0\.0 GB, but the disk of .*/out has 0\.0 GB left"):
        unpack_archive(path, tmp_path / "out")
