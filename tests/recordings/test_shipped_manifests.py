"""The manifests of public data sets, with tiny files of their layouts where they say that files lie."""

import pickle
from itertools import pairwise

import h5py
import nibabel as nib
import numpy as np
import pytest
import yaml

from brainpred.errors import DataError
from brainpred.features.source import check_movie_lengths
from brainpred.movies.video import frame_times, probe_video, read_video, write_video
from brainpred.recordings.manifest import load_manifest, manifest_path
from brainpred.recordings.readers import load_recording
from tests.movies.files import numbered_frames, write_matlab
from tests.recordings.layouts import grayordinate_axis, write_bids, write_shortclips, write_vim2

N_SCANS, N_TEST = 13, 11  # of the runs of the tiny data sets


@pytest.fixture
def small(tmp_path):
    """Give a shipped manifest with short stretches of movies, as a file, and the folder of the data set."""

    def shorten(name, **changes):
        content = yaml.safe_load(manifest_path(name).read_text()) | changes
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / f"{name}.yaml"), tmp_path / "data" / name

    return shorten


def test_vim2_lies_where_its_manifest_says(small, tmp_path):
    manifest = load_manifest("vim2")
    stimuli = {
        f"train-{number:02d}": f"Stimuli.mat::st@15[{N_SCANS * (number - 1)}:{N_SCANS * number}]"
        for number in range(1, 13)
    } | {"test": manifest.stimuli["test"]}
    assert {address.partition("[")[0] for address in manifest.stimuli.values()} == {
        address.partition("[")[0] for address in stimuli.values()
    }
    ends_s = [600 * number for number in range(13)]
    assert [manifest.stimuli[f"train-{number:02d}"].partition("[")[2] for number in range(1, 13)] == [
        f"{begin}:{end}]" for begin, end in pairwise(ends_s)
    ]  # 12 x 600 s are the 108,000 frames of st at 15 a second
    path, folder = small("vim2", stimuli=stimuli)
    write_vim2(folder, 12, N_SCANS, N_TEST, 10, subject="subject2")
    with h5py.File(folder / "VoxelResponses_subject2.mat", "a") as file:
        file["ei/TRsec"][...] = manifest.tr_s
    frames = numbered_frames(12 * N_SCANS * 15, 5, 7)
    write_matlab(
        folder / "Stimuli.mat", st=frames.transpose(1, 2, 3, 0), sv=frames[: N_TEST * 15].transpose(1, 2, 3, 0)
    )
    recording = load_recording(path, "subject2", tmp_path / "data")
    assert [run.role for run in recording.runs] == ["train"] * 12 + ["test"] * 10
    check_movie_lengths(recording)
    np.testing.assert_array_equal(read_video(recording.stimuli["train-03"])[0], frames[26 * 15 : 39 * 15])
    np.testing.assert_array_equal(read_video(recording.stimuli["test"])[0], frames[: N_TEST * 15])


def test_shortclips_lie_where_their_manifest_says(small, tmp_path):
    path, folder = small("shortclips")
    write_shortclips(folder, (N_SCANS,) * 12, N_TEST, 10, subject="S04")
    (folder / "stimuli").mkdir()
    for name in [*(f"train_{number:02d}" for number in range(12)), "test"]:
        with h5py.File(folder / "stimuli" / f"{name}.hdf", "w") as file:
            file["stimuli"] = numbered_frames((N_TEST if name == "test" else N_SCANS) * 2 * 15, 5, 7)
    recording = load_recording(path, "S04", tmp_path / "data")
    assert [run.role for run in recording.runs] == ["train"] * 12 + ["test"] * 10
    assert recording.tr_s == 2.0
    check_movie_lengths(recording)
    assert recording.stimuli["train-12"].excerpts[0].path.name == "train_11.hdf"


def test_algonauts_lies_where_its_manifest_says(small, tmp_path):
    path, folder = small("algonauts2021", options={"videos_per_run": 4})
    manifest = load_manifest("algonauts2021")
    rng = np.random.default_rng(0)
    for number, name in enumerate(manifest.files.values()):
        file = folder / name.format(subject="sub07")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps({"train": rng.normal(size=(10, 3, 3 + number))}))
    (folder / "AlgonautsVideos268_All_30fpsmax").mkdir()
    for number in range(10):
        write_video(folder / "AlgonautsVideos268_All_30fpsmax" / f"{number:04d}.mp4", numbered_frames(45, 16, 16), 15)
    recording = load_recording(path, "sub07", tmp_path / "data")
    assert set(recording.rois) == {"V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA"}
    assert [run.n_scans for run in recording.runs if run.role == "test"] == [2] * 3
    check_movie_lengths(recording)


def test_bold_moments_lies_where_its_manifest_says(small, tmp_path):
    path, folder = small("bold_moments")
    for session in ("ses-02", "ses-03"):
        write_bids(folder, subject="sub-03", session=session, tr_s=1.75)
    (folder / "derivatives" / "versionB").mkdir()
    (folder / "derivatives" / "fmriprep").rename(folder / "derivatives" / "versionB" / "fmriprep")
    for place in list(folder.rglob("*task-movie_run-4*")):
        place.rename(place.with_name(place.name.replace("task-movie_run-4", "task-test_run-1")))
    for place in list(folder.rglob("*task-movie*")):
        place.rename(place.with_name(place.name.replace("task-movie", "task-train")))
    write_video(folder / "0001.mp4", numbered_frames(45, 16, 16), 15)
    (folder / "stimuli").mkdir()
    for part in ("train", "test"):
        (folder / "stimuli" / part).mkdir()
        for number in range(1, 4):
            (folder / "stimuli" / part / f"{part}{number}.mp4").write_bytes((folder / "0001.mp4").read_bytes())
    for mask in folder.rglob("sub-*/ses-*/func/*_bold.json"):
        part = "test" if "task-test" in mask.name else "train"
        rows = [f"{4 * number}\t3\t{part}/{part}{number}.mp4\tvideo" for number in (1, 2, 3)]
        events = mask.with_name(mask.name.replace("_bold.json", "_events.tsv"))
        events.write_text("\n".join(["onset\tduration\tstim_file\ttrial_type", *rows, "30\t3\tn/a\toddball"]) + "\n")
    content = yaml.safe_load((tmp_path / "bold_moments.yaml").read_text()) | {"sessions": ["02", "03"]}
    (tmp_path / "bold_moments.yaml").write_text(yaml.safe_dump(content))
    recording = load_recording(path, "03", tmp_path / "data")
    assert sorted(run.role for run in recording.runs) == ["test"] * 2 + ["train"] * 6
    check_movie_lengths(recording)
    shown = recording.stimuli[recording.runs[0].stimulus]
    assert [excerpt.onset_s for excerpt in shown.excerpts] == pytest.approx([4, 8, 12], abs=0.1)
    assert len(frame_times(shown)) > 200  # grey before, between and after


HCP_LENGTHS = (921, 918, 915, 901)  # scans and seconds
HCP_LAST_CLIPS_S = (817.58, 814.62, 811.79, 797.42)  # where public analyses of the films have the last pause end


def test_films_of_hcp_lie_where_their_manifest_says(small, tmp_path):
    path, folder = small("hcp_7t_movie")
    manifest = load_manifest("hcp_7t_movie")
    for run, address, n_scans in zip(manifest.runs, manifest.stimuli.values(), HCP_LENGTHS, strict=True):
        bold = folder / manifest.files["bold"].format(subject="100610", run=run.name)
        bold.parent.mkdir(parents=True)
        scans = np.random.default_rng(n_scans).normal(size=(n_scans, 15)).astype(np.float32)
        image = nib.Cifti2Image(scans, (nib.cifti2.SeriesAxis(0, manifest.tr_s, n_scans), grayordinate_axis()))
        image.update_headers()
        nib.save(image, bold)
        (folder / address).parent.mkdir(exist_ok=True)
        write_video(folder / address, numbered_frames(n_scans, 16, 16), 1)
    recording = load_recording(path, "100610", tmp_path / "data")
    assert [run.role for run in recording.runs] == ["train", "train", "train", "test"]
    assert recording.n_voxels == 15
    check_movie_lengths(recording)
    for run, end_s in zip(recording.runs, HCP_LAST_CLIPS_S, strict=True):
        shown_s = probe_video(recording.stimuli[run.stimulus]).duration_s
        assert shown_s == run.n_scans
        assert end_s - 15 < shown_s < end_s - 5, "neither the clip that all films end with, nor much less"
    write_video(folder / manifest.stimuli["movie4"], numbered_frames(700, 16, 16), 1)
    with pytest.raises(DataError, match=r"run tfMRI_MOVIE4_7T_AP: .*to be shown for 787\.00 s .* only 700\.00 s"):
        check_movie_lengths(recording)
