"""PLE: the contract, the equations written out, and which task's loss reaches which expert."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import SHARED
from fulcrum.models.layers.fusion import Experts, Gate
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.ple import PLE, Extraction, PLEConfig, visibility
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import NetworkContract, make_network
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS, debug_model

TASKS, FIELDS = ("a", "b", "c"), ("f", "g", "h", "i", "j")
COUNTS = [(1, 1), (2, 2), (1, 3), (3, 1), (2, 0), (1, 0), (0, 2), (0, 1)]
"""Experts of each task and shared ones: as many, uneven, and none."""


def make(
    *levels: tuple[int, ...],
    task_experts: int = 2,
    shared_experts: int = 1,
    tasks: tuple[str, ...] = TASKS,
    gate_bias: bool = True,
) -> PLE:
    config = PLEConfig(
        embedding_dim=4,
        levels=levels,
        task_experts=task_experts,
        shared_experts=shared_experts,
        gate_bias=gate_bias,
    )
    return config.build(FIELDS, tasks).double()


def some_fields() -> Tensor:
    return torch.randn(7, len(FIELDS), 4, dtype=torch.float64)


def levels_of(trunk: PLE) -> Iterator[tuple[Experts, Gate]]:
    for level in trunk.levels:
        assert isinstance(level, Extraction)
        assert isinstance(level.fusion.experts, Experts) and level.fusion.gate is not None
        yield level.fusion.experts, level.fusion.gate


def run_expert(experts: Experts, number: int, x: Tensor) -> Tensor:
    for layer in experts.mlp.layers:
        x = (x @ layer.weight[number].T + layer.bias[number]).relu()  # type: ignore[index,operator]
    return x


def by_hand(trunk: PLE, fields: Tensor, task_experts: int, shared_experts: int) -> Tensor:
    """One module, one expert and one gate at a time; a softmax has as many terms as its gate sees
    experts."""
    x = fields.flatten(1)
    count = {**dict.fromkeys(TASKS, task_experts), SHARED: shared_experts}
    places = [q for q, experts in count.items() for _ in range(experts)]
    g = dict.fromkeys(count, x)
    for experts, gate in levels_of(trunk):
        h = [run_expert(experts, e, g[q]) for e, q in enumerate(places)]
        weight, bias = gate.linear.weight, gate.linear.bias
        assert bias is not None
        g_next = {}
        for number, q in zip(range(len(weight)), count, strict=False):
            sees = [e for e, owner in enumerate(places) if q == SHARED or owner in (q, SHARED)]
            w = (g[q] @ weight[number, sees].T + bias[number, sees]).softmax(1)
            assert w.shape[1] == (len(places) if q == SHARED else task_experts + shared_experts)
            g_next[q] = torch.stack([w[:, [i]] * h[e] for i, e in enumerate(sees)]).sum(0)
        g = g_next
    assert tuple(g) == TASKS
    return torch.stack(list(g.values()), 1)


def reorder(
    state: dict[str, Tensor], tasks: Sequence[int], m_t: int, m_s: int
) -> dict[str, Tensor]:
    """State of the trunk that has the given ones of three tasks, in their order."""
    places = [3 * m_t + i for i in range(m_s)]
    experts = [t * m_t + i for t in tasks for i in range(m_t)] + places
    new = dict(state)
    for name, value in state.items():
        if ".experts." in name:
            new[name] = value[experts]
        elif ".gate." in name:
            new[name] = value[[*tasks, *range(3, len(value))]][:, experts]
    return new


class PLEContract(NetworkContract):
    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        model = self.model()
        assert isinstance(model, PLEConfig)
        swapped = super().swap_tasks(state)
        return reorder(swapped, (1, 0, 2), model.task_experts, model.shared_experts)


class TestPLE(PLEContract, TrunkContract):
    block = MODELS["ple"]


class TestCGC(PLEContract):
    block = MODELS["cgc"]


@pytest.mark.parametrize(("task_experts", "shared_experts"), COUNTS)
@pytest.mark.parametrize("levels", [((8, 6),), ((8,), (6,)), ((8,), (7, 6), (5,))], ids=len)
def test_it_is_the_equations(
    levels: tuple[tuple[int, ...], ...], task_experts: int, shared_experts: int
) -> None:
    trunk = make(*levels, task_experts=task_experts, shared_experts=shared_experts)
    fields = some_fields()
    expected = by_hand(trunk, fields, task_experts, shared_experts)
    torch.testing.assert_close(trunk(fields), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_flipped_entry_of_the_mask_breaks_the_equations(level: int) -> None:
    trunk, fields = make((8,), (7,), (6,)), some_fields()
    expected = by_hand(trunk, fields, 2, 1)
    visible = list(levels_of(trunk))[level][1].visible
    for gate, expert in torch.cartesian_prod(*map(torch.arange, visible.shape)):
        visible[gate, expert] ^= True
        assert not torch.allclose(trunk(fields), expected, rtol=0, atol=1e-10), (gate, expert)
        visible[gate, expert] ^= True
    torch.testing.assert_close(trunk(fields), expected, rtol=0, atol=1e-10)


def test_who_sees_whom() -> None:
    owner = torch.tensor([0, 0, 1, 1, 2])
    expected = torch.tensor([[1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    assert torch.equal(visibility(owner, gates=3, shared=2), expected)
    assert torch.equal(visibility(owner, gates=2, shared=2), expected[:2])


@pytest.mark.parametrize(("m_t", "m_s"), COUNTS)
def test_widths_of_the_gates(m_t: int, m_s: int) -> None:
    """A task's gate has m_t + m_s terms, the shared one all; the last level has no shared gate."""
    trunk = make((8,), (6,), task_experts=m_t, shared_experts=m_s)
    inner, last = (gate.visible.sum(1).tolist() for _, gate in levels_of(trunk))
    assert last == [m_t + m_s] * 3
    assert inner == [m_t + m_s] * 3 + ([3 * m_t + m_s] if m_s else [])


def test_diagnostics_name_the_owners() -> None:
    inner, last = make((8,), (6,)).diagnostics(some_fields())
    assert inner.owners == last.owners == ("a", "a", "b", "b", "c", "c", SHARED)
    assert inner.outputs == (*TASKS, SHARED) and last.outputs == TASKS


def test_i4_one_level_without_task_experts_is_mmoe() -> None:
    trunk, fields = make((8, 6), task_experts=0, shared_experts=4), some_fields()
    mmoe = MMoEConfig(embedding_dim=4, experts=4, expert=(8, 6)).build(FIELDS, TASKS).double()
    mmoe.load_state_dict(
        {k.replace("levels.0.fusion", "fusion"): v for k, v in trunk.state_dict().items()}
    )
    torch.testing.assert_close(trunk(fields), mmoe(fields), rtol=0, atol=1e-10)


@pytest.mark.parametrize("levels", [((8, 6),), ((8,), (6,))], ids=len)
@pytest.mark.parametrize("tasks", [TASKS, ("a",)], ids=len)
def test_i5_and_i19_one_expert_a_task_alone_is_single_task(
    levels: tuple[tuple[int, ...], ...], tasks: tuple[str, ...]
) -> None:
    """On a shared embedding: every task reads the same copy of the fields."""
    trunk = make(*levels, task_experts=1, shared_experts=0, tasks=tasks)
    single = SingleTaskConfig(embedding_dim=4, hidden=(8, 6)).build(FIELDS, tasks).double()
    layers = [layer for experts, _ in levels_of(trunk) for layer in experts.mlp.layers]
    single.fusion.experts.mlp.layers = nn.ModuleList(layers)  # type: ignore[union-attr]
    fields = some_fields()
    copies = fields.repeat(1, len(tasks), 1)
    torch.testing.assert_close(trunk(fields), single(copies), rtol=0, atol=1e-10)


def test_i19_one_level_with_one_task_is_a_plain_mixture_of_experts() -> None:
    trunk, fields = make((8, 6), task_experts=3, shared_experts=2, tasks=("a",)), some_fields()
    ((experts, gate),) = levels_of(trunk)
    x = fields.flatten(1)
    h = torch.stack([run_expert(experts, e, x) for e in range(3 + 2)], 1)
    a = (x @ gate.linear.weight[0].T + gate.linear.bias[0]).softmax(1)  # type: ignore[index]
    expected = (a[:, :, None] * h).sum(1, keepdim=True)
    torch.testing.assert_close(trunk(fields), expected, rtol=0, atol=1e-10)


def test_each_expert_reads_its_own_modules_vector() -> None:
    """Shared experts that read a task's fused vector make another network."""
    trunk = make((8,), (6,))
    level = trunk.levels[1]
    experts, gate = list(levels_of(trunk))[1]
    g = torch.randn(7, 4, 8, dtype=torch.float64)
    h = [run_expert(experts, e, g[:, q]) for e, q in enumerate((0, 0, 1, 1, 2, 2, 3))]

    def fuse(h: list[Tensor]) -> Tensor:
        """Task a's output: experts 0 and 1 are its own, 6 is the shared one."""
        weight, bias = gate.linear.weight[0, [0, 1, 6]], gate.linear.bias[0, [0, 1, 6]]  # type: ignore[index]
        w = (g[:, 0] @ weight.T + bias).softmax(1)
        return w[:, [0]] * h[0] + w[:, [1]] * h[1] + w[:, [2]] * h[6]

    torch.testing.assert_close(level(g)[:, 0], fuse(h), rtol=0, atol=1e-10)
    misrouted = fuse([*h[:6], run_expert(experts, 6, g[:, 0])])
    assert not torch.isclose(level(g)[:, 0], misrouted).all(1).any()


def moved(trunk: PLE, task: int) -> dict[str, Tensor]:
    """Where the task's output sends gradient: any per expert, any per gate and expert."""
    trunk.zero_grad()
    trunk(some_fields())[:, task].square().sum().backward()
    found = {}
    for level, (experts, gate) in enumerate(levels_of(trunk), 1):
        layer = experts.mlp.layers[0]
        assert layer.weight.grad is not None and gate.linear.weight.grad is not None
        found[f"experts {level}"] = layer.weight.grad.flatten(1).any(1)  # type: ignore[operator]
        found[f"gates {level}"] = gate.linear.weight.grad.any(2)
    return found


@pytest.mark.parametrize("levels", [((8, 6),), ((8,), (6,))], ids=len)
@pytest.mark.parametrize("task", range(3))
def test_on_the_last_level_a_loss_stays_with_its_task(
    levels: tuple[tuple[int, ...], ...], task: int
) -> None:
    own = [task == 0] * 2 + [task == 1] * 2 + [task == 2] * 2 + [True]
    found, last = moved(make(*levels), task), len(levels)
    assert found[f"experts {last}"].tolist() == own
    for gate in range(3):
        expected = own if gate == task else [False] * 7
        assert found[f"gates {last}"][gate].tolist() == expected


def test_on_level_one_a_loss_reaches_other_experts_through_the_shared_gate_alone() -> None:
    trunk = make((8,), (6,))
    found = moved(trunk, 1)
    assert found["experts 1"].all()
    assert not found["gates 1"][[0, 2]].any(), "another task's gate"
    assert found["gates 1"][3].all()

    _, gate = next(levels_of(trunk))
    gate.visible[3, [0, 1]] = False
    assert moved(trunk, 1)["experts 1"].tolist() == [False] * 2 + [True] * 5


def test_without_shared_experts_a_loss_stays_with_its_task_on_every_level() -> None:
    found = moved(make((8,), (7,), (6,), shared_experts=0), 1)
    for level in (1, 2, 3):
        assert found[f"experts {level}"].tolist() == [False] * 2 + [True] * 2 + [False] * 2


@pytest.mark.parametrize("name", ["ple", "cgc"])
def test_a_loss_reaches_the_tables_but_no_other_tower(name: str) -> None:
    layout = make_layout(binary_tasks(3))
    network = make_network(layout, debug_model(name))
    batch = random_batch(layout, 32)
    batch.observed[:, [0, 2]] = False
    network(batch)[0].backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None
        if parameter_name.startswith("tables."):
            assert parameter.grad.any(), parameter_name
        elif ".towers." in parameter_name:
            assert not parameter.grad[[0, 2]].any(), parameter_name
            assert parameter.grad[1].any(), parameter_name


@pytest.mark.parametrize(("m_t", "m_s"), COUNTS)
def test_every_parameter_has_a_gradient_whatever_the_counts(m_t: int, m_s: int) -> None:
    trunk = make((8,), (7,), (6,), task_experts=m_t, shared_experts=m_s)
    trunk(some_fields()).sum().backward()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize(("m_t", "m_s"), COUNTS)
def test_tasks_may_change_places(m_t: int, m_s: int) -> None:
    trunk, fields = make((8,), (6,), task_experts=m_t, shared_experts=m_s), some_fields()
    other = make((8,), (6,), task_experts=m_t, shared_experts=m_s)
    other.load_state_dict(reorder(trunk.state_dict(), (2, 0, 1), m_t, m_s))
    torch.testing.assert_close(other(fields), trunk(fields)[:, [2, 0, 1]], rtol=0, atol=1e-10)


def test_a_further_task_leaves_the_others_of_cgc_alone() -> None:
    three, fields = make((8, 6)), some_fields()
    two = make((8, 6), tasks=("a", "b"))
    two.load_state_dict(reorder(three.state_dict(), (0, 1), 2, 1))
    torch.testing.assert_close(three(fields)[:, :2], two(fields), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("m_t", "m_s", "products"), [(2, 2, 1), (1, 1, 1), (3, 0, 1), (1, 2, 2), (0, 2, 1)]
)
def test_experts_run_in_two_products_at_most(m_t: int, m_s: int, products: int) -> None:
    """All tasks' experts have a product of their own where tasks and shared module differ in
    number; level one has one input for all."""
    first, second = levels_of(make((8,), (6,), task_experts=m_t, shared_experts=m_s))
    runs = [experts.mlp.layers[0].runs for experts in (first[0], second[0])]
    assert runs[0] is None
    assert (1 if runs[1] is None else len(runs[1])) == products


def test_a_network_without_experts_is_refused() -> None:
    with pytest.raises(ValidationError, match="`task_experts` and `shared_experts` are both 0"):
        PLEConfig(task_experts=0, shared_experts=0)


@pytest.mark.parametrize("gate_bias", [True, False])
def test_the_gates_bias_is_a_switch(gate_bias: bool) -> None:
    names = dict(make((8,), (6,), gate_bias=gate_bias).named_parameters())
    for level in (0, 1):
        assert (f"levels.{level}.fusion.gate.linear.bias" in names) == gate_bias
