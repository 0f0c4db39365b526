"""Train PredNet with Lightning: the published loss and schedule, scored against copying the last frame."""

from collections.abc import Sequence

import lightning
import torch
from torch import Tensor

from brainpred.errors import ConfigError
from brainpred.models.prednet import PredNet

__all__ = ["LAYER_WEIGHTS", "PredNetTraining", "prediction_loss"]

LAYER_WEIGHTS = {"L0": (1.0, 0.0, 0.0, 0.0), "Lall": (1.0, 0.1, 0.1, 0.1)}


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


class PredNetTraining(lightning.LightningModule):
    """Hold a PredNet with its optimiser and scores.

    Parameters
    ----------
    network : PredNet
        Network to train.
    loss : {"L0", "Lall"}
        Which layers' errors count.
    learning_rate : float
        Adam's rate; a tenth of it from ``drop_epoch`` on.
    drop_epoch : int
        Epoch of the drop.
    """

    def __init__(self, network: PredNet, loss: str = "L0", learning_rate: float = 1e-3, drop_epoch: int = 75):
        super().__init__()
        if loss not in LAYER_WEIGHTS:
            raise ConfigError(f"Unknown loss {loss!r}. Choose one of: {', '.join(LAYER_WEIGHTS)}.")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = LAYER_WEIGHTS[loss][: network.n_layers]
        self.loss_layers = {f"E{layer}": weight for layer, weight in enumerate(weights) if weight}
        self.learning_rate, self.drop_epoch = learning_rate, drop_epoch

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        """Give the loss of one batch of sequences (n_movies, n_frames, 3, height, width)."""
        errors = self.network.run(batch, list(self.loss_layers))[0]
        loss = prediction_loss(list(errors.values()), list(self.loss_layers.values()))
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        """Log the squared error of predicting and of copying the frame before."""
        predicted = self.network(batch)[:, 1:].float()
        seen, shown = batch[:, :-1].float(), batch[:, 1:].float()
        self.log("mse_predicted", torch.mean((predicted - shown) ** 2), prog_bar=True, batch_size=len(batch))
        self.log("mse_copied", torch.mean((seen - shown) ** 2), prog_bar=True, batch_size=len(batch))

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        """Give Adam with one drop of the rate by ten."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [self.drop_epoch], gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
