"""The reader of digits that judges drawings."""

import pytest
import torch

from brainpred.errors import CheckpointError
from brainpred.models.digit_reader import DigitReader, load_digit_reader, save_digit_reader


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
