"""Learn from a subject's training movies what turns representations into pictures through a latent bridge."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from brainpred.errors import ConfigError, DataError
from brainpred.models.vae import VAE, load_vae
from brainpred.movies.programme import movie_fingerprint
from brainpred.movies.video import frame_times, iterate_frames
from brainpred.numerics.timing import middle_frames
from brainpred.progress import SILENT, Reporter
from brainpred.reconstruction.bridged import N_LATENTS, FrameBridge
from brainpred.recordings.fetch import cache_folder
from brainpred.recordings.recording import Recording, Run
from brainpred.stimulus import Movie
from brainpred.storage import fingerprint, make_directory
from brainpred.studies.decode import DecodeConfig
from brainpred.studies.inputs import find_features
from brainpred.studies.train_vae import VAETrainingConfig, train_vae

__all__ = ["find_frame_vae", "learn_frame_bridge", "load_frame_vae"]

VAE_VERSION = 1  # raise it when the same movies give another model of their frames
N_PAIRS = 2000  # scans that a bridge learns from, at the most


def load_frame_vae(weights: Path | str, size: tuple[int, int]) -> VAE:
    """Load a model of frames, or raise :class:`ConfigError` if it is none of this size (height, width)."""
    vae = load_vae(weights)
    if vae.config.data != "frames" or tuple(vae.config.size) != tuple(size):
        held = f"{vae.config.data} of {vae.config.size[0]}x{vae.config.size[1]} pixels"
        raise ConfigError(
            f"PredNet's frames are {size[0]}x{size[1]} pixels, and {weights} models {held}. Train one with: brainpred "
            f"train vae --of frames --size {size[0]}x{size[1]} --movies ..."
        )
    return vae


def find_frame_vae(
    movies: Sequence[Movie], size: tuple[int, int], *, seed: int = 0, device: str = "auto", reporter: Reporter = SILENT
) -> Path:
    """Give the weights of a model of movies' frames, which is trained unless it is in the cache.

    Parameters
    ----------
    movies : sequence of Movie
        The movies.
    size : (height, width)
        Frame size in pixels.
    seed : int
        Seed of the training.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        As :func:`brainpred.studies.train_vae.train_vae` gives it.
    """
    known: dict[Path, str] = {}
    contents = [movie_fingerprint(movie, known) for movie in movies]
    key = fingerprint(movies=contents, size=list(size), seed=seed, version=VAE_VERSION)
    folder = cache_folder() / "frame_vaes" / key
    with FileLock(make_directory(folder.parent) / f".{key}.lock"):
        if (folder / "vae.md").is_file():  # the card is written last
            return folder / "vae.safetensors"
        config = VAETrainingConfig("frames", seed=seed, size=size)
        return train_vae(folder, config, movies=movies, device=device, reporter=reporter)


def learn_frame_bridge(
    recording: Recording,
    layers: Mapping[int, str],
    *,
    prednet: str,
    size: tuple[int, int],
    vae: str | None = None,
    seed: int = 0,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> FrameBridge:
    """Learn the bridge from true representations to frames, from the movies of the training runs alone.

    Parameters
    ----------
    recording : Recording
        Whose movies, on the clock of the runs.
    layers : mapping of int to str
        Representations by layer number.
    prednet : str
        Weights of PredNet, by shipped name or file.
    size : (height, width)
        Its frame size in pixels.
    vae : str, optional
        Weights of a model of frames; trained on the movies by default.
    seed : int
        Seed of all that is random.
    device : {"auto", "cpu", "cuda"}
        Where to train and to compute features that are not in the cache.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    FrameBridge
        Fitted.

    Raises
    ------
    ConfigError
        If the model of frames is none, or one of another size.
    DataError
        If every run was held out in turn, so that no movie is left to learn from.
    """
    runs = list({run.stimulus: run for run in recording.runs_with_role("train")}.values())
    if not recording.runs_with_role("test"):
        raise DataError(
            f"{recording.label}: every run was held out in turn, and a bridge that learned from the movies would "
            "have seen what it is tested on. Name test runs in the manifest and decode again, or leave out --through."
        )
    movies = [recording.stimuli[run.stimulus or ""] for run in runs]
    weights = vae or find_frame_vae(movies, size, seed=seed, device=device, reporter=reporter)
    model = load_frame_vae(weights, size)
    wanted = DecodeConfig(
        recording.subject, recording.dataset, layers=tuple(layers.values()), weights=prednet, device=device
    )
    source, _ = find_features(wanted, recording, reporter)
    n_scans = [source.n_scans(run) for run in runs]
    step = -(-sum(n_scans) // N_PAIRS)

    def of_runs(layer: str) -> NDArray[np.float32]:
        return np.concatenate([source.of_run(layer, run)[::step] for run in runs])

    frames = [_scan_frames(recording, run, size, n)[::step] for run, n in zip(runs, n_scans, strict=True)]
    with reporter.task(f"Bridge from {'+'.join(layers.values())} to frames", len(N_LATENTS)) as advance:
        return FrameBridge(model, seed).fit(
            {number: of_runs(layer) for number, layer in layers.items()}, np.concatenate(frames), advance
        )


def _scan_frames(recording: Recording, run: Run, size: tuple[int, int], n_scans: int) -> NDArray[np.uint8]:
    """Read the frames that were on the screen in the middle of each scan."""
    movie = recording.stimuli[run.stimulus or ""]
    middles = middle_frames(frame_times(movie), recording.tr_s, n_scans).tolist()
    wanted = set(middles)
    kept = {number: frame for number, (_, frame) in enumerate(iterate_frames(movie, size)) if number in wanted}
    return np.stack([kept[number] for number in middles])
