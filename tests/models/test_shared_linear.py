"""A linear map with its weight gradient in one product, against autograd's own."""

from types import SimpleNamespace

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


EXACT = {"atol": 1e-12, "rtol": 1e-12}


def _two_maps(forth, back, x):
    """Walk between 7 and 3 units and back, four times."""
    for _ in range(4):
        x = torch.sin(back(torch.tanh(forth(x)))) + x
    return (x**3).sum()


@pytest.mark.parametrize("bias", [True, False])
def test_two_maps_of_unequal_sides_are_exact(bias):
    torch.manual_seed(1)
    forth, back = nn.Linear(7, 3, bias=bias).double(), nn.Linear(3, 7, bias=bias).double()
    x = torch.randn(5, 7).double().requires_grad_()
    wanted = [x, *forth.parameters(), *back.parameters()]
    expected = _two_maps(forth, back, x)
    found = _two_maps(SharedLinear(forth, torch.float64), SharedLinear(back, torch.float64), x)
    torch.testing.assert_close(found, expected, **EXACT)
    for one, other in zip(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_gradients_equal_finite_differences():
    torch.manual_seed(2)
    shapes = ((5, 4), (3, 4), (3,))
    x, weight, bias = (torch.randn(shape).double().requires_grad_() for shape in shapes)
    back = torch.randn(3, 4).double()

    def apply(x, weight, bias):
        shared = SharedLinear(SimpleNamespace(weight=weight, bias=bias), torch.float64)
        return shared(torch.tanh(shared(torch.tanh(shared(x)) @ back)) @ back)

    assert torch.autograd.gradcheck(apply, (x, weight, bias))


def test_the_same_graph_can_be_walked_back_twice():
    torch.manual_seed(3)
    linear = nn.Linear(5, 5).double()
    x = torch.randn(7, 5).double().requires_grad_()
    wanted = torch.autograd.grad(_recurrence(linear, x), [x, *linear.parameters()])
    shared = SharedLinear(linear, torch.float64)
    loss = _recurrence(shared, x)
    _recurrence(shared, x + 1)  # never walked back
    for _ in range(2):
        found = torch.autograd.grad(loss, [x, *linear.parameters()], retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, **EXACT)
        assert shared._left == {}


def test_a_gradient_of_the_input_alone_leaves_nothing_for_the_next():
    torch.manual_seed(3)
    linear = nn.Linear(5, 5).double()
    x = torch.randn(7, 5).double().requires_grad_()
    wanted = torch.autograd.grad(_recurrence(linear, x), [x, *linear.parameters()])
    loss = _recurrence(SharedLinear(linear, torch.float64), x)
    alone = torch.autograd.grad(loss, x, retain_graph=True)
    found = torch.autograd.grad(loss, [x, *linear.parameters()])
    for one, other in zip((*alone, *found), (wanted[0], *wanted), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_a_longer_way_back_leaves_nothing_for_a_shorter_one():
    torch.manual_seed(3)
    linear = nn.Linear(5, 5).double()
    x = torch.randn(7, 5).double().requires_grad_()
    wanted = torch.autograd.grad(torch.tanh(linear(x)).sum(), [x, *linear.parameters()])
    shared = SharedLinear(linear, torch.float64)
    short = torch.tanh(shared(x))
    long = torch.tanh(shared(torch.tanh(shared(short))))
    torch.autograd.grad(long.sum(), x, retain_graph=True)  # comes through three steps, and never to the weights
    found = torch.autograd.grad(short.sum(), [x, *linear.parameters()])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    assert shared._left == {}


@pytest.mark.parametrize("fixed", ["weight", "bias"])
def test_half_fixed_weights_train_the_other_half(fixed):
    torch.manual_seed(4)
    linear = nn.Linear(5, 5).double()
    getattr(linear, fixed).requires_grad_(False)
    other = "bias" if fixed == "weight" else "weight"
    x = torch.randn(7, 5).double()
    wanted = torch.autograd.grad(_recurrence(linear, x), getattr(linear, other))[0]
    _recurrence(SharedLinear(linear, torch.float64), x).backward()
    assert getattr(linear, fixed).grad is None
    torch.testing.assert_close(getattr(linear, other).grad, wanted, **EXACT)


def test_nothing_is_kept_after_the_way_back():
    linear = nn.Linear(4, 4)
    shared = SharedLinear(linear, torch.float32)
    _recurrence(shared, torch.ones(2, 4)).backward()
    assert shared._left == {}


def test_fixed_weights_get_no_gradient():
    linear = nn.Linear(4, 4).requires_grad_(False)
    shared = SharedLinear(linear, torch.float32)
    x = torch.ones(2, 4, requires_grad=True)
    _recurrence(shared, x).backward()
    assert linear.weight.grad is None
    assert x.grad is not None
    assert shared._left == {}


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
