"""AdaTT: the contract, the two-term equations, its kin, and which loss moves what."""

import pytest
import torch
from torch import Tensor

from fulcrum.models.layers.expert_usage import SHARED
from fulcrum.models.trunks.adatt import AdaTT, AdaTTConfig
from fulcrum.models.trunks.cross_stitch import CrossStitchConfig
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import NetworkContract, make_network
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS

FIELDS, TASKS = ("f", "g", "h", "i", "j"), ("a", "b", "c")
ONE, TWO, THREE = ((8, 6),), ((8, 7), (6,)), ((8,), (7,), (6,))
WIDE = ((32,), (32,))
"""So wide that no expert is dead from the start."""
COUNTS = [(1, 0), (2, 0), (1, 1), (2, 2), (2, 1), (1, 3)]
"""Experts of each task and shared ones."""


def make(
    levels: tuple[tuple[int, ...], ...] = TWO,
    task_experts: int = 2,
    shared_experts: int = 1,
    tasks: tuple[str, ...] = TASKS,
    **settings: bool,
) -> AdaTT:
    config = AdaTTConfig(
        embedding_dim=4,
        levels=levels,
        task_experts=task_experts,
        shared_experts=shared_experts,
        **settings,
    )
    return config.build(FIELDS, tasks).double()


def some_fields(rows: int = 7) -> Tensor:
    return torch.randn(rows, len(FIELDS), 4, dtype=torch.float64)


def by_hand(trunk: AdaTT, fields: Tensor, counts: list[int]) -> Tensor:
    """Modules, experts and gates one by one, gated sum and own experts as two terms. `counts` are
    the experts of each module; a fourth module is the shared one."""
    f = [fields.flatten(1) for _ in counts]
    for place, level in enumerate(trunk.levels, 1):
        module = [t for t, count in enumerate(counts) for _ in range(count)]
        experts = []
        for e, t in enumerate(module):
            h = f[t]
            for layer in level.experts.mlp.layers:
                h = (h @ layer.weight[e].T + layer.bias[e]).relu()
            experts.append(h)
        fuse = len(TASKS) if place == len(trunk.levels) else len(counts)
        fused = []
        for t in range(fuse):
            gate = level.gate.linear
            g = (f[t] @ gate.weight[t].T + gate.bias[t]).softmax(1)
            everything = sum(g[:, e, None] * h for e, h in enumerate(experts))
            own = [(level.native[t, e], h) for e, h in enumerate(experts) if module[e] == t]
            assert len(own) == counts[t]
            fused.append(everything + sum(v * h for v, h in own))
        f = fused
    return torch.stack(f, 1)


def swap_tasks(state: dict[str, Tensor], experts: list[int]) -> dict[str, Tensor]:
    """`experts` is the new order of a level's experts; modules are the three tasks and the shared
    one, where there is one."""
    swapped = {}
    for name, value in state.items():
        if ".experts." in name:
            swapped[name] = value[experts]
        elif ".gate." in name or name.endswith(".native"):
            swapped[name] = value[[1, 0, 2, 3][: len(value)]][:, experts]
    return swapped


class TestAdaTT(TrunkContract):
    block = MODELS["adatt"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return super().swap_tasks(state) | swap_tasks(state, [2, 3, 0, 1, 4, 5, 6])


class TestAdaTTsp(NetworkContract):
    block = MODELS["adatt_sp"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return super().swap_tasks(state) | swap_tasks(state, [2, 3, 0, 1, 4, 5])


@pytest.mark.parametrize("levels", [ONE, TWO, THREE])
@pytest.mark.parametrize(("own", "shared"), COUNTS)
def test_it_is_the_gated_sum_of_all_experts_plus_the_own(
    levels: tuple[tuple[int, ...], ...], own: int, shared: int
) -> None:
    """Also I8: without shared experts these are the equations of AdaTT-sp, task units alone."""
    trunk, fields = make(levels, own, shared), some_fields()
    counts = [own] * len(TASKS) + [shared] * bool(shared)
    expected = by_hand(trunk, fields, counts)
    torch.testing.assert_close(trunk(fields), expected, rtol=0, atol=1e-10)


def test_i8_with_the_shared_experts_shut_out_it_is_adatt_sp() -> None:
    general, sp, fields = make(shared_experts=2), make(shared_experts=0), some_fields()
    for level in general.levels:
        level.gate.linear.bias.data[:, 6:] = -1e4
    state = {}
    for name, value in general.state_dict().items():
        if ".experts." in name:
            state[name] = value[:6]
        else:
            state[name] = value[:3, :6]
    sp.load_state_dict(state)
    torch.testing.assert_close(general(fields), sp(fields), rtol=0, atol=1e-10)


def test_i6_one_level_without_residual_is_mmoe() -> None:
    trunk, fields = make(ONE, shared_experts=0, residual=False), some_fields()
    mmoe = MMoEConfig(embedding_dim=4, experts=6, expert=ONE[0]).build(FIELDS, TASKS).double()
    mmoe.load_state_dict(
        {k.replace("levels.0", "fusion"): v for k, v in trunk.state_dict().items()}
    )
    torch.testing.assert_close(trunk(fields), mmoe(fields), rtol=0, atol=1e-10)


def test_i7_one_level_of_one_expert_each_is_mmoe_plus_the_own_expert() -> None:
    trunk, fields = make(ONE, 1, 0), some_fields()
    mmoe = MMoEConfig(embedding_dim=4, experts=3, expert=ONE[0]).build(FIELDS, TASKS).double()
    mmoe.load_state_dict(
        {k.replace("levels.0", "fusion"): v for k, v in trunk.state_dict().items()}
    )
    (seen,) = mmoe.diagnostics(fields)
    expected = mmoe(fields) + seen.experts
    torch.testing.assert_close(trunk(fields), expected, rtol=0, atol=1e-10)


def test_zero_gates_give_the_mean_plus_the_own_expert() -> None:
    trunk, fields = make(ONE, 1, 0, gate_bias=False), some_fields()
    trunk.levels[0].gate.linear.weight.data.zero_()
    (seen,) = trunk.diagnostics(fields)
    assert (seen.gates == 1 / 3).all()
    expected = seen.experts.mean(1, keepdim=True) + seen.experts
    torch.testing.assert_close(trunk(fields), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("levels", [ONE, TWO, THREE])
def test_without_gates_it_is_a_network_per_task(levels: tuple[tuple[int, ...], ...]) -> None:
    """Cross-Stitch with alpha of identity."""
    trunk, fields = make(levels, 1, 0), some_fields()
    stitched = CrossStitchConfig(embedding_dim=4, levels=levels).build(FIELDS, TASKS).double()
    state = {k: v for k, v in trunk.state_dict().items() if ".experts." in k}
    stitched.load_state_dict(
        state | {f"levels.{place}.native": torch.eye(3) for place in range(len(levels))}
    )
    for level in trunk.levels:
        level.gate = None
    torch.testing.assert_close(trunk(fields), stitched(fields), rtol=0, atol=1e-10)


def test_static_gates_alone_are_cross_stitch_of_convex_rows() -> None:
    trunk, fields = make(TWO, 1, 0, residual=False), some_fields()
    stitched = CrossStitchConfig(embedding_dim=4, levels=TWO).build(FIELDS, TASKS).double()
    state = {k: v for k, v in trunk.state_dict().items() if ".experts." in k}
    for place, level in enumerate(trunk.levels):
        alpha = torch.rand(3, 3, dtype=torch.float64).softmax(1)
        level.gate.linear.weight.data.zero_()
        level.gate.linear.bias.data.copy_(alpha.log())
        state[f"levels.{place}.native"] = alpha
    stitched.load_state_dict(state)
    torch.testing.assert_close(trunk(fields), stitched(fields), rtol=0, atol=1e-10)


@pytest.mark.parametrize("residual", [False, True])
def test_i19_one_task_of_one_expert_is_single_task(residual: bool) -> None:
    """With the residual every level counts its expert twice: once gated, once as its own."""
    trunk, fields = make(TWO, 1, 0, TASKS[:1], residual=residual), some_fields()
    config = SingleTaskConfig(embedding_dim=4, hidden=sum(TWO, ()))
    single = config.build(FIELDS, TASKS[:1]).double()
    layers = [layer for level in trunk.levels for layer in level.experts.mlp.layers]
    last = [len(TWO[0]) - 1, len(layers) - 1]
    for place, (copy, layer) in enumerate(
        zip(single.fusion.experts.mlp.layers, layers, strict=True)
    ):
        times = 2 if residual and place in last else 1
        copy.weight.data.copy_(times * layer.weight)
        copy.bias.data.copy_(times * layer.bias)
    torch.testing.assert_close(trunk(fields), single(fields), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("own", "shared"), COUNTS)
def test_a_task_moves_all_experts_but_only_its_own_last_gate_and_v(own: int, shared: int) -> None:
    trunk = make(WIDE, own, shared)
    trunk(some_fields(64))[:, 1].sum().backward()
    first, last = trunk.levels
    for level in trunk.levels:
        for layer in level.experts.mlp.layers:
            assert layer.weight.grad.flatten(1).any(1).all()
    moved = [False, True, False]
    assert last.gate.linear.weight.grad.flatten(1).any(1).tolist() == moved
    assert first.gate.linear.weight.grad.flatten(1).any(1).all()
    if max(own, shared) > 1:
        assert (last.native.grad[[0, 2]] == 0).all()
        module = [t for t in range(3) for _ in range(own)] + [3] * shared
        for level, modules in ((first, range(len(first.native))), (last, [1])):
            for t in modules:
                mine = [m == t for m in module]
                assert (level.native.grad[t] != 0).tolist() == mine


def test_isolation_in_the_whole_network() -> None:
    """The matrix's row: 0 for the other tasks' towers and last gates, not for their experts."""
    layout = make_layout(binary_tasks(3))
    model = AdaTTConfig(embedding_dim=4, levels=WIDE, tower=(8,))
    network = make_network(layout, model)
    batch = random_batch(layout, 32)
    batch.observed[:, [0, 2]] = False
    network(batch)[0].backward()
    predictor = network.objective.predictor
    last = predictor.trunk.levels[-1]
    own = {*predictor.towers.parameters(), *last.gate.parameters(), last.native}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if parameter in own:
            assert (parameter.grad[[0, 2]] == 0).all() and parameter.grad[1].any(), name
        elif ".trunk." in name:
            assert parameter.grad.flatten(1).any(1).all(), name


@pytest.mark.parametrize("levels", [ONE, TWO, THREE])
@pytest.mark.parametrize(("own", "shared"), COUNTS)
def test_v_is_learned_where_some_module_has_several_experts(
    levels: tuple[tuple[int, ...], ...], own: int, shared: int
) -> None:
    trunk = make(levels, own, shared)
    learned = {k: v for k, v in trunk.named_parameters() if k.endswith(".native")}
    if max(own, shared) == 1:
        assert not learned and not any(k.endswith(".native") for k in trunk.state_dict())
    else:
        assert len(learned) == len(levels)
    for module in range(3 + bool(shared)):
        m, fuses = own if module < 3 else shared, len(levels) - (module == 3)
        blocks = slice(own * module, own * module + m)
        v = [level.native[module] for level in trunk.levels if module < len(level.native)]
        assert len(v) == fuses
        for weights in v:
            assert weights.count_nonzero() == m == weights[blocks].count_nonzero()
            if learned:
                assert (weights.abs() <= m**-0.5 + 1e-7).all() and not (weights == 1).any()
            else:
                assert (weights[blocks] == 1).all()
    if learned:
        live = sum(level.support.sum() for level in trunk.levels)
        assert live == len(levels) * 3 * own + (len(levels) - 1) * shared


def test_v_starts_uniform_in_the_bound_of_each_module() -> None:
    """Standard deviation of a uniform variable in ±1/√m: 1/√(3m)."""
    trunk = make(((2,), (2,)), task_experts=100, shared_experts=400)
    inner = trunk.levels[0].native
    for v, m in ((inner[0, :100], 100), (inner[3, 300:], 400)):
        assert v.abs().max() <= m**-0.5 < 1.1 * v.abs().max()
        assert v.std().item() == pytest.approx((3 * m) ** -0.5, rel=0.15)
        assert abs(v.mean().item()) < 4 * (3 * m) ** -0.5 / m**0.5


def test_the_shared_module_only_supplies_experts_at_the_end() -> None:
    trunk = make(WIDE, 2, 3)
    first, last = trunk.levels
    for level, modules in ((first, (*TASKS, SHARED)), (last, TASKS)):
        assert len(level.gate.linear.weight) == len(level.native) == len(modules)
    seen = trunk.diagnostics(some_fields())
    assert [level.outputs for level in seen] == [(*TASKS, SHARED), TASKS]
    assert all(level.owners == ("a", "a", "b", "b", "c", "c", *[SHARED] * 3) for level in seen)
    for t in range(3):
        z = trunk(some_fields(64))[:, t].sum()
        for level in (first, last):
            (grad,) = torch.autograd.grad(z, level.experts.mlp.layers[0].weight, retain_graph=True)
            assert grad[6:].flatten(1).any(1).all()


def test_weights_sum_to_one_plus_v() -> None:
    trunk = make()
    for level, seen in zip(trunk.levels, trunk.diagnostics(some_fields()), strict=True):
        expected = (1 + level.native.sum(1)).expand(7, -1)
        torch.testing.assert_close(seen.weights.sum(2), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("switch", ["gate_bias", "residual"])
@pytest.mark.parametrize("on", [True, False])
def test_switches(switch: str, on: bool) -> None:
    names = [name.split(".", 2)[2] for name, _ in make(**{switch: on}).named_parameters()]
    assert ({"gate_bias": "gate.linear.bias", "residual": "native"}[switch] in names) == on
