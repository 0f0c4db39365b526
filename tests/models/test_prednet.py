"""PredNet against loops written from its equations, and the properties that its users rely on."""

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call

from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet import PredNet, hard_sigmoid
from brainpred.models.prednet_weights import load_prednet, save_prednet
from tests.reference.prednet_reference import prednet_reference

CHANNELS = (3, 5, 7)


def random_network(channels=CHANNELS, seed=0, dtype=torch.float64, scale=0.5):
    """Fill every weight and bias with noise strong enough to reach the flat ends of the gates."""
    network = PredNet(channels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network.to(dtype)


def random_frames(*shape, seed=1, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def random_representations(network, layers, n_movies, n_frames, height, width, seed=2):
    generator = torch.Generator().manual_seed(seed)
    dtype = network.predict[0].weight.dtype
    shapes = {layer: (n_movies, n_frames, *network.unit_shape(f"R{layer}", height, width)) for layer in layers}
    return {layer: (2 * torch.rand(shape, generator=generator) - 1).to(dtype) for layer, shape in shapes.items()}


def named_kernels(network):
    """Take the network's convolutions apart into one kernel and bias per gate and layer."""
    kernels = {}
    for layer, channels in enumerate(network.channels):
        weight, bias = network.gates[layer].weight.detach().double(), network.gates[layer].bias.detach().double()
        for position, gate in enumerate("ifoc"):
            rows = slice(position * channels, (position + 1) * channels)
            kernels[gate, layer] = weight[rows].numpy(), bias[rows].numpy()
        kernels["ahat", layer] = tuple(p.detach().double().numpy() for p in network.predict[layer].parameters())
        if layer + 1 < network.n_layers:
            kernels["a", layer] = tuple(p.detach().double().numpy() for p in network.update[layer].parameters())
    return kernels


def reference_of(network, frames, swapped=None, closed_loop_from=None):
    movies = [
        prednet_reference(
            movie.double().numpy(),
            named_kernels(network),
            {layer: values[index].double().numpy() for layer, values in (swapped or {}).items()},
            closed_loop_from,
        )
        for index, movie in enumerate(frames)
    ]
    return {unit: np.stack([movie[unit] for movie in movies]) for unit in movies[0]}


def assert_follows_reference(network, frames, tolerance, **options):
    with torch.no_grad():
        outputs, _ = network.run(frames, network.units, **options)
    expected = reference_of(network, frames, **options)
    assert set(outputs) == set(expected)
    for unit, values in expected.items():
        np.testing.assert_allclose(outputs[unit].numpy(), values, rtol=tolerance, atol=tolerance, err_msg=unit)
    return expected


def test_hard_sigmoid_follows_its_formula():
    x = torch.linspace(-4, 4, 161, dtype=torch.float64)
    slow = [min(max(0.2 * value + 0.5, 0.0), 1.0) for value in x.tolist()]
    np.testing.assert_allclose(hard_sigmoid(x).numpy(), slow, rtol=0, atol=1e-15)


def test_hard_sigmoid_is_not_torchs():
    x = torch.linspace(-4, 4, 161, dtype=torch.float64)
    assert (hard_sigmoid(x) - torch.nn.functional.hardsigmoid(x)).abs().max() > 0.08


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_every_unit_follows_the_reference(dtype, tolerance):
    network = random_network(dtype=dtype)
    expected = assert_follows_reference(network, random_frames(3, 4, 3, 12, 20, dtype=dtype), tolerance)
    assert np.any(expected["Ahat0"] == 1), "the clip of the first prediction was never reached"
    assert np.any(expected["Ahat1"] > 1)
    assert np.any(expected["R0"] < 0)


@pytest.mark.parametrize(
    ("channels", "shape"),
    [
        ((3, 4, 5, 7), (3, 2, 3, 24, 40)),
        ((3, 5), (5, 3, 3, 6, 14)),
        ((3,), (3, 3, 3, 7, 11)),
        ((1, 7, 2), (1, 3, 1, 4, 12)),
    ],
)
def test_networks_of_every_depth_follow_the_reference(channels, shape):
    network = random_network(channels, seed=11, dtype=torch.float32, scale=0.3)
    frames = random_frames(*shape, dtype=torch.float32)
    expected = reference_of(network, frames)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        with torch.no_grad():
            outputs, _ = network.to(dtype).run(frames.to(dtype), network.units)
        assert set(outputs) == set(expected)
        for unit, values in expected.items():
            assert outputs[unit].dtype == dtype
            np.testing.assert_allclose(outputs[unit].numpy(), values, rtol=tolerance, atol=tolerance, err_msg=unit)


def test_bfloat16_network_stays_near_and_keeps_its_cells_in_float32():
    network = random_network((3, 5, 7), seed=12, dtype=torch.float32, scale=0.2)
    frames = random_frames(3, 6, 3, 12, 20, dtype=torch.float32)
    with torch.no_grad():
        exact, _ = network.run(frames, network.units)
        rough, state = network.to(torch.bfloat16).run(frames, network.units)
        # A second run from the state of the first, as in a stream.
        _, state = network.run(frames[:, :2], network.units, state)
    for unit, values in exact.items():
        # bfloat16 keeps 8 bits: a relative error of 1/256 a rounding, and several roundings in a row.
        error = (rough[unit].float() - values).abs()
        assert error.max() < 0.05, unit
        assert error.pow(2).mean().sqrt() < 0.02 * values.pow(2).mean().sqrt() + 1e-3, unit
        assert error.max() > 0 or unit == "A0", f"{unit} was not computed in bfloat16"
    assert {cell.dtype for cell in (*state.cell, *network.initial_state(1, 8, 12).cell)} == {torch.float32}


def test_small_changes_add_up_in_the_cells_of_a_bfloat16_network():
    network = PredNet((1,))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        # i = 1 and f = 1, c grows by tanh(2**-10) a frame: less than bfloat16 can add to 1.
        network.gates[0].bias.copy_(torch.tensor([3.0, 3.0, 3.0, 2.0**-10]))
        frames = torch.zeros(1, 600, 1, 3, 5)
        start = network.initial_state(1, 3, 5)
        start.cell[0].fill_(1.0)
        _, state = network.to(torch.bfloat16).run(frames, ["R0"], start)
    torch.testing.assert_close(state.cell[0], torch.full((1, 1, 3, 5), 1 + 600 * 2.0**-10), rtol=1e-3, atol=0)


@pytest.mark.parametrize("layers", [(0,), (1,), (2,), (0, 2)])
def test_swapped_representations_follow_the_reference(layers):
    network = random_network(seed=3)
    frames = random_frames(3, 3, 3, 8, 12)
    swapped = random_representations(network, layers, 3, 3, 8, 12)
    assert_follows_reference(network, frames, 1e-10, swapped=swapped)


@pytest.mark.parametrize("start", [0, 2])
def test_closed_loop_follows_the_reference(start):
    network = random_network(seed=4)
    frames = random_frames(1, 5, 3, 8, 12)
    assert_follows_reference(network, frames, 1e-10, closed_loop_from=start)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_swapping_in_closed_loop_follows_the_reference(dtype, tolerance):
    network = random_network(seed=5, dtype=dtype)
    frames = random_frames(1, 4, 3, 8, 12, dtype=dtype)
    swapped = random_representations(network, (1,), 1, 4, 8, 12)
    assert_follows_reference(network, frames, tolerance, swapped=swapped, closed_loop_from=1)


def test_closed_loop_feeds_the_last_prediction_back():
    network = random_network(seed=6)
    frames = random_frames(3, 5, 3, 8, 12)
    closed = network.run(frames, ["A0", "Ahat0"], closed_loop_from=2)[0]
    assert torch.equal(closed["A0"][:, :2], frames[:, :2])
    assert torch.equal(closed["A0"][:, 2:], closed["Ahat0"][:, 1:-1])


def test_closed_loop_from_the_first_frame_never_sees_the_movie():
    network = random_network(seed=6)
    first, second = (network.run(random_frames(1, 4, 3, 8, 12, seed=s), closed_loop_from=0)[0]["Ahat0"] for s in (7, 8))
    assert torch.equal(first, second)
    assert not torch.equal(first[:, 1], first[:, 2])


def test_published_network_has_as_many_parameters_as_published():
    assert sum(parameter.numel() for parameter in PredNet((3, 48, 96, 192)).parameters()) == 6_915_948


def test_published_network_has_as_many_units_as_published():
    network = PredNet((3, 48, 96, 192))
    sizes = [math.prod(network.unit_shape(f"R{layer}", 128, 160)) for layer in range(4)]
    assert sizes == [61_440, 245_760, 122_880, 61_440]


def test_unit_shape_is_the_shape_of_the_unit():
    network = random_network(dtype=torch.float32)
    outputs, _ = network.run(random_frames(1, 2, 3, 12, 20, dtype=torch.float32), network.units)
    for unit in network.units:
        assert outputs[unit].shape == (1, 2, *network.unit_shape(unit, 12, 20)), unit


def test_gradients_are_those_of_the_function():
    network = random_network((1, 2), seed=9)
    frames = random_frames(1, 3, 1, 4, 6).requires_grad_()
    names, weights = zip(*network.named_parameters(), strict=True)

    def predict(movie, *values):
        return functional_call(network, dict(zip(names, values, strict=True)), (movie,))

    assert torch.autograd.gradcheck(predict, (frames, *weights), fast_mode=True)
    torch.autograd.backward(predict(frames, *weights).sum())
    assert all(weight.grad.abs().sum() > 0 for weight in weights)


def test_movie_in_pieces_equals_movie_at_once():
    network = random_network(dtype=torch.float32)
    frames = random_frames(3, 7, 3, 12, 20, dtype=torch.float32)
    swapped = random_representations(network, (1,), 3, 7, 12, 20)
    with torch.no_grad():
        whole, whole_state = network.run(frames, network.units, swapped=swapped)
        state, pieces = None, []
        for piece in (slice(0, 2), slice(2, 3), slice(3, 7)):
            now = {layer: values[:, piece] for layer, values in swapped.items()}
            outputs, state = network.run(frames[:, piece], network.units, state, swapped=now)
            pieces.append(outputs)
    for unit in network.units:
        assert torch.equal(torch.cat([piece[unit] for piece in pieces], dim=1), whole[unit]), unit
    for name in ("representation", "cell", "error"):
        assert all(map(torch.equal, getattr(state, name), getattr(whole_state, name))), name
    assert torch.equal(state.prediction, whole_state.prediction)


@pytest.mark.parametrize("lengths", [(2, 1, 4), (1, 1, 5), (7,)])
def test_stream_equals_the_movie_at_once_bit_for_bit_and_carries_no_gradient(lengths):
    network = random_network(dtype=torch.float32)
    frames = random_frames(3, 7, 3, 12, 20, dtype=torch.float32)
    whole, _ = network.run(frames, network.units)
    assert whole["Ahat2"].requires_grad
    pieces = list(network.stream(frames.split(lengths, dim=1), network.units))
    assert [piece["R0"].shape[1] for piece in pieces] == list(lengths)
    for unit in network.units:
        assert not any(piece[unit].requires_grad for piece in pieces), unit
        assert torch.equal(torch.cat([piece[unit] for piece in pieces], dim=1), whole[unit]), unit


def test_stream_goes_on_from_a_state_and_leaves_gradients_on_outside():
    network = random_network(dtype=torch.float32)
    frames = random_frames(1, 6, 3, 8, 12, dtype=torch.float32)
    whole = network(frames)
    _, state = network.run(frames[:, :2])
    kept = [values.clone() for values in state.cell]
    pieces = []
    for piece in network.stream(frames[:, 2:].split((3, 1), dim=1), state=state):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        pieces.append(piece["Ahat0"])
    assert torch.equal(torch.cat(pieces, dim=1), whole[:, 2:])
    assert all(map(torch.equal, state.cell, kept))


def test_stream_takes_one_piece_at_a_time():
    network = random_network(dtype=torch.float32)
    asked = []

    def pieces():
        for number in range(5):
            asked.append(number)
            yield random_frames(1, 2, 3, 8, 12, seed=number, dtype=torch.float32)

    stream = network.stream(pieces(), ["R1"])
    next(stream)
    next(stream)
    assert asked == [0, 1]


def test_stream_refuses_an_unknown_unit_and_a_wrong_frame():
    network = PredNet(CHANNELS)
    with pytest.raises(ConfigError, match="Unknown unit R3"):
        next(network.stream([torch.zeros(1, 2, 3, 8, 12)], ["R3"]))
    with pytest.raises(DataError, match="multiples of 4"):
        next(network.stream([torch.zeros(1, 2, 3, 8, 13)]))


def test_movie_in_pieces_without_its_state_differs():
    network = random_network(dtype=torch.float32)
    frames = random_frames(1, 4, 3, 8, 12, dtype=torch.float32)
    whole = network(frames)
    assert torch.equal(network(frames[:, 2:])[:, 0], whole[:, 0])
    assert not torch.equal(whole[:, 2], whole[:, 0])


@pytest.mark.parametrize("closed_loop_from", [None, 2])
@pytest.mark.parametrize("layers", [(0,), (1,), (2,), (0, 1, 2)])
def test_swapping_the_true_representation_changes_nothing(layers, closed_loop_from):
    network = random_network(dtype=torch.float32)
    frames = random_frames(3, 5, 3, 12, 20, dtype=torch.float32)
    with torch.no_grad():
        own, _ = network.run(frames, network.units, closed_loop_from=closed_loop_from)
        swapped = {layer: own[f"R{layer}"] for layer in layers}
        again, _ = network.run(frames, network.units, swapped=swapped, closed_loop_from=closed_loop_from)
    for unit in network.units:
        assert torch.equal(again[unit], own[unit]), unit


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_swapping_another_representation_changes_the_same_frame(layer):
    network = random_network(dtype=torch.float32)
    frames = random_frames(1, 4, 3, 8, 12, dtype=torch.float32)
    with torch.no_grad():
        own, _ = network.run(frames, ("Ahat0", f"R{layer}"))
        other = own[f"R{layer}"].clone()
        other[:, 2] = -other[:, 2]
        changed, _ = network.run(frames, swapped={layer: other})
    assert torch.equal(changed["Ahat0"][:, :2], own["Ahat0"][:, :2])
    assert not torch.equal(changed["Ahat0"][:, 2], own["Ahat0"][:, 2])


def test_first_prediction_is_made_before_any_frame_is_seen():
    network = random_network(dtype=torch.float32)
    first, second = (network(random_frames(1, 3, 3, 12, 20, seed=s, dtype=torch.float32)) for s in (7, 8))
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])


def test_prediction_does_not_see_its_own_frame():
    network = random_network(dtype=torch.float32)
    frames = random_frames(1, 4, 3, 12, 20, dtype=torch.float32)
    changed = frames.clone()
    changed[:, 2] = 1 - changed[:, 2]
    first, second = network(frames), network(changed)
    assert torch.equal(first[:, :3], second[:, :3])
    assert not torch.equal(first[:, 3], second[:, 3])


def test_forward_returns_every_prediction():
    network = random_network(dtype=torch.float32)
    frames = random_frames(3, 4, 3, 8, 12, dtype=torch.float32)
    assert torch.equal(network(frames), network.run(frames, ["Ahat0"])[0]["Ahat0"])


def test_run_leaves_its_inputs_as_they_were():
    network = random_network(dtype=torch.float32)
    frames = random_frames(3, 3, 3, 8, 12, dtype=torch.float32)
    swapped = random_representations(network, (0, 1), 3, 3, 8, 12)
    state = network.run(frames)[1]
    before = [frames.clone(), *(v.clone() for v in swapped.values()), *(v.clone() for v in state.representation)]
    network.run(frames, network.units, state, swapped=swapped, closed_loop_from=1)
    after = [frames, *swapped.values(), *state.representation]
    assert all(map(torch.equal, before, after))


def test_learns_one_batch_by_heart():
    generator = torch.Generator().manual_seed(10)
    network = PredNet((3, 7, 11))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    t, y, x = (torch.arange(n, dtype=torch.float32) for n in (6, 12, 20))
    phase = x / 10 + y[:, None] / 12 - t[:, None, None] / 5
    frames = torch.stack([0.5 + 0.4 * torch.sin(2 * torch.pi * phase + shift) for shift in (0, 1, 2)], dim=1)[None]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = torch.mean((network(frames)[:, 1:] - frames[:, 1:]) ** 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    copied = torch.mean((frames[:, :-1] - frames[:, 1:]) ** 2).item()
    assert losses[-1] < 0.1 * losses[0]
    assert losses[-1] < 0.5 * copied


def test_pretrained_network_is_the_one_in_the_file(tmp_path):
    network = random_network((3, 4, 5), seed=13, dtype=torch.float32)
    frames = random_frames(1, 3, 3, 8, 12, dtype=torch.float32)
    save_prednet(network, tmp_path / "net.safetensors")
    for path in (tmp_path / "net.safetensors", str(tmp_path / "net.safetensors")):
        loaded = PredNet.from_pretrained(path)
        assert not loaded.training
        assert torch.equal(loaded(frames), network(frames))


def test_pretrained_network_is_the_small_one_by_default():
    default, small = PredNet.from_pretrained(), load_prednet("small")
    assert default.channels == small.channels
    assert all(map(torch.equal, default.parameters(), small.parameters()))


def test_unknown_unit_is_refused_with_the_list_of_units():
    network = PredNet(CHANNELS)
    with pytest.raises(ConfigError, match="Unknown unit Q7") as caught:
        network.run(torch.zeros(1, 2, 3, 8, 12), ["R0", "Q7"])
    for unit in ("R0", "R1", "R2", "A0", "A1", "A2", "Ahat0", "Ahat1", "Ahat2", "E0", "E1", "E2"):
        assert f" {unit}" in str(caught.value)


def test_frame_that_cannot_be_halved_is_refused_with_the_nearest_good_size():
    with pytest.raises(DataError, match=r"multiples of 4, received 13x23\. Nearest good size: 12x24"):
        PredNet(CHANNELS).run(torch.zeros(1, 2, 3, 13, 23))


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (1, 2, 4, 8, 12), (1, 0, 3, 8, 12), (1, 2, 8, 12, 3)])
def test_frames_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"expects frames .* received") as caught:
        PredNet(CHANNELS).run(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 2, 5, 8, 12), (1, 3, 5, 4, 6), (1, 2, 5, 6, 4), (3, 2, 5, 4, 6)])
def test_swapped_representation_of_a_wrong_shape_is_refused(shape):
    with pytest.raises(DataError, match=r"Swapped R1 must have shape \(1, 2, 5, 4, 6\)") as caught:
        PredNet(CHANNELS).run(torch.zeros(1, 2, 3, 8, 12), swapped={1: torch.zeros(shape)})
    assert str(shape) in str(caught.value)


def test_swapping_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="Unknown unit R3"):
        PredNet(CHANNELS).run(torch.zeros(1, 2, 3, 8, 12), swapped={3: torch.zeros(1, 2, 7, 1, 1)})


@pytest.mark.parametrize("channels", [(), (3, 0)])
def test_network_without_channels_is_refused(channels):
    with pytest.raises(ConfigError, match="at least one"):
        PredNet(channels)


@pytest.mark.parametrize(
    ("frames", "received"),
    [
        (torch.full((1, 2, 3, 8, 12), 255, dtype=torch.uint8), "torch.uint8 from 255 to 255"),
        (torch.full((1, 2, 3, 8, 12), 200.0), "from 200 to 200"),
        (torch.full((1, 2, 3, 8, 12), float("nan")), "from nan to nan"),
    ],
)
def test_frames_that_are_no_pictures_are_refused(frames, received):
    with pytest.raises(DataError, match=rf"expects frames in \[0, 1\].*received.*{received}"):
        PredNet((3, 4, 5)).run(frames)


@pytest.mark.parametrize("shape", [(1, 8, 12), (2, 8, 16)])
def test_state_of_other_movies_is_refused(shape):
    network = PredNet((3, 4, 5))
    with pytest.raises(DataError, match=r"The state is that of frames .*expected one of \(2, 3, 8, 12\)"):
        network.run(torch.zeros(2, 1, 3, 8, 12), state=network.initial_state(*shape))
