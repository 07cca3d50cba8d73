"""Multi-level MMoE: the contract, MMoE as its one-level case, and gates that read raw x."""

import pytest
import torch
from torch import Tensor

from fulcrum.models.layers.fusion import Fusion
from fulcrum.models.layers.stacked import StackedMLP
from fulcrum.models.trunks.ml_mmoe import MLMMoE, MLMMoEConfig
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

TASKS, FIELDS = ("a", "b", "c"), ("f", "g", "h", "i", "j")
INPUTS = len(FIELDS) * 4


def make(
    *levels: tuple[int, ...],
    experts: int = 4,
    tasks: tuple[str, ...] = TASKS,
    gate_bias: bool = True,
) -> MLMMoE:
    config = MLMMoEConfig(embedding_dim=4, experts=experts, levels=levels, gate_bias=gate_bias)
    return config.build(FIELDS, tasks).double()


def some_fields() -> Tensor:
    return torch.randn(7, len(FIELDS), 4, dtype=torch.float64)


def level(trunk: MLMMoE, number: int) -> Fusion:
    fusion = trunk.levels[number - 1]
    assert isinstance(fusion, Fusion)
    return fusion


class TestMLMMoE(TrunkContract):
    block = MODELS["ml_mmoe"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value[[1, 0, 2]] if ".levels.1.gate." in name else value
            for name, value in super().swap_tasks(state).items()
        }


def test_i3_with_one_level_it_is_mmoe() -> None:
    trunk, fields = make((8, 6)), some_fields()
    mmoe = MMoEConfig(embedding_dim=4, experts=4, expert=(8, 6)).build(FIELDS, TASKS).double()
    mmoe.load_state_dict(
        {k.replace("levels.0", "fusion"): value for k, value in trunk.state_dict().items()}
    )
    torch.testing.assert_close(trunk(fields), mmoe(fields), rtol=0, atol=1e-10)


def test_i19_with_one_task_and_one_expert_it_is_single_task() -> None:
    trunk, fields = make((8,), (6,), experts=1, tasks=("a",)), some_fields()
    single = SingleTaskConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, ("a",)).double()
    single.load_state_dict(
        {
            f"fusion.experts.mlp.layers.{i}.{kind}": trunk.state_dict()[
                f"levels.{i}.experts.mlp.layers.0.{kind}"
            ]
            for i in range(2)
            for kind in ("weight", "bias")
        }
    )
    torch.testing.assert_close(trunk(fields), single(fields), rtol=0, atol=1e-10)


def test_three_levels_are_the_equations() -> None:
    """Every gate and every expert written out, one at a time."""
    trunk, fields = make((8,), (7, 6), (5,)), some_fields()
    x = fields.flatten(1)
    z = [x] * 4
    for number, gates in ((1, 4), (2, 4), (3, len(TASKS))):
        fusion = level(trunk, number)
        assert fusion.gate is not None and isinstance(fusion.experts.mlp, StackedMLP)
        h = []
        for e in range(4):
            h.append(z[e])
            for layer in fusion.experts.mlp.layers:
                h[e] = (h[e] @ layer.weight[e].T + layer.bias[e]).relu()  # type: ignore[index,operator,union-attr]
        w, b = fusion.gate.linear.weight, fusion.gate.linear.bias
        assert b is not None
        a = [(x @ w[g].T + b[g]).softmax(1) for g in range(gates)]
        z = [torch.stack([a[g][:, [e]] * h[e] for e in range(4)]).sum(0) for g in range(gates)]
    torch.testing.assert_close(trunk(fields), torch.stack(z, 1), rtol=0, atol=1e-10)


def test_a_gate_per_expert_of_the_next_level_all_on_x() -> None:
    trunk = make((8,), (7,), (6,))
    gates = [level(trunk, number).gate for number in (1, 2, 3)]
    shapes = [tuple(gate.linear.weight.shape) for gate in gates if gate is not None]
    assert shapes == [(4, 4, INPUTS), (4, 4, INPUTS), (len(TASKS), 4, INPUTS)]


def test_what_level_one_gives_moves_no_gate_of_level_two() -> None:
    trunk, fields = make((8,), (6,)), some_fields()
    before, z = trunk.diagnostics(fields), trunk(fields)
    level(trunk, 1).experts.register_forward_hook(lambda _, __, h: h + torch.randn_like(h))
    after = trunk.diagnostics(fields)
    assert torch.equal(after[1].weights, before[1].weights)
    assert not torch.isclose(trunk(fields), z).all(2).any()


@pytest.mark.parametrize("moved_level", [1, 2, 3])
def test_experts_may_change_places_with_their_gates(moved_level: int) -> None:
    """An expert moves with its column in its level's gates and with the gate that feeds it."""
    trunk, moved, fields = make((8,), (7,), (6,)), make((8,), (7,), (6,)), some_fields()
    order = torch.tensor([2, 0, 3, 1])
    state = trunk.state_dict()
    for name, value in state.items():
        if f"levels.{moved_level - 1}.experts." in name:
            state[name] = value[order]
        elif f"levels.{moved_level - 1}.gate." in name:
            state[name] = value[:, order]
        elif f"levels.{moved_level - 2}.gate." in name:
            state[name] = value[order]
    moved.load_state_dict(state)
    torch.testing.assert_close(trunk(fields), moved(fields), rtol=0, atol=1e-10)


def test_a_task_moves_everything_but_the_other_tasks_gates() -> None:
    trunk = make((8,), (6,))
    trunk(some_fields())[:, 1].square().sum().backward()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None
        moved = parameter.grad.flatten(1).any(1)
        expected = [False, True, False] if "levels.1.gate." in name else [True] * 4
        assert moved.tolist() == expected, name


@pytest.mark.parametrize("gate_bias", [True, False])
def test_the_gates_bias_is_a_switch(gate_bias: bool) -> None:
    names = dict(make((8,), (6,), gate_bias=gate_bias).named_parameters())
    for number in (0, 1):
        assert (f"levels.{number}.gate.linear.bias" in names) == gate_bias
