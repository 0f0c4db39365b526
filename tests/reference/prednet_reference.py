"""PredNet in plain loops, one movie at a time: slow, and written from the equations alone."""

import numpy as np


def hard_sigmoid(x):
    """Clip 0.2 x + 0.5 to [0, 1]."""
    return np.minimum(np.maximum(0.2 * x + 0.5, 0.0), 1.0)


def relu(x):
    """Replace what is negative by zero."""
    return np.maximum(x, 0.0)


def convolve(volume, kernel, bias):
    """Slide kernels (n_out, n_in, 3, 3) over a volume (n_in, height, width) bordered by zeros."""
    n_in, height, width = volume.shape
    bordered = np.zeros((n_in, height + 2, width + 2))
    bordered[:, 1:-1, 1:-1] = volume
    result = np.empty((len(kernel), height, width))
    for row in range(height):
        for column in range(width):
            patch = bordered[:, row : row + 3, column : column + 3]
            for channel in range(len(kernel)):
                result[channel, row, column] = np.sum(kernel[channel] * patch) + bias[channel]
    return result


def upsample(volume):
    """Repeat every pixel in a square of 2 x 2."""
    channels, height, width = volume.shape
    result = np.empty((channels, 2 * height, 2 * width))
    for row in range(2 * height):
        for column in range(2 * width):
            result[:, row, column] = volume[:, row // 2, column // 2]
    return result


def pool(volume):
    """Keep the largest pixel of every square of 2 x 2."""
    channels, height, width = volume.shape
    result = np.empty((channels, height // 2, width // 2))
    for row in range(height // 2):
        for column in range(width // 2):
            square = volume[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            result[:, row, column] = square.max(axis=(1, 2))
    return result


def prednet_reference(frames, kernels, swapped=None, closed_loop_from=None):
    """Run PredNet over one movie and return all of its units.

    Parameters
    ----------
    frames : ndarray (n_frames, channels_0, height, width)
        The movie in [0, 1].
    kernels : dict of (str, int) to (kernel, bias)
        For every gate ``i``, ``f``, ``o``, ``c``, ``ahat`` and layer, and for ``a`` at every layer but the
        last, the weights (n_out, n_in, 3, 3) and (n_out,). ``("a", l)`` turns E_l into A_{l+1}.
    swapped : dict of int to ndarray (n_frames, channels_l, height / 2**l, width / 2**l), optional
        What takes the place of R_l.
    closed_loop_from : int, optional
        From this frame on, A_0 is the prediction of the frame before.

    Returns
    -------
    dict of str to ndarray (n_frames, channels, height, width)
        R, A, Ahat and E of every layer.
    """
    swapped = swapped or {}
    n_frames, _, height, width = frames.shape
    n_layers = 1 + max(layer for gate, layer in kernels if gate == "ahat")
    channels = [len(kernels["ahat", layer][1]) for layer in range(n_layers)]
    sizes = [(height // 2**layer, width // 2**layer) for layer in range(n_layers)]
    r = [np.zeros((channels[layer], *sizes[layer])) for layer in range(n_layers)]
    c = [np.zeros((channels[layer], *sizes[layer])) for layer in range(n_layers)]
    e = [np.zeros((2 * channels[layer], *sizes[layer])) for layer in range(n_layers)]
    last_prediction = np.zeros((channels[0], height, width))
    units = {f"{kind}{layer}": [] for kind in ("R", "A", "Ahat", "E") for layer in range(n_layers)}

    for t in range(n_frames):
        for layer in range(n_layers - 1, -1, -1):
            parts = [r[layer], e[layer]]
            if layer < n_layers - 1:
                parts.append(upsample(r[layer + 1]))
            u = np.concatenate(parts)
            i = hard_sigmoid(convolve(u, *kernels["i", layer]))
            f = hard_sigmoid(convolve(u, *kernels["f", layer]))
            o = hard_sigmoid(convolve(u, *kernels["o", layer]))
            c[layer] = f * c[layer] + i * np.tanh(convolve(u, *kernels["c", layer]))
            r[layer] = o * np.tanh(c[layer])
            if layer in swapped:
                r[layer] = swapped[layer][t]
            units[f"R{layer}"].append(r[layer])

        a = frames[t]
        if closed_loop_from is not None and t >= closed_loop_from:
            a = last_prediction
        for layer in range(n_layers):
            ahat = relu(convolve(r[layer], *kernels["ahat", layer]))
            if layer == 0:
                ahat = np.minimum(ahat, 1.0)
                last_prediction = ahat
            e[layer] = np.concatenate([relu(ahat - a), relu(a - ahat)])
            units[f"A{layer}"].append(a)
            units[f"Ahat{layer}"].append(ahat)
            units[f"E{layer}"].append(e[layer])
            if layer < n_layers - 1:
                a = pool(relu(convolve(e[layer], *kernels["a", layer])))
    return {unit: np.stack(values) for unit, values in units.items()}
