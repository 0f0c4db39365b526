"""The BOLD signal is read some scans after the stimulus, and never out of the next run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainpred.errors import ConfigError
from brainpred.numerics.ridge.delays import delayed_rows, delays_in_samples


def test_delays_never_cross_runs():
    samples, scans = delayed_rows([7, 7, 7, 7, 7, 2, 2, 2, 5, 5], 2)
    assert samples.tolist() == [0, 1, 2, 5]
    assert scans.tolist() == [2, 3, 4, 7]


def test_delay_of_zero_pairs_every_sample_with_itself():
    samples, scans = delayed_rows(["a", "a", "b", "c", "c"], 0)
    assert samples.tolist() == scans.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("delay", [3, 4, 5, 6, 7, 100])
def test_run_shorter_than_the_delay_has_no_pairs(delay):
    samples, scans = delayed_rows([0, 0, 0, 1, 1], delay)
    assert samples.size == scans.size == 0
    assert samples.dtype.kind == scans.dtype.kind == "i"


@settings(derandomize=True, database=None, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=7), delay=st.integers(0, 13))
def test_every_pair_lies_in_one_run_and_is_the_delay_apart(lengths, delay):
    names = np.random.default_rng(0).permutation(len(lengths)) * 3
    runs = np.repeat(names, lengths)
    samples, scans = delayed_rows(runs, delay)
    assert (scans - samples == delay).all()
    assert (runs[samples] == runs[scans]).all()
    assert len(set(samples.tolist())) == len(samples) == sum(max(0, length - delay) for length in lengths)
    assert all(0 <= sample <= scan < len(runs) for sample, scan in zip(samples, scans, strict=True))


@pytest.mark.parametrize(
    ("delays_s", "tr_s", "expected"),
    [
        ([3, 4, 5, 6], 1.0, (3, 4, 5, 6)),
        ([3, 4, 5, 6], 2.5, (1, 2)),
        ([6.0, 3.0, 4.4, 4.6], 1.0, (3, 4, 5, 6)),
        ([3, 4, 5, 6], 0.72, (4, 6, 7, 8)),
        ([0.0], 2.0, (0,)),
        ([0.9, 1.1], 1.0, (1,)),
        (np.array([5.1, 7.3]), 1.3, (4, 6)),
    ],
)
def test_delays_are_rounded_to_scans_and_count_once(delays_s, tr_s, expected):
    assert delays_in_samples(delays_s, tr_s) == expected


@pytest.mark.parametrize("delays_s", [[], [-1.0], [3.0, -0.1], [float("nan")], [3.0, float("inf")]])
def test_impossible_delays_are_refused(delays_s):
    with pytest.raises(ConfigError, match="delays_s must be one or more delays of 0 s or later"):
        delays_in_samples(delays_s, 1.0)


@pytest.mark.parametrize("tr_s", [0.0, -2.0, float("nan"), float("inf")])
def test_impossible_repetition_time_is_refused(tr_s):
    with pytest.raises(ConfigError, match="tr_s must be a positive number of seconds"):
        delays_in_samples([3.0], tr_s)
