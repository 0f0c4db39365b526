"""Read the frames of one video file with PyAV, with the time at which each is shown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError

__all__ = ["Frame", "VideoInfo", "file_frames", "file_info"]

# A file may end this much before the length its header promises and still count as whole.
MISSING_TAIL_FRAMES = 2

# Gives a frame, uint8 (height, width, 3), which is converted or read only then.
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


def file_info(path: Path) -> VideoInfo:
    """Read the header of a video file; :class:`DataError` if the file is missing or no video."""
    with _open(path) as container:
        return _info(container)


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
        info = _info(container)
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
                yield time_s, partial(picture.to_ndarray, format="rgb24")
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
