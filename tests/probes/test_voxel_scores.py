"""Voxels predicted while they are left out: r and p of voxels that know nothing, whatever is left out together."""

from itertools import permutations

import numpy as np
import pytest

from brainpred.probes.voxel_scores import VoxelPrediction

N = 37


def leave_out(features, folds, strength=1.0):
    """Ridge regression from features, fold by fold."""
    weights, means = np.zeros((2, len(features), len(features)), np.float32)
    for left_out in folds:
        rest = np.setdiff1d(np.arange(len(features)), left_out)
        centred = features - features[rest].mean(axis=0)
        inverse = np.linalg.inv(centred[rest] @ centred[rest].T + strength * np.eye(len(rest)))
        means[np.ix_(left_out, rest)] = 1 / len(rest)
        weights[np.ix_(left_out, rest)] = 1 / len(rest) + (centred[left_out] @ centred[rest].T @ inverse) @ (
            np.eye(len(rest)) - 1 / len(rest)
        )
    rows = np.sort(np.concatenate(folds))
    return VoxelPrediction(rows, weights[rows], means[rows])


def dealt(n_folds, seed=0):
    """Deal pairs to folds; 0: one pair at a time; 1: test pairs alone."""
    order = np.random.default_rng(seed).permutation(N)
    return [order[:12]] if n_folds == 1 else np.array_split(order, n_folds or N)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(1).normal(size=(N, 6))


@pytest.mark.parametrize("n_folds", [1, 3, 10, 0])
def test_blind_voxels_correlate_with_their_predictions_by_chance_alone(features, n_folds):
    blind = 50 + np.random.default_rng(2).normal(size=(N, 20_000)).astype(np.float32)
    way = leave_out(features, dealt(n_folds))
    r = way.correlate(blind)
    error = r.std() / np.sqrt(len(r))
    assert abs(r.mean()) < 3.5 * error
    # Without the correction, and of values in place of deviations, it is not so.
    if n_folds == 1:
        assert way.chance() == 0
    else:
        assert way.chance() < -4 * error
        plain = [np.corrcoef(a, b)[0, 1] for a, b in zip(blind[way.rows, :500].T, way.predict(blind)[:, :500].T,
                                                         strict=True)]  # fmt: skip
        assert np.mean(plain) < way.chance() - 0.03


@pytest.mark.parametrize("n_folds", [1, 3, 10, 0])
def test_blind_voxels_pass_as_often_as_p_says(features, n_folds):
    blind = np.random.default_rng(3).normal(size=(N, 4000)).astype(np.float32)
    way = leave_out(features, dealt(n_folds), strength=30.0)
    p = way.p(blind, np.arange(N), n_permutations=200)
    for level in (0.05, 0.2):
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 4000))


def test_r_is_of_deviations_from_the_mean_of_the_pairs_learned_from(features):
    rng = np.random.default_rng(4)
    voxels = (features @ rng.normal(size=(6, 5)) + rng.normal(size=(N, 5)) - 20).astype(np.float32)
    way = leave_out(features, dealt(5), strength=2.0)
    predicted = way.predict(voxels)
    for voxel in range(5):
        d, e = [], []
        for i in range(N):
            mean = voxels[way.means[i] > 0, voxel].mean()
            d.append(voxels[i, voxel] - mean)
            e.append(predicted[i, voxel] - mean)
        chance = way.chance()
        expected = (np.corrcoef(d, e)[0, 1] - chance) / (1 - chance)
        assert way.correlate(voxels)[voxel] == pytest.approx(expected, abs=1e-4)
    assert (way.p(voxels, np.arange(N), n_permutations=200) < 0.01).all()


def test_what_was_learned_from_test_pairs_is_tested_by_exchanging_them(features):
    test = np.array([3, 8, 20, 22, 30])
    voxels = np.random.default_rng(5).normal(size=(N, 4)).astype(np.float32)
    way = leave_out(features, [test])
    measured, predicted = voxels[test], way.predict(voxels)
    p = way.p(voxels, np.arange(N), n_permutations=4000)
    for voxel in range(4):
        r = [np.corrcoef(measured[list(order), voxel], predicted[:, voxel])[0, 1] for order in permutations(range(5))]
        assert way.correlate(voxels)[voxel] == pytest.approx(r[0], abs=1e-5)
        assert p[voxel] == pytest.approx(np.mean(np.array(r) >= r[0] - 1e-6), abs=0.03)


def test_two_pictures_are_no_evidence_however_often_they_are_shown():
    rng = np.random.default_rng(6)
    shown = np.arange(40) % 4
    features = rng.normal(size=(4, 6))[shown]
    voxels = (features @ rng.normal(size=(6, 30)) + 0.1 * rng.normal(size=(40, 30))).astype(np.float32)
    test = np.flatnonzero(shown >= 2)
    way = leave_out(features, [test])
    assert way.correlate(voxels).max() > 0.9
    assert way.p(voxels, shown, n_permutations=100).min() > 0.3
    assert way.p(voxels, np.arange(40), n_permutations=100).min() < 0.02
    # 2 and 3 are one picture now: nothing can change places.
    assert np.isnan(way.p(voxels, np.minimum(shown, 2))).all()
