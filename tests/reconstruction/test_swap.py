"""Swapping representations: against PredNet run by hand and a slow reference, and the identities it must fulfil."""

from itertools import product

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet import PredNet
from brainpred.numerics.timing import hold_scans
from brainpred.reconstruction.swap import generate_pictures, layer_numbers
from tests.models.test_prednet import named_kernels
from tests.reference.prednet_reference import prednet_reference

SIZE, N_FRAMES = (12, 20), 7
SETS = [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]


@pytest.fixture
def network():
    torch.manual_seed(3)
    return PredNet((3, 5, 7)).eval()


@pytest.fixture
def movie():
    return np.random.default_rng(4).integers(0, 255, (N_FRAMES, *SIZE, 3), dtype=np.uint8)


def own_units(network, movie):
    parameter = next(network.parameters())
    frames = torch.from_numpy(movie).to(parameter).permute(0, 3, 1, 2)[None] / 255
    with torch.inference_mode():
        return network.run(frames, ["R0", "R1", "R2", "Ahat0"])[0]


def every_frame(n_frames=N_FRAMES):
    """Let every frame have a scan of its own."""
    return hold_scans(np.arange(n_frames), 1.0, n_frames)


def generate(network, values, movie, drives=("closed-loop",), held=None):
    """Generate pictures from representations (n_movies, n_scans, channels, height, width) of each layer."""
    pictures = generate_pictures(
        network, lambda scan: {layer: given[:, scan] for layer, given in values.items()}, held or every_frame(), movie,
        drives,
    )  # fmt: skip
    return np.stack([frame.cpu().numpy() for frame in pictures], axis=1)  # (n_movies, n_frames, 3, height, width)


def true_values(units, layers):
    return {layer: units[f"R{layer}"].numpy() for layer in layers}


@pytest.mark.parametrize("layers", SETS)
def test_true_representations_driven_by_the_stimulus_change_no_bit(network, movie, layers):
    units = own_units(network, movie)
    generated = generate(network, true_values(units, layers), movie, ["stimulus"])
    np.testing.assert_array_equal(generated, units["Ahat0"].numpy())


@pytest.mark.parametrize("layers", [[0, 1, 2], [0]])
def test_all_true_representations_in_closed_loop_give_the_prediction_to_the_bit(network, movie, layers):
    units = own_units(network, movie)
    generated = generate(network, true_values(units, layers), movie)
    np.testing.assert_array_equal(generated, units["Ahat0"].numpy())


def test_nothing_swapped_gives_the_prediction(network, movie):
    generated = generate(network, {}, movie, ["stimulus"])
    np.testing.assert_array_equal(generated, own_units(network, movie)["Ahat0"].numpy())


@pytest.mark.parametrize(("layers", "drive"), list(product(SETS, ["closed-loop", "stimulus"])))
def test_every_set_of_layers_and_drive_against_the_slow_reference(network, movie, layers, drive):
    """The reference computes everything, also what brainpred leaves out because it cannot reach the picture."""
    network, movie = network.double(), movie[:4]
    rng = np.random.default_rng([5, *layers])
    shapes = [network.unit_shape(f"R{layer}", *SIZE) for layer in range(3)]
    values = {layer: rng.uniform(-1, 1, (1, 4, *shapes[layer])) for layer in layers}
    expected = prednet_reference(
        movie.transpose(0, 3, 1, 2) / 255, named_kernels(network),
        {layer: given[0] for layer, given in values.items()}, 0 if drive == "closed-loop" else None,
    )  # fmt: skip
    generated = generate(network, values, movie, [drive], every_frame(4))
    np.testing.assert_allclose(generated[0], expected["Ahat0"], atol=1e-10)


@pytest.mark.parametrize("hold", ["nearest", "linear"])
def test_movies_side_by_side_are_each_as_alone(network, movie, hold):
    held = hold_scans(np.arange(N_FRAMES) / 3, 1.0, 3, hold)
    values = {1: np.random.default_rng(6).uniform(-1, 1, (3, 3, 5, 6, 10)).astype(np.float32)}
    drives = ["stimulus", "closed-loop", "stimulus"]
    together = generate(network, values, movie, drives, held)
    for number, drive in enumerate(drives):
        alone = generate(network, {1: values[1][number : number + 1]}, movie, [drive], held)
        np.testing.assert_allclose(together[number], alone[0], atol=1e-6)
    assert np.abs(together[0] - together[2]).max() > 1e-3


def test_linear_hold_against_values_interpolated_by_hand(network, movie):
    times_s = np.arange(N_FRAMES) * 0.5  # scans of 1 s, their middles at 0.5 and 1.5 s
    values = {2: np.random.default_rng(7).uniform(-1, 1, (1, 2, 7, 3, 5)).astype(np.float32)}
    first, second = values[2][:, 0], values[2][:, 1]
    by_hand = [first, first, 0.5 * (first + second), second, second, second, second]
    held = hold_scans(times_s, 1.0, 2, "linear")
    expected = generate(network, {2: np.stack(by_hand, axis=1)}, movie)
    np.testing.assert_allclose(generate(network, values, movie, held=held), expected, atol=1e-6)


def test_closed_loop_knows_nothing_of_the_stimulus(network, movie):
    values = true_values(own_units(network, movie), [2])
    one, other = (generate(network, values, shown) for shown in (movie, movie[::-1].copy()))
    np.testing.assert_array_equal(one, other)
    driven, turned = (generate(network, values, shown, ["stimulus"]) for shown in (movie, movie[::-1].copy()))
    assert np.abs(driven - turned).max() > 1e-4


def test_values_are_held_through_a_scan_and_clipped(network, movie):
    held = hold_scans([0.0, 0.5, 1.0], 1.0, 2)
    high = np.full((1, 2, 3, *SIZE), 9.0, np.float32)
    clipped = generate(network, {0: high}, movie[:3], held=held)
    np.testing.assert_array_equal(clipped, generate(network, {0: np.ones_like(high)}, movie[:3], held=held))
    assert clipped.min() >= 0
    assert clipped.max() <= 1
    other = high.copy()
    other[:, 0] = -1
    pictures = generate(network, {0: other}, movie[:3], held=held)[0]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[1] - pictures[2]).max() > 1e-3


def test_unusable_requests(network, movie):
    values = {1: np.zeros((1, 7, 5, 6, 10), np.float32)}
    with pytest.raises(ConfigError, match="closed-loop, stimulus"):
        generate(network, values, movie, ["dream"])
    with pytest.raises(DataError, match=r"R1 of scan 0 must be \(2, 5, 6, 10\)"):
        generate(network, values, movie, ["stimulus"] * 2)
    values[1][0, 3, 2, 1, 1] = np.nan
    with pytest.raises(DataError, match="R1 of scan 3 holds NaN"):
        generate(network, values, movie)
    with pytest.raises(ConfigError, match="R0, R1, R2"):
        layer_numbers(["R1", "A2"], network)
    with pytest.raises(ConfigError, match="at least one"):
        layer_numbers([], network)
    assert layer_numbers(["R2", "R0"], network) == [2, 0]


def test_generators_that_take_turns_leave_no_mode_behind(network, movie):
    """As in reconstruction: one ends before the other, and gradients must still be there for the next decoder."""
    values = {0: np.zeros((1, N_FRAMES, 3, *SIZE), np.float32)}

    def start(n_frames):
        held = every_frame(n_frames)
        return generate_pictures(network, lambda scan: {0: values[0][:, scan]}, held, movie[:n_frames], ["closed-loop"])

    one, other = start(2), start(3)
    for generator in (one, other, one, other, one, other, other):
        next(generator, None)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
