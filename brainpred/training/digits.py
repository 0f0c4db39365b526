"""Train the reader of handwritten digits with Lightning, on digits moved by a pixel or two."""

from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from brainpred.models.digit_reader import DigitReader
from brainpred.movies.scenes import DigitImages

__all__ = ["DigitBatches", "DigitData", "DigitReaderTraining", "Digits", "move_digits"]

FURTHEST = 2  # pixels that a digit is moved by, each way
VALIDATION_BATCH = 1000
STEPS_APART = 1_000_000  # between the random numbers of one seed and the next


class Digits(NamedTuple):
    """Hold a batch: pictures of float32 (n, 28, 28) in [0, 1], and int64 (n,), which digit each is."""

    pictures: Tensor
    labels: Tensor

    @classmethod
    def of(cls, pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> "Digits":
        """Take pictures of 0 to 255."""
        return cls(torch.from_numpy(np.divide(pictures, 255, dtype=np.float32)), torch.from_numpy(labels))


def move_digits(pictures: NDArray[np.uint8], rng: np.random.Generator, furthest: int = FURTHEST) -> NDArray[np.uint8]:
    """Move each picture by whole pixels, up and down and sideways; what comes in from outside is black.

    Parameters
    ----------
    pictures : ndarray of uint8 (n_pictures, height, width)
        Pictures.
    rng : Generator
        Where the moves come from.
    furthest : int
        Pixels that a picture is moved by at the most, each way.

    Returns
    -------
    ndarray of uint8 (n_pictures, height, width)
        Pictures moved, each otherwise than the next.
    """
    n_pictures, height, width = pictures.shape
    padded = np.pad(pictures, ((0, 0), (furthest, furthest), (furthest, furthest)))
    windows = sliding_window_view(padded, (height, width), axis=(1, 2))  # (n_pictures, rows, columns, height, width)
    rows, columns = rng.integers(2 * furthest, size=(2, n_pictures), endpoint=True)
    return windows[np.arange(n_pictures), rows, columns]


class DigitBatches(Dataset[Digits]):
    """Give every digit once an epoch, moved, a batch an item; each batch depends on (seed, epoch, index) alone.

    Parameters
    ----------
    digits : (ndarray of uint8 (n_images, 28, 28), ndarray of int64 (n_images,))
        Handwritten digits and which they are.
    batch_size : int
        Pictures a batch; those of the last, smaller one are left out.
    seed : int
        Where the random numbers start.
    """

    def __init__(self, digits: tuple[NDArray[np.uint8], NDArray[np.int64]], batch_size: int = 100, *, seed: int = 0):
        self.pictures, self.labels = digits
        self.batch_size, self.seed, self.epoch = min(batch_size, len(self.labels)), seed, 0

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.labels) // self.batch_size

    def __getitem__(self, index: int) -> Digits:
        """Give one batch."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.labels))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return Digits.of(move_digits(self.pictures[chosen], rng), self.labels[chosen])


class DigitData(lightning.LightningDataModule):
    """Give digits to train on, in another order every epoch, and those to choose the best epoch by, as they are.

    Parameters
    ----------
    digits : DigitImages
        Handwritten digits.
    batch_size : int
        Pictures a batch.
    seed : int
        Where the random numbers start.
    """

    def __init__(self, digits: DigitImages, batch_size: int = 100, seed: int = 0):
        super().__init__()
        self.train = DigitBatches(digits.train, batch_size, seed=seed)
        pictures, labels = digits.validation
        starts = range(0, len(labels), VALIDATION_BATCH)
        self.validation = [
            Digits.of(pictures[at : at + VALIDATION_BATCH], labels[at : at + VALIDATION_BATCH]) for at in starts
        ]

    def train_dataloader(self) -> DataLoader[Digits]:
        """Give the batches of the epoch that begins."""
        self.train.epoch = self.trainer.current_epoch if self.trainer else 0
        return DataLoader(self.train, batch_size=None)

    def val_dataloader(self) -> DataLoader[Digits]:
        """Give the batches that choose the best epoch."""
        return DataLoader(self.validation, batch_size=None)  # type: ignore[arg-type]


class DigitReaderTraining(lightning.LightningModule):
    """Hold a reader of digits with its optimiser: Adam, whose rate rises and falls once.

    Parameters
    ----------
    network : DigitReader
        Network to train.
    learning_rate : float
        Highest rate.
    seed : int
        Where dropout starts, at every step anew, so that stopping and going on changes nothing.
    """

    def __init__(self, network: DigitReader, learning_rate: float = 3e-3, seed: int = 0):
        super().__init__()
        self.network, self.learning_rate, self.seed = network, learning_rate, seed

    def training_step(self, batch: Digits, batch_index: int) -> Tensor:
        """Give the cross-entropy of one batch, in nats."""
        torch.manual_seed(STEPS_APART * self.seed + self.global_step)
        loss = functional.cross_entropy(self.network(batch.pictures), batch.labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.labels))
        return loss

    def validation_step(self, batch: Digits, batch_index: int) -> None:
        """Log the part of the pictures that is read as another digit."""
        wrong = self.network(batch.pictures).argmax(1) != batch.labels
        self.log("validation_error", wrong.float().mean(), batch_size=len(batch.labels))

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """Give the optimiser with its schedule."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
