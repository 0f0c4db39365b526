"""Put movies on the clock of the runs that show them, and give runs that show the same the same name of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from brainpred.errors import DataError
from brainpred.recordings.manifest import Manifest, RunEntry
from brainpred.stimulus import Excerpt, Movie, read_clip_list

__all__ = ["Placed", "listed_runs", "name_stimuli", "place_clip", "place_runs", "read_events"]

# Repeats begin some milliseconds apart: onsets are taken as equal within a tenth of a scan.
STEPS_PER_SCAN = 10
OVERLAP_S = 0.05
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
    return Placed((clip,), movie.shifted(_rounded(onset_s, tr_s)) if _rounded(onset_s, tr_s) else movie)


def _rounded(onset_s: float, tr_s: float) -> float:
    step = tr_s / STEPS_PER_SCAN
    return round(round(onset_s / step) * step, 6)


def read_events(
    path: Path, movies: Mapping[str, Movie], folder: Path, tr_s: float, shift_s: float, run_s: float, where: str
) -> Placed:
    """Read from BIDS events which clips a run shows, and when.

    Parameters
    ----------
    path : Path
        ``_events.tsv`` with ``onset``, ``duration``, and a column ``stim_file`` that names files below ``stimuli/``, or
        ``trial_type`` that names clips; rows that name none are other events.
    movies : mapping of str to Movie
        Movie of each clip.
    folder : Path
        The data set's folder.
    tr_s : float
        Repetition time in seconds.
    shift_s : float
        How much later than its scan's beginning, or earlier, a scan stands for: what slice timing has moved.
    run_s : float
        Length of the run in seconds. Where the last clip ends before, the screen stays grey.
    where : str
        Data set, subject and run.

    Returns
    -------
    Placed
        What the run shows.

    Raises
    ------
    DataError
        If the table is missing or damaged, names no clip, or clips overlap or go on after the run.
    """
    if not path.is_file():
        raise DataError(f"{where}: {path} is missing. Put it there, or state in the manifest what it shows (runs).")
    try:
        table = pd.read_csv(path, sep="\t", na_values="n/a", dtype={"trial_type": str, "stim_file": str})
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(
            f"{where}: cannot read {path} ({error}). Expected a table with tabs, onset and duration."
        ) from error
    if not {"onset", "duration"} <= set(table):
        raise DataError(
            f"{where}: {path.name} needs the columns onset and duration, found {', '.join(map(str, table))}."
        )
    named = table[table["trial_type"].isin(list(movies))] if "trial_type" in table else table[:0]
    if len(named):
        times = [pd.to_numeric(named[column], errors="coerce").tolist() for column in ("onset", "duration")]
        excerpts = [
            _excerpt(movies[clip], onset_s, duration_s, f"{where}: {path.name} shows {clip}")
            for clip, onset_s, duration_s in zip(named["trial_type"], *times, strict=True)
        ]
        clips = named["trial_type"].tolist()
    elif "stim_file" in table or "file" in table:
        found = read_clip_list(path, folder / "stimuli")
        excerpts = [_known(excerpt, movies, folder) for excerpt in found.excerpts]
        clips = [_clip_name(excerpt, movies) for excerpt in excerpts]
        for excerpt in excerpts:
            if not excerpt.path.exists():
                raise DataError(f"{where}: {path.name} shows {excerpt.path}, which does not exist. Put it there.")
    else:
        types = ", ".join(sorted(set(table.get("trial_type", pd.Series(dtype=str)).dropna()))) or "none"
        raise DataError(
            f"{where}: {path.name} names no clip: it has no column stim_file, and its trial types ({types}) are not "
            f"the manifest's stimuli ({', '.join(movies) or 'none'}). Name the clips as the table does."
        )
    ordered = [
        replace(excerpt, onset_s=_rounded(excerpt.onset_s - shift_s, tr_s))
        for excerpt in _in_time(excerpts, path, where)
    ]
    end_s = ordered[-1].onset_s + (ordered[-1].duration_s if math.isfinite(ordered[-1].duration_s) else 0.0)
    if end_s > run_s + tr_s:
        raise DataError(
            f"{where}: {path.name} shows {ordered[-1].path.name} until {end_s:g} s, but the run ends at {run_s:g} s. "
            "Look whether scans are missing, or the table is of another run."
        )
    return Placed(tuple(clips), Movie(tuple(ordered), run_s if math.isfinite(ordered[-1].duration_s) else None))


def _excerpt(movie: Movie, onset_s: float, duration_s: float, shows: str) -> Excerpt:
    """Give the excerpt of one event."""
    (own, *others) = movie.excerpts
    if others:
        raise DataError(f"{shows}, which is a list of clips itself. Name its clips instead.")
    if not math.isfinite(onset_s):
        raise DataError(f"{shows} at no time. Give it an onset in seconds.")
    wanted = duration_s if duration_s > 0 else math.inf  # 0 or n/a: to its end
    return replace(own, onset_s=own.onset_s + onset_s, duration_s=min(own.duration_s, wanted))


def _known(excerpt: Excerpt, movies: Mapping[str, Movie], folder: Path) -> Excerpt:
    """Find a file that an event names from the data set's folder on, or that the manifest has elsewhere."""
    if excerpt.path.exists():
        return excerpt
    below = folder / "stimuli"
    named = [folder / excerpt.path.relative_to(below)] if excerpt.path.is_relative_to(below) else []
    named += [movie.excerpts[0].path for movie in movies.values() if movie.excerpts[0].path.name == excerpt.path.name]
    return replace(excerpt, path=next((path for path in named if path.exists()), excerpt.path))


def _clip_name(excerpt: Excerpt, movies: Mapping[str, Movie]) -> str:
    names = [name for name, movie in movies.items() if movie.excerpts[0].path == excerpt.path]
    return names[0] if names else excerpt.path.stem


def _in_time(excerpts: Sequence[Excerpt], path: Path, where: str) -> list[Excerpt]:
    ordered = sorted(excerpts, key=lambda excerpt: excerpt.onset_s)
    for one, other in pairwise(ordered):
        if math.isfinite(one.duration_s) and one.onset_s + one.duration_s > other.onset_s + OVERLAP_S:
            raise DataError(
                f"{where}: clips overlap in {path.name}: {one.path.name} ends at {one.onset_s + one.duration_s:g} s, "
                f"{other.path.name} begins at {other.onset_s:g} s. Correct onset or duration."
            )
    return ordered


def name_stimuli(
    placed: Mapping[str, Placed], roles: Mapping[str, str], tr_s: float, label: str
) -> tuple[dict[str, str], dict[str, Movie]]:
    """Name what runs show, so that runs that show the same at the same time share its name.

    Parameters
    ----------
    placed : mapping of str to Placed
        What each run shows.
    roles : mapping of str to str
        Role of each run.
    tr_s : float
        Repetition time in seconds.
    label : str
        Data set and subject.

    Returns
    -------
    stimulus_of_run : dict of str to str
        Name of what each run shows: its clips, with the onset where other runs show them at another time.
    stimuli : dict of str to Movie
        Movie by that name.

    Raises
    ------
    DataError
        If a training run and a test run show the same clip.
    """
    clips = {role: {clip for run, one in placed.items() if roles[run] == role for clip in one.clips}
             for role in ("train", "test")}  # fmt: skip
    if shared := sorted(clips["train"] & clips["test"]):
        raise DataError(
            f"{label}: training runs and test runs show {', '.join(shared)}. What is tested must not be trained on: "
            "give those runs one role."
        )
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
    movies: Mapping[str, Movie],
    shown: Mapping[str, tuple[str | None, float]],
    roles: Mapping[str, str],
    tr_s: float,
    label: str,
) -> tuple[dict[str, str], dict[str, Movie]]:
    """Place the clip of each run; runs whose clip has no movie are known by its name alone.

    Parameters
    ----------
    movies : mapping of str to Movie
        Movie of each clip.
    shown : mapping of str to (str or None, float)
        Clip of each run, and when it begins, in seconds from the first scan.
    roles : mapping of str to str
        Role of each run.
    tr_s : float
        Repetition time in seconds.
    label : str
        Data set and subject.

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
    stimulus_of_run, stimuli = name_stimuli(known, roles, tr_s, label)
    named = {run: clip for run, (clip, _) in shown.items() if clip is not None and clip not in movies}
    return {**stimulus_of_run, **named}, stimuli


def _same(one: Movie, other: Movie, tr_s: float) -> bool:
    """Tell whether movies show the same at the same time; the last grey screen may differ by a scan."""
    return one.excerpts == other.excerpts and abs((one.duration_s or 0.0) - (other.duration_s or 0.0)) <= tr_s
