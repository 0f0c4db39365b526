"""Training end to end on tiny movies: files, resume, refusals, honest scores."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import structural_similarity

from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import load_prednet, read_frame_size, save_prednet, weights_fingerprint
from brainpred.movies.video import read_video, write_video
from brainpred.storage import file_fingerprint
from brainpred.studies.train_prednet import PredNetTrainingConfig, find_movies, score_prednet, train_prednet
from brainpred.training.prednet import PredNetTraining
from brainpred.training.sequences import TrainingSequences

SIZE = (8, 12)
CONFIG = PredNetTrainingConfig(
    size=SIZE, channels=(3, 4, 5), n_frames=5, batch_size=3, sequences_per_epoch=4, epochs=3, margin=1.5,
    synthetic_s=1.0, learning_rate=0.003, seed=11,
)  # fmt: skip
HELD_OUT = ("c.mp4", "d.mp4")


def sliding_texture(n_frames, seed, height=18, width=26, speed=0.6):
    """Film a smooth random texture that slides to the left."""
    rng = np.random.default_rng(seed)
    t, y, x = np.ogrid[:n_frames, :height, :width]
    waves = sum(
        np.sin(2 * np.pi * ((x + speed * t) * fx / width + y * fy / height) + phase)
        for fx, fy, phase in zip(rng.integers(1, 4, 5), rng.integers(0, 3, 5), rng.uniform(0, 7, 5), strict=True)
    )
    grey = 125 + 35 * waves / np.std(waves)
    return (grey[..., None] * rng.uniform(0.6, 1.1, 3)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    """Write four short movies; the third, held out, holds a cut before frame 8."""
    folder = tmp_path_factory.mktemp("movies")
    cut = np.concatenate([sliding_texture(8, 3), 255 - sliding_texture(11, 3)])
    contents = {"a.mp4": sliding_texture(23, 1), "b.mp4": sliding_texture(19, 2), "c.mp4": cut}
    contents["d.mp4"] = sliding_texture(13, 4, speed=1.1)
    for name, frames in contents.items():
        write_video(folder / name, frames, 15)
    return folder


def train(movies, out, config=CONFIG, hold_out=HELD_OUT):
    return train_prednet([movies], out, config, hold_out=hold_out, device="cpu")


@pytest.fixture(scope="module")
def trained(movies, tmp_path_factory):
    """Train once; tests read the folder and do not change it."""
    out = tmp_path_factory.mktemp("trained") / "prednet"
    train(movies, out)
    return out


@pytest.fixture(autouse=True)
def own_interrupt():
    """Put back the answer to Ctrl-C, which Lightning takes away when it was interrupted once."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def content_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_promised_is_written(trained):
    names = {path.name for path in trained.iterdir()}
    files = {"prednet.safetensors", "prednet.md", "scores.json", "curve.csv", "train.json"}
    assert names == files | {"checkpoints", "tensorboard"}
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))
    assert {path.name for path in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    curve = pd.read_csv(trained / "curve.csv")
    assert curve["epoch"].tolist() == [0, 1, 2]
    assert set(curve) == {"epoch", "learning_rate", "train_loss", "mse_predicted", "mse_copied"}
    assert np.isfinite(curve.to_numpy()).all()
    assert curve["mse_copied"].nunique() == 1


def test_weights_say_their_size_and_differ_from_those_it_began_with(trained):
    network = PredNet.from_pretrained(trained / "prednet.safetensors")
    assert network.channels == (3, 4, 5)
    assert read_frame_size(trained / "prednet.safetensors") == SIZE
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert network.predict[0].bias.abs().max() > 0


def test_settings_and_movies_are_on_record(movies, trained):
    saved = json.loads((trained / "train.json").read_text())
    expected = json.loads(json.dumps(asdict(CONFIG)))
    expected["movies"] = {name: file_fingerprint(movies / name) for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4")}
    expected["hold_out"] = ["c.mp4", "d.mp4"]
    expected["devices"] = "auto"
    assert saved["settings"] == expected
    assert saved["provenance"]["versions"]["torch"]


def test_scores_are_those_of_the_best_epoch(trained):
    curve = pd.read_csv(trained / "curve.csv")
    scores = json.loads((trained / "scores.json").read_text())
    assert list(scores) == list(HELD_OUT)
    n = [scores[name]["n_sequences"] for name in HELD_OUT]
    assert n == [3, 2]  # 8 + 11 frames hold 1 + 2 sequences of 5, 13 frames hold 2
    for key, expected in (("mse_predicted", curve["mse_predicted"].min()), ("mse_copied", curve["mse_copied"].iloc[0])):
        together = np.average([scores[name][key] for name in HELD_OUT], weights=n)
        assert together == pytest.approx(expected, rel=1e-4), key


def slow_scores(weights, path, begins, n_frames):
    """Score sequence by sequence, frame by frame, pixel by pixel."""
    frames = read_video(path, SIZE)[0].astype(np.float64) / 255
    network = load_prednet(weights).double()
    errors, likenesses = {"predicted": [], "copied": []}, {"predicted": [], "copied": []}
    for begin in begins:
        shown = frames[begin : begin + n_frames]
        with torch.no_grad():
            predicted = network(torch.from_numpy(shown).permute(0, 3, 1, 2)[None])[0].permute(0, 2, 3, 1).numpy()
        for t in range(1, n_frames):
            for name, guess in (("predicted", predicted[t]), ("copied", shown[t - 1])):
                squares = [(guess[place] - shown[t][place]) ** 2 for place in np.ndindex(guess.shape)]
                errors[name].append(sum(squares) / len(squares))
                colours = [
                    structural_similarity(shown[t][..., colour], guess[..., colour], data_range=1.0)
                    for colour in range(3)
                ]
                likenesses[name].append(sum(colours) / 3)
    return {
        "n_sequences": len(begins),
        **{f"mse_{name}": sum(values) / len(values) for name, values in errors.items()},
        "ratio": sum(errors["predicted"]) / sum(errors["copied"]),
        **{f"ssim_{name}": sum(values) / len(values) for name, values in likenesses.items()},
    }


def test_scores_follow_a_loop_that_keeps_off_the_cut(movies, tmp_path):
    torch.manual_seed(5)
    network = PredNet((3, 5))
    with torch.no_grad():
        network.predict[0].bias += 0.3
    save_prednet(network, tmp_path / "w.safetensors")
    paths = [movies / "c.mp4", movies / "a.mp4"]
    scores = score_prednet(tmp_path / "w.safetensors", paths, SIZE, n_frames=4)
    assert list(scores) == ["c.mp4", "a.mp4"]
    begins = ([0, 4, 8, 12], [0, 4, 8, 12, 16])  # of 8 + 11 frames, and of 23
    for path, expected_begins in zip(paths, begins, strict=True):
        expected = slow_scores(tmp_path / "w.safetensors", path, expected_begins, 4)
        assert scores[path.name] == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert set(scores[path.name]) == set(expected)
    assert scores["c.mp4"]["mse_copied"] < 0.02, "a sequence spans the cut"


def test_model_card_names_every_movie_with_its_use_and_every_score(movies, trained):
    card = (trained / "prednet.md").read_text()
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        use = "held out" if name in HELD_OUT else "trained on"
        assert f"| {name} | {use} | {file_fingerprint(movies / name)} |" in card
    scores = json.loads((trained / "scores.json").read_text())
    for name, row in scores.items():
        line = re.search(rf"^\| {name} \| {row['n_sequences']} \| (.*) \|$", card, re.MULTILINE)
        written = [float(value) for value in line.group(1).split(" | ")]
        keys = ("mse_predicted", "mse_copied", "ratio", "ssim_predicted", "ssim_copied")
        assert written == pytest.approx([row[key] for key in keys], rel=5e-3, abs=6e-3)
    for setting, value in asdict(CONFIG).items():
        assert f"| {setting} | {value} |" in card
    n_parameters = sum(parameter.numel() for parameter in PredNet((3, 4, 5)).parameters())
    assert f"{n_parameters:,} parameters" in card
    assert "1 s of synthesised movie" in card


def stop_training_at(monkeypatch, epoch, batch, method="training_step"):
    """Press Ctrl-C in the middle of a training."""
    original = getattr(PredNetTraining, method)

    def step(self, frames, batch_index):
        if (self.current_epoch, batch_index) == (epoch, batch):
            raise KeyboardInterrupt
        return original(self, frames, batch_index)

    monkeypatch.setattr(PredNetTraining, method, step)


def assert_same_results(out, trained):
    for name in ("curve.csv", "scores.json", "prednet.safetensors", "prednet.md"):
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.parametrize(
    ("epoch", "batch", "method"),
    [(0, 1, "training_step"), (1, 1, "training_step"), (1, 0, "validation_step"), (2, 0, "training_step")],
)
def test_interrupted_and_gone_on_equals_uninterrupted(movies, trained, tmp_path, monkeypatch, epoch, batch, method):
    with monkeypatch.context() as patch:
        stop_training_at(patch, epoch, batch, method)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(movies, tmp_path)
    assert not (tmp_path / "prednet.safetensors").exists()
    if epoch:
        assert len(pd.read_csv(tmp_path / "curve.csv")) == epoch
    train(movies, tmp_path)
    assert_same_results(tmp_path, trained)


def test_every_epoch_shows_its_own_sequences_also_after_a_stop(movies, tmp_path, monkeypatch):
    shown = []
    original = TrainingSequences.__getitem__

    def note(self, index):
        shown.append((self.epoch, index))
        return original(self, index)

    monkeypatch.setattr(TrainingSequences, "__getitem__", note)
    with monkeypatch.context() as patch:
        stop_training_at(patch, 1, 0)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(movies, tmp_path)
    assert shown[:4] == [(0, index) for index in range(4)]
    assert {epoch for epoch, _ in shown[4:]} == {1}
    shown.clear()
    train(movies, tmp_path)
    assert shown == [(epoch, index) for epoch in (1, 2) for index in range(4)]


@pytest.mark.slow
def test_killed_and_gone_on_equals_uninterrupted(movies, trained, tmp_path):
    script = (
        "import os, signal, sys, torch\n"
        "from brainpred.studies.train_prednet import PredNetTrainingConfig, train_prednet\n"
        "from brainpred.training.prednet import PredNetTraining\n"
        "torch.set_num_threads(1)\n"
        "step = PredNetTraining.training_step\n"
        "def deadly(self, frames, index):\n"
        "    if self.current_epoch == 1 and index == 1:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, frames, index)\n"
        "PredNetTraining.training_step = deadly\n"
        f"config = {CONFIG!r}\n"
        f"train_prednet([sys.argv[1]], sys.argv[2], config, hold_out={HELD_OUT!r}, device='cpu')\n"
    )
    command = [sys.executable, "-c", script, str(movies), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert answer.returncode == -signal.SIGKILL, answer.stderr
    assert len(pd.read_csv(tmp_path / "curve.csv")) == 1
    train(movies, tmp_path)
    assert_same_results(tmp_path, trained)


def test_training_that_is_done_trains_no_more(movies, tmp_path, monkeypatch):
    train(movies, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("curve.csv", "prednet.safetensors", "scores.json")}
    # Whichever epoch was best.
    for epoch, batch in itertools.product(range(CONFIG.epochs), range(2)):
        stop_training_at(monkeypatch, epoch, batch)
    train(movies, tmp_path)
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content, name


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rate", 0.002), ("epochs", 4), ("seed", 12), ("loss", "MSE"), ("schedule", "cosine"),
        ("synthetic_s", 0.0), ("channels", (3, 4, 7)), ("start", "copying"), ("margin", 2.0), ("n_frames", 4),
    ],
)  # fmt: skip
def test_other_settings_in_the_same_folder_are_refused_by_name(movies, trained, option, value):
    before = content_of(trained)
    with pytest.raises(ConfigError, match=rf"training with other {option};.*another --out"):
        train(movies, trained, replace(CONFIG, **{option: value}))
    assert content_of(trained) == before


def test_other_movies_in_the_same_folder_are_refused_by_name(movies, trained, tmp_path):
    with pytest.raises(ConfigError, match="training with other hold_out;"):
        train(movies, trained, hold_out=["c.mp4"])
    other = [movies / name for name in ("b.mp4", "c.mp4", "d.mp4")]
    with pytest.raises(ConfigError, match="training with other movies;"):
        train_prednet(other, trained, CONFIG, hold_out=HELD_OUT, device="cpu")
    write_video(tmp_path / "a.mp4", sliding_texture(23, 77), 15)
    with pytest.raises(ConfigError, match="training with other movies;"):
        train_prednet([tmp_path / "a.mp4", *other], trained, CONFIG, hold_out=HELD_OUT, device="cpu")


@pytest.mark.parametrize(("hold_out", "named"), [((), "nothing"), (("z.mp4",), r"z\.mp4"), (("c.mp4", "z"), "z:")])
def test_clip_to_hold_out_that_is_not_there_is_refused_with_those_found(movies, tmp_path, hold_out, named):
    with pytest.raises(ConfigError, match=rf"Cannot hold out {named}.*a\.mp4, b\.mp4, c\.mp4, d\.mp4"):
        train(movies, tmp_path / "out", hold_out=hold_out)
    assert not (tmp_path / "out").exists()


def test_held_out_clips_are_not_trained_on(movies, tmp_path, monkeypatch):
    seen = {}
    for name in ("TrainingSequences", "WholeSequences"):

        def note(clips, *arguments, name=name, **options):
            seen[name] = [len(clip) for clip in clips]
            raise DataError("seen enough")

        with monkeypatch.context() as patch:
            patch.setattr(f"brainpred.training.sequences.{name}", note)
            with pytest.raises(DataError, match="seen enough"):
                train(movies, tmp_path / name, replace(CONFIG, synthetic_s=0.0))
    assert seen == {"TrainingSequences": [23, 19], "WholeSequences": [19, 13]}


def test_network_that_starts_by_copying_predicts_the_last_frame_at_once(tmp_path):
    # Faster than it settles, so that copying is not perfect either.
    movies = tmp_path / "movies"
    movies.mkdir()
    for seed, name in enumerate(("a.mp4", "b.mp4")):
        write_video(movies / name, sliding_texture(26, seed, speed=2.0), 15)
    ratios = {}
    for start in ("published", "copying"):
        config = replace(
            CONFIG, start=start, epochs=1, sequences_per_epoch=2, learning_rate=1e-9, n_frames=13, synthetic_s=0.0
        )
        train(movies, tmp_path / start, config, hold_out=["b.mp4"])
        ratios[start] = json.loads((tmp_path / start / "scores.json").read_text())["b.mp4"]["ratio"]
    assert ratios["copying"] < 1.5
    assert ratios["published"] > 10 * ratios["copying"]


def test_training_goes_on_from_a_weights_file(movies, tmp_path):
    generator = torch.Generator().manual_seed(8)
    network, other = PredNet((3, 5)), PredNet((3, 5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    start = tmp_path / "start.safetensors"
    save_prednet(network, start)
    key = weights_fingerprint(start)
    # The channels of the file count, not those of the settings.
    config = replace(CONFIG, start=str(start), epochs=1, learning_rate=0.0, synthetic_s=0.0)
    weights = train(movies, tmp_path / "out", config)
    loaded = load_prednet(weights)
    assert loaded.channels == (3, 5)
    assert all(map(torch.equal, loaded.parameters(), network.parameters()))
    assert json.loads((tmp_path / "out" / "train.json").read_text())["settings"]["start"] == key

    moved = start.rename(tmp_path / "moved.safetensors")
    train(movies, tmp_path / "out", replace(config, start=str(moved)))  # the same weights elsewhere
    save_prednet(other, start)
    with pytest.raises(ConfigError, match="training with other start;"):
        train(movies, tmp_path / "out", config)


def test_start_that_does_not_exist_is_refused(movies, tmp_path):
    with pytest.raises(ConfigError, match="'random'"):
        train(movies, tmp_path / "out", replace(CONFIG, start="random"))
    assert not list(tmp_path.glob("out/*"))


def test_seed_decides_the_weights(movies, tmp_path):
    first, second = (
        train(movies, tmp_path / str(seed), replace(CONFIG, seed=seed, epochs=1, synthetic_s=0.0)) for seed in (3, 4)
    )
    assert first.read_bytes() != second.read_bytes()


def test_movies_are_found_in_folders_and_by_name(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("z.mp4", "deep/y.MKV", "deep/notes.txt", "x.mp4.part"):
        (tmp_path / name).touch()
    assert find_movies([tmp_path]) == [tmp_path / "deep" / "y.MKV", tmp_path / "z.mp4"]
    assert find_movies([tmp_path / "z.mp4", str(tmp_path / "deep")]) == [
        tmp_path / "z.mp4",
        tmp_path / "deep" / "y.MKV",
    ]
    for nothing in (tmp_path / "nowhere", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=rf"No movie at .*{nothing.name}.*\.mp4"):
            find_movies([nothing])


TINY = (
    "--size", "8x12", "--channels", "3,4", "--epochs", "1", "--sequences", "2", "--batch-size", "2",
    "--margin", "1.25", "--synthetic-s", "0", "--device", "cpu", "--quiet",
)  # fmt: skip


def test_command_line_trains_and_says_where_everything_is(movies, tmp_path, run):
    out = tmp_path / "out"
    code, text, error = run(
        "train", "prednet", "--movies", movies / "a.mp4", movies / "b.mp4", movies / "d.mp4", "--hold-out", "b.mp4",
        "d.mp4", "--out", out, *TINY, "--loss", "MSE", "--schedule", "cosine", "--start", "copying", "--seed", "5",
        "--learning-rate", "0.002",
    )  # fmt: skip
    assert (code, error) == (0, "")
    for label, name in (
        ("Weights", "prednet.safetensors"),
        ("Model card", "prednet.md"),
        ("Scores on held-out clips", "scores.json"),
    ):
        assert f"{label}: {out / name}\n" in text
        assert (out / name).is_file()
    settings = json.loads((out / "train.json").read_text())["settings"]
    given = {
        "size": [8, 12], "channels": [3, 4], "epochs": 1, "sequences_per_epoch": 2, "batch_size": 2, "margin": 1.25,
        "synthetic_s": 0, "loss": "MSE", "schedule": "cosine", "start": "copying", "seed": 5, "learning_rate": 0.002,
        "hold_out": ["b.mp4", "d.mp4"], "n_frames": 10, "precision": "32-true",
    }  # fmt: skip
    assert {name: settings[name] for name in given} == given
    assert list(settings["movies"]) == ["a.mp4", "b.mp4", "d.mp4"]
    assert load_prednet(out / "prednet.safetensors").channels == (3, 4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--movies"),
        (("--hold-out", "a.mp4"), "--movies"),
        (("--movies", "MOVIES"), "--hold-out"),
        (("--movies", "MOVIES", "--hold-out", "y.mp4"), "Cannot hold out y.mp4"),
        (("--movies", "MOVIES", "--hold-out", "c.mp4", "--channels", "3,x"), "3,x"),
        (("--movies", "MOVIES", "--hold-out", "c.mp4", "--loss", "L9"), "L0, Lall, MSE, relative"),
        (("--movies", "MOVIES", "--hold-out", "c.mp4", "--schedule", "step"), "drop, cosine"),
        (("--movies", "MOVIES", "--hold-out", "c.mp4", "--start", "nowhere"), "nowhere"),
        (("--movies", "MOVIES", "--hold-out", "c.mp4", "--size", "8"), "HEIGHTxWIDTH"),
    ],
)
def test_command_line_that_cannot_be_used_exits_2_and_writes_nothing(movies, tmp_path, run, arguments, expected):
    # Not those given: were an unusable option let through, the training would be short.
    short = [part for pair in zip(TINY[:-1:2], TINY[1::2], strict=True) if pair[0] not in arguments for part in pair]
    given = [movies if argument == "MOVIES" else argument for argument in arguments]
    code, text, error = run("train", "prednet", "--out", tmp_path / "out", "--quiet", *short, *given)
    assert (code, text) == (2, "")
    assert error.startswith("Error: ")
    assert expected in error
    assert not list(tmp_path.glob("out/*"))


def test_command_line_of_an_interrupted_training_says_how_to_go_on(movies, tmp_path, run, monkeypatch):
    stop_training_at(monkeypatch, 0, 0)
    handler = signal.getsignal(signal.SIGINT)
    code, _, error = run(
        "train", "prednet", "--movies", movies, "--hold-out", "c.mp4", "--out", tmp_path / "out", *TINY
    )
    assert code == 130
    assert "run the same command again" in error
    assert signal.getsignal(signal.SIGINT) is handler, "Ctrl-C does nothing any more"


def test_numbers_that_cannot_be_used_are_refused(movies, tmp_path):
    for change, message in (
        ({"epochs": 0}, "epochs must be 1 or more, received 0"),
        ({"n_frames": 1}, "n_frames must be 2 or more"),
        ({"batch_size": 0}, "batch_size must be 1"),
        ({"precision": "half"}, "Unknown precision 'half'"),
        ({"learning_rate": -1.0}, "learning_rate must be 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_prednet([movies], tmp_path / "out", replace(CONFIG, **change), hold_out=["c.mp4"])
    assert not (tmp_path / "out").exists()


def test_copy_of_a_held_out_movie_is_not_trained_on(movies, tmp_path):
    folder = tmp_path / "movies"
    shutil.copytree(movies, folder)
    shutil.copy(folder / "c.mp4", folder / "same.mp4")
    with pytest.raises(ConfigError, match=r"under other names: same\.mp4"):
        train_prednet([folder], tmp_path / "out", CONFIG, hold_out=["c.mp4"])


def test_movies_of_one_name_are_refused(movies, tmp_path):
    shutil.copytree(movies, tmp_path / "again")
    with pytest.raises(ConfigError, match=r"several are called a\.mp4, b\.mp4"):
        train_prednet([movies, tmp_path / "again"], tmp_path / "out", CONFIG, hold_out=["c.mp4"])
