"""Make runs of the parts of a file that holds a whole data set: training runs, and repeats of a test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainpred.recordings.fetch import dataset_movies
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.placing import listed_runs, place_runs
from brainpred.recordings.recording import LazyScans, Run
from brainpred.stimulus import Movie

__all__ = ["Part", "runs_of_parts"]


@dataclass(frozen=True, eq=False)
class Part:
    """Say where a run lies in a file.

    Attributes
    ----------
    run : str
        Name of the run.
    part : str
        Name that the manifest knows it by; repeats of a test are one part.
    role : {"train", "test"}
        What it serves for, unless the manifest says otherwise.
    scans : LazyScans
        The scans.
    """

    run: str
    part: str
    role: str
    scans: LazyScans


def runs_of_parts(
    manifest: Manifest, data: Path | str | None, parts: Sequence[Part], file: str, label: str
) -> tuple[list[Run], dict[str, Movie]]:
    """Take the parts that the manifest lists, or all, and place what they show.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    data : Path or str or None
        Folder that holds the data sets.
    parts : sequence of Part
        What the file holds.
    file : str
        Its name, for messages.
    label : str
        Data set and subject.

    Returns
    -------
    runs : list of Run
        The runs, in the order of the manifest.
    stimuli : dict of str to Movie
        Movies by the names of the runs' stimuli.

    Raises
    ------
    DataError
        If the manifest lists a part that the file does not hold.
    """
    listed = listed_runs(manifest, {one.part: one.role for one in parts}, label)
    kept = [one for name in listed for one in parts if one.part == name]
    entries = {one.run: listed[one.part] for one in kept}
    shown = {run: (entry.stimulus, entry.onset_s) for run, entry in entries.items()}
    roles: dict[str, str] = {run: entry.role for run, entry in entries.items()}
    stimulus_of_run, stimuli = place_runs(dataset_movies(manifest, data), shown, manifest.tr_s)
    runs = [Run(one.run, roles[one.run], one.scans, stimulus_of_run.get(one.run), file=file) for one in kept]
    return runs, stimuli
