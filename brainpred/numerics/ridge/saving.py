"""Write a fitted ridge as HDF5, with what it needs to predict: training data and choices, but no weights."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from brainpred.devices import resolve_device, resolve_precision
from brainpred.errors import CheckpointError, ConfigError
from brainpred.numerics.ridge.delays import delays_in_samples
from brainpred.numerics.ridge.forms import Voxels, make_form
from brainpred.numerics.ridge.kernels import band_names, voxel_bands
from brainpred.numerics.ridge.plan import RidgePlan
from brainpred.numerics.ridge.search import Audit, BandChoice
from brainpred.progress import SILENT
from brainpred.storage import atomic_path

if TYPE_CHECKING:
    from brainpred.numerics.ridge.estimator import BandedRidgeCV

__all__ = ["load_ridge", "save_ridge"]

FORMAT = "brainpred-ridge-1"
COLUMNS_AT_ONCE = 4096
FITTED = ("gammas_", "gamma_index_", "alpha_index_", "cv_scores_")


def save_ridge(ridge: "BandedRidgeCV", path: Path | str) -> None:
    """Write a fitted ridge.

    Parameters
    ----------
    ridge : BandedRidgeCV
        Fitted.
    path : Path or str
        HDF5 file; it holds X and Y as they were fitted, copied some columns at a time.

    Raises
    ------
    ConfigError
        If ``cv`` is an object that cannot be written; it is no longer needed: set it to None.
    """
    parameters = ridge.get_params()
    arrays = {name: parameters.pop(name) for name in ("bands", "cluster")}
    try:
        written = json.dumps(parameters, default=_plain)
        plan = json.dumps(asdict(ridge.plan_))
    except TypeError as error:
        raise ConfigError(f"A parameter of the ridge cannot be written ({error}). Set cv to None first.") from error
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            format=FORMAT, parameters=written, plan=plan, seed=ridge._form.seed, one_target=ridge._one_target
        )
        for name, values in arrays.items():
            if values is not None:
                labels = np.asarray(values)
                labels = labels.astype(str) if labels.dtype.kind == "O" else labels
                file[name] = np.char.encode(labels, "utf-8") if labels.dtype.kind == "U" else labels
        runs = np.asarray(ridge._form.runs)
        runs = runs.astype(str) if runs.dtype.kind == "O" else runs
        file["runs"] = np.char.encode(runs, "utf-8") if runs.dtype.kind == "U" else runs
        for name in FITTED:
            file[name] = getattr(ridge, name)
        file["audit_"] = np.array(ridge.audit_)
        for name, values in (("X", ridge._form.X), ("Y", ridge._Y)):
            n_samples, n_columns = values.shape
            stored = file.create_dataset(
                name,
                (n_samples, n_columns),
                values.dtype,
                chunks=(n_samples, max(1, min(n_columns, 2**18 // n_samples))),
            )
            for first in range(0, n_columns, COLUMNS_AT_ONCE):
                columns = slice(first, min(first + COLUMNS_AT_ONCE, n_columns))
                stored[:, columns] = values[:, columns]


def load_ridge(path: Path | str) -> "BandedRidgeCV":
    """Read a ridge that :func:`save_ridge` wrote.

    X and Y stay in the file, which must not be moved while the ridge is in use; what is prepared of X is made anew.

    Parameters
    ----------
    path : Path or str
        HDF5 file.

    Returns
    -------
    BandedRidgeCV
        A ridge that predicts the same bits, on the same machine and device.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of another format.
    """
    from brainpred.numerics.ridge.estimator import BandedRidgeCV

    file = None
    try:
        file = h5py.File(path)
        if file.attrs.get("format") != FORMAT:
            raise ValueError("it is not a ridge that brainpred saved")
        parameters = json.loads(file.attrs["parameters"])
        labels = {name: _decoded(file[name][:]) if name in file else None for name in ("bands", "cluster")}
        ridge = BandedRidgeCV(**(parameters | labels))
        runs = _decoded(file["runs"][:])
        gammas, gamma, alpha, scores = (file[name][:] for name in FITTED)
        n_targets, mean, p99 = file["audit_"][:]
        plan, seed = RidgePlan(**json.loads(file.attrs["plan"])), int(file.attrs["seed"])
        X, Y, one_target = file["X"], file["Y"], bool(file.attrs["one_target"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        if file is not None:
            file.close()
        raise CheckpointError(f"Cannot read a ridge from {path} ({error}). Save it again.") from error
    choice = BandChoice(gammas, gamma, alpha, scores, Audit(int(n_targets), float(mean), float(p99)))
    ridge.plan_, ridge._Y, ridge._one_target, ridge.n_features_in_ = plan, Y, one_target, int(X.shape[1])
    ridge.delays_ = delays_in_samples(ridge.delays_s, ridge.tr_s)
    ridge.band_names_ = band_names(ridge.bands, X.shape[1], ridge.delays_, per_delay=ridge.per_delay)
    device = resolve_device(ridge.device)
    voxels = Voxels(X, runs, voxel_bands(ridge.bands, X.shape[1])[1], ridge.delays_, ridge.per_delay)
    ridge._form = make_form(plan, voxels, device, resolve_precision(ridge.precision, device)[0], seed, SILENT)
    ridge._take(choice)
    return ridge


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no number, text or list")


def _decoded(values: Any) -> Any:
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
