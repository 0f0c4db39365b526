"""Public data sets and plain arrays, in files of their layout: what was written is read, and can be decoded."""

import json
import tracemalloc

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.errors import DataError
from brainpred.recordings.readers import load_recording
from brainpred.recordings.spaces import UNPLACED
from tests.recordings.layouts import (
    AFFINE,
    LENGTHS,
    TR_S,
    VIM2_GRID,
    draw_inside,
    draw_subject,
    run_entries,
    write_algonauts,
    write_array,
    write_bdata,
    write_features,
    write_manifest,
    write_shortclips,
    write_vim2,
)
from tests.recordings.round_trip import check, map_values


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("BRAINPRED_DATA", raising=False)
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    return tmp_path / "data" / "toy"


def load(tmp_path, manifest, subject="sub-01"):
    return load_recording(manifest, subject, tmp_path / "data")


def assert_read(recording, bold, columns=slice(None)):
    assert [run.name for run in recording.runs] == list(bold)
    for run in recording.runs:
        np.testing.assert_array_equal(recording.read_run(run), bold[run.name][:, columns], err_msg=run.name)


# ------------------------------------------------------------------------------------------------- vim-2


def vim2(tmp_path, **fields):
    options = {"n_train_runs": 3} | fields.pop("options", {})
    files = {"responses": "VoxelResponses_{subject}.mat"}
    return write_manifest(tmp_path / "toy.yaml", "vim2", **({"files": files, "options": options} | fields))


def test_vim2_comes_as_it_lies_in_the_file(tmp_path, folder):
    _, bold, inside = write_vim2(folder)
    recording = load(tmp_path, vim2(tmp_path))
    assert_read(recording, bold)
    assert [run.stimulus for run in recording.runs] == ["train-01", "train-02", "train-03", "test", "test", "test"]
    assert [run.role for run in recording.runs] == ["train"] * 3 + ["test"] * 3
    assert set(recording.roi_masks) == {"v1lh", "v1rh", "v2lh"}
    expected = np.isin(np.flatnonzero(inside), np.arange(10, 23))
    np.testing.assert_array_equal(recording.roi_masks["v1rh"], expected)
    assert recording.rois[expected].tolist().count("v1lh") == (np.flatnonzero(inside)[expected] < 13).sum()


def test_vim2_round_trip(run, tmp_path, folder):
    features, _, inside = write_vim2(folder)
    lengths = dict.fromkeys(("train-01", "train-02", "train-03"), 37) | {"test": 29}
    out = check(run, vim2(tmp_path), tmp_path, features, lengths=lengths, tests=("test",))
    np.testing.assert_array_equal(map_values(out, ".nii.gz") != 0, inside)
    image = nib.load(out / "contribution_features.nii.gz")
    assert image.shape == VIM2_GRID
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    assert (out / "explainable_variance.nii.gz").is_file(), "repeats tell explainable variance"


def test_voxel_index_of_vim2_picks_rows(tmp_path, folder):
    _, bold, inside = write_vim2(folder)
    np.save(folder / "index.npy", np.flatnonzero(inside)[2:9])
    recording = load(tmp_path, vim2(tmp_path, voxel_index="index.npy"))
    assert_read(recording, bold, slice(2, 9))


def test_voxels_that_are_nan_are_left_out_with_their_number_unless_they_are_named(tmp_path, folder):
    _, _, inside = write_vim2(folder)
    n_outside = (~inside).sum()
    notes = (f"{n_outside} of {inside.size} voxels are NaN and are left out.", UNPLACED)
    assert load(tmp_path, vim2(tmp_path)).notes == notes
    np.save(folder / "index.npy", np.arange(10, 50))
    recording = load(tmp_path, vim2(tmp_path, voxel_index="index.npy"))
    assert recording.n_voxels == 40
    words = rf"{(~inside[10:50]).sum()} of 40 voxels hold NaN .*Leave them out of the mask or voxel index"
    with pytest.raises(DataError, match=words):
        recording.read_run(recording.runs[0])


def test_mean_of_repeats_serves_where_the_repeats_are_missing(tmp_path, folder):
    _, bold, _ = write_vim2(folder)
    with h5py.File(folder / "VoxelResponses_sub-01.mat", "a") as file:
        del file["rva"]
    recording = load(tmp_path, vim2(tmp_path))
    mean = np.mean([bold[f"test_repeat-0{number}"] for number in (1, 2, 3)], axis=0)
    (test,) = recording.runs_with_role("test")
    np.testing.assert_allclose(recording.read_run(test), mean, rtol=1e-6)


def test_movies_of_vim2_are_cut_by_the_manifest(tmp_path, folder):
    write_vim2(folder)
    stimuli = {f"train-{n:02d}": f"Stimuli.mat::st@15[{37 * (n - 1)}:{37 * n}]" for n in (1, 2, 3)}
    recording = load(tmp_path, vim2(tmp_path, stimuli=stimuli | {"test": "Stimuli.mat::sv@15"}))
    assert recording.stimuli["train-02"].excerpts[0].from_s == 37
    assert recording.stimuli["test"].excerpts[0].data_set == "sv"


def test_runs_of_vim2_that_the_manifest_lists_are_read_as_it_says(tmp_path, folder):
    write_vim2(folder)
    runs = [
        {"name": "train-03", "role": "train"},
        {"name": "train-01", "role": "train"},
        {"name": "test", "role": "test"},
    ]
    recording = load(tmp_path, vim2(tmp_path, runs=runs))
    assert [run.name for run in recording.runs[:3]] == ["train-03", "train-01", "test_repeat-01"]
    with pytest.raises(DataError, match="run train-04: the manifest lists it, but the files hold train-01, train-02"):
        load(tmp_path, vim2(tmp_path, runs=[{"name": "train-04", "role": "train"}]))


@pytest.mark.parametrize("chunks", [None, (16, 32)])
def test_a_run_is_read_without_a_second_copy(tmp_path, folder, monkeypatch, chunks):
    """The property that benchmarks/recordings.py measures at full size: at most half a run beside the run itself."""
    monkeypatch.setattr("brainpred.recordings.array_files.BYTES_AT_ONCE", 2**17)
    n_voxels, n_scans, n_runs = 3001, 211, 4
    with h5py.File(folder / "VoxelResponses_sub-01.mat", "w") as file:
        rt = file.create_dataset("rt", (n_voxels, n_runs * n_scans), np.float32, chunks=chunks)
        rt[:] = np.random.default_rng(0).normal(0, 1, rt.shape)
        file.create_dataset("rva", (n_voxels, 2, 7), np.float32)
    np.save(folder / "index.npy", np.random.default_rng(1).permutation(n_voxels)[:2503])
    manifest = vim2(tmp_path, options={"n_train_runs": n_runs}, voxel_index="index.npy")
    load(tmp_path, manifest)  # imports take memory, once
    tracemalloc.start()
    try:
        recording = load(tmp_path, manifest)
        bold = recording.read_run(recording.runs[2])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bold.shape == (n_scans, 2503)
    assert peak <= 1.5 * bold.nbytes


# -------------------------------------------------------------------------------------------- shortclips


def shortclips(tmp_path, **fields):
    files = {"responses": "responses/{subject}_responses.hdf", "mapper": "mappers/{subject}_mapper.hdf"}
    return write_manifest(tmp_path / "toy.yaml", "shortclips", **({"files": files} | fields))


def test_shortclips_round_trip(run, tmp_path, folder):
    features, bold, matrix = write_shortclips(folder)
    recording = load(tmp_path, shortclips(tmp_path))
    assert_read(recording, bold)
    np.testing.assert_array_equal(np.flatnonzero(recording.roi_masks["V2"]), [4, 7, 11, 16])
    assert recording.rois[[3, 4, 7, 8]].tolist() == ["V1", "V1", "V2", "other"]
    images = recording.to_image(np.arange(17))
    found = np.concatenate([image.darrays[0].data for image in images])
    np.testing.assert_allclose(found, matrix.toarray() @ np.arange(17), rtol=1e-6)
    lengths = {"train-01": 37, "train-02": 43, "train-03": 31, "test": 29}
    check(run, shortclips(tmp_path), tmp_path, features, lengths=lengths, tests=("test",), ending=".func.gii")


def test_voxels_of_shortclips_that_are_nan_are_left_out_with_their_number(tmp_path, folder):
    _, bold, matrix = write_shortclips(folder)
    finite = ~np.isin(np.arange(17), [2, 11])
    with h5py.File(folder / "responses" / "sub-01_responses.hdf", "a") as file:
        file["Y_train"][:, 2] = file["Y_test"][:, :, 11] = np.nan
    recording = load(tmp_path, shortclips(tmp_path))
    assert recording.notes == ("2 of 17 voxels are NaN and are left out.",)
    assert_read(recording, bold, finite)
    assert recording.roi_masks["V2"].sum() == 3
    values = np.arange(17.0)
    found = np.concatenate([image.darrays[0].data for image in recording.to_image(values[finite])])
    np.testing.assert_allclose(found, matrix.toarray()[:, finite] @ values[finite], rtol=1e-6)


def test_shortclips_without_a_mapper_become_a_table(run, tmp_path, folder):
    features, bold, _ = write_shortclips(folder)
    (folder / "index.txt").write_text("3\n16\n0\n7\n9\n12\n")
    manifest = shortclips(tmp_path, files={"responses": "responses/{subject}_responses.hdf"}, voxel_index="index.txt")
    assert_read(load(tmp_path, manifest), bold, [0, 3, 7, 9, 12, 16])
    out = check(run, manifest, tmp_path, features, lengths={"test": 29}, tests=("test",), ending=".tsv")
    assert len(map_values(out, ".tsv")) == 6


# --------------------------------------------------------------------------------------------- Algonauts


def algonauts(tmp_path, roles=("V1", "LOC"), **fields):
    options = {"videos_per_run": 13} | fields.pop("options", {})
    files = {role: f"{{subject}}_{role}.pkl" for role in roles} | fields.pop("files", {})
    return write_manifest(tmp_path / "toy.yaml", "algonauts", **({"files": files, "options": options} | fields))


def test_algonauts_round_trip(run, tmp_path, folder):
    features, content = write_algonauts(folder)
    recording = load(tmp_path, algonauts(tmp_path))
    assert [run.n_scans for run in recording.runs] == [13] * 12 + [9] * 3
    assert [run.stimulus for run in recording.runs[3:7]] == ["videos-02"] * 3 + ["videos-03"]
    assert {run.role for run in recording.runs[:12]} == {"train"}
    expected = np.concatenate([content["V1"], content["LOC"]], axis=2).astype(np.float32)
    np.testing.assert_array_equal(recording.read_run(recording.runs[4]), expected[13:26, 1])
    assert recording.rois.tolist() == ["V1"] * 7 + ["LOC"] * 11
    shown = {run.name: features[13 * (number // 3) :][: run.n_scans] for number, run in enumerate(recording.runs)}
    manifest = algonauts(tmp_path)
    table = write_features(tmp_path / "features.tsv", shown)
    code, _, err = run(
        "decode", "--dataset", manifest, "--subject", "sub-01", "--features", table, "--data", tmp_path / "data",
        "--out", tmp_path / "out", "--delays", "0", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    row = pd.read_csv(tmp_path / "out" / "layers.tsv", sep="\t").iloc[0]
    assert row["n_scans"] == 9
    assert row["mean_r"] > 0.7
    assert (tmp_path / "out" / "contribution_features.tsv").is_file()


def test_whole_brain_of_algonauts_is_a_volume(tmp_path, folder):
    mask = draw_inside((4, 3, 5), seed=2)
    write_algonauts(folder, sizes=(("WB", int(mask.sum())),), mask=mask.astype(float))
    nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), AFFINE), folder / "example.nii.gz")
    recording = load(tmp_path, algonauts(tmp_path, roles=("WB",), files={"reference": "example.nii.gz"}))
    values = np.arange(1, mask.sum() + 1)
    image = recording.to_image(values)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[mask], values)
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert recording.notes == ()
    elsewhere = load(tmp_path, algonauts(tmp_path, roles=("WB",)))
    assert elsewhere.notes == (UNPLACED,)
    assert int(elsewhere.to_image(values).header["sform_code"]) == 0


def test_videos_of_algonauts_are_shown_one_a_scan(tmp_path, folder):
    write_algonauts(folder)
    (folder / "videos").mkdir()
    for number in range(70):
        (folder / "videos" / f"{number:04d}.mp4").touch()
    recording = load(tmp_path, algonauts(tmp_path, stimuli={"videos": "videos"}))
    movie = recording.stimuli["videos-02"]
    assert [excerpt.path.stem for excerpt in movie.excerpts] == [f"{number:04d}" for number in range(13, 26)]
    assert [excerpt.onset_s for excerpt in movie.excerpts] == [TR_S * number for number in range(13)]
    assert {run.file for run in recording.runs} == {"sub-01_V1.pkl"}


# ------------------------------------------------------------------------------------------------- BData


@pytest.mark.parametrize("kind", ["h5", "mat", "mat v7.3"])
def test_bdata_round_trip(run, tmp_path, folder, kind):
    suffix = kind.split()[0]
    features, bold, cells = write_bdata(folder / f"sub-01.{suffix}", kind=kind)
    entries = [{**entry, "name": entry["name"].replace("run-", "run-0")} for entry in run_entries()]
    manifest = write_manifest(tmp_path / "toy.yaml", "bdata", files={"bdata": f"{{subject}}.{suffix}"}, runs=entries)
    recording = load(tmp_path, manifest)
    order = np.argsort(cells)
    assert_read(recording, {name.replace("run-", "run-0"): scans[:, order] for name, scans in bold.items()})
    np.testing.assert_array_equal(recording.roi_masks["V2"], order >= 6)
    image = recording.to_image(np.arange(19) + 1)
    np.testing.assert_array_equal(np.diag(image.affine), [3, 2, 4, 1])
    cell = np.unravel_index(cells[order[5]], (3, 5, 2))
    place = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) == 6)[0])
    np.testing.assert_allclose(place, [3 * cell[0] - 9, 2 * cell[1] + 5, 4 * cell[2] - 30.5])
    check(run, manifest, tmp_path, {name.replace("run-", "run-0"): values for name, values in features.items()})


def test_bdata_without_places_become_a_table(tmp_path, folder):
    _, bold, _ = write_bdata(folder / "sub-01.h5", places=False)
    options = {"test_runs": ["*-04"]}
    manifest = write_manifest(tmp_path / "toy.yaml", "bdata", files={"bdata": "{subject}.h5"}, options=options)
    recording = load(tmp_path, manifest)
    assert [run.role for run in recording.runs] == ["train"] * 3 + ["test"]
    assert_read(recording, {name.replace("run-", "run-0"): scans for name, scans in bold.items()})


# ------------------------------------------------------------------------------------------------ arrays


@pytest.mark.parametrize("kind", [".npy", ".npz", ".h5", ".mat", ".mat v7.3"])
@pytest.mark.parametrize("axes", ["scans,voxels", "voxels,scans"])
def test_arrays_come_as_they_lie_in_the_files(tmp_path, folder, kind, axes):
    _, bold = draw_subject(13)
    suffix, *new = kind.split()
    for name, scans in bold.items():
        values = scans if axes == "scans,voxels" else scans.T
        write_array(folder / f"sub-01_{name}{suffix}", values, v73=bool(new))
    files = {"bold": "{subject}_{run}" + suffix + ("" if suffix == ".npy" else "::bold")}
    options = {"axes": axes}
    manifest = write_manifest(tmp_path / "toy.yaml", "arrays", files=files, options=options, runs=run_entries())
    assert_read(load(tmp_path, manifest), bold)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".mat"])
def test_arrays_round_trip_with_a_sidecar(run, tmp_path, folder, suffix):
    inside = draw_inside()
    features, bold = draw_subject(int(inside.sum()))
    write_array(folder / f"sub-01{suffix}", np.concatenate(list(bold.values())))
    runs = [{**entry, "n_scans": LENGTHS[entry["name"]]} for entry in run_entries()]
    (folder / "sub-01.json").write_text(json.dumps({"RepetitionTime": TR_S, "runs": runs, "Lab": "ours"}))
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), AFFINE), folder / "mask.nii.gz")
    array = suffix if suffix == ".npy" else f"{suffix}::bold"
    files = {"bold": "{subject}" + array, "sidecar": "{subject}.json", "mask": "mask.nii.gz"}
    manifest = write_manifest(tmp_path / "toy.yaml", "arrays", files=files)
    assert_read(load(tmp_path, manifest), bold)
    out = check(run, manifest, tmp_path, features)
    np.testing.assert_array_equal(map_values(out, ".nii.gz") != 0, inside.ravel())


def test_one_file_may_hold_an_array_a_run(tmp_path, folder):
    _, bold = draw_subject(13)
    np.savez(folder / "sub-01.npz", **bold)
    files = {"bold": "{subject}.npz::{run}"}
    manifest = write_manifest(tmp_path / "toy.yaml", "arrays", files=files, runs=run_entries())
    assert_read(load(tmp_path, manifest), bold)


def test_images_choose_columns_of_arrays_with_a_mask(tmp_path, folder):
    inside, v1 = draw_inside(), draw_inside(seed=3)
    _, bold = draw_subject(int(inside.sum()))
    for name, scans in bold.items():
        write_array(folder / f"{name}.npy", scans)
    for name, values in (("mask", inside), ("v1", v1)):
        nib.save(nib.Nifti1Image(values.astype(np.uint8), AFFINE), folder / f"{name}.nii.gz")
    fields = {"files": {"bold": "{run}.npy", "mask": "mask.nii.gz"}, "runs": run_entries()}
    manifest = write_manifest(tmp_path / "toy.yaml", "arrays", rois={"V1": "v1.nii.gz"}, **fields)
    recording = load(tmp_path, manifest)
    np.testing.assert_array_equal(recording.roi_masks["V1"], v1[inside])
    manifest = write_manifest(tmp_path / "toy.yaml", "arrays", mask="v1.nii.gz", **fields)
    recording = load(tmp_path, manifest)
    assert_read(recording, bold, v1[inside])
    np.testing.assert_array_equal(np.asarray(recording.space.mask.dataobj) > 0, inside & v1)


def test_arrays_without_a_mask_become_a_table(run, tmp_path, folder):
    features, bold = draw_subject(13)
    for name, scans in bold.items():
        write_array(folder / f"{name}.npy", scans)
    (folder / "v1.txt").write_text("0\n5\n6\n")
    manifest = write_manifest(
        tmp_path / "toy.yaml", "arrays", files={"bold": "{run}.npy"}, runs=run_entries(), rois={"V1": "v1.txt"}
    )
    flags = ("--percent-signal-change", "--high-pass-s", "40")
    out = check(run, manifest, tmp_path, features, *flags, ending=".tsv")
    assert json.loads((out / "decode.json").read_text())["cleaning"] == {
        "dummy_scans": 0, "high_pass_s": 40.0, "confounds": None, "percent_signal_change": True,
        "detrend": "linear", "scale": "percent signal change",
    }  # fmt: skip
    report = " ".join((out / "report.html").read_text().split())
    assert "freed of drifts slower than 40 s and scaled to percent signal change within each run" in report
    assert pd.read_csv(out / "contribution_features.tsv", sep="\t")["roi"].tolist().count("V1") == 3
