"""Excerpts are shown when the clip list says so, with a grey screen between them."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.movies.programme import movie_fingerprint
from brainpred.movies.video import frame_times, iterate_frames, probe_video, read_video, write_video
from brainpred.stimulus import Excerpt, Movie, read_clip_list
from tests.movies.files import numbered_frames

A, B = numbered_frames(20), numbered_frames(15)[::-1]


@pytest.fixture
def films(tmp_path):
    np.save(tmp_path / "a.npy", A)
    np.save(tmp_path / "b.npy", B)
    return tmp_path


def write_list(folder, *rows, columns="onset duration file offset"):
    path = folder / "events.tsv"
    path.write_text("\n".join("\t".join(row.split()) for row in (columns, *rows)) + "\n")
    return path


def reference(shown, n_frames, fps):
    """Say frame by frame what is on the screen, from (onset, duration, array, first frame), by a slow loop."""
    screen = []
    for number in range(n_frames):
        time_s = number / fps
        frame = np.full(A.shape[1:], 128, np.uint8)
        for onset_s, duration_s, array, first in shown:
            if onset_s - 1e-9 <= time_s < onset_s + duration_s - 1e-9:
                frame = array[first + round((time_s - onset_s) * fps)]
        screen.append(frame)
    return np.array(screen)


def test_clip_list_is_played_with_grey_where_nothing_is_shown(films):
    path = write_list(films, "1 2 a.npy@5 n/a", "3 1.4 b.npy@5 n/a", "4 1 n/a n/a", "6 2 a.npy@5 1")
    shown, times_s = read_video(path)
    np.testing.assert_allclose(times_s, np.arange(40) / 5)
    np.testing.assert_array_equal(shown, reference([(1, 2, A, 0), (3, 1.4, B, 0), (6, 2, A, 5)], 40, 5))
    assert probe_video(path).duration_s == pytest.approx(8)
    assert probe_video(path).fps == 5


def test_times_go_on_from_where_they_are_asked(films):
    path = write_list(films, "1 2 a.npy@5 n/a", "4 2 b.npy@5 n/a")
    every = list(iterate_frames(path))
    some = list(iterate_frames(path, from_s=2.0, skip=3))
    assert [time_s for time_s, _ in some] == [time_s for time_s, _ in every[13:]]
    np.testing.assert_array_equal(some[0][1], every[13][1])


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_lists_come_with_tabs_or_commas_and_the_columns_of_bids(films, suffix):
    text = "onset,duration,trial_type,stim_file\n3,2,film,b.npy@5\n0,n/a,film,a.npy@5[0:2]\n2.5,0,press,n/a\n"
    path = films / f"events{suffix}"
    path.write_text(text if suffix == ".csv" else text.replace(",", "\t"))
    movie = read_clip_list(path)
    assert [(one.path.name, one.onset_s, one.duration_s) for one in movie.excerpts] == [
        ("a.npy", 0, 2),
        ("b.npy", 3, 2),
    ]
    assert len(read_video(path)[0]) == 25
    elsewhere = read_clip_list(path, "stimuli")
    assert str(elsewhere.excerpts[0].path) == "stimuli/a.npy"


def test_movie_is_shifted_cut_and_filled_up(films):
    movie = Movie((Excerpt(films / "a.npy", fps=5), Excerpt(films / "b.npy", 4.0, fps=5)))
    early = Movie(movie.shifted(-1).excerpts, 8.0)  # a dummy scan of 1 s is left out, the scan goes on for a second
    expected = reference([(0, 3, A, 5), (3, 3, B, 0)], 40, 5)
    np.testing.assert_array_equal(read_video(early)[0], expected)
    np.testing.assert_allclose(frame_times(early), np.arange(40) / 5, atol=1e-9)
    assert probe_video(early).duration_s == 8
    cut = Movie(movie.excerpts, 5.0)
    np.testing.assert_array_equal(read_video(cut)[0], reference([(0, 4, A, 0), (4, 1, B, 0)], 25, 5))
    gone = movie.shifted(-4.6)
    np.testing.assert_array_equal(read_video(gone)[0], reference([(0, 3, B, 3)], 12, 5))


def test_stretch_of_a_video_file(tmp_path):
    frames = numbered_frames(30, 32, 48)
    write_video(tmp_path / "film.mp4", frames, 10, quality=0)
    whole, _ = read_video(tmp_path / "film.mp4")
    part, times_s = read_video(f"{tmp_path / 'film.mp4'}[0.5:2]")
    np.testing.assert_array_equal(part, whole[5:20])
    np.testing.assert_allclose(times_s, np.arange(15) / 10, atol=1e-4)
    assert probe_video(f"{tmp_path / 'film.mp4'}[0.5:2]").duration_s == pytest.approx(1.5)


@pytest.mark.parametrize("duration", ["0", "0.0", "n/a"])
def test_clips_without_a_length_are_shown_to_their_end(films, duration):
    np.testing.assert_array_equal(read_video(write_list(films, f"0 {duration} a.npy@5 n/a"))[0], A)
    np.testing.assert_array_equal(read_video(write_list(films, f"0 {duration} a.npy@5[1:3] n/a"))[0], A[5:15])


def test_short_gaps_are_bridged_by_the_last_frame(films):
    path = write_list(films, "0 3.2 b.npy@5 n/a", "3.25 1 a.npy@5 n/a")  # b lasts 3 s
    np.testing.assert_array_equal(read_video(path)[0], np.concatenate([B, A[:5]]))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            ["0 3 a.npy@5 n/a", "2 1 b.npy@5 n/a"],
            r"Clips overlap: .*a\.npy is shown from 0 to 3 s, .*b\.npy from 2 s on",
        ),
        (["0 n/a a.npy@5 n/a", "2 1 b.npy@5 n/a"], r"Clips overlap: .*a\.npy is shown from 0 to 4 s"),
        (["0 5 a.npy@5 n/a"], r"a\.npy is to be shown for 5\.00 s from 0 s on, but only 4\.00 s are there"),
        (["0 3 a.npy@5 2"], r"from 2 s on, but only 2\.00 s are there"),
        (["0 1 a.npy@5 4"], r"a\.npy lasts 4\.00 s, so nothing is left from 4 s on"),
        (["0 1 c.npy@5 n/a"], r"c\.npy does not exist"),
        (["0 1 n/a n/a"], "names no file in its column file"),
        (["x 1 a.npy@5 n/a"], r"events\.tsv, line 2: could not convert string to float: 'x'"),
        (["0 1 a.npy@5 n/a", "n/a 1 a.npy@5 n/a"], r"events\.tsv, line 3: An excerpt of .*a\.npy must"),
        (["0 -1 a.npy@5 n/a"], "must last longer than 0 s"),
        (["0 1 a.npy@5 -1"], r"line 2: .*from -1\.0 s on"),
    ],
)
def test_list_that_cannot_be_played_is_refused(films, rows, why):
    with pytest.raises(DataError, match=why):
        read_video(write_list(films, *rows))


def test_file_that_is_no_list_is_refused(films):
    with pytest.raises(
        DataError, match=r"must have the columns onset, duration and file \(or stim_file\), found onset, f"
    ):
        read_video(write_list(films, "0 a.npy", columns="onset film"))
    with pytest.raises(DataError, match="found no rows"):
        read_video(write_list(films))
    (films / "events.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_video(films / "events.tsv")
    with pytest.raises(DataError, match="is shown whole"):
        read_video(f"{write_list(films, '0 1 a.npy@5 0')}[0:1]")
    with pytest.raises(DataError, match="does not exist"):
        read_video(films / "absent.tsv")


def test_fingerprint_is_of_content_and_times(films):
    def of(movie):
        return movie_fingerprint(movie, {})

    write_video(films / "film.mp4", numbered_frames(5, 32, 48), 5)
    (films / "copy.mp4").write_bytes((films / "film.mp4").read_bytes())
    assert of(films / "film.mp4") == of(films / "copy.mp4")
    for same in (f"{films / 'film.mp4'}[0:1]", Movie((Excerpt(films / "film.mp4", duration_s=1.05),), 0.99)):
        assert of(same) == of(films / "film.mp4")
    for other in (f"{films / 'film.mp4'}[0:0.8]", Movie.parse(films / "film.mp4").shifted(0.2),
                  Movie((Excerpt(films / "film.mp4", duration_s=1.0),), 3.0)):  # fmt: skip
        assert of(other) != of(films / "film.mp4")
    every = [of(address) for address in (f"{films / 'a.npy'}@5", f"{films / 'a.npy'}@6", f"{films / 'a.npy'}@5[0:1]")]
    every += [of(Movie.parse(films / "a.npy", 5).shifted(1)), of(f"{films / 'b.npy'}@5"), of(films / "film.mp4")]
    assert len(set(every)) == len(every)
    known = {}
    movie_fingerprint(f"{films / 'a.npy'}@5[0:1]", known)
    assert list(known) == [films / "a.npy"]
    (films / "a.npy").unlink()  # is not read again
    assert movie_fingerprint(f"{films / 'a.npy'}@5[0:1]", known) == every[2]
