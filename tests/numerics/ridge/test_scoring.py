"""Every target gets the candidate that plain refits would give it, however the work is cut up."""

import numpy as np
import pytest
import torch

from brainpred.numerics.ridge.scoring import Basis, choose, principal_basis
from brainpred.numerics.ridge.search import draw_candidates
from brainpred.numerics.ridge.shared import second_moment
from tests.numerics.ridge.problems import (
    ALPHAS,
    DELAYS,
    LABELS,
    LENGTHS,
    Counted,
    make_kernels,
    make_targets,
    simulate,
)
from tests.reference import ridge_reference as reference

MODULE = "brainpred.numerics.ridge."
X, Y, RUNS = simulate(LENGTHS, n_targets=53)
GAMMAS = draw_candidates(3, 5, np.random.default_rng(1))
FOLDS = reference.folds_of(RUNS)
N_PAIRS = len(GAMMAS) * len(ALPHAS)


def choose_from(Y=Y, folds=FOLDS, *, held=torch.float64, seed=2, **settings):
    settings = {"precision": held, "basis": None, **settings}
    return choose(
        make_kernels(X, RUNS, dtype=held), GAMMAS, ALPHAS, make_targets(Y, held), folds,
        rng=np.random.default_rng(seed), **settings,
    )  # fmt: skip


def refitted(Y=Y, folds=FOLDS, *, intercept=True):
    """Give the score of every candidate for every target, (n_pairs, n_targets)."""
    designs = reference.band_designs(X, RUNS, LABELS, DELAYS)
    scaled = [d / np.sqrt(scale) for d, scale in zip(designs, reference.design_scales(designs), strict=True)]
    return reference.search_scores(scaled, Y, folds, GAMMAS, ALPHAS, intercept=intercept).reshape(N_PAIRS, -1)


def basis_of(Y, n_directions, dtype=torch.float64, seed=3):
    rng = np.random.default_rng(seed)
    moment, sketch = second_moment(make_targets(Y, dtype), rng)
    return principal_basis(moment, sketch, n_directions, rng)


def pairs_of(choice):
    return choice.gamma.astype(int) * len(ALPHAS) + choice.alpha


@pytest.fixture(scope="module")
def expected():
    return refitted()


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("gaps", [False, True])
def test_choice_and_scores_equal_those_of_plain_refits(gaps, intercept):
    folds = reference.with_gaps(reference.folds_of(np.zeros(60)), 3) if gaps else FOLDS
    scores = refitted(folds=folds, intercept=intercept)
    choice = choose_from(folds=folds, intercept=intercept)
    np.testing.assert_array_equal(pairs_of(choice), scores.argmax(axis=0))
    np.testing.assert_allclose(choice.cv_scores, scores.max(axis=0), rtol=0, atol=1e-6)
    assert len(np.unique(pairs_of(choice))) > 8, "a few candidates win everywhere: little is chosen"
    assert len(choice.audited) == 53
    assert not choice.audited.any()


def test_left_out_samples_may_come_in_any_order(expected):
    rng = np.random.default_rng(0)
    shuffled = [(rng.permutation(train), rng.permutation(test)) for train, test in FOLDS]
    choice = choose_from(folds=shuffled)
    np.testing.assert_allclose(choice.cv_scores, expected.max(axis=0), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(pairs_of(choice), expected.argmax(axis=0))


def test_samples_may_be_tested_more_than_once():
    folds = [*FOLDS, (np.arange(0, 60, 2), np.arange(1, 60, 4)), (np.arange(30), np.arange(33, 50))]
    scores = refitted(folds=folds)
    choice = choose_from(folds=folds)
    np.testing.assert_array_equal(pairs_of(choice), scores.argmax(axis=0))
    np.testing.assert_allclose(choice.cv_scores, scores.max(axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("n_held", [1, 4, 15, np.inf])
def test_blocks_of_targets_and_groups_of_candidates_change_nothing(n_held, compressed, monkeypatch):
    basis = basis_of(Y, 11) if compressed else None
    at_once = choose_from(basis=basis, shortlist=4)
    monkeypatch.setattr(MODULE + "targets.BLOCK_BYTES", {"cpu": 7 * 60 * 4})
    counted, candidates, sizes = Counted(Y), [], []
    in_pieces = choose_from(
        counted, basis=basis, shortlist=4, candidate_bytes=n_held * 60 * 60 * 8 + 1, on_block=sizes.append,
        on_candidate=candidates.append,
    )  # fmt: skip
    for name, values in at_once._asdict().items():
        np.testing.assert_allclose(getattr(in_pieces, name), values, rtol=0, atol=1e-6, err_msg=name)
    n_groups = int(np.ceil(N_PAIRS / min(n_held, N_PAIRS)))
    n_audited = 53
    assert counted.n_columns == 53 * n_groups + n_audited
    assert sum(sizes) == pytest.approx(53)
    assert max(sizes) == pytest.approx(7 / n_groups)
    # Candidates that cannot be held are factorised twice: to rank, and to score.
    assert len(candidates) == N_PAIRS * (2 if compressed and n_groups > 1 else 1)
    assert sum(candidates) == pytest.approx(N_PAIRS)


@pytest.mark.parametrize(("n_directions", "shortlist"), [(11, 1), (5, 2), (2, 3), (23, 4)])
def test_audit_says_what_the_compressed_choice_loses(n_directions, shortlist, expected, monkeypatch):
    monkeypatch.setattr(MODULE + "scoring.N_AUDITED", 17)
    choice = choose_from(basis=basis_of(Y, n_directions), shortlist=shortlist, seed=7)
    chosen = expected[pairs_of(choice), np.arange(53)]
    np.testing.assert_allclose(choice.cv_scores, chosen, rtol=0, atol=1e-6)
    audited = np.sort(np.random.default_rng(7).choice(53, 17, replace=False))
    np.testing.assert_allclose(choice.audited, (expected.max(axis=0) - chosen)[audited], rtol=0, atol=1e-6)
    if shortlist == 1:
        assert choice.audited.max() > 1e-4, "the compressed scores are exact: nothing is put to the test"


def test_compressed_scores_rank_as_exact_ones_do_when_all_directions_are_kept(expected):
    choice = choose_from(basis=basis_of(Y, 60), shortlist=1)
    # Folds differ in length and targets in their variance within folds: the loss is not the score, but near it.
    regret = expected.max(axis=0) - expected[pairs_of(choice), np.arange(53)]
    assert regret.mean() < 0.05 * expected.std(axis=0).mean()
    few = choose_from(basis=basis_of(Y, 1), shortlist=1)
    assert (expected.max(axis=0) - expected[pairs_of(few), np.arange(53)]).mean() > 2 * regret.mean()


def test_what_lies_outside_the_basis_is_scored_by_what_lies_there_of_all_targets():
    target = reference.standardised(Y[:, [0]])
    outside = np.linalg.qr(np.hstack([target, np.random.default_rng(0).standard_normal((60, 1))]))[0][:, [1]]
    basis = Basis(torch.as_tensor(outside), torch.as_tensor(target))
    choice = choose_from(Y[:, [0]], basis=basis, shortlist=1)
    kernels = reference.scaled_kernels(reference.band_designs(X, RUNS, LABELS, DELAYS))
    losses = [reference.refit_loss(kernels, g / alpha, target, FOLDS) for g in GAMMAS for alpha in ALPHAS]
    assert pairs_of(choice).tolist() == [int(np.argmin(losses))]
    assert np.argmin(losses) > 0


def test_shortlist_of_all_candidates_needs_no_basis(expected):
    choice = choose_from(basis=basis_of(Y, 3), shortlist=N_PAIRS)
    np.testing.assert_array_equal(pairs_of(choice), expected.argmax(axis=0))


def test_shortlist_holds_the_best_candidate_more_often_the_longer_it_is(expected):
    basis = basis_of(Y, 3)
    regrets = [
        (expected.max(axis=0) - expected[pairs_of(choose_from(basis=basis, shortlist=n)), np.arange(53)]).mean()
        for n in (1, 3, 8, N_PAIRS)
    ]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[0] > regrets[2] > regrets[3] == 0


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1000.7])
@pytest.mark.parametrize("held", [torch.float32, torch.float64])
def test_constant_target_scores_0_and_leaves_the_others_alone(held, constant, compressed):
    flat = Y.copy()
    flat[:, [4, 30]] = constant
    settings = {"held": held, "basis": basis_of(Y, 11, held) if compressed else None}
    choice, plain = choose_from(flat, **settings), choose_from(**settings)
    others = np.setdiff1d(np.arange(53), [4, 30])
    assert choice.cv_scores[[4, 30]].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(pairs_of(choice)[others], pairs_of(plain)[others])
    np.testing.assert_allclose(choice.cv_scores[others], plain.cv_scores[others], rtol=0, atol=1e-6)
    assert np.isfinite(choice.audited).all()


def test_target_that_is_constant_in_one_fold_scores_0_there():
    flat = Y.copy()
    flat[RUNS[20] == RUNS, 4] = 2.2
    choice, scores = choose_from(flat), refitted(flat)
    np.testing.assert_array_equal(pairs_of(choice), scores.argmax(axis=0))
    np.testing.assert_allclose(choice.cv_scores, scores.max(axis=0), rtol=0, atol=1e-6)
    assert choice.cv_scores[4] != pytest.approx(choose_from().cv_scores[4], abs=1e-3)


def test_scores_do_not_depend_on_the_scale_of_targets(expected):
    scales = np.logspace(-6, 6, 53)
    choice = choose_from(Y * scales)
    np.testing.assert_array_equal(pairs_of(choice), expected.argmax(axis=0))
    np.testing.assert_allclose(choice.cv_scores, expected.max(axis=0), rtol=0, atol=1e-6)


def test_float32_and_bfloat16_scores_are_near_exact_ones(expected):
    single = choose_from(held=torch.float32)
    np.testing.assert_allclose(single.cv_scores, expected.max(axis=0), rtol=0, atol=1e-4)
    half = choose_from(held=torch.float32, precision=torch.bfloat16)
    assert 0 < np.abs(half.cv_scores - single.cv_scores).max() < 0.02
    regret = expected.max(axis=0) - expected[pairs_of(half), np.arange(53)]
    assert regret.max() < 0.02
    assert half.cv_scores.dtype == single.cv_scores.dtype == np.float32


def test_principal_directions_are_orthonormal_and_hold_most_of_the_variance():
    rng = np.random.default_rng(0)
    low_rank = rng.standard_normal((60, 4)) @ rng.standard_normal((4, 201)) + 0.05 * rng.standard_normal((60, 201))
    targets = reference.standardised(low_rank)
    moment, sketch = second_moment(make_targets(low_rank), rng)
    basis = principal_basis(moment, sketch, 4, rng)
    np.testing.assert_allclose((basis.directions.T @ basis.directions).numpy(), np.eye(4), atol=1e-12)
    np.testing.assert_allclose((basis.directions.T @ basis.rest).numpy(), 0, atol=1e-9)
    left = np.linalg.svd(targets)[0][:, :4]
    np.testing.assert_allclose((basis.directions @ basis.directions.T).numpy(), left @ left.T, atol=1e-4)
    inside = basis.directions.numpy() @ (basis.directions.numpy().T @ sketch.numpy())
    np.testing.assert_allclose(inside + basis.rest.numpy(), sketch.numpy(), atol=1e-9)


def test_targets_stay_as_they_are():
    given = Y.copy()
    choose_from(given, basis=basis_of(Y, 5), shortlist=2)
    np.testing.assert_array_equal(given, Y)
