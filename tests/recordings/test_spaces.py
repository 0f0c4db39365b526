"""Values go back to where they came from: a volume, two surfaces, grayordinates, or a table where nobody knows."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.errors import DataError
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import Grayordinates, NoSpace, Surfaces, Volume


def record(space):
    bold = np.random.default_rng(0).normal(100, 1, (5, space.n_voxels)).astype(np.float32)
    return Recording("toy", "s1", 2.0, [Run("one", "train", bold)], space, np.full(space.n_voxels, "roi"))


def grayordinate_axis():
    surface = nib.cifti2.BrainModelAxis.from_surface(np.array([0, 2, 3]), 5, "CortexLeft")
    other = nib.cifti2.BrainModelAxis.from_surface(np.array([1, 4]), 7, "CortexRight")
    inside = np.zeros((2, 3, 2), bool)
    inside[0, 1, 1] = inside[1, 2, 0] = True
    return surface + other + nib.cifti2.BrainModelAxis.from_mask(inside, "ThalamusLeft", np.diag([2.0, 2, 2, 1]))


def test_surfaces_are_written_as_a_pair(tmp_path):
    left, right = np.array([True, False, True, True]), np.array([False, True, False, False, True])
    recording = record(Surfaces(left, right))
    paths = recording.write_map(tmp_path / "map", [1, 2, 3, 4, 5], "contribution")
    assert [path.name for path in paths] == ["map_hemi-L.func.gii", "map_hemi-R.func.gii"]
    assert nib.load(paths[0]).darrays[0].data.tolist() == [1, 0, 2, 3]
    assert nib.load(paths[1]).darrays[0].data.tolist() == [0, 4, 0, 0, 5]
    assert nib.load(paths[1]).meta["AnatomicalStructurePrimary"] == "CortexRight"
    assert len(recording.to_image(np.ones(5))) == 2


def test_grayordinates_are_written_as_dense_scalars(tmp_path):
    axis, inside = grayordinate_axis(), np.array([True, False, True, True, True, False, True])
    recording = record(Grayordinates(axis, inside))
    (path,) = recording.write_map(tmp_path / "map", [1, 2, 3, 4, 5], "contribution")
    assert path.name == "map.dscalar.nii"
    image = nib.load(path)
    assert np.asarray(image.dataobj).tolist() == [[1, 0, 2, 3, 4, 0, 5]]
    assert image.header.get_axis(0).name.tolist() == ["contribution"]
    assert image.header.get_axis(1) == axis
    assert recording.to_image(np.arange(5)).shape == (1, 7)


def test_volume_carries_what_it_shows(tmp_path):
    mask = nib.Nifti1Image(np.ones((2, 1, 3), np.uint8), np.diag([2.0, 3, 4, 1]))
    (path,) = record(Volume(mask)).write_map(tmp_path / "map", np.arange(6), "simulated: contribution")
    image = nib.load(path)
    assert bytes(image.header["descrip"]).rstrip(b"\0") == b"simulated: contribution"
    np.testing.assert_array_equal(image.affine, mask.affine)
    assert image.header.get_xyzt_units()[0] == "mm"


TILTED = np.array([[-2.0, 0.3, 0, 9], [0.2, 2.9, 0.4, -4], [0, -0.3, 1.5, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize(("sform", "qform"), [(4, 4), (1, 0), (0, 1), (0, 0), (3, 1)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_maps_keep_space_codes_and_units_of_the_scan(tmp_path, kind, sform, qform):
    scan = kind(np.zeros((3, 2, 5, 7), np.int16), np.diag([2.0, 3, 1.5, 1]))
    scan.set_sform(TILTED if sform else None, sform)
    scan.set_qform(np.diag([2.0, 3, 1.5, 1]) if qform else None, qform)
    scan.header.set_xyzt_units("mm", "sec")
    nib.save(scan, tmp_path / "scan.nii")
    scan = nib.load(tmp_path / "scan.nii")
    inside = np.random.default_rng(0).random((3, 2, 5)) < 0.6
    (path,) = record(Volume.like(inside, scan)).write_map(tmp_path / "map", np.arange(1, inside.sum() + 1))
    image = nib.load(path)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (sform, qform)
    assert image.header.get_xyzt_units() == ("mm", "unknown")
    np.testing.assert_allclose(image.affine, scan.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[inside], np.arange(1, inside.sum() + 1))


def test_maps_of_unknown_place_say_so(tmp_path):
    inside = np.random.default_rng(0).random((3, 2, 5)) < 0.6
    (path,) = record(Volume.unplaced(inside, (2.5, 2.0, 3.0))).write_map(tmp_path / "map", np.ones(inside.sum()))
    image = nib.load(path)
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 0
    assert image.header.get_zooms() == (2.5, 2.0, 3.0)
    np.testing.assert_array_equal(np.asarray(image.dataobj) > 0, inside)


def test_voxels_of_unknown_place_become_a_table(tmp_path):
    recording = record(NoSpace(3))
    (path,) = recording.write_map(tmp_path / "map", [0.5, 1.5, -2])
    assert pd.read_csv(path, sep="\t")["value"].tolist() == [0.5, 1.5, -2]
    with pytest.raises(DataError, match="do not say where their voxels lie"):
        recording.to_image(np.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["map.tsv"]


def test_places_lie_where_images_put_the_voxels(tmp_path):
    inside = np.random.default_rng(1).random((3, 5, 2)) < 0.4
    affine = np.array([[-2.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 7], [0, 0, 0, 1]])
    space = Volume(nib.Nifti1Image(inside.astype(np.uint8), affine))
    values = np.arange(1, space.n_voxels + 1, dtype=np.float32)
    volume, places = space.images(values)[".nii.gz"].get_fdata(), space.places()
    assert volume[places["i"], places["j"], places["k"]].tolist() == values.tolist()
    np.testing.assert_allclose(places["x_mm"], 10 - 2 * places["i"])
    np.testing.assert_allclose(places["z_mm"], 7 + 4 * places["k"])

    left, right = np.array([True, False, True, True]), np.array([False, True, False, False, True])
    places = Surfaces(left, right).places()
    assert places["hemisphere"].tolist() == list("LLLRR")
    assert places["vertex"].tolist() == [0, 2, 3, 1, 4]

    places = Grayordinates(grayordinate_axis(), np.array([True, False, True, True, True, False, True])).places()
    assert places["structure"][[0, 2, 4]].tolist() == [
        "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT", "CIFTI_STRUCTURE_THALAMUS_LEFT"
    ]  # fmt: skip
    assert places["vertex"].tolist() == [0, 3, 1, 4, -1]
    assert [places[name][4] for name in "ijk"] == [1, 2, 0]
    assert places["i"][0] == -1
    assert np.isnan(places["x_mm"][0])
    assert places["y_mm"][4] == 4
    assert NoSpace(3).places() == {}
