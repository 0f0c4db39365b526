"""The primal form is the dual form where nothing is left out, near it where little is, and does without kernels."""

import numpy as np
import pytest

from brainpred.errors import ConfigError, DataError, MemoryBudgetError
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.ridge.primal import _mixtures
from tests.numerics.ridge.problems import (
    DELAYS_S,
    LABELS,
    LENGTHS,
    TEST_LENGTHS,
    TR_S,
    Counted,
    make_targets,
    simulate,
    stored,
)

MANY = tuple(np.logspace(-1, 3, 7))
SETTINGS = {"delays_s": DELAYS_S, "tr_s": TR_S, "alphas": MANY, "precision": "float64", "device": "cpu"}


def both(bands=LABELS, n_targets=11, lengths=LENGTHS, **changes):
    X, Y, runs = simulate(lengths, n_targets=n_targets)
    settings = {**SETTINGS, "shortlist": None, **changes}
    dual = BandedRidgeCV(bands, form="dual", **settings).fit(X, Y, runs)
    primal = BandedRidgeCV(bands, form="primal", **settings).fit(X, Y, runs)
    return dual, primal


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("per_delay", [True, False])
@pytest.mark.parametrize("bands", [None, LABELS])
def test_primal_is_dual(bands, per_delay, fit_intercept):
    dual, primal = both(bands, per_delay=per_delay, fit_intercept=fit_intercept)
    assert (dual.plan_.form, primal.plan_.form) == ("dual", "primal")
    np.testing.assert_allclose(primal.gammas_, dual.gammas_, atol=1e-6)
    np.testing.assert_array_equal(primal.alphas_, dual.alphas_)
    assert len(np.unique(dual.alphas_)) > 1, "one alpha wins everywhere: nothing is chosen"
    np.testing.assert_allclose(primal.cv_scores_, dual.cv_scores_, rtol=0, atol=1e-6)
    X, Y, runs = simulate(TEST_LENGTHS, seed=1, n_targets=11)
    np.testing.assert_allclose(primal.predict(X, runs), dual.predict(X, runs), rtol=0, atol=1e-5)
    np.testing.assert_allclose(primal.split_predict(X, runs), dual.split_predict(X, runs), rtol=0, atol=1e-5)
    np.testing.assert_allclose(primal.intercept_, dual.intercept_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        primal.feature_contributions(X, Y, runs), dual.feature_contributions(X, Y, runs), rtol=0, atol=1e-6
    )
    assert primal.score(X, Y, runs) == pytest.approx(dual.score(X, Y, runs), abs=1e-6)


@pytest.mark.parametrize(("lengths", "cv"), [((61,), None), (LENGTHS, 2), ((61,), 3)])
def test_folds_with_gaps_and_of_several_runs_are_those_of_the_dual_form(lengths, cv):
    dual, primal = both(lengths=lengths, cv=cv)
    np.testing.assert_array_equal(primal.alphas_, dual.alphas_)
    np.testing.assert_allclose(primal.cv_scores_, dual.cv_scores_, rtol=0, atol=1e-6)


def test_clusters_have_weights_of_their_own():
    cluster = np.arange(11) % 2
    dual, primal = both(cluster=cluster)
    assert np.abs(dual.gammas_[0] - dual.gammas_[1]).max() > 0.1
    np.testing.assert_allclose(primal.gammas_, dual.gammas_, atol=1e-5)
    np.testing.assert_array_equal(primal.gamma_index_, cluster)


def test_blocks_and_files_change_nothing(monkeypatch, tmp_path):
    X, Y, runs = simulate(LENGTHS, n_targets=11)
    whole = BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X, Y, runs)
    monkeypatch.setattr("brainpred.numerics.ridge.plan.PRIMAL_BLOCK_BYTES", 4 * 60 * 3)
    monkeypatch.setattr("brainpred.numerics.ridge.components.ROW_BYTES", 4 * 13 * 7)
    blocked = BandedRidgeCV(LABELS, form="primal", **SETTINGS)
    blocked.fit(stored("hdf5", X, tmp_path), stored("memmap", Y, tmp_path), runs)
    np.testing.assert_allclose(blocked.gammas_, whole.gammas_, atol=1e-8)
    np.testing.assert_allclose(blocked.cv_scores_, whole.cv_scores_, atol=1e-6)
    np.testing.assert_allclose(blocked.predict(X, runs), whole.predict(X, runs), atol=1e-8)


def test_random_mixtures_have_the_loss_of_the_targets_in_the_mean(monkeypatch):
    monkeypatch.setattr("brainpred.numerics.ridge.primal.N_MIXTURES", 97)
    Y = 3 + np.random.default_rng(0).standard_normal((31, 401)) * np.linspace(0.1, 7, 401)
    Y[:, 5] = 2.0
    mixed, n_live = _mixtures(make_targets(Y), np.random.default_rng(1), centre=True)
    scaled = (Y - Y.mean(axis=0)) / np.where(Y.std(axis=0) > 1e-9, Y.std(axis=0), 1)
    expected = scaled @ scaled.T
    assert mixed.shape == (31, 97)
    assert n_live == 400
    error = np.abs(mixed.numpy() @ mixed.numpy().T - expected)
    # An element of the product of random mixtures strays by its size over the root of their number.
    assert error.max() < 5 * np.diag(expected).max() / np.sqrt(97)
    assert np.trace(mixed.numpy() @ mixed.numpy().T) == pytest.approx(np.trace(expected), rel=0.1)


def test_weights_found_on_mixtures_are_near_those_of_all_targets(monkeypatch):
    X, Y, runs = simulate((41, 37, 43, 53), n_targets=300)
    exact = BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X, Y, runs)
    monkeypatch.setattr("brainpred.numerics.ridge.primal.N_MIXTURES", 128)
    mixed = BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X, Y, runs)
    assert not np.array_equal(mixed.gammas_, exact.gammas_)
    np.testing.assert_allclose(mixed.gammas_, exact.gammas_, atol=0.1)
    assert mixed.cv_scores_.mean() == pytest.approx(exact.cv_scores_.mean(), abs=2e-3)


def test_leading_components_are_nearly_enough(monkeypatch):
    """Of voxels that show few time courses in little noise, few components lose little."""
    rng = np.random.default_rng(6)
    runs, labels = np.repeat([0, 1, 2], [53, 47, 61]), np.repeat(["a", "b"], [90, 71])
    courses = rng.standard_normal((len(runs), 10))
    X = np.hstack([courses[:, :5] @ rng.standard_normal((5, 90)), courses[:, 5:] @ rng.standard_normal((5, 71))])
    X += 0.3 * rng.standard_normal(X.shape)
    Y = courses[:, :5] @ rng.standard_normal((5, 17)) + rng.standard_normal((len(runs), 17))
    settings = {**SETTINGS, "delays_s": (0.0,)}
    dual = BandedRidgeCV(labels, form="dual", **settings).fit(X, Y, runs)
    monkeypatch.setattr("brainpred.numerics.ridge.plan.MOST_FEATURES", 12)
    primal = BandedRidgeCV(labels, form="primal", **settings).fit(X, Y, runs)
    assert primal.plan_.n_components == 12
    assert primal.cv_scores_.mean() == pytest.approx(dual.cv_scores_.mean(), abs=0.03)
    correlation = [
        np.corrcoef(p, d)[0, 1] for p, d in zip(primal.predict(X, runs).T, dual.predict(X, runs).T, strict=True)
    ]
    assert min(correlation) > 0.95


def test_kernels_beyond_the_budget_give_way_to_components(monkeypatch):
    X, Y, runs = simulate(LENGTHS, n_targets=11)
    monkeypatch.setattr("brainpred.numerics.ridge.plan.WORKING_MATRICES", 10**9)
    said = []

    class Reporter:
        def say(self, message):
            said.append(message)

        def task(self, description, total):
            import contextlib

            return contextlib.nullcontext(lambda steps: None)

    with pytest.warns(UserWarning, match="do not fit into the memory budget. Ridge of 60 samples.*13 components"):
        ridge = BandedRidgeCV(LABELS, **SETTINGS, memory_budget="8 GB").fit(X, Y, runs, reporter=Reporter())
    assert ridge.plan_.form == "primal"
    assert "in primal form, 13 components" in said[0]
    assert "parts of the variance of each group of voxels: 100%, 100%, 100%" in said[1]
    with pytest.raises(MemoryBudgetError, match="form='auto', which can do without kernels"):
        BandedRidgeCV(LABELS, **SETTINGS, form="dual", memory_budget="8 GB").fit(X, Y, runs)
    with pytest.raises(MemoryBudgetError, match="search='shared', which can do without kernels"):
        BandedRidgeCV(LABELS, **SETTINGS, search="per-target", memory_budget="8 GB").fit(X, Y, runs)
    with pytest.raises(MemoryBudgetError, match="even with one principal component a band"):
        BandedRidgeCV(LABELS, **SETTINGS, memory_budget="1 GB").fit(X, Y, runs)


def test_targets_are_read_as_often_as_the_plan_says():
    X, Y, runs = simulate(LENGTHS, n_targets=11)
    for bands, passes in ((LABELS, 2), (None, 1)):
        counted = Counted(Y)
        ridge = BandedRidgeCV(bands, form="primal", **SETTINGS).fit(X, counted, runs)
        assert counted.n_columns == 11 * passes
        assert ridge.plan_.passes_over_Y == passes


def test_primal_form_needs_shared_weights():
    X, Y, runs = simulate(LENGTHS)
    with pytest.raises(ConfigError, match="form='primal' needs search='shared', received search='per-target'"):
        BandedRidgeCV(form="primal", search="per-target").fit(X, Y, runs)
    with pytest.raises(ConfigError, match=r"Unknown form 'both'\. Choose one of: auto, dual, primal"):
        BandedRidgeCV(form="both").fit(X, Y, runs)


def test_constant_target_scores_nothing_and_is_predicted_as_that_constant():
    X, Y, runs = simulate(LENGTHS)
    Y[:, 2] = -0.7
    ridge = BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X, Y, runs)
    assert ridge.cv_scores_[2] == 0
    np.testing.assert_allclose(ridge.predict(X, runs)[:, 2], -0.7, atol=1e-9)


def test_what_was_prepared_serves_another_ridge_and_only_of_the_same_voxels():
    X, Y, runs = simulate(LENGTHS, n_targets=11)
    first = BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X, Y[:, :4], runs)
    second = BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X, Y, runs, like=first)
    alone = BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X, Y, runs)
    assert second._form is first._form
    np.testing.assert_array_equal(second.predict(X, runs), alone.predict(X, runs))
    for columns, block in second.predict_blocks(first.prepare(X, runs)):
        np.testing.assert_array_equal(block.numpy(), alone.predict(X, runs)[:, columns])
    with pytest.raises(ConfigError, match="like must be a ridge fitted on the same X"):
        BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(X.copy(), Y, runs, like=first)


def test_broken_voxels_are_refused(tmp_path):
    X, Y, runs = simulate(LENGTHS)
    X[5, 9] = np.nan
    with pytest.raises(DataError, match="first in column 9"):
        BandedRidgeCV(LABELS, form="primal", **SETTINGS).fit(stored("memmap", X, tmp_path), Y, runs)
