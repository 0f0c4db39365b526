"""Scores are those of each frame and scan, gains are differences, and noise gains nothing."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from brainpred.reconstruction.controls import COMPUTED, Arm, make_arms
from brainpred.reconstruction.metrics import frame_scores
from brainpred.reconstruction.scoring import METRICS, ClipScorer, score_table

SIZE, N_SCANS, PER_SCAN, TR_S = (16, 20), 40, 3, 1.0
ARMS = make_arms("closed-loop", 4) + [Arm(name, "") for name in COMPUTED]
NAMES = [arm.name for arm in ARMS]
SHOWN = [name for name in NAMES if name != "shifted"]


def movie(seed, n_frames=N_SCANS * PER_SCAN):
    """Let smooth clouds drift."""
    noise = np.random.default_rng(seed).standard_normal((n_frames, 3, *SIZE))
    smooth = gaussian_filter(noise, (2, 0, 2, 2))
    return torch.from_numpy(0.5 + 0.1 * smooth / smooth.std()).float().clamp(0, 1)


def score(pictures, shown, tmp_path, times_s=None):
    """Score a dict of movies by arm; ``shifted`` holds as many as there are shifts."""
    times_s = np.arange(len(shown)) / PER_SCAN if times_s is None else times_s
    scans = np.floor(times_s / TR_S + 1e-6).astype(int)
    scorer = ClipScorer(ARMS, scans, times_s, TR_S, SIZE, tmp_path)
    for t, frame in enumerate(shown):
        shifts = iter(pictures["shifted"])
        row = [next(shifts)[t] if name == "shifted" else pictures[name][t] for name in NAMES]
        scorer.add(frame, torch.stack(row))
    return scorer.finish()


@pytest.fixture(scope="module")
def shown():
    return movie(0)


@pytest.fixture(scope="module")
def scored(shown, tmp_path_factory):
    """Score a brain that sees, in noise."""
    noise = 0.15 * torch.from_numpy(np.random.default_rng(1).standard_normal(shown.shape)).float()
    decoded = (0.5 * shown + 0.25 + noise).clamp(0, 1)
    flat = torch.full_like(shown, 0.5) + 0.01 * movie(5)[:1]
    pictures = {
        "true": shown, "decoded": decoded, "mean": flat, "wrong": movie(2), "leak": flat, "prediction": shown,
        "last frame": torch.cat([torch.full_like(shown[:1], torch.nan), shown[:-1]]),
        "shifted": [decoded.roll(8 * PER_SCAN * k, 0) for k in range(1, 5)],
    }  # fmt: skip
    return pictures, score(pictures, shown, tmp_path_factory.mktemp("scores"))


def test_frames_are_scored_one_by_one(scored, shown):
    pictures, scores = scored
    assert scores.frames.shape == (len(shown), len(SHOWN), 3)
    for t in (0, 7, len(shown) - 1):
        expected = frame_scores(shown[t], torch.stack([pictures[name][t] for name in SHOWN]))
        np.testing.assert_allclose(scores.frames[t], expected, rtol=1e-4, atol=1e-5)
    assert np.isnan(scores.frames[0, SHOWN.index("last frame")]).all()
    assert np.isfinite(scores.frames[1:]).all()


def test_scans_are_scored_by_their_middle_frame(scored):
    pictures, scores = scored
    for scan in (0, 17, N_SCANS - 1):
        t = 3 * scan + 1  # frames at 0, 1/3 and 2/3 s: the second is on the screen at 0.5 s
        expected = frame_scores(pictures["true"][t], torch.stack([pictures["decoded"][t], pictures["shifted"][2][t]]))
        for arm, values in zip((NAMES.index("decoded"), NAMES.index("shifted") + 2), expected, strict=True):
            np.testing.assert_allclose(scores.scores[scan, arm, :3], values, rtol=1e-4, atol=1e-5)


def test_what_is_shown_itself_is_recognised_and_moves_alike(scored):
    _, scores = scored
    true, mean = NAMES.index("true"), NAMES.index("mean")
    values = dict(zip(METRICS, np.nanmean(scores.scores, axis=0).T, strict=True))
    assert values["ssim"][true] == pytest.approx(1, abs=1e-4)
    assert values["psnr"][true] == 100
    assert values["identification_10way"][true] == 1
    assert values["motion_r"][true] == pytest.approx(1)
    assert values["motion_r"][mean] == 0
    assert values["identification_2way"][mean] == pytest.approx(0.5, abs=0.06)
    assert np.isnan(scores.scores[-1, :, METRICS.index("motion_r")]).all()


def test_table_of_a_brain_that_sees(scored):
    _, scores = scored
    table = score_table([scores, scores], ["one", "two"], ARMS, TR_S, np.random.default_rng(0))
    assert len(table) == len(set(NAMES)) * len(METRICS)
    cell = table.set_index(["picture", "metric"])
    for metric in ("pixel_r", "identification_2way", "identification_10way"):
        row = cell.loc["decoded", metric]
        assert row["null_p"] < 0.01
        assert row["gain_p"] < 0.01
        assert row["gain"] == pytest.approx(row["score"] - cell.loc["mean", metric]["score"], abs=1e-6)
        assert row["gain_low"] < row["gain"] < row["gain_high"]
        assert row["gain_low"] > 0
        assert row["low"] <= row["score"] <= row["high"]
    assert cell.loc["true", "pixel_r"]["score"] > cell.loc["decoded", "pixel_r"]["score"]
    assert cell["null_p"].notna().groupby("picture").any().to_dict() == {name: name == "decoded" for name in set(NAMES)}
    assert cell["gain"].notna().groupby("picture").any().to_dict() == {
        name: name not in ("mean", "leak", *COMPUTED) for name in set(NAMES)
    }
    assert set(table["block_s"]) == {max(10.0, table["block_s"][0])}
    assert set(table["n_blocks"]) == {2 * int(40 // table["block_s"][0])}


def test_a_brain_that_sees_nothing_gains_nothing(shown, tmp_path):
    rng = np.random.default_rng(3)
    flat = torch.full_like(shown, 0.5) + 0.01 * movie(5)[:1]
    noise = torch.from_numpy(0.02 * gaussian_filter(rng.standard_normal((5, *shown.shape)), (0, 4, 0, 2, 2))).float()
    blind = flat + 10 * noise
    pictures = {
        "true": shown, "decoded": blind[0], "mean": flat, "wrong": movie(2), "leak": flat, "prediction": shown,
        "last frame": shown, "shifted": [blind[0].roll(8 * PER_SCAN * k, 0) for k in range(1, 5)],
    }  # fmt: skip
    cell = score_table([score(pictures, shown, tmp_path)], ["one"], ARMS, TR_S, rng).set_index(["picture", "metric"])
    for metric in ("pixel_r", "identification_2way"):
        row = cell.loc["decoded", metric]
        assert row["null_p"] > 0.05
        assert row["gain_p"] > 0.05
        assert row["gain_low"] < 0
        assert row["gain"] < 0.05
    assert cell.loc["decoded", "identification_2way"]["gain_high"] > 0


def test_frames_at_uneven_times_belong_to_their_scans(shown, tmp_path):
    times_s = np.array([0.0, 0.2, 0.9, 1.3, 1.7, 2.05, 2.95])
    pictures = dict.fromkeys(SHOWN, shown) | {"shifted": [shown] * 4}
    scores = score(pictures, shown[:7], tmp_path, times_s)
    assert scores.scores.shape == (3, len(NAMES), len(METRICS))
    # Few scans: nothing is told apart, and nothing fails.
    assert np.isnan(scores.scores[:, :, METRICS.index("identification_10way")]).all()
    table = score_table([scores], ["one"], ARMS, TR_S, np.random.default_rng(0))
    assert table["score"].notna().any()


def test_scans_without_a_frame_of_their_own_show_the_last_one(shown, tmp_path):
    times_s = np.array([0.0, 0.6, 3.2, 3.9])  # nothing new during the second and the third scan
    pictures = dict.fromkeys(SHOWN, shown.flip(0)) | {"shifted": [shown] * 4}
    scores = score(pictures, shown[:4], tmp_path, times_s)
    expected = [frame_scores(shown[t], shown.flip(0)[t : t + 1])[0, 1] for t in (0, 1, 1, 2)]
    np.testing.assert_allclose(scores.scores[:, 1, METRICS.index("pixel_r")], expected, atol=1e-5)


def test_null_within_reach_of_the_response_has_no_p(scored):
    _, scores = scored
    short = scores._replace(scores=scores.scores[:18])  # five shifts of 3.6 s
    table = score_table([short], ["one"], ARMS, TR_S, np.random.default_rng(0))
    assert table["null_p"].isna().all()
    assert table["gain_p"].notna().any()
