"""Decoding end to end on a small simulated subject: files, truth, resume, honesty."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.decoding.result import load_result
from brainpred.numerics.bootstrap import fisher_mean
from brainpred.numerics.scores import pearson_correlation
from brainpred.recordings.readers import load_recording
from brainpred.studies import decode as decode_module
from brainpred.studies.decode import DecodeConfig, decode_subject
from tests.recorder import Recorder


def test_everything_promised_is_written_and_called_simulated(decoded):
    layers = pd.read_csv(decoded / "layers.tsv", sep="\t")
    assert layers["layer"].tolist() == ["R0", "R1", "R2", "R3", "motion", "pixels"]
    assert set(layers["data"]) == {"simulated"}
    units = pd.read_csv(decoded / "scores.tsv", sep="\t")
    assert len(units) == layers["n_units"].sum() == 75_520 + 1920 + 960
    assert {"p", "q", "r2_rest"} <= set(units)
    channels = pd.read_csv(decoded / "channels.tsv", sep="\t")
    assert channels.groupby("layer")["n_units"].sum().to_dict() == layers.set_index("layer")["n_units"].to_dict()
    bands = pd.read_csv(decoded / "bands.tsv", sep="\t")
    np.testing.assert_allclose(
        bands.groupby("layer")["r2"].sum(), layers.set_index("layer")["mean_r2"].sort_index(), atol=1e-5
    )
    differences = pd.read_csv(decoded / "differences.tsv", sep="\t")
    assert len(differences) == 4 * 2
    r = layers.set_index("layer")["mean_r"]
    np.testing.assert_allclose(
        differences["difference"], [r[row.layer] - r[row.baseline] for row in differences.itertuples()], atol=1e-4
    )
    lags = pd.read_csv(decoded / "lags.tsv", sep="\t")
    assert sorted(set(lags["delay_s"])) == [3, 4, 5, 6]
    assert "Simulated data" in (decoded / "report.html").read_text()
    settings = json.loads((decoded / "decode.json").read_text())
    assert settings["simulated"] is True
    assert settings["provenance"]["versions"]["torch"]
    for name in (
        "contribution_R2.nii.gz",
        "contribution_any.nii.gz",
        "pattern_pixels.nii.gz",
        "explainable_variance.nii.gz",
    ):
        image = nib.load(decoded / name)
        assert np.count_nonzero(image.get_fdata()) <= 419
        assert b"simulated" in image.header["descrip"].item()
    assert not list(decoded.rglob(".part-*"))


def test_bars_go_to_their_end_and_stand_over_all_that_takes_time(tiny_data, tmp_path):
    recorder = Recorder()
    config = DecodeConfig("sim01", layers=("R3", "pixels"), n_permutations=9)
    decode_subject(config, tmp_path, data=tiny_data, reporter=recorder)
    assert recorder.stopped_short() == []
    assert recorder.outermost[-4:] == [
        "Decoding R3 pixels", "Permuting blocks of time", "Writing tables and maps", "Writing the report",
    ]  # fmt: skip
    assert recorder.tasks["Decoding R3 pixels"][0] == 3 * (3840 + 960)
    assert recorder.tasks["Predicting R3"][0] == 4 * 3840
    assert recorder.tasks["Scoring pixels"][0] == 960


def test_some_units_are_fitted_again_to_permuted_features(run, tiny_data, tmp_path):
    code, out, err = run(
        "decode", "--subject", "sim01", "--data", tiny_data, "--out", tmp_path, "--layers", "R3", "pixels",
        "--permutations", "19", "--refit-permutations", "3", "--refit-units", "5",
    )  # fmt: skip
    assert code == 0, err
    told = " ".join((out + err).split())
    assert "with 19 permutations no p is below 0.05" in told
    assert "blocks of time are few. The width of intervals is itself uncertain by about" in told
    table = pd.read_csv(tmp_path / "refit.tsv", sep="\t")
    assert table["layer"].tolist() == ["R3"] * 5 + ["pixels"] * 5
    assert table["unit"].tolist()[:5] == [0, 960, 1920, 2879, 3839]
    assert set((4 * table["p"].dropna()).round(6)) <= {1, 2, 3, 4}
    settings = json.loads((tmp_path / "decode.json").read_text())
    assert settings["n_refit_permutations"] == 3
    assert settings["block_scans_wanted"] >= 1
    assert {path.name for path in tmp_path.glob("refit_*")} == {"refit_R3.h5", "refit_pixels.h5"}
    code, _, err = run("decode", "--subject", "sim01", "--out", tmp_path, "--refit-units", "0")
    assert code == 2
    assert "1 or more units" in err


def test_fitting_again_goes_on_where_it_was_stopped(tiny_data, tmp_path, monkeypatch):
    config = DecodeConfig(
        "sim01", layers=("R3", "pixels"), n_permutations=9, n_refit_permutations=2, n_refit_units=3
    )  # fmt: skip
    fitted, refit = [], decode_module.refit_permutations

    def stopped_at_the_second(splits, layer, *arguments, **settings):
        fitted.append(layer)
        if fitted == ["R3", "pixels"]:
            raise KeyboardInterrupt
        return refit(splits, layer, *arguments, **settings)

    monkeypatch.setattr(decode_module, "refit_permutations", stopped_at_the_second)
    monkeypatch.setattr(decode_module, "write_report", lambda folder, reporter: folder)  # to save time
    with pytest.raises(KeyboardInterrupt):
        decode_subject(config, tmp_path, data=tiny_data)
    assert not (tmp_path / "refit.tsv").exists()
    recorder = Recorder()
    decode_subject(config, tmp_path, data=tiny_data, reporter=recorder)
    assert fitted == ["R3", "pixels", "pixels"], "R3 was kept"
    assert recorder.tasks["Fitting to permuted features"] == [6, 6]
    went_on = (tmp_path / "refit.tsv").read_bytes()
    for file in tmp_path.glob("refit*"):
        file.unlink()
    decode_subject(config, tmp_path, data=tiny_data)
    assert (tmp_path / "refit.tsv").read_bytes() == went_on, "as without a stop"
    decode_subject(replace(config, n_refit_units=2), tmp_path, data=tiny_data)
    assert fitted[5:] == ["R3", "pixels"], "other units are fitted anew"
    (tmp_path / "refit_R3.h5").write_bytes(b"no HDF5")
    decode_subject(replace(config, n_refit_units=2), tmp_path, data=tiny_data)
    assert fitted[7:] == ["R3"], "a damaged file is made again"


def test_tables_agree_with_the_predictions_on_disk(decoded):
    units = pd.read_csv(decoded / "scores.tsv", sep="\t").set_index(["layer", "unit"])
    layers = pd.read_csv(decoded / "layers.tsv", sep="\t").set_index("layer")
    for layer in ("R0", "R3"):
        result = load_result(decoded / f"decoded_{layer}.h5")
        assert result.decoded.shape == (8, np.prod(result.shape)), "responses to the last 3 s come after the run"
        # Correlations survive the undoing of the z-score, which is linear in every unit.
        r = pearson_correlation(result.true.astype(float), result.decoded.astype(float))
        varies = result.decoded.std(axis=0) > 1e-3  # less than that drowns in the rounding of float32
        np.testing.assert_allclose(units.loc[layer, "r"].to_numpy()[varies], r[varies], atol=2e-3)
        np.testing.assert_allclose(layers.loc[layer, "mean_r"], fisher_mean(result.r), rtol=1e-4)


def test_map_and_roi_table_hold_the_same_contributions(decoded, tiny_data):
    recording = load_recording("simulated", "sim01", tiny_data)
    inside = np.asanyarray(recording.space.mask.dataobj) > 0
    table = pd.read_csv(decoded / "roi_contributions.tsv", sep="\t").set_index(["layer", "roi"])
    values = nib.load(decoded / "contribution_R0.nii.gz").get_fdata()[inside]
    for roi in np.unique(recording.rois):
        np.testing.assert_allclose(
            table.loc[("R0", roi), "contribution"], values[recording.rois == roi].sum(), rtol=1e-3, atol=1e-6
        )


def test_a_sample_of_the_training_runs_is_kept_from_the_decoder_fitted_to_it(decoded):
    result = load_result(decoded / "decoded_R0.h5")
    assert set(result.train_runs) == {"train-01"}
    assert result.train_true.shape == result.train_decoded.shape == (8, 15360)
    assert np.nanmean(pearson_correlation(result.train_true, result.train_decoded)) > np.nanmean(result.r)


def test_second_run_computes_nothing_and_changes_nothing(decoded, tiny_data, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a saved layer was computed again")

    before = (decoded / "scores.tsv").read_bytes()
    monkeypatch.setattr("brainpred.studies.decode.evaluate_layer", refuse)
    monkeypatch.setattr("brainpred.studies.decode.compare_with_chance", refuse)
    decode_subject(DecodeConfig("sim01"), decoded, data=tiny_data)
    assert (decoded / "scores.tsv").read_bytes() == before


def test_other_settings_do_not_reuse_saved_layers(tiny_data, tmp_path):
    first = decode_subject(DecodeConfig("sim01", layers=("R3",), bands="none"), tmp_path, data=tiny_data)
    second = decode_subject(
        DecodeConfig("sim01", layers=("R3",), bands="none", delays_s=(1.0,)), tmp_path, data=tiny_data
    )
    assert not np.allclose(first[0].decoded, second[0].decoded[:8])
    assert not (tmp_path / "film.h5").exists()


def test_damaged_saved_layer_is_computed_again(tiny_data, tmp_path):
    config = DecodeConfig("sim01", layers=("R3",), bands="none")
    first = decode_subject(config, tmp_path, data=tiny_data)
    path = tmp_path / "decoded_R3.h5"
    path.write_bytes(path.read_bytes()[:3000])
    second = decode_subject(config, tmp_path, data=tiny_data)
    np.testing.assert_array_equal(first[0].decoded, second[0].decoded)


@pytest.mark.slow
def test_killed_run_goes_on_where_it_stopped(tiny_data, tmp_path):
    """Kill the program once the first layer is on disk; the next run keeps that layer and does the rest."""
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "brainpred", "decode", "--subject", "sim01", "--data", str(tiny_data),
        "--out", str(out), "--layers", "R0", "R1", "R2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "decoded_R0.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = (out / "decoded_R0.h5").stat().st_mtime_ns
    assert not (out / "report.html").exists()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert (out / "decoded_R0.h5").stat().st_mtime_ns == kept
    assert (out / "report.html").exists()
    assert load_result(out / "decoded_R2.h5").layer == "R2"


def test_own_features_are_decoded_by_leaving_runs_out_when_nothing_is_a_test(run, tmp_path, monkeypatch):
    """A small data set of the attributes layout, whose BOLD carries three categories two scans later."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "data" / "haxby2001" / "slice"
    folder.mkdir(parents=True)
    n_runs, block, shape = 4, 5, (7, 5, 1)
    conditions = np.concatenate([np.repeat(np.append(rng.permutation(3), 3), block) for _ in range(n_runs)])
    runs = np.repeat(np.arange(n_runs), 4 * block)
    patterns = rng.standard_normal((4, np.prod(shape)))
    bold = rng.standard_normal((len(runs), np.prod(shape))) + 1.5 * patterns[np.roll(conditions, 1)]
    image = bold.T.reshape(*shape, -1).astype(np.float32)
    nib.save(nib.Nifti1Image(image + 500, np.diag([3.0, 3.5, 4.0, 1.0])), folder / "bold.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), np.diag([3.0, 3.5, 4.0, 1.0])), folder / "mask.nii.gz")
    (folder / "attributes_literal.txt").write_text(
        "".join(f"c{c} {r}\n" for c, r in zip(conditions, runs, strict=True))
    )
    table = pd.DataFrame({"run": runs} | {f"c{c}": (conditions == c).astype(int) for c in range(3)})
    table.to_csv(tmp_path / "categories.tsv", sep="\t", index=False)
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    code, out, _ = run(
        "decode", "--dataset", "haxby2001", "--subject", "sub001", "--features", tmp_path / "categories.tsv",
        "--data", tmp_path / "data", "--out", tmp_path / "out", "--delays", "2.5", "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "n-way" in out
    row = pd.read_csv(tmp_path / "out" / "layers.tsv", sep="\t").iloc[0]
    assert row["data"] == "measured"
    units = pd.read_csv(tmp_path / "out" / "scores.tsv", sep="\t")
    assert units["name"].tolist() == ["c0", "c1", "c2"]
    assert row["nway"] == 3
    assert row["identification_nway"] > 0.6
    assert row["n_scans"] == len(runs) - n_runs
    assert "Simulated data" not in (tmp_path / "out" / "report.html").read_text()
    code, _, err = run("reconstruct", "--dataset", "haxby2001", "--subject", "sub001", "--out", tmp_path / "out")
    assert code == 1
    assert "categories.tsv" in err
