"""Train variational autoencoders with Lightning."""

from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from brainpred.models.vae import VAE

__all__ = ["ArrayBatches", "VAEData", "VAETraining"]

STEPS_APART = 1_000_000  # between the random numbers of one seed and the next
WARM_UP = 0.5  # part of the training in which the divergence gains its weight, where it is not 1 from the start


class ArrayBatches(Dataset[Tensor]):
    """Give every sample once an epoch, a batch an item; each batch depends on (seed, epoch, index) alone.

    Parameters
    ----------
    samples : Tensor (n_samples, ...)
        Labels of int64, or pictures: uint8 of 0 to 255, given as float32 in [0, 1].
    batch_size : int
        Samples a batch; those of the last, smaller one are left out.
    seed : int
        Where the random numbers start.
    """

    def __init__(self, samples: Tensor, batch_size: int, *, seed: int = 0):
        self.samples, self.batch_size = samples, min(batch_size, len(samples))
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.samples) // self.batch_size

    def __getitem__(self, index: int) -> Tensor:
        """Give one batch."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        generator = torch.Generator().manual_seed(STEPS_APART * self.seed + self.epoch)
        order = torch.randperm(len(self.samples), generator=generator)
        batch = self.samples[order[index * self.batch_size : (index + 1) * self.batch_size]]
        return batch.float() / 255 if batch.dtype == torch.uint8 else batch


class VAEData(lightning.LightningDataModule):
    """Give the samples to train on, in another order every epoch.

    Parameters
    ----------
    samples : Tensor (n_samples, ...)
        As :class:`ArrayBatches`.
    batch_size : int
        Samples a batch.
    seed : int
        Where the random numbers start.
    """

    def __init__(self, samples: Tensor, batch_size: int = 128, seed: int = 0):
        super().__init__()
        self.train = ArrayBatches(samples, batch_size, seed=seed)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Give the batches of the epoch that begins."""
        self.train.epoch = self.trainer.current_epoch if self.trainer else 0
        return DataLoader(self.train, batch_size=None)


class VAETraining(lightning.LightningModule):
    r"""Hold a variational autoencoder with its optimiser: Adam, whose rate rises and falls once.

    The loss is :math:`-E_q[\log p(x|z)] + \beta\, KL[q(z|x) \| p(z)]`. With :math:`\beta < 1` the latents are made to
    carry what the bound would let them forget: of ten labels, whose bound is :math:`-\log 10` with latents and without.

    Parameters
    ----------
    vae : VAE
        Network to train.
    learning_rate : float
        Highest rate.
    divergence_weight : float
        :math:`\beta`; below 1 it grows from 0 in the first half of the training.
    seed : int
        Where the noise starts, at every step anew, so that stopping and going on changes nothing.

    References
    ----------
    Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014. The weight is that of Higgins et al., "beta-VAE",
    ICLR 2017; its growth that of Bowman et al., "Generating sentences from a continuous space", CoNLL 2016.
    """

    def __init__(self, vae: VAE, learning_rate: float = 2e-3, divergence_weight: float = 1.0, seed: int = 0):
        super().__init__()
        self.vae, self.learning_rate, self.divergence_weight, self.seed = vae, learning_rate, divergence_weight, seed

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        """Give the loss of one batch, in nats a sample."""
        generator = torch.Generator().manual_seed(STEPS_APART * self.seed + self.global_step)
        noise = torch.randn((len(batch), self.vae.n_latent), generator=generator).to(self.device)
        q = self.vae.posterior(batch)
        fit = self.vae.likelihood(q.base_dist.mean + q.base_dist.stddev * noise).log_prob(batch).mean()
        divergence = self.vae.divergence(q).mean()
        # Epochs are compared by the whole weight, also while it still grows.
        shown = {
            "train_loss": self.divergence_weight * divergence - fit, "log_likelihood": fit, "divergence": divergence
        }  # fmt: skip
        self.log_dict(shown, on_step=False, on_epoch=True, batch_size=len(batch))
        return self._weight() * divergence - fit

    def _weight(self) -> float:
        """Give the weight of the divergence at this step."""
        if self.divergence_weight == 1:
            return 1.0
        growing = WARM_UP * int(self.trainer.estimated_stepping_batches)
        return self.divergence_weight * min(1.0, self.global_step / growing)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """Give the optimiser with its schedule."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
