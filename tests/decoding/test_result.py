"""Results come back from disk as they were, and their tables say of each unit and layer what the arrays hold."""

from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from brainpred.decoding.result import LayerResult, layer_table, load_result, save_result, saved_key, unit_table
from brainpred.errors import CheckpointError

SHAPE = (2, 3, 5)


def make_result(layer="R1", shape=SHAPE, n_scans=7, n_voxels=11, seed=0):
    rng = np.random.default_rng(seed)
    n_units = int(np.prod(shape))

    def draw(*size):
        return rng.standard_normal(size).astype(np.float32)

    return LayerResult(
        layer=layer, shape=shape, runs=np.array(["test-01"] * 4 + ["c2"] * (n_scans - 4)),
        true=draw(n_scans, n_units), decoded=draw(n_scans, n_units), mean=draw(n_units), std=draw(n_units),
        r=draw(n_units), r2=draw(n_units), ceiling=np.abs(draw(n_units)), alphas=draw(n_units), cv_r2=draw(n_units),
        regret=np.abs(draw(2)), form="dual", pattern_r=draw(n_scans), identification=draw(n_scans),
        nway_correct=rng.random(5) < 0.5, n_patterns=4,
        band_names=("early visual", "roi×delay+4", "rest"), band_weights=draw(3), contributions=draw(n_voxels),
        train_runs=np.array(["train-01"] * 3), train_true=draw(3, n_units), train_decoded=draw(3, n_units),
    )  # fmt: skip


def assert_equal(one, other):
    for field in fields(LayerResult):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert type(left) is type(right), field.name
        np.testing.assert_array_equal(left, right, err_msg=field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype.kind == right.dtype.kind, field.name
            assert left.dtype == right.dtype or left.dtype.kind == "U", field.name


def test_saved_result_comes_back(tmp_path):
    result = make_result()
    result.ceiling[3] = np.nan
    save_result(result, tmp_path / "R1.h5", "key17", simulated=True)
    assert_equal(load_result(str(tmp_path / "R1.h5")), result)
    assert saved_key(tmp_path / "R1.h5") == "key17"
    assert [path.name for path in tmp_path.iterdir()] == ["R1.h5"]
    with h5py.File(tmp_path / "R1.h5") as file:
        assert bool(file.attrs["simulated"]) is True


@pytest.mark.parametrize("change", ["nothing identified", "flat layer", "one band", "runs beyond ASCII"])
def test_results_of_other_kinds_come_back(tmp_path, change):
    result = {
        "nothing identified": replace(make_result(), nway_correct=np.zeros(0, dtype=bool), n_patterns=0),
        "flat layer": make_result("features", (13,)),
        "one band": replace(make_result(), band_names=("all",), band_weights=np.ones(1, np.float32)),
        "runs beyond ASCII": replace(make_result(), runs=np.array(["映画"] * 3 + ["é"] * 4)),
    }[change]
    save_result(result, tmp_path / "r.h5", "k", simulated=False)
    assert_equal(load_result(tmp_path / "r.h5"), result)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.99])
def test_damaged_file_is_refused_and_has_no_key(tmp_path, kept):
    path = tmp_path / "r.h5"
    save_result(make_result(), path, "k", simulated=True)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"Cannot read .*r\.h5.*Run brainpred decode again"):
        load_result(path)
    assert saved_key(path) is None


def test_foreign_or_missing_file_is_refused_and_has_no_key(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["r"], file.attrs["key"] = np.ones(3), "k"
    with pytest.raises(CheckpointError, match=r"other\.h5 is not a result of brainpred decode"):
        load_result(tmp_path / "other.h5")
    with pytest.raises(CheckpointError, match=r"Cannot read .*none\.h5"):
        load_result(tmp_path / "none.h5")
    assert saved_key(tmp_path / "other.h5") is None
    assert saved_key(tmp_path / "none.h5") is None


@pytest.mark.parametrize("lacking", ["contributions", "n_patterns", "key"])
def test_result_that_lacks_something_is_refused(tmp_path, lacking):
    path = tmp_path / "r.h5"
    save_result(make_result(), path, "k", simulated=True)
    with h5py.File(path, "a") as file:
        if lacking in file:
            del file[lacking]
        else:
            del file.attrs[lacking]
    if lacking == "key":
        assert saved_key(path) is None
    else:
        with pytest.raises(CheckpointError, match="Cannot read"):
            load_result(path)


def test_units_are_placed_in_c_order():
    result = make_result()
    result.ceiling[[4, 9]] = [np.nan, 0.0]
    table = unit_table(result)
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
                if unit in (4, 9):
                    assert np.isnan(line["r_over_ceiling"])
                else:
                    assert line["r_over_ceiling"] == pytest.approx(result.r[unit] / result.ceiling[unit])
                unit += 1


@pytest.mark.parametrize(
    ("shape", "names"), [((13,), ["channel"]), ((3, 5), ["axis0", "axis1"]), ((2, 3, 5), ["channel", "row", "column"])]
)
def test_places_are_named_after_the_shape(shape, names):
    table = unit_table(make_result(shape=shape))
    assert list(table.columns[2 : 2 + len(names)]) == names
    assert list(table.columns[2 + len(names) :]) == ["r", "r2", "ceiling", "r_over_ceiling", "alpha", "cv_r2"]
    places = table[names].to_numpy()
    assert np.ravel_multi_index(tuple(places.T), shape).tolist() == list(range(len(table)))


def test_layer_table_holds_means():
    first, second = make_result("R0", seed=1), make_result("R1", seed=2)
    first.r[[2, 5]] = np.nan
    table = layer_table([first, second], simulated=True)
    assert table["layer"].tolist() == ["R0", "R1"]
    assert table["data"].tolist() == ["simulated", "simulated"]
    assert table["n_units"].tolist() == [30, 30]
    assert table["n_constant_units"].tolist() == [2, 0]
    assert table["n_scans"].tolist() == [7, 7]
    assert table["nway"].tolist() == [4, 4]
    for line, result in zip(table.to_dict("records"), (first, second), strict=True):
        kept = [float(r) for r in result.r if not np.isnan(r)]
        ceiling = sum(map(float, result.ceiling)) / 30
        assert line["mean_r"] == pytest.approx(sum(kept) / len(kept), abs=1e-6)
        assert line["median_r"] == pytest.approx(np.median(kept), abs=1e-6)
        assert line["mean_r2"] == pytest.approx(sum(map(float, result.r2)) / 30, abs=1e-6)
        assert line["mean_ceiling"] == pytest.approx(ceiling, abs=1e-6)
        assert line["mean_r_over_ceiling"] == pytest.approx(sum(kept) / len(kept) / ceiling, abs=1e-5)
        assert line["mean_pattern_r"] == pytest.approx(sum(map(float, result.pattern_r)) / 7, abs=1e-6)
        assert line["identification_2way"] == pytest.approx(sum(map(float, result.identification)) / 7, abs=1e-6)
        assert line["identification_nway"] == pytest.approx(sum(map(bool, result.nway_correct)) / 5)


def test_layer_without_scores_has_none_in_the_table():
    result = make_result()
    empty = replace(
        result, r=np.full(30, np.nan, np.float32), ceiling=np.full(30, np.nan, np.float32),
        nway_correct=np.zeros(0, bool), n_patterns=0,
    )  # fmt: skip
    (line,) = layer_table([empty], simulated=False).to_dict("records")
    assert line["data"] == "measured"
    assert line["n_constant_units"] == 30
    for name in ("mean_r", "median_r", "mean_ceiling", "mean_r_over_ceiling", "identification_nway"):
        assert np.isnan(line[name]), name
