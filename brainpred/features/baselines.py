"""Features that need no network, to compare PredNet's with: the blurred picture, and motion energy."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from brainpred.errors import ConfigError, DataError
from brainpred.features.pooling import ScanPool
from brainpred.features.store import FeatureFile, read_feature_file, write_feature_file
from brainpred.movies.programme import movie_fingerprint
from brainpred.movies.video import iterate_frames, probe_video
from brainpred.numerics.timing import n_whole_scans
from brainpred.progress import SILENT, Reporter
from brainpred.stimulus import AnyMovie, Movie
from brainpred.storage import fingerprint, make_directory

__all__ = ["BASELINES", "baseline_files", "blurred_pixels", "check_baselines", "motion_energy"]

VERSION = 1  # raise it when the same movie gives other features
FRAMES_AT_ONCE = 64
SIZE = (64, 80)  # pixels that frames are brought to, as PredNet sees them
BLUR = 4  # pixels, in height and width, of which one mean is kept
ORIENTATIONS, WAVELENGTHS_PX, SPATIAL_SPREAD = 4, (4.0, 8.0), 0.45
FREQUENCY_HZ, WINDOW_S = 3.0, 0.6
ENERGY_POOL = 4


def _blocks(frames: Iterator[NDArray[np.uint8]]) -> Iterator[Tensor]:
    """Give blocks of frames as (n_frames, 3, height, width), from 0 to 1."""
    while block := list(islice(frames, FRAMES_AT_ONCE)):
        yield torch.from_numpy(np.stack(block)).permute(0, 3, 1, 2).float() / 255


def blurred_pixels(frames: Iterator[NDArray[np.uint8]], fps: float) -> Iterator[Tensor]:
    """Blur frames to 16 × 20 pixels.

    Parameters
    ----------
    frames : iterator of ndarray of uint8 (64, 80, 3)
        RGB.
    fps : float
        Not needed.

    Yields
    ------
    Tensor of float32 (3, 16, 20)
        One a frame, from 0 to 1.
    """
    for pictures in _blocks(frames):
        yield from avg_pool2d(pictures, BLUR)


def _gabors() -> Tensor:
    """Give quadrature pairs of Gabor filters, (n_pairs × 2, 1, size, size): even ones first, each of norm 1."""
    reach = int(np.ceil(2 * SPATIAL_SPREAD * max(WAVELENGTHS_PX)))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    pairs = []
    for wavelength in WAVELENGTHS_PX:
        envelope = np.exp(-0.5 * (rows**2 + columns**2) / (SPATIAL_SPREAD * wavelength) ** 2)
        for angle in np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS:
            phase = 2 * np.pi / wavelength * (columns * np.cos(angle) + rows * np.sin(angle))
            even, odd = envelope * np.cos(phase), envelope * np.sin(phase)
            even -= envelope * even.sum() / envelope.sum()  # blind to light that is the same everywhere
            pairs.append([filter_ / np.linalg.norm(filter_) for filter_ in (even, odd)])
    return torch.tensor(np.array(pairs), dtype=torch.float32).transpose(0, 1).reshape(-1, 1, *rows.shape)


def motion_energy(frames: Iterator[NDArray[np.uint8]], fps: float) -> Iterator[Tensor]:
    r"""Measure how strongly gratings of several orientations stand still or drift in either direction.

    Luminance, at half the size, is filtered by quadrature pairs of Gabor functions, which give a complex number
    s(t) at each place. Its phase turns as the grating drifts:

    .. math:: E_f(t) = \Big| \sum_k w_k\, s(t - k)\, e^{2 \pi i f k / \mathrm{fps}} \Big|

    at f of 0, 3 and -3 Hz, with a Hann window w of 0.6 s that looks back. E is averaged over 4 × 4 places.

    Parameters
    ----------
    frames : iterator of ndarray of uint8 (64, 80, 3)
        RGB.
    fps : float
        Frames a second.

    Yields
    ------
    Tensor of float32 (24, 8, 10)
        One a frame: 4 orientations and 2 wavelengths (8 and 16 pixels), still, then drifting one way, then the other.

    References
    ----------
    E. H. Adelson, J. R. Bergen, "Spatiotemporal energy models for the perception of motion", J. Opt. Soc. Am. A 2,
    1985.
    """
    filters = _gabors()
    n_taps = max(3, round(WINDOW_S * fps))
    window = torch.from_numpy(np.hanning(n_taps + 2)[1:-1]).float()
    turns = torch.arange(n_taps) / fps * 2 * np.pi
    taps = {
        frequency: torch.polar(window / window.sum(), frequency * turns)
        for frequency in (0.0, FREQUENCY_HZ, -FREQUENCY_HZ)
    }
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # luminance of RGB, Rec. 601
    before: Tensor | None = None
    for pictures in _blocks(frames):
        light = avg_pool2d((pictures * weights).sum(dim=1, keepdim=True), 2)
        padding = filters.shape[-1] // 2
        even, odd = conv2d(torch.nn.functional.pad(light, (padding,) * 4, mode="reflect"), filters).chunk(
            2, dim=1
        )  # each (n_frames, n_pairs, height, width)
        responses = torch.complex(even, odd)
        if before is None:  # the movie is taken to have stood still before its first frame
            before = responses[:1].expand(n_taps - 1, *responses.shape[1:])
        history = torch.cat([before, responses])
        energies = []
        for tap in taps.values():
            total = torch.zeros_like(responses)
            for k in range(n_taps):
                first = n_taps - 1 - k
                total += tap[k] * history[first : first + len(responses)]
            energies.append(total.abs())
        before = history[len(history) - (n_taps - 1) :]
        yield from avg_pool2d(torch.cat(energies, dim=1), ENERGY_POOL)


BASELINES: dict[str, Callable[[Iterator[NDArray[np.uint8]], float], Iterator[Tensor]]] = {
    "pixels": blurred_pixels,
    "motion": motion_energy,
}


def baseline_files(
    movies: Sequence[AnyMovie], cache: Path | str, kinds: Sequence[str], tr_s: float, *, reporter: Reporter = SILENT
) -> list[FeatureFile]:
    """Give a file of baseline features of every movie, computing only what is not yet in the cache.

    Parameters
    ----------
    movies : sequence of Movie, Path or str
        Movies, or their addresses; see :func:`brainpred.movies.video.probe_video`.
    cache : Path or str
        Folder of the feature files.
    kinds : sequence of str
        Out of :data:`BASELINES`: the layers of the files.
    tr_s : float
        Length of a scan in seconds; frames are averaged within each.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of FeatureFile
        One a movie, in order.

    Raises
    ------
    ConfigError
        If there is no such kind.
    DataError
        If a movie is missing, damaged, or shorter than a scan, or skips a scan.
    """
    check_baselines(kinds)
    shown = [Movie.of(movie) for movie in movies]
    known: dict[Path, str] = {}
    options = {"kinds": sorted(kinds), "tr_s": float(tr_s), "baseline": VERSION}
    contents = [movie_fingerprint(movie, known) for movie in shown]
    paths = [Path(cache) / f"{fingerprint(movie=content, **options)}.h5" for content in contents]
    todo = [(movie, path) for movie, path in zip(shown, paths, strict=True) if not path.is_file()]
    if todo:
        locks = make_directory(Path(cache) / ".locks")
        with reporter.task(f"Features without a network: {', '.join(kinds)}", len(todo)) as advance:
            for movie, path in todo:
                with FileLock(locks / f"{path.stem}.lock"):
                    if not path.is_file():
                        write_feature_file(
                            path, _pooled(movie, kinds, tr_s), tr_s, {"movie": movie.name, "pooling": "mean"}
                        )
                advance(1)
    return [read_feature_file(path) for path in paths]


def check_baselines(kinds: Sequence[str]) -> None:
    """Raise :class:`ConfigError` unless every kind exists, listing those that do."""
    unknown = [kind for kind in kinds if kind not in BASELINES]
    if unknown:
        raise ConfigError(f"Unknown baseline {', '.join(unknown)}. There are: {', '.join(BASELINES)}.")


def _pooled(movie: Movie, kinds: Sequence[str], tr_s: float) -> dict[str, NDArray[np.float32]]:
    """Compute the features of every frame and average them within scans, each (n_scans, ...)."""
    fps = probe_video(movie).fps
    if not fps > 0:
        raise DataError(f"{movie} does not state its frame rate; convert it to MP4 first.")
    pool, times = ScanPool("mean", tr_s), []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for time_s, frame in iterate_frames(movie, SIZE):
            times.append(time_s)
            yield frame

    scans: dict[int, dict[str, Tensor]] = {}
    streams = tee(pictures(), len(kinds))
    computed = (BASELINES[kind](frames, fps) for kind, frames in zip(kinds, streams, strict=True))
    for number, values in enumerate(zip(*computed, strict=True)):
        pool.add(times[number], dict(zip(kinds, values, strict=True)))
        scans |= {scan: pooled for scan, _, pooled in pool.finished(times[number])}
    scans |= {scan: pooled for scan, _, pooled in pool.finished(float("inf"))}
    n_scans = n_whole_scans(times[-1] + 1 / fps, tr_s) if times else 0
    missing = [scan for scan in range(n_scans) if scan not in scans]
    if missing or not n_scans:
        raise DataError(
            f"{movie}: its frames do not fill scans of {tr_s} s without a gap; missing: {missing or 'all'}. Check the "
            "movie and the repetition time."
        )
    return {kind: torch.stack([scans[scan][kind] for scan in range(n_scans)]).numpy() for kind in kinds}
