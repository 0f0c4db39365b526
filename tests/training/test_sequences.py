"""Training sequences: the same for the same seed, never across a cut; held-out ones whole and apart."""

import numpy as np
import pytest
import torch

from brainpred.errors import DataError
from brainpred.training.sequences import MAX_STRIDE, TrainingSequences, WholeSequences

SIZE = (12, 20)
GREYS = (20, 90, 210, 150)


def coloured_movie(n_frames=37, height=17, width=29, seed=0):
    """Draw colours that differ from pixel to pixel and drift slowly."""
    start = np.random.default_rng(seed).uniform(40, 200, (height, width, 3))
    return (start + np.arange(n_frames)[:, None, None, None]).astype(np.uint8)


def scenes_of_grey(lengths, greys=GREYS, height=17, width=29):
    """Show one even grey a scene."""
    levels = np.repeat(np.asarray(greys, dtype=np.uint8), lengths)
    return np.broadcast_to(levels[:, None, None, None], (len(levels), height, width, 3)).copy()


def brightening_movie(n_frames=50, step=2, first=60):
    """Show even greys, each frame a little brighter than the one before."""
    return scenes_of_grey([1] * n_frames, first + step * np.arange(n_frames))


def assert_items_equal(first, second, indices):
    for index in indices:
        assert torch.equal(first[index], second[index]), index


def test_items_do_not_depend_on_the_order_of_asking():
    movies = [coloured_movie(seed=0), coloured_movie(23, 19, 31, seed=1)]
    first, second = (TrainingSequences(movies, SIZE, 5, 13, seed=3, epoch=2) for _ in range(2))
    backwards = {index: second[index] for index in reversed(range(13))}
    assert_items_equal(first, backwards, range(13))
    assert_items_equal(first, second, [4, 4, 11])


def test_items_differ_between_indices_epochs_and_seeds():
    movies = [coloured_movie()]
    base = TrainingSequences(movies, SIZE, 5, 13, seed=3, epoch=2)
    others = [TrainingSequences(movies, SIZE, 5, 13, seed=s, epoch=e)[4] for s, e in ((3, 1), (2, 2), (2, 3))]
    items = [base[4], base[5], *others]
    for position, item in enumerate(items):
        assert not any(torch.equal(item, other) for other in items[:position])


def test_items_have_the_shape_and_range_of_frames():
    sequences = TrainingSequences([coloured_movie(), coloured_movie(23, 31, 25, seed=1)], SIZE, 7, 29, seed=4)
    assert len(sequences) == 29
    for index in range(29):
        item = sequences[index]
        assert item.shape == (7, 3, *SIZE)
        assert item.dtype == torch.float32
        assert item.min() >= 0
        assert item.max() <= 1
        assert item.std() > 0.02


def test_range_holds_for_black_and_white():
    movie = scenes_of_grey([1] * 24, np.tile([0, 255], 12))
    sequences = TrainingSequences([movie], SIZE, 5, 31)
    low, high = torch.stack([sequences[i] for i in range(31)]).flatten(1).aminmax(dim=1)
    assert low.min() == 0
    assert high.max() == 1


def test_movie_as_large_as_the_frame_can_be_used():
    item = TrainingSequences([coloured_movie(17, *SIZE)], SIZE, 5, 3)[2]
    assert item.shape == (5, 3, *SIZE)


def test_movies_are_left_as_they_were():
    movie = coloured_movie()
    before = movie.copy()
    sequences = TrainingSequences([movie], SIZE, 5, 9)
    for index in range(9):
        sequences[index].zero_()
    np.testing.assert_array_equal(movie, before)


def test_no_item_spans_a_cut():
    # 4 frames at a stride of 3 span 10 frames: some scenes hold that, some only smaller strides.
    sequences = TrainingSequences([scenes_of_grey((13, 8, 11, 5))], SIZE, 4, 300, seed=5)
    for index in range(len(sequences)):
        item = sequences[index]
        assert torch.all((item - item[:1]).abs() < 1e-5), f"sequence {index} holds two scenes"


def test_every_scene_is_drawn():
    movie = np.concatenate([scenes_of_grey((13,), (20,)), brightening_movie(13, first=150)])
    sequences = TrainingSequences([movie], SIZE, 4, 100, seed=6)
    still = [bool((item - item[:1]).abs().max() < 1e-5) for item in map(sequences.__getitem__, range(100))]
    assert 0.3 < np.mean(still) < 0.7


def test_speed_varies_up_to_three_times_and_runs_both_ways():
    sequences = TrainingSequences([brightening_movie(step=2)], SIZE, 4, 200, seed=7)
    assert MAX_STRIDE == 3
    steps = []
    for index in range(len(sequences)):
        levels = 255 * sequences[index].mean(dim=(1, 2, 3)).double()
        assert torch.all((levels.diff() - levels.diff().mean()).abs() < 0.01), "frames are not evenly spaced"
        steps.append(levels.diff().mean().item())
    sizes = np.abs(steps)
    # A stride s gives 2 s grey levels a frame, times a brightness of 0.7 to 1.2.
    assert np.all((sizes > 2 * 1 * 0.7 - 0.01) & (sizes < 2 * 3 * 1.2 + 0.01))
    assert np.mean(sizes < 2 * 1 * 1.2) > 0.15
    assert np.mean(sizes > 2 * 2 * 1.2) > 0.1
    assert 0.08 < np.mean(np.asarray(steps) < 0) < 0.4


def test_short_movie_is_played_at_its_own_speed():
    sequences = TrainingSequences([brightening_movie(5, step=2)], SIZE, 5, 40, seed=8)
    for index in range(40):
        step = 255 * sequences[index].mean(dim=(1, 2, 3)).diff().abs().mean()
        assert 1.4 - 0.01 < step < 2.4 + 0.01


def test_too_short_movies_are_passed_over():
    short, long = brightening_movie(4), coloured_movie(9)
    alone, both = (TrainingSequences(movies, SIZE, 5, 11, seed=9) for movies in ([long], [short, long]))
    assert_items_equal(alone, both, range(11))


def test_movies_without_a_sequence_are_refused():
    for movies in ([], [brightening_movie(4)], [scenes_of_grey((4, 3, 4, 2))]):
        with pytest.raises(DataError, match="No movie holds 5 frames in a row"):
            TrainingSequences(movies, SIZE, 5)


@pytest.mark.parametrize("index", [-1, 13])
def test_index_outside_the_epoch_is_refused(index):
    with pytest.raises(IndexError):
        TrainingSequences([coloured_movie()], SIZE, 5, 13)[index]


def shown_frames(movie, sequences):
    """Tell which frames of a movie of distinct frames each sequence shows."""
    number_of = {frame.tobytes(): number for number, frame in enumerate(movie)}
    shown = []
    for index in range(len(sequences)):
        item = sequences[index]
        assert item.dtype == torch.float32
        frames = (item * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        shown.append([number_of[frame.tobytes()] for frame in frames])
    return shown


def test_whole_sequences_follow_each_other_inside_scenes():
    lengths = (13, 4, 8, 11)
    movie = scenes_of_grey(lengths)
    movie[:, 0, 0, 0] = np.arange(len(movie))
    begins = np.cumsum((0, *lengths[:-1]))
    expected = [
        list(range(begin + 4 * k, begin + 4 * k + 4))
        for begin, length in zip(begins, lengths, strict=True)
        for k in range(length // 4)
    ]
    sequences = WholeSequences([movie], n_frames=4)
    assert sequences[0].shape == (4, 3, 17, 29)
    assert shown_frames(movie, sequences) == expected


def test_whole_sequences_take_every_movie_in_turn():
    first, second = coloured_movie(11, seed=0), coloured_movie(7, seed=1)
    both = np.concatenate([first, second])
    assert shown_frames(both, WholeSequences([first, second], n_frames=3)) == [
        [0, 1, 2], [3, 4, 5], [6, 7, 8], [11, 12, 13], [14, 15, 16]
    ]  # fmt: skip


def test_held_out_movies_without_a_sequence_are_refused():
    with pytest.raises(DataError, match="No held-out movie holds 10 frames"):
        WholeSequences([brightening_movie(9)], n_frames=10)
