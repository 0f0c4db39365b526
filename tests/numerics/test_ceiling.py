"""Noise ceilings equal their formula and recover what was simulated."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.numerics.ceiling import explainable_variance, reliability_of_mean


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


@pytest.mark.parametrize("n_repeats", [2, 5, 10])
def test_reliability_of_the_mean_is_what_simulation_finds(n_repeats):
    single = np.array([0.1, 0.3, 0.7])
    signal, repeats = simulate(n_repeats, 20_011, single)
    mean = repeats.mean(axis=0)
    highest = [np.corrcoef(signal[:, unit], mean[:, unit])[0, 1] for unit in range(3)]
    np.testing.assert_allclose(np.sqrt(reliability_of_mean(single, n_repeats)), highest, rtol=0, atol=0.015)
    np.testing.assert_allclose(
        reliability_of_mean(explainable_variance(repeats), n_repeats), np.square(highest), rtol=0, atol=0.03
    )


def test_reliability_stays_between_0_and_1():
    assert reliability_of_mean([-0.3, 0.0, 1.0, 1.2], 3).tolist() == [0.0, 0.0, 1.0, 1.0]
    np.testing.assert_allclose(reliability_of_mean([0.25, 0.6], 1), [0.25, 0.6])


def test_inputs_stay_as_they_are():
    _, repeats = simulate(3, 13, [0.5, 0.2])
    repeats.setflags(write=False)
    explainable_variance(repeats)
    single = np.array([-0.5, 0.5])
    single.setflags(write=False)
    reliability_of_mean(single, 3)
