"""Forward patterns against one correlation at a time."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.numerics import patterns
from brainpred.numerics.patterns import forward_pattern_strength
from tests.reference.resampling_reference import forward_patterns

RUNS = np.array(["a"] * 17 + ["b"] * 13)
SAMPLES = np.array([*range(15), *range(17, 28)])  # the ends of runs are not decoded
DELAYS = (2, 5)


def test_strength_is_the_root_mean_square_of_all_patterns(monkeypatch):
    monkeypatch.setattr(patterns, "COLUMNS_AT_ONCE", 3)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 7)).astype(np.float32) + 5
    X[:, 4] = 2.5
    decoded = rng.standard_normal((26, 11)).astype(np.float32)
    strength = forward_pattern_strength(X, decoded, RUNS, SAMPLES, DELAYS)
    expected = np.sqrt((forward_patterns(X, decoded, RUNS, SAMPLES, DELAYS) ** 2).mean(axis=(0, 2)))
    np.testing.assert_allclose(strength, expected, rtol=0, atol=1e-5)
    assert strength[4] == 0


def test_voxel_that_repeats_what_was_decoded_stands_out():
    rng = np.random.default_rng(1)
    course = rng.standard_normal(30)
    X = rng.standard_normal((30, 5))
    X[2:, 3] = course[:-2]
    decoded = np.outer(course[SAMPLES], [1.0, -2.0, 3.0])
    strength = forward_pattern_strength(X, decoded, np.zeros(30), SAMPLES, (2,))
    assert strength[3] == pytest.approx(1, abs=1e-6)
    assert strength[[0, 1, 2, 4]].max() < 0.7


def test_samples_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="Expected 30 scans and 26 samples"):
        forward_pattern_strength(np.zeros((29, 3)), np.zeros((26, 2)), RUNS, SAMPLES, DELAYS)
