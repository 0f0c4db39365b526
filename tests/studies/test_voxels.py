"""The table of all voxels agrees with the maps, place by place."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def voxels(decoded):
    return pd.read_csv(decoded / "voxels.tsv", sep="\t", na_values="n/a")


@pytest.mark.parametrize("name", ["pattern_R0", "contribution_R3", "explainable_variance"])
def test_maps_are_columns(decoded, voxels, name):
    image = nib.load(decoded / f"{name}.nii.gz")
    at = tuple(voxels[axis] for axis in "ijk")
    np.testing.assert_allclose(image.get_fdata()[at], voxels[name], rtol=1e-4, atol=1e-7)
    places_mm = nib.affines.apply_affine(image.affine, voxels[["i", "j", "k"]])
    np.testing.assert_allclose(voxels[["x_mm", "y_mm", "z_mm"]], places_mm, atol=1e-3)


def test_rows_are_voxels_of_regions(decoded, voxels):
    assert voxels["voxel"].tolist() == list(range(419))
    assert set(voxels["data"]) == {"simulated"}
    sizes = pd.read_csv(decoded / "roi_contributions.tsv", sep="\t").query("layer == 'R0'").set_index("roi")["n_voxels"]
    assert voxels["roi"].value_counts().to_dict() == sizes.to_dict()
    quality = pd.read_csv(decoded / "quality_voxels.tsv", sep="\t")
    tsnr = nib.load(decoded / "tsnr.nii.gz").get_fdata()[tuple(quality[axis] for axis in "ijk")]
    np.testing.assert_allclose(tsnr, quality["tsnr"], rtol=1e-4)
