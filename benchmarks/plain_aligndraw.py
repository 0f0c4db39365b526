"""alignDRAW as it is usually ported: one module a map, all of it at every step. The baseline of aligndraw.py.

A linear map each for windows, patch, posterior, prior and attention, ``nn.LSTMCell`` for both LSTMs, filters from
``exp`` and a division, the KL divergence summed up as it goes, ordinary autograd. As in the authors' code, U h_k of the
attention is computed once a caption and not at every step, and one pair of filters serves both looks at a picture.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainpred.models.aligndraw import AlignDRAW

__all__ = ["PlainAlignDRAW"]

TINY = 1e-8  # least sum that a filter is divided by: one far outside of the canvas is 0, where brainpred's is not


class PlainAlignDRAW(nn.Module):
    """Compute what AlignDRAW computes, step by step."""

    def __init__(self, network: AlignDRAW):
        super().__init__()
        self.config = config = network.config
        hidden, n_patch = config.n_hidden, config.patch**2
        self.language = copy.deepcopy(network.language)
        n_language = self.language.n_outputs
        self.read_window, self.write_window = nn.Linear(hidden, 5), nn.Linear(hidden, 5)
        self.write_patch = nn.Linear(hidden, n_patch)
        self.query = nn.Linear(hidden, config.n_attention)
        self.key = nn.Linear(n_language, config.n_attention, bias=False)
        self.energy = nn.Linear(config.n_attention, 1, bias=False)
        self.encoder = nn.LSTMCell(2 * n_patch + hidden, hidden)
        self.decoder = nn.LSTMCell(config.n_latent + n_language, hidden)
        self.mean, self.log_sd = nn.Linear(hidden, config.n_latent), nn.Linear(hidden, config.n_latent)
        self.prior_mean, self.prior_log_sd = nn.Linear(hidden, config.n_latent), nn.Linear(hidden, config.n_latent)
        self.start_canvas = nn.Parameter(network.start_canvas.detach().clone())
        self.start_states = nn.Parameter(network.start_states.detach().clone())
        self._copy(network)

    @torch.no_grad()
    def _copy(self, network: AlignDRAW) -> None:
        """Take the weights over."""
        sizes = list(network.parts.values())
        weights = dict(zip(network.parts, network.from_decoder.weight.split(sizes), strict=True))
        biases = dict(zip(network.parts, network.from_decoder.bias.split(sizes), strict=True))
        for part, linear in (
            ("read", self.read_window), ("write", self.write_window), ("patch", self.write_patch),
            ("attention", self.query),
        ):  # fmt: skip
            linear.weight.copy_(weights[part])
            linear.bias.copy_(biases[part])
        for weight, bias, linears in (
            (network.posterior.weight, network.posterior.bias, (self.mean, self.log_sd)),
            (weights["prior"], biases["prior"], (self.prior_mean, self.prior_log_sd)),
        ):
            for linear, its_weight, its_bias in zip(linears, weight.chunk(2), bias.chunk(2), strict=True):
                linear.weight.copy_(its_weight)
                linear.bias.copy_(its_bias)
        self.key.weight.copy_(network.attention.keys.weight)
        self.energy.weight.copy_(network.attention.v[None])
        looks, recurrent = network.to_encoder.weight.split([2 * self.config.patch**2, self.config.n_hidden], dim=1)
        self.encoder.weight_ih.copy_(torch.cat([looks, weights["encoder"]], 1))
        self.encoder.weight_hh.copy_(recurrent)
        self.decoder.weight_ih.copy_(network.to_decoder.weight)
        self.decoder.weight_hh.copy_(weights["decoder"])
        for cell, part in ((self.encoder, "encoder"), (self.decoder, "decoder")):
            cell.bias_ih.copy_(biases[part])
            cell.bias_hh.zero_()

    def forward(
        self, tokens: Tensor, pictures: Tensor, n_steps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Give the loss: the negative evidence lower bound in nats, the mean over pictures."""
        n_pictures = len(tokens)
        encoded = self.language(tokens)  # (n_captions, n_places, n_language)
        keys, padded = self.key(encoded), tokens == 0
        h_encoder, c_encoder, h_decoder, c_decoder = (state.repeat(n_pictures, 1) for state in self.start_states)
        canvas = self.start_canvas.repeat(n_pictures, 1, 1)
        kl = pictures.new_zeros(n_pictures)
        for step in range(n_steps):
            missing = pictures - torch.sigmoid(canvas)
            looks = self.read(pictures, missing, h_decoder)
            energy = self.energy(torch.tanh(keys + self.query(h_decoder)[:, None])).squeeze(2)
            alpha = torch.softmax(energy.masked_fill(padded, float("-inf")), 1)  # (n_captions, n_places)
            meaning = torch.bmm(alpha[:, None], encoded).squeeze(1)
            h_encoder, c_encoder = self.encoder(torch.cat([looks, h_decoder], 1), (h_encoder, c_encoder))
            mean, log_sd = self.mean(h_encoder), self.log_sd(h_encoder)
            noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
            z = mean + torch.exp(log_sd) * noise
            if step == 0:
                prior_mean, prior_log_sd = torch.zeros_like(mean), torch.zeros_like(mean)
            else:
                prior_mean = torch.tanh(self.prior_mean(h_decoder))
                prior_log_sd = torch.tanh(self.prior_log_sd(h_decoder))
            squares = (mean - prior_mean) ** 2 + torch.exp(2 * log_sd)
            kl = kl + (squares / (2 * torch.exp(2 * prior_log_sd)) - 0.5 + prior_log_sd - log_sd).sum(1)
            h_decoder, c_decoder = self.decoder(torch.cat([z, meaning], 1), (h_decoder, c_decoder))
            canvas = canvas + self.write(h_decoder)
        nll = functional.binary_cross_entropy_with_logits(canvas, pictures, reduction="none").sum((1, 2))
        return (nll + kl).mean()

    def filters(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Form filters (n_pictures, n_filters, n_pixels) of rows and of columns, and the intensity."""
        height, width = self.config.canvas
        n = self.config.patch
        g_y, g_x, log_variance, log_stride, log_gamma = window.split(1, 1)  # (n_pictures, 1) each
        stride = (max(height, width) - 1) / (n - 1) * torch.exp(log_stride)
        offsets = torch.arange(1, n + 1, device=window.device) - n / 2 - 0.5
        banks = []
        for g, n_pixels in ((g_y, height), (g_x, width)):
            mu = (n_pixels + 1) / 2 * (g + 1) + offsets * stride  # (n_pictures, n_filters)
            pixels = torch.arange(1, n_pixels + 1, device=window.device)
            bank = torch.exp(-((pixels - mu[:, :, None]) ** 2) / (2 * torch.exp(log_variance)[:, :, None]))
            banks.append(bank / bank.sum(2, keepdim=True).clamp(min=TINY))
        return banks[0], banks[1], torch.exp(log_gamma)

    def read(self, pictures: Tensor, missing: Tensor, h_decoder: Tensor) -> Tensor:
        """Look at the picture and at what is missing: (n_pictures, 2 patch²)."""
        f_y, f_x, gamma = self.filters(self.read_window(h_decoder))
        looks = [torch.bmm(torch.bmm(f_y, what), f_x.transpose(1, 2)).flatten(1) for what in (pictures, missing)]
        return gamma * torch.cat(looks, 1)

    def write(self, h_decoder: Tensor) -> Tensor:
        """Give what is added to the canvas: (n_pictures, height, width)."""
        f_y, f_x, gamma = self.filters(self.write_window(h_decoder))
        patch = self.write_patch(h_decoder).view(-1, self.config.patch, self.config.patch)
        return torch.bmm(torch.bmm(f_y.transpose(1, 2), patch), f_x) / gamma[:, :, None]
