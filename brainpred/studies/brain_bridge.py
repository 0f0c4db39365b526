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
from brainpred.recordings.paired_arrays import load_array
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

__all__ = ["BrainBridgeConfig", "bridge_brain"]

VERSION = 3  # raise it when the same arrays and settings give other results
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
    vae : str
        Model of the pictures, by shipped name or file.
    n_folds : int or None
        Folds that are left out in turn; 0: one pair at a time; None: 10, or as the runs of a recording say.
    unpaired : bool
        Whether the voxels' components see patterns whose pictures are left out.
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
        ``pictures.h5``, ``voxels.tsv``, ``reconstructions.png``, ``scores.png`` and ``bridge.json``.
    mnist, data : Path or str, optional
        Where digits come from for a simulation, as :func:`brainpred.studies.train_aligndraw.find_digits`; recordings
        lie in the second.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    DataFrame
        As ``scores.tsv``; see :func:`brainpred.probes.brain_bridge.summarise_pictures`.

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
    from brainpred.probes.brain_bridge import picture_scores, reconstruct_left_out, summarise_pictures
    from brainpred.reporting.bridge import reconstruction_figure, scores_figure
    from brainpred.reporting.style import save_figure

    _check_config(config)
    vae = load_vae(config.vae)
    if vae.config.data != "digits":
        raise ConfigError(f"A VAE of pictures of 28 x 28 pixels is needed, {config.vae!r} is one of {vae.config.data}.")
    pairs = _pairs(config, mnist, data, reporter)
    voxels, held_out, simulated = pairs.voxels, pairs.held_out, pairs.simulated
    pictures, view = _turn(pairs.pictures, vae, config, reporter)
    n_folds = len(held_out) if held_out else (10 if config.n_folds is None else config.n_folds or len(voxels))
    key = fingerprint(
        version=VERSION, voxels=_hash(voxels), pictures=_hash(pictures),
        vae=file_fingerprint(find_weights(config.vae, "VAE", SHIPPED)),
        n_folds=n_folds, unpaired=config.unpaired, seed=config.seed,
        held_out=[rows.tolist() for rows in held_out or ()],
    )  # fmt: skip
    out = make_directory(out)
    if (out / "bridge.json").is_file() and read_json(out / "bridge.json").get("key") == key:
        reporter.say(f"{out} holds this already, from the same arrays and settings; delete bridge.json to do it again.")
        return pd.read_csv(out / "scores.tsv", sep="\t")
    if config.unpaired:
        reporter.say(
            "The voxels' components see all patterns, but no picture left out (--strict: no such pattern either)."
        )
    with reporter.task("Leaving out pairs", n_folds) as advance:
        left_out = reconstruct_left_out(
            voxels, pictures, vae, n_folds=n_folds, held_out=held_out, unpaired=config.unpaired, seed=config.seed,
            advance=advance,
        )  # fmt: skip
    n_pairs, voxels, pictures = len(voxels), voxels[left_out.rows], pictures[left_out.rows]
    scores = {method: picture_scores(made, pictures) for method, made in left_out.pictures.items()}
    table = pd.DataFrame(summarise_pictures(scores, config.seed))
    by_pair = pd.concat(
        [pd.DataFrame({"pair": left_out.rows, "method": name, **values}) for name, values in scores.items()]
    )
    voxel_r = _correlate(voxels, left_out.voxels)
    for name, frame in (
        ("scores.tsv", table), ("pictures.tsv", by_pair),
        ("voxels.tsv", pd.DataFrame({"voxel": range(len(voxel_r)), "r": voxel_r})),
    ):  # fmt: skip
        write_table(out / name, frame)
    _write_pictures(out / "pictures.h5", pictures, left_out.pictures, left_out.spread)
    for name, figure in (
        ("reconstructions", reconstruction_figure(pictures, left_out.pictures, left_out.spread, simulated=simulated)),
        ("scores", scores_figure(table, left_out.coverage, voxel_r, simulated=simulated)),
    ):
        for suffix in (".png", ".svg"):
            save_figure(figure, out / f"{name}{suffix}")
    write_json(
        out / "bridge.json",
        {
            **asdict(config), "key": key, "simulated": simulated, "n_pairs": n_pairs, "n_left_out": len(voxels),
            "n_voxels": voxels.shape[1], "view": view, "voxel_latents": left_out.n_latents,
            "coverage_of_90_percent_intervals": left_out.coverage, "median_voxel_r": float(np.median(voxel_r)),
            "provenance": provenance(),
        },
    )  # fmt: skip
    reporter.say(
        f"90 % intervals hold {left_out.coverage:.1%} of the pictures' latents; voxels predicted from pictures: median "
        f"r {np.median(voxel_r):.3f}, best tenth above {np.quantile(voxel_r, 0.9):.3f}."
    )
    return table


def _check_config(config: BrainBridgeConfig) -> None:
    """Raise :class:`ConfigError` if an option cannot be used."""
    from brainpred.probes.brain_bridge import VIEWS

    if (config.brain is None) != (config.pictures is None):
        raise ConfigError("Give both --brain and --images, or neither to simulate voxels.")
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
    """Hold brain patterns and pictures, what is left out together if that is known, and whether they were computed."""

    voxels: NDArray[np.float32]
    pictures: NDArray[np.float32]
    held_out: list[NDArray[np.int64]] | None
    simulated: bool


def _pairs(config: BrainBridgeConfig, mnist: Path | str | None, data: Path | str | None, reporter: Reporter) -> _Pairs:
    """Take pairs from arrays, from a recording, or from a simulation."""
    if config.subject:
        return _record(config, data, reporter)
    if config.brain is None:
        return _Pairs(*_simulate(config, mnist, data, reporter), None, True)
    return _Pairs(*_load(config, reporter), None, False)


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
    from brainpred.probes.brain_bridge import simulate_voxels

    digits = find_digits(mnist, data)
    reporter.say(f"No --brain and --images: voxels are simulated. Digits: {digits.source}.")
    rng = np.random.default_rng(config.seed)
    if not 20 <= config.n_simulated <= len(digits.test[1]):
        raise ConfigError(f"20 to {len(digits.test[1])} pairs can be simulated, not {config.n_simulated}.")
    chosen = rng.permutation(len(digits.test[1]))[: config.n_simulated]
    pictures = np.divide(digits.test[0][chosen], 255, dtype=np.float32)
    return simulate_voxels(pictures, rng), pictures


def _load(config: BrainBridgeConfig, reporter: Reporter) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read voxels and pictures, and bring pictures to 28 x 28 pixels in [0, 1]."""
    voxels = load_array(str(config.brain), "--brain").astype(np.float32)
    pictures = load_array(str(config.pictures), "--images").astype(np.float32)
    if voxels.ndim != 2:
        raise DataError(f"--brain: expected an array (pairs, voxels), received shape {voxels.shape}.")
    n = len(voxels)
    if len(pictures) != n and pictures.shape[-1] == n:
        pictures = np.moveaxis(pictures, -1, 0)  # pictures last, as MATLAB's users stack them
        reporter.say("--images: the last axis counts the pictures.")
    if len(pictures) != n:
        other = "" if len(pictures) != voxels.shape[1] else " The brain array may be voxels by pairs: turn it."
        raise DataError(
            f"Every brain pattern needs its picture: --brain holds {n} patterns, --images {len(pictures)} "
            f"pictures.{other}"
        )
    if pictures.ndim == 4 and pictures.shape[-1] in (1, 3, 4):
        pictures = pictures[..., :3].mean(axis=-1)
    if pictures.ndim == 2:
        side = round(pictures.shape[1] ** 0.5)
        if side * side != pictures.shape[1]:
            raise DataError(
                f"--images: {pictures.shape[1]} pixels make no square. Give pictures as (pairs, rows, columns)."
            )
        pictures = pictures.reshape(n, side, side)
    if pictures.ndim != 3:
        raise DataError(
            f"--images: expected (pairs, rows, columns) or (pairs, pixels), received shape {pictures.shape}."
        )
    low, high = float(pictures.min()), float(pictures.max())
    if low < 0 or high > 255 or low == high:
        raise DataError(f"--images: expected grey levels of 0 to 1 or 0 to 255, received {low:g} to {high:g}.")
    pictures = pictures / np.float32(255 if high > 1 else 1)
    if pictures.shape[1:] != (SIDE, SIDE):
        from skimage.transform import resize

        reporter.say(f"--images: {pictures.shape[1]} x {pictures.shape[2]} pixels are resized to {SIDE} x {SIDE}.")
        pictures = np.asarray([resize(picture, (SIDE, SIDE), anti_aliasing=True) for picture in pictures])
    return voxels, pictures.astype(np.float32)


def _turn(
    pictures: NDArray[np.float32], vae: Any, config: BrainBridgeConfig, reporter: Reporter
) -> tuple[NDArray[np.float32], str]:
    """Turn pictures to the view that the model knows; say so."""
    from brainpred.probes.brain_bridge import VIEWS, best_view

    plain = next(iter(VIEWS))
    view, bounds = best_view(pictures, vae, tuple(VIEWS))
    if config.view != "auto":
        view = config.view
    elif bounds[view] - bounds[plain] < CLEARLY:
        view = plain
    else:
        reporter.say(
            f"The model of digits knows these pictures best {view} ({bounds[view]:.0f} nats a picture, as they are "
            f"{bounds[plain]:.0f}): they are taken so. Force another with --view."
        )
    return np.ascontiguousarray(VIEWS[view](pictures)), view


def _correlate(measured: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlate voxels measured and predicted, over pairs."""
    from brainpred.numerics.scores import pearson_correlation

    return np.nan_to_num(pearson_correlation(measured.astype(float), predicted.astype(float)))


def _write_pictures(
    path: Path, seen: NDArray[np.float32], made: dict[str, NDArray[np.float32]], spread: NDArray[np.float32]
) -> None:
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name, pictures in {"seen": seen, **made, "bridge, standard deviation": spread}.items():
            file.create_dataset(name, data=pictures, compression="gzip")
