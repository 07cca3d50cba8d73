"""HoME: the contract, the networks to which it must reduce, and whom each loss reaches.

Rows are independent in eval mode (test 5): that is in the contract. Tests 1, 4 and 6 are those of
its parts: `test_feature_gate.py`, `test_normalised_mlp.py`, `test_self_gate.py`.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fulcrum.features.errors import ConfigError
from fulcrum.models.layers.expert_usage import SHARED
from fulcrum.models.layers.fusion import Experts, Gate
from fulcrum.models.layers.normalised_mlp import NormalisedMLP
from fulcrum.models.plain import PlainNetwork
from fulcrum.models.trunks.home import EVERY_TASK, HoME, HoMEConfig, HoMELevel
from fulcrum.models.trunks.mmoe import MMoE, MMoEConfig
from fulcrum.models.trunks.ple import PLE, PLEConfig
from fulcrum.testing.layouts import (
    binary_tasks,
    make_layout,
    plain_inputs,
    random_arrays,
    random_batch,
)
from fulcrum.testing.networks import make_network, score
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

FIELDS, TASKS = ("f", "g", "h", "i", "j"), ("click", "view", "like")
CATEGORIES = {"interact": ("click", "like"), "watch": ("view",)}
ATOL = 1e-10


def make(**settings: object) -> HoME:
    """Two categories, with feature gates that have learned something."""
    block = {"embedding_dim": 4, "levels": ((7, 8), (6,)), "rank": 3, "categories": CATEGORIES}
    trunk = HoMEConfig.model_validate(block | settings).build(FIELDS, TASKS).double()
    for level in (trunk.level1, trunk.level2):
        torch.nn.init.normal_(level.features.up)
    return trunk


def some_fields(rows: int = 9) -> Tensor:
    return torch.randn(rows, len(FIELDS), 4, dtype=torch.float64)


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=ATOL)


class TestHoME(TrunkContract):
    block = MODELS["home"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """On level 2 the first three of seven experts and of five modules are the tasks'; a module
        has two adapters."""
        swapped = super().swap_tasks(state)
        for name, value in swapped.items():
            _, _, part = name.partition(".level2.")
            if part.startswith("experts"):
                swapped[name] = value[[1, 0, *range(2, 7)]]
            elif part.startswith("features.mixture"):
                swapped[name] = value[[1, 0, *range(2, 5)]]
            elif part.startswith("features"):
                swapped[name] = value[[2, 3, 0, 1, *range(4, 10)]]
            elif part:
                swapped[name] = value[[1, 0, 2]][:, [1, 0, *range(2, 7)]]
        return swapped


# The equations


def feature_gate(level: HoMELevel, m: int, v: Tensor) -> Tensor:
    gate, total = level.features, torch.zeros_like(v)
    share = (v @ gate.mixture.weight[m].T).softmax(1)
    for i in range(gate.adapters):
        B = gate.down.weight[m * gate.adapters + i].T
        A = gate.up[m * gate.adapters + i]
        total = total + share[:, i : i + 1] * 2 * (v @ B @ A).sigmoid()
    return total


def expert(level: HoMELevel, e: int, x: Tensor) -> Tensor:
    mlp = level.experts.mlp
    assert isinstance(mlp, NormalisedMLP)
    *hidden, last = mlp.layers
    for layer in hidden:
        x = F.silu(x @ layer.weight[e].T + layer.bias[e])  # type: ignore[index,union-attr]
    u = x @ last.weight[e].T  # type: ignore[index,union-attr]
    norm = mlp.norm
    normed = (u - u.mean(0)) / (u.var(0, correction=0) + 1e-5).sqrt()
    return F.silu(normed * norm.weight[e, 0] + norm.bias[e, 0])  # type: ignore[index]


def gated(gate: Gate, g: int, seen: list[int], u: Tensor, h: list[Tensor]) -> Tensor:
    """softmax(W u) · [h_e seen]."""
    logits = u @ gate.linear.weight[g, seen].T + gate.linear.bias[g, seen]  # type: ignore[index]
    a = logits.softmax(1)
    return sum((a[:, k : k + 1] * h[e] for k, e in enumerate(seen)), torch.zeros(()))


def self_gated(level: HoMELevel, g: int, own: list[int], v: Tensor, h: list[Tensor]) -> Tensor:
    gate = level.self_gate.linear
    logits = v @ gate.weight[g, own].T + gate.bias[g, own]  # type: ignore[index]
    a = logits.softmax(1) if len(own) > 1 else logits.sigmoid()
    return sum((a[:, k : k + 1] * h[e] for k, e in enumerate(own)), torch.zeros(()))


@pytest.mark.parametrize("task_experts", [1, 2])
@pytest.mark.parametrize("category_experts", [1, 2])
def test_it_is_the_two_levels_of_the_equations(task_experts: int, category_experts: int) -> None:
    """Sections 8.1 to 8.5, module by module: click and like are one category, view another."""
    trunk = make(task_experts=task_experts, category_experts=category_experts)
    with torch.no_grad():
        for level in (trunk.level1, trunk.level2):
            for parameter in level.experts.mlp.norm.parameters():  # type: ignore[union-attr]
                parameter.normal_()
    fields = some_fields()
    v, k, n = fields.flatten(1), category_experts, task_experts

    interact, watch, shared = [*range(k)], [*range(k, 2 * k)], [2 * k, 2 * k + 1]
    modules, one = (interact, watch, shared), trunk.level1
    E = [expert(one, e, v * feature_gate(one, m, v)) for m, own in enumerate(modules) for e in own]
    seen = (interact + shared, watch + shared, interact + watch + shared)
    z_interact, z_watch, z_shared = (
        gated(one.gate, m, seen[m], v, E) + self_gated(one, m, own, v, E)
        for m, own in enumerate(modules)
    )

    two, z_of = trunk.level2, (z_interact, z_watch, z_interact)
    click, view, like = ([*range(t * n, t * n + n)] for t in range(3))
    interact, watch = [3 * n + e for e in range(k)], [3 * n + k + e for e in range(k)]
    shared = [3 * n + 2 * k, 3 * n + 2 * k + 1]
    all_modules = (click, view, like, interact, watch, shared)
    reads = (*z_of, z_interact, z_watch, z_shared)
    x = [z * feature_gate(two, m, z) for m, z in enumerate(reads)]
    H = [expert(two, e, x[m]) for m, own in enumerate(all_modules) for e in own]
    seen = (click + interact + shared, view + watch + shared, like + interact + shared)
    for t, own in enumerate((click, view, like)):
        u = torch.cat([z_of[t], z_shared], 1)
        expected = gated(two.gate, t, seen[t], u, H) + self_gated(two, t, own, x[t], H)
        close(trunk(fields)[:, t], expected)


def test_masks_are_those_of_the_hierarchy() -> None:
    trunk = make(task_experts=1, category_experts=1, shared_experts=1)
    assert trunk.level1.owners == ("interact", "watch", SHARED)
    assert trunk.level1.gate.visible.tolist() == [
        [True, False, True],
        [False, True, True],
        [True, True, True],
    ]
    assert trunk.level2.owners == (*TASKS, "interact", "watch", SHARED)
    assert trunk.level2.gate.visible.tolist() == [
        [True, False, False, True, False, True],
        [False, True, False, False, True, True],
        [False, False, True, True, False, True],
    ]
    assert trunk.level1.self_gate.ownership.equal(torch.eye(3, dtype=torch.bool))
    assert trunk.level2.self_gate.ownership.equal(torch.eye(3, 6, dtype=torch.bool))


def test_diagnostics_name_categories_then_tasks() -> None:
    one, two = make().diagnostics(some_fields())
    assert one.outputs == ("interact", "watch", SHARED)
    assert one.owners == ("interact",) * 2 + ("watch",) * 2 + (SHARED,) * 2
    assert two.outputs == TASKS
    assert two.owners == TASKS + one.owners
    for level in (one, two):
        assert level.gates is not None
        close(level.gates.sum(2), torch.ones_like(level.gates[..., 0]))
        own = torch.tensor([[e == g for e in level.owners] for g in level.outputs])
        extra = level.weights - level.gates
        assert (extra[:, ~own] == 0).all() and (extra[:, own] > 0).all()


# Whom a loss reaches (section 8, tests 2 and 3; the isolation matrix, rows of HoME)


def reached(trunk: HoME, task: str) -> dict[str, set[str]]:
    """Owners of the experts, feature gates, gates and self-gates that one task's loss moves."""
    trunk.zero_grad()
    trunk(some_fields())[:, TASKS.index(task)].square().sum().backward()
    moved = {}
    for number, level in enumerate((trunk.level1, trunk.level2), 1):
        modules = tuple(dict.fromkeys(level.owners))
        names = {
            "experts": level.owners,
            "features": modules,
            "gate": level.outputs,
            "self_gate": level.outputs,
        }
        for part, owners in names.items():
            moved[f"{part}{number}"] = set()
            for parameter in level.get_submodule(part).parameters():
                assert parameter.grad is not None
                each = parameter.grad.reshape(len(owners), -1) != 0
                moved[f"{part}{number}"] |= {
                    owner for owner, any_ in zip(owners, each.any(1).tolist(), strict=True) if any_
                }
    return moved


def reach(task: str, category: str) -> dict[str, set[str]]:
    """What the hierarchy allows."""
    everyone = {*CATEGORIES, SHARED}
    return {
        "experts1": everyone,
        "features1": everyone,
        "gate1": {category, SHARED},
        "self_gate1": {category, SHARED},
        "experts2": {task, category, SHARED},
        "features2": {task, category, SHARED},
        "gate2": {task},
        "self_gate2": {task},
    }


@pytest.mark.parametrize(
    ("task", "category"), [("click", "interact"), ("like", "interact"), ("view", "watch")]
)
def test_a_loss_moves_its_own_its_categorys_and_the_shared(task: str, category: str) -> None:
    """Test 2: exactly zero outside; other categories' level 1 experts are met through z_s."""
    assert reached(make(), task) == reach(task, category)


def test_other_categories_are_met_through_the_shared_gate_alone() -> None:
    """Test 3: with the shared gate on shared experts only, other categories' get exactly 0."""
    trunk = make()
    trunk.level1.gate.visible[-1] = torch.tensor([o == SHARED for o in trunk.level1.owners])
    moved = reached(trunk, "click")
    assert moved["experts1"] == moved["features1"] == {"interact", SHARED}


def test_every_flipped_entry_of_a_mask_is_noticed() -> None:
    """A mutation: any entry of level 2's mask but the own ones, which the self-gates keep open, and
    those of level 1 between categories, wrong by one, lets a loss reach other parts."""
    expected = reached_by_all(make(shared_experts=1, category_experts=1))
    flips = [
        (level, output, owner)
        for level, outputs in ((1, [*CATEGORIES, SHARED]), (2, TASKS))
        for output in outputs
        for owner in (CATEGORIES if level == 1 else (*TASKS, *CATEGORIES, SHARED))
        if owner != output
    ]
    assert len(flips) == 4 + 3 * 5
    for level, output, owner in flips:
        trunk = make(shared_experts=1, category_experts=1)
        broken = trunk.level1 if level == 1 else trunk.level2
        broken.gate.visible[broken.outputs.index(output), broken.owners.index(owner)] ^= True
        assert reached_by_all(trunk) != expected, (level, output, owner)


def reached_by_all(trunk: HoME) -> list[dict[str, set[str]]]:
    """By each task, as the trunk is and with the shared gate of level 1 on shared experts only."""
    before = [reached(trunk, task) for task in TASKS]
    trunk.level1.gate.visible[-1] = torch.tensor([o == SHARED for o in trunk.level1.owners])
    return before + [reached(trunk, task) for task in TASKS]


def test_a_loss_never_moves_the_tower_of_another_task() -> None:
    """The first column of the isolation matrix, on the whole network."""
    layout = make_layout(binary_tasks(3))
    model = HoMEConfig(
        embedding_dim=4, levels=((8,), (6,)), categories={"a": ("t0", "t1"), "b": ("t2",)}
    )
    network, batch = make_network(layout, model), random_batch(layout, 16)
    batch.observed[:, [0, 2]] = False
    batch.observed[:, 1] = True
    network(batch)[0].backward()
    for name, parameter in network.objective.predictor.towers.named_parameters():
        assert parameter.grad is not None
        assert [bool(g.any()) for g in parameter.grad] == [False, True, False], name


# What it reduces to


def without_self_gates(trunk: HoME) -> HoME:
    """A single own expert's self-gate, sigmoid(-1000), is exactly 0."""
    for parameter in trunk.level2.self_gate.linear.parameters():
        torch.nn.init.constant_(parameter, 0)
    torch.nn.init.constant_(trunk.level2.self_gate.linear.bias, -1000)  # type: ignore[arg-type]
    return trunk


def hide(trunk: HoME, *owners: str) -> HoME:
    """Level 2 without the experts of those owners."""
    gone = torch.tensor([owner in owners for owner in trunk.level2.owners])
    trunk.level2.gate.visible[:, gone] = False
    return trunk


def test_i10_adapters_at_zero_are_no_feature_gates() -> None:
    trunk, fields = make(), some_fields()
    for level in (trunk.level1, trunk.level2):
        torch.nn.init.zeros_(level.features.up)
    gates = trunk(fields)
    trunk.level1.features, trunk.level2.features = Open(3), Open(6)  # type: ignore[assignment]
    assert torch.equal(trunk(fields), gates)


class Open(torch.nn.Module):
    """No feature gate."""

    def __init__(self, modules: int) -> None:
        super().__init__()
        self.consumers = modules

    def forward(self, v: Tensor) -> Tensor:
        return torch.ones_like(v).expand(-1, self.consumers, -1)


def test_i11_level_2_without_its_gates_is_cgc() -> None:
    """Self-gates off, feature gates 1, z = v for every module, no category experts: CGC with
    normalised Swish experts, whose gates read [v; v]."""
    trunk = hide(without_self_gates(make(task_experts=1, shared_experts=2)), *CATEGORIES)
    torch.nn.init.zeros_(trunk.level2.features.up)
    D, kept = 8, [0, 1, 2, 7, 8]
    v = torch.randn(9, 2, D // 2, dtype=torch.float64)

    cgc: PLE = PLEConfig(
        embedding_dim=D // 2, levels=((6,),), task_experts=1, shared_experts=2
    ).build(("f", "g"), TASKS)
    take_experts(cgc.levels[0].fusion, trunk, kept)  # type: ignore[union-attr,arg-type]
    take_gates(cgc.levels[0].fusion.gate, trunk, kept)  # type: ignore[union-attr,arg-type]

    z = v.flatten(1)[:, None].expand(-1, 3, -1)
    close(trunk.level2(*trunk.read(z)), cgc.double()(v))


def test_level_2_with_shared_experts_alone_is_mmoe() -> None:
    trunk = hide(without_self_gates(make(task_experts=1, shared_experts=3)), *CATEGORIES, *TASKS)
    torch.nn.init.zeros_(trunk.level2.features.up)
    D, kept = 8, [7, 8, 9]
    v = torch.randn(9, 2, D // 2, dtype=torch.float64)

    mmoe: MMoE = MMoEConfig(embedding_dim=D // 2, experts=3, expert=(6,)).build(("f", "g"), TASKS)
    take_experts(mmoe.fusion, trunk, kept)
    take_gates(mmoe.fusion.gate, trunk, kept)  # type: ignore[arg-type]

    z = v.flatten(1)[:, None].expand(-1, 3, -1)
    close(trunk.level2(*trunk.read(z)), mmoe.double()(v))


def take_experts(fusion: torch.nn.Module, trunk: HoME, kept: list[int]) -> None:
    """Put some of level 2's experts, on one source, into a fusion."""
    fusion.experts = Experts([0] * len(kept), 8, (6,), network=NormalisedMLP)
    state = trunk.level2.experts.state_dict()
    fusion.experts.load_state_dict({name: value[kept] for name, value in state.items()})


def take_gates(gate: Gate, trunk: HoME, kept: list[int]) -> None:
    """Gates on [v; v] are gates on v with the sum of both halves."""
    linear = trunk.level2.gate.linear
    with torch.no_grad():
        gate.linear.weight.copy_(linear.weight[:, kept].unflatten(2, (2, 8)).sum(2))
        gate.linear.bias.copy_(linear.bias[:, kept])  # type: ignore[union-attr,index]


def test_with_one_category_its_experts_are_open_to_all_tasks() -> None:
    trunk = make(categories={}, task_experts=1, category_experts=1, shared_experts=1)
    assert trunk.level1.outputs == (EVERY_TASK, SHARED)
    assert trunk.level1.gate.visible.all()
    assert trunk.level2.gate.visible[:, 3:].all()
    assert trunk.level2.gate.visible[:, :3].equal(torch.eye(3, dtype=torch.bool))


def test_i19_with_one_task_every_gate_sees_every_expert() -> None:
    """T = 1: two plain levels, no mask left; and it is what the task gets where others stand by
    without a way to it."""
    config = HoMEConfig(embedding_dim=4, levels=((8,), (6,)), rank=3)
    alone = config.build(FIELDS, TASKS[:1]).double()
    assert alone.level1.gate.visible.all() and alone.level2.gate.visible.all()

    several = config.build(FIELDS, TASKS).double()
    kept = {
        "experts": [0, 3, 4, 5, 6],
        "features.mixture": [0, 3, 4],
        "features": [0, 1, 6, 7, 8, 9],
    }
    state = {}
    for name, value in several.state_dict().items():
        part = name.removeprefix("level2.")
        if part == name:
            state[name] = value
        elif "gate" in part:
            state[name] = value[:1, kept["experts"]]
        else:
            state[name] = value[next(rows for key, rows in kept.items() if part.startswith(key))]
    alone.load_state_dict(state)
    fields = some_fields()
    close(alone(fields)[:, 0], several(fields)[:, 0])


def test_the_ablation_has_relu_experts_without_a_norm() -> None:
    trunk, fields = make(activation="relu", normalise=False), some_fields()
    assert not any("norm" in name for name, _ in trunk.named_parameters())
    for level in trunk.diagnostics(fields):
        assert (level.experts >= 0).all() and (level.experts == 0).any()
    close(trunk(fields)[:1], trunk(fields[:1]))


# Training


def test_categories_train_and_serve() -> None:
    """Two categories, the second task in the other one: every parameter takes part, also with one
    row, and the served network is the same function."""
    layout = make_layout(binary_tasks(3))
    model = HoMEConfig(
        embedding_dim=4, levels=((8,), (6,)), categories={"a": ("t2", "t0"), "b": ("t1",)}
    )
    for rows in (1, 16):
        network = make_network(layout, model)
        loss, _ = network(random_batch(layout, rows))
        loss.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert all(value.isfinite().all() for value in network.state_dict().values())
    arrays = random_arrays(layout, 9)
    plain = PlainNetwork(layout, model).load(network.state_dict())
    scores = torch.stack(plain(*plain_inputs(layout, arrays)), 1)
    torch.testing.assert_close(scores, score(network, layout, arrays), rtol=1e-6, atol=1e-6)


def test_trains_in_bfloat16() -> None:
    trunk, fields = make().float(), some_fields(64).float()
    with torch.autocast("cpu", torch.bfloat16):
        z = trunk(fields)
        z.float().square().mean().backward()
    torch.testing.assert_close(z.float(), trunk(fields), rtol=0.1, atol=0.1)
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.dtype == torch.float32


@pytest.mark.parametrize("gate_bias", [True, False])
def test_the_gates_bias_is_a_switch(gate_bias: bool) -> None:
    names = dict(make(gate_bias=gate_bias).named_parameters())
    for level in ("level1", "level2"):
        for gate in ("gate", "self_gate"):
            assert (f"{level}.{gate}.linear.bias" in names) == gate_bias


# Categories


def problems(
    categories: dict[str, tuple[str, ...]], tasks: tuple[str, ...] = TASKS
) -> list[tuple[str, str]]:
    found = HoMEConfig(categories=categories).problems([], tasks)
    return [(".".join(path), message) for path, message in found]


def test_categories_may_be_left_out_or_hold_every_task_once() -> None:
    assert problems({}) == problems(CATEGORIES) == []


@pytest.mark.parametrize(
    ("categories", "path", "message"),
    [
        ({"all": ("click", "view", "lik", "like")}, "all", "no task `lik`; did you mean `like`?"),
        ({"a": ("click", "like"), "b": ("view", "like")}, "b", "`like` is in `a`, too"),
        ({"a": ("click", "view", "like", "like")}, "a", "`like` is twice"),
        ({"a": ("click",)}, "", "no category for `view`, `like`"),
        ({"a": TASKS, "b": ()}, "b", "holds no task"),
        ({"click": TASKS}, "click", "a task is called `click`, too"),
        ({SHARED: TASKS}, SHARED, "names the shared experts"),
        ({"all of it": TASKS}, "all of it", "letters, digits"),
    ],
)
def test_a_category_that_does_not_fit_is_told(
    categories: dict[str, tuple[str, ...]], path: str, message: str
) -> None:
    ((where, what),) = problems(categories)
    assert where == f"categories.{path}".removesuffix(".")
    assert message in what
    with pytest.raises(ConfigError, match="categories"):
        HoMEConfig(categories=categories).build(FIELDS, TASKS)


def test_every_problem_is_told_at_once() -> None:
    found = problems({"click": ("viw",), "b": ()})
    assert [where for where, _ in found] == [
        "categories.click",
        "categories.click",
        "categories.b",
        "categories",
    ]
