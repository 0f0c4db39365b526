"""A simulated brain whose truth is known: strengths, ceilings and voxels that were planted are found again."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.encoding import encode_voxels
from brainpred.decoding.evaluation import evaluate_layer
from brainpred.decoding.layer_shares import layer_shares
from brainpred.decoding.splits import clean_recording, split_runs, voxel_explainable_variance
from brainpred.numerics.ceiling import mean_ceiling
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.simulate import Cortex, SimulatedBrain, simulate_runs
from brainpred.recordings.spaces import Volume

SHAPES = {"R0": (2, 6, 8), "R1": (3, 5, 6)}
N_SCANS, N_TRAIN, N_REPEATS, DELAYS_S = 110, 4, 5, (3.0, 4.0, 5.0, 6.0, 7.0)
# ROI: voxels, of them carrying a signal, its standard deviation over that of the noise, part of them that carry R0.
PLANTED = {
    "one": (61, 41, 0.9, 1.0),
    "two": (53, 31, 0.75, 0.0),
    "three": (59, 29, 0.6, 0.8),
    "four": (47, 23, 0.45, 0.2),
    "five": (43, 13, 0.35, 1.0),
    "none": (89, 0, 0.0, 0.0),
}


# As strong as the ROIs of sim01: a sixth to a twentieth of the noise in all voxels. Two ROIs carry a layer each alone.
WEAK = {
    "one": (307, 307, 0.21, 1.0),
    "two": (293, 293, 0.17, 0.0),
    "three": (311, 311, 0.13, 0.7),
    "four": (283, 283, 0.09, 0.3),
    "none": (317, 0, 0.0, 0.0),
}


def draw_cortex(planted):
    """Lay the voxels of the ROIs side by side in a box."""
    rois = np.repeat(list(planted), [n for n, *_ in planted.values()])
    mask = np.zeros((13, 12, 11), np.uint8)
    mask.reshape(-1)[: len(rois)] = 1
    places = np.argwhere(mask) * 3.0
    return Cortex(nib.Nifti1Image(mask, np.diag([3.0, 3.0, 3.0, 1.0])), places, rois)


def plant(rng, planted):
    parts = []
    for roi, (n, n_carrying, strength, part_of_r0) in planted.items():
        carrying = np.arange(n) < n_carrying
        layer = np.where(np.arange(n) < round(part_of_r0 * n_carrying), "R0", "R1")
        parts.append(
            pd.DataFrame(
                {
                    "roi": roi, "layer": np.where(carrying, layer, "none"), "strength": strength * carrying,
                    "x": rng.uniform(-0.4, 0.4, n), "y": rng.uniform(-0.4, 0.4, n), "size": 0.15, "hrf_onset_s": 0.0,
                    "ar1": 0.3,
                }
            )
        )  # fmt: skip
    truth = pd.concat(parts, ignore_index=True)
    return SimulatedBrain(truth, rng.integers(2**31, size=len(truth)), np.full(len(truth), 4))


def make_clip(rng):
    """Draw features that vary smoothly in time and space."""
    features = {}
    for layer, shape in SHAPES.items():
        values = gaussian_filter(rng.standard_normal((N_SCANS, *shape)), (1.0, 0, 1.0, 1.0))
        features[layer] = (values / values.std()).astype(np.float32)
    return features


class Source:
    unit_names = None
    shapes = SHAPES

    def __init__(self, clips):
        self.clips = clips

    def n_scans(self, run):
        return N_SCANS

    def of_run(self, layer, run, units=slice(None)):
        return self.clips[run.stimulus][layer].reshape(N_SCANS, -1)[:, units]


def make_subject(planted):
    rng = np.random.default_rng(5)
    names = [*(f"train-{number}" for number in range(N_TRAIN)), "test"]
    clips = {name: make_clip(rng) for name in names}
    cortex, brain = draw_cortex(planted), plant(rng, planted)
    shown = [*names[:N_TRAIN], *["test"] * N_REPEATS]
    bold = simulate_runs(clips, shown, cortex, brain, 1.0, rng)
    runs = [
        Run(f"{number}-{clip}", "test" if clip == "test" else "train", values, clip)
        for number, (clip, values) in enumerate(zip(shown, bold, strict=True))
    ]
    recording = Recording("simulated", "sim", 1.0, runs, Volume(cortex.mask), cortex.rois, simulated=True)
    cleaned = list(clean_recording(recording))
    return brain.truth, cleaned, Source(clips)


@pytest.fixture(scope="module")
def subject():
    return make_subject(PLANTED)


@pytest.fixture(scope="module")
def decoded(subject):
    truth, runs, source = subject
    splits = split_runs(runs, source, 1.0)

    def decoder():
        return BrainDecoder(truth["roi"].to_numpy(str), delays_s=DELAYS_S, device="cpu")

    return {layer: evaluate_layer(splits, layer, source, decoder) for layer in SHAPES}


@pytest.fixture(scope="module")
def encoded(subject):
    return encode(subject, list(SHAPES))


def encode(subject, layers):
    truth, runs, source = subject

    def ridge(**settings):
        return BandedRidgeCV(delays_s=DELAYS_S, device="cpu", **settings)

    rois = truth["roi"].to_numpy(str)
    return encode_voxels(split_runs(runs, source, 1.0), layers, source, rois, ridge, n_permutations=199)


def planted_variance(truth):
    return truth["strength"] ** 2 / (1 + truth["strength"] ** 2)


def found(truth, values, layer=None):
    """Tell voxels that carry something (of a layer) from those that carry nothing: area under the ROC curve."""
    carrying = truth["layer"] != "none" if layer is None else truth["layer"] == layer
    kept = carrying | (truth["layer"] == "none")
    return roc_auc_score(carrying[kept], values[kept])


def test_signal_of_each_region_is_recovered(subject, encoded):
    truth, runs, _ = subject
    table = pd.DataFrame({"roi": truth["roi"], "planted": planted_variance(truth), "r2": encoded.r2})
    table["explainable"] = voxel_explainable_variance(runs)
    means = table.groupby("roi").mean()
    assert spearmanr(means["planted"], means["explainable"]).statistic >= 0.9
    assert spearmanr(means["planted"], means["r2"]).statistic >= 0.9
    # Noise has drifts and movements beside what is of unit variance: what repeats is a little less than was planted.
    strong = means["planted"] > 0.1
    ratio = means["explainable"][strong] / means["planted"][strong]
    assert ((ratio > 0.6) & (ratio < 1.15)).all()


def test_strength_of_each_layer_in_each_region_is_recovered(subject, encoded):
    truth, _, _ = subject
    planted, measured = [], []
    for roi in PLANTED:
        for band, layer in enumerate(encoded.bands):
            own = (truth["roi"] == roi).to_numpy()
            carried = np.where(truth["layer"][own] == layer, planted_variance(truth)[own], 0)
            planted.append(carried.mean())
            measured.append(encoded.band_r2[band, own].mean())
    assert spearmanr(planted, measured).statistic >= 0.9


def test_weak_signals_of_each_layer_are_recovered():
    """Bands that compete give a voxel to one layer; what runs have in common tells weak signals of both."""
    truth, runs, source = make_subject(WEAK)
    rois, variance = truth["roi"].to_numpy(str), planted_variance(truth).to_numpy()
    explainable = voxel_explainable_variance(runs)
    means = [[values[rois == roi].mean() for roi in WEAK] for values in (variance, explainable)]
    assert spearmanr(*means).statistic >= 0.9
    shares = layer_shares(runs, list(SHAPES), source, rois, 1.0, simulated=True)
    assert set(shares["data"]) == {"simulated"}
    planted = np.array(
        [(variance * (truth["layer"] == row.layer).to_numpy())[rois == row.roi].mean() for row in shares.itertuples()]
    )
    assert spearmanr(planted, shares["share"]).statistic >= 0.9
    assert np.corrcoef(planted, shares["share"])[0, 1] > 0.98
    # The response of the voxels is a second later than the canonical one, and places are pooled: a little is missed.
    np.testing.assert_allclose(shares["share"], planted, atol=0.2 * planted.max())
    assert ((shares["share_low"] <= planted) & (planted <= shares["share_high"])).mean() >= 0.8
    assert (shares["share_low"][planted == 0] == 0).all()


def test_ceilings_bracket_the_truth(subject, encoded, decoded):
    truth, _, _ = subject
    strong = (truth["strength"] > 0.4).to_numpy()
    signal = truth["strength"][strong] ** 2
    true_ceiling = np.sqrt(N_REPEATS * signal / (1 + N_REPEATS * signal))
    assert np.sqrt(np.mean(encoded.r[strong] ** 2)) < mean_ceiling(encoded.reliability[strong])
    assert mean_ceiling(encoded.reliability[strong]) == pytest.approx(np.sqrt(np.mean(true_ceiling**2)), abs=0.05)
    nothing = (truth["layer"] == "none").to_numpy()
    assert mean_ceiling(encoded.reliability[nothing]) < 0.2
    assert np.isfinite(encoded.ceiling[nothing]).mean() < 0.1
    known = strong & np.isfinite(encoded.ceiling)
    assert known.sum() > 0.9 * strong.sum()
    assert (encoded.r[known] < encoded.ceiling[known] + 0.1).all()
    for result in decoded.values():
        assert 0 < result.r.mean() < mean_ceiling(result.reliability) <= 1


def test_maps_find_the_planted_voxels(subject, encoded, decoded):
    truth, runs, _ = subject
    assert found(truth, encoded.r) >= 0.9
    assert found(truth, voxel_explainable_variance(runs)) >= 0.9
    for layer, result in decoded.items():
        assert found(truth, result.pattern, layer) >= 0.9
        assert found(truth, result.contributions, layer) >= 0.9
    assert ((encoded.q < 0.05) & (truth["layer"] == "none")).sum() <= 0.05 * (encoded.q < 0.05).sum() + 3


def test_each_layer_is_read_from_its_voxels(subject, decoded):
    truth, _, _ = subject
    for layer, result in decoded.items():
        other = next(name for name in SHAPES if name != layer)
        own, foreign = ((truth["layer"] == name).to_numpy() for name in (layer, other))
        assert result.contributions[own].sum() > 10 * abs(result.contributions[foreign].sum())
