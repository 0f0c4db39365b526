"""Units as they are swapped: read scan by scan, their spread restored without a look at the truth."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from brainpred.decoding.result import open_result, save_result
from brainpred.errors import ConfigError, DataError
from brainpred.reconstruction import units as units_module
from brainpred.reconstruction.units import open_units, restore_variance
from tests.decoding.test_result import make_result

CLIPS = np.array(["test-01"] * 4 + ["c2"] * 3)


@pytest.fixture
def result():
    return replace(make_result(), std=np.abs(make_result().std) + 0.1)


@pytest.fixture
def path(tmp_path, result):
    save_result(result, tmp_path / "decoded_R1.h5", "key", simulated=True)
    return tmp_path / "decoded_R1.h5"


@contextmanager
def units_of(path, *options, **more):
    with open_result(path) as file, open_units(file, *options, **more) as units:
        yield units


def restored_by_loop(decoded, runs, mean, std, power):
    out = np.empty_like(decoded)
    for unit in range(decoded.shape[1]):
        for run in set(runs.tolist()):
            values = [decoded[t, unit] for t in range(len(runs)) if runs[t] == run]
            centre = sum(values) / len(values)
            spread = (sum((value - centre) ** 2 for value in values) / len(values)) ** 0.5
            for t in range(len(runs)):
                if runs[t] == run:
                    out[t, unit] = mean[unit] + (decoded[t, unit] - centre) * (std[unit] / spread) ** power
    return out


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_restored_spread_against_a_loop(result, power):
    before = result.decoded.copy()
    restored = restore_variance(result.decoded, CLIPS, result.mean, result.std, power)
    expected = restored_by_loop(result.decoded, CLIPS, result.mean, result.std, power)
    np.testing.assert_allclose(restored, expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_array_equal(result.decoded, before)


def test_constant_units_become_the_mean_and_nothing_else(result):
    decoded = result.decoded.copy()
    decoded[:, 2] = 0.7
    restored = restore_variance(decoded, CLIPS, result.mean, result.std, 1.0)
    np.testing.assert_allclose(restored[:, 2], result.mean[2], rtol=1e-6)
    others = np.arange(decoded.shape[1]) != 2
    for clip in ("test-01", "c2"):
        np.testing.assert_allclose(restored[clip == CLIPS][:, others].std(axis=0), result.std[others], rtol=1e-3)


@pytest.mark.parametrize("runs", ["test", "train"])
def test_units_are_read_scan_by_scan(path, result, runs):
    true, decoded, other = (
        (result.true, result.decoded, result.train_true)
        if runs == "test"
        else (result.train_true, result.train_decoded, result.true)
    )
    with units_of(path, runs, "ridge") as units:
        assert units.shape == (2, 3, 5)
        assert units.clips.tolist() == (result.runs if runs == "test" else result.train_runs).tolist()
        np.testing.assert_array_equal(units.mean, result.mean)
        np.testing.assert_array_equal(units.true(2), true[2])
        np.testing.assert_array_equal(units.decoded(1), decoded[1])
        np.testing.assert_array_equal(units.wrong(1), other[1])
        np.testing.assert_array_equal(units.wrong(2), other[2 % len(other)])


@pytest.mark.parametrize(("variance", "power"), [("halfway", 0.5), ("matched", 1.0)])
def test_restored_units_block_by_block_are_those_at_once(path, result, variance, power, monkeypatch):
    monkeypatch.setattr(units_module, "BLOCK_BYTES", 4 * 7 * 11)  # 11 units at a time
    expected = restore_variance(result.decoded, CLIPS, result.mean, result.std, power)
    with units_of(path, "test", variance) as units:
        np.testing.assert_array_equal([units.decoded(row) for row in range(7)], expected)
        np.testing.assert_array_equal(units.true(3), result.true[3])


def test_restoring_does_not_look_at_the_truth(path, tmp_path, result):
    other = replace(result, true=result.true[::-1] * 3)
    save_result(other, tmp_path / "other.h5", "key", simulated=True)
    with units_of(path) as one, units_of(tmp_path / "other.h5") as two:
        np.testing.assert_array_equal(one.decoded(5), two.decoded(5))


def test_unusable_requests(path, tmp_path, result):
    with pytest.raises(ConfigError, match=r"runs 'all'.*test, train"), units_of(path, "all"):
        pass
    with (
        pytest.raises(ConfigError, match=r"variance 'full'.*ridge, halfway, matched"),
        units_of(path, variance="full"),
    ):
        pass


def test_without_training_sample_the_next_clip_is_another_movie(tmp_path, result):
    nothing = {"train_runs": np.empty(0, "<U1"), "train_true": result.train_true[:0], "train_decoded": result.true[:0]}
    save_result(replace(result, **nothing), tmp_path / "loro.h5", "key", simulated=True)
    with pytest.raises(DataError, match="held out in turn"), units_of(tmp_path / "loro.h5", "train"):
        pass
    with units_of(tmp_path / "loro.h5") as units:  # clips of 4 and 3 scans
        wrong = [units.wrong(row) for row in range(7)]
    np.testing.assert_array_equal(wrong, result.true[[4, 5, 6, 4, 0, 1, 2]])


def test_errors_inside_stay_what_they_are(path):
    with pytest.raises(KeyError, match="mine"), units_of(path):
        raise KeyError("mine")
