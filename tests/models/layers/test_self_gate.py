"""Self-gates (section 8.4): own experts alone."""

import pytest
import torch

from fulcrum.models.layers.self_gate import SelfGate

OWNERS = torch.tensor(
    [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=torch.bool
)


def make(sources: int = 1) -> tuple[SelfGate, torch.Tensor, torch.Tensor]:
    gate = SelfGate(OWNERS, inputs=4).double()
    v = torch.randn(50, sources, 4, dtype=torch.float64)
    return gate, v, gate(v)


def test_several_own_experts_share_a_softmax() -> None:
    gate, v, a = make()
    for g in (0, 2):
        own = OWNERS[g]
        logits = v[:, 0] @ gate.linear.weight[g, own].T + gate.linear.bias[g, own]  # type: ignore[index]
        torch.testing.assert_close(a[:, g, own], logits.softmax(1), rtol=0, atol=1e-10)


def test_one_own_expert_has_a_sigmoid() -> None:
    """Test 6: strictly between 0 and 1, where the softmax of one would be 1."""
    gate, v, a = make()
    logit = v[:, 0] @ gate.linear.weight[1, 2] + gate.linear.bias[1, 2]  # type: ignore[index]
    torch.testing.assert_close(a[:, 1, 2], logit.sigmoid(), rtol=0, atol=1e-10)
    assert ((a[:, 1, 2] > 0) & (a[:, 1, 2] < 1)).all()


def test_experts_of_others_get_exactly_nothing() -> None:
    gate, _, a = make()
    assert (a[:, ~OWNERS] == 0).all()
    (a * torch.randn_like(a)).sum().backward()
    assert gate.linear.weight.grad is not None
    assert not gate.linear.weight.grad[~OWNERS].any()
    assert gate.linear.weight.grad[OWNERS].any(1).all()


def test_each_gate_may_read_its_own_input() -> None:
    gate, v, a = make(sources=3)
    for g in range(3):
        torch.testing.assert_close(gate(v[:, g : g + 1])[:, g], a[:, g], rtol=0, atol=1e-10)


def test_a_module_without_experts_is_refused() -> None:
    with pytest.raises(ValueError, match="expert of its own"):
        SelfGate(torch.zeros(1, 2, dtype=torch.bool), 4)
