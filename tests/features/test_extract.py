"""Averages within scans equal those by hand, movies do not disturb each other, and the cache is never stale."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError, DataError
from brainpred.features import extract, showing
from brainpred.features.extract import FeatureConfig, extract_features, feature_files
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import load_prednet, save_prednet
from brainpred.movies.video import VideoInfo, probe_video, read_video, write_video
from tests.reference.pooling_reference import pool_frames

SIZE = (8, 12)
FPS, TR_S = 7, 0.9  # six or seven frames a scan


def write_weights(path, seed=0):
    network = PredNet((3, 4, 5))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    save_prednet(network, path)
    return path


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "tiny.safetensors")


def write_movie(path, n_frames, seed=0):
    """Film blobs that jump from frame to frame."""
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, 4, 6, 3)).repeat(4, 1).repeat(4, 2)
    write_video(path, frames.astype(np.uint8), FPS)
    return path


def averages_by_hand(network, movie, tr_s):
    """Show the whole movie at once and average the frames of each whole scan, one after the other."""
    frames, times_s = read_video(movie, SIZE)
    shown = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        units, _ = network.run(shown, [f"R{layer}" for layer in range(network.n_layers)])
    n_scans = int((times_s[-1] + 1 / FPS) / tr_s + 0.01)
    averages = {}
    for layer, values in units.items():
        scans = []
        for scan in range(n_scans):
            inside = [f for f, time_s in enumerate(times_s) if scan * tr_s - 1e-6 <= time_s < (scan + 1) * tr_s - 1e-6]
            scans.append(sum(values[0, frame].numpy() for frame in inside) / len(inside))
        averages[layer] = np.stack(scans)
    return averages


@pytest.mark.parametrize("n_frames", [25, 26, 31])
def test_averages_equal_those_by_hand(weights, tmp_path, n_frames):
    movie = write_movie(tmp_path / "movie.mp4", n_frames)
    expected = averages_by_hand(load_prednet(weights), movie, TR_S)
    features = extract_features(movie, FeatureConfig(TR_S, weights=weights, size=SIZE), device="cpu")
    assert list(features) == ["R0", "R1", "R2"]
    # 3.6 s take 25.2 frames: 25 fill four scans to within 3 % only, 26 fill them.
    n_scans = {25: 3, 26: 4, 31: 4}[n_frames]
    for layer, shape in zip(features, [(3, 8, 12), (4, 4, 6), (5, 2, 3)], strict=True):
        assert features[layer].shape == (n_scans, *shape)
        assert features[layer].dtype == np.float32
        np.testing.assert_allclose(features[layer], expected[layer], rtol=0, atol=1e-5)
        assert features[layer].std(axis=0).max() > 1e-3, "all scans are alike"


def test_feature_files_hold_the_features_of_their_movies(weights, tmp_path, monkeypatch):
    movies = [write_movie(tmp_path / f"{n}.mp4", n, seed=n) for n in (29, 8, 17)]
    files = feature_files(
        [*movies, movies[0]],
        tmp_path / "cache",
        FeatureConfig(TR_S, weights=weights, size=SIZE, at_once=2),
        device="cpu",
    )
    assert [file.n_scans for file in files] == [4, 1, 2, 4]
    assert files[0] == files[3]
    assert len(list((tmp_path / "cache").glob("*.h5"))) == 3
    for movie, file in zip([*movies, movies[0]], files, strict=True):
        assert file.tr_s == TR_S
        assert file.shapes == {"R0": (3, 8, 12), "R1": (4, 4, 6), "R2": (5, 2, 3)}
        expected = extract_features(movie, FeatureConfig(TR_S, weights=weights, size=SIZE), device="cpu")
        for layer, values in expected.items():
            np.testing.assert_allclose(file.read(layer), values.reshape(len(values), -1), rtol=0, atol=1e-5)


def refuse(*_args, **_kwargs):
    raise AssertionError("computed again")


def test_cached_features_are_not_computed_again(weights, tmp_path, monkeypatch):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)
    (first,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    monkeypatch.setattr(extract, "show_movies", refuse)
    assert feature_files([movie], tmp_path / "cache", config, device="cpu") == [first]
    copy = tmp_path / "another name.mp4"
    copy.write_bytes(movie.read_bytes())
    assert feature_files([copy], tmp_path / "cache", config, device="cpu") == [first]


CHANGES = {
    "size": (16, 12),
    "tr_s": 0.8,
    "units": ("R0", "R1"),
    "pooling": "last",
    "dtype": "float16",
    "precision": "bfloat16",
    "pieces": 2,
}


@pytest.mark.parametrize("changed", ["movie", "weights", *CHANGES])
def test_whatever_features_depend_on_changes_their_key(weights, tmp_path, monkeypatch, changed):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)
    (first,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    if changed == "movie":
        write_movie(movie, 17, seed=1)
    elif changed == "weights":
        write_weights(weights, seed=1)
    else:
        config = replace(config, **{changed: CHANGES[changed]})
    with monkeypatch.context() as patch:
        patch.setattr(extract, "show_movies", refuse)
        with pytest.raises(AssertionError, match="computed again"):
            feature_files([movie], tmp_path / "cache", config, device="cpu")
    (second,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    assert second.path != first.path
    assert first.path.is_file()


def test_weights_without_a_known_frame_size_need_one(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    with pytest.raises(ConfigError, match="state it with --size"):
        feature_files([movie], tmp_path / "cache", FeatureConfig(weights=weights))
    with pytest.raises(ConfigError, match="state it with --size"):
        extract_features(movie, FeatureConfig(weights=weights))


def test_frame_size_that_the_weights_state_is_the_default(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    stated = tmp_path / "stated.safetensors"
    save_prednet(load_prednet(weights), stated, frame_size=SIZE)
    expected = extract_features(movie, FeatureConfig(TR_S, weights=weights, size=SIZE), device="cpu")
    features = extract_features(movie, FeatureConfig(TR_S, weights=stated), device="cpu")
    (file,) = feature_files([movie], tmp_path / "cache", FeatureConfig(TR_S, weights=stated), device="cpu")
    for layer, values in expected.items():
        np.testing.assert_array_equal(features[layer], values)
        np.testing.assert_array_equal(file.read(layer), values.reshape(len(values), -1))


def test_missing_movie_is_refused_before_anything_is_computed(weights, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"Movie .*none\.mp4 does not exist"):
        extract_features(tmp_path / "none.mp4", FeatureConfig(weights=weights, size=SIZE))
    monkeypatch.setattr(extract, "show_movies", refuse)
    movie = write_movie(tmp_path / "movie.mp4", 17)
    with pytest.raises(DataError, match=r"Movie .*none\.mp4 does not exist"):
        feature_files([movie, tmp_path / "none.mp4"], tmp_path / "cache", FeatureConfig(weights=weights, size=SIZE))


def test_movie_shorter_than_a_scan_is_refused(weights, tmp_path):
    movie = write_movie(tmp_path / "short.mp4", 6)
    with pytest.raises(DataError, match=r"short\.mp4.*do not fill scans of 0\.9 s"):
        extract_features(movie, FeatureConfig(TR_S, weights=weights, size=SIZE), device="cpu")


def test_scan_that_no_frame_falls_into_is_refused(weights, tmp_path):
    movie = write_movie(tmp_path / "slow.mp4", 17)
    with pytest.raises(DataError, match=r"do not fill scans of 0\.1 s without a gap"):
        extract_features(movie, FeatureConfig(0.1, weights=weights, size=SIZE), device="cpu")


def test_frame_size_that_the_network_cannot_halve_is_refused(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    with pytest.raises(DataError, match="multiples of 4"):
        extract_features(movie, FeatureConfig(TR_S, weights=weights, size=(8, 14)), device="cpu")


def test_burn_in_changes_the_key_of_pieces_only(weights, tmp_path, monkeypatch):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)
    pieces = replace(config, pieces=2)
    first = [feature_files([movie], tmp_path / "cache", one, device="cpu")[0] for one in (config, pieces)]
    monkeypatch.setattr(extract, "show_movies", refuse)
    assert feature_files([movie], tmp_path / "cache", replace(config, burn_in_s=3.0), device="cpu") == [first[0]]
    with pytest.raises(AssertionError, match="computed again"):
        feature_files([movie], tmp_path / "cache", replace(pieces, burn_in_s=3.0), device="cpu")


def test_order_of_units_does_not_change_the_key(weights, tmp_path, monkeypatch):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)
    (first,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    monkeypatch.setattr(extract, "show_movies", refuse)
    for units in [("R0", "R1", "R2"), ("R2", "R0", "R1")]:
        assert feature_files([movie], tmp_path / "cache", replace(config, units=units), device="cpu") == [first]


def scans_by_hand(weights, movie, tr_s, units, pooling="mean", from_scan=0):
    """Run all frames from a scan on through the network at once, and pool them with one matrix."""
    frames, times_s = read_video(movie, SIZE)
    seen = times_s >= from_scan * tr_s - 1e-6
    shown = torch.from_numpy(frames[seen]).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        values, _ = load_prednet(weights).run(shown, units)
    n_scans = int((times_s[-1] + 1 / FPS) / tr_s + 0.01) - from_scan
    shifted_s = times_s[seen] - from_scan * tr_s
    return {unit: pool_frames(shifted_s, values[unit][0].numpy(), tr_s, n_scans, pooling) for unit in units}


@pytest.mark.parametrize("pooling", ["mean", "last", "lanczos"])
def test_units_asked_for_equal_those_by_hand(weights, tmp_path, pooling):
    movie = write_movie(tmp_path / "movie.mp4", 31)
    units = ("E1", "Ahat0", "A2", "R1", "A0")
    features = extract_features(
        movie, FeatureConfig(TR_S, units, weights=weights, size=SIZE, pooling=pooling), device="cpu"
    )
    expected = scans_by_hand(weights, movie, TR_S, units, pooling)
    assert sorted(features) == sorted(units)
    shapes = {"E1": (8, 4, 6), "Ahat0": (3, 8, 12), "A2": (5, 2, 3), "R1": (4, 4, 6), "A0": (3, 8, 12)}
    for unit, values in features.items():
        assert values.shape == (4, *shapes[unit])
        np.testing.assert_allclose(values, expected[unit], rtol=0, atol=1e-5)
        assert np.ptp(values, axis=0).max() > 1e-3, "all scans are alike"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"units": ("R0", "R3")}, r"Unknown unit R3\. This PredNet has: R0, R1, R2, A0"),
        ({"units": ("r0",)}, "Unknown unit r0"),
        ({"pooling": "median"}, r"Unknown pooling 'median'\. Choose one of: mean, last, lanczos"),
        ({"dtype": "float64"}, r"Unknown dtype 'float64'\. Choose one of: float32, float16"),
        ({"precision": "float16"}, r"Unknown precision 'float16'\. Choose one of: float32, bfloat16"),
        ({"tr_s": 0.0}, "tr_s must be a positive number"),
        ({"pieces": 0}, "one piece or more.* received 0 pieces"),
        ({"burn_in_s": -0.1}, "burn-in of 0 s or more.* received 1 pieces, -0.1 s"),
        ({"burn_in_s": float("nan")}, "burn-in of 0 s or more.* received 1 pieces, nan s"),
    ],
)
def test_unknown_options_are_refused_before_anything_is_computed(weights, tmp_path, monkeypatch, option, message):
    monkeypatch.setattr(extract, "show_movies", refuse)
    movie = write_movie(tmp_path / "movie.mp4", 17)
    with pytest.raises(ConfigError, match=message):
        feature_files([movie], tmp_path / "cache", FeatureConfig(**{"weights": weights, "size": SIZE, **option}))


def test_stored_half_precision_is_close(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, ("R0", "E2"), weights=weights, size=SIZE)
    (single,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    (half,) = feature_files([movie], tmp_path / "cache", replace(config, dtype="float16"), device="cpu")
    for file, dtype in ((single, "float32"), (half, "float16")):
        with h5py.File(file.path) as stored:
            assert {stored[unit].dtype.name for unit in stored} == {dtype}
    for unit in ("R0", "E2"):
        assert half.read(unit).dtype == np.float32
        # Eleven bits of mantissa, and the least step below 2**-14.
        np.testing.assert_allclose(half.read(unit), single.read(unit), rtol=2.0**-11, atol=2.0**-25)
        assert not np.array_equal(half.read(unit), single.read(unit))


def test_network_in_bfloat16_is_close(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 45)
    config = FeatureConfig(TR_S, ("R0", "R2", "Ahat0"), weights=weights, size=SIZE)
    single = extract_features(movie, config, device="cpu")
    brain = extract_features(movie, replace(config, precision="bfloat16"), device="cpu")
    for unit, values in single.items():
        assert brain[unit].dtype == np.float32
        error = np.abs(brain[unit] - values).max() / np.abs(values).max()
        assert 1e-6 < error < 0.06, unit  # eight bits of mantissa: 0.004 an operation


class Ear:
    """Hear what is said."""

    def __init__(self):
        self.said = []

    @contextmanager
    def task(self, description, total):
        yield lambda steps: None

    def say(self, message):
        self.said.append(message)


PIECE_TR_S = 0.3  # two frames a scan
PIECE_UNITS = ("E1", "R0", "R2")


def piece_config(weights, **options):
    return FeatureConfig(PIECE_TR_S, PIECE_UNITS, weights=weights, size=SIZE, **options)


def burn_in_errors(path):
    with h5py.File(path) as stored:
        return np.array(stored.attrs["burn_in_error"])


@pytest.mark.parametrize("pooling", ["mean", "last", "lanczos"])
def test_pieces_that_see_all_before_them_equal_the_sequential_result(weights, tmp_path, pooling):
    movie = write_movie(tmp_path / "movie.mp4", 60)
    expected = extract_features(movie, piece_config(weights, pooling=pooling), device="cpu")
    (file,) = feature_files(
        [movie], tmp_path / "cache", piece_config(weights, pooling=pooling, pieces=3, burn_in_s=8.6), device="cpu"
    )
    assert file.n_scans == 28
    for unit, values in expected.items():
        np.testing.assert_allclose(file.read(unit), values.reshape(28, -1), rtol=0, atol=1e-5)
    assert burn_in_errors(file.path).shape == (2,)
    assert burn_in_errors(file.path).max() < 1e-5


def test_error_of_a_short_burn_in_is_measured(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 60)
    ear = Ear()
    (file,) = feature_files(
        [movie],
        tmp_path / "cache",
        piece_config(weights, pieces=3, burn_in_s=2 * PIECE_TR_S),
        device="cpu",
        reporter=ear,
    )
    # 28 scans: pieces begin with scans 0, 9 and 18 and see two scans before.
    first, second, third = (
        scans_by_hand(weights, movie, PIECE_TR_S, PIECE_UNITS, from_scan=seen) for seen in (0, 7, 16)
    )
    pairs = [
        ({unit: first[unit][9:14] for unit in first}, {unit: second[unit][2:7] for unit in second}),
        ({unit: second[unit][11:16] for unit in second}, {unit: third[unit][2:7] for unit in third}),
    ]
    expected = []
    for longer, shorter in pairs:
        ratios = [((shorter[unit] - longer[unit]) ** 2).mean() / longer[unit].var() for unit in PIECE_UNITS]
        expected.append(np.sqrt(sum(ratios) / len(ratios)))
    np.testing.assert_allclose(burn_in_errors(file.path), expected, rtol=1e-3)
    assert min(expected) > 1e-4
    (message,) = ear.said
    assert message.startswith("movie.mp4: 3 pieces, burn-in 0.6 s.")
    assert f"piece is {expected[0]:.1e} standard deviations (root mean square) off the sequential result" in message
    assert f"later ones are {expected[1]:.1e} at the most" in message
    # Each piece goes on for five scans after the join, which the next has not settled for.
    for unit in PIECE_UNITS:
        joined = np.concatenate([first[unit][:14], second[unit][7:16], third[unit][7:]])
        np.testing.assert_allclose(file.read(unit), joined.reshape(28, -1), rtol=0, atol=1e-5)
        assert np.abs(file.read(unit) - first[unit].reshape(28, -1))[14:].max() > 1e-5


def test_longer_burn_in_errs_less(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 60)
    errors = [
        burn_in_errors(
            feature_files(
                [movie], tmp_path, piece_config(weights, pieces=2, burn_in_s=scans * PIECE_TR_S), device="cpu"
            )[0].path
        )[0]
        for scans in (0, 3, 9)
    ]
    assert errors[0] > 1.2 * errors[1] > 1.44 * errors[2] > 0


@pytest.mark.parametrize("burn_in_s", [0.0, 9.0])
def test_more_pieces_than_scans_are_as_many_as_scans(weights, tmp_path, burn_in_s):
    movie = write_movie(tmp_path / "movie.mp4", 31)
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)
    expected = extract_features(movie, config, device="cpu")
    (file,) = feature_files([movie], tmp_path / "cache", replace(config, pieces=7, burn_in_s=burn_in_s), device="cpu")
    assert file.n_scans == 4
    assert burn_in_errors(file.path).shape == (3,)
    for layer, values in expected.items():
        # Scans that the first piece holds, all of them here, are sequential whatever the burn-in.
        np.testing.assert_allclose(file.read(layer), values.reshape(4, -1), rtol=0, atol=1e-5)


def test_movie_shorter_than_a_scan_is_refused_in_pieces_too(weights, tmp_path):
    movie = write_movie(tmp_path / "short.mp4", 6)
    with pytest.raises(DataError, match=r"short\.mp4.*do not fill scans of 0\.9 s"):
        extract_features(movie, FeatureConfig(TR_S, weights=weights, size=SIZE, pieces=2), device="cpu")


def test_movie_that_ends_a_frame_before_its_header_says_is_cut_all_the_same(weights, tmp_path, monkeypatch):
    movie = write_movie(tmp_path / "movie.mp4", 31)
    expected = extract_features(movie, FeatureConfig(TR_S, weights=weights, size=SIZE), device="cpu")
    info = probe_video(movie)
    monkeypatch.setattr(extract, "probe_video", lambda movie: VideoInfo(info.fps, 4.501, info.height, info.width))
    features = extract_features(
        movie, FeatureConfig(TR_S, weights=weights, size=SIZE, pieces=5, burn_in_s=9.0), device="cpu"
    )
    for layer, values in expected.items():
        np.testing.assert_allclose(features[layer], values, rtol=0, atol=1e-5)


def test_movie_of_unknown_length_cannot_be_cut(weights, tmp_path, monkeypatch):
    movie = write_movie(tmp_path / "movie.mp4", 31)
    monkeypatch.setattr(extract, "probe_video", lambda movie: VideoInfo(FPS, float("nan"), 8, 12))
    with pytest.raises(DataError, match=r"movie\.mp4 does not state its length .*leave out --pieces"):
        extract_features(movie, FeatureConfig(TR_S, weights=weights, size=SIZE, pieces=2), device="cpu")


class Counter:
    """Count the frames that the network sees, and interrupt it before step ``stop_at``."""

    def __init__(self, monkeypatch):
        self.n_frames, self.n_steps, self.stop_at, step = 0, 0, None, PredNet.step

        def counting(network, frame, *arguments, **options):
            if self.n_steps == self.stop_at:
                raise KeyboardInterrupt
            self.n_frames, self.n_steps = self.n_frames + len(frame), self.n_steps + 1
            return step(network, frame, *arguments, **options)

        monkeypatch.setattr(PredNet, "step", counting)


def test_the_same_movie_twice_is_computed_once(weights, tmp_path, monkeypatch):
    counter = Counter(monkeypatch)
    movie = write_movie(tmp_path / "movie.mp4", 17)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(movie.read_bytes())
    files = feature_files(
        [movie, copy, movie], tmp_path / "cache", FeatureConfig(TR_S, weights=weights, size=SIZE), device="cpu"
    )
    assert counter.n_frames == 17
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize(
    "options", [{}, {"pooling": "lanczos"}, {"pieces": 2, "burn_in_s": 0.9}, {"precision": "bfloat16"}]
)
def test_extraction_that_was_stopped_goes_on(weights, tmp_path, monkeypatch, options):
    monkeypatch.setattr(showing, "BLOCK_SCANS", 2)
    movie = write_movie(tmp_path / "movie.mp4", 59)  # nine scans
    config = FeatureConfig(TR_S, ("R1", "E0"), weights=weights, size=SIZE, **options)
    whole = feature_files([movie], tmp_path / "whole", config, device="cpu")[0]
    assert sorted(path.suffix for path in (tmp_path / "whole").iterdir()) == ["", ".h5"]
    counter = Counter(monkeypatch)
    counter.stop_at = 36
    with pytest.raises(KeyboardInterrupt):
        feature_files([movie], tmp_path / "cache", config, device="cpu")
    (parts,) = (tmp_path / "cache").glob("[!.]*")
    assert parts.name == whole.path.with_suffix(".parts").name
    assert all(list(folder.iterdir()) for folder in parts.iterdir())
    counter.stop_at, n_before = None, counter.n_frames
    (file,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    assert counter.n_frames - n_before < 59 - 20
    assert list((tmp_path / "cache").glob("[!.]*")) == [file.path]
    for unit in ("R1", "E0"):
        # Pieces may stand side by side in other numbers than before, which changes the last bits.
        atol = 1e-5 if "pieces" in options else 0
        np.testing.assert_allclose(file.read(unit), whole.read(unit), rtol=0, atol=atol)


def test_a_feature_file_says_what_it_holds(weights, tmp_path):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, ("R1", "E0"), weights=weights, size=SIZE, pooling="last", dtype="float16")
    (file,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    with h5py.File(file.path) as stored:
        origin = dict(stored.attrs)
    assert {name: origin[name] for name in ("movie", "pooling", "dtype", "precision", "pieces", "tr_s")} == {
        "movie": "movie.mp4", "pooling": "last", "dtype": "float16", "precision": "float32", "pieces": 1, "tr_s": TR_S,
    }  # fmt: skip
    assert list(origin["units"]) == ["E0", "R1"]
    assert list(origin["size"]) == list(SIZE)
    assert origin["weights"] == str(weights)
    assert "burn_in_error" not in origin


def test_damaged_movie_does_not_keep_the_others_from_being_written(weights, tmp_path):
    good = [write_movie(tmp_path / f"{n}.mp4", n, seed=n) for n in (17, 23)]
    short = write_movie(tmp_path / "short.mp4", 4)
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)
    with pytest.raises(DataError, match=r"short\.mp4"):
        feature_files([good[0], short, good[1]], tmp_path / "cache", config, device="cpu")
    assert len(list((tmp_path / "cache").glob("*.h5"))) == 2
    assert len(feature_files(good, tmp_path / "cache", config, device="cpu")) == 2


def test_two_who_want_the_same_features_do_not_disturb_each_other(weights, tmp_path):
    movies = [write_movie(tmp_path / f"{n}.mp4", n, seed=n) for n in (31, 23)]
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)

    def compute(order):
        return feature_files(movies[::order], tmp_path / "cache", config, device="cpu")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(compute, (1, -1))
    assert first == second[::-1]
    assert not list((tmp_path / "cache").glob("*.parts"))


def test_values_too_large_for_half_precision_are_refused(weights, tmp_path):
    network = load_prednet(weights)
    with torch.no_grad():
        network.predict[1].bias.fill_(1e5)
    save_prednet(network, tmp_path / "large.safetensors", SIZE)
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, ("Ahat1",), weights=tmp_path / "large.safetensors", dtype="float16")
    with pytest.raises(DataError, match=r"values of Ahat1 are no finite numbers in float16\. Store float32"):
        feature_files([movie], tmp_path / "cache", config, device="cpu")
    assert not list((tmp_path / "cache").glob("*.h5"))
    assert feature_files([movie], tmp_path / "cache", replace(config, dtype="float32"), device="cpu")
