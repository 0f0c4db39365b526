"""Voxels are predicted from the features before them, and told which layer they carry: against a plain ridge."""

import numpy as np
import pytest

from brainpred.decoding.encoding import encode_voxels, encoding_table, voxel_table
from brainpred.decoding.splits import CleanRun, split_runs
from brainpred.errors import DataError
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.timing import zscore_runs
from brainpred.recordings.recording import Run

N_VOXELS, DELAY, SHAPES = 11, 3, {"A": (2, 3), "B": (4,)}
ROIS = np.array(["a"] * 4 + ["b"] * 4 + ["none"] * 3)


class Clips:
    """Give every clip features of its own in two layers."""

    shapes = SHAPES

    def __init__(self, lengths):
        self.units = {
            clip: {
                layer: 3 + np.random.default_rng([n, k]).standard_normal((n_scans, int(np.prod(shape))))
                for k, (layer, shape) in enumerate(SHAPES.items())
            }
            for n, (clip, n_scans) in enumerate(lengths.items())
        }

    def n_scans(self, run):
        return run.n_scans

    def of_run(self, layer, run, units=slice(None)):
        return self.units[run.stimulus][layer][: run.n_scans, units].astype(np.float32)


WEIGHTS = np.random.default_rng(77).standard_normal((10, N_VOXELS))
WEIGHTS[6:, :4] = 0  # the first voxels carry layer A alone
WEIGHTS[:6, 4:] = 0  # the next B
WEIGHTS[:, 8:] = 0  # and the last nothing


def measure(source, clip, role, seed, noise=1.0):
    units = np.concatenate([zscore_runs(part, np.zeros(len(part)))[0] for part in source.units[clip].values()], axis=1)
    bold = noise * np.random.default_rng(seed).standard_normal((len(units), N_VOXELS))
    bold[DELAY:] += units[:-DELAY] @ WEIGHTS
    bold = zscore_runs(bold, np.zeros(len(bold)))[0].astype(np.float32)
    return CleanRun(Run(f"{clip}-{seed}", role, bold, clip), bold)


def make_ridge(**settings):
    return BandedRidgeCV(delays_s=(float(DELAY), 5.0), alphas=(0.1, 1.0, 10.0), device="cpu", **settings)


@pytest.fixture(scope="module")
def source():
    return Clips({"c1": 97, "c2": 83, "c3": 89, "t1": 101, "t2": 67})


@pytest.fixture(scope="module")
def runs(source):
    training = [measure(source, clip, "train", seed) for seed, clip in enumerate(("c1", "c2", "c3"))]
    return [*training, *(measure(source, clip, "test", 10 + k) for clip, k in (("t1", 0), ("t1", 1), ("t2", 2)))]


@pytest.fixture(scope="module")
def result(source, runs):
    return encode_voxels(split_runs(runs, source, 1.0), ["A", "B"], source, ROIS, make_ridge, n_permutations=299)


def test_each_voxel_is_given_to_the_layer_it_carries(result):
    assert result.bands == ("A", "B")
    assert result.r[:8].min() > 0.6
    assert np.abs(result.r[8:]).max() < 0.4
    assert (result.band_r2[0, :4] > 5 * np.abs(result.band_r2[1, :4])).all()
    assert (result.band_r2[1, 4:8] > 5 * np.abs(result.band_r2[0, 4:8])).all()
    assert (result.q[:8] < 0.05).all()
    assert (result.p[8:] > 0.01).all()


def test_predictions_are_those_of_a_ridge_on_delayed_copies(source, runs):
    """One layer, one α: by copying features forwards and solving the normal equations."""

    def single(**settings):
        return make_ridge(**settings).set_params(alphas=(5.0,))

    found = encode_voxels(split_runs(runs, source, 1.0), ["A"], source, ROIS, single, n_permutations=9)

    def copies(clip):
        units = zscore_runs(source.units[clip]["A"], np.zeros(len(source.units[clip]["A"])))[0]
        late = [np.vstack([np.zeros((delay, 6)), units[:-delay]]) for delay in (DELAY, 5)]
        return np.hstack(late)

    X = np.vstack([copies(run.clip) for run in runs[:3]])
    Y = np.vstack([run.bold for run in runs[:3]])
    scale = np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1))  # the kernel's mean diagonal is 1
    centred = X - X.mean(axis=0)
    weights = np.linalg.solve(centred.T @ centred + 5 * scale * np.eye(12), centred.T @ (Y - Y.mean(axis=0)))
    predicted = [(copies(clip) - X.mean(axis=0)) @ weights + Y.mean(axis=0) for clip in ("t1", "t2")]
    true = [np.mean([runs[3].bold, runs[4].bold], axis=0), runs[5].bold]
    kept = [np.vstack([part[DELAY:] - part[DELAY:].mean(axis=0) for part in parts]) for parts in (true, predicted)]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(kept[0].T, kept[1].T, strict=True)]
    np.testing.assert_allclose(found.r, r, rtol=0, atol=2e-3)
    centred = [np.vstack([part[DELAY:] - part[DELAY:].mean(axis=0) for part in parts]) for parts in (true, predicted)]
    residual = ((centred[0] - centred[1]) ** 2).sum(axis=0) / (centred[0] ** 2).sum(axis=0)
    np.testing.assert_allclose(found.r2, 1 - residual, rtol=0, atol=5e-3)
    assert found.n_scans == 101 + 67 - 2 * DELAY


def test_bands_sum_and_ceilings_bound(result):
    np.testing.assert_allclose(result.band_r2.sum(axis=0), result.r2, rtol=0, atol=1e-6)
    assert (result.r[:8] < result.ceiling[:8] + 0.1).all()
    assert result.ceiling[:8].min() > 0.7


def test_clips_are_left_out_in_turn_where_none_is_for_testing(source, runs):
    found = encode_voxels(split_runs(runs[:3], source, 1.0), ["A", "B"], source, ROIS, make_ridge, n_permutations=19)
    assert found.n_scans == 97 + 83 + 89 - 3 * DELAY
    assert found.r[:8].min() > 0.5
    assert np.isnan(found.ceiling).all()


def table_ends(result, roi):
    row = encoding_table(result, ROIS, simulated=True).set_index("roi").loc[roi]
    assert row["mean_r_low"] < row["mean_r"] < row["mean_r_high"]
    return row["mean_r_low"], row["mean_r_high"]


def test_bands_sum_where_delays_give_features_a_mean(source, runs):
    """A ramp has another mean over the scans that are scored than over its run; clips and folds differ in it."""
    ramped = Clips({})
    ramped.units = {
        clip: {layer: values + 4 * np.linspace(-1, 1, len(values))[:, None] ** 3 for layer, values in units.items()}
        for clip, units in source.units.items()
    }
    drifting = [
        CleanRun(run.run, run.bold + np.linspace(-1, 1, len(run.bold), dtype=np.float32)[:, None]) for run in runs
    ]
    for some in (drifting, drifting[:3]):
        found = encode_voxels(split_runs(some, ramped, 1.0), ["A", "B"], ramped, ROIS, make_ridge, n_permutations=9)
        np.testing.assert_allclose(found.band_r2.sum(axis=0), found.r2, rtol=0, atol=1e-6)


def test_ceiling_is_of_all_clips(source, runs):
    """A clip shown once has more noise than the mean of another's repeats: the ceiling of both lies between."""
    alone = encode_voxels(split_runs(runs[:5], source, 1.0), ["A"], source, ROIS, make_ridge, n_permutations=9)
    both = encode_voxels(split_runs(runs, source, 1.0), ["A"], source, ROIS, make_ridge, n_permutations=9)
    assert (both.ceiling[:8] < alone.ceiling[:8]).all()


def test_tables_hold_every_voxel_and_the_means_of_each_region(result):
    voxels = voxel_table(result, ROIS, simulated=True)
    assert table_ends(result, "a") == (result.roi_low["a"], result.roi_high["a"])
    np.testing.assert_array_equal(voxels["r2_B"], result.band_r2[1])
    assert voxels["roi"].tolist() == ROIS.tolist()
    table = encoding_table(result, ROIS, simulated=True).set_index("roi")
    assert table.loc["b", "n_voxels"] == 4
    assert table.loc["b", "mean_r"] == pytest.approx(np.tanh(np.mean(np.arctanh(result.r[4:8]))), abs=1e-5)
    assert table.loc["a", "r2_A"] == pytest.approx(result.band_r2[0, :4].mean(), abs=1e-6)
    assert table["significant"].tolist() == [1, 1, 0]


def test_clip_shorter_than_the_delay_is_refused(source, runs):
    short = CleanRun(Run("short", "test", runs[3].bold[:4], "t1"), runs[3].bold[:4])
    with pytest.raises(DataError, match="too short for the shortest delay, 3 scans"):
        encode_voxels(split_runs([*runs[:3], short], source, 1.0), ["A"], source, ROIS, make_ridge)
