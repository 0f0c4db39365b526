"""Recipes of alignDRAW, the scenes it is trained on, and its loss."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from brainpred.models.aligndraw import AlignDRAW, AlignDRAWConfig
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import load_digits
from brainpred.training.aligndraw import RECIPES, AlignDRAWTraining, Recipe, SceneBatches, SceneData
from brainpred.training.run import CURVE, fit

A = load_grammar("A")
DIGITS = load_digits()
SMALL = AlignDRAWConfig("forward", 3, n_language=4, n_attention=6, n_hidden=7, n_latent=5, n_steps=9, patch=3)


def test_stages_follow_their_shares():
    recipe = Recipe("adam", 1e-3, cosine=True, clip_norm=1, stages=((0.5, 8), (0.3, 16), (0.2, 32)))
    assert [recipe.n_steps(done) for done in (0, 0.499, 0.501, 0.79, 0.81, 0.999, 1.0)] == [8, 8, 16, 16, 32, 32, 32]
    weighted = replace(recipe, kl_weights=((0.25, 1.0), (0.75, 3.0)))
    assert [weighted.kl_weight(done) for done in (0, 0.249, 0.251, 1.0)] == [1.0, 1.0, 3.0, 3.0]
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
    assert (RECIPES["document"].n_lessons, RECIPES["fast"].n_lessons) == (0, 0)


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


def _texts(grammar, tokens):
    return ["".join(grammar.vocabulary[number] for number in row if number) for row in tokens.tolist()]


def _training(monkeypatch, recipe, penalty=0.0, done=0.0):
    """Make a training that a trainer has brought so far."""
    monkeypatch.setattr(AlignDRAWTraining, "trainer", SimpleNamespace(estimated_stepping_batches=1000))
    monkeypatch.setattr(AlignDRAWTraining, "global_step", round(1000 * done))
    monkeypatch.setattr(AlignDRAWTraining, "log_dict", lambda *arguments, **options: None)
    monkeypatch.setattr(AlignDRAWTraining, "log", lambda *arguments, **options: None)
    torch.manual_seed(0)
    return AlignDRAWTraining(AlignDRAW(len(A.vocabulary), SMALL), recipe, penalty, seed=3)


@pytest.mark.parametrize("n_updates", [1000, 14_001])
def test_the_last_rate_is_a_fiftieth_and_the_middle_one_half_way_down(n_updates):
    fast = RECIPES["fast"]
    assert fast.rate(n_updates, n_updates) == pytest.approx(0.02)
    assert fast.rate(n_updates // 2, n_updates) == pytest.approx(0.51, abs=1e-3)
    assert fast.rate(99, n_updates) == pytest.approx(0.5, rel=0.05), "half way through the warm-up"


def test_rates_reach_the_optimizer(monkeypatch):
    training = _training(monkeypatch, RECIPES["fast"])
    configured = training.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    assert isinstance(optimizer, torch.optim.Adam)
    assert schedule["interval"] == "step"
    for step in range(4):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-3 * RECIPES["fast"].rate(step, 1000))
        optimizer.step()
        schedule["scheduler"].step()


@pytest.mark.parametrize(("done", "n_steps"), [(0, 8), (0.54, 8), (0.56, 16), (0.79, 16), (0.81, 32), (1, 32)])
@pytest.mark.parametrize("most", [32, 11])
def test_training_draws_as_many_steps_as_its_stage_if_the_network_has_them(monkeypatch, done, n_steps, most):
    training, batch = _training(monkeypatch, RECIPES["fast"], done=done), _batch()
    training.network = AlignDRAW(len(A.vocabulary), replace(SMALL, n_steps=most))
    forward, taken = AlignDRAW.forward, []

    def noted(self, *arguments, **options):
        drawing = forward(self, *arguments, **options)
        taken.append(drawing.alpha.shape[1])
        return drawing

    monkeypatch.setattr(AlignDRAW, "forward", noted)
    training.training_step(batch, 0)
    training.validation_step(batch, 0)
    assert taken == [min(n_steps, most), most]


def _batch(n=5):
    return SceneBatches(A, A.captions, DIGITS.train, n, 1)[0]


def test_training_loss_is_the_mean_bound_and_validation_repeats_its_noise(monkeypatch):
    training, batch = _training(monkeypatch, RECIPES["fast"]), _batch()
    logged = []
    monkeypatch.setattr(AlignDRAWTraining, "log", lambda self, name, value, **options: logged.append((name, value)))
    loss = training.training_step(batch, 0)
    noise = torch.Generator().manual_seed((training.seed << 32) + training.global_step)
    nll, kl = training.network.loss(training.network(*batch, n_steps=8, generator=noise), batch.pictures)
    assert loss.item() == pytest.approx(sum((nll + kl).tolist()) / 5, rel=1e-5)
    for index in (4, 4, 5):
        training.validation_step(batch, index)
    assert {name for name, _ in logged} == {"validation_loss"}
    first, again, other = (value.item() for _, value in logged)
    assert first == again
    assert first != other
    drawing = training.network(*batch, generator=torch.Generator().manual_seed(3 + 4))
    expected = sum(part.sum().item() for part in training.network.loss(drawing, batch.pictures)) / 5
    assert first == pytest.approx(expected, rel=1e-5)


def test_entropy_penalty_has_a_finite_gradient_beside_padding(monkeypatch):
    batch = _batch()
    assert (batch.tokens == 0).any()
    training = _training(monkeypatch, RECIPES["fast"], 2.0)
    training.training_step(batch, 0).backward()
    for name, parameter in training.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_long_gradients_are_shortened_and_short_ones_stay(monkeypatch, factor):
    training = _training(monkeypatch, RECIPES["document"])
    generator = torch.Generator().manual_seed(2)
    before = []
    for parameter in training.network.parameters():
        parameter.grad = factor * torch.randn(parameter.shape, generator=generator)
        before.append(parameter.grad.clone())
    training.configure_gradient_clipping(torch.optim.SGD(training.parameters()))
    length = torch.cat([gradient.flatten() for gradient in before]).norm()
    assert (length > 10) == (factor > 1)
    for parameter, gradient in zip(training.network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient * min(1, 10 / length), rtol=1e-4, atol=1e-9)


def test_batches_are_the_same_in_any_order():
    batches = SceneBatches(A, A.captions, DIGITS.train, 3, 4, seed=5, epoch=2)
    forwards, backwards = [batches[k] for k in range(4)], [batches[k] for k in (3, 2, 1, 0)]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.pictures, other.pictures)
    assert len(batches) == 4
    assert one.tokens.dtype == torch.int64
    assert one.pictures.dtype == torch.float32
    assert one.pictures.shape == (3, 60, 60)


def test_pictures_are_those_of_their_tokens():
    images = np.repeat(np.arange(10, dtype=np.uint8) * 20 + 60, 28 * 28).reshape(10, 28, 28)
    tokens, pictures = SceneBatches(A, A.captions, (images, np.arange(10)), 41, 1, seed=1)[0]
    for text, picture in zip(_texts(A, tokens), pictures, strict=True):
        shown = set(np.unique(np.round(255 * picture.numpy())).astype(int)) - {0}
        assert shown == {20 * digit + 60 for digit, _ in A.parse(text).scene}


def test_only_given_captions_are_drawn_and_templates_equally_often():
    """Four templates, with 2, 1, 10 and 10 captions left, are as frequent as each other."""
    few, many = A.captions[3:5], A.captions[-31:-10]
    assert len({tuple(place for _, place in caption.scene) for caption in many}) == 3
    counts = Counter(_texts(A, SceneBatches(A, (*few, *many), DIGITS.train, 3000, 1)[0].tokens))
    assert set(counts) == {caption.text for caption in (*few, *many)}
    by_template = Counter()
    for text, count in counts.items():
        by_template[A.parse(text).scene[0][1]] += count
    assert len(by_template) == 4
    assert all(abs(count - 750) < 5 * np.sqrt(750) for count in by_template.values())
    assert all(abs(counts[caption.text] - 375) < 5 * np.sqrt(375) for caption in few)


@pytest.mark.parametrize("name", ["document", "fast"])
def test_a_few_batches_are_learned_from_and_the_best_epoch_is_kept(tmp_path, monkeypatch, name):
    monkeypatch.setattr("brainpred.training.aligndraw.VALIDATION_SCENES", 8)
    torch.manual_seed(0)
    network = AlignDRAW(len(A.vocabulary), SMALL)
    before = {key: weight.clone() for key, weight in network.state_dict().items()}
    data = SceneData(A, DIGITS, batch_size=4, n_batches=3, seed=1)
    epochs, item = [], SceneBatches.__getitem__

    def noted(self, index):
        epochs.append(self.epoch)
        return item(self, index)

    monkeypatch.setattr(SceneBatches, "__getitem__", noted)
    training = AlignDRAWTraining(network, RECIPES[name], seed=2)
    assert fit(training, data, tmp_path, epochs=2, monitor="validation_loss", device="cpu")
    assert [epoch for epoch in epochs if epoch < 9] == [0, 0, 0, 1, 1, 1], "new scenes every epoch"
    curve = pd.read_csv(tmp_path / CURVE)
    assert len(curve) == 2
    assert np.isfinite(curve[["train_loss", "validation_loss", "nll", "kl"]]).all(axis=None)
    np.testing.assert_allclose(curve["train_loss"], curve["nll"] + curve["kl"], rtol=1e-4)
    for key, weight in network.state_dict().items():
        assert not torch.equal(weight, before[key]), key
    again = []
    with torch.no_grad():
        for index in range(2):
            tokens, pictures = data.validation[index]
            drawing = network(tokens, pictures, generator=torch.Generator().manual_seed(2 + index))
            again.append(sum(part.mean().item() for part in network.loss(drawing, pictures)))
    assert np.mean(again) == pytest.approx(curve["validation_loss"].min(), rel=1e-4)
