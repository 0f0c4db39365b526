"""The strength of a ridge regression is that of what is left out, with all that belongs together."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GroupKFold

from brainpred.errors import DataError
from brainpred.numerics.grouped_ridge import choose_alpha

ALPHAS = np.logspace(-2, 4, 13)


def _data(n_groups, repeats, seed=0):
    """Features that say little, and noise that repeats share: what was learned of one is known of its repeats."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n_groups, 60)), repeats, axis=0)
    y = x[:, :3] @ rng.normal(size=(3, 4)) + np.repeat(4 * rng.normal(size=(n_groups, 4)), repeats, axis=0)
    return x + 0.01 * rng.normal(size=x.shape), y, np.repeat(np.arange(n_groups), repeats)


def _left_out_error(x, y, groups, alpha):
    errors = []
    for group in np.unique(groups):
        held_out = groups == group
        model = Ridge(alpha).fit(x[~held_out], y[~held_out])
        errors.append(np.square(model.predict(x[held_out]) - y[held_out]).mean())
    return np.mean(errors)


@pytest.mark.parametrize("repeats", [1, 3])
def test_what_is_chosen_predicts_new_groups_best_or_nearly(repeats):
    x, y, groups = _data(40, repeats)
    errors = [_left_out_error(x, y, groups, alpha) for alpha in ALPHAS]
    chosen = choose_alpha(x, y, groups, ALPHAS)
    assert errors[list(ALPHAS).index(chosen)] < min(errors) * (1 if repeats == 1 else 1.02) + 1e-9


def test_the_choice_is_scikit_learn_s_for_the_same_folds():
    x, y, groups = _data(40, 3)
    splits = list(GroupKFold(10).split(x, groups=groups))
    expected = RidgeCV(ALPHAS, cv=splits, scoring="neg_mean_squared_error").fit(x, y).alpha_
    assert choose_alpha(x, y, groups, ALPHAS) == pytest.approx(expected)


def test_repeats_left_in_would_choose_far_too_little():
    x, y, groups = _data(40, 3)
    assert choose_alpha(x, y, groups, ALPHAS) > 50 * choose_alpha(x, y, np.arange(len(x)), ALPHAS)


def test_one_group_chooses_nothing():
    x, y, groups = _data(1, 5)
    with pytest.raises(DataError, match="2 or more, such as 2 different pictures, received 1"):
        choose_alpha(x, y, groups, ALPHAS)
