"""A small network that reads handwritten digits: the judge of what generative models draw."""

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from brainpred.errors import CheckpointError
from brainpred.models.weights_files import shipped_weights, write_weights

__all__ = ["DigitReader", "load_digit_reader", "save_digit_reader"]

_SHIPPED = "digit_reader.safetensors"


class DigitReader(nn.Sequential):
    """Classify pictures of one digit: two convolutions, two dense layers.

    Input: Tensor of float32 (n_pictures, 28, 28) in [0, 1], the digit's centre of mass in the middle as in MNIST.
    Output: Tensor (n_pictures, 10), logits.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 28)),
            nn.Conv2d(1, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(32 * 49, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    @torch.inference_mode()
    def probabilities(self, pictures: Tensor) -> Tensor:
        """Say how likely each digit is: (n_pictures, 10), rows that sum to one."""
        return torch.cat([torch.softmax(self(part), dim=1) for part in pictures.split(256)])


def save_digit_reader(reader: DigitReader, path: Path | str) -> None:
    """Write the weights as safetensors."""
    write_weights(reader.state_dict(), path)


def load_digit_reader(path: Path | str | None = None) -> DigitReader:
    """Load a reader of digits, trained on MNIST.

    Parameters
    ----------
    path : Path or str, optional
        File that :func:`save_digit_reader` wrote; the reader that ships by default.

    Returns
    -------
    DigitReader
        For inference, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing or holds something else.
    """
    reader = DigitReader()
    try:
        reader.load_state_dict(safetensors.torch.load_file(path or shipped_weights(_SHIPPED)))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path or _SHIPPED} holds no reader of digits ({error}).") from error
    return reader.eval().requires_grad_(False)
