"""Manifests that ship can be read; those that are malformed are refused with their name."""

import json

import pytest
import yaml

from brainpred.errors import ConfigError, DataError, ManifestError
from brainpred.recordings.fetch import dataset_file, dataset_files, dataset_folder, dataset_movies
from brainpred.recordings.manifest import (
    Download,
    Manifest,
    load_manifest,
    manifest_folder,
    manifest_names,
    manifest_schema,
)
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
RUN = {"name": "r1", "role": "train"}


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
    assert set(manifest_names()) == {
        "algonauts2021", "bold_moments", "haxby2001", "hcp_7t_movie", "mnist", "shortclips", "simulated", "vim2",
    }  # fmt: skip
    assert manifest_names() == sorted(manifest_names())
    assert load_manifest("haxby2001").tr_s == 2.5
    assert (manifest_folder() / "simulated.yaml").is_file()


@pytest.mark.parametrize("name", [*manifest_names(), "template"])
def test_manifest_that_ships_keeps_to_the_schema_of_the_docs(name):
    """By a check of its own, beside pydantic's: every entry is in the schema, with the type it says there."""
    schema = json.loads((manifest_folder() / "manifest.schema.json").read_text())
    content = yaml.safe_load((manifest_folder() / f"{name}.yaml").read_text())
    kinds = {"string": str, "number": (int, float), "integer": int, "array": list, "object": dict, "boolean": bool}

    def check(value, wanted):
        wanted = schema["$defs"][wanted["$ref"].rpartition("/")[2]] if "$ref" in wanted else wanted
        options = [option for option in wanted.get("anyOf", [wanted]) if option.get("type") != "null"]
        wanted = schema["$defs"][options[0]["$ref"].rpartition("/")[2]] if "$ref" in options[0] else options[0]
        assert isinstance(value, kinds[wanted["type"]]) if "type" in wanted else True
        assert value in wanted.get("enum", [value])
        for part in value if wanted.get("type") == "array" else ():
            check(part, wanted["items"])
        if "properties" in wanted:
            assert wanted["additionalProperties"] is False
            assert set(wanted["required"]) <= set(value) <= set(wanted["properties"])
            for key, part in value.items():
                check(part, wanted["properties"][key])

    check(content, schema)


def test_schema_of_the_docs_is_the_one_that_is_checked():
    text = (manifest_folder() / "manifest.schema.json").read_text()
    assert json.loads(text) == manifest_schema(), "write it again: python -m brainpred.recordings.manifest"
    for part in (manifest_schema(), *manifest_schema()["$defs"].values()):
        assert all(field["description"] for field in part["properties"].values())
    assert "in seconds" in manifest_schema()["properties"]["tr_s"]["description"]


def test_every_manifest_says_how_to_get_the_data_and_what_is_wrong_with_it():
    for name in set(manifest_names()) - {"simulated", "mnist"}:
        manifest = load_manifest(name)
        assert manifest.defects
        assert name in manifest.access
        assert manifest.downloads or "checksum" in manifest.access


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
        ({"doi": "somewhere"}, "doi"),
        ({"name": "../toy"}, "name"),
        ({"files": {"bold": "../bold.nii.gz"}}, r"files\.bold: '\.\./bold.nii.gz' leads out of the data set's folder"),
        ({"files": {"bold": "/data/bold.nii.gz"}}, "files.bold: .* leads out"),
        ({"mask": "a/../../mask.nii"}, "mask: .* leads out"),
        ({"stimuli": {"film": "../film.mp4"}}, "stimuli.film: .* leads out"),
        ({"rois": {"V1": "v1.nii"}, "atlas": {"image": "a.nii", "labels": "a.tsv"}}, "either rois or an atlas"),
        ({"atlas": {"image": "a.nii"}}, r"atlas\.labels: field required"),
        ({"frame_rate_hz": 0}, "frame_rate_hz"),
        ({"dummy_scans": -1}, "dummy_scans"),
        ({"runs": [RUN, RUN]}, "every run needs a name of its own, but there are several r1"),
        ({"runs": [{**RUN, "role": "rest"}]}, r"runs\.0\.role"),
        ({"runs": [{**RUN, "stimulus": "film"}]}, "run r1 shows film, but the stimuli are none"),
        ({"runs": [{**RUN, "session": "2"}], "sessions": ["1"]}, "run r1 is of session 2, but the sessions are 1"),
        ({"runs": [{**RUN, "onset_s": float("inf")}]}, "onset_s"),
        ({"kind": "pictures", **dict.fromkeys(OF_RECORDINGS), "stimuli": {"a": "a"}}, "kind pictures has no stimuli"),
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
            ConfigError, match=r"holds pictures and no recordings, .*'s1'\. .*recordings: .*haxby2001, .*simulated"
        ):
            load_recording(name, "s1")


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"name: [", b"name: toy\n", b"\xff\xfe\x00"])
def test_file_that_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "toy.yaml").write_bytes(content)
    with pytest.raises(ManifestError, match=r"toy\.yaml is malformed"):
        load_manifest(str(tmp_path / "toy.yaml"))


def test_message_is_one_line_that_says_what_was_found(tmp_path):
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(tmp_path, tr_s=-3, subjects=None))
    assert "tr_s: input should be greater than 0, received -3" in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert str(caught.value).endswith("template.yaml.")
    assert "\n" not in str(caught.value)


def test_files_are_found_in_the_folder_that_the_manifest_states(tmp_path):
    lab = tmp_path / "elsewhere"
    (lab / "s2" / "ses-1").mkdir(parents=True)
    (lab / "s2" / "ses-1" / "bold_L.gii").touch()
    toy = Manifest(**CONTENT | {"folder": str(lab), "files": {"bold": "{subject}/ses-1/bold_L.gii"}})
    assert dataset_folder(toy) == lab
    assert dataset_files(toy, "s2") == {"bold": lab / "s2" / "ses-1" / "bold_L.gii"}
    named = dataset_file(
        toy, "{subject}/ses-{session}/bold_{run}_{hemi}.gii", subject="s2", session="1", run="a", hemi="R"
    )
    assert named == lab / "s2" / "ses-1" / "bold_a_R.gii"
    with pytest.raises(DataError, match=r"toy/s1: missing .*s1/ses-1/bold_L\.gii\. Make it\."):
        dataset_files(toy, "s1")
    with pytest.raises(ManifestError, match=r"toy: the file name '\{task\}\.nii' may hold \{subject\}"):
        dataset_file(toy, "{task}.nii", subject="s1")


def test_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "data" / "toy" / "s1").mkdir(parents=True)
    (tmp_path / "secret.nii.gz").touch()
    (tmp_path / "data" / "toy" / "s1" / "bold.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    toy = Manifest(**CONTENT, stimuli={"film": "s1/film.mp4"})
    with pytest.raises(
        DataError, match=r"^toy/s1: .*bold.nii.gz is a link to .*secret.nii.gz, outside .* Put the file"
    ):
        dataset_files(toy, "s1", tmp_path / "data")
    (tmp_path / "data" / "toy" / "s1" / "film.mp4").symlink_to(tmp_path / "secret.nii.gz")
    with pytest.raises(DataError, match=r"^toy, clip film: .*film.mp4 is a link"):
        dataset_movies(toy, tmp_path / "data")


def test_folder_of_the_data_set_may_be_a_link_and_links_within_it_are_followed(tmp_path):
    (tmp_path / "disk" / "s1").mkdir(parents=True)
    (tmp_path / "disk" / "objects").touch()
    (tmp_path / "disk" / "s1" / "bold.nii.gz").symlink_to("../objects")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy").symlink_to(tmp_path / "disk")
    assert dataset_files(Manifest(**CONTENT), "s1", tmp_path / "data")["bold"].is_file()


def test_movies_are_addresses_below_the_folder_or_whole_paths(tmp_path):
    toy = Manifest(
        **CONTENT, folder=str(tmp_path), frame_rate_hz=15, stimuli={"a": "Stimuli.mat::st[5:65]", "b": "/film/b.mp4"}
    )
    a, b = dataset_movies(toy).values()
    assert (a.excerpts[0].path, a.excerpts[0].data_set, a.excerpts[0].fps) == (tmp_path / "Stimuli.mat", "st", 15)
    assert (a.excerpts[0].from_s, a.excerpts[0].duration_s) == (5, 60)
    assert str(b.excerpts[0].path) == "/film/b.mp4"


def test_reader_there_is_not_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ManifestError, match=r"toy: no reader 'minc'\. There are: simulated, attributes"):
        load_recording(write(tmp_path, reader="minc"), "s1")


def test_manifest_cannot_be_changed():
    manifest = Manifest(**CONTENT)
    with pytest.raises(ValueError, match="frozen"):
        manifest.tr_s = 3.0
