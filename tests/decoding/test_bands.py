"""Choices of bands, as written on the command line, become labels and delays."""

import numpy as np
import pytest

from brainpred.decoding.bands import BAND_CHOICES, check_bands, ridge_bands
from brainpred.errors import ConfigError

ROIS = np.array(["v1", "lo", "v1"])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("roi", "roi"),
        ("ROI", "roi"),
        ("delay", "delay"),
        ("none", "none"),
        ("roi×delay", "roi×delay"),
        ("roi*delay", "roi×delay"),
        ("roi-delay", "roi×delay"),
        ("RoixDelay", "roi×delay"),
    ],
)
def test_choices_may_be_written_plainly(written, expected):
    assert check_bands(written) == expected
    assert expected in BAND_CHOICES


@pytest.mark.parametrize("bands", ["", "voxel", "roi delay", "delay×roi", "roi×"])
def test_unknown_choice_is_refused_with_those_there_are(bands):
    with pytest.raises(ConfigError, match="Choose one of: roi, delay, roi×delay, none"):
        check_bands(bands)
    with pytest.raises(ConfigError, match="Unknown bands"):
        ridge_bands(bands, ROIS)


@pytest.mark.parametrize(
    ("bands", "by_roi", "per_delay"),
    [("roi", True, False), ("delay", False, True), ("roi*delay", True, True), ("none", False, False)],
)
def test_labels_and_delays(bands, by_roi, per_delay):
    labels, each_delay = ridge_bands(bands, ROIS)
    assert each_delay is per_delay
    assert (labels is ROIS) if by_roi else (labels is None)
