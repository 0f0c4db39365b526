"""Synthesised movies: the same for the same seed, with the motion and the cuts of natural ones."""

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError
from brainpred.movies.cuts import detect_cuts
from brainpred.movies.synthesis import FPS, SCENE_S, photographs, synthesise_movie

SIZE = (30, 38)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep arrays this small on one thread, where they are fastest."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def movie():
    return synthesise_movie(18.0, np.random.default_rng(5), size=SIZE)


def jumps(frames):
    """Give the mean squared difference of each frame from the one before, pixels in [0, 1]."""
    return np.mean(np.diff(frames / 255, axis=0) ** 2, axis=(1, 2, 3))


def test_equal_seeds_give_equal_movies():
    first, second = (synthesise_movie(3.0, np.random.default_rng(7), size=(22, 26)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_different_seeds_give_different_movies():
    first, second = (synthesise_movie(1.0, np.random.default_rng(seed), size=(22, 26)) for seed in (7, 8))
    assert np.mean(((first - second.astype(float)) / 255) ** 2) > 0.01


def test_generator_goes_on_from_movie_to_movie():
    rng = np.random.default_rng(7)
    first, second = (synthesise_movie(1.0, rng, size=(22, 26)) for _ in range(2))
    assert np.mean(((first - second.astype(float)) / 255) ** 2) > 0.01


@pytest.mark.parametrize(("duration_s", "fps", "n_frames"), [(1.0, 15.0, 15), (1.35, 11.0, 15), (0.05, 15.0, 1)])
def test_movie_has_the_shape_asked_for(duration_s, fps, n_frames):
    frames = synthesise_movie(duration_s, np.random.default_rng(0), fps=fps, size=(22, 26))
    assert frames.shape == (n_frames, 22, 26, 3)
    assert frames.dtype == np.uint8


def test_movie_without_a_frame_is_refused():
    with pytest.raises(ConfigError, match=r"at least one frame, received 0\.03 s at 15\.0"):
        synthesise_movie(0.03, np.random.default_rng(0), size=(22, 26))


def test_motion_is_that_of_a_natural_movie(movie):
    within = np.delete(jumps(movie), detect_cuts(movie) - 1)
    assert 1e-4 < within.mean() < 1e-2
    assert np.mean(within > 1e-6) > 0.8


def test_pixels_spread_over_the_range_and_resemble_their_neighbours(movie):
    scaled = movie / 255
    assert scaled.std() > 0.1
    assert scaled.max() > 0.7
    assert scaled.min() < 0.1
    neighbours = np.corrcoef(scaled[:, :, :-1].ravel(), scaled[:, :, 1:].ravel())[0, 1]
    assert 0.7 < neighbours < 0.999


def test_scenes_follow_each_other_by_cuts(movie):
    cuts = detect_cuts(movie)
    lengths_s = np.diff([0, *cuts]) / FPS
    assert len(cuts) >= 2
    assert np.all(lengths_s >= SCENE_S[0] - 1 / FPS)
    assert np.all(lengths_s <= SCENE_S[1] + 1 / FPS)
    assert np.min(jumps(movie)[cuts - 1]) > 5 * np.mean(np.delete(jumps(movie), cuts - 1))


def test_photographs_are_colour_pictures_in_range():
    pictures = photographs()
    assert len(pictures) >= 8
    for picture in pictures:
        assert picture.dtype == torch.float32
        assert picture.shape[0] == 3
        assert min(picture.shape[1:]) >= 200
        assert picture.min() >= 0
        assert 0.5 < picture.max() <= 1
