"""A simulated subject as BIDS with fMRIPrep's files is read by the reader of a laboratory's own data."""

import numpy as np
import pandas as pd
import pytest
import yaml

from brainpred.errors import ConfigError
from brainpred.recordings.readers import load_recording
from brainpred.studies.simulate import simulate_bids, simulate_subject
from tests.conftest import TINY

MANIFEST = {
    "name": "example", "title": "An example", "licence": "none", "citation": "nobody", "access": "Make it.",
    "reader": "bids", "subjects": ["sim02"], "tr_s": TINY.tr_s, "options": {"test_runs": ["run-[45]"]},
    "atlas": {"image": "derivatives/rois/rois.nii.gz", "labels": "derivatives/rois/rois.tsv"},
}  # fmt: skip


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Write the example once; tests read it and do not change it."""
    folder = tmp_path_factory.mktemp("bids") / "example"
    patch = pytest.MonkeyPatch()
    patch.setenv("BRAINPRED_CACHE", str(folder.parent / "cache"))
    yield simulate_bids(folder, "sim02", TINY)
    patch.undo()


def test_scans_events_and_regions_come_back(example, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(example.parent / "cache"))
    path = tmp_path / "example.yaml"
    path.write_text(yaml.safe_dump(MANIFEST | {"folder": str(example)}))
    read, made = load_recording(str(path), "sim02"), simulate_subject("sim02", TINY, data=tmp_path)
    assert [run.role for run in read.runs] == [run.role for run in made.runs]
    assert read.rois.tolist() == made.rois.tolist()
    for one, other in zip(read.runs, made.runs, strict=True):
        expected = np.asarray(other.bold)
        np.testing.assert_allclose((read.read_run(one) - 1000) / 10, expected, atol=1e-3)
        movie = read.stimuli[one.stimulus]
        assert movie.excerpts[0].path == example / "stimuli" / f"{other.stimulus}.mp4"
        assert one.confounds("simple").shape[0] == one.n_scans
    assert read.runs[3].stimulus == read.runs[4].stimulus
    np.testing.assert_allclose(read.to_image(np.arange(419)).get_fdata(), made.to_image(np.arange(419)).get_fdata())


def test_nothing_but_the_data_set_is_left(example):
    assert sorted(path.name for path in example.iterdir()) == [
        "dataset_description.json", "derivatives", "stimuli", "sub-sim02", "task-movie_bold.json",
    ]  # fmt: skip
    events = pd.read_csv(example / "sub-sim02" / "func" / "sub-sim02_task-movie_run-5_events.tsv", sep="\t")
    assert events.to_dict("records") == [{"onset": 0, "duration": 11, "stim_file": "test-01.mp4"}]


def test_data_set_that_is_there_is_not_written_over(example):
    with pytest.raises(ConfigError, match="is a BIDS data set already"):
        simulate_bids(example, "sim02", TINY)


def test_failure_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="Unknown subject 'alice'"):
        simulate_bids(tmp_path / "new", "alice", TINY)
    assert list(tmp_path.iterdir()) == []


def test_the_way_from_init_to_the_report(example, run, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(example.parent / "cache"))
    monkeypatch.chdir(tmp_path)
    code, out, err = run("data", "init", example, "--atlas", example / "derivatives" / "rois" / "rois.nii.gz")
    assert (code, err) == (0, "")
    assert "run-5: test, 11 scans of 1 s, shows test-01" in out
    manifest = yaml.safe_load((tmp_path / "example.yaml").read_text())
    assert manifest["simulated"] is True
    assert manifest["options"]["test_runs"] == ["run-4", "run-5"]
    code, out, err = run(
        "decode", "--dataset", "example.yaml", "--subject", "sim02", "--layers", "R3", "--delays", "2",
        "--confounds", "none", "--device", "cpu", "--quiet",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "example/sim02 (simulated)" in out
    report = tmp_path / "results" / "example" / "sim02" / "report.html"
    assert "simulated data" in report.read_text()
    scores = pd.read_csv(report.parent / "layers.tsv", sep="\t")
    assert scores["n_scans"].tolist() == [9]
