"""The exception tree: one root to catch them all, and branches that stay apart."""

import pytest

from brainpred import errors

BRANCHES = ("CheckpointError", "ConfigError", "DataError", "ManifestError", "MemoryBudgetError")


def test_tree_is_complete():
    assert sorted(errors.__all__) == sorted(["BrainpredError", *BRANCHES])
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("name", BRANCHES)
def test_root_catches_every_branch(name):
    with pytest.raises(errors.BrainpredError, match="expected 3, received 5"):
        raise getattr(errors, name)("expected 3, received 5")


@pytest.mark.parametrize("name", BRANCHES)
def test_no_branch_catches_another(name):
    # What is wrong with a value is a ValueError as well, as scikit-learn's users expect.
    also = (ValueError,) if name in {"ConfigError", "DataError"} else ()
    assert getattr(errors, name).__bases__ == (errors.BrainpredError, *also)


def test_root_is_an_exception_of_its_own():
    assert errors.BrainpredError.__bases__ == (Exception,)
