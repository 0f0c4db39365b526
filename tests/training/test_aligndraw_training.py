"""Recipes of alignDRAW, the scenes it is trained on, and its loss."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainpred.models.aligndraw import AlignDRAW, AlignDRAWConfig
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import load_digits
from brainpred.training.aligndraw import RECIPES, AlignDRAWTraining, Recipe, SceneBatches, SceneData

A = load_grammar("A")
DIGITS = load_digits()
SMALL = AlignDRAWConfig("forward", 3, n_language=4, n_attention=6, n_hidden=7, n_latent=5, n_steps=3, patch=3)


def test_stages_follow_their_shares():
    recipe = Recipe("adam", 1e-3, cosine=True, clip_norm=1, stages=((0.5, 8), (0.3, 16), (0.2, 32)))
    assert [recipe.n_steps(done) for done in (0, 0.499, 0.501, 0.79, 0.81, 0.999, 1.0)] == [8, 8, 16, 16, 32, 32, 32]
    for recipe in RECIPES.values():
        assert sum(share for share, _ in recipe.stages) == pytest.approx(1)
        assert recipe.n_steps(1.0) == 32


def test_rates_warm_up_and_fall():
    fast, document = RECIPES["fast"], RECIPES["document"]
    rates = np.array([fast.rate(step, 10_000) for step in range(10_000)])
    assert rates[0] == pytest.approx(1 / 200)
    assert rates.argmax() == 199
    assert (np.diff(rates[200:]) < 0).all()
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)
    assert {document.rate(step, 10_000) for step in (0, 5000, 9999)} == {1.0}


def test_the_document_uses_rmsprop():
    training = AlignDRAWTraining(AlignDRAW(9, SMALL), RECIPES["document"])
    training.trainer = SimpleNamespace(estimated_stepping_batches=10)
    optimizer = training.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert (optimizer.defaults["lr"], optimizer.defaults["alpha"]) == (1e-3, 0.9)
    assert RECIPES["document"].clip_norm == 10


def test_batches_depend_on_seed_epoch_and_index_alone():
    def batch(seed=0, epoch=0, index=1):
        return SceneBatches(A, A.captions, DIGITS.train, 5, 3, seed=seed, epoch=epoch)[index]

    assert all(torch.equal(a, b) for a, b in zip(batch(), batch(), strict=True))
    for other in (batch(seed=1), batch(epoch=1), batch(index=2)):
        assert not torch.equal(batch().pictures, other.pictures)
    with pytest.raises(IndexError):
        batch(index=3)


def test_templates_come_equally_often_and_held_out_captions_never():
    data = SceneData(A, DIGITS, batch_size=2000, n_batches=1, seed=0)
    tokens = data.train[0].tokens
    texts = ["".join(A.vocabulary[number] for number in row if number) for row in tokens]
    scenes = [A.parse(text).scene for text in texts]
    assert A.held_out.isdisjoint(pair for scene in scenes for pair in scene)
    counts = Counter(tuple(place for _, place in scene) for scene in scenes)
    assert len(counts) == 8
    assert all(abs(count - 250) < 5 * np.sqrt(250) for count in counts.values())


def test_validation_shows_other_digits_and_stays_the_same():
    data = SceneData(A, DIGITS, batch_size=4, n_batches=2, seed=0)
    first, again = (next(iter(data.val_dataloader())) for _ in range(2))
    assert torch.equal(first.pictures, again.pictures)
    assert data.validation.digits is DIGITS.validation
    assert len(data.validation) == 100


def test_entropy_penalty_adds_the_attentions_entropy(monkeypatch):
    batch = SceneBatches(A, A.captions, DIGITS.train, 5, 1)[0]
    monkeypatch.setattr(AlignDRAWTraining, "log_dict", lambda *arguments, **options: None)
    monkeypatch.setattr(AlignDRAWTraining, "trainer", SimpleNamespace(estimated_stepping_batches=10, global_step=0))
    torch.manual_seed(0)
    network = AlignDRAW(len(A.vocabulary), SMALL)
    losses = []
    for penalty in (0.0, 2.0):
        torch.manual_seed(1)
        losses.append(AlignDRAWTraining(network, RECIPES["fast"], penalty).training_step(batch, 0))
    torch.manual_seed(1)
    alpha = network(*batch, n_steps=8).alpha
    entropy = -(alpha * torch.log(alpha.clamp_min(1e-30))).sum(2).mean()
    torch.testing.assert_close(losses[1] - losses[0], 2 * entropy, atol=2e-3, rtol=1e-4)
