"""The reader of digits that judges drawings."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from brainpred.errors import CheckpointError
from brainpred.models.digit_reader import DigitReader, load_digit_reader, save_digit_reader
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import load_digits, paint_scenes
from brainpred.probes.reading import read_scenes

DATA = Path(os.environ.get("BRAINPRED_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
MNIST = DATA / "mnist" / "mnist.npz"


def test_probabilities_sum_to_one_whatever_the_company():
    reader = load_digit_reader()
    pictures = torch.rand(300, 28, 28, generator=torch.Generator().manual_seed(0))
    found = reader.probabilities(pictures)
    torch.testing.assert_close(found.sum(1), torch.ones(300))
    torch.testing.assert_close(found[257:258], reader.probabilities(pictures[257:258]))


def test_round_trip(tmp_path):
    torch.manual_seed(0)
    reader = DigitReader()
    save_digit_reader(reader, tmp_path / "reader.safetensors")
    again = load_digit_reader(tmp_path / "reader.safetensors")
    picture = torch.rand(1, 28, 28)
    torch.testing.assert_close(again.probabilities(picture), reader.eval().probabilities(picture))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "reader.safetensors").write_bytes(b"nothing")
    for name in ("reader.safetensors", "missing.safetensors"):
        with pytest.raises(CheckpointError, match="holds no reader of digits"):
            load_digit_reader(tmp_path / name)


def test_files_of_another_network_are_refused(tmp_path):
    wide = {name: weight.repeat(2, *[1] * (weight.ndim - 1)) for name, weight in DigitReader().state_dict().items()}
    for content in (wide, {"weight": torch.zeros(3)}):
        save_file(content, tmp_path / "other.safetensors")
        with pytest.raises(CheckpointError, match=r"other\.safetensors holds no reader of digits"):
            load_digit_reader(tmp_path / "other.safetensors")


def test_reading_has_no_chance_in_it_and_no_gradient():
    reader = load_digit_reader()
    assert not reader.training
    assert not any(parameter.requires_grad for parameter in reader.parameters())
    picture = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(1))
    found = reader.probabilities(picture)
    assert found.shape == (3, 10)
    assert torch.equal(found, reader.probabilities(picture))


@pytest.mark.skipif(not MNIST.is_file(), reason="MNIST is not at hand (BRAINPRED_TEST_DATA)")
def test_shipped_reader_reads_digits_it_was_not_trained_on_from_the_canvas():
    digits, grammar, rng = load_digits(MNIST), load_grammar("B"), np.random.default_rng(0)
    captions = [grammar.captions[index] for index in rng.integers(len(grammar.captions), size=2000)]
    scenes = read_scenes(paint_scenes(captions, digits.test, rng), load_digit_reader())
    right = [
        [one.digit for one in scene] == [digit for digit, _ in caption.scene]
        for scene, caption in zip(scenes, captions, strict=True)
    ]
    assert np.mean(right) >= 0.97
