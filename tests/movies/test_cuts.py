"""Cuts are found where they were planted, and sequences keep off them."""

import numpy as np
import pytest

from brainpred.movies.cuts import detect_cuts, sequence_starts


def drifting_texture(n_frames, seed, height=22, width=34, speed=0.7):
    """Film a smooth random texture that slides to the left, with a little noise of the camera."""
    rng = np.random.default_rng(seed)
    t, y, x = np.ogrid[:n_frames, :height, :width]
    waves = sum(
        np.sin(2 * np.pi * ((x + speed * t) * fx / width + y * fy / height) + phase)
        for fx, fy, phase in zip(rng.integers(1, 4, 5), rng.integers(0, 3, 5), rng.uniform(0, 7, 5), strict=True)
    )
    grey = rng.uniform(90, 160) + 35 * waves / np.std(waves)
    colour = grey[..., None] * rng.uniform(0.6, 1.1, 3) + rng.normal(0, 2, (*grey.shape, 3))
    return colour.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("lengths", [(19, 31, 17), (7, 23, 5, 29)])
def test_planted_cuts_are_found(lengths):
    movie = np.concatenate([drifting_texture(length, seed) for seed, length in enumerate(lengths)])
    assert detect_cuts(movie).tolist() == np.cumsum(lengths)[:-1].tolist()


@pytest.mark.parametrize("speed", [0.0, 0.7, 3.0])
def test_smooth_motion_holds_no_cut(speed):
    movie = drifting_texture(47, seed=3, speed=speed)
    assert detect_cuts(movie).tolist() == []


def test_violent_motion_holds_no_cut():
    movie = np.random.default_rng(4).integers(0, 256, (29, 22, 34, 3), dtype=np.uint8)
    assert detect_cuts(movie).tolist() == []


def test_slow_fade_holds_no_cut():
    level = np.linspace(0, 255, 41).round().astype(np.uint8)
    assert detect_cuts(np.broadcast_to(level[:, None, None, None], (41, 10, 14, 3))).tolist() == []


def test_faint_change_of_light_holds_no_cut():
    movie = np.full((21, 10, 14, 3), 100, dtype=np.uint8)
    movie[11:] = 130
    assert detect_cuts(movie).tolist() == []
    movie[11:] = 140
    assert detect_cuts(movie).tolist() == [11]


@pytest.mark.parametrize("n_frames", [0, 1])
def test_movie_too_short_to_cut_holds_no_cut(n_frames):
    assert detect_cuts(np.zeros((n_frames, 10, 14, 3), dtype=np.uint8)).tolist() == []


def test_movie_is_left_as_it_was():
    movie = np.concatenate([drifting_texture(11, 0), drifting_texture(13, 1)])
    before = movie.copy()
    sequence_starts(len(movie), detect_cuts(movie), 5)
    np.testing.assert_array_equal(movie, before)


@pytest.mark.parametrize("length", [1, 2, 5, 12, 13, 14, 40, 99])
def test_sequence_starts_follow_a_loop(length):
    scenes = (5, 13, 11, 12)
    movie = np.concatenate([drifting_texture(n_frames, seed) for seed, n_frames in enumerate(scenes)])
    scene_of = [scene for scene, n_frames in enumerate(scenes) for _ in range(n_frames)]
    expected = [
        start
        for start in range(len(movie))
        if start + length <= len(movie) and len(set(scene_of[start : start + length])) == 1
    ]
    assert sequence_starts(len(movie), detect_cuts(movie), length).tolist() == expected
