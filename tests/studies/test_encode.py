"""`brainpred encode` from the command line: voxels predicted, mapped and tabulated."""

import json

import nibabel as nib
import numpy as np
import pandas as pd


def test_voxels_of_the_small_subject_are_predicted(run, tiny_data, tmp_path):
    code, out, _ = run(
        "encode", "--subject", "sim01", "--data", tiny_data, "--out", tmp_path, "--layers", "R3", "pixels",
        "--permutations", "19", "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "voxels predicted" in out
    voxels = pd.read_csv(tmp_path / "encoding_voxels.tsv", sep="\t")
    assert len(voxels) == 419
    assert set(voxels["data"]) == {"simulated"}
    regions = pd.read_csv(tmp_path / "encoding.tsv", sep="\t")
    assert regions["n_voxels"].sum() == 419
    assert {"r2_R3", "r2_pixels"} <= set(regions)
    image = nib.load(tmp_path / "encoding_r2_pixels.nii.gz")
    assert b"simulated" in image.header["descrip"].item()
    inside = image.get_fdata()[image.get_fdata() != 0]
    np.testing.assert_allclose(np.sort(inside), np.sort(voxels["r2_pixels"][voxels["r2_pixels"] != 0]), atol=1e-4)
    settings = json.loads((tmp_path / "encode.json").read_text())
    assert settings["n_units"] == {"R3": [48, 8, 10], "pixels": [3, 16, 20]}
    assert settings["delays_scans"] == [3, 4, 5, 6]
    assert not (tmp_path / "report.html").exists(), "there is no report without decoded layers"


def test_unusable_options_exit_2(run, tmp_path):
    for extra, word in ((["--layers", "R9"], "R0, R1, R2, R3, pixels, motion"), (["--permutations", "0"], "At least")):
        code, _, err = run("encode", "--subject", "sim01", "--out", tmp_path / "none", *extra)
        assert code == 2
        assert word in err
    assert not (tmp_path / "none").exists()
