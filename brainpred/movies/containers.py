"""Read the frames of one video file with PyAV, with the time at which each is shown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError

__all__ = ["Frame", "VideoInfo", "file_frames", "file_info"]

# A file may end this much before the length its header promises and still count as whole.
MISSING_TAIL_FRAMES = 2

# Gives a frame, uint8 (height, width, 3), which is converted or read only then: as a player shows it, with square
# pixels and the right way up.
Frame = Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class VideoInfo:
    """Describe a movie.

    Attributes
    ----------
    fps : float
        Average frames per second.
    duration_s : float
        Length in seconds, as a video file's header states it; NaN where it states none.
    height, width : int
        Size of a frame in pixels, as :data:`Frame` gives it.
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


def file_info(path: Path) -> VideoInfo:
    """Read the header of a video file, and look at its first frame.

    Parameters
    ----------
    path : Path
        Video file, of any format FFmpeg knows.

    Returns
    -------
    VideoInfo
        Rate, length and size of a frame.

    Raises
    ------
    DataError
        If the file is missing or no video.
    """
    with _open(path) as container:
        info = _info(container)
        try:
            picture = next(container.decode(video=0), None)
        except av.FFmpegError:  # file_frames says where the damage is
            return info
        if picture is None:
            return info
        height, width = _square_size(picture, _pixel_aspect(container))
        if _quarter_turns(picture) % 2:
            height, width = width, height
        return replace(info, height=height, width=width)


def _pixel_aspect(container: av.container.InputContainer) -> float:
    """Give the width of a pixel over its height: those of DVDs and of other anamorphic movies are not square."""
    return float(container.streams.video[0].sample_aspect_ratio or 1)


def _square_size(picture: av.VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """Give height and width that make pixels square, and no side shorter."""
    if pixel_aspect < 1:
        return round(picture.height / pixel_aspect), picture.width
    return picture.height, round(picture.width * pixel_aspect)


def _quarter_turns(picture: av.VideoFrame) -> int:
    """Tell how often a frame is to be turned counterclockwise by 90 degrees: telephones store them as they are held."""
    return round(picture.rotation / 90)


def _as_shown(picture: av.VideoFrame, pixel_aspect: float) -> NDArray[np.uint8]:
    height, width = _square_size(picture, pixel_aspect)
    rgb = picture.to_ndarray(format="rgb24", height=height, width=width)
    turns = _quarter_turns(picture)
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def file_frames(path: Path) -> Iterator[tuple[float, Frame]]:
    """Decode a video file, and tell at its end whether it was whole.

    Parameters
    ----------
    path : Path
        Video file, of any format FFmpeg knows.

    Yields
    ------
    time_s : float
        When the frame is shown, in seconds from the first.
    frame : Frame
        Gives the frame.

    Raises
    ------
    DataError
        If the file is missing, no video, damaged, or ends before the length its header states.
    """
    with _open(path) as container:
        info, pixel_aspect = _info(container), _pixel_aspect(container)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first_s: float | None = None
        time_s, n_frames = 0.0, 0
        try:
            for stamp, picture in _stamped(container, info.fps):
                first_s = stamp if first_s is None else first_s
                if stamp - first_s < time_s:
                    raise DataError(
                        f"Movie {path}: its time stamps go back after frame {n_frames} ({time_s:.2f} s). Convert it "
                        "to MP4."
                    )
                time_s, n_frames = stamp - first_s, n_frames + 1
                yield time_s, partial(_as_shown, picture, pixel_aspect)
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


def _stamped(container: av.container.InputContainer, fps: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decode frames with their times in seconds, in the order of presentation."""
    stream = container.streams.video[0]
    in_order: list[float] = []
    n_frames = 0
    for packet in container.demux(stream):
        if packet.dts is not None and packet.time_base is not None:
            in_order.append(float(packet.dts * packet.time_base))
        for picture in packet.decode():
            if container.format.name == "avi":
                # AVI numbers frames in the order in which they are stored, which is not that of presentation.
                yield in_order[n_frames], picture
            else:
                yield picture.time if picture.time is not None else n_frames / fps, picture
            n_frames += 1
