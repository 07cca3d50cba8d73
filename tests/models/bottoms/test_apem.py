"""APEM: the contract, the set property, and what each task picks for itself."""

import pytest
import torch
from torch import Tensor

from fulcrum.models.bottoms.apem import APEM, APEMConfig
from fulcrum.models.layers.set_attention import InducedSetAttention
from fulcrum.models.layers.stacked import StackedLinear
from fulcrum.testing.networks import NetworkContract
from tests.models.bottoms.parts import B, D, build, layout, some_numbers, some_vectors
from tests.models.debug import MODELS

G, F, T = 4, 9, 3
OWN = ("selector.indicator", "selector.hidden.", "selector.adapt.")
"""Parameters with the task first."""


def make(groups: int = G, tasks: int = T, picks: int = 1) -> APEM:
    bottom = build(APEMConfig(groups=groups, picks=picks, points=3), layout(tasks))
    assert isinstance(bottom, APEM)
    return bottom


def some_patterns() -> Tensor:
    return torch.randn(B, G, F, D, dtype=torch.float64)


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


class TestAPEM(NetworkContract):
    block = MODELS["apem"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        own = (".gate.", *(f".bottom.{name}" for name in OWN))
        return {
            name: value[[1, 0, 2]] if any(part in name for part in own) else value
            for name, value in super().swap_tasks(state).items()
        }


def test_each_block_is_its_equations() -> None:
    """Block by block and row by row: equations 6, 7 and 9 of the Set Transformer."""
    groups = InducedSetAttention(2, 3, D).double()
    x = torch.randn(B, F, D, dtype=torch.float64)

    def linear(layer: object, g: int, v: Tensor) -> Tensor:
        assert isinstance(layer, StackedLinear)
        y = v @ layer.weight[g].T
        return y if layer.bias is None else y + layer.bias[g]

    def norm(v: Tensor) -> Tensor:
        return (v - v.mean(1, keepdim=True)) / (v.var(1, False, keepdim=True) + 1e-5).sqrt()

    def mab(block, g: int, q: Tensor, k: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        scores = linear(block.query, g, q) @ linear(block.key, g, k).T / D**0.5
        u = norm(q + scores.softmax(1) @ linear(block.value, g, k))
        return norm(u + linear(block.narrow, g, linear(block.widen, g, u).relu()))

    o = groups(x)
    for g in range(2):
        for row in range(B):
            h = mab(groups.gather, g, groups.points[g, 0], x[row])
            close(o[g, row], mab(groups.spread, g, x[row], h))


def test_permuting_the_fields_changes_nothing() -> None:
    """The set property, before the field embeddings and with them."""
    apem, order = make(), torch.randperm(F)
    x = torch.randn(B, F, D, dtype=torch.float64)
    close(apem.patterns(x[:, order]), apem.patterns(x)[:, :, order])
    close(apem.selector(apem.patterns(x[:, order])), apem.selector(apem.patterns(x)))


def test_weights_sum_to_one_and_are_uniform_without_an_indicator() -> None:
    apem, patterns = make(), some_patterns()
    weights = apem.selector.weights(patterns)
    assert weights.shape == (B, G, T, F)
    close(weights.sum(3), torch.ones(B, G, T, dtype=torch.float64))
    assert weights.std(3).min() > 1e-3
    for part in (apem.selector.indicator, *apem.selector.adapt.parameters()):
        torch.nn.init.zeros_(part)
    close(apem.selector.weights(patterns), torch.full((B, G, T, F), 1 / F, dtype=torch.float64))


def test_without_an_indicator_it_is_a_shared_encoder_with_mean_pooling() -> None:
    apem = make(groups=1)
    torch.nn.init.zeros_(apem.excitation.excite.weight)
    torch.nn.init.zeros_(apem.selector.query.weight)
    x = torch.randn(B, F, D, dtype=torch.float64)
    z = apem.selector(apem.patterns(x))
    for t in range(T):
        close(z[:, t, 0], (x + apem.groups(x)[0]).mean(1) @ apem.selector.value.weight.T)


@pytest.mark.parametrize("picks", [1, 3])
def test_picks_say_how_much_comes_through(picks: int) -> None:
    apem = make(picks=picks)
    x = apem(some_vectors(layout()), some_numbers(layout())).unflatten(1, (T, -1))
    assert x.shape == (B, T, picks * G + 1, D)
    assert len(apem.names) == picks * G + 1


def test_each_pick_is_that_of_a_selector_with_one() -> None:
    """Of every group, by its own indicator."""
    several, alone, patterns = make(picks=3).selector, make().selector, some_patterns()
    z = several(patterns).unflatten(2, (3, G))
    for pick in range(3):
        state = several.state_dict()
        state["indicator"] = state["indicator"][:, pick : pick + 1]
        alone.load_state_dict(state)
        close(z[:, :, pick], alone(patterns))


def test_equal_indicators_give_equal_fields() -> None:
    apem, inputs = make(picks=2), (some_vectors(layout()), some_numbers(layout()))
    with torch.no_grad():
        for name, parameter in apem.named_parameters():
            if name.startswith(OWN):
                parameter[:] = parameter[0].clone()
    x = apem(*inputs).unflatten(1, (T, -1))
    close(x[:, 1], x[:, 0])
    close(x[:, 2], x[:, 0])


def test_isolation_a_task_moves_no_other_tasks_indicator() -> None:
    apem = make(picks=2)
    x = apem(some_vectors(layout()), some_numbers(layout())).unflatten(1, (T, -1))
    x[:, 1].square().sum().backward()
    for name, parameter in apem.named_parameters():
        grad = parameter.grad
        assert grad is not None
        if name.startswith(OWN):
            assert grad.flatten(1).any(1).tolist() == [False, True, False], name
    assert apem.groups.points.grad.flatten(1).any(1).all()  # type: ignore[union-attr]


def test_doubling_a_groups_weight_doubles_its_patterns() -> None:
    apem, x = make(), torch.randn(B, F, D, dtype=torch.float64)
    before = apem.patterns(x)
    double = torch.tensor([1.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    units = double.repeat_interleave(D)
    apem.excitation.register_forward_hook(lambda *passed: passed[2] * units)
    after = apem.patterns(x)
    x = x[:, None]
    close(after - x, (before - x) * double[:, None, None])


@pytest.mark.parametrize("points", [3, 8])
def test_memory_grows_linearly_with_the_fields(points: int) -> None:
    """Of all that is kept for backward, at 50 and at 500 fields: no term in F squared."""
    groups = InducedSetAttention(2, points, D)

    def kept(fields: int) -> int:
        sizes = []

        def keep(x: Tensor) -> Tensor:
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            groups(torch.randn(2, fields, D, requires_grad=True)).sum()
        return sum(sizes)

    assert kept(100) > kept(50)
    assert kept(500) - kept(50) == 9 * (kept(100) - kept(50))
