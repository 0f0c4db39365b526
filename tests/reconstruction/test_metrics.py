"""Scores of pictures against scikit-image and plain loops, with pictures of unequal sides."""

from math import log10

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift
from skimage.metrics import peak_signal_noise_ratio
from skimage.metrics import structural_similarity as skimage_ssim

from brainpred.reconstruction.metrics import (
    flow_correlation,
    frame_scores,
    optical_flow,
    pixel_correlation,
    scan_similarity,
    structural_similarity,
)


@pytest.fixture
def pictures():
    smooth = gaussian_filter(np.random.default_rng(0).random((5, 3, 17, 23)), (0, 0, 2, 2))
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth))


def channels_last(picture):
    return picture.permute(1, 2, 0).numpy()


def test_structural_similarity_is_scikit_images(pictures):
    shown, generated = pictures[0], pictures[1:]
    expected = [
        skimage_ssim(channels_last(shown), channels_last(picture), channel_axis=-1, data_range=1.0)
        for picture in generated
    ]
    np.testing.assert_allclose(structural_similarity(shown[None], generated), expected, atol=1e-9)
    single = structural_similarity(shown[None].float(), generated.float())
    np.testing.assert_allclose(single, expected, atol=1e-5)
    pairs = structural_similarity(pictures[:2], pictures[2:4])
    assert float(pairs[1]) == pytest.approx(float(structural_similarity(pictures[1:2], pictures[3:4])))


def test_pixel_correlation_against_a_loop(pictures):
    a, b = pictures[0].flatten().tolist(), pictures[1].flatten().tolist()
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    norm = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    assert float(pixel_correlation(pictures[:1], pictures[1:2])) == pytest.approx(covariance / norm)


def test_scores_of_equal_opposite_and_uniform_pictures(pictures):
    shown = pictures[0]
    uniform = torch.full_like(shown, 0.5)
    ssim, r, psnr = frame_scores(shown, torch.stack([shown, 1 - shown, uniform, 0.3 * shown + 0.1])).T
    assert ssim[0] == pytest.approx(1)
    assert r.tolist() == pytest.approx([1, -1, 0, 1])
    assert psnr[0] == 100
    assert psnr[2] == pytest.approx(
        peak_signal_noise_ratio(channels_last(shown), channels_last(uniform), data_range=1.0)
    )
    assert frame_scores(uniform, pictures)[:, 1].isnan().all()


def test_peak_signal_to_noise_ratio_against_its_formula(pictures):
    error = float((pictures[0] - pictures[1]).square().mean())
    assert float(frame_scores(pictures[0], pictures[1:2])[0, 2]) == pytest.approx(-10 * log10(error))


def test_scan_similarity_against_correlations_one_by_one():
    rng = np.random.default_rng(1)
    generated, shown = rng.random((2, 7, 9001)).astype(np.float32)  # more pixels than one block
    generated[3] = 0.25
    expected = np.array([[np.corrcoef(g, s)[0, 1] if g.std() else 0 for s in shown] for g in generated])
    np.testing.assert_allclose(scan_similarity(generated, shown), expected, atol=1e-5)


def test_optical_flow_finds_a_shift_and_correlates():
    picture = gaussian_filter(np.random.default_rng(4).random((128, 150, 3)), (9, 9, 0))
    picture = (picture - picture.min()) / np.ptp(picture)
    moved = shift(picture, (0, 8, 0), mode="nearest")
    flow = optical_flow(picture, moved)
    assert flow.shape == (2, 32, 37)  # reduced to a quarter
    assert flow[:, 6:-6, 6:-6].mean(axis=(1, 2)) == pytest.approx([0, 2], abs=0.3)
    back = optical_flow(moved, picture)
    assert flow_correlation(flow, flow) == pytest.approx(1)
    assert flow_correlation(flow, back) < -0.9
    assert flow_correlation(flow, np.zeros_like(flow)) == 0
    assert np.isnan(flow_correlation(np.zeros_like(flow), flow))
