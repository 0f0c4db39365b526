"""Decode a tiny subject through the command line, and look at what is written."""

import nibabel as nib
import numpy as np
import pandas as pd

from tests.recordings.layouts import DELAY_SCANS, LENGTHS, TR_S, write_features


def decode(run, manifest, tmp_path, features, *more, subject="sub-01"):
    """Run ``brainpred decode``; give its exit code, its errors and the folder of results."""
    table = write_features(tmp_path / "features.tsv", features)
    code, _, err = run(
        "decode", "--dataset", manifest, "--subject", subject, "--features", table, "--data", tmp_path / "data",
        "--out", tmp_path / "out", "--delays", DELAY_SCANS * TR_S, "--quiet", "--device", "cpu", *more,
    )  # fmt: skip
    return code, err, tmp_path / "out"


def check(run, manifest, tmp_path, features, *more, lengths=LENGTHS, tests=("run-4",), ending=".nii.gz", at_least=0.5):
    """Decode, and check that held-out features are found, with the right scans, and a map of the right kind."""
    code, err, out = decode(run, manifest, tmp_path, features, *more)
    assert code == 0, err
    row = pd.read_csv(out / "layers.tsv", sep="\t").iloc[0]
    scored = sum(lengths[name] - DELAY_SCANS for name in (tests or lengths))
    assert row["n_scans"] == scored
    assert row["mean_r"] > at_least
    maps = sorted(path.name for path in out.glob("contribution_features*"))
    endings = ["_hemi-L.func.gii", "_hemi-R.func.gii"] if ending == ".func.gii" else [ending]
    assert maps == sorted(f"contribution_features{one}" for one in endings)
    assert maps[0].split("_hemi")[0].split(".")[0] in (out / "report.html").read_text()
    return out


def map_values(out, ending):
    """Read a map back, flat."""
    if ending == ".tsv":
        return pd.read_csv(out / "contribution_features.tsv", sep="\t")["value"].to_numpy()
    if ending == ".func.gii":
        images = [nib.load(out / f"contribution_features_hemi-{hemi}.func.gii") for hemi in "LR"]
        return np.concatenate([image.darrays[0].data for image in images])
    return np.asarray(nib.load(out / f"contribution_features{ending}").dataobj).ravel()
