"""Maps on the inflated surface: what is near shows, in its place, and nothing else does."""

import nibabel as nib
import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.reporting import surface
from brainpred.reporting.maps import BrainMap, cortex_on_mesh, read_map
from brainpred.reporting.meshes import Mesh, find_mesh, fsaverage5, keep_surfaces, sample_volume
from brainpred.reporting.surface import joined_labels, surface_figure
from brainpred.reporting.thresholds import Shown
from tests.reporting.test_figures import head_image, slab_image

# Eight faces around the origin: what is seen from the left is not seen from the right.
CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) * 20.0
OCTAHEDRON = np.array([(x, y, z) for x in (0, 1) for y in (2, 3) for z in (4, 5)])


def make_mesh(places=CORNERS, faces=OCTAHEDRON):
    nowhere = np.zeros(len(places), bool)
    return Mesh("test", *({"left": each, "right": each} for each in (places, faces, nowhere)))


def write_surface(path, places=CORNERS, faces=OCTAHEDRON):
    arrays = [nib.gifti.GiftiDataArray(places.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
              nib.gifti.GiftiDataArray(faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE")]  # fmt: skip
    nib.save(nib.GiftiImage(darrays=arrays), path)
    return path


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_nearest_triangle_is_seen_and_values_go_between_its_corners():
    corners = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1]]) * 5.0  # mm, as large as triangles of the surface
    near, far = corners, corners + np.array([1, 0, 0])
    mesh = make_mesh(np.vstack([near, far]), np.array([[0, 1, 2], [3, 4, 5]]))
    view = surface._look("", "left", mesh, np.array([-1, 0, 0]), np.array([0, -1, 0]))
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
    sampled = sample_volume(left)
    assert np.abs(sampled["left"]).mean() > 0.5
    assert np.abs(sampled["right"]).mean() < 0.2


def test_what_was_not_measured_does_not_dim_its_neighbours():
    image = head_image()
    values = np.zeros(image.shape, np.float32)
    values[::2] = 7.0 * (image.get_fdata()[::2] > 0)  # every other slice was measured
    sampled = sample_volume(nib.Nifti1Image(values, image.affine))["left"]
    np.testing.assert_allclose(sampled[sampled > 0], 7.0, rtol=1e-5)
    assert (sampled > 0).mean() > 0.9


def test_figure_shows_chosen_vertices_alone_and_says_that_data_are_simulated():
    mesh = make_mesh()
    values = {"left": np.full(6, 2e-5), "right": np.full(6, 4e-5)}
    places = np.concatenate([np.zeros(6, bool), np.ones(6, bool)])
    figure = surface_figure(values, mesh, Shown(places, "the right half"), "Map", "value", simulated=True)
    assert "value (×10⁻⁵)" in [axes.get_ylabel() for axes in figure.axes]
    assert {"simulated data", "the right half"} <= set(texts(figure))
    for axes, (title, *_) in zip(figure.axes, surface.VIEWS.items(), strict=False):
        picture = np.asarray(axes.get_images()[0].get_array())
        seen = picture[picture[..., 3] > 0]
        grey = np.isclose(seen[:, 0], seen[:, 1]) & np.isclose(seen[:, 1], seen[:, 2])
        assert grey.all() == title.startswith("left"), title


def test_nothing_to_draw_is_refused():
    values = {"left": np.ones(6), "right": np.ones(6)}
    with pytest.raises(DataError, match="not all 0"):
        surface_figure(values, make_mesh(), Shown(np.zeros(12, bool), ""), "Map", "value", simulated=False)


def test_clusters_are_of_one_hemisphere():
    label = joined_labels(make_mesh())
    places = np.zeros(12, bool)
    places[[0, 2, 6, 8]] = True  # neighbours 0 and 2 on the left, 6 and 8 on the right
    places[7] = True  # opposite of 6, next to 8
    labels = label(places)
    assert labels[0] == labels[2] > 0
    assert labels[6] == labels[7] == labels[8] > 0
    assert labels[0] != labels[6]
    assert not labels[~places].any()


@pytest.mark.parametrize("n_vertices", [10_242, 40_962, 163_842])
def test_vertices_of_every_fsaverage_lie_on_the_coarse_one(tmp_path, n_vertices):
    mesh = find_mesh(tmp_path, (n_vertices, n_vertices))
    assert mesh is fsaverage5()
    cortex = {side: np.arange(n_vertices) for side in ("left", "right")}
    values, _ = cortex_on_mesh(tmp_path, BrainMap(cortex=cortex))
    assert values["right"].tolist() == list(range(10_242))


def test_meshes_that_are_not_at_hand_are_asked_for_and_then_kept(tmp_path):
    with pytest.raises(DataError, match=r"32,492 and 32,492 vertices \(fsLR 32k\).*--surfaces LEFT"):
        find_mesh(tmp_path, (32_492, 32_492))
    with pytest.raises(DataError, match="No mesh is at hand for 6 and 6 vertices"):
        find_mesh(tmp_path, (6, 6))
    left = write_surface(tmp_path / "lh.surf.gii")
    right = write_surface(tmp_path / "rh.surf.gii", CORNERS * 2)
    keep_surfaces(tmp_path, left, right)
    mesh = find_mesh(tmp_path, (6, 6))
    assert mesh.n_vertices == (6, 6)
    np.testing.assert_allclose(mesh.places["right"], CORNERS * 2)
    with pytest.raises(DataError, match="No mesh"):
        find_mesh(tmp_path, (7, 6))


def test_files_that_are_no_surfaces_are_refused(tmp_path):
    good = write_surface(tmp_path / "lh.surf.gii")
    other = tmp_path / "rh.surf.gii"
    other.write_text("no surface")
    with pytest.raises(DataError, match=r"rh\.surf\.gii is no GIFTI surface"):
        keep_surfaces(tmp_path, good, other)
    write_surface(other, CORNERS[:3])
    with pytest.raises(DataError, match="name vertices that it lacks"):
        keep_surfaces(tmp_path, good, other)
    assert not (tmp_path / "surface_hemi-L.surf.gii").exists()


def test_slabs_lie_on_no_surface(tmp_path):
    assert cortex_on_mesh(tmp_path, BrainMap(slab_image())) is None


def test_grayordinates_are_read_into_their_places(tmp_path):
    below = np.zeros((4, 5, 3), bool)
    below[1, 2, 0] = below[3, 4, 2] = True
    models = nib.cifti2.BrainModelAxis
    axis = models.from_surface([1, 5], 7, "CortexLeft") + models.from_surface([0], 7, "CortexRight")
    axis += models.from_mask(below, "thalamus_left", np.eye(4))
    image = nib.Cifti2Image(np.array([[1, 2, 3, 4, 5]], np.float32), (nib.cifti2.ScalarAxis(["map"]), axis))
    nib.save(image, tmp_path / "pattern.dscalar.nii")
    brain = read_map(tmp_path, ["pattern.dscalar.nii"])
    assert brain.cortex["left"].tolist() == [0, 1, 0, 0, 0, 2, 0]
    assert brain.cortex["right"].tolist() == [3, 0, 0, 0, 0, 0, 0]
    volume = brain.volume.get_fdata()
    assert (volume[1, 2, 0], volume[3, 4, 2], np.count_nonzero(volume)) == (4, 5, 2)
