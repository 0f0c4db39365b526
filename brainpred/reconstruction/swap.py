"""Swap representations into PredNet and let it generate the movie they stand for."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.devices import exact_float32
from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet import PredNet

__all__ = ["DRIVES", "generate_pictures", "layer_numbers"]

DRIVES = ("closed-loop", "stimulus")


def layer_numbers(layers: list[str], network: PredNet) -> list[int]:
    """Turn names such as ``"R0"`` into layer numbers.

    Parameters
    ----------
    layers : list of str
        Names of representations.
    network : PredNet
        The network that has them.

    Returns
    -------
    list of int
        Layer numbers.

    Raises
    ------
    ConfigError
        If one is not a representation of the network.
    """
    known = [f"R{layer}" for layer in range(network.n_layers)]
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise ConfigError(
            f"Only representations can be swapped, not {', '.join(unknown)}. Choose of: {', '.join(known)}."
        )
    return [known.index(layer) for layer in layers]


def generate_pictures(
    network: PredNet,
    swapped: Mapping[int, NDArray[np.float32]],
    scan_of_frame: NDArray[np.int64],
    size: tuple[int, int],
    *,
    drive: str = "closed-loop",
    stimulus: NDArray[np.uint8] | None = None,
) -> Iterator[NDArray[np.float32]]:
    r"""Put representations in the place of PredNet's own and generate Â_0, frame by frame.

    R_l of the layers given is replaced, at every frame, by the value of the scan in which the frame falls,
    clipped to [-1, 1] (what R = o tanh c can be). The error units need an input A_0: with ``"stimulus"`` it
    is the movie that was shown, so that the pictures owe part of their quality to the stimulus; with
    ``"closed-loop"`` it is the network's own last prediction, so that only what was swapped in can show.

    Parameters
    ----------
    network : PredNet
        The network.
    swapped : mapping of int to ndarray of float32 (n_movies, n_scans, channels, height, width)
        Representations by layer number; several movies go side by side.
    scan_of_frame : ndarray of int64 (n_frames,)
        Scan in which each frame falls.
    size : (height, width)
        Frame size in pixels.
    drive : {"closed-loop", "stimulus"}
        What the error units see.
    stimulus : ndarray of uint8 (n_frames, height, width, 3), optional
        The movie; needed to drive with it.

    Yields
    ------
    ndarray of float32 (n_movies, height, width, 3)
        Â_0 of one frame, in [0, 1].

    Raises
    ------
    ConfigError
        If the drive is unknown or nothing is swapped.
    DataError
        If the stimulus is missing or its frames do not match.

    References
    ----------
    Document 000, §2.3 (swapping) and §4.1 (the error units' part in it).
    """
    if drive not in DRIVES:
        raise ConfigError(f"Unknown drive {drive!r}. Choose one of: {', '.join(DRIVES)}.")
    if not swapped:
        raise ConfigError("Nothing to swap: name at least one layer.")
    if drive == "stimulus" and (stimulus is None or stimulus.shape != (len(scan_of_frame), *size, 3)):
        received = None if stimulus is None else stimulus.shape
        raise DataError(f"The stimulus must be {(len(scan_of_frame), *size, 3)} to drive PredNet, received {received}.")
    parameter = next(network.parameters())
    values = {layer: torch.from_numpy(np.clip(given, -1, 1)).to(parameter) for layer, given in swapped.items()}
    n_movies = len(next(iter(values.values())))
    with torch.inference_mode(), exact_float32():
        if 0 in values:
            yield from _from_lowest(network, values[0], scan_of_frame)
            return
        state = network.initial_state(n_movies, *size)
        kernels = network.prepare()
        for t, scan in enumerate(scan_of_frame):
            frame = None
            if drive == "stimulus" and stimulus is not None:
                frame = torch.from_numpy(stimulus[t]).to(parameter).permute(2, 0, 1) / 255
                frame = frame.expand(n_movies, -1, -1, -1)
            now = {layer: given[:, scan] for layer, given in values.items()}
            units, state = network.step(frame, state, now, kernels)
            yield _as_pictures(units["Ahat0"])


def _from_lowest(network: PredNet, lowest: Tensor, scan_of_frame: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Generate from a swapped R_0, on which alone Â_0 depends: neither drive nor higher layers can matter."""
    last, pictures = -1, np.empty(0, dtype=np.float32)
    for scan in scan_of_frame:
        if scan != last:
            pictures = _as_pictures(torch.relu(network.predict[0](lowest[:, scan])).clamp(max=1.0))
            last = scan
        yield pictures


def _as_pictures(prediction: Tensor) -> NDArray[np.float32]:
    return prediction.permute(0, 2, 3, 1).float().cpu().numpy()
