"""A linear layer and its ReLU in one step are PyTorch's two, and cost no more than asked for."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fulcrum.models.layers.linear_relu import linear
from fulcrum.models.layers.stacked import StackedLinear, StackedMLP

ROWS, INPUTS, OUTPUTS = 9, 5, 3
SHAPES = pytest.mark.parametrize(("layers", "sources"), [(1, 1), (4, 1), (4, 4), (6, 3)])


def tensors(layers: int, sources: int, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
    """x, weight and bias as `linear` takes them, none of them a leaf."""
    wide = layers // sources * OUTPUTS
    for shape in ((sources, ROWS, INPUTS), (sources, wide, INPUTS), (sources, 1, wide)):
        yield torch.randn(shape, dtype=dtype, requires_grad=True).clone()


def one_step(x: Tensor, weight: Tensor, bias: Tensor, layers: int) -> Tensor:
    return linear(x, weight, bias, layers, relu=True)


def two_steps(x: Tensor, weight: Tensor, bias: Tensor, layers: int) -> Tensor:
    return linear(x, weight, bias, layers).relu()


@SHAPES
def test_numbers_are_those_of_two_steps_to_the_last_bit(layers: int, sources: int) -> None:
    inputs = list(tensors(layers, sources))
    outputs = [step(*inputs, layers) for step in (one_step, two_steps)]
    assert torch.equal(*outputs)
    assert outputs[0].shape == (layers, ROWS, OUTPUTS)
    assert (outputs[0] == 0).any() and (outputs[0] > 0).any()
    gradient = torch.randn_like(outputs[0])
    for one, two in zip(*(torch.autograd.grad(y, inputs, gradient) for y in outputs), strict=True):
        assert torch.equal(one, two)


@SHAPES
def test_gradients_of_gradients_are_right(layers: int, sources: int) -> None:
    inputs = list(tensors(layers, sources, torch.float64))

    def step(*inputs: Tensor) -> Tensor:
        return one_step(*(t.clone() for t in inputs), layers)

    leaves = tuple(t.detach().requires_grad_() for t in inputs)
    assert torch.autograd.gradcheck(step, leaves)
    assert torch.autograd.gradgradcheck(step, leaves)


def test_a_gradient_that_others_read_is_left_alone() -> None:
    inputs = list(tensors(4, 1))
    y = one_step(*inputs, 4)
    gradient = torch.randn_like(y)
    before = gradient.clone()
    first = torch.autograd.grad(y, inputs, gradient, retain_graph=True)
    second = torch.autograd.grad(y, inputs, gradient)
    assert torch.equal(gradient, before)
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("sources", [1, 4])
def test_a_look_at_what_lies_below_multiplies_nothing_for_weights(sources: int) -> None:
    mlp, x = StackedMLP(4, INPUTS, (8, 8), dropout=0.0), torch.randn(sources, ROWS, INPUTS)
    below = x.requires_grad_().clone()
    loss = mlp(below).sum()
    one_pass = 2 * 4 * ROWS * (INPUTS * 8 + 8 * 8)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(loss, below, retain_graph=True)
    assert counter.get_total_flops() == one_pass
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    assert counter.get_total_flops() == 2 * one_pass
    assert all(p.grad is not None for p in mlp.parameters())


def test_autocast_says_the_precision() -> None:
    layer, x = StackedLinear(2, INPUTS, OUTPUTS), torch.randn(1, ROWS, INPUTS)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, relu=True)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x).relu(), rtol=0.02, atol=0.02)
