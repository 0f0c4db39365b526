"""Frames fall into the scans during which they are shown, and every run is standardised by itself."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.numerics.timing import frame_scans, lanczos_scans, middle_frames, n_whole_scans, zscore_runs
from tests.reference.pooling_reference import lanczos_weight

RUNS = np.repeat(["b", "a", "c"], [11, 7, 13])


@pytest.mark.parametrize(
    ("duration_s", "tr_s", "expected"),
    [
        (10.0, 2.0, 5),
        (9.99, 2.0, 5),  # half a hundredth of a scan short
        (9.97, 2.0, 4),
        (9.0, 2.0, 4),
        (600.0, 0.1, 6000),
        (0.3, 0.1, 3),
        (1.0, 1.1, 0),
        (0.0, 1.0, 0),
    ],
)
def test_whole_scans_are_counted(duration_s, tr_s, expected):
    assert n_whole_scans(duration_s, tr_s) == expected


@pytest.mark.parametrize("fps", [15, 24, 30, 12.5])
def test_every_scan_of_a_second_holds_the_frames_of_that_second(fps):
    times_s = np.arange(round(fps * 60)) / fps
    expected = [int(frame // fps) for frame in range(len(times_s))]
    scans = frame_scans(times_s, 1.0)
    assert scans.dtype == np.int64
    assert scans.tolist() == expected


def test_a_time_just_short_of_a_scan_by_rounding_belongs_to_it():
    assert frame_scans([2.999, 2.9999999, 3.0], 1.0).tolist() == [2, 3, 3]
    times_s = np.arange(31) * 0.1  # 0.1 * 3 is a little more than 0.3, 0.1 * 29 a little less than 2.9
    assert frame_scans(times_s, 0.1).tolist() == list(range(31))


def test_repetition_time_that_frames_do_not_divide():
    times_s = np.arange(19) / 7
    expected = [int(frame / 7 / 0.9) for frame in range(19)]
    assert frame_scans(times_s, 0.9).tolist() == expected
    assert sorted(set(np.bincount(expected)[:-1].tolist())) == [6, 7]


@pytest.mark.parametrize(("times_s", "tr_s"), [([0.0, 1.0, 0.9], 1.0), ([0.0, 1.0], 0.0), ([0.0, 1.0], -2.0)])
def test_times_that_do_not_ascend_are_refused(times_s, tr_s):
    with pytest.raises(DataError, match="must ascend and tr_s must be positive"):
        frame_scans(times_s, tr_s)


@pytest.mark.parametrize("tr_s", [0.7, 1.3, 2.0])
@pytest.mark.parametrize("time_s", [0.0, 0.1, 0.65, 3.9, 4.55, 5.0, 17.31, 3601.7])
def test_lanczos_weights_equal_the_formula(time_s, tr_s):
    weights = lanczos_scans(time_s, tr_s)
    around = range(max(0, int(time_s / tr_s) - 9), int(time_s / tr_s) + 9)
    distances = {scan: (time_s - (scan + 0.5) * tr_s) / tr_s for scan in around}
    # A frame three scans away counts for nothing, within reach or not; rounding may have it either way.
    assert {scan for scan in around if abs(distances[scan]) < 3 - 1e-9} <= set(weights)
    assert set(weights) <= {scan for scan in around if abs(distances[scan]) < 3 + 1e-9}
    assert list(weights) == sorted(weights)
    for scan, weight in weights.items():
        assert weight == pytest.approx(lanczos_weight(distances[scan]), abs=1e-9)


@pytest.mark.parametrize(("fps", "tr_s"), [(15, 1.0), (23.976, 1.3), (0.4, 1.0), (7, 2.0)])
def test_middle_frames_are_those_on_the_screen(fps, tr_s):
    times_s = np.arange(40) / fps
    for scan, frame in enumerate(middle_frames(times_s, tr_s, 9)):
        shown = [t for t, time_s in enumerate(times_s) if time_s <= (scan + 0.5) * tr_s + 1e-6]
        assert frame == shown[-1]
    assert middle_frames([0.9, 1.9], 1.0, 2).tolist() == [0, 0]  # the first comes late


def test_lanczos_is_symmetric_about_the_middle_of_a_scan():
    for offset_s in (0.0, 0.2, 0.65, 1.1):
        before, after = (lanczos_scans(7.5 * 1.3 + sign * offset_s, 1.3) for sign in (-1, 1))
        assert {14 - scan: weight for scan, weight in before.items()} == pytest.approx(after)
    assert len({round(weight, 6) for weight in after.values()}) == len(after)


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [
        (0.0, [0, 1, 2]),
        (0.5, [0, 1, 2]),  # the middle of scan 3 is three seconds on
        (2.4, [0, 1, 2, 3, 4]),
        (3.4, [0, 1, 2, 3, 4, 5]),
        (3.5, [1, 2, 3, 4, 5]),
        (3.6, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_lanczos_reaches_less_than_three_scans_to_either_side(time_s, expected):
    assert list(lanczos_scans(time_s, 1.0)) == expected
    assert list(lanczos_scans(2 * time_s, 2.0)) == expected


def units(dtype=np.float64):
    rng = np.random.default_rng(0)
    return (rng.normal(0, 1, (31, 5)) * [1, 30, 0.01, 2, 7] + [0, 100, -3, 5, 0.5]).astype(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 3e-5)])
def test_zscores_equal_the_loop(dtype, tolerance):
    values = units(dtype)
    zscored, mean, std = zscore_runs(values, RUNS)
    assert zscored.dtype == dtype
    means, variances = [], []
    for run in ("a", "b", "c"):
        rows = [row for row in range(31) if RUNS[row] == run]
        own = values[rows].astype(float)
        means.append(own.sum(axis=0) / len(rows))
        variances.append(((own - means[-1]) ** 2).sum(axis=0) / len(rows))
        expected = (own - means[-1]) / np.sqrt(variances[-1])
        np.testing.assert_allclose(zscored[rows], expected, rtol=0, atol=tolerance * 100)
    np.testing.assert_allclose(mean, np.mean(means, axis=0), rtol=tolerance)
    np.testing.assert_allclose(std, np.sqrt(np.mean(variances, axis=0)), rtol=tolerance * 100)


def test_no_run_sees_another():
    values = units()
    changed = values.copy()
    changed[RUNS == "a"] = 1e6 * np.random.default_rng(1).standard_normal((7, 5))
    before, after = zscore_runs(values, RUNS)[0], zscore_runs(changed, RUNS)[0]
    np.testing.assert_array_equal(after[RUNS != "a"], before[RUNS != "a"])
    np.testing.assert_allclose(after[RUNS == "a"].std(axis=0), 1.0)
    assert not np.allclose(after[RUNS == "a"], before[RUNS == "a"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, 0.37, 0.9137, -1000.7])
@pytest.mark.parametrize("n_scans", [11, 121, 600])
def test_unit_constant_in_a_run_is_zero_there(n_scans, constant, dtype):
    values = np.random.default_rng(2).standard_normal((n_scans + 13, 3)).astype(dtype)
    values[:n_scans, 1] = constant
    zscored, _, _ = zscore_runs(values, np.repeat([0, 1], [n_scans, 13]))
    np.testing.assert_array_equal(zscored[:n_scans, 1], 0)
    np.testing.assert_allclose(zscored[n_scans:, 1].std(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(zscored[:n_scans, [0, 2]].std(axis=0), 1.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_small_spread_is_no_constant(scale):
    values = scale * np.random.default_rng(3).standard_normal((31, 2)).astype(np.float32)
    np.testing.assert_allclose(zscore_runs(values, RUNS)[0][RUNS == "b"].std(axis=0), 1.0, rtol=1e-5)


def test_inputs_stay_as_they_are():
    values = units()
    values.setflags(write=False)
    zscored, _, _ = zscore_runs(values, RUNS)
    assert not np.shares_memory(zscored, values)
