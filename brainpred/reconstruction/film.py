"""Show the stimulus and generated pictures side by side: film strips (PNG) and movies (MP4) with labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from brainpred.storage import atomic_path

__all__ = ["film_strip", "labelled_frames", "save_picture"]

PANEL_HEIGHT = 160
LABEL_HEIGHT = 28
GAP = 8
PAPER, INK, MUTED = (250, 250, 248), (30, 30, 34), (100, 104, 110)


@cache
def _font(points: int) -> ImageFont.FreeTypeFont:
    """Load the font that ships inside matplotlib."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), points)


def _enlarge(picture: NDArray[np.uint8], height: int) -> Image.Image:
    width = round(picture.shape[1] * height / picture.shape[0])
    return Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)


def labelled_frames(
    rows: Iterable[tuple[Sequence[NDArray[np.uint8]], Sequence[str], str]], labels: Sequence[str], title: str
) -> Iterator[NDArray[np.uint8]]:
    """Put pictures side by side under their labels, with a line under each, frame by frame.

    Parameters
    ----------
    rows : iterable of (pictures, captions, footer)
        The pictures of one frame, ndarray of uint8 (height, width, 3); a caption under each, such as its scores; and a
        line below all, such as the time.
    labels : sequence of str
        Label above each.
    title : str
        Line above all.

    Yields
    ------
    ndarray of uint8 (height, width, 3)
        The frame, with even sides.
    """
    backdrop: Image.Image | None = None
    top = 2 * LABEL_HEIGHT
    for pictures, captions, footer in rows:
        panels = [_enlarge(picture, PANEL_HEIGHT) for picture in pictures]
        step = panels[0].width + GAP
        if backdrop is None:
            width = (GAP + step * len(panels) + 1) // 2 * 2
            backdrop = Image.new("RGB", (width, top + PANEL_HEIGHT + 2 * LABEL_HEIGHT + GAP), PAPER)
            draw = ImageDraw.Draw(backdrop)
            draw.text((GAP, 5), title, INK, _font(15))
            for number, label in enumerate(labels):
                points = next((n for n in range(15, 8, -1) if _font(n).getlength(label) <= step - GAP), 8)
                draw.text((GAP + step * number, LABEL_HEIGHT + 5), label, INK, _font(points))
        frame = backdrop.copy()
        draw = ImageDraw.Draw(frame)
        for number, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
            frame.paste(panel, (GAP + step * number, top))
            draw.text((GAP + step * number, top + PANEL_HEIGHT + 5), caption, INK, _font(13))
        draw.text((GAP, top + PANEL_HEIGHT + LABEL_HEIGHT + 6), footer, MUTED, _font(13))
        yield np.asarray(frame)


def film_strip(
    rows: Mapping[str, NDArray[np.uint8]], times_s: Sequence[float], title: str, panel_height: int = 128
) -> NDArray[np.uint8]:
    """Lay out moments of several movies, a row a movie.

    Parameters
    ----------
    rows : mapping of str to ndarray of uint8 (n_moments, height, width, 3)
        Pictures of each row, by label.
    times_s : sequence of float (n_moments,)
        Time of each column, in seconds.
    title : str
        Line above all.
    panel_height : int
        Height of a picture in the strip, in pixels.

    Returns
    -------
    ndarray of uint8 (height, width, 3)
        The strip.
    """
    margin = GAP * 4 + int(max(_font(15).getlength(label) for label in rows))
    first = next(iter(rows.values()))
    panel_width = round(first.shape[2] * panel_height / first.shape[1])
    width = margin + (panel_width + GAP) * len(times_s) + GAP
    height = 2 * LABEL_HEIGHT + 12 + (panel_height + GAP) * len(rows) + GAP
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((GAP * 2, 8), title, INK, _font(17))
    for column, time_s in enumerate(times_s):
        x = margin + column * (panel_width + GAP)
        draw.text((x, LABEL_HEIGHT + 14), f"{time_s:.0f} s", INK, _font(13))
        for row, pictures in enumerate(rows.values()):
            y = 2 * LABEL_HEIGHT + 12 + row * (panel_height + GAP)
            strip.paste(_enlarge(pictures[column], panel_height), (x, y))
    for row, label in enumerate(rows):
        y = 2 * LABEL_HEIGHT + 12 + row * (panel_height + GAP) + panel_height // 2
        draw.text((GAP * 2, y), label, INK, _font(15), anchor="lm")
    return np.asarray(strip)


def save_picture(path: Path | str, picture: NDArray[np.uint8]) -> None:
    """Write a picture as PNG, all or nothing.

    Parameters
    ----------
    path : Path or str
        File.
    picture : ndarray of uint8 (height, width, 3)
        The picture.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
