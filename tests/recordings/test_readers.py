"""Scans in PyMVPA's layout come as they lie in the files; files that do not belong together are refused."""

import re

import nibabel as nib
import numpy as np
import pytest
import yaml

from brainpred.errors import ConfigError, DataError
from brainpred.recordings.readers import load_recording

GRID, N_SCANS = (3, 5, 2), 17
AFFINE = np.array([[2.0, 0, 0, -9], [0, 3, 0, 4], [0, 0, 1.5, 7], [0, 0, 0, 1]])
RUNS = [0] * 5 + [1] * 7 + [4] * 5


def attributes(runs=RUNS, header="labels chunks\n"):
    return header + "".join(f"face {run}\n" for run in runs)


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """Write a toy data set of one subject, and give its manifest's path and its folder."""
    monkeypatch.setenv("BRAINPRED_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "toy" / "s1"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    volume = rng.normal(1000, 10, (*GRID, N_SCANS)).astype(np.float32)
    inside = (rng.random(GRID) < 0.5).astype(np.uint8)
    nib.save(nib.Nifti1Image(volume, AFFINE), folder / "bold.nii.gz")
    nib.save(nib.Nifti1Image(inside, AFFINE), folder / "mask.nii.gz")
    (folder / "attributes.txt").write_text(attributes())
    manifest = {
        "name": "toy", "title": "A toy", "licence": "none", "citation": "nobody", "access": "Ask the author.",
        "reader": "attributes", "subjects": ["s1", "s2"], "tr_s": 2.5,
        "files": {
            "bold": "{subject}/bold.nii.gz", "mask": "{subject}/mask.nii.gz", "attributes": "{subject}/attributes.txt",
        },
    }  # fmt: skip
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(manifest))
    return str(tmp_path / "toy.yaml"), folder


def read_all(manifest):
    """Read every run, as a command does before it writes anything."""
    recording = load_recording(manifest, "s1")
    return [recording.read_run(run) for run in recording.runs]


@pytest.mark.parametrize("header", ["labels chunks\n", "", "\n"])
def test_scans_come_as_they_lie_in_the_files(layout, header):
    manifest, folder = layout
    (folder / "attributes.txt").write_text(attributes(header=header))
    recording = load_recording(manifest, "s1")
    volume = np.asarray(nib.load(folder / "bold.nii.gz").dataobj)
    inside = np.asarray(nib.load(folder / "mask.nii.gz").dataobj)
    assert (recording.label, recording.tr_s, recording.simulated) == ("toy/s1", 2.5, False)
    assert [run.name for run in recording.runs] == ["run-01", "run-02", "run-05"]
    assert [run.n_scans for run in recording.runs] == [5, 7, 5]
    assert all(run.role == "train" and run.stimulus is None for run in recording.runs)
    scan = 0
    for run in recording.runs:
        assert run.bold.dtype == np.float32
        for row in recording.read_run(run):
            expected = [volume[i, j, k, scan] for i, j, k in np.ndindex(*GRID) if inside[i, j, k]]
            assert row.tolist() == expected
            scan += 1
    assert scan == N_SCANS
    np.testing.assert_array_equal(recording.space.mask.affine, AFFINE)
    np.testing.assert_array_equal(np.asarray(recording.space.mask.dataobj), inside)
    assert len(recording.rois) == recording.n_voxels == inside.sum()


def test_folder_may_be_named(layout, monkeypatch, tmp_path):
    manifest, _ = layout
    monkeypatch.delenv("BRAINPRED_DATA")
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "nothing"))
    assert load_recording(manifest, "s1", tmp_path / "data").label == "toy/s1"
    with pytest.raises(DataError, match="missing"):
        load_recording(manifest, "s1")
    with pytest.raises(ConfigError, match=r"data folder .*elsewhere does not exist"):
        load_recording(manifest, "s1", tmp_path / "elsewhere")


@pytest.mark.parametrize("grid", [(3, 5, 1), (5, 3, 2), (2, 3, 5)])
def test_mask_of_another_grid_is_refused(layout, grid):
    manifest, folder = layout
    nib.save(nib.Nifti1Image(np.ones(grid, np.uint8), AFFINE), folder / "mask.nii.gz")
    with pytest.raises(DataError, match=re.escape(f"the grid of mask.nii.gz is {grid}, that of bold.nii.gz (3, 5, 2)")):
        load_recording(manifest, "s1")


@pytest.mark.parametrize("n_lines", [0, 16, 18])
def test_attributes_of_another_number_are_refused(layout, n_lines):
    manifest, folder = layout
    (folder / "attributes.txt").write_text(attributes(np.resize(RUNS, n_lines)))
    with pytest.raises(DataError, match=rf"attributes\.txt labels {n_lines} scans, but the image has 17"):
        load_recording(manifest, "s1")


@pytest.mark.parametrize("line", ["face\n", "face one\n", "3\n"])
def test_attributes_that_name_no_run_are_refused(layout, line):
    manifest, folder = layout
    (folder / "attributes.txt").write_text("labels chunks\n" + line * N_SCANS)
    with pytest.raises(DataError, match=r"toy/s1: .*Ask the author"):
        load_recording(manifest, "s1")


@pytest.mark.parametrize("name", ["bold.nii.gz", "mask.nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.8])
def test_truncated_image_is_refused(layout, name, kept):
    manifest, folder = layout
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=rf"toy/s1.*: cannot read .*{name} .*Get it again: Ask the author"):
        read_all(manifest)


@pytest.mark.parametrize("damage", ["one bit", "second half"])
def test_image_whose_compressed_content_is_damaged_is_refused(layout, damage):
    manifest, folder = layout
    content = bytearray((folder / "bold.nii.gz").read_bytes())
    middle = len(content) // 2
    if damage == "one bit":
        content[middle] ^= 0x10
    else:
        content[middle:] = b"\xff" * (len(content) - middle)
    (folder / "bold.nii.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"toy/s1, run run-\d\d: cannot read .*bold\.nii\.gz"):
        read_all(manifest)


def test_scan_with_a_broken_voxel_is_refused(layout):
    manifest, folder = layout
    inside = np.asarray(nib.load(folder / "mask.nii.gz").dataobj)
    volume = np.asarray(nib.load(folder / "bold.nii.gz").dataobj).copy()
    volume[(*np.argwhere(inside)[3], 6)] = np.nan
    nib.save(nib.Nifti1Image(volume, AFFINE), folder / "bold.nii.gz")
    with pytest.raises(
        DataError, match=r"toy/s1, run run-02 \(bold\.nii\.gz\): 1 of \d+ voxels hold NaN .*the first is voxel 3"
    ):
        read_all(manifest)


@pytest.mark.parametrize("names", [["mask.nii.gz"], ["bold.nii.gz", "attributes.txt"]])
def test_missing_files_are_named_with_how_to_get_them(layout, names):
    manifest, folder = layout
    for name in names:
        (folder / name).unlink()
    with pytest.raises(DataError, match=r"toy/s1: .* is missing\. Ask the author\.") as caught:
        load_recording(manifest, "s1")
    for name in ("bold.nii.gz", "mask.nii.gz", "attributes.txt"):
        assert (str(folder / name) in str(caught.value)) == (name in names)


@pytest.mark.parametrize("subject", ["s3", "sim01", ""])
def test_unknown_subject_is_refused_with_those_there_are(layout, subject):
    manifest, _ = layout
    with pytest.raises(ConfigError, match=f"Unknown subject '{subject}' in data set toy. It has: s1, s2"):
        load_recording(manifest, subject)


def test_unknown_simulated_subject_is_refused_with_what_they_are_called():
    with pytest.raises(ConfigError, match="Simulated subjects are named sim01, sim02, sim03"):
        load_recording("simulated", "sub001")
