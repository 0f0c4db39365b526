"""Train PredNet with Lightning: the published loss and schedule, scored against copying the last frame."""

import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor

from brainpred.errors import ConfigError
from brainpred.models.prednet import PredNet

__all__ = ["LAYER_WEIGHTS", "LOSSES", "SCHEDULES", "PredNetTraining", "prediction_loss", "start_by_copying"]

# Of the lowest layer and of every other one.
LAYER_WEIGHTS = {"L0": (1.0, 0.0), "Lall": (1.0, 0.1)}
LOSSES = (*LAYER_WEIGHTS, "MSE", "relative")
# Added to the error of copying in the relative loss, so that still scenes do not count without bounds.
STILL_MSE = 1e-3
SCHEDULES = ("drop", "cosine")
WARM_UP_STEPS = 100


def prediction_loss(errors: Sequence[Tensor], layer_weights: Sequence[float]) -> Tensor:
    r"""Average the error units, :math:`\sum_t \lambda_t \sum_l \lambda_l \langle E_l(t) \rangle`.

    The first frame, predicted before anything was seen, has weight 0; the others 1 / (n_frames - 1).

    Parameters
    ----------
    errors : sequence of Tensor (n_movies, n_frames, 2 channels_l, height_l, width_l)
        E_l of every layer that counts.
    layer_weights : sequence of float
        Weight of each.

    Returns
    -------
    Tensor
        Scalar loss.

    References
    ----------
    Lotter, Kreiman and Cox, ICLR 2017, equation 5.
    """
    return torch.stack(
        [weight * error[:, 1:].mean() for error, weight in zip(errors, layer_weights, strict=True)]
    ).sum()


@torch.no_grad()
def start_by_copying(network: PredNet) -> None:
    r"""Change a new network's lowest layer so that it predicts that nothing will move.

    With open gates the lowest cell adds up the errors, :math:`c_0(t) ≈ c_0(t-1) + (A_0 - \hat A_0) / g`, and
    :math:`\hat A_0 = g R_0`: the network starts as good as copying the last frame, where the published
    initialisation spends its first thousands of steps learning to.

    Parameters
    ----------
    network : PredNet
        Network with fresh weights; its lowest layer is changed in place.
    """
    gain, channels = 4.0, network.channels[0]
    gates, predict = network.gates[0], network.predict[0]
    gate_weight, gate_bias, predict_weight = gates.weight, gates.bias, predict.weight
    assert isinstance(gate_weight, Tensor)
    assert isinstance(gate_bias, Tensor)
    assert isinstance(predict_weight, Tensor)
    gate_weight *= 0.1
    predict_weight *= 0.1
    # Hard sigmoids of these are 0.9, 0.99 and 0.98, short of where their slope ends.
    for part, bias in zip(gate_bias.chunk(4), (2.0, 2.45, 2.4, 0.0), strict=True):
        part.fill_(bias)
    candidate = gate_weight[3 * channels :]
    for channel in range(channels):
        candidate[channel, channels + channel, 1, 1] -= 1 / gain  # Ahat - A
        candidate[channel, 2 * channels + channel, 1, 1] += 1 / gain  # A - Ahat
        predict_weight[channel, channel, 1, 1] += gain


class PredNetTraining(lightning.LightningModule):
    """Hold a PredNet with its optimiser and scores.

    Parameters
    ----------
    network : PredNet
        Network to train.
    loss : {"L0", "Lall", "MSE", "relative"}
        Mean error units of the lowest layer or of all, as published; the mean squared error of the
        prediction; or that of every sequence relative to copying its last frames, which prediction is scored
        by, and which lets quiet scenes count as much as wild ones.
    learning_rate : float
        Adam's highest rate.
    schedule : {"drop", "cosine"}
        A tenth of the rate from half of the epochs on, as published; or a short warm-up and half a cosine
        down to a fiftieth.
    """

    def __init__(self, network: PredNet, loss: str = "L0", learning_rate: float = 1e-3, schedule: str = "drop"):
        super().__init__()
        for value, choices in ((loss, LOSSES), (schedule, SCHEDULES)):
            if value not in choices:
                raise ConfigError(f"Unknown choice {value!r}. Choose one of: {', '.join(choices)}.")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        lowest, others = LAYER_WEIGHTS.get(loss, (0.0, 0.0))
        weights = [lowest, *[others] * (network.n_layers - 1)]
        self.loss_layers = {f"E{layer}": weight for layer, weight in enumerate(weights) if weight}
        self.loss, self.learning_rate, self.schedule = loss, learning_rate, schedule

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        """Give the loss of one batch of sequences (n_movies, n_frames, 3, height, width)."""
        if self.loss_layers:
            errors = self.network.run(batch, list(self.loss_layers))[0]
            loss = prediction_loss(list(errors.values()), list(self.loss_layers.values()))
        else:
            squared = (self.network(batch)[:, 1:].float() - batch[:, 1:]) ** 2
            copied = (batch[:, :-1] - batch[:, 1:]) ** 2
            each = squared.mean(dim=(1, 2, 3, 4))
            if self.loss == "relative":
                each = each / (copied.mean(dim=(1, 2, 3, 4)) + STILL_MSE)
            loss = each.mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return loss

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        """Log the squared error of predicting and of copying the frame before."""
        predicted = self.network(batch)[:, 1:].float()
        seen, shown = batch[:, :-1].float(), batch[:, 1:].float()
        scores = {"mse_predicted": predicted, "mse_copied": seen}
        self.log_dict(
            {name: torch.mean((guess - shown) ** 2) for name, guess in scores.items()},
            batch_size=len(batch),
            sync_dist=True,
        )

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """Give Adam with its schedule."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            if self.schedule == "drop":
                return 1.0 if step < steps / 2 else 0.1
            warm = min(1.0, (step + 1) / WARM_UP_STEPS)
            return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
