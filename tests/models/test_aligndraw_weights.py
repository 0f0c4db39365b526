"""Weights of alignDRAW: written, read, refused."""

import pytest
import torch
from safetensors.torch import save_file

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.aligndraw import AlignDRAW, AlignDRAWConfig
from brainpred.models.aligndraw_weights import load_aligndraw, save_aligndraw

SMALL = AlignDRAWConfig(
    "forward", n_embedding=3, n_language=4, n_attention=6, n_hidden=7, n_latent=5, n_steps=3, canvas=(13, 11), patch=3
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return AlignDRAW(9, SMALL)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0), (True, 2e-3)])
def test_round_trip(tmp_path, network, half, tolerance):
    save_aligndraw(network, tmp_path / "w.safetensors", "B", half=half)
    again, grammar = load_aligndraw(tmp_path / "w.safetensors")
    assert grammar == "B"
    assert again.config == SMALL
    assert not again.training
    for name, weight in network.state_dict().items():
        found = again.state_dict()[name]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, weight, atol=tolerance, rtol=tolerance)


def test_equal_weights_give_equal_files(tmp_path, network):
    for name in ("one", "two"):
        save_aligndraw(network, tmp_path / name, "A")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"neither a file nor one of those that ship \(B\)"):
        load_aligndraw("C")


def test_other_files_are_refused(tmp_path, network):
    (tmp_path / "damaged").write_bytes(b"\0" * 64)
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    save_aligndraw(network, tmp_path / "cut", "A")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-9])
    for name in ("damaged", "other", "cut"):
        with pytest.raises(CheckpointError, match="does not hold alignDRAW weights"):
            load_aligndraw(tmp_path / name)
