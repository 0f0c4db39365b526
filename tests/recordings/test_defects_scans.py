"""Whatever is wrong with scans of BIDS: one line of data set, run, file and remedy; exit 1; nothing written."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from tests.recordings.damage import assert_says, change_image, change_json, cut, save
from tests.recordings.layouts import AFFINE, GRID, LENGTHS, grayordinate_axis, write_cifti, write_gifti

FUNC = "derivatives/fmriprep/sub-01/func/sub-01_task-movie_"
BOLD, MASK = "_space-T1w_desc-preproc_bold.nii.gz", "_space-T1w_desc-brain_mask.nii.gz"
EVENTS = "sub-01/func/sub-01_task-movie_{}_events.tsv"


# ---------------------------------------------------------------------------------- volumes, their files


def test_truncated_scan(refused):
    message = refused("volume", lambda folder: cut(folder / f"{FUNC}run-2{BOLD}"))
    assert_says(message, "run run-2: cannot read", f"run-2{BOLD}", "Get it again: Ask the author.")


def test_scan_with_one_wrong_bit(refused):
    def damage(folder):
        path = folder / f"{FUNC}run-3{BOLD}"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)

    assert_says(refused("volume", damage), "run run-3: cannot read", f"run-3{BOLD}", "Get it again")


def test_scan_that_is_no_image(refused):
    message = refused("volume", lambda folder: (folder / f"{FUNC}run-1{BOLD}").write_text("<html>404</html>"))
    assert_says(message, "run run-1: cannot read", f"run-1{BOLD}", "Get it again")


def test_scan_of_three_dimensions(refused):
    message = refused("volume", lambda folder: save(np.ones(GRID, np.float32), folder / f"{FUNC}run-2{BOLD}"))
    assert_says(message, "run run-2:", f"run-2{BOLD} must hold scans in a fourth dimension", "(5, 3, 4)")


def test_mask_with_another_affine(refused):
    affine = AFFINE.copy()
    affine[0, 3] += 3
    message = refused("volume", lambda folder: change_image(folder / f"{FUNC}run-2{MASK}", np.copy, affine))
    assert_says(message, "run run-2: the affine of", f"run-2{MASK}", "by up to 3 mm", "Use the mask that belongs")


def test_mask_of_another_grid(refused):
    def damage(folder):
        save(np.ones((5, 4, 3), np.uint8), folder / f"{FUNC}run-4{MASK}")

    message = refused("volume", damage)
    assert_says(message, "run run-4: the grid of", f"run-4{MASK} is (5, 4, 3)", "(5, 3, 4)", "Use the mask")


def test_run_on_another_grid(refused):
    def damage(folder):
        save(np.ones((5, 3, 2, 43), np.float32), folder / f"{FUNC}run-2{BOLD}")

    assert_says(refused("volume", damage), "run run-2: the grid of", "(5, 3, 2)", "(5, 3, 4)", "resample")


def test_missing_brain_mask(refused):
    message = refused("volume", lambda folder: (folder / f"{FUNC}run-2{MASK}").unlink())
    assert_says(message, "run run-2: fMRIPrep's brain mask", "is missing", "state a mask in the manifest")


def test_empty_mask(refused):
    def damage(folder):
        save(np.zeros(GRID, np.uint8), folder / "mask.nii.gz")

    assert_says(refused("volume", damage, mask="mask.nii.gz"), "leave no voxel of 60", "Check them")


def test_voxels_that_are_no_numbers(refused, toys):
    def damage(folder):
        inside = np.argwhere(np.asarray(nib.load(folder / f"{FUNC}run-2{MASK}").dataobj))

        def spoil(values):
            values[(*inside[4], 7)] = np.nan
            values[(*inside[9], 2)] = np.inf

        change_image(folder / f"{FUNC}run-2{BOLD}", spoil)

    message = refused("volume", damage)
    assert_says(message, f"run run-2 (sub-01_task-movie_run-2{BOLD}): 2 of", "the first is voxel 4", "Leave them out")


def test_run_without_any_signal(refused):
    def spoil(values):
        values[:] = 700

    message = refused("volume", lambda folder: change_image(folder / f"{FUNC}run-3{BOLD}", spoil))
    assert_says(message, "run run-3 (", "no voxel varies over its 31 scans", "the right one")


def test_repetition_time_in_milliseconds(refused):
    message = refused(
        "volume",
        lambda folder: change_json(folder / "sub-01/func/sub-01_task-movie_run-2_bold.json", RepetitionTime=1500),
    )
    assert_says(message, "run run-2:", "1500 s, the manifest 1.5 s", "looks like milliseconds", "Correct the one")


def test_another_repetition_time(refused):
    message = refused(
        "volume",
        lambda folder: change_json(folder / "sub-01/func/sub-01_task-movie_run-2_bold.json", RepetitionTime=2.0),
    )
    assert_says(message, "run run-2:", "2 s, the manifest 1.5 s. Correct the one")


def test_missing_json(refused):
    message = refused("volume", lambda folder: (folder / "sub-01/func/sub-01_task-movie_run-4_bold.json").unlink())
    assert_says(message, "run run-4: no JSON file states the repetition time", "run-4_bold.json", "check_tr: false")


def test_damaged_json(refused):
    message = refused("volume", lambda folder: cut(folder / "sub-01/func/sub-01_task-movie_run-4_bold.json"))
    assert_says(message, "run run-4: cannot read", "run-4_bold.json", "Get it again, or correct it")


def test_run_that_is_listed_and_not_there(refused):
    def damage(folder):
        for path in folder.glob(f"{FUNC}run-2*"):
            path.unlink()

    message = refused("volume", damage)
    assert_says(message, "run run-2: the manifest lists it", "holds run-1, run-3, run-4 alone", "take it out of the")


def test_subject_without_derivatives(refused):
    message = refused("volume", lambda folder: shutil.rmtree(folder / "derivatives"))
    assert_says(message, "derivatives/fmriprep/sub-01 does not exist", "state options: derivatives")


def test_task_that_nobody_did(refused):
    message = refused("volume", lambda folder: None, options={"task": "rest"})
    assert_says(message, "no volume runs of task rest in", "Check options: task and kind")


def test_several_spaces(refused):
    def damage(folder):
        for path in folder.glob(f"{FUNC}*{BOLD}"):
            shutil.copy(path, str(path).replace("space-T1w", "space-MNI152NLin6Asym"))

    message = refused("volume", damage)
    assert_says(message, "several places (MNI152NLin6Asym, T1w)", "options: space")


def test_space_that_is_not_there(refused):
    message = refused("volume", lambda folder: None, options={"space": "fsaverage"})
    assert_says(message, "no volume runs of task movie with space fsaverage; there are T1w", "options: space")


def test_link_out_of_the_data_folder(refused, tmp_path):
    def damage(folder):
        path = folder / f"{FUNC}run-1{BOLD}"
        shutil.move(path, tmp_path / "elsewhere.nii.gz")
        path.symlink_to(tmp_path / "elsewhere.nii.gz")

    message = refused("volume", damage)
    assert_says(
        message, "run run-1:", "is a link to", "elsewhere.nii.gz, outside the data set's folder", "Put the file"
    )


# ------------------------------------------------------------------------------------ what runs show


def clips(folder, **events):
    """Write two clips, and the events of some runs: (onset, duration, clip) each."""
    (folder / "stimuli").mkdir()
    for name in "abcd":
        np.save(folder / "stimuli" / f"{name}.npy", np.zeros((70, 8, 9, 3), np.uint8))
    for number, name in enumerate(LENGTHS):
        rows = events.get(name.replace("-", ""), [(0, 30, "abcd"[number])])
        table = pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
        table.to_csv(folder / EVENTS.format(name), sep="\t", index=False)


SHOWN = {"stimuli": {name: f"stimuli/{name}.npy" for name in "abcd"}, "frame_rate_hz": 1.0}


def test_events_that_are_missing(refused):
    def damage(folder):
        clips(folder)
        (folder / EVENTS.format("run-3")).unlink()

    message = refused("volume", damage, **SHOWN)
    assert_says(message, "run run-3:", "run-3_events.tsv is missing", "state in the manifest what it shows")


def test_clips_that_overlap(refused):
    message = refused("volume", lambda folder: clips(folder, run2=[(3, 20, "b"), (20, 10, "c")]), **SHOWN)
    assert_says(
        message, "run run-2: clips overlap in", "run-2_events.tsv", "b.npy ends at 23 s, c.npy begins at 20", "Correct"
    )


def test_clip_that_goes_on_after_the_run(refused):
    message = refused("volume", lambda folder: clips(folder, run3=[(10, 60, "c")]), **SHOWN)
    assert_says(message, "run run-3:", "shows c.npy until 70", "the run ends at 46.5 s", "scans are missing")


def test_events_that_name_no_clip(refused):
    message = refused("volume", lambda folder: clips(folder, run2=[(0, 9, "face"), (9, 9, "house")]), **SHOWN)
    assert_says(message, "run run-2:", "trial types (face, house)", "a, b, c, d", "Name the clips as the table does")


def test_events_without_onsets(refused):
    message = refused("volume", lambda folder: clips(folder, run2=[(None, 9, "b")]), **SHOWN)
    assert_says(message, "run run-2:", "shows b at no time", "Give it an onset")


def test_events_that_name_a_file_that_is_missing(refused):
    def damage(folder):
        clips(folder)
        table = pd.DataFrame({"onset": [0.0], "duration": [30.0], "stim_file": ["film.mp4"]})
        table.to_csv(folder / EVENTS.format("run-2"), sep="\t", index=False)

    assert_says(refused("volume", damage, **SHOWN), "run run-2:", "film.mp4", "does not exist")


def test_clip_in_training_and_test(refused):
    message = refused("volume", lambda folder: clips(folder, run4=[(0, 30, "b")]), **SHOWN)
    assert_says(message, "training runs and test runs show b", "give those runs one role")


def test_repeats_of_unequal_length(refused):
    runs = [{"name": name, "role": "test" if name in ("run-3", "run-4") else "train",
             "stimulus": {"run-1": "a", "run-2": "b"}.get(name, "c")} for name in LENGTHS]  # fmt: skip
    message = refused("volume", lambda folder: clips(folder), runs=runs, **SHOWN)
    assert_says(message, "run run-4: it has 41 scans, but run run-3, which shows c as well, has 31", "missing scans")


# ------------------------------------------------------------------------- voxels, regions, confounds


@pytest.mark.parametrize(
    ("index", "words"),
    [(np.array([1, 5, 60]), "names voxel 60, but they are numbered from 0 to 59"),
     (np.array([1, 5, 5]), "names 3 voxels, 2 of them different"),
     (np.array([1.5, 2.0]), "must hold whole numbers"),
     (np.ones(61, bool), "a mask of 61 voxels, but there are 60"),
     (np.array([{}], dtype=object), "cannot read")],
)  # fmt: skip
def test_voxel_index_that_cannot_be_used(refused, index, words):
    message = refused("volume", lambda folder: np.save(folder / "index.npy", index), voxel_index="index.npy")
    assert_says(message, "index.npy", words)


def test_region_of_another_grid(refused):
    def damage(folder):
        save(np.ones((4, 3, 5), np.uint8), folder / "v1.nii.gz")

    message = refused("volume", damage, rois={"V1": "v1.nii.gz"})
    assert_says(message, "the grid of v1.nii.gz is (4, 3, 5)", "(5, 3, 4)")


def test_regions_without_any_voxel(refused):
    def damage(folder):
        save(np.zeros(GRID, np.uint8), folder / "v1.nii.gz")

    assert_says(refused("volume", damage, rois={"V1": "v1.nii.gz"}), "belongs to any ROI (V1)", "Check their space")


def test_atlas_without_names(refused):
    def damage(folder):
        save(np.ones(GRID, np.uint8), folder / "atlas.nii.gz")
        (folder / "atlas.tsv").write_text("number\tregion\n1\tV1\n")

    message = refused("volume", damage, atlas={"image": "atlas.nii.gz", "labels": "atlas.tsv"})
    assert_says(message, "atlas.tsv", "columns index and name")


def test_missing_confounds(refused):
    def damage(folder):
        (folder / f"{FUNC}run-2_desc-confounds_timeseries.tsv").unlink()

    message = refused("volume", damage, "--confounds", "motion")
    assert_says(message, "run run-2:", "run-2_desc-confounds_timeseries.tsv is missing", "--confounds none")


def test_confounds_of_another_run(refused):
    def damage(folder):
        name = f"{FUNC}run-{{}}_desc-confounds_timeseries.tsv"
        shutil.copy(folder / name.format(1), folder / name.format(2))

    message = refused("volume", damage, "--confounds", "motion")
    assert_says(message, "run run-2: the confounds have 37 rows, but there are 43 scans", "Take the table of this run")


def test_confounds_that_a_strategy_needs(refused):
    def damage(folder):
        path = folder / f"{FUNC}run-2_desc-confounds_timeseries.tsv"
        pd.read_csv(path, sep="\t").drop(columns=["trans_x", "rot_z"]).to_csv(path, sep="\t", index=False)

    message = refused("volume", damage, "--confounds", "motion")
    assert_says(message, "run run-2:", "cannot serve the strategy motion", "trans_x", "Choose one whose columns it has")


def test_too_many_dummy_scans(refused):
    message = refused("volume", lambda folder: None, "--dummy-scans", "31")
    assert_says(message, "run run-3: 31 dummy scans are to be left out, but it has 31", "Ask for fewer")


# -------------------------------------------------------------------------- surfaces and grayordinates


def test_hemispheres_of_unequal_length(refused):
    def damage(folder):
        write_gifti(folder / f"{FUNC}run-2_hemi-R_space-fsaverage5_bold.func.gii", np.ones((40, 11)))

    message = refused("surface", damage)
    assert_says(message, "run run-2: the hemispheres differ in length", "has 43 scans", "40", "cut short")


def test_missing_hemisphere(refused):
    name = f"{FUNC}run-3_hemi-R_space-fsaverage5_bold.func.gii"
    message = refused("surface", lambda folder: (folder / name).unlink())
    assert_says(message, "run run-3:", "run-3_hemi-R_space-fsaverage5_bold.func.gii is missing", "Get it again")


@pytest.mark.parametrize("kept", [0.02, 0.6])
def test_truncated_surface(refused, kept):
    name = f"{FUNC}run-3_hemi-L_space-fsaverage5_bold.func.gii"
    message = refused("surface", lambda folder: cut(folder / name, kept))
    assert_says(message, "run run-3: cannot read", "run-3_hemi-L_space-fsaverage5_bold.func.gii", "Get it again")


def test_surface_of_another_density(refused):
    def damage(folder):
        for hemi, n_vertices in (("L", 9), ("R", 11)):
            name = f"{FUNC}run-4_hemi-{hemi}_space-fsaverage5_bold.func.gii"
            write_gifti(folder / name, np.ones((41, n_vertices)))

    assert_says(refused("surface", damage), "run run-4: 9 and 11 vertices, but 7 and 11", "from one surface")


GRAY = "_space-fsLR_den-91k_bold.dtseries.nii"


@pytest.mark.parametrize("kept", [0.05, 0.9])
def test_truncated_grayordinates(refused, kept):
    message = refused("grayordinates", lambda folder: cut(folder / f"{FUNC}run-2{GRAY}", kept))
    assert_says(message, "run run-2: cannot read", f"run-2{GRAY}", "Get it again")


def test_other_grayordinates(refused):
    def damage(folder):
        write_cifti(folder / f"{FUNC}run-2{GRAY}", np.ones((43, 8)), grayordinate_axis()[:8])

    assert_says(refused("grayordinates", damage), "run run-2:", "has 8 grayordinates, others than the 15", "one space")


def test_volume_in_the_place_of_grayordinates(refused):
    def damage(folder):
        save(np.ones((2, 3, 4), np.float32), folder / f"{FUNC}run-2{GRAY}")

    assert_says(refused("grayordinates", damage), "run run-2:", f"run-2{GRAY} is no CIFTI file", "Get it again")
