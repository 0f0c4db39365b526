"""Pooled scans equal one weighted sum over all frames, and are given as soon as no later frame counts, not before."""

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError
from brainpred.features.pooling import POOLINGS, ScanPool
from tests.reference.pooling_reference import closing_frame, frames_within, pool_frames

SHAPES = {"R0": (3, 4, 5), "E1": (7, 2)}


def film(n_frames=97, seed=0):
    """Show frames at irregular times, and let a network say something of each."""
    rng = np.random.default_rng(seed)
    times_s = np.concatenate([[0.0], np.cumsum(rng.uniform(0.02, 0.31, n_frames - 1))])
    values = {unit: rng.normal(3, 1, (n_frames, *shape)).astype(np.float32) for unit, shape in SHAPES.items()}
    return times_s, values


def frame_of(values, number, dtype=torch.float32):
    return {unit: torch.from_numpy(array[number]).to(dtype) for unit, array in values.items()}


def pool_one_by_one(pool, times_s, values):
    """Give for every scan the frame after which it was given (None: after the last), its frames and its value."""
    given = {}
    for number, time_s in enumerate(times_s):
        pool.add(time_s, frame_of(values, number))
        for scan, n_frames, units in pool.finished(time_s):
            assert scan not in given
            given[scan] = (number, n_frames, units)
    for scan, n_frames, units in pool.finished(float("inf")):
        assert scan not in given
        given[scan] = (None, n_frames, units)
    return given


@pytest.mark.parametrize("tr_s", [0.7, 1.3, 2.0])
@pytest.mark.parametrize("pooling", ["mean", "last", "lanczos"])
def test_scans_equal_a_weighted_sum_over_all_frames(pooling, tr_s):
    times_s, values = film()
    n_scans = int(times_s[-1] / tr_s) + 1
    pool = ScanPool(pooling, tr_s)
    given = pool_one_by_one(pool, times_s, values)
    assert list(given)[:n_scans] == list(range(n_scans))
    for unit, array in values.items():
        expected = pool_frames(times_s, array, tr_s, n_scans, pooling)
        for scan in range(n_scans):
            value = given[scan][2][unit]
            assert value.dtype == torch.float32
            np.testing.assert_allclose(value, expected[scan], rtol=0, atol=2e-5)
    assert [given[scan][1] for scan in range(n_scans)] == [
        len(frames_within(times_s, tr_s, scan)) for scan in range(n_scans)
    ]
    assert not pool.sums
    assert not pool.weights
    assert not pool.n_frames


@pytest.mark.parametrize("tr_s", [0.7, 1.3, 2.0])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_scan_is_given_once_no_later_frame_counts_for_it(pooling, tr_s):
    times_s, values = film()
    given = pool_one_by_one(ScanPool(pooling, tr_s), times_s, values)
    for scan in range(int(times_s[-1] / tr_s) + 1):
        assert given[scan][0] == closing_frame(times_s, tr_s, scan, pooling)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_no_later_frame_changes_a_scan_that_was_given(pooling):
    times_s, values = film()
    for n_shown in (11, 40, 71):
        pool, given = ScanPool(pooling, 1.3), {}
        for number in range(n_shown):
            pool.add(times_s[number], frame_of(values, number))
            given |= {scan: units for scan, _, units in pool.finished(times_s[number])}
        other = {unit: array.copy() for unit, array in values.items()}
        for array in other.values():
            array[n_shown:] *= -7
        for unit, array in other.items():
            expected = pool_frames(times_s, array, 1.3, len(given), pooling)
            for scan, units in given.items():
                np.testing.assert_allclose(units[unit], expected[scan], rtol=0, atol=2e-5)


def test_irregular_frames_on_the_border_of_scans():
    times_s = [0.0, 0.3, 0.9999999, 1.0, 1.9, 2.9999999, 3.1]
    values = {"R0": np.array([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0], [64.0]], dtype=np.float32)}
    scans = {}
    for pooling in ("mean", "last"):
        given = pool_one_by_one(ScanPool(pooling, 1.0), times_s, values)
        scans[pooling] = {scan: float(units["R0"]) for scan, (_, _, units) in given.items()}
    # What a clock puts just short of a second belongs to that second; the third second has no frame.
    assert scans["mean"] == pytest.approx({0: 1.5, 1: 28 / 3, 3: 48.0})
    assert scans["last"] == {0: 2.0, 1: 16.0, 3: 64.0}


def test_lanczos_counts_no_frames_where_none_are_shown():
    times_s = np.delete(np.arange(70) / 10, slice(20, 30))
    values = {"R0": np.ones((60, 2), dtype=np.float32)}
    given = pool_one_by_one(ScanPool("lanczos", 1.0), times_s, values)
    assert [given[scan][1] for scan in range(7)] == [10, 10, 0, 10, 10, 10, 10]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_stays_the_same_is_pooled_to_itself(pooling):
    times_s, values = film()
    values = {unit: np.full_like(array, 0.37) for unit, array in values.items()}
    given = pool_one_by_one(ScanPool(pooling, 1.3), times_s, values)
    for scan in range(int(times_s[-1] / 1.3) + 1):
        for units in given[scan][2].values():
            np.testing.assert_allclose(units, 0.37, rtol=1e-5)


def test_lanczos_lets_slow_changes_through_and_stops_fast_ones():
    times_s = np.arange(600) / 20
    middles_s = np.arange(30) + 0.5
    for hz, lowest, highest in [(0.1, 0.95, 1.05), (1.0, 0.0, 0.05), (3.0, 0.0, 0.02)]:
        values = {"R0": np.cos(2 * np.pi * hz * (times_s - 15.5)).astype(np.float32)[:, None]}
        given = pool_one_by_one(ScanPool("lanczos", 1.0), times_s, values)
        pooled = np.array([float(given[scan][2]["R0"]) for scan in range(30)])
        inner = slice(4, 26)
        expected = np.cos(2 * np.pi * hz * (middles_s - 15.5))
        gain = pooled[inner] @ expected[inner] / (expected[inner] @ expected[inner])
        assert lowest <= abs(gain) <= highest, f"{hz} Hz"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_frames_stay_as_they_are_and_may_be_reused(pooling):
    times_s, values = film(31)
    n_scans = int(times_s[-1] / 0.9) + 1
    pool, given = ScanPool(pooling, 0.9), {}
    buffer = {unit: torch.empty(shape) for unit, shape in SHAPES.items()}
    for number, time_s in enumerate(times_s):
        for unit, array in values.items():
            buffer[unit].copy_(torch.from_numpy(array[number]))
        pool.add(time_s, buffer)
        for unit, array in values.items():
            np.testing.assert_array_equal(buffer[unit], array[number])
        given |= {scan: units for scan, _, units in pool.finished(time_s)}
    given |= {scan: units for scan, _, units in pool.finished(float("inf"))}
    for unit, array in values.items():
        expected = pool_frames(times_s, array, 0.9, n_scans, pooling)
        for scan in range(n_scans):
            np.testing.assert_allclose(given[scan][unit], expected[scan], rtol=0, atol=2e-5)


def test_half_precision_is_summed_in_float32():
    pool = ScanPool("mean", 100.0)
    for number in range(300):  # in bfloat16, 256 + 1 is 256
        pool.add(number / 10, {"R0": torch.ones(2, dtype=torch.bfloat16)})
    ((scan, n_frames, units),) = pool.finished(float("inf"))
    assert (scan, n_frames) == (0, 300)
    assert units["R0"].dtype == torch.float32
    assert units["R0"].tolist() == [1.0, 1.0]


def test_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match=r"Unknown pooling 'median'\. Choose one of: mean, last, lanczos"):
        ScanPool("median", 1.0)


@pytest.mark.parametrize("tr_s", [0.0, -1.3, float("nan"), float("inf")])
def test_repetition_time_must_be_positive(tr_s):
    with pytest.raises(ConfigError, match="tr_s must be a positive number of seconds"):
        ScanPool("mean", tr_s)
