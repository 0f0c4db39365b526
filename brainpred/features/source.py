"""Where the features of a run come from: movies shown to PredNet, or a table that the user brings."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.errors import ConfigError, DataError
from brainpred.features.store import FORMAT, FeatureFile, read_feature_file
from brainpred.movies.video import probe_video
from brainpred.recordings.recording import Recording, Run

__all__ = [
    "ClipFeatures",
    "FeatureSource",
    "JoinedFeatures",
    "TableFeatures",
    "check_layers",
    "check_movie_lengths",
    "load_table",
]


# Headers round the length of a movie: so much of a scan more may it differ, and still by no more than one.
LENGTH_TOLERANCE = 0.005

Units = slice | NDArray[np.integer]


class FeatureSource(Protocol):
    """What decoding needs to know of features."""

    @property
    def unit_names(self) -> Mapping[str, list[str]]:
        """Names of the units of those layers whose units have names."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of the units of every layer."""
        ...

    def n_scans(self, run: Run) -> int:
        """Count the scans of a run that have features."""
        ...

    def of_run(self, layer: str, run: Run, units: Units = slice(None)) -> NDArray[np.float32]:
        """Give a layer's features during a run, or some of its units, (n_scans, n_units)."""
        ...


def check_layers(layers: list[str], source: FeatureSource) -> None:
    """Raise :class:`ConfigError` unless every layer exists, listing those that do."""
    unknown = [layer for layer in layers if layer not in source.shapes]
    if unknown:
        raise ConfigError(f"Unknown layer {', '.join(unknown)}. These features have: {', '.join(source.shapes)}.")


def check_movie_lengths(recording: Recording) -> None:
    """Compare the length of every run with that of its movie, before anything is computed.

    Parameters
    ----------
    recording : Recording
        The scans.

    Raises
    ------
    DataError
        If a run has no movie, or their lengths differ by more than one repetition time (and 0.5 % of it).
    """
    for run in recording.runs:
        where = f"{recording.label}, run {run.name}"
        if run.stimulus is None or run.stimulus not in recording.stimuli:
            raise DataError(f"{where}: no movie is known for it. Bring features of your own with --features FILE.")
        try:
            duration_s = probe_video(recording.stimuli[run.stimulus]).duration_s
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        run_s, name = run.n_scans * recording.tr_s, recording.stimuli[run.stimulus].name
        if abs(duration_s - run_s) > (1 + LENGTH_TOLERANCE) * recording.tr_s:  # no header may state it: NaN
            raise DataError(
                f"{where}: its {run.n_scans} scans last {run_s:.2f} s, but its movie {name} {duration_s:.2f} s. They "
                f"may differ by one TR ({recording.tr_s:g} s) at the most; check that the clip belongs to this run, "
                "when it begins, and the repetition time."
            )


class ClipFeatures:
    """Give runs the features of the movie clip they showed.

    Parameters
    ----------
    files : mapping of str to FeatureFile
        Feature file of each clip.
    """

    def __init__(self, files: Mapping[str, FeatureFile]):
        self._files = dict(files)
        self.unit_names: Mapping[str, list[str]] = {}
        self.shapes: Mapping[str, tuple[int, ...]] = next(iter(self._files.values())).shapes

    def n_scans(self, run: Run) -> int:
        """Count the scans of a run that have features: the movie may end one scan early."""
        file = self._files[run.stimulus or ""]
        if abs(run.n_scans - file.n_scans) > 1:
            raise DataError(
                f"run {run.name}: the scan has {run.n_scans} scans, but the movie {run.stimulus} fills {file.n_scans}. "
                "They may differ by one at the most; check that the clip belongs to this run, and the repetition time."
            )
        return min(run.n_scans, file.n_scans)

    def of_run(self, layer: str, run: Run, units: Units = slice(None)) -> NDArray[np.float32]:
        """Give a layer's features during a run, (n_scans, n_units)."""
        return self._files[run.stimulus or ""].read(layer, units)[: self.n_scans(run)]


class JoinedFeatures:
    """Give runs the layers of several sources.

    Parameters
    ----------
    sources : sequence of FeatureSource
        Sources with layers of different names.
    """

    def __init__(self, sources: Sequence[FeatureSource]):
        self._sources = {layer: source for source in sources for layer in source.shapes}
        self.unit_names: Mapping[str, list[str]] = {
            layer: names for source in sources for layer, names in source.unit_names.items()
        }
        self.shapes: Mapping[str, tuple[int, ...]] = {
            layer: source.shapes[layer] for layer, source in self._sources.items()
        }

    def n_scans(self, run: Run) -> int:
        """Count the scans of a run that have features of every source."""
        return min(source.n_scans(run) for source in self._sources.values())

    def of_run(self, layer: str, run: Run, units: Units = slice(None)) -> NDArray[np.float32]:
        """Give a layer's features during a run, (n_scans, n_units)."""
        return self._sources[layer].of_run(layer, run, units)[: self.n_scans(run)]


class TableFeatures:
    """Give runs their rows of a table with one row for every scan of the recording.

    Parameters
    ----------
    layers : mapping of str to ndarray of float32 (n_scans_in_all, n_units)
        The table, by layer.
    recording : Recording
        The scans that the rows belong to, in order.
    unit_names : mapping of str to list of str, optional
        Names of units, by layer.
    """

    def __init__(
        self,
        layers: Mapping[str, NDArray[np.float32]],
        recording: Recording,
        unit_names: Mapping[str, list[str]] | None = None,
    ):
        self._layers = dict(layers)
        self.unit_names: Mapping[str, list[str]] = dict(unit_names or {})
        self.shapes: Mapping[str, tuple[int, ...]] = {name: values.shape[1:] for name, values in layers.items()}
        ends = np.cumsum([run.n_scans for run in recording.runs])
        self._rows = {run.name: slice(end - run.n_scans, end) for run, end in zip(recording.runs, ends, strict=True)}

    def n_scans(self, run: Run) -> int:
        """Count the scans of a run: all have features."""
        return run.n_scans

    def of_run(self, layer: str, run: Run, units: Units = slice(None)) -> NDArray[np.float32]:
        """Give a layer's features during a run, (n_scans, n_units)."""
        return self._layers[layer][self._rows[run.name], units]


def load_table(path: Path | str, recording: Recording) -> TableFeatures:
    """Read features that a user brings, one row for every scan of every run, runs in order.

    Parameters
    ----------
    path : Path or str
        A TSV file with a header (a column ``run``, if there is one, is checked against the recording; all
        others are units of one layer, ``features``), or an HDF5 file: either one that ``brainpred features``
        wrote, or one whose two-dimensional data sets (n_scans, n_units) are layers.
    recording : Recording
        The scans.

    Returns
    -------
    TableFeatures
        The features.

    Raises
    ------
    ConfigError
        If the file does not exist or its kind is unknown.
    DataError
        If it cannot be read, its rows do not match the scans, or a value is not a finite number.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"Feature file {path} does not exist.")
    unit_names: dict[str, list[str]] = {}
    if path.suffix.lower() in {".h5", ".hdf5", ".hdf"}:
        layers = _read_hdf5(path)
    elif path.suffix.lower() in {".tsv", ".txt", ".csv"}:
        layers, unit_names = _read_tsv(path, recording)
    else:
        raise ConfigError(f"Features must be .tsv, .csv, .h5 or .hdf5, received {path.name}.")
    expected = sum(run.n_scans for run in recording.runs)
    for layer, values in layers.items():
        if len(values) != expected:
            lengths = ", ".join(f"{run.name} {run.n_scans}" for run in recording.runs)
            raise DataError(
                f"{path}: layer {layer} has {len(values)} rows, but {recording.label} has {expected} scans "
                f"({lengths}). Give one row a scan, runs in this order."
            )
        if not np.isfinite(values).all():
            raise DataError(
                f"{path}: layer {layer} holds {int((~np.isfinite(values)).sum())} values that are no numbers."
            )
    return TableFeatures(layers, recording, unit_names)


def _read_hdf5(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with h5py.File(path) as file:
            if file.attrs.get("format") == FORMAT:
                stored = read_feature_file(path)
                return {layer: stored.read(layer) for layer in stored.shapes}
            layers = {
                name: item[:].astype(np.float32)
                for name, item in file.items()
                if isinstance(item, h5py.Dataset) and item.ndim == 2
            }
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read features from {path}: {error}.") from error
    if not layers:
        raise DataError(f"{path} holds no two-dimensional data set (n_scans, n_units) at its top level.")
    return layers


def _read_tsv(path: Path, recording: Recording) -> tuple[dict[str, NDArray[np.float32]], dict[str, list[str]]]:
    try:
        with warnings.catch_warnings():
            # Rows longer than the header would lose their last values.
            warnings.simplefilter("error", category=pd.errors.ParserWarning)
            table = pd.read_csv(path, sep="," if path.suffix.lower() == ".csv" else "\t", index_col=False)
        runs = table.pop("run") if "run" in table else None
        with np.errstate(over="ignore"):
            values = table.to_numpy(dtype=np.float64).astype(np.float32)
    except (ValueError, OSError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(f"Cannot read features from {path}: {error}. Expected numbers under a header line.") from error
    if not values.size:
        raise DataError(f"{path} holds no features: expected a header line and one row a scan.")
    if runs is not None:
        lengths = runs.groupby(runs.ne(runs.shift()).cumsum()).size().tolist()
        expected = [run.n_scans for run in recording.runs]
        if lengths != expected:
            raise DataError(
                f"{path}: the column run marks runs of {lengths} scans, but {recording.label} has runs of {expected}."
            )
    return {"features": values}, {"features": [str(name) for name in table.columns]}
