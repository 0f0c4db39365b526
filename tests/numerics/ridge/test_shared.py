"""The loss of shared band weights is that of refits, its gradient is right, and the search finds the signal."""

import numpy as np
import pytest
import torch

from brainpred.errors import DataError
from brainpred.numerics.ridge.folds import leave_run_out
from brainpred.numerics.ridge.search import SearchSettings, choose_bands
from brainpred.numerics.ridge.shared import N_PROBES, second_moment, share_bands, shared_loss
from brainpred.progress import SILENT
from tests.numerics.ridge.problems import ALPHAS, DELAYS, LABELS, LENGTHS, make_kernels, make_targets, simulate
from tests.reference import ridge_reference as reference

FOLDS = {
    "runs": lambda runs: reference.folds_of(runs),
    "gaps": lambda runs: reference.with_gaps(reference.folds_of(np.zeros(len(runs))), 3),
    "repeated": lambda runs: [*reference.folds_of(runs), (np.arange(0, 60, 2), np.arange(1, 60, 6))],
}


def moment_of(Y, *, centre=True):
    return second_moment(make_targets(Y), np.random.default_rng(0), centre=centre)[0]


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("folds", FOLDS)
def test_loss_equals_that_of_refits_and_gradient_that_of_differences(folds, per_delay, intercept):
    X, Y, runs = simulate(LENGTHS, n_targets=7)
    Y[:, 3] = 2.0
    folds = FOLDS[folds](runs)
    kernels = make_kernels(X, runs, per_delay=per_delay)
    moment = moment_of(Y, centre=intercept)
    explicit = reference.scaled_kernels(reference.band_designs(X, runs, LABELS, DELAYS, per_delay=per_delay))
    targets = reference.standardised(Y, centre=intercept)
    delta = np.random.default_rng(1).lognormal(-1, 1, kernels.n_bands)
    loss, gradient = shared_loss(kernels, delta, moment, folds, intercept=intercept)
    expected = reference.refit_loss(explicit, delta, targets, folds, intercept=intercept)
    assert loss == pytest.approx(expected, rel=1e-10)

    step = 1e-4
    for band in range(kernels.n_bands):
        away = delta * np.exp(step * (np.arange(kernels.n_bands) == band))
        back = delta * np.exp(-step * (np.arange(kernels.n_bands) == band))
        ends = [shared_loss(kernels, d, moment, folds, intercept=intercept, gradient=False)[0] for d in (away, back)]
        assert gradient[band] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-7)
    assert np.abs(gradient).max() > 1e-3


def test_loss_is_the_same_with_and_without_its_gradient():
    X, Y, runs = simulate(LENGTHS)
    kernels, folds = make_kernels(X, runs), reference.folds_of(runs)
    loss, gradient = shared_loss(kernels, np.ones(3), moment_of(Y), folds, gradient=False)
    assert loss == shared_loss(kernels, np.ones(3), moment_of(Y), folds)[0]
    assert gradient.tolist() == [0.0, 0.0, 0.0]


def test_second_moment_is_that_of_targets_that_vary(monkeypatch):
    _, Y, _ = simulate(LENGTHS, n_targets=23)
    Y[:, [0, 5]] = 3.3
    targets = reference.standardised(Y)
    expected = sum(np.outer(y, y) for y in targets.T) / 21
    at_once, sketch = second_moment(make_targets(Y), np.random.default_rng(0))
    np.testing.assert_allclose(at_once.numpy(), expected, atol=1e-12)
    monkeypatch.setattr("brainpred.numerics.ridge.targets.BLOCK_BYTES", {"cpu": 4 * 60 * 4})
    sizes = []
    rng = np.random.default_rng(0)
    in_blocks, sketch_in_blocks = second_moment(make_targets(Y), rng, on_block=sizes.append)
    assert sizes == [4, 4, 4, 4, 4, 3]
    np.testing.assert_allclose(in_blocks.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(sketch_in_blocks.numpy(), sketch.numpy(), atol=1e-10)

    without = second_moment(make_targets(Y), rng, centre=False)[0]
    raw = reference.standardised(Y, centre=False)
    np.testing.assert_allclose(without.numpy(), raw @ raw.T / 21, atol=1e-12)


def test_targets_that_are_all_constant_have_a_moment_of_zeros():
    moment, sketch = second_moment(make_targets(np.full((17, 3), 0.1)), np.random.default_rng(0))
    assert not moment.any()
    assert not sketch.any()


def test_sketch_holds_sums_of_all_targets_with_random_signs():
    _, Y, _ = simulate(LENGTHS, n_targets=19)
    _, sketch = second_moment(make_targets(Y), np.random.default_rng(4))
    assert sketch.shape == (60, N_PROBES)
    signs = np.linalg.lstsq(reference.standardised(Y), sketch.numpy(), rcond=None)[0]
    np.testing.assert_allclose(np.abs(signs), 1.0, atol=1e-9)
    assert abs(signs.mean()) < 4 / np.sqrt(signs.size)
    # The mean over probes of z zᵀ is the sum over targets of y yᵀ.
    size = (sketch.square().sum() / N_PROBES).item()
    assert size == pytest.approx(19 * 60, rel=0.3)


def share(kernels, moment, folds, *, intercept=True, **settings):
    def loss(delta, gradient):
        return shared_loss(kernels, delta, moment, folds, intercept=intercept, gradient=gradient)

    return share_bands(loss, kernels.n_bands, ALPHAS, **settings)


def hidden_signal(n_noise, seed=0):
    """Make bands of 19 features each, of which "b" and "d" carry the targets, "b" ten times as much."""
    rng = np.random.default_rng(seed)
    runs = np.repeat(np.arange(5), [31, 29, 37, 23, 41])
    labels = np.repeat(["a", "b", "c", "d", "e"][: 4 + (n_noise > 2)], 19)
    X = rng.standard_normal((len(runs), len(labels)))
    Y = X[:, labels == "b"] @ rng.standard_normal((19, 31)) + 0.3 * X[:, labels == "d"] @ rng.standard_normal((19, 31))
    return X, Y + 2 * rng.standard_normal(Y.shape), runs, labels


def test_shared_weights_go_to_bands_that_inform_and_not_to_noise():
    X, Y, runs, labels = hidden_signal(n_noise=3)
    kernels, folds, moment = make_kernels(X, runs, labels, (0,)), reference.folds_of(runs), moment_of(Y)
    losses = []
    found = share(kernels, moment, folds, on_evaluation=losses.append)
    assert found.gamma.sum() == pytest.approx(1)
    assert (found.gamma >= 0).all()
    assert found.gamma.argmax() == 1
    assert np.argsort(found.gamma)[-2] == 3
    assert found.gamma[[0, 2, 4]].sum() < 0.02
    assert found.gamma[3] > 0.02

    delta = found.gamma / found.alpha
    assert shared_loss(kernels, delta, moment, folds)[0] == pytest.approx(found.loss, rel=1e-3)
    assert found.n_evaluations == len(losses)
    assert found.loss == min(losses)
    refit = reference.refit_loss(
        reference.scaled_kernels(reference.band_designs(X, runs, labels, (0,))), delta, reference.standardised(Y), folds
    )
    assert refit == pytest.approx(found.loss, rel=1e-3)


@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
def test_shared_weights_are_no_worse_than_any_even_mixture(intercept, per_delay):
    X, Y, runs = simulate(LENGTHS)
    kernels, folds = make_kernels(X, runs, per_delay=per_delay), reference.folds_of(runs)
    moment = moment_of(Y, centre=intercept)
    found = share(kernels, moment, folds, intercept=intercept)
    even = [
        shared_loss(kernels, np.full(kernels.n_bands, 1 / (kernels.n_bands * alpha)), moment, folds,
                    intercept=intercept, gradient=False)[0]
        for alpha in ALPHAS
    ]  # fmt: skip
    assert found.loss < min(even) - 1e-4


def test_shared_weights_stand_at_a_minimum():
    X, Y, runs, labels = hidden_signal(n_noise=1, seed=3)
    kernels, folds, moment = make_kernels(X, runs, labels, (0,)), reference.folds_of(runs), moment_of(Y)
    found = share(kernels, moment, folds, n_evaluations=100)
    delta = np.maximum(found.gamma / found.alpha, 1e-6)
    rng = np.random.default_rng(5)
    for _ in range(20):
        near = delta * np.exp(0.3 * rng.standard_normal(len(delta)))
        assert shared_loss(kernels, near, moment, folds, gradient=False)[0] > found.loss - 1e-5


def test_one_band_takes_the_best_alpha_and_no_search():
    X, Y, runs = simulate(LENGTHS)
    kernels, folds, moment = make_kernels(X, runs, None), reference.folds_of(runs), moment_of(Y)
    found = share(kernels, moment, folds)
    losses = [shared_loss(kernels, np.array([1 / alpha]), moment, folds, gradient=False)[0] for alpha in ALPHAS]
    assert found.n_evaluations == len(ALPHAS)
    assert found.alpha == pytest.approx(ALPHAS[int(np.argmin(losses))])
    assert found.gamma.tolist() == [1.0]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_band_that_tells_all_is_found_in_little_noise_whatever_the_precision(precision):
    rng = np.random.default_rng(21)
    runs = np.repeat(np.arange(5), [47, 53, 41, 59, 61])
    X, labels = rng.standard_normal((len(runs), 39)), np.repeat(["a", "b", "c"], 13)
    Y = X[:, :13] @ rng.standard_normal((13, 40)) + 0.1 * rng.standard_normal((len(runs), 40))
    choice = choose_bands(
        make_kernels(X, runs, labels, (0,), dtype=torch.float32), make_targets(Y, torch.float32), [np.arange(40)],
        leave_run_out(runs), SearchSettings("shared", tuple(np.logspace(-2, 4, 10)), precision=precision),
        np.random.default_rng(0), SILENT,
    )  # fmt: skip
    assert choice.gammas[0, 0] > 0.99
    assert choice.cv_scores.min() > 0.99


def test_trial_that_cannot_be_factorised_does_not_end_the_search():
    tried = []

    def loss(delta, gradient):
        tried.append(delta)
        if delta[0] > 2:
            raise DataError("not positive definite")
        return float((np.log(delta) ** 2).sum()), 2 * np.log(delta)

    found = share_bands(loss, 2, [0.1, 1.0])
    assert max(delta[0] for delta in tried) > 2, "nothing was refused: the test tells nothing"
    np.testing.assert_allclose(found.gamma / found.alpha, 1.0, atol=0.05)
