"""Train alignDRAW on captions and scenes, and judge what it then draws."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainpred.devices import resolve_device, resolve_precision
from brainpred.errors import ConfigError
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import DigitImages
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.storage import make_directory, read_json, write_json, write_text

if TYPE_CHECKING:
    from brainpred.models.aligndraw import AlignDRAW, AlignDRAWConfig

__all__ = ["AlignDRAWTrainingConfig", "find_digits", "score_aligndraw", "train_aligndraw"]

N_JUDGED = 1000  # pictures that each score is taken from
READING = "reading.json"
WELL_READ = 0.99  # part of the captions, below which lessons have failed
BATCHES_AN_EPOCH = 200


@dataclass(frozen=True)
class AlignDRAWTrainingConfig:
    """Say what to train and how; the defaults are the document's.

    Attributes
    ----------
    study : {"A", "B", "english"}
        Captions, and with them the sizes of document 000, table 2 (``"english"`` has those of B).
    encoder : {"bidirectional", "forward", "embedding", "convolution"}
        Encoder of captions.
    recipe : {"document", "fast", "lessons"}
        RMSProp with every drawing in 32 steps; Adam, with short drawings first; or the same after lessons in reading.
    updates : int
        Updates of the weights, rounded up to whole epochs of 200.
    batch_size : int
        Scenes an update.
    steps : int
        Steps of a drawing, T.
    entropy_penalty : float
        Weight of the attention's entropy in the loss.
    precision : {"auto", "float32", "float64", "bfloat16"}
        What large products are multiplied in; ``"auto"``: bfloat16 where the hardware has units for it.
    seed : int
        Seed of weights, scenes and noise.
    start : str or None
        Network that draws already, a study whose network ships or a file: the weights of its drawing are taken over
        (:meth:`brainpred.models.aligndraw.AlignDRAW.draw_like`), and captions are learned anew.
    """

    study: str = "B"
    encoder: str = "bidirectional"
    recipe: str = "document"
    updates: int = 20_000
    batch_size: int = 100
    steps: int = 32
    entropy_penalty: float = 0.0
    precision: str = "auto"
    seed: int = 0
    start: str | None = None

    def check(self) -> None:
        """Raise :class:`ConfigError` unless everything can be used."""
        from brainpred.training.aligndraw import RECIPES

        load_grammar(self.study)
        if self.recipe not in RECIPES:
            raise ConfigError(f"Unknown recipe {self.recipe!r}. Choose one of: {', '.join(RECIPES)}.")
        for name, least in {"updates": 1, "batch_size": 1, "steps": 1, "entropy_penalty": 0}.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} must be {least} or more, received {getattr(self, name)}.")

    @property
    def network(self) -> AlignDRAWConfig:
        """Sizes of the network."""
        from brainpred.models.aligndraw import AlignDRAWConfig

        if self.study == "A":
            return AlignDRAWConfig(self.encoder, n_embedding=None, n_attention=512, n_steps=self.steps)
        return AlignDRAWConfig(self.encoder, n_embedding=32, n_attention=256, n_steps=self.steps)


def find_digits(mnist: Path | str | None = None, data: Path | str | None = None) -> DigitImages:
    """Find MNIST: the file named, else where ``brainpred data fetch mnist`` puts it, else scikit-learn's digits.

    Parameters
    ----------
    mnist : Path or str, optional
        ``mnist.npz``.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    DigitImages
        The digits; ``source`` says which.
    """
    from brainpred.movies.scenes import load_digits
    from brainpred.recordings.fetch import data_folder

    fetched = data_folder(data) / "mnist" / "mnist.npz"
    if mnist is not None and not Path(mnist).is_file():
        raise ConfigError(f"No file {mnist}. Get MNIST with: brainpred data fetch mnist")
    return load_digits(mnist or (fetched if fetched.is_file() else None))


def train_aligndraw(
    out: Path | str,
    config: AlignDRAWTrainingConfig | None = None,
    *,
    mnist: Path | str | None = None,
    data: Path | str | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> Path:
    """Train alignDRAW; resume where a run before was stopped.

    Captions that name a held-out combination of digit and place are never trained on.

    Parameters
    ----------
    out : Path or str
        Folder for weights (``aligndraw.safetensors``), their model card (``aligndraw.md``), ``scores.json``, what
        lessons reached (``reading.json``), the learning curve (``curve.csv``, TensorBoard) and checkpoints.
    config : AlignDRAWTrainingConfig, optional
        What and how.
    mnist, data : Path or str, optional
        Where the digits come from, as :func:`find_digits`.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        The safetensors file of the best epoch.

    Raises
    ------
    ConfigError
        If a setting cannot be used, ``out`` holds another training, or ``start`` names a network of other sizes.
    """
    import lightning

    from brainpred.models.aligndraw import AlignDRAW
    from brainpred.models.aligndraw_weights import load_aligndraw, save_aligndraw
    from brainpred.training.aligndraw import RECIPES, AlignDRAWTraining, SceneData
    from brainpred.training.lessons import teach_reading
    from brainpred.training.run import claim_folder, fit

    settings = config or AlignDRAWTrainingConfig()
    settings.check()
    grammar, digits = load_grammar(settings.study), find_digits(mnist, data)
    reporter.say(f"Digits: {digits.source}.")
    lightning.seed_everything(settings.seed, verbose=False)
    network = AlignDRAW(len(grammar.vocabulary), settings.network)
    network.multiplied = resolve_precision(settings.precision, resolve_device(device))[1]
    if settings.start is not None:
        network.draw_like(load_aligndraw(settings.start)[0])
    out = make_directory(out)
    n_batches = min(BATCHES_AN_EPOCH, settings.updates)
    claim_folder(out, {**asdict(settings), "digits": digits.source})
    recipe = RECIPES[settings.recipe]
    if recipe.n_lessons:
        if not (out / "checkpoints" / "last.ckpt").is_file():  # which holds what they learned
            parts = teach_reading(
                network.language, network.attention, grammar, recipe.n_lessons, settings.seed, reporter
            )
            write_json(out / READING, dict(zip(("seen", "held out"), parts, strict=True)))
        network.language.requires_grad_(False)
        reporter.say(_reading(read_json(out / READING)))
    writes = fit(
        AlignDRAWTraining(network, recipe, settings.entropy_penalty, settings.seed),
        SceneData(grammar, digits, settings.batch_size, n_batches, settings.seed),
        out,
        epochs=-(-settings.updates // n_batches),
        monitor="validation_loss",
        device=device,
        devices=1,
        description=f"alignDRAW {settings.study}, {settings.updates} updates",
        reporter=reporter,
    )
    weights = out / "aligndraw.safetensors"
    if writes:
        save_aligndraw(network, weights, settings.study)
        scores = score_aligndraw(weights, n_pictures=N_JUDGED, seed=settings.seed, device=device)
        write_json(out / "scores.json", scores)
        for name, score in scores.items():
            reporter.say(
                f"{name}: {score['joint']:.1%} of pictures as the caption says ({score['digits']:.1%} the digits)."
            )
        read = read_json(out / READING) if recipe.n_lessons else None
        write_text(out / "aligndraw.md", _card(network, settings, digits, scores, read))
    return weights


def score_aligndraw(
    weights: Path | str, *, n_pictures: int = N_JUDGED, seed: int = 0, device: str = "auto"
) -> dict[str, dict[str, Any]]:
    """Judge pictures of captions that were trained on, and of those with a held-out combination.

    Parameters
    ----------
    weights : Path or str
        alignDRAW's weights.
    n_pictures : int
        Pictures of each kind.
    seed : int
        Where captions and z come from.
    device : {"auto", "cpu", "cuda"}
        Where to compute.

    Returns
    -------
    dict of str to dict
        For ``"seen"`` and ``"held out"`` what :func:`brainpred.probes.reading.validity` gives.
    """
    from brainpred.models.aligndraw_weights import load_aligndraw
    from brainpred.models.digit_reader import load_digit_reader
    from brainpred.probes.reading import validity
    from brainpred.studies.aligndraw import check_pictures, draw_captions

    check_pictures(n_pictures)
    network, name = load_aligndraw(weights)
    grammar, rng, reader = load_grammar(name), np.random.default_rng(seed), load_digit_reader()
    scores = {}
    for kind, captions in zip(("seen", "held out"), grammar.split(), strict=True):
        chosen = [captions[index] for index in rng.integers(len(captions), size=n_pictures)]
        pictures = draw_captions(network, grammar, chosen, seed=seed, device=device)
        scores[kind] = validity(chosen, pictures, reader)
    return scores


def _reading(read: dict[str, float]) -> str:
    """Say how well captions are read after lessons."""
    poorly = "" if read["seen"] >= WELL_READ else " That is too little to tell captions apart: the drawing will suffer."
    return f"{read['seen']:.1%} of the captions are read, and {read['held out']:.1%} of those held out.{poorly}"


def _card(
    network: AlignDRAW,
    settings: AlignDRAWTrainingConfig,
    digits: DigitImages,
    scores: dict[str, dict[str, Any]],
    read: dict[str, float] | None,
) -> str:
    """Describe trained weights, in Markdown, for those who will use them."""
    options = "\n".join(f"| {name} | {value} |" for name, value in asdict(settings).items())
    rows = "\n".join(
        f"| {name} | {row['n_pictures']} | {row['digits']:.3f} | {row['joint']:.3f} | "
        f"{row['joint_low']:.3f} to {row['joint_high']:.3f} |"
        for name, row in scores.items()
    )
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    lessons = f"\n\nAfter the lessons: {_reading(read)}" if read else ""
    return f"""# alignDRAW, study {settings.study}

{n_parameters:,} parameters, float32. Written by `brainpred train aligndraw` (version
{provenance()["versions"]["brainpred"]}).
Licence: to be stated by whoever gives these weights away; the digits' licence applies. Digits: {digits.source}.

## Settings

| setting | value |
|---|---|
{options}{lessons}

## Scores

Pictures drawn from captions that were trained on, and from those with a combination of digit and place that was not;
judged by the reader of digits that ships (a picture counts if it shows the digits named, no others, in the right
places).

| captions | pictures | digits right | digits and places right | 95 % interval |
|---|---|---|---|---|
{rows}
"""
