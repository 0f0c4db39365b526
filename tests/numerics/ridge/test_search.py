"""Band weights and α are those that refits and himalaya choose, and clusters are searched each for itself."""

import numpy as np
import pytest
import torch

from brainpred.numerics.ridge.kernels import BandKernels, voxel_bands
from brainpred.numerics.ridge.search import Audit, SearchSettings, choose_bands, draw_candidates
from brainpred.numerics.ridge.targets import Targets
from brainpred.progress import SILENT
from tests.numerics.ridge.problems import ALPHAS, DELAYS, LABELS, LENGTHS, make_kernels, make_targets, simulate
from tests.reference import ridge_reference as reference


def search(kernels, targets, folds, clusters=None, *, seed=0, **settings):
    settings = {
        "search": "per-target", "alphas": ALPHAS, "n_candidates": 7, "shortlist": None, "precision": kernels.dtype,
        **settings,
    }  # fmt: skip
    clusters = [np.arange(targets.n_targets)] if clusters is None else clusters
    rng = np.random.default_rng(seed)
    return choose_bands(kernels, targets, clusters, folds, SearchSettings(**settings), rng, SILENT)


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


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("per_delay", [False, True])
def test_exact_choice_equals_himalayas_for_every_target(per_delay, intercept):
    X, Y, runs = simulate(LENGTHS, n_targets=431)
    Y[:, 17] = 0.1
    kernels, folds = make_kernels(X, runs, per_delay=per_delay), reference.folds_of(runs)
    ours, theirs = (
        search(kernels, make_targets(Y), folds, search=name, intercept=intercept) for name in ("per-target", "himalaya")
    )
    np.testing.assert_array_equal(ours.gammas, theirs.gammas)
    varying = np.arange(431) != 17
    np.testing.assert_array_equal(ours.gamma[varying], theirs.gamma[varying])
    np.testing.assert_array_equal(ours.alpha[varying], theirs.alpha[varying])
    np.testing.assert_allclose(ours.cv_scores[varying], theirs.cv_scores[varying], rtol=0, atol=1e-5)
    assert len(set(zip(ours.gamma.tolist(), ours.alpha.tolist(), strict=True))) > 12, "little is chosen"
    assert ours.audit == Audit(431, 0.0, 0.0)


@pytest.mark.parametrize("name", ["per-target", "shared"])
def test_blocks_change_nothing(name, monkeypatch):
    X, Y, runs = simulate(LENGTHS, n_targets=37)
    kernels, folds = make_kernels(X, runs), reference.folds_of(runs)
    at_once = search(kernels, make_targets(Y), folds, search=name)
    monkeypatch.setattr("brainpred.numerics.ridge.targets.BLOCK_BYTES", {"cpu": 5 * 60 * 4})
    in_blocks = search(kernels, make_targets(Y), folds, search=name, candidate_bytes=2 * 60 * 60 * 8)
    np.testing.assert_allclose(in_blocks.gammas, at_once.gammas, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(in_blocks.gamma, at_once.gamma)
    np.testing.assert_array_equal(in_blocks.alpha, at_once.alpha)
    np.testing.assert_allclose(in_blocks.cv_scores, at_once.cv_scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["per-target", "shared"])
def test_cv_scores_are_those_of_the_choice(name):
    X, Y, runs = simulate(LENGTHS, n_targets=29)
    kernels, folds = make_kernels(X, runs), reference.folds_of(runs)
    alphas = np.logspace(-1, 3, 7)
    choice = search(kernels, make_targets(Y), folds, search=name, alphas=alphas, shortlist=2)
    whole = kernels.materialise().numpy()
    for target in range(29):
        kernel = np.tensordot(choice.gammas[choice.gamma[target]], whole, 1)
        score = 0.0
        for fold in folds:
            left = reference.refit_residuals(kernel, Y[:, [target]], alphas[choice.alpha[target]], fold)[:, 0]
            true = Y[fold[1], target]
            score += reference.r2(true, true - left) / len(folds)
        assert choice.cv_scores[target] == pytest.approx(score, abs=1e-6)


def planted(n_targets=19, seed=0):
    """Let band "a" drive the even targets and "c" the odd ones; "b" is noise."""
    rng = np.random.default_rng(seed)
    runs = np.repeat(np.arange(4), [31, 37, 29, 23])
    labels = np.repeat(["a", "b", "c"], [11, 17, 13])
    X = rng.standard_normal((120, 41))
    Y = 1.5 * rng.standard_normal((120, n_targets))
    for first, label in ((0, "a"), (1, "c")):
        members = X[:, labels == label]
        Y[:, first::2] += members @ rng.standard_normal((members.shape[1], len(range(first, n_targets, 2))))
    return X, Y, runs, labels


def test_each_cluster_gets_the_weights_of_its_own_bands_as_if_fitted_alone():
    X, Y, runs, labels = planted()
    kernels, folds = make_kernels(X, runs, labels, (0,)), reference.folds_of(runs)
    clusters = [np.arange(0, 19, 2), np.arange(1, 19, 2)]
    choice = search(kernels, make_targets(Y), folds, clusters, search="shared")
    assert choice.gammas.shape == (2, 3)
    np.testing.assert_array_equal(choice.gamma, np.arange(19) % 2)
    assert choice.gammas[0, 0] > 0.95
    assert choice.gammas[1, 2] > 0.95
    for number, columns in enumerate(clusters):
        alone = search(kernels, make_targets(Y[:, columns]), folds, search="shared")
        np.testing.assert_allclose(choice.gammas[number], alone.gammas[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(choice.alpha[columns], alone.alpha)
        np.testing.assert_allclose(choice.cv_scores[columns], alone.cv_scores, rtol=0, atol=1e-6)
    together = search(kernels, make_targets(Y), folds, search="shared")
    assert together.gammas[0, [0, 2]].min() > 0.1
    assert together.cv_scores.mean() < choice.cv_scores.mean()


def test_shared_weights_cost_no_more_than_the_best_of_random_ones():
    X, Y, runs, labels = planted(seed=1)
    kernels, folds = make_kernels(X, runs, labels, (0,)), reference.folds_of(runs)
    one_kind = make_targets(Y[:, ::2])
    shared = search(kernels, one_kind, folds, search="shared", alphas=np.logspace(-2, 3, 9))
    drawn = search(kernels, one_kind, folds, n_candidates=1, alphas=np.logspace(-2, 3, 9))
    assert shared.cv_scores.mean() > drawn.cv_scores.mean() + 0.02


def test_shortlist_reports_its_regret():
    X, Y, runs = simulate(LENGTHS, n_targets=61)
    kernels, folds = make_kernels(X, runs), reference.folds_of(runs)
    exact = search(kernels, make_targets(Y), folds, n_candidates=15)
    listed = search(kernels, make_targets(Y), folds, n_candidates=15, shortlist=2)
    regret = exact.cv_scores - listed.cv_scores
    assert listed.audit.n_targets == 61
    assert listed.audit.mean_regret == pytest.approx(regret.mean(), abs=1e-6)
    assert listed.audit.p99_regret == pytest.approx(np.percentile(regret, 99), abs=1e-6)
    assert listed.audit.mean_regret > 0
    assert "61 random targets lose" in str(listed.audit)
    assert exact.audit.mean_regret == exact.audit.p99_regret == 0


def test_search_is_the_same_for_the_same_seed():
    X, Y, runs = simulate(LENGTHS, n_targets=13)
    kernels, folds = make_kernels(X, runs), reference.folds_of(runs)
    one, same, other = (search(kernels, make_targets(Y), folds, shortlist=2, seed=seed) for seed in (3, 3, 4))
    for name in ("gammas", "gamma", "alpha", "cv_scores"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.gammas, other.gammas)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", ["per-target", "shared"])
def test_gpu_chooses_what_the_cpu_chooses(name):
    X, Y, runs = simulate((97, 103, 89, 101), n_targets=5003)
    folds, choices = reference.folds_of(runs), []
    for device in ("cpu", "cuda"):
        kernels, _ = BandKernels.of(X, runs, voxel_bands(LABELS, 13)[1], DELAYS, device=device)
        targets = Targets(Y, torch.device(device), torch.float32)
        choices.append(search(kernels, targets, folds, search=name, precision=torch.float32))
    cpu, cuda = choices
    np.testing.assert_allclose(cuda.gammas, cpu.gammas, rtol=0, atol=1e-3)
    assert np.mean((cpu.gamma == cuda.gamma) & (cpu.alpha == cuda.alpha)) >= 0.999
    np.testing.assert_allclose(cuda.cv_scores, cpu.cv_scores, rtol=0, atol=1e-3)
