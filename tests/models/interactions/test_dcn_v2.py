"""DCN V2: the contract, and the polynomials that cross layers are."""

import pytest
import torch

from fulcrum.models.interactions.dcn_v2 import DCNv2Config
from fulcrum.testing.interactions import D, F, InteractionContract, make, some_fields
from tests.models.debug import MODELS


class TestDCNv2(InteractionContract):
    block = MODELS["dcn_v2"]


def without_bias(layers: int) -> torch.nn.Module:
    cross = make(DCNv2Config(layers=layers))
    with torch.no_grad():
        for layer in cross.layers:  # type: ignore[union-attr]
            layer.bias.zero_()  # type: ignore[union-attr,operator]
    return cross


@pytest.mark.parametrize("rank", [None, 3])
def test_with_zero_weights_it_is_the_identity(rank: int | None) -> None:
    cross, fields = make(DCNv2Config(layers=3, rank=rank)), some_fields()
    with torch.no_grad():
        for parameter in cross.parameters():
            parameter.zero_()
    assert torch.equal(cross(fields), fields)


def test_one_layer_is_equation_1() -> None:
    cross, fields = make(DCNv2Config(layers=1)), some_fields()
    x = fields.flatten(1)
    w, b = cross.layers[0].weight[0], cross.layers[0].bias[0]  # type: ignore[index,union-attr]
    expected = torch.stack([row * (w @ row + b) + row for row in x])  # type: ignore[operator]
    torch.testing.assert_close(cross(fields).flatten(1), expected, rtol=0, atol=1e-10)


def test_full_rank_is_a_dense_matrix() -> None:
    dense, low, fields = make(DCNv2Config()), make(DCNv2Config(rank=F * D)), some_fields()
    with torch.no_grad():
        for layer, (v, u) in zip(dense.layers, low.layers, strict=True):  # type: ignore[arg-type,misc,union-attr]
            v.weight[0] = torch.randn(F * D, F * D)
            u.weight[0] = torch.linalg.solve(v.weight[0], layer.weight[0], left=False)  # type: ignore[index,union-attr]
            u.bias.copy_(layer.bias)  # type: ignore[union-attr]
    torch.testing.assert_close(low(fields), dense(fields), rtol=0, atol=1e-10)


def test_low_rank_is_that_rank() -> None:
    low = make(DCNv2Config(rank=3))
    for v, u in low.layers:  # type: ignore[misc,union-attr]
        assert torch.linalg.matrix_rank(u.weight[0] @ v.weight[0]) == 3


def test_the_cross_term_of_one_layer_scales_with_the_square() -> None:
    cross, fields = without_bias(1), some_fields()
    for s in (0.5, 3.0):
        term = cross(s * fields) - s * fields
        expected = s**2 * (cross(fields) - fields)
        torch.testing.assert_close(term, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_degree_is_one_more_than_the_layers(layers: int) -> None:
    """The finite difference of order n of a polynomial is 0 beyond its degree, and not at it."""
    cross, fields = without_bias(layers), some_fields()
    values = torch.stack([cross(s * fields) for s in range(layers + 3)])
    assert values.diff(n=layers + 1, dim=0).abs().amax() > 1e-3
    assert values.diff(n=layers + 2, dim=0).abs().amax() < 1e-10


def test_a_row_of_zeros_stays_zero() -> None:
    """Every term holds x_0, whatever the biases."""
    assert not make(DCNv2Config())(torch.zeros(2, F, D, dtype=torch.float64)).any()


def test_rank_changes_the_size() -> None:
    def size(**settings: object) -> int:
        config = DCNv2Config.model_validate({"layers": 2, **settings})
        return sum(p.numel() for p in config.build(F, D, 1).parameters())

    n = F * D
    assert size() == 2 * (n * n + n)
    assert size(rank=3) == 2 * (2 * 3 * n + n)
