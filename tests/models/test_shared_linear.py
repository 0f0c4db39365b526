"""A linear map with its weight gradient in one product, against autograd's own."""

import pytest
import torch
from torch import nn

from brainpred.models.shared_linear import SharedLinear


def _recurrence(apply, x):
    for _ in range(3):
        x = torch.tanh(apply(x)) + x
    return (x**2).sum()


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_equal_autograd(bias):
    torch.manual_seed(0)
    linear = nn.Linear(5, 5, bias=bias).double()
    x = torch.randn(7, 5).double().requires_grad_()
    expected = _recurrence(linear, x)
    wanted = torch.autograd.grad(expected, [x, *linear.parameters()])
    for _ in range(2):  # gradients of two passes add up
        found = _recurrence(SharedLinear(linear, torch.float64), x)
        torch.testing.assert_close(found, expected)
        found.backward()
    for tensor, gradient in zip([x, *linear.parameters()], wanted, strict=True):
        torch.testing.assert_close(tensor.grad, 2 * gradient)


def test_nothing_is_kept_after_the_way_back():
    linear = nn.Linear(4, 4)
    shared = SharedLinear(linear, torch.float32)
    _recurrence(shared, torch.ones(2, 4)).backward()
    assert shared._left == []


def test_fixed_weights_get_no_gradient():
    linear = nn.Linear(4, 4).requires_grad_(False)
    shared = SharedLinear(linear, torch.float32)
    x = torch.ones(2, 4, requires_grad=True)
    _recurrence(shared, x).backward()
    assert linear.weight.grad is None
    assert x.grad is not None
    assert shared._left == []


def test_bfloat16_comes_close_and_keeps_types():
    torch.manual_seed(0)
    linear = nn.Linear(64, 64)
    x = torch.randn(9, 64)
    narrow = SharedLinear(linear, torch.bfloat16)(x)
    assert narrow.dtype == torch.float32
    assert not torch.equal(narrow, linear(x))
    torch.testing.assert_close(narrow, linear(x), atol=0.03, rtol=0.03)
    narrow.sum().backward()
    assert linear.weight.grad.dtype == torch.float32
    torch.testing.assert_close(linear.weight.grad, x.sum(0).expand(64, 64), atol=0.2, rtol=0.02)
