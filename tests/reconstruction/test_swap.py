"""Swapping representations: against PredNet run by hand, and the identities it must fulfil."""

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet import PredNet
from brainpred.reconstruction.swap import generate_pictures, layer_numbers

SIZE = (12, 20)


@pytest.fixture
def network():
    torch.manual_seed(3)
    return PredNet((3, 5, 7)).double().eval()


@pytest.fixture
def movie():
    return np.random.default_rng(4).integers(0, 255, (7, *SIZE, 3), dtype=np.uint8)


def own_units(network, movie):
    frames = torch.from_numpy(movie).double().permute(0, 3, 1, 2)[None] / 255
    with torch.inference_mode():
        return network.run(frames, ["R0", "R1", "R2", "Ahat0"])[0]


def pictures_of(units):
    return units["Ahat0"][0].permute(0, 2, 3, 1).numpy()


def representations(units, layer):
    return units[f"R{layer}"].numpy()


@pytest.mark.parametrize("layers", [[1], [2], [1, 2]])
def test_true_representations_driven_by_the_stimulus_change_nothing(network, movie, layers):
    units = own_units(network, movie)
    swapped = {layer: representations(units, layer) for layer in layers}
    generated = generate_pictures(network, swapped, np.arange(7), SIZE, drive="stimulus", stimulus=movie)
    np.testing.assert_allclose(np.stack(list(generated))[:, 0], pictures_of(units), atol=1e-6)


def test_all_true_representations_in_closed_loop_give_the_prediction(network, movie):
    units = own_units(network, movie)
    swapped = {layer: representations(units, layer) for layer in range(3)}
    generated = np.stack(list(generate_pictures(network, swapped, np.arange(7), SIZE)))
    np.testing.assert_allclose(generated[:, 0], pictures_of(units), atol=1e-6)


@pytest.mark.parametrize("drive", ["closed-loop", "stimulus"])
def test_lowest_layer_shortcut_equals_the_whole_network(network, movie, drive):
    rng = np.random.default_rng(5)
    scans = np.array([0, 0, 0, 1, 1, 2, 2])
    low = rng.uniform(-1, 1, (2, 3, 3, *SIZE)).astype(np.float32)
    fast = np.stack(list(generate_pictures(network, {0: low}, scans, SIZE, drive=drive, stimulus=movie)))
    frames = torch.from_numpy(movie).double().permute(0, 3, 1, 2)[None].expand(2, -1, -1, -1, -1) / 255
    start = 0 if drive == "closed-loop" else None
    with torch.inference_mode():
        slow = network.run(
            frames, ["Ahat0"], swapped={0: torch.from_numpy(low[:, scans]).double()}, closed_loop_from=start
        )[0]["Ahat0"]
    np.testing.assert_allclose(fast.transpose(1, 0, 4, 2, 3), slow.numpy(), atol=1e-6)


def test_closed_loop_knows_nothing_of_the_stimulus(network, movie):
    units = own_units(network, movie)
    swapped = {2: representations(units, 2)}
    one, other = (
        np.stack(list(generate_pictures(network, swapped, np.arange(7), SIZE, stimulus=shown)))
        for shown in (movie, movie[::-1])
    )
    np.testing.assert_array_equal(one, other)
    driven, turned = (
        np.stack(list(generate_pictures(network, swapped, np.arange(7), SIZE, drive="stimulus", stimulus=shown)))
        for shown in (movie, movie[::-1].copy())
    )
    assert np.abs(driven - turned).max() > 1e-4


def test_values_are_held_through_a_scan_and_clipped(network):
    high = np.full((1, 2, 3, *SIZE), 9.0, np.float32)
    one = np.ones_like(high)
    scans = np.array([0, 0, 1])
    clipped = np.stack(list(generate_pictures(network, {0: high}, scans, SIZE)))
    np.testing.assert_array_equal(clipped, np.stack(list(generate_pictures(network, {0: one}, scans, SIZE))))
    assert clipped.min() >= 0
    assert clipped.max() <= 1


def test_unusable_requests(network, movie):
    values = {1: np.zeros((1, 7, 5, 6, 10), np.float32)}
    with pytest.raises(ConfigError, match="closed-loop, stimulus"):
        next(generate_pictures(network, values, np.arange(7), SIZE, drive="dream"))
    with pytest.raises(ConfigError, match="at least one layer"):
        next(generate_pictures(network, {}, np.arange(7), SIZE))
    with pytest.raises(DataError, match="stimulus"):
        next(generate_pictures(network, values, np.arange(7), SIZE, drive="stimulus", stimulus=movie[:-1]))
    with pytest.raises(ConfigError, match="R0, R1, R2"):
        layer_numbers(["R1", "A2"], network)
    assert layer_numbers(["R2", "R0"], network) == [2, 0]
