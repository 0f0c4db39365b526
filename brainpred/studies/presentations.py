"""Pair the brain patterns of a recording with the pictures that were shown."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.movies.video import frame_times, iterate_frames
from brainpred.numerics.ridge.delays import delays_in_samples
from brainpred.numerics.timing import frame_scans, middle_frames
from brainpred.recordings.cleaning import Cleaning, read_clean_run
from brainpred.recordings.recording import Recording, Run

__all__ = ["Presentations", "read_presentations"]

SAME = 1.0  # grey levels of 255, on average, by which a picture that goes on may differ from scan to scan


class Presentations(NamedTuple):
    """Hold pairs of brain patterns and pictures.

    Attributes
    ----------
    voxels : ndarray of float32 (n, n_voxels)
        Patterns.
    pictures : ndarray of float32 (n, height, width)
        Grey levels, in [0, 1].
    held_out : list of ndarray of int64
        Rows that are left out together: those of the test runs, or of every clip in turn where there are none.
    """

    voxels: NDArray[np.float32]
    pictures: NDArray[np.float32]
    held_out: list[NDArray[np.int64]]


def read_presentations(
    recording: Recording, cleaning: Cleaning, delays_s: Sequence[float], size: tuple[int, int]
) -> Presentations:
    """Average the BOLD signal of each picture: over delays, and over scans for as long as it is shown.

    A picture is the frame in the middle of a scan, in grey. One that goes on from scan to scan is one presentation; a
    screen that is the same everywhere is none. Test runs that show the same clip are averaged.

    Parameters
    ----------
    recording : Recording
        The scans, without dummy scans.
    cleaning : Cleaning
        How runs are cleaned.
    delays_s : sequence of float
        How many seconds after the picture the BOLD signal is read.
    size : (height, width)
        Size of pictures in pixels.

    Returns
    -------
    Presentations
        The pairs; voxels that never vary are left out.

    Raises
    ------
    DataError
        If a run shows no known movie or no picture, the same clip is shown in training and in test runs, or there is
        only one clip.
    """
    clips: dict[tuple[str, str], list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    for run in recording.runs:
        pair = _of_run(recording, run, cleaning, delays_in_samples(delays_s, recording.tr_s), size)
        clips.setdefault((run.role, run.stimulus or ""), []).append(pair)
    names = [clip for _, clip in clips]
    if len(set(names)) < len(names) or len(names) < 2:
        raise DataError(
            f"{recording.label}: what is left out must not be learned from. Expected 2 clips or more, each in training "
            f"or in test runs, received {', '.join(names)}."
        )
    voxels, pictures, rows, tests, begin = [], [], [], [], 0
    for (role, _), runs in clips.items():
        if role == "test":
            n = min(len(shown) for _, shown in runs)
            runs = [(np.mean([patterns[:n] for patterns, _ in runs], axis=0), runs[0][1][:n])]
        voxels += [patterns for patterns, _ in runs]
        pictures += [shown for _, shown in runs]
        end = begin + sum(len(shown) for _, shown in runs)
        rows.append(np.arange(begin, end))
        tests += [rows[-1]] if role == "test" else []
        begin = end
    joined = np.concatenate(voxels)
    return Presentations(
        joined[:, joined.std(axis=0) > 0], np.concatenate(pictures), [np.concatenate(tests)] if tests else rows
    )


def _of_run(
    recording: Recording, run: Run, cleaning: Cleaning, delays: Sequence[int], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give patterns (n, n_voxels) and pictures (n, height, width) of one run."""
    where = f"{recording.label}, run {run.name}"
    movie = recording.stimuli.get(run.stimulus or "")
    if movie is None:
        raise DataError(f"{where}: no movie or pictures are known for it. Say in the manifest what was shown.")
    bold = read_clean_run(recording, run, cleaning).cleaned
    times_s = frame_times(movie)
    n_scans = min(len(bold) - max(delays), int(frame_scans(times_s, recording.tr_s)[-1]) + 1)
    middles = middle_frames(times_s, recording.tr_s, max(n_scans, 0))
    wanted = set(middles.tolist())
    kept = {
        number: frame.mean(axis=2, dtype=np.float32) / 255
        for number, (_, frame) in enumerate(iterate_frames(movie, size))
        if number in wanted
    }
    patterns: list[list[NDArray[np.float32]]] = []
    pictures: list[NDArray[np.float32]] = []
    before: NDArray[np.float32] | None = None
    for scan, number in enumerate(middles.tolist()):
        picture = kept[number]
        if np.ptp(picture) > 0:
            if before is None or np.abs(picture - before).mean() * 255 > SAME:
                patterns.append([])
                pictures.append(picture)
            patterns[-1].append(bold[[scan + delay for delay in delays]].mean(axis=0))
        before = picture
    if not pictures:
        raise DataError(f"{where}: {movie.name} shows no picture long enough before the run ends.")
    return np.stack([np.mean(part, axis=0) for part in patterns]), np.stack(pictures)
