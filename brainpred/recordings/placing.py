"""Put movies on the clock of the runs that show them, and give runs that show the same the same name of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from brainpred.errors import DataError
from brainpred.recordings.manifest import Manifest, RunEntry
from brainpred.stimulus import Excerpt, Movie

__all__ = ["Placed", "listed_runs", "name_stimuli", "place_clip", "place_runs", "rounded_onset_s"]

# Repeats begin some milliseconds apart: times are taken as equal within a tenth of a scan.
STEPS_PER_SCAN = 10
NAMED_CLIPS = 4  # a run may show hundreds


@dataclass(frozen=True)
class Placed:
    """Say what a run shows.

    Attributes
    ----------
    clips : tuple of str
        Names of its clips.
    movie : Movie
        The movie, on the clock of the run.
    """

    clips: tuple[str, ...]
    movie: Movie


def place_clip(clip: str, movie: Movie, onset_s: float, tr_s: float) -> Placed:
    """Begin a movie at a time of a run, to the nearest tenth of a scan.

    Parameters
    ----------
    clip : str
        Its name.
    movie : Movie
        It, beginning with the first scan.
    onset_s, tr_s : float
        When the run shows it, and the repetition time, in seconds.

    Returns
    -------
    Placed
        The movie on the clock of the run.
    """
    rounded_s = rounded_onset_s(onset_s, tr_s)
    return Placed((clip,), movie.shifted(rounded_s) if rounded_s else movie)


def rounded_onset_s(onset_s: float, tr_s: float) -> float:
    """Round the time at which a run begins to show something, to the nearest tenth of a scan.

    Parameters
    ----------
    onset_s, tr_s : float
        The time, and the repetition time, in seconds.

    Returns
    -------
    float
        The time, rounded, in seconds.
    """
    step = tr_s / STEPS_PER_SCAN
    return round(round(onset_s / step) * step, 6)


def name_stimuli(placed: Mapping[str, Placed], tr_s: float) -> tuple[dict[str, str], dict[str, Movie]]:
    """Name what runs show, so that runs that show the same at the same time share its name.

    Parameters
    ----------
    placed : mapping of str to Placed
        What each run shows.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    stimulus_of_run : dict of str to str
        Name of what each run shows: its clips, with the onset where other runs show them at another time.
    stimuli : dict of str to Movie
        Movie by that name, as the first of those runs shows it.
    """
    stimuli: dict[str, Movie] = {}
    stimulus_of_run = {}
    for run, one in placed.items():
        joined = "+".join(one.clips[:NAMED_CLIPS]) + ("+..." if len(one.clips) > NAMED_CLIPS else "")
        name, number = joined, 1
        while name in stimuli and not _same(stimuli[name], one.movie, tr_s):
            number += 1
            name = f"{joined}@{one.movie.excerpts[0].onset_s:g}s" + (f" ({number})" if number > 2 else "")
        stimuli.setdefault(name, one.movie)
        stimulus_of_run[run] = name
    return stimulus_of_run, stimuli


def listed_runs(manifest: Manifest, there: Mapping[str, str], label: str) -> dict[str, RunEntry]:
    """Tell which parts of a data set's own files are read, and what they show.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    there : mapping of str to str
        Role of each part that the files hold, by its name; a part shows the clip of its own name.
    label : str
        Data set and subject.

    Returns
    -------
    dict of str to RunEntry
        What is read: all parts, or those that the manifest lists, as it says.

    Raises
    ------
    DataError
        If the manifest lists a part that the files do not hold.
    """
    if missing := [entry.name for entry in manifest.runs if entry.name not in there]:
        raise DataError(
            f"{label}, run {missing[0]}: the manifest lists it, but the files hold {', '.join(there)} alone. Name "
            "runs as they do."
        )
    if not manifest.runs:
        entries = ({"name": name, "role": role, "stimulus": name} for name, role in there.items())
        return {entry["name"]: RunEntry.model_validate(entry) for entry in entries}
    return {entry.name: entry for entry in manifest.runs}


def place_runs(
    movies: Mapping[str, Movie], shown: Mapping[str, tuple[str | None, float]], tr_s: float
) -> tuple[dict[str, str], dict[str, Movie]]:
    """Place the clip of each run; runs whose clip has no movie are known by its name alone.

    Parameters
    ----------
    movies : mapping of str to Movie
        Movie of each clip.
    shown : mapping of str to (str or None, float)
        Clip of each run, and when it begins, in seconds from the first scan.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    stimulus_of_run : dict of str to str
        Name of what each run shows.
    stimuli : dict of str to Movie
        Movie by that name.
    """
    known = {
        run: place_clip(clip, movies[clip], onset_s, tr_s)
        for run, (clip, onset_s) in shown.items()
        if clip is not None and clip in movies
    }
    stimulus_of_run, stimuli = name_stimuli(known, tr_s)
    named = {run: clip for run, (clip, _) in shown.items() if clip is not None and clip not in movies}
    return {**stimulus_of_run, **named}, stimuli


def _same(one: Movie, other: Movie, tr_s: float) -> bool:
    """Tell whether movies show the same at the same times; the last grey screen may differ by a scan."""
    return (
        len(one.excerpts) == len(other.excerpts)
        and all(_alike(*pair, tr_s / STEPS_PER_SCAN) for pair in zip(one.excerpts, other.excerpts, strict=True))
        and abs((one.duration_s or 0.0) - (other.duration_s or 0.0)) <= tr_s
    )


def _alike(one: Excerpt, other: Excerpt, within_s: float) -> bool:
    def close(name: str) -> bool:
        return math.isclose(getattr(one, name), getattr(other, name), rel_tol=0, abs_tol=within_s)

    same_file = (one.path, one.data_set, one.fps) == (other.path, other.data_set, other.fps)
    return same_file and all(close(name) for name in ("onset_s", "duration_s", "from_s"))
