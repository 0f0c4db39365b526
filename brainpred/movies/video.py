"""Play movies, of files, pictures or arrays, and write them: frames on the clock of a run, in the network's size."""

from collections.abc import Generator, Iterable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.movies.containers import VideoInfo
from brainpred.movies.programme import movie_frames, movie_info
from brainpred.stimulus import AnyMovie
from brainpred.storage import atomic_path

__all__ = [
    "VIDEO_SUFFIXES",
    "VideoInfo",
    "frame_times",
    "iterate_frames",
    "probe_video",
    "read_video",
    "sample_frames",
    "write_video",
]

# Endings by which a folder's videos are found; a file that is named may have any other.
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv")
TICKS_PER_S = 90_000  # the clock of MPEG


def probe_video(movie: AnyMovie) -> VideoInfo:
    """Read what the headers of a movie say.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address (:meth:`brainpred.stimulus.Movie.parse`): a video file of any format FFmpeg knows, a
        folder of pictures, a file of frames (``.npy``, ``.h5``, ``.mat``) or a clip list (``.tsv``, ``.csv``).

    Returns
    -------
    VideoInfo
        Rate and frame size, of the first excerpt where there are several, and length of the whole.

    Raises
    ------
    DataError
        If a file is missing or no movie, or excerpts overlap or are longer than their file.
    """
    return movie_info(movie)


def _centre_crop(frame: NDArray[np.uint8], aspect: float) -> NDArray[np.uint8]:
    """Cut the largest centred window of the given width / height out of a frame."""
    height, width = frame.shape[:2]
    new_height, new_width = min(height, round(width / aspect)), min(width, round(height * aspect))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return frame[top : top + new_height, left : left + new_width]


def iterate_frames(
    movie: AnyMovie, size: tuple[int, int] | None = None, *, from_s: float = 0.0, skip: int = 0
) -> Generator[tuple[float, NDArray[np.uint8]], None, None]:
    """Yield the frames of a movie one by one, with the time at which each is shown.

    The aspect rule: where a frame is wider (or higher) than the one asked for, both sides (or top and bottom) are
    cropped equally; the rest is resized by area averaging. Nothing is stretched, and no border is added. Frames are
    taken as a player shows them: pixels that the file says are not square are made so, and what it says is to be
    turned is turned.

    While a clip list shows nothing, the screen is mid-grey, at the frame rate of the excerpt before. A frame that is
    missing leaves the time of the others as it is.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address; see :func:`probe_video`.
    size : (height, width), optional
        Size in pixels to bring frames to; their own by default.
    from_s : float
        Time of the first frame wanted, in seconds; those before are decoded, but neither converted nor given.
    skip : int
        Frames to leave out from there on.

    Yields
    ------
    time_s : float
        Presentation time of the frame, seconds from the first (of a whole file) or from the beginning of the run.
    frame : ndarray of uint8 (height, width, 3)
        The frame in RGB.

    Raises
    ------
    DataError
        If a file is missing, no movie, damaged, or ends before the length that its header or the clip list states.
    """
    for time_s, frame in movie_frames(movie):
        if time_s < from_s - 1e-6:
            continue
        if skip:
            skip -= 1
            continue
        rgb = frame()
        if size is not None and rgb.shape[:2] != tuple(size):
            rgb = _centre_crop(rgb, size[1] / size[0])
            resized = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
                width=size[1], height=size[0], interpolation=Interpolation.AREA
            )
            rgb = resized.to_ndarray()
        yield time_s, rgb


def frame_times(movie: AnyMovie) -> NDArray[np.float64]:
    """Tell when each frame of a movie is shown, without converting or reading any.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address; see :func:`probe_video`.

    Returns
    -------
    ndarray of float64 (n_frames,)
        Seconds, as :func:`iterate_frames` gives them.

    Raises
    ------
    DataError
        As :func:`iterate_frames`.
    """
    return np.array([time_s for time_s, _ in movie_frames(movie)])


def read_video(movie: AnyMovie, size: tuple[int, int] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a whole movie into memory.

    Parameters
    ----------
    movie : Movie, Path or str
        Movie, or its address; see :func:`probe_video`.
    size : (height, width), optional
        Size in pixels to bring frames to; see :func:`iterate_frames`.

    Returns
    -------
    frames : ndarray of uint8 (n_frames, height, width, 3)
        RGB frames.
    times_s : ndarray of float64 (n_frames,)
        When each is shown, seconds from the first.

    Raises
    ------
    DataError
        As :func:`iterate_frames`.
    """
    times, frames = zip(*iterate_frames(movie, size), strict=True)
    return np.stack(frames), np.asarray(times)


def sample_frames(movies: Sequence[AnyMovie], size: tuple[int, int], at_most: int) -> NDArray[np.uint8]:
    """Take frames of movies, evenly spread over all of them.

    Parameters
    ----------
    movies : sequence of Movie, Path or str
        Movies, or their addresses; see :func:`probe_video`.
    size : (height, width)
        Size in pixels to bring frames to; see :func:`iterate_frames`.
    at_most : int
        Frames to take; all of them where there are fewer.

    Returns
    -------
    ndarray of uint8 (n_frames, height, width, 3)
        RGB frames, movie by movie.

    Raises
    ------
    DataError
        As :func:`iterate_frames`, or if there is no frame.
    """
    step = max(1, -(-sum(len(frame_times(movie)) for movie in movies) // at_most))
    frames = [frame for movie in movies for _, frame in islice(iterate_frames(movie, size), 0, None, step)]
    if not frames:
        raise DataError(f"No frames in {', '.join(str(movie) for movie in movies) or 'no movies'}.")
    return np.stack(frames)


def write_video(
    path: Path | str,
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    quality: int = 18,
    times_s: Sequence[float] | NDArray[np.float64] | None = None,
    threads: int = 1,
) -> None:
    """Write an H.264 MP4 that browsers and slide programs play.

    Parameters
    ----------
    path : Path or str
        File to write, ending in ``.mp4``; it appears only when complete.
    frames : iterable of ndarray of uint8 (height, width, 3)
        RGB frames with even sides.
    fps : float
        Frames per second.
    quality : int
        H.264 constant rate factor, 0 (lossless) to 51; 18 is visually lossless.
    times_s : sequence of float (n_frames,), optional
        When each frame is shown, in seconds from the beginning, ascending; at the given pace by default.
    threads : int
        Threads of the encoder. The same frames and number of threads give the same file everywhere.
    """
    rate = round(fps * 1000)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = None
        for number, array in enumerate(frames):
            if stream is None:
                height, width = array.shape[:2]
                if height % 2 or width % 2:
                    raise DataError(f"H.264 needs frames with even sides, received {height}x{width}.")
                stream = container.add_stream("libx264", rate=Fraction(rate, 1000))
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
                # A number of threads and no macroblock tree, so that the same frames give the same file everywhere.
                stream.options = {"crf": str(quality), "preset": "veryfast", "threads": str(threads), "mbtree": "0"}
                if times_s is not None:
                    stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            if times_s is not None:
                frame.time_base, frame.pts = Fraction(1, TICKS_PER_S), round(times_s[number] * TICKS_PER_S)
            for packet in stream.encode(frame):
                container.mux(packet)
        if stream is None:
            raise DataError(f"No frames to write to {path}.")
        for packet in stream.encode():
            container.mux(packet)
