"""Targets are read block by block, wherever they lie, and never changed."""

import numpy as np
import pytest
import torch

from brainpred.errors import DataError
from brainpred.numerics.ridge.targets import Targets, standardise
from tests.numerics.ridge.problems import CPU, Counted, make_targets, stored

MODULE = "brainpred.numerics.ridge.targets."
VALUES = np.random.default_rng(0).normal(2, 3, (11, 13)).astype(np.float32)


@pytest.fixture
def blocks_of_3(monkeypatch):
    monkeypatch.setattr(MODULE + "BLOCK_BYTES", {"cpu": 3 * 11 * 4 + 5})


@pytest.mark.usefixtures("blocks_of_3")
@pytest.mark.parametrize("kind", ["array", "memmap", "hdf5"])
@pytest.mark.parametrize("columns", [range(13), [1, 2, 3, 4], [0, 2, 3, 7, 8, 9, 12], [5]])
def test_blocks_hold_every_target_once(kind, columns, tmp_path):
    columns = np.array(columns)
    targets = Targets(stored(kind, VALUES, tmp_path), CPU, torch.float64, columns)
    assert (targets.n_samples, targets.n_targets, targets.block_size) == (11, len(columns), min(3, len(columns)))
    found = np.full((11, len(columns)), np.nan)
    for here, block in targets.blocks():
        assert block.dtype == torch.float64
        assert block.shape[1] <= 3
        found[:, here] = block.numpy()
    np.testing.assert_array_equal(found, VALUES[:, columns])


@pytest.mark.usefixtures("blocks_of_3")
def test_some_of_some_targets_are_found_by_their_place():
    targets = make_targets(VALUES).only(np.array([1, 4, 5, 8, 12])).only(np.array([0, 2, 4]))
    assert targets.columns.tolist() == [1, 5, 12]
    read = torch.cat([block for _, block in targets.blocks()], dim=1)
    np.testing.assert_array_equal(read.numpy(), VALUES[:, [1, 5, 12]])


@pytest.mark.usefixtures("blocks_of_3")
def test_nothing_is_read_twice_or_in_vain():
    counted = Counted(VALUES)
    for _ in make_targets(counted).only(np.array([2, 3, 4, 6, 11])).blocks():
        pass
    assert counted.n_columns == 5


@pytest.mark.usefixtures("blocks_of_3")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_target_that_holds_no_number_is_named(value):
    broken = VALUES.copy()
    broken[4, 7] = broken[5, 7] = broken[2, 8] = value
    with pytest.raises(DataError, match="2 targets hold NaN or infinity, the first is target 7"):
        list(make_targets(broken).blocks())
    with pytest.raises(DataError, match="1 targets hold NaN or infinity, the first is target 8"):
        list(make_targets(broken).only(np.array([0, 1, 8, 12])).blocks())
    list(make_targets(broken).only(np.array([0, 1, 6, 9, 12])).blocks())


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.uint8, np.bool_])
def test_other_kinds_of_numbers_are_taken_at_their_value(dtype):
    values = np.abs(VALUES).astype(dtype)
    block = make_targets(values, torch.float32).read(np.arange(13))
    np.testing.assert_array_equal(block.numpy(), values.astype(np.float32))


def test_reading_leaves_the_targets_as_they_are():
    values = VALUES.copy()
    for _, block in make_targets(values, torch.float32).blocks():
        standardise(block)
    np.testing.assert_array_equal(values, VALUES)
    values.setflags(write=False)
    make_targets(values, torch.float32).read(np.arange(13)).mul_(2)
    np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1000.7])
def test_standardised_targets_have_mean_0_and_mean_square_1(constant, dtype):
    block = torch.as_tensor(VALUES).to(dtype).clone()
    block[:, 5] = constant
    scaled, live = standardise(block)
    varying = np.arange(13) != 5
    assert live.tolist() == varying.tolist()
    assert not scaled[:, 5].any()
    expected = block.double().numpy() - block.double().numpy().mean(axis=0)
    expected /= np.where(varying, np.sqrt(np.mean(expected**2, axis=0)), 1)
    np.testing.assert_allclose(scaled[:, varying].numpy(), expected[:, varying], atol=1e-5)


def test_target_that_differs_in_its_last_digit_alone_is_constant():
    block = torch.full((11, 3), 0.1)
    block[4, 1] = float(np.nextafter(np.float32(0.1), np.float32(1)))
    block[4, 2] = 0.1001
    scaled, live = standardise(block)
    assert live.tolist() == [False, False, True]
    assert not scaled[:, :2].any()


def test_without_an_intercept_the_mean_stays():
    scaled, _ = standardise(torch.as_tensor(VALUES).double(), centre=False)
    np.testing.assert_allclose(scaled.numpy(), VALUES / np.sqrt(np.mean(VALUES.astype(float) ** 2, axis=0)), rtol=1e-6)
