"""Read from tables of BIDS events which clips runs show, and when."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, takewhile
from pathlib import Path

import pandas as pd

from brainpred.errors import DataError
from brainpred.recordings.fetch import check_inside
from brainpred.recordings.placing import Placed, rounded_onset_s
from brainpred.stimulus import FILE_COLUMNS, Excerpt, Movie, read_clip_list, stated_duration_s

__all__ = ["read_events"]

OVERLAP_S = 0.05
STIMULI = "stimuli"  # BIDS's folder of what is shown


def read_events(
    path: Path,
    movies: Mapping[str, Movie],
    folder: Path,
    tr_s: float,
    shift_s: float,
    run_s: float,
    where: str,
    fps: float | None = None,
) -> Placed:
    """Read from BIDS events which clips a run shows, and when.

    Parameters
    ----------
    path : Path
        ``_events.tsv`` with ``onset``, ``duration`` (0 or ``n/a``: to the end of the file), and a column ``stim_file``
        that names files below ``stimuli/``, or, where it names none, ``trial_type`` that names clips. Rows that name
        nothing are other events.
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
    fps : float, optional
        Frames per second of pictures and arrays that the table names, where their address states none.

    Returns
    -------
    Placed
        What the run shows. The first clip begins at a tenth of a scan, the others as long after it as the table says.

    Raises
    ------
    DataError
        If the table is missing or damaged, names no clip, some by file and others by name, or a file that may be
        several or lies outside the data set's folder, or if clips overlap or go on after the run.
    """
    table = _read_table(path, where)
    clips = _clips_by_file(path, table, movies, folder, where, fps) or _clips_by_name(path, table, movies, where)
    if not clips:
        types = ", ".join(sorted(set(table.get("trial_type", pd.Series(dtype=str)).dropna()))) or "none"
        raise DataError(
            f"{where}: {path.name} names no clip: it has no stim_file, and its trial types ({types}) are not "
            f"the manifest's stimuli ({', '.join(movies) or 'none'}). Name the clips as the table does."
        )
    clips = sorted(clips, key=lambda clip: clip[1].onset_s)
    _check_overlap([excerpt for _, excerpt in clips], path, where)
    # All move alike, so that clips that follow each other without a pause still do.
    first_s = clips[0][1].onset_s
    moved_s = rounded_onset_s(first_s - shift_s, tr_s) - first_s
    ordered = [replace(excerpt, onset_s=round(excerpt.onset_s + moved_s, 6)) for _, excerpt in clips]
    last = ordered[-1]
    end_s = last.onset_s + (last.duration_s if math.isfinite(last.duration_s) else 0.0)
    if end_s > run_s + tr_s:
        raise DataError(
            f"{where}: {path.name} shows {last.path.name} until {end_s:g} s, but the run ends at {run_s:g} s. "
            "Look whether scans are missing, or the table is of another run."
        )
    return Placed(
        tuple(name for name, _ in clips), Movie(tuple(ordered), run_s if math.isfinite(last.duration_s) else None)
    )


def _read_table(path: Path, where: str) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{where}: {path} is missing. Put it there, or state in the manifest what it shows (runs).")
    try:
        kinds = dict.fromkeys(("trial_type", *FILE_COLUMNS), str)
        table = pd.read_csv(path, sep="\t", na_values="n/a", dtype=kinds)  # type: ignore[arg-type]
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(
            f"{where}: cannot read {path} ({error}). Expected a table with tabs, onset and duration."
        ) from error
    if not {"onset", "duration"} <= set(table):
        raise DataError(
            f"{where}: {path.name} needs the columns onset and duration, found {', '.join(map(str, table))}."
        )
    return table


def _clips_by_file(
    path: Path, table: pd.DataFrame, movies: Mapping[str, Movie], folder: Path, where: str, fps: float | None
) -> list[tuple[str, Excerpt]]:
    """Give the clips of a table whose rows name files; none if no row does."""
    column = next((name for name in FILE_COLUMNS if name in table), None)
    if column is None or not table[column].notna().any():
        return []
    if "trial_type" in table:
        rest = table[table[column].isna() & table["trial_type"].isin(list(movies))]
        if len(rest):
            raise DataError(
                f"{where}: {path.name} names some clips by {column} and others by trial_type alone "
                f"({', '.join(dict.fromkeys(rest['trial_type']))}). Name all of them in one column."
            )
    try:
        found = read_clip_list(path, folder / STIMULI, fps)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    clips = []
    for excerpt in found.excerpts:
        known = _known(excerpt, movies, folder, f"{where}: {path.name}")
        if not known.path.exists():
            raise DataError(f"{where}: {path.name} shows {known.path}, which does not exist. Put it there.")
        if not any(known.path == one.path for movie in movies.values() for one in movie.excerpts):
            check_inside(known.path, folder, where)
        clips.append((_clip_name(known, movies, folder), known))
    return clips


def _clips_by_name(
    path: Path, table: pd.DataFrame, movies: Mapping[str, Movie], where: str
) -> list[tuple[str, Excerpt]]:
    """Give the clips of a table whose trial types are those of the manifest."""
    if "trial_type" not in table:
        return []
    named = table[table["trial_type"].isin(list(movies))]
    times = [pd.to_numeric(named[column], errors="coerce").tolist() for column in ("onset", "duration")]
    return [
        (clip, _excerpt(movies[clip], onset_s, duration_s, f"{where}: {path.name} shows {clip}"))
        for clip, onset_s, duration_s in zip(named["trial_type"], *times, strict=True)
    ]


def _excerpt(movie: Movie, onset_s: float, duration_s: float, shows: str) -> Excerpt:
    """Give the excerpt of one event."""
    (own, *others) = movie.excerpts
    if others:
        raise DataError(f"{shows}, which is a list of clips itself. Name its clips instead.")
    if not math.isfinite(onset_s):
        raise DataError(f"{shows} at no time. Give it an onset in seconds.")
    if duration_s < 0:
        raise DataError(f"{shows} for {duration_s:g} s. Give it a duration in seconds, or n/a: to its end.")
    return replace(own, onset_s=own.onset_s + onset_s, duration_s=min(own.duration_s, stated_duration_s(duration_s)))


def _known(excerpt: Excerpt, movies: Mapping[str, Movie], folder: Path, where: str) -> Excerpt:
    """Find a file that an event names from the data set's folder on, or that the manifest has elsewhere."""
    if excerpt.path.exists():
        return excerpt
    if excerpt.path.is_relative_to(folder / STIMULI):
        path = folder / excerpt.path.relative_to(folder / STIMULI)
        if path.exists():
            return replace(excerpt, path=path)
    alike = {one.path: _common_tail(one.path, excerpt.path) for movie in movies.values() for one in movie.excerpts}
    longest = max(alike.values(), default=0)
    found = [path for path, length in alike.items() if length == longest > 0 and path.exists()]
    if len(found) > 1:
        raise DataError(
            f"{where} shows {excerpt.path}, which does not exist, and may mean {' or '.join(map(str, found))}. "
            "Name the folder as well."
        )
    return replace(excerpt, path=found[0]) if found else excerpt


def _common_tail(one: Path, other: Path) -> int:
    """Count the parts, from the file's name upwards, that two paths share."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _clip_name(excerpt: Excerpt, movies: Mapping[str, Movie], folder: Path) -> str:
    """Name a clip as the manifest does, or as its file is named below the folder of stimuli."""
    names = [name for name, movie in movies.items() if movie.excerpts[0].path == excerpt.path]
    if names:
        return names[0]
    for above in (folder / STIMULI, folder):
        if excerpt.path.is_relative_to(above):
            return excerpt.path.relative_to(above).with_suffix("").as_posix()
    return excerpt.path.stem


def _check_overlap(ordered: Sequence[Excerpt], path: Path, where: str) -> None:
    for one, other in pairwise(ordered):
        if math.isfinite(one.duration_s) and one.onset_s + one.duration_s > other.onset_s + OVERLAP_S:
            raise DataError(
                f"{where}: clips overlap in {path.name}: {one.path.name} ends at {one.onset_s + one.duration_s:g} s, "
                f"{other.path.name} begins at {other.onset_s:g} s. Correct onset or duration."
            )
