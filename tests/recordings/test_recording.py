"""A recording whose parts do not belong together is refused; values go back to the voxels they came from."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.recordings.cleaning import clean_run
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import Volume
from brainpred.stimulus import Excerpt, Movie

GRID = (3, 5, 2)
AFFINE = np.array([[2.0, 0, 0, -9], [0, 3, 0, 4], [0, 0, 1.5, 7], [0, 0, 0, 1]])
N_VOXELS = 13


def draw_mask(seed=0):
    inside = np.zeros(30, np.uint8)
    inside[np.random.default_rng(seed).permutation(30)[:N_VOXELS]] = 1
    return nib.Nifti1Image(inside.reshape(GRID), AFFINE)


def draw_run(name, n_scans=7, role="train", n_voxels=N_VOXELS):
    rng = np.random.default_rng(len(name))
    return Run(name, role, rng.normal(1000, 10, (n_scans, n_voxels)).astype(np.float32))


def make(runs=None, mask=None, rois=None):
    runs = [draw_run("one"), draw_run("two", 11, "test")] if runs is None else runs
    return Recording(
        "toy", "s1", 2.0, runs, Volume(mask or draw_mask()), np.full(N_VOXELS, "v1") if rois is None else rois
    )


def test_recording_describes_itself():
    recording = make([draw_run("one"), draw_run("two", 11, "test"), draw_run("three", 5)])
    assert recording.label == "toy/s1"
    assert recording.n_voxels == N_VOXELS
    assert [run.n_scans for run in recording.runs] == [7, 11, 5]
    assert [run.name for run in recording.runs_with_role("train")] == ["one", "three"]
    assert [run.name for run in recording.runs_with_role("test")] == ["two"]
    assert recording.simulated is False


def test_recording_knows_repeats_and_onsets():
    runs = [replace(draw_run(name), stimulus=clip) for name, clip in (("one", "a"), ("two", "b"), ("three", "a"))]
    stimuli = {"a": Movie.parse("a.mp4").shifted(4.5)}
    recording = replace(make([*runs, draw_run("rest")]), stimuli=stimuli)
    assert {clip: [run.name for run in same] for clip, same in recording.repeats.items()} == {"a": ["one", "three"]}
    assert [recording.onset_s(run) for run in recording.runs] == [4.5, None, 4.5, None]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_broken_voxels_are_refused_with_their_number_and_the_run(value):
    broken = draw_run("two", 11)
    broken.bold[3, 5] = broken.bold[4, 5] = broken.bold[10, 8] = value
    message = r"toy/s1, run two: 2 of 13 voxels hold NaN or infinity \(the first is voxel 5 at 1, 0, 1\)"
    recording = make([draw_run("one"), broken])
    np.testing.assert_array_equal(recording.read_run(recording.runs[0]), recording.runs[0].bold)
    with pytest.raises(DataError, match=message):
        recording.read_run(recording.runs[1])


@pytest.mark.parametrize("n_voxels", [12, 14])
def test_scan_that_does_not_fit_the_mask_is_refused(n_voxels):
    with pytest.raises(DataError, match=rf"run two: the mask selects 13 voxels, but the scan has {n_voxels}"):
        make([draw_run("one"), draw_run("two", n_voxels=n_voxels)])


def test_scan_of_one_dimension_is_refused():
    with pytest.raises(DataError, match="run one: the mask selects 13 voxels"):
        make([Run("one", "train", np.ones(N_VOXELS, np.float32))])


@pytest.mark.parametrize("n_rois", [12, 14])
def test_rois_that_do_not_fit_the_mask_are_refused(n_rois):
    with pytest.raises(DataError, match=f"expected one ROI label for each of 13 voxels, got {n_rois}"):
        make(rois=np.full(n_rois, "v1"))


def test_unknown_role_and_no_runs_are_refused():
    with pytest.raises(DataError, match="run one: role must be one of train, test, received 'rest'"):
        make([draw_run("one", role="rest")])
    with pytest.raises(DataError, match="toy/s1: the recording has no runs"):
        make([])


def test_values_go_back_in_c_order():
    mask = draw_mask()
    values = np.arange(1, N_VOXELS + 1)
    image = make(mask=mask).to_image(values)
    volume, inside = np.asarray(image.dataobj), np.asarray(mask.dataobj)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, AFFINE)
    found = []
    for i in range(GRID[0]):
        for j in range(GRID[1]):
            for k in range(GRID[2]):
                if inside[i, j, k]:
                    found.append(volume[i, j, k])
                else:
                    assert volume[i, j, k] == 0
    assert found == values.tolist()


@pytest.mark.parametrize("values", [np.ones(12), np.ones((13, 1)), np.ones(())])
def test_values_of_another_number_are_refused(values):
    with pytest.raises(DataError, match="expected 13 values, one a voxel, received shape"):
        make().to_image(values)


def slow_clean(series):
    """Fit a line by least squares, leave what it does not explain, divide by its spread (ddof 1)."""
    series = [float(value) for value in series]
    n = len(series)
    mean_t, mean_y = (n - 1) / 2, sum(series) / n
    slope = sum((t - mean_t) * (y - mean_y) for t, y in enumerate(series)) / sum((t - mean_t) ** 2 for t in range(n))
    rest = [y - mean_y - slope * (t - mean_t) for t, y in enumerate(series)]
    spread = (sum(value**2 for value in rest) / (n - 1)) ** 0.5
    return [value / spread for value in rest]


def test_cleaning_equals_the_loop():
    rng = np.random.default_rng(0)
    bold = (rng.normal(1000, 12, (31, 7)) + np.outer(np.arange(31), rng.normal(0, 5, 7))).astype(np.float32)
    bold.setflags(write=False)
    cleaned = clean_run(bold, 2.0)
    assert cleaned.shape == bold.shape
    assert cleaned.dtype == np.float32
    for voxel in range(7):
        np.testing.assert_allclose(cleaned[:, voxel], slow_clean(bold[:, voxel]), rtol=0, atol=2e-3)


def test_cleaning_removes_the_trend_and_nothing_else():
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 1, (101, 5))
    trended = (1000 + 12 * signal + np.outer(np.arange(101), [0, 1, -2, 5, 30])).astype(np.float32)
    cleaned, plain = clean_run(trended, 1.0), clean_run((1000 + 12 * signal).astype(np.float32), 1.0)
    time = np.arange(101) - 50
    assert np.abs(time @ cleaned / np.linalg.norm(time)).max() < 0.01
    np.testing.assert_allclose(cleaned, plain, rtol=0, atol=5e-3)
    assert np.corrcoef(cleaned[:, 4], signal[:, 4])[0, 1] > 0.97


@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.7, 1037.3])
@pytest.mark.parametrize("n_scans", [11, 121, 600])
@pytest.mark.parametrize("n_voxels", [2, 5])
def test_constant_voxel_is_cleaned_to_zero(n_voxels, n_scans, constant):
    bold = np.random.default_rng(2).normal(1000, 10, (n_scans, n_voxels)).astype(np.float32)
    bold[:, 1] = constant
    cleaned = clean_run(bold, 1.5)
    np.testing.assert_array_equal(cleaned[:, 1], 0)
    np.testing.assert_allclose(np.delete(cleaned, 1, axis=1).std(axis=0, ddof=1), 1.0, rtol=1e-4)


def shown_to_the_end(n_scans=30):
    """Make two runs that show a film each, and two that show the same test film."""
    runs = [
        Run(name, role, np.random.default_rng(number).normal(9, 1, (n_scans, N_VOXELS)).astype(np.float32), clip,
            lambda strategy, number=number: np.arange(n_scans)[:, None] + 100 * number)
        for number, (name, role, clip) in enumerate([("one", "train", "a"), ("two", "train", "b"), ("t1", "test", "c"),
                                                     ("t2", "test", "c")])
    ]  # fmt: skip
    return replace(make(runs), stimuli={clip: Movie.parse(f"{clip}.mp4").shifted(3.0) for clip in "abc"})


def test_scans_that_are_kept_bring_confounds_and_movie_with_them():
    whole = shown_to_the_end()
    kept = whole.with_scans({"one": (5, 19), "t1": (0, 25), "t2": (0, 25)})
    assert [run.n_scans for run in kept.runs] == [14, 30, 25, 25]
    np.testing.assert_array_equal(kept.read_run(kept.runs[0]), whole.runs[0].bold[5:19])
    np.testing.assert_array_equal(kept.runs[0].confounds("motion").ravel(), np.arange(5, 19))
    np.testing.assert_array_equal(kept.runs[3].confounds("motion").ravel(), 300 + np.arange(25))
    assert kept.stimuli["a"].excerpts == (replace(whole.stimuli["a"].excerpts[0], onset_s=-7.0, duration_s=35.0),)
    assert kept.stimuli["b"] == whole.stimuli["b"]
    assert kept.stimuli["c"].excerpts[0].duration_s == 47.0, "it begins 3 s after the first scan"
    assert kept.runs[1] is whole.runs[1]
    dummies_gone = kept.without_dummies(2)
    np.testing.assert_array_equal(dummies_gone.read_run(dummies_gone.runs[0]), whole.runs[0].bold[7:19])
    assert dummies_gone.stimuli["a"].excerpts[0].onset_s == -11.0


def test_movies_of_kept_scans_end_with_them_and_begin_with_them():
    film = shown_to_the_end()
    listed = Movie(
        (Excerpt(Path("x.mp4"), 2.0, 8.0), Excerpt(Path("y.mp4"), 20.0, 9.0), Excerpt(Path("z.mp4"), 40.0, 9.0)), 60.0
    )
    shown = replace(film, stimuli={**film.stimuli, "a": listed, "b": Movie.parse("clips.tsv")})
    kept = shown.with_scans({"one": (0, 12), "two": (3, 30)})
    assert kept.stimuli["a"] == Movie((listed.excerpts[0], replace(listed.excerpts[1], duration_s=4.0)), 24.0)
    assert kept.stimuli["b"] == Movie.parse("clips.tsv").shifted(-6.0), "the end of the run is as before"
    assert shown.with_scans({"two": (0, 12)}).stimuli["b"] == replace(Movie.parse("clips.tsv"), duration_s=24.0)
    assert shown.with_scans({"one": (0, 1)}).stimuli["a"].duration_s == 2.0, "nothing has begun"


def test_repeats_keep_the_same_scans():
    with pytest.raises(DataError, match=r"toy/s1: runs t1, t2 show the same \(c\), but other scans of them"):
        shown_to_the_end().with_scans({"t1": (0, 20)})
