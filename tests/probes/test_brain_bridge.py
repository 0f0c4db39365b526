"""Pictures from voxels through a bridge: simulated subjects, controls, calibration, leaks."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from sklearn.linear_model import RidgeCV

from brainpred.errors import DataError
from brainpred.models.bridge import LatentBridge
from brainpred.models.ppca import ProbabilisticPCA
from brainpred.models.vae import load_vae
from brainpred.movies.scenes import load_digits
from brainpred.probes.brain_bridge import METHODS, VIEWS, VOXEL_METHODS, best_view, reconstruct_left_out
from brainpred.probes.picture_scores import picture_scores, summarise_pictures
from brainpred.probes.voxel_simulation import simulate_voxels


@pytest.fixture(scope="module")
def vae():
    return load_vae("digits")


@pytest.fixture(scope="module")
def digits(vae):
    # As sharp as MNIST, which need not be at hand: what the model makes of scikit-learn's blurred ones, moved apart.
    pictures, _ = load_digits().train
    with torch.inference_mode():
        z = vae.posterior(torch.from_numpy(pictures[:90]).float() / 255).mean
        return vae.likelihood(1.3 * z).mean.numpy()


@pytest.fixture(scope="module")
def left_out(digits, vae):
    voxels = simulate_voxels(digits, np.random.default_rng(2), n_voxels=1500, signal_to_noise=0.2)
    return reconstruct_left_out(voxels, digits, vae, n_folds=4, n_draws=80)


def test_the_bridge_beats_ridge_to_pixels_and_every_other_control(left_out, digits):
    scores = {name: picture_scores(made, digits) for name, made in left_out.pictures.items()}
    assert set(scores) == set(METHODS)
    means = {name: {metric: values.mean() for metric, values in part.items()} for name, part in scores.items()}
    assert means["bridge"]["ssim"] > means["ridge to pixels"]["ssim"] + 0.1
    assert means["bridge"]["pixel_r"] > means["ridge to pixels"]["pixel_r"]
    assert means["bridge"]["identification_2way"] > 0.85
    for control in ("mean picture", "shuffled pairs"):
        assert abs(means[control]["identification_2way"] - 0.5) < 0.1


def test_intervals_hold_about_as_much_as_they_say(left_out):
    assert 0.85 < left_out.coverage < 0.95


def test_voxels_are_predicted_from_pictures(left_out, digits):
    voxels = simulate_voxels(digits, np.random.default_rng(2), n_voxels=1500, signal_to_noise=0.2)
    assert tuple(left_out.voxels) == VOXEL_METHODS
    r = {name: way.correlate(voxels) for name, way in left_out.voxels.items()}
    for name in ("bridge", "ridge"):
        assert np.mean(r[name]) > 0.08
        assert np.quantile(r[name], 0.9) > 0.3
    assert np.mean(r["bridge"]) > 0.85 * np.mean(r["ridge"])
    assert np.quantile(r["shuffled pairs"], 0.9) < 0.2
    assert abs(np.mean(r["shuffled pairs"])) < 0.04
    p = {name: way.p(voxels, np.arange(90), n_permutations=200) for name, way in left_out.voxels.items()}
    assert np.mean(p["bridge"] < 0.05) > 0.2
    assert np.mean(p["shuffled pairs"] < 0.05) < 0.1


def test_the_way_back_is_the_bridge_from_pictures_to_voxels_and_ridge_regression(digits, vae):
    pictures, rest, test = digits[:50], np.arange(40), np.arange(40, 50)
    voxels = 7 + 3 * simulate_voxels(pictures, np.random.default_rng(2), n_voxels=120, signal_to_noise=1.0)
    made = reconstruct_left_out(voxels, pictures, vae, held_out=[test], unpaired=False, n_draws=3)
    mean, spread = voxels[rest].mean(axis=0), voxels[rest].std(axis=0, ddof=1)
    x, y = torch.from_numpy((voxels[rest] - mean) / spread), torch.from_numpy(pictures)
    bridge = LatentBridge(vae, ProbabilisticPCA(20).fit(x), family="linear").fit((y[rest], x))
    expected = bridge.predict(y[test]).numpy() * spread + mean
    np.testing.assert_allclose(made.voxels["bridge"].predict(voxels), expected, atol=2e-4)
    ridge = RidgeCV(np.logspace(0, 7, 15)).fit(pictures[rest].reshape(40, -1), x)
    expected = ridge.predict(pictures[test].reshape(10, -1)) * spread + mean
    np.testing.assert_allclose(made.voxels["ridge"].predict(voxels), expected, atol=2e-3)


def test_the_bridge_serves_test_pairs(digits, vae):
    voxels = simulate_voxels(digits, np.random.default_rng(2), n_voxels=1500, signal_to_noise=0.3)
    test = np.arange(1, 90, 5)
    made = reconstruct_left_out(voxels, digits, vae, held_out=[test], unpaired=False, n_draws=10).pictures
    scores = {name: picture_scores(made[name], digits[test]) for name in METHODS}
    identified = scores["bridge"]["identification_2way"]
    assert identified.mean() - 4 * identified.std() / np.sqrt(len(test)) > 0.5
    assert identified.mean() > 0.8
    assert scores["bridge"]["ssim"].mean() > scores["ridge to pixels"]["ssim"].mean() + 0.05


def test_blind_voxels_give_chance(digits, vae):
    noise = np.random.default_rng(0).normal(size=(90, 300)).astype(np.float32)
    made = reconstruct_left_out(noise, digits, vae, n_folds=3, n_draws=10).pictures["bridge"]
    assert abs(picture_scores(made, digits)["identification_2way"].mean() - 0.5) < 0.12


def test_a_picture_left_out_does_not_touch_its_own_reconstruction(digits, vae):
    voxels = simulate_voxels(digits[:40], np.random.default_rng(2), n_voxels=200)
    changed = digits[:40].copy()
    # Folds are drawn from the seed: find what is left out first, and change those pictures.
    held_out = np.array_split(np.random.default_rng(0).permutation(40), 2)[0]
    changed[held_out] = changed[held_out, ::-1]
    first, second = (
        reconstruct_left_out(voxels, p, vae, n_folds=2, n_draws=3).pictures for p in (digits[:40], changed)
    )
    for method in METHODS:
        np.testing.assert_array_equal(first[method][held_out], second[method][held_out])


@pytest.mark.parametrize("unpaired", [False, True])
def test_strict_reconstructions_do_not_see_other_patterns_left_out(digits, vae, unpaired):
    voxels = simulate_voxels(digits[:40], np.random.default_rng(2), n_voxels=200)
    held_out = np.array_split(np.random.default_rng(0).permutation(40), 2)[0]
    changed = voxels.copy()
    changed[held_out[0]] *= 3
    first, second = (
        reconstruct_left_out(v, digits[:40], vae, n_folds=2, n_draws=3, unpaired=unpaired) for v in (voxels, changed)
    )
    same = np.array_equal(first.pictures["bridge"][held_out[1:]], second.pictures["bridge"][held_out[1:]])
    assert same is not unpaired


def test_voxels_left_out_do_not_make_what_predicts_them(digits, vae):
    noise = np.random.default_rng(0).normal(size=(60, 50)).astype(np.float32)
    ways = reconstruct_left_out(noise, digits[:60], vae, n_folds=3, n_draws=3).voxels
    assert max(abs(way.correlate(noise).mean()) for way in ways.values()) < 0.06


@pytest.mark.parametrize("n_voxels", [3, 6, 30])
def test_small_regions_serve(digits, vae, n_voxels):
    voxels = simulate_voxels(digits, np.random.default_rng(2), n_voxels=n_voxels, responsive=1.0)
    for unpaired in (True, False):
        made = reconstruct_left_out(voxels, digits, vae, n_folds=3, n_draws=3, unpaired=unpaired).pictures["bridge"]
        assert np.isfinite(made).all()


def test_scores_against_a_loop():
    rng = np.random.default_rng(0)
    made, seen = rng.random((5, 28, 28)), rng.random((5, 28, 28))
    scores = picture_scores(made, seen)
    for i in range(5):
        r = [np.corrcoef(made[i].ravel(), seen[j].ravel())[0, 1] for j in range(5)]
        assert scores["pixel_r"][i] == pytest.approx(r[i])
        assert scores["mse"][i] == pytest.approx(np.mean((made[i] - seen[i]) ** 2))
        assert scores["ssim"][i] == pytest.approx(structural_similarity(made[i], seen[i], data_range=1.0))
        assert scores["identification_2way"][i] == pytest.approx(np.mean([r[i] > r[j] for j in range(5) if j != i]))


def test_equal_pictures_identify_nothing():
    same = np.tile(np.linspace(0, 1, 784).reshape(1, 28, 28), (6, 1, 1))
    seen = np.random.default_rng(0).random((6, 28, 28))
    assert picture_scores(same, seen)["identification_2way"].mean() == pytest.approx(0.5)


def test_the_gain_is_how_much_better_the_bridge_is_picture_by_picture():
    rng = np.random.default_rng(0)
    bridge, other = rng.random(30), rng.random(30)
    rows = summarise_pictures(
        {name: {"ssim": part, "mse": part} for name, part in (("bridge", bridge), ("other", other))}
    )
    ssim, mse = (row for row in rows if row["method"] == "other")
    assert ssim["gain"] == pytest.approx((bridge - other).mean())
    assert ssim["gain_low"] < ssim["gain"] < ssim["gain_high"]
    assert mse["gain"] == pytest.approx((other - bridge).mean())


@pytest.mark.parametrize("view", list(VIEWS))
def test_the_view_of_pictures_is_found(view, digits, vae):
    assert best_view(VIEWS[view](digits), vae, tuple(VIEWS))[0] == view


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        (((40, 30), (39, 28, 28)), "40 patterns, 39 pictures"),
        (((40, 30, 2), (40, 28, 28)), r"received \(40, 30, 2\)"),
        (((40, 30), (40, 20, 28)), r"received \(40, 30\) and \(40, 20, 28\)"),
        (((10, 30), (10, 28, 28)), "16 pairs or more to learn from, received 9"),
    ],
)
def test_arrays_that_do_not_belong_together_are_told(shapes, match, vae):
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match=match):
        reconstruct_left_out(*(rng.random(shape) for shape in shapes), vae)


def test_constant_voxels_tell_nothing(digits, vae):
    voxels = simulate_voxels(digits[:40], np.random.default_rng(2), n_voxels=60)
    padded = np.insert(voxels, [3, 8], 0.1, axis=1)
    plain, more = (reconstruct_left_out(v, digits[:40], vae, n_folds=2, n_draws=3) for v in (voxels, padded))
    np.testing.assert_allclose(plain.pictures["ridge to pixels"], more.pictures["ridge to pixels"], atol=1e-4)
    for way in more.voxels.values():
        np.testing.assert_allclose(way.predict(padded)[:, [3, 9]], 0.1, atol=1e-5)
        assert way.correlate(padded)[[3, 9]].tolist() == [0, 0]
        assert way.p(padded, np.arange(40), n_permutations=20)[[3, 9]].tolist() == [1, 1]


def test_repeats_of_a_picture_are_left_out_together(digits, vae):
    # Voxels that say nothing but which picture it was: with its repeat to learn from, each would be known.
    rng = np.random.default_rng(0)
    code = rng.normal(size=(24, 80)).astype(np.float32)
    pictures, voxels = np.tile(digits[:24], (2, 1, 1)), np.tile(code, (2, 1))
    voxels = voxels + 0.01 * rng.normal(size=voxels.shape).astype(np.float32)
    made = reconstruct_left_out(voxels, pictures, vae, n_folds=4, n_draws=3).pictures
    for method in ("bridge", "ridge to pixels", "ridge to latents"):
        assert picture_scores(made[method], pictures)["identification_2way"].mean() < 0.7
    with pytest.raises(DataError, match="2 to 24 folds"):
        reconstruct_left_out(voxels, pictures, vae, n_folds=25)


def test_pairs_that_show_what_is_left_out_are_not_learned_from(digits, vae):
    pictures = digits[:40].copy()
    pictures[[38, 39]] = pictures[[0, 1]]
    voxels = simulate_voxels(pictures, np.random.default_rng(2), n_voxels=200)
    changed = voxels.copy()
    changed[[0, 1]] *= 5  # pairs 0 and 1 show what 38 and 39, which are left out, show
    first, second = (
        reconstruct_left_out(v, pictures, vae, held_out=[np.array([37, 38, 39])], unpaired=False, n_draws=3).pictures
        for v in (voxels, changed)
    )
    for method in METHODS:
        np.testing.assert_array_equal(first[method], second[method])


def test_a_repeat_is_no_other_picture_to_tell_apart():
    seen = np.random.default_rng(0).random((4, 28, 28))
    scores = picture_scores(np.tile(seen, (2, 1, 1)), np.tile(seen, (2, 1, 1)))
    np.testing.assert_array_equal(scores["identification_2way"], 1.0)
    assert torch.is_grad_enabled()
