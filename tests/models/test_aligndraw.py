"""alignDRAW against a slow reference, and what must hold of any drawing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from brainpred.errors import ConfigError
from brainpred.models.aligndraw import START_CANVAS, AlignDRAW, AlignDRAWConfig, _divergence, filter_banks
from tests.reference.aligndraw_reference import draw, filter_bank

N_TOKENS, N_STEPS = 11, 5
SMALL = AlignDRAWConfig(
    n_embedding=3, n_language=4, n_attention=6, n_hidden=7, n_latent=5, n_steps=N_STEPS, canvas=(13, 11), patch=3
)


def varied(made):
    """Fill with noise what a new network has at zero."""
    made = made.double()
    torch.manual_seed(0)
    with torch.no_grad():
        made.start_states.normal_()
        made.start_canvas.normal_()
        made.from_decoder.bias.normal_(std=0.3)
        made.language.embedding.weight[1:].normal_()
    return made


@pytest.fixture
def network():
    torch.manual_seed(0)
    return varied(AlignDRAW(N_TOKENS, SMALL))


@pytest.fixture
def tokens():
    return torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 0, 0, 0, 0], [8, 9, 7, 10, 2, 0, 0]])


@pytest.fixture
def pictures():
    return torch.rand(3, 13, 11, generator=torch.Generator().manual_seed(1)).double()


def _generator():
    return torch.Generator().manual_seed(2)


def _noise(n_captions):
    generator = _generator()
    steps = [torch.empty(n_captions, SMALL.n_latent).double().normal_(generator=generator) for _ in range(N_STEPS)]
    return torch.stack(steps, 1).numpy()


@pytest.fixture
def same_noise(monkeypatch):
    """Give every caption the same noise, whatever else is drawn beside it."""

    def fill(self, *arguments, **options):
        return self.copy_(torch.linspace(-1, 1.5, self.shape[1], dtype=self.dtype).expand_as(self))

    monkeypatch.setattr(torch.Tensor, "normal_", fill)


def test_sizes_are_those_of_study_a():
    config = AlignDRAWConfig()
    assert (config.canvas, config.n_steps, config.n_latent, config.n_hidden, config.patch) == (
        (60, 60),
        32,
        150,
        300,
        8,
    )
    assert (config.encoder, config.n_embedding, config.n_language, config.n_attention) == (
        "bidirectional", None, 128, 512,
    )  # fmt: skip


def test_a_new_network_begins_black_at_rest_and_remembering():
    made = AlignDRAW(N_TOKENS, SMALL)
    assert (made.start_canvas == -10).all()
    assert made.start_canvas.shape == (13, 11)
    assert (made.start_states == 0).all()
    for name in ("encoder", "decoder"):
        enter, forget, candidate, leave = made.from_decoder.bias[made._slice(name)].chunk(4)
        assert (forget == 1).all()
        assert not torch.cat([enter, candidate, leave]).any()


@pytest.mark.parametrize("looking", [True, False])
@pytest.mark.parametrize("encoder", ["bidirectional", "forward"])
def test_equals_the_reference(network, tokens, pictures, looking, encoder):
    if encoder == "forward":
        network = varied(AlignDRAW(N_TOKENS, replace(SMALL, encoder="forward")))
    drawing = network(tokens, pictures if looking else None, generator=_generator(), keep_canvases=True)
    noise = _noise(len(tokens))
    for row in range(len(tokens)):
        own = tokens[row][tokens[row] > 0].tolist()
        canvases, alpha, kl = draw(network, own, noise[row], pictures[row].numpy() if looking else None)
        np.testing.assert_allclose(drawing.canvases[row].detach(), canvases, atol=1e-10)
        np.testing.assert_allclose(drawing.alpha[row, :, : len(own)].detach(), alpha, atol=1e-12)
        if looking:
            np.testing.assert_allclose(drawing.kl[row].detach(), kl, atol=1e-10)


def test_filter_banks_equal_loops():
    windows = torch.tensor([[0.1, -0.4, 0.3, -0.2, 0.5], [-0.9, 0.2, -1.0, 0.4, -0.3]]).double()
    vertical, horizontal, gamma = filter_banks(windows, (13, 17), 5)
    for row, (gy, gx, variance, stride, log_gamma) in enumerate(windows.tolist()):
        np.testing.assert_allclose(vertical[row], filter_bank(gy, variance, stride, 13, 17, 5), atol=1e-12)
        np.testing.assert_allclose(horizontal[row], filter_bank(gx, variance, stride, 17, 17, 5), atol=1e-12)
        assert gamma[row].item() == pytest.approx(np.exp(log_gamma))


@pytest.mark.parametrize("n_filters", [4, 5])
def test_filters_are_symmetric_about_the_centre(n_filters):
    for bank in filter_banks(torch.zeros(1, 5).double(), (13, 11), n_filters)[:2]:
        torch.testing.assert_close(bank, bank.flip(1, 2))
        torch.testing.assert_close(bank.sum(2), torch.ones(1, n_filters).double())


def test_a_window_far_outside_still_gives_filters():
    bank = filter_banks(torch.tensor([[40.0, 0, -9, 0, 0]]), (13, 11), 3)[0]
    assert torch.isfinite(bank).all()
    torch.testing.assert_close(bank.sum(2), torch.ones(1, 3))


def test_divergence_equals_quadrature():
    generator = _generator()
    beliefs, priors = (torch.empty(1, 2, 2).double().normal_(generator=generator) for _ in range(2))
    found = _divergence(beliefs, priors)[0]
    for step in range(2):
        q = norm(beliefs[0, step, 0].item(), np.exp(beliefs[0, step, 1].item()))
        squashed = np.tanh(priors[0, step].numpy())
        p = norm(squashed[0], np.exp(squashed[1])) if step else norm(0, 1)  # N(0, I) at the first step
        expected = quad(lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *q.interval(1 - 1e-14))[0]
        assert found[step].item() == pytest.approx(expected, abs=1e-7)


def test_the_canvas_adds_up_from_the_learned_one(network, tokens):
    network.start_canvas.data.fill_(START_CANVAS)
    low = network(tokens, generator=_generator(), keep_canvases=True)
    network.start_canvas.data += 3
    high = network(tokens, generator=_generator(), keep_canvases=True)
    torch.testing.assert_close(high.canvases, low.canvases + 3)  # without a picture nothing else reads the canvas
    torch.testing.assert_close(low.canvases[:, -1], low.canvas)


@pytest.mark.parametrize("looking", [True, False])
def test_each_step_adds_what_it_writes_to_the_canvas(network, tokens, pictures, looking, monkeypatch):
    write, written = AlignDRAW._write, []

    def noted(self, window, patch):
        written.append(write(self, window, patch))
        return written[-1]

    monkeypatch.setattr(AlignDRAW, "_write", noted)
    drawing = network(tokens, pictures if looking else None, generator=_generator(), keep_canvases=True)
    assert drawing.canvases.shape == (3, N_STEPS, 13, 11)
    before = torch.cat([network.start_canvas.expand(3, 1, 13, 11), drawing.canvases[:, :-1]], 1)
    torch.testing.assert_close(drawing.canvases - before, torch.stack(written, 1))
    assert torch.equal(drawing.canvases[:, -1], drawing.canvas)
    assert all(values.abs().max() > 1e-3 for values in written)


def test_loss_follows_a_loop(network, tokens, pictures):
    drawing = network(tokens, pictures, generator=_generator())
    nll, kl = network.loss(drawing, pictures)
    for row in range(3):
        expected = 0.0
        for logit, pixel in zip(drawing.canvas[row].flatten().tolist(), pictures[row].flatten().tolist(), strict=True):
            white = 1 / (1 + math.exp(-logit))
            expected -= pixel * math.log(white) + (1 - pixel) * math.log(1 - white)
        assert nll[row].item() == pytest.approx(expected, rel=1e-10)
        assert kl[row].item() == pytest.approx(sum(drawing.kl[row].tolist()), rel=1e-10)


def test_divergence_is_given_where_there_is_a_picture_and_is_never_negative(network, tokens, pictures):
    assert network(tokens).kl is None
    assert network(tokens).canvases is None
    divergence = network(tokens, pictures, generator=_generator()).kl
    assert divergence.shape == (3, N_STEPS)
    assert (divergence > 0).all()


def test_attention_is_shared_among_real_tokens(network, tokens, pictures):
    for given in (pictures, None):
        alpha = network(tokens, given).alpha
        assert (alpha[(tokens == 0)[:, None].expand_as(alpha)] == 0).all()
        torch.testing.assert_close(alpha.sum(2), torch.ones(3, N_STEPS).double())


def test_padding_and_company_change_nothing(network, tokens):
    noise_of_all = network(tokens, generator=_generator())
    padded = network(torch.cat([tokens, torch.zeros(3, 2, dtype=torch.long)], 1), generator=_generator())
    torch.testing.assert_close(padded.canvas, noise_of_all.canvas)
    alone = draw(network, tokens[1][:3].tolist(), _noise(3)[1])[0][-1]
    np.testing.assert_allclose(noise_of_all.canvas[1].detach(), alone, atol=1e-10)


@pytest.mark.parametrize("looking", [True, False])
def test_a_batch_draws_what_its_captions_draw_alone(network, tokens, pictures, looking, same_noise):
    together = network(tokens, pictures if looking else None, keep_canvases=True)
    for row, length in enumerate((7, 3, 5)):
        one = slice(row, row + 1)
        alone = network(tokens[one, :length], pictures[one] if looking else None, keep_canvases=True)
        torch.testing.assert_close(together.canvases[one], alone.canvases, atol=1e-12, rtol=0)
        torch.testing.assert_close(together.alpha[one, :, :length], alone.alpha, atol=1e-12, rtol=0)
        assert alone.alpha.shape == (1, N_STEPS, length)
        if looking:
            torch.testing.assert_close(together.kl[one], alone.kl, atol=1e-12, rtol=1e-12)


def test_further_padding_changes_nothing_of_a_training_pass(network, tokens, pictures):
    padded = torch.cat([tokens, torch.zeros(3, 4, dtype=torch.long)], 1)
    passes = [network(given, pictures, generator=_generator()) for given in (tokens, padded)]
    short, long = passes
    torch.testing.assert_close(long.canvas, short.canvas, atol=1e-12, rtol=0)
    torch.testing.assert_close(long.kl, short.kl, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(long.alpha[:, :, :7], short.alpha, atol=1e-12, rtol=0)
    assert (long.alpha[:, :, 7:] == 0).all()
    gradients = [torch.autograd.grad(drawing.canvas.sum(), network.start_states)[0] for drawing in passes]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)


@pytest.mark.parametrize("looking", [True, False])
def test_a_drawing_follows_from_its_generator_alone(network, tokens, pictures, looking):
    given = pictures if looking else None
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = network(tokens, given, generator=_generator())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = network(tokens, given, generator=_generator())
    other = network(tokens, given, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first.canvas, again.canvas)
    assert torch.equal(first.alpha, again.alpha)
    assert (first.canvas - other.canvas).abs().max() > 1e-3


def test_fewer_steps_are_the_first_ones(network, tokens):
    whole = network(tokens, generator=_generator(), keep_canvases=True)
    begun = network(tokens, n_steps=2, generator=_generator())
    torch.testing.assert_close(begun.canvas, whole.canvases[:, 1])
    assert begun.alpha.shape == (3, 2, 7)


def test_more_steps_go_on_from_the_last_one(network, tokens, pictures):
    further = network(tokens, pictures, n_steps=N_STEPS + 2, generator=_generator(), keep_canvases=True)
    own = network(tokens, pictures, generator=_generator())
    torch.testing.assert_close(further.canvases[:, N_STEPS - 1], own.canvas)
    torch.testing.assert_close(further.kl[:, :N_STEPS], own.kl)
    assert further.kl.shape == (3, N_STEPS + 2)


def test_every_weight_is_trained(network, tokens, pictures):
    drawing = network(tokens, pictures, generator=_generator())
    sum(part.sum() for part in network.loss(drawing, pictures)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    used = set(tokens.flatten().tolist()) - {0}
    moved = set(network.language.embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist())
    assert moved == used, "the embedding of padding stays at zero"


def test_products_in_bfloat16_come_close_and_train_float32_weights(network, tokens, pictures):
    network, pictures = network.float(), pictures.float()
    passes = []
    for dtype in (None, torch.bfloat16):
        network.multiplied = dtype
        drawing = network(tokens, pictures, generator=_generator())
        network.zero_grad()
        sum(part.sum() for part in network.loss(drawing, pictures)).backward()
        passes.append((drawing.canvas.detach(), network.to_decoder.weight.grad.clone()))
    (exact, gradient), (narrow, near) = passes
    assert narrow.dtype == near.dtype == torch.float32
    assert 0 < (narrow - exact).norm() < 0.05 * exact.norm()
    assert 0 < (near - gradient).norm() < 0.1 * gradient.norm()


def test_gradients_equal_finite_differences(network, tokens, pictures):
    def loss():
        return sum(part.sum() for part in network.loss(network(tokens, pictures, generator=_generator()), pictures))

    loss().backward()
    for name, parameter in network.named_parameters():
        at = int(parameter.grad.abs().argmax())
        flat = parameter.data.view(-1)
        before = flat[at].item()
        values = []
        for step in (1e-5, -1e-5):
            flat[at] = before + step
            values.append(loss().item())
        flat[at] = before
        assert parameter.grad.view(-1)[at].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5), name


def test_learns_one_batch_by_heart():
    torch.manual_seed(0)
    config = AlignDRAWConfig(
        n_embedding=4, n_language=6, n_attention=8, n_hidden=16, n_latent=4, n_steps=4, canvas=(13, 11), patch=4
    )
    network = AlignDRAW(N_TOKENS, config)
    tokens = torch.tensor([[1, 2, 3], [3, 2, 1], [4, 5, 0]])
    pictures = torch.zeros(3, 13, 11)
    for row, (top, left) in enumerate([(1, 1), (7, 2), (4, 6)]):
        pictures[row, top : top + 4, left : left + 4] = 1
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(250):
        loss = sum(part.mean() for part in network.loss(network(tokens, pictures), pictures))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 80
    assert np.mean(losses[-10:]) < 12
    drawn = torch.sigmoid(network(tokens).canvas) > 0.5  # and the captions alone tell the pictures apart
    assert ((drawn == (pictures > 0.5)).float().mean((1, 2)) > 0.95).all()


def test_drawing_is_taken_over_and_reading_is_not():
    """With the same h_k and attention both networks draw the same; the weights of s are their own."""
    torch.manual_seed(0)
    mine = AlignDRAW(11, AlignDRAWConfig("forward", None, 4, 6, 7, 5, 3, (13, 11), 3))
    its = AlignDRAW(9, AlignDRAWConfig("bidirectional", 2, 3, 8, 7, 5, 4, (13, 11), 3))
    with torch.no_grad():
        for parameter in its.parameters():
            parameter.normal_()
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    mine.draw_like(its)
    after, wanted = mine.state_dict(), its.state_dict()
    for name, value in after.items():
        if name.startswith(("language", "attention")):
            assert torch.equal(value, before[name]), name
        elif not name.startswith(("from_decoder", "to_decoder")):
            assert torch.equal(value, wanted[name]), name
    assert torch.equal(after["to_decoder.weight"][:, :5], wanted["to_decoder.weight"][:, :5])
    assert torch.equal(after["to_decoder.weight"][:, 5:], before["to_decoder.weight"][:, 5:])
    # read 5, attention 6 or 8, both LSTMs 28 each, write 5, patch 9, prior 10
    for name in ("from_decoder.weight", "from_decoder.bias"):
        assert torch.equal(after[name][:5], wanted[name][:5])
        assert torch.equal(after[name][5:11], before[name][5:11])
        assert torch.equal(after[name][11:], wanted[name][13:])


@pytest.mark.parametrize(("name", "value"), [("n_hidden", 8), ("n_latent", 4), ("canvas", (13, 12)), ("patch", 4)])
def test_drawing_of_other_sizes_is_refused(name, value):
    config = AlignDRAWConfig("forward", None, 4, 6, 7, 5, 3, (13, 11), 3)
    with pytest.raises(ConfigError, match=name):
        AlignDRAW(9, config).draw_like(AlignDRAW(9, replace(config, **{name: value})))
