"""The latent bridge from the brain: pictures from voxels, pair by pair left out, beside controls."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainpred.decoding.decoder import DEFAULT_DELAYS_S
from brainpred.errors import ConfigError, DataError
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.recordings.paired_arrays import arrange_pairs, load_array, read_rows
from brainpred.storage import (
    atomic_path,
    file_fingerprint,
    fingerprint,
    make_directory,
    read_json,
    write_json,
    write_table,
)
from brainpred.studies.decode import DecodeConfig
from brainpred.studies.inputs import check_wanted, find_cleaning, find_recording
from brainpred.studies.train_aligndraw import find_digits

if TYPE_CHECKING:
    import pandas as pd

    from brainpred.probes.brain_bridge import LeftOut

__all__ = ["BrainBridgeConfig", "bridge_brain"]

VERSION = 7  # raise it when the same arrays and settings give other results
CLEARLY = 5.0  # nats a picture by which another view must fit better before pictures are turned
SIDE = 28


@dataclass(frozen=True)
class BrainBridgeConfig:
    """Say what to reconstruct and how.

    Attributes
    ----------
    brain, pictures : str or None
        Arrays, as :func:`brainpred.recordings.paired_arrays.load_array`; None for both: a recording, or simulated
        voxels.
    test_brain, test_pictures : str or None
        Arrays of test pairs; ``brain`` and ``pictures`` are of training pairs then.
    test_rows : tuple of str
        Which of the pairs are test pairs, as :func:`brainpred.recordings.paired_arrays.read_rows`.
    vae : str
        Model of the pictures, by shipped name or file.
    n_folds : int or None
        Folds that are left out in turn; 0: one pair at a time; None: 10, or as the runs of a recording say.
    unpaired : bool
        Whether the voxels' components see patterns whose pictures are left out; never those of test pairs.
    view : str
        ``"auto"``, or one of :data:`brainpred.probes.brain_bridge.VIEWS`.
    n_simulated : int
        Pairs to simulate.
    seed : int
        Seed of folds, draws and simulation.
    subject : str or None
        Whose recording is taken, with what was shown in it.
    dataset : str
        Data set, by name or manifest.
    delays_s : tuple of float
        How many seconds after a picture the BOLD signal of a recording is read.
    """

    brain: str | None = None
    pictures: str | None = None
    test_brain: str | None = None
    test_pictures: str | None = None
    test_rows: tuple[str, ...] = ()
    vae: str = "digits"
    n_folds: int | None = None
    unpaired: bool = True
    view: str = "auto"
    n_simulated: int = 90
    seed: int = 0
    subject: str | None = None
    dataset: str = "simulated"
    delays_s: tuple[float, ...] = DEFAULT_DELAYS_S


def bridge_brain(
    config: BrainBridgeConfig,
    out: Path | str,
    *,
    mnist: Path | str | None = None,
    data: Path | str | None = None,
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """Reconstruct the picture of every pair while it is left out, and write scores, pictures and figures.

    Parameters
    ----------
    config : BrainBridgeConfig
        What to reconstruct and how.
    out : Path or str
        Folder that receives ``scores.tsv`` (a row a method and metric), ``pictures.tsv`` (a row a pair),
        ``pictures.h5`` (pictures, and voxels beside their predictions), ``voxels.tsv`` (a row a voxel),
        ``reconstructions.png``, ``scores.png``, ``figures.npz`` (pictures that the first shows) and ``bridge.json``.
    mnist, data : Path or str, optional
        Where digits come from for a simulation, as :func:`brainpred.studies.train_aligndraw.find_digits`; recordings
        lie in the second.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    DataFrame
        As ``scores.tsv``; see :func:`brainpred.probes.picture_scores.summarise_pictures`.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    DataError
        If the arrays or the recording cannot be used.
    """
    import pandas as pd

    from brainpred.models.vae import SHIPPED, load_vae
    from brainpred.models.weights_files import find_weights
    from brainpred.numerics.rows import number_rows
    from brainpred.probes.brain_bridge import reconstruct_left_out
    from brainpred.probes.picture_scores import picture_scores, summarise_pictures
    from brainpred.reporting.bridge import FOUND, reconstruction_figure, scores_figure
    from brainpred.reporting.style import save_figure

    _check_config(config)
    vae = load_vae(config.vae)
    if vae.config.data != "digits":
        raise ConfigError(f"A VAE of pictures of 28 x 28 pixels is needed, {config.vae!r} is one of {vae.config.data}.")
    pairs = _pairs(config, mnist, data, reporter)
    held_out, simulated = pairs.held_out, pairs.simulated
    pictures, view = _turn(pairs, vae, config, reporter)
    kept, left_away = _varying(pairs, reporter)
    voxels = pairs.voxels[:, kept]
    shown = number_rows(pictures)
    n_pictures = int(shown.max()) + 1
    if n_pictures < len(pictures):
        reporter.say(f"{len(pictures)} pairs show {n_pictures} pictures: repeats of a picture are left out together.")
    n_folds = len(held_out) if held_out else (10 if config.n_folds is None else config.n_folds or n_pictures)
    unpaired = config.unpaired and not pairs.split
    key = fingerprint(
        version=VERSION, voxels=_hash(voxels), pictures=_hash(pictures),
        vae=file_fingerprint(find_weights(config.vae, "VAE", SHIPPED)),
        n_folds=n_folds, unpaired=unpaired, seed=config.seed,
        held_out=[rows.tolist() for rows in held_out or ()],
    )  # fmt: skip
    out = make_directory(out)
    if (out / "bridge.json").is_file() and read_json(out / "bridge.json").get("key") == key:
        reporter.say(f"{out} holds this already, from the same arrays and settings; delete bridge.json to do it again.")
        return pd.read_csv(out / "scores.tsv", sep="\t")
    if unpaired:
        reporter.say(
            "The voxels' components see all patterns, but no picture left out (--strict: no such pattern either)."
        )
    with reporter.task("Test pairs" if pairs.split else "Leaving out pairs", n_folds) as advance:
        left_out = reconstruct_left_out(
            voxels, pictures, vae, n_folds=n_folds, held_out=held_out, unpaired=unpaired, seed=config.seed,
            advance=advance,
        )  # fmt: skip
    by_voxel = _score_voxels(voxels, shown, kept, left_out, config.seed, reporter)
    pictures = pictures[left_out.rows]
    scores = {method: picture_scores(made, pictures) for method, made in left_out.pictures.items()}
    table = pd.DataFrame(summarise_pictures(scores, config.seed))
    by_pair = pd.concat(
        [pd.DataFrame({"pair": left_out.rows, "method": name, **values}) for name, values in scores.items()]
    )
    for name, frame in (("scores.tsv", table), ("pictures.tsv", by_pair), ("voxels.tsv", by_voxel)):
        write_table(out / name, frame)
    _write_pictures(out, pictures, voxels, kept, left_out)
    for name, figure in (
        (
            "reconstructions",
            reconstruction_figure(pictures, left_out.pictures, left_out.spread, simulated=simulated, split=pairs.split),
        ),
        ("scores", scores_figure(table, left_out.coverage, by_voxel, simulated=simulated)),
    ):
        for suffix in (".png", ".svg"):
            save_figure(figure, out / f"{name}{suffix}")
    medians = by_voxel[["r", "r_ridge", "r_shuffled"]].median()
    found = (by_voxel[["q", "q_ridge"]] <= FOUND).sum()
    write_json(
        out / "bridge.json",
        {
            **asdict(config), "key": key, "simulated": simulated, "n_pairs": len(voxels), "n_left_out": len(pictures),
            "n_pictures": n_pictures, "n_voxels": len(kept), **left_away, "split": pairs.split, "view": view,
            "voxel_latents": left_out.n_latents, "coverage_of_90_percent_intervals": left_out.coverage,
            **{f"median_voxel_{name}": float(value) for name, value in medians.items()},
            "n_voxels_found": int(found["q"]), "n_voxels_found_by_ridge": int(found["q_ridge"]),
            "provenance": provenance(),
        },
    )  # fmt: skip
    reporter.say(
        f"90 % intervals hold {left_out.coverage:.1%} of the pictures' latents. Of {len(kept)} voxels predicted from "
        f"pictures, {found['q']} are beyond chance (q < {FOUND}; by ridge regression from pixels {found['q_ridge']}); "
        f"median r {medians['r']:.3f} (ridge {medians['r_ridge']:.3f}, shuffled pairs {medians['r_shuffled']:.3f})."
    )
    return table


def _check_config(config: BrainBridgeConfig) -> None:
    """Raise :class:`ConfigError` if an option cannot be used."""
    from brainpred.probes.brain_bridge import VIEWS

    if (config.brain is None) != (config.pictures is None):
        raise ConfigError("Give both --brain and --images, or neither to simulate voxels.")
    separate = config.test_brain is not None or config.test_pictures is not None
    if (config.test_brain is None) != (config.test_pictures is None) or (separate and config.test_rows):
        raise ConfigError(
            "Test pairs are given as --test-brain and --test-images, or as --test-rows of --brain and --images."
        )
    if (separate or config.test_rows) and (config.brain is None or config.n_folds is not None):
        raise ConfigError(
            "Test pairs are left out of --brain and --images, all at once: give both of these, and leave out --folds."
        )
    if config.subject and (config.brain or config.n_folds is not None):
        raise ConfigError(
            "With --subject, the recording gives patterns and pictures, and its runs say what is left out: leave out "
            "--brain, --images and --folds."
        )
    if not config.subject and (config.dataset, config.delays_s) != ("simulated", DEFAULT_DELAYS_S):
        raise ConfigError("--dataset and --delays are of a recording: name its subject with --subject.")
    if config.view not in ("auto", *VIEWS):
        raise ConfigError(f"Unknown view {config.view!r}. Choose one of: auto, {', '.join(VIEWS)}.")


class _Pairs(NamedTuple):
    """Hold brain patterns and pictures.

    Attributes
    ----------
    voxels, pictures : ndarray of float32 (n, n_voxels) and (n, 28, 28)
        Pair by pair.
    held_out : list of ndarray of int64 or None
        What is left out together, if that is known.
    simulated : bool
        Whether voxels were computed.
    split : bool
        Whether ``held_out`` are test pairs, of which nothing may be known.
    """

    voxels: NDArray[np.float32]
    pictures: NDArray[np.float32]
    held_out: list[NDArray[np.int64]] | None
    simulated: bool
    split: bool = False

    @property
    def known(self) -> NDArray[np.int64]:
        """Rows of the pairs that choices may be made from."""
        every = np.arange(len(self.voxels))
        return np.setdiff1d(every, self.held_out[0]) if self.split and self.held_out else every


def _pairs(config: BrainBridgeConfig, mnist: Path | str | None, data: Path | str | None, reporter: Reporter) -> _Pairs:
    """Take pairs from arrays, from a recording, or from a simulation."""
    if config.subject:
        return _record(config, data, reporter)
    if config.brain is None:
        return _Pairs(*_simulate(config, mnist, data, reporter), None, True)
    return _load(config, reporter)


def _record(config: BrainBridgeConfig, data: Path | str | None, reporter: Reporter) -> _Pairs:
    """Take the patterns of a recording and what was shown."""
    from brainpred.studies.presentations import read_presentations

    wanted = DecodeConfig(str(config.subject), config.dataset, delays_s=config.delays_s)
    check_wanted(wanted)
    recording = find_recording(wanted, data, reporter)
    shown = read_presentations(recording, find_cleaning(wanted), config.delays_s, (SIDE, SIDE))
    n_left_out = sum(len(rows) for rows in shown.held_out)
    reporter.say(
        f"{recording.label}: {len(shown.voxels)} pictures were shown, of which {n_left_out} are left out: "
        + ("those of the test runs." if len(shown.held_out) == 1 else f"{len(shown.held_out)} clips in turn.")
    )
    return _Pairs(shown.voxels, shown.pictures, shown.held_out, recording.simulated)


def _hash(array: NDArray[Any]) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _simulate(
    config: BrainBridgeConfig, mnist: Path | str | None, data: Path | str | None, reporter: Reporter
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Simulate voxels that see test digits."""
    from brainpred.probes.voxel_simulation import simulate_voxels

    digits = find_digits(mnist, data)
    reporter.say(f"No --brain and --images: voxels are simulated. Digits: {digits.source}.")
    rng = np.random.default_rng(config.seed)
    if not 20 <= config.n_simulated <= len(digits.test[1]):
        raise ConfigError(f"20 to {len(digits.test[1])} pairs can be simulated, not {config.n_simulated}.")
    chosen = rng.permutation(len(digits.test[1]))[: config.n_simulated]
    pictures = np.divide(digits.test[0][chosen], 255, dtype=np.float32)
    return simulate_voxels(pictures, rng), pictures


def _load(config: BrainBridgeConfig, reporter: Reporter) -> _Pairs:
    """Read voxels and pictures of all pairs, and which are test pairs."""
    from brainpred.numerics.rows import number_rows

    def read(brain: str | None, images: str | None, names: tuple[str, str]) -> Any:
        patterns, pictures = (
            load_array(str(address), name) for address, name in zip((brain, images), names, strict=True)
        )
        return arrange_pairs(patterns, pictures, (SIDE, SIDE), names=names, say=reporter.say)

    voxels, pictures = read(config.brain, config.pictures, ("--brain", "--images"))
    if config.test_brain is not None:
        test = read(config.test_brain, config.test_pictures, ("--test-brain", "--test-images"))
        if test[0].shape[1] != voxels.shape[1]:
            raise DataError(
                f"--test-brain: expected the {voxels.shape[1]} voxels of --brain, received {test[0].shape[1]}."
            )
        rows = np.arange(len(voxels), len(voxels) + len(test[0]))
        voxels, pictures = np.concatenate([voxels, test[0]]), np.concatenate([pictures, test[1]])
    elif config.test_rows:
        rows = read_rows(config.test_rows, len(voxels))
    else:
        return _Pairs(voxels, pictures, None, False)
    shown = number_rows(pictures)
    if len(np.unique(shown[rows])) < 2:
        raise DataError("Scores need 2 different pictures or more among the test pairs, received 1.")
    seen = np.setdiff1d(np.flatnonzero(np.isin(shown, shown[rows])), rows)
    n_training = len(voxels) - len(rows) - len(seen)
    reporter.say(
        f"{n_training} training pairs, {len(rows)} test pairs; components, sizes and ridges are of the former."
    )
    if len(seen):
        reporter.say(f"{len(seen)} further pairs show a picture of the test pairs: they are not learned from.")
    return _Pairs(voxels, pictures, [rows], False, True)


def _varying(pairs: _Pairs, reporter: Reporter) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Give the voxels that vary over the pairs known and are missing (NaN) nowhere; say how many others there are."""
    n_voxels = pairs.voxels.shape[1]
    missing = np.isnan(pairs.voxels).any(axis=0)
    constant = ~missing & (np.ptp(pairs.voxels[pairs.known], axis=0) == 0)
    kept = np.flatnonzero(~missing & ~constant)
    n_constant, n_missing = int(constant.sum()), int(missing.sum())
    if len(kept) < n_voxels:
        reporter.say(
            f"Of {n_voxels} voxels, {n_constant} that never vary and {n_missing} that are missing (NaN) are left out."
        )
    if len(kept) < 3:
        raise DataError(
            f"Expected 3 voxels or more that vary, received {len(kept)} of {n_voxels}: {n_constant} never vary, "
            f"{n_missing} are missing (NaN)."
        )
    return kept, {"n_constant_voxels": n_constant, "n_missing_voxels": n_missing}


def _turn(pairs: _Pairs, vae: Any, config: BrainBridgeConfig, reporter: Reporter) -> tuple[NDArray[np.float32], str]:
    """Turn pictures to the view that the model knows; say so."""
    from brainpred.probes.brain_bridge import VIEWS, best_view

    plain = next(iter(VIEWS))
    view, bounds = best_view(pairs.pictures[pairs.known], vae, tuple(VIEWS))
    if config.view != "auto":
        view = config.view
    elif bounds[view] - bounds[plain] < CLEARLY:
        view = plain
    else:
        reporter.say(
            f"The model of digits knows these pictures best {view} ({bounds[view]:.0f} nats a picture, as they are "
            f"{bounds[plain]:.0f}): they are taken so. Force another with --view."
        )
    return np.ascontiguousarray(VIEWS[view](pairs.pictures)), view


def _score_voxels(
    voxels: NDArray[np.float32],
    shown: NDArray[np.int64],
    kept: NDArray[np.int64],
    left_out: LeftOut,
    seed: int,
    reporter: Reporter,
) -> pd.DataFrame:
    """Give the table of voxels predicted from pictures; q is over all voxels."""
    import pandas as pd

    from brainpred.numerics.resampling import false_discovery_rates

    columns: dict[str, NDArray[Any]] = {"voxel": kept}
    with reporter.task("Permuting pictures", 2 * len(kept)) as advance:
        for suffix, method in (("", "bridge"), ("_ridge", "ridge")):
            columns[f"r{suffix}"] = left_out.voxels[method].correlate(voxels, seed)
            columns[f"p{suffix}"] = left_out.voxels[method].p(voxels, shown, seed=seed, advance=advance)
            columns[f"q{suffix}"] = false_discovery_rates(columns[f"p{suffix}"])
    columns["r_shuffled"] = left_out.voxels["shuffled pairs"].correlate(voxels, seed)
    return pd.DataFrame(columns)


def _write_pictures(
    out: Path, seen: NDArray[np.float32], voxels: NDArray[np.float32], kept: NDArray[np.int64], left_out: LeftOut
) -> None:
    """Write all pictures, voxels beside their predictions, and in small the pictures that the figure shows."""
    import h5py

    from brainpred.reporting.bridge import shown_rows

    made = {"seen": seen, **left_out.pictures}
    predicted = {f"predicted by {name}": left_out.voxels[name].predict(voxels) for name in ("bridge", "ridge")}
    of_voxels: dict[str, NDArray[Any]] = {"number": kept, "measured": voxels[left_out.rows], **predicted}
    contents: dict[str, NDArray[Any]] = {**made, "bridge, standard deviation": left_out.spread}
    contents |= {f"voxels/{name}": values for name, values in of_voxels.items()}
    with atomic_path(out / "pictures.h5") as temporary, h5py.File(temporary, "w") as file:
        for name, values in contents.items():
            file.create_dataset(name, data=values, compression="gzip")
    rows = shown_rows(len(seen))
    small = {
        name: (255 * pictures[rows]).clip(0, 255).round().astype(np.uint8)
        for name, pictures in {**made, "spread": left_out.spread}.items()
    }
    with atomic_path(out / "figures.npz") as temporary:
        np.savez_compressed(temporary, coverage=left_out.coverage, **small)  # type: ignore[arg-type]
