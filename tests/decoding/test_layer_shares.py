"""Shares of layers: which runs and scans they are estimated from, and what is refused."""

import numpy as np
import pytest

from brainpred.decoding.layer_shares import layer_shares
from brainpred.decoding.splits import CleanRun
from brainpred.errors import MemoryBudgetError
from brainpred.numerics.timing import zscore_runs
from brainpred.recordings.recording import Run

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
