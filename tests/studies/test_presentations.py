"""Patterns of a recording and the pictures shown: against loops, and through the command line."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.movies.scenes import load_digits
from brainpred.probes.voxel_simulation import simulate_voxels
from brainpred.recordings.cleaning import Cleaning, read_clean_run
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import NoSpace
from brainpred.stimulus import Movie
from brainpred.studies.presentations import read_presentations
from tests.recordings.layouts import run_entries, write_manifest

TR_S, N_VOXELS, SIZE = 2.0, 7, (6, 10)
# What is on the screen at each scan; 0: nothing.
SHOWN = {
    "a": [0, 1, 1, 2, 0, 3, 3, 3, 1, 0, 0, 2, 2],
    "b": [2, 2, 0, 1, 1, 0, 3, 1, 1, 0, 0],
    "c": [3, 1, 0, 2, 2, 0, 0],
}


@pytest.fixture
def recording(tmp_path):
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 255, (4, *SIZE), dtype=np.uint8)
    pictures[0] = 128
    for clip, shown in SHOWN.items():
        np.save(tmp_path / f"{clip}.npy", pictures[shown])
    runs = []
    for name, role, clip in (("1", "train", "a"), ("2", "train", "b"), ("3", "test", "c"), ("4", "test", "c")):
        bold = (100 + rng.standard_normal((len(SHOWN[clip]), N_VOXELS))).astype(np.float32)
        bold[:, 4] = 55  # a voxel that never varies
        runs.append(Run(name, role, bold, clip))
    stimuli = {clip: Movie.parse(f"{tmp_path / clip}.npy@0.5") for clip in SHOWN}
    return Recording("toy", "s1", TR_S, runs, NoSpace(N_VOXELS), np.full(N_VOXELS, "roi"), stimuli), pictures


def test_patterns_are_means_over_delays_and_scans_of_each_picture(recording):
    recording, pictures = recording
    found = read_presentations(recording, Cleaning(), (2.0, 4.0), SIZE)
    patterns, shown = [], []
    for runs in ([0], [1], [2, 3]):
        cleaned = np.mean([read_clean_run(recording, recording.runs[run]).cleaned for run in runs], axis=0)
        numbers = SHOWN[recording.runs[runs[0]].stimulus]
        scans_of = []
        for t, number in enumerate(numbers[: len(cleaned) - 2]):
            if number and (t == 0 or numbers[t - 1] != number):
                scans_of.append([])
                shown.append(pictures[number] / 255)
            if number:
                scans_of[-1].append((cleaned[t + 1] + cleaned[t + 2]) / 2)
        patterns += [np.mean(part, axis=0) for part in scans_of]
    np.testing.assert_allclose(found.voxels, np.delete(patterns, 4, axis=1), atol=1e-5)
    np.testing.assert_allclose(found.pictures, shown, atol=1e-6)
    (held_out,) = found.held_out
    assert held_out.tolist() == list(range(len(shown) - 3, len(shown)))


def test_without_test_runs_every_clip_is_left_out_in_turn(recording):
    recording, _ = recording
    every = replace(recording, runs=[replace(run, role="train") for run in recording.runs])
    found = read_presentations(every, Cleaning(), (2.0, 4.0), SIZE)
    assert [len(rows) for rows in found.held_out] == [4, 4, 2 * 3]  # both runs of the last clip together
    assert np.concatenate(found.held_out).tolist() == list(range(len(found.voxels)))


def test_what_cannot_serve_is_told(recording):
    recording, _ = recording
    mixed = replace(recording, runs=[*recording.runs[:2], replace(recording.runs[3], role="train"), recording.runs[2]])
    with pytest.raises(DataError, match=r"toy/s1: .* received a, b, c, c"):
        read_presentations(mixed, Cleaning(), (2.0,), SIZE)
    with pytest.raises(DataError, match="received a"):
        read_presentations(replace(recording, runs=recording.runs[:1]), Cleaning(), (2.0,), SIZE)
    with pytest.raises(DataError, match=r"run 2: no movie or pictures are known"):
        read_presentations(replace(recording, stimuli={"a": recording.stimuli["a"]}), Cleaning(), (2.0,), SIZE)
    with pytest.raises(DataError, match=r"run 3: c.npy shows no picture long enough"):
        read_presentations(recording, Cleaning(), (14.0,), SIZE)


def test_bridge_from_a_recording_of_digits(tmp_path, run):
    lengths, digits = {"run-1": 31, "run-2": 29, "run-3": 24}, load_digits().train[0]
    voxels = simulate_voxels(digits[:84] / 255, np.random.default_rng(0), n_voxels=400, signal_to_noise=0.3)
    begin = 0
    for name, n in lengths.items():
        folder = tmp_path / "data" / "toy"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}_pictures.npy", digits[begin : begin + n])
        late = np.vstack([np.zeros((2, 400)), voxels[begin : begin + n], np.zeros((1, 400))])  # two scans later
        np.save(folder / f"{name}.npy", (100 + late).astype(np.float32)[: n + 1])
        begin += n
    manifest = write_manifest(
        tmp_path / "toy.yaml", "arrays", tr_s=2.0, files={"bold": "{run}.npy"},
        runs=[{**entry, "stimulus": entry["name"]} for entry in run_entries(lengths, ("run-3",))],
        stimuli={name: f"{name}_pictures.npy@0.5" for name in lengths},
    )  # fmt: skip
    out = tmp_path / "out"
    arguments = ["probe", "bridge", "brain", "--subject", "sub-01", "--dataset", manifest, "--delays", "4"]
    arguments += ["--data", tmp_path / "data", "--out", out]
    code, printed, err = run(*arguments)
    assert code == 0, err
    assert "are left out: those of the test runs" in " ".join((printed + err).split())
    settings = json.loads((out / "bridge.json").read_text())
    assert settings["n_left_out"] == 23  # the last one's response comes after the run's end
    assert settings["n_pairs"] == 30 + 28 + 23
    assert not settings["simulated"]
    with h5py.File(out / "pictures.h5") as file:
        np.testing.assert_allclose(file["seen"][:], digits[60:83] / 255, atol=1e-6)
        r = [np.corrcoef(*(file[name][n].ravel() for name in ("seen", "bridge")))[0, 1] for n in range(23)]
    assert np.mean(r) > 0.4
    code, _, err = run(*arguments, "--folds", "3")
    assert code == 2
    assert "its runs say what is left out" in err
    code, _, err = run("probe", "bridge", "brain", "--dataset", manifest, "--out", tmp_path / "other")
    assert code == 2
    assert "name its subject with --subject" in err
