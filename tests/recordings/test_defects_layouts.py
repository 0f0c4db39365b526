"""Whatever is wrong with files of public data sets and arrays: one line, exit 1, nothing written."""

import json
import os
import pickle
import shutil

import h5py
import numpy as np
import pytest

from tests.recordings.damage import assert_says, change_hdf5, change_json, cut, save
from tests.recordings.layouts import write_algonauts, write_shortclips

# ------------------------------------------------------------------------------------ public data sets

VIM2, CLIPS = "VoxelResponses_sub-01.mat", "responses/sub-01_responses.hdf"


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_truncated_responses(refused, kept):
    message = refused("vim2", lambda folder: cut(folder / VIM2, kept))
    assert_says(message, "cannot read", VIM2, "Get it again: Ask the author.")


def test_responses_without_training(refused):
    message = refused("vim2", lambda folder: change_hdf5(folder / VIM2, rt=None))
    assert_says(message, VIM2, "lacks what it should hold", "rt", "Get it again")


def test_responses_that_are_no_equal_runs(refused):
    message = refused("vim2", lambda folder: None, options={"n_train_runs": 4})
    assert_says(message, VIM2, "holds 111 scans, which are not 4 runs of equal length", "n_train_runs")


def test_responses_of_another_grid(refused):
    message = refused("vim2", lambda folder: change_hdf5(folder / VIM2, roi__v1lh=np.ones((3, 5, 3))))
    assert_says(message, VIM2, "60 voxels in rt", "roi/v1lh is (3, 5, 3)", "Get it again")


def test_responses_with_another_repetition_time(refused):
    message = refused("vim2", lambda folder: change_hdf5(folder / VIM2, ei__TRsec=np.array([[2.0]])))
    assert_says(message, VIM2, "a repetition time of 2 s, the manifest 1.5 s", "Correct the manifest")


@pytest.mark.parametrize(
    ("kind", "file"), [("shortclips", CLIPS), ("algonauts", "sub-01_V1.pkl"), ("bdata", "sub-01.h5")]
)
def test_responses_that_datalad_has_not_got(refused, kind, file):
    def damage(folder):
        (folder / file).unlink()
        (folder / file).symlink_to("../" * file.count("/") + ".git/annex/objects/aa/MD5E-s123")

    message = refused(kind, damage)
    assert_says(message, f"{file} is a link to what is not there (of DataLad: datalad get", "Get it again")


def test_onsets_that_do_not_ascend(refused):
    message = refused("shortclips", lambda folder: change_hdf5(folder / CLIPS, run_onsets=np.array([0, 80, 37])))
    assert_says(message, "run_onsets of sub-01_responses.hdf must ascend from 0", "[0, 80, 37]", "Get it again")


def test_mapper_of_another_subject(refused):
    def damage(folder):
        write_shortclips(folder / "other", n_voxels=19)
        shutil.copy(folder / "other/mappers/sub-01_mapper.hdf", folder / "mappers/sub-01_mapper.hdf")

    message = refused("shortclips", damage)
    assert_says(
        message, "sub-01_mapper.hdf maps 19 voxels, but the responses have 17", "Take the mapper of this subject"
    )


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/brainpred-was-here",)


@pytest.mark.parametrize("kind", ["shortclips", "algonauts", "bdata"])
def test_image_that_cannot_choose_voxels(refused, kind):
    message = refused(kind, lambda folder: None, mask="mask.nii.gz")
    assert_says(message, "chosen by .npy or .txt files of numbers, not by mask.nii.gz")


@pytest.mark.parametrize(
    ("content", "words"),
    [(Evil(), "is refused (it would run"), ({"train": Evil()}, "is refused (it would run"),
     ({"train": np.array([[[{}]]], dtype=object)}, "holds arrays of objects (train)"), ([1, 2], "must hold a dict of"),
     ({"test": np.ones((3, 3, 2))}, "must hold an array train"),
     ({"train": np.ones((3, 2))}, "must hold an array train")],
)  # fmt: skip
def test_pickles_of_other_things_than_arrays(refused, content, words):
    def damage(folder):
        (folder / "sub-01_V1.pkl").write_bytes(pickle.dumps(content))

    assert_says(refused("algonauts", damage), "V1", words, "Get it again")
    assert not os.path.exists("/tmp/brainpred-was-here")


def test_truncated_pickle(refused):
    message = refused("algonauts", lambda folder: cut(folder / "sub-01_LOC.pkl"))
    assert_says(message, "sub-01_LOC.pkl", "Get it again")


def test_regions_of_other_videos(refused):
    message = refused("algonauts", lambda folder: write_algonauts(folder, n_videos=60, sizes=(("LOC", 11),)))
    assert_says(message, "V1 61 videos x 3 repeats, LOC 60 videos x 3 repeats", "Get it again")


@pytest.mark.parametrize("linked", ["videos", "videos/0033.mp4"])
def test_videos_outside_the_data_folder(refused, tmp_path, linked):
    def damage(folder):
        (tmp_path / "elsewhere").mkdir()
        (folder / "videos").mkdir()
        for number in range(61):
            (folder / "videos" / f"{number:04d}.mp4").touch()
        (folder / linked).rename(tmp_path / "elsewhere" / "moved")
        (folder / linked).symlink_to(tmp_path / "elsewhere" / "moved")

    message = refused("algonauts", damage, stimuli={"videos": "videos"})
    assert_says(message, linked, "is a link to", "elsewhere/moved, outside the data set's folder", "Put the file")


def test_bdata_without_runs(refused):
    def damage(folder):
        with h5py.File(folder / "sub-01.h5", "a") as file:
            file["metadata/value"][2] = np.nan

    assert_says(refused("bdata", damage), "sub-01.h5 has no column that its metadata call Run", "Add it")


@pytest.mark.parametrize(("column", "name"), [(19, "Session"), (20, "Run")])
@pytest.mark.parametrize("value", [np.nan, 2.5, np.inf])
def test_bdata_whose_runs_are_no_numbers(refused, column, name, value):
    def damage(folder):
        with h5py.File(folder / "sub-01.h5", "a") as file:
            file["dataset"][5, column] = value

    message = refused("bdata", damage)
    assert_says(
        message, f"the column {name} of sub-01.h5 must hold whole numbers, but sample 5 has {value}", "Repair it"
    )


def test_bdata_without_voxels(refused):
    message = refused("bdata", lambda folder: None, options={"voxels": "VoxelDataX"})
    assert_says(message, "sub-01.h5 marks no voxels as VoxelDataX", "VoxelData, Session, Run", "options: voxels")


# ------------------------------------------------------------------------------------------------ arrays


def test_array_of_objects(refused):
    def damage(folder):
        np.save(folder / "run-2.npy", np.array([[{}, 1], [2, 3]], dtype=object))

    assert_says(refused("arrays", damage), "run run-2: run-2.npy holds object, and no numbers. Save it anew")


def test_arrays_of_other_voxels(refused):
    def damage(folder):
        np.save(folder / "run-3.npy", np.load(folder / "run-3.npy").T)

    assert_says(refused("arrays", damage), "run run-3: run-3.npy has 31 voxels, run-1.npy has 13", "options: axes")


def test_array_of_one_dimension(refused):
    message = refused("arrays", lambda folder: np.save(folder / "run-2.npy", np.ones(9)))
    assert_says(message, "run run-2: run-2.npy must hold numbers in two dimensions", "(9,)", "run-2.npy::NAME")


def test_truncated_array(refused):
    message = refused("arrays", lambda folder: cut(folder / "run-2.npy"))
    assert_says(message, "run run-2: cannot read", "run-2.npy", "Get it again")


def test_archive_that_is_none(refused):
    assert_says(refused("sidecar", lambda folder: cut(folder / "all.npz")), "cannot read", "all.npz", "Get it again")


def test_several_arrays_and_no_name(refused):
    message = refused("sidecar", lambda folder: None, files={"bold": "all.npz", "sidecar": "all.json"})
    assert_says(message, "all.npz holds 2 arrays: bold (152, 13), other (2, 3)", "Name one, such as all.npz::bold")


def test_missing_sidecar(refused):
    message = refused("sidecar", lambda folder: (folder / "all.json").unlink())
    assert_says(message, "the sidecar", "all.json is missing", "Get it again")


def test_sidecar_of_another_length(refused):
    def damage(folder):
        runs = json.loads((folder / "all.json").read_text())["runs"]
        change_json(folder / "all.json", runs=[{**runs[0], "n_scans": 30}, *runs[1:]])

    message = refused("sidecar", damage)
    assert_says(message, "the runs of all.json have 145 scans together, all.npz has 152", "Correct n_scans")


@pytest.mark.parametrize(
    ("content", "words"),
    [({"RepetitionTime": 1500}, "a repetition time of 1500 s, the manifest 1.5 s"), ({"runs": []}, "runs: List should"),
     ({"runs": [{"name": "a", "n_scans": -3, "role": "test"}]}, "runs.0.n_scans: Input should be greater than 0")],
)  # fmt: skip
def test_sidecar_that_cannot_be(refused, content, words):
    message = refused("sidecar", lambda folder: change_json(folder / "all.json", **content))
    assert_says(message, "all.json", words, "Correct")


def test_image_of_other_voxels_than_the_arrays(refused):
    def damage(folder):
        save(np.ones((2, 3, 2), np.uint8), folder / "mask.nii.gz")

    message = refused("arrays", damage, files={"bold": "{run}.npy", "mask": "mask.nii.gz"})
    assert_says(
        message, "mask.nii.gz has 12 voxels above 0, but the arrays have 13", "Use the mask that they were made"
    )
