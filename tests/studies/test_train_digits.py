"""Training the reader of digits end to end, on scikit-learn's small ones: files, resume, refusals, honest scores."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch

from brainpred.errors import ConfigError, DataError
from brainpred.models.digit_reader import DigitReader, load_digit_reader
from brainpred.movies.scenes import DigitImages, load_digits
from brainpred.storage import file_fingerprint
from brainpred.studies.train_digits import DigitTrainingConfig, score_digit_reader, train_digit_reader
from brainpred.training.digits import DigitReaderTraining

CONFIG = DigitTrainingConfig(epochs=3, batch_size=25, seed=7)
N_TRAIN = 150


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """Write a small file in MNIST's form."""
    small = load_digits()
    path = tmp_path_factory.mktemp("digits") / "mnist.npz"
    pictures, labels = small.train
    test_pictures, test_labels = small.test
    np.savez(
        path, x_train=pictures[:180], y_train=labels[:180].astype(np.uint8),
        x_test=test_pictures[:120], y_test=test_labels[:120].astype(np.uint8),
    )  # fmt: skip
    return path


def train(mnist, out, config=CONFIG):
    return train_digit_reader(out, config, mnist=mnist, device="cpu")


@pytest.fixture(scope="module")
def trained(mnist, tmp_path_factory):
    """Train once; tests read the folder and do not change it."""
    out = tmp_path_factory.mktemp("trained") / "digits"
    train(mnist, out)
    return out


def test_everything_promised_is_written(trained):
    files = {"digit_reader.safetensors", "digit_reader.md", "scores.json", "curve.csv", "train.json"}
    assert {path.name for path in trained.iterdir()} == files | {"checkpoints", "tensorboard"}
    curve = pd.read_csv(trained / "curve.csv")
    assert curve["epoch"].tolist() == [0, 1, 2]
    assert set(curve) == {"epoch", "learning_rate", "train_loss", "validation_error"}
    saved = json.loads((trained / "train.json").read_text())
    assert saved["settings"] == {**asdict(CONFIG), "digits": "MNIST"}


def test_scores_are_those_of_the_weights(mnist, trained):
    scores = json.loads((trained / "scores.json").read_text())
    reader = load_digit_reader(trained / "digit_reader.safetensors")
    pictures, labels = load_digits(mnist).test
    right = sum(
        int(reader.probabilities(torch.from_numpy(picture / np.float32(255))[None]).argmax()) == label
        for picture, label in zip(pictures, labels, strict=True)
    )
    assert scores["alone"] == {"n_pictures": 120, "accuracy": right / 120}
    assert scores["scenes"]["n_pictures"] == 1000
    assert 0 <= scores["scenes"]["joint"] <= scores["scenes"]["digits"] <= 1


def test_model_card_tells_settings_digits_and_scores(trained):
    card = (trained / "digit_reader.md").read_text()
    scores = json.loads((trained / "scores.json").read_text())
    for setting, value in asdict(CONFIG).items():
        assert f"| {setting} | {value} |" in card
    assert "MNIST" in card
    assert f"{N_TRAIN} to train on, 30 to choose the epoch by, 120 for the scores" in card
    assert file_fingerprint(trained / "digit_reader.safetensors") in card
    assert f"| digits alone | 120 | {scores['alone']['accuracy']:.4f} |" in card
    row = re.search(r"^\| scenes \| 1000 \| ([\d.]+) \| ([\d.]+) \|", card, re.MULTILINE)
    assert [float(value) for value in row.groups()] == pytest.approx(
        [scores["scenes"]["digits"], scores["scenes"]["joint"]], abs=6e-4
    )
    assert max(map(len, card.splitlines())) <= 130


@pytest.mark.parametrize(("epoch", "batch"), [(0, 2), (1, 3), (2, 0)])
def test_interrupted_and_gone_on_equals_uninterrupted(mnist, trained, tmp_path, monkeypatch, epoch, batch):
    original = DigitReaderTraining.training_step

    def step(self, digits, batch_index):
        if (self.current_epoch, batch_index) == (epoch, batch):
            raise RuntimeError("stopped on purpose")
        return original(self, digits, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(DigitReaderTraining, "training_step", step)
        with pytest.raises(RuntimeError, match="on purpose"):
            train(mnist, tmp_path)
    assert not (tmp_path / "digit_reader.safetensors").exists()
    torch.manual_seed(epoch)  # what was drawn in between does not matter
    train(mnist, tmp_path)
    for name in ("curve.csv", "scores.json", "digit_reader.safetensors", "digit_reader.md"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_folder_of_another_training_is_refused(mnist, trained):
    before = (trained / "train.json").read_bytes()
    with pytest.raises(ConfigError, match=r"holds a training with other seed; .*choose another --out"):
        train(mnist, trained, replace(CONFIG, seed=8))
    with pytest.raises(ConfigError, match="other digits"):
        train(None, trained)
    assert (trained / "train.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, received 0"),
        ({"batch_size": -3}, "batch_size must be 1 or more, received -3"),
        ({"learning_rate": 0.0}, "learning_rate must be more than 0, received 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be more than 0"),
    ],
)
def test_unusable_settings_are_refused_before_anything_is_written(mnist, tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        train(mnist, tmp_path / "out", replace(CONFIG, **change))
    assert not (tmp_path / "out").exists()


def test_missing_and_damaged_digits_are_refused_before_anything_is_written(mnist, tmp_path):
    with pytest.raises(ConfigError, match=r"No file .*brainpred data fetch mnist"):
        train(tmp_path / "none.npz", tmp_path / "out")
    (tmp_path / "short.npz").write_bytes(mnist.read_bytes()[:500])
    with pytest.raises(DataError, match=r"short\.npz does not hold MNIST"):
        train(tmp_path / "short.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_learns_small_digits(tmp_path):
    config = DigitTrainingConfig(epochs=10, batch_size=40)
    train(None, tmp_path, config)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["alone"]["n_pictures"] == 297
    assert scores["alone"]["accuracy"] > 0.9
    assert scores["scenes"]["digits"] > 0.85


def test_a_reader_that_knows_nothing_scores_at_chance():
    torch.manual_seed(0)
    small = load_digits()
    digits = DigitImages("small", small.train, small.validation, small.test)
    scores = score_digit_reader(DigitReader().eval(), digits, n_scenes=200)
    assert scores["alone"]["accuracy"] < 0.3
    assert scores["scenes"]["joint"] < 0.3


def test_command_trains_and_names_what_it_wrote(run, mnist, tmp_path):
    code, out, err = run(
        "train", "digits", "--mnist", mnist, "--out", tmp_path, "--device", "cpu", "--seed", 3, "--quiet"
    )
    assert (code, err) == (0, "")
    for name in ("digit_reader.safetensors", "digit_reader.md", "scores.json"):
        assert str(tmp_path / name) in out
        assert (tmp_path / name).is_file()
    settings = json.loads((tmp_path / "train.json").read_text())["settings"]
    assert settings == {**asdict(DigitTrainingConfig(seed=3)), "digits": "MNIST"}


def test_command_without_a_file_of_digits_exits_2(run, tmp_path):
    code, _, err = run("train", "digits", "--mnist", tmp_path / "none.npz", "--out", tmp_path / "out")
    assert code == 2
    assert "brainpred data fetch mnist" in err
    assert not (tmp_path / "out").exists()
