"""Small problems that the tests of the ridge share: unequal dimensions, bands and delays that drive other targets."""

import h5py
import numpy as np
import torch

from brainpred.numerics.ridge.kernels import BandKernels, voxel_bands
from brainpred.numerics.ridge.targets import Targets
from tests.reference import ridge_reference as reference

CPU = torch.device("cpu")
LABELS = np.array(["v1", "lo", "v1", "mt", "lo", "v1", "v1", "lo", "lo", "v1", "mt", "lo", "v1"])
LENGTHS, TEST_LENGTHS = (17, 11, 19, 13), (14, 9)
TR_S, DELAYS_S, DELAYS = 1.5, (0.0, 3.1, 4.4), (0, 2, 3)
ALPHAS = (0.1, 3.0, 100.0)
EXACT = {"precision": "float64", "device": "cpu", "shortlist": None, "form": "dual"}


def simulate(lengths, dtype=np.float64, seed=0, n_targets=5):
    """Let each band drive other targets at other delays, some in much noise; weights are the same for every seed."""
    runs = np.repeat(np.arange(len(lengths)) * 7 % 5, lengths)
    X = np.random.default_rng([11, seed]).standard_normal((len(runs), len(LABELS)))
    rng = np.random.default_rng(12)
    Y = np.random.default_rng([13, seed]).normal(0.5, np.resize([0.5, 6, 1, 17, 3], n_targets), (len(runs), n_targets))
    for design, strong in zip(
        reference.band_designs(X, runs, LABELS, DELAYS, per_delay=True, means=0.0), rng.permutation(9), strict=True
    ):
        weights = 0.2 * rng.standard_normal((design.shape[1], n_targets))
        weights[:, strong % n_targets] *= 5
        Y += design @ weights
    return (X + np.linspace(-2, 3, len(LABELS))).astype(dtype), Y.astype(dtype), runs


def make_kernels(X, runs, labels=LABELS, delays=DELAYS, *, per_delay=False, dtype=torch.float64):
    """Give the kernels of training samples."""
    return BandKernels.of(X, runs, voxel_bands(labels, X.shape[1])[1], delays, per_delay=per_delay, dtype=dtype)[0]


def make_targets(Y, dtype=torch.float64):
    """Give targets on the CPU."""
    return Targets(Y, CPU, dtype)


def stored(kind, array, folder):
    """Store an array as a memory map or an HDF5 data set, to be read piece by piece."""
    if kind == "array":
        return array
    if kind == "memmap":
        kept = np.memmap(folder / f"{id(array)}.bin", dtype=array.dtype, mode="w+", shape=array.shape)
        kept[:] = array
        kept.flush()
        return np.memmap(kept.filename, dtype=array.dtype, mode="r", shape=array.shape)
    with h5py.File(folder / f"{id(array)}.h5", "w") as file:
        file.create_dataset("values", data=array, chunks=tuple(min(size, 7) for size in array.shape))
    return h5py.File(folder / f"{id(array)}.h5")["values"]


class Counted:
    """Slice like an array, and count how many columns are read."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.n_columns = values, values.shape, values.dtype, 0

    def __getitem__(self, key):
        taken = self.values[key]
        self.n_columns += taken.shape[1]
        return taken
