"""Show movies to PredNet side by side, keep blocks of scans on disk, and go on where a run was stopped."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from zlib import crc32

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from brainpred.devices import exact_float32
from brainpred.errors import DataError
from brainpred.features.pooling import ScanPool
from brainpred.models.prednet import PredNet, PredNetState
from brainpred.movies.video import VideoInfo, iterate_frames, probe_video
from brainpred.numerics.timing import n_whole_scans
from brainpred.progress import SILENT, Reporter
from brainpred.stimulus import Movie
from brainpred.storage import atomic_path, make_directory

__all__ = ["Showing", "read_blocks", "show_movies"]

# Scans that are written at once.
BLOCK_SCANS = 32


@dataclass(eq=False)
class Showing:
    """One movie, or a stretch of one, on its way through the network.

    Attributes
    ----------
    movie : Movie
        The movie.
    folder : Path
        Where blocks of finished scans go; blocks that lie there already are not computed again.
    pool : ScanPool
        How frames become scans.
    units : tuple of str
        What to keep.
    from_s : float
        Time at which the network begins to see the movie, in the zero state.
    first_scan, last_scan : float
        Scans to keep: from the first up to, not including, the last.
    n_frames : int
        Frames seen so far.
    """

    movie: Movie
    folder: Path
    pool: ScanPool
    units: tuple[str, ...]
    from_s: float = 0.0
    first_scan: int = 0
    last_scan: float = float("inf")
    n_frames: int = 0
    _buffer: list[dict[str, Tensor]] = field(default_factory=list)
    _next_scan: int = 0
    _time_s: float = 0.0

    @cached_property
    def info(self) -> VideoInfo:
        """What the movie's header says."""
        return probe_video(self.movie)

    def expected_frames(self) -> float:
        """Estimate the frames to be seen from the movie's header; NaN where it does not state its length."""
        if not np.isfinite(self.info.duration_s):
            return float("nan")
        return max(0.0, min(self.info.duration_s, self.last_scan * self.pool.tr_s) - self.from_s) * self.info.fps

    def begin(self, network: PredNet, size: tuple[int, int]) -> PredNetState | None:
        """Take up the last block written; give the state after it, or None if all is there already."""
        if not self.info.fps > 0:
            raise DataError(f"{self.movie} does not state its frame rate; convert it to MP4 first.")
        duration_s = self.info.duration_s
        if np.isfinite(duration_s) and not n_whole_scans(duration_s + 1 / self.info.fps, self.pool.tr_s):
            self._time_s = duration_s
            raise self._gap()
        self._next_scan = self.first_scan
        state = network.initial_state(1, *size)
        make_directory(self.folder)
        blocks = _blocks(self.folder)
        if not blocks:
            return state
        tensors, saved = _read_block(blocks[-1])
        try:
            self._next_scan, self.n_frames, self._time_s = (saved[name] for name in ("next_scan", "n_frames", "time_s"))
            if saved["complete"]:
                self.last_scan = self._next_scan
                return None
            self.pool.weights = {int(scan): weight for scan, weight in saved["weights"].items()}
            self.pool.n_frames = {int(scan): count for scan, count in saved["counts"].items()}
            device = state.prediction.device
            self.pool.sums = {
                scan: {unit: tensors[f"pool/{scan}/{unit}"].to(device) for unit in self.units}
                for scan in self.pool.weights
            }
            return _fold([tensors[f"state/{number}"].to(device) for number in range(len(_flat(state)))])
        except KeyError as error:
            raise _damaged(blocks[-1], error) from error

    def frames(self, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
        """Give the frames that are still to be seen, noting the time of each."""
        for time_s, frame in iterate_frames(self.movie, size, from_s=self.from_s, skip=self.n_frames):
            if self._next_scan >= self.last_scan:
                return
            self.n_frames, self._time_s = self.n_frames + 1, time_s
            yield frame

    def add(self, values: dict[str, Tensor]) -> bool:
        """Count one frame in; tell whether enough scans are finished to write them."""
        self.pool.add(self._time_s, values)
        self._keep(self.pool.finished(self._time_s))
        return len(self._buffer) >= BLOCK_SCANS

    def end(self, state: PredNetState) -> None:
        """Write what is left after the last frame."""
        n_scans = n_whole_scans(self._time_s + 1 / self.info.fps, self.pool.tr_s)
        self.last_scan = min(self.last_scan, n_scans)
        self._keep(self.pool.finished(float("inf")))
        if self._next_scan < self.last_scan or not n_scans:
            raise self._gap()
        self.write(state, complete=True)

    def _keep(self, scans: list[tuple[int, int, dict[str, Tensor]]]) -> None:
        for scan, n_frames, values in scans:
            if self.first_scan <= scan < self.last_scan:
                if scan != self._next_scan or not n_frames:
                    raise self._gap()
                self._buffer.append({unit: value.cpu() for unit, value in values.items()})
                self._next_scan += 1

    def _gap(self) -> DataError:
        return DataError(
            f"{self.movie}: its frames, up to {self._time_s:.2f} s, do not fill scans of {self.pool.tr_s} s without a "
            f"gap; scan {self._next_scan} has none. Check the movie and the repetition time; if the picture stood "
            "still there, convert the movie to a constant frame rate."
        )

    def write(self, state: PredNetState, *, complete: bool = False) -> None:
        """Write the scans finished since the last block, with all that is needed to go on after them."""
        first = self._next_scan - len(self._buffer)
        tensors = {unit: torch.stack([scan[unit] for scan in self._buffer]) for unit in self.units if self._buffer}
        saved = {
            "complete": complete,
            "next_scan": self._next_scan,
            "n_frames": self.n_frames,
            "time_s": self._time_s,
            "weights": self.pool.weights,
            "counts": self.pool.n_frames,
        }
        if not complete:
            tensors |= {f"state/{number}": tensor.cpu() for number, tensor in enumerate(_flat(state))}
            for scan, values in self.pool.sums.items():
                tensors |= {f"pool/{scan}/{unit}": value.cpu() for unit, value in values.items()}
        with atomic_path(self.folder / f"{first:08d}.safetensors") as temporary:
            tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
            saved["checksum"] = _checksum(tensors)
            safetensors.torch.save_file(tensors, temporary, {"showing": json.dumps(saved)})
        self._buffer.clear()


def _blocks(folder: Path) -> list[Path]:
    """List the blocks of a folder; one that was being written when the run was killed is none."""
    return sorted(folder.glob("[0-9]*.safetensors"))


def _checksum(tensors: dict[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        content = tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes()
        total = crc32(content, crc32(name.encode(), total))
    return total


def _damaged(path: Path, error: object) -> DataError:
    return DataError(f"{path} is damaged ({error}). Delete its folder; it will be computed again.")


def _read_block(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as stream:
            saved = json.loads(stream.metadata()["showing"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            right = saved["checksum"] == _checksum(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise _damaged(path, error) from error
    if not right:
        raise _damaged(path, "wrong checksum")
    return tensors, saved


def read_blocks(folder: Path) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Read the finished scans of one showing, block by block.

    Parameters
    ----------
    folder : Path
        Where :func:`show_movies` wrote them.

    Yields
    ------
    first_scan : int
        Number of the block's first scan.
    features : dict of str to ndarray of float32 (n_scans_of_the_block, channels, height, width)
        One array a unit.
    """
    for path in _blocks(folder):
        tensors, _ = _read_block(path)
        features = {name: tensor.numpy() for name, tensor in tensors.items() if "/" not in name}
        if features:
            yield int(path.stem), features


def _join(states: Sequence[PredNetState]) -> PredNetState:
    """Put movies side by side."""
    return _fold([torch.cat(parts) for parts in zip(*map(_flat, states), strict=True)])


def _pick(state: PredNetState, movies: list[int]) -> PredNetState:
    """Keep some of the movies."""
    return _fold([tensor[movies] for tensor in _flat(state)])


def _flat(state: PredNetState) -> list[Tensor]:
    return [*state.representation, *state.cell, *state.error, state.prediction]


def _fold(flat: list[Tensor]) -> PredNetState:
    n_layers = len(flat) // 3
    return PredNetState(flat[:n_layers], flat[n_layers : 2 * n_layers], flat[2 * n_layers : 3 * n_layers], flat[-1])


def show_movies(
    network: PredNet,
    showings: Sequence[Showing],
    size: tuple[int, int],
    *,
    at_once: int = 4,
    on_end: Callable[[Showing], None] = lambda showing: None,
    reporter: Reporter = SILENT,
) -> None:
    """Show movies to the network, several at once; whenever one ends, the next takes its place.

    Memory does not grow with their length. A movie that fails does not stop the others.

    Parameters
    ----------
    network : PredNet
        The network, on the device to compute on.
    showings : sequence of Showing
        What to show; their folders receive the finished scans.
    size : (height, width)
        Frame size in pixels.
    at_once : int
        Movies that go through the network together.
    on_end : callable
        Called with every showing all of whose scans are written.
    reporter : Reporter
        Where progress goes.

    Raises
    ------
    DataError
        If a movie is damaged, or shorter than a scan, or skips a scan; after all others have been shown.
    """
    device = next(network.parameters()).device
    waiting = deque(showings)
    active: list[Showing] = []
    streams: list[Iterator[NDArray[np.uint8]]] = []
    failures: dict[Showing, DataError] = {}
    state: PredNetState | None = None
    kernels = network.prepare()
    total = sum(showing.expected_frames() for showing in showings)
    with (
        torch.inference_mode(),
        exact_float32(),
        reporter.task(f"PredNet, {len(showings)} movie(s)", int(total) if np.isfinite(total) else 0) as advance,
    ):
        while waiting or active:
            while waiting and len(active) < at_once:
                showing = waiting.popleft()
                try:
                    own = showing.begin(network, size)
                except DataError as failure:
                    failures[showing] = failure
                    continue
                advance(showing.n_frames)
                if own is None:
                    on_end(showing)
                else:
                    active.append(showing)
                    streams.append(showing.frames(size))
                    state = own if state is None else _join([state, own])
            shown: list[NDArray[np.uint8] | None] = []
            for number, (showing, stream) in enumerate(zip(active, streams, strict=True)):
                frame = None
                try:
                    frame = None if showing in failures else next(stream, None)
                    if frame is None and showing not in failures and state is not None:
                        showing.end(_pick(state, [number]))
                        on_end(showing)
                except DataError as failure:
                    failures[showing] = failure
                shown.append(frame)
            frames = [frame for frame in shown if frame is not None]
            if len(frames) < len(shown) and state is not None:
                kept = [number for number, frame in enumerate(shown) if frame is not None]
                active, streams = [active[n] for n in kept], [streams[n] for n in kept]
                state = _pick(state, kept) if kept else None
            if state is None:
                continue
            batch = torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2).float() / 255
            units, state = network.step(batch, state, kernels=kernels)
            for number, showing in enumerate(active):
                try:
                    if showing.add({unit: units[unit][number] for unit in showing.units}):
                        showing.write(_pick(state, [number]))
                except DataError as failure:  # a scan without frames
                    failures[showing] = failure
            advance(len(active))
    if failures:
        raise next(iter(failures.values()))
