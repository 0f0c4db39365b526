"""The decoder finds a planted signal and gives back the units' own scale from training runs alone."""

import numpy as np
import pytest

from brainpred.decoding.decoder import DEFAULT_DELAYS_S, BrainDecoder
from brainpred.errors import ConfigError, DataError
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.timing import zscore_runs

ROIS = np.array(["v1"] * 7 + ["lo"] * 4 + ["mt"] * 2)
RUNS = np.repeat(["a", "b", "c", "d"], [41, 53, 47, 37])
SETTINGS = {"delays_s": (2.0, 4.0), "tr_s": 2.0, "alphas": (0.1, 1.0, 10.0, 100.0), "n_candidates": 3, "device": "cpu"}


def simulate(noise=0.5, seed=0):
    """Let every voxel show, two scans later, a mixture of five units with their own scales; runs shift the units."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((5, 13))
    own = rng.standard_normal((len(RUNS), 5))
    X = noise * rng.standard_normal((len(RUNS), 13))
    for run in np.unique(RUNS):
        rows = np.flatnonzero(run == RUNS)
        X[rows[2:]] += own[rows[:-2]] @ mixing
    shift = np.array(["abcd".index(run) for run in RUNS])[:, None]
    Y = (own + 3 * shift) * [1.0, 20.0, 0.1, 3.0, 1.0] + [0.0, 100.0, -1.0, 7.0, 0.0]
    return zscore_runs(X, RUNS)[0].astype(np.float32), Y.astype(np.float32)


def correlation(true, predicted):
    return np.array([np.corrcoef(y, y_hat)[0, 1] for y, y_hat in zip(true.T, predicted.T, strict=True)])


@pytest.mark.parametrize("bands", ["roi", "delay", "roi×delay", "none"])
def test_planted_signal_is_recovered(bands):
    X, Y = simulate()
    train = RUNS != "d"
    decoder = BrainDecoder(ROIS, bands=bands, **SETTINGS).fit(X[train], Y[train], RUNS[train])
    predicted = decoder.predict(X[~train], RUNS[~train])
    assert predicted.shape == (37, 5)
    assert predicted.dtype == np.float32
    # The last two samples of a run show in no scan of it.
    assert correlation(Y[~train][:-2], predicted[:-2]).min() > 0.8
    n_bands = {"roi": 3, "delay": 2, "roi×delay": 6, "none": 1}[bands]
    assert len(decoder.ridge_.band_names_) == n_bands


def test_decoder_is_the_ridge_of_units_standardised_within_runs():
    X, Y = simulate()
    zscored = np.empty_like(Y)
    for run in np.unique(RUNS):
        zscored[run == RUNS] = (Y[run == RUNS] - Y[run == RUNS].mean(axis=0)) / Y[run == RUNS].std(axis=0)
    ridge = BandedRidgeCV(ROIS, **SETTINGS).fit(X, zscored, RUNS)
    decoder = BrainDecoder(ROIS, bands="roi", **SETTINGS).fit(X, Y, RUNS)
    np.testing.assert_allclose(decoder.predict(X, RUNS), ridge.predict(X, RUNS), rtol=0, atol=1e-4)
    # A shift or a scale of a whole run is gone.
    moved = np.where(RUNS[:, None] == "b", 5 * Y + 1000, Y).astype(np.float32)
    moved_decoder = BrainDecoder(ROIS, bands="roi", **SETTINGS).fit(X, moved, RUNS)
    np.testing.assert_allclose(moved_decoder.predict(X, RUNS), decoder.predict(X, RUNS), rtol=0, atol=1e-3)


def test_restored_units_have_the_mean_and_spread_of_the_training_runs():
    X, Y = simulate()
    train = RUNS != "d"
    decoder = BrainDecoder(ROIS, **SETTINGS).fit(X[train], Y[train], RUNS[train])
    parts = [Y[run == RUNS].astype(float) for run in "abc"]
    mean = sum(part.mean(axis=0) for part in parts) / 3
    std = np.sqrt(sum(part.var(axis=0) for part in parts) / 3)
    np.testing.assert_allclose(decoder.mean_, mean, rtol=1e-5)
    np.testing.assert_allclose(decoder.std_, std, rtol=1e-5)

    zscored = np.random.default_rng(1).standard_normal((3, 11, 5)).astype(np.float32)
    restored = decoder.restore(zscored)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, zscored * std + mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(decoder.restore(np.zeros(5)), mean, rtol=1e-5)


def test_constant_unit_is_decoded_as_its_constant():
    X, Y = simulate()
    Y[:, 3] = 0.37
    decoder = BrainDecoder(ROIS, **SETTINGS).fit(X, Y, RUNS)
    np.testing.assert_allclose(decoder.restore(decoder.predict(X, RUNS))[:, 3], 0.37, rtol=1e-6)


def test_defaults_read_the_signal_three_to_six_seconds_late():
    X, Y = simulate()
    decoder = BrainDecoder(alphas=(1.0,), device="cpu").fit(X, Y, RUNS)
    assert DEFAULT_DELAYS_S == (3.0, 4.0, 5.0, 6.0)
    assert decoder.ridge_.delays_ == (3, 4, 5, 6)
    assert decoder.ridge_.band_names_ == ["all"]


def test_settings_reach_the_ridge():
    X, Y = simulate()
    decoder = BrainDecoder(ROIS, bands="roi*delay", random_state=5, **SETTINGS).fit(X, Y, RUNS)
    parameters = decoder.ridge_.get_params()
    assert {name: parameters[name] for name in SETTINGS} == SETTINGS
    assert parameters["random_state"] == 5
    assert parameters["per_delay"] is True


def test_what_does_not_fit_together_is_refused():
    X, Y = simulate()
    with pytest.raises(DataError, match=r"12 voxels with a ROI.*received \(178, 13\)"):
        BrainDecoder(ROIS[:-1], **SETTINGS).fit(X, Y, RUNS)
    with pytest.raises(DataError, match=r"as many scans of features, received \(178, 13\) and \(177, 5\)"):
        BrainDecoder(ROIS, **SETTINGS).fit(X, Y[:-1], RUNS)
    with pytest.raises(ConfigError, match="Unknown bands 'voxel'"):
        BrainDecoder(ROIS, bands="voxel", **SETTINGS).fit(X, Y, RUNS)
    Y[3, 2] = np.nan
    with pytest.raises((DataError, ValueError), match="NaN"):
        BrainDecoder(ROIS, **SETTINGS).fit(X, Y, RUNS)


def test_inputs_stay_as_they_are():
    X, Y = simulate()
    copies = X.copy(), Y.copy()
    decoder = BrainDecoder(ROIS, **SETTINGS).fit(X, Y, RUNS)
    zscored = decoder.predict(X, RUNS)
    before = zscored.copy()
    decoder.restore(zscored)
    for array, copy in ((X, copies[0]), (Y, copies[1]), (zscored, before)):
        np.testing.assert_array_equal(array, copy)
