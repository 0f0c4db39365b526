"""How long blocks must be: four times what series take to decorrelate, the slowest of them too."""

import numpy as np
import pytest

from brainpred.numerics.autocorrelation import block_length, decorrelation_lengths, resampling_block_length
from tests.numerics.test_resampling import autocorrelated


def test_blocks_are_four_times_the_decorrelation_of_both():
    rng = np.random.default_rng(2)
    phi = 0.8  # shared: 0.64, with a decorrelation length of (1 + 0.64) / (1 - 0.64) = 4.6
    true, predicted = (autocorrelated(rng, 3000, phi, 40) for _ in range(2))
    found = resampling_block_length(true, predicted, np.zeros(3000))
    assert found.samples == found.wanted == pytest.approx(4 * 4.6, rel=0.12)
    white = rng.standard_normal((3000, 40))
    assert resampling_block_length(true, white, np.zeros(3000)).samples == 4
    assert resampling_block_length(true[:40], predicted[:40], np.zeros(40)).samples == 8, "five blocks at least"
    assert resampling_block_length(np.ones((40, 3)), np.ones((40, 3)), np.zeros(40)).samples == 4
    assert resampling_block_length(true[:56], predicted[:56], np.arange(56) // 8).samples <= 8, "runs of 8"
    # Cut into runs of 3, nothing is known of later lags.
    assert resampling_block_length(true, predicted, np.arange(3000) // 3).samples < 15


def test_blocks_are_long_enough_for_the_slowest_units():
    rng = np.random.default_rng(9)
    phi = np.repeat([0.0, 0.9], [950, 50])
    runs = np.repeat([0, 1], 300)
    slow = resampling_block_length(autocorrelated(rng, 600, phi, 1000), autocorrelated(rng, 600, 0.9, 1000), runs)
    assert 24 <= slow.samples <= 42, "4 * 9.5 in long series; half a run has less"
    alike = resampling_block_length(autocorrelated(rng, 600, 0.5, 1000), autocorrelated(rng, 600, 0.9, 1000), runs)
    assert alike.samples == pytest.approx(4 * (1 + 0.45) / (1 - 0.45), rel=0.15), "none is slow by chance"


def test_length_of_every_unit_against_a_loop():
    rng = np.random.default_rng(10)
    true, predicted = autocorrelated(rng, 54, np.linspace(0, 0.9, 7), 7), autocorrelated(rng, 54, 0.8, 7)
    predicted[:, 4] = 3.0
    runs = np.array(["b"] * 23 + ["a"] * 31)
    expected = []
    for y, y_hat in zip(true.T, predicted.T, strict=True):
        length = 1.0
        for lag in range(1, 31):
            product = 1.0
            for series in (y, y_hat):
                parts = [series[runs == run] - series[runs == run].mean() for run in "ba"]
                power = sum(float(part @ part) for part in parts)
                product *= sum(float(part[lag:] @ part[: max(len(part) - lag, 0)]) for part in parts) / max(power, 1e-9)
            if product < 0.05:
                break
            length += 2 * product
        expected.append(length)
    np.testing.assert_allclose(decorrelation_lengths(true, predicted, runs), expected, rtol=1e-4)
    assert expected[4] == 1


def test_blocks_that_runs_cannot_hold_are_told():
    assert block_length(5.0, [0] * 60) == (12, 20)
    assert block_length(3.0, [0] * 60) == (12, 12)
    assert block_length(5.0, np.arange(60) // 2) == (2, 20)
