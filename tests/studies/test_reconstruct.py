"""Reconstruction end to end on a small simulated subject."""

import json
import shutil
from dataclasses import replace

import av
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from brainpred.decoding.result import load_result, open_result
from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet_weights import load_prednet
from brainpred.movies.programme import movie_fingerprint
from brainpred.movies.video import read_video
from brainpred.reconstruction.frames import SETTINGS
from brainpred.reconstruction.tables import NUMBERS
from brainpred.reconstruction.units import open_units
from brainpred.recordings.fetch import cache_folder
from brainpred.recordings.readers import load_recording
from brainpred.studies import reconstruct as study
from brainpred.studies import train_vae
from brainpred.studies.frame_bridge import learn_frame_bridge
from brainpred.studies.reconstruct import reconstruct_subject
from brainpred.studies.reconstruct_settings import ReconstructConfig


@pytest.fixture
def folder(decoded, tmp_path):
    return shutil.copytree(decoded, tmp_path / "out")


@pytest.fixture
def no_report(monkeypatch):
    """Leave the report out, which takes longer than the pictures."""
    monkeypatch.setattr(study, "write_report", lambda folder, reporter: folder)


def recording_of(data):
    return load_recording("simulated", "sim01", data)


def simulated_movie(data):
    return recording_of(data).stimuli["test-01"]


def scores_of(table, picture, metric="score"):
    return table[table["picture"] == picture].set_index("metric")[metric]


def test_movie_strip_frames_and_table(folder, tiny_data, run):
    code, out, _ = run("reconstruct", "--subject", "sim01", "--data", tiny_data, "--out", folder, "--quiet")
    assert code == 0
    assert "pixel r" in out
    assert "brain gain" in out
    table = pd.read_csv(folder / "reconstruction.tsv", sep="\t")
    assert list(dict.fromkeys(table["picture"])) == [
        "true", "decoded", "mean", "wrong", "leak", "shifted", "prediction", "last frame",
    ]  # fmt: skip
    assert set(table["data"]) == {"simulated"}
    # The representation that the stimulus caused shows more of it than the mean of the training movie.
    assert scores_of(table, "true")["pixel_r"] > scores_of(table, "mean")["pixel_r"] + 0.2
    assert scores_of(table, "true")["ssim"] > scores_of(table, "mean")["ssim"]
    # Where R0 is swapped, nothing leaks from the stimulus.
    assert scores_of(table, "leak").to_list() == pytest.approx(scores_of(table, "mean").to_list(), nan_ok=True)
    with av.open(str(folder / "reconstruction_R0.mp4")) as movie:
        assert sum(1 for _ in movie.decode(video=0)) == 8 * 15
        assert movie.streams.video[0].average_rate == 15
    strip = np.asarray(Image.open(folder / "filmstrip_R0.png"))
    assert strip.shape[2] == 3
    assert strip.shape[1] > 1000
    assert "player" in (folder / "report.html").read_text()
    assert not list(folder.rglob(".part-*"))


def test_frames_lie_in_their_scans_and_hold_what_was_scored(folder, tiny_data, no_report):
    reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)
    frames = pd.read_csv(folder / "reconstruction_R0_frames.tsv", sep="\t")
    assert len(frames) == 8 * 15 * 7
    assert (np.floor(frames["time_s"] + 1e-6) == frames["scan"]).all()
    decoded = load_result(folder / "decoded_R0.h5")
    with h5py.File(folder / "reconstruction_R0.h5") as file:
        pictures, shown, scans = file["decoded"][:], file["stimulus"][:], file["scan"][:]
        np.testing.assert_allclose(file["time_s"][:], np.arange(120) / 15, atol=1e-4)
    own, _ = read_video(simulated_movie(tiny_data), (64, 80))
    np.testing.assert_array_equal(shown, own[:120])
    # The picture of a frame is that of the R0 of its scan.
    network = load_prednet("small")
    result = open_result(folder / "decoded_R0.h5")
    with result as file, open_units(file) as units, torch.inference_mode():
        for t in (0, 37, 119):
            r0 = torch.from_numpy(units.decoded(scans[t]).clip(-1, 1)).reshape(1, *decoded.shape)
            picture = torch.relu(network.predict[0](r0)).clamp(max=1)[0].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(pictures[t] / 255, picture, atol=0.0021)
            row = frames[(frames["frame"] == t) & (frames["picture"] == "decoded")].iloc[0]
            assert row["pixel_r"] == pytest.approx(np.corrcoef(picture.ravel(), shown[t].ravel())[0, 1], abs=1e-4)


def test_tables_of_other_settings_stand_side_by_side(folder, tiny_data, no_report):
    reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)
    both = reconstruct_subject(
        ReconstructConfig("sim01", layers=("R2", "R3"), hold="linear", variance="ridge", n_shifts=1),
        folder,
        data=tiny_data,
    )
    stimulus = reconstruct_subject(
        ReconstructConfig("sim01", layers=("R1",), drive="stimulus", n_shifts=1), folder, data=tiny_data
    )
    table = pd.read_csv(folder / "reconstruction.tsv", sep="\t")
    assert set(zip(*(table[name] for name in ("layers", "drive", "hold", "variance", "runs")), strict=True)) == {
        ("R0", "closed-loop", "nearest", "halfway", "test"), ("R2+R3", "closed-loop", "linear", "ridge", "test"),
        ("R1", "stimulus", "nearest", "halfway", "test"),
    }  # fmt: skip
    assert (folder / "reconstruction_R1_stimulus.mp4").exists()
    assert (folder / "reconstruction_R2+R3_linear_ridge.mp4").exists()
    # The stimulus leaks through the error units: even the mean R1 then gives a picture (document 000, 4.1).
    leak = scores_of(stimulus, "mean")["pixel_r"]
    assert leak > scores_of(both, "mean")["pixel_r"] + 0.2
    assert scores_of(both, "leak")["pixel_r"] > scores_of(both, "mean")["pixel_r"] + 0.2
    assert "leak" not in set(stimulus["picture"])


def test_bridge_takes_the_place_of_the_swap_with_the_same_controls(folder, tiny_data, run, no_report, monkeypatch):
    monkeypatch.setitem(train_vae.EPOCHS, "frames", 8)
    monkeypatch.setitem(train_vae.N_SCORED, "frames", 2)
    arguments = ["--subject", "sim01", "--through", "bridge", "--layers", "R0", "R3", "--shifts", "2"]
    arguments += ["--data", tiny_data, "--out", folder, "--quiet"]
    code, out, _ = run("reconstruct", *arguments)
    assert code == 0
    assert "bridged" in out
    bridge = pd.read_csv(folder / "reconstruction.tsv", sep="\t")
    assert set(bridge["through"]) == {"bridge"}
    assert list(dict.fromkeys(bridge["picture"])) == [
        "true", "decoded", "mean", "wrong", "shifted", "prediction", "last frame",
    ]  # fmt: skip
    assert set(bridge["layers"]) == {"R0+R3"}
    assert scores_of(bridge, "true")["pixel_r"] > scores_of(bridge, "mean")["pixel_r"] + 0.1
    assert scores_of(bridge, "prediction")["pixel_r"] > 0.8  # PredNet's, with nothing swapped
    with h5py.File(folder / "reconstruction_R0+R3_bridge.h5") as file:
        assert set(file) >= {"stimulus", "prediction", "true", "decoded", "mean"}
        assert "leak" not in file
        assert np.ptp(file["mean"][:], axis=0).max() == 0  # the same picture at every moment
        assert np.ptp(file["decoded"][:], axis=0).max() > 0
    # The model of frames has seen the training movies, and nothing of the test.
    (trained,) = (cache_folder() / "frame_vaes").glob("*/train.json")
    seen, stimuli = json.loads(trained.read_text())["settings"]["movies"], recording_of(tiny_data).stimuli
    assert seen == [movie_fingerprint(stimuli[name], {}) for name in ("train-01", "train-02", "train-03")]
    monkeypatch.setattr(study, "_reconstruct", lambda *args: pytest.fail("computed"))
    assert run("reconstruct", *arguments)[0] == 0
    # With that model named, it is another reconstruction; one of another size is refused.
    with pytest.raises(pytest.fail.Exception, match="computed"):
        run("reconstruct", *arguments, "--vae", trained.with_name("vae.safetensors"))
    code, _, err = run("reconstruct", *arguments, "--vae", "digits")
    assert code == 2
    assert "64x80 pixels, and digits models digits of 28x28" in err


def test_bridge_needs_movies_that_it_is_not_tested_on(tiny_data):
    recording = recording_of(tiny_data)
    every = replace(recording, runs=[replace(run, role="train") for run in recording.runs])
    with pytest.raises(DataError, match="simulated/sim01: every run was held out in turn"):
        learn_frame_bridge(every, {0: "R0"}, prednet="small", size=(64, 80))


def test_what_is_there_already_is_not_computed_again(folder, tiny_data, monkeypatch, no_report):
    first = reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)
    calls = []
    monkeypatch.setattr(study, "_reconstruct", lambda *args, real=study._reconstruct: calls.append(1) or real(*args))
    again = reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)
    assert not calls
    for name in ("score", "gain", "gain_p"):
        np.testing.assert_allclose(again[name], first[name], rtol=1e-4, atol=1e-6)
    assert again["picture"].tolist() == first["picture"].tolist()
    other = reconstruct_subject(ReconstructConfig("sim01", n_shifts=3), folder, data=tiny_data)
    assert calls == [1]
    table = pd.read_csv(folder / "reconstruction.tsv", sep="\t")
    assert len(table) == len(other)  # in the place of the first
    table.iloc[:20].to_csv(folder / "reconstruction.tsv", sep="\t", index=False)  # cut short
    reconstruct_subject(ReconstructConfig("sim01", n_shifts=3), folder, data=tiny_data)
    assert calls == [1, 1]
    (folder / "reconstruction_R0.mp4").unlink()
    reconstruct_subject(ReconstructConfig("sim01", n_shifts=3), folder, data=tiny_data)
    assert calls == [1, 1, 1]


def test_each_layer_alone_in_one_figure_from_held_out_and_training_data(folder, tiny_data, run, no_report):
    for runs, suffix in (("test", ""), ("train", "_train")):
        code, out, _ = run(
            "reconstruct", "--subject", "sim01", "--layers", "R0", "R1", "--each", "--drive", "stimulus",
            "--shifts", "1", "--runs", runs, "--data", tiny_data, "--out", folder, "--quiet",
        )  # fmt: skip
        assert code == 0
        assert ("training data" in out) == (runs == "train")
        assert (folder / f"figure_R0+R1_stimulus{suffix}.png").is_file()
        assert (folder / f"reconstruction_R1_stimulus{suffix}.mp4").is_file()
    table = pd.read_csv(folder / "reconstruction.tsv", sep="\t")
    fitted, held_out = (table[(table["runs"] == runs) & (table["layers"] == "R0")] for runs in ("train", "test"))
    # A decoder knows the scans that it was fitted to, which says nothing of others.
    assert scores_of(fitted, "decoded")["identification_2way"] > scores_of(held_out, "decoded")["identification_2way"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("\t0.", "\tabc0.", 3), "holds text"),
        (lambda text: text.replace("gain_p", "p"), "lacks gain_p"),
        (lambda text: "\x00\t1\n" + text[:50], "lacks|Cannot read"),
    ],
)
def test_damaged_table_is_told_before_anything_is_computed(folder, tiny_data, no_report, monkeypatch, damage, message):
    monkeypatch.setattr(study, "_reconstruct", lambda *args: pytest.fail("computed"))
    path = folder / "reconstruction.tsv"
    rows = {"layers": "R0"} | SETTINGS
    rows |= {"data": "simulated", "picture": "decoded", "metric": "ssim"} | dict.fromkeys(NUMBERS, 0.5)
    pd.DataFrame([rows]).to_csv(path, sep="\t", index=False)
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=message):
        reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)


def test_layers_that_the_network_does_not_have_are_refused(folder, tiny_data, run):
    common = ["--subject", "sim01", "--data", tiny_data, "--out", folder, "--quiet"]
    code, _, err = run("reconstruct", "--layers", "R9", *common)
    assert code == 2
    assert "Choose of: R0, R1, R2, R3" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--drive", "dream"], "closed-loop, stimulus"),
        (["--hold", "cubic"], "nearest, linear"),
        (["--through", "fire"], "swap, bridge"),
        (["--through", "bridge", "--drive", "stimulus"], "no error units"),
        (["--vae", "digits"], "add --through bridge"),
        (["--variance", "full"], "ridge, halfway, matched"),
        (["--runs", "all"], "test, train"),
        (["--shifts", "0"], "at least 1 time shift"),
        (["--layers", "A0"], "not A0"),
        (["--layers", "R0", "R0"], "R0 R0"),
    ],
)
def test_unusable_options_are_refused_before_anything_is_read(options, message, tmp_path, run):
    code, _, err = run("reconstruct", "--subject", "sim01", "--out", tmp_path / "nothing", *options)
    assert code == 2
    assert message in err
    assert not (tmp_path / "nothing").exists()


def test_results_of_other_settings_are_not_mixed(folder, tiny_data, run):
    """A layer left over from a decoding with other settings must not be drawn, nor old pictures stay."""
    reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)
    common = ["--subject", "sim01", "--data", tiny_data, "--out", folder, "--quiet"]
    assert run("decode", "--layers", "R0", "--bands", "none", *common)[0] == 0
    assert not (folder / "reconstruction.tsv").exists()
    assert not list(folder.glob("filmstrip_*"))
    code, _, err = run("reconstruct", "--layers", "R1", *common)
    assert code == 1
    assert "R1 of simulated/sim01 not decoded" in err


def test_results_of_another_subject_are_refused(folder, tiny_data, no_report):
    with pytest.raises(ConfigError, match="sim01, not sim02"):
        reconstruct_subject(ReconstructConfig("sim02"), folder, data=tiny_data)
