"""Save and load PredNet's weights: safetensors files that name their own layer sizes."""

import json
from importlib.resources import as_file, files
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.prednet import PredNet
from brainpred.storage import atomic_path, file_fingerprint

__all__ = ["FRAME_SIZES", "load_prednet", "save_prednet", "weights_fingerprint"]

# Shipped networks, with the frame size (height, width) in pixels each was trained on.
FRAME_SIZES = {"small": (64, 80)}


def save_prednet(network: PredNet, path: Path | str) -> None:
    """Write a PredNet's weights as safetensors, with its layer sizes in the header.

    Parameters
    ----------
    network : PredNet
        Network to save.
    path : Path or str
        File to write.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(weights, temporary, metadata={"channels": json.dumps(network.channels)})


def _resolve(weights: str | Path) -> Path:
    """Find the file of a shipped network by name, or take the path given."""
    if str(weights) in FRAME_SIZES:
        with as_file(files("brainpred.models") / "weights" / f"prednet_{weights}.safetensors") as path:
            return Path(path)
    path = Path(weights)
    if not path.is_file():
        raise ConfigError(
            f"No PredNet weights {str(weights)!r}: neither a file nor one of those that ship "
            f"({', '.join(FRAME_SIZES)}). Train one with: brainpred train prednet"
        )
    return path


def load_prednet(weights: str | Path = "small") -> PredNet:
    """Load a trained PredNet.

    Parameters
    ----------
    weights : str or Path
        Name of a network that ships (``"small"``) or a safetensors file that :func:`save_prednet` wrote.

    Returns
    -------
    PredNet
        The network, in evaluation mode, on the CPU.

    Raises
    ------
    ConfigError
        If there is no such file or name.
    CheckpointError
        If the file is damaged or holds something else.
    """
    path = _resolve(weights)
    try:
        with safe_open(path, framework="pt") as stream:
            channels = json.loads((stream.metadata() or {})["channels"])
        network = PredNet(channels)
        network.load_state_dict(safetensors.torch.load_file(path))
    except (SafetensorError, ConfigError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path} does not hold PredNet weights written by brainpred ({error}). Expected a safetensors file "
            "whose header names the channels; train or download it again."
        ) from error
    return network.eval()


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
    return file_fingerprint(_resolve(weights))
