"""What is left out is predicted as if every fold had been fitted anew."""

import itertools

import numpy as np
import pytest
import torch

from brainpred.errors import DataError
from brainpred.numerics.ridge.residuals import invert, left_out_residuals, prediction_weights, scored_rows, unscored
from tests.reference import ridge_reference as reference

RUNS = np.repeat([0, 1, 2, 3], [13, 7, 11, 10])
FOLDS = {
    "runs": reference.folds_of(RUNS),
    "blocks with gaps": reference.with_gaps(reference.folds_of(np.zeros(41)), 2),
    "scattered": [(np.arange(41)[k::3], np.setdiff1d(np.arange(41)[1::2], np.arange(41)[k::3])) for k in range(3)],
}


def problem(n_columns=17, seed=0):
    rng = np.random.default_rng(seed)
    design = rng.standard_normal((41, n_columns)) + 0.5
    return design @ design.T / n_columns, rng.normal(1.5, 1.0, (41, 5))


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [1e-3, 0.7, 300.0])
@pytest.mark.parametrize("folds", FOLDS.values(), ids=FOLDS)
def test_residuals_equal_those_of_refitting_each_fold(folds, alpha, intercept):
    kernel, targets = problem()
    inverse = invert(torch.as_tensor(kernel), alpha, intercept=intercept)
    for fold, matrix in zip(folds, left_out_residuals(inverse, folds), strict=True):
        left_out = unscored(fold, 41)
        assert matrix.shape == (len(left_out), 41)
        rows = np.searchsorted(left_out, fold[1])
        expected = reference.refit_residuals(kernel, targets, alpha, fold, intercept=intercept)
        np.testing.assert_allclose((matrix.numpy() @ targets)[rows], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("folds", FOLDS.values(), ids=FOLDS)
def test_what_is_left_out_is_predicted_without_a_look_at_its_targets(folds):
    inverse = invert(torch.as_tensor(problem()[0]), 0.7)
    for fold, matrix in zip(folds, left_out_residuals(inverse, folds), strict=True):
        left_out = unscored(fold, 41)
        np.testing.assert_allclose(matrix.numpy()[:, left_out], np.eye(len(left_out)), rtol=0, atol=1e-10)
        assert np.abs(matrix.numpy()[:, fold[0]]).max() > 0.01


@pytest.mark.parametrize("intercept", [True, False])
def test_inverse_gives_dual_weights_and_intercept(intercept):
    kernel, targets = problem()
    given = torch.as_tensor(kernel.copy())
    inverse = invert(given, 0.3, intercept=intercept)
    dual, constant = reference.solve_dual(kernel, targets, 0.3, intercept=intercept)
    np.testing.assert_allclose(inverse.dual.numpy() @ targets, dual, rtol=0, atol=1e-10)
    np.testing.assert_allclose(inverse.mean.numpy() @ targets, constant, rtol=0, atol=1e-10)
    assert np.abs(constant).max() > 0.5 or not intercept
    np.testing.assert_array_equal(given.numpy(), kernel, "the kernel is changed")
    others = np.random.default_rng(1).standard_normal((7, 41))
    weights = prediction_weights(inverse, torch.as_tensor(others))
    np.testing.assert_allclose(weights.numpy() @ targets, others @ dual, rtol=0, atol=1e-9)


def test_predictions_keep_the_precision_of_the_kernel_between():
    kernel, _ = problem()
    inverse = invert(torch.as_tensor(kernel), 1.0)
    assert prediction_weights(inverse, torch.ones((3, 41), dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("alpha", "expected"), [(1.0, torch.float32), (1e-6, torch.float64)])
def test_ill_conditioned_kernel_is_inverted_in_float64(alpha, expected, intercept, monkeypatch):
    monkeypatch.setattr("brainpred.numerics.ridge.residuals.FEW_SAMPLES", 0)
    kernel, targets = problem(n_columns=67)
    single = torch.as_tensor(kernel, dtype=torch.float32)
    inverse = invert(single, alpha, intercept=intercept)
    assert inverse.dual.dtype == expected
    rounded = single.double().numpy()
    for fold, matrix in zip(FOLDS["runs"], left_out_residuals(inverse, FOLDS["runs"]), strict=True):
        truth = reference.refit_residuals(rounded, targets, alpha, fold, intercept=intercept)
        found = matrix.double().numpy() @ targets
        np.testing.assert_allclose(found, truth, rtol=0, atol=(1e-4 if expected == torch.float32 else 1e-8) * 10)


def test_few_samples_are_inverted_in_float64():
    kernel = torch.eye(41, dtype=torch.float32)
    assert invert(kernel, 1.0).dual.dtype == torch.float64


def test_condition_is_seen_where_the_rows_of_a_kernel_sum_to_zero(monkeypatch):
    monkeypatch.setattr("brainpred.numerics.ridge.residuals.FEW_SAMPLES", 0)
    signs = np.tile([1.0, -1.0], 20)
    kernel = torch.as_tensor(1000.0 * np.outer(signs, signs), dtype=torch.float32)
    assert not (kernel @ torch.ones(40)).any()
    assert invert(kernel, 1e-3).dual.dtype == torch.float64
    assert invert(kernel, 10.0).dual.dtype == torch.float32


@pytest.mark.parametrize(
    ("alpha", "dtype"),
    [
        (1e-300, torch.float64),
        (1e-30, torch.float64),
        (1e-17, torch.float64),
        (1e-30, torch.float32),
        (1e-10, torch.float32),
    ],
)
def test_alpha_too_small_for_a_singular_kernel_is_refused(alpha, dtype):
    kernel = torch.as_tensor(problem(n_columns=3)[0]).to(dtype)
    with pytest.raises(DataError, match=r"is not positive definite, even in float64: .* Use a larger alpha"):
        invert(kernel, alpha)


@pytest.mark.parametrize("alpha", [1e-7, 1e-5])
def test_singular_kernel_stands_a_small_alpha(alpha):
    kernel, targets = problem(n_columns=3)
    for one in (kernel, np.zeros((41, 41)), np.ones((41, 41))):
        inverse = invert(torch.as_tensor(one), alpha)
        dual, constant = inverse.dual.numpy() @ targets, inverse.mean.numpy() @ targets
        left = (one + alpha * np.eye(41)) @ dual + constant - targets
        np.testing.assert_allclose(left, 0, rtol=0, atol=1e-5)


def test_rows_of_folds_follow_one_another():
    folds = FOLDS["scattered"]
    rows = scored_rows(folds)
    assert [(row.stop - row.start) for row in rows] == [len(test) for _, test in folds]
    assert rows[0].start == 0
    assert all(a.stop == b.start for a, b in itertools.pairwise(rows))
