"""Judge a bridge between images and labels of digits, in both directions, as document 002 does and beyond."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from brainpred.models.bridge import LatentBridge
from brainpred.models.digit_reader import DigitReader
from brainpred.models.likelihood import (
    LikelihoodEstimate,
    conditional_log_likelihood,
    grid_log_likelihood,
    importance_log_likelihood,
)
from brainpred.models.vae import VAE

__all__ = ["Digits", "judge_images", "judge_labels", "own_scores", "within_label_variance"]

N_LABELS = 10
GENERATED = 100  # pictures a label
READ_DRAWS = 200  # of the label's latents, for each image: with 30, their scatter costs half a percent of accuracy
DOCUMENT_DRAWS = 100  # of document 002's estimator


class Digits(NamedTuple):
    """Hold pictures of float32 (n, 28, 28) in [0, 1] and the labels, int64 (n,)."""

    pictures: Tensor
    labels: Tensor


def within_label_variance(pictures: Tensor) -> Tensor:
    """Sum the variance over samples of every pixel: of pictures (n_samples, n_labels, 28, 28), (n_labels,)."""
    return pictures.var(dim=0).sum(dim=(1, 2))


def _own_variance(image_vae: VAE, held_out: Digits, generator: torch.Generator) -> Tensor:
    """Give the variance within each label of what the image model makes of held-out images' own latents."""
    q = image_vae.posterior(held_out.pictures).base_dist
    z = q.mean + q.stddev * torch.randn(q.mean.shape, generator=generator)
    made = image_vae.likelihood(z).mean
    return torch.stack([made[held_out.labels == label].var(dim=0).sum() for label in range(N_LABELS)])


def _columns(name: str, estimate: LikelihoodEstimate) -> dict[str, float]:
    low, high = estimate.interval
    return {name: estimate.mean, f"{name}_low": low, f"{name}_high": high,
            f"{name}_effective": float(estimate.effective.median())}  # fmt: skip


@torch.no_grad()
def judge_images(
    bridge: LatentBridge, held_out: Digits, reader: DigitReader, n_scored: int, seed: int
) -> tuple[dict[str, float], Tensor]:
    r"""Judge images generated from labels.

    Parameters
    ----------
    bridge : LatentBridge
        From labels to images.
    held_out : Digits
        Digits that the bridge was not fitted to.
    reader : DigitReader
        Who says which digit a picture shows.
    n_scored : int
        How many of them to estimate the likelihood of.
    seed : int
        Where draws come from.

    Returns
    -------
    dict of str to float
        ``log_p_x``, :math:`\log p(x|y)` importance-sampled, with ``_low``, ``_high`` (95 % interval: what draws of
        latents and normalisers leave open, not other digits) and ``_effective`` (median effective draws of 500; where
        they are few, the estimate is a lower bound); ``log_p_x_own``, :math:`\log p(x)` of the image model itself on
        the same digits (a label is worth :math:`\log 10` at the most); ``log_p_x_document``, document 002's
        estimate; ``recognised``, the part of generated pictures read as their label; ``diversity``, their variance
        within a label over that of what the image model makes of held-out images' own latents.
    Tensor (n_samples, 10, 28, 28)
        Generated pictures, labels in order.
    """
    generator = torch.Generator().manual_seed(seed)
    made = bridge.sample(torch.arange(N_LABELS), GENERATED, generator)
    read = reader.probabilities(made.reshape(-1, *made.shape[2:])).argmax(dim=1).reshape(made.shape[:2])
    own = _own_variance(bridge.target, held_out, generator)  # type: ignore[arg-type]
    pictures, labels = held_out.pictures[:n_scored], held_out.labels[:n_scored]
    document = bridge.log_likelihood(labels, pictures, "conditional", DOCUMENT_DRAWS, generator)
    scores = {
        **_columns("log_p_x", bridge.log_likelihood(labels, pictures, generator=generator)),
        "log_p_x_own": importance_log_likelihood(bridge.target, pictures, generator=generator).mean,
        "log_p_x_document": document.mean,
        "recognised": float((read == torch.arange(N_LABELS)).float().mean()),
        "diversity": float((within_label_variance(made) / own).mean()),
    }
    return scores, made


@torch.no_grad()
def judge_labels(
    bridge: LatentBridge, held_out: Digits, n_scored: int, n_read: int, seed: int
) -> tuple[dict[str, float], tuple[Tensor, Tensor]]:
    r"""Judge labels inferred from images.

    Parameters
    ----------
    bridge : LatentBridge
        From images to labels.
    held_out : Digits
        Digits that the bridge was not fitted to.
    n_scored, n_read : int
        How many of them to estimate the likelihood of, and to read.
    seed : int
        Where draws come from.

    Returns
    -------
    dict of str to float
        ``log_p_y``, :math:`\log p(y|x)` importance-sampled, with ``_low``, ``_high`` and ``_effective``;
        ``log_p_y_grid``, the same by quadrature; ``log_p_y_document``, document 002's estimate; ``accuracy``, the part
        of images whose most probable label is right.
    (Tensor (n_read, 2), Tensor (n_read,))
        One draw of the label's latents for every image read, and the true labels: document 002's figure 3.
    """
    generator = torch.Generator().manual_seed(seed)
    estimates = {
        name: bridge.log_likelihood(held_out.pictures[:n_scored], held_out.labels[:n_scored], kind, n, generator)
        for name, kind, n in (
            ("", "importance", 500),
            ("_grid", "grid", 1),
            ("_document", "conditional", DOCUMENT_DRAWS),
        )
    }
    right, points = [], []
    for x, y in zip(held_out.pictures[:n_read].split(500), held_out.labels[:n_read].split(500), strict=True):
        z = bridge.draw_latents(x, READ_DRAWS, generator)
        made: Any = bridge.target.likelihood(z)
        right.append(made.probs.mean(dim=0).argmax(dim=1) == y)
        points.append(z[0])
    scores = {
        **_columns("log_p_y", estimates[""]),
        "log_p_y_grid": estimates["_grid"].mean,
        "log_p_y_document": estimates["_document"].mean,
        "accuracy": float(torch.cat(right).float().mean()),
    }
    return scores, (torch.cat(points), held_out.labels[:n_read])


@torch.no_grad()
def own_scores(models: Mapping[str, VAE], held_out: Digits, n_scored: int, seed: int) -> dict[str, float]:
    r"""Score the two models by themselves: what document 002 compares its bridges with.

    Parameters
    ----------
    models : mapping of str to VAE
        ``"image"`` and ``"label"``.
    held_out : Digits
        Digits that neither model was trained on.
    n_scored : int
        How many to score.
    seed : int
        Where draws come from.

    Returns
    -------
    dict of str to float
        As :func:`judge_images` and :func:`judge_labels`, with the marginals :math:`\log p(x)` and :math:`\log p(y)`
        and document 002's estimates, whose latents come from the posterior of the datum itself.
    """
    generator = torch.Generator().manual_seed(seed)
    scores: dict[str, float] = {}
    for name, model, data in (
        ("log_p_x", models["image"], held_out.pictures[:n_scored]),
        ("log_p_y", models["label"], held_out.labels[:n_scored]),
    ):
        scores |= _columns(name, importance_log_likelihood(model, data, generator=generator))
        drawn = conditional_log_likelihood(model, data, _posterior_draws(model, data, generator), DOCUMENT_DRAWS)
        scores[f"{name}_document"] = drawn.mean
    scores["log_p_y_grid"] = grid_log_likelihood(models["label"], held_out.labels[:n_scored]).mean
    return scores


def _posterior_draws(model: VAE, data: Tensor, generator: torch.Generator) -> Any:
    q = model.posterior(data).base_dist
    return lambda n: q.mean + q.stddev * torch.randn((n, *q.mean.shape), generator=generator)
