"""Convolve an upsampled picture without upsampling it: the same sums with 4 products in the place of 9."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["GateKernels", "add_upsampled", "gate_kernels", "upsampled_kernels"]


class GateKernels(NamedTuple):
    """Hold the weights of a layer's gates, split by what they look at.

    Attributes
    ----------
    beside : Tensor (n_out, n_beside, 3, 3)
        For what has the layer's own size: R_l and E_l.
    above : Tensor (4 n_out, n_above, 2, 2) or None
        For R_l+1, as :func:`upsampled_kernels` makes them; None in the highest layer.
    """

    beside: Tensor
    above: Tensor | None


def gate_kernels(weight: Tensor, n_beside: int) -> GateKernels:
    """Split a kernel for R_l, E_l and the upsampled R_l+1.

    Parameters
    ----------
    weight : Tensor (n_out, n_beside + n_above, 3, 3)
        Kernel.
    n_beside : int
        Channels of R_l and E_l.

    Returns
    -------
    GateKernels
        Its parts.
    """
    above = weight[:, n_beside:]
    beside = weight[:, :n_beside].contiguous(memory_format=torch.channels_last)
    return GateKernels(beside, upsampled_kernels(above) if above.shape[1] else None)


# Which of the two neighbours a tap of a 3-tap kernel meets, on a doubled grid: at even places the first tap meets
# the one before and the others the one itself; at odd places the last meets the one after.
_MEETS = (((1.0, 0.0, 0.0), (0.0, 1.0, 1.0)), ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0)))  # place, neighbour, tap


def upsampled_kernels(weight: Tensor) -> Tensor:
    """Turn a 3x3 kernel for a doubled picture into the four 2x2 kernels that do the same on the picture itself.

    Nearest upsampling repeats every pixel, so that neighbouring taps meet the same value and can be added
    beforehand: 4 products instead of 9.

    Parameters
    ----------
    weight : Tensor (n_out, n_in, 3, 3)
        Kernel of a convolution with padding 1 after upsampling by two.

    Returns
    -------
    Tensor (4 n_out, n_in, 2, 2)
        Kernels for the places (even, even), (even, odd), (odd, even), (odd, odd) of the doubled picture.
    """
    # Added up in float32 at least, whatever the convolution will run in.
    exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
    meets = torch.tensor(_MEETS, dtype=exact.dtype, device=exact.device)
    with torch.autocast(weight.device.type, enabled=False):
        kernels = torch.einsum("akd,ble,oide->aboikl", meets, meets, exact).to(weight.dtype)
    return kernels.reshape(-1, weight.shape[1], 2, 2).contiguous(memory_format=torch.channels_last)


def add_upsampled(sums: Tensor, picture: Tensor, kernels: Tensor) -> Tensor:
    """Add the convolution of a doubled picture, computed at the picture's own size.

    Parameters
    ----------
    sums : Tensor (n, n_out, 2 height, 2 width)
        What to add to; changed in place where no gradient is asked for.
    picture : Tensor (n, n_in, height, width)
        Picture before upsampling.
    kernels : Tensor (4 n_out, n_in, 2, 2)
        As :func:`upsampled_kernels` makes them.

    Returns
    -------
    Tensor (n, n_out, 2 height, 2 width)
        The sum.
    """
    height, width = picture.shape[2:]
    corners = functional.conv2d(picture, kernels, padding=1)  # (n, 4 n_out, height + 1, width + 1)
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    parts = [
        part[:, :, row : height + row, column : width + column]
        for part, (row, column) in zip(corners.chunk(4, dim=1), places, strict=True)
    ]
    if not torch.is_grad_enabled():
        for part, (row, column) in zip(parts, places, strict=True):
            sums[:, :, row::2, column::2] += part
        return sums
    even, odd = (torch.stack([part.permute(0, 2, 3, 1) for part in pair], dim=3) for pair in (parts[:2], parts[2:]))
    doubled = torch.stack([even, odd], dim=2)  # (n, height, 2, width, 2, n_out)
    return sums + doubled.reshape(len(picture), 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
