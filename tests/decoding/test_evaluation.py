"""Scores come from held-out scans alone, repeats are averaged, and a brain that is none scores at chance."""

import numpy as np
import pytest

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.evaluation import evaluate_layer, evaluation_steps
from brainpred.decoding.splits import (
    CleanRun,
    clean_recording,
    split_runs,
    voxel_explainable_variance,
)
from brainpred.errors import DataError
from brainpred.numerics.scores import identification, pattern_similarity
from brainpred.numerics.timing import zscore_runs
from brainpred.recordings.cleaning import clean_run
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import NoSpace

N_VOXELS, SHAPE, DELAY, TR_S = 19, (1, 2, 3), 2, 1.0
ROIS = np.array(["v1"] * 11 + ["lo"] * 8)
MIXING = np.random.default_rng(99).standard_normal((6, N_VOXELS))


def make_decoder():
    return BrainDecoder(
        ROIS, bands="roi", delays_s=(float(DELAY),), alphas=(0.1, 1.0, 10.0), n_candidates=2, device="cpu"
    )


class Clips:
    """Give every clip units of its own, off zero and of unequal spread."""

    def __init__(self, lengths):
        self.shapes = {"R0": SHAPE}
        self.units = {
            clip: 5 + np.random.default_rng([7, number]).standard_normal((n_scans, 6)) * [1, 4, 0.2, 1, 1, 9]
            for number, (clip, n_scans) in enumerate(lengths.items())
        }

    def n_scans(self, run):
        return min(run.n_scans, len(self.units[run.stimulus or run.name]))

    def of_run(self, layer, run, units=slice(None)):
        assert layer == "R0"
        return self.units[run.stimulus or run.name][: run.n_scans, units].astype(np.float32)


def evaluate(runs, source, make=make_decoder, fits=None):
    """Evaluate the layer, and note every decoder that is made."""

    def make_and_note():
        fits.append(make())
        return fits[-1]

    return evaluate_layer(split_runs(runs, source, TR_S), "R0", source, make if fits is None else make_and_note)


def show(source, clip, *, name=None, role="train", noise=1.0, seed=0, n_scans=None, stimulus=True):
    """Measure a run: every voxel shows a mixture of the z-scored units two scans late, in noise."""
    units = source.units[clip]
    n_scans = n_scans or len(units)
    rng = np.random.default_rng([seed, len(units)])
    bold = noise * rng.standard_normal((n_scans, N_VOXELS))
    shown = ((units - units.mean(axis=0)) / units.std(axis=0)) @ MIXING
    bold[DELAY : len(shown) + DELAY] += shown[: n_scans - DELAY]
    bold = bold.astype(np.float32)
    return CleanRun(Run(name or clip, role, bold, clip if stimulus else None), zscore_runs(bold, np.zeros(n_scans))[0])


@pytest.fixture
def source():
    return Clips({"c1": 47, "c2": 31, "c3": 53, "t1": 43, "t2": 37})


def training(source, **settings):
    return [show(source, clip, seed=number, **settings) for number, clip in enumerate(("c1", "c2", "c3"))]


def repeats(source, clip="t1", n_repeats=3, noise=1.0):
    return [show(source, clip, name=f"{clip}-{k}", role="test", noise=noise, seed=50 + k) for k in range(n_repeats)]


def mean_of(runs):
    """Average runs into one: as measured after cleaning."""
    bold = np.mean([run.bold for run in runs], axis=0)
    return CleanRun(Run("mean", "test", bold, runs[0].run.stimulus), bold)


def test_planted_signal_is_found(source):
    result = evaluate([*training(source), *repeats(source)], source)
    assert result.layer == "R0"
    assert result.shape == SHAPE
    assert result.r.min() > 0.8
    assert result.r2.min() > 0.5
    assert result.identification.mean() > 0.9
    assert result.pattern_r.mean() > 0.7
    assert result.band_names == ("lo", "v1")
    assert result.contributions.shape == (N_VOXELS,)
    assert result.contributions.sum() > 0.5
    np.testing.assert_array_equal(result.true, source.of_run("R0", Run("", "test", result.true, "t1")))


def test_scores_are_those_of_the_predictions(source):
    runs = [*training(source), *repeats(source), *repeats(source, "t2", 2)]
    result = evaluate(runs, source)
    assert result.runs.tolist() == ["t1"] * (43 - DELAY) + ["t2"] * (37 - DELAY)
    zscored = (result.decoded - result.mean) / result.std
    truth = zscore_runs(result.true, result.runs)[0]
    r = [np.corrcoef(y, y_hat)[0, 1] for y, y_hat in zip(truth.T, zscored.T, strict=True)]
    np.testing.assert_allclose(result.r, r, rtol=0, atol=1e-4)
    pattern = [np.corrcoef(y, y_hat)[0, 1] for y, y_hat in zip(truth, zscored, strict=True)]
    np.testing.assert_allclose(result.pattern_r, pattern, rtol=0, atol=1e-3)
    residual = ((truth - zscored) ** 2).sum(axis=0) / (truth**2).sum(axis=0)
    np.testing.assert_allclose(result.r2, 1 - residual, rtol=0, atol=1e-4)
    similarity = pattern_similarity(truth, zscored)
    for n_way, found in ((2, result.identification), (10, result.identification_10way)):
        np.testing.assert_allclose(found, identification(similarity, 4, n_way, result.runs), rtol=0, atol=0.02)
    assert result.n_patterns == 0, "features that vary freely are no categories"
    assert result.band_weights.shape == (2,)
    assert result.band_weights.sum() == pytest.approx(1.0, abs=1e-5), "shares of bands"
    assert result.band_r2.shape == (2, 6)
    np.testing.assert_allclose(result.band_r2.sum(axis=0), result.r2, rtol=0, atol=1e-5)
    assert np.abs(result.band_r2[0] - result.band_r2[1]).max() > 0.1
    for found, expected in zip(result.zscored_pair(slice(1, 5)), (truth, zscored), strict=True):
        np.testing.assert_allclose(found, expected[:, 1:5], rtol=0, atol=1e-5)
    shares = np.sum(truth * zscored, axis=0) / np.sum(truth**2, axis=0)
    assert result.contributions.sum() == pytest.approx(shares.mean(), abs=1e-4)


def test_what_is_decoded_shows_in_the_voxels_that_carry_it_at_their_delay(source):
    """BOLD that follows two scans late shows it, and is read from, at that delay and hardly at another."""

    def make_late_decoder():
        return BrainDecoder(ROIS, delays_s=(2.0, 5.0), alphas=(0.1, 10.0), device="cpu")

    runs = [*training(source), *repeats(source)]
    for run in runs:
        run.bold[:, :4] = np.random.default_rng(3).standard_normal((len(run.bold), 4))
    result = evaluate(runs, source, make_late_decoder)
    assert result.delays.tolist() == [2, 5]
    by_lag = result.lag_contributions.sum(axis=1)
    assert by_lag[0] > 0.5 > 10 * abs(by_lag[1])
    np.testing.assert_allclose(result.contributions, result.lag_contributions.sum(axis=0))
    assert result.pattern[4:].min() > 1.3 * result.pattern[:4].max()


def test_level_and_scale_of_a_clip_are_no_contribution(source):
    runs = [*training(source), *repeats(source), *repeats(source, "t2", 2)]
    before = evaluate(runs, source)
    source.units["t2"] = 10 * source.units["t2"] + 70
    after = evaluate(runs, source)
    np.testing.assert_allclose(after.contributions, before.contributions, rtol=0, atol=1e-4)
    np.testing.assert_allclose(after.r, before.r, rtol=0, atol=1e-4)


def test_decoded_repeats_average_to_the_decoding_of_their_mean(source):
    train, tests = training(source), repeats(source)
    repeated = evaluate([*train, *tests], source)
    averaged = evaluate([*train, mean_of(tests)], source)
    np.testing.assert_allclose(repeated.decoded, averaged.decoded, rtol=0, atol=1e-4)
    np.testing.assert_allclose(repeated.r, averaged.r, rtol=0, atol=1e-5)
    np.testing.assert_allclose(repeated.contributions, averaged.contributions, rtol=0, atol=1e-5)
    single = evaluate([*train, tests[0]], source)
    assert (repeated.r > single.r).all()


def test_repeats_of_unequal_length_are_cut_to_the_shortest(source):
    tests = repeats(source)
    short = CleanRun(Run("short", "test", tests[1].run.bold[:42], "t1"), tests[1].bold[:42])
    result = evaluate([*training(source), tests[0], short], source)
    assert result.true.shape == result.decoded.shape == (42 - DELAY, 6)


def test_runs_are_left_out_in_turn_where_none_is_for_testing(source):
    runs = training(source, stimulus=False)
    fits = []
    result = evaluate(runs, source, fits=fits)
    assert len(fits) == 3
    assert result.runs.tolist() == ["c1"] * (47 - DELAY) + ["c2"] * (31 - DELAY) + ["c3"] * (53 - DELAY)
    for out in range(3):
        others = [run for number, run in enumerate(runs) if number != out]
        names = np.repeat([run.run.name for run in others], [len(run.bold) for run in others])
        decoder = make_decoder().fit(
            np.concatenate([run.bold for run in others]),
            np.concatenate([source.units[run.run.name] for run in others]),
            names,
        )
        name = runs[out].run.name
        expected = decoder.restore(decoder.predict(runs[out].bold, np.full(len(runs[out].bold), name)))
        np.testing.assert_allclose(result.decoded[result.runs == name], expected[:-DELAY], rtol=0, atol=1e-5)
    assert np.isnan(result.ceiling).all()
    assert result.r.min() > 0.6
    # Every fold restores with a spread of its own; scores are those of its z-scores.
    assert result.folds.tolist() == [0] * (47 - DELAY) + [1] * (31 - DELAY) + [2] * (53 - DELAY)
    truth, zscored = result.zscored_pair()
    r = [np.corrcoef(y, y_hat)[0, 1] for y, y_hat in zip(truth.T, zscored.T, strict=True)]
    np.testing.assert_allclose(result.r, r, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result.band_r2.sum(axis=0), result.r2, rtol=0, atol=1e-5)


def test_runs_of_the_same_clip_are_left_out_together():
    """BOLD that repeats with the clip but tells nothing of its features must not decode them from the other showing."""
    source = Clips({f"c{number}": 41 for number in range(6)})
    rng = np.random.default_rng(8)
    ties = {clip: rng.standard_normal((41, N_VOXELS)) for clip in source.units}
    runs = []
    for showing in range(2):
        for clip in source.units:
            bold = (3 * ties[clip] + rng.standard_normal((41, N_VOXELS))).astype(np.float32)
            runs.append(CleanRun(Run(f"{clip}-{showing}", "train", bold, clip), zscore_runs(bold, np.zeros(41))[0]))
    result = evaluate(runs, source)
    assert len(split_runs(runs, source, TR_S)) == 6
    assert len(result.runs) == 6 * (41 - DELAY), "both showings are averaged"
    assert result.r.mean() < 0.1
    test = CleanRun(Run("again", "test", runs[0].run.bold, "c0"), runs[0].bold)
    with pytest.raises(DataError, match="Training and test runs show some of the same: c0-0, c0-1, again"):
        evaluate([*runs, test], source)


def test_regularisation_is_not_chosen_on_clips_that_are_fitted_too():
    """BOLD that repeats with the clip alone must seem worthless inside the training runs as well."""
    source = Clips({**{f"c{number}": 41 for number in range(6)}, "t1": 43})
    rng = np.random.default_rng(9)
    ties = {clip: 3 * rng.standard_normal((41, N_VOXELS)) for clip in source.units if clip != "t1"}
    runs = []
    for showing in range(2):
        for clip, tie in ties.items():
            bold = (tie + rng.standard_normal((41, N_VOXELS))).astype(np.float32)
            runs.append(CleanRun(Run(f"{clip}-{showing}", "train", bold, clip), zscore_runs(bold, np.zeros(41))[0]))
    result = evaluate([*runs, *repeats(source)], source)
    assert result.cv_r2.max() < 0.02


def test_repeats_do_not_see_each_other(source):
    def make_late_decoder():
        return BrainDecoder(ROIS, delays_s=(2.0, 5.0), alphas=(0.1, 10.0), n_candidates=2, device="cpu")

    train, tests = training(source), repeats(source)
    result = evaluate([*train, *tests], source, make_late_decoder)
    names = np.repeat([run.run.name for run in train], [len(run.bold) for run in train])
    units = np.concatenate([source.units[run.run.name] for run in train])
    decoder = make_late_decoder().fit(np.concatenate([run.bold for run in train]), units, names)
    alone = [decoder.predict(test.bold, np.zeros(len(test.bold))) for test in tests]
    n_scored = len(result.decoded)
    np.testing.assert_allclose(result.decoded, decoder.restore(np.mean(alone, axis=0))[:n_scored], rtol=0, atol=1e-4)


def test_one_decoder_is_fitted_where_there_are_test_runs(source):
    runs, fits = [*training(source), *repeats(source)], []
    evaluate(runs, source, fits=fits)
    assert len(fits) == 1


def test_nothing_of_the_test_runs_enters_the_fit(source):
    train = training(source)
    before = evaluate([*train, *repeats(source)], source)
    other = Clips({})
    other.units = {**source.units, "t1": 100 + 50 * np.random.default_rng(1).standard_normal((43, 6))}
    features_changed = evaluate([*train, *repeats(source)], other)
    np.testing.assert_array_equal(features_changed.decoded, before.decoded)
    assert np.abs(features_changed.r - before.r).min() > 0.3

    brain_changed = evaluate([*train, *repeats(source, noise=30.0)], source)
    for name in ("mean", "std", "alphas", "cv_r2", "band_weights"):
        np.testing.assert_array_equal(getattr(brain_changed, name), getattr(before, name), err_msg=name)
        np.testing.assert_array_equal(getattr(features_changed, name), getattr(before, name), err_msg=name)


def test_nothing_of_the_run_left_out_enters_its_fit(source):
    runs = training(source, stimulus=False)
    before = evaluate(runs, source)
    other = Clips({})
    other.units = {**source.units, "c2": 100 + 50 * np.random.default_rng(1).standard_normal((31, 6))}
    after = evaluate(runs, other)
    np.testing.assert_array_equal(after.decoded[before.runs == "c2"], before.decoded[before.runs == "c2"])
    assert not np.allclose(after.decoded[before.runs == "c1"], before.decoded[before.runs == "c1"])


@pytest.mark.parametrize("noise", [0.7, 3.0, 9.0])
def test_ceiling_is_the_correlation_of_the_mean_with_the_decoding_without_noise(noise):
    source = Clips({"c1": 97, "c2": 89, "c3": 101, "t1": 1201})
    train = training(source)
    noisy = evaluate([*train, *repeats(source, n_repeats=5, noise=noise)], source)
    tests = repeats(source, n_repeats=1, noise=0.0)
    clean = evaluate([*train, *tests], source)
    reached = [np.corrcoef(a, b)[0, 1] for a, b in zip(noisy.decoded.T, clean.decoded.T, strict=True)]
    np.testing.assert_allclose(noisy.ceiling, reached, rtol=0, atol=0.06)
    np.testing.assert_allclose(noisy.ceiling, np.sqrt(noisy.reliability), rtol=1e-5)
    assert ((noisy.ceiling >= 0) & (noisy.ceiling <= 1)).all()
    assert (noisy.r < noisy.ceiling + 0.05).all()
    assert np.isnan(clean.ceiling).all()


def test_ceiling_of_clips_of_unequal_repeats():
    lengths = {"c1": 97, "c2": 89, "c3": 101, "t1": 1201, "t2": 1103, "t3": 1009}
    source, n_repeats = Clips(lengths), {"t1": 8, "t2": 1, "t3": 3}
    train = training(source)
    noisy = evaluate(
        [*train, *(run for clip, n in n_repeats.items() for run in repeats(source, clip, n, noise=6.0))], source
    )
    clean = evaluate([*train, *(run for clip in n_repeats for run in repeats(source, clip, 1, noise=0.0))], source)
    predictions = [result.zscored_pair()[1] for result in (noisy, clean)]
    reached = [np.corrcoef(a, b)[0, 1] for a, b in zip(*(part.T for part in predictions), strict=True)]
    np.testing.assert_allclose(noisy.ceiling, reached, rtol=0, atol=0.05)


def test_bands_sum_where_delays_give_voxels_a_mean(source):
    """BOLD that drifts has another mean over the scans that are scored than over its run: R² is of what is centred."""
    runs = [*training(source), *repeats(source), *repeats(source, "t2", 2)]
    drifting = [
        CleanRun(run.run, run.bold + np.linspace(-2, 2, len(run.bold), dtype=np.float32)[:, None]) for run in runs
    ]
    for some in (drifting, drifting[:3]):
        result = evaluate(some, source)
        np.testing.assert_allclose(result.band_r2.sum(axis=0), result.r2, rtol=0, atol=1e-5)
        truth, zscored = result.zscored_pair()
        zscored = zscored - np.stack([zscored[result.runs == run].mean(axis=0) for run in result.runs])
        np.testing.assert_allclose(result.r2, 1 - ((truth - zscored) ** 2).sum(axis=0) / len(truth), rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_training", [0, 1])
def test_fewer_than_two_training_runs_are_refused(source, n_training):
    runs = [*training(source)[:n_training], *repeats(source)]
    with pytest.raises(DataError, match=f"at least 2 training runs.*found {n_training}"):
        evaluate(runs, source)


def test_two_runs_cannot_be_left_out_in_turn(source):
    with pytest.raises(DataError, match=r"at least 2 training runs.*and another to be held out; found 2\."):
        evaluate(training(source)[:2], source)


def test_shuffled_brain_scores_at_chance():
    lengths = {"c1": 67, "c2": 71, "c3": 73, "t1": 149}
    scores = []
    for seed in range(7):
        source = Clips(lengths)
        for number, units in enumerate(source.units.values()):
            units[:] = np.random.default_rng([seed, number]).standard_normal(units.shape)
        rng = np.random.default_rng(seed)
        runs = [
            CleanRun(run.run, run.bold[rng.permutation(len(run.bold))])
            for run in (*training(source), show(source, "t1", role="test"))
        ]
        result = evaluate(runs, source)
        scores.append((result.r, result.identification - 0.5, result.pattern_r))
    for values in (np.concatenate(score) for score in zip(*scores, strict=True)):
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def test_features_one_scan_short_leave_the_last_scan_out(source):
    runs = training(source)
    longer = show(source, "c2", name="longer", seed=9, n_scans=32)
    result = evaluate([runs[0], longer, runs[2], *repeats(source)], source)
    assert result.r.min() > 0.7


def test_bar_counts_whole_units_where_runs_are_left_out_in_turn(source):
    done = []
    splits = split_runs(training(source), source, TR_S)
    evaluate_layer(splits, "R0", source, make_decoder, advance=done.append)
    assert sum(done) == evaluation_steps(6, len(splits)) == 6 * 7
    assert all(isinstance(steps, int) for steps in done)


def test_categories_are_identified():
    source = Clips({"c1": 41, "c2": 43, "c3": 47})
    patterns = np.vstack([np.zeros(6), np.random.default_rng(3).standard_normal((4, 6))])
    shown = {clip: np.resize(np.repeat(np.arange(5), 3), len(units)) for clip, units in source.units.items()}
    source.units = {clip: patterns[labels] for clip, labels in shown.items()}
    result = evaluate(training(source, noise=0.5), source)
    assert result.n_patterns == 4
    assert len(result.nway_correct) == sum(int((labels[:-DELAY] > 0).sum()) for labels in shown.values())
    assert result.nway_correct.mean() > 0.6


def test_explainable_variance_of_voxels_is_that_of_the_simulation():
    signal = np.sqrt((MIXING**2).sum(axis=0))
    source = Clips({"t1": 601, "t2": 499})
    runs = [*repeats(source, "t1", 5, noise=3.0), *repeats(source, "t2", 3, noise=3.0)]
    expected = signal**2 / (signal**2 + 9)
    variance = voxel_explainable_variance(runs)
    np.testing.assert_allclose(variance, expected, rtol=0, atol=0.1)
    assert voxel_explainable_variance([runs[0], runs[5]]) is None


def test_runs_for_training_have_no_explainable_variance(source):
    assert voxel_explainable_variance([*training(source), show(source, "c1", name="again")]) is None


def test_constant_voxel_has_no_explainable_variance(source):
    runs = repeats(source)
    for run in runs:
        run.bold[:, 4] = 0
    assert voxel_explainable_variance(runs)[4] == 0


def test_recording_is_cleaned_run_by_run(source):
    runs = tuple(run.run for run in training(source))
    n_voxels = runs[0].bold.shape[1]
    cleaned = list(clean_recording(Recording("toy", "s1", 1.3, runs, NoSpace(n_voxels), np.full(n_voxels, "roi"))))
    assert [run.run.name for run in cleaned] == ["c1", "c2", "c3"]
    for run in cleaned:
        np.testing.assert_array_equal(run.bold, clean_run(run.run.bold, 1.3))
        np.testing.assert_allclose(run.bold.mean(axis=0), 0, atol=1e-5)


def test_kernels_of_folds_are_let_go(source, monkeypatch):
    """Leaving clips out in turn must not keep the kernels of every fold until the end."""
    import gc
    import weakref

    from brainpred.numerics.ridge.kernels import BandKernels

    alive, most = weakref.WeakSet(), []
    build = BandKernels.__init__

    def note(self, *args, **settings):
        build(self, *args, **settings)
        gc.collect()
        alive.add(self)
        most.append(len(alive))

    monkeypatch.setattr(BandKernels, "__init__", note)
    evaluate(training(source, stimulus=False), source)
    assert len(most) == 6, "kernels of training and of the runs left out, in three folds"
    assert max(most) == 2


def test_kernels_of_a_single_split_serve_every_layer(source, monkeypatch):
    from brainpred.numerics.ridge.kernels import BandKernels

    calls = []
    monkeypatch.setattr(
        BandKernels, "of", lambda *args, real=BandKernels.of, **kw: calls.append(1) or real(*args, **kw)
    )
    splits = split_runs([*training(source), *repeats(source)], source, TR_S)
    first = evaluate_layer(splits, "R0", source, make_decoder)
    second = evaluate_layer(splits, "R0", source, make_decoder)
    assert len(calls) == 1
    np.testing.assert_array_equal(first.decoded, second.decoded)


def test_primal_form_decodes_as_the_dual_form_does(source, monkeypatch):
    runs = [*training(source), *repeats(source)]
    dual = evaluate(runs, source)
    monkeypatch.setattr("brainpred.numerics.ridge.plan.WORKING_MATRICES", 10**9)
    monkeypatch.setattr("brainpred.numerics.ridge.components.ROW_BYTES", 4 * N_VOXELS * 11)
    with pytest.warns(UserWarning, match="do not fit into the memory budget"):
        primal = evaluate(runs, source)
    assert (dual.form, primal.form) == ("dual", "primal")
    np.testing.assert_allclose(primal.decoded, dual.decoded, rtol=0, atol=1e-2)
    np.testing.assert_allclose(primal.r, dual.r, rtol=0, atol=1e-3)
    np.testing.assert_allclose(primal.contributions, dual.contributions, rtol=0, atol=1e-3)


def test_sample_of_the_training_runs_is_what_the_fitted_decoder_gives_for_them(source, monkeypatch):
    monkeypatch.setattr("brainpred.decoding.splits.TRAINING_SAMPLE_S", 17.0)
    fits, runs = [], [*training(source), show(source, "c1", name="again", seed=9), *repeats(source)]
    result = evaluate(runs, source, fits=fits)
    assert result.train_runs.tolist() == ["c1"] * 17
    np.testing.assert_array_equal(result.train_true, source.units["c1"][:17].astype(np.float32))
    shown = [run.bold for run in runs if run.clip == "c1"]
    assert len(shown) == 2
    predicted = np.mean([fits[0].predict(bold, np.zeros(47)) for bold in shown], axis=0)[:17]
    np.testing.assert_allclose(result.train_decoded, fits[0].restore(predicted), rtol=1e-4, atol=1e-4)
    # Held-out scores are those without the sample; what comes after the end of a run is not known.
    monkeypatch.setattr("brainpred.decoding.splits.TRAINING_SAMPLE_S", 60.0)
    other = evaluate(runs, source)
    np.testing.assert_allclose(other.decoded, result.decoded, rtol=1e-5, atol=1e-6)
    assert len(other.train_runs) == 47 - DELAY


def test_recordings_without_test_runs_have_no_sample(source):
    result = evaluate([show(source, clip, seed=number) for number, clip in enumerate(source.units)], source)
    assert result.train_true.shape == result.train_decoded.shape == (0, 6)
    assert len(result.train_runs) == 0
