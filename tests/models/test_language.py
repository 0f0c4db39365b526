"""What each encoder of captions sees, and what it does not."""

import numpy as np
import pytest
import torch

from brainpred.errors import ConfigError, DataError
from brainpred.models.language import EMBEDDING_SPAN, ENCODERS, Attention, CaptionEncoder
from tests.reference.aligndraw_reference import language

N_TOKENS = 9


def _encoder(kind, **options):
    torch.manual_seed(0)
    return CaptionEncoder(N_TOKENS, kind, n_units=5, **options)


@pytest.mark.parametrize("kind", ["bidirectional", "forward"])
@pytest.mark.parametrize("n_embedding", [None, 3])
def test_each_caption_equals_a_loop_over_its_own_tokens(kind, n_embedding):
    encoder = _encoder(kind, n_embedding=n_embedding)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 0, 0, 0, 0], [4, 4, 2, 1, 0, 0], [6, 0, 0, 0, 0, 0]])
    found = encoder(tokens).detach().numpy()
    for row, caption in zip(found, tokens.tolist(), strict=True):
        own = [token for token in caption if token]
        np.testing.assert_allclose(row[: len(own)], language(encoder, own), atol=1e-6)
        assert not row[len(own) :].any()


@pytest.mark.parametrize("kind", ["bidirectional", "forward"])
def test_each_caption_is_read_within_its_own_length(kind):
    encoder = _encoder(kind, n_embedding=3)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 0, 0, 0, 0], [4, 4, 2, 1, 0, 0]])
    found = encoder(tokens)
    for row, caption in zip(found, tokens, strict=True):
        own = caption[caption > 0][None]
        alone, _ = encoder.lstm(encoder.embed(own))  # without padding: the second direction begins at the last word
        torch.testing.assert_close(row[: own.shape[1]], alone[0])
        assert (row[own.shape[1] :] == 0).all()


def test_the_second_direction_reads_the_words_backwards():
    encoder = _encoder("bidirectional", n_embedding=3)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(encoder.lstm, f"{name}_l0_reverse").data = getattr(encoder.lstm, f"{name}_l0").data.clone()
    tokens = torch.tensor([[1, 2, 3, 4, 0], [5, 6, 7, 0, 0]])
    mirrored = torch.tensor([[4, 3, 2, 1, 0], [7, 6, 5, 0, 0]])
    found, other = encoder(tokens), encoder(mirrored)
    for row, length in ((0, 4), (1, 3)):
        torch.testing.assert_close(found[row, :length, 5:], other[row, :length, :5].flip(0))


def test_embedding_and_position_see_no_neighbours():
    encoder = _encoder("embedding")
    found = encoder(torch.tensor([[1, 2, 3], [1, 5, 3], [2, 1, 3]]))
    torch.testing.assert_close(found[0, 0], found[1, 0])
    torch.testing.assert_close(found[0, 2], found[1, 2])
    assert not torch.allclose(found[0, 0], found[2, 1])  # the same token elsewhere
    assert not torch.allclose(found[0, 1], found[1, 1])


def test_the_convolution_sees_three_tokens():
    encoder = _encoder("convolution")
    found = encoder(torch.tensor([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 8]]))
    torch.testing.assert_close(found[0, :4], found[1, :4])
    assert not torch.allclose(found[0, 4], found[1, 4])


@pytest.mark.parametrize(
    ("kind", "reach"),
    [("bidirectional", (-6, 6)), ("forward", (0, 6)), ("embedding", (0, 0)), ("convolution", (-1, 1))],
)
def test_a_changed_token_is_felt_within_reach_and_nowhere_else(kind, reach):
    encoder, tokens = _encoder(kind, n_embedding=3), torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
    before = encoder(tokens)[0]
    for place in range(7):
        changed = tokens.clone()
        changed[0, place] = 8
        felt = {k for k in range(7) if not torch.allclose(encoder(changed)[0, k], before[k], atol=1e-8)}
        assert felt == {k for k in range(7) if reach[0] <= k - place <= reach[1]}


@pytest.mark.parametrize("kind", ENCODERS)
def test_company_of_longer_captions_changes_nothing(kind):
    encoder = _encoder(kind, n_embedding=3)
    tokens = torch.tensor([[8, 7, 6, 5, 4], [3, 2, 0, 0, 0], [1, 2, 3, 0, 0]])
    together = encoder(tokens)
    for row, length in enumerate((5, 2, 3)):
        torch.testing.assert_close(together[row : row + 1, :length], encoder(tokens[row : row + 1, :length]))
        assert (together[row, length:] == 0).all()


def test_tokens_begin_as_ones_among_zeros_or_as_rows_of_an_embedding():
    tokens = torch.tensor([[3, 8, 0]])
    expected = torch.zeros(1, 3, N_TOKENS)
    expected[0, 0, 3] = expected[0, 1, 8] = 1
    assert torch.equal(_encoder("forward").embed(tokens), expected)
    encoder = _encoder("forward", n_embedding=3)
    weight = encoder.embedding.weight
    assert torch.equal(encoder.embed(tokens), torch.stack([weight[3], weight[8], torch.zeros(3)])[None])
    assert weight.shape == (N_TOKENS, 3)


@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_is_never_learned(kind):
    encoder = _encoder(kind, n_embedding=3)
    (encoder(torch.tensor([[4, 2, 0, 0], [1, 2, 3, 0]])) ** 2).sum().backward()
    moved = encoder.embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist()
    assert moved == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("kind", "n_outputs"), [("bidirectional", 10), ("forward", 5), ("embedding", 10), ("convolution", 5)]
)
def test_number_of_outputs(kind, n_outputs):
    encoder = _encoder(kind)
    assert encoder.n_outputs == n_outputs
    assert encoder(torch.tensor([[4, 2, 1]])).shape == (1, 3, n_outputs)


@pytest.mark.parametrize("kind", ENCODERS)
def test_double_precision_stays_double(kind):
    assert _encoder(kind).double()(torch.tensor([[4, 2, 1]])).dtype == torch.float64


def test_a_batch_without_captions_says_so():
    with pytest.raises(DataError, match="no captions"):
        _encoder("forward")(torch.zeros(0, 3, dtype=torch.int64))


@pytest.mark.parametrize("kind", ENCODERS)
def test_forty_tokens_are_read(kind):
    tokens = torch.arange(40)[None] % (N_TOKENS - 1) + 1
    assert torch.isfinite(_encoder(kind)(tokens)).all()


def test_attention_follows_loops_and_never_looks_at_padding():
    torch.manual_seed(1)
    attention = Attention(4, 6).double()
    encoded, query = torch.randn(3, 5, 4).double(), torch.randn(3, 6).double()
    padded = torch.arange(5) >= torch.tensor([5, 2, 1])[:, None]
    meaning, alpha = attention(attention.keys(encoded), query, encoded, padded)
    u, v = attention.keys.weight.detach().numpy(), attention.v.detach().numpy()
    for row, n in enumerate((5, 2, 1)):
        energy = [float(v @ np.tanh(u @ encoded[row, k].numpy() + query[row].numpy())) for k in range(n)]
        shares = [np.exp(e) / sum(np.exp(other) for other in energy) for e in energy]
        np.testing.assert_allclose(alpha[row].detach(), shares + [0] * (5 - n), atol=1e-12)
        expected = sum(share * encoded[row, k].numpy() for k, share in enumerate(shares))
        np.testing.assert_allclose(meaning[row].detach(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("n_embedding", [None, 3])
def test_shape_and_padding(kind, n_embedding):
    encoder = _encoder(kind, n_embedding=n_embedding)
    short, padded = encoder(torch.tensor([[4, 2]])), encoder(torch.tensor([[4, 2, 0, 0]]))
    assert short.shape == (1, 2, encoder.n_outputs)
    torch.testing.assert_close(padded[:, :2], short)
    assert (padded[:, 2:] == 0).all()


def test_embeddings_begin_small():
    weight = _encoder("forward", n_embedding=32).embedding.weight
    assert (weight[0] == 0).all()
    assert 0.9 * EMBEDDING_SPAN < weight.abs().max() <= EMBEDDING_SPAN


def test_errors():
    with pytest.raises(ConfigError, match=r"Unknown encoder 'gru'.*bidirectional"):
        CaptionEncoder(N_TOKENS, "gru")
    encoder = _encoder("forward")
    with pytest.raises(DataError, match=r"1 to 40 tokens, received \(2, 0\)"):
        encoder(torch.tensor([[1, 2], [0, 0]]))
    with pytest.raises(DataError, match="1 to 40 tokens"):
        encoder(torch.ones(1, 41, dtype=torch.long))
