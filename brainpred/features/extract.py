"""Turn movies into PredNet's representations at the pace of the scans."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from brainpred.devices import resolve_device
from brainpred.errors import ConfigError, DataError
from brainpred.features.pooling import POOLINGS, ScanPool
from brainpred.features.showing import Showing, read_blocks, show_movies
from brainpred.features.store import FeatureFile, read_feature_file, write_feature_blocks
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import load_prednet, read_frame_size, weights_fingerprint
from brainpred.movies.programme import movie_fingerprint
from brainpred.movies.video import probe_video
from brainpred.numerics.timing import LANCZOS_LOBES, check_repetition_time, n_whole_scans
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.stimulus import AnyMovie, Movie
from brainpred.storage import fingerprint, make_directory

__all__ = ["FeatureConfig", "extract_features", "feature_files"]

DTYPES = ("float32", "float16")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Scans after each join that both pieces compute, to be compared.
COMPARED_SCANS = 5


@dataclass(frozen=True)
class FeatureConfig:
    """Say which features to take from a movie.

    Attributes
    ----------
    tr_s : float
        Length of a scan in seconds.
    units : tuple of str
        Names out of :attr:`brainpred.PredNet.units`; all R, from R0 on, if empty.
    weights : str or Path
        PredNet weights, by shipped name or file.
    size : (height, width), optional
        Frame size in pixels; the one that the network was trained on by default.
    pooling : {"mean", "last", "lanczos"}
        How frames become scans: mean of a scan's frames, its last frame, or a Lanczos low-pass.
    dtype : {"float32", "float16"}
        How values are stored.
    precision : {"float32", "bfloat16"}
        In which the network computes.
    pieces : int
        Pieces that a movie is cut into, to be computed side by side; 1 is exact. The error of more is measured
        and reported.
    burn_in_s : float
        Seconds of movie that each piece sees before its first scan, so that the network has settled.
    at_once : int, optional
        Movies or pieces that go through the network together; 4 on a CPU and 16 on a GPU by default.
    """

    tr_s: float = 1.0
    units: tuple[str, ...] = ()
    weights: str | Path = "small"
    size: tuple[int, int] | None = None
    pooling: str = "mean"
    dtype: str = "float32"
    precision: str = "float32"
    pieces: int = 1
    burn_in_s: float = 10.0
    at_once: int | None = None

    def check(self) -> None:
        """Raise :class:`ConfigError` unless every choice exists."""
        check_repetition_time(self.tr_s)
        for name, choices in (("pooling", POOLINGS), ("dtype", DTYPES), ("precision", tuple(PRECISIONS))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"Unknown {name} {getattr(self, name)!r}. Choose one of: {', '.join(choices)}.")
        if self.pieces < 1 or not self.burn_in_s >= 0 or (self.at_once or 1) < 1:
            raise ConfigError(
                "Movies are cut into one piece or more with a burn-in of 0 s or more, one or more at once; received "
                f"{self.pieces} pieces, {self.burn_in_s} s and {self.at_once} at once."
            )


def feature_files(
    movies: Sequence[AnyMovie],
    cache: Path | str,
    config: FeatureConfig | None = None,
    *,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> list[FeatureFile]:
    """Give the feature file of every movie, computing only what is not yet in the cache.

    A file's name is a hash of the movie's content, the weights' content and the options; nothing is computed
    twice, and nothing stale is read. A run that was stopped is gone on with from the last block of scans.

    Parameters
    ----------
    movies : sequence of Movie, Path or str
        Movies, or their addresses; see :func:`brainpred.movies.video.probe_video`.
    cache : Path or str
        Folder of the feature files.
    config : FeatureConfig, optional
        Which features.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of FeatureFile
        One a movie, in order.

    Raises
    ------
    ConfigError
        If an option, a unit or the weights do not exist.
    DataError
        If a movie is missing, damaged, or shorter than a scan, or skips a scan.
    """
    config = config or FeatureConfig()
    config.check()
    size = config.size or read_frame_size(config.weights)
    folder = make_directory(cache)
    network = load_prednet(config.weights)
    network.check_frame_size(*size)
    units = tuple(sorted(set(config.units))) or tuple(f"R{layer}" for layer in range(network.n_layers))
    network.check_units(units)
    options = {
        **asdict(config),
        "tr_s": float(config.tr_s),
        "units": units,
        "size": list(size),
        "weights": weights_fingerprint(config.weights),
        "burn_in_s": _burn_in(config) if config.pieces > 1 else 0.0,
    }
    del options["at_once"]
    shown = [Movie.of(movie) for movie in movies]
    known: dict[Path, str] = {}
    contents = [movie_fingerprint(movie, known) for movie in shown]
    paths = [folder / f"{fingerprint(movie=content, version=2, **options)}.h5" for content in contents]
    if not all(path.is_file() for path in paths):
        network = network.to(resolve_device(device), PRECISIONS[config.precision])
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with ExitStack() as locks:
            # Of several processes that want the same features one computes them and the others wait; in order, so
            # that no two wait for each other.
            for path in sorted(set(paths)):
                locks.enter_context(FileLock(make_directory(folder / ".locks") / f"{path.stem}.lock"))
            todo = {path: movie for path, movie in zip(paths, shown, strict=True) if not path.is_file()}
            _compute(network, todo, config, units, size, options, reporter)
    return [read_feature_file(path) for path in paths]


def _compute(
    network: PredNet,
    todo: Mapping[Path, Movie],
    config: FeatureConfig,
    units: tuple[str, ...],
    size: tuple[int, int],
    options: Mapping[str, Any],
    reporter: Reporter,
) -> None:
    """Show the movies; put what came of each into its file as soon as it has ended."""
    showings = {path: _pieces(movie, path.with_suffix(".parts"), config, units) for path, movie in todo.items()}
    ended: set[Showing] = set()

    def finish(showing: Showing) -> None:
        ended.add(showing)
        path = next(path for path, pieces in showings.items() if showing in pieces)
        if ended.issuperset(showings[path]):
            _write(path, showings[path], config, options, reporter)
            shutil.rmtree(path.with_suffix(".parts"))

    at_once = config.at_once or (16 if next(network.parameters()).is_cuda else 4)
    every = [piece for pieces in showings.values() for piece in pieces]
    show_movies(network, every, size, at_once=at_once, on_end=finish, reporter=reporter)


def _write(
    path: Path, pieces: Sequence[Showing], config: FeatureConfig, options: Mapping[str, Any], reporter: Reporter
) -> None:
    """Join the blocks of a movie into its file."""
    movie = pieces[0].movie
    origin = {
        **options,
        "movie": movie.name,
        "weights": str(config.weights),
        "weights_sha256": options["weights"],
        "provenance": json.dumps(provenance()),
    }
    if len(pieces) > 1:
        errors = [_burn_in_error(*pair) for pair in pairwise(pieces)]
        origin["burn_in_error"] = errors
        worst = max((error for error in errors[1:] if np.isfinite(error)), default=0.0)
        reporter.say(
            f"{movie.name}: {len(pieces)} pieces, burn-in {options['burn_in_s']:g} s. In its first scans the second "
            f"piece is {errors[0]:.1e} standard deviations (root mean square) off the sequential result; later ones "
            f"are {worst:.1e} at the most off the piece before going on."
        )
    write_feature_blocks(path, _in_order(pieces), int(pieces[-1].last_scan), config.tr_s, origin, config.dtype)


def _burn_in(config: FeatureConfig) -> float:
    """Give the burn-in in seconds, which is no shorter than the reach of the pooling."""
    return max(config.burn_in_s, LANCZOS_LOBES * config.tr_s if config.pooling == "lanczos" else 0.0)


def _pieces(movie: Movie, parts: Path, config: FeatureConfig, units: tuple[str, ...]) -> list[Showing]:
    """Cut a movie into showings; one, unless pieces are asked for and the movie is long enough."""
    if config.pieces == 1:
        return [Showing(movie, parts / "0", ScanPool(config.pooling, config.tr_s), units)]
    duration_s = probe_video(movie).duration_s
    if not np.isfinite(duration_s):
        raise DataError(f"{movie} does not state its length and cannot be cut into pieces; leave out --pieces.")
    n_scans = max(1, n_whole_scans(duration_s, config.tr_s))
    joins = np.unique(np.linspace(0, n_scans, config.pieces + 1).astype(int))
    showings = []
    for number, (first, last) in enumerate(pairwise(joins)):
        showings.append(
            Showing(
                movie,
                parts / str(number),
                ScanPool(config.pooling, config.tr_s),
                units,
                from_s=max(0.0, first * config.tr_s - _burn_in(config)),
                first_scan=int(first),
                # Each goes on for a few scans, to be compared with the next.
                last_scan=int(last) + COMPARED_SCANS if last < joins[-1] else float("inf"),
            )
        )
    return showings


def _in_order(pieces: Sequence[Showing]) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Give the blocks of all pieces; where two hold a scan, the earlier piece is the nearer to the truth."""
    for piece in reversed(pieces):
        yield from read_blocks(piece.folder)


def _burn_in_error(longer: Showing, piece: Showing) -> float:
    """Compare the scans that both hold: root mean square difference in standard deviations, all units."""
    scans = range(piece.first_scan, int(longer.last_scan))
    held: list[dict[int, dict[str, NDArray[np.float32]]]] = []
    for showing in (longer, piece):
        blocks = read_blocks(showing.folder)
        held.append(
            {
                first + row: {unit: values[row] for unit, values in features.items()}
                for first, features in blocks
                for row in range(len(next(iter(features.values()))))
                if first + row in scans
            }
        )
    shared = [scan for scan in scans if scan in held[0] and scan in held[1]]
    if not shared:  # a movie that ends just before its header says
        return float("nan")
    ratios = []
    for unit in longer.units:
        true, found = (np.stack([kept[scan][unit] for scan in shared]) for kept in held)
        ratios.append(np.mean((found - true) ** 2) / max(float(np.var(true)), np.finfo(np.float32).tiny))
    return float(np.sqrt(np.mean(ratios)))


def extract_features(
    movie: AnyMovie, config: FeatureConfig | None = None, *, device: str = "auto", reporter: Reporter = SILENT
) -> dict[str, NDArray[np.float32]]:
    """Turn a movie into PredNet's representations, one row a scan, in memory.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address (see :func:`brainpred.movies.video.probe_video`); cropped to the network's aspect ratio
        and resized.
    config : FeatureConfig, optional
        Which features: R0, R1, R2, R3 of the shipped network, averaged within seconds, by default.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    dict of str to ndarray of float32 (n_scans, channels, height, width)
        One array a unit.

    Raises
    ------
    ConfigError, DataError
        As :func:`feature_files`.
    """
    with TemporaryDirectory() as folder:
        (file,) = feature_files([movie], folder, config, device=device, reporter=reporter)
        return {unit: file.read(unit).reshape(-1, *shape) for unit, shape in file.shapes.items()}
