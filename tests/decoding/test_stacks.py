"""Stacks give what joining would give, and touch only the runs that are asked for."""

import numpy as np
import pytest

from brainpred.decoding.stacks import StackedRuns, ZscoredUnits
from brainpred.errors import DataError
from brainpred.numerics.timing import zscore_runs

LENGTHS = (5, 3, 7)
PARTS = [np.random.default_rng(k).standard_normal((n + 2, 4)).astype(np.float32) for k, n in enumerate(LENGTHS)]
JOINED = np.concatenate([part[:n] for part, n in zip(PARTS, LENGTHS, strict=True)])
NAMES = np.repeat(["c", "a", "b"], LENGTHS)


def stack(read=None):
    def reader(number):
        def give(columns):
            if read is not None:
                read.append(number)
            return PARTS[number][:, columns]

        return give

    return StackedRuns([reader(number) for number in range(3)], LENGTHS, 4)


@pytest.mark.parametrize("rows", [slice(None), slice(2, 4), slice(4, 9), slice(8, 15), slice(0, 15), slice(-3, None)])
@pytest.mark.parametrize("columns", [slice(None), slice(1, 3), np.array([0, 3])])
def test_stack_is_the_joined_array(rows, columns):
    assert stack().shape == JOINED.shape
    assert len(stack()) == 15
    np.testing.assert_array_equal(stack()[rows, columns], JOINED[rows][:, columns])


def test_runs_outside_of_the_rows_are_not_read():
    read = []
    stack(read)[slice(5, 8), slice(None)]
    assert read == [1]


@pytest.mark.parametrize("columns", [slice(1, 3), np.array([0, 3])])
def test_units_are_standardised_as_they_are_read(columns):
    expected, mean, std = zscore_runs(JOINED, NAMES)
    units = ZscoredUnits(stack(), NAMES)
    np.testing.assert_allclose(units[:, columns], expected[:, columns], atol=1e-6)
    np.testing.assert_allclose(units.mean[columns], mean[columns], atol=1e-6)
    np.testing.assert_allclose(units.std[columns], std[columns], atol=1e-6)
    assert np.isnan(np.delete(units.mean, np.arange(4)[columns])).all()
    np.testing.assert_allclose(units[slice(3, 9), columns], expected[3:9][:, columns], atol=1e-6)


def test_broken_unit_is_named():
    broken = JOINED.copy()
    broken[9, 2] = np.nan
    units = ZscoredUnits(broken, NAMES)
    units[:, slice(0, 2)]
    with pytest.raises(DataError, match="the first in unit 2"):
        units[:, np.array([0, 2])]
