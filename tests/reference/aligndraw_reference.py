"""alignDRAW once more, one caption and one step at a time, from the published equations alone."""

import math

import numpy as np


def filter_bank(centre, log_variance, log_stride, n_pixels, longest, n_filters):
    """One bank of filters, pixel by pixel: (n_filters, n_pixels)."""
    bank = np.zeros((n_filters, n_pixels))
    g = (n_pixels + 1) / 2 * (centre + 1)
    stride = (longest - 1) / (n_filters - 1) * math.exp(log_stride)
    for i in range(1, n_filters + 1):
        mu = g + (i - n_filters / 2 - 0.5) * stride
        for a in range(1, n_pixels + 1):
            bank[i - 1, a - 1] = math.exp(-((a - mu) ** 2) / (2 * math.exp(log_variance)))
        bank[i - 1] /= bank[i - 1].sum()
    return bank


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(gates, cell):
    i, f, g, o = np.split(gates, 4)
    cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(cell), cell


def embed(encoder, tokens):
    """What the tokens of one caption begin as: rows of the embedding, or ones among zeros."""
    if encoder.embedding is not None:
        table = encoder.embedding.weight.detach().double().numpy()
        return np.array([table[token] for token in tokens])
    vectors = np.zeros((len(tokens), encoder.n_tokens))
    for row, token in enumerate(tokens):
        vectors[row, token] = 1
    return vectors


def language(encoder, tokens):
    """Vectors of the tokens of one caption by an LSTM, and by a second one, if there is, that reads from the end."""
    vectors = embed(encoder, tokens)
    directions = [("", range(len(tokens))), ("_reverse", range(len(tokens) - 1, -1, -1))]
    outputs = []
    for suffix, order in directions if encoder.lstm.bidirectional else directions[:1]:
        w_in, w_hidden, b_in, b_hidden = (
            getattr(encoder.lstm, f"{name}_l0{suffix}").detach().double().numpy()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h = c = np.zeros(w_hidden.shape[1])
        found = [None] * len(tokens)
        for k in order:
            h, c = _lstm(w_in @ vectors[k] + b_in + w_hidden @ h + b_hidden, c)
            found[k] = h
        outputs.append(np.array(found))
    return np.concatenate(outputs, axis=1)


def draw(network, tokens, noise, picture=None):
    """Draw one caption; noise (n_steps, n_latent). Give canvases, attention and KL at each step."""
    config = network.config
    height, width = config.canvas
    n = config.patch
    w = {name: network.from_decoder.weight[network._slice(name)].detach().numpy() for name in network.parts}
    b = {name: network.from_decoder.bias[network._slice(name)].detach().numpy() for name in network.parts}
    w_enc, w_dec, w_post = (
        x.weight.detach().numpy() for x in (network.to_encoder, network.to_decoder, network.posterior)
    )
    b_post = network.posterior.bias.detach().numpy()
    u, v = network.attention.keys.weight.detach().numpy(), network.attention.v.detach().numpy()
    encoded = language(network.language, tokens)
    h_enc, c_enc, h_dec, c_dec = network.start_states.detach().numpy()
    canvas = network.start_canvas.detach().numpy().copy()

    def window(name, h):
        gy, gx, log_variance, log_stride, log_gamma = w[name] @ h + b[name]
        longest = max(height, width)
        return (
            filter_bank(gy, log_variance, log_stride, height, longest, n),
            filter_bank(gx, log_variance, log_stride, width, longest, n),
            math.exp(log_gamma),
        )

    canvases, alphas, divergences = [], [], []
    for t in range(len(noise)):
        prior = np.tanh(w["prior"] @ h_dec + b["prior"])
        p_mean, p_sd = np.split(prior, 2)
        p_sd = np.exp(p_sd)
        if t == 0:
            p_mean, p_sd = np.zeros_like(p_mean), np.ones_like(p_sd)
        mean, sd = p_mean, p_sd
        if picture is not None:
            fy, fx, gamma = window("read", h_dec)
            missing = picture - _sigmoid(canvas)
            r = np.concatenate([(gamma * fy @ what @ fx.T).ravel() for what in (picture, missing)])
            gates = w_enc @ np.concatenate([r, h_enc]) + w["encoder"] @ h_dec + b["encoder"]
            h_enc, c_enc = _lstm(gates, c_enc)
            mean, log_sd = np.split(w_post @ h_enc + b_post, 2)
            sd = np.exp(log_sd)
            divergences.append(
                sum(
                    math.log(q / s) + (s**2 + (m - k) ** 2) / (2 * q**2) - 0.5
                    for m, s, k, q in zip(mean, sd, p_mean, p_sd, strict=True)
                )
            )
        z = mean + sd * noise[t]
        energy = np.array([v @ np.tanh(u @ h + w["attention"] @ h_dec + b["attention"]) for h in encoded])
        alpha = np.exp(energy - energy.max())
        alpha /= alpha.sum()
        s = sum(a * h for a, h in zip(alpha, encoded, strict=True))
        gates = w_dec @ np.concatenate([z, s]) + w["decoder"] @ h_dec + b["decoder"]
        h_dec, c_dec = _lstm(gates, c_dec)
        fy, fx, gamma = window("write", h_dec)
        patch = (w["patch"] @ h_dec + b["patch"]).reshape(n, n)
        canvas = canvas + fy.T @ patch @ fx / gamma
        canvases.append(canvas)
        alphas.append(alpha)
    return np.array(canvases), np.array(alphas), np.array(divergences)
