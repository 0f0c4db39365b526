"""Quality of runs: by its formulas, one voxel and one scan at a time, and on spikes and shifts that were put in."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.numerics import quality
from brainpred.numerics.quality import run_quality


@pytest.fixture
def bold():
    rng = np.random.default_rng(0)
    return (1000 + 30 * np.arange(13)[:, None] * rng.random(17) + rng.normal(0, 9, (13, 17))).astype(np.float32)


def test_signal_over_noise_and_changes_by_loops(bold, monkeypatch):
    monkeypatch.setattr(quality, "VOXELS_AT_ONCE", 5)
    bold[:, 3] = 700
    found = run_quality(bold)
    for voxel in (0, 6, 16):
        line = np.polyval(np.polyfit(np.arange(13), bold[:, voxel].astype(float), 1), np.arange(13))
        spread = np.sqrt(np.sum((bold[:, voxel] - line) ** 2) / 11)
        assert found.tsnr[voxel] == pytest.approx(bold[:, voxel].mean() / spread, rel=1e-4)
    assert found.tsnr[3] == 0
    assert np.flatnonzero(found.constant).tolist() == [3]
    assert np.isnan(found.dvars[0])
    for scan in (1, 7, 12):
        change = np.sqrt(np.mean((bold[scan].astype(float) - bold[scan - 1]) ** 2))
        assert found.dvars[scan] == pytest.approx(100 * change / bold.astype(float).mean(), rel=1e-5)
    assert np.isnan(found.shift_mm).all()


def test_spikes_and_shifts_are_found():
    rng = np.random.default_rng(1)
    places = rng.uniform(-70, 70, (200, 3))
    bold = 1000 + rng.normal(0, 5, (120, 200))
    bold[41] *= 1 + places[:, 1] / 1000  # the front brighter, the back darker
    found = run_quality(bold, places)
    assert set(np.flatnonzero(found.spikes)) == {41, 42}, "towards it and away from it"
    assert found.shift_mm.argmax() == 41
    centre = (bold[41] @ places) / bold[41].sum() - np.median((bold @ places) / bold.sum(axis=1)[:, None], axis=0)
    assert found.shift_mm[41] == pytest.approx(np.linalg.norm(centre))


def test_two_scans_are_too_few():
    with pytest.raises(DataError, match="3 scans or more, received 2"):
        run_quality(np.ones((2, 5)))
