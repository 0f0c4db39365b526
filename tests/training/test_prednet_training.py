"""PredNet's loss against loops, and the start, schedules and scores of its training."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError
from brainpred.models.prednet import PredNet
from brainpred.training.prednet import LAYER_WEIGHTS, PredNetTraining, prediction_loss, start_by_copying


def slow_loss(errors, layer_weights):
    """Sum over frames and layers the weight of the frame, that of the layer, and the mean error."""
    n_frames = errors[0].shape[1]
    total = 0.0
    for error, layer_weight in zip(errors, layer_weights, strict=True):
        for t in range(n_frames):
            frame_weight = 0.0 if t == 0 else 1 / (n_frames - 1)
            movies = [float(np.mean(movie[t])) for movie in error]
            total += layer_weight * frame_weight * sum(movies) / len(movies)
    return total


@pytest.fixture
def frames():
    return torch.rand(3, 5, 3, 8, 12, generator=torch.Generator().manual_seed(1))


def network(channels=(3, 5, 7)):
    network = PredNet(channels)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.fixture
def logged(monkeypatch):
    """Collect what a training logs without a trainer."""
    values = {}
    monkeypatch.setattr(PredNetTraining, "log", lambda self, name, value, **options: values.update({name: value}))
    return values


@pytest.fixture
def steps_in_all(monkeypatch):
    """Stand in for a trainer that will take so many steps."""

    def plan(n_steps):
        trainer = SimpleNamespace(estimated_stepping_batches=n_steps)
        monkeypatch.setattr(PredNetTraining, "trainer", trainer)

    return plan


@pytest.mark.parametrize("layer_weights", [(1.0, 0.1, 0.3), (0.0, 2.0, 0.5)])
def test_loss_follows_a_loop(layer_weights):
    rng = np.random.default_rng(2)
    errors = [
        rng.gamma(1.0, scale, (5, 7, *shape)) for scale, shape in ((1, (6, 12, 20)), (3, (10, 6, 10)), (9, (14, 3, 5)))
    ]
    for error in errors:
        error[:, 0] += 100
    loss = prediction_loss([torch.from_numpy(error) for error in errors], layer_weights)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(slow_loss(errors, layer_weights), rel=1e-12)


def test_loss_needs_a_weight_for_every_layer():
    errors = [torch.ones(1, 3, 2, 4, 6), torch.ones(1, 3, 4, 2, 3)]
    with pytest.raises(ValueError, match="zip"):
        prediction_loss(errors, (1.0,))


def test_layer_weights_are_those_published():
    assert LAYER_WEIGHTS == {"L0": (1, 0), "Lall": (1, 0.1)}


def test_unknown_loss_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"'L1'.*L0, Lall, MSE, relative"):
        PredNetTraining(network(), loss="L1")


@pytest.mark.parametrize(("loss", "weights"), [("L0", (1.0, 0.0, 0.0)), ("Lall", (1.0, 0.1, 0.1))])
def test_training_step_gives_the_loss_of_the_errors(frames, logged, loss, weights):
    with torch.no_grad():
        units, _ = network().run(frames, ("E0", "E1", "E2"))
        expected = slow_loss([units[f"E{layer}"].double().numpy() for layer in range(3)], weights)
    step = PredNetTraining(network(), loss=loss).training_step(frames, 0)
    assert step.item() == pytest.approx(expected, rel=1e-5)
    assert logged["train_loss"] is step
    step.backward()


def test_validation_compares_with_copying_the_last_frame(frames, logged):
    with torch.no_grad():
        predicted = network()(frames).double().numpy()
        PredNetTraining(network()).validation_step(frames, 0)
    shown = frames.double().numpy()
    by_prediction = [np.mean((predicted[:, t] - shown[:, t]) ** 2) for t in range(1, 5)]
    by_copying = [np.mean((shown[:, t - 1] - shown[:, t]) ** 2) for t in range(1, 5)]
    assert float(logged["mse_predicted"]) == pytest.approx(np.mean(by_prediction), rel=1e-5)
    assert float(logged["mse_copied"]) == pytest.approx(np.mean(by_copying), rel=1e-5)


def rates_of(training, n_steps):
    configured = training.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    assert isinstance(optimizer, torch.optim.Adam)
    assert schedule["interval"] == "step"
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    return rates


@pytest.mark.parametrize(("n_steps", "n_high"), [(6, 3), (7, 4), (1, 1)])
def test_learning_rate_drops_to_a_tenth_half_way(steps_in_all, n_steps, n_high):
    steps_in_all(n_steps)
    rates = rates_of(PredNetTraining(network(), learning_rate=0.004, schedule="drop"), n_steps)
    assert rates == pytest.approx([0.004] * n_high + [0.0004] * (n_steps - n_high), rel=1e-12)


def test_learning_rate_follows_a_warm_up_and_half_a_cosine(steps_in_all):
    n_steps = 331
    steps_in_all(n_steps)
    rates = rates_of(PredNetTraining(network(), learning_rate=0.004, schedule="cosine"), n_steps)
    expected = []
    for step in range(n_steps):
        progress = step / n_steps  # 0 at the first step, just under 1 at the last
        height = 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
        rise = (step + 1) / 100 if step < 100 else 1.0
        expected.append(0.004 * rise * height)
    assert rates == pytest.approx(expected, rel=1e-12)
    assert rates[0] == pytest.approx(0.004 / 100, rel=1e-12)
    assert np.argmax(rates) == pytest.approx(80, abs=20)
    assert rates[-1] == pytest.approx(0.004 / 50, rel=0.01)


def test_unknown_schedule_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"'step'.*drop, cosine"):
        PredNetTraining(network(), schedule="step")


def test_defaults_are_those_published():
    training = PredNetTraining(network())
    assert (training.learning_rate, training.schedule) == (1e-3, "drop")
    assert list(training.loss_layers.items()) == [("E0", 1.0)]


def test_squared_error_follows_a_loop(frames, logged):
    with torch.no_grad():
        predicted = network()(frames).double().numpy()
    shown = frames.double().numpy()
    errors = [
        (predicted[place] - shown[place]) ** 2
        for place in np.ndindex(shown.shape)
        if place[1] > 0  # the first frame does not count
    ]
    step = PredNetTraining(network(), loss="MSE").training_step(frames, 0)
    assert step.item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)
    assert logged["train_loss"] is step
    step.backward()


def test_error_relative_to_copying_follows_a_loop(frames, logged):
    # One movie hardly moves: what it counts is bounded.
    frames[2, 1:] = frames[2, :1] + 0.001 * frames[2, 1:]
    with torch.no_grad():
        predicted = network()(frames).double().numpy()
    shown = frames.double().numpy()
    ratios = []
    for movie in range(3):
        error = np.mean([np.mean((predicted[movie, t] - shown[movie, t]) ** 2) for t in range(1, 5)])
        copied = np.mean([np.mean((shown[movie, t - 1] - shown[movie, t]) ** 2) for t in range(1, 5)])
        ratios.append(error / (copied + 1e-3))
    step = PredNetTraining(network(), loss="relative").training_step(frames, 0)
    assert step.item() == pytest.approx(sum(ratios) / 3, rel=1e-5)
    step.backward()


@pytest.mark.parametrize("loss", ["L0", "Lall", "MSE"])
def test_first_prediction_does_not_count(frames, logged, loss):
    other = frames.clone()
    training = PredNetTraining(network(), loss=loss)
    with torch.no_grad():
        # The first frame of a network that never looks at its errors matters to nothing but its own prediction.
        for gates in training.network.gates:
            gates.weight.zero_()
        other[:, 0] = 1 - other[:, 0]
        assert training.training_step(other, 0).item() == training.training_step(frames, 0).item()


def moving_picture(n_frames, speed, seed=2, height=24, width=40):
    """Film a smooth random texture that slides by ``speed`` pixels a frame; colours in [0, 1]."""
    rng = np.random.default_rng(seed)
    t, y, x = np.ogrid[:n_frames, :height, :width]
    colours = []
    for _ in range(3):
        waves = sum(
            np.sin(2 * np.pi * ((x + speed * t) * fx / width + y * fy / height) + phase)
            for fx, fy, phase in zip(rng.integers(1, 5, 4), rng.integers(0, 4, 4), rng.uniform(0, 7, 4), strict=True)
        )
        colours.append(0.5 + 0.12 * waves / np.std(waves))
    return torch.from_numpy(np.stack(colours, axis=1)).float().clamp(0, 1)[None]


def error_over_copying(net, movie, first):
    """Divide the squared error of predicting by that of copying the frame before, from a frame on."""
    with torch.no_grad():
        predicted = net(movie)
    error = torch.mean((predicted[:, first:] - movie[:, first:]) ** 2)
    return float(error / torch.mean((movie[:, first - 1 : -1] - movie[:, first:]) ** 2))


@pytest.mark.parametrize("channels", [(3, 4, 5), (3,)])
@pytest.mark.parametrize("speed", [2.0, -2.0])
def test_network_that_starts_by_copying_predicts_the_last_frame(channels, speed):
    torch.manual_seed(3)
    fresh, copying = PredNet(channels), PredNet(channels)
    start_by_copying(copying)
    movie = moving_picture(11, speed)
    assert error_over_copying(copying, movie, first=3) < 1.5
    assert error_over_copying(fresh, movie, first=3) > 10


def test_start_by_copying_changes_the_lowest_layer_alone_and_keeps_it_random():
    torch.manual_seed(4)
    net = PredNet((3, 4, 5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start_by_copying(net)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"gates.0.weight", "gates.0.bias", "predict.0.weight"}
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert len(net.gates[0].weight.unique()) == net.gates[0].weight.numel()


def test_every_weight_of_the_network_is_trained(frames, logged, steps_in_all):
    steps_in_all(5)
    training = PredNetTraining(network(), loss="Lall")
    optimizer = training.configure_optimizers()["optimizer"]
    before = {name: parameter.detach().clone() for name, parameter in training.network.named_parameters()}
    training.training_step(frames, 0).backward()
    optimizer.step()
    for name, parameter in training.network.named_parameters():
        assert not torch.equal(parameter, before[name]), name
