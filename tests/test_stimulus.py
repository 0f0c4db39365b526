"""Addresses of movies and the clock of a run."""

import math

import pytest

from brainpred.errors import ConfigError
from brainpred.stimulus import Excerpt, Movie


@pytest.mark.parametrize(
    ("address", "path", "data_set", "fps", "from_s", "duration_s"),
    [
        ("a/film.mp4", "a/film.mp4", "", None, 0, math.inf),
        ("film.mp4[30:90.5]", "film.mp4", "", None, 30, 60.5),
        ("film.mp4[2:]", "film.mp4", "", None, 2, math.inf),
        ("film.mp4[:2.5]", "film.mp4", "", None, 0, 2.5),
        ("pictures@23.976", "pictures", "", 23.976, 0, math.inf),
        ("Stimuli.mat::st@15[0:600]", "Stimuli.mat", "st", 15, 0, 600),
        ("train_00.hdf::/group/stimuli", "train_00.hdf", "/group/stimuli", None, 0, math.inf),
        ("odd@name.mp4", "odd@name.mp4", "", None, 0, math.inf),
    ],
)
def test_address_is_read(address, path, data_set, fps, from_s, duration_s):
    (excerpt,) = Movie.parse(address).excerpts
    assert (str(excerpt.path), excerpt.data_set, excerpt.fps) == (path, data_set, fps)
    assert (excerpt.onset_s, excerpt.from_s, excerpt.duration_s) == (0, from_s, duration_s)


def test_rate_of_the_address_goes_before_the_one_given():
    assert Movie.parse("pictures@25", 15).excerpts[0].fps == 25
    assert Movie.parse("pictures", 15).excerpts[0].fps == 15


def test_file_that_is_named_like_an_address_is_taken_as_it_is(tmp_path):
    (tmp_path / "film@2[1:3]").touch()
    assert Movie.parse(tmp_path / "film@2[1:3]").excerpts[0].path == tmp_path / "film@2[1:3]"


@pytest.mark.parametrize("address", ["film.mp4[9:9]", "film.mp4[9:2]", "pictures@0"])
def test_nothing_to_show_is_refused(address):
    with pytest.raises(ConfigError, match=r"film\.mp4 must last|more than 0 frames per second"):
        Movie.parse(address)


def test_movie_is_moved_with_all_its_excerpts():
    movie = Movie((Excerpt("a.mp4", 1.0), Excerpt("b.mp4", 7.0)), 20.0).shifted(-3.5)
    assert [excerpt.onset_s for excerpt in movie.excerpts] == [-2.5, 3.5]
    assert movie.duration_s == 16.5
    assert Movie.parse("a.mp4").shifted(2).duration_s is None
    with pytest.raises(ConfigError, match="one excerpt or more"):
        Movie(())
