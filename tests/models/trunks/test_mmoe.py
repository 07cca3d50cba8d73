"""MMoE: the contract, and the networks to which it must reduce."""

import pytest
import torch

from fulcrum.models.trunks.mmoe import MMoE, MMoEConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

TASKS, FIELDS = ("a", "b", "c"), ("f", "g", "h", "i", "j")


def make(experts: int = 4, gate_bias: bool = True) -> MMoE:
    config = MMoEConfig(embedding_dim=4, experts=experts, expert=(8, 6), gate_bias=gate_bias)
    trunk = config.build(FIELDS, TASKS)
    return trunk.double()


def some_fields() -> torch.Tensor:
    return torch.randn(7, len(FIELDS), 4, dtype=torch.float64)


class TestMMoE(TrunkContract):
    block = MODELS["mmoe"]

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: value[[1, 0, 2]] if ".gate." in name else value
            for name, value in super().swap_tasks(state).items()
        }


def test_with_one_expert_it_is_shared_bottom() -> None:
    mmoe, fields = make(experts=1), some_fields()
    bottom = SharedBottomConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, TASKS).double()
    experts = {k: v for k, v in mmoe.state_dict().items() if ".experts." in k}
    bottom.load_state_dict(experts)
    torch.testing.assert_close(mmoe(fields), bottom(fields), rtol=0, atol=1e-10)


def test_equal_gates_give_every_task_the_same_representation() -> None:
    mmoe, fields = make(), some_fields()
    gate = mmoe.fusion.gate.linear  # type: ignore[union-attr]
    with torch.no_grad():
        for parameter in gate.parameters():  # type: ignore[union-attr]
            parameter[:] = parameter[0]
    z = mmoe(fields)
    for t in range(len(TASKS)):
        assert torch.equal(z[:, t], z[:, 0])


def test_zero_gates_give_the_mean_of_the_experts() -> None:
    mmoe, fields = make(gate_bias=False), some_fields()
    with torch.no_grad():
        mmoe.fusion.gate.linear.weight.zero_()  # type: ignore[union-attr,operator]
    (seen,) = mmoe.diagnostics(fields)
    assert (seen.gates == 1 / 4).all()
    torch.testing.assert_close(mmoe(fields)[:, 1], seen.experts.mean(1), rtol=0, atol=1e-10)


def test_one_hot_gates_give_each_task_its_own_network() -> None:
    mmoe, fields = make(experts=len(TASKS)), some_fields()
    gate = mmoe.fusion.gate.linear  # type: ignore[union-attr]
    with torch.no_grad():
        gate.weight.zero_()  # type: ignore[union-attr,operator]
        gate.bias.copy_(1000 * torch.eye(len(TASKS)))  # type: ignore[union-attr,operator]
    (seen,) = mmoe.diagnostics(fields)
    assert torch.equal(mmoe(fields), seen.experts)


def test_experts_may_change_places_with_their_gate_columns() -> None:
    mmoe, moved, fields = make(), make(), some_fields()
    order = torch.tensor([2, 0, 3, 1])
    moved.load_state_dict(
        {
            name: value[order] if ".experts." in name else value[:, order]
            for name, value in mmoe.state_dict().items()
        }
    )
    torch.testing.assert_close(mmoe(fields), moved(fields), rtol=0, atol=1e-10)


def test_a_task_moves_every_expert_but_no_other_gate() -> None:
    mmoe = make()
    mmoe(some_fields())[:, 1].sum().backward()
    for name, parameter in mmoe.named_parameters():
        assert parameter.grad is not None
        moved = parameter.grad.flatten(1).any(1)
        expected = [False, True, False] if ".gate." in name else [True] * 4
        assert moved.tolist() == expected, name


@pytest.mark.parametrize("gate_bias", [True, False])
def test_the_gates_bias_is_a_switch(gate_bias: bool) -> None:
    names = dict(make(gate_bias=gate_bias).named_parameters())
    assert ("fusion.gate.linear.bias" in names) == gate_bias
