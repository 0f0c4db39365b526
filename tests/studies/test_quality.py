"""The quality of scans that were z-scored before cannot be told from their mean, and that is said."""

import numpy as np
import pytest

from brainpred.progress import SilentReporter
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import NoSpace
from brainpred.studies.quality import write_quality


class Notes(SilentReporter):
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


@pytest.mark.parametrize(("mean", "said"), [(1000.0, False), (0.0, True)])
def test_scans_that_vary_about_0_are_told(tmp_path, mean, said):
    bold = np.random.default_rng(0).normal(mean, 1, (37, 5)).astype(np.float32)
    recording = Recording("toy", "s1", 2.0, [Run("one", "train", bold)], NoSpace(5), np.full(5, "roi"))
    reporter = Notes()
    write_quality(tmp_path, recording, reporter)
    assert any("the scans vary about 0" in note for note in reporter.said) == said
