"""Components keep the leading directions of each group, delays stay within runs, and sums add up."""

import numpy as np
import pytest
import torch

from brainpred.errors import DataError
from brainpred.numerics.ridge.components import Components, Moments, TargetMoments, allot_components, delayed_design
from tests.numerics.ridge.problems import CPU, stored
from tests.reference import ridge_reference as reference

BANDS = np.array([0, 1, 0, 2, 1, 0, 0, 1, 1, 0, 2, 1, 0])
RUNS = np.repeat([3, 1, 2], [17, 4, 12])


def low_rank(n_samples=33, seed=0, noise=0.0):
    """Let every group of voxels show two time courses."""
    rng = np.random.default_rng(seed)
    X = np.empty((n_samples, len(BANDS)))
    for band in range(3):
        members = band == BANDS
        X[:, members] = rng.standard_normal((n_samples, 2)) @ rng.standard_normal((2, members.sum()))
    return X + noise * rng.standard_normal(X.shape) + 5.0


def make_components(X, n_components, dtype=torch.float64, seed=1):
    return Components(X, BANDS, n_components, device=CPU, dtype=dtype, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("sizes", "n_components", "expected"),
    [
        ([3, 100, 100], 43, [3, 20, 20]),
        ([5, 7, 11], 23, [5, 7, 11]),
        ([5, 7, 11], 100, [5, 7, 11]),
        ([50, 50], 1, [1, 1]),
        ([2, 9, 40], 30, [2, 9, 19]),
        ([13], 4, [4]),
    ],
)
def test_components_are_shared_evenly_and_none_is_wasted(sizes, n_components, expected):
    assert allot_components(sizes, n_components) == expected


@pytest.mark.parametrize("kind", ["array", "memmap", "hdf5"])
def test_components_of_low_rank_voxels_are_those_voxels(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("brainpred.numerics.ridge.components.ROW_BYTES", 4 * 13 * 7)
    X = low_rank()
    components = make_components(stored(kind, X, tmp_path), 6)
    np.testing.assert_allclose(components.means, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(components.kept, 1.0, atol=1e-9)
    for number, group in enumerate(components.groups):
        centred = X[:, group] - X[:, group].mean(axis=0)
        scores = components.scores[number].numpy()
        assert scores.shape == (33, 2)
        np.testing.assert_allclose(scores @ scores.T, centred @ centred.T, atol=1e-8)


def test_leading_components_are_those_of_an_exact_decomposition():
    X = low_rank(noise=0.05)
    components = make_components(X, 6)
    for number, group in enumerate(components.groups):
        centred = X[:, group] - X[:, group].mean(axis=0)
        values = np.linalg.svd(centred, compute_uv=False) ** 2
        held = 1.0 if len(group) <= 2 else values[:2].sum() / values.sum()
        assert components.kept[number] == pytest.approx(held, abs=1e-4)
        assert len(group) <= 2 or held < 1 - 1e-4, "nothing is left out: the test tells nothing"


def test_group_with_few_voxels_keeps_them_and_others_are_projected_alike():
    X, other = low_rank(noise=0.3), low_rank(11, seed=9, noise=0.3)
    components = make_components(X, 8)
    assert components.axes[2] is None
    assert components.kept[2] == 1.0
    for number, (group, projected) in enumerate(zip(components.groups, components.project(other), strict=True)):
        centred = other[:, group] - X[:, group].mean(axis=0)
        axis = np.eye(len(group)) if components.axes[number] is None else components.axes[number].numpy()
        np.testing.assert_allclose(projected.numpy(), centred @ axis, atol=1e-10)
        weights = torch.as_tensor(np.random.default_rng(2).standard_normal((axis.shape[1], 3)))
        some = np.array([len(group) - 1, 0])
        np.testing.assert_allclose(
            components.features(number, weights, some).numpy(), (axis @ weights.numpy())[some], atol=1e-12
        )


def test_constant_voxel_is_nothing_but_zeros():
    X = low_rank(noise=0.1)
    X[:, 3] = 0.1
    components = make_components(X, 13)
    assert (components.scores[2][:, 0] == 0).all()


def test_broken_voxel_is_named():
    X = low_rank()
    X[20, 7] = np.inf
    with pytest.raises(DataError, match="first in column 7"):
        make_components(X, 6)


@pytest.mark.parametrize("delays", [(0,), (1, 3), (0, 5)])
def test_design_is_that_of_explicit_delayed_copies(delays):
    rng = np.random.default_rng(3)
    scores = [rng.standard_normal((33, 2)), rng.standard_normal((33, 3))]
    expected = np.hstack([reference.delayed_copy(part, RUNS, delay) for part in scores for delay in delays])
    tensors = [torch.as_tensor(part) for part in scores]
    np.testing.assert_array_equal(delayed_design(tensors, RUNS, delays, np.arange(33)).numpy(), expected)
    rows = np.array([2, 16, 17, 19, 32])
    np.testing.assert_array_equal(delayed_design(tensors, RUNS, delays, rows).numpy(), expected[rows])


def test_sums_add_up_and_move_to_another_mean():
    rng = np.random.default_rng(4)
    Z, Y = rng.standard_normal((33, 4)), rng.standard_normal((33, 3))
    some = np.arange(5, 19)
    whole, part = Moments.of(torch.as_tensor(Z)), Moments.of(torch.as_tensor(Z[some]))
    rest = whole.less(part)
    others = np.delete(Z, some, axis=0)
    mean = rng.standard_normal(4)
    assert rest.n == len(others)
    expected = (others - mean).T @ (others - mean)
    np.testing.assert_allclose(rest.about(torch.as_tensor(mean)).numpy(), expected, atol=1e-10)
    sums = TargetMoments.of(torch.as_tensor(Z), torch.as_tensor(Y))
    left = sums.less(TargetMoments.of(torch.as_tensor(Z[some]), torch.as_tensor(Y[some])))
    remaining = np.delete(Y, some, axis=0)
    np.testing.assert_allclose(left.zy.numpy(), others.T @ remaining, atol=1e-10)
    np.testing.assert_allclose(left.y.numpy(), remaining.sum(axis=0), atol=1e-10)
    np.testing.assert_allclose(left.yy.numpy(), (remaining**2).sum(axis=0), atol=1e-10)
