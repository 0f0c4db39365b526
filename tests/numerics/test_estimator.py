"""The banded ridge equals its primal form, keeps runs apart, finds nothing in noise, and refuses what it cannot use."""

import numpy as np
import pytest
from himalaya.backend import get_backend
from sklearn.utils.estimator_checks import parametrize_with_checks

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.ridge.estimator import BandedRidgeCV, leave_run_out
from brainpred.numerics.ridge.search import draw_candidates
from tests.reference import ridge_reference as reference

LABELS = np.array(["v1", "lo", "v1", "mt", "lo", "v1", "v1", "lo", "lo", "v1", "mt", "lo", "v1"])
LENGTHS, TEST_LENGTHS = (17, 11, 19, 13), (14, 9)
TR_S, DELAYS_S, DELAYS = 1.5, (0.0, 3.1, 4.4), (0, 2, 3)
ALPHAS = (0.1, 3.0, 100.0)


def simulate(lengths, dtype=np.float64, seed=0, n_targets=5):
    """Let each band drive other targets at other delays, some in much noise; weights are the same for every seed."""
    runs = np.repeat(np.arange(len(lengths)) * 7 % 5, lengths)
    X = np.random.default_rng([11, seed]).standard_normal((len(runs), len(LABELS)))
    rng = np.random.default_rng(12)
    Y = np.random.default_rng([13, seed]).normal(0.5, np.resize([0.5, 6, 1, 17, 3], n_targets), (len(runs), n_targets))
    for design, strong in zip(
        reference.band_designs(X, runs, LABELS, DELAYS, per_delay=True), rng.permutation(9), strict=True
    ):
        weights = 0.2 * rng.standard_normal((design.shape[1], n_targets))
        weights[:, strong % n_targets] *= 5
        Y += design @ weights
    return X.astype(dtype), Y.astype(dtype), runs


def reference_fit(X, Y, runs, labels, delays, *, per_delay, n_candidates, alphas):
    designs = reference.band_designs(X, runs, labels, delays, per_delay=per_delay)
    candidates = draw_candidates(len(designs), n_candidates, np.random.default_rng(0))
    return reference.fit(designs, Y, reference.folds_of(runs), candidates, np.asarray(alphas))


@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("bands", [None, LABELS])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-7), (np.float32, 1e-3)])
def test_equals_the_primal_form(bands, per_delay, dtype, tolerance):
    X, Y, runs = simulate(LENGTHS, dtype)
    test_X, test_Y, test_runs = simulate(TEST_LENGTHS, dtype, seed=1)
    labels = np.full(X.shape[1], "all") if bands is None else bands
    expected = reference_fit(X, Y, runs, labels, DELAYS, per_delay=per_delay, n_candidates=4, alphas=ALPHAS)
    designs = reference.band_designs(test_X, test_runs, labels, DELAYS, per_delay=per_delay)
    parts, whole = reference.predict(designs, expected)

    ridge = BandedRidgeCV(bands, per_delay=per_delay, delays_s=DELAYS_S, tr_s=TR_S, alphas=ALPHAS, n_candidates=4)
    ridge.fit(X, Y, runs)
    predicted = ridge.predict(test_X, test_runs)

    assert len(np.unique(expected.alphas)) > 1, "one alpha wins everywhere: nothing is chosen"
    np.testing.assert_array_equal(ridge.alphas_, np.asarray(expected.alphas, dtype))
    np.testing.assert_allclose(ridge.band_weights_ * ridge.alphas_, expected.gammas, rtol=1e-5)
    np.testing.assert_allclose(ridge.cv_scores_, expected.scores.max(axis=(0, 1)), rtol=0, atol=tolerance)
    np.testing.assert_allclose(predicted, whole, rtol=tolerance, atol=tolerance * whole.std())
    np.testing.assert_allclose(
        ridge.split_predict(test_X, test_runs), parts, rtol=tolerance, atol=tolerance * whole.std()
    )
    score = np.mean([reference.r2(test_Y[:, j], whole[:, j]) for j in range(whole.shape[1])])
    assert score > 0.1
    assert ridge.score(test_X, test_Y, test_runs) == pytest.approx(score, abs=10 * tolerance)


def test_all_that_is_fitted_and_predicted_keeps_the_precision_of_the_data():
    for dtype in (np.float32, np.float64):
        X, Y, runs = simulate(LENGTHS, dtype)
        ridge = BandedRidgeCV(alphas=ALPHAS).fit(X, Y, runs)
        assert ridge.dual_coef_.dtype == ridge.predict(X, runs).dtype == dtype


@pytest.mark.parametrize("per_delay", [False, True])
def test_parts_and_intercept_sum_to_the_prediction(per_delay):
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(LABELS, per_delay=per_delay, delays_s=DELAYS_S, tr_s=TR_S, alphas=ALPHAS).fit(X, Y, runs)
    parts = ridge.split_predict(X, runs)
    assert parts.shape == (len(ridge.band_names_), len(X), Y.shape[1])
    assert len(ridge.band_names_) == (9 if per_delay else 3)
    np.testing.assert_allclose(parts.sum(axis=0) + ridge.intercept_, ridge.predict(X, runs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [2, 4096])
@pytest.mark.parametrize("per_delay", [False, True])
def test_contributions_equal_those_of_explicit_primal_weights(per_delay, chunk):
    X, Y, runs = simulate(LENGTHS)
    test_X, test_Y, test_runs = simulate(TEST_LENGTHS, seed=1)
    fitted = reference_fit(X, Y, runs, LABELS, DELAYS, per_delay=per_delay, n_candidates=3, alphas=ALPHAS)
    expected = reference.voxel_contributions(test_X, test_runs, LABELS, DELAYS, fitted, test_Y, per_delay=per_delay)
    ridge = BandedRidgeCV(LABELS, per_delay=per_delay, delays_s=DELAYS_S, tr_s=TR_S, alphas=ALPHAS, n_candidates=3)
    ridge.fit(X, Y, runs)
    contributions = ridge.feature_contributions(test_X, test_Y, test_runs, chunk=chunk)
    np.testing.assert_allclose(contributions, expected, rtol=0, atol=1e-9)

    centred = test_Y - test_Y.mean(axis=0)
    predicted = ridge.predict(test_X, test_runs)
    whole = np.mean(np.sum(centred * predicted, axis=0) / np.sum(centred**2, axis=0))
    assert contributions.sum() == pytest.approx(whole, abs=1e-10)
    assert abs(whole) > 0.2


def test_contributions_leave_out_constant_targets_and_find_the_planted_voxel():
    rng = np.random.default_rng(5)
    runs = np.repeat([0, 1, 2], 31)
    X = rng.standard_normal((93, 7))
    Y = np.column_stack([X[:, 4] + 0.5 * rng.standard_normal(93), np.full(93, 2.0)])
    contributions = BandedRidgeCV(alphas=ALPHAS).fit(X, Y, runs).feature_contributions(X, Y, runs)
    assert contributions.argmax() == 4
    assert contributions[4] > 10 * np.abs(np.delete(contributions, 4)).max()
    # The constant target counts as one that nothing contributes to.
    assert 0.3 < contributions.sum() < 0.5


@pytest.mark.parametrize(
    ("truth", "error", "message"),
    [
        (lambda Y: Y.T, DataError, "expected"),
        (lambda Y: Y[:, :-1], DataError, "expected"),
        (lambda Y: Y[:-1], DataError, "expected"),
        (lambda Y: np.where(Y > 2, np.nan, Y), ValueError, "NaN"),
    ],
    ids=["transposed", "a unit too few", "a sample too few", "NaN"],
)
def test_contributions_refuse_a_truth_that_does_not_fit(truth, error, message):
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(alphas=ALPHAS).fit(X, Y, runs)
    with pytest.raises(error, match=message):
        ridge.feature_contributions(X, truth(Y), runs)


def test_constant_voxel_changes_nothing_but_its_band_and_contributes_nothing():
    X, Y, runs = simulate(LENGTHS)
    X[:, 3] = 0.1
    expected = reference_fit(X, Y, runs, LABELS, (0,), per_delay=False, n_candidates=4, alphas=ALPHAS)
    ridge = BandedRidgeCV(LABELS, alphas=ALPHAS, n_candidates=4).fit(X, Y, runs)
    np.testing.assert_array_equal(ridge.alphas_, expected.alphas)
    whole = reference.predict(reference.band_designs(X, runs, LABELS, (0,)), expected)[1]
    np.testing.assert_allclose(ridge.predict(X, runs), whole, rtol=0, atol=1e-8)
    assert abs(ridge.feature_contributions(X, Y, runs)[3]) < 1e-12


def test_constant_target_is_predicted_as_that_constant():
    X, Y, runs = simulate(LENGTHS)
    Y[:, 2] = -0.7
    ridge = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y, runs)
    predicted = ridge.predict(simulate(TEST_LENGTHS, seed=1)[0], simulate(TEST_LENGTHS)[2])
    np.testing.assert_allclose(predicted[:, 2], -0.7, rtol=0, atol=1e-12)
    others = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, np.delete(Y, 2, axis=1), runs)
    np.testing.assert_allclose(np.delete(ridge.predict(X, runs), 2, axis=1), others.predict(X, runs), atol=1e-9)


def test_band_of_nothing_but_zeros_predicts_nothing():
    X, Y, runs = simulate(LENGTHS)
    X[:, LABELS == "lo"] = 0
    expected = reference_fit(X, Y, runs, LABELS, DELAYS, per_delay=False, n_candidates=4, alphas=ALPHAS)
    ridge = BandedRidgeCV(LABELS, delays_s=DELAYS_S, tr_s=TR_S, alphas=ALPHAS, n_candidates=4).fit(X, Y, runs)
    parts, whole = reference.predict(reference.band_designs(X, runs, LABELS, DELAYS), expected)
    np.testing.assert_array_equal(ridge.alphas_, expected.alphas)
    np.testing.assert_allclose(ridge.predict(X, runs), whole, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ridge.split_predict(X, runs), parts, rtol=0, atol=1e-8)
    assert not parts[0].any()


def test_single_run_is_validated_in_blocks():
    X, Y, _ = simulate((43,))
    expected = reference_fit(X, Y, np.zeros(43), LABELS, (0,), per_delay=False, n_candidates=4, alphas=ALPHAS)
    ridge = BandedRidgeCV(LABELS, tr_s=TR_S, alphas=ALPHAS, n_candidates=4).fit(X, Y)
    np.testing.assert_array_equal(ridge.alphas_, expected.alphas)
    np.testing.assert_allclose(ridge.cv_scores_, expected.scores.max(axis=(0, 1)), rtol=0, atol=1e-8)
    whole = reference.predict(reference.band_designs(X, np.zeros(43), LABELS, (0,)), expected)[1]
    np.testing.assert_allclose(ridge.predict(X), whole, rtol=0, atol=1e-8)


def test_blocks_of_a_single_run_keep_their_distance_from_training():
    for train, test in leave_run_out(np.zeros(43), gap=4):
        assert min(abs(train[:, None] - test).min(axis=1)) == 5
    for train, test in leave_run_out(np.repeat([0, 1], 9), gap=4):
        assert len(train) + len(test) == 18, "runs need no gap"


@pytest.mark.parametrize("runs", [[3, 3, 1, 1, 1, 2, 2], ["b", "a", "c", "c"], [4, 4, 4], [4] * 13])
def test_every_sample_is_left_out_once(runs):
    folds = leave_run_out(np.array(runs))
    for (train, test), (expected_train, expected_test) in zip(folds, reference.folds_of(runs), strict=True):
        assert train.tolist() == expected_train.tolist()
        assert test.tolist() == expected_test.tolist()
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(runs)))


def test_one_target_may_be_flat():
    X, Y, runs = simulate(LENGTHS)
    flat = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y[:, 1], runs)
    column = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y[:, [1]], runs)
    assert flat.predict(X, runs).shape == (len(X),)
    assert column.predict(X, runs).shape == (len(X), 1)
    np.testing.assert_array_equal(flat.predict(X, runs), column.predict(X, runs)[:, 0])
    assert flat.score(X, Y[:, 1], runs) == pytest.approx(column.score(X, Y[:, [1]], runs))


@pytest.mark.parametrize("broken", ["X", "Y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(broken, value):
    arrays = dict(zip("XYr", simulate(LENGTHS), strict=True))
    arrays[broken][5, 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        BandedRidgeCV().fit(arrays["X"], arrays["Y"], arrays["r"])


def test_value_that_is_no_number_is_refused_in_prediction():
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(alphas=ALPHAS).fit(X, Y, runs)
    X[5, 2] = np.nan
    for method in (ridge.predict, ridge.split_predict):
        with pytest.raises(ValueError, match="NaN"):
            method(X, runs)


def test_scattered_or_missing_run_labels_are_refused():
    X, Y, runs = simulate(LENGTHS)
    scattered = runs.copy()
    scattered[-1] = runs[0]
    with pytest.raises(DataError, match="samples of a run must be neighbours"):
        BandedRidgeCV().fit(X, Y, scattered)
    with pytest.raises(DataError, match=r"expected \(60,\), received \(59,\)"):
        BandedRidgeCV().fit(X, Y, runs[:-1])
    ridge = BandedRidgeCV(alphas=ALPHAS).fit(X, Y, runs)
    with pytest.raises(DataError, match="samples of a run must be neighbours"):
        ridge.predict(X, scattered)


@pytest.mark.parametrize("bands", [LABELS[:-1], np.append(LABELS, "v1"), LABELS[:, None]])
def test_bands_of_the_wrong_length_are_refused(bands):
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(DataError, match="expected 13 labels"):
        BandedRidgeCV(bands).fit(X, Y, runs)


@pytest.mark.parametrize("alphas", [(0.0, 1.0), (1.0, -3.0), (), (float("nan"), 1.0), (float("inf"),)])
def test_alphas_that_are_not_positive_are_refused(alphas):
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(ConfigError, match="alphas must be one or more positive numbers"):
        BandedRidgeCV(alphas=alphas).fit(X, Y, runs)


def test_other_impossible_settings_are_refused():
    X, Y, runs = simulate(LENGTHS)
    for settings, message in (
        ({"n_candidates": 0}, "n_candidates must be 1 or more"),
        ({"delays_s": ()}, "delays_s must be"),
        ({"delays_s": (-1.0,)}, "delays_s must be"),
        ({"tr_s": 0.0}, "tr_s must be"),
        ({"device": "abacus"}, "Unknown device 'abacus'"),
    ):
        with pytest.raises(ConfigError, match=message):
            BandedRidgeCV(**settings).fit(X, Y, runs)


def test_renaming_bands_leaves_predictions_of_the_even_mixture():
    X, Y, runs = simulate(LENGTHS)
    renamed = np.array([{"lo": "z", "mt": "a", "v1": "m"}[label] for label in LABELS])
    settings = {"delays_s": DELAYS_S, "tr_s": TR_S, "alphas": ALPHAS, "n_candidates": 1}
    one, other = (BandedRidgeCV(bands, **settings).fit(X, Y, runs) for bands in (LABELS, renamed))
    np.testing.assert_allclose(other.predict(X, runs), one.predict(X, runs), rtol=0, atol=1e-9)
    np.testing.assert_allclose(other.split_predict(X, runs)[[2, 0, 1]], one.split_predict(X, runs), atol=1e-9)
    shuffled = np.random.default_rng(3).permutation(LABELS)
    third = BandedRidgeCV(shuffled, **settings).fit(X, Y, runs)
    assert np.abs(third.predict(X, runs) - one.predict(X, runs)).max() > 0.01


def test_order_of_voxels_leaves_predictions():
    X, Y, runs = simulate(LENGTHS)
    order = np.random.default_rng(4).permutation(X.shape[1])
    one = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y, runs)
    other = BandedRidgeCV(LABELS[order], alphas=ALPHAS).fit(X[:, order], Y, runs)
    np.testing.assert_array_equal(other.alphas_, one.alphas_)
    np.testing.assert_allclose(other.predict(X[:, order], runs), one.predict(X, runs), rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        other.feature_contributions(X[:, order], Y, runs), one.feature_contributions(X, Y, runs)[order], atol=1e-9
    )


def correlation(true, predicted):
    return np.array([np.corrcoef(y, y_hat)[0, 1] for y, y_hat in zip(true.T, predicted.T, strict=True)])


def test_pure_noise_scores_at_chance():
    rng = np.random.default_rng(8)
    runs = np.repeat([0, 1, 2, 3], [23, 19, 29, 31])
    X, Y = rng.standard_normal((102, 37)), rng.standard_normal((102, 211))
    train = runs < 3
    ridge = BandedRidgeCV(np.arange(37) % 3, delays_s=(1.0, 2.0), alphas=(0.1, 1.0))
    ridge.fit(X[train], Y[train], runs[train])
    r = correlation(Y[~train], ridge.predict(X[~train], runs[~train]))
    assert abs(r.mean()) < 4 * r.std() / np.sqrt(len(r))
    assert r.std() < 0.4
    assert correlation(Y[train], ridge.predict(X[train], runs[train])).mean() > 0.5, "no fit to speak of"


def test_scan_that_carries_the_run_before_does_not_help():
    """Plant a leak: the first scans of every run repeat the targets at the end of the run before."""
    rng = np.random.default_rng(9)
    runs, n_delay = np.repeat(np.arange(8), 11), 4
    X, Y = rng.standard_normal((88, 17)), rng.standard_normal((88, 17))
    plain = X.copy()
    for begin in range(11, 88, 11):
        X[begin : begin + n_delay] = 10 * Y[begin - n_delay : begin]
    train = runs < 5
    settings = {"delays_s": (float(n_delay),), "alphas": (0.1, 10.0, 1000.0)}
    ridge = BandedRidgeCV(**settings).fit(X[train], Y[train], runs[train])
    predicted = ridge.predict(X[~train], runs[~train])
    r = correlation(Y[~train], predicted)
    assert abs(r.mean()) < 4 * r.std() / np.sqrt(len(r))

    untouched = BandedRidgeCV(**settings).fit(plain[train], Y[train], runs[train])
    np.testing.assert_allclose(predicted, untouched.predict(plain[~train], runs[~train]), rtol=0, atol=1e-9)
    past_the_run = np.concatenate([np.arange(end - n_delay, end) for end in (11, 22, 33)])
    np.testing.assert_array_equal(predicted[past_the_run], np.tile(ridge.intercept_, (12, 1)))


def test_fit_and_prediction_are_the_same_every_time_and_leave_the_inputs_and_the_backend():
    X, Y, runs = simulate(LENGTHS, np.float32)
    copies = X.copy(), Y.copy(), runs.copy()
    before = get_backend()
    first = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y, runs).predict(X, runs)
    second = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y, runs).predict(X, runs)
    np.testing.assert_array_equal(first, second)
    for array, copy in zip((X, Y, runs), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert get_backend() is before


@parametrize_with_checks([BandedRidgeCV()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)
