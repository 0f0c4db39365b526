"""Shares of layers: which runs and scans they are estimated from, and what is refused."""

import numpy as np
import pytest

from brainpred.decoding.layer_shares import layer_shares
from brainpred.decoding.splits import CleanRun
from brainpred.errors import MemoryBudgetError
from brainpred.numerics.haemodynamics import canonical_response, convolution_matrix
from brainpred.numerics.timing import zscore_runs
from brainpred.recordings.recording import Run
from tests.recorder import Recorder

LENGTHS = {"c1": 61, "c2": 53, "c3": 67, "c4": 59, "t1": 71}
SHAPES = {"A": (2, 3), "B": (5,)}
ROIS = np.repeat(["one", "two"], 101)


class Clips:
    """Give every clip features of its own in two layers."""

    shapes = SHAPES

    def __init__(self, rng):
        self.units = {
            clip: {layer: rng.standard_normal((n, int(np.prod(shape)))) for layer, shape in SHAPES.items()}
            for clip, n in LENGTHS.items()
        }

    def n_scans(self, run):
        return LENGTHS[run.stimulus]

    def of_run(self, layer, run, units=slice(None)):
        return self.units[run.stimulus][layer][:, units].astype(np.float32)


@pytest.fixture
def source():
    return Clips(np.random.default_rng(4))


def test_covariances_that_do_not_fit_into_the_memory_are_refused(source):
    runs = []
    for clip, n in LENGTHS.items():
        bold = zscore_runs(np.random.default_rng(n).standard_normal((n, len(ROIS))), np.zeros(n))[0]
        runs.append(CleanRun(Run(clip, "train", bold, clip), bold))
    with pytest.raises(MemoryBudgetError, match=r"Shares of 2 layers over 311 scans need 0.01 GiB, .* is 0.00 GiB"):
        layer_shares(runs, ["A", "B"], source, ROIS, 1.0, simulated=True, memory_budget="1 MB")


def record(source, lengths, moved=(), gain=1.0):
    """Show every clip, the test clip thrice: ROI one carries A and a little B, ROI two nothing; a voxel is silent."""
    rng = np.random.default_rng(8)
    weights = {layer: rng.standard_normal((int(np.prod(shape)), 101)) for layer, shape in SHAPES.items()}
    runs = []
    for number, clip in enumerate(["c1", "c2", "c3", "c4", "t1", "t1", "t1"]):
        n = lengths[number]
        units = {layer: zscore_runs(values, np.zeros(len(values)))[0] for layer, values in source.units[clip].items()}
        driven = 0.3 * units["A"] @ weights["A"] + 0.1 * units["B"] @ weights["B"]
        bold = rng.standard_normal((n, len(ROIS)))
        bold[:, :101] += (convolution_matrix(canonical_response(1.0), len(driven)) @ driven)[:n]
        for scan in moved:
            bold[scan] += 20 * np.linspace(-1, 1, len(ROIS))
        bold = gain * (bold - bold.mean(axis=0))
        bold[:, 3] = 0
        role = "test" if clip == "t1" else "train"
        runs.append(CleanRun(Run(f"{number}-{clip}", role, bold, clip), bold.astype(np.float32)))
    return runs


def estimate(runs, source, **settings):
    table = layer_shares(runs, ["A", "B"], source, ROIS, 1.0, simulated=True, **settings)
    return table.pivot_table(index="roi", columns="layer", values="share"), table


WHOLE = [61, 53, 67, 59, 71, 71, 71]


def test_share_is_free_of_the_scale_and_none_where_nothing_is_carried(source):
    shares, table = estimate(record(source, WHOLE), source)
    assert 2 * shares.loc["one", "B"] < shares.loc["one", "A"]
    assert shares.loc["one", "A"] > 0.05
    assert (table["share_low"][table["roi"] == "two"] == 0).all()
    assert set(table["n_scans"]) == {sum(WHOLE)}
    percent, _ = estimate(record(source, WHOLE, gain=0.02), source)
    np.testing.assert_allclose(percent, shares, rtol=1e-3, atol=1e-6)


def test_repeats_that_broke_off_count_as_far_as_they_go(source):
    shares, table = estimate(record(source, [61, 53, 67, 59, 40, 71, 55]), source)
    whole, _ = estimate(record(source, WHOLE), source)
    assert set(table["n_scans"]) == {61 + 53 + 67 + 59 + 40 + 71 + 55}
    np.testing.assert_allclose(shares, whole, atol=0.02)


def test_scans_during_which_the_head_moved_are_left_out_and_told(source):
    recorder = Recorder()
    shares, table = estimate(record(source, WHOLE, moved=(20, 21, 37)), source, reporter=recorder)
    still, _ = estimate(record(source, WHOLE), source)
    assert set(table["n_left_out"]) == {3 * len(WHOLE)}
    assert f"Note: shares of layers do without 21 of {sum(WHOLE)} scans" in recorder.said[-1]
    np.testing.assert_allclose(shares, still, atol=0.005)
    assert recorder.stopped_short() == []
