"""Tell which runs show some of the same: by files and stretches of them, whatever clips are called."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from brainpred.errors import DataError
from brainpred.recordings.recording import Recording, Run
from brainpred.stimulus import Movie

__all__ = ["Stretch", "check_roles", "content_groups", "shared_content", "shown_stretches"]

# Times in tables are rounded, so that one stretch may seem to begin this much before another ends.
OVERLAP_S = 0.05


@dataclass(frozen=True)
class Stretch:
    """A stretch of a file that a run shows.

    Attributes
    ----------
    run : str
        Name of the run.
    file : str
        The file, wherever links lead to, or the name of a clip whose file nobody knows.
    data_set : str
        Array within the file; empty where it holds one.
    begin_s, end_s : float
        Times within the file.
    """

    run: str
    file: str
    data_set: str
    begin_s: float
    end_s: float

    def overlaps(self, other: "Stretch") -> bool:
        """Tell whether both hold some of the same: more than rounding makes, or half of the shorter one."""
        shared_s = min(self.end_s, other.end_s) - max(self.begin_s, other.begin_s)
        shorter_s = min(self.end_s - self.begin_s, other.end_s - other.begin_s)
        return shared_s > min(OVERLAP_S, shorter_s / 2)


def shown_stretches(run: str, movie: Movie, run_s: float) -> list[Stretch]:
    """Tell which stretches of which files a run shows.

    Parameters
    ----------
    run : str
        Name of the run.
    movie : Movie
        What it shows, on its clock.
    run_s : float
        Its length in seconds: what comes before its first scan or after its last is not shown.

    Returns
    -------
    list of Stretch
        The stretches, in the order of time.

    Examples
    --------
    >>> [stretch] = shown_stretches("run-1", Movie.parse("film.mp4[30:90]").shifted(-4), 40.0)
    >>> stretch.begin_s, stretch.end_s
    (34.0, 74.0)
    """
    excerpts = sorted(movie.listed().excerpts, key=lambda excerpt: excerpt.onset_s)
    stop_s = run_s if movie.duration_s is None else min(run_s, movie.duration_s)
    ends_s = [min(one.onset_s + one.duration_s, next_one.onset_s) for one, next_one in pairwise(excerpts)]
    ends_s.append(excerpts[-1].onset_s + excerpts[-1].duration_s)
    found = []
    for excerpt, end_s in zip(excerpts, ends_s, strict=True):
        first_s, last_s = max(0.0, excerpt.onset_s), min(end_s, stop_s)
        if last_s > first_s:
            within_s = excerpt.from_s - excerpt.onset_s
            file = str(excerpt.path.resolve())
            found.append(Stretch(run, file, excerpt.data_set.strip("/"), within_s + first_s, within_s + last_s))
    return found


def shared_content(recording: Recording) -> list[tuple[Stretch, Stretch]]:
    """Find what more than one run of a recording shows.

    Parameters
    ----------
    recording : Recording
        The scans. Runs whose movie nobody knows show the same if their clip has the same name.

    Returns
    -------
    list of (Stretch, Stretch)
        Overlapping stretches of two runs; the run that comes first in the recording is the first.
    """
    of_file: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for run in recording.runs:
        for stretch in _stretches(recording, run):
            of_file[stretch.file, stretch.data_set].append(stretch)
    place = {run.name: number for number, run in enumerate(recording.runs)}
    found = []
    for stretches in of_file.values():
        open_ones: list[Stretch] = []
        for stretch in sorted(stretches, key=lambda one: (one.begin_s, place[one.run])):
            open_ones = [other for other in open_ones if other.end_s > stretch.begin_s]
            for other in open_ones:
                if other.run != stretch.run and other.overlaps(stretch):
                    first, second = sorted((other, stretch), key=lambda one: place[one.run])
                    found.append((first, second))
            open_ones.append(stretch)
    return found


def content_groups(recording: Recording) -> dict[str, str]:
    """Put runs together that show some of the same, if only through others: they must be left out together.

    Parameters
    ----------
    recording : Recording
        The scans.

    Returns
    -------
    dict of str to str
        Group of each run, by the name of what the first run of the group shows.
    """
    place = {run.name: number for number, run in enumerate(recording.runs)}
    links = np.array([(place[one.run], place[other.run]) for one, other in shared_content(recording)]).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(place), len(place)))
    _, numbers = connected_components(graph, directed=False)
    names: dict[int, str] = {}
    for run, number in zip(recording.runs, numbers.tolist(), strict=True):
        names.setdefault(number, run.stimulus or run.name)
    return {run.name: names[number] for run, number in zip(recording.runs, numbers.tolist(), strict=True)}


def check_roles(recording: Recording) -> None:
    """Refuse a recording whose training and test runs show some of the same.

    Parameters
    ----------
    recording : Recording
        The scans.

    Raises
    ------
    DataError
        If they do, naming runs, file and stretch.
    """
    roles = {run.name: run.role for run in recording.runs}
    crossing = [pair for pair in shared_content(recording) if roles[pair[0].run] != roles[pair[1].run]]
    if crossing:
        one, other = crossing[0]
        more = f" (and {len(crossing) - 1} more)" if len(crossing) > 1 else ""
        raise DataError(
            f"{recording.label}: {roles[one.run]} run {one.run} and {roles[other.run]} run {other.run} both show "
            f"{_describe(one, other)}{more}. What is tested must not be trained on: give those runs one role, or "
            "leave the scans that share it out (scans, in the manifest's runs)."
        )


def _describe(one: Stretch, other: Stretch) -> str:
    """Name what two stretches of one file share, for messages."""
    begin_s, end_s = max(one.begin_s, other.begin_s), min(one.end_s, other.end_s)
    what = one.file + (f"::{one.data_set}" if one.data_set else "")
    return what if end_s == np.inf else f"{what} from {begin_s:g} to {end_s:g} s"


def _stretches(recording: Recording, run: Run) -> list[Stretch]:
    movie = recording.stimuli.get(run.stimulus or "")
    # A clip list that is missing is found out where its movie is wanted: features may come from elsewhere.
    if movie is None or (movie.is_list and not movie.excerpts[0].path.is_file()):
        return [Stretch(run.name, run.stimulus, "", 0.0, np.inf)] if run.stimulus else []
    try:
        return shown_stretches(run.name, movie, run.n_scans * recording.tr_s)
    except DataError as error:
        raise DataError(f"{recording.label}, run {run.name}: {error}") from error
