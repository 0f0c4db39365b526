"""Put excerpts of files one after the other on the clock of a run, with a grey screen while nothing is shown."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.movies.arrays import SUFFIXES, array_frames, array_info
from brainpred.movies.containers import Frame, VideoInfo, file_frames, file_info
from brainpred.movies.pictures import folder_frames, folder_info
from brainpred.stimulus import AnyMovie, Excerpt, Movie, read_clip_list
from brainpred.storage import file_fingerprint, fingerprint

__all__ = ["movie_fingerprint", "movie_frames", "movie_info"]

LISTS = (".tsv", ".csv")
GREY = 128
EPSILON_S = 1e-6
# Onsets and durations in tables are rounded; a file may end, or the next begin, this much early.
OVERLAP_S = 0.05
SHORT_S = 0.5


@dataclass(frozen=True)
class _Placed:
    """An excerpt whose file has been looked at.

    Attributes
    ----------
    excerpt : Excerpt
        The excerpt.
    info : VideoInfo
        Of its file.
    end_s : float
        When it ends, in seconds from the first scan; NaN where no header says.
    """

    excerpt: Excerpt
    info: VideoInfo
    end_s: float


def movie_info(movie: AnyMovie) -> VideoInfo:
    """Tell the length of a movie, and rate and size of its first excerpt.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address.

    Returns
    -------
    VideoInfo
        What is known; a length of NaN where no header states it.

    Raises
    ------
    DataError
        If a file is missing or no movie, or excerpts overlap or are longer than their file.
    """
    movie = _listed(movie)
    placed = _place(movie)
    return replace(placed[0].info, duration_s=placed[-1].end_s if movie.duration_s is None else movie.duration_s)


def movie_frames(movie: AnyMovie) -> Iterator[tuple[float, Frame]]:
    """Give all that is shown, frame by frame, with the time at which each is.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address.

    Yields
    ------
    time_s : float
        Seconds from the first scan.
    frame : Frame
        Gives the frame, before the next is asked for.

    Raises
    ------
    DataError
        As :func:`movie_info`; and if a file turns out to be damaged or too short.
    """
    movie = _listed(movie)
    placed = _place(movie)
    stop_s = math.inf if movie.duration_s is None else movie.duration_s
    now_s = 0.0
    for number, one in enumerate(placed):
        before = placed[max(0, number - 1)].info
        yield from _grey(now_s, min(one.excerpt.onset_s, stop_s), before.fps, placed[0].info)
        next_s = placed[number + 1].excerpt.onset_s if number + 1 < len(placed) else math.inf
        now_s = yield from _excerpt_frames(one, next_s, stop_s)
    if movie.duration_s is not None:
        yield from _grey(now_s, stop_s, placed[-1].info.fps, placed[0].info)


def movie_fingerprint(movie: AnyMovie, known: dict[Path, str]) -> str:
    """Hash the content of a movie: all of its files, and when they are shown.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address.
    known : dict of Path to str
        Fingerprints of files that are known already, which is added to: several clips may lie in one large file.

    Returns
    -------
    str
        16 hexadecimal digits; those of the file, for a video that is shown from beginning to end.

    Raises
    ------
    DataError
        If a file does not exist.
    """
    movie = _listed(movie)
    for excerpt in movie.excerpts:
        if excerpt.path not in known:
            known[excerpt.path] = _content(excerpt.path)
    first = movie.excerpts[0]
    if first.fps is None and not first.data_set and (movie.is_whole_file or _is_whole(movie)):
        return known[first.path]
    shown = [
        [known[one.path], one.onset_s, one.duration_s, one.from_s, one.data_set, one.fps] for one in movie.excerpts
    ]
    return fingerprint(excerpts=shown, duration_s=movie.duration_s)


def _is_whole(movie: Movie) -> bool:
    """Tell whether a movie shows all frames of one file, whose length it states: as events of BIDS do."""
    (first, *others) = movie.excerpts
    if others or first.onset_s or first.from_s or first.path.is_dir():
        return False
    info = _info(first)
    ends_s = min(first.duration_s, math.inf if movie.duration_s is None else movie.duration_s)
    lasts_s = info.duration_s if movie.duration_s is None else movie.duration_s
    return abs(ends_s - info.duration_s) < 0.5 / info.fps and abs(lasts_s - info.duration_s) < 0.5 / info.fps


def _content(path: Path) -> str:
    if path.is_dir():
        return fingerprint(files={item.name: file_fingerprint(item) for item in path.iterdir() if item.is_file()})
    if not path.is_file():
        raise DataError(f"Movie {path} does not exist.")
    return file_fingerprint(path)


def _listed(movie: AnyMovie) -> Movie:
    """Put the content of a clip list in its place."""
    movie = Movie.of(movie)
    (first, *others) = movie.excerpts
    if others or first.path.suffix.lower() not in LISTS:
        return movie
    if not first.path.is_file():
        raise DataError(f"Movie {first.path} does not exist.")
    if replace(first, onset_s=0.0, fps=None) != Excerpt(first.path):
        raise DataError(f"Clip list {first.path} is shown whole: change its rows instead of naming a stretch of it.")
    listed = read_clip_list(first.path, fps=first.fps).shifted(first.onset_s)
    return replace(listed, duration_s=movie.duration_s)


def _info(excerpt: Excerpt) -> VideoInfo:
    if excerpt.path.is_dir():
        return folder_info(excerpt.path, excerpt.fps)
    if excerpt.path.suffix.lower() in SUFFIXES:
        return array_info(excerpt.path, excerpt.data_set, excerpt.fps)
    return file_info(excerpt.path)


def _frames(excerpt: Excerpt) -> Iterator[tuple[float, Frame]]:
    if excerpt.path.is_dir():
        return folder_frames(excerpt.path, excerpt.fps)
    if excerpt.path.suffix.lower() in SUFFIXES:
        return array_frames(excerpt.path, excerpt.data_set, excerpt.fps)
    return file_frames(excerpt.path)


def _place(movie: Movie) -> list[_Placed]:
    """Look at every file, and check that excerpts fit into their files and between each other."""
    infos: dict[tuple[Path, str], VideoInfo] = {}
    placed: list[_Placed] = []
    for excerpt in sorted(movie.excerpts, key=lambda one: one.onset_s):
        key = (excerpt.path, excerpt.data_set)
        info = infos[key] if key in infos else infos.setdefault(key, _info(excerpt))
        left_s = info.duration_s - excerpt.from_s
        if left_s <= 0:
            raise DataError(
                f"{excerpt.path} lasts {info.duration_s:.2f} s, so nothing is left from {excerpt.from_s:g} s on. "
                "Correct the stretch, or take the right file."
            )
        if math.isfinite(excerpt.duration_s) and excerpt.duration_s - left_s > SHORT_S:
            raise _too_short(excerpt, left_s)
        lasts_s = left_s if math.isinf(excerpt.duration_s) else excerpt.duration_s
        if placed and placed[-1].end_s > excerpt.onset_s + OVERLAP_S:
            before = placed[-1]
            raise DataError(
                f"Clips overlap: {before.excerpt.path} is shown from {before.excerpt.onset_s:g} to {before.end_s:g} s, "
                f"{excerpt.path} from {excerpt.onset_s:g} s on. Correct onsets and durations in the clip list."
            )
        placed.append(_Placed(excerpt, info, excerpt.onset_s + lasts_s))
    return placed


def _too_short(excerpt: Excerpt, left_s: float) -> DataError:
    return DataError(
        f"{excerpt.path} is to be shown for {excerpt.duration_s:.2f} s from {excerpt.from_s:g} s on, but only "
        f"{left_s:.2f} s are there. Correct the duration, or take the right file."
    )


def _excerpt_frames(one: _Placed, next_s: float, stop_s: float) -> Generator[tuple[float, Frame], None, float]:
    """Give the frames of an excerpt that fall into the run; return when it ends."""
    excerpt, info = one.excerpt, one.info
    if one.end_s <= 0 or excerpt.onset_s >= stop_s:
        return max(0.0, one.end_s)
    shown_s, n_shown = 0.0, 0
    for file_s, frame in _frames(excerpt):
        since_s = file_s - excerpt.from_s
        time_s = excerpt.onset_s + since_s
        if since_s < -EPSILON_S:
            continue
        if since_s >= excerpt.duration_s - EPSILON_S or time_s >= min(stop_s, next_s) - EPSILON_S:
            # The rest is not wanted, and whether the file is whole beyond it does not matter.
            return min(excerpt.onset_s + excerpt.duration_s, stop_s, next_s)
        shown_s, n_shown = since_s + 1 / info.fps, n_shown + 1
        if time_s >= -EPSILON_S:
            yield max(time_s, 0.0), frame
    if not n_shown or (math.isfinite(excerpt.duration_s) and excerpt.duration_s - shown_s > SHORT_S):
        raise _too_short(excerpt, shown_s)
    return excerpt.onset_s + (shown_s if math.isinf(excerpt.duration_s) else excerpt.duration_s)


def _grey(begin_s: float, end_s: float, fps: float, info: VideoInfo) -> Iterator[tuple[float, Frame]]:
    """Give the grey frames between two times; none where there is no room for one and a half."""

    def frame() -> NDArray[np.uint8]:
        return np.full((info.height, info.width, 3), GREY, dtype=np.uint8)

    if end_s - begin_s >= 1.5 / fps:
        for number in range(math.ceil((end_s - begin_s) * fps - EPSILON_S)):
            yield begin_s + number / fps, frame
