"""Feature gates (section 8.2): exactly 1 at first, between 0 and 2 later."""

import torch

from fulcrum.models.layers.feature_gate import FeatureGate

M, N, D, RANK = 3, 2, 6, 4


def make(sources: int) -> tuple[FeatureGate, torch.Tensor]:
    gate = FeatureGate(M, D, N, RANK).double()
    torch.nn.init.normal_(gate.up)
    return gate, torch.randn(9, sources, D, dtype=torch.float64)


def test_a_new_gate_leaves_the_input_as_it_is() -> None:
    """Test 1: exactly 1 in single precision, whatever the input."""
    gate, v = FeatureGate(M, D, N, RANK), torch.randn(500, 1, D) * 10
    assert torch.equal(gate(v), torch.ones(500, M, D))
    assert torch.equal(v * gate(v), v.expand(-1, M, -1))


def test_values_lie_between_0_and_2() -> None:
    gate, v = make(sources=1)
    values = gate(v)
    assert ((values > 0) & (values < 2)).all()
    assert values.min() < 0.5 and values.max() > 1.5


def test_a_gate_is_a_softmax_of_low_rank_adapters() -> None:
    """FG(v) = sum_i softmax(W v)_i · 2 sigmoid(v B_i A_i), for one input of all and one each."""
    for sources in (1, M):
        gate, v = make(sources)
        values = gate(v)
        for m in range(M):
            x = v[:, m % sources]
            share = (x @ gate.mixture.weight[m].T).softmax(1)
            expected = torch.zeros_like(x)
            for i in range(N):
                B, A = gate.down.weight[m * N + i].T, gate.up[m * N + i]
                expected += share[:, i : i + 1] * 2 * (x @ B @ A).sigmoid()
            torch.testing.assert_close(values[:, m], expected, rtol=0, atol=1e-10)


def test_a_new_gate_can_learn() -> None:
    """A at 0 gets a gradient because B is not at 0; with both at 0 neither would ever move."""
    gate, v = FeatureGate(M, D, N, RANK), torch.randn(9, 1, D)
    (gate(v) * torch.randn(9, M, D)).sum().backward()
    assert gate.up.grad is not None and gate.up.grad.flatten(1).any(1).all()
    assert gate.down.weight.any()
