"""Permutation null and adjusted p: against loops, and calibrated on autocorrelated noise."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.numerics import resampling
from brainpred.numerics.autocorrelation import resampling_block_length
from brainpred.numerics.resampling import (
    block_permutations,
    exceedances,
    false_discovery_rates,
    max_statistic_p,
    null_correlations,
    null_means,
    p_of_exceedances,
    permuted_p,
    permuted_samples,
)
from tests.reference.resampling_reference import adjusted_p, correlate, permuted_correlations

RUNS = np.array(["b"] * 23 + ["a"] * 31)


def autocorrelated(rng, n_samples, phi, n_series):
    noise = rng.standard_normal((n_samples + 50, n_series))
    for t in range(1, len(noise)):
        noise[t] = phi * noise[t - 1] + np.sqrt(1 - phi**2) * noise[t]
    return noise[50:]


def joined(true, predicted, permutations):
    return np.concatenate([null for _, null in null_correlations(true, predicted, permutations)], axis=1)


def test_null_is_that_of_moved_rows(monkeypatch):
    monkeypatch.setattr(resampling, "UNITS_AT_ONCE", 3)
    rng = np.random.default_rng(0)
    true, predicted = rng.standard_normal((2, 54, 7)) * [1, 3, 0.2, 1, 1, 9, 1] + 4
    true[:, 2], predicted[:, 5] = 1.5, -2.0
    permutations = block_permutations(RUNS, 6, 13, rng)
    null = joined(true, predicted, permutations)
    expected = permuted_correlations(true, predicted, permutations)
    np.testing.assert_allclose(null, expected, rtol=0, atol=1e-5)
    assert np.isnan(null).all(axis=0).tolist() == [False, False, True, False, False, True, False]


def test_blocks_stay_within_runs_and_what_is_left_over_stays():
    permutations = block_permutations(RUNS, 6, 41, np.random.default_rng(1))
    # 23 and 31 scans leave 5 + 1 over with blocks of 6, and 2 + 3 with blocks of 7.
    assert permutations.rows.shape == (7, 7, 7)
    assert all(len(set(RUNS[rows])) == 1 for rows in permutations.rows.reshape(-1, 7))
    assert (np.diff(permutations.rows[0], axis=1) == 1).all()
    for rows, rest in zip(permutations.rows, permutations.rest, strict=True):
        assert sorted([*rows.ravel(), *rest]) == list(range(54))
    assert permutations.rows[2, 0].tolist() == [2, 3, 4, 5, 6, 7, 8], "few blocks are cut at every place"
    assert set(permutations.cuts) == set(range(7))
    assert block_permutations(RUNS, 2, 3, np.random.default_rng(1)).rows.shape == (1, 26, 2)
    assert (np.sort(permutations.orders, axis=1) == np.arange(7)).all()
    assert len(np.unique(permutations.orders, axis=0)) > 35
    with pytest.raises(DataError, match="too few to permute"):
        block_permutations(RUNS[:5], 4, 3, np.random.default_rng(1))


@pytest.mark.parametrize(("phi", "n_samples"), [(0.0, 97), (0.8, 97), (0.6, 200), (0.8, 300), (0.9, 540)])
def test_false_positive_rate_on_autocorrelated_noise(phi, n_samples):
    rng = np.random.default_rng(int(100 * phi))
    true, predicted = (autocorrelated(rng, n_samples, phi, 2500) for _ in range(2))
    runs = np.repeat([0, 1], [n_samples - n_samples // 2, n_samples // 2])
    length = resampling_block_length(true, predicted, runs)
    permutations = block_permutations(runs, length.samples, 500, rng)
    null = joined(true, predicted, permutations)
    observed = np.array([correlate(y, y_hat) for y, y_hat in zip(true.T, predicted.T, strict=True)])
    p = (1 + exceedances(observed, null)) / 501
    assert 0.03 <= np.mean(p <= 0.05) <= 0.07
    assert (false_discovery_rates(p) < 0.05).mean() < 0.002


@pytest.mark.parametrize(("n_samples", "slow"), [(97, 0.9), (540, 0.95)])
def test_a_few_slow_units_among_fast_ones_are_not_found(n_samples, slow):
    """Blocks as long as the average unit needs find such units in 12 and 16 % of tests."""
    rng = np.random.default_rng(11)
    phi = np.repeat([0.0, 0.5, slow], [1400, 400, 200])
    true, predicted = autocorrelated(rng, n_samples, phi, 2000), autocorrelated(rng, n_samples, slow, 2000)
    runs = np.zeros(n_samples)
    length = resampling_block_length(true, predicted, runs)
    null = joined(true, predicted, block_permutations(runs, length.samples, 300, rng))
    observed = np.array([correlate(y, y_hat) for y, y_hat in zip(true.T, predicted.T, strict=True)])
    p = p_of_exceedances(observed, null)
    assert 0.03 <= np.mean(p <= 0.05) <= 0.07
    assert np.mean(p[phi == slow] <= 0.05) <= 0.09
    assert np.mean(p[phi == 0] <= 0.05) <= 0.07


def test_scans_shuffled_one_by_one_would_find_what_is_not_there():
    rng = np.random.default_rng(3)
    true, predicted = (autocorrelated(rng, 300, 0.9, 800) for _ in range(2))
    null = joined(true, predicted, block_permutations(np.zeros(300), 1, 300, rng))
    observed = np.array([correlate(y, y_hat) for y, y_hat in zip(true.T, predicted.T, strict=True)])
    assert np.mean((1 + exceedances(observed, null)) / 301 <= 0.05) > 0.15


def test_samples_of_a_permutation_are_those_that_the_null_is_of():
    rng = np.random.default_rng(16)
    true, predicted = rng.standard_normal((2, 54, 3))
    permutations = block_permutations(RUNS, 6, 11, rng)
    null = joined(true, predicted, permutations)
    for samples, expected in zip(permuted_samples(permutations), null, strict=True):
        assert sorted(samples) == list(range(54))
        r = [correlate(y, y_hat) for y, y_hat in zip(true.T, predicted[samples].T, strict=True)]
        np.testing.assert_allclose(r, expected, atol=1e-5)


def test_what_was_found_counts_as_a_draw_up_to_rounding():
    observed = np.array([0.5, 0.1])
    null = np.array([[0.5 - 1e-8, 0.2], [0.3, 0.1], [0.9, 0.0]])
    assert exceedances(observed, null).tolist() == [2, 2]


def test_p_of_units_is_that_of_their_draws():
    rng = np.random.default_rng(12)
    true, predicted = rng.standard_normal((2, 54, 5))
    predicted[:, 3] = 1.0
    permutations = block_permutations(RUNS, 4, 39, rng)
    observed = np.array([correlate(y, y_hat) for y, y_hat in zip(true.T, predicted.T, strict=True)])
    null = permuted_correlations(true, predicted, permutations)
    expected = (1 + (null >= observed - 1e-5).sum(axis=0)) / 40
    expected[3] = np.nan
    np.testing.assert_allclose(permuted_p(observed, true, predicted, permutations), expected, rtol=1e-6)


def test_adjusted_p_by_definition():
    p = np.random.default_rng(4).random(31) ** 3
    p[[3, 17]] = np.nan
    p[5] = p[9]
    np.testing.assert_allclose(false_discovery_rates(p), adjusted_p(p), atol=1e-12)
    assert np.isnan(false_discovery_rates([np.nan, np.nan])).all()


def test_greatest_of_several_statistics():
    rng = np.random.default_rng(5)
    null = rng.standard_normal((199, 3)) * [1, 10, 0.1] + [0.5, -3, 0]
    observed = np.array([2.5, 3.0, np.nan])
    scaled = [[(row[i] - null[:, i].mean()) / null[:, i].std() for i in range(2)] for row in null]
    greatest = [max(row) for row in scaled]
    found = [(observed[i] - null[:, i].mean()) / null[:, i].std() for i in range(2)]
    expected = [(1 + sum(g >= one for g in greatest)) / 200 for one in found]
    np.testing.assert_allclose(max_statistic_p(observed, null)[:2], expected)
    assert np.isnan(max_statistic_p(observed, null)[2])
    false = [(max_statistic_p(draws[0], draws[1:]) <= 0.05).any() for draws in rng.standard_normal((400, 100, 4))]
    assert 0.02 < np.mean(false) < 0.09, "one family in twenty"


def test_statistic_that_chance_makes_great_hides_no_other():
    rng = np.random.default_rng(6)
    biased, fair = 0.6 + 0.01 * rng.standard_normal(199), 0.33 + 0.01 * rng.standard_normal(199)
    p = max_statistic_p([0.6, 0.6], np.stack([biased, fair], axis=1))
    assert p[0] > 0.2
    assert p[1] == 1 / 200


def test_statistic_that_no_permutation_changes_is_not_tested():
    rng = np.random.default_rng(7)
    rounded = 0.6 + 1.2e-16 * rng.integers(0, 2, 99)
    assert rounded.std() > 0, "by rounding"
    p = max_statistic_p([rounded[0], 3.0], np.stack([rounded, rng.standard_normal(99)], axis=1))
    assert np.isnan(p[0])
    assert p[1] < 0.05


@pytest.mark.parametrize(("runs", "length"), [([0] * 23, 4), ([0] * 50 + [1] * 53, 4)])
def test_means_of_scores_by_moving_every_sample(runs, length):
    rng = np.random.default_rng(8)
    n = len(runs)
    scores = rng.random((2, n, n))
    scores[1][:, [3, n - 1]] = np.nan
    permutations = block_permutations(runs, length, 29, rng)
    blocks = [(slice(first, min(first + 7, n)), scores[:, first : first + 7]) for first in range(0, n, 7)]
    found, null = null_means(blocks, permutations)
    for score, mean, means in zip(scores, found, null, strict=True):
        assert mean == pytest.approx(np.nanmean(np.diag(score)))
        moved = [np.nanmean(score[samples, np.arange(n)]) for samples in permuted_samples(permutations)]
        np.testing.assert_allclose(means, moved, atol=1e-12)
    found, null = null_means([(slice(0, n), np.full((1, n, n), np.nan))], permutations)
    assert np.isnan(found).all()
    assert np.isnan(null).all()
