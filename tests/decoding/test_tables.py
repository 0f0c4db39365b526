"""Tables say of each unit, channel, layer, band, region and delay what the arrays hold."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from brainpred.decoding.chance import compare_with_chance
from brainpred.decoding.tables import (
    band_table,
    channel_table,
    difference_table,
    lag_table,
    layer_table,
    roi_table,
    unit_table,
)
from tests.decoding.test_result import make_result


def chance_of(*results):
    return compare_with_chance(results, n_permutations=9)


def test_units_are_placed_in_c_order():
    result = make_result()
    result.ceiling[4] = np.nan
    table = unit_table(result, chance_of(result))
    assert len(table) == 30
    unit = 0
    for channel in range(2):
        for row in range(3):
            for column in range(5):
                line = table.iloc[unit]
                assert (line["layer"], line["unit"]) == ("R1", unit)
                assert (line["channel"], line["row"], line["column"]) == (channel, row, column)
                for name, values in {
                    "r": result.r,
                    "r2": result.r2,
                    "alpha": result.alphas,
                    "cv_r2": result.cv_r2,
                }.items():
                    assert line[name] == values[unit]
                if unit == 4:
                    assert np.isnan(line["r_over_ceiling"])
                else:
                    assert line["r_over_ceiling"] == pytest.approx(result.r[unit] / result.ceiling[unit])
                unit += 1


@pytest.mark.parametrize(
    ("shape", "names"), [((13,), ["channel"]), ((3, 5), ["axis0", "axis1"]), ((2, 3, 5), ["channel", "row", "column"])]
)
def test_places_are_named_after_the_shape(shape, names):
    result = make_result(shape=shape)
    table = unit_table(result, chance_of(result))
    assert list(table.columns[2 : 2 + len(names)]) == names
    assert list(table.columns[2 + len(names) :]) == [
        "r", "p", "q", "r2", "r2_early visual", "r2_roi×delay+4", "r2_rest", "reliability", "ceiling", "r_over_ceiling",
        "alpha", "cv_r2",
    ]  # fmt: skip
    places = table[names].to_numpy()
    assert np.ravel_multi_index(tuple(places.T), shape).tolist() == list(range(len(table)))


def test_layer_table_holds_means():
    first, second = make_result("R0", seed=1), make_result("R1", seed=2)
    for result in (first, second):
        result.r[:] = np.tanh(0.3 * result.r)
        result.reliability[:] = np.abs(result.reliability) / 4
        result.reliability[7] *= -1  # counts against the others
    first.r[[2, 5]] = np.nan
    chance = chance_of(first, second)
    table = layer_table([first, second], chance, simulated=True)
    assert table["layer"].tolist() == ["R0", "R1"]
    assert table["data"].tolist() == ["simulated", "simulated"]
    assert table["n_units"].tolist() == [30, 30]
    assert table["n_constant_units"].tolist() == [2, 0]
    assert table["n_scans"].tolist() == [7, 7]
    assert table["nway"].tolist() == [4, 4]
    for line, result in zip(table.to_dict("records"), (first, second), strict=True):
        kept = [float(r) for r in result.r if not np.isnan(r)]
        ceiling = np.sqrt(sum(map(float, result.reliability)) / 30)
        mean_r = np.tanh(sum(map(np.arctanh, kept)) / len(kept))
        assert line["mean_r"] == pytest.approx(mean_r, abs=1e-6)
        assert line["median_r"] == pytest.approx(np.median(kept), abs=1e-6)
        assert line["mean_r2"] == pytest.approx(sum(map(float, result.r2)) / 30, abs=1e-6)
        assert line["mean_ceiling"] == pytest.approx(ceiling, abs=1e-6)
        assert line["mean_r_over_ceiling"] == pytest.approx(mean_r / ceiling, abs=1e-5)
        assert line["mean_pattern_r"] == pytest.approx(sum(map(float, result.pattern_r)) / 7, abs=1e-6)
        assert line["identification_2way"] == pytest.approx(sum(map(float, result.identification)) / 7, abs=1e-6)
        tenth = sum(map(float, result.identification_10way)) / 7
        assert line["identification_10way"] == pytest.approx(tenth, abs=1e-6)
        tested = chance.of(result.layer)
        assert line["identification_2way_p"] == tested.identification_p
        assert line["identification_10way_p"] == tested.identification_10way_p or np.isnan(
            line["identification_10way_p"]
        )
        assert line["identification_nway"] == pytest.approx(sum(map(bool, result.nway_correct)) / 5)
        assert line["identification_nway_chance"] == result.nway_chance


def test_ratio_to_the_ceiling_needs_ceilings_and_not_a_low_r():
    result = make_result()
    result.r[:], result.reliability[:] = 0.9, 0.25
    chance = chance_of(result)
    result.ceiling[:] = np.where(np.arange(30) < 16, 0.5, np.nan)
    (line,) = layer_table([result], chance, simulated=True).to_dict("records")
    assert line["mean_r_over_ceiling"] == pytest.approx(1.8, abs=1e-5), "above 1 by chance, and shown"
    assert line["mean_ceiling"] == 0.5
    result.ceiling[14:] = np.nan
    (line,) = layer_table([result], chance, simulated=True).to_dict("records")
    assert np.isnan(line["mean_r_over_ceiling"])
    assert np.isnan(line["mean_ceiling"]), "what most units lack a layer lacks"
    assert line["mean_reliability"] == 0.25


def test_differences_to_what_needs_no_network():
    results = [make_result(name, seed=seed) for seed, name in enumerate(("R0", "R1", "motion", "pixels"))]
    for result in results:
        result.r[:] = np.tanh(0.3 * result.r)
    chance = chance_of(*results)
    table = difference_table(results, chance, ["motion", "pixels"], simulated=False)
    assert table[["layer", "baseline"]].to_numpy().tolist() == [
        ["R0", "motion"], ["R0", "pixels"], ["R1", "motion"], ["R1", "pixels"],
    ]  # fmt: skip
    for line in table.to_dict("records"):
        one, two = chance.of(line["layer"]), chance.of(line["baseline"])
        assert line["difference"] == pytest.approx(one.mean_r - two.mean_r)
        drawn = np.repeat(one.drawn_mean_r - two.drawn_mean_r, chance.draw_weights)
        n_blocks = chance.n_drawn_blocks
        reach = stats.t.ppf(0.975, n_blocks - 1) * np.sqrt(n_blocks / (n_blocks - 1)) * drawn.std()
        assert line["high"] - line["difference"] == pytest.approx(reach)
        assert line["difference"] - line["low"] == pytest.approx(reach)
    assert difference_table(results[:2], chance, [], simulated=False).empty


def test_layer_without_scores_has_none_in_the_table():
    result = make_result()
    empty = replace(
        result, r=np.full(30, np.nan, np.float32), ceiling=np.full(30, np.nan, np.float32),
        reliability=np.full(30, np.nan, np.float32),
        nway_shown=np.full(7, -1), n_patterns=0,
    )  # fmt: skip
    (line,) = layer_table([empty], chance_of(empty), simulated=False).to_dict("records")
    assert line["data"] == "measured"
    assert line["n_constant_units"] == 30
    for name in ("mean_r", "median_r", "mean_ceiling", "mean_r_over_ceiling", "identification_nway"):
        assert np.isnan(line[name]), name


def test_channels_are_means_over_their_units():
    result = make_result()
    result.r[:] = np.tanh(result.r)
    result.r[4] = np.nan
    chance = chance_of(result)
    chance.layers[0].q[:] = np.where(np.arange(30) % 3, 0.2, 0.01)
    table = channel_table(result, chance)
    assert table["channel"].tolist() == [0, 1]
    own = [unit for unit in range(15) if unit != 4]
    first = table.iloc[0]
    assert first["mean_r"] == pytest.approx(np.tanh(np.mean([np.arctanh(float(result.r[u])) for u in own])), abs=1e-5)
    assert first["mean_r2"] == pytest.approx(result.r2[:15].mean(), abs=1e-5)
    assert first["mean_cv_r2"] == pytest.approx(result.cv_r2[:15].mean(), abs=1e-5)
    assert (first["mean_r_low"], first["mean_r_high"]) == (
        chance.layers[0].channel_low[0], chance.layers[0].channel_high[0],
    )  # fmt: skip
    true, predicted = result.zscored_pair(slice(15, 30))
    patterns = [np.corrcoef(a, b)[0, 1] for a, b in zip(true, predicted, strict=True)]
    assert table["mean_pattern_r"][1] == pytest.approx(np.mean(patterns), abs=1e-5)
    result.reliability[15:], result.ceiling[15:23] = -0.1, np.nan
    assert np.isnan(channel_table(result, chance)["mean_ceiling"][1])
    assert np.isnan(channel_table(result, chance)["mean_r_over_ceiling"][1])
    result.reliability[15:], result.ceiling[15:] = 0.04, 0.2
    second = channel_table(result, chance).iloc[1]
    assert second["mean_ceiling"] == pytest.approx(0.2)
    assert second["mean_r_over_ceiling"] == pytest.approx(second["mean_r"] / 0.2, rel=1e-5)
    for name, part in zip(result.band_names, result.band_r2, strict=True):
        assert second[f"r2_{name}"] == pytest.approx(part[15:].mean(), abs=1e-6)
    assert first["significant"] == pytest.approx(5 / 14)
    assert table["significant"][1] == pytest.approx(5 / 15)


def test_channels_of_one_unit_have_no_interval():
    result = make_result(shape=(13,))
    table = channel_table(result, chance_of(result))
    assert len(table) == 13
    assert table["mean_r_low"].isna().all()
    assert table["mean_pattern_r"].isna().all()


def test_bands_regions_and_delays():
    results = [make_result("R0", seed=1), make_result("R1", seed=2)]
    rois = np.array(["b"] * 4 + ["a"] * 7)
    bands = band_table(results, simulated=True)
    assert bands["band"].tolist() == list(results[0].band_names) * 2
    assert bands["r2"][4] == pytest.approx(results[1].band_r2[1].mean(), abs=1e-6)
    assert bands["weight"][4] == pytest.approx(results[1].band_weights[1])
    regions = roi_table(results, rois, simulated=False)
    assert regions[["layer", "roi", "n_voxels"]].to_numpy().tolist() == [
        ["R0", "a", 7], ["R0", "b", 4], ["R1", "a", 7], ["R1", "b", 4],
    ]  # fmt: skip
    assert regions["contribution"][2] == pytest.approx(results[1].lag_contributions[:, 4:].sum(), abs=1e-5)
    assert regions["pattern"][3] == pytest.approx(np.sqrt(np.mean(results[1].pattern[:4] ** 2)), abs=1e-6)
    lags = lag_table(results, rois, 1.5, simulated=True)
    assert lags["delay_s"].tolist() == [4.5, 4.5, 6.0, 6.0] * 2
    assert lags["contribution"][6] == pytest.approx(results[1].lag_contributions[1, 4:].sum(), abs=1e-5)
    summed = lags.groupby(["layer", "roi"])["contribution"].sum().to_numpy()
    np.testing.assert_allclose(summed, regions["contribution"], atol=1e-5)
