"""Intervals and p over blocks of time: against loops, and calibrated on autocorrelated noise."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from brainpred.errors import DataError
from brainpred.numerics.significance import (
    block_interval,
    block_permutation_p,
    block_sign_p,
    decorrelation_length,
    time_blocks,
)


def autocorrelated(rng, n_samples, phi, n_series=1):
    noise = rng.standard_normal((n_series, n_samples + 50))
    for t in range(1, noise.shape[1]):
        noise[:, t] = phi * noise[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    return noise[:, 50:]


def test_decorrelation_length_of_a_known_process():
    phi = 0.7  # the true length is (1 + phi) / (1 - phi)
    series = autocorrelated(np.random.default_rng(0), 20_000, phi, 6)
    lengths = [decorrelation_length(one, np.zeros(20_000)) for one in series]
    assert np.mean(lengths) == pytest.approx((1 + phi) / (1 - phi), rel=0.15)
    assert decorrelation_length(np.random.default_rng(1).standard_normal(5000), np.zeros(5000)) < 1.2
    assert decorrelation_length(np.full(7, 3.0), np.zeros(7)) == 1
    assert decorrelation_length(np.full(7, np.nan), np.zeros(7)) == 1


def test_lags_do_not_cross_runs():
    # Two constants: within a run everything is alike, across the border nothing.
    series, runs = np.repeat([1.0, -1.0], 5), np.repeat(["a", "b"], 5)
    assert decorrelation_length(series, runs) > decorrelation_length(series, np.zeros(10))


def test_blocks_stay_within_runs():
    runs = np.array(["b"] * 7 + ["a"] * 3 + ["c"])
    assert time_blocks(runs, 3).tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3]
    with pytest.raises(DataError, match="at least 1"):
        time_blocks(runs, 0)


def test_interval_against_a_slow_loop():
    values = np.random.default_rng(2).standard_normal(23)
    values[[4, 11]] = np.nan
    blocks = time_blocks(np.zeros(23), 3)
    n_blocks, known = blocks.max() + 1, np.isfinite(values)
    total, variance = 0.0, 0.0
    mean = sum(values[known]) / known.sum()
    for block in range(n_blocks):
        inside = values[known & (blocks == block)]
        total += len(inside)
        variance += (len(inside) / known.sum()) ** 2 * (sum(inside) / len(inside) - mean) ** 2
    reach = stats.t.ppf(0.975, n_blocks - 1) * (variance * n_blocks / (n_blocks - 1)) ** 0.5
    assert total == 21
    assert block_interval(values, blocks) == pytest.approx((mean - reach, mean + reach))
    assert np.isnan(block_interval(values[:3], blocks[:3])).all()
    assert np.isnan(block_interval(np.full(23, np.nan), blocks)).all()


def test_interval_holds_the_truth_as_often_as_it_says():
    series = autocorrelated(np.random.default_rng(3), 97, 0.6, 800)
    blocks = time_blocks(np.zeros(97), 12)
    held = [low < 0 < high for low, high in (block_interval(one, blocks) for one in series)]
    assert 0.91 <= np.mean(held) <= 0.975  # neighbouring blocks are not quite independent


def test_p_of_signs_against_all_signs():
    sums = np.array([3.0, -1.0, 2.0, 0.5, 1.0])
    exact = np.mean([np.dot(signs, sums) >= sums.sum() - 1e-9 for signs in product([-1, 1], repeat=5)])
    assert block_sign_p(sums, np.arange(5), np.random.default_rng(0)) == pytest.approx(exact, abs=1e-12)
    drawn = block_sign_p(sums, np.arange(5), np.random.default_rng(0), n_draws=31)
    assert drawn == pytest.approx(exact, abs=0.2)
    noise = autocorrelated(np.random.default_rng(4), 97, 0.6, 600)
    blocks, rng = time_blocks(np.zeros(97), 12), np.random.default_rng(5)
    assert 0.03 <= np.mean([block_sign_p(one, blocks, rng, n_draws=399) <= 0.05 for one in noise]) <= 0.08
    assert np.isnan(block_sign_p(np.full(97, np.nan), blocks, rng))


def test_p_against_all_combinations():
    values = np.array([3.0, 1.0, 2.0, 0.5])
    shifted = np.array([[0.0, 2.0, 1.0, 0.2], [1.0, 0.0, 2.5, 0.1]])
    arms = np.vstack([values, shifted])
    totals = [
        arms[a, 0] + arms[b, 1] + arms[c, 2] + arms[d, 3]
        for a in range(3) for b in range(3) for c in range(3) for d in range(3)
    ]  # fmt: skip
    exact = np.mean(np.array(totals) >= values.sum() - 1e-9)
    p = block_permutation_p(values, shifted, np.arange(4), np.random.default_rng(0))
    assert p == pytest.approx(exact, abs=0.015)


def test_p_is_calibrated_on_autocorrelated_noise():
    rng = np.random.default_rng(5)
    n_repeats, n_samples, n_shifts = 400, 120, 5
    positives = 0
    for _ in range(n_repeats):  # a brain as smooth as decoded units are
        brain, stimulus = autocorrelated(rng, n_samples, 0.93), autocorrelated(rng, n_samples, 0.6)
        arms = np.stack([np.roll(brain[0], 20 * k) * stimulus[0] for k in range(n_shifts + 1)])
        p = block_permutation_p(arms[0], arms[1:], time_blocks(np.zeros(n_samples), 12), rng, n_draws=399)
        positives += p <= 0.05
    # 3.5 standard errors of a binomial proportion around 0.05.
    assert 0.012 <= positives / n_repeats <= 0.088


def test_p_sees_a_relation_and_never_is_zero():
    rng = np.random.default_rng(6)
    stimulus = autocorrelated(rng, 120, 0.6)[0]
    brain = stimulus + rng.standard_normal(120)
    arms = np.stack([np.roll(brain, 12 * k) * stimulus for k in range(10)])
    blocks = time_blocks(np.zeros(120), 12)
    p = block_permutation_p(arms[0], arms[1:], blocks, rng)
    assert 1e-4 <= p < 0.005
    assert np.isnan(block_permutation_p(np.full(120, np.nan), arms[1:], blocks, rng))
    with pytest.raises(DataError, match=r"120 scores.*\(9, 119\)"):
        block_permutation_p(arms[0], arms[1:, :-1], blocks, rng)
