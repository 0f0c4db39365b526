"""Find the cuts in a movie, so that a sequence never spans two scenes."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["detect_cuts", "sequence_starts"]

FRAMES_AT_ONCE = 256


def detect_cuts(frames: NDArray[np.uint8], threshold: float = 0.02, ratio: float = 6.0) -> NDArray[np.int64]:
    """Give the frames at which a new scene begins.

    A cut is a jump in mean squared difference that is large and stands out from the motion around it.

    Parameters
    ----------
    frames : ndarray of uint8 (n_frames, height, width, 3)
        The movie.
    threshold : float
        Least mean squared difference, pixels in [0, 1].
    ratio : float
        Least ratio to the median difference of the ten frames around.

    Returns
    -------
    ndarray of int64 (n_cuts,)
        Indices of the first frames of new scenes.

    Examples
    --------
    >>> black, white = np.zeros((5, 8, 8, 3), np.uint8), np.full((5, 8, 8, 3), 255, np.uint8)
    >>> detect_cuts(np.concatenate([black, white])).tolist()
    [5]
    """
    if len(frames) < 2:
        return np.zeros(0, dtype=np.int64)
    # A few frames at a time: a long movie in float32 takes four times its memory.
    jumps = np.empty(len(frames) - 1, dtype=np.float32)
    for begin in range(0, len(jumps), FRAMES_AT_ONCE):
        small = frames[begin : begin + FRAMES_AT_ONCE + 1, ::2, ::2].astype(np.float32) / 255
        jumps[begin : begin + len(small) - 1] = np.mean(np.diff(small, axis=0) ** 2, axis=(1, 2, 3))
    around = np.array([np.median(jumps[max(0, i - 5) : i + 6]) for i in range(len(jumps))])
    return np.flatnonzero((jumps > threshold) & (jumps > ratio * around)) + 1


def sequence_starts(n_frames: int, cuts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Give every frame from which ``length`` frames follow without a cut.

    Parameters
    ----------
    n_frames : int
        Frames of the movie.
    cuts : ndarray of int64 (n_cuts,)
        First frames of new scenes, as :func:`detect_cuts` gives them.
    length : int
        Frames in a sequence.

    Returns
    -------
    ndarray of int64 (n_starts,)
        Start indices, ascending.
    """
    starts = np.arange(max(0, n_frames - length + 1))
    for cut in cuts:
        starts = starts[(starts >= cut) | (starts + length <= cut)]
    return starts
