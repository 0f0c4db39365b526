"""Training sequences for PredNet: cut-free stretches of many movies, augmented."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from brainpred.errors import DataError
from brainpred.movies.cuts import detect_cuts, sequence_starts

__all__ = ["TrainingSequences", "WholeSequences"]

MAX_STRIDE = 3
MOVING_CAMERA = 0.5  # part of the sequences filmed by a camera that pans, zooms and turns
FROZEN = 0.3  # part of those in which nothing but the camera moves


def _resize(sequence: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring uint8 frames to another size; float32 in [0, 1]."""
    # Bytes with colours innermost, as movies are kept, take torch's fast path.
    return functional.interpolate(sequence, size, mode="bilinear", antialias=True, align_corners=False).float() / 255


class TrainingSequences(Dataset[Tensor]):
    """Draw augmented sequences at random: movie, start, speed, crop, camera motion, mirror, grey, brightness.

    Every item depends on (seed, epoch, index) alone, so a resumed training sees what an uninterrupted
    one would have seen. Set ``epoch`` before each epoch.

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
            cuts = detect_cuts(movie)
            starts = {s: sequence_starts(len(movie), cuts, (n_frames - 1) * s + 1) for s in range(1, MAX_STRIDE + 1)}
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
        moving = rng.random() < MOVING_CAMERA
        if moving and rng.random() < FROZEN:
            picked = np.repeat(picked[:1], self.n_frames, axis=0)
        sequence = torch.from_numpy(picked.copy()).permute(0, 3, 1, 2)
        smallest = max(self.size[0] / movie.shape[1], self.size[1] / movie.shape[2])
        scale = float(1 - (1 - smallest) * rng.random() ** 2)  # wide views, with fine grain, more often than close ones
        return self._repaint(self._follow(sequence, scale, rng) if moving else self._crop(sequence, scale, rng), rng)

    def _crop(self, sequence: Tensor, scale: float, rng: np.random.Generator) -> Tensor:
        """Film through a window that stays where it is."""
        height, width = sequence.shape[2:]
        crop = [min(side, max(1, round(scale * side))) for side in (height, width)]
        top, left = (int(rng.integers(0, side - cut + 1)) for side, cut in zip((height, width), crop, strict=True))
        return _resize(sequence[:, :, top : top + crop[0], left : left + crop[1]], self.size)

    def _follow(self, sequence: Tensor, scale: float, rng: np.random.Generator) -> Tensor:
        """Film through a window that pans, zooms and turns at constant speeds, beyond the edge into a mirror."""
        height, width = self.size
        # Brought to the window's own resolution first, so that sampling it needs no further smoothing.
        shape = (max(height, round(height / scale)), max(width, round(width / scale)))
        sequence = _resize(sequence, shape)
        t = torch.arange(self.n_frames) - (self.n_frames - 1) / 2
        speed, heading = rng.gamma(2.0, 0.6), rng.uniform(0, 2 * np.pi)  # pixels of the frame per frame
        room = 1 - scale
        x = rng.uniform(-room, room) + 2 * speed * np.cos(heading) / shape[1] * t
        y = rng.uniform(-room, room) + 2 * speed * np.sin(heading) / shape[0] * t
        zoom = scale * torch.exp(rng.normal(0, 0.012) * t)
        angle = rng.normal(0, 0.008) * t
        cos, sin, aspect = torch.cos(angle), torch.sin(angle), width / height
        matrix = torch.stack(
            [
                torch.stack([zoom * cos, -zoom * sin / aspect, x], 1),
                torch.stack([zoom * sin * aspect, zoom * cos, y], 1),
            ],
            dim=1,
        )  # (n_frames, 2, 3)
        grid = functional.affine_grid(matrix.float(), [self.n_frames, 3, height, width], align_corners=False)
        return functional.grid_sample(sequence, grid, padding_mode="reflection", align_corners=False)

    @staticmethod
    def _repaint(sequence: Tensor, rng: np.random.Generator) -> Tensor:
        """Mirror, and change colours and light."""
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
            for start in sequence_starts(len(movie), detect_cuts(movie), n_frames):
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
