"""Manifests that ship can be read; those that are malformed are refused with their name."""

import pytest
import yaml

from brainpred.errors import ConfigError, ManifestError
from brainpred.recordings.manifest import Download, Manifest, load_manifest, manifest_folder, manifest_names
from brainpred.recordings.readers import READERS, load_recording

CONTENT = {
    "name": "toy",
    "title": "A toy",
    "licence": "none",
    "citation": "nobody",
    "access": "Make it.",
    "reader": "attributes",
    "subjects": ["s1", "s2"],
    "tr_s": 1.7,
    "files": {"bold": "{subject}/bold.nii.gz"},
}
DOWNLOAD = {"file": "toy.npz", "url": "https://example.org/toy.npz", "sha256": "0123456789abcdef" * 4}
OF_RECORDINGS = ("reader", "subjects", "tr_s", "files")


def write(folder, **changes):
    """Write the toy manifest with some entries changed, or left out where they are None."""
    content = {key: value for key, value in {**CONTENT, **changes}.items() if value is not None}
    (folder / "toy.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "toy.yaml")


@pytest.mark.parametrize("name", manifest_names())
def test_manifest_that_ships_can_be_read(name):
    manifest = load_manifest(name)
    assert manifest.name == name
    if manifest.kind == "recording":
        assert manifest.reader in READERS
        assert manifest.subjects
        assert manifest.tr_s > 0
    else:
        assert not any((manifest.reader, manifest.subjects, manifest.tr_s, manifest.files))
    assert all((manifest.title, manifest.licence, manifest.citation, manifest.access))


def test_simulated_and_measured_data_sets_ship():
    assert {"haxby2001", "mnist", "simulated"} <= set(manifest_names())
    assert manifest_names() == sorted(manifest_names())
    assert load_manifest("haxby2001").tr_s == 2.5
    assert (manifest_folder() / "simulated.yaml").is_file()


def test_unknown_name_is_refused_with_those_known():
    with pytest.raises(ConfigError, match=r"Unknown data set 'vim3'\. Known: .*haxby2001, .*simulated"):
        load_manifest("vim3")
    with pytest.raises(ConfigError, match="Unknown data set"):
        load_manifest("nowhere/toy.yaml")


def test_manifest_of_ones_own_is_read_from_its_path(tmp_path):
    manifest = load_manifest(write(tmp_path))
    assert manifest == Manifest(**CONTENT)
    assert manifest.doi is None
    assert manifest.notes == ""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"citations": "two"}, "citations"),  # a key there is not
        ({"licence": None}, "licence"),
        ({"tr_s": 0}, "tr_s"),
        ({"tr_s": "fast"}, "tr_s"),
        ({"subjects": []}, "subjects"),
        ({"subjects": "s1"}, "subjects"),
        ({"files": ["bold.nii"]}, "files"),
        ({"reader": None, "tr_s": None}, "kind recording must state reader, tr_s"),
        ({"kind": "recording", "subjects": None}, "kind recording must state subjects"),
        ({"kind": "pictures"}, "kind pictures has no reader, subjects, tr_s, files"),
        ({"kind": "music"}, "kind"),
        ({"downloads": DOWNLOAD}, "downloads"),
        ({"downloads": [{**DOWNLOAD, "file": "../toy.npz"}]}, "file"),
        ({"downloads": [{**DOWNLOAD, "file": "..", "url": "https://example.org"}]}, "file"),
        ({"downloads": [{**DOWNLOAD, "url": "file:///toy.npz"}]}, "url"),
        ({"downloads": [{**DOWNLOAD, "sha256": "0123"}]}, "sha256"),
        ({"downloads": [{**DOWNLOAD, "md5": "0123"}]}, "md5"),
    ],
)
def test_malformed_manifest_is_refused(tmp_path, changes, word):
    with pytest.raises(ManifestError, match=rf"toy\.yaml is malformed[\s\S]*{word}"):
        load_manifest(write(tmp_path, **changes))


def test_pictures_need_neither_subjects_nor_a_reader(tmp_path):
    manifest = load_manifest(write(tmp_path, kind="pictures", downloads=[DOWNLOAD], **dict.fromkeys(OF_RECORDINGS)))
    assert (manifest.kind, manifest.subjects, manifest.reader) == ("pictures", [], "")
    assert manifest.downloads == [Download(**DOWNLOAD)]


def test_recordings_may_be_downloads_too(tmp_path):
    manifest = load_manifest(write(tmp_path, downloads=[DOWNLOAD, {**DOWNLOAD, "file": "more.npz"}]))
    assert [download.file for download in manifest.downloads] == ["toy.npz", "more.npz"]
    assert manifest.kind == "recording"


def test_pictures_are_no_recordings(tmp_path):
    path = write(tmp_path, kind="pictures", **dict.fromkeys(OF_RECORDINGS))
    for name in (path, "mnist"):
        with pytest.raises(
            ConfigError, match=r"holds pictures and no recordings, .*'s1'\. .*recordings: haxby2001, simulated\."
        ):
            load_recording(name, "s1")


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"name: [", b"name: toy\n", b"\xff\xfe\x00"])
def test_file_that_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "toy.yaml").write_bytes(content)
    with pytest.raises(ManifestError, match=r"toy\.yaml is malformed"):
        load_manifest(str(tmp_path / "toy.yaml"))


def test_reader_there_is_not_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ManifestError, match=r"toy: no reader 'bids'\. There are: simulated, attributes"):
        load_recording(write(tmp_path, reader="bids"), "s1")


def test_manifest_cannot_be_changed():
    manifest = Manifest(**CONTENT)
    with pytest.raises(ValueError, match="frozen"):
        manifest.tr_s = 3.0
