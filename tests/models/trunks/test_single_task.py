"""Single-task: the contract, and that nothing at all is shared."""

import torch

from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import make_network
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS


class TestSingleTask(TrunkContract):
    block = MODELS["single_task"]

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        exchange = {"@0": "@1", "@1": "@0"}
        swapped = {}
        for name, value in state.items():
            if name.startswith("tables."):
                stem, copy = name.removesuffix(".weight")[:-2], name.removesuffix(".weight")[-2:]
                swapped[stem + exchange.get(copy, copy) + ".weight"] = value
            else:
                swapped[name] = value[[1, 0, 2]]
        return swapped


def test_a_tasks_loss_never_reaches_another_network() -> None:
    """Every parameter outside the tables has the task first; every table is one task's copy."""
    layout = make_layout(binary_tasks(3))
    network = make_network(layout, SingleTaskConfig(embedding_dim=4, hidden=(8, 6)))
    _, out = network(random_batch(layout, 32))
    assert out["losses"].all()

    batch = random_batch(layout, 32)
    batch.observed[:, [0, 2]] = False
    network(batch)[0].backward()
    for name, parameter in network.named_parameters():
        grad = parameter.grad
        assert grad is not None
        if name.startswith("tables."):
            own = name.endswith("@1.weight")
            assert bool(grad.any()) == own, name
        else:
            assert not grad[[0, 2]].any(), name
            assert grad[1].any(), name


def test_training_together_is_training_apart() -> None:
    """Three tasks in one network take the steps that each takes with the others unobserved."""
    layout = make_layout(binary_tasks(3))
    model = SingleTaskConfig(embedding_dim=4, hidden=(8, 6))
    start = make_network(layout, model).state_dict()

    def train(observed: list[int]) -> dict[str, torch.Tensor]:
        network = make_network(layout, model)
        network.load_state_dict(start)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for seed in range(3):
            batch = random_batch(layout, 32, seed)
            batch.observed &= torch.isin(torch.arange(3), torch.tensor(observed))
            optimizer.zero_grad()
            network(batch)[0].backward()
            optimizer.step()
        return network.state_dict()

    together = train([0, 1, 2])
    for task in range(3):
        for name, value in train([task]).items():
            if name.startswith("tables."):
                if name.endswith(f"@{task}.weight"):
                    torch.testing.assert_close(value, together[name])
            else:
                torch.testing.assert_close(value[task], together[name][task])
