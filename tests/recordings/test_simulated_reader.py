"""A simulated subject comes back from the cache as it was written, and says so when it cannot."""

import json

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.errors import DataError
from brainpred.recordings.manifest import load_manifest
from brainpred.recordings.readers import load_recording
from brainpred.recordings.readers.simulated import is_written, read, subject_folder, write
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import Volume
from brainpred.stimulus import Movie

GRID = (3, 5, 2)
AFFINE = np.array([[3.0, 0, 0, -9], [0, 3, 0, 4], [0, 0, 3, 7], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("BRAINPRED_DATA", raising=False)
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def recording(cache):
    rng = np.random.default_rng(0)
    inside = (rng.random(GRID) < 0.6).astype(np.uint8)
    n_voxels = int(inside.sum())
    runs = [
        Run(name, role, rng.normal(1000, 10, (n_scans, n_voxels)).astype(np.float32), stimulus)
        for name, role, n_scans, stimulus in (
            ("train-02", "train", 7, "clip-02"),
            ("train-01", "train", 5, "clip-01"),
            ("test-01_repeat-01", "test", 11, "test-01"),
            ("test-01_repeat-02", "test", 11, "test-01"),
            ("rest", "train", 3, None),
        )
    ]
    clips = ("clip-01", "clip-02", "test-01")
    stimuli = {name: Movie.parse(cache / "simulated" / "stimuli" / f"{name}_key.mp4") for name in clips}
    rois = rng.choice(["rest", "early_visual", "lateral"], n_voxels)
    mask = nib.Nifti1Image(inside, AFFINE)
    return Recording("simulated", "sim07", 1.3, runs, Volume(mask), rois, stimuli, simulated=True)


@pytest.fixture
def truth(recording):
    n_voxels = recording.n_voxels
    return pd.DataFrame({"roi": recording.rois, "layer": ["R0", "none"] * (n_voxels // 2) + ["R1"] * (n_voxels % 2)})


def test_written_subject_comes_back(recording, truth, cache):
    assert not is_written("sim07")
    folder = write(recording, truth, {"strength": 0.7})
    assert folder == subject_folder("sim07") == cache / "simulated" / "sim07"
    assert is_written("sim07")
    back = load_recording("simulated", "sim07")
    assert (back.label, back.tr_s, back.simulated) == ("simulated/sim07", 1.3, True)
    assert dict(back.stimuli) == dict(recording.stimuli)
    assert [run.name for run in back.runs] == [run.name for run in recording.runs], "runs lost their order"
    for run, expected in zip(back.runs, recording.runs, strict=True):
        assert (run.name, run.role, run.stimulus) == (expected.name, expected.role, expected.stimulus)
        assert run.bold.dtype == np.float32
        np.testing.assert_array_equal(run.bold, expected.bold)
    np.testing.assert_array_equal(back.rois, recording.rois)
    np.testing.assert_array_equal(np.asarray(back.space.mask.dataobj), np.asarray(recording.space.mask.dataobj))
    np.testing.assert_array_equal(back.space.mask.affine, AFFINE)


def test_rois_truth_and_settings_lie_beside(recording, truth):
    folder = write(recording, truth, {"strength": 0.7})
    names = pd.read_csv(folder / "rois.tsv", sep="\t").set_index("index")["name"]
    labels = np.asarray(nib.load(folder / "rois.nii.gz").dataobj)
    inside = np.asarray(recording.space.mask.dataobj) > 0
    assert [names[label] for label in labels[inside]] == recording.rois.tolist()
    assert not labels[~inside].any()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "truth.tsv", sep="\t"), truth, check_dtype=False)
    with h5py.File(folder / "recording.h5") as file:
        assert json.loads(file.attrs["settings"]) == {"strength": 0.7}
        assert bool(file.attrs["simulated"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "mask.nii.gz", "recording.h5", "rois.nii.gz", "rois.tsv", "truth.tsv",
    ]  # fmt: skip


def test_folder_may_be_named(recording, truth, tmp_path, cache):
    (tmp_path / "data").mkdir()
    folder = write(recording, truth, {}, tmp_path / "data")
    assert folder == tmp_path / "data" / "simulated" / "sim07"
    assert not cache.exists()
    back = read(load_manifest("simulated"), "sim07", tmp_path / "data")
    assert back.stimuli["clip-01"].excerpts[0].path == tmp_path / "data" / "simulated" / "stimuli" / "clip-01_key.mp4"


def test_subject_that_was_not_made_is_refused_with_the_remedy():
    with pytest.raises(DataError, match=r"simulated/sim09: not found.*brainpred data simulate --subject sim09"):
        load_recording("simulated", "sim09")


@pytest.mark.parametrize("name", ["recording.h5", "mask.nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6])
def test_damaged_subject_is_refused_with_the_remedy(recording, truth, name, kept):
    path = write(recording, truth, {}) / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"simulated/sim07: damaged files.*--subject sim07 --overwrite"):
        load_recording("simulated", "sim07")


@pytest.mark.parametrize("lacking", ["rois", "runs/rest", "run_order", "stimuli", "tr_s"])
def test_subject_that_lacks_something_is_refused_with_the_remedy(recording, truth, lacking):
    folder = write(recording, truth, {})
    with h5py.File(folder / "recording.h5", "a") as file:
        if lacking in file:
            del file[lacking]
        else:
            del file.attrs[lacking]
    with pytest.raises(DataError, match="simulated/sim07: damaged files"):
        load_recording("simulated", "sim07")


def test_mask_of_another_subject_is_refused(recording, truth):
    folder = write(recording, truth, {})
    nib.save(nib.Nifti1Image(np.ones(GRID, np.uint8), AFFINE), folder / "mask.nii.gz")
    with pytest.raises(DataError, match="expected one ROI label for each of 30 voxels"):
        load_recording("simulated", "sim07")


def test_interrupted_write_is_not_taken_for_a_subject(recording, truth):
    with pytest.raises(TypeError):
        write(recording, truth, {"settings": object()})
    assert not is_written("sim07")
