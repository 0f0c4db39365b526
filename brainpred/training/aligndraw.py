"""Train alignDRAW with Lightning: the published optimiser, or a recipe that gets there several times sooner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from brainpred.models.aligndraw import AlignDRAW
from brainpred.movies.captions import Caption, Grammar, group_by_template
from brainpred.movies.scenes import DigitImages, paint_scenes

__all__ = ["RECIPES", "AlignDRAWTraining", "Recipe", "SceneBatches", "SceneData"]

WARM_UP_STEPS = 200
VALIDATION_SCENES = 400
VALIDATION_EPOCH = 2**32 - 1  # which no training reaches
_Value = TypeVar("_Value", int, float)


def _at(stages: tuple[tuple[float, _Value], ...], done: float) -> _Value:
    """Give the value of the stage in which a part ``done`` of the training is over."""
    for share, value in stages:
        done -= share
        if done < 0:
            return value
    return stages[-1][1]


@dataclass(frozen=True)
class Recipe:
    """Say how the weights are moved.

    Attributes
    ----------
    optimizer : {"rmsprop", "adam"}
        RMSProp with decay 0.9, or Adam.
    learning_rate : float
        Highest rate.
    cosine : bool
        Whether the rate rises over 200 steps and falls along half a cosine, or stays.
    clip_norm : float
        Longest gradient.
    stages : tuple of (float, int)
        Parts of the training and how many steps T a drawing has in each, if the network has as many.
    n_lessons : int
        Lessons in reading before the drawing begins (:func:`brainpred.training.lessons.teach_reading`); after them the
        encoder of captions stays as it is. 0: the encoder learns from the drawing alone.
    kl_weights : tuple of (float, float)
        Parts of the training and the weight of the KL divergence in the loss in each. Where it is above 1, what z says
        of the digits costs more than what the caption says of them, so that captions are used.
    """

    optimizer: str
    learning_rate: float
    cosine: bool
    clip_norm: float
    stages: tuple[tuple[float, int], ...]
    n_lessons: int = 0
    kl_weights: tuple[tuple[float, float], ...] = ((1.0, 1.0),)

    def n_steps(self, done: float) -> int:
        """Give T where a part ``done`` of the training, 0 to 1, is over."""
        return _at(self.stages, done)

    def kl_weight(self, done: float) -> float:
        """Give the weight of the KL divergence where a part ``done`` of the training, 0 to 1, is over."""
        return _at(self.kl_weights, done)

    def rate(self, step: int, n_updates: int) -> float:
        """Give the factor on the learning rate."""
        if not self.cosine:
            return 1.0
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / n_updates)))


RECIPES = {
    "document": Recipe("rmsprop", 1e-3, cosine=False, clip_norm=10.0, stages=((1.0, 32),)),
    # The weights are the same at every step of a drawing, so most can be learned on short ones.
    "fast": Recipe("adam", 2e-3, cosine=True, clip_norm=50.0, stages=((0.55, 8), (0.25, 16), (0.2, 32))),
}
# Drawing at the full rate, the encoder would forget its lessons within 250 updates.
RECIPES["lessons"] = replace(RECIPES["fast"], learning_rate=1.5e-3, n_lessons=2000, kl_weights=((0.2, 1.0), (0.8, 3.0)))


class Scenes(NamedTuple):
    """Hold a batch: numbers of tokens (n, n_places) and pictures (n, height, width)."""

    tokens: Tensor
    pictures: Tensor


class SceneBatches(Dataset[Scenes]):
    """Draw captions and paint scenes for them, a batch an item; each depends on (seed, epoch, index) alone.

    Parameters
    ----------
    grammar : Grammar
        Where tokens get their numbers.
    captions : sequence of Caption
        Captions to draw from; every template is as frequent as every other.
    digits : (ndarray, ndarray)
        Handwritten digits, as :func:`brainpred.movies.scenes.paint_scenes` takes them.
    batch_size, n_batches : int
        Scenes a batch and batches an epoch.
    seed, epoch : int
        Where the random numbers start.
    """

    def __init__(
        self,
        grammar: Grammar,
        captions: Sequence[Caption],
        digits: tuple[NDArray[np.uint8], NDArray[np.int64]],
        batch_size: int = 100,
        n_batches: int = 200,
        *,
        seed: int = 0,
        epoch: int = 0,
    ):
        self.grammar, self.digits = grammar, digits
        self.batch_size, self.n_batches, self.seed, self.epoch = batch_size, n_batches, seed, epoch
        self._templates = group_by_template(captions)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self.n_batches

    def __getitem__(self, index: int) -> Scenes:
        """Give one batch."""
        if not 0 <= index < self.n_batches:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        chosen = []
        for template in rng.integers(len(self._templates), size=self.batch_size):
            captions = self._templates[template]
            chosen.append(captions[rng.integers(len(captions))])
        pictures = paint_scenes(chosen, self.digits, rng)
        return Scenes(torch.from_numpy(self.grammar.encode(chosen)), torch.from_numpy(pictures))


class SceneData(lightning.LightningDataModule):
    """Give scenes to train on, new ones every epoch, and always the same ones to choose the best epoch by.

    Parameters
    ----------
    grammar : Grammar
        Captions; those that name a held-out combination are left out.
    digits : DigitImages
        Handwritten digits.
    batch_size, n_batches : int
        Scenes a batch and batches an epoch.
    seed : int
        Where the random numbers start.
    """

    def __init__(self, grammar: Grammar, digits: DigitImages, batch_size: int, n_batches: int, seed: int):
        super().__init__()
        seen, _ = grammar.split()
        self.train = SceneBatches(grammar, seen, digits.train, batch_size, n_batches, seed=seed)
        n_validation = max(1, VALIDATION_SCENES // batch_size)
        self.validation = SceneBatches(
            grammar, seen, digits.validation, batch_size, n_validation, seed=seed, epoch=VALIDATION_EPOCH
        )

    def train_dataloader(self) -> DataLoader[Scenes]:
        """Give the batches of the epoch that begins."""
        self.train.epoch = self.trainer.current_epoch if self.trainer else 0
        return DataLoader(self.train, batch_size=None)

    def val_dataloader(self) -> DataLoader[Scenes]:
        """Give the batches that choose the best epoch."""
        return DataLoader(self.validation, batch_size=None)


class AlignDRAWTraining(lightning.LightningModule):
    """Hold an alignDRAW with its optimiser.

    Parameters
    ----------
    network : AlignDRAW
        Network to train.
    recipe : Recipe
        How.
    entropy_penalty : float
        Weight of the attention's entropy (nats, mean over steps) in the loss: sharper attention.
    seed : int
        Where noise starts.
    """

    def __init__(self, network: AlignDRAW, recipe: Recipe, entropy_penalty: float = 0.0, seed: int = 0):
        super().__init__()
        self.network, self.recipe, self.entropy_penalty, self.seed = network, recipe, entropy_penalty, seed

    def training_step(self, batch: Scenes, batch_index: int) -> Tensor:
        """Give the loss of one batch: the negative evidence lower bound in nats a picture."""
        tokens, pictures = batch
        done = self.global_step / int(self.trainer.estimated_stepping_batches)
        n_steps = min(self.recipe.n_steps(done), self.network.config.n_steps)
        # Noise depends on the update alone, so that a resumed training goes on as if it had not been stopped.
        generator = torch.Generator(tokens.device).manual_seed((self.seed << 32) + self.global_step)
        drawing = self.network(tokens, pictures, n_steps=n_steps, generator=generator)
        nll, kl = (part.mean() for part in self.network.loss(drawing, pictures))
        loss = nll + self.recipe.kl_weight(done) * kl
        if self.entropy_penalty:
            loss = loss + self.entropy_penalty * _entropy(drawing.alpha)
        self.log_dict(
            {"nll": nll, "kl": kl, "train_loss": nll + kl}, on_step=False, on_epoch=True, batch_size=len(tokens)
        )
        return loss

    def validation_step(self, batch: Scenes, batch_index: int) -> None:
        """Log the loss of new pictures as it is at the end of the training: with every step, and the last KL weight."""
        tokens, pictures = batch
        generator = torch.Generator(tokens.device).manual_seed(self.seed + batch_index)
        drawing = self.network(tokens, pictures, generator=generator)
        nll, kl = self.network.loss(drawing, pictures)
        loss = (nll + self.recipe.kl_weight(1.0) * kl).mean()
        self.log("validation_loss", loss, batch_size=len(tokens))

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """Give the optimiser with its schedule."""
        recipe, parameters = self.recipe, self.network.parameters()
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, lr=recipe.learning_rate)
            if recipe.optimizer == "adam"
            else torch.optim.RMSprop(parameters, lr=recipe.learning_rate, alpha=0.9)
        )
        n_updates = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.rate(step, n_updates))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *arguments: Any, **options: Any) -> None:
        """Shorten long gradients."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)


def _entropy(alpha: Tensor) -> Tensor:
    """Give the mean entropy of attention in nats; at padding, where it is 0, without the infinite slope."""
    return -(alpha * torch.log(alpha.clamp_min(torch.finfo(alpha.dtype).tiny))).sum(2).mean()
