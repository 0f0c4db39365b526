"""Training, drawing and probing alignDRAW through the command line."""

import json
import re
from dataclasses import replace

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.main import get_command

from brainpred.cli.main import app
from brainpred.devices import PRECISION_CHOICES
from brainpred.errors import ConfigError, DataError
from brainpred.models.aligndraw import AlignDRAW, AlignDRAWConfig
from brainpred.models.aligndraw_weights import SHIPPED, load_aligndraw, save_aligndraw
from brainpred.movies.captions import GRAMMARS, load_grammar
from brainpred.studies import train_aligndraw as study
from brainpred.studies.aligndraw import draw_captions, study_attention, study_composition, watch_drawing
from brainpred.studies.train_prednet import PRECISIONS
from brainpred.training.aligndraw import RECIPES
from brainpred.training.lessons import teach_reading

SMALL = {"n_language": 4, "n_attention": 6, "n_hidden": 7, "n_latent": 5, "n_steps": 3, "patch": 3}


def _network(tmp_path, grammar, seed=0, **config):
    torch.manual_seed(seed)
    path = tmp_path / f"{grammar}{seed}.safetensors"
    network = AlignDRAW(len(load_grammar(grammar).vocabulary), AlignDRAWConfig(**{**SMALL, **config}))
    with torch.no_grad():
        network.start_canvas.zero_()  # so that something is to be seen
    save_aligndraw(network, path, grammar)
    return path


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def small(monkeypatch):
    """Make trainings short."""
    monkeypatch.setattr("brainpred.training.aligndraw.VALIDATION_SCENES", 4)
    monkeypatch.setattr(study, "N_JUDGED", 3)
    monkeypatch.setattr(study, "BATCHES_AN_EPOCH", 2)
    monkeypatch.setattr(study.AlignDRAWTrainingConfig, "network", property(lambda _: AlignDRAWConfig(**SMALL)))
    monkeypatch.setitem(RECIPES, "lessons", replace(RECIPES["lessons"], n_lessons=2))


@pytest.mark.parametrize("recipe", ["document", "fast", "lessons"])
def test_training_goes_on_where_it_stopped(run, tmp_path, small, recipe, monkeypatch):
    command = ("train", "aligndraw", "--study", "A", "--recipe", recipe, "--batch-size", 4, "--seed", 5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    monkeypatch.setenv("BRAINPRED_DATA", str(tmp_path))  # no MNIST there
    code, out, err = run(*command, "--updates", 6, "--out", whole)
    assert code == 0, err
    assert "Digits: scikit-learn's digits" in err
    assert "Weights" in out
    for name in ("aligndraw.safetensors", "aligndraw.md", "scores.json", "curve.csv", "train.json"):
        assert (whole / name).is_file()
    assert set(json.loads((whole / "scores.json").read_text())) == {"seen", "held out"}
    assert len(pd.read_csv(whole / "curve.csv")) == 3

    from brainpred.training.aligndraw import AlignDRAWTraining

    step, seen = AlignDRAWTraining.training_step, []

    def interrupted(self, batch, index):
        seen.append(index)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(AlignDRAWTraining, "training_step", interrupted)
    assert run(*command, "--updates", 6, "--out", parts, "--quiet")[0] == 130
    assert run(*command, "--updates", 6, "--out", parts, "--quiet")[0] == 0
    assert len(seen) == 4 + 4, "the epoch that was whole is not done again"
    ended, resumed = (load_aligndraw(folder / "aligndraw.safetensors")[0].state_dict() for folder in (whole, parts))
    for name, weight in ended.items():
        assert torch.equal(weight, resumed[name]), name
    code, _, err = run(*command[:-1], 6, "--updates", 6, "--out", parts, "--quiet")
    assert code == 2
    assert "other seed" in err


def test_lessons_come_before_the_drawing_which_leaves_the_encoder_alone(tmp_path, small, monkeypatch):
    taught = []

    def noted(language, *arguments):
        left = teach_reading(language, *arguments)
        taught.append({name: weight.clone() for name, weight in language.state_dict().items()})
        return left

    monkeypatch.setattr("brainpred.training.lessons.teach_reading", noted)
    config = study.AlignDRAWTrainingConfig("A", recipe="lessons", updates=2, batch_size=3)
    network, _ = load_aligndraw(study.train_aligndraw(tmp_path / "lessons", config, data=tmp_path, device="cpu"))
    for name, weight in network.language.state_dict().items():
        assert torch.equal(weight, taught[0][name]), name
    for recipe in ("document", "fast"):
        study.train_aligndraw(tmp_path / recipe, replace(config, recipe=recipe), data=tmp_path, device="cpu")
    assert len(taught) == 1


def test_a_training_starts_from_a_network_that_draws(run, tmp_path, small, monkeypatch):
    start = _network(tmp_path, "B", seed=3)
    begun = []

    def noted(self, other):
        draw_like(self, other)
        begun.append(other)
        assert torch.equal(self.posterior.weight, load_aligndraw(start)[0].posterior.weight)

    draw_like = AlignDRAW.draw_like
    monkeypatch.setattr(AlignDRAW, "draw_like", noted)
    monkeypatch.setenv("BRAINPRED_DATA", str(tmp_path))
    command = ("train", "aligndraw", "--study", "A", "--updates", 1, "--batch-size", 3, "--quiet", "--out")
    assert run(*command, tmp_path / "alone")[0] == 0
    assert not begun
    assert run(*command, tmp_path / "begun", "--start", start)[0] == 0
    assert len(begun) == 1
    assert json.loads((tmp_path / "begun" / "train.json").read_text())["settings"]["start"] == str(start)
    code, _, err = run(*command, tmp_path / "large", "--start", "B")
    assert code == 2
    assert "n_hidden" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--study", "C"), "Unknown grammar 'C'"),
        (("--recipe", "slow"), "Unknown recipe 'slow'. Choose one of: document, fast"),
        (("--encoder", "gru"), "Unknown encoder 'gru'"),
        (("--updates", "0"), "updates must be 1 or more, received 0"),
        (("--mnist", "nowhere.npz"), "No file nowhere.npz"),
    ],
)
def test_bad_options(run, tmp_path, options, message):
    code, _, err = run("train", "aligndraw", *options, "--out", tmp_path / "out", "--quiet")
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_generate_writes_what_people_open(run, tmp_path):
    weights, out = _network(tmp_path, "A"), tmp_path / "out"
    text = "すうじ3がすうじ5のひだりにある。"
    code, printed, err = run(
        "probe", "aligndraw", "generate", text, "--weights", weights, "--out", out, "--pictures", 2, "--quiet"
    )
    assert code == 0, err
    assert str(out / "drawing.mp4") in printed
    picture = _pixels(out / "picture.png")
    assert picture.shape == (60, 60)
    network, name = load_aligndraw(weights)
    caption = load_grammar(name).parse(text)
    alpha, pictures = watch_drawing(network, load_grammar(name), [caption] * 2)
    np.testing.assert_array_equal(picture, np.round(255 * pictures[0, -1]))
    table = pd.read_csv(out / "attention.tsv", sep="\t", index_col="step")
    assert [column.split()[1] for column in table] == list(caption.tokens)
    np.testing.assert_allclose(table, alpha[0], atol=1e-5)
    with av.open(str(out / "drawing.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 3 + 8  # the finished drawing stays for two seconds
        assert film.duration / 1e6 > 2.5
    for name in ("pictures.png", "attention.png"):
        assert _pixels(out / name).shape[1] > 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The caption is empty"),
        ("すうじ3は猫。", "never read: は 猫"),
        ("すうじ3がある。", "no sentence of grammar A"),
    ],
)
def test_captions_that_nobody_reads(run, tmp_path, text, message):
    for options, grammars in (((), GRAMMARS.values()), (("--weights", _network(tmp_path, "A")), [load_grammar("A")])):
        code, _, err = run("probe", "aligndraw", "generate", text, "--out", tmp_path / "out", *options, "--quiet")
        assert code == 2
        error, *sentences = err.splitlines()
        assert error.startswith("Error: The caption")
        assert message in error
        assert sentences == [sentence for grammar in grammars for sentence in grammar.sentences]
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n_pictures", [0, -1])
def test_no_pictures(run, tmp_path, n_pictures):
    caption, out = load_grammar("B").captions[0], tmp_path / "out"
    for command in (("generate", caption.text, "--out", out), ("score", "B")):
        code, _, err = run("probe", "aligndraw", *command, "--pictures", n_pictures)
        assert code == 2
        assert f"The number of pictures must be 1 or more, received {n_pictures}" in " ".join(err.split())
    assert not out.exists()
    network, _ = load_aligndraw(_network(tmp_path, "B"))
    with pytest.raises(ConfigError, match="received 0"):
        draw_captions(network, load_grammar("B"), [])


def test_captions_of_a_study_whose_network_does_not_ship(run, tmp_path):
    code, _, err = run(
        "probe", "aligndraw", "generate", "The digit 3 is on the left of the digit 5.", "--out", tmp_path
    )
    assert code == 2
    assert "grammar english, for which no network ships. Train one with" in " ".join(err.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_networks_that_ship_draw_what_captions_say(name):
    scores = study.score_aligndraw(name, n_pictures=200, seed=3)
    assert scores["seen"]["joint"] > 0.95
    assert scores["held out"]["joint"] > 0.94


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        (("train", "aligndraw"), "precision", PRECISION_CHOICES),
        (("train", "aligndraw"), "recipe", RECIPES),
        (("train", "aligndraw"), "start", SHIPPED),
        (("train", "aligndraw"), "study", GRAMMARS),
        (("train", "prednet"), "precision", PRECISIONS),
        (("probe", "aligndraw", "generate"), "weights", SHIPPED),
        (("probe", "aligndraw", "score"), "networks", SHIPPED),
    ],
)
def test_help_lists_every_value(command, option, values):
    parsed = get_command(app)
    for name in command:
        parsed = parsed.commands[name]
    [help_text] = [parameter.help for parameter in parsed.params if parameter.name == option]
    words = re.findall(r"[\w-]+", help_text)
    assert set(values) <= set(words)


def test_drawing_is_reproducible_and_does_not_depend_on_how_it_is_watched(tmp_path):
    network, name = load_aligndraw(_network(tmp_path, "B", n_embedding=3))
    grammar = load_grammar(name)
    captions = grammar.captions[:7]
    one, other = (draw_captions(network, grammar, captions, seed=seed) for seed in (1, 2))
    assert not np.allclose(one, other)
    np.testing.assert_allclose(one, watch_drawing(network, grammar, captions, seed=1)[1][:, -1], atol=1e-6)


def test_scores_and_probes_print_tables(run, tmp_path):
    weights = [_network(tmp_path, "B", seed, n_embedding=3) for seed in range(2)]
    code, out, err = run("probe", "aligndraw", "score", *weights, "--pictures", 3, "--out", tmp_path / "scores.tsv")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "scores.tsv", sep="\t")
    assert list(table["captions"]) == ["seen", "held out"] * 2
    code, out, err = run("probe", "aligndraw", "composition", *weights, "--out", tmp_path / "composition")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "composition" / "composition.tsv", sep="\t")
    assert (table["n_networks"] == 2).all()
    assert (table["cosine_low"] < table["cosine_high"]).all()
    each = pd.read_csv(tmp_path / "composition" / "networks.tsv", sep="\t")
    assert list(each["weights"].drop_duplicates()) == list(map(str, weights))
    means = table.set_index(["vectors", "compound"])["rank"]
    expected = each.groupby(["vectors", "compound"])["rank"].mean()
    np.testing.assert_allclose(means, expected.reindex(means.index))
    assert _pixels(tmp_path / "composition" / "composition.png").shape[1] > 1000
    assert "左上 - 左 + 右" in out
    code, out, err = run("probe", "aligndraw", "attention", _network(tmp_path, "A"), "--quiet")
    assert code == 0, err
    assert out.splitlines()[0].split("\t")[:3] == ["weights", "encoder", "entropy"]


def test_probes_refuse_the_other_study(tmp_path):
    with pytest.raises(DataError, match="reads words"):
        study_attention([_network(tmp_path, "B", n_embedding=3)])
    with pytest.raises(DataError, match="no embedding of words"):
        study_composition([_network(tmp_path, "A")])


def test_digits_are_found_where_they_were_fetched(tmp_path):
    with pytest.raises(ConfigError, match="No file"):
        study.find_digits(tmp_path / "mnist.npz")
    assert "scikit-learn" in study.find_digits(data=tmp_path).source
    (tmp_path / "mnist").mkdir()
    labels = np.arange(60, dtype=np.uint8) % 10
    images = np.zeros((60, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist" / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert study.find_digits(data=tmp_path).source == "MNIST"
