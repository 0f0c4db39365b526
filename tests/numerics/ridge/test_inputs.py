"""What is given is checked: arrays by scikit-learn, what is read piece by piece by its shape and as it is read."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from brainpred.errors import DataError
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.ridge.inputs import check_pair, check_runs, check_truth, is_lazy
from tests.numerics.ridge.problems import ALPHAS, LENGTHS, TEST_LENGTHS, Counted, simulate, stored

SETTINGS = {"alphas": ALPHAS, "delays_s": (1.0, 2.0), "device": "cpu", "precision": "float32"}


@pytest.mark.parametrize("kind", ["memmap", "hdf5"])
def test_what_lies_on_disk_is_read_piece_by_piece(kind, tmp_path):
    assert is_lazy(stored(kind, np.ones((5, 3)), tmp_path))
    assert is_lazy(Counted(np.ones((5, 3))))


@pytest.mark.parametrize(
    "values",
    [np.ones((5, 3)), [[1.0, 2.0]], pd.DataFrame(np.ones((5, 3))), scipy.sparse.eye(3).tocsr(), None],
    ids=lambda values: type(values).__name__,
)
def test_what_is_in_memory_is_scikit_learns_to_check(values):
    assert not is_lazy(values)


@pytest.mark.parametrize("kinds", [("memmap", "hdf5"), ("hdf5", "array"), ("array", "memmap"), ("array", "hdf5")])
def test_stored_features_and_targets_give_the_same_as_arrays(kinds, tmp_path):
    X, Y, runs = simulate(LENGTHS, np.float32, n_targets=7)
    test_X, test_Y, test_runs = simulate(TEST_LENGTHS, np.float32, seed=1, n_targets=7)
    arrays = BandedRidgeCV(**SETTINGS).fit(X, Y, runs)
    read = BandedRidgeCV(**SETTINGS).fit(stored(kinds[0], X, tmp_path), stored(kinds[1], Y, tmp_path), runs)
    assert read.n_features_in_ == 13
    kept_X, kept_Y = stored(kinds[0], test_X, tmp_path), stored(kinds[1], test_Y, tmp_path)
    np.testing.assert_array_equal(read.cv_scores_, arrays.cv_scores_)
    np.testing.assert_array_equal(read.predict(kept_X, test_runs), arrays.predict(test_X, test_runs))
    for method in ("score", "split_score", "feature_contributions"):
        # Blocks lie in another order in memory: products are rounded otherwise.
        np.testing.assert_allclose(
            getattr(read, method)(kept_X, kept_Y, test_runs), getattr(arrays, method)(test_X, test_Y, test_runs),
            rtol=0, atol=1e-6,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["memmap", "hdf5"])
def test_one_stored_target_may_be_flat(kind, tmp_path):
    X, Y, runs = simulate(LENGTHS, np.float32)
    flat = np.ascontiguousarray(Y[:, 1])
    array, read = (BandedRidgeCV(**SETTINGS).fit(X, one, runs) for one in (flat, stored(kind, flat, tmp_path)))
    np.testing.assert_array_equal(read.predict(X, runs), array.predict(X, runs))
    assert read.predict(X, runs).shape == (60,)
    for method in ("score", "split_score", "feature_contributions"):
        expected = getattr(array, method)(X, flat, runs)
        found = getattr(read, method)(X, stored(kind, flat, tmp_path), runs)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["memmap", "hdf5"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_stored_values_that_are_no_numbers_are_refused_and_named(kind, value, tmp_path):
    X, Y, runs = simulate(LENGTHS)
    broken = {"X": X.copy(), "Y": Y.copy()}
    broken["X"][5, 7] = broken["Y"][9, 3] = value
    kept = {name: stored(kind, array, tmp_path) for name, array in broken.items()}
    with pytest.raises(DataError, match="1 targets hold NaN or infinity, the first is target 3"):
        BandedRidgeCV(**SETTINGS).fit(X, kept["Y"], runs)
    with pytest.raises(DataError, match="X holds NaN or infinity: 1 values in columns 0 to 12, the first in column 7"):
        BandedRidgeCV(**SETTINGS).fit(kept["X"], Y, runs)
    ridge = BandedRidgeCV(**SETTINGS).fit(X, Y, runs)
    for method in (ridge.predict, ridge.split_predict):
        with pytest.raises(DataError, match="the first in column 7"):
            method(kept["X"], runs)


@pytest.mark.parametrize("broken", ["X", "Y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_in_memory_that_are_no_numbers_are_refused(broken, value):
    arrays = dict(zip("XYr", simulate(LENGTHS), strict=True))
    arrays[broken][5, 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        BandedRidgeCV().fit(arrays["X"], arrays["Y"], arrays["r"])


def test_value_in_memory_that_is_no_number_is_refused_in_prediction():
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(**SETTINGS).fit(X, Y, runs)
    X[5, 2] = np.nan
    for method in (ridge.predict, ridge.split_predict):
        with pytest.raises(ValueError, match="NaN"):
            method(X, runs)


@pytest.mark.parametrize(
    ("X_shape", "Y_shape"),
    [
        ((11, 3), (5, 11)),
        ((11, 3), (10, 5)),
        ((11,), (11, 5)),
        ((11, 3, 2), (11, 5)),
        ((11, 3), (11, 5, 2)),
        ((1, 3), (1, 5)),
    ],
)
def test_stored_arrays_that_do_not_fit_each_other_are_refused(X_shape, Y_shape, tmp_path):
    X, Y = stored("memmap", np.ones(X_shape), tmp_path), stored("memmap", np.ones(Y_shape), tmp_path)
    with pytest.raises(DataError, match=r"Expected X \(n_samples, n_features\) and Y .* with the same samples"):
        check_pair(BandedRidgeCV(), X, Y)


def test_other_numbers_of_features_are_refused_in_prediction(tmp_path):
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(**SETTINGS).fit(X, Y, runs)
    for fewer in (X[:, :-1], stored("memmap", X[:, :-1], tmp_path)):
        with pytest.raises((DataError, ValueError), match="13"):
            ridge.predict(fewer, runs)


@pytest.mark.parametrize(
    ("truth", "error", "message"),
    [
        (lambda Y: Y.T, DataError, r"must be \(60, 5\), .* received \(5, 60\)"),
        (lambda Y: Y[:, :-1], DataError, r"must be \(60, 5\), .* received \(60, 4\)"),
        (lambda Y: Y[:-1], DataError, r"must be \(60, 5\), .* received \(59, 5\)"),
        (lambda Y: Counted(Y[:-1]), DataError, r"must be \(60, 5\), .* received \(59, 5\)"),
        (lambda Y: np.where(Y > 2, np.nan, Y), ValueError, "NaN"),
    ],
    ids=["transposed", "a unit too few", "a sample too few", "stored", "NaN"],
)
@pytest.mark.parametrize("method", ["score", "split_score", "feature_contributions"])
def test_truth_that_does_not_fit_is_refused(method, truth, error, message):
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(**SETTINGS).fit(X, Y, runs)
    with pytest.raises(error, match=message):
        getattr(ridge, method)(X, truth(Y), runs)


def test_flat_truth_is_one_target():
    assert check_truth(np.ones(7), (7, 1)).shape == (7, 1)


def test_scattered_or_missing_run_labels_are_refused():
    X, Y, runs = simulate(LENGTHS)
    scattered = runs.copy()
    scattered[-1] = runs[0]
    ridge = BandedRidgeCV(**SETTINGS).fit(X, Y, runs)
    for wrong, message in (
        (scattered, "samples of a run must be neighbours"),
        (runs[:-1], r"expected \(60,\), received \(59,\)"),
        (runs[:, None], r"expected \(60,\), received \(60, 1\)"),
    ):
        for call in (lambda wrong=wrong: BandedRidgeCV().fit(X, Y, wrong), lambda wrong=wrong: ridge.predict(X, wrong)):
            with pytest.raises(DataError, match=message):
                call()
    assert check_runs(5, None).tolist() == [0] * 5
    assert check_runs(3, ["b", "a", "a"]).tolist() == ["b", "a", "a"]
