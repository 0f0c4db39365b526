"""The two studies of the latent bridge, through the command line."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from brainpred.cli.main import main
from brainpred.movies.scenes import load_digits
from brainpred.probes.brain_bridge import simulate_voxels


@pytest.fixture(scope="module")
def no_mnist(tmp_path_factory):
    """An empty data folder: digits are scikit-learn's."""
    return str(tmp_path_factory.mktemp("data"))


def _brain(*options, data):
    return main(["probe", "bridge", "brain", "--quiet", "--data", data, *options])


def test_brain_bridge_from_arrays(tmp_path, no_mnist, capsys):
    pictures, _ = load_digits().train
    pictures = pictures[:60]
    voxels = simulate_voxels(pictures / 255, np.random.default_rng(0), n_voxels=400, signal_to_noise=0.3)
    np.save(tmp_path / "voxels.npy", voxels)
    # As MATLAB flattens pictures: columns first.
    np.savez(tmp_path / "pictures.npz", images=pictures.transpose(0, 2, 1).reshape(60, -1), other=np.zeros(3))
    out = tmp_path / "out"
    options = ["--brain", str(tmp_path / "voxels.npy"), "--images", f"{tmp_path / 'pictures.npz'}::images"]
    options += ["--folds", "3", "--out", str(out)]
    assert _brain(*options, data=no_mnist) == 0
    table = pd.read_csv(out / "scores.tsv", sep="\t")
    bridge = table[(table["method"] == "bridge") & (table["metric"] == "pixel_r")]
    assert bridge["mean"].item() > 0.4
    settings = json.loads((out / "bridge.json").read_text())
    assert settings["view"] == "transposed"
    assert not settings["simulated"]
    assert settings["n_voxels"] == 400
    with h5py.File(out / "pictures.h5") as file:
        np.testing.assert_allclose(file["seen"][:], pictures / 255, atol=1e-6)
        assert file["bridge"].shape == (60, 28, 28)
    assert {"reconstructions.png", "scores.svg", "voxels.tsv", "pictures.tsv"} <= {path.name for path in out.iterdir()}
    before = (out / "scores.tsv").stat().st_mtime_ns
    assert _brain(*options, data=no_mnist) == 0
    assert (out / "scores.tsv").stat().st_mtime_ns == before
    capsys.readouterr()


@pytest.mark.parametrize(
    ("brain", "images", "match", "code"),
    [
        ((30, 8), None, "Give both --brain and --images", 2),
        ((30, 8), (29, 784), "--brain holds 30 patterns, --images 29 pictures", 1),
        ((8, 30), (30, 784), "The brain array may be voxels by pairs", 1),
        ((30, 8), (30, 783), "783 pixels make no square", 1),
        ((30,), (30, 784), "expected an array (pairs, voxels)", 1),
        ((30, 8), (30, 3, 4, 5, 6), "received shape (30, 3, 4, 5, 6)", 1),
    ],
)
def test_arrays_that_cannot_serve_are_told_in_a_line(tmp_path, no_mnist, capsys, brain, images, match, code):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "b.npy", rng.random(brain))
    options = ["--brain", str(tmp_path / "b.npy"), "--out", str(tmp_path / "out")]
    if images:
        np.save(tmp_path / "i.npy", rng.random(images))
        options += ["--images", str(tmp_path / "i.npy")]
    assert _brain(*options, data=no_mnist) == code
    message = " ".join(capsys.readouterr().err.split())
    assert match in message
    assert not (tmp_path / "out").exists()


def test_document_002_from_scikit_learn_s_digits(tmp_path, no_mnist, capsys):
    out = tmp_path / "out"
    options = ["probe", "bridge", "mnist", "--quiet", "--data", no_mnist, "--pairs", "64", "--seeds", "1"]
    options += ["--settings", "default", "document", "--scored", "20", "--out", str(out)]
    assert main(options) == 0
    runs = pd.read_csv(out / "runs.tsv", sep="\t")
    assert len(runs) == 2 * 2  # settings, image models
    default, document = (runs[runs["setting"] == name] for name in ("default", "document"))
    assert default["log_p_x"].mean() > document["log_p_x"].mean() + 5
    assert default["diversity"].mean() > 1.7 * document["diversity"].mean()
    for name in ("table1", "table2"):
        table = pd.read_csv(out / f"{name}.tsv", sep="\t")
        assert set(table["setting"]) == {"default", "document", "the VAE itself"}
    own = pd.read_csv(out / "table2.tsv", sep="\t").set_index("setting").loc["the VAE itself"].iloc[0]
    # No marginal over ten labels can be above -log 10; document 002's estimate is, as it has seen the label.
    assert own["log_p_y_grid"] < -np.log(10) + 0.05 < own["log_p_y_document"]
    figures = {path.stem for path in out.glob("*.png")}
    assert {
        f"figure{n}_{what}_{s}" for s in ("default", "document") for n, what in ((2, "images"), (3, "latents"))
    } <= figures
    assert {"figure1_objective", "figure4_images_document", "figure5_latents_document", "figure6_quality"} <= figures
    assert json.loads((out / "bridge.json").read_text())["digits"].startswith("scikit-learn")
    capsys.readouterr()


def test_bad_requests_are_told(tmp_path, no_mnist, capsys):
    base = ["probe", "bridge", "mnist", "--quiet", "--data", no_mnist, "--out", str(tmp_path / "out")]
    assert main([*base, "--settings", "best"]) == 2
    assert "received best" in " ".join(capsys.readouterr().err.split())
    assert main([*base, "--pairs", "1750"]) == 1
    assert "1750 pairs and 100 digits" in " ".join(capsys.readouterr().err.split())
    assert main([*base, "--pairs", "9", "--seeds", "1"]) == 1
    assert "9 pairs cannot show all ten digits" in " ".join(capsys.readouterr().err.split())
