"""Catch what looks at test runs while it fits: alter them, and nothing that was fitted may change by a single bit."""

import numpy as np


def alterations(test, rng):
    """Name ways to alter test runs (n_samples, n_columns) without a trace of what they were."""
    return {
        "noise": rng.normal(test.mean(axis=0), test.std(axis=0), test.shape),
        "shifted and stretched": 5.0 + 3.0 * test,
        "backwards": test[::-1],
        "zeros": np.zeros_like(test),
    }


def assert_test_runs_are_not_looked_at(fit, X, Y, runs, test_runs, *, seed=0):
    """Fit a whole recording again and again, its test runs altered, and compare what was fitted bit for bit.

    Parameters
    ----------
    fit : callable
        Takes X, Y, runs and the names of the test runs; gives a dict of all that it fitted: band weights, α,
        cross-validated scores, the means and spreads that it standardised by.
    X, Y : ndarray (n_samples, n_features), (n_samples, n_targets)
        A recording, training and test runs together.
    runs : ndarray (n_samples,)
        Run of each sample.
    test_runs : sequence
        Names of the test runs.
    seed : int
        Of the noise.

    Raises
    ------
    AssertionError
        If anything that was fitted changes with the X or the Y of a test run.
    """
    rng = np.random.default_rng(seed)
    test = np.isin(runs, test_runs)
    assert test.any(), "no sample is of a test run"
    assert not test.all(), "all samples are of test runs"
    honest = {name: np.array(values) for name, values in fit(X.copy(), Y.copy(), runs, test_runs).items()}
    assert honest, "nothing was fitted"
    for kind in alterations(X[test], rng):
        for altered in ("X", "Y"):
            arrays = {"X": X.copy(), "Y": Y.copy()}
            arrays[altered][test] = alterations(arrays[altered][test], rng)[kind]
            again = fit(arrays["X"], arrays["Y"], runs, test_runs)
            for name, values in honest.items():
                same = np.array_equal(values, np.asarray(again[name]))
                assert same, f"{name} changes when the {altered} of test runs become {kind}: the test runs leak."
