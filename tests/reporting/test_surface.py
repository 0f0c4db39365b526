"""Maps on the inflated surface: what is near shows, in its place, and nothing else does."""

import nibabel as nib
import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.reporting import surface
from brainpred.reporting.surface import surface_figure
from tests.reporting.test_figures import head_image, slab_image


def test_nearest_triangle_is_seen_and_values_go_between_its_corners():
    corners = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1]]) * 5.0  # mm, as large as triangles of the surface
    near, far = corners, corners + np.array([1, 0, 0])
    places, triangles = np.vstack([near, far]), np.array([[0, 1, 2], [3, 4, 5]])
    view = surface._look("", "left", places, triangles, np.array([-1, 0, 0]), np.array([0, -1, 0]))
    shown = view.paint(np.array([0, 40, 0, 900, 900, 900]))  # what lies 1 mm behind would show as 900
    height, width = view.seen.shape
    assert shown[view.seen].max() <= 40 + 1e-4
    assert 0.4 < view.seen.mean() < 0.7, "a triangle fills half of its box"
    # Seen from the left, what lies in front (y of 5 mm) is on the left; the bottom row goes from 40 to 0.
    assert shown[height - 1, 0] == pytest.approx(40, abs=9)
    assert shown[height - 1, width - 2] == pytest.approx(0, abs=9)


def test_left_hemisphere_is_the_left_one():
    image = head_image()
    left = nib.Nifti1Image(np.where(image.get_fdata() > 1.5, 1.0, 0.0).astype(np.float32), image.affine)
    places = nib.affines.apply_affine(left.affine, np.argwhere(left.get_fdata() > 0))
    assert places[:, 0].max() < 0
    assert np.abs(surface._on_surface(left, "left")).mean() > 0.5
    assert np.abs(surface._on_surface(left, "right")).mean() < 0.2


def test_figure_has_six_views_and_says_that_data_are_simulated():
    figure = surface_figure(head_image(1e-5), "Map", "value", simulated=True, signed=False)
    assert sum(len(axes.images) for axes in figure.axes) == 6
    assert "value (×10⁻⁵)" in [axes.get_ylabel() for axes in figure.axes]
    assert "simulated data" in [text.get_text() for text in figure.texts]


def test_images_that_are_no_whole_brain_are_refused():
    with pytest.raises(DataError, match="Only whole brains"):
        surface_figure(slab_image(), "Map", "value", simulated=False)
