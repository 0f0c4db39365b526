"""Small data sets of every layout, of which tests break copies."""

import json
import shutil

import numpy as np
import pytest

from tests.recordings.layouts import (
    LENGTHS,
    TR_S,
    draw_subject,
    run_entries,
    write_algonauts,
    write_array,
    write_bdata,
    write_bids,
    write_manifest,
    write_shortclips,
    write_vim2,
)
from tests.recordings.round_trip import decode


class Toys:
    """Whole data sets, made once; every test breaks a copy."""

    def __init__(self, folder):
        self.features = {}
        for kind in ("volume", "surface", "grayordinates"):
            self.features[kind], _, _ = write_bids(folder / kind, kind)
        self.features["vim2"], _, _ = write_vim2(folder / "vim2")
        self.features["shortclips"], _, _ = write_shortclips(folder / "shortclips")
        write_algonauts(folder / "algonauts")
        self.features["algonauts"] = self.features["volume"]
        self.features["bdata"], _, _ = write_bdata(folder / "bdata" / "sub-01.h5")
        self.features["arrays"], bold = draw_subject(13)
        for name, scans in bold.items():
            write_array(folder / "arrays" / f"{name}.npy", scans)
        write_array(folder / "sidecar" / "all.npz", np.concatenate(list(bold.values())))
        runs = [{**entry, "n_scans": LENGTHS[entry["name"]]} for entry in run_entries()]
        (folder / "sidecar" / "all.json").write_text(json.dumps({"RepetitionTime": TR_S, "runs": runs}))
        self.features["sidecar"] = self.features["arrays"]
        self.folder = folder


FIELDS = {
    kind: {"reader": "bids", "options": {"kind": kind, "task": "movie"}, "runs": run_entries()}
    for kind in ("volume", "surface", "grayordinates")
} | {
    "vim2": {"reader": "vim2", "options": {"n_train_runs": 3}, "files": {"responses": "VoxelResponses_{subject}.mat"}},
    "shortclips": {
        "reader": "shortclips",
        "files": {"responses": "responses/{subject}_responses.hdf", "mapper": "mappers/{subject}_mapper.hdf"},
    },
    "algonauts": {"reader": "algonauts", "files": {"V1": "{subject}_V1.pkl", "LOC": "{subject}_LOC.pkl"}},
    "bdata": {"reader": "bdata", "files": {"bdata": "{subject}.h5"}},
    "arrays": {"reader": "arrays", "files": {"bold": "{run}.npy"}, "runs": run_entries()},
    "sidecar": {
        "reader": "arrays", "files": {"bold": "all.npz::bold", "sidecar": "all.json"},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture
def refused(run, toys, tmp_path, monkeypatch):
    """Break a copy of a data set, decode it, and check what every refusal has in common; give its message."""
    monkeypatch.delenv("BRAINPRED_DATA", raising=False)
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))

    def check(kind, damage, *more, code=1, **fields):
        folder = tmp_path / "data" / "toy"
        shutil.copytree(toys.folder / kind, folder)
        damage(folder)
        asked = FIELDS[kind] | fields | {"options": FIELDS[kind].get("options", {}) | fields.get("options", {})}
        manifest = write_manifest(tmp_path / "toy.yaml", **asked)
        found, err, out = decode(run, manifest, tmp_path, toys.features[kind], *more)
        assert found == code, err
        assert not out.exists(), "something was written"
        assert err.count("\n") == 1, err
        assert err.startswith("Error: toy/sub-01")
        return err.removeprefix("Error: ").strip()

    return check
