"""Predictions, their parts and contributions equal those of explicit primal weights."""

import numpy as np
import pytest

from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.ridge.kernels import average_prepared
from tests.numerics.ridge.problems import ALPHAS, DELAYS, DELAYS_S, EXACT, LABELS, LENGTHS, TEST_LENGTHS, TR_S, simulate
from tests.reference import ridge_reference as reference

X, Y, RUNS = simulate(LENGTHS, n_targets=11)
TEST_X, TEST_Y, TEST_RUNS = simulate(TEST_LENGTHS, seed=1, n_targets=11)
SETTINGS = {"delays_s": DELAYS_S, "tr_s": TR_S, "alphas": ALPHAS, "n_candidates": 3, **EXACT}
MODULE = "brainpred.numerics.ridge."


def fitted(search, *, per_delay=False, intercept=True, X=X, labels=LABELS):
    """Fit, and put what was chosen in primal form; give the designs of the test samples as well."""
    ridge = BandedRidgeCV(labels, per_delay=per_delay, search=search, fit_intercept=intercept, **SETTINGS)
    ridge.fit(X, Y, RUNS)
    train, test = (
        reference.band_designs(x, runs, labels, DELAYS, per_delay=per_delay, means=X.mean(axis=0))
        for x, runs in ((X, RUNS), (TEST_X, TEST_RUNS))
    )
    primal = reference.fit_chosen(train, Y, ridge.band_weights_, ridge.alphas_, intercept=intercept)
    return ridge, primal, test


@pytest.fixture
def small_pieces(monkeypatch):
    for module in ("targets", "plan"):
        monkeypatch.setattr(MODULE + module + ".BLOCK_BYTES", {"cpu": 3 * 60 * 4})
    monkeypatch.setattr(MODULE + "kernels.CHUNK_BYTES", 2 * 60 * 8)
    monkeypatch.setattr(MODULE + "kernels.ROWS_A_BLOCK", 7)


@pytest.mark.parametrize("pieces", [None, "small_pieces"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("search", ["shared", "per-target"])
def test_predictions_equal_those_of_primal_weights(search, per_delay, intercept, pieces, request):
    if pieces:
        request.getfixturevalue(pieces)
    ridge, primal, designs = fitted(search, per_delay=per_delay, intercept=intercept)
    parts, whole = reference.predict(designs, primal)
    assert len(np.unique(ridge.alphas_)) > 1, "one alpha wins everywhere: nothing is chosen"
    predicted = ridge.predict(TEST_X, TEST_RUNS)
    np.testing.assert_allclose(predicted, whole, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ridge.split_predict(TEST_X, TEST_RUNS), parts, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ridge.intercept_, primal.intercept, rtol=0, atol=1e-9)
    assert np.any(ridge.intercept_) == intercept
    np.testing.assert_allclose(ridge.split_predict(TEST_X, TEST_RUNS).sum(axis=0) + ridge.intercept_, predicted)
    scores = [reference.r2(TEST_Y[:, j], whole[:, j]) for j in range(11)]
    assert ridge.score(TEST_X, TEST_Y, TEST_RUNS) == pytest.approx(np.mean(scores), abs=1e-9)
    assert max(scores) > 0.3


@pytest.mark.parametrize("per_delay", [False, True])
def test_split_scores_equal_those_of_primal_parts_and_sum_to_the_score_of_the_centred_prediction(per_delay):
    ridge, primal, designs = fitted("per-target", per_delay=per_delay)
    parts, whole = reference.predict(designs, primal)
    scores = ridge.split_score(TEST_X, TEST_Y, TEST_RUNS)
    assert scores.shape == (9 if per_delay else 3, 11)
    np.testing.assert_allclose(scores, reference.split_r2(parts, TEST_Y), rtol=0, atol=1e-9)
    moved = whole - whole.mean(axis=0) + TEST_Y.mean(axis=0)
    np.testing.assert_allclose(
        scores.sum(axis=0), [reference.r2(TEST_Y[:, j], moved[:, j]) for j in range(11)], rtol=0, atol=1e-9
    )
    truth = TEST_Y.copy()
    truth[:, 4] = 3.0
    assert np.isnan(ridge.split_score(TEST_X, truth, TEST_RUNS)).all(axis=0).tolist() == [j == 4 for j in range(11)]


@pytest.mark.parametrize("pieces", [None, "small_pieces"])
@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("search", ["shared", "per-target"])
def test_contributions_equal_those_of_primal_weights(search, per_delay, pieces, request):
    if pieces:
        request.getfixturevalue(pieces)
    ridge, primal, _ = fitted(search, per_delay=per_delay)
    expected = reference.voxel_contributions(
        TEST_X, TEST_RUNS, LABELS, DELAYS, primal, TEST_Y, per_delay=per_delay, means=X.mean(axis=0)
    )
    contributions = ridge.feature_contributions(TEST_X, TEST_Y, TEST_RUNS)
    np.testing.assert_allclose(contributions, expected, rtol=0, atol=1e-9)
    centred = TEST_Y - TEST_Y.mean(axis=0)
    predicted = ridge.predict(TEST_X, TEST_RUNS)
    whole = np.mean(np.sum(centred * predicted, axis=0) / np.sum(centred**2, axis=0))
    assert contributions.sum() == pytest.approx(whole, abs=1e-9)
    assert abs(whole) > 0.1


def test_contributions_leave_out_constant_targets_and_find_the_planted_voxel():
    rng = np.random.default_rng(5)
    runs = np.repeat([0, 1, 2], 31)
    features = rng.standard_normal((93, 7)) + 2
    targets = np.column_stack([features[:, 4] + 0.5 * rng.standard_normal(93), np.full(93, 2.0)])
    ridge = BandedRidgeCV(alphas=ALPHAS).fit(features, targets, runs)
    contributions = ridge.feature_contributions(features, targets, runs)
    assert contributions.argmax() == 4
    assert contributions[4] > 10 * np.abs(np.delete(contributions, 4)).max()
    # The constant target counts as one that nothing contributes to.
    assert 0.3 < contributions.sum() < 0.5


def test_blocks_of_predictions_are_slices_of_the_whole(request):
    whole = fitted("per-target")[0].predict(TEST_X, TEST_RUNS)
    request.getfixturevalue("small_pieces")
    ridge = fitted("per-target")[0]
    widths = []
    for columns, block in ridge.predict_blocks(ridge.prepare(TEST_X, TEST_RUNS)):
        widths.append(block.shape[1])
        np.testing.assert_allclose(block.numpy(), whole[:, columns], rtol=0, atol=1e-10)
    assert widths == [3, 3, 3, 2]


def test_kernels_with_other_samples_serve_other_ridges_of_the_same_features():
    one = BandedRidgeCV(LABELS, **SETTINGS).fit(X, Y, RUNS)
    other = BandedRidgeCV(LABELS, search="per-target", **SETTINGS).fit(X, Y[:, :4] + Y[:, 5:9], RUNS)
    kernels = one.prepare(TEST_X, TEST_RUNS)
    for ridge in (one, other):
        blocks = [block.numpy() for _, block in ridge.predict_blocks(kernels)]
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), ridge.predict(TEST_X, TEST_RUNS))


def test_constant_voxel_changes_nothing_but_its_band_and_contributes_nothing():
    features = X.copy()
    features[:, 3] = 0.1
    ridge, primal, designs = fitted("per-target", X=features)
    np.testing.assert_allclose(
        ridge.predict(TEST_X, TEST_RUNS), reference.predict(designs, primal)[1], rtol=0, atol=1e-9
    )
    assert abs(ridge.feature_contributions(TEST_X, TEST_Y, TEST_RUNS)[3]) < 1e-12


@pytest.mark.parametrize("search", ["shared", "per-target", "himalaya"])
def test_band_of_nothing_but_zeros_predicts_nothing(search):
    features = X.copy()
    features[:, LABELS == "lo"] = 0
    ridge, primal, designs = fitted(search, X=features)
    parts, whole = reference.predict(designs, primal)
    np.testing.assert_allclose(ridge.predict(TEST_X, TEST_RUNS), whole, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ridge.split_predict(TEST_X, TEST_RUNS), parts, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ridge.split_predict(features, RUNS)[0], 0, rtol=0, atol=1e-12)


def test_features_that_are_all_constant_predict_the_mean():
    ridge = BandedRidgeCV(LABELS, **SETTINGS).fit(np.full_like(X, 0.1), Y, RUNS)
    np.testing.assert_allclose(ridge.predict(TEST_X, TEST_RUNS), np.tile(Y.mean(axis=0), (23, 1)), atol=1e-9)


@pytest.mark.parametrize("search", ["shared", "per-target"])
def test_constant_target_is_predicted_as_that_constant(search):
    flat = Y.copy()
    flat[:, 2] = -0.7
    ridge = BandedRidgeCV(LABELS, search=search, **SETTINGS).fit(X, flat, RUNS)
    others = BandedRidgeCV(LABELS, search=search, **SETTINGS).fit(X, np.delete(Y, 2, axis=1), RUNS)
    predicted = ridge.predict(TEST_X, TEST_RUNS)
    np.testing.assert_allclose(predicted[:, 2], -0.7, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.delete(predicted, 2, axis=1), others.predict(TEST_X, TEST_RUNS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_held", [1, 2])
def test_pairs_that_cannot_be_held_at_once_are_predicted_in_turn(n_held):
    X, Y, runs = simulate(LENGTHS, n_targets=31)
    test_X, test_Y, test_runs = simulate(TEST_LENGTHS, seed=1, n_targets=31)
    ridge = BandedRidgeCV(LABELS, search="per-target", n_candidates=4, alphas=ALPHAS, **EXACT).fit(X, Y, runs)
    predicted, shared = ridge.predict(test_X, test_runs), ridge.feature_contributions(test_X, test_Y, test_runs)
    parts, scores = ridge.split_predict(test_X, test_runs), ridge.split_score(test_X, test_Y, test_runs)
    n_pairs = len(np.unique(ridge.gamma_index_ * len(ALPHAS) + ridge.alpha_index_))
    assert n_pairs > 2
    # A quarter of the budget is for matrices of others by samples, of 8 bytes each.
    ridge.set_params(memory_budget=4 * n_held * len(test_X) * len(X) * 8 + 2)
    blocks = list(ridge.predict_blocks(ridge.prepare(test_X, test_runs)))
    assert len(blocks) == -(-n_pairs // n_held)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([np.arange(31)[columns] for columns, _ in blocks])), np.arange(31)
    )
    np.testing.assert_allclose(ridge.predict(test_X, test_runs), predicted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ridge.feature_contributions(test_X, test_Y, test_runs), shared, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ridge.split_predict(test_X, test_runs), parts, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ridge.split_score(test_X, test_Y, test_runs), scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["dual", "primal"])
@pytest.mark.parametrize("per_delay", [False, True])
def test_mean_of_prepared_repeats_is_what_the_mean_of_repeats_prepares(per_delay, form):
    settings = {**SETTINGS, "form": form, "per_delay": per_delay}
    ridge = BandedRidgeCV(LABELS, **settings).fit(X, Y, RUNS)
    rng = np.random.default_rng(7)
    clips = [rng.standard_normal((n_repeats, n, X.shape[1])) for n_repeats, n in ((3, 13), (1, 9), (2, 11))]
    stacked = np.concatenate([*(repeat for clip in clips for repeat in clip), rng.standard_normal((5, X.shape[1]))])
    lengths = [n for clip in clips for n in [clip.shape[1]] * len(clip)]
    prepared = ridge.prepare(stacked, np.repeat(np.arange(7), [*lengths, 5]))
    names = np.repeat(["a", "b", "c"], [13, 9, 11])
    averaged = average_prepared(prepared, [clip.shape[:2] for clip in clips], names)
    again = ridge.prepare(np.concatenate([clip.mean(axis=0) for clip in clips]), names)
    for by_band in (False, True):
        for (_, one), (_, other) in zip(
            ridge.predict_blocks(averaged, by_band=by_band), ridge.predict_blocks(again, by_band=by_band), strict=True
        ):
            np.testing.assert_allclose(one.cpu().numpy(), other.cpu().numpy(), rtol=0, atol=1e-9)


def test_bands_without_weight_contribute_exactly_nothing_and_change_no_other():
    ridge = fitted("shared")[0]
    ridge.gammas_ = np.array([[0.7, 0.0, 0.3]])
    ridge.gamma_index_ = np.zeros_like(ridge.gamma_index_)
    contributions = ridge.feature_contributions(TEST_X, TEST_Y, TEST_RUNS)
    unused = np.asarray(LABELS) == ridge.band_names_[1]
    assert (contributions[unused] == 0).all()
    assert (contributions[~unused] != 0).all()
    ridge.gammas_ = np.array([[0.7, 1e-12, 0.3]])
    np.testing.assert_allclose(ridge.feature_contributions(TEST_X, TEST_Y, TEST_RUNS), contributions, atol=1e-9)
