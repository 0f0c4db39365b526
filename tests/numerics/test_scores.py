"""Scores equal slow loops over their formulas, ties and constants included."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.numerics.scores import (
    identification,
    identification_elsewhere,
    nway_identification,
    pattern_correlation,
    pattern_similarity,
    pearson_correlation,
    r2_score,
)

N_SAMPLES, N_UNITS = 13, 7


def slow_pearson(a, b):
    a, b = [float(x) for x in a], [float(x) for x in b]
    if len(set(a)) == 1 or len(set(b)) == 1:
        return float("nan")
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return covariance / (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5


def slow_r2(true, predicted):
    true, predicted = [float(x) for x in true], [float(x) for x in predicted]
    if len(set(true)) == 1:
        return float("nan")
    mean = sum(true) / len(true)
    residual = sum((y - y_hat) ** 2 for y, y_hat in zip(true, predicted, strict=True))
    return 1 - residual / sum((y - mean) ** 2 for y in true)


def slow_identification(true, predicted):
    accuracy = []
    for i in range(len(true)):
        own, won = slow_pearson(predicted[i], true[i]), 0.0
        for j in range(len(true)):
            if j != i:
                other = slow_pearson(predicted[i], true[j])
                # Patterns that do not vary are like nothing: their correlation counts as 0.
                difference = np.nan_to_num(own) - np.nan_to_num(other)
                won += 0.5 if abs(difference) < 1e-9 else float(difference > 0)
        accuracy.append(won / (len(true) - 1))
    return np.array(accuracy)


def identification_accuracy(true, predicted):
    return identification(pattern_similarity(true, predicted), 0, 2)


@pytest.fixture
def values():
    """Give true values and predictions that follow them, off zero and of unequal spread."""
    rng = np.random.default_rng(0)
    true = 3 + rng.standard_normal((N_SAMPLES, N_UNITS)) * np.arange(1, N_UNITS + 1)
    return true, 0.3 * true + 2 * rng.standard_normal(true.shape)


def test_pearson_correlation_equals_the_loop(values):
    true, predicted = values
    expected = [slow_pearson(true[:, j], predicted[:, j]) for j in range(N_UNITS)]
    np.testing.assert_allclose(pearson_correlation(true, predicted), expected, rtol=0, atol=1e-12)


def test_pattern_correlation_equals_the_loop(values):
    true, predicted = values
    expected = [slow_pearson(true[i], predicted[i]) for i in range(N_SAMPLES)]
    np.testing.assert_allclose(pattern_correlation(true, predicted), expected, rtol=0, atol=1e-12)


def test_r2_equals_the_loop(values):
    true, predicted = values
    expected = [slow_r2(true[:, j], predicted[:, j]) for j in range(N_UNITS)]
    np.testing.assert_allclose(r2_score(true, predicted), expected, rtol=0, atol=1e-12)
    assert min(expected) < 0 < r2_score(true, true).min() == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, 1000.7])
@pytest.mark.parametrize("n_samples", [7, 11, 121, 601])
def test_constants_have_no_score(n_samples, constant, dtype):
    rng = np.random.default_rng(1)
    varied = rng.standard_normal((n_samples, 5)).astype(dtype)
    flat = varied.copy()
    flat[:, 2] = constant
    only_third = [False, False, True, False, False]
    for score in (pearson_correlation, r2_score):
        assert np.isnan(score(flat, varied)).tolist() == only_third, score.__name__
    assert np.isnan(pearson_correlation(varied, flat)).tolist() == only_third
    assert np.isfinite(r2_score(varied, flat)).all()
    assert np.isnan(pattern_correlation(flat.T, varied.T)).tolist() == only_third
    assert np.isnan(pattern_correlation(varied.T, flat.T)).tolist() == only_third


def test_identification_equals_the_loop(values):
    true, predicted = values
    accuracy = identification_accuracy(true, predicted)
    np.testing.assert_allclose(accuracy, slow_identification(true, predicted), rtol=0, atol=1e-12)
    assert len(set(accuracy.tolist())) > 3
    np.testing.assert_array_equal(identification_accuracy(true, 2 * true + 1), np.ones(N_SAMPLES))
    np.testing.assert_array_equal(identification_accuracy(true, -true), np.zeros(N_SAMPLES))


@pytest.mark.parametrize("seed", range(9))
def test_ties_count_half_in_identification(seed):
    rng = np.random.default_rng(seed)
    n_samples, n_units = rng.integers(17, 31), rng.integers(3, 41)
    true = rng.standard_normal((4, n_units))[rng.integers(0, 4, n_samples)]
    predicted = rng.standard_normal((n_samples, n_units))
    np.testing.assert_allclose(
        identification_accuracy(true, predicted), slow_identification(true, predicted), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_constant_prediction_identifies_nothing(values, constant):
    true, predicted = values
    predicted[4] = constant
    assert identification_accuracy(true, predicted)[4] == 0.5
    np.testing.assert_allclose(
        identification_accuracy(true, predicted), slow_identification(true, predicted), rtol=0, atol=1e-12
    )


def test_noise_is_identified_at_chance():
    rng = np.random.default_rng(2)
    accuracy = identification_accuracy(rng.standard_normal((211, 17)), rng.standard_normal((211, 17)))
    assert accuracy.mean() == pytest.approx(0.5, abs=4 * accuracy.std() / np.sqrt(211))


def identified_by_counting(similarity, excluded, n_way, runs=None):
    """Try every set of candidates."""
    parts = []
    for scan, row in enumerate(similarity):
        away = [
            other for other in range(len(row)) if abs(other - scan) > excluded or (runs and runs[other] != runs[scan])
        ]
        sets = list(combinations(away, n_way - 1))
        parts.append(np.mean([all(row[other] < row[scan] for other in chosen) for chosen in sets]) if sets else np.nan)
    return parts


@pytest.mark.parametrize(("excluded", "n_way"), [(0, 2), (1, 2), (2, 4), (3, 5)])
def test_identification_against_every_set_of_candidates(excluded, n_way):
    similarity = np.random.default_rng(2).random((11, 11)) + 0.3 * np.eye(11)
    np.testing.assert_allclose(
        identification(similarity, excluded, n_way), identified_by_counting(similarity, excluded, n_way), atol=1e-12
    )


def test_identification_of_perfect_blind_and_too_few():
    assert identification(np.eye(13), 2, 10).tolist()[:2] == [1.0, 1.0]
    # A picture that never changes is as like to one scan as to another; ties count half.
    np.testing.assert_allclose(identification(np.zeros((13, 13)), 1, 2), 0.5)
    blind = np.tile(np.random.default_rng(3).random(400), (400, 1))
    assert np.nanmean(identification(blind, 0, 10)) == pytest.approx(0.1, abs=0.005)
    assert np.isnan(identification(np.eye(5), 0, 10)).all()


@pytest.mark.parametrize("runs", [None, ["a"] * 4 + ["b"] * 3 + ["a"] * 4])
def test_identification_in_the_place_of_any_scan(runs, monkeypatch):
    rng = np.random.default_rng(8)
    similarity = rng.integers(0, 9, (11, 11)) / 9  # many are alike
    monkeypatch.setattr("brainpred.numerics.scores.CELLS_AT_ONCE", 4 * 11)
    blocks = list(identification_elsewhere(similarity, 2, (2, 3), runs))
    assert [rows for rows, _ in blocks] == [slice(0, 4), slice(4, 8), slice(8, 11)]
    for n_way, elsewhere in zip((2, 3), np.concatenate([block for _, block in blocks], axis=1), strict=True):
        for place in range(11):
            moved = np.tile(similarity[place], (11, 1))  # what was decoded at this scan, at the place of every scan
            np.testing.assert_allclose(elsewhere[place], identified_with_ties(moved, 2, n_way, runs), atol=1e-12)
        np.testing.assert_array_equal(np.diag(elsewhere), identification(similarity, 2, n_way, runs))


def test_identification_takes_little_memory():
    similarity = np.random.default_rng(8).random((1200, 1200), dtype=np.float32)
    tracemalloc.start()
    for _, block in identification_elsewhere(similarity, 4, (2, 10)):
        assert block.shape[::2] == (2, 1200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25 * similarity.size, "bytes; the whole table at once took 68 a pair of scans"


def identified_with_ties(similarity, excluded, n_way, runs):
    """Count scans that are beaten, and half of those as alike, then draw without replacement."""
    parts = []
    for scan, row in enumerate(similarity):
        away = [t for t in range(len(row)) if abs(t - scan) > excluded or (runs and runs[t] != runs[scan])]
        beaten = sum(row[t] < row[scan] for t in away) + 0.5 * sum(row[t] == row[scan] for t in away)
        part = 1.0
        for taken in range(n_way - 1):
            part *= max(beaten - taken, 0) / (len(away) - taken)
        parts.append(part)
    return parts


def test_scans_of_other_runs_are_never_excluded():
    similarity = np.random.default_rng(5).random((9, 9)) + 0.2 * np.eye(9)
    runs = ["a"] * 4 + ["b"] * 5
    np.testing.assert_allclose(
        identification(similarity, 2, 3, runs), identified_by_counting(similarity, 2, 3, runs), atol=1e-12
    )
    assert not np.allclose(identification(similarity, 2, 3, runs), identification(similarity, 2, 3))


def test_nway_identification_equals_the_loop():
    rng = np.random.default_rng(3)
    patterns = np.vstack([rng.standard_normal((5, N_UNITS)), np.full(N_UNITS, 0.1), np.zeros(N_UNITS)])
    shown = rng.permutation(np.arange(29) % 7)
    true = patterns[shown]
    predicted = true + 1.2 * rng.standard_normal(true.shape)
    chosen, named, n_candidates = nway_identification(true, predicted)
    samples, correct = np.flatnonzero(named >= 0), (chosen == named)[named >= 0]

    expected = {}
    for i, label in enumerate(shown):
        if label < 5:  # the last two patterns do not vary: rest
            similarity = [slow_pearson(predicted[i], pattern) for pattern in patterns[:5]]
            expected[i] = similarity.index(max(similarity)) == label
    assert n_candidates == 5
    assert samples.tolist() == list(expected)
    assert correct.dtype == bool
    assert correct.tolist() == list(expected.values())
    resting = np.flatnonzero(named < 0)
    most_alike = [np.argmax([slow_pearson(predicted[i], true[np.flatnonzero(named == k)[0]]) for k in range(5)])
                  for i in resting]  # fmt: skip
    assert chosen[resting].tolist() == most_alike, "what is decoded while nothing is shown is like something too"
    assert 0 < correct.sum() < len(correct)


def test_nothing_is_identified_among_one_or_too_many_patterns(values):
    true, predicted = (np.tile(array, (2, 1)) for array in values)
    for truth, most in (
        (true, N_SAMPLES - 1),
        (np.tile(true[:1], (2 * N_SAMPLES, 1)), 64),
        (np.ones_like(true), 64),
        (true + np.arange(2 * N_SAMPLES)[:, None] * np.arange(N_UNITS), 64),  # patterns that never recur
    ):
        chosen, shown, n_candidates = nway_identification(truth, predicted, max_candidates=most)
        assert set(chosen) == set(shown) == {-1}
        assert n_candidates == 0
    assert nway_identification(true, predicted, max_candidates=N_SAMPLES)[2] == N_SAMPLES


@pytest.mark.parametrize(
    "score", [pearson_correlation, pattern_correlation, r2_score, identification_accuracy, nway_identification]
)
@pytest.mark.parametrize(
    "predicted", [np.zeros((N_SAMPLES, N_UNITS + 1)), np.zeros((N_SAMPLES - 1, N_UNITS)), np.zeros(N_SAMPLES)]
)
def test_shapes_that_do_not_match_are_refused(values, score, predicted):
    with pytest.raises(DataError, match=r"must share one shape.*\(13, 7\)"):
        score(values[0], predicted)


@pytest.mark.parametrize("score", [pearson_correlation, pattern_correlation, r2_score, identification_accuracy])
def test_one_dimension_is_refused(score):
    with pytest.raises(DataError, match="must share one shape"):
        score(np.arange(5.0), np.arange(5.0))


def test_identification_of_a_single_sample_is_refused():
    with pytest.raises(DataError, match="at least 2 samples, received 1"):
        identification_accuracy(np.ones((1, 3)), np.ones((1, 3)))


def test_inputs_stay_as_they_are(values):
    for array in values:
        array.setflags(write=False)
    for score in (pearson_correlation, pattern_correlation, r2_score, identification_accuracy, nway_identification):
        score(*values)
