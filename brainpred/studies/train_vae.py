"""Train the variational autoencoders of digits and of labels, and say how well they model test data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainpred.devices import resolve_device
from brainpred.errors import ConfigError
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.storage import file_fingerprint, make_directory, write_json, write_text
from brainpred.studies.train_aligndraw import find_digits

if TYPE_CHECKING:
    from brainpred.models.vae import VAE
    from brainpred.movies.scenes import DigitImages

__all__ = ["VAETrainingConfig", "score_vae", "train_vae"]

N_SCORED = 1000  # test samples that the score is taken from
# Sizes and defaults of the two; documents 002's latents, the hidden layers are brainpred's.
SIZES = {"digits": (64, (512, 512)), "labels": (2, (64,))}
EPOCHS = {"digits": 60, "labels": 10}
WEIGHTS = {"digits": 1.0, "labels": 0.25}


@dataclass(frozen=True)
class VAETrainingConfig:
    """Say what to train and how.

    Attributes
    ----------
    of : {"digits", "labels"}
        Pictures of 28 x 28 pixels with 64 latents, or labels 0 to 9 with 2.
    epochs : int or None
        How often every sample is shown; None: 60 for digits, 10 for labels. Document 002 stops one training at 3.
    batch_size : int
        Samples an update.
    learning_rate : float
        Adam's highest rate; it rises and falls once.
    divergence_weight : float or None
        Weight of the divergence in the bound; None: 1 for digits, 0.25 for labels, whose latents would be left unused
        with 1.
    seed : int
        Seed of weights, order and noise.
    """

    of: str = "digits"
    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    divergence_weight: float | None = None
    seed: int = 0

    def resolved(self) -> VAETrainingConfig:
        """Give the configuration with every default filled in, or raise :class:`ConfigError` if one cannot be used."""
        if self.of not in SIZES:
            raise ConfigError(f"A VAE can be trained of {' or '.join(SIZES)}, not of {self.of!r}.")
        filled = VAETrainingConfig(
            self.of, EPOCHS[self.of] if self.epochs is None else self.epochs, self.batch_size, self.learning_rate,
            WEIGHTS[self.of] if self.divergence_weight is None else self.divergence_weight, self.seed,
        )  # fmt: skip
        for name in ("epochs", "batch_size"):
            if getattr(filled, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, received {getattr(filled, name)}.")
        for name in ("learning_rate", "divergence_weight"):
            if not getattr(filled, name) > 0:
                raise ConfigError(f"{name} must be more than 0, received {getattr(filled, name)}.")
        return filled


def train_vae(
    out: Path | str,
    config: VAETrainingConfig | None = None,
    *,
    mnist: Path | str | None = None,
    data: Path | str | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> Path:
    """Train a variational autoencoder; resume where a run before was stopped.

    Trained on all digits but those of the test: 60,000 of MNIST, as document 002 does.

    Parameters
    ----------
    out : Path or str
        Folder for weights (``vae.safetensors``), their model card (``vae.md``), ``scores.json``, the learning curve
        (``curve.csv``, TensorBoard) and checkpoints.
    config : VAETrainingConfig, optional
        What to train and how.
    mnist, data : Path or str, optional
        Where the digits come from, as :func:`brainpred.studies.train_aligndraw.find_digits`.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Path
        The safetensors file of the epoch with the least loss.

    Raises
    ------
    ConfigError
        If a setting cannot be used, or ``out`` holds another training.
    DataError
        If the file holds no digits.
    """
    import lightning
    import torch

    from brainpred.models.vae import VAE, VAEConfig, load_vae, save_vae
    from brainpred.training.run import claim_folder, fit
    from brainpred.training.vae import VAEData, VAETraining

    settings = (config or VAETrainingConfig()).resolved()
    assert settings.epochs is not None
    assert settings.divergence_weight is not None
    resolve_device(device)
    digits = find_digits(mnist, data)
    reporter.say(f"Digits: {digits.source}.")
    column = 0 if settings.of == "digits" else 1
    samples = torch.from_numpy(np.concatenate([digits.train[column], digits.validation[column]]))
    lightning.seed_everything(settings.seed, verbose=False)
    vae = VAE(VAEConfig(settings.of, *SIZES[settings.of]))
    out = make_directory(out)
    claim_folder(out, {**asdict(settings), "digits": digits.source})
    writes = fit(
        VAETraining(vae, settings.learning_rate, settings.divergence_weight, settings.seed),
        VAEData(samples, settings.batch_size, settings.seed),
        out,
        epochs=settings.epochs,
        monitor="train_loss",
        device=device,
        devices=1,
        description=f"VAE of {settings.of}, {settings.epochs} epochs",
        reporter=reporter,
    )
    weights = out / "vae.safetensors"
    if writes:
        save_vae(vae, weights, half=True)
        scores = score_vae(load_vae(weights), digits, seed=settings.seed)
        write_json(out / "scores.json", scores)
        write_text(out / "vae.md", _card(vae, settings, digits, scores, file_fingerprint(weights)))
        reporter.say(f"log p of {scores['n']} test {settings.of}: {scores['log_p']:.2f} nats.")
    return weights


def score_vae(vae: VAE, digits: DigitImages, *, n: int = N_SCORED, seed: int = 0) -> dict[str, float]:
    """Estimate the log-likelihood of test data, and what of it the latents carry.

    Parameters
    ----------
    vae : VAE
        Model of digits or of labels.
    digits : DigitImages
        Digits; the first of the test are taken.
    n : int
        How many.
    seed : int
        Where the draws come from.

    Returns
    -------
    dict of str to float
        ``n``; ``log_p``, importance-sampled, with ``log_p_low``, ``log_p_high`` (95 % interval of the draws) and
        ``effective_draws`` of 500 (median); ``divergence`` of the posteriors from the prior; ``log_p_given_latents``;
        all in nats.
    """
    import torch

    from brainpred.models.likelihood import LikelihoodEstimate, importance_log_likelihood

    pictures, labels = (array[:n] for array in digits.test)
    x = torch.from_numpy(pictures).float() / 255 if vae.config.data == "digits" else torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        q = vae.posterior(x)
        z = q.base_dist.mean + q.base_dist.stddev * torch.randn(q.base_dist.mean.shape, generator=generator)
        estimate = LikelihoodEstimate.join(
            [importance_log_likelihood(vae, part, generator=generator) for part in x.split(100)]
        )
        low, high = estimate.interval
        return {
            "n": len(x), "log_p": estimate.mean, "log_p_low": low, "log_p_high": high,
            "effective_draws": float(estimate.effective.median()), "divergence": float(vae.divergence(q).mean()),
            "log_p_given_latents": float(vae.likelihood(z).log_prob(x).mean()),
        }  # fmt: skip


def _card(
    vae: VAE, settings: VAETrainingConfig, digits: DigitImages, scores: dict[str, float], weights_sha256: str
) -> str:
    """Describe trained weights, in Markdown, for those who will use them."""
    options = "\n".join(f"| {name} | {value} |" for name, value in asdict(settings).items())
    n_parameters = sum(parameter.numel() for parameter in vae.parameters())
    interval = f"{scores['log_p_low']:.2f} to {scores['log_p_high']:.2f}"
    n_train = len(digits.train[1]) + len(digits.validation[1])
    return f"""# Variational autoencoder of {settings.of}

{n_parameters:,} parameters, stored as float16; {vae.n_latent} latents. Written by `brainpred train vae` (version
{provenance()["versions"]["brainpred"]}). SHA-256 of the weights begins with {weights_sha256}.
Licence: to be stated by whoever gives these weights away; the digits' licence applies. Digits: {digits.source}:
{n_train:,} to train on.

## Settings

| setting | value |
|---|---|
{options}

## Scores

Of {scores["n"]} test {settings.of}, which were never trained on, in nats. log p is importance-sampled (500 draws
each, from the posterior and a wider one; effective draws {scores["effective_draws"]:.0f}); a grey pixel of g counts as
g times white and 1 - g times black.

| log p | 95 % interval of the draws | log p given the latents | divergence |
|---|---|---|---|
| {scores["log_p"]:.2f} | {interval} | {scores["log_p_given_latents"]:.3f} | {scores["divergence"]:.2f} |
"""
