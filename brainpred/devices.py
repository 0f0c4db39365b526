"""Choose the device that the arithmetic runs on."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from brainpred.errors import ConfigError

__all__ = [
    "DEVICE_CHOICES",
    "PRECISION_CHOICES",
    "exact_float32",
    "memory_budget_bytes",
    "resolve_device",
    "resolve_precision",
]

DEVICE_CHOICES = ("auto", "cpu", "cuda")
PRECISION_CHOICES = ("auto", "float64", "float32", "bfloat16")
BUDGET_SHARE = 0.8


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


def resolve_precision(precision: str, device: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """Turn a choice of precision into what kernels are held in, and what large products are multiplied in.

    Parameters
    ----------
    precision : {"auto", "float64", "float32", "bfloat16"}
        ``"auto"`` multiplies in bfloat16 where the hardware has units for it, and in float32 elsewhere. With
        ``"bfloat16"``, kernels, factors and sums are float32.
    device : torch.device
        Where.

    Returns
    -------
    held, multiplied : torch.dtype
        The two.

    Raises
    ------
    ConfigError
        If there is no such choice.
    """
    if precision not in PRECISION_CHOICES:
        raise ConfigError(f"Unknown precision {precision!r}. Choose one of: {', '.join(PRECISION_CHOICES)}.")
    if precision == "auto":
        precision = "bfloat16" if _multiplies_bfloat16(device) else "float32"
    if precision == "float64":
        return torch.float64, torch.float64
    return torch.float32, torch.bfloat16 if precision == "bfloat16" else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older PyTorch cannot tell: float32 is but slower.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def memory_budget_bytes(budget: float | str | None, device: torch.device) -> float:
    """Turn a memory budget into bytes.

    Parameters
    ----------
    budget : float, str or None
        Bytes, or such as ``"8 GB"``; None: four fifths of what the device has free.
    device : torch.device
        Whose memory.

    Returns
    -------
    float
        Bytes.

    Raises
    ------
    ConfigError
        If it is not a positive amount of memory.

    Examples
    --------
    >>> memory_budget_bytes("1.5 GiB", torch.device("cpu")) / 2**30
    1.5
    """
    if budget is None:
        return BUDGET_SHARE * _free_bytes(device)
    units = {"": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
    found = re.fullmatch(r"\s*([0-9.]+(?:e\+?[0-9]+)?)\s*([KMGT]I?B)?\s*", str(budget), flags=re.IGNORECASE)
    try:
        amount = float(found[1]) * units[(found[2] or "").upper()] if found else 0.0
    except ValueError:
        amount = 0.0
    if amount <= 0:
        raise ConfigError(f"memory_budget must be bytes, or such as '8 GB', received {budget!r}.")
    return amount


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return 1024 * float(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2
