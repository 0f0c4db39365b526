"""Turn movies into PredNet's representations, averaged within each scan."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from brainpred.devices import resolve_device
from brainpred.errors import DataError
from brainpred.features.store import FeatureFile, read_feature_file, write_feature_file
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import load_prednet, read_frame_size, weights_fingerprint
from brainpred.movies.video import iterate_frames, probe_video
from brainpred.numerics.timing import check_repetition_time, frame_scans, n_whole_scans
from brainpred.progress import SILENT, Reporter
from brainpred.storage import file_fingerprint, fingerprint, make_directory

__all__ = ["average_representations", "extract_features", "feature_files"]

# Independent movies that go through the network together.
MOVIES_AT_ONCE = 4


def average_representations(
    network: PredNet, movies: Sequence[Path | str], size: tuple[int, int], tr_s: float, reporter: Reporter = SILENT
) -> list[dict[str, NDArray[np.float32]]]:
    """Show movies to PredNet side by side and average every R_l over the frames of each scan.

    Parameters
    ----------
    network : PredNet
        The network, on the device to compute on.
    movies : sequence of Path or str
        Movie files; each starts from the zero state.
    size : (height, width)
        Frame size in pixels.
    tr_s : float
        Length of a scan in seconds.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of dict of str to ndarray of float32 (n_scans, channels, height, width)
        R0, R1, … of every movie; a scan that the movie does not fill is left out.

    Raises
    ------
    ConfigError
        If the repetition time is not positive.
    DataError
        If a movie is damaged, or shorter than a scan, or skips a scan.
    """
    check_repetition_time(tr_s)
    device = next(network.parameters()).device
    layers = [f"R{layer}" for layer in range(network.n_layers)]
    infos = [probe_video(movie) for movie in movies]
    room = [int(np.ceil(info.duration_s / tr_s)) + 2 if np.isfinite(info.duration_s) else 0 for info in infos]
    if not all(room):
        raise DataError(f"{movies[room.index(0)]} does not state its length; convert it to MP4 first.")
    sums = {
        layer: torch.zeros(len(movies), max(room), *network.unit_shape(layer, *size), device=device) for layer in layers
    }
    counts = np.zeros((len(movies), max(room)), dtype=np.int64)
    state = network.initial_state(len(movies), *size)
    blank = np.zeros((*size, 3), dtype=np.uint8)
    frames_in_all = int(max(info.duration_s * info.fps for info in infos))
    with torch.inference_mode(), reporter.task(f"PredNet, {len(movies)} movie(s)", frames_in_all) as advance:
        streams: Iterator[tuple[tuple[float, NDArray[np.uint8]] | None, ...]]
        streams = zip_longest(*(iterate_frames(movie, size) for movie in movies))
        last_s = [0.0] * len(movies)
        for shown in streams:
            pictures = np.stack([blank if item is None else item[1] for item in shown])
            frame = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255
            units, state = network.step(frame, state)
            for movie, item in enumerate(shown):
                if item is None:
                    continue
                scan = int(frame_scans([item[0]], tr_s)[0])
                last_s[movie] = item[0]
                if scan < max(room):
                    counts[movie, scan] += 1
                    for layer in layers:
                        sums[layer][movie, scan] += units[layer][movie]
            advance(1)
    averaged = []
    for movie, path in enumerate(movies):
        n_scans = n_whole_scans(last_s[movie] + 1 / infos[movie].fps, tr_s)
        if n_scans > max(room):
            raise DataError(
                f"{path} goes on after the {infos[movie].duration_s:.2f} s that its header states, to "
                f"{last_s[movie]:.2f} s; convert it to MP4 first."
            )
        if n_scans < 1 or not counts[movie, :n_scans].all():
            raise DataError(f"{path}: {last_s[movie]:.2f} s of movie do not fill scans of {tr_s} s without a gap.")
        divisor = torch.from_numpy(counts[movie, :n_scans]).to(device).view(-1, 1, 1, 1)
        averaged.append({layer: (sums[layer][movie, :n_scans] / divisor).cpu().numpy() for layer in layers})
    return averaged


def feature_files(
    movies: Sequence[Path | str],
    cache: Path | str,
    *,
    tr_s: float = 1.0,
    weights: str | Path = "small",
    size: tuple[int, int] | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> list[FeatureFile]:
    """Give the feature file of every movie, computing only those not yet in the cache.

    A file's name is a hash of the movie's content, the weights' content, the frame size and the repetition
    time; nothing is computed twice, and nothing stale is read.

    Parameters
    ----------
    movies : sequence of Path or str
        Movie files.
    cache : Path or str
        Folder of the feature files.
    tr_s : float
        Length of a scan in seconds.
    weights : str or Path
        PredNet weights, by shipped name or file.
    size : (height, width), optional
        Frame size in pixels; the one that the network was trained on by default.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of FeatureFile
        One a movie, in order.
    """
    check_repetition_time(tr_s)
    size = size or read_frame_size(weights)
    folder = make_directory(cache)
    weights_key = weights_fingerprint(weights)
    paths = []
    for movie in movies:
        if not Path(movie).is_file():
            raise DataError(f"Movie {movie} does not exist.")
        key = fingerprint(movie=file_fingerprint(movie), weights=weights_key, size=list(size), tr_s=tr_s, version=1)
        paths.append(folder / f"{key}.h5")
    todo = list({path: movie for path, movie in zip(paths, movies, strict=True) if not path.is_file()}.items())
    if todo:
        network = load_prednet(weights).to(resolve_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
        for begin in range(0, len(todo), MOVIES_AT_ONCE):
            batch = todo[begin : begin + MOVIES_AT_ONCE]
            results = average_representations(network, [movie for _, movie in batch], size, tr_s, reporter)
            for (path, movie), features in zip(batch, results, strict=True):
                origin = {
                    "movie": Path(movie).name,
                    "weights": str(weights),
                    "weights_sha256": weights_key,
                    "frame_size": size,
                }
                write_feature_file(path, features, tr_s, origin)
    return [read_feature_file(path) for path in paths]


def extract_features(
    movie: Path | str,
    *,
    tr_s: float = 1.0,
    weights: str | Path = "small",
    size: tuple[int, int] | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> dict[str, NDArray[np.float32]]:
    """Turn a movie into PredNet's representations, averaged within each scan.

    Parameters
    ----------
    movie : Path or str
        Movie file, of any format FFmpeg knows; cropped to the network's aspect ratio and resized.
    tr_s : float
        Length of a scan in seconds.
    weights : str or Path
        PredNet weights, by shipped name or file.
    size : (height, width), optional
        Frame size in pixels; the one that the network was trained on by default.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    dict of str to ndarray of float32 (n_scans, channels, height, width)
        R0, R1, R2, R3.

    Raises
    ------
    DataError
        If the movie is missing, damaged, or shorter than a scan.
    """
    size = size or read_frame_size(weights)
    network = load_prednet(weights).to(resolve_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return average_representations(network, [movie], size, tr_s, reporter)[0]
