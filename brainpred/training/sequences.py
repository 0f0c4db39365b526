"""Training sequences for PredNet: cut-free stretches of many movies, augmented."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from brainpred.errors import DataError
from brainpred.movies.scenes import sequence_starts

__all__ = ["TrainingSequences", "WholeSequences"]

MARGIN = 1.25  # movies are kept this much larger than the frame, so that crops can move and zoom
MAX_STRIDE = 3


class TrainingSequences(Dataset[Tensor]):
    """Draw augmented sequences at random: movie, start, speed, crop, mirror, grey, brightness.

    Every item depends on (seed, epoch, index) alone, so a resumed training sees what an uninterrupted
    one would have seen.

    Parameters
    ----------
    movies : sequence of ndarray of uint8 (n_frames, height, width, 3)
        Movies with frames at least as large as ``size``.
    size : (height, width)
        Frame size of the network in pixels.
    n_frames : int
        Frames in a sequence.
    n_sequences : int
        Sequences in an epoch.
    seed, epoch : int
        Where the random numbers start.
    """

    def __init__(
        self,
        movies: Sequence[NDArray[np.uint8]],
        size: tuple[int, int],
        n_frames: int = 10,
        n_sequences: int = 500,
        *,
        seed: int = 0,
        epoch: int = 0,
    ):
        self.size, self.n_frames, self.n_sequences = size, n_frames, n_sequences
        self.seed, self.epoch = seed, epoch
        # Movies too short for the widest stride are played at normal speed.
        self._sources: list[tuple[NDArray[np.uint8], dict[int, NDArray[np.int64]]]] = []
        for movie in movies:
            if movie.shape[1] < size[0] or movie.shape[2] < size[1]:
                raise DataError(f"Movies must be at least {size[0]}x{size[1]} pixels, received {movie.shape[1:3]}.")
            starts = {s: sequence_starts(movie, (n_frames - 1) * s + 1) for s in range(1, MAX_STRIDE + 1)}
            starts = {stride: found for stride, found in starts.items() if len(found)}
            if starts:
                self._sources.append((movie, starts))
        if not self._sources:
            raise DataError(f"No movie holds {n_frames} frames in a row without a cut; give longer movies.")
        # Long movies come more often than short ones, but less than in proportion.
        weights = np.sqrt([len(movie) for movie, _ in self._sources])
        self._weights = weights / weights.sum()

    def __len__(self) -> int:
        """Count the sequences of an epoch."""
        return self.n_sequences

    def __getitem__(self, index: int) -> Tensor:
        """Give one sequence, float32 (n_frames, 3, height, width) in [0, 1]."""
        if not 0 <= index < self.n_sequences:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        movie, starts = self._sources[rng.choice(len(self._sources), p=self._weights)]
        stride = int(rng.choice(list(starts)))
        begin = int(rng.choice(starts[stride]))
        picked = movie[begin : begin + (self.n_frames - 1) * stride + 1 : stride]
        if rng.random() < 0.2:
            picked = picked[::-1]
        return self._augment(torch.from_numpy(picked.copy()).permute(0, 3, 1, 2).float() / 255, rng)

    def _augment(self, sequence: Tensor, rng: np.random.Generator) -> Tensor:
        height, width = sequence.shape[2:]
        scale = rng.uniform(max(self.size[0] / height, self.size[1] / width), 1.0)
        crop = [min(side, max(1, round(scale * side))) for side in (height, width)]
        top, left = (int(rng.integers(0, side - cut + 1)) for side, cut in zip((height, width), crop, strict=True))
        sequence = sequence[:, :, top : top + crop[0], left : left + crop[1]]
        sequence = functional.interpolate(sequence, self.size, mode="bilinear", antialias=True, align_corners=False)
        if rng.random() < 0.5:
            sequence = sequence.flip(-1)
        if rng.random() < 0.1:
            sequence = sequence.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        if rng.random() < 0.3:
            sequence = sequence[:, torch.from_numpy(rng.permutation(3))]
        return (sequence * rng.uniform(0.7, 1.2) + rng.uniform(-0.05, 0.1)).clamp(0, 1)


class WholeSequences(Dataset[Tensor]):
    """Cut movies into consecutive sequences without a cut inside, unchanged: what a network is scored on.

    Parameters
    ----------
    movies : sequence of ndarray of uint8 (n_frames, height, width, 3)
        Movies of the network's frame size.
    n_frames : int
        Frames in a sequence.
    """

    def __init__(self, movies: Sequence[NDArray[np.uint8]], n_frames: int = 10):
        self._sequences: list[NDArray[np.uint8]] = []
        for movie in movies:
            free = -1
            for start in sequence_starts(movie, n_frames):
                if start >= free:
                    self._sequences.append(movie[start : start + n_frames])
                    free = start + n_frames
        if not self._sequences:
            raise DataError(f"No held-out movie holds {n_frames} frames in a row without a cut.")

    def __len__(self) -> int:
        """Count the sequences."""
        return len(self._sequences)

    def __getitem__(self, index: int) -> Tensor:
        """Give one sequence, float32 (n_frames, 3, height, width) in [0, 1]."""
        return torch.from_numpy(self._sequences[index]).permute(0, 3, 1, 2).float() / 255
