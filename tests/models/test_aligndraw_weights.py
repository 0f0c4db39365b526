"""Weights of alignDRAW: written, read, refused."""

import json
from importlib.resources import files

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.aligndraw import AlignDRAW, AlignDRAWConfig
from brainpred.models.aligndraw_weights import SHIPPED, load_aligndraw, save_aligndraw
from brainpred.movies.captions import load_grammar

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
    with pytest.raises(ConfigError, match=r"neither a file nor one of those that ship \(A, B\)"):
        load_aligndraw("C")


def test_other_files_are_refused(tmp_path, network):
    (tmp_path / "damaged").write_bytes(b"\0" * 64)
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    save_aligndraw(network, tmp_path / "cut", "A")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-9])
    for name in ("damaged", "other", "cut"):
        with pytest.raises(CheckpointError, match="does not hold alignDRAW weights"):
            load_aligndraw(tmp_path / name)


def _rewritten(path, network, change):
    """Save a network whose header a function has changed."""
    save_aligndraw(network, path, "A")
    with safe_open(path, framework="pt") as stream:
        header = json.loads(stream.metadata()["aligndraw"])
    change(header)
    save_file(load_file(path), path, metadata={"aligndraw": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("config"),
        lambda header: header.pop("n_tokens"),
        lambda header: header.pop("grammar"),
        lambda header: header["config"].pop("canvas"),
        lambda header: header["config"].update(n_hidden=8),  # other sizes than those of the weights
        lambda header: header["config"].update(encoder="gru"),
        lambda header: header["config"].update(n_heads=3),  # of a later version
        lambda header: header.update(config="small"),
    ],
    ids=["no config", "no n_tokens", "no grammar", "no canvas", "sizes", "encoder", "setting", "text"],
)
def test_headers_that_do_not_fit_are_refused_with_the_file_and_the_remedy(tmp_path, network, change):
    path = _rewritten(tmp_path / "w.safetensors", network, change)
    with pytest.raises(CheckpointError, match=r"(?s)w\.safetensors does not hold .* train or download it again"):
        load_aligndraw(path)


def test_an_unchanged_header_is_read(tmp_path, network):
    again, grammar = load_aligndraw(_rewritten(tmp_path / "w.safetensors", network, lambda header: None))
    assert (grammar, again.config, again.language.n_tokens) == ("A", SMALL, 9)


def test_a_missing_file_or_a_folder_is_refused_with_the_remedy(tmp_path):
    for path in (tmp_path, tmp_path / "missing.safetensors", str(tmp_path / "missing.safetensors")):
        with pytest.raises(ConfigError, match=r"No alignDRAW weights .*brainpred train aligndraw"):
            load_aligndraw(path)


def test_half_files_draw_nearly_the_same_and_are_half_as_large(tmp_path, network):
    tokens = torch.tensor([[3, 1, 4], [1, 5, 0]])
    drawn, sizes = [], []
    for half in (False, True):
        save_aligndraw(network, tmp_path / "w", "B", half=half)
        again, _ = load_aligndraw(str(tmp_path / "w"))
        assert not any(parameter.requires_grad for parameter in again.parameters())
        drawn.append(again(tokens, generator=torch.Generator().manual_seed(0)).canvas)
        sizes.append(sum(weight.nbytes for weight in load_file(tmp_path / "w").values()))
    own = network(tokens, generator=torch.Generator().manual_seed(0)).canvas
    assert torch.equal(drawn[0], own)
    assert 0 < (drawn[1] - own).abs().max() < 0.05
    assert sizes[0] == 2 * sizes[1]
    for name, weight in load_file(tmp_path / "w").items():
        torch.testing.assert_close(weight.float(), network.state_dict()[name], rtol=2**-11, atol=2**-24)
    assert all(weight.dtype == torch.float32 for weight in network.parameters()), "the network itself stays as it was"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_have_the_sizes_of_their_study(name):
    assert (files("brainpred.models") / "weights" / f"aligndraw_{name.lower()}.safetensors").stat().st_size < 8e6
    network, grammar = load_aligndraw(name)
    assert grammar == name
    assert network.language.n_tokens == len(load_grammar(name).vocabulary)
    sizes = {"A": (None, 128, 512, 300, 150), "B": (32, 128, 256, 300, 150)}
    config = network.config
    assert sizes[name] == (
        config.n_embedding, config.n_language, config.n_attention, config.n_hidden, config.n_latent,
    )  # fmt: skip
    assert (config.canvas, config.n_steps, config.patch) == ((60, 60), 32, 8)
    assert all(torch.isfinite(weight).all() for weight in network.parameters())
