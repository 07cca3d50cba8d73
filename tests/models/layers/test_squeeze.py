"""Squeeze and excitation: the equations, network by network."""

import torch

from fulcrum.models.layers.squeeze import SENet

N, B, FIELDS, D = 3, 5, 7, 4


def make(networks: int = N, reduction: int = 3) -> SENet:
    return SENet(networks, FIELDS, reduction).double()


def some_fields(networks: int = N) -> torch.Tensor:
    return torch.randn(networks, B, FIELDS, D, dtype=torch.float64)


def test_each_network_is_its_equations() -> None:
    senet, z = make(), some_fields()
    weights = senet(z)
    for n in range(N):
        hidden = (z[n].mean(2) @ senet.reduce.weight[n].T).clamp(min=0)
        expected = 2 / (1 + (-hidden @ senet.excite.weight[n].T).exp())
        torch.testing.assert_close(weights[n], expected, rtol=0, atol=1e-10)


def test_one_network_alone_is_one_of_many() -> None:
    many, z = make(), some_fields()
    for n in range(N):
        one = make(1)
        one.load_state_dict({k: v[n : n + 1] for k, v in many.state_dict().items()})
        torch.testing.assert_close(one(z[n : n + 1])[0], many(z)[n], rtol=0, atol=1e-10)


def test_a_zero_output_layer_weighs_everything_one() -> None:
    senet = make()
    torch.nn.init.zeros_(senet.excite.weight)
    assert (senet(some_fields()) == 1).all()


def test_the_hidden_layer_is_narrower_by_the_reduction_but_never_gone() -> None:
    assert make(reduction=3).reduce.weight.shape == (N, FIELDS // 3, FIELDS)
    assert make(reduction=100).reduce.weight.shape == (N, 1, FIELDS)


def test_a_network_learns_from_its_own_fields_alone() -> None:
    senet, z = make(reduction=1), some_fields().requires_grad_()
    senet(z)[1].sum().backward()
    for part in (z, *senet.parameters()):
        assert part.grad is not None
        assert part.grad.flatten(1).any(1).tolist() == [False, True, False]
