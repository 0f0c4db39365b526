"""Downloads come whole and checked, once; a failed one leaves nothing and says what to do."""

import gc
import hashlib
import io
import re
import socket
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

from brainpred.errors import ConfigError, DataError
from brainpred.recordings.fetch import fetch_dataset
from brainpred.recordings.manifest import load_manifest

CONTENT = {"a.npz": bytes(range(256)) * 700, "b.txt": b"few words\n"}


class _Files(BaseHTTPRequestHandler):
    """Serve CONTENT, and note what was asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        content = {**CONTENT, **self.server.more}.get(self.path.strip("/"))
        begins = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if content is not None and begins and self.server.gives_parts:
            part = content[int(begins[1]) :]
            self.send_response(206 if part else 416)
            self.send_header("Content-Length", str(len(part)))
            self.server.sent.append(len(part))
            self.end_headers()
            self.wfile.write(part)
        elif self.path == "/short":  # ends before the end it has promised
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        elif content is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.server.sent.append(len(content))
            self.end_headers()
            self.wfile.write(content[: self.server.breaks_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """Serve files on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), _Files) as serving:
        serving.asked, serving.sent, serving.more, serving.gives_parts = [], [], {}, True
        serving.breaks_after = None
        serving.address = f"http://127.0.0.1:{serving.server_address[1]}"
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def manifest(folder, address, names=tuple(CONTENT), **changed):
    """Write a manifest of downloads; ``changed`` gives entries of the last one."""
    downloads = [{"file": name, "url": f"{address}/{name}", "sha256": sha256(CONTENT[name])} for name in names]
    downloads[-1] |= changed
    content = {
        "name": "toy", "kind": "pictures", "title": "A toy", "licence": "none", "citation": "nobody",
        "access": "Draw it.", "downloads": downloads,
    }  # fmt: skip
    (folder / "toy.yaml").write_text(yaml.safe_dump(content))
    return load_manifest(str(folder / "toy.yaml"))


class Bars:
    """Note how bars move."""

    def __init__(self):
        self.bars, self.steps = [], []

    def task(self, description, total):
        self.bars.append((description, total))
        return self

    def __enter__(self):
        self.steps.append([])
        return self.steps[-1].append

    def __exit__(self, *arguments):
        pass


def test_every_file_is_downloaded_once(server, data, tmp_path):
    toy = manifest(tmp_path, server.address)
    bars = Bars()
    done = fetch_dataset(toy, data, bars)
    assert done == {data / "toy" / "a.npz": "downloaded", data / "toy" / "b.txt": "downloaded"}
    assert {path.name: path.read_bytes() for path in (data / "toy").iterdir()} == CONTENT
    assert server.asked == ["/a.npz", "/b.txt"]
    assert bars.bars == [("Downloading a.npz", 100), ("Downloading b.txt", 100)]
    for steps in bars.steps:
        assert sum(steps) == pytest.approx(100)
    assert len(bars.steps[0]) > 2
    again = fetch_dataset(toy, data, bars)
    assert again == dict.fromkeys(done, "already there")
    assert server.asked == ["/a.npz", "/b.txt"]
    assert len(bars.bars) == 2


def test_only_what_is_missing_is_downloaded(server, data, tmp_path):
    toy = manifest(tmp_path, server.address)
    fetch_dataset(toy, data)
    (data / "toy" / "b.txt").unlink()
    assert list(fetch_dataset(toy, data).values()) == ["already there", "downloaded"]
    assert server.asked == ["/a.npz", "/b.txt", "/b.txt"]


def test_file_put_there_by_hand_is_left_alone(server, data, tmp_path):
    (data / "toy").mkdir()
    (data / "toy" / "a.npz").write_bytes(b"packed otherwise")
    done = fetch_dataset(manifest(tmp_path, server.address), data)
    assert list(done.values()) == ["already there, with another checksum", "downloaded"]
    assert (data / "toy" / "a.npz").read_bytes() == b"packed otherwise"
    assert server.asked == ["/b.txt"]


def test_folder_is_not_touched_where_everything_is_there(data, tmp_path, monkeypatch):
    toy = manifest(tmp_path, "http://127.0.0.1:9")
    (data / "toy").mkdir()
    for name, content in CONTENT.items():
        (data / "toy" / name).write_bytes(content)

    def refuse(path):
        raise AssertionError(f"{path} may be read-only")

    monkeypatch.setattr("brainpred.recordings.fetch.output_folder", refuse)
    assert set(fetch_dataset(toy, data).values()) == {"already there"}


def test_downloaded_file_is_as_open_as_its_folder(server, data, tmp_path):
    (data / "toy").mkdir()
    (data / "toy").chmod(0o750)
    fetch_dataset(manifest(tmp_path, server.address, ["b.txt"]), data)
    assert stat.S_IMODE((data / "toy" / "b.txt").stat().st_mode) == 0o640


def test_cache_takes_it_where_no_folder_is_named(server, tmp_path, monkeypatch):
    monkeypatch.delenv("BRAINPRED_DATA", raising=False)
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    fetch_dataset(manifest(tmp_path, server.address, ["b.txt"]))
    assert (tmp_path / "cache" / "toy" / "b.txt").read_bytes() == CONTENT["b.txt"]


def test_another_file_than_expected_is_refused(server, data, tmp_path):
    toy = manifest(tmp_path, server.address, ["b.txt"], sha256="0" * 64)
    with pytest.raises(DataError) as caught:
        fetch_dataset(toy, data)
    message = str(caught.value)
    for part in (f"{server.address}/b.txt", "0" * 64, sha256(CONTENT["b.txt"]), str(data / "toy"), "by hand"):
        assert part in message
    assert "\n" not in message
    assert list(data.iterdir()) == []


def _closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")  # requests does not close a broken connection
@pytest.mark.parametrize(
    ("path", "reason"), [("none.txt", "404 Client Error"), ("short", "990 more expected"), (None, "refused")]
)
def test_failed_download_says_where_from_where_to_and_leaves_nothing(server, data, tmp_path, path, reason):
    url = f"{server.address}/{path}" if path else f"http://127.0.0.1:{_closed_port()}/b.txt"
    toy = manifest(tmp_path, server.address, ["b.txt"], url=url)
    with pytest.raises(DataError, match=rf"Cannot download {re.escape(url)} \(.*{reason}.*\)\. .*by hand") as caught:
        fetch_dataset(toy, data)
    assert f"put it into {data / 'toy'} by hand" in str(caught.value)
    assert list(data.iterdir()) == []
    del caught
    gc.collect()


def test_files_before_the_one_that_failed_are_kept(server, data, tmp_path):
    with pytest.raises(DataError, match=r"b\.txt"):
        fetch_dataset(manifest(tmp_path, server.address, sha256="1" * 64), data)
    assert [path.name for path in (data / "toy").iterdir()] == ["a.npz"]
    assert list(fetch_dataset(manifest(tmp_path, server.address), data).values()) == ["already there", "downloaded"]


@pytest.mark.parametrize("name", ["haxby2001", "simulated"])
def test_data_set_without_downloads_says_how_to_get_it(name, data):
    known = load_manifest(name)
    with pytest.raises(ConfigError, match=rf"{name} is not for brainpred to download\. {re.escape(known.access[:30])}"):
        fetch_dataset(known, data)
    assert list(data.iterdir()) == []


def test_mnist_names_one_file_where_it_is_looked_for(data, monkeypatch):
    from brainpred.studies.train_aligndraw import find_digits

    mnist = load_manifest("mnist")
    (download,) = mnist.downloads
    assert (mnist.kind, download.file) == ("pictures", "mnist.npz")
    asked = []
    monkeypatch.setattr("brainpred.movies.scenes.load_digits", asked.append)
    find_digits(data=data)
    (data / "mnist").mkdir()
    (data / "mnist" / download.file).write_bytes(b"")
    find_digits(data=data)
    assert asked == [None, data / "mnist" / "mnist.npz"]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")
def test_what_has_come_of_a_broken_download_is_kept_under_a_name_that_nothing_reads(server, data, tmp_path):
    server.breaks_after = 150_000
    toy = manifest(tmp_path, server.address, ["a.npz"])
    with pytest.raises(DataError, match="more expected"):
        fetch_dataset(toy, data)
    (part,) = (data / "toy").iterdir()
    assert part.name == ".part-a.npz"
    n_there = part.stat().st_size
    assert 0 < n_there <= 150_000
    server.breaks_after = None
    fetch_dataset(toy, data)
    assert {path.name: path.read_bytes() for path in (data / "toy").iterdir()} == {"a.npz": CONTENT["a.npz"]}
    assert server.sent[1:] == [len(CONTENT["a.npz"]) - n_there]
    gc.collect()


@pytest.mark.parametrize("gives_parts", [True, False])
def test_broken_download_is_gone_on_with(server, data, tmp_path, gives_parts):
    server.gives_parts = gives_parts
    (data / "toy").mkdir()
    (data / "toy" / ".part-a.npz").write_bytes(CONTENT["a.npz"][:100_000])
    bars = Bars()
    toy = manifest(tmp_path, server.address, ["a.npz"])
    assert list(fetch_dataset(toy, data, bars).values()) == ["downloaded"]
    assert {path.name: path.read_bytes() for path in (data / "toy").iterdir()} == {"a.npz": CONTENT["a.npz"]}
    assert server.sent == [len(CONTENT["a.npz"]) - (100_000 if gives_parts else 0)]
    assert sum(bars.steps[0]) == pytest.approx(100)


def test_whole_part_is_taken(server, data, tmp_path):
    (data / "toy").mkdir()
    (data / "toy" / ".part-b.txt").write_bytes(CONTENT["b.txt"])
    fetch_dataset(manifest(tmp_path, server.address, ["b.txt"]), data)
    assert {path.name: path.read_bytes() for path in (data / "toy").iterdir()} == {"b.txt": CONTENT["b.txt"]}
    assert server.sent == [0]


def test_part_of_another_file_is_thrown_away(server, data, tmp_path):
    (data / "toy").mkdir()
    (data / "toy" / ".part-b.txt").write_bytes(b"other")
    toy = manifest(tmp_path, server.address, ["b.txt"])
    with pytest.raises(DataError, match="gave another file than expected"):
        fetch_dataset(toy, data)
    assert list(data.rglob("*b.txt")) == []
    assert list(fetch_dataset(toy, data).values()) == ["downloaded"]


def pack(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return content.getvalue()


def archive_manifest(server, tmp_path, content):
    server.more["data.zip"] = content
    return manifest(
        tmp_path, server.address, ["b.txt"],
        file="data.zip", url=f"{server.address}/data.zip", sha256=sha256(content), unpack=True,
    )  # fmt: skip


def test_archives_are_unpacked_and_only_what_is_missing_again(server, data, tmp_path):
    toy = archive_manifest(server, tmp_path, pack(**{"sub-1/bold.nii": "bold", "sub-1/mask.nii": "mask"}))
    assert list(fetch_dataset(toy, data).values()) == ["downloaded and unpacked"]
    folder = data / "toy"
    assert (folder / "sub-1" / "bold.nii").read_text() == "bold"
    assert sorted(item.name for item in folder.rglob("*")) == ["bold.nii", "data.zip", "mask.nii", "sub-1"]
    assert list(fetch_dataset(toy, data).values()) == ["already there"]
    (folder / "sub-1" / "bold.nii").unlink()
    (folder / "sub-1" / "mask.nii").write_text("my own")
    fetch_dataset(toy, data)
    assert (folder / "sub-1" / "bold.nii").read_text() == "bold"
    assert (folder / "sub-1" / "mask.nii").read_text() == "my own"
    assert server.asked == ["/data.zip"]


def test_archive_that_writes_elsewhere_is_not_unpacked(server, data, tmp_path):
    toy = archive_manifest(server, tmp_path, pack(**{"fine.txt": "a", "../../outside.txt": "b"}))
    with pytest.raises(DataError, match=r"data\.zip holds the name '\.\./\.\./outside\.txt', which leads out"):
        fetch_dataset(toy, data)
    assert [item.name for item in (data / "toy").iterdir()] == ["data.zip"]
    assert not (tmp_path / "outside.txt").exists()
