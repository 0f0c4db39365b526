"""`brainpred encode` from the command line: voxels predicted, mapped and tabulated."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.errors import DataError
from brainpred.studies.encode import EncodeConfig, encode_subject
from tests.recorder import Recorder
from tests.recordings.layouts import (
    DELAY_SCANS,
    LENGTHS,
    TR_S,
    run_entries,
    write_bids,
    write_features,
    write_manifest,
)


def test_voxels_of_the_small_subject_are_predicted(run, tiny_data, tmp_path):
    code, out, _ = run(
        "encode", "--subject", "sim01", "--data", tiny_data, "--out", tmp_path, "--layers", "R3", "pixels",
        "--permutations", "19", "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "voxels predicted" in out
    voxels = pd.read_csv(tmp_path / "encoding_voxels.tsv", sep="\t")
    assert len(voxels) == 419
    assert set(voxels["data"]) == {"simulated"}
    regions = pd.read_csv(tmp_path / "encoding.tsv", sep="\t")
    assert regions["n_voxels"].sum() == 419
    assert {"r2_R3", "r2_pixels"} <= set(regions)
    shares = pd.read_csv(tmp_path / "encoding_layers.tsv", sep="\t")
    assert list(shares["layer"]) == ["R3", "pixels"] * len(regions)
    assert set(shares["roi"]) == set(regions["roi"])
    assert ((shares["share_low"] <= shares["share"]) & (shares["share"] <= shares["share_high"])).all()
    image = nib.load(tmp_path / "encoding_r2_pixels.nii.gz")
    assert b"simulated" in image.header["descrip"].item()
    inside = image.get_fdata()[image.get_fdata() != 0]
    np.testing.assert_allclose(np.sort(inside), np.sort(voxels["r2_pixels"][voxels["r2_pixels"] != 0]), atol=1e-4)
    q = nib.load(tmp_path / "encoding_q.nii.gz").get_fdata()
    assert np.count_nonzero(q) == voxels["q"].notna().sum()
    settings = json.loads((tmp_path / "encode.json").read_text())
    assert settings["n_units"] == {"R3": [48, 8, 10], "pixels": [3, 16, 20]}
    assert settings["delays_scans"] == [3, 4, 5, 6]
    assert not (tmp_path / "report.html").exists(), "there is no report without decoded layers"


def test_bars_go_to_their_end(tiny_data, tmp_path):
    recorder = Recorder()
    config = EncodeConfig("sim01", layers=("R3", "pixels"), n_permutations=9)
    encode_subject(config, tmp_path, data=tiny_data, reporter=recorder)
    assert recorder.stopped_short() == []
    assert recorder.outermost[-2:] == ["Encoding R3 pixels", "Shares of layers"]
    for name in ("Permuting blocks of time", "Drawing blocks of time", "Clusters of targets"):
        assert recorder.tasks[name][0] == 419


@pytest.mark.parametrize("error", [DataError("Too little."), MemoryError("Unable to allocate 99 GiB")])
def test_encoding_is_kept_where_shares_cannot_be_told(tiny_data, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        assert (tmp_path / "encode.json").is_file()
        raise error

    monkeypatch.setattr("brainpred.studies.encode.layer_shares", fail)
    recorder = Recorder()
    encode_subject(EncodeConfig("sim01", layers=("R3",), n_permutations=9), tmp_path, data=tiny_data, reporter=recorder)
    assert f"Note: the shares of layers (encoding_layers.tsv) are left out. {error}" in recorder.said
    shares = pd.read_csv(tmp_path / "encoding_layers.tsv", sep="\t")
    assert set(shares["layer"]) == {"R3"}
    assert shares[["share", "share_low", "share_high"]].isna().all(axis=None)


@pytest.mark.parametrize(("kind", "ending"), [("surface", "_hemi-R.func.gii"), ("grayordinates", ".dscalar.nii")])
def test_maps_are_of_the_kind_of_the_scans_and_cleaning_reaches_them(run, tmp_path, monkeypatch, kind, ending):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    features, _, _ = write_bids(tmp_path / "data" / "toy", kind)
    options = {"kind": kind, "task": "movie"}
    manifest = write_manifest(tmp_path / "toy.yaml", "bids", runs=run_entries(), options=options)
    table = write_features(tmp_path / "features.tsv", {name: values[3:] for name, values in features.items()})
    out = tmp_path / "out"
    arguments = (
        "--dataset", manifest, "--subject", "sub-01", "--features", table, "--data", tmp_path / "data", "--out", out,
        "--delays", DELAY_SCANS * TR_S, "--permutations", "19", "--confounds", "motion", "--dummy-scans", "3",
        "--high-pass-s", "50", "--quiet",
    )  # fmt: skip
    for command in ("decode", "encode"):
        code, _, err = run(command, *arguments)
        assert code == 0, err
    settings = json.loads((out / "encode.json").read_text())
    assert settings["cleaning"] == json.loads((out / "decode.json").read_text())["cleaning"] == {
        "dummy_scans": 3, "high_pass_s": 50.0, "confounds": "motion", "percent_signal_change": False,
        "detrend": "linear", "scale": "z-score (n - 1)",
    }  # fmt: skip
    assert settings["n_scans"] == LENGTHS["run-4"] - 3 - DELAY_SCANS
    assert pd.read_csv(out / "encoding.tsv", sep="\t")["mean_r"].mean() > 0.5
    for name in ("encoding_r", "encoding_r2_features", "contribution_features", "pattern_features", "tsnr"):
        assert (out / f"{name}{ending}").is_file()
    assert not list(out.glob("*.nii.gz"))
    report = (out / "report.html").read_text()
    for name in ("encoding_r", "pattern_features", "tsnr"):
        assert f"{name}{ending}" in report
    assert "could not be drawn" not in report


def test_unusable_options_exit_2(run, tmp_path):
    for extra, word in (
        (["--layers", "R9"], "R0, R1, R2, R3, pixels, motion"),
        (["--permutations", "0"], "At least"),
        (["--confounds", "all"], "Unknown confounds"),
    ):
        code, _, err = run("encode", "--subject", "sim01", "--out", tmp_path / "none", *extra)
        assert code == 2
        assert word in err
    assert not (tmp_path / "none").exists()


def encoded_files(folder):
    return sorted(path.name for path in folder.rglob("*") if "encod" in path.name)


def test_encoding_goes_when_other_scans_are_decoded_in_its_folder(run, tiny_data, tmp_path):
    arguments = (
        "--subject", "sim01", "--data", tiny_data, "--out", tmp_path, "--layers", "R3", "--permutations", "19",
    )  # fmt: skip
    for command in ("decode", "encode"):
        assert run(command, *arguments, "--quiet")[0] == 0
    assert "encoding_r.nii.gz" in encoded_files(tmp_path)
    assert "encoding.png" in encoded_files(tmp_path)
    # Other bands are another decoder of the same data: the encoding still belongs to them.
    assert run("decode", *arguments, "--bands", "none", "--quiet")[0] == 0
    assert "encoding_r.nii.gz" in encoded_files(tmp_path)
    assert "encoding_r.nii.gz" in (tmp_path / "report.html").read_text()

    code, _, err = run("encode", *arguments, "--percent-signal-change", "--quiet")
    assert code == 2
    assert "other cleaning" in err
    code, out, err = run("decode", *arguments, "--percent-signal-change")
    assert code == 0
    assert "removed what brainpred encode wrote here" in out + err
    assert encoded_files(tmp_path) == []
    assert run("encode", *arguments, "--percent-signal-change", "--quiet")[0] == 0


def test_page_does_not_show_an_encoding_of_other_data(run, tiny_data, tmp_path):
    arguments = (
        "--subject", "sim01", "--data", tiny_data, "--out", tmp_path, "--layers", "R3", "--permutations", "19",
        "--quiet",
    )  # fmt: skip
    for command in ("decode", "encode"):
        assert run(command, *arguments)[0] == 0
    settings = json.loads((tmp_path / "encode.json").read_text())
    (tmp_path / "encode.json").write_text(json.dumps(settings | {"data_key": "of other scans"}))
    assert run("report", "--subject", "sim01", "--out", tmp_path, "--quiet")[0] == 0
    report = (tmp_path / "report.html").read_text()
    assert "tells of other scans, features or cleaning" in report
    assert "encoding_r.nii.gz" not in report
