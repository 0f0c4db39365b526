"""Nothing of a test run, and nothing of another run, finds its way into what is fitted; planted leaks are caught."""

import numpy as np
import pytest

from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.scores import pearson_correlation
from tests.numerics.ridge.problems import EXACT, LABELS, make_kernels
from tests.reference.leak_guard import assert_test_runs_are_not_looked_at

LENGTHS = (17, 13, 11, 19, 15)
RUNS = np.repeat([3, 1, 4, 0, 2], LENGTHS)
TEST_RUNS = [1, 0]


def recording():
    rng = np.random.default_rng(21)
    X = rng.normal(1.0, 2.0, (len(RUNS), len(LABELS)))
    return X, X[:, :7] @ rng.standard_normal((7, 5)) + 4 * rng.standard_normal((len(RUNS), 5)) + 3


def fit_decoder(
    X, Y, runs, test_runs, *, search="shared", spread_over_all=None, delay_across=False, tune_on_test=False
):
    """Standardise, fit and choose; with each of the last three, make a mistake that is often made."""
    train = ~np.isin(runs, test_runs)
    if delay_across:
        X = np.concatenate([X[2:], X[:2]])  # delays made before the runs are told apart
    standardised, statistics = {}, {}
    for name, values in (("X", X), ("Y", Y)):
        over = values if name == spread_over_all else values[train]
        statistics |= {f"mean of {name}": over.mean(axis=0), f"spread of {name}": over.std(axis=0)}
        standardised[name] = (values - over.mean(axis=0)) / over.std(axis=0)
    kept = np.ones(len(runs), dtype=bool) if tune_on_test else train
    ridge = BandedRidgeCV(
        LABELS, search=search, delays_s=(0.0,) if delay_across else (1.0, 2.0), alphas=(0.1, 1, 10, 100),
        n_candidates=5, precision="float64", device="cpu", cv=[(np.flatnonzero(train), np.flatnonzero(~train))] * 2
        if tune_on_test else None,
    )  # fmt: skip
    ridge.fit(standardised["X"][kept], standardised["Y"][kept], runs[kept])
    return statistics | {
        "band weights": ridge.band_weights_, "alphas": ridge.alphas_, "cv_scores": ridge.cv_scores_,
        "intercept": ridge.intercept_, "audit": ridge.audit_,
    }  # fmt: skip


@pytest.mark.parametrize("search", ["shared", "per-target"])
def test_honest_fit_does_not_look_at_test_runs(search):
    assert_test_runs_are_not_looked_at(
        lambda *recording: fit_decoder(*recording, search=search), *recording(), RUNS, TEST_RUNS
    )


@pytest.mark.parametrize(
    ("mistake", "caught"),
    [
        ({"spread_over_all": "X"}, "mean of X changes when the X of test runs"),
        ({"spread_over_all": "Y"}, "mean of Y changes when the Y of test runs"),
        ({"delay_across": True}, "changes when the X of test runs"),
        ({"tune_on_test": True}, "changes when the X of test runs"),
    ],
    ids=["X z-scored over all runs", "Y z-scored over all runs", "delays across runs", "tuned on test runs"],
)
def test_guard_catches_a_planted_leak(mistake, caught):
    with pytest.raises(AssertionError, match=caught):
        assert_test_runs_are_not_looked_at(
            lambda *recording: fit_decoder(*recording, **mistake), *recording(), RUNS, TEST_RUNS
        )


def test_guard_refuses_a_recording_that_proves_nothing():
    for test_runs, message in (([9], "no sample is of a test run"), ([0, 1, 2, 3, 4], "all samples are of test runs")):
        with pytest.raises(AssertionError, match=message):
            assert_test_runs_are_not_looked_at(fit_decoder, *recording(), RUNS, test_runs)
    with pytest.raises(AssertionError, match="nothing was fitted"):
        assert_test_runs_are_not_looked_at(lambda *recording: {}, *recording(), RUNS, TEST_RUNS)


@pytest.mark.parametrize("per_delay", [False, True])
@pytest.mark.parametrize("altered", [3, 4, 2])
def test_kernels_between_other_runs_do_not_see_a_run(altered, per_delay):
    X, _ = recording()
    here = altered == RUNS
    changed = X.copy()
    changed[here] = X[here].mean(axis=0) - 7 * (X[here] - X[here].mean(axis=0))  # the means stay
    one, other = (
        kernels.materialise().numpy() * kernels.scale[:, None, None]
        for kernels in (make_kernels(x, RUNS, per_delay=per_delay) for x in (X, changed))
    )
    among_others = np.ix_(range(len(one)), ~here, ~here)
    np.testing.assert_allclose(other[among_others], one[among_others], rtol=0, atol=1e-9)
    assert np.abs(other - one)[:, here].max() > 1


def test_pure_noise_scores_at_chance():
    rng = np.random.default_rng(8)
    runs = np.repeat([0, 1, 2, 3], [23, 19, 29, 31])
    X, Y = rng.standard_normal((102, 37)), rng.standard_normal((102, 811))
    train = runs < 3
    for search in ("shared", "per-target"):
        ridge = BandedRidgeCV(np.arange(37) % 3, delays_s=(1.0, 2.0), alphas=(0.1, 1.0), search=search, n_candidates=5)
        ridge.fit(X[train], Y[train], runs[train])
        r = pearson_correlation(Y[~train], ridge.predict(X[~train], runs[~train]))
        assert abs(r.mean()) < 4 * r.std() / np.sqrt(len(r))
        assert r.std() < 0.4
        assert pearson_correlation(Y[train], ridge.predict(X[train], runs[train])).mean() > 0.5, "no fit to speak of"
        assert ridge.score(X[~train], Y[~train], runs[~train]) < 0
        assert ridge.cv_scores_.mean() < 0


def test_default_alphas_find_nothing_in_noise():
    rng = np.random.default_rng(9)
    runs = np.repeat(np.arange(5), [31, 29, 37, 23, 41])
    X, Y = rng.standard_normal((161, 53)), rng.standard_normal((161, 601))
    train = runs < 4
    ridge = BandedRidgeCV(np.arange(53) % 4).fit(X[train], Y[train], runs[train])
    # The best of ten alphas is chosen for each target by the same score: a little above 0 is luck.
    assert ridge.cv_scores_.mean() < 0.01
    r = pearson_correlation(Y[~train], ridge.predict(X[~train], runs[~train]))
    assert abs(np.nanmean(r)) < 4 * np.nanstd(r) / np.sqrt(len(r))
    assert ridge.score(X[~train], Y[~train], runs[~train]) < 0.005


def test_scan_that_carries_the_run_before_does_not_help():
    """Plant a leak: the first scans of every run repeat the targets at the end of the run before."""
    rng = np.random.default_rng(9)
    runs, n_delay = np.repeat(np.arange(8), 11), 4
    X, Y = rng.standard_normal((88, 17)), rng.standard_normal((88, 17))
    plain = X.copy()
    for begin in range(11, 88, 11):
        leak = 10 * Y[begin - n_delay : begin]
        X[begin : begin + n_delay] = leak - leak.mean(axis=0)  # the means stay
        plain[begin : begin + n_delay] = 0
    train = runs < 5
    settings = {"delays_s": (float(n_delay),), "alphas": (0.1, 10.0, 1000.0), **EXACT}
    ridge = BandedRidgeCV(**settings).fit(X[train], Y[train], runs[train])
    predicted = ridge.predict(X[~train], runs[~train])
    r = pearson_correlation(Y[~train], predicted)
    assert abs(r.mean()) < 4 * r.std() / np.sqrt(len(r))

    untouched = BandedRidgeCV(**settings).fit(plain[train], Y[train], runs[train])
    np.testing.assert_allclose(predicted, untouched.predict(plain[~train], runs[~train]), rtol=0, atol=1e-9)
    past_the_run = np.concatenate([np.arange(end - n_delay, end) for end in (11, 22, 33)])
    np.testing.assert_allclose(predicted[past_the_run], np.tile(ridge.intercept_, (12, 1)), rtol=0, atol=1e-12)
