"""Read and write movies with PyAV: frames with their times, cropped and resized to the network's frame."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.storage import atomic_path

__all__ = ["VideoInfo", "frame_times", "iterate_frames", "probe_video", "read_video", "write_video"]

TICKS_PER_S = 90_000  # the clock of MPEG
# A file may end this much before the length its header promises and still count as whole.
MISSING_TAIL_FRAMES = 2


@dataclass(frozen=True)
class VideoInfo:
    """Describe a movie file.

    Attributes
    ----------
    fps : float
        Average frames per second.
    duration_s : float
        Length that the file's header states, in seconds; NaN where it states none.
    height, width : int
        Size of a frame in pixels.
    """

    fps: float
    duration_s: float
    height: int
    width: int


def _open(path: Path | str) -> av.container.InputContainer:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"Movie {path} does not exist.")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        raise DataError(
            f"Movie {path} cannot be opened as a video ({error}): truncated or not a video file."
        ) from error
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise DataError(f"{path} holds no video stream that can be decoded: truncated or not a video file.")
    return container


def _info(container: av.container.InputContainer) -> VideoInfo:
    stream = container.streams.video[0]
    duration_s = float("nan")
    if stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    elif "DURATION" in stream.metadata:  # Matroska, as FFmpeg and MKVToolNix write it: HH:MM:SS.sss
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        duration_s = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    elif container.duration and len(container.streams) == 1:
        duration_s = container.duration / av.time_base
    rate = stream.average_rate or stream.guessed_rate
    return VideoInfo(float(rate) if rate else float("nan"), duration_s, stream.height, stream.width)


def probe_video(path: Path | str) -> VideoInfo:
    """Read a movie's header.

    Parameters
    ----------
    path : Path or str
        Movie file, of any format FFmpeg knows.

    Returns
    -------
    VideoInfo
        Rate, length and frame size.

    Raises
    ------
    DataError
        If the file is missing or no video.
    """
    with _open(path) as container:
        return _info(container)


def _centre_crop(frame: NDArray[np.uint8], aspect: float) -> NDArray[np.uint8]:
    """Cut the largest centred window of the given width / height out of a frame."""
    height, width = frame.shape[:2]
    new_height, new_width = min(height, round(width / aspect)), min(width, round(height * aspect))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return frame[top : top + new_height, left : left + new_width]


def iterate_frames(
    path: Path | str, size: tuple[int, int] | None = None, *, from_s: float = 0.0, skip: int = 0
) -> Generator[tuple[float, NDArray[np.uint8]], None, None]:
    """Yield the frames of a movie one by one, with the time at which each is shown.

    Where the aspect ratio differs from the one asked for, the sides (or top and bottom) are cropped
    equally; the rest is resized by area averaging.

    Parameters
    ----------
    path : Path or str
        Movie file.
    size : (height, width), optional
        Size in pixels to bring frames to; their own by default.
    from_s : float
        Time of the first frame wanted, in seconds; those before are decoded, but neither converted nor given.
    skip : int
        Frames to leave out from there on.

    Yields
    ------
    time_s : float
        Presentation time of the frame, seconds from the first frame.
    frame : ndarray of uint8 (height, width, 3)
        The frame in RGB.

    Raises
    ------
    DataError
        If the file is missing, no video, damaged, or ends before the length its header states.
    """
    for time_s, picture in _decoded(path):
        if time_s < from_s - 1e-6:
            continue
        if skip:
            skip -= 1
            continue
        rgb = picture.to_ndarray(format="rgb24")
        if size is not None:
            rgb = _centre_crop(rgb, size[1] / size[0])
            resized = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
                width=size[1], height=size[0], interpolation=Interpolation.AREA
            )
            rgb = resized.to_ndarray()
        yield time_s, rgb


def _decoded(path: Path | str) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decode a movie, and tell at its end whether it was whole."""
    with _open(path) as container:
        info = _info(container)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first_s: float | None = None
        time_s, n_frames = 0.0, 0
        try:
            for picture in container.decode(stream):
                stamp = picture.time if picture.time is not None else n_frames / info.fps
                first_s = stamp if first_s is None else first_s
                time_s, n_frames = stamp - first_s, n_frames + 1
                yield time_s, picture
        except av.FFmpegError as error:
            raise DataError(
                f"Movie {path} is damaged after frame {n_frames} ({time_s:.2f} s): {error}. Copy the file again."
            ) from error
    tail_s = MISSING_TAIL_FRAMES / info.fps if info.fps > 0 else 0.5
    # Matroska counts its length from time 0, MP4 from the first frame.
    end_s = max(time_s, time_s + (first_s or 0.0))
    if not n_frames or end_s + 1 / info.fps + tail_s < info.duration_s:
        raise DataError(
            f"Movie {path} is truncated: its header states {info.duration_s:.2f} s, but its {n_frames} frames end at "
            f"{time_s:.2f} s. Copy the file again."
        )


def frame_times(path: Path | str) -> NDArray[np.float64]:
    """Tell when each frame of a movie is shown, without converting any.

    Parameters
    ----------
    path : Path or str
        Movie file.

    Returns
    -------
    ndarray of float64 (n_frames,)
        Seconds from the first frame.

    Raises
    ------
    DataError
        As :func:`iterate_frames`.
    """
    return np.array([time_s for time_s, _ in _decoded(path)])


def read_video(path: Path | str, size: tuple[int, int] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a whole movie into memory.

    Parameters
    ----------
    path : Path or str
        Movie file.
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
    times, frames = zip(*iterate_frames(path, size), strict=True)
    return np.stack(frames), np.asarray(times)


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
