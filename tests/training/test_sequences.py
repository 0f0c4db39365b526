"""Training sequences: the same for the same seed, never across a cut, filmed steadily; held-out ones whole."""

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


@pytest.fixture
def camera(monkeypatch):
    """Set which part of the sequences a moving camera films, and in which part of those nothing else moves."""

    def choose(moving, frozen=0.0):
        monkeypatch.setattr("brainpred.training.sequences.MOVING_CAMERA", moving)
        monkeypatch.setattr("brainpred.training.sequences.FROZEN", frozen)

    return choose


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


@pytest.mark.parametrize("moving", [0.0, 1.0])
def test_items_have_the_shape_and_range_of_frames(camera, moving):
    camera(moving, frozen=0.3)
    sequences = TrainingSequences([coloured_movie(), coloured_movie(23, 31, 25, seed=1)], SIZE, 7, 29, seed=4)
    assert len(sequences) == 29
    for index in range(29):
        item = sequences[index]
        assert item.shape == (7, 3, *SIZE)
        assert item.dtype == torch.float32
        assert item.min() >= 0
        assert item.max() <= 1
        assert item.std() > 0.02


@pytest.mark.parametrize("moving", [0.0, 1.0])
def test_range_holds_for_black_and_white(camera, moving):
    camera(moving)
    movie = scenes_of_grey([1] * 24, np.tile([0, 255], 12))
    sequences = TrainingSequences([movie], SIZE, 5, 31)
    low, high = torch.stack([sequences[i] for i in range(31)]).flatten(1).aminmax(dim=1)
    assert low.min() == 0
    assert high.max() == 1


@pytest.mark.parametrize("moving", [0.0, 1.0])
@pytest.mark.parametrize(("height", "width"), [SIZE, (SIZE[0], 31), (23, SIZE[1])])
def test_movie_as_large_as_the_frame_can_be_used(camera, moving, height, width):
    camera(moving, frozen=0.5)
    sequences = TrainingSequences([coloured_movie(17, height, width)], SIZE, 5, 13)
    for index in range(13):
        item = sequences[index]
        assert item.shape == (5, 3, *SIZE)
        assert item.min() >= 0
        assert item.max() <= 1
        assert item.std() > 0.02


def test_camera_that_does_not_move_shows_a_movie_as_large_as_the_frame_unchanged(camera, monkeypatch):
    camera(0.0)
    monkeypatch.setattr(TrainingSequences, "_repaint", staticmethod(lambda sequence, rng: sequence))
    movie = coloured_movie(17, *SIZE)
    for item in shown_frames(movie, TrainingSequences([movie], SIZE, 4, 13)):
        stride = item[1] - item[0]
        assert abs(stride) in (1, 2, 3)
        assert item == list(range(item[0], item[0] + 4 * stride, stride))


def test_items_of_a_moving_camera_do_not_depend_on_the_order_of_asking(camera):
    camera(1.0, frozen=0.5)
    first, second = (TrainingSequences([coloured_movie()], SIZE, 5, 13, seed=3, epoch=2) for _ in range(2))
    backwards = {index: second[index] for index in reversed(range(13))}
    assert_items_equal(first, backwards, range(13))
    assert len({first[index].numpy().tobytes() for index in range(13)}) == 13


def test_camera_moves_in_half_of_the_sequences():
    movie = np.repeat(coloured_movie(1), 40, axis=0)
    sequences = TrainingSequences([movie], SIZE, 5, 300, seed=1)
    moves = [bool((item - item[:1]).abs().max() > 1e-5) for item in map(sequences.__getitem__, range(300))]
    assert 0.42 < np.mean(moves) < 0.58


@pytest.mark.parametrize(("moving", "low", "high"), [(1.0, 0.22, 0.38), (0.5, 0.1, 0.2), (0.0, 0.0, 0.0)])
def test_everything_but_the_camera_stands_still_in_a_part_of_its_sequences(camera, moving, low, high):
    camera(moving, frozen=0.3)
    movie = brightening_movie()
    sequences = TrainingSequences([movie], SIZE, 5, 300, seed=2)
    still = [bool((item - item[:1]).abs().max() < 1e-5) for item in map(sequences.__getitem__, range(300))]
    assert low <= np.mean(still) <= high


def test_what_stands_still_is_the_first_frame_of_the_sequence(camera, monkeypatch):
    camera(1.0, frozen=1.0)
    monkeypatch.setattr(TrainingSequences, "_repaint", staticmethod(lambda sequence, rng: sequence))
    sequences = TrainingSequences([brightening_movie(50, step=2, first=60)], SIZE, 5, 60, seed=3)
    shown = set()
    for index in range(60):
        low, high = (255 * sequences[index]).aminmax()
        assert high - low < 1e-2
        shown.add(round((low.item() - 60) / 2, 2))
    assert shown <= set(range(50)), "a level that no frame of the movie has"
    assert len(shown) > 20


def seen_places(item, height, width):
    """Tell which place of the movie every pixel shows, where red tells the column and green the row."""
    column = (255 * item[:, 0].double().numpy() - 20) / 200 * (width - 1)
    row = (255 * item[:, 1].double().numpy() - 20) / 200 * (height - 1)
    return row, column  # (n_frames, *SIZE) each, in pixels of the movie


def map_of_places(height, width):
    """Draw a picture whose red rises with the column and whose green rises with the row."""
    picture = np.full((height, width, 3), 128.0)
    picture[..., 0] = 20 + 200 * np.arange(width) / (width - 1)
    picture[..., 1] = (20 + 200 * np.arange(height) / (height - 1))[:, None]
    return picture.round().astype(np.uint8)


def test_camera_pans_zooms_and_turns_steadily(camera, monkeypatch):
    camera(1.0, frozen=1.0)
    monkeypatch.setattr(TrainingSequences, "_repaint", staticmethod(lambda sequence, rng: sequence))
    size, height, width, n_frames = (24, 40), 96, 160, 7
    movie = np.repeat(map_of_places(height, width)[None], 30, axis=0)
    sequences = TrainingSequences([movie], size, n_frames, 300, seed=4)
    # Middles of the frame's pixels, in pixels from its centre.
    v, u = (np.arange(side) - (side - 1) / 2 for side in size)
    design = np.stack([np.ones(size), *np.meshgrid(u, v)], axis=-1).reshape(-1, 3)
    speeds, zooms, turns = [], [], []
    for index in range(len(sequences)):
        row, column = seen_places(sequences[index], height, width)
        margin = 2.0
        if (
            min(row.min(), column.min()) < margin
            or row.max() > height - 1 - margin
            or column.max() > width - 1 - margin
        ):
            continue  # the mirror beyond the edge is in sight
        fits = []
        for t in range(n_frames):
            places = np.stack([column[t].ravel(), row[t].ravel()], axis=1)
            fit, *_ = np.linalg.lstsq(design, places, rcond=None)
            assert np.abs(design @ fit - places).max() < 1.0, "straight lines do not stay straight"
            fits.append(fit)
        centre, steps = np.array([fit[0] for fit in fits]), np.array([fit[1:].T for fit in fits])
        singular = np.linalg.svd(steps, compute_uv=False)
        size = np.sqrt(np.prod(singular, axis=1))
        angle = np.arctan2(steps[:, 1, 0] - steps[:, 0, 1], steps[:, 0, 0] + steps[:, 1, 1])
        assert np.all(singular[:, 0] / singular[:, 1] < 1.04), "circles do not stay circles"
        assert np.all((size > 0.9) & (size < 4.4))
        # Constant speeds: what is left of a straight line is the rounding of colours.
        for values, tolerance in ((centre[:, 0], 0.2), (centre[:, 1], 0.2), (np.log(size), 0.01), (angle, 0.01)):
            assert np.abs(np.diff(values, 2)).max() < tolerance
        speeds.append(np.linalg.norm(np.diff(centre, axis=0), axis=1).mean() / size.mean())
        zooms.append(np.diff(np.log(size)).mean())
        turns.append(np.diff(angle).mean())
    assert len(speeds) > 30
    assert 0.3 < np.mean(speeds) < 1.6, "pixels of the frame per frame"
    assert np.max(speeds) < 6
    assert 0.006 < np.std(zooms) < 0.02
    assert 0.004 < np.std(turns) < 0.013
    assert min(zooms) < 0 < max(zooms)
    assert min(turns) < 0 < max(turns)


class Camera:
    """Stand in for a generator: a speed and a heading as given, from the middle, without zoom or turn."""

    def __init__(self, speed, heading):
        self.speed, self.heading = speed, heading

    def gamma(self, shape, scale):
        return self.speed

    def uniform(self, low, high):
        return self.heading if low == 0 else 0.0

    def normal(self, mean, width):
        return 0.0


@pytest.mark.parametrize("heading", [0.0, 0.7, 2.0, 4.5])
def test_camera_pans_so_many_pixels_of_the_frame_a_frame(heading):
    height, width, n_frames, speed, scale = 48, 80, 5, 1.3, 0.4
    picture = torch.from_numpy(map_of_places(height, width)).permute(2, 0, 1)
    sequences = TrainingSequences([coloured_movie()], SIZE, n_frames)
    item = sequences._follow(picture.expand(n_frames, -1, -1, -1), scale, Camera(speed, heading))
    row, column = seen_places(item, height, width)
    # A pixel of the frame is this much of the movie.
    pixel = scale * height / SIZE[0]
    for places, middle, velocity in (
        (row, (height - 1) / 2, speed * np.sin(heading)),
        (column, (width - 1) / 2, speed * np.cos(heading)),
    ):
        centres = places.mean(axis=(1, 2))
        assert centres == pytest.approx([middle + pixel * velocity * t for t in (-2, -1, 0, 1, 2)], abs=0.25)
    assert np.diff(column, axis=2).mean() == pytest.approx(pixel, rel=0.02)
    assert np.diff(row, axis=1).mean() == pytest.approx(pixel, rel=0.02)


def test_moving_camera_changes_the_picture_a_little_each_frame(camera):
    camera(1.0, frozen=1.0)
    y, x = np.ogrid[:31, :47]
    waves = np.stack([np.sin(x / 5 + y / 7), np.cos(x / 6 - y / 5), np.sin(y / 6)[:, :1] + 0 * x], axis=-1)
    movie = np.repeat((128 + 90 * waves).astype(np.uint8)[None], 20, axis=0)
    sequences = TrainingSequences([movie], SIZE, 6, 80, seed=5)
    changes = []
    for index in range(80):
        item = sequences[index]
        near = (item[1:] - item[:-1]).abs().mean(dim=(1, 2, 3))
        assert near.min() > 1e-5, "two frames are alike"
        changes.append((near.max().item(), (item[-1] - item[0]).abs().mean().item()))
    steps, spans = np.array(changes).T
    assert np.median(steps) < 0.06
    assert np.median(spans / steps) > 2, "the picture does not drift away from where it began"


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


@pytest.mark.parametrize("moving", [0.0, 1.0])
def test_speed_varies_up_to_three_times_and_runs_both_ways(camera, moving):
    camera(moving)
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


@pytest.mark.parametrize("moving", [0.0, 1.0])
def test_short_movie_is_played_at_its_own_speed(camera, moving):
    camera(moving)
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
