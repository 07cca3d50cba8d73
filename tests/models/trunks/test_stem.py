"""STEM-Net: the contract, the equations written out, and which task's loss reaches what."""

import pytest
import torch
from torch import Tensor

from fulcrum.models.bottoms.base import BottomConfig
from fulcrum.models.layers.expert_usage import SHARED
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.trunks.stem import Stem, StemConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import make_network
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

FIELDS, TASKS = ("f", "g", "h", "i", "j"), ("a", "b", "c")
ONE, TWO, WIDE = ((8, 6),), ((8, 7), (6,)), ((32, 32),)
COUNTS = [(1, 1), (2, 2), (1, 4), (3, 1), (0, 2)]
"""Experts of each task and shared ones."""


def make(
    levels: tuple[tuple[int, ...], ...] = ONE,
    task_experts: int = 2,
    shared_experts: int = 2,
    tasks: tuple[str, ...] = TASKS,
    gate: tuple[int, ...] = (),
    **settings: bool,
) -> Stem:
    config = StemConfig(
        embedding_dim=4,
        levels=levels,
        task_experts=task_experts,
        shared_experts=shared_experts,
        gate=gate,
        **settings,
    )
    return config.build(FIELDS, tasks).double()


def some_fields(rows: int = 7, tasks: int = len(TASKS)) -> Tensor:
    return torch.randn(rows, (tasks + 1) * len(FIELDS), 4, dtype=torch.float64)


def modules_of(own: int, shared: int) -> list[int]:
    """The module of every expert; number 3 is the shared one."""
    return [t for t in range(3) for _ in range(own)] + [3] * shared


def by_hand(trunk: Stem, fields: Tensor, own: int, shared: int) -> Tensor:
    """Modules, experts and gates one by one; a task's other experts are detached."""
    x = list(fields.unflatten(1, (4, -1)).flatten(2).unbind(1))
    module = modules_of(own, shared)
    for place, level in enumerate(trunk.levels, 1):
        experts = []
        for e, t in enumerate(module):
            h = x[t]
            for layer in level.experts.mlp.layers:
                h = (h @ layer.weight[e].T + layer.bias[e]).relu()
            experts.append(h)
        z = []
        for t in range(3 if place == len(trunk.levels) else 4):
            u = x[t] + x[3] if t < 3 else x[3]
            for layer in level.gate.mlp.layers:
                u = (u @ layer.weight[t].T + layer.bias[t]).relu()
            g = (u @ level.gate.linear.weight[t].T + level.gate.linear.bias[t]).softmax(1)
            seen = [
                h.detach() if t < 3 and q not in (t, 3) else h
                for q, h in zip(module, experts, strict=True)
            ]
            z.append(sum(g[:, e, None] * h for e, h in enumerate(seen)))
        x = z
    return torch.stack(x, 1)


class TestStem(TrunkContract):
    block = MODELS["stem"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tables, and what the bottom does to them, are per copy: three tasks, then shared. So are
        the experts, one for each task."""
        swapped, experts = super().swap_tasks(state), [1, 0, 2, 3, 4]
        exchange = {"@0": "@1", "@1": "@0"}
        for name, value in state.items():
            if name.startswith("tables."):
                table = name.removesuffix(".weight")
                copy = exchange.get(table[-2:], table[-2:])
                swapped[f"{table[:-2]}{copy}.weight"] = value
            elif ".bottom." in name:
                swapped[name] = value[[1, 0, 2, 3]]
            elif ".experts." in name:
                swapped[name] = value[experts]
            elif ".gate.linear." in name:
                swapped[name] = value[[1, 0, 2]][:, experts]
            elif ".gate." in name:
                swapped[name] = value[[1, 0, 2]]
        return swapped


@pytest.mark.parametrize("gate", [(), (5,), (5, 4)])
@pytest.mark.parametrize("levels", [ONE, TWO, ((8,), (7,), (6,))])
@pytest.mark.parametrize(("own", "shared"), COUNTS)
def test_it_is_its_equations(
    levels: tuple[tuple[int, ...], ...], own: int, shared: int, gate: tuple[int, ...]
) -> None:
    """Values and gradients, so that what is detached here is detached there and no more."""
    trunk, fields = make(levels, own, shared, gate=gate), some_fields().requires_grad_()
    z, expected = trunk(fields), by_hand(trunk, fields, own, shared)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-10)
    direction = torch.randn_like(z)
    inputs = [fields, *trunk.parameters()]
    grads = torch.autograd.grad(z, inputs, direction)
    for got, want in zip(grads, torch.autograd.grad(expected, inputs, direction), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_i14_tied_tables_and_an_open_gradient_are_mmoe_with_a_gate_on_2x() -> None:
    trunk, x = make(), torch.randn(7, len(FIELDS), 4, dtype=torch.float64)
    mmoe = MMoEConfig(embedding_dim=4, experts=8, expert=ONE[0]).build(FIELDS, TASKS).double()
    state = {k.replace("levels.0", "fusion"): v for k, v in trunk.state_dict().items()}
    state["fusion.gate.linear.weight"] = 2 * state["fusion.gate.linear.weight"]
    mmoe.load_state_dict(state)
    (level,) = trunk.levels
    pairs = list(zip(level.experts.parameters(), mmoe.fusion.experts.parameters(), strict=True))

    def worst() -> float:
        """Largest difference of a gradient, after comparing the values."""
        z, expected = trunk(x.repeat(1, 4, 1)), mmoe(x)
        torch.testing.assert_close(z, expected, rtol=0, atol=1e-10)
        mine = torch.autograd.grad(z.square().sum(), [p for p, _ in pairs])
        theirs = torch.autograd.grad(expected.square().sum(), [p for _, p in pairs])
        return max((m - t).abs().max().item() for m, t in zip(mine, theirs, strict=True))

    assert worst() > 1e-3
    level.gradient.fill_(1)
    assert worst() < 1e-10


def test_without_task_experts_it_is_mmoe_on_the_shared_tables() -> None:
    """Gate inputs aside: they are x_t + x_s."""
    trunk, fields = make(task_experts=0, shared_experts=3), some_fields()
    x = fields.unflatten(1, (4, -1)).flatten(2)
    (level,) = trunk.levels
    h = level.experts(x)
    g = level.gate(x[:, :3] + x[:, 3:])
    torch.testing.assert_close(trunk(fields), g @ h, rtol=0, atol=1e-10)
    shared = fields[:, 3 * len(FIELDS) :]
    mmoe = MMoEConfig(embedding_dim=4, experts=3, expert=ONE[0]).build(FIELDS, TASKS).double()
    mmoe.load_state_dict(
        {k.replace("levels.0", "fusion"): v for k, v in trunk.state_dict().items()}
    )
    task_tables_of_zero = fields * (torch.arange(fields.shape[1]) >= 3 * len(FIELDS))[:, None]
    torch.testing.assert_close(trunk(task_tables_of_zero), mmoe(shared), rtol=0, atol=1e-10)


def test_i19_one_task_and_one_expert_is_single_task_on_the_shared_tables() -> None:
    trunk, fields = make(ONE, 0, 1, TASKS[:1]), some_fields(tasks=1)
    config = SingleTaskConfig(embedding_dim=4, hidden=ONE[0])
    single = config.build(FIELDS, TASKS[:1]).double()
    experts = {k.replace("levels.0", "fusion"): v for k, v in trunk.state_dict().items()}
    single.load_state_dict({k: v for k, v in experts.items() if ".experts." in k})
    shared = fields[:, len(FIELDS) :]
    torch.testing.assert_close(trunk(fields), single(shared), rtol=0, atol=1e-10)


def test_a_task_sees_every_expert_and_moves_its_own_and_the_shared_ones() -> None:
    trunk, fields = make(WIDE), some_fields(64)
    (level,) = trunk.levels
    trunk(fields)[:, 1].sum().backward()
    moved = [q in (1, 3) for q in modules_of(2, 2)]
    for layer in level.experts.mlp.layers:
        assert layer.weight.grad.flatten(1).any(1).tolist() == moved
    assert level.gate.linear.weight.grad.flatten(1).any(1).tolist() == [False, True, False]

    before = trunk(fields)
    for layer in level.experts.mlp.layers:
        layer.weight.data[0] += 0.1
    assert (trunk(fields) != before).any(2).all()


def test_isolation_in_the_whole_network() -> None:
    """The matrix's row: 0 for another task's tower, gate, experts and tables; the shared tables
    take the gradient of every task."""
    layout = make_layout(binary_tasks(3))
    model = StemConfig(embedding_dim=4, levels=WIDE, shared_experts=2, gate=(4,), tower=(8,))
    network = make_network(layout, model)
    for task in range(3):
        batch = random_batch(layout, 64)
        batch.observed &= torch.arange(3) == task
        network.zero_grad()
        network(batch)[0].backward()
        own = torch.arange(3) == task
        with_shared = torch.arange(5) == task
        with_shared[3:] = True
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            moved = parameter.grad.flatten(1).any(1)
            if name.startswith("tables."):
                assert bool(moved.any()) == name.endswith((f"@{task}.weight", "@3.weight")), name
            elif ".experts." in name:
                assert torch.equal(moved, with_shared), name
            elif ".bottom." in name:
                assert torch.equal(moved, with_shared[:4]), name
            else:
                assert torch.equal(moved, own), name


def test_the_shared_tables_are_reached_through_the_gates_too() -> None:
    trunk, fields = make(WIDE), some_fields(64).requires_grad_()
    (level,) = trunk.levels
    level.experts.register_forward_hook(lambda _, args, h: h.detach())
    for task in range(3):
        (grad,) = torch.autograd.grad(trunk(fields)[:, task].sum(), fields)
        reached = grad.unflatten(1, (4, -1)).flatten(2).any(2).any(0)
        assert reached.tolist() == [q in (task, 3) for q in range(4)]


def test_two_levels_let_a_task_reach_the_first_experts_of_others() -> None:
    """Through the shared output, which stops no gradient."""
    trunk = make(((32,), (32,)))
    trunk(some_fields(64))[:, 1].sum().backward()
    first, last = trunk.levels
    assert first.experts.mlp.layers[0].weight.grad.flatten(1).any(1).all()
    moved = [q in (1, 3) for q in modules_of(2, 2)]
    assert last.experts.mlp.layers[0].weight.grad.flatten(1).any(1).tolist() == moved
    assert first.gate.linear.weight.grad.flatten(1).any(1).tolist() == [False, True, False, True]

    first.gradient[3, :6] = 0
    trunk.zero_grad()
    trunk(some_fields(64))[:, 1].sum().backward()
    assert first.experts.mlp.layers[0].weight.grad.flatten(1).any(1).tolist() == moved


def test_every_field_has_a_table_per_task_and_a_shared_one() -> None:
    layout = make_layout(binary_tasks(3))
    model = StemConfig(embedding_dim=4, levels=ONE)
    tables = make_network(layout, model).tables
    rows: dict[str, list[torch.Size]] = {}
    for name, parameter in tables.named_parameters():
        table, copy = name.split(".")[-2].replace(":", ".").split("@")
        rows.setdefault(table, []).append(parameter.shape)
        assert int(copy) in range(4)
    assert rows == {table.name: [(table.rows, 4)] * (3 + 1) for table in layout.tables}
    total = sum(parameter.numel() for parameter in tables.parameters())
    assert total == (3 + 1) * sum(table.rows for table in layout.tables) * 4


def test_a_bottom_per_task_is_refused() -> None:
    model = StemConfig().model_copy(update={"bottom": BottomConfig()})
    assert [path for path, _ in model.problems(["user"], ["click"])] == [("bottom",)]


def test_diagnostics_name_the_modules() -> None:
    seen = make(TWO, 1, 2).diagnostics(some_fields())
    assert [level.outputs for level in seen] == [(*TASKS, SHARED), TASKS]
    assert {level.owners for level in seen} == {(*TASKS, SHARED, SHARED)}


@pytest.mark.parametrize("on", [True, False])
def test_the_gates_bias_is_a_switch(on: bool) -> None:
    names = [name for name, _ in make(gate_bias=on).named_parameters()]
    assert ("levels.0.gate.linear.bias" in names) == on
