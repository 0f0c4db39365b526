"""Every run is left out once, and what cannot be scored is refused."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from brainpred.errors import ConfigError, DataError
from brainpred.numerics.ridge.folds import leave_run_out, make_folds
from tests.reference import ridge_reference as reference

RUNS = np.repeat([3, 0, 7, 5, 2], [5, 3, 4, 7, 2])


def as_lists(folds):
    return [(train.tolist(), test.tolist()) for train, test in folds]


@pytest.mark.parametrize("runs", [[3, 3, 1, 1, 1, 2, 2], ["b", "b", "a", "a", "c", "c"], [4] * 13])
def test_every_sample_is_left_out_once(runs):
    folds = make_folds(None, np.array(runs), 0)
    assert as_lists(folds) == as_lists(reference.folds_of(runs))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(runs)))


@pytest.mark.parametrize("gap", [1, 4])
def test_blocks_of_a_single_run_keep_their_distance_from_training(gap):
    folds = leave_run_out(np.zeros(43), gap=gap)
    assert as_lists(folds) == as_lists(reference.with_gaps(reference.folds_of(np.zeros(43)), gap))
    for train, test in folds:
        assert min(abs(train[:, None] - test).min(axis=1)) == gap + 1


def test_runs_need_no_gap():
    for train, test in make_folds(None, np.repeat([0, 1], 9), gap=4):
        assert len(train) + len(test) == 18


@pytest.mark.parametrize("n_folds", [2, 3, 4, 5])
def test_a_number_of_folds_leaves_out_whole_neighbouring_runs(n_folds):
    folds = make_folds(n_folds, RUNS, gap=2)
    assert len(folds) == n_folds
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == list(range(len(RUNS)))
    for train, test in folds:
        assert not set(RUNS[train]) & set(RUNS[test]), "a run is torn apart"
        assert (np.diff(test) == 1).all(), "these runs are no neighbours"
        assert sorted([*train, *test]) == list(range(len(RUNS)))
    sizes = [len(np.unique(RUNS[test])) for _, test in folds]
    assert max(sizes) - min(sizes) <= 1


def test_a_number_of_folds_cuts_a_single_run_into_as_many_blocks():
    folds = make_folds(3, np.zeros(20), gap=2)
    assert [len(test) for _, test in folds] == [7, 7, 6]
    assert [train.tolist() for train, _ in folds][1] == [*range(5), *range(16, 20)]


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_splitters_and_pairs_are_taken_as_they_are():
    for splitter in (KFold(4), GroupKFold(3)):
        assert as_lists(make_folds(splitter, RUNS, 0)) == as_lists(splitter.split(RUNS, groups=RUNS))
    pairs = [([0, 1, 2], [5, 6]), ([5, 6, 7], [1, 2])]
    assert as_lists(make_folds(iter(pairs), RUNS, 0)) == pairs
    assert len(make_folds(ShuffleSplit(6, random_state=0), RUNS, 0)) == 6


@pytest.mark.parametrize("cv", [6, 100, 1, 0, -3])
def test_number_of_folds_that_runs_cannot_give_is_refused(cv):
    with pytest.raises(ConfigError, match=f"cv asks for {cv} folds, but there are 5 runs"):
        make_folds(cv, RUNS, 0)


@pytest.mark.parametrize("cv", ["5", 2.5, True, object()])
def test_what_is_no_way_to_cut_folds_is_refused(cv):
    with pytest.raises(ConfigError, match="cv must be None, a number of folds"):
        make_folds(cv, RUNS, 0)


def test_single_run_with_fewer_samples_than_folds_is_refused():
    for n_samples, cv in ((4, 5), (20, 21), (20, 1000)):
        with pytest.raises((ConfigError, DataError), match=r"fold|samples"):
            make_folds(cv, np.zeros(n_samples), 0)


@pytest.mark.parametrize("n_samples", [5, 9])
def test_gap_that_leaves_nothing_to_train_on_is_refused(n_samples):
    with pytest.raises(DataError, match=r"Fold \d has 0 samples to train on .* too few samples"):
        make_folds(None, np.zeros(n_samples), gap=n_samples)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([([0, 1, 2], [2, 3]), ([3], [0])], "Fold 0 tests samples that it trains on"),
        ([([0, 1], [2, 4]), ([3], [])], "Fold 1 has 1 samples to train on and 0 to test"),
        ([([], [2]), ([3], [1])], "Fold 0 has 0 samples to train on"),
        ([([0, 1], [2, 3])], "needs 2 folds or more, received 1"),
        ([], "needs 2 folds or more, received 0"),
    ],
)
def test_folds_that_overlap_or_are_empty_are_refused(folds, message):
    with pytest.raises(DataError, match=message):
        make_folds(folds, RUNS, 0)
