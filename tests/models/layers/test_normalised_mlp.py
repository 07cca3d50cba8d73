"""HoME's expert (section 8.1): what normalising before Swish does to outputs."""

import pytest
import torch
from torch.nn import functional as F

from fulcrum.models.layers.normalised_mlp import NormalisedMLP
from fulcrum.models.layers.stacked import StackedMLP

N, ROWS, INPUTS = 3, 4000, 12


def some_rows() -> torch.Tensor:
    return torch.randn(1, ROWS, INPUTS, dtype=torch.float64) * 30 + 5


@pytest.mark.parametrize("hidden", [(8,), (16, 8)])
def test_experts_are_alike_before_swish(hidden: tuple[int, ...]) -> None:
    """Test 4: moments of every unit; about half the units are negative, and Swish zeroes none."""
    mlp, before = NormalisedMLP(N, INPUTS, hidden, 0.0).double(), []
    mlp.norm.register_forward_hook(lambda *args: before.append(args[2]))
    h = mlp(some_rows())
    (u,) = before
    assert (u.mean(1).abs() < 1e-5).all()
    assert ((u.std(1, correction=0) - 1).abs() < 1e-3).all()
    assert 0.4 < (F.relu(u) == 0).double().mean() < 0.6
    assert not (h == 0).any()
    assert (h > -0.2785).all()


def test_hidden_layers_are_swish_without_a_norm() -> None:
    mlp, x = NormalisedMLP(N, INPUTS, (7, 8), 0.0).double(), some_rows()
    first, last = mlp.layers
    for n in range(N):
        h = F.silu(x[0] @ first.weight[n].T + first.bias[n])  # type: ignore[index,union-attr]
        u = h @ last.weight[n].T  # type: ignore[index,union-attr]
        expected = F.silu((u - u.mean(0)) / (u.var(0, correction=0) + 1e-5).sqrt())
        torch.testing.assert_close(mlp(x)[n], expected, rtol=0, atol=1e-10)


def test_relu_without_the_norm_is_a_plain_mlp() -> None:
    """The ablation: same weights, same function as `StackedMLP`."""
    mlp = NormalisedMLP(N, INPUTS, (7, 8), 0.0, activation="relu", normalise=False)
    plain = StackedMLP(N, INPUTS, (7, 8), 0.0)
    plain.load_state_dict(mlp.state_dict())
    x = torch.randn(1, ROWS, INPUTS)
    assert torch.equal(mlp(x), plain(x))


def test_a_bias_before_the_norm_would_do_nothing() -> None:
    names = {name for name, _ in NormalisedMLP(N, INPUTS, (7, 8), 0.0).named_parameters()}
    assert "layers.0.bias" in names and "layers.1.bias" not in names
