"""What of a map is drawn: planted clusters are, noise and single voxels are not."""

import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.reporting.thresholds import everything, label_voxels, significant, standing_out, unbalanced

SHAPE = (23, 29, 17)


def make_noise(seed=0):
    """Draw values as forward patterns have them: above 0, alike in all voxels."""
    rng = np.random.default_rng(seed)
    noise = np.sqrt(rng.chisquare(9, SHAPE) / 9) * 0.13
    noise[:3] = 0  # outside the mask
    return noise


def test_clusters_stand_out_and_noise_does_not():
    values = make_noise()
    assert standing_out(values, label_voxels).places.mean() < 1e-3
    planted = np.zeros(SHAPE, bool)
    planted[8:12, 10:15, 5:9] = True
    values[planted] += 0.3
    values[20, 20, 2] = 5.0  # a single voxel, however high
    places = standing_out(values, label_voxels).places
    assert places[planted].mean() > 0.95
    assert places[~planted].mean() < 1e-3
    assert not places[20, 20, 2]
    assert not places[:3].any()


def test_clusters_of_nine_are_too_small():
    values = np.random.default_rng(1).uniform(0.9, 1.1, (9, 9, 9))
    values[2, 2, :] = 9.0
    assert not standing_out(values, label_voxels).places.any()
    values[2, 3, 8] = 9.0  # shares an edge
    assert standing_out(values, label_voxels).places.sum() == 10
    assert standing_out(values, label_voxels, "vertices").rule == (
        "clusters of 10 vertices or more, 3 SD above most vertices"
    )


def test_empty_map_shows_nothing():
    assert not standing_out(np.zeros(SHAPE), label_voxels).places.any()
    assert not unbalanced(np.zeros(SHAPE)).places.any()
    assert not everything(np.zeros(SHAPE)).places.any()


def test_contributions_are_drawn_down_to_where_negative_ones_become_as_large():
    rng = np.random.default_rng(2)
    noise, signal = rng.standard_normal(4000), rng.uniform(5, 9, 300)
    shown = unbalanced(np.concatenate([noise, signal]))
    assert shown.places[4000:].all()
    assert shown.places[:4000].sum() <= 0.1 * 300
    lowest = np.concatenate([noise, signal])[shown.places].min()
    values = np.concatenate([noise, signal])
    assert (1 + np.sum(values <= -lowest)) / np.sum(values >= lowest) <= 0.05
    assert not unbalanced(noise).places.any()


def test_significant_voxels_are_those_of_the_table():
    values, q = np.array([0.5, -0.4, 0.0, 0.3]), np.array([0.01, 0.04, 0.0, 0.05])
    assert significant(values, q).places.tolist() == [True, True, False, False]
    with pytest.raises(DataError, match="as many q as values"):
        significant(values, q[:3])
