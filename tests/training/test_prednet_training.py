"""PredNet's loss against loops, and the schedule and scores of its training."""

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError
from brainpred.models.prednet import PredNet
from brainpred.training.prednet import LAYER_WEIGHTS, PredNetTraining, prediction_loss


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
    assert LAYER_WEIGHTS == {"L0": (1, 0, 0, 0), "Lall": (1, 0.1, 0.1, 0.1)}


def test_unknown_loss_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"'L1'.*L0, Lall"):
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


def test_learning_rate_drops_to_a_tenth_at_the_epoch_asked_for():
    configured = PredNetTraining(network(), learning_rate=0.004, drop_epoch=3).configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    assert isinstance(optimizer, torch.optim.Adam)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.004] * 3 + [0.0004] * 3)


def test_default_schedule_is_the_published_one():
    training = PredNetTraining(network())
    assert (training.learning_rate, training.drop_epoch) == (1e-3, 75)
    assert list(training.loss_layers.items()) == [("E0", 1.0)]


def test_every_weight_of_the_network_is_trained(frames, logged):
    training = PredNetTraining(network(), loss="Lall")
    optimizer = training.configure_optimizers()["optimizer"]
    before = {name: parameter.detach().clone() for name, parameter in training.network.named_parameters()}
    training.training_step(frames, 0).backward()
    optimizer.step()
    for name, parameter in training.network.named_parameters():
        assert not torch.equal(parameter, before[name]), name
