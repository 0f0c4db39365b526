"""A linear map used at every step of a recurrence, whose weight gradient is one product for all steps."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

__all__ = ["SharedLinear"]


# What each step leaves, by its number: x, the gradient of what came out, and that summed over samples.
Left = dict[int, tuple[Tensor, Tensor, Tensor]]


class _Open(Function):
    """Stand for the weights in the graph: autograd comes here after every step, with how many they were.

    Only what these left is summed: a gradient of x alone never comes here, and what its steps left is still there.
    """

    @staticmethod
    def forward(ctx: Any, left: Left, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.left, ctx.dtype, ctx.has_bias = left, weight.dtype, bias is not None
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor | None]:
        inputs, outputs, sums = zip(*list(ctx.left.values())[-int(gradients[0]) :], strict=True)
        ctx.left.clear()
        weight = (torch.cat(outputs).T @ torch.cat(inputs)).to(ctx.dtype)
        return None, weight, torch.stack(sums).sum(0) if ctx.has_bias else None


class _Step(Function):
    """Multiply; on the way back, leave what the weight gradient needs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, token: Tensor, weight: Tensor, bias: Tensor | None, left: Left, number: int
    ) -> Tensor:
        narrow = x.to(weight.dtype)
        ctx.save_for_backward(narrow, weight)
        ctx.left, ctx.number, ctx.dtype = left, number, x.dtype
        return nn.functional.linear(narrow, weight, bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        x, weight = ctx.saved_tensors
        output = gradients[0].to(weight.dtype)
        token = None
        if ctx.needs_input_grad[1]:
            ctx.left.pop(ctx.number, None)  # a step that comes again goes to the end
            ctx.left[ctx.number] = (x, output, gradients[0].sum(0))
            token = torch.ones(())
        return (output @ weight).to(ctx.dtype), token, None, None, None, None


class SharedLinear:
    r"""Apply one :class:`torch.nn.Linear` many times in a pass, and find its gradient in a single product.

    Autograd adds :math:`G_t^\top X_t` to the weight gradient at each of T steps: T narrow products, each followed by
    a pass over all weights. Here the steps only keep :math:`X_t, G_t`; at the end
    :math:`G^\top X` is multiplied once, with all steps stacked.

    Parameters
    ----------
    linear : nn.Linear
        The map; as it is now, so make a new object for each pass.
    dtype : torch.dtype
        What is multiplied in, such as ``torch.bfloat16``; what goes in and comes out keeps its own type.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype):
        weight, bias = linear.weight, linear.bias
        self._left: Left = {}
        self._n_steps = 0
        self._token: Tensor = _Open.apply(self._left, weight, bias)  # type: ignore[no-untyped-call]
        self._weight = weight.detach().to(dtype)
        self._bias = None if bias is None else bias.detach().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Map x, (n_samples, n_inputs), to (n_samples, n_outputs) of the same type."""
        self._n_steps += 1
        arguments = (x, self._token, self._weight, self._bias, self._left, self._n_steps)
        return _Step.apply(*arguments)  # type: ignore[no-untyped-call]
