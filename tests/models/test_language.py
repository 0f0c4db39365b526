"""What each encoder of captions sees, and what it does not."""

import pytest
import torch

from brainpred.errors import ConfigError, DataError
from brainpred.models.language import EMBEDDING_SPAN, ENCODERS, CaptionEncoder

N_TOKENS = 9


def _encoder(kind, **options):
    torch.manual_seed(0)
    return CaptionEncoder(N_TOKENS, kind, n_units=5, **options)


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
    with pytest.raises(DataError, match="1 to 40 tokens"):
        encoder(torch.tensor([[1, 2], [0, 0]]))
    with pytest.raises(DataError, match="1 to 40 tokens"):
        encoder(torch.ones(1, 41, dtype=torch.long))
