"""Simulated subjects: deterministic, distinct, with the truth beside them, or watching any movie."""

import json

import numpy as np
import pandas as pd
import pytest

from brainpred.errors import ConfigError, DataError
from brainpred.movies.synthesis import synthesise_movie
from brainpred.movies.video import write_video
from brainpred.progress import SilentReporter
from brainpred.recordings.readers import load_recording
from brainpred.studies.simulate import simulate_subject
from tests.conftest import TINY


def test_same_subject_anywhere_and_another_brain_for_another_number(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    again = simulate_subject("sim01", TINY, data=tmp_path)
    other = simulate_subject("sim02", TINY, data=tmp_path)
    first = load_recording("simulated", "sim01", tiny_data)
    for mine, theirs in zip(first.runs, again.runs, strict=True):
        np.testing.assert_array_equal(mine.bold, theirs.bold)
    assert not np.allclose(first.runs[0].bold, other.runs[0].bold)
    assert {run.stimulus for run in other.runs} == {run.stimulus for run in first.runs}


def test_runs_roles_and_truth(tiny_data):
    recording = load_recording("simulated", "sim01", tiny_data)
    assert recording.simulated
    assert [run.role for run in recording.runs] == ["train"] * 3 + ["test"] * 2
    assert len({run.stimulus for run in recording.runs if run.role == "test"}) == 1
    assert all(run.bold.shape == (11, 419) for run in recording.runs)
    truth = pd.read_csv(tiny_data / "simulated" / "sim01" / "truth.tsv", sep="\t", keep_default_na=False)
    assert len(truth) == 419
    assert set(truth["layer"]) <= {"none", "R0", "R1", "R2", "R3"}
    carries = truth["layer"] != "none"
    assert (truth.loc[carries, "strength"] > 0).all()
    assert (truth.loc[~carries, "strength"] == 0).all()
    assert truth["roi"].tolist() == recording.rois.tolist()


def test_subject_made_with_other_weights_is_read_with_a_note(tiny_data, monkeypatch):
    notes = []

    class Notes(SilentReporter):
        def say(self, message):
            notes.append(message)

    simulate_subject("sim01", TINY, data=tiny_data, reporter=Notes())
    assert notes == []
    monkeypatch.setattr("brainpred.studies.simulate.weights_fingerprint", lambda weights: "other")
    simulate_subject("sim01", TINY, data=tiny_data, reporter=Notes())
    assert "--overwrite" in notes[0]


@pytest.mark.parametrize("kind", ["own.mp4", "own.npy"])
def test_any_movie_can_be_shown(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    movie, frames = tmp_path / kind, synthesise_movie(41, np.random.default_rng(3), fps=10, size=(50, 70))
    if kind == "own.mp4":
        write_video(movie, frames, 10)
    else:
        np.save(movie, np.stack(list(frames)))
        movie = f"{movie}@10"
    recording = simulate_subject("sim03", TINY, movie=movie, data=tmp_path)
    assert {run.n_scans for run in recording.runs} == {10}
    with_settings = (tmp_path / "simulated" / "sim03" / "recording.h5").read_bytes()
    assert kind.encode() in with_settings


def test_movie_too_short_says_how_long_it_must_be(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    movie = tmp_path / "short.mp4"
    write_video(movie, np.zeros((30, 16, 20, 3), np.uint8), 10)
    with pytest.raises(DataError, match="need 40 s"):
        simulate_subject("sim01", TINY, movie=movie, data=tmp_path)
    assert not (tmp_path / "simulated" / "sim01").exists()


def test_unknown_names_and_numbers_out_of_range(tmp_path):
    with pytest.raises(ConfigError, match="sim01"):
        simulate_subject("subject1", TINY, data=tmp_path)
    with pytest.raises(ConfigError, match="strength"):
        simulate_subject("sim01", type(TINY)(strength=-1.0), data=tmp_path)
    assert json.dumps([p.name for p in tmp_path.iterdir()]) == "[]"
