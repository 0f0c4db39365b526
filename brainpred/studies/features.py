"""Turn a user's movies, or those of a recording, into feature files."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from brainpred.errors import ConfigError
from brainpred.features.extract import FeatureConfig, feature_files
from brainpred.features.store import FeatureFile, read_feature_file
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.fetch import cache_folder
from brainpred.stimulus import AnyMovie, Movie
from brainpred.storage import atomic_path, make_directory

__all__ = ["recording_movies", "write_movie_features"]


def recording_movies(subject: str, dataset: str, data: Path | str | None = None) -> tuple[list[AnyMovie], float]:
    """List the movies that a subject saw, and tell at which pace.

    Parameters
    ----------
    subject, dataset : str
        Whose recording.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    movies : list of Movie or Path
        The movies.
    tr_s : float
        Repetition time of the scans in seconds.

    Raises
    ------
    ConfigError
        If the data set has no movies.
    """
    from brainpred.recordings.readers import load_recording

    recording = load_recording(dataset, subject, data)
    movies: list[AnyMovie] = list(recording.stimuli.values())
    if not movies:
        raise ConfigError(f"{recording.label} has no movies. Name one with --movie.")
    return movies, recording.tr_s


def write_movie_features(
    movies: Sequence[AnyMovie],
    out: Path | str | None = None,
    config: FeatureConfig | None = None,
    *,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> list[FeatureFile]:
    """Compute PredNet's representations of movies (or take them from the cache) and write them to files.

    Parameters
    ----------
    movies : sequence of Movie, Path or str
        Movies, or their addresses; see :func:`brainpred.movies.video.probe_video`.
    out : Path or str, optional
        Folder for the files ``<movie>_features.h5``, the working folder by default; or, for a single movie, an
        HDF5 file.
    config : FeatureConfig, optional
        Which features.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    list of FeatureFile
        The files written, one a movie.

    Raises
    ------
    ConfigError
        If one file is to hold several movies, or two movies have the same name.
    """
    out = Path(out) if out else Path()
    is_file = out.suffix.lower() in (".h5", ".hdf5")
    paths = [out] if is_file else [out / f"{Movie.of(movie).stem}_features.h5" for movie in movies]
    if len(set(paths)) != len(movies):
        raise ConfigError(
            f"{len(movies)} movies cannot be written to {', '.join(map(str, paths))}: name a folder, "
            "and movies with different names."
        )
    cached = feature_files(movies, cache_folder() / "features", config, device=device, reporter=reporter)
    for path, file in zip(paths, cached, strict=True):
        make_directory(path.parent)
        with atomic_path(path) as temporary:
            shutil.copyfile(file.path, temporary)
    return [read_feature_file(path) for path in paths]
