"""The fusion operator: masks, gates, static weights, gradient masks and the experts' inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fulcrum.models.layers.expert_usage import SHARED
from fulcrum.models.layers.fusion import Experts, Fusion, Gate, mix
from fulcrum.models.layers.stacked import StackedLinear

B, D = 5, 3
sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))


def random_mask(gates: int, experts: int) -> Tensor:
    """Every gate sees at least one expert."""
    mask = torch.rand(gates, experts) < 0.5
    mask[torch.arange(gates), torch.randint(experts, (gates,))] = True
    return mask


@settings(max_examples=30, deadline=None)
@given(sizes, st.booleans(), st.sampled_from([1.0, 1e4]))
def test_gates_sum_to_one_over_what_they_see(
    size: tuple[int, int, int], shared: bool, scale: float
) -> None:
    gates, experts, seed = size
    torch.manual_seed(seed)
    visible = random_mask(gates, experts)
    gate, u = Gate(visible, 4), torch.randn(B, 1 if shared else gates, 4) * scale
    a = gate(u)
    assert a.shape == (B, gates, experts)
    assert (a >= 0).all()
    assert (a[:, ~visible] == 0).all()
    torch.testing.assert_close(a.sum(2), torch.ones(B, gates), rtol=0, atol=1e-6)

    (a * torch.randn_like(a)).sum().backward()
    assert gate.linear.weight.grad is not None
    assert not gate.linear.weight.grad[~visible].any()


def test_each_gate_reads_its_own_input() -> None:
    gate, u = Gate(torch.ones(3, 4, dtype=torch.bool), 6), torch.randn(B, 3, 6)
    for g in range(3):
        logits = u[:, g] @ gate.linear.weight[g].T + gate.linear.bias[g]  # type: ignore[index]
        torch.testing.assert_close(gate(u)[:, g], logits.softmax(-1))


@pytest.mark.parametrize("inputs", [1, 3])
def test_hidden_layers_of_a_gate_come_before_its_logits(inputs: int) -> None:
    gate = Gate(torch.ones(3, 4, dtype=torch.bool), 6, hidden=(5,))
    u, (layer,) = torch.randn(B, inputs, 6), gate.mlp.layers
    for g in range(3):
        hidden = (u[:, g % inputs] @ layer.weight[g].T + layer.bias[g]).relu()  # type: ignore[index,operator]
        logits = hidden @ gate.linear.weight[g].T + gate.linear.bias[g]  # type: ignore[index]
        torch.testing.assert_close(gate(u)[:, g], logits.softmax(-1))


def test_zero_gate_weights_give_exactly_equal_shares() -> None:
    gate = Gate(torch.tensor([[True] * 4, [True, True, False, False]]), 6, bias=False)
    torch.nn.init.zeros_(gate.linear.weight)
    a = gate(torch.randn(B, 1, 6))
    assert (a[:, 0] == 1 / 4).all()
    assert (a[:, 1] == torch.tensor([1 / 2, 1 / 2, 0, 0])).all()


def test_a_gate_that_sees_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="sees no expert"):
        Gate(torch.tensor([[True, False], [False, False]]), 3)


def test_a_fusion_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="gate, native weights"):
        Fusion(Experts([0], 4, (D,)))


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_gradient_mask_stops_gradients_and_nothing_else(size: tuple[int, int, int]) -> None:
    gates, experts, seed = size
    torch.manual_seed(seed)
    mask = random_mask(gates, experts).float()
    weights = torch.rand(B, gates, experts, requires_grad=True)
    h = torch.randn(B, experts, D, requires_grad=True)
    torch.testing.assert_close(mix(weights, h, mask), mix(weights, h))

    for g in range(gates):
        to_weights, to_h = torch.autograd.grad(mix(weights, h, mask)[:, g].sum(), (weights, h))
        open_weights, open_h = torch.autograd.grad(mix(weights, h)[:, g].sum(), (weights, h))
        torch.testing.assert_close(to_weights, open_weights)
        assert not to_h[:, mask[g] == 0].any()
        torch.testing.assert_close(to_h[:, mask[g] == 1], open_h[:, mask[g] == 1])


@pytest.mark.parametrize("learn", [False, True])
def test_native_weights_are_added_to_the_gate(learn: bool) -> None:
    native = torch.tensor([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0]])
    gate = Gate(torch.ones(2, 3, dtype=torch.bool), 4)
    fusion = Fusion(Experts([0, 0, 0], 4, (D,)), gate, native, learn_native=learn)
    x = torch.randn(B, 1, 4)
    h = fusion.experts(x)
    torch.testing.assert_close(fusion(x, x), gate(x) @ h + native @ h)

    fusion(x, x).sum().backward()
    learned = dict(fusion.named_parameters()).get("native")
    assert (learned is not None) == learn
    if learned is not None:
        assert learned.grad is not None
        assert (learned.grad != 0).equal(native != 0)


@pytest.mark.parametrize("unread", [0, 1, 2])
@pytest.mark.parametrize("source", [[0, 0, 0], [0, 1, 2], [0, 0, 1, 1], [0, 1, 0, 1], [0, 2, 2, 1]])
def test_every_expert_reads_its_source(source: list[int], unread: int) -> None:
    experts = Experts(source, 4, (8, D))
    x = torch.randn(B, max(source) + 1 + unread, 4)
    h = experts(x)
    assert h.shape == (B, len(source), D)
    first, second = experts.mlp.layers
    assert isinstance(first, StackedLinear) and isinstance(second, StackedLinear)
    for e, s in enumerate(source):
        hidden = (x[:, s] @ first.weight[e].T + first.bias[e]).relu()  # type: ignore[index]
        expected = (hidden @ second.weight[e].T + second.bias[e]).relu()  # type: ignore[index]
        torch.testing.assert_close(h[:, e], expected)


def test_diagnostics_explain_the_output() -> None:
    gate = Gate(torch.ones(2, 3, dtype=torch.bool), 4)
    fusion, x = Fusion(Experts([0, 0, 0], 4, (D,)), gate), torch.randn(B, 1, 4)
    seen = fusion.diagnostics(x, x, outputs=["a", "b"], owners=[SHARED] * 3)
    assert seen.gates is not None and torch.equal(seen.gates, seen.weights)
    assert seen.weights.shape == (B, 2, 3) and seen.experts.shape == (B, 3, D)
    torch.testing.assert_close(seen.weights @ seen.experts, fusion(x, x))


def test_diagnostics_of_static_weights() -> None:
    fusion, x = Fusion(Experts([0, 0], 4, (D,)), native=torch.eye(2)), torch.randn(B, 1, 4)
    seen = fusion.diagnostics(x, outputs=["a", "b"], owners=["a", "b"])
    assert seen.gates is None and torch.equal(seen.visible, torch.eye(2).bool())
    torch.testing.assert_close(seen.weights @ seen.experts, fusion(x))
