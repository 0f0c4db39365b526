"""Means of correlations and their intervals: against loops, and as often right as they say."""

import numpy as np
import pytest

from brainpred.numerics.autocorrelation import resampling_block_length
from brainpred.numerics.bootstrap import BlockBootstrap, drawn_interval, fisher_mean, summed_means
from tests.numerics.test_resampling import RUNS, autocorrelated
from tests.reference.resampling_reference import correlate


def test_fisher_mean_leaves_out_what_is_undefined():
    r = np.array([[0.3, np.nan, 1.0], [-0.2, np.nan, 0.5]])
    np.testing.assert_allclose(fisher_mean(r, axis=0)[0], np.tanh((np.arctanh(0.3) + np.arctanh(-0.2)) / 2))
    assert np.isnan(fisher_mean(r, axis=0)[1])
    assert fisher_mean(r, axis=0)[2] < 1
    assert np.isnan(fisher_mean([np.nan]))


def test_bootstrap_draws_against_a_loop():
    rng = np.random.default_rng(6)
    true = rng.standard_normal((54, 5)) + 3
    predicted = true + 2 * rng.standard_normal((54, 5))
    predicted[:, 3] = 0.1
    bootstrap = BlockBootstrap(RUNS, 5, np.random.default_rng(7), n_draws=40)
    parts = [bootstrap.mean([(true[:, own], predicted[:, own])]) for own in (slice(0, 2), slice(2, 5))]
    found = summed_means(parts)
    assert bootstrap.n_blocks == 10
    blocks = [list(range(0, 5)), list(range(5, 10)), list(range(10, 15)), list(range(15, 23))]
    blocks += [list(range(first, first + 5)) for first in (23, 28, 33, 38, 43)] + [list(range(48, 54))]
    assert len(blocks) == 10
    counts = np.random.default_rng(7).multinomial(10, np.full(10, 0.1), size=40)
    means = []
    for draw in counts:
        rows = [row for block, n in zip(blocks, draw, strict=True) for row in block * n]
        z = [np.arctanh(correlate(true[rows, unit], predicted[rows, unit])) for unit in (0, 1, 2, 4)]
        means.append(np.mean(z))
    reach = 2.262157 * np.sqrt(10 / 9) * np.std(means)
    z = np.mean([np.arctanh(correlate(true[:, unit], predicted[:, unit])) for unit in (0, 1, 2, 4)])
    assert found.mean == pytest.approx(np.tanh(z), abs=1e-5)
    assert bootstrap.interval(found) == pytest.approx((np.tanh(z - reach), np.tanh(z + reach)), abs=1e-4)
    together = bootstrap.mean([(true, predicted)])
    np.testing.assert_allclose(found.drawn, together.drawn, atol=1e-6)
    alone = BlockBootstrap(np.zeros(6), 4, rng)
    assert np.isnan(alone.interval(alone.mean([(true[:6], predicted[:6])]))).all()
    nothing = bootstrap.mean([(true[:, 3:4], predicted[:, 3:4])])
    assert np.isnan(nothing.mean)
    assert np.isnan(bootstrap.interval(nothing)).all()


def test_draws_that_are_alike_are_counted_once():
    rng = np.random.default_rng(13)
    true, predicted = rng.standard_normal((2, 40, 3))
    bootstrap = BlockBootstrap(np.zeros(40), 10, np.random.default_rng(14))
    counts = np.random.default_rng(14).multinomial(4, np.full(4, 0.25), size=2000)
    assert bootstrap.weights.sum() == 2000
    assert len(bootstrap.weights) == 35
    rows = np.arange(40).reshape(4, 10)
    means = []
    for draw in np.unique(counts, axis=0):
        own = np.repeat(rows, draw, axis=0).ravel()
        means.append(np.mean([np.arctanh(correlate(true[own, unit], predicted[own, unit])) for unit in range(3)]))
    weights = np.unique(counts, axis=0, return_counts=True)[1]
    spread = np.sqrt(np.average((means - np.average(means, weights=weights)) ** 2, weights=weights))
    low, high = np.arctanh(bootstrap.interval(bootstrap.mean([(true, predicted)])))
    assert high - low == pytest.approx(2 * 3.182446 * np.sqrt(4 / 3) * spread, rel=1e-3)


def test_differences_are_drawn_together():
    """What two layers share of a stretch of time cancels: the interval of their difference is narrower than theirs."""
    rng = np.random.default_rng(15)
    shared, noise = autocorrelated(rng, 300, 0.7, 20), autocorrelated(rng, 300, 0.7, 20)
    predicted = shared + noise
    bootstrap = BlockBootstrap(np.zeros(300), 12, rng)
    one = bootstrap.mean([(shared, predicted)])
    two = bootstrap.mean([(shared, predicted + 0.5 * rng.standard_normal((300, 20)))])
    low, high = drawn_interval(one.mean - two.mean, one.drawn - two.drawn, bootstrap.weights, bootstrap.n_blocks)
    own = bootstrap.interval(one)
    assert 0 < low < one.mean - two.mean < high
    assert high - low < 0.5 * (own.high - own.low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(8), []
    for _ in range(150):
        shared = autocorrelated(rng, 240, 0.7, 3)
        true = shared + autocorrelated(rng, 240, 0.7, 3)
        predicted = shared + autocorrelated(rng, 240, 0.7, 3)
        length = resampling_block_length(true, predicted, np.zeros(240))
        bootstrap = BlockBootstrap(np.zeros(240), length.samples, rng, n_draws=200)
        low, high = bootstrap.interval(bootstrap.mean([(true, predicted)]))
        held.append(low < 0.5 < high)
    assert 0.88 <= np.mean(held) <= 0.99
