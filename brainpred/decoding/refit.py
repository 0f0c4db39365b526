"""Tell decoding from chance by fitting again: decoders of features whose blocks of time have changed places."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.decoding.decoder import BrainDecoder
from brainpred.decoding.evaluation import predict_repeats, scored_scans
from brainpred.decoding.splits import Split
from brainpred.errors import ConfigError
from brainpred.features.source import FeatureSource
from brainpred.numerics.resampling import (
    block_permutations,
    false_discovery_rates,
    p_of_exceedances,
    permuted_p,
    permuted_samples,
)
from brainpred.numerics.scores import pearson_correlation
from brainpred.numerics.timing import zscore_runs
from brainpred.storage import atomic_path

__all__ = ["RefitChance", "load_refit", "refit_permutations", "refit_table", "save_refit"]

FORMAT = "brainpred-refit-1"


@dataclass(frozen=True)
class RefitChance:
    """Hold what decoders fitted to permuted features make of some units.

    Attributes
    ----------
    layer : str
        Name.
    units : ndarray of int64 (n_units,)
        Which of the layer's units.
    r : ndarray of float32 (n_units,)
        Correlation over held-out scans of a decoder that is fitted to these units alone.
    p : ndarray of float64 (n_units,)
        How often a decoder of permuted features gives as high an r.
    p_rows : ndarray of float32 (n_units,)
        How often permuted blocks of the same decoder's predictions do.
    """

    layer: str
    units: NDArray[np.int64]
    r: NDArray[np.float32]
    p: NDArray[np.float64]
    p_rows: NDArray[np.float32]


def refit_permutations(
    splits: Sequence[Split],
    layer: str,
    source: FeatureSource,
    make_decoder: Callable[[], BrainDecoder],
    *,
    n_permutations: int,
    n_units: int,
    block_length: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n_done: None,
) -> RefitChance:
    """Permute blocks of time of the training features, fit again, and compare on the held-out scans.

    Blocks of all training clips change places; runs that show the same clip go on to share their features. Each
    decoder chooses its regularisation anew. The held-out scans and their features are left as they are, so that what it
    predicts is what a decoder gives that could learn nothing.

    Parameters
    ----------
    splits : sequence of Split
        What is trained on and what is held out.
    layer : str
        Layer to decode.
    source : FeatureSource
        Its units during every run.
    make_decoder : callable
        Gives an unfitted decoder.
    n_permutations : int
        How often to fit again.
    n_units : int
        How many units, evenly spaced.
    block_length : int
        Scans of a block.
    seed : int
        Seed of all chance.
    advance : callable
        Told of every fit.

    Returns
    -------
    RefitChance
        p of these units.

    Raises
    ------
    ConfigError
        If there is no permutation or no unit.
    """
    if n_permutations < 1 or n_units < 1:
        raise ConfigError(f"Fitting again needs permutations and units, received {n_permutations} and {n_units}.")
    n_all = int(np.prod(source.shapes[layer]))
    units = np.unique(np.linspace(0, n_all - 1, min(n_units, n_all)).round().astype(np.int64))
    rng = np.random.default_rng(seed)
    true, runs, predicted = [], [], []
    for split in splits:
        decoded, like = [], split.fitted
        for features in _training_features(split, layer, source, units, n_permutations, block_length, rng):
            decoder = make_decoder().fit(split.X, features, split.runs, split.groups, like=like)
            like, n_scored = like or decoder, scored_scans(decoder, split)
            n_held_out = sum(n_scored[: len(split.repeats)])
            decoded.append(predict_repeats(decoder, split, n_scored)[0][:n_held_out])
            advance(1)
        predicted.append(np.stack(decoded))
        for group, n in zip(split.repeats, n_scored, strict=False):
            true.append(source.of_run(layer, group[0].run, units)[:n])
            runs += [group[0].clip] * n
        if len(splits) > 1:
            split.forget()
    truth = zscore_runs(np.concatenate(true), runs)[0]
    found, *null = np.concatenate(predicted, axis=1)  # (1 + n_permutations, n_scans, n_units)
    r = pearson_correlation(truth, found).astype(np.float32)
    permuted = np.stack([pearson_correlation(truth, one) for one in null])
    # A decoder that learnt nothing may predict a constant, which tells nothing: r of 0.
    p = p_of_exceedances(r, np.nan_to_num(permuted))
    rows = block_permutations(runs, block_length, max(n_permutations, 1000), rng)
    return RefitChance(layer, units, r, p, permuted_p(r, truth, found, rows))


def _training_features(
    split: Split,
    layer: str,
    source: FeatureSource,
    units: NDArray[np.int64],
    n_permutations: int,
    block_length: int,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.float32]]:
    """Give the units during the training runs, first as they are, then under every permutation."""
    courses: dict[str, NDArray[np.float32]] = {}
    for run in split.train:
        course = source.of_run(layer, run.run, units)[: source.n_scans(run.run)]
        if len(course) > len(courses.get(run.clip, ())):
            courses[run.clip] = course
    clips = np.repeat(list(courses), [len(course) for course in courses.values()])
    joined = np.concatenate(list(courses.values()))
    first = {clip: int(np.flatnonzero(clips == clip)[0]) for clip in courses}
    place = np.concatenate([first[run.clip] + np.arange(source.n_scans(run.run)) for run in split.train])
    yield joined[place]
    for samples in permuted_samples(block_permutations(clips, block_length, n_permutations, rng)):
        yield joined[samples][place]


def save_refit(result: RefitChance, path: Path | str, key: str) -> None:
    """Write as HDF5, so that a layer need not be fitted again when the run goes on.

    Parameters
    ----------
    result : RefitChance
        What to write.
    path : Path or str
        File.
    key : str
        Fingerprint of everything it depends on.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, key=key, layer=result.layer)
        for name in ("units", "r", "p", "p_rows"):
            file[name] = getattr(result, name)


def load_refit(path: Path | str, key: str) -> RefitChance | None:
    """Read what :func:`save_refit` wrote.

    Parameters
    ----------
    path : Path or str
        File.
    key : str
        Fingerprint that it must have.

    Returns
    -------
    RefitChance or None
        None where there is no readable file of this key: the layer is to be fitted again.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs["format"] != FORMAT or file.attrs["key"] != key:
                return None
            arrays = {name: file[name][:] for name in ("units", "r", "p", "p_rows")}
            return RefitChance(layer=str(file.attrs["layer"]), **arrays)
    except (OSError, KeyError):
        return None


def refit_table(results: Sequence[RefitChance], *, simulated: bool) -> pd.DataFrame:
    """Tabulate what fitting again tells of some units of every layer.

    Parameters
    ----------
    results : sequence of RefitChance
        One a layer.
    simulated : bool
        Whether the scans were simulated.

    Returns
    -------
    DataFrame (one row a layer and unit)
        r of a decoder fitted to these units alone, p and q by decoders fitted to permuted features, and p by permuting
        the predictions.
    """
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "layer": one.layer, "data": "simulated" if simulated else "measured", "unit": one.units, "r": one.r,
                    "p": one.p, "q": false_discovery_rates(one.p), "p_rows": one.p_rows,
                }
            )
            for one in results
        ],
        ignore_index=True,
    )  # fmt: skip
