"""What is generated beside the decoded picture, so that one can tell how much of it the brain contributed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brainpred.numerics.timing import HeldScans

__all__ = [
    "COMPUTED",
    "EXPLANATIONS",
    "Arm",
    "ClipRepresentations",
    "LayerUnits",
    "PictureGenerator",
    "Representations",
    "make_arms",
    "time_shifts",
]

# Number of a scan to representations by layer number, (n_movies, channels, height, width): movies go side by side.
Representations = Callable[[int], Mapping[int, NDArray[np.float32]]]
# What makes pictures of representations: these, the scans of each frame, the movie that was shown, and what the error
# units of each movie see, to pictures (n_movies, 3, height, width) in [0, 1], frame by frame. The scans are asked for
# in order, and the movie is read one frame ahead of the pictures, whether it is needed or not.
PictureGenerator = Callable[[Representations, HeldScans, Iterable[NDArray[np.uint8]], Sequence[str]], Iterator[Tensor]]

# Arms that PredNet or the stimulus gives without representations.
COMPUTED = ("prediction", "last frame")
EXPLANATIONS = {
    "true": "R of the stimulus itself, once a scan: the ceiling",
    "decoded": "R decoded from the brain",
    "mean": "mean R of the training movies: knows nothing of the moment",
    "wrong": "true R of another movie",
    "shifted": "R decoded from the brain at another time (the mean over shifts): the null",
    "leak": "mean R, but the stimulus drives the error units: what leaks from it",
    "prediction": "PredNet's own prediction of the frame, from the frames before it",
    "last frame": "copy of the frame before",
}


class Arm(NamedTuple):
    """Name one of the movies that are generated side by side.

    Attributes
    ----------
    name : str
        One of ``EXPLANATIONS``.
    drive : {"closed-loop", "stimulus"}
        What PredNet's error units see.
    shift : float
        By which part of the clip the decoded R is shifted in time; 0 but for ``"shifted"``.
    """

    name: str
    drive: str
    shift: float = 0.0


def make_arms(drive: str, n_shifts: int, *, leak: bool = True) -> list[Arm]:
    """List what is generated from representations: the decoded picture and its controls.

    Parameters
    ----------
    drive : {"closed-loop", "stimulus"}
        What the error units see.
    n_shifts : int
        How many time shifts make up the null.
    leak : bool
        Whether the stimulus can leak at all: where there are error units.

    Returns
    -------
    list of Arm
        Those that are shown first, then the shifts. With the stimulus driving, ``"mean"`` is the leak itself.
    """
    arms = [Arm(name, drive) for name in ("true", "decoded", "mean", "wrong")]
    arms += [Arm("leak", "stimulus")] if leak and drive != "stimulus" else []
    return arms + [Arm("shifted", drive, shift / (n_shifts + 1)) for shift in range(1, n_shifts + 1)]


def time_shifts(arms: Sequence[Arm], n_scans: int) -> list[int]:
    """Give the shift of every arm in whole scans, for a clip of so many."""
    return [min(max(1, round(arm.shift * n_scans)), n_scans - 1) if arm.shift else 0 for arm in arms]


class LayerUnits(Protocol):
    """What is known of one layer: units of the clips shown, true and decoded, and of another movie."""

    @property
    def mean(self) -> NDArray[np.float32]:
        """Mean of the training movies, (n_units,)."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the units."""
        ...

    def true(self, row: int) -> NDArray[np.float32]:
        """Give the units of the stimulus at one scan, (n_units,)."""
        ...

    def decoded(self, row: int) -> NDArray[np.float32]:
        """Give the decoded units of one scan, (n_units,)."""
        ...

    def wrong(self, row: int) -> NDArray[np.float32]:
        """Give units of another movie, (n_units,), in the place of those of one scan."""
        ...


class ClipRepresentations:
    """Give, scan by scan, the representations that the pictures of every arm are made of during one clip.

    Parameters
    ----------
    layers : mapping of int to LayerUnits
        Layers that pictures are made of.
    arms : sequence of Arm
        As :func:`make_arms`.
    first, n_scans : int
        Rows of the clip among the layers' scans.
    """

    def __init__(self, layers: Mapping[int, LayerUnits], arms: Sequence[Arm], first: int, n_scans: int):
        self._layers, self._arms, self._first, self._n_scans = layers, arms, first, n_scans
        self._shifts = time_shifts(arms, n_scans)

    def __call__(self, scan: int) -> dict[int, NDArray[np.float32]]:
        """Give the representations of one scan by layer, (n_arms, channels, height, width)."""
        return {
            number: np.stack(
                [self._of_arm(units, arm, shift, scan) for arm, shift in zip(self._arms, self._shifts, strict=True)]
            ).reshape(-1, *units.shape)
            for number, units in self._layers.items()
        }

    def _of_arm(self, units: LayerUnits, arm: Arm, shift: int, scan: int) -> NDArray[np.float32]:
        if arm.name == "true":
            return units.true(self._first + scan)
        if arm.name in ("decoded", "shifted"):
            return units.decoded(self._first + (scan - shift) % self._n_scans)
        if arm.name == "wrong":
            return units.wrong(self._first + scan)
        return units.mean
