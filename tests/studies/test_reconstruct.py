"""Reconstruction end to end on a small simulated subject."""

import shutil

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainpred.errors import ConfigError
from brainpred.studies.reconstruct import ReconstructConfig, reconstruct_subject


@pytest.fixture
def folder(decoded, tmp_path):
    return shutil.copytree(decoded, tmp_path / "out")


def test_movie_strip_and_table(folder, tiny_data, run):
    code, out, _ = run("reconstruct", "--subject", "sim01", "--data", tiny_data, "--out", folder, "--quiet")
    assert code == 0
    assert "SSIM" in out
    table = pd.read_csv(folder / "reconstruction.tsv", sep="\t")
    assert table["picture"].tolist() == ["true", "decoded", "mean"]
    assert set(table["data"]) == {"simulated"}
    assert set(table["n_frames"]) == {8 * 15}
    scores = table.set_index("picture")
    # The representation that the stimulus caused shows more of it than the mean of the training movie.
    assert scores.loc["true", "pixel_r"] > scores.loc["mean", "pixel_r"] + 0.2
    assert scores.loc["true", "ssim"] > scores.loc["mean", "ssim"]
    with av.open(str(folder / "reconstruction_R0.mp4")) as movie:
        frames = sum(1 for _ in movie.decode(video=0))
        assert frames == 8 * 15
        assert movie.streams.video[0].average_rate == 15
    strip = np.asarray(Image.open(folder / "filmstrip_R0.png"))
    assert strip.shape[2] == 3
    assert strip.shape[1] > 1000
    assert "reconstruction" in (folder / "report.html").read_text().lower()
    assert not list(folder.rglob(".part-*"))


def test_tables_of_other_layers_stand_side_by_side(folder, tiny_data):
    reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)
    both = reconstruct_subject(ReconstructConfig("sim01", layers=("R2", "R3")), folder, data=tiny_data)
    stimulus = reconstruct_subject(ReconstructConfig("sim01", layers=("R3",), drive="stimulus"), folder, data=tiny_data)
    again = reconstruct_subject(ReconstructConfig("sim01"), folder, data=tiny_data)
    table = pd.read_csv(folder / "reconstruction.tsv", sep="\t")
    assert len(table) == 9
    assert set(zip(table["layers"], table["drive"], strict=True)) == {
        ("R0", "closed-loop"), ("R2+R3", "closed-loop"), ("R3", "stimulus"),
    }  # fmt: skip
    assert (folder / "reconstruction_R3_stimulus.mp4").exists()
    # The stimulus leaks through the error units: even the mean R3 then gives a picture (document 000, 4.1).
    leak = stimulus.set_index("picture").loc["mean", "pixel_r"]
    assert leak > both.set_index("picture").loc["mean", "pixel_r"] + 0.2
    assert len(again) == 3


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


def test_results_of_another_subject_are_refused(folder, tiny_data):
    with pytest.raises(ConfigError, match="sim01, not sim02"):
        reconstruct_subject(ReconstructConfig("sim02"), folder, data=tiny_data)
