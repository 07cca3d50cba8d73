"""Shared-Bottom: the contract, and what sharing everything means."""

import torch

from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

FIELDS, TASKS = ("f", "g", "h", "i", "j"), ("a", "b", "c")


class TestSharedBottom(TrunkContract):
    block = MODELS["shared_bottom"]


def test_every_task_reads_the_same_tensor() -> None:
    z = SharedBottomConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, TASKS)(
        torch.randn(7, 5, 4)
    )
    assert torch.equal(z[:, 0], z[:, 1]) and torch.equal(z[:, 0], z[:, 2])


def test_with_one_task_it_is_single_task() -> None:
    bottom = SharedBottomConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, TASKS[:1])
    single = SingleTaskConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, TASKS[:1])
    single.load_state_dict(bottom.state_dict())
    fields = torch.randn(7, 5, 4)
    assert torch.equal(bottom(fields), single(fields))


def test_the_trunks_gradient_is_the_weighted_sum_of_the_tasks() -> None:
    trunk, fields = SharedBottomConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, TASKS), None
    fields, weights = torch.randn(7, 5, 4), torch.tensor([0.5, 2.0, 0.25])
    losses = trunk(fields).square().mean((0, 2)) * torch.arange(1, 4)
    parameters = list(trunk.parameters())
    grads = [torch.autograd.grad(x, parameters, retain_graph=True) for x in losses]
    together = torch.autograd.grad((weights * losses).sum(), parameters)
    for p, grad in enumerate(together):
        expected = sum(w * g[p] for w, g in zip(weights, grads, strict=True))
        torch.testing.assert_close(grad, expected, rtol=0, atol=1e-6)
