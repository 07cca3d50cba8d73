"""Stacked layers are N ordinary ones."""

import pytest
import torch
from torch import nn

from fulcrum.models.layers.stacked import StackedLinear, StackedMLP


def unstack(layer: StackedLinear, n: int) -> nn.Linear:
    """Layer n as PyTorch's own."""
    linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1], layer.bias is not None)
    linear.weight.data = layer.weight.data[n]
    if layer.bias is not None:
        linear.bias.data = layer.bias.data[n]
    return linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "sources"), [(1, 1), (4, 1), (4, 2), (4, 4), (6, 3)])
def test_layers_are_independent_linears(layers: int, sources: int, bias: bool) -> None:
    stacked, x = StackedLinear(layers, 5, 3, bias), torch.randn(sources, 7, 5)
    y = stacked(x)
    for n in range(layers):
        expected = unstack(stacked, n)(x[n * sources // layers])
        torch.testing.assert_close(y[n], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "counts", [(3,), (2, 2), (1, 3), (1, 1, 4), (2, 0, 1), (0, 2), (1, 2, 2, 1)], ids=str
)
def test_sources_may_be_read_by_different_numbers_of_layers(
    counts: tuple[int, ...], bias: bool
) -> None:
    layers, x = sum(counts), torch.randn(len(counts), 7, 5)
    stacked = StackedLinear(layers, 5, 3, bias, counts)
    y = stacked(x)
    assert y.shape == (layers, 7, 3)
    source = [s for s, count in enumerate(counts) for _ in range(count)]
    for n, s in enumerate(source):
        torch.testing.assert_close(y[n], unstack(stacked, n)(x[s]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sources", [1, 2, 4])
def test_a_layer_gets_gradient_from_its_own_output_alone(sources: int) -> None:
    stacked, x = StackedLinear(4, 5, 3), torch.randn(sources, 7, 5, requires_grad=True)
    stacked(x)[1].sum().backward()
    assert stacked.weight.grad is not None and stacked.bias is not None
    for n in (0, 2, 3):
        assert not stacked.weight.grad[n].any()
        assert not stacked.bias.grad[n].any()  # type: ignore[index]
    assert stacked.weight.grad[1].any()


def test_mlp_ends_in_relu_and_passes_through_without_hidden_layers() -> None:
    x = torch.randn(1, 50, 5)
    y = StackedMLP(3, 5, (8, 4), dropout=0.0)(x)
    assert y.shape == (3, 50, 4)
    assert (y >= 0).all() and (y == 0).any() and (y > 0).any()
    assert torch.equal(StackedMLP(1, 5, (), dropout=0.0)(x), x)


def test_mlp_is_pytorchs_chain_of_layers() -> None:
    mlp, x = StackedMLP(2, 5, (8, 4), dropout=0.0), torch.randn(2, 9, 5)
    for n in range(2):
        first, second = (unstack(layer, n) for layer in mlp.layers)  # type: ignore[arg-type]
        torch.testing.assert_close(mlp(x)[n], second(first(x[n]).relu()).relu())
