"""BIDS with fMRIPrep's derivatives: volumes, surfaces, grayordinates, names of today and before, from file to score."""

import json
import shutil
import tracemalloc

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.errors import DataError
from brainpred.progress import SilentReporter
from brainpred.recordings.readers import load_recording
from brainpred.studies.decode import DecodeConfig
from brainpred.studies.inputs import find_recording
from tests.recordings.layouts import (
    AFFINE,
    GRID,
    LENGTHS,
    N_VERTICES,
    TR_S,
    draw_inside,
    grayordinate_axis,
    run_entries,
    write_bids,
    write_cifti,
    write_features,
    write_gifti,
    write_manifest,
)
from tests.recordings.round_trip import check, decode, map_values

ENDINGS = {"volume": ".nii.gz", "surface": ".func.gii", "grayordinates": ".dscalar.nii"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("BRAINPRED_DATA", raising=False)
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "toy"


def manifest_of(tmp_path, kind="volume", **fields):
    options = {"kind": kind, "task": "movie"} | fields.pop("options", {})
    return write_manifest(tmp_path / "toy.yaml", "bids", **({"runs": run_entries(), "options": options} | fields))


def load(tmp_path, manifest, subject="sub-01"):
    return load_recording(manifest, subject, tmp_path / "data")


@pytest.mark.parametrize("kind", list(ENDINGS))
@pytest.mark.parametrize("old", [False, True])
def test_scans_come_as_they_lie_in_the_files(tmp_path, folder, kind, old):
    _, bold, _ = write_bids(folder, kind, old=old)
    recording = load(tmp_path, manifest_of(tmp_path, kind))
    assert [(run.name, run.role) for run in recording.runs] == [(name, "test" if name == "run-4" else "train")
                                                                for name in LENGTHS]  # fmt: skip
    for run in recording.runs:
        assert run.n_scans == LENGTHS[run.name]
        np.testing.assert_array_equal(recording.read_run(run), bold[run.name])
        assert run.confounds("motion").shape == (run.n_scans, 6)


@pytest.mark.parametrize("kind", list(ENDINGS))
def test_round_trip(run, tmp_path, folder, kind):
    features, _, inside = write_bids(folder, kind)
    out = check(run, manifest_of(tmp_path, kind), tmp_path, features, "--confounds", "motion", ending=ENDINGS[kind])
    values = map_values(out, ENDINGS[kind])
    assert values.size == {"volume": inside.size, "surface": sum(N_VERTICES), "grayordinates": 15}[kind]
    if kind == "volume":
        assert np.array_equal(values != 0, inside.ravel())
        np.testing.assert_array_equal(nib.load(out / "contribution_features.nii.gz").affine, AFFINE)
    settings = json.loads((out / "decode.json").read_text())
    assert settings["cleaning"] == {
        "dummy_scans": 0, "high_pass_s": None, "confounds": "motion", "percent_signal_change": False,
        "detrend": "linear", "scale": "z-score (n - 1)",
    }  # fmt: skip


def test_cleaning_of_the_manifest_and_dummy_scans_reach_the_results(run, tmp_path, folder):
    features, _, _ = write_bids(folder)
    manifest = manifest_of(tmp_path, confounds="motion+wm_csf", high_pass_s=60.0, dummy_scans=3)
    short = {name: values[3:] for name, values in features.items()}
    lengths = {name: n_scans - 3 for name, n_scans in LENGTHS.items()}
    out = check(run, manifest, tmp_path, short, lengths=lengths)
    settings = json.loads((out / "decode.json").read_text())
    assert settings["cleaning"] == {
        "dummy_scans": 3, "high_pass_s": 60.0, "confounds": "motion+wm_csf", "percent_signal_change": False,
        "detrend": "linear", "scale": "z-score (n - 1)",
    }  # fmt: skip
    assert [one["n_scans"] for one in settings["runs"]] == list(lengths.values())
    report = " ".join((out / "report.html").read_text().split())
    assert "drifts slower than 60 s, of confounds (strategy “motion+wm_csf”), without the first 3 scans" in report


def test_sessions_and_runs_without_a_list_of_runs(run, tmp_path, folder):
    write_bids(folder, session="ses-a")
    write_bids(folder, session="ses-b", seed=5)
    manifest = manifest_of(tmp_path, runs=[], options={"test_runs": ["ses-b_run-[34]"]})
    recording = load(tmp_path, manifest)
    assert [run.name for run in recording.runs] == [f"ses-{s}_run-{n}" for s in "ab" for n in (1, 2, 3, 4)]
    assert [run.name for run in recording.runs_with_role("test")] == ["ses-b_run-3", "ses-b_run-4"]
    only_b = load(tmp_path, manifest_of(tmp_path, runs=[], sessions=["b"]))
    assert [run.name for run in only_b.runs] == [f"ses-b_run-{n}" for n in (1, 2, 3, 4)]


def test_subject_may_be_named_without_sub(tmp_path, folder):
    write_bids(folder)
    manifest = manifest_of(tmp_path, subjects=["01"])
    assert load(tmp_path, manifest, "01").n_voxels == load(tmp_path, manifest_of(tmp_path)).n_voxels


def test_run_10_comes_after_run_9(tmp_path, folder):
    write_bids(folder)
    func = folder / "derivatives" / "fmriprep" / "sub-01" / "func"
    for path in list(func.glob("*run-1_*")):
        path.rename(path.with_name(path.name.replace("run-1_", "run-10_")))
    manifest = manifest_of(tmp_path, runs=[], options={"check_tr": False})
    assert [run.name for run in load(tmp_path, manifest).runs] == ["run-2", "run-3", "run-4", "run-10"]


def test_session_10_comes_after_session_2(tmp_path, folder):
    for session in ("ses-10", "ses-2", "ses-1"):
        write_bids(folder, session=session)
    names = [run.name for run in load(tmp_path, manifest_of(tmp_path, runs=[])).runs]
    assert names[::4] == ["ses-1_run-1", "ses-2_run-1", "ses-10_run-1"]


def func_of(folder):
    return folder / "derivatives" / "fmriprep" / "sub-01" / "func"


def test_echoes_and_phases_are_not_runs(tmp_path, folder):
    write_bids(folder)
    for path in func_of(folder).glob("*run-1_space*"):
        for added in ("echo-1", "echo-2", "part-phase"):
            shutil.copy(path, path.with_name(path.name.replace("run-1_", f"run-1_{added}_")))
    recording = load(tmp_path, manifest_of(tmp_path, runs=[]))
    assert [run.name for run in recording.runs] == list(LENGTHS)
    assert all("echo" not in run.file and "part" not in run.file for run in recording.runs)


def test_repetition_time_of_an_echo_is_that_of_the_run(tmp_path, folder):
    write_bids(folder)
    for path in (folder / "sub-01" / "func").glob("*_bold.json"):
        path.rename(path.with_name(path.name.replace("_bold", "_echo-1_bold")))
    assert load(tmp_path, manifest_of(tmp_path)).tr_s == TR_S


@pytest.mark.parametrize("below", ["", "sub-01", "sub-01/ses-a", "sub-01/ses-a/func"])
def test_files_that_hold_for_many_runs_are_inherited(tmp_path, folder, below):
    """From the run's own folder up to the data set's, with the entities that the runs share."""
    write_bids(folder, session="ses-a")
    (folder / "stimuli").mkdir()
    np.save(folder / "stimuli" / "film.npy", np.zeros((60, 8, 9, 3), np.uint8))
    for path in folder.glob("sub-01/ses-a/func/*.json"):
        path.unlink()
    entities = {"": "", "sub-01": "sub-01_"}.get(below, "sub-01_ses-a_")
    named = folder / below / f"{entities}task-movie"
    named.with_name(f"{named.name}_bold.json").write_text(json.dumps({"RepetitionTime": TR_S}))
    named.with_name(f"{named.name}_events.tsv").write_text("onset\tduration\tstim_file\n3\t30\tfilm.npy\n")
    other = named.with_name(f"{entities}task-rest_bold.json")
    other.write_text(json.dumps({"RepetitionTime": 9.0}))
    recording = load(tmp_path, manifest_of(tmp_path, runs=[], frame_rate_hz=1.0))
    assert {recording.onset_s(run) for run in recording.runs} == {3.0}


def test_a_file_of_the_run_wins_over_one_that_is_inherited(tmp_path, folder):
    write_bids(folder)
    write_movies_events(folder, {"run-2": [(6, 20, "b", None)]})
    (folder / "task-movie_bold.json").write_text(json.dumps({"RepetitionTime": 9.0}))
    (folder / "task-movie_events.tsv").write_text("onset\tduration\ttrial_type\n3\t30\ta\n")
    recording = load(tmp_path, events_manifest(tmp_path, runs=[]))
    assert [run.stimulus[0] for run in recording.runs] == ["a", "b", "a", "a"]
    (folder / "sub-01" / "func" / "sub-01_task-movie_run-2_bold.json").unlink()
    with pytest.raises(DataError, match="run run-2: its JSON file states a repetition time of 9 s"):
        load(tmp_path, events_manifest(tmp_path, runs=[]))


def test_mask_voxel_index_and_rois_choose_voxels(run, tmp_path, folder):
    features, bold, inside = write_bids(folder)
    cells = np.flatnonzero(inside.ravel())
    chosen, early, late = cells[1::2], cells[1:12], cells[5:20]
    np.save(folder / "index.npy", chosen[::-1])
    for name, cell in (("v1", early), ("v2", late)):
        values = np.zeros(inside.size, np.uint8)
        values[cell] = 1
        nib.save(nib.Nifti1Image(values.reshape(GRID), AFFINE), folder / f"{name}.nii.gz")
    rois = {"V1": "v1.nii.gz", "V2": "v2.nii.gz"}
    manifest = manifest_of(tmp_path, voxel_index="index.npy", rois=rois)
    recording = load(tmp_path, manifest)
    columns = np.searchsorted(cells, chosen)
    np.testing.assert_array_equal(recording.read_run(recording.runs[1]), bold["run-2"][:, columns])
    expected = ["V1" if cell in early else "V2" if cell in late else "other" for cell in chosen]
    assert recording.rois.tolist() == expected
    np.testing.assert_array_equal(recording.roi_masks["V2"], np.isin(chosen, late))
    out = check(run, manifest, tmp_path, features, "--bands", "roi")
    assert json.loads((out / "decode.json").read_text())["roi_sizes"] == {
        name: expected.count(name) for name in ("V1", "V2", "other")
    }


@pytest.mark.parametrize("as_mask", [False, True])
def test_voxel_index_is_read_to_the_last_voxel_that_it_names(tmp_path, folder, as_mask):
    """Whoever names voxels wants them, whether or not a brain mask holds them."""
    _, bold, inside = write_bids(folder)
    named = np.random.default_rng(3).random(inside.size) < 0.5
    assert (named & ~inside.ravel()).any()
    np.save(folder / "index.npy", named.astype(np.uint8) if as_mask else np.flatnonzero(named))
    recording = load(tmp_path, manifest_of(tmp_path, voxel_index="index.npy"))
    assert recording.n_voxels == named.sum()
    assert recording.notes == ()
    found = recording.read_run(recording.runs[0])
    np.testing.assert_array_equal(found[:, inside.ravel()[named]], bold["run-1"][:, named[inside.ravel()]])


def test_voxel_index_and_mask_tell_what_they_leave_out(run, tmp_path, folder):
    features, _, inside = write_bids(folder)
    mask = inside & draw_inside(seed=3)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / "mask.nii.gz")
    np.save(folder / "index.npy", np.flatnonzero(inside))
    manifest = manifest_of(tmp_path, mask="mask.nii.gz", voxel_index="index.npy")
    n_outside = (inside & ~mask).sum()
    left_out = f"{n_outside} of {inside.sum()} voxels of index.npy lie outside mask.nii.gz and are left out."
    assert load(tmp_path, manifest).notes == (left_out,)
    code, _, err = run(
        "decode", "--dataset", manifest, "--subject", "sub-01", "--data", tmp_path / "data", "--out", tmp_path / "out",
        "--features", write_features(tmp_path / "features.tsv", features),
    )  # fmt: skip
    assert code == 0, err
    assert f"Note: {left_out}" in " ".join(err.split())
    assert json.loads((tmp_path / "out" / "decode.json").read_text())["notes"] == [left_out]


def test_atlas_that_names_a_region_twice_joins_its_parts(tmp_path, folder):
    _, _, inside = write_bids(folder)
    numbers = np.random.default_rng(4).integers(0, 4, GRID)
    nib.save(nib.Nifti1Image(numbers.astype(np.int16), AFFINE), folder / "atlas.nii.gz")
    table = pd.DataFrame({"index": [1, 2, 3], "name": ["V1", "V2", "V1"]})  # left and right
    table.to_csv(folder / "atlas.tsv", sep="\t", index=False)
    recording = load(tmp_path, manifest_of(tmp_path, atlas={"image": "atlas.nii.gz", "labels": "atlas.tsv"}))
    np.testing.assert_array_equal(recording.roi_masks["V1"], np.isin(numbers[inside], [1, 3]))
    assert recording.rois.tolist() == np.array(["other", "V1", "V2", "V1"])[numbers[inside]].tolist()


def test_regions_that_an_atlas_does_not_name_are_told(tmp_path, folder):
    _, _, inside = write_bids(folder)
    numbers = np.random.default_rng(4).integers(0, 4, GRID)
    nib.save(nib.Nifti1Image(numbers.astype(np.int16), AFFINE), folder / "atlas.nii.gz")
    pd.DataFrame({"index": [2, 9], "name": ["V2", "MT"]}).to_csv(folder / "atlas.tsv", sep="\t", index=False)
    recording = load(tmp_path, manifest_of(tmp_path, atlas={"image": "atlas.nii.gz", "labels": "atlas.tsv"}))
    n_unnamed = np.isin(numbers[inside], [1, 3]).sum()
    assert recording.notes == (f"atlas.tsv does not name region 1, 3: {n_unnamed} voxels belong to none.",)


def test_atlas_names_rois(tmp_path, folder):
    _, _, inside = write_bids(folder)
    numbers = np.random.default_rng(4).integers(0, 4, GRID)
    nib.save(nib.Nifti1Image(numbers.astype(np.int16), AFFINE), folder / "atlas.nii.gz")
    pd.DataFrame({"index": [0, 1, 2, 3], "name": ["none", "V1", "V2", "MT"]}).to_csv(folder / "atlas.tsv", sep="\t")
    recording = load(tmp_path, manifest_of(tmp_path, atlas={"image": "atlas.nii.gz", "labels": "atlas.tsv"}))
    names = np.array(["other", "V1", "V2", "MT"])
    assert recording.rois.tolist() == names[numbers[inside]].tolist()


def test_hemisphere_masks_choose_vertices(tmp_path, folder):
    _, bold, _ = write_bids(folder, "surface")
    left, right = np.array([0, 1, 1, 0, 1, 0, 1]), np.array([1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0])
    write_gifti(folder / "mask_L.gii", left[None])
    write_gifti(folder / "mask_R.gii", right[None])
    recording = load(tmp_path, manifest_of(tmp_path, "surface", mask="mask_{hemi}.gii"))
    columns = np.flatnonzero(np.concatenate([left, right]))
    np.testing.assert_array_equal(recording.read_run(recording.runs[0]), bold["run-1"][:, columns])
    left_image, right_image = recording.to_image(np.arange(1, len(columns) + 1))
    assert left_image.darrays[0].data.tolist() == [0, 1, 2, 0, 3, 0, 4]
    assert np.count_nonzero(right_image.darrays[0].data) == right.sum()


def test_images_of_grayordinates_choose_them(tmp_path, folder):
    _, bold, _ = write_bids(folder, "grayordinates")
    rng = np.random.default_rng(2)
    mask, v1 = rng.random(15) < 0.7, rng.random(15) < 0.5
    for name, values in (("mask", mask), ("v1", v1)):
        axes = (nib.cifti2.ScalarAxis([name]), grayordinate_axis())
        nib.save(nib.Cifti2Image(values[None].astype(np.float32), axes), folder / f"{name}.dscalar.nii")
    manifest = manifest_of(tmp_path, "grayordinates", mask="mask.dscalar.nii", rois={"V1": "v1.dscalar.nii"})
    recording = load(tmp_path, manifest)
    np.testing.assert_array_equal(recording.read_run(recording.runs[2]), bold["run-3"][:, mask])
    np.testing.assert_array_equal(recording.roi_masks["V1"], v1[mask])


@pytest.mark.parametrize("kind", ["volume", "grayordinates"])
def test_a_run_is_read_piece_by_piece(tmp_path, folder, monkeypatch, kind):
    """At most half a run beside the run itself. (The parser of GIFTI holds tens of megabytes, whatever the file.)"""
    monkeypatch.setattr("brainpred.recordings.volumes.BYTES_AT_ONCE", 2**17)
    monkeypatch.setattr("brainpred.recordings.grayordinates.BYTES_AT_ONCE", 2**17)
    rng, n_scans, n_voxels = np.random.default_rng(0), 311, 2503
    bold = rng.normal(1000, 10, (n_scans, n_voxels)).astype(np.float32)
    folder.mkdir(parents=True)
    if kind == "volume":
        mask = np.zeros((15, 13, 17), np.uint8)
        mask.ravel()[rng.permutation(mask.size)[:n_voxels]] = 1
        volume = np.zeros((*mask.shape, n_scans), np.float32)
        volume[mask > 0] = bold.T
        nib.save(nib.Nifti1Image(volume, AFFINE), folder / "run-1.nii.gz")
        nib.save(nib.Nifti1Image(mask, AFFINE), folder / "mask.nii.gz")
        fields = {"mask": "mask.nii.gz", "files": {"bold": "{run}.nii.gz"}}
    else:
        axis = nib.cifti2.BrainModelAxis.from_surface(np.arange(n_voxels), 3001, "CortexLeft")
        write_cifti(folder / "run-1.dtseries.nii", bold, axis)
        fields = {"files": {"bold": "{run}.dtseries.nii"}}
    runs = [{"name": "run-1", "role": "train"}]
    manifest = manifest_of(tmp_path, kind, runs=runs, options={"check_tr": False}, **fields)
    load(tmp_path, manifest)  # imports take memory, once
    tracemalloc.start()
    try:
        recording = load(tmp_path, manifest)
        found = recording.read_run(recording.runs[0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, bold)
    assert peak <= 1.5 * bold.nbytes


def test_files_may_be_named_one_by_one(run, tmp_path, folder):
    """Not fMRIPrep's, such as those of the Human Connectome Project."""
    features, _, _ = write_bids(folder, "grayordinates")
    func = folder / "derivatives" / "fmriprep" / "sub-01" / "func"
    results = folder / "sub-01" / "results"
    results.mkdir()
    for path in func.glob("*.dtseries.nii"):
        path.rename(results / f"movie_{path.name.split('_')[2]}.dtseries.nii")
    manifest = manifest_of(tmp_path, "grayordinates", files={"bold": "{subject}/results/movie_{run}.dtseries.nii"})
    check(run, manifest, tmp_path, features, ending=".dscalar.nii")
    code, err, _ = decode(run, manifest, tmp_path, features, "--confounds", "motion")
    assert code == 2
    assert "no confounds are known of these scans" in err


def write_movies_events(folder, rows, stimuli=("a", "b")):
    (folder / "stimuli").mkdir(exist_ok=True)
    for clip in stimuli:
        np.save(folder / "stimuli" / f"{clip}.npy", np.zeros((60, 8, 9, 3), np.uint8))
    for name, events in rows.items():
        pd.DataFrame(events, columns=["onset", "duration", "trial_type", "stim_file"]).to_csv(
            folder / "sub-01" / "func" / f"sub-01_task-movie_{name}_events.tsv", sep="\t", index=False, na_rep="n/a"
        )


def events_manifest(tmp_path, **fields):
    stimuli = {clip: f"stimuli/{clip}.npy" for clip in "abc"}
    return manifest_of(tmp_path, stimuli=stimuli, frame_rate_hz=1.0, **fields)


@pytest.mark.parametrize("column", ["trial_type", "stim_file"])
def test_events_place_clips(tmp_path, folder, column):
    write_bids(folder)

    def events(*shown):
        return [
            (onset, duration, clip if column == "trial_type" else "movie",
             f"{clip}.npy" if column == "stim_file" and clip in "abc" else None)
            for onset, duration, clip in shown
        ]  # fmt: skip

    rows = {
        "run-1": events((0, 3, "fixation"), (6, 20, "a"), (30, 12, "b")),
        "run-2": events((6.02, 20, "a"), (30.01, 12, "b")),
        "run-3": events((9, 20, "a"), (33, 10, "b")),
        "run-4": events((3, 40, "c")),
    }
    write_movies_events(folder, rows, "abc")
    recording = load(tmp_path, events_manifest(tmp_path))
    shown = {run.name: run.stimulus for run in recording.runs}
    assert shown == {"run-1": "a+b", "run-2": "a+b@6s", "run-3": "a+b@9s", "run-4": "c"}
    movie = recording.stimuli["a+b"]
    assert [(e.path.name, e.onset_s, e.duration_s) for e in movie.excerpts] == [("a.npy", 6, 20), ("b.npy", 30, 12)]
    assert movie.duration_s == 37 * TR_S
    assert recording.stimuli["c"].excerpts[0].onset_s == 3


@pytest.mark.parametrize("named", ["film.npy", "stimuli/film.npy"])
def test_events_may_name_files_from_either_folder(tmp_path, folder, named):
    write_bids(folder)
    write_movies_events(folder, {name: [(0, 30, "movie", named)] for name in LENGTHS}, ("film",))
    runs = [{"name": name, "role": "train"} for name in LENGTHS]
    recording = load(tmp_path, manifest_of(tmp_path, runs=runs, frame_rate_hz=2.0))
    shown = [movie.excerpts[0] for movie in recording.stimuli.values()]
    assert {(excerpt.path, excerpt.fps) for excerpt in shown} == {(folder / "stimuli" / "film.npy", 2.0)}


@pytest.mark.parametrize(
    ("sidecar", "shift_s"),
    [({"SliceTimingCorrected": True, "StartTime": 0.75}, 0.0), ({"SliceTimingCorrected": True, "StartTime": 0.0}, 0.75),
     ({"SliceTimingCorrected": False, "StartTime": 0.0}, 0.0), ({"SliceTimingCorrected": True}, 0.0)],
)  # fmt: skip
def test_slice_timing_moves_what_is_shown(tmp_path, folder, sidecar, shift_s):
    """Scans that stand for the beginning of their TR, not for its middle, see everything half a TR later."""
    write_bids(folder)
    write_movies_events(
        folder, {name: [(6, 20, "abc"[number % 3], None)] for number, name in enumerate(LENGTHS)}, "abc"
    )
    func = folder / "derivatives" / "fmriprep" / "sub-01" / "func"
    for name in LENGTHS:
        path = func / f"sub-01_task-movie_{name}_space-T1w_desc-preproc_bold.json"
        path.write_text(json.dumps({"RepetitionTime": TR_S, **sidecar}))
    runs = [{"name": name, "role": "train"} for name in LENGTHS]
    recording = load(tmp_path, events_manifest(tmp_path, runs=runs))
    assert recording.stimuli["a"].excerpts[0].onset_s == pytest.approx(6 + shift_s, abs=TR_S / 20)


def test_manifest_places_clips_with_onsets(tmp_path, folder):
    write_bids(folder)
    write_movies_events(folder, {}, "abc")
    shown = {"run-1": ("a", 0.0), "run-2": ("b", 3.0), "run-3": ("b", 6.04), "run-4": ("c", -1.5)}
    runs = [
        {"name": name, "role": "test" if name == "run-4" else "train", "stimulus": clip, "onset_s": onset_s}
        for name, (clip, onset_s) in shown.items()
    ]
    recording = load(tmp_path, events_manifest(tmp_path, runs=runs))
    assert [run.stimulus for run in recording.runs] == ["a", "b", "b@6s", "c"]
    assert [recording.onset_s(run) for run in recording.runs] == [0, 3, 6, -1.5]
    assert recording.repeats == {}


@pytest.mark.slow
def test_tiny_movie_is_decoded_from_events_and_reconstructed(run, tmp_path, folder):
    """From events and a movie to PredNet's units and back, with dummy scans: no table of features."""
    write_bids(folder)
    (folder / "stimuli").mkdir()
    rng = np.random.default_rng(0)
    for clip in "abcd":
        np.save(folder / "stimuli" / f"{clip}.npy", rng.integers(0, 255, (70, 16, 20, 3), dtype=np.uint8))
    for clip, (name, n_scans) in zip("abcd", LENGTHS.items(), strict=True):
        table = pd.DataFrame({"onset": [3.0], "duration": [n_scans * TR_S - 4.5], "trial_type": [clip]})
        table.to_csv(folder / "sub-01" / "func" / f"sub-01_task-movie_{name}_events.tsv", sep="\t", index=False)
    stimuli = {clip: f"stimuli/{clip}.npy" for clip in "abcd"}
    manifest = manifest_of(tmp_path, stimuli=stimuli, frame_rate_hz=1.0, dummy_scans=1)
    both = (
        "--dataset",
        manifest,
        "--subject",
        "sub-01",
        "--data",
        tmp_path / "data",
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    code, _, err = run("decode", *both, "--layers", "R3", "--bands", "none", "--delays", "3")
    assert code == 0, err
    n_scored = LENGTHS["run-4"] - 1 - 2
    assert pd.read_csv(tmp_path / "out" / "layers.tsv", sep="\t")["n_scans"].tolist() == [n_scored]
    code, _, err = run("reconstruct", *both, "--layers", "R3", "--shifts", "1")
    assert code == 0, err
    frames = pd.read_csv(next((tmp_path / "out").glob("reconstruction_*_frames.tsv")), sep="\t")
    assert frames["time_s"].max() == pytest.approx(n_scored * TR_S, abs=TR_S)


def test_voxels_that_never_vary_are_counted(run, tmp_path, folder):
    features, _, inside = write_bids(folder)
    path = next(folder.glob("derivatives/**/*run-3_space-T1w_desc-preproc_bold.nii.gz"))
    volume = np.asarray(nib.load(path).dataobj).copy()
    for cell in np.argwhere(inside)[[2, 5, 6]]:
        volume[tuple(cell)] = 700
    nib.save(nib.Nifti1Image(volume, AFFINE), path)
    out = check(run, manifest_of(tmp_path), tmp_path, features)
    runs = json.loads((out / "decode.json").read_text())["runs"]
    assert [one["n_constant_voxels"] for one in runs] == [0, 0, 3, 0]


def test_confounds_of_every_strategy_have_few_columns(tmp_path, folder):
    write_bids(folder)
    recording = load(tmp_path, manifest_of(tmp_path))
    found = {
        name: recording.runs[0].confounds(name).shape[1] for name in ("motion", "motion24", "motion+wm_csf", "simple")
    }
    assert found == {"motion": 6, "motion24": 24, "motion+wm_csf": 8, "simple": 27}
    table = pd.read_csv(next(folder.glob("derivatives/**/*run-1_desc-confounds_timeseries.tsv")), sep="\t")
    columns = [f"{kind}_{axis}" for kind in ("rot", "trans") for axis in "xyz"]
    found = recording.runs[0].confounds("motion")
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(table[columns].to_numpy(), axis=1), atol=1e-9)


def test_components_of_noise_are_six_beside_movement_and_cosines(tmp_path, folder):
    write_bids(folder)
    path = next(folder.glob("derivatives/**/*run-1_desc-confounds_timeseries.tsv"))
    table, rng = pd.read_csv(path, sep="\t"), np.random.default_rng(1)
    names = [f"a_comp_cor_{number:02d}" for number in range(9)]
    table = pd.concat([table, pd.DataFrame(rng.normal(0, 1, (37, 9)), columns=names)], axis=1)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    about = {"Method": "aCompCor", "Mask": "combined", "Retained": True, "VarianceExplained": 0.1}
    path.with_suffix(".json").write_text(json.dumps(dict.fromkeys(names, about)))
    recording = load(tmp_path, manifest_of(tmp_path))
    found = recording.runs[0].confounds("compcor")
    assert found.shape == (37, 24 + 1 + 6)
    assert recording.runs[0].confounds("simple+global").shape == (37, 24 + 1 + 2 + 1)
    for name in names[:6]:
        assert np.isclose(found, table[name].to_numpy()[:, None]).all(axis=0).any(), name


def test_confounds_of_the_first_fmriprep_are_renamed(tmp_path, folder):
    write_bids(folder)
    func = folder / "derivatives" / "fmriprep" / "sub-01" / "func"
    (func / "sub-01_task-movie_run-1_desc-confounds_timeseries.tsv").unlink()
    table = pd.DataFrame(
        np.random.default_rng(0).normal(0, 1, (37, 9)),
        columns=["CSF", "WhiteMatter", "GlobalSignal", "X", "Y", "Z", "RotX", "RotY", "RotZ"],
    )
    table.assign(stdDVARS=1.0, aCompCor00=2.0).to_csv(
        func / "sub-01_task-movie_run-1_bold_confounds.tsv", sep="\t", index=False
    )
    recording = load(tmp_path, manifest_of(tmp_path))
    found = recording.runs[0].confounds("motion+wm_csf")
    expected = table[["X", "Y", "Z", "RotX", "RotY", "RotZ", "CSF", "WhiteMatter"]].to_numpy()
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(expected, axis=1), atol=1e-9)
    assert recording.runs[0].confounds("motion24").shape == (37, 24)


@pytest.mark.parametrize("name", ["non_steady_state_outlier{:02d}", "NonSteadyStateOutlier{:02d}"])
def test_scans_before_the_steady_state_must_be_left_out(run, tmp_path, folder, name):
    features, _, _ = write_bids(folder)
    for path in func_of(folder).glob("*confounds_timeseries.tsv"):
        table = pd.read_csv(path, sep="\t")
        spikes = pd.DataFrame(np.eye(len(table), 3, dtype=int), columns=[name.format(scan) for scan in range(3)])
        pd.concat([table, spikes], axis=1).to_csv(path, sep="\t", index=False, na_rep="n/a")
    manifest = manifest_of(tmp_path, confounds="motion")
    code, err, _ = decode(run, manifest, tmp_path, features)
    assert code == 1
    assert "run run-1: fMRIPrep marks its first 3 scans as not yet steady" in err
    lengths = {name: n_scans - 3 for name, n_scans in LENGTHS.items()}
    short = {name: values[3:] for name, values in features.items()}
    check(run, manifest, tmp_path, short, "--dummy-scans", 3, lengths=lengths)


def test_runs_that_are_too_short_for_the_high_pass_are_told(tmp_path, folder):
    write_bids(folder)
    said = []

    class Told(SilentReporter):
        def say(self, message):
            said.append(message)

    for high_pass_s in (40.0, 120.0):  # runs of 46.5 to 64.5 s
        config = DecodeConfig("sub-01", manifest_of(tmp_path), features="none", high_pass_s=high_pass_s)
        find_recording(config, tmp_path / "data", Told())
    (note,) = said
    assert "2 of 4 runs are shorter than half the high-pass period (120 s)" in note
