"""Train the reader of handwritten digits that judges drawings, and say how well it reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainpred.devices import resolve_device
from brainpred.errors import ConfigError
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import DigitImages, paint_scenes
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.storage import file_fingerprint, make_directory, write_json, write_text
from brainpred.studies.train_aligndraw import find_digits

if TYPE_CHECKING:
    from brainpred.models.digit_reader import DigitReader

__all__ = ["DigitTrainingConfig", "score_digit_reader", "train_digit_reader"]

N_SCENES = 1000  # scenes that are read for the score
GRAMMAR = "B"  # one digit a scene, in each of eight places


@dataclass(frozen=True)
class DigitTrainingConfig:
    """Say how to train.

    Attributes
    ----------
    epochs : int
        How often every digit is shown.
    batch_size : int
        Digits an update.
    learning_rate : float
        Adam's highest rate; it rises and falls once.
    seed : int
        Seed of weights, order, moves and dropout.
    """

    epochs: int = 4
    batch_size: int = 100
    learning_rate: float = 3e-3
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`ConfigError` unless every number can be used."""
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, received {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be more than 0, received {self.learning_rate}.")


def train_digit_reader(
    out: Path | str,
    config: DigitTrainingConfig | None = None,
    *,
    mnist: Path | str | None = None,
    data: Path | str | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> Path:
    """Train a reader of digits; resume where a run before was stopped.

    Parameters
    ----------
    out : Path or str
        Folder for weights (``digit_reader.safetensors``), their model card (``digit_reader.md``), ``scores.json``,
        the learning curve (``curve.csv``, TensorBoard) and checkpoints.
    config : DigitTrainingConfig, optional
        How to train.
    mnist, data : Path or str, optional
        Where the digits come from, as :func:`brainpred.studies.train_aligndraw.find_digits`.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        The safetensors file of the epoch with the fewest errors on the validation digits.

    Raises
    ------
    ConfigError
        If a setting cannot be used, or ``out`` holds another training.
    DataError
        If the file holds no digits.
    """
    import lightning

    from brainpred.models.digit_reader import DigitReader, load_digit_reader, save_digit_reader
    from brainpred.training.digits import DigitData, DigitReaderTraining
    from brainpred.training.run import claim_folder, fit

    settings = config or DigitTrainingConfig()
    settings.check()
    resolve_device(device)
    digits = find_digits(mnist, data)
    reporter.say(f"Digits: {digits.source}.")
    lightning.seed_everything(settings.seed, verbose=False)
    network = DigitReader()
    out = make_directory(out)
    claim_folder(out, {**asdict(settings), "digits": digits.source})
    writes = fit(
        DigitReaderTraining(network, settings.learning_rate, settings.seed),
        DigitData(digits, settings.batch_size, settings.seed),
        out,
        epochs=settings.epochs,
        monitor="validation_error",
        device=device,
        devices=1,
        description=f"Reader of digits, {settings.epochs} epochs",
        reporter=reporter,
    )
    weights = out / "digit_reader.safetensors"
    if writes:
        save_digit_reader(network, weights)
        scores = score_digit_reader(load_digit_reader(weights), digits, seed=settings.seed)
        write_json(out / "scores.json", scores)
        write_text(out / "digit_reader.md", _card(network, settings, digits, scores, file_fingerprint(weights)))
        reporter.say(
            f"{scores['alone']['accuracy']:.2%} of the test digits read right; "
            f"{scores['scenes']['joint']:.1%} of scenes, digit and place."
        )
    return weights


def score_digit_reader(
    reader: DigitReader, digits: DigitImages, *, n_scenes: int = N_SCENES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Count how many test digits a reader reads right, alone and in scenes.

    Parameters
    ----------
    reader : DigitReader
        The reader, on the CPU.
    digits : DigitImages
        Digits; those of the test are read.
    n_scenes : int
        Scenes to paint, of captions of grammar B.
    seed : int
        Where captions and scenes come from.

    Returns
    -------
    dict of str to dict
        ``"alone"``: ``n_pictures`` and ``accuracy``, the part that is read right. ``"scenes"``: what
        :func:`brainpred.probes.reading.validity` gives for scenes that show what their captions say.
    """
    from brainpred.probes.reading import validity
    from brainpred.training.digits import Digits

    pictures, labels = Digits.of(*digits.test)
    right = reader.probabilities(pictures).argmax(1) == labels
    captions, rng = load_grammar(GRAMMAR).captions, np.random.default_rng(seed)
    chosen = [captions[index] for index in rng.integers(len(captions), size=n_scenes)]
    scenes = paint_scenes(chosen, digits.test, rng)
    return {
        "alone": {"n_pictures": len(labels), "accuracy": float(right.double().mean())},
        "scenes": validity(chosen, scenes, reader),
    }


def _card(
    network: DigitReader,
    settings: DigitTrainingConfig,
    digits: DigitImages,
    scores: dict[str, dict[str, Any]],
    weights_sha256: str,
) -> str:
    """Describe trained weights, in Markdown, for those who will use them."""
    options = "\n".join(f"| {name} | {value} |" for name, value in asdict(settings).items())
    alone, scenes = scores["alone"], scores["scenes"]
    interval = f"{scenes['joint_low']:.3f} to {scenes['joint_high']:.3f}"
    n_train, n_validation, n_test = (len(labels) for _, labels in (digits.train, digits.validation, digits.test))
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    return f"""# Reader of handwritten digits

{n_parameters:,} parameters, float32. Written by `brainpred train digits` (version
{provenance()["versions"]["brainpred"]}). SHA-256 of the weights begins with {weights_sha256}.
Licence: to be stated by whoever gives these weights away; the digits' licence applies. Digits: {digits.source}:
{n_train:,} to train on, {n_validation:,} to choose the epoch by, {n_test:,} for the scores.

## Settings

| setting | value |
|---|---|
{options}

## Scores

Of test digits, which were never trained on. Scenes: one digit on a canvas of 60 x 60 pixels, found, centred and read; a
scene counts if the digit is the one its caption names, and in the right place.

| | pictures | digits right | digits and places right | 95 % interval |
|---|---|---|---|---|
| digits alone | {alone["n_pictures"]} | {alone["accuracy"]:.4f} | | |
| scenes | {scenes["n_pictures"]} | {scenes["digits"]:.3f} | {scenes["joint"]:.3f} | {interval} |
"""
