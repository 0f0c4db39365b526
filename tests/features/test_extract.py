"""Averages within scans equal those by hand, movies do not disturb each other, and the cache is never stale."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError, DataError
from brainpred.features import extract, showing
from brainpred.features.extract import FeatureConfig, extract_features, feature_files
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import load_prednet, save_prednet
from brainpred.movies.video import read_video, write_video

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
    monkeypatch.setattr(showing, "MOVIES_AT_ONCE", 2)
    movies = [write_movie(tmp_path / f"{n}.mp4", n, seed=n) for n in (29, 8, 17)]
    files = feature_files(
        [*movies, movies[0]], tmp_path / "cache", FeatureConfig(TR_S, weights=weights, size=SIZE), device="cpu"
    )
    assert [file.n_scans for file in files] == [4, 1, 2, 4]
    assert files[0] == files[3]
    assert len(list((tmp_path / "cache").iterdir())) == 3
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


@pytest.mark.parametrize("changed", ["movie", "weights", "size", "tr_s"])
def test_whatever_features_depend_on_changes_their_key(weights, tmp_path, monkeypatch, changed):
    movie = write_movie(tmp_path / "movie.mp4", 17)
    config = FeatureConfig(TR_S, weights=weights, size=SIZE)
    (first,) = feature_files([movie], tmp_path / "cache", config, device="cpu")
    if changed == "movie":
        write_movie(movie, 17, seed=1)
    elif changed == "weights":
        write_weights(weights, seed=1)
    else:
        config = replace(config, **{changed: {"size": (16, 12), "tr_s": 0.8}[changed]})
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
