"""Himalaya chooses what plain refits choose, and its global backend is left as it was."""

import numpy as np
import pytest
from himalaya.backend import get_backend, set_backend

from brainpred.numerics.ridge.oracle import choose_himalaya
from tests.numerics.ridge.problems import ALPHAS, DELAYS, LABELS, LENGTHS, make_kernels, make_targets, simulate
from tests.reference import ridge_reference as reference

GAMMAS = np.array([[0.4, 0.2, 0.4], [0.97, 0.02, 0.01], [0.06, 0.04, 0.9]])
X, Y, RUNS = simulate(LENGTHS, n_targets=11)
FOLDS = reference.folds_of(RUNS)


def choose(folds=FOLDS, *, intercept=True):
    return choose_himalaya(make_kernels(X, RUNS), GAMMAS, ALPHAS, make_targets(Y), folds, intercept=intercept)


@pytest.mark.parametrize("intercept", [True, False])
def test_himalaya_chooses_what_plain_refits_choose(intercept):
    designs = reference.band_designs(X, RUNS, LABELS, DELAYS)
    expected = reference.fit(designs, Y, FOLDS, GAMMAS, ALPHAS, intercept=intercept)
    gamma, alpha, scores = choose(intercept=intercept)
    assert len(np.unique(gamma)) > 1, "one candidate wins everywhere: nothing is chosen"
    assert len(np.unique(alpha)) > 1, "one alpha wins everywhere: nothing is chosen"
    np.testing.assert_array_equal(GAMMAS[gamma].T, expected.gammas)
    np.testing.assert_array_equal(np.array(ALPHAS)[alpha], expected.alphas)
    np.testing.assert_allclose(scores, expected.scores.max(axis=(0, 1)), rtol=0, atol=1e-6)


def test_targets_in_batches_give_what_they_give_at_once(monkeypatch):
    at_once = choose()
    monkeypatch.setattr("brainpred.numerics.ridge.oracle.TARGETS_PER_BATCH", 3)
    for one, other in zip(at_once, choose(), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("fails", [False, True])
def test_global_backend_is_the_same_before_and_after(name, fails):
    outside = get_backend()
    try:
        before = set_backend(name)
        if fails:
            with pytest.raises(ValueError, match="empty"):
                choose([(np.arange(9), np.arange(9, 9))])
        else:
            choose()
        assert get_backend() is before
    finally:
        set_backend(outside)
