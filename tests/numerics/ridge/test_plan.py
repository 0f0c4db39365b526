"""A plan counts what a fit will take, and refuses what memory cannot hold with what would fit."""

import re

import numpy as np
import pytest
import torch

from brainpred.errors import MemoryBudgetError
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.ridge.plan import plan_ridge
from tests.numerics.ridge.problems import ALPHAS, CPU, LABELS, LENGTHS, Counted, simulate

N_TARGETS, MANY = 31, tuple(np.logspace(-1, 3, 7))


def plan(budget_bytes=np.inf, **changes):
    settings = {
        "n_samples": 701, "n_features": 97, "n_targets": 1009, "n_grams": 3, "n_bands": 3, "n_gammas": 5, "n_alphas": 7,
        "n_clusters": 1,
        "n_delays": 2, "n_folds": 5, "form": "dual",
        "search": "per-target", "shortlist": None, "device": CPU, "dtype": torch.float32,
        "precision": torch.float32, **changes,
    }  # fmt: skip
    return plan_ridge(**settings, budget_bytes=budget_bytes)


@pytest.mark.parametrize("n_held", [None, 1, 5])
@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({"search": "shared", "shortlist": None}, 2),
        ({"search": "shared", "shortlist": 3}, 2),
        ({"search": "shared", "cluster": np.arange(N_TARGETS) % 3, "shortlist": 2}, 2),
        ({"search": "shared", "bands": None, "shortlist": 3}, 2),
        ({"search": "shared", "bands": None, "shortlist": None}, 1),
        ({"search": "per-target", "shortlist": None, "n_candidates": 4}, 1),
        ({"search": "per-target", "shortlist": 3, "n_candidates": 4}, 2),
        ({"search": "per-target", "shortlist": 3, "n_candidates": 4, "bands": None}, 2),
        ({"search": "himalaya", "n_candidates": 4}, 1),
    ],
)
def test_targets_are_read_as_often_as_the_plan_says(settings, passes, n_held):
    X, Y, runs = simulate(LENGTHS, n_targets=N_TARGETS)
    ridge = BandedRidgeCV(
        **{"bands": LABELS, "alphas": MANY, "precision": "float64", "device": "cpu", "form": "dual", **settings}
    )
    counted_X, counted = Counted(X), Counted(Y)
    in_one = ridge.fit(counted_X, counted, runs).plan_
    if n_held is not None:
        counted_X, counted = Counted(X), Counted(Y)
        budget = in_one.peak_bytes - in_one.candidate_bytes + n_held * 60 * 60 * 8
        ridge.set_params(memory_budget=budget).fit(counted_X, counted, runs)
        assert ridge.plan_.peak_bytes <= budget
        if ridge.search != "himalaya":
            passes += -(-ridge.plan_.n_candidates // n_held) - 1
    n_audited = 0 if ridge.search == "himalaya" else N_TARGETS
    assert counted.n_columns == passes * N_TARGETS + n_audited
    assert counted_X.n_columns == 13
    assert ridge.plan_.passes_over_Y == passes


def test_more_candidates_than_memory_holds_take_more_passes_and_no_more_than_the_budget():
    whole = plan()
    assert whole.n_candidates == 35
    assert whole.candidate_bytes == 35 * 701**2 * 4
    fixed = whole.peak_bytes - whole.candidate_bytes
    assert whole.kernel_bytes == 3 * 701**2 * 4
    for n_held, n_passes in ((34, 2), (12, 3), (1, 35)):
        budget = fixed + n_held * 701**2 * 4
        tight = plan(budget)
        assert tight.passes_over_Y == n_passes
        assert tight.peak_bytes <= budget
    assert plan(fixed + 12 * 701**2 * 4, precision=torch.bfloat16).passes_over_Y == 2


@pytest.mark.parametrize("search", ["shared", "per-target", "himalaya"])
def test_refusal_says_what_is_needed_what_there_is_and_what_would_fit(search):
    with pytest.raises(MemoryBudgetError, match=r"needs .* GiB, the memory budget is 95 MiB") as refusal:
        plan(1e8, search=search, n_samples=20011)
    expected = re.search(r"Expected (\S+) GiB or more", str(refusal.value))[1]
    assert plan(1.06 * float(expected) * 2**30, search=search, n_samples=20011).peak_bytes > 0
    with pytest.raises(MemoryBudgetError):
        plan(0.94 * float(expected) * 2**30, search=search, n_samples=20011)
    assert ("search='shared'" in str(refusal.value)) == (search != "shared")


@pytest.mark.parametrize("n_samples", [20011, 30011, 54321])
def test_budget_that_a_refusal_names_is_enough(n_samples):
    with pytest.raises(MemoryBudgetError) as refusal:
        plan(1e8, n_samples=n_samples)
    expected = re.search(r"Expected (\S+) GiB or more", str(refusal.value))[1]
    plan(float(expected) * 2**30, n_samples=n_samples)


@pytest.mark.parametrize("budget", [2**29, 2**30, 2**33])
def test_number_of_samples_that_a_refusal_names_fits(budget):
    with pytest.raises(MemoryBudgetError) as refusal:
        plan(budget, search="shared", n_samples=100_003)
    fits = int(re.search(r"about ([\d,]+) samples", str(refusal.value))[1].replace(",", ""))
    plan(budget, search="shared", n_samples=fits)
    with pytest.raises(MemoryBudgetError):
        plan(budget, search="shared", n_samples=2 * fits)


def test_fit_beyond_its_memory_budget_is_refused_before_anything_is_read():
    X, Y, runs = simulate(LENGTHS)
    counted_X, counted = Counted(X), Counted(Y)
    with pytest.raises(MemoryBudgetError, match=r"the memory budget is 1 MiB"):
        BandedRidgeCV(LABELS, alphas=ALPHAS, memory_budget="1 MB", form="dual").fit(counted_X, counted, runs)
    assert counted_X.n_columns == counted.n_columns == 0


def test_operations_grow_with_the_targets_that_are_scored_and_seconds_with_operations():
    one, other = plan(), plan(n_targets=3 * 1009)
    assert other.flops - one.flops == pytest.approx(35 * 2 * 701**2 * 2 * 1009)
    assert plan(shortlist=2, n_targets=10**7).flops < 0.1 * plan(n_targets=10**7).flops
    assert one.seconds == pytest.approx(one.flops / 1e9)


def test_plan_is_told_in_one_line():
    assert str(plan()).startswith("Ridge of 701 samples, 97 features, 1,009 targets; 3 bands, 35 candidates")
    assert "X is read once, Y once" in str(plan())
    assert "\n" not in str(plan())
    assert re.search(r"\d+ min or more", str(plan(n_targets=10**7)))
    assert re.search(r"\d+ s or more", str(plan()))
