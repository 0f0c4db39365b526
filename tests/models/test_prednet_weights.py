"""PredNet's weight files: what is saved comes back, and what is no such file is refused."""

import numpy as np
import pytest
import safetensors.torch
import torch

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import SHIPPED, load_prednet, read_frame_size, save_prednet, weights_fingerprint
from brainpred.movies.synthesis import synthesise_movie
from brainpred.training.sequences import WholeSequences


@pytest.fixture
def network():
    network = PredNet((3, 5, 7))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def test_saved_network_comes_back(network, tmp_path):
    save_prednet(network, tmp_path / "net.safetensors")
    loaded = load_prednet(tmp_path / "net.safetensors")
    assert loaded.channels == (3, 5, 7)
    assert not loaded.training
    assert set(loaded.state_dict()) == set(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_network_in_another_memory_layout_comes_back(network, tmp_path):
    frames = torch.rand(1, 3, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    expected = network(frames)
    save_prednet(network.to(memory_format=torch.channels_last), tmp_path / "net.safetensors")
    assert torch.equal(load_prednet(str(tmp_path / "net.safetensors"))(frames), expected)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_truncated_file_is_refused(network, tmp_path, kept):
    path = tmp_path / "net.safetensors"
    save_prednet(network, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"net\.safetensors does not hold PredNet weights"):
        load_prednet(path)


def test_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not weights, however long this line may become " * 9)
    with pytest.raises(CheckpointError, match="does not hold PredNet weights"):
        load_prednet(path)


@pytest.mark.parametrize("metadata", [None, {"channels": "[3, 5]"}, {"channels": "[3, 5, 11]"}, {"channels": "three"}])
def test_weights_that_do_not_fit_their_header_are_refused(network, tmp_path, metadata):
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(network.state_dict(), path, metadata=metadata)
    with pytest.raises(CheckpointError, match="header names the channels"):
        load_prednet(path)


def test_unknown_name_is_refused_with_the_names_that_ship():
    with pytest.raises(ConfigError, match="'enormous'") as caught:
        load_prednet("enormous")
    for name in SHIPPED:
        assert name in str(caught.value)


def test_fingerprint_follows_the_content(network, tmp_path):
    first, copy, other = (tmp_path / f"{name}.safetensors" for name in ("first", "copy", "other"))
    save_prednet(network, first)
    save_prednet(network, copy)
    with torch.no_grad():
        network.predict[1].bias[2] += 1e-3
    save_prednet(network, other)
    assert weights_fingerprint(first) == weights_fingerprint(copy)
    assert weights_fingerprint(first) != weights_fingerprint(other)


def test_fingerprint_of_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="enormous"):
        weights_fingerprint("enormous")


# The two tests below need weights/prednet_small.safetensors, which ships with the package.
def test_small_network_loads():
    network = load_prednet("small")
    assert network.channels[0] == 3
    assert not network.training
    network.check_frame_size(*read_frame_size("small"))


def test_small_network_beats_copying_the_last_frame():
    movie = synthesise_movie(8.0, np.random.default_rng(70_207), size=read_frame_size("small"))
    sequences = WholeSequences([movie], n_frames=10)
    frames = torch.stack([sequences[index] for index in range(len(sequences))])
    with torch.inference_mode():
        predicted = load_prednet("small")(frames)[:, 1:]
    shown = frames[:, 1:]
    assert torch.mean((predicted - shown) ** 2) < torch.mean((frames[:, :-1] - shown) ** 2)
