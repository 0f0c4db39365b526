"""Save and load PredNet's weights: safetensors files that name their own layer sizes."""

from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.prednet import PredNet
from brainpred.models.weights_files import find_weights, read_header, write_weights
from brainpred.storage import file_fingerprint

__all__ = ["SHIPPED", "load_prednet", "read_frame_size", "save_prednet", "weights_fingerprint"]

SHIPPED = ("small",)


def save_prednet(network: PredNet, path: Path | str, frame_size: tuple[int, int] | None = None) -> None:
    """Write a PredNet's weights as safetensors, with its layer sizes in the header.

    Parameters
    ----------
    network : PredNet
        Network to save.
    path : Path or str
        File to write.
    frame_size : (height, width), optional
        Frame size in pixels that the network was trained on; movies are brought to it by default.
    """
    header = {"channels": network.channels, "frame_size": frame_size}
    write_weights(network.state_dict(), path, ("prednet", header))


def _refusal(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} does not hold PredNet weights written by brainpred ({error}). Expected a safetensors file whose "
        "header names the channels of its layers; train or download it again."
    )


def _read_header(path: Path) -> dict[str, Any]:
    """Read what the file says of itself: ``channels`` and ``frame_size``."""
    try:
        header = read_header(path, "prednet")
        return {"channels": header["channels"], "frame_size": header["frame_size"]}
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise _refusal(path, error) from error


def read_frame_size(weights: str | Path = "small") -> tuple[int, int]:
    """Tell which frame size a network was trained on.

    Parameters
    ----------
    weights : str or Path
        As :func:`load_prednet`.

    Returns
    -------
    (height, width)
        Pixels.

    Raises
    ------
    ConfigError
        If the file does not say.
    """
    size = _read_header(find_weights(weights, "PredNet", SHIPPED))["frame_size"]
    if size is None:
        raise ConfigError(f"{weights} does not say which frame size it was trained on: state it with --size HxW.")
    return int(size[0]), int(size[1])


def load_prednet(weights: str | Path = "small") -> PredNet:
    """Load a trained PredNet.

    Parameters
    ----------
    weights : str or Path
        Name of a network that ships (``"small"``) or a safetensors file that :func:`save_prednet` wrote.

    Returns
    -------
    PredNet
        The network for inference (evaluation mode, weights without gradients), on the CPU.

    Raises
    ------
    ConfigError
        If there is no such file or name.
    CheckpointError
        If the file is damaged or holds something else.
    """
    path = find_weights(weights, "PredNet", SHIPPED)
    channels = _read_header(path)["channels"]
    try:
        network = PredNet(channels)
        network.load_state_dict(safetensors.torch.load_file(path))
    except (SafetensorError, ConfigError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise _refusal(path, error) from error
    return network.eval().requires_grad_(False)


def weights_fingerprint(weights: str | Path = "small") -> str:
    """Hash the weights file, to key what was computed with it.

    Parameters
    ----------
    weights : str or Path
        As :func:`load_prednet`.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return file_fingerprint(find_weights(weights, "PredNet", SHIPPED))
