"""Turn a user's movie into a feature file."""

import shutil
from pathlib import Path

from brainpred.features.extract import feature_files
from brainpred.features.store import FeatureFile, read_feature_file
from brainpred.progress import SILENT, Reporter
from brainpred.recordings.fetch import cache_folder
from brainpred.storage import atomic_path, make_directory

__all__ = ["write_movie_features"]


def write_movie_features(
    movie: Path | str,
    out: Path | str | None = None,
    *,
    tr_s: float = 1.0,
    weights: str | Path = "small",
    size: tuple[int, int] | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> FeatureFile:
    """Compute PredNet's representations of a movie (or take them from the cache) and write them to a file.

    Parameters
    ----------
    movie : Path or str
        Movie file.
    out : Path or str, optional
        HDF5 file to write; ``<movie>_features.h5`` in the working folder by default.
    tr_s : float
        Seconds that one row averages.
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
    FeatureFile
        The file written.
    """
    path = Path(out) if out else Path(f"{Path(movie).stem}_features.h5")
    cached = feature_files(
        [movie], cache_folder() / "features", tr_s=tr_s, weights=weights, size=size, device=device, reporter=reporter
    )[0]
    make_directory(path.parent)
    with atomic_path(path) as temporary:
        shutil.copyfile(cached.path, temporary)
    return read_feature_file(path)
