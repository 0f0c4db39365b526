"""Tell which movies the runs of a laboratory's BIDS data set showed: by its events, else by the lengths of both."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from brainpred.errors import ConfigError, DataError
from brainpred.movies import arrays, pictures
from brainpred.movies.video import VIDEO_SUFFIXES, probe_video
from brainpred.recordings.bids_files import RunFiles, matches, natural_order
from brainpred.recordings.survey import clips_of_events
from brainpred.stimulus import Movie

__all__ = ["Shown", "below", "choose_stimuli", "choose_test_runs", "find_movies"]


@dataclass(frozen=True)
class Shown:
    """Say what runs showed.

    Attributes
    ----------
    stimuli : dict of str to str
        Address of every clip, below the data set's folder or as a whole path.
    clips_of_run : dict of str to tuple of str
        Clips of every run.
    by_events : bool
        Whether events say so, so that the manifest need not.
    """

    stimuli: dict[str, str]
    clips_of_run: dict[str, tuple[str, ...]]
    by_events: bool


def below(path: Path, bids: Path) -> str:
    """Name a file relative to the data set, or by its whole path where it lies elsewhere."""
    whole = Path(os.path.abspath(path))
    return whole.relative_to(bids).as_posix() if whole.is_relative_to(bids) else str(whole)


def find_movies(movie: Path | None, bids: Path, fps: float | None) -> dict[str, Movie]:
    """Find the movies by name: the one that is named, else all of the folder that is named, or of ``stimuli``.

    Parameters
    ----------
    movie : Path or None
        Video file, folder of pictures, file of frames, or folder of such.
    bids : Path
        The data set.
    fps : float or None
        Frames per second of pictures and arrays.

    Returns
    -------
    dict of str to Movie
        Movies, folder by folder and in the order of their numbers; the folder belongs to the name where two files have
        the same.

    Raises
    ------
    ConfigError
        If what is named does not exist or holds no movie.
    """
    named = Movie.parse(movie or bids / "stimuli", fps)
    folder = named.excerpts[0].path
    if movie and not folder.exists():
        raise ConfigError(f"Movie {folder} does not exist.")
    if movie and (not folder.is_dir() or _has_pictures(folder)):
        return {folder.stem: named}
    there = [path for path in sorted(folder.rglob("*"), key=natural_order) if path.name[0] != "."]
    # Beside videos, arrays and pictures are other things.
    inside = [path for path in there if path.suffix.lower() in VIDEO_SUFFIXES] or [
        path for path in there if path.suffix.lower() in arrays.SUFFIXES or _has_pictures(path)
    ]
    if movie and not inside:
        endings = ", ".join((*VIDEO_SUFFIXES, *arrays.SUFFIXES))
        raise ConfigError(f"Folder {movie} holds no movie ({endings}, or a folder of numbered pictures).")
    stems = [path.stem for path in inside]
    names = [
        stem if stems.count(stem) == 1 else path.relative_to(folder).with_suffix("").as_posix()
        for stem, path in zip(stems, inside, strict=True)
    ]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{folder} holds several movies {twice}, which only their endings tell apart. Keep one.")
    return {name: Movie.parse(path, fps) for name, path in zip(names, inside, strict=True)}


def _check_rate(movie: Movie) -> None:
    """Refuse pictures and arrays whose frame rate nobody states."""
    path, fps = movie.excerpts[0].path, movie.excerpts[0].fps
    if fps is None and (path.is_dir() or path.suffix.lower() in arrays.SUFFIXES):
        raise ConfigError(f"{path} does not state its frame rate. State it in frames per second with --frame-rate.")


def _has_pictures(path: Path) -> bool:
    return path.is_dir() and any(file.suffix.lower() in pictures.SUFFIXES for file in path.iterdir())


def choose_stimuli(
    movies: Mapping[str, Movie],
    bids: Path,
    label: str,
    runs: Sequence[RunFiles],
    lengths_s: Sequence[float],
    tr_s: float,
) -> Shown:
    """Tell which clips there are, and which of them each run shows.

    Parameters
    ----------
    movies : mapping of str to Movie
        The movies there are.
    bids : Path
        The data set.
    label : str
        Data set and subject.
    runs : sequence of RunFiles
        The runs.
    lengths_s : sequence of float
        Length of each run in seconds.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    Shown
        What the runs showed.

    Raises
    ------
    ConfigError
        If there are neither events nor movies.
    DataError
        If events name a movie that is not there, or movies and runs cannot be matched.
    """
    shown = {run.name: tuple(_clips_of_run(run.events, movies, bids)) for run in runs}
    if all(shown.values()):
        used = dict.fromkeys(clip for clips in shown.values() for clip in clips)
        for clip in used:
            _check_rate(movies[clip])
        return Shown({clip: _address(movies[clip], bids) for clip in used}, shown, by_events=True)
    if not movies:
        silent = next(run for run in runs if not shown[run.name])
        write = "put a column stim_file into it" if silent.events.is_file() else "write it (onset, duration, stim_file)"
        raise ConfigError(
            f"{label}: nothing says what run {silent.name} showed. Name the movie, or a folder of movies, with "
            f"--movie; or, for {silent.events}, {write}, with files below {bids / 'stimuli'}."
        )
    stimuli, clip_of_run = _match_lengths(movies, bids, label, runs, lengths_s, tr_s)
    return Shown(stimuli, {run: (clip,) for run, clip in clip_of_run.items()}, by_events=False)


def _address(movie: Movie, bids: Path) -> str:
    """Write the address of a movie; its frame rate is stated once for the whole data set."""
    (excerpt,) = movie.excerpts
    return below(excerpt.path, bids) + (f"::{excerpt.data_set}" if excerpt.data_set else "")


def _clips_of_run(events: Path, movies: Mapping[str, Movie], bids: Path) -> list[str]:
    """Give the clips that a table of events names, if it names any whose movie is there."""
    named = clips_of_events(events)
    for column in ("stim_file", "file"):
        if files := named.get(column):
            return [_clip_of_file(file, events, movies, bids) for file in files]
    return [clip for clip in named.get("trial_type", []) if clip in movies]


def _clip_of_file(file: str, events: Path, movies: Mapping[str, Movie], bids: Path) -> str:
    """Find the movie whose path shares most, from its name upwards, with the one that an event names."""
    shared = {clip: _common_tail(Path(file), movie.excerpts[0].path) for clip, movie in movies.items()}
    longest = max(shared.values(), default=0)
    if not longest:
        raise DataError(
            f"{events.name} names {file}, which is neither below {bids / 'stimuli'} nor where --movie says. "
            "Put it there."
        )
    fitting = [clip for clip, length in shared.items() if length == longest]
    if len(fitting) > 1:
        paths = " or ".join(str(movies[clip].excerpts[0].path) for clip in fitting)
        raise DataError(f"{events.name} names {file}, which may be {paths}. Name its folder as well.")
    return fitting[0]


def _common_tail(one: Path, other: Path) -> int:
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _match_lengths(
    movies: Mapping[str, Movie],
    bids: Path,
    label: str,
    runs: Sequence[RunFiles],
    lengths_s: Sequence[float],
    tr_s: float,
) -> tuple[dict[str, str], dict[str, str]]:
    """Match movies and runs by their lengths: a movie a run in order, or one movie that goes on from run to run."""
    for movie in movies.values():
        _check_rate(movie)
    durations_s = [probe_video(movie).duration_s for movie in movies.values()]
    if len(movies) == len(runs) and all(
        abs(duration_s - length_s) <= tr_s for duration_s, length_s in zip(durations_s, lengths_s, strict=True)
    ):
        clip_of_run = {run.name: clip for run, clip in zip(runs, movies, strict=True)}
        return {clip: _address(movie, bids) for clip, movie in movies.items()}, clip_of_run
    if len(movies) == 1 and abs(durations_s[0] - sum(lengths_s)) <= tr_s * len(runs):
        ((clip, movie),) = movies.items()
        stimuli: dict[str, str] = {}
        parts, begin_s, first_s = {}, 0.0, movie.excerpts[0].from_s
        for run, length_s in zip(runs, lengths_s, strict=True):
            part = f"{clip}-{len(stimuli) + 1:02d}"
            end_s = min(begin_s + length_s, durations_s[0])
            stimuli[part] = f"{_address(movie, bids)}[{_seconds(first_s + begin_s)}:{_seconds(first_s + end_s)}]"
            parts[run.name] = part
            begin_s += length_s
        return stimuli, parts
    raise DataError(
        f"{label}: runs of {', '.join(f'{length:g}' for length in lengths_s)} s ({sum(lengths_s):g} s in all) "
        f"and movies of {', '.join(f'{duration:.1f}' for duration in durations_s)} s cannot be matched by their "
        "lengths: expected one movie a run, or one movie as long as all runs. Say what was shown when in events.tsv "
        "(onset, duration, stim_file)."
    )


def _seconds(time_s: float) -> str:
    return f"{round(time_s, 3):.10g}"


def choose_test_runs(patterns: Sequence[str], shown: Shown) -> list[str]:
    """Choose test runs: those that are named, else those that show what another run shows, too.

    Parameters
    ----------
    patterns : sequence of str
        Names or patterns.
    shown : Shown
        What the runs showed.

    Returns
    -------
    list of str
        Names of test runs; empty where no run repeats another, or all do.

    Raises
    ------
    ConfigError
        If no run has such a name.
    """
    clips_of_run = shown.clips_of_run
    if patterns:
        tests = [run for run in clips_of_run if matches(run, patterns)]
        if not tests:
            raise ConfigError(f"No run is named {' or '.join(patterns)}. There are: {', '.join(clips_of_run)}.")
        return tests
    repeated = [run for run, clips in clips_of_run.items() if list(clips_of_run.values()).count(clips) > 1]
    return repeated if len(repeated) < len(clips_of_run) else []
