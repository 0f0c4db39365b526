"""Features without a network: by loops over pixels, on gratings whose motion is known, and cached."""

import numpy as np
import pytest

from brainpred.errors import ConfigError, DataError
from brainpred.features import baselines
from brainpred.features.baselines import BASELINES, baseline_files, blurred_pixels, motion_energy
from brainpred.movies.video import write_video
from brainpred.stimulus import Movie

FPS = 15.0


def grating(drift_hz, angle=0.0, wavelength=16.0, n_frames=30):
    """Make a grating of 64 × 80 pixels that drifts towards ``angle``."""
    rows, columns = np.mgrid[:64, :80]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    times = np.arange(n_frames)[:, None, None] / FPS
    light = 0.5 + 0.4 * np.cos(2 * np.pi * (along / wavelength - drift_hz * times))
    return np.repeat((255 * light).round().astype(np.uint8)[..., None], 3, axis=-1)


def energies(frames):
    """Give the mean energy of the last frame: (3 drifts, 2 wavelengths, 4 orientations)."""
    *_, last = motion_energy(iter(frames), FPS)
    return last.mean(dim=(1, 2)).reshape(3, 2, 4).numpy()


def test_pixels_are_means_of_squares():
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 80, 3), dtype=np.uint8)
    found = np.stack([picture.numpy() for picture in blurred_pixels(iter(frames), FPS)])
    assert found.shape == (3, 3, 16, 20)
    for frame, channel, row, column in [(0, 0, 0, 0), (2, 1, 15, 3), (1, 2, 7, 19)]:
        square = frames[frame, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4, channel]
        assert found[frame, channel, row, column] == pytest.approx(square.astype(float).mean() / 255, abs=1e-6)


@pytest.mark.parametrize(("drift_hz", "strongest"), [(0.0, 0), (3.0, 1), (-3.0, 2)])
def test_energy_tells_how_a_grating_drifts(drift_hz, strongest):
    found = energies(grating(drift_hz))
    place = np.unravel_index(found.argmax(), found.shape)
    assert (int(place[0]), int(place[1]), int(place[2])) == (strongest, 1, 0)
    others = np.delete(found[:, 1, 0], strongest)
    assert found[strongest, 1, 0] > 2 * others.max()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("wavelength", "place"), [(8.0, 0), (16.0, 1)])
def test_energy_tells_orientation_and_wavelength(number, wavelength, place):
    found = energies(grating(0.0, number * np.pi / 4, wavelength))[0]
    assert np.unravel_index(found.argmax(), found.shape) == (place, number)


def test_light_that_is_the_same_everywhere_has_no_energy():
    flicker = np.random.default_rng(1).integers(0, 256, (20, 1, 1, 1), dtype=np.uint8) * np.ones(
        (1, 64, 80, 3), np.uint8
    )
    assert energies(flicker).max() < 1e-5 * energies(grating(0.0)).max()


def test_energy_at_one_place_by_its_sum(monkeypatch):
    monkeypatch.setattr(baselines, "ENERGY_POOL", 1)
    frames = np.random.default_rng(2).integers(0, 256, (11, 64, 80, 3), dtype=np.uint8)
    *_, last = motion_energy(iter(frames), FPS)
    light = (frames @ np.array([0.299, 0.587, 0.114]) / 255).reshape(11, 32, 2, 40, 2).mean(axis=(2, 4))
    filters = baselines._gabors()[:, 0].numpy().astype(float)
    pair, row, column = 5, 17, 23
    even, odd = filters[pair], filters[pair + 8]
    reach, total = len(even) // 2, 0
    window = np.hanning(11)[1:-1]
    for k in range(9):
        around = light[10 - k, row - reach : row + reach + 1, column - reach : column + reach + 1]
        response = np.sum(around * even) + 1j * np.sum(around * odd)
        total += window[k] / window.sum() * response * np.exp(2j * np.pi * -3.0 * k / FPS)
    assert last[16 + pair, row, column] == pytest.approx(abs(total), rel=1e-4)


def test_blocks_of_frames_do_not_matter(monkeypatch):
    frames = np.random.default_rng(3).integers(0, 256, (23, 64, 80, 3), dtype=np.uint8)
    at_once = np.stack([one.numpy() for one in motion_energy(iter(frames), FPS)])
    monkeypatch.setattr(baselines, "FRAMES_AT_ONCE", 5)
    in_blocks = np.stack([one.numpy() for one in motion_energy(iter(frames), FPS)])
    np.testing.assert_allclose(in_blocks, at_once, rtol=1e-4, atol=1e-6)


def test_files_hold_means_over_scans_and_are_computed_once(tmp_path, monkeypatch):
    movie = tmp_path / "m.mp4"
    write_video(movie, grating(3.0, n_frames=50), FPS)
    (file,) = baseline_files([movie], tmp_path / "cache", ("pixels", "motion"), 1.5)
    assert file.shapes == {"pixels": (3, 16, 20), "motion": (24, 8, 10)}
    assert (file.n_scans, file.tr_s) == (2, 1.5)
    both = {kind: baselines._pooled(movie, [kind], 1.5)[kind] for kind in BASELINES}
    for kind, values in both.items():
        np.testing.assert_allclose(file.read(kind), values.reshape(2, -1), atol=1e-6)
    monkeypatch.setattr(baselines, "_pooled", lambda *_: pytest.fail("computed again"))
    assert baseline_files([movie], tmp_path / "cache", ("motion", "pixels"), 1.5)[0].path == file.path
    with pytest.raises(ConfigError, match=r"Unknown baseline colour\. There are: pixels, motion"):
        baseline_files([movie], tmp_path / "cache", ("colour",), 1.5)


def test_movies_are_on_the_clock_of_the_run(tmp_path):
    write_video(tmp_path / "m.mp4", grating(3.0, n_frames=75), FPS)
    whole, late = Movie.of(tmp_path / "m.mp4"), Movie.of(tmp_path / "m.mp4").shifted(2.0)
    (file,), (early_file, late_file) = (
        baseline_files(movies, tmp_path / "cache", ("pixels",), 1.0)
        for movies in ([whole], [whole.shifted(-2.0), late])
    )
    assert (file.n_scans, early_file.n_scans, late_file.n_scans) == (5, 3, 7)
    np.testing.assert_allclose(early_file.read("pixels"), file.read("pixels")[2:], atol=1e-6)
    np.testing.assert_allclose(late_file.read("pixels")[2:], file.read("pixels"), atol=1e-6)
    np.testing.assert_allclose(late_file.read("pixels")[:2], 128 / 255, atol=0.01)


def test_movie_shorter_than_a_scan_is_refused(tmp_path):
    write_video(tmp_path / "m.mp4", grating(0.0, n_frames=9), FPS)
    with pytest.raises(DataError, match=r"do not fill scans of 2\.0 s"):
        baseline_files([tmp_path / "m.mp4"], tmp_path / "cache", ("pixels",), 2.0)
