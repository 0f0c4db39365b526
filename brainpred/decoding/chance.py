"""Tell what was decoded from chance: p of every unit, of every layer, and intervals, from blocks of time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainpred.decoding.result import LayerResult
from brainpred.errors import CheckpointError, ConfigError
from brainpred.numerics.autocorrelation import BlockLength, fitting_length, resampling_block_length
from brainpred.numerics.bootstrap import BlockBootstrap, DrawnMean, drawn_interval, summed_means
from brainpred.numerics.resampling import (
    BlockPermutations,
    block_permutations,
    false_discovery_rates,
    max_statistic_p,
    null_correlations,
    null_means,
    p_of_exceedances,
)
from brainpred.numerics.scores import identification_elsewhere
from brainpred.numerics.significance import Interval, block_interval, time_blocks
from brainpred.progress import SILENT, Reporter
from brainpred.storage import atomic_path

__all__ = ["NULL_EDGES", "Chance", "LayerChance", "compare_with_chance", "load_chance", "save_chance"]

FORMAT = "brainpred-chance-5"
NULL_EDGES = np.linspace(-1, 1, 201)
UNITS_AT_ONCE = 4096
SCANS_AT_ONCE = 256
# Identification of scans that is tested, and among how many candidates.
WAYS = {"identification_p": 2, "identification_10way_p": 10}
# Permutations whose correlations are counted for the picture of the null; all enter p.
COUNTED = 100
LARGEST_R = np.float32(1 - 1e-6)


@dataclass(frozen=True)
class LayerChance:
    """Hold what chance makes of one layer.

    Attributes
    ----------
    layer : str
        Name.
    p, q : ndarray of float32 (n_units,)
        One-sided p of each unit's r, and adjusted for the number of units (Benjamini and Hochberg); NaN where there is
        no r.
    mean_r, low, high : float
        Mean of r by Fisher's z, with its 95 % interval.
    mean_p : float
        p of that mean; the family-wise error over layers is controlled.
    pattern_r, identification, identification_10way : Interval
        95 % intervals of the means over scans.
    identification_p, identification_10way_p, identification_nway_p : float
        p of the means over scans of 2-way and 10-way identification, and of identification among the distinct patterns
        of the features (NaN where there are none, or where always the same is chosen); the family-wise error over
        layers is controlled.
    drawn_mean_r : ndarray of float64 (n_different,)
        Mean r in every draw of blocks of time; the draws are the same for all layers.
    channel_low, channel_high : ndarray of float64 (n_channels,)
        95 % interval of every channel's mean r; that of all units where each is a channel.
    null_mean_r : ndarray of float32 (n_permutations,)
        Mean r under every permutation.
    null_counts : ndarray of int64 (n_bins,)
        How many correlations of units fall between neighbours of :data:`NULL_EDGES` under 100 of the permutations.
    """

    layer: str
    p: NDArray[np.float32]
    q: NDArray[np.float32]
    mean_r: float
    low: float
    high: float
    mean_p: float
    pattern_r: Interval
    identification: Interval
    identification_10way: Interval
    identification_p: float
    identification_10way_p: float
    identification_nway_p: float
    drawn_mean_r: NDArray[np.float64]
    channel_low: NDArray[np.float64]
    channel_high: NDArray[np.float64]
    null_mean_r: NDArray[np.float32]
    null_counts: NDArray[np.int64]


@dataclass(frozen=True)
class Chance:
    """Hold what chance makes of several layers, under the same permutations.

    Attributes
    ----------
    block_length, n_blocks, n_permutations : int
        Scans of a block that is permuted, how many blocks there are, and how often.
    wanted_length : int
        Scans of a block that its autocorrelation asks for; where it is longer than blocks are, runs were too short, and
        p is rather too small.
    draw_weights : ndarray of int64 (n_different,)
        How often each draw of ``drawn_mean_r`` came.
    n_drawn_blocks : int
        Blocks that were drawn from.
    layers : tuple of LayerChance
        One a layer.
    """

    block_length: int
    n_blocks: int
    n_permutations: int
    wanted_length: int
    draw_weights: NDArray[np.int64]
    n_drawn_blocks: int
    layers: tuple[LayerChance, ...]

    def of(self, layer: str) -> LayerChance:
        """Give one layer."""
        return next(one for one in self.layers if one.layer == layer)

    def difference(self, layer: str, other: str) -> tuple[float, Interval]:
        """Give by how much the mean r of one layer is above that of another, with its 95 % interval.

        Both are compared draw by draw, on the same blocks of time: what makes a stretch easy for both cancels.

        Parameters
        ----------
        layer, other : str
            Which layers.

        Returns
        -------
        difference : float
            Mean r of ``layer`` less that of ``other``.
        interval : Interval
            Its ends.
        """
        one, two = self.of(layer), self.of(other)
        difference, drawn = one.mean_r - two.mean_r, one.drawn_mean_r - two.drawn_mean_r
        return difference, drawn_interval(difference, drawn, self.draw_weights, self.n_drawn_blocks)


def compare_with_chance(
    results: Sequence[LayerResult], *, n_permutations: int = 1000, seed: int = 0, reporter: Reporter = SILENT
) -> Chance:
    """Permute blocks of time of the predictions and compare.

    Nothing is fitted again: predictions, which the test scans' features had no part in, change places with respect to
    the truth. The length of a block follows from the autocorrelation
    (:func:`brainpred.numerics.autocorrelation.resampling_block_length`); the longest of all layers serves all.

    Parameters
    ----------
    results : sequence of LayerResult
        Layers of one subject, with the same scans.
    n_permutations : int
        How many permutations.
    seed : int
        Seed of all chance.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Chance
        The layers, in order.

    Raises
    ------
    ConfigError
        If there is no permutation.
    """
    if n_permutations < 1:
        raise ConfigError(f"At least one permutation is needed, received {n_permutations}.")
    rng = np.random.default_rng(seed)
    runs = results[0].runs
    length = max((_block_length(result) for result in results), key=lambda one: one.wanted)
    permutations = block_permutations(runs, length.samples, n_permutations, rng)
    bootstrap, blocks = BlockBootstrap(runs, length.samples, rng), time_blocks(runs, length.samples)
    n_units = sum(len(result.r) for result in results)
    layers: list[dict[str, Any]] = []
    tests: dict[str, list[tuple[float, NDArray[Any]]]] = {
        name: [] for name in ("mean_p", *WAYS, "identification_nway_p")
    }
    with reporter.task("Permuting blocks of time", n_units + len(runs) * len(results)) as advance:
        for result in results:
            for name, *found in zip(WAYS, *_identified(result, permutations, advance), strict=True):
                tests[name].append((found[0], found[1]))
            tests["identification_nway_p"].append(_nway_identified(result, length.wanted, n_permutations, seed))
            p, null_mean, counts = _permute(result, permutations, advance)
            channels = [_mean_of(result, units, bootstrap) for units in _channels(result)]
            mean, ends = summed_means(channels), [bootstrap.interval(channel) for channel in channels]
            low, high = bootstrap.interval(mean)
            layers.append(
                {
                    "layer": result.layer, "p": p, "q": false_discovery_rates(p).astype(np.float32),
                    "mean_r": mean.mean, "low": low, "high": high, "drawn_mean_r": mean.drawn,
                    "channel_low": np.array([end.low for end in ends]),
                    "channel_high": np.array([end.high for end in ends]),
                    "pattern_r": block_interval(result.pattern_r, blocks),
                    "identification": block_interval(result.identification, blocks),
                    "identification_10way": block_interval(result.identification_10way, blocks),
                    "null_mean_r": null_mean, "null_counts": counts,
                }
            )  # fmt: skip
            tests["mean_p"].append((mean.mean, null_mean))
    for name, found in tests.items():
        p_of_layers = max_statistic_p([one for one, _ in found], np.stack([null for _, null in found], axis=1))
        for layer, layer_p in zip(layers, p_of_layers, strict=True):
            layer[name] = float(layer_p)
    _, n_blocks, block_length = permutations.rows.shape
    tested = tuple(LayerChance(**layer) for layer in layers)
    return Chance(block_length, n_blocks, n_permutations, length.wanted, bootstrap.weights, bootstrap.n_blocks, tested)


def _identified(
    result: LayerResult, permutations: BlockPermutations, advance: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the mean over scans of identification among each number of candidates: as found, and under permutations."""

    def told() -> Iterator[tuple[slice, NDArray[np.float64]]]:
        ways = tuple(WAYS.values())
        for rows, elsewhere in identification_elsewhere(result.similarity, result.excluded, ways, result.runs):
            yield rows, elsewhere
            advance(rows.stop - rows.start)

    return null_means(told(), permutations)


def _nway_identified(
    result: LayerResult, wanted: int, n_permutations: int, seed: int
) -> tuple[float, NDArray[np.float64]]:
    """Give the part of scans identified among the distinct patterns: as found, and under permutations.

    What was chosen changes places among the scans that showed one of the patterns: what is decoded at rest, put at the
    place of a pattern, would make chance poorer than it is. Layers with the same patterns see the same permutations.
    """
    identified = np.flatnonzero(result.nway_shown >= 0)
    if not len(identified):
        return float("nan"), np.full(n_permutations, np.nan)
    chosen, shown, runs = (one[identified] for one in (result.nway_chosen, result.nway_shown, result.runs))
    length = fitting_length(wanted, runs).samples
    permutations = block_permutations(runs, length, n_permutations, np.random.default_rng(seed))
    at_once = (slice(first, first + SCANS_AT_ONCE) for first in range(0, len(shown), SCANS_AT_ONCE))
    correct = ((rows, np.equal.outer(chosen[rows], shown)[None].astype(float)) for rows in at_once)
    (found,), (null,) = null_means(correct, permutations)
    return float(found), null


def _block_length(result: LayerResult) -> BlockLength:
    some = slice(None, None, max(1, len(result.r) // 2000))
    return resampling_block_length(*result.zscored_pair(some), result.runs)


def _unit_blocks(units: slice) -> Iterator[slice]:
    for first in range(units.start, units.stop, UNITS_AT_ONCE):
        yield slice(first, min(first + UNITS_AT_ONCE, units.stop))


def _channels(result: LayerResult) -> list[slice]:
    """Give the units of every channel, the first axis of the layer's shape; all units where each is a channel."""
    n_units = len(result.r)
    size = n_units // result.shape[0] if len(result.shape) > 1 else n_units
    return [slice(first, first + size) for first in range(0, n_units, size)]


def _mean_of(result: LayerResult, units: slice, bootstrap: BlockBootstrap) -> DrawnMean:
    return bootstrap.mean(result.zscored_pair(some) for some in _unit_blocks(units))


def _permute(
    result: LayerResult, permutations: BlockPermutations, advance: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Give p of every unit, the mean r under every permutation, and the counts of the null."""
    n_permutations = len(permutations.orders)
    p = np.full(len(result.r), np.nan, dtype=np.float32)
    total, n_defined = np.zeros(n_permutations), 0
    counts = np.zeros(len(NULL_EDGES) - 1, dtype=np.int64)
    for units in _unit_blocks(slice(0, len(result.r))):
        for inside, null in null_correlations(*result.zscored_pair(units), permutations):
            observed = result.r[units][inside]
            defined = np.isfinite(observed) & np.isfinite(null[0])
            null = null[:, defined]
            place = np.arange(len(p))[units][inside][defined]
            p[place] = p_of_exceedances(observed[defined], null)
            total += np.arctanh(null.clip(-LARGEST_R, LARGEST_R)).sum(axis=1, dtype=np.float64)
            n_defined += len(place)
            shown = null[:: max(1, n_permutations // COUNTED)]
            counts += np.histogram(shown.clip(-1, 1), NULL_EDGES)[0]
            advance(len(observed))
    null_mean = np.tanh(total / n_defined) if n_defined else np.full(n_permutations, np.nan)
    return p, null_mean.astype(np.float32), counts


def save_chance(chance: Chance, path: Path | str, key: str) -> None:
    """Write as HDF5, one group a layer.

    Parameters
    ----------
    chance : Chance
        What to write.
    path : Path or str
        File.
    key : str
        Fingerprint of everything it depends on.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        file.attrs.update(
            format=FORMAT, key=key, block_length=chance.block_length, n_blocks=chance.n_blocks,
            n_permutations=chance.n_permutations, wanted_length=chance.wanted_length,
            n_drawn_blocks=chance.n_drawn_blocks, draw_weights=chance.draw_weights,
        )  # fmt: skip
        for one in chance.layers:
            group = file.create_group(one.layer)
            for field in fields(LayerChance):
                value = getattr(one, field.name)
                if isinstance(value, np.ndarray):
                    group[field.name] = value
                elif field.name != "layer":
                    group.attrs[field.name] = value


def load_chance(path: Path | str, key: str | None = None) -> Chance | None:
    """Read what :func:`save_chance` wrote.

    Parameters
    ----------
    path : Path or str
        File.
    key : str, optional
        Fingerprint that it must have.

    Returns
    -------
    Chance or None
        None where there is no such file, or one of another key.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    if not Path(path).is_file():
        return None
    try:
        with h5py.File(path, track_order=True) as file:
            if file.attrs.get("format") != FORMAT or key not in (None, file.attrs["key"]):
                return None
            numbers = {
                name: int(file.attrs[name])
                for name in ("block_length", "n_blocks", "n_permutations", "wanted_length", "n_drawn_blocks")
            }
            layers = tuple(_read_layer(name, group) for name, group in file.items())
            return Chance(draw_weights=file.attrs["draw_weights"], layers=layers, **numbers)
    except (OSError, KeyError) as error:
        raise CheckpointError(f"Cannot read {path} ({error}). Delete it and run brainpred decode again.") from error


def _read_layer(name: str, group: Any) -> LayerChance:
    values: dict[str, Any] = {"layer": name}
    for field in fields(LayerChance):
        if field.name in group:
            values[field.name] = group[field.name][:]
        elif field.name in ("pattern_r", "identification", "identification_10way"):
            values[field.name] = Interval(*map(float, group.attrs[field.name]))
        elif field.name != "layer":
            values[field.name] = float(group.attrs[field.name])
    return LayerChance(**values)
