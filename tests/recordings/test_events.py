"""Tables of events say what is shown and when: by file or by name, one clip after the other, files by their folder."""

import numpy as np
import pandas as pd
import pytest

from brainpred.errors import DataError
from brainpred.movies.video import probe_video
from brainpred.recordings.events import read_events
from brainpred.recordings.placing import Placed, name_stimuli
from brainpred.stimulus import Movie

RUN_S = 90.0


@pytest.fixture
def folder(tmp_path):
    for name in ("stimuli/a", "stimuli/b", "stimuli/train/0001", "stimuli/test/0001", "other/A/film", "other/B/film"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / f"{name}.npy", np.zeros((300, 2, 3), np.uint8))
    return tmp_path


def read(folder, rows, columns="onset duration stim_file", *, movies=(), tr_s=2.0, shift_s=0.0, run_s=RUN_S, fps=10.0):
    path = folder / "sub-01_events.tsv"
    pd.DataFrame(rows, columns=columns.split()).to_csv(path, sep="\t", index=False, na_rep="n/a")
    found = {name: Movie.parse(folder / file, 10.0) for name, file in dict(movies).items()}
    return read_events(path, found, folder, tr_s, shift_s, run_s, "toy/s1, run one", fps)


AB = {"a": "stimuli/a.npy", "b": "stimuli/b.npy"}


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("column", ["trial_type", "stim_file"])
def test_clips_without_a_pause_follow_each_other(folder, seed, column):
    """Onsets and durations of any length, as a table rounds them to milliseconds."""
    rng = np.random.default_rng(seed)
    onsets = np.round(np.cumsum([rng.uniform(0, 5), *rng.uniform(2, 6, 13)]), 3)
    names = ["a.npy" if column == "stim_file" else "a" for _ in onsets[1:]]
    rows = list(zip(onsets[:-1], np.round(np.diff(onsets), 3), names, strict=True))
    placed = read(folder, rows, f"onset duration {column}", movies=AB, shift_s=rng.choice([0.0, 0.75]))
    found = np.array([excerpt.onset_s for excerpt in placed.movie.excerpts])
    np.testing.assert_allclose(np.diff(found), np.diff(onsets[:-1]), atol=2e-6)
    assert found[0] / 0.2 == pytest.approx(round(found[0] / 0.2), abs=1e-6), "the first begins at a tenth of a scan"
    assert probe_video(placed.movie).duration_s == RUN_S


def test_runs_whose_clips_begin_some_milliseconds_apart_are_repeats(folder):
    runs = {
        "run-1": read(folder, [(6.0, 20, "a.npy"), (30.0, 12, "b.npy")]),
        "run-2": read(folder, [(6.03, 20.01, "a.npy"), (30.01, 11.98, "b.npy")]),
        "run-3": read(folder, [(6.0, 20, "a.npy"), (30.3, 12, "b.npy")]),
        "run-4": read(folder, [(9.0, 20, "a.npy"), (33.0, 12, "b.npy")]),
    }
    names, stimuli = name_stimuli(runs, 2.0)
    assert names == {"run-1": "a+b", "run-2": "a+b", "run-3": "a+b@6s", "run-4": "a+b@9s"}
    assert stimuli["a+b"] == runs["run-1"].movie


@pytest.mark.parametrize("column", ["trial_type", "stim_file"])
@pytest.mark.parametrize("duration", [0, None])
def test_clips_without_a_length_are_shown_to_their_end(folder, column, duration):
    clip = {"trial_type": "a", "stim_file": "a.npy"}[column]
    (shown,) = read(folder, [(2, duration, clip)], f"onset duration {column}", movies=AB).movie.excerpts
    assert shown.duration_s == np.inf


@pytest.mark.parametrize("column", ["trial_type", "stim_file"])
def test_clips_that_last_less_than_nothing_are_refused(folder, column):
    clip = {"trial_type": "a", "stim_file": "a.npy"}[column]
    with pytest.raises(DataError, match=r"toy/s1, run one: .*-2"):
        read(folder, [(2, -2, clip)], f"onset duration {column}", movies=AB)


def test_files_of_one_name_in_two_folders_are_two_clips(folder):
    placed = {
        run: read(folder, [(0, 30, f"{run}/0001.npy"), (40, 10, "a.npy")], movies={"x": "stimuli/a.npy"})
        for run in ("train", "test")
    }
    assert [one.clips for one in placed.values()] == [("train/0001", "x"), ("test/0001", "x")]
    assert name_stimuli(placed, 2.0)[0] == {"train": "train/0001+x", "test": "test/0001+x"}


def test_a_file_is_found_by_as_much_of_its_path_as_the_table_tells(folder):
    movies = {"x": "other/A/film.npy", "y": "other/B/film.npy"}
    placed = read(folder, [(0, 30, "B/film.npy"), (40, 10, "stimuli/A/film.npy")], movies=movies)
    assert placed.clips == ("y", "x")
    assert [excerpt.path.parent.name for excerpt in placed.movie.excerpts] == ["B", "A"]
    with pytest.raises(
        DataError, match=r"film\.npy, which does not exist, and may mean .*A/film\.npy or .*B/film\.npy"
    ):
        read(folder, [(0, 30, "film.npy")], movies=movies)
    assert read(folder, [(0, 30, "film.npy")], movies={"x": movies["x"]}).clips == ("x",)
    with pytest.raises(DataError, match=r"shows .*none\.npy, which does not exist"):
        read(folder, [(0, 30, "none.npy")], movies=movies)


def test_files_come_before_trial_types(folder):
    columns = "onset duration trial_type stim_file"
    placed = read(folder, [(0, 20, "b", "a.npy"), (30, 9, "oddball", None)], columns, movies=AB)
    assert placed.clips == ("a",)
    placed = read(folder, [(0, 20, "b", None), (30, 9, "oddball", None)], columns, movies=AB)
    assert placed.clips == ("b",)
    with pytest.raises(
        DataError, match=r"names some clips by stim_file and others by trial_type alone \(b\)\. Name all"
    ):
        read(folder, [(0, 20, "b", None), (30, 9, None, "a.npy")], columns, movies=AB)


def test_files_play_at_the_rate_of_the_manifest_unless_they_state_their_own(folder):
    rows = [(0, 9, "a.npy"), (10, 9, "b.npy@5")]
    assert [excerpt.fps for excerpt in read(folder, rows).movie.excerpts] == [10.0, 5.0]
    assert [excerpt.fps for excerpt in read(folder, rows, fps=None).movie.excerpts] == [None, 5.0]


def test_clips_are_named_in_the_order_in_which_they_are_shown(folder):
    placed = read(folder, [(40, 9, "a"), (3, 20, "b")], "onset duration trial_type", movies=AB)
    assert isinstance(placed, Placed)
    assert placed.clips == ("b", "a")
    assert [excerpt.onset_s for excerpt in placed.movie.excerpts] == [3, 40]


def test_files_outside_the_data_set_are_those_that_the_manifest_names(folder):
    inside = folder / "lab"
    (inside / "stimuli").mkdir(parents=True)
    with pytest.raises(DataError, match=r"toy/s1, run one: .*a\.npy is a link to .*outside the data set's folder"):
        read(inside, [(0, 30, "../../stimuli/a.npy")])
    assert read(inside, [(0, 30, "a.npy")], movies={"a": folder / "stimuli" / "a.npy"}).clips == ("a",)
