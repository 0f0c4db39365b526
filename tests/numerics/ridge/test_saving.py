"""A saved ridge predicts the same bits, and a file that is none is refused."""

import h5py
import numpy as np
import pytest
from sklearn.model_selection import KFold

from brainpred.errors import CheckpointError, ConfigError
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from tests.numerics.ridge.problems import DELAYS_S, LABELS, LENGTHS, TEST_LENGTHS, TR_S, simulate, stored

NAMES = np.array(["run-ä", "run-b", "run-c", "run-d"])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"per_delay": True, "cluster": np.array(["x", "y", "x", "y", "y"])},
        {"search": "per-target", "n_candidates": 4, "alphas": np.array([0.3, 30.0])},
        {"form": "primal", "random_state": 7},
        {"bands": None, "precision": "float64", "fit_intercept": False},
        {"search": "himalaya", "n_candidates": 3, "cv": 2},
    ],
)
@pytest.mark.parametrize("kind", ["array", "hdf5"])
def test_loaded_ridge_predicts_the_same_bits(settings, kind, tmp_path):
    X, Y, _ = simulate(LENGTHS, dtype=np.float32)
    runs = np.repeat(NAMES, LENGTHS)
    ridge = BandedRidgeCV(**{"bands": LABELS, "delays_s": DELAYS_S, "tr_s": TR_S, "device": "cpu", **settings})
    ridge.fit(stored(kind, X, tmp_path), stored(kind, Y, tmp_path), runs)
    ridge.save(tmp_path / "ridge.h5")
    loaded = BandedRidgeCV.load(tmp_path / "ridge.h5")
    test_X, test_Y, test_runs = simulate(TEST_LENGTHS, dtype=np.float32, seed=1)
    np.testing.assert_array_equal(loaded.predict(test_X, test_runs), ridge.predict(test_X, test_runs))
    np.testing.assert_array_equal(loaded.split_predict(test_X, test_runs), ridge.split_predict(test_X, test_runs))
    np.testing.assert_array_equal(
        loaded.feature_contributions(test_X, test_Y, test_runs), ridge.feature_contributions(test_X, test_Y, test_runs)
    )
    for name in ("band_names_", "delays_", "gammas_", "alphas_", "band_weights_", "cv_scores_", "audit_", "plan_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(ridge, name), err_msg=name)
    for name, value in ridge.get_params().items():
        np.testing.assert_array_equal(loaded.get_params()[name], value, err_msg=name)


def test_single_target_stays_flat(tmp_path):
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(device="cpu").fit(X, Y[:, 0], runs)
    ridge.save(tmp_path / "ridge.h5")
    loaded = BandedRidgeCV.load(tmp_path / "ridge.h5")
    assert loaded.predict(X, runs).shape == (60,)
    np.testing.assert_array_equal(loaded.predict(X, runs), ridge.predict(X, runs))


def test_file_replaces_one_whole_or_not_at_all(tmp_path):
    X, Y, runs = simulate(LENGTHS)
    path = tmp_path / "ridge.h5"
    ridge = BandedRidgeCV(device="cpu").fit(X, Y, runs)
    ridge.save(path)
    before = path.read_bytes()

    class Broken:
        shape, dtype = Y.shape, Y.dtype

        def __getitem__(self, key):
            raise OSError("disk gone")

    ridge._Y = Broken()
    with pytest.raises(OSError, match="disk gone"):
        ridge.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["ridge.h5"]


def test_folds_that_cannot_be_written_are_refused(tmp_path):
    X, Y, runs = simulate(LENGTHS)
    ridge = BandedRidgeCV(cv=KFold(3), device="cpu").fit(X, Y, runs)
    with pytest.raises(ConfigError, match=r"cannot be written.*Set cv to None first"):
        ridge.save(tmp_path / "ridge.h5")
    ridge.set_params(cv=None).save(tmp_path / "ridge.h5")
    np.testing.assert_array_equal(BandedRidgeCV.load(tmp_path / "ridge.h5").predict(X, runs), ridge.predict(X, runs))


def test_files_that_are_no_ridge_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="Cannot read a ridge"):
        BandedRidgeCV.load(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(CheckpointError, match="Cannot read a ridge"):
        BandedRidgeCV.load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "other"
    with pytest.raises(CheckpointError, match="it is not a ridge that brainpred saved"):
        BandedRidgeCV.load(tmp_path / "other.h5")
    X, Y, runs = simulate(LENGTHS)
    BandedRidgeCV(device="cpu").fit(X, Y, runs).save(tmp_path / "ridge.h5")
    with h5py.File(tmp_path / "ridge.h5", "a") as file:
        del file["gamma_index_"]
    with pytest.raises(CheckpointError, match="Save it again"):
        BandedRidgeCV.load(tmp_path / "ridge.h5")
