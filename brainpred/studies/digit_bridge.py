"""Document 002's experiments: images from labels and labels from images, by a bridge between two VAEs."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainpred.devices import memory_budget_bytes
from brainpred.errors import ConfigError, DataError, MemoryBudgetError
from brainpred.progress import SILENT, Reporter
from brainpred.storage import atomic_path, file_fingerprint, fingerprint, make_directory
from brainpred.studies.digit_bridge_outputs import COMPARED, run_file, write_digit_bridge
from brainpred.studies.train_aligndraw import find_digits

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from brainpred.models.vae import VAE
    from brainpred.movies.scenes import DigitImages
    from brainpred.probes.digit_bridge import Digits

__all__ = ["IMAGE_VAES", "SETTINGS", "DigitBridgeConfig", "bridge_digits"]

VERSION = 5  # raise it when the same data and settings give other results
# Options of the bridge, by setting and direction ("image": labels to images; "label": images to labels).
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {"image": {"guidance": 4.0, "guide": "mixture"}, "label": {}},
    "document": {
        "image": {"family": "gaussian", "divergence": "reverse"},
        "label": {"family": "gaussian", "divergence": "reverse"},
    },
    "opposite divergence": {"image": {"family": "gaussian"}, "label": {"family": "gaussian"}},
    "network mixture": {"image": {"family": "mixture"}, "label": {"family": "mixture"}},
    "joint mixture": {"image": {}, "label": {}},
    "Bayes": {"image": {"base": "standard", "guidance": 1.0}, "label": {}},
}  # fmt: skip
IMAGE_VAES = {"trained": "digits", "3 epochs": "digits_3_epochs"}
N_READ = 2000
MOST_JOBS = 8  # processes
JOB_BYTES = 1.5e9  # of each
SHOWN = 8  # pictures a label in a figure


@dataclass(frozen=True)
class DigitBridgeConfig:
    """Say which experiments to run.

    Attributes
    ----------
    pairs : tuple of int
        Numbers of pairs, of those digits that the VAEs were not trained on; the rest evaluates.
    more_pairs : tuple of int
        Further ones, for the default setting with the trained image VAE.
    seeds : int
        How often everything is done, with other pairs.
    n_scored : int
        Digits whose likelihood is estimated.
    settings : tuple of str
        Settings that are compared at the least number of pairs, out of ``SETTINGS``.
    image_vaes : mapping of str to str
        Image models, by name: shipped names or files.
    label_vae : str
        Label model.
    seed : int
        First seed.
    """

    pairs: tuple[int, ...] = (256, 1024, 8192)
    more_pairs: tuple[int, ...] = (32, 64, 128, 512, 2048)
    seeds: int = 3
    n_scored: int = 200
    settings: tuple[str, ...] = tuple(SETTINGS)
    image_vaes: tuple[tuple[str, str], ...] = tuple(IMAGE_VAES.items())
    label_vae: str = "labels"
    seed: int = 0


@dataclass(frozen=True)
class _Run:
    """Name one bridge in both directions."""

    setting: str
    image_vae: str
    pairs: int
    seed: int


def bridge_digits(
    config: DigitBridgeConfig,
    out: Path | str,
    *,
    mnist: Path | str | None = None,
    data: Path | str | None = None,
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """Run document 002's experiments and write its tables and figures; resume where a run before was stopped.

    Parameters
    ----------
    config : DigitBridgeConfig
        Which experiments.
    out : Path or str
        Folder that receives ``runs.tsv`` (a row a bridge), ``table1.tsv`` and ``table2.tsv`` (means over seeds with
        intervals), figures (PNG and SVG), ``figures.npz`` (what they show), ``bridge.json``, and what runs have in
        ``runs/``.
    mnist, data : Path or str, optional
        Where the digits come from, as :func:`brainpred.studies.train_aligndraw.find_digits`.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    DataFrame
        As ``runs.tsv``; the columns of :func:`brainpred.probes.digit_bridge.judge_images` and
        :func:`brainpred.probes.digit_bridge.judge_labels`.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    DataError
        If there are not as many digits.
    MemoryBudgetError
        If a process that fits bridges was ended from outside.
    """
    import pandas as pd
    import torch
    from joblib import Parallel, cpu_count, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    from brainpred.models.vae import SHIPPED, load_vae
    from brainpred.models.weights_files import find_weights

    unknown = [name for name in config.settings if name not in SETTINGS]
    if unknown or config.seeds < 1 or config.n_scored < 1 or not config.pairs:
        raise ConfigError(
            f"Expected settings out of {', '.join(SETTINGS)}, numbers of pairs, and 1 seed and 1 scored digit or more; "
            f"received {', '.join(unknown) or 'fewer'}."
        )
    digits = find_digits(mnist, data)
    held_out = _held_out(digits, config)
    reporter.say(f"Digits: {digits.source}; {len(held_out.labels)} that no model was trained on.")
    names = {**dict(config.image_vaes), "label": config.label_vae}
    vaes = {name: load_vae(weights) for name, weights in names.items()}
    keys = {name: file_fingerprint(find_weights(weights, "VAE", SHIPPED)) for name, weights in names.items()}
    digits_key = _hash(held_out)
    folder = make_directory(make_directory(out) / "runs")
    runs, rows, missing = list(_plan(config)), {}, []
    for run in runs:
        options = SETTINGS[run.setting]
        key = fingerprint(
            version=VERSION, digits=digits_key, vaes=[keys[run.image_vae], keys["label"]], options=options,
            n_scored=config.n_scored, **asdict(run),
        )  # fmt: skip
        path = folder / run_file(run.setting, run.image_vae, run.pairs, run.seed)
        row = _saved(path, key)
        if row is None:
            missing.append(delayed(_run)(run, vaes, held_out, config, path, key))
        else:
            rows[run] = row
    with reporter.task("Bridges", len(runs)) as advance:
        advance(len(rows))
        # Thousands of small operations: a process a core is twice as fast as threads.
        n_fitting = int(memory_budget_bytes(None, torch.device("cpu")) / JOB_BYTES)
        n_jobs = max(1, min(len(missing), cpu_count(), MOST_JOBS, n_fitting))
        with parallel_config("loky", inner_max_num_threads=1):
            try:
                for run, row in Parallel(n_jobs, return_as="generator_unordered")(missing):
                    rows[run] = row
                    advance(1)
            except TerminatedWorkerError as error:
                raise MemoryBudgetError(
                    f"One of {n_jobs} processes was ended from outside, for lack of memory as a rule: each takes "
                    f"{JOB_BYTES / 1e9:.1f} GB. Free memory and run the same command again; what is done is kept."
                ) from error
    table = pd.DataFrame([rows[run] for run in runs])
    # On the same digits: other digits differ by more than bridges do.
    table["log_p_x_gain"] = table["log_p_x"] - table["log_p_x_own"]
    own = {name: _own(vaes, name, held_out, config) for name in dict(config.image_vaes)}
    write_digit_bridge(Path(out), table, own, config, digits.source, reporter)
    return table


def _hash(digits: Digits) -> str:
    """Hash digits and labels."""
    content = hashlib.sha256(digits.pictures.numpy().tobytes())
    content.update(digits.labels.numpy().tobytes())
    return content.hexdigest()[:16]


def _held_out(digits: DigitImages, config: DigitBridgeConfig) -> Digits:
    """Give the digits that the VAEs were not trained on: MNIST's test, or all of another collection."""
    import torch

    from brainpred.models.vae import SHIPPED
    from brainpred.probes.digit_bridge import Digits

    shipped = {*dict(config.image_vaes).values(), config.label_vae} <= set(SHIPPED)
    # The VAEs that ship have never seen scikit-learn's digits; one of the user's own may have been trained on them.
    parts = [digits.train, digits.validation, digits.test] if shipped and digits.source != "MNIST" else [digits.test]
    pictures, labels = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
    fewest, most = min((*config.pairs, *config.more_pairs)), max((*config.pairs, *config.more_pairs))
    if fewest < 10:
        raise DataError(f"{fewest} pairs cannot show all ten digits. Ask for 10 or more with --pairs.")
    if most + 100 > len(labels):
        raise DataError(
            f"{most} pairs and 100 digits to evaluate are more than the {len(labels)} of {digits.source}. Ask for "
            "fewer with --pairs, or fetch MNIST: brainpred data fetch mnist"
        )
    return Digits(torch.from_numpy(pictures).float() / 255, torch.from_numpy(labels))


def _plan(config: DigitBridgeConfig) -> Iterator[_Run]:
    """List the bridges to fit, the shortest first."""
    first = next(name for name, _ in config.image_vaes)
    compared = [name for name in config.settings if name in COMPARED]
    others = [name for name in config.settings if name not in COMPARED]
    for seed in range(config.seed, config.seed + config.seeds):
        for pairs in sorted(config.pairs):
            for image_vae, _ in config.image_vaes:
                yield from (_Run(setting, image_vae, pairs, seed) for setting in compared)
        yield from (_Run(setting, first, min(config.pairs), seed) for setting in others)
        if "default" in config.settings:
            further = [pairs for pairs in config.more_pairs if pairs not in config.pairs]
            yield from (_Run("default", first, pairs, seed) for pairs in further)


def _order(labels: Tensor, seed: int) -> Tensor:
    """Put digits in an order at random, the first of each label in front: a bridge must have seen them all."""
    import torch

    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first = torch.tensor([int((labels[order] == label).nonzero()[0]) for label in labels.unique()])
    others = torch.ones(len(order), dtype=torch.bool)
    others[first] = False
    return torch.cat([order[torch.sort(first)[0]], order[others]])


def _run(
    run: _Run, vaes: Mapping[str, VAE], held_out: Digits, config: DigitBridgeConfig, path: Path, key: str
) -> tuple[_Run, dict[str, Any]]:
    """Fit and judge one bridge in both directions."""
    from brainpred.models.bridge import LatentBridge
    from brainpred.models.digit_reader import load_digit_reader
    from brainpred.probes.digit_bridge import Digits, judge_images, judge_labels

    order = _order(held_out.labels, run.seed)
    pairs, rest = (Digits(*(array[rows] for array in held_out)) for rows in (order[: run.pairs], order[run.pairs :]))
    options, models = SETTINGS[run.setting], (vaes["label"], vaes[run.image_vae])
    to_image = LatentBridge(*models, seed=run.seed, **options["image"]).fit((pairs.labels, pairs.pictures))
    to_label = LatentBridge(*models[::-1], seed=run.seed, **options["label"]).fit((pairs.pictures, pairs.labels))
    image_scores, made = judge_images(to_image, rest, load_digit_reader(), config.n_scored, run.seed)
    label_scores, (points, labels) = judge_labels(to_label, rest, config.n_scored, N_READ, run.seed)
    row = {**asdict(run), **image_scores, **label_scores, "n_components": to_image.chosen_.get("n_components", np.nan)}
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, key=key, names=np.array(list(row)), values=np.array([str(value) for value in row.values()]),
            made=(255 * made[:SHOWN].numpy()).round().astype(np.uint8), points=points.numpy(), labels=labels.numpy(),
            image_curve=np.array(to_image.curve_), label_curve=np.array(to_label.curve_),
        )  # fmt: skip
    return run, row


def _saved(path: Path, key: str) -> dict[str, Any] | None:
    """Give the row of a run that is there already; None where there is none."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            if str(content["key"]) != key:
                return None
            row: dict[str, Any] = dict(zip(content["names"].tolist(), content["values"].tolist(), strict=True))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # damaged: it is fitted again
        return None
    return {
        name: value if name in ("setting", "image_vae") else int(value) if name in ("pairs", "seed") else float(value)
        for name, value in row.items()
    }


def _own(
    vaes: Mapping[str, VAE],
    image_vae: str,
    held_out: Digits,
    config: DigitBridgeConfig,
) -> dict[str, Any]:
    """Score a pair of VAEs by themselves, and let them generate: samples that show each label, inferred latents."""
    import torch

    from brainpred.models.digit_reader import load_digit_reader
    from brainpred.probes.digit_bridge import own_scores

    models = {"image": vaes[image_vae], "label": vaes["label"]}
    generator = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode():
        made = models["image"].likelihood(torch.randn((4000, models["image"].n_latent), generator=generator)).mean
        read = load_digit_reader().probabilities(made)
        # The VAE itself knows no labels: of its samples, those that the reader takes for each.
        chosen = torch.stack([made[read.argmax(dim=1) == label][:SHOWN] for label in range(10)], dim=1)
        q = models["label"].posterior(held_out.labels[:N_READ]).base_dist
        points = q.mean + q.stddev * torch.randn(q.mean.shape, generator=generator)
    return {
        "scores": own_scores(models, held_out, config.n_scored, config.seed),
        "made": (255 * chosen.numpy()).round().astype(np.uint8),
        "points": (points.numpy(), held_out.labels[:N_READ].numpy()),
    }  # fmt: skip
