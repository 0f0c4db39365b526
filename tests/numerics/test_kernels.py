"""Kernels of shifted Gram matrices equal those of explicit delayed copies."""

import numpy as np
import pytest

from brainpred.numerics.ridge.kernels import band_kernels, band_names, voxel_bands
from tests.reference.ridge_reference import band_designs

RUNS = np.repeat([4, 1, 9], [11, 2, 17])
OTHER_RUNS = np.repeat([2, 6], [13, 7])
LABELS = np.array(["v1", "lo", "v1", "mt", "lo", "v1", "v1", "lo", "lo", "v1", "mt", "lo", "v1"])


def voxels(n_samples, seed, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n_samples, len(LABELS))).astype(dtype)


def explicit_kernels(left, left_runs, right, right_runs, labels, delays, *, per_delay):
    pairs = zip(
        band_designs(left, left_runs, labels, delays, per_delay=per_delay),
        band_designs(right, right_runs, labels, delays, per_delay=per_delay),
        strict=True,
    )
    return np.stack([one @ other.T for one, other in pairs])


@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("delays", [(0,), (3,), (1, 2, 5), (0, 4, 12)])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_training_kernels_equal_those_of_delayed_copies(labels, delays, per_delay):
    x = voxels(len(RUNS), 0)
    _, columns = voxel_bands(labels, x.shape[1])
    kernels = band_kernels(x, RUNS, x, RUNS, columns, delays, per_delay=per_delay)
    names = np.full(x.shape[1], "all") if labels is None else labels
    expected = explicit_kernels(x, RUNS, x, RUNS, names, delays, per_delay=per_delay)
    assert kernels.shape == ((1 if labels is None else 3) * (len(delays) if per_delay else 1), 30, 30)
    np.testing.assert_allclose(kernels, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(kernels, kernels.transpose(0, 2, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("per_delay", [False, True])
def test_kernels_between_test_and_training_equal_those_of_delayed_copies(per_delay):
    test, train = voxels(len(OTHER_RUNS), 1), voxels(len(RUNS), 2)
    names, columns = voxel_bands(LABELS, len(LABELS))
    delays = (2, 3, 8)
    kernels = band_kernels(test, OTHER_RUNS, train, RUNS, columns, delays, per_delay=per_delay)
    expected = explicit_kernels(test, OTHER_RUNS, train, RUNS, LABELS, delays, per_delay=per_delay)
    assert names == ["lo", "mt", "v1"]
    assert kernels.shape == (3 * (3 if per_delay else 1), 20, 30)
    np.testing.assert_allclose(kernels, expected, rtol=0, atol=1e-10)


def test_float32_kernels_are_exact_to_float32():
    x = voxels(len(RUNS), 3, np.float32)
    _, columns = voxel_bands(LABELS, x.shape[1])
    kernels = band_kernels(x, RUNS, x, RUNS, columns, (1, 3))
    expected = explicit_kernels(x, RUNS, x, RUNS, LABELS, (1, 3), per_delay=False)
    assert kernels.dtype == np.float32
    np.testing.assert_allclose(kernels, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_samples_whose_scan_lies_past_the_run_see_nothing():
    x = voxels(len(RUNS), 4)
    (kernel,) = band_kernels(x, RUNS, x, RUNS, [np.arange(x.shape[1])], (3, 4))
    sees = np.array([kernel[row].any() for row in range(len(RUNS))])
    # Runs of 11, 2 and 17 scans: the last three of each have no scan 3 later.
    assert np.flatnonzero(~sees).tolist() == [8, 9, 10, 11, 12, 27, 28, 29]


def test_scans_before_the_first_delay_are_never_read():
    x = voxels(len(RUNS), 5)
    changed = x.copy()
    changed[[0, 1, 2, 11, 12, 13, 14, 15]] += 1e6
    columns = [np.arange(x.shape[1])]
    np.testing.assert_allclose(
        band_kernels(changed, RUNS, changed, RUNS, columns, (3, 5)),
        band_kernels(x, RUNS, x, RUNS, columns, (3, 5)),
        rtol=1e-12,
        atol=1e-12,
    )


def test_inputs_stay_as_they_are_and_bands_are_reported():
    test, train = voxels(len(OTHER_RUNS), 6), voxels(len(RUNS), 7)
    test.setflags(write=False)
    train.setflags(write=False)
    done = []
    _, columns = voxel_bands(LABELS, len(LABELS))
    band_kernels(test, OTHER_RUNS, train, RUNS, columns, (1,), on_band=lambda: done.append(1))
    assert len(done) == 3


def test_bands_hold_every_voxel_once_in_sorted_order():
    names, columns = voxel_bands(LABELS, len(LABELS))
    assert names == ["lo", "mt", "v1"]
    assert [c.tolist() for c in columns] == [[1, 4, 7, 8, 11], [3, 10], [0, 2, 5, 6, 9, 12]]
    names, columns = voxel_bands(None, 5)
    assert names == ["all"]
    assert columns[0].tolist() == [0, 1, 2, 3, 4]


def test_names_follow_the_order_of_the_kernels():
    assert band_names(LABELS, len(LABELS), (2, 5), per_delay=False) == ["lo", "mt", "v1"]
    assert band_names(["b", "a", "b"], 3, (2, 5), per_delay=True) == ["a+2", "a+5", "b+2", "b+5"]
    assert band_names(None, 3, (4,), per_delay=True) == ["all+4"]
