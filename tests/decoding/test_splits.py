"""What is held out shares nothing with what is trained on: no scan, no statistic, and no second of a clip."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.evaluation import evaluate_layer
from brainpred.decoding.splits import check_groups, clean_recording, split_runs
from brainpred.errors import DataError
from brainpred.numerics.ridge.folds import make_folds
from brainpred.recordings.cleaning import Cleaning
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import NoSpace
from brainpred.stimulus import Excerpt, Movie

TR_S, N_VOXELS, CLIP_SCANS, N_UNITS = 1.0, 131, 31, 7
ROIS = np.full(N_VOXELS, "roi")


class Clips:
    """Give every run the units of the clips that it shows, one after the other, with a pause before each."""

    def __init__(self, orders, seed=0):
        rng = np.random.default_rng(seed)
        self.shapes, self.unit_names, self.orders = {"R0": (N_UNITS,)}, {}, orders
        self.units = {
            clip: rng.standard_normal((CLIP_SCANS, N_UNITS)) for clip in sorted(set("".join(orders.values())))
        }
        self.ties = {clip: rng.standard_normal((CLIP_SCANS, N_VOXELS)) for clip in self.units}
        self.pauses = {run: number % 3 for number, run in enumerate(orders)}

    def laid_out(self, run, values):
        pause = np.zeros((self.pauses[run], next(iter(values.values())).shape[1]))
        return np.concatenate([part for clip in self.orders[run] for part in (pause, values[clip])])

    def movie(self, run):
        step = CLIP_SCANS + self.pauses[run]
        return Movie(
            tuple(
                Excerpt(Path(f"{clip}.mp4"), self.pauses[run] + number * step, CLIP_SCANS)
                for number, clip in enumerate(self.orders[run])
            )
        )

    def n_scans(self, run):
        return run.n_scans

    def of_run(self, layer, run, units=slice(None)):
        return self.laid_out(run.name, self.units)[:, units].astype(np.float32)


def record(source, tests=(), noise=0.5, seed=1, change=lambda run, bold: bold):
    """Make BOLD that belongs to each clip, and tells nothing of its features that would hold for another clip."""
    rng = np.random.default_rng(seed)
    runs, stimuli = [], {}
    for run in source.orders:
        bold = source.laid_out(run, source.ties)
        bold = change(run, (100 + bold + noise * rng.standard_normal(bold.shape)).astype(np.float32))
        runs.append(Run(run, "test" if run in tests else "train", bold, f"shown in {run}"))
        stimuli[f"shown in {run}"] = source.movie(run)
    return Recording("toy", "s1", TR_S, runs, NoSpace(N_VOXELS), ROIS, stimuli)


def make_decoder():
    return BrainDecoder(ROIS, bands="none", delays_s=(0.0,), alphas=(0.1, 1.0, 10.0), n_candidates=1, device="cpu")


def clips_of(source, runs):
    return {clip for run in runs for clip in source.orders[run]}


OTHER_ORDERS = {"r1": "ab", "r2": "ba", "r3": "cd", "r4": "dc", "r5": "ef", "r6": "fe"}
TESTED = {**OTHER_ORDERS, "t1": "gh", "t2": "gh"}


def check_no_clip_is_on_both_sides(source, splits):
    for split in splits:
        held_out = [test.run.name for group in split.repeats for test in group]
        assert not clips_of(source, held_out) & clips_of(source, [run.run.name for run in split.train])
        folds = make_folds(None, split.groups, 0)
        assert len(folds) > 1
        for fitted, chosen in folds:
            assert not clips_of(source, split.runs[fitted]) & clips_of(source, split.runs[chosen])
            assert set(split.runs[chosen]).isdisjoint(split.runs[fitted])


@pytest.mark.parametrize("tests", [(), ("t1", "t2")])
def test_runs_that_share_clips_are_left_out_together(tests):
    source = Clips(TESTED if tests else OTHER_ORDERS)
    splits = split_runs(list(clean_recording(record(source, tests))), source, TR_S)
    assert len(splits) == (1 if tests else 3)
    check_no_clip_is_on_both_sides(source, splits)


def test_what_was_removed_is_told_and_confounds_are_read_once():
    asked, table = [], np.random.default_rng(3).normal(size=(2 * CLIP_SCANS, 2))

    def confounds(strategy):
        asked.append(strategy)
        return table

    recording = record(Clips(OTHER_ORDERS))
    recording = replace(recording, runs=[replace(recording.runs[0], confounds=confounds)])
    (cleaned,) = clean_recording(recording, Cleaning(confounds="motion"))
    assert asked == ["motion"]
    np.testing.assert_array_equal(cleaned.regressors, table)


def test_bold_that_belongs_to_clips_alone_scores_nothing():
    """By names, which the order and the onset change, run r2 would be decoded from r1 and score r = 0.4 or so."""
    source = Clips(OTHER_ORDERS)
    runs = list(clean_recording(record(source)))
    result = evaluate_layer(split_runs(runs, source, TR_S), "R0", source, make_decoder)
    assert len(result.runs) == sum(run.run.n_scans for run in runs)
    by_name = [replace(run, group=run.clip) for run in runs]
    leaked = evaluate_layer(split_runs(by_name, source, TR_S), "R0", source, make_decoder)
    assert result.r.mean() < 0.1 < 0.3 < leaked.r.mean()


def test_regularisation_is_chosen_on_clips_that_are_not_fitted():
    source = Clips(TESTED)
    runs = list(clean_recording(record(source, ("t1", "t2"))))
    result = evaluate_layer(split_runs(runs, source, TR_S), "R0", source, make_decoder)
    by_name = [replace(run, group=run.clip) for run in runs]
    leaked = evaluate_layer(split_runs(by_name, source, TR_S), "R0", source, make_decoder)
    assert result.cv_r2.mean() < 0.02 < 0.1 < leaked.cv_r2.mean()


@pytest.mark.parametrize("cleaning", [Cleaning(), Cleaning(high_pass_s=20.0), Cleaning(percent_signal_change=True)])
def test_nothing_of_a_test_run_reaches_what_is_fitted(cleaning):
    """Through cleaning and splitting: scans, their scale and what units are standardised by."""
    source = Clips(TESTED)

    def split(change):
        runs = list(clean_recording(record(source, ("t1", "t2"), change=change), cleaning))
        (only,) = split_runs(runs, source, TR_S)
        return only

    before = split(lambda run, bold: bold)
    after = split(lambda run, bold: 50 + 3 * bold[::-1] if run in ("t1", "t2") else bold)
    np.testing.assert_array_equal(after.X[:, :], before.X[:, :])
    np.testing.assert_array_equal(after.groups, before.groups)
    assert not np.allclose(after.repeats[0][0].bold, before.repeats[0][0].bold)


def test_nothing_of_the_runs_left_out_reaches_what_is_fitted():
    source = Clips(OTHER_ORDERS)
    before = split_runs(list(clean_recording(record(source))), source, TR_S)
    changed = record(source, change=lambda run, bold: 7 * bold[::-1] if run in ("r3", "r4") else bold)
    after = split_runs(list(clean_recording(changed)), source, TR_S)
    for one, other in zip(before, after, strict=True):
        held_out = {test.run.name for group in one.repeats for test in group}
        assert np.array_equal(one.X[:, :], other.X[:, :]) == (held_out == {"r3", "r4"})


def test_every_order_of_three_clips_is_one_group():
    orders = {f"r{number}": "".join(order) for number, order in enumerate(permutations("abc"))}
    recording = record(Clips(orders))
    message = (
        r"toy/s1: Decoding needs at least 2 training runs that share nothing of what they show, .* and another to be "
        r"held out; found 1\. Runs r0, r1, r2, r3, r4, r5 show some of the same, be it through others, .* with scans in"
    )
    with pytest.raises(DataError, match=message):
        check_groups(recording)
    with pytest.raises(DataError, match=message.removeprefix("toy/s1: ")):
        split_runs(list(clean_recording(recording)), Clips(orders), TR_S)
    check_groups(record(Clips(OTHER_ORDERS)))


def test_leaving_the_shared_part_out_parts_the_runs():
    """Every film ends with the same clip, as those of the Human Connectome Project do."""
    source = Clips({"r1": "az", "r2": "bz", "r3": "cz"})
    recording = record(source)
    with pytest.raises(DataError, match="found 1"):
        check_groups(recording)
    ends = {run: 2 * source.pauses[run] + CLIP_SCANS for run in source.orders}
    check_groups(recording.with_scans({run: (0, end) for run, end in ends.items()}))


def test_training_and_test_runs_of_one_group_are_refused():
    recording = record(Clips({**OTHER_ORDERS, "t": "ag"}), ("t",))
    with pytest.raises(DataError, match=r"toy/s1: Training and test runs show some of the same: r1, r2, t\. What is"):
        check_groups(recording)
