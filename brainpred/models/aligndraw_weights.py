"""Save and load alignDRAW: safetensors files that name their own grammar and sizes."""

from dataclasses import asdict
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.aligndraw import AlignDRAW, AlignDRAWConfig
from brainpred.models.weights_files import find_weights, read_header, write_weights

__all__ = ["SHIPPED", "load_aligndraw", "save_aligndraw"]

SHIPPED = ("A", "B")


def save_aligndraw(network: AlignDRAW, path: Path | str, grammar: str, *, half: bool = False) -> None:
    """Write the weights as safetensors, with sizes and the name of the grammar in the header.

    Parameters
    ----------
    network : AlignDRAW
        Network to save.
    path : Path or str
        File to write.
    grammar : str
        Name of the grammar whose captions it reads.
    half : bool
        Store float16 in place of float32: half the size.
    """
    header = {"grammar": grammar, "n_tokens": network.language.n_tokens, "config": asdict(network.config)}
    write_weights(network.state_dict(), path, ("aligndraw", header), half=half)


def load_aligndraw(weights: str | Path) -> tuple[AlignDRAW, str]:
    """Load a trained alignDRAW.

    Parameters
    ----------
    weights : str or Path
        Name of a study whose network ships (``"A"``, ``"B"``) or a safetensors file that
        :func:`save_aligndraw` wrote.

    Returns
    -------
    network : AlignDRAW
        For inference (evaluation mode, weights of float32 without gradients), on the CPU.
    grammar : str
        Name of the grammar whose captions it reads.

    Raises
    ------
    ConfigError
        If there is no such file or name.
    CheckpointError
        If the file is damaged or holds something else.
    """
    path = find_weights(weights, "alignDRAW", SHIPPED)
    try:
        header = read_header(path, "aligndraw")
        config = AlignDRAWConfig(**{**header["config"], "canvas": tuple(header["config"]["canvas"])})
        network, grammar = AlignDRAW(header["n_tokens"], config), str(header["grammar"])
        network.load_state_dict(safetensors.torch.load_file(path))
    except (SafetensorError, ConfigError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path} does not hold alignDRAW weights written by brainpred ({error}). Expected a safetensors file whose "
            "header names grammar and sizes; train or download it again."
        ) from error
    return network.eval().requires_grad_(False), grammar
