"""The banded ridge equals its primal form, is the same every time, and refuses what it cannot use."""

import numpy as np
import pytest
from himalaya.backend import get_backend
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.ridge.search import draw_candidates
from tests.numerics.ridge.problems import (
    ALPHAS,
    DELAYS,
    DELAYS_S,
    EXACT,
    LABELS,
    LENGTHS,
    TEST_LENGTHS,
    TR_S,
    Counted,
    simulate,
)
from tests.recorder import Recorder
from tests.reference import ridge_reference as reference

SETTINGS = {"delays_s": DELAYS_S, "tr_s": TR_S, "alphas": ALPHAS, **EXACT}


def reference_fit(X, Y, folds, labels, delays, *, per_delay=False, n_candidates=4):
    designs = reference.band_designs(X, folds_runs(folds, len(X)), labels, delays, per_delay=per_delay)
    candidates = draw_candidates(len(designs), n_candidates, np.random.default_rng(0))
    return reference.fit(designs, Y, folds, candidates, np.asarray(ALPHAS))


def folds_runs(folds, n_samples):
    """Give the runs that these folds leave out one at a time."""
    runs = np.empty(n_samples, dtype=int)
    for number, (_, test) in enumerate(folds):
        runs[test] = number
    return runs


@pytest.mark.parametrize("search", ["per-target", "himalaya"])
@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("bands", [None, LABELS])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-6), ("float32", 1e-3)])
def test_equals_the_primal_form(bands, per_delay, precision, tolerance, search):
    X, Y, runs = simulate(LENGTHS)
    test_X, _, test_runs = simulate(TEST_LENGTHS, seed=1)
    labels = np.full(X.shape[1], "all") if bands is None else bands
    expected = reference_fit(X, Y, reference.folds_of(runs), labels, DELAYS, per_delay=per_delay)
    designs = reference.band_designs(test_X, test_runs, labels, DELAYS, per_delay=per_delay, means=X.mean(axis=0))
    parts, whole = reference.predict(designs, expected)

    settings = {**SETTINGS, "precision": precision, "search": search, "n_candidates": 4}
    ridge = BandedRidgeCV(bands, per_delay=per_delay, **settings).fit(X, Y, runs)
    predicted = ridge.predict(test_X, test_runs)
    assert len(np.unique(expected.alphas)) > 1, "one alpha wins everywhere: nothing is chosen"
    np.testing.assert_array_equal(ridge.alphas_, expected.alphas)
    np.testing.assert_array_equal(ridge.band_weights_, expected.gammas)
    np.testing.assert_allclose(ridge.cv_scores_, expected.scores.max(axis=(0, 1)), rtol=0, atol=tolerance)
    np.testing.assert_allclose(predicted, whole, rtol=tolerance, atol=tolerance * whole.std())
    np.testing.assert_allclose(
        ridge.split_predict(test_X, test_runs), parts, rtol=tolerance, atol=tolerance * whole.std()
    )


def test_precision_that_is_asked_for_is_that_of_predictions_whatever_the_data():
    for dtype in (np.float32, np.float64):
        X, Y, runs = simulate(LENGTHS, dtype)
        for precision, expected in (("float64", np.float64), ("float32", np.float32), ("bfloat16", np.float32)):
            ridge = BandedRidgeCV(alphas=ALPHAS, precision=precision, device="cpu").fit(X, Y, runs)
            assert ridge.predict(X, runs).dtype == ridge.split_predict(X, runs).dtype == expected
            assert ridge.intercept_.dtype == expected
            assert ridge.band_weights_.dtype == ridge.alphas_.dtype == np.float64


def test_shapes_of_what_is_fitted():
    X, Y, runs = simulate(LENGTHS, n_targets=7)
    ridge = BandedRidgeCV(LABELS, cluster=np.arange(7) % 2, **SETTINGS).fit(X, Y, runs)
    assert ridge.band_names_ == ["lo", "mt", "v1"]
    assert ridge.delays_ == DELAYS
    assert ridge.gammas_.shape == (2, 3)
    assert ridge.gamma_index_.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert ridge.band_weights_.shape == (3, 7)
    np.testing.assert_allclose(ridge.band_weights_.sum(axis=0), 1.0)
    np.testing.assert_array_equal(ridge.alphas_, np.array(ALPHAS)[ridge.alpha_index_])
    assert ridge.cv_scores_.shape == (7,)
    assert ridge.audit_.n_targets == 7


def test_clusters_of_a_fit_equal_fits_of_clusters():
    X, Y, runs = simulate(LENGTHS, n_targets=11)
    cluster = np.array(list("bacbacbacba"))
    together = BandedRidgeCV(LABELS, cluster=cluster, **SETTINGS).fit(X, Y, runs)
    assert len(np.unique(together.gammas_.round(4), axis=0)) == 3
    for label in "abc":
        members = cluster == label
        alone = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y[:, members], runs)
        np.testing.assert_allclose(together.band_weights_[:, members], alone.band_weights_, rtol=0, atol=1e-8)
        np.testing.assert_allclose(together.predict(X, runs)[:, members], alone.predict(X, runs), rtol=0, atol=1e-7)


def test_single_run_is_validated_in_blocks():
    X, Y, _ = simulate((43,))
    expected = reference_fit(X, Y, reference.folds_of(np.zeros(43)), LABELS, (0,))
    ridge = BandedRidgeCV(LABELS, alphas=ALPHAS, n_candidates=4, search="per-target", **EXACT).fit(X, Y)
    np.testing.assert_array_equal(ridge.alphas_, expected.alphas)
    np.testing.assert_allclose(ridge.cv_scores_, expected.scores.max(axis=(0, 1)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("search", ["shared", "per-target"])
def test_blocks_of_a_single_run_keep_as_far_away_as_the_longest_delay(search):
    X, Y, _ = simulate((97,))
    folds = reference.with_gaps(reference.folds_of(np.zeros(97)), 3)
    of_itself = BandedRidgeCV(LABELS, search=search, **SETTINGS).fit(X, Y)
    given = BandedRidgeCV(LABELS, search=search, cv=folds, **SETTINGS).fit(X, Y)
    np.testing.assert_array_equal(of_itself.cv_scores_, given.cv_scores_)
    near = BandedRidgeCV(LABELS, search=search, cv=reference.folds_of(np.zeros(97)), **SETTINGS).fit(X, Y)
    assert np.abs(near.cv_scores_ - given.cv_scores_).max() > 1e-4


def test_groups_are_left_out_together():
    X, Y, runs = simulate((17, 11, 19, 13, 12))
    clips = np.repeat([0, 1, 0, 2, 1], [17, 11, 19, 13, 12])
    folds = reference.folds_of(clips)
    grouped = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y, runs, clips)
    given = BandedRidgeCV(LABELS, cv=folds, **SETTINGS).fit(X, Y, runs)
    np.testing.assert_array_equal(grouped.cv_scores_, given.cv_scores_)
    by_splitter = BandedRidgeCV(LABELS, cv=GroupKFold(3), **SETTINGS).fit(X, Y, runs, clips)
    np.testing.assert_allclose(by_splitter.cv_scores_, given.cv_scores_, rtol=0, atol=1e-3)
    by_run = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y, runs)
    assert np.abs(by_run.cv_scores_ - grouped.cv_scores_).max() > 1e-3


def test_one_target_may_be_flat():
    X, Y, runs = simulate(LENGTHS)
    flat = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y[:, 1], runs)
    column = BandedRidgeCV(LABELS, alphas=ALPHAS).fit(X, Y[:, [1]], runs)
    assert flat.predict(X, runs).shape == (len(X),)
    assert column.predict(X, runs).shape == (len(X), 1)
    np.testing.assert_array_equal(flat.predict(X, runs), column.predict(X, runs)[:, 0])
    assert flat.score(X, Y[:, 1], runs) == pytest.approx(column.score(X, Y[:, [1]], runs))


def test_lists_of_python_numbers_are_taken():
    X, Y, runs = simulate(LENGTHS)
    lists = BandedRidgeCV(LABELS.tolist(), **SETTINGS).fit(X.tolist(), Y.tolist(), runs.tolist())
    arrays = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y, runs)
    np.testing.assert_allclose(lists.predict(X.tolist(), runs.tolist()), arrays.predict(X, runs), rtol=0, atol=1e-9)
    whole = BandedRidgeCV(**EXACT).fit((10 * X).astype(int).tolist(), Y, runs)
    np.testing.assert_allclose(
        whole.predict((10 * X).astype(int), runs), whole.predict((10 * X).astype(int).astype(float), runs), atol=1e-9
    )


def test_ridge_like_another_gives_what_new_ones_would():
    X, Y, runs = simulate(LENGTHS, n_targets=7)
    one = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y[:, :3], runs)
    counted = Counted(X)
    anew = BandedRidgeCV(LABELS, search="per-target", **SETTINGS).fit(X, Y[:, 3:], runs)
    again = BandedRidgeCV(LABELS, search="per-target", **SETTINGS).fit(X, Y[:, 3:], runs, like=one)
    np.testing.assert_array_equal(again.cv_scores_, anew.cv_scores_)
    np.testing.assert_array_equal(again.predict(X, runs), anew.predict(X, runs))
    first = BandedRidgeCV(LABELS, **SETTINGS).fit(counted, Y, runs)
    assert counted.n_columns == 13
    BandedRidgeCV(LABELS, **SETTINGS).fit(counted, Y[:, 1:], runs, like=first)
    assert counted.n_columns == 13, "X is read again"


@pytest.mark.parametrize(
    "change",
    [
        {"X": lambda X: X + 1.0},
        {"X": lambda X: X.copy()},
        {"runs": lambda runs: np.repeat([0, 1], [17, 43])},
        {"bands": np.roll(LABELS, 1)},
        {"per_delay": True},
        {"delays_s": (0.0, 3.0)},
        {"precision": "float32"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_ridge_like_another_that_is_unlike_it_is_refused(change):
    X, Y, runs = simulate(LENGTHS)
    one = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y, runs)
    settings = {
        "bands": LABELS,
        **SETTINGS,
        **{key: value for key, value in change.items() if key not in ("X", "runs")},
    }
    X, runs = change.get("X", np.asarray)(X), change.get("runs", np.asarray)(runs)
    with pytest.raises(ConfigError, match="like must be a ridge fitted on the same X and runs"):
        BandedRidgeCV(**settings).fit(X, Y, runs, like=one)


def test_ridge_like_one_that_was_not_fitted_is_refused():
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(NotFittedError):
        BandedRidgeCV(**SETTINGS).fit(X, Y, runs, like=BandedRidgeCV(**SETTINGS))


@pytest.mark.parametrize("search", ["shared", "per-target", "himalaya"])
def test_renamed_bands_keep_their_weights_and_predictions(search):
    X, Y, runs = simulate(LENGTHS)
    renamed = np.array([{"lo": "z", "mt": "a", "v1": "m"}[label] for label in LABELS])
    settings = {**SETTINGS, "search": search, "n_candidates": 4 if search == "shared" else 1}
    one, other = (BandedRidgeCV(bands, **settings).fit(X, Y, runs) for bands in (LABELS, renamed))
    order = [2, 0, 1]  # where lo, mt, v1 are among a, m, z
    np.testing.assert_allclose(other.band_weights_[order], one.band_weights_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.predict(X, runs), one.predict(X, runs), rtol=0, atol=1e-4)
    np.testing.assert_allclose(other.split_predict(X, runs)[order], one.split_predict(X, runs), rtol=0, atol=1e-4)
    if search == "shared":
        assert np.ptp(one.band_weights_[:, 0]) > 0.05, "an even mixture has no order"
    shuffled = np.random.default_rng(3).permutation(LABELS)
    third = BandedRidgeCV(shuffled, **settings).fit(X, Y, runs)
    assert np.abs(third.predict(X, runs) - one.predict(X, runs)).max() > 0.01


def test_order_of_voxels_leaves_predictions():
    X, Y, runs = simulate(LENGTHS)
    order = np.random.default_rng(4).permutation(X.shape[1])
    one = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y, runs)
    other = BandedRidgeCV(LABELS[order], **SETTINGS).fit(X[:, order], Y, runs)
    np.testing.assert_array_equal(other.alphas_, one.alphas_)
    np.testing.assert_allclose(other.predict(X[:, order], runs), one.predict(X, runs), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        other.feature_contributions(X[:, order], Y, runs), one.feature_contributions(X, Y, runs)[order], atol=1e-6
    )


@pytest.mark.parametrize("search", ["shared", "per-target", "himalaya"])
def test_fit_and_prediction_are_the_same_every_time_and_leave_the_inputs_and_the_backend(search):
    for dtype in (np.float32, np.float64):
        X, Y, runs = simulate(LENGTHS, dtype)
        copies = X.copy(), Y.copy(), runs.copy()
        before = get_backend()
        settings = {"alphas": ALPHAS, "search": search, "n_candidates": 5}
        fits = [BandedRidgeCV(LABELS, **settings).fit(X, Y, runs) for _ in range(2)]
        predicted = [ridge.predict(X, runs) for ridge in fits]
        np.testing.assert_array_equal(*predicted)
        np.testing.assert_array_equal(fits[0].predict(X, runs), predicted[0])
        for ridge in fits:
            ridge.split_score(X, Y, runs)
            ridge.feature_contributions(X, Y, runs)
        for array, copy in zip((X, Y, runs), copies, strict=True):
            np.testing.assert_array_equal(array, copy)
        assert get_backend() is before


def test_plan_progress_and_audit_are_reported():
    X, Y, runs = simulate(LENGTHS, n_targets=7)
    recorder = Recorder()
    BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y, runs, reporter=recorder)
    assert recorder.said[0].startswith("Ridge of 60 samples, 13 features, 7 targets")
    assert recorder.said[-1].startswith("Audit: ")
    assert recorder.tasks["Kernels of the voxels"] == [13, 13]
    assert recorder.tasks["Second moment of the targets"] == [7, 7]
    assert recorder.tasks["Factorising candidates"] == [3, 3]
    assert recorder.tasks["Scoring targets"] == [7, 7]
    assert 3 < recorder.tasks["Band weights"][1] <= recorder.tasks["Band weights"][0]
    assert "Clusters of targets" not in recorder.tasks
    BandedRidgeCV(LABELS, **SETTINGS, cluster=list("aabbabb")).fit(X, Y, runs, reporter=recorder)
    assert recorder.tasks["Clusters of targets"] == [7, 7]


@pytest.mark.parametrize("bands", [LABELS[:-1], np.append(LABELS, "v1"), LABELS[:, None]])
def test_bands_of_the_wrong_length_are_refused(bands):
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(DataError, match="expected 13 labels"):
        BandedRidgeCV(bands).fit(X, Y, runs)


@pytest.mark.parametrize("cluster", [np.zeros(4), np.zeros(6), np.zeros((5, 1))])
def test_clusters_of_the_wrong_length_are_refused(cluster):
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(DataError, match=r"cluster must label every target: expected \(5,\)"):
        BandedRidgeCV(cluster=cluster).fit(X, Y, runs)


def test_groups_of_the_wrong_length_are_refused():
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(DataError, match=r"groups must label every sample: expected \(60,\), received \(59,\)"):
        BandedRidgeCV().fit(X, Y, runs, runs[:-1])


@pytest.mark.parametrize("alphas", [(0.0, 1.0), (1.0, -3.0), (), (float("nan"), 1.0), (float("inf"),)])
def test_alphas_that_are_not_positive_are_refused(alphas):
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(ConfigError, match="alphas must be one or more positive numbers"):
        BandedRidgeCV(alphas=alphas).fit(X, Y, runs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_candidates": 0}, "n_candidates must be 1 or more, received 0"),
        ({"shortlist": 0}, "shortlist must be 1 or more, or None for all, received 0"),
        ({"delays_s": ()}, "delays_s must be"),
        ({"delays_s": (-1.0,)}, "delays_s must be"),
        ({"tr_s": 0.0}, "tr_s must be"),
        ({"device": "abacus"}, "Unknown device 'abacus'"),
        ({"search": "gradient"}, "Unknown search 'gradient'. Choose one of: shared, per-target, himalaya"),
        ({"precision": "float16"}, "Unknown precision 'float16'"),
        ({"memory_budget": "8 apples"}, "memory_budget must be bytes, or such as '8 GB', received '8 apples'"),
        ({"memory_budget": -1}, "memory_budget must be bytes"),
        ({"search": "per-target", "cluster": np.zeros(5)}, "cluster is for search='shared'"),
        ({"cv": 5}, "cv asks for 5 folds, but there are 4 runs"),
    ],
)
def test_other_impossible_settings_are_refused(settings, message):
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(ConfigError, match=message):
        BandedRidgeCV(**settings).fit(X, Y, runs)


def test_run_that_is_too_short_for_its_delays_is_refused():
    X, Y, _ = simulate((11,))
    with pytest.raises(DataError, match="too few samples, or too many folds, for R² and these delays in one run"):
        BandedRidgeCV(delays_s=(9.0,)).fit(X, Y)


@pytest.mark.parametrize("method", ["predict", "split_predict", "prepare"])
def test_ridge_that_was_not_fitted_says_so(method):
    with pytest.raises(NotFittedError):
        getattr(BandedRidgeCV(), method)(np.ones((5, 3)))


FLOAT32 = "without precision='float64', predictions are float32"
BREACHES = {
    "check_regressor_multioutput": FLOAT32,
    "check_methods_subset_invariance": f"{FLOAT32}, and products of other sizes are rounded otherwise",
}


@parametrize_with_checks(
    [
        BandedRidgeCV(),
        BandedRidgeCV(precision="float64", device="cpu"),
        BandedRidgeCV(search="per-target", n_candidates=3, precision="float64", device="cpu"),
    ],
    expected_failed_checks=lambda ridge: BREACHES if ridge.precision == "auto" else {},
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("form", ["dual", "primal"])
def test_level_of_the_targets_costs_no_digits(form):
    X, Y, runs = simulate(LENGTHS)
    test_X, _, test_runs = simulate(TEST_LENGTHS, seed=1)
    ridge = BandedRidgeCV(LABELS, form=form, alphas=ALPHAS, precision="float32", device="cpu")
    near = ridge.fit(X, Y, runs).predict(test_X, test_runs)
    for level in (1e4, -1e6):
        far = ridge.fit(X, Y + level, runs)
        np.testing.assert_allclose(far.cv_scores_, ridge.fit(X, Y, runs).cv_scores_, atol=1e-4)
        ridge.fit(X, Y + level, runs)
        # float32 has seven digits, of which the level takes some.
        np.testing.assert_allclose(
            ridge.predict(test_X, test_runs) - level, near, rtol=0, atol=2e-7 * abs(level) + 1e-4
        )


def test_what_was_prepared_in_one_form_is_not_used_in_another():
    X, Y, runs = simulate(LENGTHS)
    settings = {"bands": LABELS, "device": "cpu"}
    dual, primal = (BandedRidgeCV(**settings, form=form).fit(X, Y, runs) for form in ("dual", "primal"))
    for wanted, like in (
        ({"form": "dual"}, primal),
        ({"form": "primal"}, dual),
        ({"search": "per-target"}, primal),
        ({"search": "himalaya"}, primal),
    ):
        with pytest.raises(ConfigError, match=r"like was fitted in (dual|primal) form, but form="):
            BandedRidgeCV(**settings, **wanted).fit(X, Y, runs, like=like)
    again = BandedRidgeCV(**settings).fit(X, Y, runs, like=primal)
    assert (again.plan_.form, again.plan_.n_components, again.plan_.passes_over_X) == ("primal", 13, 0)
    np.testing.assert_array_equal(again.predict(X, runs), primal.predict(X, runs))


def test_runs_in_a_single_group_are_refused():
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(DataError, match="All runs are in one group"):
        BandedRidgeCV(device="cpu").fit(X, Y, runs, groups=np.full(60, "clip"))


def test_constant_truth_is_left_out_of_the_score():
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(LABELS, device="cpu").fit(X, Y, runs)
    truth = Y.copy()
    truth[:, 1] = 3.0
    others = ridge.split_score(X, truth, runs)
    assert np.isnan(others[:, 1]).all()
    assert np.isfinite(ridge.score(X, truth, runs))


@pytest.mark.parametrize("value", [1.0, [], [[1.0, 2.0]]])
def test_alphas_and_delays_that_are_no_list_are_refused(value):
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(ConfigError, match="alphas must be one or more positive numbers"):
        BandedRidgeCV(alphas=value).fit(X, Y, runs)
    with pytest.raises(ConfigError, match="delays_s must be one or more delays"):
        BandedRidgeCV(delays_s=value).fit(X, Y, runs)


def test_failed_fit_leaves_the_one_before():
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(LABELS, device="cpu").fit(X, Y, runs)
    before = ridge.predict(X, runs)

    class Broken:
        shape, dtype = Y.shape, Y.dtype

        def __getitem__(self, key):
            raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        ridge.fit(X, Broken(), runs)
    np.testing.assert_array_equal(ridge.predict(X, runs), before)
