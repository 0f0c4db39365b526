"""Swap representations into PredNet and let it generate the movie they stand for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.devices import exact_float32
from brainpred.errors import ConfigError, DataError
from brainpred.models.prednet import PredNet
from brainpred.numerics.timing import HeldScans

__all__ = ["DRIVES", "check_drive", "generate_pictures", "layer_numbers"]

DRIVES = ("closed-loop", "stimulus")


def check_drive(drive: str) -> str:
    """Give the drive back, or raise :class:`ConfigError` if there is no such one."""
    if drive not in DRIVES:
        raise ConfigError(f"Unknown drive {drive!r}. Choose one of: {', '.join(DRIVES)}.")
    return drive


def layer_numbers(layers: Sequence[str], network: PredNet) -> list[int]:
    """Turn names such as ``"R0"`` into layer numbers.

    Parameters
    ----------
    layers : sequence of str
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
        If there is none, or one is not a representation of the network.
    """
    known = [f"R{layer}" for layer in range(network.n_layers)]
    unknown = [layer for layer in layers if layer not in known]
    if unknown or not layers:
        received = f"not {', '.join(unknown)}" if unknown else "and at least one must be named"
        raise ConfigError(f"Only representations can be swapped, {received}. Choose of: {', '.join(known)}.")
    return [known.index(layer) for layer in layers]


def generate_pictures(
    network: PredNet,
    representations: Callable[[int], Mapping[int, NDArray[np.float32]]],
    held: HeldScans,
    frames: Iterable[NDArray[np.uint8]],
    drives: Sequence[str],
) -> Iterator[Tensor]:
    r"""Put representations in the place of PredNet's own and generate Â_0, frame by frame.

    R_l of the layers given is replaced, at every frame, by the value of the scan (or between the two scans) that the
    frame belongs to, clipped to [-1, 1] (what R = o tanh c can be). The error units need an input A_0: with
    ``"stimulus"`` it is the movie that was shown, so that the pictures owe part of their quality to the stimulus; with
    ``"closed-loop"`` it is the network's own last prediction, so that only what was swapped in can show.

    What lies above the lowest layer swapped cannot reach Â_0 and is not computed; where that is R_0, neither drive nor
    any other layer matters.

    Parameters
    ----------
    network : PredNet
        The network.
    representations : callable
        Gives, for the number of a scan, representations by layer number, ndarray of float32 (n_movies, channels,
        height, width): several movies go side by side. It is asked for the scans in order.
    held : HeldScans
        Scans of each frame.
    frames : iterable of ndarray of uint8 (height, width, 3)
        The movie that was shown; it is read one frame ahead of the pictures.
    drives : sequence of {"closed-loop", "stimulus"} (n_movies,)
        What the error units of each movie see.

    Yields
    ------
    Tensor (n_movies, 3, height, width)
        Â_0 of one frame, in [0, 1], on the network's device.

    Raises
    ------
    ConfigError
        If a drive is unknown.
    DataError
        If representations are not those of these movies and this network.

    References
    ----------
    Document 000, §2.3 (swapping) and §4.1 (the error units' part in it).
    """
    parameter = next(network.parameters())
    sees = torch.tensor([check_drive(drive) == "stimulus" for drive in drives], device=parameter.device)
    sees = sees[:, None, None, None]
    kernels, state, last, pictures = network.prepare(), None, None, torch.empty(0)
    read = _LastScans(network, representations, len(drives))
    for shown, earlier, later, weight in zip(frames, held.earlier, held.later, held.weight, strict=True):
        # Modes are left before every yield: generators that take turns would leave them in the wrong order.
        with torch.inference_mode(), exact_float32():
            size = shown.shape[:2]
            now = read(int(earlier), size)
            if weight:
                after = read(int(later), size)
                now = {layer: torch.lerp(value, after[layer], float(weight)) for layer, value in now.items()}
            if 0 not in now or (earlier, later, weight) != last:  # else a picture depends on R_0 alone, and is there
                if state is None:
                    state = network.initial_state(len(drives), *size)
                frame = torch.from_numpy(shown).to(parameter).permute(2, 0, 1) / 255
                driven = torch.where(sees, frame, state.prediction.to(frame.dtype))
                units, state = network.step(driven, state, now, kernels, prediction_only=True)
                last, pictures = (earlier, later, weight), units["Ahat0"]
        yield pictures


class _LastScans:
    """Hold the representations of the last two scans on the device, clipped."""

    def __init__(
        self, network: PredNet, representations: Callable[[int], Mapping[int, NDArray[np.float32]]], n_movies: int
    ):
        self._network, self._representations, self._n_movies = network, representations, n_movies
        self._scans: dict[int, dict[int, Tensor]] = {}

    def __call__(self, scan: int, size: tuple[int, int]) -> dict[int, Tensor]:
        if scan not in self._scans:
            given = {layer: np.clip(values, -1, 1) for layer, values in self._representations(scan).items()}
            for layer, values in given.items():
                expected = (self._n_movies, *self._network.unit_shape(f"R{layer}", *size))
                if values.shape != expected:
                    raise DataError(
                        f"R{layer} of scan {scan} must be {expected} to be swapped, received {values.shape}."
                    )
            broken = [layer for layer, values in given.items() if np.isnan(values).any()]
            if broken:
                raise DataError(f"R{broken[0]} of scan {scan} holds NaN. Run brainpred decode again.")
            parameter = next(self._network.parameters())
            if len(self._scans) > 1:
                del self._scans[min(self._scans)]
            self._scans[scan] = {layer: torch.from_numpy(values).to(parameter) for layer, values in given.items()}
        return self._scans[scan]
