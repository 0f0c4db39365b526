"""Runs are told apart by the seconds of the files that they show, and not by what clips are called."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.recordings.content import check_roles, content_groups, shared_content, shown_stretches
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import NoSpace
from brainpred.stimulus import Excerpt, Movie

TR_S, N_VOXELS = 2.0, 5


def record(shown, roles=(), lengths=()):
    """Make a recording of 30 scans a run; what runs show is a movie, the name of a clip, or nothing."""
    roles, lengths = dict(roles), dict(lengths)
    runs, stimuli = [], {}
    for run, what in shown.items():
        bold = np.ones((lengths.get(run, 30), N_VOXELS), np.float32)
        stimulus = f"of {run}" if isinstance(what, Movie) else what
        runs.append(Run(run, roles.get(run, "train"), bold, stimulus))
        if isinstance(what, Movie):
            stimuli[stimulus] = what
    return Recording("toy", "s1", TR_S, runs, NoSpace(N_VOXELS), np.full(N_VOXELS, "roi"), stimuli)


def partition(groups):
    members = {}
    for run, group in groups.items():
        members.setdefault(group, set()).add(run)
    return {frozenset(together) for together in members.values()}


def seconds_on_the_screen(movie, run_s):
    """List the seconds of files that a run shows, one by one: the slow way."""
    shown = set()
    for second in range(int(run_s)):
        for excerpt in movie.excerpts:
            if excerpt.onset_s <= second < excerpt.onset_s + excerpt.duration_s:
                shown.add((excerpt.path.name, excerpt.data_set, second - excerpt.onset_s + excerpt.from_s))
    return shown


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_those_of_seconds_compared_one_by_one(seed):
    rng = np.random.default_rng(seed)
    shown = {}
    for number in range(9):
        excerpts, now_s = [], int(rng.integers(-5, 5))
        for _ in range(rng.integers(1, 4)):
            path, data_set = f"film{rng.integers(3)}.h5", "xy"[rng.integers(2)]
            lasts_s, from_s = int(rng.integers(3, 25)), int(rng.integers(0, 300))
            excerpts.append(Excerpt(Path(path), now_s, lasts_s, from_s, data_set, 1.0))
            now_s += lasts_s + int(rng.integers(0, 5))
        shown[f"run-{number}"] = Movie(tuple(excerpts))
    seconds = {run: seconds_on_the_screen(movie, 30 * TR_S) for run, movie in shown.items()}
    slow = {run: {run} for run in shown}
    for _ in shown:  # spread from run to run until nothing is new
        for run in shown:
            for other in shown:
                if seconds[run] & seconds[other]:
                    slow[run] |= slow[other]
    recording = record(shown)
    assert partition(content_groups(recording)) == {frozenset(together) for together in slow.values()}
    pairs = {frozenset((one.run, other.run)) for one, other in shared_content(recording)}
    assert pairs == {
        frozenset((run, other)) for run in shown for other in shown if run < other and seconds[run] & seconds[other]
    }


def test_neither_order_nor_onset_nor_name_matter():
    one, two, three = (Excerpt(Path(f"{clip}.mp4"), duration_s=20) for clip in "abc")
    shown = {
        "run-1": Movie((one, replace(two, onset_s=24))),
        "run-2": Movie((replace(one, onset_s=6), replace(two, onset_s=30))),
        "run-3": Movie((two, replace(one, onset_s=22))),
        "run-4": Movie((three,)),
    }
    assert partition(content_groups(record(shown))) == {frozenset({"run-1", "run-2", "run-3"}), frozenset({"run-4"})}


def test_runs_are_together_through_others():
    shown = {f"run-{n}": Movie.parse(f"film.mp4[{first}:{first + 60}]") for n, first in enumerate([0, 50, 100, 160])}
    groups = content_groups(record(shown))
    assert groups == {"run-0": "of run-0", "run-1": "of run-0", "run-2": "of run-0", "run-3": "of run-3"}


@pytest.mark.parametrize(("gap_s", "n_groups"), [(-1.0, 1), (-0.06, 1), (-0.04, 2), (0.0, 2), (3.0, 2)])
def test_a_film_that_goes_on_in_the_next_run_shares_nothing(gap_s, n_groups):
    shown = {"one": Movie.parse("film.mp4[0:60]"), "two": Movie.parse(f"film.mp4[{60 + gap_s}:120]")}
    assert len(partition(content_groups(record(shown)))) == n_groups


def test_the_briefest_picture_is_shared():
    shown = {name: Movie((Excerpt(Path("flash"), onset_s, 0.02, fps=50.0),)) for name, onset_s in (("a", 0), ("b", 9))}
    assert len(shared_content(record(shown))) == 1


def test_what_lies_outside_the_run_is_not_shown():
    film = Movie.parse("film.mp4")
    shown = {"one": film.shifted(-60.0), "two": film}
    assert content_groups(record(shown)) == {"one": "of one", "two": "of two"}
    assert len(shared_content(record(shown, lengths={"two": 31}))) == 1
    (stretch,) = shown_stretches("one", replace(film.shifted(4), duration_s=20), 60)
    assert (stretch.begin_s, stretch.end_s) == (0, 16)


def test_a_clip_to_its_end_ends_where_the_next_begins():
    shown = Movie((Excerpt(Path("a.mp4")), Excerpt(Path("b.mp4"), onset_s=7.0, from_s=3.0)))
    assert [(one.begin_s, one.end_s) for one in shown_stretches("run", shown, 20)] == [(0, 7), (3, 16)]


def test_links_and_lists_lead_to_the_same_file(tmp_path):
    (tmp_path / "film.npy").write_bytes(b"")
    (tmp_path / "link.npy").symlink_to(tmp_path / "film.npy")
    (tmp_path / "list.tsv").write_text("onset\tduration\tfile\n5\t10\tfilm.npy\n")
    shown = {"link": Movie.parse(tmp_path / "link.npy"), "list": Movie.parse(tmp_path / "list.tsv").shifted(3)}
    one, other = shared_content(record(shown))[0]
    assert one.file == other.file == str(tmp_path / "film.npy")
    (tmp_path / "list.tsv").write_text("onset\n5\n")
    with pytest.raises(DataError, match=r"toy/s1, run list: Clip list .*list\.tsv must have the columns"):
        shared_content(record(shown))


def test_runs_without_a_movie_are_told_by_the_name_of_their_clip():
    groups = content_groups(record({"one": "a", "two": None, "three": "a", "four": "b"}))
    assert groups == {"one": "a", "two": "two", "three": "a", "four": "b"}


def test_training_and_test_must_not_share_a_stretch():
    shown = {
        "p1": Movie.parse("film.mp4[0:55]"),
        "p2": Movie.parse("film.mp4[60:125]"),
        "t": Movie.parse("film.mp4[50:60]"),
    }
    with pytest.raises(
        DataError, match=r"toy/s1: train run p1 and test run t both show .*film\.mp4 from 50 to 55 s\. Wh"
    ):
        check_roles(record(shown, {"t": "test"}))
    check_roles(record(shown))
    check_roles(record({**shown, "t": Movie.parse("film.mp4[55:60]")}, {"t": "test"}))


def test_one_file_under_two_names_is_one_file():
    shown = {name: Movie.parse("stimuli/../stimuli/a.npy" if name == "t" else f"stimuli/{name}.npy") for name in "abt"}
    with pytest.raises(DataError, match=r"train run a and test run t both show .*a\.npy from 0 to 60 s"):
        check_roles(record(shown, {"t": "test"}))
