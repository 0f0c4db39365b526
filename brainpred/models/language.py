"""Encoders of captions and the attention over their tokens, as alignDRAW uses them."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from brainpred.errors import ConfigError, DataError

__all__ = ["ENCODERS", "PADDING", "Attention", "CaptionEncoder"]

ENCODERS = ("bidirectional", "forward", "embedding", "convolution")
EMBEDDING_SPAN = 0.05  # of the first embeddings: small, so that what is learned outgrows what was drawn
PADDING = 0  # the token that fills short captions up
MAX_TOKENS = 40
WIDTH = 3  # tokens that a convolution sees at once


class CaptionEncoder(nn.Module):
    """Turn the tokens of captions into one vector each, :math:`h_k`.

    Parameters
    ----------
    n_tokens : int
        Size of the vocabulary, padding included.
    encoder : {"bidirectional", "forward", "embedding", "convolution"}
        LSTM over the tokens in both directions (each caption reversed within its own length) or in one; the token's
        embedding beside that of its position, and nothing of its neighbours; or a convolution over three tokens.
    n_embedding : int or None
        Units of a learned embedding of tokens; None: one-hot.
    n_units : int
        Units of the LSTM in each direction, or of the convolution, or of position and token in ``"embedding"``.

    References
    ----------
    Mansimov, Parisotto, Ba and Salakhutdinov, "Generating images from captions with attention", ICLR 2016, section
    3.1.
    """

    def __init__(
        self, n_tokens: int, encoder: str = "bidirectional", n_embedding: int | None = None, n_units: int = 128
    ):
        super().__init__()
        if encoder not in ENCODERS:
            raise ConfigError(f"Unknown encoder {encoder!r}. Choose one of: {', '.join(ENCODERS)}.")
        self.encoder, self.n_tokens = encoder, n_tokens
        self.n_outputs = n_units if encoder in ("forward", "convolution") else 2 * n_units
        self.embedding = None if n_embedding is None else nn.Embedding(n_tokens, n_embedding, padding_idx=PADDING)
        if self.embedding is not None:
            nn.init.uniform_(self.embedding.weight, -EMBEDDING_SPAN, EMBEDDING_SPAN)
            nn.init.zeros_(self.embedding.weight.detach()[PADDING])
        n_inputs = n_embedding or n_tokens
        if encoder in ("bidirectional", "forward"):
            self.lstm = nn.LSTM(n_inputs, n_units, batch_first=True, bidirectional=encoder == "bidirectional")
        elif encoder == "convolution":
            self.convolution = nn.Conv1d(n_inputs, n_units, WIDTH, padding=WIDTH // 2)
        else:
            self.token = nn.Linear(n_inputs, n_units, bias=False)
            self.position = nn.Embedding(MAX_TOKENS, n_units)

    def embed(self, tokens: Tensor) -> Tensor:
        """Give the vectors that tokens begin as: (..., n_embedding), or one-hot (..., n_tokens)."""
        if self.embedding is None:
            one_hot = functional.one_hot(tokens, self.n_tokens)
            return (one_hot * (tokens != PADDING)[..., None]).to(next(self.parameters()).dtype)
        vectors: Tensor = self.embedding(tokens)
        return vectors

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode captions.

        Parameters
        ----------
        tokens : Tensor of int64 (n_captions, n_places)
            Tokens, filled up with :data:`PADDING` at the end.

        Returns
        -------
        Tensor of float32 (n_captions, n_places, n_outputs)
            One vector a token; zeros where there is padding.
        """
        if not len(tokens):
            raise DataError("There are no captions: the batch is empty. Give at least one.")
        real = tokens != PADDING
        lengths = real.sum(1)
        if tokens.shape[1] > MAX_TOKENS or int(lengths.min()) == 0:
            raise DataError(f"A caption must have 1 to {MAX_TOKENS} tokens, received {tuple(lengths.tolist())}.")
        vectors = self.embed(tokens)
        if self.encoder in ("bidirectional", "forward"):
            packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
            encoded, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=tokens.shape[1])
        elif self.encoder == "convolution":
            encoded = torch.tanh(self.convolution(vectors.transpose(1, 2)).transpose(1, 2))
        else:
            places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
            encoded = torch.cat([self.token(vectors), self.position(places)], dim=2)
        return encoded * real[..., None]


class Attention(nn.Module):
    r"""Attend to tokens.

    .. math:: \alpha_k = \mathrm{softmax}_k\, v^\top \tanh(U h_k + W q + b), \qquad s = \sum_k \alpha_k h_k

    The product of the query q (the state of the decoder) with W, and b, are formed outside, with everything else
    that the same state is multiplied with.

    Parameters
    ----------
    n_inputs : int
        Units of :math:`h_k`.
    n_units : int
        Units inside.

    References
    ----------
    Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align and translate", ICLR 2015,
    appendix A.1.2.
    """

    def __init__(self, n_inputs: int, n_units: int):
        super().__init__()
        self.keys = nn.Linear(n_inputs, n_units, bias=False)
        self.v = nn.Parameter(torch.empty(n_units).uniform_(-1, 1) / n_units**0.5)

    def forward(self, keys: Tensor, query: Tensor, encoded: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Attend once.

        Parameters
        ----------
        keys : Tensor (n_captions, n_places, n_units)
            :math:`U h_k`: ``self.keys(encoded)``, formed once a caption.
        query : Tensor (n_captions, n_units)
            :math:`W q + b`.
        encoded : Tensor (n_captions, n_places, n_inputs)
            :math:`h_k`.
        padded : Tensor of bool (n_captions, n_places)
            Where there is no token.

        Returns
        -------
        s : Tensor (n_captions, n_inputs)
            What was attended to.
        alpha : Tensor (n_captions, n_places)
            How much each token was; sums to 1 over the tokens, 0 at padding.
        """
        energy = torch.tanh(keys + query[:, None]) @ self.v
        alpha = torch.softmax(energy.masked_fill(padded, -torch.inf), dim=1)
        return torch.bmm(alpha[:, None], encoded)[:, 0], alpha
