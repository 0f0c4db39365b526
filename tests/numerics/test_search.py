"""The search chooses what plain refits choose, and leaves himalaya's global backend as it was."""

import numpy as np
import pytest
import torch
from himalaya.backend import get_backend, set_backend

from brainpred.numerics.ridge.search import draw_candidates, solve_himalaya
from tests.reference import ridge_reference as reference

CPU = torch.device("cpu")
RUNS = np.repeat([0, 1, 2], [13, 11, 17])
ALPHAS = np.array([0.03, 0.5, 7.0, 90.0])


@pytest.fixture
def problem():
    """Give designs of two bands, of which each drives other targets, their kernels, and the targets."""
    rng = np.random.default_rng(11)
    designs = [rng.standard_normal((len(RUNS), 5)), rng.standard_normal((len(RUNS), 19))]
    designs = [design / np.sqrt(scale) for design, scale in zip(designs, reference.design_scales(designs), strict=True)]
    signal = np.hstack([designs[0] @ rng.standard_normal((5, 3)), designs[1] @ rng.standard_normal((19, 4))])
    targets = 2.0 + signal + 0.7 * rng.standard_normal(signal.shape)
    return designs, np.stack([design @ design.T for design in designs]), targets


def test_candidates_lie_on_the_simplex_with_the_even_mixture_first():
    candidates = draw_candidates(4, 9, np.random.default_rng(0))
    assert candidates.shape == (9, 4)
    assert (candidates >= 0).all()
    np.testing.assert_allclose(candidates.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(candidates[0], np.full(4, 0.25))
    assert len(np.unique(candidates.round(9), axis=0)) == 9


def test_candidates_are_sparse_and_dense_in_turn():
    largest = draw_candidates(5, 401, np.random.default_rng(1))[1:].max(axis=1)
    assert largest[::2].mean() > largest[1::2].mean() + 0.1


@pytest.mark.parametrize(("n_bands", "n_candidates", "shape"), [(1, 6, (1, 1)), (3, 1, (1, 3)), (3, 2, (2, 3))])
def test_number_of_candidates(n_bands, n_candidates, shape):
    assert draw_candidates(n_bands, n_candidates, np.random.default_rng(0)).shape == shape


def test_candidates_follow_the_generator_alone():
    np.random.seed(1)  # noqa: NPY002
    first = draw_candidates(3, 5, np.random.default_rng(7))
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, draw_candidates(3, 5, np.random.default_rng(7)))
    assert not np.array_equal(first, draw_candidates(3, 5, np.random.default_rng(8)))


def test_choice_and_fit_equal_plain_refits(problem):
    designs, kernels, targets = problem
    candidates = np.array([[0.5, 0.5], [0.97, 0.03], [0.06, 0.94]])
    folds = reference.folds_of(RUNS)
    expected = reference.fit(designs, targets, folds, candidates, ALPHAS)
    solution = solve_himalaya(kernels, targets, candidates, ALPHAS, folds, CPU)
    assert len(np.unique(expected.gammas[0])) > 1, "one candidate wins everywhere: nothing is chosen"
    assert len(np.unique(expected.alphas)) > 1, "one alpha wins everywhere: nothing is chosen"
    np.testing.assert_array_equal(solution.alphas, expected.alphas)
    np.testing.assert_allclose(solution.band_weights * solution.alphas, expected.gammas, rtol=1e-9)
    np.testing.assert_allclose(solution.cv_scores, expected.scores.max(axis=(0, 1)), rtol=0, atol=1e-8)
    predicted = solution.intercept + sum(
        kernel @ (solution.dual_coef * weights) for kernel, weights in zip(kernels, solution.band_weights, strict=True)
    )
    np.testing.assert_allclose(predicted, reference.predict(designs, expected)[1], rtol=0, atol=1e-7)


def test_targets_in_batches_give_what_they_give_at_once(problem, monkeypatch):
    _, kernels, targets = problem
    candidates = draw_candidates(2, 4, np.random.default_rng(3))
    at_once = solve_himalaya(kernels, targets, candidates, ALPHAS, reference.folds_of(RUNS), CPU)
    monkeypatch.setattr("brainpred.numerics.ridge.search.TARGETS_PER_BATCH", 3)
    batched = solve_himalaya(kernels, targets, candidates, ALPHAS, reference.folds_of(RUNS), CPU)
    for name, values in at_once._asdict().items():
        np.testing.assert_allclose(getattr(batched, name), values, rtol=0, atol=1e-9, err_msg=name)


def test_inputs_stay_as_they_are(problem):
    _, kernels, targets = problem
    before = kernels.copy(), targets.copy()
    solve_himalaya(kernels, targets, np.array([[0.3, 0.7]]), ALPHAS, reference.folds_of(RUNS), CPU)
    np.testing.assert_array_equal(kernels, before[0])
    np.testing.assert_array_equal(targets, before[1])


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("fails", [False, True])
def test_global_backend_is_the_same_before_and_after(problem, name, fails):
    _, kernels, targets = problem
    folds = [(np.arange(9), np.arange(9, 9))] if fails else reference.folds_of(RUNS)
    outside = get_backend()
    try:
        before = set_backend(name)
        if fails:
            with pytest.raises(ValueError, match="empty"):
                solve_himalaya(kernels, targets, np.array([[0.5, 0.5]]), ALPHAS, folds, CPU)
        else:
            solve_himalaya(kernels, targets, np.array([[0.5, 0.5]]), ALPHAS, folds, CPU)
        assert get_backend() is before
    finally:
        set_backend(outside)
