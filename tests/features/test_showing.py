"""Movies do not disturb each other, blocks change nothing, and a run that was stopped goes on as if it had not been."""

from contextlib import contextmanager

import numpy as np
import pytest
import safetensors.torch
import torch

from brainpred.errors import DataError
from brainpred.features import showing
from brainpred.features.pooling import POOLINGS, ScanPool
from brainpred.features.showing import Showing, read_blocks, show_movies
from brainpred.models.prednet import PredNet
from brainpred.movies.video import VideoInfo
from tests.reference.pooling_reference import closing_frame, pool_frames

SIZE = (8, 12)
FPS, TR_S = 7, 0.9  # six or seven frames a scan
UNITS = ("R0", "E1", "Ahat2")
SHAPES = {"R0": (3, 8, 12), "E1": (8, 4, 6), "Ahat2": (5, 2, 3)}


class Films:
    """Movies in memory that stand in for files; counts what is read of each."""

    def __init__(self):
        self.times_s, self.frames, self.stop_at = {}, {}, {}

    def add(self, movie, n_frames, seed=0, times_s=None):
        rng = np.random.default_rng(seed)
        self.frames[movie] = rng.integers(0, 256, (n_frames, *SIZE, 3), dtype=np.uint8)
        self.times_s[movie] = np.arange(n_frames) / FPS if times_s is None else np.asarray(times_s)
        return movie

    def probe(self, movie):
        return VideoInfo(FPS, float(self.times_s[movie][-1]) + 1 / FPS, *SIZE)

    def iterate(self, movie, size, from_s=0.0, skip=0):
        assert size == SIZE
        for number, pair in enumerate(zip(self.times_s[movie].tolist(), self.frames[movie], strict=True)):
            if number == self.stop_at.get(movie):
                raise KeyboardInterrupt
            if pair[0] < from_s - 1e-6:
                continue
            if skip:
                skip -= 1
                continue
            yield pair
        if self.stop_at.get(movie) == len(self.frames[movie]):
            raise KeyboardInterrupt


@pytest.fixture
def films(monkeypatch):
    films = Films()
    monkeypatch.setattr(showing, "probe_video", films.probe)
    monkeypatch.setattr(showing, "iterate_frames", films.iterate)
    return films


class CountingPredNet(PredNet):
    """Note how many movies go through the network at every step, and be interrupted before step ``stop_at``."""

    def __init__(self):
        super().__init__((3, 4, 5))
        self.widths, self.stop_at = [], None

    def step(self, frame, state, *options, **more):
        if len(self.widths) == self.stop_at:
            raise KeyboardInterrupt
        self.widths.append(len(frame))
        return super().step(frame, state, *options, **more)


def make_network():
    network = CountingPredNet()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


@pytest.fixture
def network():
    return make_network()


def a_showing(movie, folder, pooling="mean", **stretch):
    return Showing(movie, folder, ScanPool(pooling, TR_S), UNITS, **stretch)


def scans_of(folder):
    """Join the blocks of a showing."""
    blocks = list(read_blocks(folder))
    assert [first for first, _ in blocks] == list(
        blocks[0][0] + np.cumsum([0] + [len(features["R0"]) for _, features in blocks[:-1]])
    )
    return {unit: np.concatenate([features[unit] for _, features in blocks]) for unit in UNITS}


def show_alone(movie, folder, pooling="mean", **stretch):
    show_movies(make_network(), [a_showing(movie, folder, pooling, **stretch)], SIZE)
    return scans_of(folder)


def scans_by_hand(films, movie, pooling="mean", from_s=0.0):
    """Run all frames from a time on through the network at once, and pool them with one matrix."""
    times_s = films.times_s[movie]
    seen = np.flatnonzero(times_s >= from_s - 1e-6)
    shown = torch.from_numpy(films.frames[movie][seen]).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        units, _ = PredNet.run(make_network(), shown, UNITS)
    n_scans = int((times_s[-1] + 1 / FPS) / TR_S + 0.01)
    first = int(from_s / TR_S + 1e-6)
    # Counted from the first scan that is seen: the filter knows no time but that to the middle of a scan.
    shifted_s = times_s[seen] - first * TR_S
    return {
        unit: pool_frames(shifted_s, values[0].numpy(), TR_S, n_scans - first, pooling)
        for unit, values in units.items()
    }


def assert_same(found, expected):
    for unit in UNITS:
        np.testing.assert_array_equal(found[unit], expected[unit])


def assert_close(found, expected, atol=1e-5):
    for unit in UNITS:
        assert found[unit].shape == expected[unit].shape
        np.testing.assert_allclose(found[unit], expected[unit], rtol=0, atol=atol)


@pytest.mark.parametrize(("at_once", "pooling"), [(2, "mean"), (3, "last"), (3, "lanczos")])
def test_movies_side_by_side_equal_each_alone(films, network, tmp_path, monkeypatch, at_once, pooling):
    lengths = [22, 8, 31, 7, 17]
    movies = [films.add(tmp_path / f"{n}.mp4", n, seed=n) for n in lengths]
    showings = [a_showing(movie, tmp_path / movie.stem, pooling) for movie in movies]
    show_movies(network, showings, SIZE, at_once=at_once)
    # As many together as may be, every frame once.
    assert max(network.widths) == network.widths[0] == at_once
    assert sum(network.widths) == sum(lengths)
    for movie, n_scans in zip(movies, [3, 1, 4, 1, 2], strict=True):
        found = scans_of(tmp_path / movie.stem)
        assert {unit: values.shape for unit, values in found.items()} == {
            unit: (n_scans, *shape) for unit, shape in SHAPES.items()
        }
        assert all(values.dtype == np.float32 for values in found.values())
        assert_close(found, show_alone(movie, tmp_path / f"{movie.stem} alone", pooling))
        assert_close(found, scans_by_hand(films, movie, pooling))
    assert np.ptp(scans_of(tmp_path / "31")["R0"], axis=0).max() > 1e-3, "all scans are alike"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_blocks_change_nothing(films, tmp_path, monkeypatch, pooling):
    movie = films.add(tmp_path / "film.mp4", 60)
    expected = show_alone(movie, tmp_path / "one", pooling)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["00000000.safetensors"]
    assert len(expected["R0"]) == 9
    for n_scans in (1, 2):
        monkeypatch.setattr(showing, "BLOCK_SCANS", n_scans)
        assert_same(show_alone(movie, tmp_path / str(n_scans), pooling), expected)
        # All but the last, which takes what is open at the end.
        lengths = [len(features["R0"]) for _, features in read_blocks(tmp_path / str(n_scans))]
        assert set(lengths[:-1]) <= {n_scans}
        assert len(lengths) > 3


def test_memory_does_not_grow_with_the_movie(films, tmp_path, monkeypatch):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 2)
    lengths = []
    piece = a_showing(films.add(tmp_path / "film.mp4", 67), tmp_path / "blocks", "lanczos")
    held = []
    piece.add, add = lambda values: held.append(len(piece._buffer) + len(piece.pool.sums)) or add(values), piece.add

    def note_size(state, **how):
        lengths.append(sum(tensor.numel() for tensor in state.error))
        return write(state, **how)

    piece.write, write = note_size, piece.write
    show_movies(make_network(), [piece], SIZE)
    assert max(held) <= 2 + 6
    assert len(set(lengths)) == 1


def frames_behind(films, movie, pooling, n_seen, block_scans, first_scan=0):
    """Count the frames that the last block written stands for, when ``n_seen`` frames have been shown."""
    behind, scan = 0, first_scan + block_scans - 1
    while (closing := closing_frame(films.times_s[movie], TR_S, scan, pooling)) is not None and closing < n_seen:
        behind, scan = closing + 1, scan + block_scans
    return behind


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(films, tmp_path, monkeypatch, pooling):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 2)
    movie = films.add(tmp_path / "film.mp4", 36)
    expected = show_alone(movie, tmp_path / "whole", pooling)
    for n_seen in (0, 13, 14, 27, 28, 35):
        folder, stopped, after = tmp_path / f"{n_seen}", make_network(), make_network()
        stopped.stop_at = n_seen
        with pytest.raises(KeyboardInterrupt):
            show_movies(stopped, [a_showing(movie, folder, pooling)], SIZE)
        show_movies(after, [a_showing(movie, folder, pooling)], SIZE)
        assert_same(scans_of(folder), expected)
        behind = frames_behind(films, movie, pooling, n_seen, 2)
        assert len(after.widths) == 36 - behind, f"stopped at frame {n_seen}"
    assert behind >= 13, "no block had been written"


@pytest.mark.parametrize(("pooling", "n_frames"), [("mean", 33), ("last", 33), ("lanczos", 24)])
def test_a_run_that_was_stopped_after_its_last_frame_goes_on(films, tmp_path, monkeypatch, pooling, n_frames):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 1)
    movie = films.add(tmp_path / "film.mp4", n_frames)
    expected = show_alone(movie, tmp_path / "whole", pooling)
    films.stop_at[movie] = n_frames
    with pytest.raises(KeyboardInterrupt):
        show_movies(make_network(), [a_showing(movie, tmp_path / "blocks", pooling)], SIZE)
    del films.stop_at[movie]
    assert_same(show_alone(movie, tmp_path / "blocks", pooling), expected)


def test_a_run_that_was_stopped_many_times_goes_on(films, tmp_path, monkeypatch):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 1)
    movie = films.add(tmp_path / "film.mp4", 31)
    expected = show_alone(movie, tmp_path / "whole", "lanczos")
    n_stops = 0
    for n_read in (3, 24, 25, 28, 30, None):
        films.stop_at[movie] = n_read
        try:
            show_movies(make_network(), [a_showing(movie, tmp_path / "often", "lanczos")], SIZE)
        except KeyboardInterrupt:
            n_stops += 1
    assert n_stops == 5
    assert_same(scans_of(tmp_path / "often"), expected)


def test_movies_that_were_finished_are_not_shown_again(films, network, tmp_path, monkeypatch):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 2)
    movies = [films.add(tmp_path / f"{n}.mp4", n, seed=n) for n in (8, 41, 17)]
    expected = [show_alone(movie, tmp_path / f"{movie.stem} alone") for movie in movies]

    def all_showings():
        return [a_showing(movie, tmp_path / movie.stem) for movie in movies]

    network.stop_at = 23  # 8 frames of the first movie, 23 of the second, 14 of the third
    with pytest.raises(KeyboardInterrupt):
        show_movies(network, all_showings(), SIZE, at_once=2)
    after, done = make_network(), all_showings()
    show_movies(after, done, SIZE, at_once=2)
    assert [one.last_scan for one in done] == [1, 6, 2]
    # A block of two scans is written with the frame that begins the next scan, the fourteenth.
    assert sum(after.widths) == (41 - 14) + (17 - 14)
    for movie, scans in zip(movies, expected, strict=True):
        assert_close(scans_of(tmp_path / movie.stem), scans)
    again = make_network()
    show_movies(again, all_showings(), SIZE, at_once=2)
    assert again.widths == []


class Bar:
    """Note how far a progress bar moves."""

    def __init__(self):
        self.total, self.done = None, 0

    @contextmanager
    def task(self, description, total):
        self.description, self.total = description, total
        yield self.advance

    def advance(self, steps):
        self.done += steps

    def say(self, message):
        raise AssertionError(message)


def test_bar_moves_to_its_end(films, network, tmp_path):
    bar = Bar()
    movies = [films.add(tmp_path / f"{n}.mp4", n, seed=n) for n in (29, 8)]
    show_movies(network, [a_showing(movie, tmp_path / movie.stem) for movie in movies], SIZE, reporter=bar)
    assert (bar.total, bar.done) == (37, 37)
    assert "2 movie(s)" in bar.description


def test_bar_moves_to_its_end_where_movies_are_finished_already(films, network, tmp_path):
    bar = Bar()
    movies = [films.add(tmp_path / f"{n}.mp4", n, seed=n) for n in (29, 8)]
    show_alone(movies[1], tmp_path / movies[1].stem)
    show_movies(network, [a_showing(movie, tmp_path / movie.stem) for movie in movies], SIZE, reporter=bar)
    assert bar.total == bar.done


def stop_after_two_blocks(films, folder, monkeypatch):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 2)
    movie = films.add(folder / "film.mp4", 36)
    stopped = make_network()
    stopped.stop_at = 28
    with pytest.raises(KeyboardInterrupt):
        show_movies(stopped, [a_showing(movie, folder / "blocks")], SIZE)
    assert sorted(path.name for path in (folder / "blocks").iterdir()) == [
        "00000000.safetensors", "00000002.safetensors",
    ]  # fmt: skip
    return movie


@pytest.mark.parametrize("damage", ["empty", "header", "tail", "no state", "not ours", "no text"])
def test_damaged_block_is_refused(films, tmp_path, monkeypatch, damage):
    movie = stop_after_two_blocks(films, tmp_path, monkeypatch)
    last = tmp_path / "blocks" / "00000002.safetensors"
    content = last.read_bytes()
    if damage in ("empty", "header", "tail"):
        last.write_bytes(content[: {"empty": 0, "header": 99, "tail": len(content) - 5}[damage]])
    else:
        texts = {"no state": None, "not ours": {"other": "1"}, "no text": {"showing": "{"}}
        safetensors.torch.save_file({"R0": torch.ones(2)}, last, texts[damage])
    with pytest.raises(DataError, match=r"blocks/00000002\.safetensors is damaged .*Delete its folder"):
        show_movies(make_network(), [a_showing(movie, tmp_path / "blocks")], SIZE)
    with pytest.raises(DataError, match=r"blocks/00000002\.safetensors is damaged .*Delete its folder"):
        list(read_blocks(tmp_path / "blocks"))


def test_block_that_lacks_its_state_is_refused(films, tmp_path, monkeypatch):
    movie = stop_after_two_blocks(films, tmp_path, monkeypatch)
    last = tmp_path / "blocks" / "00000002.safetensors"
    with safetensors.safe_open(last, "pt") as stream:
        text = stream.metadata()
    tensors = safetensors.torch.load_file(last)
    del tensors["state/4"]
    safetensors.torch.save_file(tensors, last, text)
    with pytest.raises(DataError, match=r"blocks/00000002\.safetensors is damaged .*Delete its folder"):
        show_movies(make_network(), [a_showing(movie, tmp_path / "blocks")], SIZE)


@pytest.mark.parametrize("name", ["00000000", "00000002"])
def test_flipped_byte_in_a_block_is_noticed(films, tmp_path, monkeypatch, name):
    movie = stop_after_two_blocks(films, tmp_path, monkeypatch)
    path = tmp_path / "blocks" / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-99] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        show_alone(movie, tmp_path / "blocks")


def test_temporary_file_of_a_run_that_was_killed_is_no_block(films, tmp_path, monkeypatch):
    movie = stop_after_two_blocks(films, tmp_path, monkeypatch)
    (tmp_path / "blocks" / ".part-17-00000004.safetensors").write_bytes(b"half")
    found = show_alone(movie, tmp_path / "blocks")
    assert_same(found, show_alone(movie, tmp_path / "whole"))


def test_temporary_file_alone_is_no_block(films, tmp_path):
    movie = films.add(tmp_path / "film.mp4", 17)
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / ".part-17-00000000.safetensors").write_bytes(b"half")
    assert_same(show_alone(movie, tmp_path / "blocks"), show_alone(movie, tmp_path / "whole"))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("missing", [slice(13, 19), slice(7, 32), slice(32, 38)])
def test_scan_without_frames_is_refused(films, network, tmp_path, pooling, missing):
    times_s = np.delete(np.arange(60) / FPS, missing)
    movie = films.add(tmp_path / "gap.mp4", len(times_s), times_s=times_s)
    empty = {13: 2, 7: 1, 32: 5}[missing.start]
    with pytest.raises(DataError, match=rf"gap\.mp4.*scans of 0\.9 s without a gap; scan {empty} has none"):
        show_movies(network, [a_showing(movie, tmp_path / "blocks", pooling)], SIZE)
    assert not list((tmp_path / "blocks").iterdir())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_movie_shorter_than_a_scan_is_refused(films, network, tmp_path, pooling):
    movies = [films.add(tmp_path / f"{n}.mp4", n) for n in (17, 6)]
    with pytest.raises(DataError, match=r"6\.mp4: its frames, up to 0\.71 s, do not fill scans of 0\.9 s"):
        show_movies(network, [a_showing(movie, tmp_path / movie.stem, pooling) for movie in movies], SIZE)
    assert not list((tmp_path / "6").iterdir())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("from_scan", "first", "last"), [(0, 0, 3), (0, 2, 5), (1, 4, 7), (2, 5, 9), (3, 6, None)])
def test_stretches_hold_their_scans(films, network, tmp_path, pooling, from_scan, first, last):
    movie = films.add(tmp_path / "film.mp4", 61)  # 8.7 s: nine scans and a part
    stretch = {"from_s": from_scan * TR_S, "first_scan": first, "last_scan": last or float("inf")}
    piece = a_showing(movie, tmp_path / "blocks", pooling, **stretch)
    show_movies(network, [piece], SIZE)
    expected = scans_by_hand(films, movie, pooling, from_scan * TR_S)
    rows = slice(first - from_scan, (last or 9) - from_scan)
    found = scans_of(tmp_path / "blocks")
    assert_close(found, {unit: values[rows] for unit, values in expected.items()})
    assert [start for start, _ in read_blocks(tmp_path / "blocks")] == [first]
    assert piece.last_scan == (last or 9)
    # Nothing before the stretch is shown, nor after the frame with which its last scan is complete.
    begin = int(np.searchsorted(films.times_s[movie], from_scan * TR_S - 1e-6))
    closing = closing_frame(films.times_s[movie], TR_S, last - 1, pooling) if last else None
    assert len(network.widths) == (61 if closing is None else closing + 1) - begin
    if from_scan:
        whole = scans_by_hand(films, movie, pooling)
        assert np.abs(found["R0"][0] - whole["R0"][first]).max() > 1e-4, "the network had seen what came before"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_stretch_that_was_stopped_goes_on(films, tmp_path, monkeypatch, pooling):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 2)
    movie = films.add(tmp_path / "film.mp4", 67)
    stretch = {"from_s": 0.8, "first_scan": 3, "last_scan": 6}
    expected = show_alone(movie, tmp_path / "whole", pooling, **stretch)
    n_frames = closing_frame(films.times_s[movie], TR_S, 5, pooling) + 1
    for n_read in (9, 35, n_frames - 1):  # the network begins with frame 6
        folder, after = tmp_path / f"{n_read}", make_network()
        films.stop_at[movie] = n_read
        with pytest.raises(KeyboardInterrupt):
            show_movies(make_network(), [a_showing(movie, folder, pooling, **stretch)], SIZE)
        del films.stop_at[movie]
        show_movies(after, [a_showing(movie, folder, pooling, **stretch)], SIZE)
        assert_same(scans_of(folder), expected)
        behind = frames_behind(films, movie, pooling, n_read, 2, first_scan=3)
        assert len(after.widths) == n_frames - max(6, behind)
    assert behind > 6, "no block had been written"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_stretch_that_was_stopped_after_its_last_frame_goes_on(films, tmp_path, monkeypatch, pooling):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 3)
    movie = films.add(tmp_path / "film.mp4", 67)
    stretch = {"from_s": 0.8, "first_scan": 3, "last_scan": 6}
    expected = show_alone(movie, tmp_path / "whole", pooling, **stretch)
    films.stop_at[movie] = closing_frame(films.times_s[movie], TR_S, 5, pooling) + 1
    with pytest.raises(KeyboardInterrupt):
        show_movies(make_network(), [a_showing(movie, tmp_path / "blocks", pooling, **stretch)], SIZE)
    del films.stop_at[movie]
    assert_same(show_alone(movie, tmp_path / "blocks", pooling, **stretch), expected)
