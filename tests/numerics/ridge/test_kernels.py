"""Kernels of shifted Gram matrices equal those of explicit delayed copies."""

import numpy as np
import pytest
import torch

from brainpred.errors import DataError
from brainpred.numerics.ridge.kernels import BandKernels, band_names, column_chunks, cross_grams, voxel_bands
from tests.numerics.ridge.problems import LABELS, make_kernels, stored
from tests.reference import ridge_reference as reference

RUNS = np.repeat([4, 1, 9], [11, 2, 17])
OTHER_RUNS = np.repeat([2, 6], [13, 7])
MODULE = "brainpred.numerics.ridge.kernels."


def voxels(n_samples, seed, dtype=np.float64):
    values = np.random.default_rng(seed).standard_normal((n_samples, len(LABELS)))
    return (3 * values + np.linspace(-4, 9, len(LABELS))).astype(dtype)


def expected_kernels(left, left_runs, right, right_runs, labels, delays, *, per_delay=False):
    """Multiply explicit copies, both centred on the right's means and scaled by the right's kernels."""
    means = np.asarray(right, dtype=float).mean(axis=0)
    one, other = (
        reference.band_designs(X, runs, labels, delays, per_delay=per_delay, means=means)
        for X, runs in ((left, left_runs), (right, right_runs))
    )
    scales = reference.design_scales(other)
    return np.stack([a @ b.T / scale for a, b, scale in zip(one, other, scales, strict=True)]), scales


def crossed(test, train, delays, *, per_delay, dtype=torch.float64, labels=LABELS):
    numbers = voxel_bands(labels, train.shape[1])[1]
    fitted, means = BandKernels.of(train, RUNS, numbers, delays, per_delay=per_delay, dtype=dtype)
    grams = cross_grams(test, train, means, numbers, dtype=dtype)
    return BandKernels(grams, OTHER_RUNS, RUNS, delays, per_delay=per_delay, scale=fitted.scale)


@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("delays", [(0,), (3,), (1, 2, 5), (0, 4, 12), (2, 17, 30, 41)])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_training_kernels_equal_those_of_delayed_copies(labels, delays, per_delay):
    x = voxels(len(RUNS), 0)
    kernels = make_kernels(x, RUNS, labels, delays, per_delay=per_delay)
    names = np.full(x.shape[1], "all") if labels is None else labels
    expected, scales = expected_kernels(x, RUNS, x, RUNS, names, delays, per_delay=per_delay)
    assert kernels.n_bands == len(expected) == (1 if labels is None else 3) * (len(delays) if per_delay else 1)
    assert kernels.shape == (30, 30)
    np.testing.assert_allclose(kernels.scale, scales, rtol=1e-12)
    np.testing.assert_allclose(kernels.materialise().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("per_delay", [False, True])
def test_kernels_between_test_and_training_equal_those_of_delayed_copies(per_delay):
    test, train = voxels(len(OTHER_RUNS), 1), voxels(len(RUNS), 2)
    delays = (2, 3, 8)
    kernels = crossed(test, train, delays, per_delay=per_delay)
    expected, _ = expected_kernels(test, OTHER_RUNS, train, RUNS, LABELS, delays, per_delay=per_delay)
    assert kernels.shape == (20, 30)
    np.testing.assert_allclose(kernels.materialise().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("per_delay", [False, True])
def test_float32_kernels_are_right_to_a_millionth(per_delay):
    test, train = voxels(len(OTHER_RUNS), 3, np.float32), voxels(len(RUNS), 4, np.float32)
    for kernels, left, runs in (
        (make_kernels(train, RUNS, delays=(1, 3), per_delay=per_delay, dtype=torch.float32), train, RUNS),
        (crossed(test, train, (1, 3), per_delay=per_delay, dtype=torch.float32), test, OTHER_RUNS),
    ):
        expected, _ = expected_kernels(left, runs, train, RUNS, LABELS, (1, 3), per_delay=per_delay)
        assert kernels.dtype == kernels.materialise().dtype == torch.float32
        np.testing.assert_allclose(kernels.materialise().numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("per_delay", [False, True])
def test_centred_kernels_have_a_mean_diagonal_of_1(per_delay):
    kernels = make_kernels(voxels(len(RUNS), 5), RUNS, delays=(1, 4), per_delay=per_delay).materialise().numpy()
    centring = np.eye(len(RUNS)) - 1 / len(RUNS)
    diagonals = [np.mean(np.diag(centring @ kernel @ centring)) for kernel in kernels]
    np.testing.assert_allclose(diagonals, 1.0, rtol=1e-12)
    assert np.abs(np.array([np.mean(np.diag(kernel)) for kernel in kernels]) - 1).max() > 1e-3


@pytest.mark.parametrize("per_delay", [False, True])
def test_combination_is_the_weighted_sum_and_inner_product_its_adjoint(per_delay):
    rng = np.random.default_rng(6)
    test, train = voxels(len(OTHER_RUNS), 7), voxels(len(RUNS), 8)
    for kernels in (
        make_kernels(train, RUNS, delays=(1, 5), per_delay=per_delay),
        crossed(test, train, (1, 5), per_delay=per_delay),
    ):
        weights = rng.standard_normal(kernels.n_bands)
        weights[1] = 0
        matrix = torch.as_tensor(rng.standard_normal(kernels.shape))
        before = matrix.clone()
        one_by_one = kernels.materialise()
        combined, products = kernels.combine(weights), kernels.inner(matrix)
        np.testing.assert_allclose(combined.numpy(), np.tensordot(weights, one_by_one.numpy(), 1), atol=1e-12)
        np.testing.assert_allclose(products, (one_by_one * matrix).sum(dim=(1, 2)).numpy(), atol=1e-10)
        assert float((combined * matrix).sum()) == pytest.approx(weights @ products, abs=1e-10)
        np.testing.assert_array_equal(kernels.materialise().numpy(), one_by_one.numpy(), "using them changes them")
        np.testing.assert_array_equal(matrix.numpy(), before.numpy())


@pytest.mark.parametrize("kind", ["memmap", "hdf5"])
def test_stored_features_give_the_kernels_of_arrays(kind, tmp_path):
    test, train = voxels(len(OTHER_RUNS), 9, np.float32), voxels(len(RUNS), 10, np.float32)
    arrays = crossed(test, train, (0, 3), per_delay=True, dtype=torch.float32)
    read = crossed(
        stored(kind, test, tmp_path), stored(kind, train, tmp_path), (0, 3), per_delay=True, dtype=torch.float32
    )
    np.testing.assert_array_equal(read.materialise().numpy(), arrays.materialise().numpy())
    np.testing.assert_array_equal(read.scale, arrays.scale)


@pytest.mark.parametrize("dtype", [np.float16, np.int16, np.uint8, np.int64])
def test_other_kinds_of_numbers_are_taken_at_their_value(dtype):
    x = (np.abs(voxels(len(RUNS), 11)) * 4).astype(dtype)
    expected, _ = expected_kernels(x, RUNS, x, RUNS, LABELS, (0, 2))
    np.testing.assert_allclose(make_kernels(x, RUNS, delays=(0, 2)).materialise().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_of_columns_and_blocks_of_rows_change_nothing(dtype, monkeypatch):
    test, train = voxels(len(OTHER_RUNS), 12), voxels(len(RUNS), 13)
    matrix = torch.as_tensor(np.random.default_rng(14).standard_normal((30, 30)), dtype=dtype)
    numbers = voxel_bands(LABELS, len(LABELS))[1]

    def compute():
        widths = []
        whole, means = BandKernels.of(train, RUNS, numbers, (0, 3), dtype=dtype, on_chunk=widths.append)
        across = crossed(test, train, (0, 3), per_delay=False, dtype=dtype)
        return (whole.materialise(), across.materialise(), whole.scale, whole.inner(matrix), means), widths

    at_once, widths = compute()
    assert widths == [13]
    monkeypatch.setattr(MODULE + "CHUNK_BYTES", 2 * 30 * dtype.itemsize)
    monkeypatch.setattr(MODULE + "ROWS_A_BLOCK", 7)
    in_pieces, widths = compute()
    assert widths == [2, 2, 2, 2, 2, 2, 1]
    for one, other in zip(at_once, in_pieces, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-4)


def test_a_chunk_has_one_column_at_least():
    assert column_chunks(10**12, 3, torch.float32) == [slice(0, 1), slice(1, 2), slice(2, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.7])
def test_constant_feature_counts_for_nothing(constant, dtype):
    x, test = voxels(len(RUNS), 15, dtype), voxels(len(OTHER_RUNS), 16, dtype)
    x[:, 5] = constant
    for kernels, without in (
        (make_kernels(x, RUNS), make_kernels(np.delete(x, 5, axis=1), RUNS, np.delete(LABELS, 5))),
        (
            crossed(test, x, (0, 3), per_delay=False),
            crossed(np.delete(test, 5, 1), np.delete(x, 5, 1), (0, 3), per_delay=False, labels=np.delete(LABELS, 5)),
        ),
    ):
        np.testing.assert_allclose(kernels.scale, without.scale, rtol=1e-12)
        np.testing.assert_allclose(kernels.materialise(), without.materialise(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.7])
def test_band_of_constant_features_has_a_kernel_of_zeros(constant, dtype, per_delay):
    x = voxels(len(RUNS), 17, dtype)
    x[:, LABELS == "mt"] = constant
    held = torch.float32 if dtype == np.float32 else torch.float64
    kernels = make_kernels(x, RUNS, delays=(0, 3), per_delay=per_delay, dtype=held)
    n_delays = 2 if per_delay else 1
    mt = slice(n_delays, 2 * n_delays)
    assert not kernels.materialise()[mt].any()
    assert kernels.scale[mt].tolist() == [1.0] * n_delays
    assert kernels.materialise()[0].any()


def test_samples_whose_scan_lies_past_the_run_see_nothing():
    kernel = make_kernels(voxels(len(RUNS), 18), RUNS, None, (3, 4)).combine([1.0])
    sees = kernel.any(dim=1).numpy()
    # Runs of 11, 2 and 17 scans: the last three of each have no scan 3 later.
    assert np.flatnonzero(~sees).tolist() == [8, 9, 10, 11, 12, 27, 28, 29]


def test_scans_before_the_first_delay_are_never_read():
    x = voxels(len(RUNS), 19)
    unread = [0, 1, 2, 11, 12, 13, 14, 15]
    changed = x.copy()
    changed[unread] = x[unread[::-1]]  # the means stay
    one, other = (make_kernels(X, RUNS, delays=(3, 5)).materialise() for X in (x, changed))
    np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("chunked", [False, True])
def test_value_that_is_no_number_is_refused_and_its_column_named(value, chunked, monkeypatch):
    if chunked:
        monkeypatch.setattr(MODULE + "CHUNK_BYTES", 2 * 30 * 8)
    x, test = voxels(len(RUNS), 20), voxels(len(OTHER_RUNS), 21)
    broken, broken_test = x.copy(), test.copy()
    broken[3, 7] = broken[9, 7] = broken[2, 11] = value
    broken_test[3, 7] = value
    with pytest.raises(DataError, match="the first in column 7"):
        make_kernels(broken, RUNS)
    numbers = voxel_bands(LABELS, len(LABELS))[1]
    with pytest.raises(DataError, match=r"1 values in columns .* the first in column 7"):
        cross_grams(broken_test, x, x.mean(axis=0), numbers)


def test_means_are_those_of_the_features_and_inputs_stay_as_they_are():
    test, train = voxels(len(OTHER_RUNS), 22, np.float32), voxels(len(RUNS), 23, np.float32)
    for array in (test, train):
        array.setflags(write=False)
    crossed(test, train, (1,), per_delay=False)
    _, means = BandKernels.of(train, RUNS, voxel_bands(LABELS, 13)[1], (1,))
    np.testing.assert_allclose(means, train.astype(float).mean(axis=0), rtol=1e-7)


def test_bands_are_numbered_in_sorted_order():
    names, numbers = voxel_bands(LABELS, len(LABELS))
    assert names == ["lo", "mt", "v1"]
    assert [names[number] for number in numbers] == LABELS.tolist()
    names, numbers = voxel_bands(None, 5)
    assert names == ["all"]
    assert numbers.tolist() == [0] * 5


def test_names_follow_the_order_of_the_kernels():
    assert band_names(LABELS, len(LABELS), (2, 5), per_delay=False) == ["lo", "mt", "v1"]
    assert band_names(["b", "a", "b"], 3, (2, 5), per_delay=True) == ["a+2", "a+5", "b+2", "b+5"]
    assert band_names(None, 3, (4,), per_delay=True) == ["all+4"]
