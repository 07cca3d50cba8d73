"""OMoE: the contract, and what one gate for all tasks means."""

import pytest
import torch

from fulcrum.models.trunks.mmoe import MMoE, MMoEConfig, OMoEConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

TASKS, FIELDS = ("a", "b", "c"), ("f", "g", "h", "i", "j")


def make(experts: int = 4, tasks: tuple[str, ...] = TASKS, gate_bias: bool = True) -> MMoE:
    config = OMoEConfig(embedding_dim=4, experts=experts, expert=(8, 6), gate_bias=gate_bias)
    return config.build(FIELDS, tasks).double()


def some_fields() -> torch.Tensor:
    return torch.randn(7, len(FIELDS), 4, dtype=torch.float64)


class TestOMoE(TrunkContract):
    block = MODELS["omoe"]


def test_i2_it_is_mmoe_with_all_gates_tied() -> None:
    omoe, fields = make(), some_fields()
    mmoe = MMoEConfig(embedding_dim=4, experts=4, expert=(8, 6)).build(FIELDS, TASKS).double()
    mmoe.load_state_dict(
        {
            name: value.expand(len(TASKS), *value.shape[1:]) if ".gate." in name else value
            for name, value in omoe.state_dict().items()
        }
    )
    torch.testing.assert_close(omoe(fields), mmoe(fields), rtol=0, atol=1e-10)


def test_with_one_expert_it_is_shared_bottom() -> None:
    omoe, fields = make(experts=1), some_fields()
    bottom = SharedBottomConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, TASKS).double()
    bottom.load_state_dict({k: v for k, v in omoe.state_dict().items() if ".experts." in k})
    torch.testing.assert_close(omoe(fields), bottom(fields), rtol=0, atol=1e-10)


def test_i19_with_one_task_and_one_expert_it_is_single_task() -> None:
    omoe, fields = make(experts=1, tasks=("a",)), some_fields()
    single = SingleTaskConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, ("a",)).double()
    single.load_state_dict({k: v for k, v in omoe.state_dict().items() if ".experts." in k})
    torch.testing.assert_close(omoe(fields), single(fields), rtol=0, atol=1e-10)


def test_every_task_reads_the_same_tensor() -> None:
    z = make()(some_fields())
    for t in range(len(TASKS)):
        assert z[:, t].data_ptr() == z[:, 0].data_ptr()


def test_zero_gates_give_the_mean_of_the_experts() -> None:
    omoe, fields = make(gate_bias=False), some_fields()
    with torch.no_grad():
        for parameter in omoe.fusion.gate.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    (seen,) = omoe.diagnostics(fields)
    assert (seen.weights == 1 / 4).all()
    torch.testing.assert_close(omoe(fields)[:, 1], seen.experts.mean(1), rtol=0, atol=1e-10)


def test_experts_may_change_places_with_their_gate_columns() -> None:
    omoe, moved, fields = make(), make(), some_fields()
    order = torch.tensor([2, 0, 3, 1])
    moved.load_state_dict(
        {
            name: value[order] if ".experts." in name else value[:, order]
            for name, value in omoe.state_dict().items()
        }
    )
    torch.testing.assert_close(omoe(fields), moved(fields), rtol=0, atol=1e-10)


@pytest.mark.parametrize("task", range(len(TASKS)))
def test_every_task_moves_the_gate_and_every_expert(task: int) -> None:
    omoe = make()
    omoe(some_fields())[:, task].square().sum().backward()
    for name, parameter in omoe.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.flatten(1).any(1).all(), name


@pytest.mark.parametrize("gate_bias", [True, False])
def test_the_gates_bias_is_a_switch(gate_bias: bool) -> None:
    names = dict(make(gate_bias=gate_bias).named_parameters())
    assert ("fusion.gate.linear.bias" in names) == gate_bias
