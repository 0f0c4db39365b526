"""alignDRAW, which draws a picture from a caption in steps (Mansimov et al., 2016), in paper order."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainpred.errors import ConfigError
from brainpred.models.language import PADDING, Attention, CaptionEncoder
from brainpred.models.shared_linear import SharedLinear

__all__ = ["AlignDRAW", "AlignDRAWConfig", "Drawing", "filter_banks"]

START_CANVAS = -10.0  # the sigmoid of it is black


@dataclass(frozen=True)
class AlignDRAWConfig:
    """Say how large an alignDRAW is; the defaults are those of study A.

    Attributes
    ----------
    encoder, n_embedding, n_language : str, int or None, int
        Caption encoder, as :class:`brainpred.models.language.CaptionEncoder`.
    n_attention : int
        Units of the attention.
    n_hidden : int
        Units of each of the two DRAW LSTMs.
    n_latent : int
        Units of z at each step.
    n_steps : int
        Steps of a drawing, T.
    canvas : (height, width)
        Pixels.
    patch : int
        Filters a side, of reading and writing.
    """

    encoder: str = "bidirectional"
    n_embedding: int | None = None
    n_language: int = 128
    n_attention: int = 512
    n_hidden: int = 300
    n_latent: int = 150
    n_steps: int = 32
    canvas: tuple[int, int] = (60, 60)
    patch: int = 8


class Drawing(NamedTuple):
    """Hold what a pass of alignDRAW gives.

    Attributes
    ----------
    canvas : Tensor (n_captions, height, width)
        The last canvas; its sigmoid is the picture.
    alpha : Tensor (n_captions, n_steps, n_places)
        Attention to each token at each step.
    kl : Tensor (n_captions, n_steps) or None
        KL(q_t || p_t) in nats, where a picture was given.
    canvases : Tensor (n_captions, n_steps, height, width) or None
        The canvas after each step, where asked for.
    """

    canvas: Tensor
    alpha: Tensor
    kl: Tensor | None
    canvases: Tensor | None


def filter_banks(window: Tensor, size: tuple[int, int], n_filters: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Form the two banks of Gaussian filters of a window, and its intensity.

    .. math::
        g = \frac{A+1}{2}(\hat g + 1), \quad
        \delta = \frac{\max(A, B) - 1}{N - 1}\exp\hat\delta, \quad
        \mu_i = g + (i - N/2 - 0.5)\,\delta, \quad
        F_{ia} ∝ \exp\Bigl(-\frac{(a - \mu_i)^2}{2\sigma^2}\Bigr), \quad i = 1…N,\; a = 1…A,

    with rows that sum to one.

    Parameters
    ----------
    window : Tensor (n_pictures, 5)
        :math:`\hat g_y, \hat g_x, \log\sigma^2, \hat\delta, \log\gamma`.
    size : (height, width)
        Pixels of the canvas.
    n_filters : int
        N.

    Returns
    -------
    vertical : Tensor (n_pictures, n_filters, height)
        The filters that select rows.
    horizontal : Tensor (n_pictures, n_filters, width)
        The filters that select columns.
    gamma : Tensor (n_pictures, 1, 1)
        Intensity.

    References
    ----------
    Gregor, Danihelka, Graves, Rezende and Wierstra, "DRAW: a recurrent neural network for image generation", ICML
    2015, equations 19 to 26.

    Examples
    --------
    >>> vertical, _, _ = filter_banks(torch.zeros(1, 5), (60, 60), 8)
    >>> bool(torch.allclose(vertical, vertical.flip(1, 2)))  # the window is in the middle
    True
    """
    spread, stretch, gamma = window[:, 2:].exp().unbind(1)
    stride = (max(size) - 1) / (n_filters - 1) * stretch
    offsets = torch.arange(1, n_filters + 1, device=window.device, dtype=window.dtype) - n_filters / 2 - 0.5
    banks = []
    for centre, n_pixels in zip(window[:, :2].unbind(1), size, strict=True):
        middle = (n_pixels + 1) / 2 * (centre + 1)
        means = middle[:, None] + offsets * stride[:, None]  # (n_pictures, n_filters)
        pixels = torch.arange(1, n_pixels + 1, device=window.device, dtype=window.dtype)
        distance = (pixels - means[..., None]) ** 2  # (n_pictures, n_filters, n_pixels)
        banks.append(torch.softmax(distance * (-0.5 / spread)[:, None, None], dim=2))
    return banks[0], banks[1], gamma[:, None, None]


class AlignDRAW(nn.Module):
    r"""Draw what a caption says, in T steps, each attending to some of its words.

    At step t, with :math:`\hat x = x - \sigma(c_{t-1})` and :math:`h^d = h^d_{t-1}`,

    .. math::
        r &= [\mathrm{read}(x, h^d),\ \mathrm{read}(\hat x, h^d)], \qquad
        s, \alpha = \mathrm{align}(h^d, h_1 … h_K) \\
        h^e_t &= \mathrm{LSTM}^e(h^e_{t-1}, [r, h^d]), \qquad
        z \sim q = N(W_\mu h^e_t,\ \exp(W_\sigma h^e_t)^2) \\
        p &= N(\tanh(W'_\mu h^d),\ \exp(\tanh(W'_\sigma h^d))^2), \quad N(0, I)\ \text{at}\ t = 1 \\
        h^d_t &= \mathrm{LSTM}^d(h^d, [z, s]), \qquad c_t = c_{t-1} + \mathrm{write}(h^d_t).

    Without a picture, z comes from p. The start canvas and the start states are learned.

    Parameters
    ----------
    n_tokens : int
        Size of the vocabulary, padding included.
    config : AlignDRAWConfig
        Sizes.

    References
    ----------
    Mansimov, Parisotto, Ba and Salakhutdinov, "Generating images from captions with attention", ICLR 2016, equations
    1 to 8.
    """

    def __init__(self, n_tokens: int, config: AlignDRAWConfig | None = None):
        super().__init__()
        self.config = config = config or AlignDRAWConfig()
        hidden, n_read = config.n_hidden, 2 * config.patch**2
        self.language = CaptionEncoder(n_tokens, config.encoder, config.n_embedding, config.n_language)
        self.attention = Attention(self.language.n_outputs, config.n_attention)
        # Everything that the state of the decoder is multiplied with, in one matrix.
        self.parts = {
            "read": 5,
            "attention": config.n_attention,
            "encoder": 4 * hidden,
            "decoder": 4 * hidden,
            "write": 5,
            "patch": config.patch**2,
            "prior": 2 * config.n_latent,
        }
        self.from_decoder = nn.Linear(hidden, sum(self.parts.values()))
        self.to_encoder = nn.Linear(n_read + hidden, 4 * hidden, bias=False)
        self.posterior = nn.Linear(hidden, 2 * config.n_latent)
        self.to_decoder = nn.Linear(config.n_latent + self.language.n_outputs, 4 * hidden, bias=False)
        # What the large products are multiplied in; None: the type of the weights.
        self.multiplied: torch.dtype | None = None
        self.start_canvas = nn.Parameter(torch.full(config.canvas, START_CANVAS))
        self.start_states = nn.Parameter(torch.zeros(4, hidden))  # h and c of the encoder, then of the decoder
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights block by block (Glorot uniform), with forget gates open."""
        with torch.no_grad():
            self.from_decoder.bias.zero_()
            self.posterior.bias.zero_()
            for block in (*self.from_decoder.weight.split(list(self.parts.values())), self.posterior.weight):
                nn.init.xavier_uniform_(block)
            for name in ("encoder", "decoder"):
                at = self._slice(name).start
                self.from_decoder.bias[at + self.config.n_hidden : at + 2 * self.config.n_hidden] = 1.0
            for linear in (self.to_encoder, self.to_decoder):
                for gate in linear.weight.chunk(4):
                    nn.init.xavier_uniform_(gate)

    def draw_like(self, other: "AlignDRAW") -> None:
        """Take over how another network draws: all weights that meet neither a caption nor the attention to it.

        Parameters
        ----------
        other : AlignDRAW
            Network of the same sizes, but for its encoder of captions and its attention.

        Raises
        ------
        ConfigError
            If the sizes of the drawing differ.
        """
        sizes = ("n_hidden", "n_latent", "canvas", "patch")
        if differ := [name for name in sizes if getattr(self.config, name) != getattr(other.config, name)]:
            raise ConfigError(
                f"The network to start from has another {', '.join(differ)}: expected "
                f"{[getattr(self.config, name) for name in differ]}, received "
                f"{[getattr(other.config, name) for name in differ]}. Start from a network with the same sizes."
            )
        n_latent = self.config.n_latent
        with torch.no_grad():
            self.start_canvas.copy_(other.start_canvas)
            self.start_states.copy_(other.start_states)
            for name in self.parts:
                if name != "attention":
                    mine, its = self._slice(name), other._slice(name)
                    self.from_decoder.weight[mine] = other.from_decoder.weight[its]
                    self.from_decoder.bias[mine] = other.from_decoder.bias[its]
            self.to_encoder.load_state_dict(other.to_encoder.state_dict())
            self.posterior.load_state_dict(other.posterior.state_dict())
            self.to_decoder.weight[:, :n_latent] = other.to_decoder.weight[:, :n_latent]  # what meets z

    def _slice(self, name: str) -> slice:
        names = list(self.parts)
        start = sum(self.parts[other] for other in names[: names.index(name)])
        return slice(start, start + self.parts[name])

    def forward(
        self,
        tokens: Tensor,
        pictures: Tensor | None = None,
        *,
        n_steps: int | None = None,
        generator: torch.Generator | None = None,
        keep_canvases: bool = False,
    ) -> Drawing:
        """Draw captions, looking at pictures of them (to train) or not (to generate).

        Parameters
        ----------
        tokens : Tensor of int64 (n_captions, n_places)
            Captions, filled up with padding at the end.
        pictures : Tensor of float (n_captions, height, width), optional
            Pictures in [0, 1]: z is then drawn from the posterior, and the KL divergence from the prior is given.
        n_steps : int, optional
            Steps, if other than the network's own.
        generator : torch.Generator, optional
            Where z is drawn from.
        keep_canvases : bool
            Keep the canvas after each step.

        Returns
        -------
        Drawing
            The canvas and how it came about.
        """
        config, n_pictures = self.config, len(tokens)
        encoded = self.language(tokens)  # (n_captions, n_places, n_outputs)
        keys, padded = self.attention.keys(encoded), tokens == PADDING
        from_decoder, to_encoder, to_decoder, posterior = (
            SharedLinear(linear, self.multiplied or linear.weight.dtype)
            for linear in (self.from_decoder, self.to_encoder, self.to_decoder, self.posterior)
        )
        sizes = list(self.parts.values())
        h_encoder, c_encoder, h_decoder, c_decoder = self.start_states[:, None].expand(-1, n_pictures, -1)
        canvas = self.start_canvas.expand(n_pictures, -1, -1)
        said = from_decoder(h_decoder.contiguous()).split(sizes, dim=1)
        alphas: list[Tensor] = []
        canvases: list[Tensor] = []
        beliefs: list[Tensor] = []
        priors: list[Tensor] = []
        for _ in range(n_steps or config.n_steps):
            window, query, encoder_gates, decoder_gates, _, _, prior = said
            if pictures is not None:
                patches = self._read(window, pictures, canvas)
                gates = encoder_gates + to_encoder(torch.cat([patches, h_encoder], 1))
                h_encoder, c_encoder = _lstm(gates, c_encoder)
                belief = posterior(h_encoder)
                beliefs.append(belief)
                mean, log_sd = belief.chunk(2, 1)
            else:
                mean, log_sd = _prior(prior, first=not priors)
            priors.append(prior)
            noise = torch.empty_like(mean).normal_(generator=generator)
            z = mean + log_sd.exp() * noise
            meaning, alpha = self.attention(keys, query, encoded, padded)
            gates = decoder_gates + to_decoder(torch.cat([z, meaning], 1))
            h_decoder, c_decoder = _lstm(gates, c_decoder)
            said = from_decoder(h_decoder).split(sizes, dim=1)
            canvas = canvas + self._write(said[4], said[5])
            alphas.append(alpha)
            if keep_canvases:
                canvases.append(canvas)
        return Drawing(
            canvas,
            torch.stack(alphas, 1),
            _divergence(torch.stack(beliefs, 1), torch.stack(priors, 1)) if beliefs else None,
            torch.stack(canvases, 1) if keep_canvases else None,
        )

    def loss(self, drawing: Drawing, pictures: Tensor) -> tuple[Tensor, Tensor]:
        r"""Give the two parts of the negative evidence lower bound, in nats a picture.

        Parameters
        ----------
        drawing : Drawing
            What :meth:`forward` gave for the pictures.
        pictures : Tensor (n_captions, height, width)
            The pictures, in [0, 1].

        Returns
        -------
        nll : Tensor (n_captions,)
            :math:`-\log p(x | z)`, Bernoulli, summed over pixels.
        kl : Tensor (n_captions,)
            :math:`\sum_t \mathrm{KL}(q_t || p_t)`.
        """
        assert drawing.kl is not None
        nll = functional.binary_cross_entropy_with_logits(drawing.canvas, pictures, reduction="none")
        return nll.sum((1, 2)), drawing.kl.sum(1)

    def _read(self, window: Tensor, pictures: Tensor, canvas: Tensor) -> Tensor:
        """Look at the picture and at what is still missing through one window: (n_pictures, 2 patch²)."""
        vertical, horizontal, gamma = filter_banks(window, self.config.canvas, self.config.patch)
        across = (horizontal * gamma).transpose(1, 2)
        missing = pictures - torch.sigmoid(canvas)
        looks = [torch.bmm(torch.bmm(vertical, what), across).flatten(1) for what in (pictures, missing)]
        return torch.cat(looks, 1)

    def _write(self, window: Tensor, patch: Tensor) -> Tensor:
        """Give what a window adds to the canvas: (n_pictures, height, width)."""
        n = self.config.patch
        vertical, horizontal, gamma = filter_banks(window, self.config.canvas, n)
        return torch.bmm(vertical.transpose(1, 2), torch.bmm(patch.view(-1, n, n) / gamma, horizontal))


def _lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Advance an LSTM, given the sums that enter its gates: input, forget, candidate, output."""
    enter, forget, candidate, leave = gates.chunk(4, 1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(cell), cell


def _prior(prior: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """Give mean and log standard deviation of p; N(0, I) at the first step."""
    mean, log_sd = torch.tanh(prior).chunk(2, -1)
    return (torch.zeros_like(mean), torch.zeros_like(log_sd)) if first else (mean, log_sd)


def _divergence(beliefs: Tensor, priors: Tensor) -> Tensor:
    """Give KL(q || p) of diagonal normal distributions at each step: (n_pictures, n_steps)."""
    mean, log_sd = beliefs.chunk(2, 2)
    first = torch.ones_like(priors)
    first[:, 0] = 0
    prior_mean, prior_log_sd = (torch.tanh(priors) * first).chunk(2, 2)
    squares = (torch.exp(2 * log_sd) + (mean - prior_mean) ** 2) * torch.exp(-2 * prior_log_sd)
    return (prior_log_sd - log_sd + 0.5 * (squares - 1)).sum(2)
