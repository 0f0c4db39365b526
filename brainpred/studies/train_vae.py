"""Train the variational autoencoders of digits, of labels and of movie frames, and say how well they model data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from brainpred.devices import resolve_device
from brainpred.errors import ConfigError
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.stimulus import AnyMovie
from brainpred.storage import file_fingerprint, make_directory, write_json, write_text
from brainpred.studies.train_aligndraw import find_digits

if TYPE_CHECKING:
    from torch import Tensor

    from brainpred.models.vae import VAE

__all__ = ["VAETrainingConfig", "score_vae", "train_vae"]

# Sizes and defaults; documents 002's latents of digits and labels, the hidden layers are brainpred's.
SIZES = {"digits": (64, (512, 512)), "labels": (2, (64,)), "frames": (64, (16, 32, 64, 64))}
EPOCHS = {"digits": 60, "labels": 10, "frames": 10}
BATCHES = {"digits": 128, "labels": 128, "frames": 64}
WEIGHTS = {"digits": 1.0, "labels": 0.25, "frames": 1.0}
N_SCORED = {"digits": 1000, "labels": 1000, "frames": 20}  # samples that the score is taken from
AT_ONCE = {"digits": 100, "labels": 100, "frames": 1}
FRAME_SIZE = (64, 80)
N_FRAMES = 4000  # more of the same movies take longer and show little that is new


@dataclass(frozen=True)
class VAETrainingConfig:
    """Say what to train and how.

    Attributes
    ----------
    of : {"digits", "labels", "frames"}
        Pictures of 28 x 28 pixels with 64 latents, labels 0 to 9 with 2, or frames of movies with 64.
    epochs : int or None
        How often every sample is shown; None: 60 for digits, 10 for labels and frames. Document 002 stops one
        training at 3.
    batch_size : int or None
        Samples an update; None: 128, of frames 64.
    learning_rate : float
        Adam's highest rate; it rises and falls once.
    divergence_weight : float or None
        Weight of the divergence in the bound; None: 1, but 0.25 for labels, whose latents would be left unused with 1.
    seed : int
        Seed of weights, order and noise.
    size : (height, width) or None
        Size of frames in pixels; None: 64 x 80.
    """

    of: str = "digits"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 2e-3
    divergence_weight: float | None = None
    seed: int = 0
    size: tuple[int, int] | None = None

    def resolved(self) -> VAETrainingConfig:
        """Give the configuration with every default filled in, or raise :class:`ConfigError` if one cannot be used."""
        if self.of not in SIZES:
            raise ConfigError(f"A VAE can be trained of {' or '.join(SIZES)}, not of {self.of!r}.")
        if self.size and self.of != "frames":
            raise ConfigError(f"A size is for frames, {self.of} have their own.")
        filled = VAETrainingConfig(
            self.of, EPOCHS[self.of] if self.epochs is None else self.epochs,
            BATCHES[self.of] if self.batch_size is None else self.batch_size, self.learning_rate,
            WEIGHTS[self.of] if self.divergence_weight is None else self.divergence_weight, self.seed,
            (self.size or FRAME_SIZE) if self.of == "frames" else None,
        )  # fmt: skip
        for name in ("epochs", "batch_size"):
            if getattr(filled, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, received {getattr(filled, name)}.")
        for name in ("learning_rate", "divergence_weight"):
            if not getattr(filled, name) > 0:
                raise ConfigError(f"{name} must be more than 0, received {getattr(filled, name)}.")
        return filled


class _Samples(NamedTuple):
    """Hold what is trained on, what the score is taken from, and how both are described."""

    train: Tensor
    scored: Tensor
    origin: dict[str, Any]
    said: str
    judged: str


def train_vae(
    out: Path | str,
    config: VAETrainingConfig | None = None,
    *,
    movies: Sequence[AnyMovie] = (),
    mnist: Path | str | None = None,
    data: Path | str | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> Path:
    """Train a variational autoencoder; resume where a run before was stopped.

    Of digits, all but those of the test are trained on: 60,000 of MNIST, as document 002 does. Of movies, at most 4,000
    frames, evenly spread.

    Parameters
    ----------
    out : Path or str
        Folder for weights (``vae.safetensors``), their model card (``vae.md``), ``scores.json``, the learning curve
        (``curve.csv``, TensorBoard) and checkpoints.
    config : VAETrainingConfig, optional
        What to train and how.
    movies : sequence of Movie, Path or str
        Where frames come from.
    mnist, data : Path or str, optional
        Where digits come from, as :func:`brainpred.studies.train_aligndraw.find_digits`.
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
        If a file holds no digits or frames.
    """
    import lightning

    from brainpred.models.vae import VAE, VAEConfig, load_vae, save_vae
    from brainpred.training.run import claim_folder, fit
    from brainpred.training.vae import VAEData, VAETraining

    settings = (config or VAETrainingConfig()).resolved()
    assert settings.epochs is not None
    assert settings.batch_size is not None
    assert settings.divergence_weight is not None
    if movies and settings.of != "frames":
        raise ConfigError(
            f"Movies are for frames, not for {settings.of}: leave out --movies, or train with --of frames."
        )
    resolve_device(device)
    samples = _frames(settings, movies) if settings.of == "frames" else _digits(settings, mnist, data)
    reporter.say(samples.said)
    lightning.seed_everything(settings.seed, verbose=False)
    n_latent, hidden = SIZES[settings.of]
    vae = VAE(
        VAEConfig("frames", n_latent, _fitting(hidden, settings.size), settings.size)
        if settings.size
        else VAEConfig(settings.of, n_latent, hidden)
    )
    out = make_directory(out)
    claim_folder(out, {**asdict(settings), **samples.origin})
    writes = fit(
        VAETraining(vae, settings.learning_rate, settings.divergence_weight, settings.seed),
        VAEData(samples.train, settings.batch_size, settings.seed),
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
        scores = score_vae(load_vae(weights), samples.scored, seed=settings.seed)
        write_json(out / "scores.json", scores)
        write_text(out / "vae.md", _card(vae, settings, samples, scores, file_fingerprint(weights)))
        reporter.say(f"log p of {scores['n']} {samples.judged}: {scores['log_p']:.2f} nats.")
    return weights


def _digits(settings: VAETrainingConfig, mnist: Path | str | None, data: Path | str | None) -> _Samples:
    """Take digits, or their labels."""
    import torch

    digits = find_digits(mnist, data)
    column = 0 if settings.of == "digits" else 1
    train = torch.from_numpy(np.concatenate([digits.train[column], digits.validation[column]]))
    scored = torch.from_numpy(digits.test[column][: N_SCORED[settings.of]])
    return _Samples(
        train, scored, {"digits": digits.source}, f"Digits: {digits.source}.",
        f"test {settings.of}, which were never trained on",
    )  # fmt: skip


def _frames(settings: VAETrainingConfig, movies: Sequence[AnyMovie]) -> _Samples:
    """Take frames of movies."""
    import torch

    from brainpred.movies.programme import movie_fingerprint
    from brainpred.movies.video import sample_frames

    if not movies:
        raise ConfigError("Name the movies whose frames are modelled with --movies.")
    assert settings.size is not None
    frames = torch.from_numpy(sample_frames(movies, settings.size, N_FRAMES)).permute(0, 3, 1, 2)
    known: dict[Path, str] = {}
    height, width = settings.size
    return _Samples(
        frames, frames[:: -(-len(frames) // N_SCORED["frames"])],
        {"movies": [movie_fingerprint(movie, known) for movie in movies]},
        f"{len(frames):,} frames of {len(movies)} movie(s), {height} x {width} pixels.",
        "frames of the movies that were trained on",
    )  # fmt: skip


def _fitting(channels: tuple[int, ...], size: tuple[int, int]) -> tuple[int, ...]:
    """Leave out the last layers, each of which halves the frame, where its sides cannot be halved so often."""
    n_layers = next(n for n in range(len(channels), 0, -1) if n == 1 or all(side % 2**n == 0 for side in size))
    return channels[:n_layers]


def score_vae(vae: VAE, samples: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Estimate the log-likelihood of data, and what of it the latents carry.

    Parameters
    ----------
    vae : VAE
        Model of the data.
    samples : Tensor (n, ...)
        Labels, or pictures of uint8.
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

    x = samples.float() / 255 if samples.dtype == torch.uint8 else samples
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        q = vae.posterior(x)
        z = q.base_dist.mean + q.base_dist.stddev * torch.randn(q.base_dist.mean.shape, generator=generator)
        estimate = LikelihoodEstimate.join(
            [importance_log_likelihood(vae, part, generator=generator) for part in x.split(AT_ONCE[vae.config.data])]
        )
        low, high = estimate.interval
        return {
            "n": len(x), "log_p": estimate.mean, "log_p_low": low, "log_p_high": high,
            "effective_draws": float(estimate.effective.median()), "divergence": float(vae.divergence(q).mean()),
            "log_p_given_latents": float(vae.likelihood(z).log_prob(x).mean()),
        }  # fmt: skip


def _card(
    vae: VAE, settings: VAETrainingConfig, samples: _Samples, scores: dict[str, float], weights_sha256: str
) -> str:
    """Describe trained weights, in Markdown, for those who will use them."""
    options = "\n".join(f"| {name} | {value} |" for name, value in asdict(settings).items() if value is not None)
    n_parameters = sum(parameter.numel() for parameter in vae.parameters())
    interval = f"{scores['log_p_low']:.2f} to {scores['log_p_high']:.2f}"
    return f"""# Variational autoencoder of {settings.of}

{n_parameters:,} parameters, stored as float16; {vae.n_latent} latents. Written by `brainpred train vae` (version
{provenance()["versions"]["brainpred"]}). SHA-256 of the weights begins with {weights_sha256}.
Licence: to be stated by whoever gives these weights away; that of the data applies. {samples.said}
{len(samples.train):,} samples to train on.

## Settings

| setting | value |
|---|---|
{options}

## Scores

Of {scores["n"]} {samples.judged}, in nats. log p is importance-sampled (500 draws each, from the posterior and a wider
one; effective draws {scores["effective_draws"]:.0f}); a grey pixel of g counts as g times white and 1 - g times black.

| log p | 95 % interval of the draws | log p given the latents | divergence |
|---|---|---|---|
| {scores["log_p"]:.2f} | {interval} | {scores["log_p_given_latents"]:.3f} | {scores["divergence"]:.2f} |
"""
