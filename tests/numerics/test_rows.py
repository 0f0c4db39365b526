"""Numbers of distinct rows."""

import numpy as np

from brainpred.numerics.rows import number_rows


def test_rows_of_any_shape_are_numbered_in_the_order_of_their_first_appearance():
    rng = np.random.default_rng(0)
    pictures = rng.random((4, 5, 3)).astype(np.float32)
    shown = np.array([2, 0, 2, 3, 1, 0, 3])
    for rows in (pictures[shown], pictures[shown].transpose(0, 2, 1), pictures[shown].reshape(7, -1) > 0.5):
        assert number_rows(rows).tolist() == [0, 1, 0, 2, 3, 1, 2]
    assert number_rows(np.array([[0.0], [-0.0], [1.0]])).tolist() == [0, 0, 1]
    assert number_rows(np.empty((0, 3))).tolist() == []
