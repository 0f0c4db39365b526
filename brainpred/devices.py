"""Choose the device that the arithmetic runs on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from brainpred.errors import ConfigError

__all__ = ["DEVICE_CHOICES", "exact_float32", "resolve_device"]

DEVICE_CHOICES = ("auto", "cpu", "cuda")


def resolve_device(device: str = "auto") -> torch.device:
    """Turn a device choice into a :class:`torch.device` that exists on this machine.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``"auto"`` takes the GPU if there is one.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    ConfigError
        If the name is unknown, or ``"cuda"`` is asked for on a machine without a usable GPU.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device not in DEVICE_CHOICES:
        raise ConfigError(f"Unknown device {device!r}. Choose one of: {', '.join(DEVICE_CHOICES)}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "Device 'cuda' was asked for, but PyTorch finds no usable GPU here "
            f"(torch {torch.__version__}). Use --device cpu or auto, or install a CUDA build of torch."
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Convolve float32 in float32, where a GPU would by default use TF32, with errors of 1e-3."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
