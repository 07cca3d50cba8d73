"""Cross-Stitch: the contract, and what its static weights mean."""

import pytest
import torch
from torch import Tensor

from fulcrum.models.trunks.cross_stitch import CrossStitch, CrossStitchConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import make_network
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

FIELDS, TASKS, LEVELS = ("f", "g", "h", "i", "j"), ("a", "b", "c"), ((8, 7), (6,))


def make(
    tasks: tuple[str, ...] = TASKS, levels: tuple[tuple[int, ...], ...] = LEVELS
) -> CrossStitch:
    return CrossStitchConfig(embedding_dim=4, levels=levels).build(FIELDS, tasks).double()


def some_fields() -> Tensor:
    return torch.randn(7, len(FIELDS), 4, dtype=torch.float64)


def set_alpha(trunk: CrossStitch, alpha: Tensor) -> None:
    for level in trunk.levels:
        level.native.data.copy_(alpha)


def layers_of(trunk: CrossStitch) -> list[tuple[Tensor, Tensor]]:
    """Weights `(T, outputs, inputs)` and biases of the parallel networks, first to last."""
    stacks = [level.experts.mlp.layers for level in trunk.levels]
    return [(layer.weight, layer.bias) for layers in stacks for layer in layers]


class TestCrossStitch(TrunkContract):
    block = MODELS["cross_stitch"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        swapped, order = super().swap_tasks(state), [1, 0, 2]
        for name, value in state.items():
            if ".levels." in name:
                swapped[name] = value[order]
            if name.endswith(".native"):
                swapped[name] = value[order][:, order]
        return swapped


def test_i9_alpha_of_identity_is_a_network_per_task() -> None:
    trunk, fields = make(), some_fields()
    set_alpha(trunk, torch.eye(len(TASKS)))
    z = trunk(fields)
    for t in range(len(TASKS)):
        h = fields.flatten(1)
        for weight, bias in layers_of(trunk):
            h = (h @ weight[t].T + bias[t]).relu()
        torch.testing.assert_close(z[:, t], h, rtol=0, atol=1e-10)


def test_i19_with_one_task_it_is_single_task() -> None:
    trunk, fields = make(TASKS[:1]), some_fields()
    config = SingleTaskConfig(embedding_dim=4, hidden=(8, 7, 6))
    single = config.build(FIELDS, TASKS[:1]).double()
    state = {}
    for place, (weight, bias) in enumerate(layers_of(trunk)):
        state[f"fusion.experts.mlp.layers.{place}.weight"] = weight
        state[f"fusion.experts.mlp.layers.{place}.bias"] = bias
    single.load_state_dict(state)
    torch.testing.assert_close(trunk(fields), single(fields), rtol=0, atol=1e-10)


def test_every_level_mixes_every_networks_output() -> None:
    """The equations, task by task and level by level, with weights that are far from the start."""
    trunk, fields = make(), some_fields()
    x = [fields.flatten(1)] * len(TASKS)
    for level in trunk.levels:
        level.native.data.normal_()
        h = []
        for t in range(len(TASKS)):
            h_t = x[t]
            for layer in level.experts.mlp.layers:
                h_t = (h_t @ layer.weight[t].T + layer.bias[t]).relu()
            h.append(h_t)
        alpha = level.native
        x = [sum(alpha[t, j] * h[j] for j in range(3)) for t in range(3)]
    torch.testing.assert_close(trunk(fields), torch.stack(x, 1), rtol=0, atol=1e-10)


def test_equal_alpha_gives_every_task_the_mean_of_the_networks() -> None:
    trunk, fields = make(), some_fields()
    set_alpha(trunk, torch.full((3, 3), 1 / 3, dtype=torch.float64))
    z, last = trunk(fields), trunk.diagnostics(fields)[-1]
    expected = last.experts.mean(1, keepdim=True).expand_as(z)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-10)


def test_a_task_reaches_another_network_through_alpha_alone() -> None:
    trunk, fields = make(levels=((8,),)), some_fields()
    (level,) = trunk.levels
    weight = level.experts.mlp.layers[0].weight

    set_alpha(trunk, torch.eye(3))
    (grad,) = torch.autograd.grad(trunk(fields)[:, 1].sum(), weight)
    assert (grad[[0, 2]] == 0).all() and grad[1].any()

    level.native.data[1, 0] = 1e-3
    (grad,) = torch.autograd.grad(trunk(fields)[:, 1].sum(), weight)
    assert grad[0].any() and (grad[2] == 0).all()


def test_no_path_between_tasks_in_the_whole_network() -> None:
    """Two levels with alpha of identity: only the task's own rows of anything above the tables."""
    layout = make_layout(binary_tasks(3))
    network = make_network(layout, CrossStitchConfig(embedding_dim=4, levels=LEVELS, tower=(8,)))
    set_alpha(network.objective.predictor.trunk, torch.eye(3))
    batch = random_batch(layout, 32)
    batch.observed[:, [0, 2]] = False
    network(batch)[0].backward()
    predictor = network.objective.predictor
    for module in (predictor.trunk, predictor.towers):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            assert (parameter.grad[[0, 2]] == 0).all(), name
            assert parameter.grad[1].any(), name


@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_alpha_has_a_weight_per_level_and_pair_of_tasks(tasks: int) -> None:
    trunk = make(tuple(f"t{t}" for t in range(tasks)))
    alpha = {k: p for k, p in trunk.named_parameters() if ".experts." not in k}
    assert sum(p.numel() for p in alpha.values()) == len(LEVELS) * tasks * tasks
    for weights in alpha.values():
        own = 1 if tasks == 1 else 0.9
        torch.testing.assert_close(weights.diagonal(), torch.full((tasks,), own).double())
        torch.testing.assert_close(weights.sum(1), torch.ones(tasks).double())
        assert len(set(weights[~torch.eye(tasks, dtype=torch.bool)].tolist())) <= 1


def test_alpha_is_the_same_for_every_row() -> None:
    trunk, fields = make(), some_fields()
    for level in trunk.diagnostics(fields):
        assert level.gates is None
        assert (level.weights == level.weights[0]).all()
    (level,) = make(levels=((8,),)).levels
    h = torch.randn(2, 3, 8, dtype=torch.float64)
    level.experts = torch.nn.Identity()
    jacobian = torch.autograd.functional.jacobian(level, h)
    assert torch.equal(jacobian[0, :, :, 0], jacobian[1, :, :, 1])
    assert jacobian[0, :, :, 0].any() and not jacobian[0, :, :, 1].any()
