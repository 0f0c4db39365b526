"""Results come back from disk as they were, whole or not at all."""

import tracemalloc
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from brainpred.decoding.result import LayerResult, load_result, save_result, saved_key
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
        r=draw(n_units), r2=draw(n_units), reliability=draw(n_units),
        ceiling=np.abs(draw(n_units)), alphas=draw(n_units), cv_r2=draw(n_units),
        regret=np.abs(draw(2)), form="dual", pattern_r=draw(n_scans), identification=draw(n_scans),
        identification_10way=draw(n_scans), similarity=draw(n_scans, n_scans), excluded=3,
        folds=np.array([0] * 4 + [1] * (n_scans - 4)),
        fold_mean=draw(2, n_units), fold_std=np.abs(draw(2, n_units)),
        nway_chosen=rng.integers(0, 4, n_scans), nway_shown=np.r_[rng.integers(0, 4, 5), [-1] * (n_scans - 5)],
        n_patterns=4,
        band_names=("early visual", "roi×delay+4", "rest"), band_weights=draw(3),
        band_r2=draw(3, n_units), delays=np.array([3, 4]), lag_contributions=draw(2, n_voxels), pattern=draw(n_voxels),
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


def test_similarity_stays_in_the_file(tmp_path):
    result = make_result(n_scans=1500, shape=(2,))
    save_result(result, tmp_path / "R1.h5", "k", simulated=True)
    tracemalloc.start()
    loaded = load_result(tmp_path / "R1.h5")
    np.testing.assert_array_equal(loaded.similarity[700:703], result.similarity[700:703])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result.similarity.nbytes / 10


def test_chance_of_categories_that_are_shown_or_chosen_unequally_often():
    shown, chosen = np.array([-1, 0, 0, 0, 1, 2, -1]), np.array([1, 0, 0, 1, 0, 0, 1])
    result = replace(make_result(), nway_shown=shown, nway_chosen=chosen, n_patterns=3)
    assert result.nway_chance == pytest.approx(0.8 * 0.6 + 0.2 * 0.2)
    assert np.isnan(replace(result, nway_shown=np.full(7, -1), n_patterns=0).nway_chance)


@pytest.mark.parametrize("change", ["nothing identified", "flat layer", "one band", "runs beyond ASCII"])
def test_results_of_other_kinds_come_back(tmp_path, change):
    result = {
        "nothing identified": replace(make_result(), nway_shown=np.full(7, -1), n_patterns=0),
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


def test_result_of_an_older_version_is_refused_and_has_no_key(tmp_path):
    path = tmp_path / "R1.h5"
    save_result(make_result(), path, "k", simulated=True)
    with h5py.File(path, "a") as file:
        file.attrs["format"] = "brainpred-decoded-5"
    assert saved_key(path) is None, "brainpred decode computes it again"
    with pytest.raises(CheckpointError, match=r"or one of another version\. Run brainpred decode again"):
        load_result(path)


@pytest.mark.parametrize("lacking", ["lag_contributions", "n_patterns", "key"])
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
