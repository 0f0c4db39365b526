"""What the viewer is given: every voxel's value to one step of 256, in its place, and no more than fits."""

import base64

import nibabel as nib
import numpy as np

from brainpred.reporting import viewer as viewer_module
from brainpred.reporting.viewer import viewer_data
from tests.reporting.test_figures import head_image


def unpack(text):
    return np.frombuffer(base64.b64decode(text), np.uint8)


def save(folder, name, values, affine):
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), folder / f"{name}.nii.gz")
    return {name: [f"{name}.nii.gz"]}


def test_values_come_back_in_their_places(tmp_path):
    rng = np.random.default_rng(0)
    values = np.zeros((7, 5, 9))
    inside = np.zeros(values.shape, bool)
    inside[2:6, 1:4, 3:8] = rng.random((4, 3, 5)) < 0.8
    values[inside] = rng.uniform(0.1, 0.9, inside.sum())
    mirrored = np.diag([-2.0, 3.0, 4.0, 1.0])  # the first axis runs from right to left
    data = viewer_data(tmp_path, save(tmp_path, "pattern_R0", values, mirrored), ["R0"])
    assert data["shape"] == [4, 3, 5]
    mask = np.unpackbits(unpack(data["inside"]))[: 4 * 3 * 5].astype(bool).reshape(4, 3, 5)
    (shown,) = data["maps"]
    assert shown["title"] == "R0: forward pattern"
    levels = shown["low"] + (shown["high"] - shown["low"]) * unpack(shown["values"]) / 255.0
    affine = np.vstack([np.reshape(data["affine"], (3, 4)), [0, 0, 0, 1]])
    for place, level in zip(np.argwhere(mask), levels, strict=True):
        original = np.linalg.solve(mirrored, affine @ [*place, 1])[:3].round().astype(int)
        assert abs(values[tuple(original)] - level) < 0.01
    assert mask.sum() == inside.sum()
    assert mask[tuple(data["begin"])]
    assert affine[0, 0] == 2  # left on the left
    assert not data["mni"]


def test_maps_that_do_not_fit_are_left_out(tmp_path, monkeypatch):
    image = head_image()
    maps = {}
    for name in ("contribution_R0", "tsnr", "pattern_R0"):
        maps |= save(tmp_path, name, image.get_fdata(), image.affine)
    data = viewer_data(tmp_path, maps, ["R0"])
    assert [shown["title"] for shown in data["maps"]] == ["R0: forward pattern", "tSNR", "R0: contribution"]
    assert data["mni"]
    greys = unpack(data["behind"])
    assert len(greys) == np.count_nonzero(image.get_fdata())
    assert greys.std() > 10  # the template, not one grey
    monkeypatch.setattr(viewer_module, "MAX_BYTES", len(greys) * 3.6)
    assert [shown["title"] for shown in viewer_data(tmp_path, maps, ["R0"])["maps"]] == ["R0: forward pattern"]
    monkeypatch.setattr(viewer_module, "MAX_BYTES", len(greys))
    assert viewer_data(tmp_path, maps, ["R0"]) is None


def test_there_is_no_viewer_without_volumes(tmp_path):
    (tmp_path / "pattern_R0.nii.gz").write_bytes(b"no image")
    assert viewer_data(tmp_path, {"pattern_R0": ["pattern_R0.nii.gz"], "tsnr": ["tsnr.tsv"]}, ["R0"]) is None
    assert viewer_data(tmp_path, {}, ["R0"]) is None
