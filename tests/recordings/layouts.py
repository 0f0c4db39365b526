"""Write tiny subjects in the layouts that readers read: odd, unequal sizes, and a BOLD signal that follows features."""

import json
import pickle

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from scipy.io import savemat
from scipy.sparse import random_array

from tests.movies.files import write_matlab

TR_S = 1.5
LENGTHS = {"run-1": 37, "run-2": 43, "run-3": 31, "run-4": 41}
GRID, AFFINE = (5, 3, 4), np.array([[2.0, 0, 0, -9], [0, 3, 0, 4], [0, 0, 1.5, 7], [0, 0, 0, 1]])
N_UNITS, DELAY_SCANS = 3, 2


def draw_subject(n_voxels, lengths=LENGTHS, seed=0, same=()):
    """Draw features of each run and the BOLD signal that they cause two scans later; ``same`` runs share features."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(0, 1, (N_UNITS, n_voxels))
    features, bold = {}, {}
    for name, n_scans in lengths.items():
        shown = features[same[0]] if name in same[1:] else rng.normal(0, 1, (n_scans, N_UNITS))
        late = np.vstack([np.zeros((DELAY_SCANS, N_UNITS)), shown[:-DELAY_SCANS]])
        noise = rng.normal(0, 0.7, (n_scans, n_voxels))
        features[name], bold[name] = shown, (1000 + 8 * (late @ patterns + noise)).astype(np.float32)
    return features, bold


def write_features(path, features):
    """Write a row a scan, as a user would."""
    tables = [pd.DataFrame(values, columns=["u1", "u2", "u3"]).assign(run=name) for name, values in features.items()]
    pd.concat(tables).to_csv(path, sep="\t", index=False)
    return path


def write_manifest(path, reader, **fields):
    content = {
        "name": "toy", "title": "A toy", "licence": "none", "citation": "nobody", "access": "Ask the author.",
        "reader": reader, "subjects": ["sub-01", "sub-02"], "tr_s": TR_S, **fields,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def run_entries(lengths=LENGTHS, tests=("run-4",), **fields):
    return [{"name": name, "role": "test" if name in tests else "train", **fields} for name in lengths]


def draw_inside(grid=GRID, seed=1):
    return np.random.default_rng(seed).random(grid) < 0.6


def write_confounds(path, n_scans, seed=3):
    """Write fMRIPrep's table: what strategies take, and much that no one may take all of."""
    rng = np.random.default_rng(seed)
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"] + ["csf", "white_matter", "global_signal"]
    table = pd.DataFrame(rng.normal(0, 1, (n_scans, len(names))), columns=names)
    parts = {f"other_{number:03d}": rng.normal(0, 1, n_scans) for number in range(200)}
    for name in names:
        change = table[name].diff()
        parts[f"{name}_derivative1"], parts[f"{name}_power2"] = change, table[name] ** 2
        parts[f"{name}_derivative1_power2"] = change**2
    table = pd.concat([table, pd.DataFrame(parts)], axis=1)
    table["cosine00"] = np.cos(np.pi * (np.arange(n_scans) + 0.5) / n_scans)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return table


def bids_names(kind, prefix, space, *, old=False):
    """Give the names of the scans, as today's or an older fMRIPrep writes them."""
    if kind == "surface":
        today, before = "_hemi-{}_space-{}_bold.func.gii", "_space-{1}_hemi-{0}_bold.func.gii"
        return [prefix + (before if old else today).format(hemi, space) for hemi in "LR"]
    if kind == "grayordinates":
        return [prefix + f"_space-{space}" + ("" if old else "_den-91k") + "_bold.dtseries.nii"]
    return [prefix + (f"_bold_space-{space}_preproc.nii.gz" if old else f"_space-{space}_desc-preproc_bold.nii.gz")]


def grayordinate_axis():
    """Five vertices on the left, three on the right, seven voxels of the thalamus."""
    inside = np.zeros((2, 3, 4), bool)
    inside.ravel()[[1, 4, 6, 9, 13, 17, 22]] = True
    return (
        nib.cifti2.BrainModelAxis.from_surface(np.array([0, 2, 3, 5, 6]), 11, "CortexLeft")
        + nib.cifti2.BrainModelAxis.from_surface(np.array([1, 4, 7]), 13, "CortexRight")
        + nib.cifti2.BrainModelAxis.from_mask(inside, "ThalamusLeft", np.diag([2.0, 2, 2, 1]))
    )


N_VERTICES = (7, 11)


def write_gifti(path, values):
    """Write one array a scan."""
    arrays = [nib.gifti.GiftiDataArray(row.astype(np.float32), intent="NIFTI_INTENT_TIME_SERIES") for row in values]
    nib.save(nib.GiftiImage(darrays=arrays), path)


def write_cifti(path, values, axis=None):
    series = nib.cifti2.SeriesAxis(0, TR_S, len(values))
    image = nib.Cifti2Image(values.astype(np.float32), (series, axis or grayordinate_axis()))
    image.update_headers()
    nib.save(image, path)


def write_scans(kind, paths, bold, inside):
    """Write the scans of one run; voxels outside the mask hold other things."""
    if kind == "surface":
        write_gifti(paths[0], bold[:, : N_VERTICES[0]])
        write_gifti(paths[1], bold[:, N_VERTICES[0] :])
    elif kind == "grayordinates":
        write_cifti(paths[0], bold)
    else:
        volume = np.random.default_rng(9).normal(7, 1, (*inside.shape, len(bold))).astype(np.float32)
        volume[inside] = bold.T
        nib.save(nib.Nifti1Image(volume, AFFINE), paths[0])


def n_voxels_of(kind, inside):
    return {"surface": sum(N_VERTICES), "grayordinates": 15, "volume": int(inside.sum())}[kind]


def write_bids(
    folder, kind="volume", *, subject="sub-01", old=False, space=None, tr_s=TR_S, session=None, seed=0, lengths=LENGTHS
):
    """Write four runs of a subject as fMRIPrep does; give the features and the BOLD signal of each."""
    space = space or {"volume": "T1w", "surface": "fsaverage5", "grayordinates": "fsLR"}[kind]
    inside = draw_inside()
    features, bold = draw_subject(n_voxels_of(kind, inside), lengths, seed=seed)
    below = [subject] + ([session] if session else []) + ["func"]
    raw, derived = folder.joinpath(*below), folder.joinpath("derivatives", "fmriprep", *below)
    for path in (raw, derived):
        path.mkdir(parents=True, exist_ok=True)
    for name, scans in bold.items():
        prefix = "_".join([subject] + ([session] if session else []) + ["task-movie", name])
        paths = [derived / file for file in bids_names(kind, prefix, space, old=old)]
        write_scans(kind, paths, scans, inside)
        if kind == "volume":
            mask = paths[0].name.replace("_preproc.", "_brainmask.").replace("_desc-preproc_bold", "_desc-brain_mask")
            nib.save(nib.Nifti1Image(inside.astype(np.uint8), AFFINE), derived / mask)
        write_confounds(
            derived / f"{prefix}{'_desc-confounds_regressors' if old else '_desc-confounds_timeseries'}.tsv", len(scans)
        )
        (raw / f"{prefix}_bold.json").write_text(json.dumps({"RepetitionTime": tr_s, "TaskName": "movie"}))
    return features, bold, inside


VIM2_GRID = (3, 5, 4)


def write_vim2(folder, n_train_runs=3, n_scans=37, n_test=29, n_repeats=3, *, subject="sub-01"):
    """Write one subject as h5py sees vim-2: voxels x scans, NaN outside the cortex, ROIs on a grid."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = draw_inside(VIM2_GRID).ravel()
    lengths = {f"train-{number + 1:02d}": n_scans for number in range(n_train_runs)}
    tests = [f"test_repeat-{number + 1:02d}" for number in range(n_repeats)]
    features, bold = draw_subject(int(inside.sum()), lengths | dict.fromkeys(tests, n_test), same=tests)
    with h5py.File(folder / f"VoxelResponses_{subject}.mat", "w", userblock_size=512) as file:
        rt = np.full((inside.size, n_train_runs * n_scans), np.nan, np.float32)
        rt[inside] = np.concatenate([bold[name] for name in lengths]).T
        rva = np.full((inside.size, n_repeats, n_test), np.nan, np.float32)
        rva[inside] = np.stack([bold[name].T for name in tests], axis=1)
        file["rt"], file["rva"], file["rv"] = rt, rva, rva.mean(axis=1)
        for number, name in enumerate(("v1lh", "v1rh", "v2lh")):
            values = np.zeros(inside.size)
            values[10 * number : 10 * number + 13] = 1
            file[f"roi/{name}"] = values.reshape(VIM2_GRID)
        file["ei/TRsec"] = np.array([[TR_S]])
    return features, bold, inside


N_VERTICES_HALF = 9


def write_shortclips(folder, lengths=(37, 43, 31), n_test=29, n_repeats=3, n_voxels=17, *, subject="sub-01"):
    """Write responses and mapper of one subject: scans x voxels, and a sparse map onto two surfaces."""
    for name in ("responses", "mappers"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    runs = {f"train-{number + 1:02d}": n for number, n in enumerate(lengths)}
    tests = [f"test_repeat-{number + 1:02d}" for number in range(n_repeats)]
    features, bold = draw_subject(n_voxels, runs | dict.fromkeys(tests, n_test), same=tests)
    with h5py.File(folder / "responses" / f"{subject}_responses.hdf", "w") as file:
        file["Y_train"] = np.concatenate([bold[name] for name in runs])
        file["Y_test"] = np.stack([bold[name] for name in tests])
        file["run_onsets"] = np.cumsum([0, *lengths[:-1]])
    matrix = random_array((2 * N_VERTICES_HALF, n_voxels), density=0.3, rng=np.random.default_rng(2)).tocsr()
    with h5py.File(folder / "mappers" / f"{subject}_mapper.hdf", "w") as file:
        for part, values in (("data", matrix.data), ("indices", matrix.indices), ("indptr", matrix.indptr)):
            file[f"voxel_to_fsaverage_{part}"] = values
        file["voxel_to_fsaverage_shape"] = matrix.shape
        for name, voxels in (("V1", [0, 3, 4]), ("V2", [4, 7, 11, 16])):
            file[f"roi_mask_{name}"] = np.isin(np.arange(n_voxels), voxels).astype(float)
    return features, bold, matrix


def write_algonauts(folder, n_videos=61, n_repeats=3, sizes=(("V1", 7), ("LOC", 11)), *, subject="sub-01", mask=None):
    """Write a pickle a region, of videos x repeats x voxels; features have a row a video, repeat after repeat."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(8)
    features = rng.normal(0, 1, (n_videos, N_UNITS))
    content = {}
    for name, n_voxels in sizes:
        signal = features @ rng.normal(0, 1, (N_UNITS, n_voxels))
        content[name] = signal[:, None] + rng.normal(0, 0.5, (n_videos, n_repeats, n_voxels))
        arrays = {"train": content[name]} | ({"voxel_mask": mask} if mask is not None else {})
        (folder / f"{subject}_{name}.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    return features, content


def write_bdata(path, lengths=LENGTHS, grid=(3, 5, 2), *, kind="h5", places=True):
    """Write samples x columns: voxels in no order, ROIs, and the columns Session and Run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(6)
    cells = rng.permutation(np.prod(grid))[:19]
    features, bold = draw_subject(len(cells), lengths)
    runs = np.repeat(np.arange(1, len(lengths) + 1), list(lengths.values()))
    array = np.column_stack([np.concatenate(list(bold.values())), np.ones(len(runs)), runs, rng.normal(size=len(runs))])
    n_columns, n = array.shape[1], len(cells)
    keys = {"VoxelData": np.r_[np.ones(n), np.full(3, np.nan)], "Session": np.full(n_columns, np.nan)}
    keys |= {"Run": keys["Session"].copy(), "ROI_V1": np.full(n_columns, np.nan), "ROI_V2": np.full(n_columns, np.nan)}
    keys["Session"][n], keys["Run"][n + 1] = 1, 1
    keys["ROI_V1"][:n], keys["ROI_V2"][:n] = np.arange(n) < 8, np.arange(n) >= 6
    if places:
        for axis, (number, step, low) in {"x": (0, 3.0, -9), "y": (1, 2.0, 5), "z": (2, 4.0, -30.5)}.items():
            keys[f"voxel_{axis}"] = np.r_[low + step * np.unravel_index(cells, grid)[number], np.full(3, np.nan)]
    if kind == "mat":
        names = np.array(list(keys), dtype=object)
        savemat(path, {"dataSet": array, "metaData": {"key": names, "value": np.stack(list(keys.values())),
                                                      "description": names}})  # fmt: skip
    elif kind == "mat v7.3":
        write_matlab_bdata(path, array, keys)
    else:
        with h5py.File(path, "w") as file:
            file["dataset"] = array
            file["metadata/key"] = [name.encode() for name in keys]
            file["metadata/description"] = [b"" for _ in keys]
            file["metadata/value"] = np.stack(list(keys.values()))
    return features, bold, cells


def write_matlab_bdata(path, array, keys):
    """Write as MATLAB does with -v7.3: axes from the other end, cells as references to characters."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["dataSet"] = array.T
        file["metaData/value"] = np.stack(list(keys.values())).T
        cells = np.empty((len(keys), 1), dtype=h5py.ref_dtype)
        for number, name in enumerate(keys):
            cell = file.create_dataset(f"#refs#/{number}", data=np.array([[ord(letter)] for letter in name], np.uint16))
            cell.attrs["MATLAB_class"] = np.bytes_("char")
            cells[number, 0] = cell.ref
        for name in ("key", "description"):
            file.create_dataset(f"metaData/{name}", data=cells, dtype=h5py.ref_dtype)
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")


def write_array(path, values, name="bold", *, v73=False):
    """Write one array in the kind that the file's name says; the kinds that hold several hold others too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, **{name: values, "other": np.ones((2, 3))})
    elif path.suffix == ".mat" and not v73:
        savemat(path, {name: values, "other": np.ones((2, 3))})
    elif path.suffix == ".mat":
        write_matlab(path, **{name: values, "other": np.ones((2, 3))})
    else:
        with h5py.File(path, "w") as file:
            file[name], file["other"] = values, np.ones((2, 3))
