"""Measure what opening a recording of the width of vim-2 and reading one of its runs takes in memory.

    python benchmarks/recordings.py                            73,728 voxels x 600 scans, 65,665 of them read
    python benchmarks/recordings.py --runs 12                  a file of 7,200 scans, of which the first run is written
    python benchmarks/recordings.py --kinds GIFTI "arrays .mat"

The files are generated: one run of training, and for vim-2 two repeats of 20 scans. Every reading is a process of its
own. What is counted is the highest resident memory less what the process held once everything was imported. Blocks of 8
to 16 MB are read at once, which is more than a small run. GIFTI files and MATLAB files before v7.3 can only be read
whole, so that the limit does not hold for them. See README.md here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import yaml
from scipy.io import savemat

from brainpred.provenance import provenance

ALLOWED = 1.5  # times one run
KINDS = ("vim2", "vim2, chunked", "arrays .h5", "arrays .npy", "arrays .npz", "arrays .mat", "NIfTI", "NIfTI, gzip",
         "CIFTI", "GIFTI")  # fmt: skip
READ_WHOLE = ("arrays .mat", "GIFTI")
N_TEST = 20

READ = """
import json, resource, sys, time
import nibabel, scipy.io, scipy.io.matlab  # what readers import when they are first used
from brainpred.recordings.readers import arrays, bids, load_recording, vim2

def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

before = resident("VmRSS")
begin = time.perf_counter()
recording = load_recording(sys.argv[1], "subject1", sys.argv[2])
opened = resident("VmHWM") - before
bold = recording.read_run(recording.runs[0])
print(json.dumps({
    "shape": bold.shape, "run": bold.nbytes / 2**20, "opened": opened, "peak": resident("VmHWM") - before,
    "seconds": time.perf_counter() - begin,
}))
"""


def _blocks(n_voxels: int, n_scans: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Draw scans of some voxels at a time."""
    rng = np.random.default_rng(0)
    for first in range(0, n_voxels, 4096):
        voxels = slice(first, min(first + 4096, n_voxels))
        yield voxels, rng.normal(1000, 10, (voxels.stop - first, n_scans)).astype(np.float32)


def _write_hdf5(kind: str, path: Path, n_voxels: int, n_scans: int, n_runs: int) -> None:
    """Write voxels by scans as vim-2 has them, or scans by voxels; of several runs the first alone."""
    with h5py.File(path, "w") as file:
        if kind.startswith("vim2"):
            chunks = (128, 64) if "chunked" in kind else None
            file.create_dataset("rt", (n_voxels, n_runs * n_scans), np.float32, chunks=chunks)
            file.create_dataset("rva", (n_voxels, 2, N_TEST), np.float32)
        else:
            file.create_dataset("bold", (n_runs * n_scans, n_voxels), np.float32)
        for voxels, values in _blocks(n_voxels, n_scans):
            if kind.startswith("vim2"):
                file["rt"][voxels, :n_scans], file["rva"][voxels] = values, 0.0
            else:
                file["bold"][:n_scans, voxels] = values.T


def _write_array(kind: str, path: Path, n_voxels: int, n_scans: int, n_runs: int) -> None:
    """Write scans by voxels with NumPy or as MATLAB before v7.3; of several runs the first alone."""
    bold = np.zeros((n_runs * n_scans, n_voxels), np.float32)
    for voxels, values in _blocks(n_voxels, n_scans):
        bold[:n_scans, voxels] = values.T
    if kind.endswith(".npy"):
        np.save(path, bold)
    elif kind.endswith(".npz"):
        np.savez(path, bold=bold)
    else:
        savemat(path, {"bold": bold})


def _write_images(kind: str, folder: Path, n_voxels: int, n_scans: int) -> dict:
    """Write a run as an image; give what the manifest says of it."""
    bold = np.concatenate([values for _, values in _blocks(n_voxels, n_scans)])  # (n_voxels, n_scans)
    kinds = {"CIFTI": "grayordinates", "GIFTI": "surface"}
    options = {"check_tr": False, "kind": kinds.get(kind, "volume")}
    if kind.startswith("NIfTI"):
        suffix = ".nii.gz" if "gzip" in kind else ".nii"
        nib.save(nib.Nifti1Image(bold.reshape(-1, 1, 16, n_scans), np.eye(4)), folder / f"run-1{suffix}")
        nib.save(nib.Nifti1Image(np.ones((n_voxels // 16, 1, 16), np.uint8), np.eye(4)), folder / "mask.nii")
        files, mask = {"bold": f"{{run}}{suffix}"}, {"mask": "mask.nii"}
    elif kind == "GIFTI":
        for hemi, vertices in (("L", bold[: n_voxels // 2]), ("R", bold[n_voxels // 2 :])):
            arrays = [nib.gifti.GiftiDataArray(scan, intent="NIFTI_INTENT_TIME_SERIES") for scan in vertices.T.copy()]
            nib.save(nib.GiftiImage(darrays=arrays), folder / f"run-1_{hemi}.func.gii")
        files, mask = {"bold": "{run}_{hemi}.func.gii"}, {}
    else:
        axis = nib.cifti2.BrainModelAxis.from_surface(np.arange(n_voxels), n_voxels, "CortexLeft")
        image = nib.Cifti2Image(bold.T, (nib.cifti2.SeriesAxis(0, 1, n_scans), axis))
        image.update_headers()
        nib.save(image, folder / "run-1.dtseries.nii")
        files, mask = {"bold": "{run}.dtseries.nii"}, {}
    runs = [{"name": "run-1", "role": "train"}]
    return {"reader": "bids", "files": files, "options": options, "runs": runs, **mask}


def write(kind: str, folder: Path, n_voxels: int, n_wanted: int, n_scans: int, n_runs: int) -> str:
    """Write a data set of one subject; give its manifest."""
    (folder / "toy").mkdir(parents=True)
    np.save(folder / "toy" / "index.npy", np.sort(np.random.default_rng(1).permutation(n_voxels)[:n_wanted]))
    runs = [{"name": f"run-{number}", "n_scans": n_scans, "role": "train"} for number in range(1, n_runs + 1)]
    (folder / "toy" / "runs.json").write_text(json.dumps({"RepetitionTime": 1.0, "runs": runs}))
    suffix = kind.split()[1] if kind.startswith("arrays") else ".h5"
    fields: dict = {"reader": "arrays", "files": {"bold": f"{{subject}}{suffix}", "sidecar": "runs.json"}}
    if kind.startswith("vim2"):
        fields = {"reader": "vim2", "files": {"responses": "{subject}.h5"}, "options": {"n_train_runs": n_runs}}
    if kind.startswith(("NIfTI", "CIFTI", "GIFTI")):
        fields = _write_images(kind, folder / "toy", n_voxels, n_scans)
    elif suffix in (".npy", ".npz", ".mat"):
        _write_array(kind, folder / "toy" / f"subject1{suffix}", n_voxels, n_scans, n_runs)
    else:
        _write_hdf5(kind, folder / "toy" / "subject1.h5", n_voxels, n_scans, n_runs)
    about = dict.fromkeys(("title", "licence", "citation", "access"), "generated")
    manifest = {"name": "toy", **about, "subjects": ["subject1"], "tr_s": 1.0, "voxel_index": "index.npy", **fields}
    (folder / "toy.yaml").write_text(yaml.safe_dump(manifest))
    return str(folder / "toy.yaml")


def measure(kind: str, n_voxels: int, n_wanted: int, n_scans: int, n_runs: int) -> dict:
    """Write, and read in a process of its own; give sizes in MB."""
    with tempfile.TemporaryDirectory() as name:
        manifest = write(kind, Path(name), n_voxels, n_wanted, n_scans, n_runs)
        command = [sys.executable, "-c", READ, manifest, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        return json.loads(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=73_728, help="voxels in the file, a multiple of 16")
    parser.add_argument("--wanted", type=int, default=65_665, help="voxels that are read")
    parser.add_argument("--scans", type=int, default=600, help="scans of a run")
    parser.add_argument("--runs", type=int, default=1, help="runs in the file")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="files to measure")
    options = parser.parse_args()
    print(
        f"commit {provenance()['commit']}, {options.wanted:,} of {options.voxels:,} voxels, "
        f"{options.runs} x {options.scans} scans"
    )
    print("| file | run (MB) | opened (MB) | peak (MB) | times the run | seconds |\n|---|---|---|---|---|---|")
    worst, begin = 0.0, time.perf_counter()
    for kind in options.kinds:
        found = measure(kind, options.voxels, options.wanted, options.scans, options.runs)
        times = found["peak"] / found["run"]
        worst = max(worst, times if kind not in READ_WHOLE else 0.0)
        print(
            f"| {kind} | {found['run']:.1f} | {found['opened']:.1f} | {found['peak']:.1f} | {times:.2f} | "
            f"{found['seconds']:.2f} |",
            flush=True,
        )
    print(f"in all {time.perf_counter() - begin:.0f} s")
    if worst > ALLOWED:
        raise SystemExit(f"Peak memory is {worst:.2f} times one run, more than {ALLOWED}.")


if __name__ == "__main__":
    main()
