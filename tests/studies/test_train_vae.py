"""Training autoencoders end to end: of movie frames and of labels; files, refusals."""

import json

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError
from brainpred.models.vae import load_vae
from brainpred.movies.video import read_video, write_video
from brainpred.studies import train_vae as study
from brainpred.studies.train_vae import VAETrainingConfig, train_vae

SIZE = (12, 20)


@pytest.fixture
def movies(tmp_path):
    """Two movies in which a bright square moves over a dark ground."""
    folder = tmp_path / "movies"
    folder.mkdir()
    for name, row in (("a", 3), ("b", 12)):
        frames = np.full((29, 24, 40, 3), 30, np.uint8)
        for t in range(len(frames)):
            frames[t, row : row + 8, t : t + 10] = 220
        write_video(folder / f"{name}.mp4", frames, fps=15)
    return folder


def test_frames_of_movies_are_modelled(tmp_path, movies, run, monkeypatch):
    for name, value in ((study.N_SCORED, 3), (study.BATCHES, 4)):  # few frames: small batches for many updates
        monkeypatch.setitem(name, "frames", value)
    out = tmp_path / "out"
    arguments = ["train", "vae", "--of", "frames", "--movies", movies, "--size", "12x20", "--epochs", "12"]
    code, printed, _ = run(*arguments, "--out", out, "--quiet")
    assert code == 0
    assert "vae.safetensors" in printed
    vae = load_vae(out / "vae.safetensors")
    assert vae.config.data == "frames"
    assert vae.config.size == SIZE
    assert len(vae.config.hidden) == 2  # 12 pixels can be halved twice
    scores = json.loads((out / "scores.json").read_text())
    assert scores["log_p_low"] <= scores["log_p"] <= scores["log_p_high"]
    frames = np.concatenate([read_video(movies / f"{name}.mp4", SIZE)[0] for name in "ab"])
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    made = vae.likelihood(vae.posterior(x).base_dist.mean).mean
    # It tells frames apart, and does not give every time the mean of all.
    assert (made - x).square().mean() < 0.6 * (x.mean(dim=0) - x).square().mean()
    assert "trained on" in (out / "vae.md").read_text()
    code, _, err = run(*arguments[:-1], "13", "--out", out, "--quiet")
    assert code == 2
    assert "other epochs" in err


def test_labels_are_modelled(tmp_path):
    weights = train_vae(tmp_path / "out", VAETrainingConfig("labels", epochs=3), data=tmp_path)
    labels = torch.arange(10)
    vae = load_vae(weights)
    assert vae.likelihood(vae.posterior(labels).base_dist.mean).probs.shape == (10, 10)
    assert "Digits: scikit-learn" in (tmp_path / "out" / "vae.md").read_text()


@pytest.mark.parametrize(
    ("config", "movies", "match"),
    [
        (VAETrainingConfig("faces"), (), "digits or labels or frames"),
        (VAETrainingConfig("frames"), (), "with --movies"),
        (VAETrainingConfig("digits"), ("a.mp4",), "leave out --movies"),
        (VAETrainingConfig("labels", size=(8, 8)), (), "A size is for frames"),
        (VAETrainingConfig("frames", batch_size=0), ("a.mp4",), "batch_size must be 1 or more"),
    ],
)
def test_requests_that_do_not_fit_together_are_refused(tmp_path, config, movies, match):
    with pytest.raises(ConfigError, match=match):
        train_vae(tmp_path / "out", config, movies=movies)
    assert not (tmp_path / "out").exists()
