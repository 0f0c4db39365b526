"""The two studies of the latent bridge, through the command line."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from brainpred.cli.main import main
from brainpred.movies.scenes import load_digits
from brainpred.probes.brain_bridge import METHODS
from brainpred.probes.voxel_simulation import simulate_voxels
from brainpred.studies.digit_bridge import _saved


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
        np.testing.assert_array_equal(file["voxels/measured"], voxels)
        # As large as what can be predicted of voxels, in their own units.
        assert 0.1 < np.std(file["voxels/predicted by bridge"]) / np.std(voxels) < 1
    of_voxels = pd.read_csv(out / "voxels.tsv", sep="\t")
    assert list(of_voxels) == ["voxel", "r", "p", "q", "r_ridge", "p_ridge", "q_ridge", "r_shuffled"]
    for name in ("", "_ridge"):
        found = int((of_voxels[f"q{name}"] <= 0.05).sum())
        assert 20 < found == settings[f"n_voxels_found{name.replace('_', '_by_')}"]
        assert (of_voxels[f"p{name}"] <= of_voxels[f"q{name}"]).all()
    assert settings["median_voxel_r"] == pytest.approx(of_voxels["r"].median(), abs=1e-5)
    assert of_voxels["r"].median() > of_voxels["r_shuffled"].median() + 0.05
    with np.load(out / "figures.npz") as shown:
        assert shown["bridge"].shape == shown["spread"].shape == (16, 28, 28)
        assert abs(float(shown["coverage"]) - 0.9) < 0.1
    assert "Pictures from the brain, each left out" in (out / "reconstructions.svg").read_text()
    told = f"{settings['n_voxels_found']} of 400"
    assert told in (out / "scores.svg").read_text()
    assert {"reconstructions.png", "scores.svg", "voxels.tsv", "pictures.tsv"} <= {path.name for path in out.iterdir()}
    before = (out / "scores.tsv").stat().st_mtime_ns
    assert _brain(*options, data=no_mnist) == 0
    assert (out / "scores.tsv").stat().st_mtime_ns == before
    capsys.readouterr()


@pytest.mark.parametrize(
    ("brain", "images", "match", "code"),
    [
        ((30, 8), None, "Give both --brain and --images", 2),
        ((30, 8), (29, 784), "--brain holds 30 patterns of 8 voxels, --images an array of shape (29, 784)", 1),
        ((30, 8), (30, 783), "whose pixels make a square", 1),
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


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """What a public recording of two digits comes as: MATLAB's arrays, pixels of 0 to 255 in columns, and a split."""
    pictures, labels = load_digits().train
    pictures = pictures[np.isin(labels, (6, 9))][:50] / 255
    voxels = simulate_voxels(pictures, np.random.default_rng(0), n_voxels=300, signal_to_noise=0.4).astype(float)
    voxels[:, [4, 9]] = 2.0, np.nan
    flat = 255 * pictures.transpose(0, 2, 1).reshape(50, -1)
    path = tmp_path_factory.mktemp("recording") / "digits69.mat"
    train, test = slice(None, 40), slice(40, None)
    arrays = {
        "X": flat,
        "Y": voxels,
        "Yt": voxels.T,
        "Y_few": voxels[40:, :200],
        "test": np.arange(41, 51),
        "Xs": 1.02 / 255 * flat.T,
    }
    for name, rows in (("train", train), ("test", test)):
        arrays |= {f"X_{name}": flat[rows], f"Y_{name}": voxels[rows]}
    savemat(path, arrays)
    return path


SPLITS = {
    "arrays": ("Y_train", "X_train", ["--test-brain", "{}::Y_test", "--test-images", "{}::X_test"]),
    "rows": ("Y", "X", ["--test-rows", "40-49"]),
    "numbers": ("Yt", "Xs", ["--test-rows", "{}::test"]),
}


@pytest.fixture(scope="module")
def of_splits(recording, no_mnist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits")
    for name, (brain, images, more) in SPLITS.items():
        options = [
            "--brain",
            f"{recording}::{brain}",
            "--images",
            f"{recording}::{images}",
            "--out",
            str(folder / name),
        ]
        assert _brain(*options, *(part.format(recording) for part in more), data=no_mnist) == 0
    return {name: pd.read_csv(folder / name / "scores.tsv", sep="\t") for name in SPLITS}, folder


def test_test_pairs_are_scored_however_they_are_given(of_splits):
    tables, folder = of_splits
    pd.testing.assert_frame_equal(tables["arrays"], tables["rows"])
    np.testing.assert_allclose(
        tables["arrays"]["mean"], tables["numbers"]["mean"], atol=0.02
    )  # pixels slightly above 1
    settings = json.loads((folder / "arrays" / "bridge.json").read_text())
    assert settings["split"]
    assert (settings["n_pairs"], settings["n_left_out"], settings["n_constant_voxels"]) == (50, 10, 1)
    assert settings["n_missing_voxels"] == 1
    assert settings["view"] == "transposed"
    pairs = pd.read_csv(folder / "arrays" / "pictures.tsv", sep="\t")
    assert set(pairs["pair"]) == set(range(40, 50))
    voxels = pd.read_csv(folder / "arrays" / "voxels.tsv", sep="\t")["voxel"]
    assert set(range(300)) - set(voxels) == {4, 9}
    assert "Pictures from the brain, of test pairs" in (folder / "arrays" / "reconstructions.svg").read_text()


def test_test_pairs_touch_nothing_that_is_chosen(of_splits, recording, no_mnist, tmp_path):
    # Other test patterns but for the first two: what is made of those must stay.
    content = loadmat(recording)
    content["Y_test"][2:] = 7 * content["Y_test"][2:][::-1] - 3
    content["X_test"][2:] = 255 - content["X_test"][2:]
    changed = tmp_path / "changed.mat"
    savemat(changed, {name: value for name, value in content.items() if not name.startswith("__")})
    brain, images, more = SPLITS["arrays"]
    options = ["--brain", f"{changed}::{brain}", "--images", f"{changed}::{images}", "--out", str(tmp_path / "out")]
    assert _brain(*options, *(part.format(changed) for part in more), data=no_mnist) == 0
    with h5py.File(of_splits[1] / "arrays" / "pictures.h5") as one, h5py.File(tmp_path / "out" / "pictures.h5") as two:
        for name in (*METHODS, "bridge, standard deviation", "voxels/predicted by bridge", "voxels/predicted by ridge"):
            np.testing.assert_allclose(one[name][:2], two[name][:2], atol=1e-5)
            assert not np.array_equal(one[name][:2], one[name][2:4]) or name == "mean picture"


def test_a_voxel_that_is_missing_in_one_array_is_left_out_everywhere(recording, no_mnist, tmp_path, capsys):
    content = {name: value for name, value in loadmat(recording).items() if not name.startswith("__")}
    content["Y_train"][:, 20], content["Y_test"][:, 30] = np.nan, np.nan
    content["Y_train"][:, 40] = 1.5  # constant where it is learned from alone
    savemat(tmp_path / "holes.mat", content)
    brain, images, more = SPLITS["arrays"]
    options = ["probe", "bridge", "brain", "--data", no_mnist, "--out", str(tmp_path / "out")]
    options += ["--brain", f"{tmp_path / 'holes.mat'}::{brain}", "--images", f"{tmp_path / 'holes.mat'}::{images}"]
    assert main([*options, *(part.format(tmp_path / "holes.mat") for part in more)]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "Of 300 voxels, 2 that never vary and 3 that are missing (NaN) are left out." in told
    settings = json.loads((tmp_path / "out" / "bridge.json").read_text())
    assert [settings[f"n_{name}voxels"] for name in ("constant_", "missing_", "")] == [2, 3, 295]
    assert f"Of 295 voxels predicted from pictures, {settings['n_voxels_found']} are beyond chance" in told
    assert f"median r {settings['median_voxel_r']:.3f} (ridge {settings['median_voxel_r_ridge']:.3f}" in told
    voxels = pd.read_csv(tmp_path / "out" / "voxels.tsv", sep="\t")["voxel"]
    assert set(range(300)) - set(voxels) == {4, 9, 20, 30, 40}
    with h5py.File(tmp_path / "out" / "pictures.h5") as file:
        assert file["voxels/number"][:].tolist() == voxels.tolist()
        assert np.isfinite(file["voxels/predicted by bridge"]).all()


@pytest.mark.parametrize(
    ("options", "match", "code"),
    [
        (["--test-brain", "{}::Y_test"], "--test-brain and --test-images, or as --test-rows", 2),
        (["--test-rows", "40-49", "--test-brain", "{}::Y_test", "--test-images", "{}::X_test"], "or as --test-rows", 2),
        (["--test-rows", "40-49", "--folds", "3"], "leave out --folds", 2),
        (["--test-rows", "40-50"], "expected numbers of 50 pairs", 1),
        (["--test-rows", "49"], "2 different pictures or more among the test pairs", 1),
        (["--test-rows", "5-49"], "no more test pairs than training pairs, received 45 of 50", 1),
        (["--test-rows", "40-49,3"], "numbers and ranges of pairs, such as 90-99 3", 1),
        (
            ["--test-brain", "{}::Y_few", "--test-images", "{}::X_test"],
            "expected the 300 voxels of --brain, received 200",
            1,
        ),
    ],
)
def test_splits_that_cannot_serve_are_told(recording, no_mnist, tmp_path, capsys, options, match, code):
    options = ["--brain", f"{recording}::Y", "--images", f"{recording}::X", *(o.format(recording) for o in options)]
    assert _brain(*options, "--out", str(tmp_path / "out"), data=no_mnist) == code
    assert match in " ".join(capsys.readouterr().err.split())


def test_document_002_from_scikit_learn_s_digits(tmp_path, no_mnist, capsys):
    out = tmp_path / "out"
    options = ["probe", "bridge", "mnist", "--quiet", "--data", no_mnist, "--pairs", "64", "--seeds", "1"]
    options += ["--settings", "default", "document", "--scored", "20", "--out", str(out)]
    assert main(options) == 0
    runs = pd.read_csv(out / "runs.tsv", sep="\t")
    assert len(runs) == 2 * 2  # settings, image models
    default, document = (runs[runs["setting"] == name] for name in ("default", "document"))
    assert (default["log_p_x_gain"] > 0).all()
    # Draws from the bridge hardly ever come near an image: the document's estimate is far too low.
    assert (document["log_p_x_document"] < document["log_p_x"] - 5).all()
    assert default["diversity"].mean() > 1.7 * document["diversity"].mean()
    for name in ("table1", "table2"):
        table = pd.read_csv(out / f"{name}.tsv", sep="\t")
        assert set(table["setting"]) == {"default", "document", "the VAE itself"}
        assert (table[f"log_p_{'xy'[name == 'table2']}_effective"] > 3).all()
    own = pd.read_csv(out / "table2.tsv", sep="\t").set_index("setting").loc["the VAE itself"].iloc[0]
    # No marginal over ten labels can be above -log 10; document 002's estimate is, as it has seen the label.
    assert own["log_p_y_grid"] < -np.log(10) + 0.05 < own["log_p_y_document"]
    figures = {path.stem for path in out.glob("*.png")}
    assert {
        f"figure{n}_{what}_{s}" for s in ("default", "document") for n, what in ((2, "images"), (3, "latents"))
    } <= figures
    assert {"figure1_objective", "figure4_images_document", "figure5_latents_document", "figure6_quality"} <= figures
    with np.load(out / "figures.npz") as shown:
        assert shown["default/trained/64/made"].shape == (8, 10, 28, 28)
        assert shown["document/3 epochs/64/label_curve"].shape == (150,)
        assert shown["own/points"].shape == (len(shown["own/labels"]), 2)
    assert json.loads((out / "bridge.json").read_text())["digits"].startswith("scikit-learn")
    # What is there is taken again, if it is of the same data and settings, and not damaged.
    done = out / "runs" / "default_trained_64_0.npz"
    with np.load(done) as content:
        key = str(content["key"])
    assert _saved(done, key)["accuracy"] == pytest.approx(runs["accuracy"][0], abs=1e-4)
    assert _saved(done, "other") is None
    done.write_bytes(b"?")
    assert _saved(done, key) is None
    capsys.readouterr()


def test_bad_requests_are_told(tmp_path, no_mnist, capsys):
    base = ["probe", "bridge", "mnist", "--quiet", "--data", no_mnist, "--out", str(tmp_path / "out")]
    assert main([*base, "--settings", "best"]) == 2
    assert "received best" in " ".join(capsys.readouterr().err.split())
    assert main([*base, "--pairs", "1750"]) == 1
    assert "1750 pairs and 100 digits" in " ".join(capsys.readouterr().err.split())
    assert main([*base, "--pairs", "9", "--seeds", "1"]) == 1
    assert "9 pairs cannot show all ten digits" in " ".join(capsys.readouterr().err.split())
