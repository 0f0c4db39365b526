"""p of units and layers from permuted predictions: by loops, calibrated, saved and read again."""

from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from brainpred.decoding.chance import NULL_EDGES, LayerChance, compare_with_chance, load_chance, save_chance
from brainpred.errors import CheckpointError, ConfigError
from brainpred.numerics.resampling import block_permutations, permuted_samples
from brainpred.numerics.scores import identification, pattern_similarity
from tests.decoding.test_result import make_result
from tests.reference.resampling_reference import adjusted_p, correlate, permuted_correlations

N_CASES = 400


def noise(layer, n_scans=120, n_units=37, seed=0, signal=0.0, phi=0.7):
    """Make the result of a layer whose prediction is noise, or holds some of the truth, in two folds."""
    rng = np.random.default_rng(seed)

    def course():
        values = rng.standard_normal((n_scans, n_units))
        for t in range(1, n_scans):
            values[t] = phi * values[t - 1] + np.sqrt(1 - phi**2) * values[t]
        return values.astype(np.float32)

    runs = np.array(["x"] * (n_scans // 2) + ["y"] * (n_scans - n_scans // 2))
    true = course()
    folds = (runs == "y").astype(int)
    result = replace(
        make_result(layer, (n_units,), n_scans), runs=runs, true=true, folds=folds,
        fold_mean=rng.standard_normal((2, n_units)).astype(np.float32),
        fold_std=rng.uniform(0.5, 2, (2, n_units)).astype(np.float32),
    )  # fmt: skip
    predicted = course() + signal * true
    decoded = predicted * result.fold_std[folds] + result.fold_mean[folds]
    result = replace(result, decoded=decoded.astype(np.float32))
    truth, zscored = result.zscored_pair()
    similarity = pattern_similarity(truth, zscored).astype(np.float32)
    result = replace(result, similarity=similarity, excluded=2)
    r = np.array([correlate(a, b) for a, b in zip(truth.T, zscored.T, strict=True)])
    return replace(result, r=r.astype(np.float32))


def test_p_by_loops_over_permutations():
    results = [noise("R0", signal=0.3), noise("R1", n_units=5, seed=1)]
    results[1].r[2] = np.nan
    chance = compare_with_chance(results, n_permutations=59, seed=3)
    assert [one.layer for one in chance.layers] == ["R0", "R1"]
    # The same permutations again, from the same seed.
    permutations = block_permutations(results[0].runs, chance.block_length, 59, np.random.default_rng(3))
    assert permutations.rows.shape[1:] == (chance.n_blocks, chance.block_length)
    assert chance.wanted_length >= chance.block_length // 1.25
    for result, one in zip(results, chance.layers, strict=True):
        null = permuted_correlations(*result.zscored_pair(), permutations)
        p = (1 + np.sum(null >= result.r - 1e-5, axis=0)) / 60
        p[np.isnan(result.r)] = np.nan
        np.testing.assert_allclose(one.p, p, atol=1e-6)
        np.testing.assert_allclose(one.q, adjusted_p(p), atol=1e-6)
        known = np.isfinite(p)
        np.testing.assert_allclose(one.null_mean_r, np.tanh(np.arctanh(null[:, known]).mean(axis=1)), atol=1e-5)
        np.testing.assert_array_equal(one.null_counts, np.histogram(null[:, known], NULL_EDGES)[0])
        assert one.low < one.mean_r < one.high


def test_p_of_identification_by_moving_what_was_decoded():
    results = [noise("R0", signal=0.06, seed=2), noise("R1", n_units=5, seed=1, signal=0.05)]
    chance = compare_with_chance(results, n_permutations=39, seed=3)
    permutations = block_permutations(results[0].runs, chance.block_length, 39, np.random.default_rng(3))
    for name, n_way in (("identification_p", 2), ("identification_10way_p", 10)):
        found = np.array([identification(one.similarity, 2, n_way, one.runs).mean() for one in results])
        null = np.array(
            [
                [identification(one.similarity[samples], 2, n_way, one.runs).mean() for one in results]
                for samples in permuted_samples(permutations)
            ]
        )
        greatest = ((null - null.mean(axis=0)) / null.std(axis=0)).max(axis=1)  # relative to what chance makes of it
        scaled = (found - null.mean(axis=0)) / null.std(axis=0)
        p = [(1 + np.sum(greatest >= one - 1e-5)) / 40 for one in scaled]
        assert [getattr(one, name) for one in chance.layers] == pytest.approx(p, abs=1e-9)
        assert 1 / 40 < min(p) < max(p) < 1, "a test that tells the layers apart"


def categories(parts, n_scans=300, seed=0, rest=True):
    """Show one category after the other for 6 scans each, with 4 scans of rest (-1) between."""
    rng = np.random.default_rng(seed)
    named = rng.choice(len(parts), n_scans // (10 if rest else 6) + 1, p=parts)
    return np.concatenate([[name] * 6 + [-1] * 4 * rest for name in named])[:n_scans]


def layer_of(name, shown, chosen, seed=0):
    """Make a layer of which some category was chosen at every scan."""
    result = noise(name, len(shown), n_units=4, seed=seed)
    return replace(result, nway_chosen=chosen, nway_shown=shown, n_patterns=int(shown.max()) + 1)


def test_p_of_categories_by_moving_what_was_chosen_among_scans_that_show_one():
    rng = np.random.default_rng(9)
    shown = categories([0.5, 0.3, 0.2], 120)
    chosen = np.where(rng.random(120) < 0.2, np.maximum(shown, 0), rng.integers(0, 3, 120))
    nothing = np.full(120, -1)
    results = [layer_of("a", shown, chosen), replace(noise("b", n_units=4, seed=1), nway_chosen=nothing,
               nway_shown=nothing)]  # fmt: skip
    chance = compare_with_chance(results, n_permutations=39, seed=3)
    seen = [t for t in range(120) if shown[t] >= 0]
    length = max(one for one in range(1, chance.wanted_length + 1)
                 if sum(n // one for n in (sum(results[0].runs[seen] == run) for run in ("x", "y"))) >= 5)  # fmt: skip
    permutations = block_permutations(results[0].runs[seen], length, 39, np.random.default_rng(3))
    found = np.mean([chosen[t] == shown[t] for t in seen])
    null = [np.mean([chosen[seen[come]] == shown[t] for come, t in zip(samples, seen, strict=True)])
            for samples in permuted_samples(permutations)]  # fmt: skip
    expected = (1 + np.sum(np.array(null) >= found - 1e-9)) / 40
    assert 1 / 40 < expected < 1
    assert chance.of("a").identification_nway_p == pytest.approx(expected)
    assert np.isnan(chance.of("b").identification_nway_p)


def test_decoder_that_tells_rest_from_pictures_identifies_no_picture():
    rng = np.random.default_rng(4)
    shown = categories([0.6, 0.2, 0.2], 600)
    always = np.where(shown >= 0, 0, 1)
    nearly = np.where((shown >= 0) & (rng.random(600) < 0.05), 2, always)
    (one,) = compare_with_chance([layer_of("a", shown, always)], n_permutations=199).layers
    (other,) = compare_with_chance([layer_of("a", shown, nearly)], n_permutations=199).layers
    assert np.isnan(one.identification_nway_p), "no permutation changes what is always the same"
    assert other.identification_nway_p > 0.05


def test_layer_that_picks_what_is_frequent_hides_no_other():
    rng = np.random.default_rng(5)
    shown = categories([0.6, 0.2, 0.2], 600, rest=False)
    good = np.where(rng.random(600) < 0.85, shown, rng.integers(0, 3, 600))
    for part in (0.02, 0.0):
        biased = np.where(rng.random(600) < part, rng.integers(0, 3, 600), 0)
        results = [layer_of("good", shown, good), layer_of("biased", shown, biased, seed=1)]
        chance = compare_with_chance(results, n_permutations=199)
        assert chance.of("good").identification_nway_p == pytest.approx(1 / 200)
        assert not chance.of("biased").identification_nway_p <= 0.05


def test_identification_of_noise_is_found_one_time_in_twenty():
    found = []
    for seed in range(N_CASES):
        shown, said = (
            categories([0.5, 0.3, 0.2], 200, seed),
            categories([0.6, 0.2, 0.2], 200, seed + N_CASES, rest=False),
        )
        result = noise("R0", 200, n_units=6, seed=seed, phi=0.8)
        result = replace(result, nway_shown=shown, nway_chosen=said, n_patterns=3)
        (one,) = compare_with_chance([result], n_permutations=99, seed=seed).layers
        found.append((one.identification_p, one.identification_10way_p, one.identification_nway_p))
    rates = (np.array(found) <= 0.05).mean(axis=0)
    print(rates)
    assert (rates >= 0.03).all()
    assert (rates <= 0.07).all()


def test_channels_have_intervals_of_their_own():
    result = replace(noise("R0", n_units=12, signal=0.4), shape=(3, 4))
    chance = compare_with_chance([result], n_permutations=9)
    (one,) = chance.layers
    assert one.channel_low.shape == one.channel_high.shape == (3,)
    for number in range(3):
        mean = np.tanh(np.arctanh(result.r[4 * number : 4 * number + 4]).mean())
        assert one.channel_low[number] < mean < one.channel_high[number]
    assert one.drawn_mean_r @ chance.draw_weights / 2000 == pytest.approx(one.mean_r, abs=0.05)
    assert one.low == pytest.approx(one.mean_r, abs=one.high - one.low)


def test_runs_too_short_for_their_blocks_say_so():
    short, long = (compare_with_chance([noise("R0", n, phi=0.95)], n_permutations=9) for n in (60, 1500))
    assert short.wanted_length > short.block_length
    assert long.wanted_length <= long.block_length


def test_signal_is_found_and_noise_is_not():
    signal, nothing = noise("R0", n_scans=400, signal=0.7), noise("R1", n_scans=400, seed=1)
    chance = compare_with_chance([signal, nothing], n_permutations=499)
    assert chance.of("R0").mean_p == pytest.approx(1 / 500)
    assert chance.of("R0").low > 0.3
    assert (chance.of("R0").q < 0.05).mean() > 0.9
    assert chance.of("R0").identification_p == chance.of("R0").identification_10way_p == pytest.approx(1 / 500)
    assert chance.of("R1").identification_p > 0.05
    assert chance.of("R1").mean_p > 0.05
    assert (chance.of("R1").q < 0.05).mean() < 0.1


def test_layers_of_noise_are_found_one_time_in_twenty():
    found = []
    for seed in range(120):
        layers = [noise("R0", n_units=3, seed=2 * seed, phi=0.8), noise("R1", n_units=4, seed=2 * seed + 1, phi=0.5)]
        chance = compare_with_chance(layers, n_permutations=99, seed=seed)
        found.append(min(one.mean_p for one in chance.layers) <= 0.05)
    assert 0.005 <= np.mean(found) <= 0.11


def test_what_is_saved_comes_back(tmp_path):
    chance = compare_with_chance([noise("R1"), noise("R0", n_units=5, seed=1)], n_permutations=19)
    save_chance(chance, tmp_path / "s.h5", "key3")
    again = load_chance(tmp_path / "s.h5", "key3")
    assert [one.layer for one in again.layers] == ["R1", "R0"], "in order"
    assert again.n_permutations == 19
    for name in ("block_length", "wanted_length", "n_blocks", "n_drawn_blocks"):
        assert getattr(again, name) == getattr(chance, name)
    np.testing.assert_array_equal(again.draw_weights, chance.draw_weights)
    for one, other in zip(chance.layers, again.layers, strict=True):
        for field in fields(LayerChance):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)
    assert load_chance(tmp_path / "s.h5", "other key") is None
    assert load_chance(tmp_path / "none.h5") is None
    with h5py.File(tmp_path / "s.h5", "a") as file:
        form, file.attrs["format"] = file.attrs["format"], "brainpred-chance-2"
    assert load_chance(tmp_path / "s.h5", "key3") is None, "that of an older version is made again"
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file.attrs["format"] = form
        del file["R0"].attrs["mean_p"]
    with pytest.raises(CheckpointError, match="run brainpred decode again"):
        load_chance(tmp_path / "s.h5")


def test_no_permutation_is_refused():
    with pytest.raises(ConfigError, match="At least one permutation"):
        compare_with_chance([noise("R0")], n_permutations=0)
