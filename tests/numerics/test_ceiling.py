"""Noise ceilings equal their formula and recover what was simulated."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.numerics.ceiling import (
    RepeatMoments,
    explainable_variance,
    mean_ceiling,
    pooled_reliability,
    repeat_moments,
)


def simulate(n_repeats, n_samples, signal_variance, seed=0):
    """Repeat a signal of the given variance in noise that makes up the rest to 1."""
    rng = np.random.default_rng(seed)
    signal_variance = np.asarray(signal_variance)
    signal = rng.standard_normal((n_samples, len(signal_variance))) * np.sqrt(signal_variance)
    noise = rng.standard_normal((n_repeats, *signal.shape)) * np.sqrt(1 - signal_variance)
    return signal, 5 + signal + noise


def slow_explainable_variance(repeats, *, bias_corrected):
    n_repeats, n_samples, n_units = repeats.shape

    def variance(series):
        mean = sum(series) / len(series)
        return sum((value - mean) ** 2 for value in series) / (len(series) - 1)

    result = []
    for unit in range(n_units):
        of_mean = variance([sum(repeats[k, t, unit] for k in range(n_repeats)) / n_repeats for t in range(n_samples)])
        mean_of = sum(variance(repeats[k, :, unit].tolist()) for k in range(n_repeats)) / n_repeats
        ratio = of_mean / mean_of
        result.append(ratio - (1 - ratio) / (n_repeats - 1) if bias_corrected else ratio)
    return np.array(result)


@pytest.mark.parametrize("bias_corrected", [True, False])
@pytest.mark.parametrize("n_repeats", [2, 5])
def test_explainable_variance_equals_the_loop(n_repeats, bias_corrected):
    _, repeats = simulate(n_repeats, 11, [0.0, 0.3, 0.9])
    np.testing.assert_allclose(
        explainable_variance(repeats, bias_corrected=bias_corrected),
        slow_explainable_variance(repeats, bias_corrected=bias_corrected),
        rtol=1e-12,
    )


@pytest.mark.parametrize("n_repeats", [2, 3, 10])
@pytest.mark.parametrize("known", [0.0, 0.2, 0.5, 0.8])
def test_estimate_is_unbiased(known, n_repeats):
    _, repeats = simulate(n_repeats, 101, np.full(503, known))
    estimates = explainable_variance(repeats)
    standard_error = estimates.std() / np.sqrt(estimates.size)
    assert abs(estimates.mean() - known) < 4 * standard_error + 0.003
    biased = explainable_variance(repeats, bias_corrected=False)
    assert biased.mean() - known > 0.5 * (1 - known) / n_repeats


def test_pure_noise_explains_nothing_and_pure_signal_all():
    _, repeats = simulate(7, 301, [0.0] * 97)
    assert abs(explainable_variance(repeats).mean()) < 0.005
    assert explainable_variance(repeats).min() < 0
    _, repeats = simulate(3, 31, [1.0, 1.0])
    np.testing.assert_allclose(explainable_variance(repeats), 1.0, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.7])
def test_constant_unit_has_no_ceiling(constant, dtype):
    repeats = simulate(4, 121, [0.5, 0.5, 0.5])[1].astype(dtype)
    repeats[:, :, 1] = constant
    assert np.isnan(explainable_variance(repeats)).tolist() == [False, True, False]
    repeats[:, :, 1] = constant + np.array([0.1, 0.2, 0.7, 0.4], dtype)[:, None]
    assert np.isnan(explainable_variance(repeats)).tolist() == [False, True, False], "constant in every repeat"


@pytest.mark.parametrize("shape", [(1, 11, 3), (4, 1, 3), (11, 3), (2, 3, 5, 7)])
def test_too_few_repeats_or_samples_are_refused(shape):
    with pytest.raises(DataError, match="A noise ceiling needs"):
        explainable_variance(np.ones(shape))


def test_moments_by_definition():
    _, repeats = simulate(4, 31, [0.1, 0.6, 0.3])
    n_repeats, n_samples, of_mean, of_noise = repeat_moments(repeats)
    assert (n_repeats, n_samples) == (4, 31)
    for unit in range(3):
        values = repeats[:, :, unit] - repeats[:, :, unit].mean(axis=1, keepdims=True)
        mean = values.mean(axis=0)
        assert of_mean[unit] == pytest.approx(sum(mean**2) / 30)
        assert of_noise[unit] == pytest.approx(np.sum((values - mean) ** 2) / (30 * 3))
    alone = repeat_moments(repeats[:1])
    np.testing.assert_allclose(alone.of_mean, repeats[0].var(axis=0, ddof=1))
    assert np.isnan(alone.of_noise).all()
    with pytest.raises(DataError, match="A noise ceiling needs"):
        repeat_moments(repeats[:, :1])


@pytest.mark.parametrize("n_repeats", [(2, 2), (5,), (10, 3, 4), (10, 1, 1, 1)])
def test_ceiling_is_what_a_perfect_model_reaches(n_repeats):
    """Over clips of unequal repeats, shown once too: what anything noise-free correlates with all averages."""
    single, clips, signals, means = np.array([0.1, 0.3, 0.7]), [], [], []
    for number, n in enumerate(n_repeats):
        signal, repeats = simulate(max(n, 2), 9_001 + 7 * number, single, seed=number)
        clips.append(repeat_moments(repeats[:n]))
        signals.append(signal)
        means.append(repeats[:n].mean(axis=0))
    highest = [np.corrcoef(a, b)[0, 1] for a, b in zip(np.vstack(signals).T, np.vstack(means).T, strict=True)]
    np.testing.assert_allclose(pooled_reliability(clips).ceiling, highest, rtol=0, atol=0.035)


def test_reliability_is_unbiased_and_known_where_there_is_signal():
    """In short recordings the mean is right however weak the signal; chance has a ceiling one time in twenty."""
    for single in (0.0, 0.02, 0.05, 0.2):
        _, repeats = simulate(5, 97, np.full(3000, single))
        found = pooled_reliability([repeat_moments(repeats)])
        true = 5 * single / (1 + 4 * single)
        assert found.reliability.mean() == pytest.approx(true, abs=0.008)
        assert mean_ceiling(found.reliability) == pytest.approx(np.sqrt(true), abs=0.02 if single else 0.08)
        if single == 0:
            assert np.isfinite(found.ceiling).mean() == pytest.approx(0.05, abs=0.015)
        if single == 0.2:
            assert np.isfinite(found.ceiling).mean() > 0.99
    known = np.isfinite(found.ceiling)
    np.testing.assert_allclose(found.ceiling[known], np.sqrt(found.reliability[known]))


def test_autocorrelated_noise_needs_more_reliability():
    rng, phi = np.random.default_rng(3), 0.8
    noise = rng.standard_normal((5, 150, 2000))
    for t in range(1, 150):
        noise[:, t] = phi * noise[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    moments = [repeat_moments(noise[:, 53:])]
    assert (pooled_reliability(moments).p < 0.05).mean() > 0.12
    length = (1 + phi**2) / (1 - phi**2)
    assert (pooled_reliability(moments, length).p < 0.05).mean() == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("common", [0.5, 0.95])
def test_units_that_go_together_have_no_ceiling_by_chance(common):
    """Chance lifts the units of a layer together; their mean has a root far above 0, and is nevertheless none."""
    rng, found, roots = np.random.default_rng(11), [], []
    for _ in range(200):
        shared = rng.standard_normal((5, 60, 1))
        noise = np.sqrt(common) * shared + np.sqrt(1 - common) * rng.standard_normal((5, 60, 41))
        pooled = pooled_reliability([repeat_moments(noise)])
        found.append(np.isfinite(mean_ceiling(pooled.reliability, pooled.ceiling)))
        roots.append(mean_ceiling(pooled.reliability))
    assert np.percentile(roots, 90) > 0.25, "without the rule many would have a ceiling"
    assert np.mean(found) <= 0.08
    _, signal = simulate(5, 97, np.full(41, 0.1))
    pooled = pooled_reliability([repeat_moments(signal)])
    assert mean_ceiling(pooled.reliability, pooled.ceiling) == mean_ceiling(pooled.reliability) > 0.4


def test_ceiling_of_many_needs_most_to_have_one():
    reliability, own = np.array([0.3, 0.1, 0.2, np.nan, -0.1]), np.array([0.5, 0.3, np.nan, np.nan, np.nan])
    assert np.isnan(mean_ceiling(reliability, own)), "two of four, the fifth does not vary"
    own[2] = 0.4
    assert mean_ceiling(reliability, own) == pytest.approx(np.sqrt(0.125))


def test_what_was_not_repeated_or_does_not_vary_has_no_ceiling():
    _, repeats = simulate(3, 41, [0.5, 0.5])
    repeats[:, :, 1] = 2.5
    found = pooled_reliability([repeat_moments(repeats)])
    assert np.isnan(found.ceiling).tolist() == [False, True]
    assert np.isnan(found.reliability).tolist() == [False, True]
    assert np.isnan(pooled_reliability([repeat_moments(repeats[:1])]).ceiling).all()
    exact = pooled_reliability([RepeatMoments(3, 41, np.array([2.0]), np.array([0.0]))])
    assert exact.ceiling.tolist() == [1.0]
    assert np.isnan(mean_ceiling([np.nan]))
    assert mean_ceiling([-0.3, 0.1]) == 0


def test_inputs_stay_as_they_are():
    _, repeats = simulate(3, 13, [0.5, 0.2])
    repeats.setflags(write=False)
    explainable_variance(repeats)
    pooled_reliability([repeat_moments(repeats)])
