"""Every control swaps in what its name says, in whatever order and with whatever shift."""

import numpy as np
import pytest

from brainpred.reconstruction.controls import EXPLANATIONS, ClipRepresentations, make_arms, time_shifts


class Units:
    """Give units that tell where they come from."""

    shape = (1, 2, 2)
    mean = np.full(4, -1, np.float32)

    def true(self, row):
        return np.full(4, row, np.float32)

    def decoded(self, row):
        return np.full(4, 100 + row, np.float32)

    def wrong(self, row):
        return np.full(4, 500 + row, np.float32)


@pytest.mark.parametrize("drive", ["closed-loop", "stimulus"])
def test_arms_are_what_they_say(drive):
    arms = make_arms(drive, 3)
    names = [arm.name for arm in arms]
    assert names[:4] == ["true", "decoded", "mean", "wrong"]
    assert names.count("shifted") == 3
    assert ("leak" in names) == (drive == "closed-loop")
    assert {arm.drive for arm in arms if arm.name != "leak"} == {drive}
    assert {arm.drive for arm in arms if arm.name == "leak"} <= {"stimulus"}
    assert set(names) <= set(EXPLANATIONS)


def test_nothing_leaks_without_error_units():
    names = [arm.name for arm in make_arms("closed-loop", 2, leak=False)]
    assert names == ["true", "decoded", "mean", "wrong", "shifted", "shifted"]


def test_representations_of_every_arm():
    arms = make_arms("closed-loop", 3)
    given = ClipRepresentations({1: Units(), 2: Units()}, arms, first=20, n_scans=8)
    assert time_shifts(arms, 8) == [0, 0, 0, 0, 0, 2, 4, 6]
    for scan in range(8):
        values = given(scan)
        assert set(values) == {1, 2}
        assert values[1].shape == (8, 1, 2, 2)
        shifted = [120 + (scan - shift) % 8 for shift in (2, 4, 6)]
        assert values[2][:, 0, 0, 0].tolist() == [20 + scan, 120 + scan, -1, 520 + scan, -1, *shifted]


@pytest.mark.parametrize("n_scans", [2, 3, 5, 97])
def test_no_shift_is_none_however_short_the_clip(n_scans):
    shifts = time_shifts(make_arms("stimulus", 9), n_scans)[4:]
    assert min(shifts) >= 1
    assert max(shifts) < n_scans
