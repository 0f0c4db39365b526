"""Decoders fitted to permuted features tell units from chance as permuted predictions do."""

import numpy as np
import pytest

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.refit import _training_features, refit_permutations, refit_table
from brainpred.decoding.splits import split_runs
from brainpred.errors import ConfigError
from tests.decoding.test_evaluation import DELAY, ROIS, Clips, repeats, show

LENGTHS = {"c1": 83, "c2": 97, "c3": 89, "t1": 199}


def make_decoder():
    return BrainDecoder(ROIS, bands="none", delays_s=(float(DELAY),), alphas=(0.1, 1.0, 10.0), device="cpu")


def fit_again(runs, source, *, n_permutations=19, **settings):
    return refit_permutations(
        split_runs(runs, source, 1.0), "R0", source, make_decoder, n_permutations=n_permutations, block_length=6,
        **({"n_units": 6} | settings),
    )  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return Clips(LENGTHS)


def test_runs_of_a_clip_go_on_to_share_its_features(source):
    train = [show(source, clip, name=f"{clip}-{k}", seed=k, n_scans=n)
             for k, (clip, n) in enumerate([("c1", 83), ("c2", 97), ("c1", 61), ("c3", 89)])]  # fmt: skip
    (split,) = split_runs([*train, *repeats(source)], source, 1.0)
    units = np.array([1, 4])
    as_they_are, *permuted = _training_features(split, "R0", source, units, 5, 6, np.random.default_rng(0))
    whole = np.concatenate([source.units[run.clip][: len(run.bold), units] for run in train]).astype(np.float32)
    np.testing.assert_array_equal(as_they_are, whole)
    runs = split.runs
    for features in permuted:
        shown = {run: features[runs == run] for run in ("c1-0", "c1-2", "c2-1", "c3-3")}
        np.testing.assert_array_equal(shown["c1-2"], shown["c1-0"][:61])
        distinct = np.concatenate([shown["c1-0"], shown["c2-1"], shown["c3-3"]])
        everything = np.concatenate([source.units[clip][:, units] for clip in ("c1", "c2", "c3")]).astype(np.float32)
        np.testing.assert_array_equal(np.sort(distinct, axis=0), np.sort(everything, axis=0))
        assert (features != as_they_are).mean() > 0.7


def test_signal_is_found_by_both(source):
    runs = [*(show(source, clip, seed=k) for k, clip in enumerate(("c1", "c2", "c3"))), *repeats(source)]
    found = fit_again(runs, source)
    assert found.units.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.r.min() > 0.7
    assert (found.p == 1 / 20).all()
    assert (found.p_rows < 0.02).all()
    table = refit_table([found], simulated=True)
    assert table["q"].max() == pytest.approx(1 / 20)
    assert set(table["data"]) == {"simulated"}


def test_of_noise_both_say_the_same():
    p, p_rows = [], []
    for seed in range(100, 108):
        source = Clips(LENGTHS)
        for number, values in enumerate(source.units.values()):
            values[:] = np.random.default_rng([seed, number]).standard_normal(values.shape)
        other = Clips(LENGTHS)  # the brain saw other movies
        runs = [*(show(other, clip, seed=seed + 50 * k) for k, clip in enumerate(("c1", "c2", "c3"))),
                show(other, "t1", role="test", seed=seed + 900)]  # fmt: skip
        found = fit_again(runs, source, seed=seed)
        p.append(found.p)
        p_rows.append(found.p_rows)
    p, p_rows = np.concatenate(p), np.concatenate(p_rows)
    assert 0.3 < p.mean() < 0.7
    assert max(np.mean(p <= 0.05), np.mean(p_rows <= 0.05)) <= 0.13
    assert np.corrcoef(p, p_rows)[0, 1] > 0.8
    assert np.abs(p - p_rows).mean() < 0.15


def test_clips_are_left_out_in_turn(source):
    runs = [show(source, clip, seed=k) for k, clip in enumerate(("c1", "c2", "c3"))]
    found = fit_again(runs, source, n_permutations=9, n_units=2)
    assert found.units.tolist() == [0, 5]
    assert (found.p == 1 / 10).all()


def test_no_permutation_or_unit_is_refused(source):
    with pytest.raises(ConfigError, match="received 0 and 6"):
        fit_again([show(source, clip) for clip in ("c1", "c2", "c3")], source, n_permutations=0)
