"""Simulated voxels respond to what is shown where they look, some seconds later, and to nothing at strength 0."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.recordings.simulate import (
    BASELINE,
    HRF_ONSETS_S,
    LAYER_STRENGTH,
    NOISE,
    ROI_LAYERS,
    Cortex,
    SimulatedBrain,
    cortex,
    draw_brain,
    simulate_runs,
)

N_ONSETS = len(HRF_ONSETS_S)


def toy_cortex(n_voxels, rois="early_visual", seed=0):
    """Scatter voxels behind the brain, on both sides."""
    rng = np.random.default_rng(seed)
    coordinates = rng.uniform([-30, -104, -16], [30, -72, 22], (n_voxels, 3))
    mask = nib.Nifti1Image(np.ones((n_voxels, 1, 1), np.uint8), np.eye(4))
    return Cortex(mask, coordinates, np.broadcast_to(np.asarray(rois, "U16"), n_voxels))


def toy_brain(n_voxels, layer="R0", strength=1e4, x=0.0, y=0.0, size=0.1, hrf=0):
    """Give voxels of one layer whose signal drowns their noise."""
    truth = pd.DataFrame(
        {"roi": "early_visual", "layer": layer, "strength": strength, "x": x, "y": y, "size": size, "ar1": 0.4},
        index=range(n_voxels),
    )
    return SimulatedBrain(truth, np.arange(n_voxels) + 100, np.broadcast_to(hrf, n_voxels))


def draw_clips(lengths, channels=3, height=8, width=10, seed=0):
    """Draw clips of noise in two layers."""
    rng = np.random.default_rng(seed)
    return {
        name: {
            "R0": rng.standard_normal((n_scans, channels, height, width), dtype=np.float32),
            "R1": rng.standard_normal((n_scans, channels + 2, height // 2, width // 2), dtype=np.float32),
        }
        for name, n_scans in lengths.items()
    }


def responses(clips, order, brain, tr_s=1.0, seed=0):
    """Simulate runs, and give them without their baseline, in parts of the noise."""
    rng = np.random.default_rng(seed)
    runs = simulate_runs(clips, order, toy_cortex(len(brain.truth)), brain, tr_s, rng)
    return [(run - BASELINE) / NOISE for run in runs]


@pytest.fixture(scope="module")
def whole_cortex():
    return cortex()


def test_cortex_has_65665_voxels_and_every_roi(whole_cortex):
    inside = np.asarray(whole_cortex.mask.dataobj)
    assert inside.sum() == len(whole_cortex.rois) == len(whole_cortex.coordinates_mm) == 65_665
    assert set(np.unique(inside)) == {0, 1}
    names, counts = np.unique(whole_cortex.rois, return_counts=True)
    assert set(names) == set(ROI_LAYERS)
    assert counts.min() > 1000


def test_voxels_lie_where_the_mask_says(whole_cortex):
    inside, affine = np.asarray(whole_cortex.mask.dataobj), whole_cortex.mask.affine
    for number in (0, 7, 30_011, 65_664):
        i, j, k = np.argwhere(inside)[number]
        expected = affine[:3, :3] @ [i, j, k] + affine[:3, 3]
        np.testing.assert_allclose(whole_cortex.coordinates_mm[number], expected, rtol=0, atol=1e-6)
    early = whole_cortex.coordinates_mm[whole_cortex.rois == "early_visual"]
    assert early[:, 1].max() < -70
    assert {-1.0, 1.0} <= set(np.sign(early[:, 0]))


def test_cortex_is_the_same_every_time():
    one, other = (cortex.__wrapped__(2003, 8) for _ in range(2))
    assert one.mask is not other.mask
    np.testing.assert_array_equal(np.asarray(one.mask.dataobj), np.asarray(other.mask.dataobj))
    np.testing.assert_array_equal(one.rois, other.rois)
    assert len(one.rois) == 2003


@pytest.mark.parametrize("roi", list(ROI_LAYERS))
def test_drawn_voxels_carry_what_their_roi_carries(roi):
    responsive, median, mixture = ROI_LAYERS[roi]
    truth = draw_brain(toy_cortex(4001, roi), np.random.default_rng(1), strength=2.0).truth
    tuned = truth["layer"] != "none"
    assert tuned.mean() == pytest.approx(responsive, abs=0.035)
    assert (truth["strength"] > 0).equals(tuned)
    if responsive > 0.1:
        for layer, part in mixture.items():
            own = truth["layer"] == layer
            assert own[tuned].mean() == pytest.approx(part, abs=0.05)
            assert truth["strength"][own].median() == pytest.approx(2 * median * LAYER_STRENGTH[layer], rel=0.2)
    assert truth["ar1"].between(0, 0.8).all()
    assert set(truth["hrf_onset_s"]) == set(HRF_ONSETS_S)


def test_brain_of_strength_0_carries_nothing():
    assert (draw_brain(toy_cortex(211), np.random.default_rng(1), strength=0.0).truth["strength"] == 0).all()


def test_brain_follows_its_generator():
    one, again, other = (draw_brain(toy_cortex(211), np.random.default_rng(seed)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.truth, again.truth)
    np.testing.assert_array_equal(one.channel_seed, again.channel_seed)
    np.testing.assert_array_equal(one.hrf, again.hrf)
    assert not one.truth["strength"].equals(other.truth["strength"])


@pytest.mark.parametrize("roi", ["early_visual", "lateral", "ventral", "dorsal"])
def test_receptive_fields_are_contralateral(roi):
    places = toy_cortex(2003, roi)
    truth = draw_brain(places, np.random.default_rng(2)).truth
    aside = truth["x"].abs() > 0.05
    assert aside.mean() > 0.5
    assert (np.sign(truth["x"])[aside] == -np.sign(places.coordinates_mm[aside, 0])).mean() > 0.93


def test_early_visual_fields_are_foveal_behind_and_upside_down():
    places = toy_cortex(2003)
    truth = draw_brain(places, np.random.default_rng(2)).truth
    _, back, up = places.coordinates_mm.T
    eccentricity = np.hypot(truth["x"], truth["y"])
    assert np.corrcoef(eccentricity, back)[0, 1] > 0.7
    assert np.corrcoef(truth["size"], eccentricity)[0, 1] > 0.5
    # y points down: above the calcarine sulcus lies the lower field.
    assert np.corrcoef(truth["y"], up)[0, 1] > 0.6
    assert truth[["x", "y"]].abs().max().max() <= 0.5


def test_voxel_sees_its_own_place():
    rng = np.random.default_rng(3)
    left, right, top = rng.standard_normal((3, 151))
    features = np.zeros((151, 1, 9, 12), np.float32)
    features[:, :, 4:, :6] = left[:, None, None, None]
    features[:, :, 4:, 6:] = right[:, None, None, None]
    features[:, :, :4] = top[:, None, None, None]
    brain = toy_brain(3, x=[-0.35, 0.35, 0.0], y=[0.25, 0.25, -0.35], size=0.05)
    (seen,) = responses({"clip": {"R0": features}}, ["clip"], brain)
    for number, course in enumerate((left, right, top)):
        everywhere = np.tile(course[:, None, None, None], (1, 1, 9, 12)).astype(np.float32)
        (alone,) = responses({"clip": {"R0": everywhere}}, ["clip"], brain)
        for voxel in range(3):
            r = np.corrcoef(seen[:, voxel], alone[:, voxel])[0, 1]
            assert r > 0.98 if voxel == number else abs(r) < 0.5, (voxel, number, r)


@pytest.mark.parametrize("tr_s", [1.0, 2.0])
def test_response_follows_the_stimulus_with_a_haemodynamic_lag(tr_s):
    n_scans, shown = 61, 30
    features = np.zeros((n_scans, 2, 4, 6), np.float32)
    features[shown] = 1
    brain = toy_brain(N_ONSETS, hrf=np.arange(N_ONSETS))
    (response,) = responses({"clip": {"R0": features}}, ["clip"], brain, tr_s)
    response = response * np.sign(response[np.abs(response).argmax(axis=0), np.arange(N_ONSETS)])
    assert np.abs(response[shown - 10 : shown - 1]).max() < 0.1 * response.max()
    peaks_s = (response.argmax(axis=0) - shown) * tr_s
    assert ((peaks_s >= 3) & (peaks_s <= 8)).all()
    assert (np.diff(peaks_s) >= 0).all()
    assert peaks_s[-1] - peaks_s[0] == 2


def test_response_does_not_go_over_into_the_next_run():
    clips = draw_clips({"a": 31, "b": 29})
    clips["a"]["R0"][:] = 0
    clips["a"]["R0"][-1] = 30
    earlier = {"a": {**clips["a"], "R0": np.roll(clips["a"]["R0"], -15, axis=0)}, "b": clips["b"]}
    first, second = responses(clips, ["a", "b"], toy_brain(1))
    earlier_first, earlier_second = responses(earlier, ["a", "b"], toy_brain(1))
    assert (len(first), len(second)) == (31, 29)
    # Signals are scaled to unit variance over all clips, so runs are compared but for a factor.
    assert np.corrcoef(first[:, 0], earlier_first[:, 0])[0, 1] < 0.9
    np.testing.assert_allclose(second / second.std(), earlier_second / earlier_second.std(), rtol=0, atol=1e-3)


def test_signal_has_unit_variance_over_the_clips():
    clips = draw_clips({"a": 67, "b": 41})
    strength = np.array([1e4, 2e4, 7e4])
    signal = np.concatenate(responses(clips, ["a", "b"], toy_brain(3, strength=strength)))
    np.testing.assert_allclose(signal.std(axis=0), strength, rtol=0.01)


def test_voxels_answer_to_their_own_layer():
    clips = draw_clips({"a": 67})
    changed = {"a": {**clips["a"], "R1": -clips["a"]["R1"]}}
    brain = toy_brain(2, layer=["R0", "R1"])
    (before,), (after,) = responses(clips, ["a"], brain), responses(changed, ["a"], brain)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.corrcoef(after[:, 1], before[:, 1])[0, 1] < -0.99


@pytest.mark.parametrize("nothing", ["strength 0", "no layer"])
def test_no_signal_means_noise_alone(nothing):
    brain = toy_brain(17, strength=0.0) if nothing == "strength 0" else toy_brain(17, layer="none", strength=0.0)
    one, other = (responses(draw_clips({"a": 67}, seed=seed), ["a"], brain)[0] for seed in (1, 2))
    np.testing.assert_array_equal(one, other)
    seen = replace(brain, truth=brain.truth.assign(strength=1.0, layer="R0"))
    one, other = (responses(draw_clips({"a": 67}, seed=seed), ["a"], seen)[0] for seed in (1, 2))
    assert not np.allclose(one, other)


def test_noise_lies_on_the_baseline_and_is_correlated_in_time():
    clips = {"a": {"R0": np.zeros((601, 1, 2, 2), np.float32)}}
    brain = toy_brain(101, strength=0.0)
    brain = replace(brain, truth=brain.truth.assign(ar1=np.repeat([0.0, 0.7], [50, 51])))
    (run,) = simulate_runs(clips, ["a"], toy_cortex(101), brain, 1.0, np.random.default_rng(4))
    assert run.dtype == np.float32
    assert run.shape == (601, 101)
    np.testing.assert_allclose(run.mean(axis=0), BASELINE, rtol=0, atol=0.5 * NOISE)
    assert 0.9 * NOISE < np.median(run.std(axis=0)) < 1.6 * NOISE
    change = np.diff(run, axis=0)
    lag_one = (change[1:] * change[:-1]).mean(axis=0) / (change**2).mean(axis=0)
    # Differences of AR(1) noise correlate by -(1 - a) / 2.
    assert np.median(lag_one[:50]) == pytest.approx(-0.5, abs=0.05)
    assert np.median(lag_one[50:]) == pytest.approx(-0.15, abs=0.05)


def test_same_generator_gives_the_same_data_and_repeats_differ_in_noise_alone():
    clips = draw_clips({"a": 43, "b": 31})
    brain = draw_brain(toy_cortex(29), np.random.default_rng(5))
    layer = brain.truth["layer"].replace(["R2", "none"], "R1")
    brain = replace(brain, truth=brain.truth.assign(layer=layer))
    runs, again = responses(clips, ["a", "b", "a"], brain), responses(clips, ["a", "b", "a"], brain)
    assert [run.shape for run in runs] == [(43, 29), (31, 29), (43, 29)]
    for one, other in zip(runs, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(runs[0], runs[2])
    assert not np.array_equal(runs[0], responses(clips, ["a", "b", "a"], brain, seed=1)[0])
    loud = toy_brain(29)
    first, _, second = responses(clips, ["a", "b", "a"], loud)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-3 * np.abs(first).max())


def test_features_stay_as_they_are():
    clips = draw_clips({"a": 43})
    for layer in clips["a"].values():
        layer.setflags(write=False)
    responses(clips, ["a"], toy_brain(3))
