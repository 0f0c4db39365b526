"""Scans are cleaned run by run: drifts, confounds and dummy scans go, and nothing passes from one run to another."""

import numpy as np
import pytest

from brainpred.errors import ConfigError, DataError
from brainpred.recordings.cleaning import Cleaning, clean_run, read_clean_run
from brainpred.recordings.manifest import load_manifest
from brainpred.recordings.recording import LazyScans, Recording, Run
from brainpred.recordings.spaces import NoSpace
from brainpred.stimulus import Movie

TR_S, N_SCANS, N_VOXELS = 1.7, 67, 5


def draw(seed=0, n_scans=N_SCANS):
    return np.random.default_rng(seed).normal(1000, 12, (n_scans, N_VOXELS)).astype(np.float32)


def record(runs, stimuli=()):
    return Recording("toy", "s1", TR_S, runs, NoSpace(N_VOXELS), np.full(N_VOXELS, "roi"), dict(stimuli))


def slow_residuals(bold, regressors):
    """Project trend and regressors out, voxel by voxel, by least squares; give standard scores (ddof 1)."""
    time = np.arange(len(bold), dtype=float)
    design = np.column_stack([np.ones(len(bold)), time, regressors])
    cleaned = np.empty(bold.shape)
    for voxel in range(bold.shape[1]):
        series = bold[:, voxel].astype(float)
        rest = series - design @ np.linalg.lstsq(design, series, rcond=None)[0]
        cleaned[:, voxel] = rest / np.sqrt((rest**2).sum() / (len(rest) - 1))
    return cleaned


def test_confounds_are_projected_out_with_the_trend():
    rng = np.random.default_rng(3)
    confounds = rng.normal(0, 1, (N_SCANS, 4)) + np.linspace(0, 3, N_SCANS)[:, None]
    bold = (draw() + 30 * confounds @ rng.normal(0, 1, (4, N_VOXELS))).astype(np.float32)
    cleaned = clean_run(bold, TR_S, Cleaning(confounds="motion"), confounds)
    np.testing.assert_allclose(cleaned, slow_residuals(bold, confounds), atol=3e-3)
    assert np.abs(np.corrcoef(cleaned[:, 0], confounds[:, 0])[0, 1]) < 1e-2


def test_high_pass_removes_slow_waves_and_keeps_fast_ones():
    time = np.arange(N_SCANS) * TR_S
    slow, fast = np.cos(2 * np.pi * time / 90), np.cos(2 * np.pi * time / 9)
    bold = (1000 + 40 * slow[:, None] + draw(1) * 0.01 + 8 * fast[:, None]).astype(np.float32)
    kept, passed = clean_run(bold, TR_S), clean_run(bold, TR_S, Cleaning(high_pass_s=50))
    assert np.corrcoef(kept[:, 0], slow)[0, 1] > 0.9
    assert np.corrcoef(passed[:, 0], fast)[0, 1] > 0.9
    assert abs(np.corrcoef(passed[:, 0], slow)[0, 1]) < 0.2


def test_percent_signal_change_is_of_the_mean_of_the_run():
    bold = draw(2)
    cleaned = clean_run(bold, TR_S, Cleaning(percent_signal_change=True))
    time = np.arange(N_SCANS)
    for voxel in range(N_VOXELS):
        series = bold[:, voxel].astype(float)
        expected = 100 * (series - np.polyval(np.polyfit(time, series, 1), time)) / series.mean()
        np.testing.assert_allclose(cleaned[:, voxel], expected, atol=5e-4)


def test_more_voxels_than_fit_at_once_are_cleaned_alike(monkeypatch):
    confounds = np.random.default_rng(4).normal(0, 1, (N_SCANS, 2))
    whole = clean_run(draw(), TR_S, Cleaning(high_pass_s=60), confounds)
    monkeypatch.setattr("brainpred.recordings.cleaning.VOXELS_AT_ONCE", 2)
    np.testing.assert_allclose(clean_run(draw(), TR_S, Cleaning(high_pass_s=60), confounds), whole, atol=1e-5)


def test_no_run_tells_of_another():
    runs = [Run("one", "train", draw(0)), Run("two", "test", draw(1))]
    alone = read_clean_run(record(runs), runs[1], Cleaning(high_pass_s=40)).cleaned
    others = [Run("one", "train", 7 * draw(5) + 100), runs[1]]
    beside = read_clean_run(record(others), runs[1], Cleaning(high_pass_s=40)).cleaned
    np.testing.assert_array_equal(alone, beside)


def test_dummy_scans_are_left_out_of_scans_confounds_and_movie():
    bold, reads = draw(), []
    lazy = LazyScans(bold.shape, lambda: reads.append(1) or bold)
    run = Run("one", "train", lazy, "clip", confounds=lambda strategy: np.arange(N_SCANS)[:, None])
    short = record([run], {"clip": Movie.parse("clip.mp4").shifted(5.0)}).without_dummies(3)
    assert reads == [], "scans are not read before they are wanted"
    assert short.runs[0].n_scans == N_SCANS - 3
    np.testing.assert_array_equal(short.read_run(short.runs[0]), bold[3:])
    np.testing.assert_array_equal(short.runs[0].confounds("motion")[:, 0], np.arange(3, N_SCANS))
    assert short.stimuli["clip"].excerpts[0].onset_s == pytest.approx(5 - 3 * TR_S)
    with pytest.raises(DataError, match="run one: 67 dummy scans are to be left out, but it has 67"):
        record([run]).without_dummies(67)


def test_manifest_says_how_and_flags_overrule_it():
    manifest = load_manifest("simulated").model_copy(
        update={"confounds": "motion", "high_pass_s": 128.0, "dummy_scans": 4}
    )
    assert Cleaning.of_manifest(manifest) == Cleaning(4, 128.0, "motion")
    asked = Cleaning.of_manifest(manifest, confounds="none", high_pass_s=0, dummy_scans=0, percent_signal_change=True)
    assert asked == Cleaning(percent_signal_change=True)
    scaled = manifest.model_copy(update={"percent_signal_change": True})
    assert Cleaning.of_manifest(scaled).percent_signal_change
    assert not Cleaning.of_manifest(scaled, percent_signal_change=False).percent_signal_change


@pytest.mark.parametrize(
    "settings", [{"dummy_scans": -1}, {"high_pass_s": -3.0}, {"high_pass_s": np.inf}, {"confounds": "all"}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=r"received|Choose one of: motion, motion24"):
        Cleaning(**settings)


def test_what_cannot_be_cleaned_is_refused():
    def clean(cleaning, bold=None, confounds=None):
        run = Run("one", "train", draw() if bold is None else bold, confounds=confounds)
        return read_clean_run(record([run]), run, cleaning)

    with pytest.raises(ConfigError, match=r"longer than 2 scans \(3.4 s\), received 3 s"):
        clean(Cleaning(high_pass_s=3))
    with pytest.raises(ConfigError, match="toy/s1, run one: no confounds are known of these scans"):
        clean(Cleaning(confounds="motion"))
    with pytest.raises(DataError, match="run one: the confounds have 66 rows, but there are 67 scans"):
        clean(Cleaning(confounds="motion"), confounds=lambda strategy: np.ones((66, 2)))
    noise = np.random.default_rng(0).normal(0, 1, (N_SCANS, 65))
    with pytest.raises(DataError, match="run one: trend, 65 confounds and 0 slow cosines leave 0 of 67 degrees"):
        clean(Cleaning(confounds="motion"), confounds=lambda strategy: noise)
    with pytest.raises(DataError, match="run one: trend, 24 confounds and 37 slow cosines leave 4 of 67 degrees"):
        clean(Cleaning(confounds="motion", high_pass_s=6), confounds=lambda strategy: noise[:, :24])
    with pytest.raises(DataError, match="run one: trend, 0 confounds and 64 slow cosines leave 1 of 67 degrees"):
        clean(Cleaning(high_pass_s=3.55))
    with pytest.raises(DataError, match="run one: the confounds hold values that are no numbers"):
        clean(Cleaning(confounds="motion"), confounds=lambda strategy: np.full((67, 2), np.nan))
    with pytest.raises(DataError, match="run one: percent signal change needs a mean above 0"):
        clean(Cleaning(percent_signal_change=True), bold=draw() - 1000)
    with pytest.raises(DataError, match="run one: no voxel varies over its 67 scans"):
        clean(Cleaning(), bold=np.full((67, N_VOXELS), 3, np.float32))


@pytest.mark.parametrize("n_shared", [3, 9, 37])
def test_what_confounds_and_high_pass_share_is_taken_once(n_shared):
    """fMRIPrep's cosines may be slower than the high-pass that is asked for, faster, or the same."""
    n_cosines, time = 9, np.arange(N_SCANS) + 0.5  # of 25 s: floor(2 * 67 * 1.7 / 25)
    cosines = np.cos(np.pi * np.outer(time, np.arange(1, 38)) / N_SCANS)
    confounds = np.column_stack([np.random.default_rng(6).normal(0, 1, (N_SCANS, 2)), cosines[:, :n_shared].round(8)])
    run = Run("one", "train", draw(), confounds=lambda strategy: confounds)
    cleaned = read_clean_run(record([run]), run, Cleaning(confounds="motion", high_pass_s=25)).cleaned
    expected = slow_residuals(draw(), np.column_stack([confounds[:, :2], cosines[:, : max(n_cosines, n_shared)]]))
    np.testing.assert_allclose(cleaned, expected, atol=5e-3)


def test_scans_that_are_not_yet_steady_must_be_left_out():
    table = np.random.default_rng(2).normal(0, 1, (N_SCANS, 3))
    table[:4] = np.nan
    run = Run("one", "train", draw(), confounds=lambda strategy: table)
    recording, cleaning = record([run]), Cleaning(confounds="motion")
    with pytest.raises(DataError, match=r"run one: .* first 4 scans as not yet steady .*, and none are left out\. Ask"):
        read_clean_run(recording, run, cleaning)
    short = recording.without_dummies(3)
    with pytest.raises(DataError, match=r"first 4 scans .*, and 3 are left out\. Ask for --dummy-scans 4"):
        read_clean_run(short, short.runs[0], Cleaning(3, confounds="motion"))
    short = recording.without_dummies(4)
    cleaned = read_clean_run(short, short.runs[0], Cleaning(4, confounds="motion")).cleaned
    np.testing.assert_allclose(cleaned, slow_residuals(draw()[4:], table[4:]), atol=3e-3)
