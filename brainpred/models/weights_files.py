"""Weights as files: written the same way for every network, and found by the name they ship under or by path."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from brainpred.errors import ConfigError
from brainpred.storage import atomic_path

__all__ = ["find_weights", "read_header", "shipped_weights", "write_weights"]


def write_weights(
    weights: Mapping[str, Tensor],
    path: Path | str,
    header: tuple[str, Mapping[str, Any]] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a network's weights as safetensors.

    Parameters
    ----------
    weights : mapping of str to Tensor
        As ``state_dict`` gives them.
    path : Path or str
        File to write.
    header : (str, mapping), optional
        Name of the network's family, and what is needed to build it again.
    half : bool
        Store float16: half the size of float32.
    """
    if half:
        weights = {name: tensor.to(torch.float16) for name, tensor in weights.items()}
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # One entry: safetensors writes several in no fixed order, and equal weights must give equal files.
    metadata = None if header is None else {header[0]: json.dumps(header[1])}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(held, temporary, metadata=metadata)


def read_header(path: Path | str, family: str) -> dict[str, Any]:
    """Read what :func:`write_weights` was given of a network's family.

    Parameters
    ----------
    path : Path or str
        The file.
    family : str
        Name of the family.

    Returns
    -------
    dict
        What is needed to build the network.

    Raises
    ------
    OSError, SafetensorError, KeyError, ValueError
        If the file is missing, damaged, or of another family; callers say what they expected.
    """
    with safe_open(path, framework="pt") as stream:
        header: dict[str, Any] = json.loads((stream.metadata() or {})[family])
    return header


def shipped_weights(name: str) -> Path:
    """Give a file of weights that ships, by its name."""
    with as_file(files("brainpred.models") / "weights" / name) as path:
        return Path(path)


def find_weights(weights: str | Path, family: str, shipped: Sequence[str]) -> Path:
    """Find the file of a shipped network by name, or take the path given.

    Parameters
    ----------
    weights : str or Path
        Name of a network that ships, or a file.
    family : str
        What the network is called, such as ``"PredNet"``; in small letters, the name of the command that trains it.
    shipped : sequence of str
        Names of those that ship.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        If there is no such name or file.
    """
    if str(weights) in shipped:
        return shipped_weights(f"{family}_{weights}.safetensors".lower())
    path = Path(weights)
    if not path.is_file():
        raise ConfigError(
            f"No {family} weights {str(weights)!r}: neither a file nor one of those that ship "
            f"({', '.join(shipped)}). Train one with: brainpred train {family.lower()}"
        )
    return path
