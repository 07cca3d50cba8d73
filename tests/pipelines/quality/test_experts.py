"""The arithmetic of expert health, alone and in training."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.quality.alarms import warnings
from fulcrum.pipelines.quality.experts import Health, LevelHealth, Tally
from fulcrum.pipelines.tracking.protocol import SilentTracker
from fulcrum.pipelines.training.checkpoint import path
from fulcrum.pipelines.training.launch import launch
from fulcrum.pipelines.training.predict import examine, restore_network
from fulcrum.pipelines.training.trainer import read_result, train
from tests.pipelines.quality.planted import MMOE, PLE, deaden, looked_at
from tests.pipelines.small_runs import small_run

TASKS = ("click", "like", "watch", "page")


def random_level(
    seed: int, rows: int = 12, tasks: int = 3, experts: int = 4, width: int = 5
) -> Level:
    """Shared experts, gates over all of them, ReLU outputs."""
    torch.manual_seed(seed)
    gates = torch.randn(rows, tasks, experts).softmax(-1)
    return Level(
        weights=gates,
        gates=gates,
        experts=torch.randn(rows, experts, width).relu(),
        visible=torch.ones(tasks, experts, dtype=torch.bool),
        outputs=tuple(f"task {t}" for t in range(tasks)),
        owners=(SHARED,) * experts,
    )


def random_health(seed: int, tasks: int, experts: int) -> LevelHealth:
    return health_of(random_level(seed, tasks=tasks, experts=experts))


def health_of(*batches: Level) -> LevelHealth:
    """Of one level over some batches."""
    tally = Tally()
    for level in batches:
        assert tally.add([level])
    [level_health] = tally.health(0, {}).levels
    return level_health


def fixed(
    gate: list[list[float]], owners: tuple[str, ...], outputs: tuple[str, ...] = TASKS[:3]
) -> LevelHealth:
    """Constant gates over experts that all give 1; weight 0 means out of sight."""
    weights = torch.tensor([gate])
    ones = torch.ones(1, len(owners), 2)
    return health_of(Level(weights, weights, ones, weights[0] > 0, outputs, owners))


def take(level: Level, rows: torch.Tensor) -> Level:
    assert level.gates is not None
    used = None if level.used is None else level.used[rows]
    return level._replace(
        weights=level.weights[rows],
        gates=level.gates[rows],
        experts=level.experts[rows],
        used=used,
    )


def assert_same(one: LevelHealth, other: LevelHealth) -> None:
    for name in ("mean", "std", "size", "zero_rate", "gate", "weight", "contribution"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-9, err_msg=name
        )


# ---------------------------------------------------------------------------------- arithmetic


def test_statistics_by_hand() -> None:
    h = torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, -2.0]]])
    a = torch.tensor([[[0.25, 0.75]], [[0.5, 0.5]]])
    w = a + torch.tensor([-1.0, 0.0])  # a native weight of -1 on expert 1
    visible = torch.ones(1, 2, dtype=torch.bool)
    level = health_of(Level(w, a, h, visible, ("click",), ("click", SHARED)))
    assert level.mean == pytest.approx([(3 + 4 + 0 + 0) / 4, (0 + 1 + 0 - 2) / 4])
    squares = (3**2 + 4**2) / 4, (1**2 + 2**2) / 4
    assert level.std == pytest.approx(np.sqrt(np.array(squares) - level.mean**2))
    assert level.size == pytest.approx([(3 + 4) / 4, (1 + 2) / 4])
    assert level.zero_rate == pytest.approx([2 / 4, 3 / 4])
    assert level.gate == pytest.approx(np.array([[(0.25 + 0.5) / 2, (0.75 + 0.5) / 2]]))
    assert level.weight == pytest.approx(np.array([[(0.75 + 0.5) / 2, (0.75 + 0.5) / 2]]))
    norms = (0.75 * math.hypot(3, 4) + 0.5 * 0) / 2, (0.75 * 1 + 0.5 * 2) / 2
    assert level.contribution == pytest.approx(np.array([norms]))
    assert level.scale_ratio == pytest.approx(((3 + 4) / 4) / ((1 + 2) / 4))
    p = np.array([0.375, 0.625])
    assert level.entropy == pytest.approx([-(p * np.log(p)).sum() / math.log(2)])
    assert level.own_mass == {"click": pytest.approx(0.375 / (1 / 2))}
    reach = norms[0] / (norms[0] + norms[1])
    assert level.own_contribution == {"click": pytest.approx(reach / (1 / 2))}


def test_zeros_of_swish_are_told_by_its_sign() -> None:
    u = torch.randn(50, 2, 3)
    level = random_level(0, rows=50, tasks=1, experts=2)
    swish = health_of(level._replace(experts=u * u.sigmoid()))
    assert swish.zero_rate == pytest.approx((u <= 0).double().mean((0, 2)).numpy())


def test_entropy_is_over_the_experts_in_sight() -> None:
    gate = [[0.5, 0.5, 0.0], [0.9, 0.0, 0.1], [1.0, 0.0, 0.0]]
    level = fixed(gate, ("a", "b", "c"))
    uneven = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert level.entropy[:2] == pytest.approx([1.0, uneven])
    assert math.isnan(level.entropy[2])  # one expert in sight: no choice, no alarm


def test_occupancy_is_of_shared_experts_between_outputs_of_tasks() -> None:
    owners = ("click", SHARED, SHARED)
    gate = [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.1, 0.4, 0.5], [0.1, 0.4, 0.5]]
    level = fixed(gate, owners, (*TASKS[:3], SHARED))
    assert np.isnan(level.occupancy[:, 0]).all()  # not shared
    assert np.isnan(level.occupancy[3]).all()  # no task
    assert level.occupancy[:3, 1] == pytest.approx([0.5 / 1.0, 0.1 / 1.0, 0.4 / 1.0])
    assert level.occupancy[:3, 2] == pytest.approx([0.3 / 1.6, 0.8 / 1.6, 0.5 / 1.6])
    pair = fixed(gate[:2], owners, TASKS[:2])
    assert np.isnan(pair.occupancy).all()  # two tasks are no crowd


def test_own_mass_is_relative_to_an_even_share() -> None:
    owners = ("click", "click", "like", SHARED)
    gate = [[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.6, 0.4], [0.25, 0.25, 0.25, 0.25]]
    level = fixed(gate, owners, ("click", "like", "watch"))
    # click: two own of four in sight; like: one own of two; watch owns none.
    assert level.own_mass == {
        "click": pytest.approx((0.1 + 0.2) / (2 / 4)),
        "like": pytest.approx(0.6 / (1 / 2)),
    }
    assert fixed([[1.0, 0.0], [0.0, 1.0]], ("a", "b"), ("a", "b")).own_mass == {}


def test_correlation_is_of_ranks() -> None:
    owners = ("a", "b", "c", SHARED)
    gate = [[0.6, 0.0, 0.0, 0.4], [0.0, 0.5, 0.0, 0.5], [0.0, 0.0, 0.9, 0.1]]
    level = fixed(gate, owners, ("a", "b", "c"))

    def correlation(**rates: float) -> float:
        return Health(1, (level,), rates).correlation(level)

    assert correlation(a=0.02, b=0.01, c=0.9) == pytest.approx(1.0)
    # Spearman: 1 - 6 Σd² / (n(n² - 1)); ranks of mass 2, 1, 3 against rates 1, 2, 3.
    assert correlation(a=0.1, b=0.2, c=0.3) == pytest.approx(1 - 6 * (1 + 1) / (3 * 8))
    assert math.isnan(correlation(a=0.1, b=0.2))
    assert math.isnan(correlation(a=0.1, b=0.1, c=0.1))


@given(st.integers(0, 99), st.integers(1, 11), st.randoms())
def test_neither_cuts_nor_order_of_rows_matter(seed: int, cut: int, random) -> None:
    level = random_level(seed)
    level = level._replace(used=torch.rand(12, 3) < 0.7)._replace(
        used=(torch.rand(12, 3) < 0.7).index_fill(0, torch.tensor([0]), True)
    )
    rows = list(range(12))
    random.shuffle(rows)
    parts = torch.tensor(rows[:cut]), torch.tensor(rows[cut:])
    assert_same(health_of(level), health_of(*(take(level, part) for part in parts)))


@given(st.integers(0, 99))
def test_rows_that_go_nowhere_do_not_count(seed: int) -> None:
    """Every row of a task's own fields, as `Predictor` folds them: used by that task alone."""
    level = random_level(seed, rows=9, tasks=3)
    visible = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)
    level = level._replace(visible=visible, used=torch.eye(3, dtype=torch.bool).repeat(3, 1))
    health = health_of(level)
    assert level.gates is not None
    for t in range(3):
        rows = torch.arange(t, 9, 3)
        alone = health_of(take(level._replace(used=None), rows))
        for name in ("gate", "weight", "contribution"):
            assert getattr(health, name)[t] == pytest.approx(getattr(alone, name)[t])
        private = {0: 0, 1: 2, 2: 3}[t]  # the expert that this task alone sees
        assert health.size[private] == pytest.approx(alone.size[private])
    assert health.size[1] == pytest.approx(float(level.experts[:, 1].abs().mean()))


def test_scale_of_an_expert_moves_its_contribution_and_not_its_gate_weight() -> None:
    level = random_level(0)
    factor = torch.tensor([10.0, 1.0, 1.0, 1.0])[:, None]
    before, after = health_of(level), health_of(level._replace(experts=level.experts * factor))
    assert after.contribution[:, 0] == pytest.approx(10 * before.contribution[:, 0])
    assert after.gate == pytest.approx(before.gate)
    assert after.zero_rate == pytest.approx(before.zero_rate)


def test_levels_without_a_choice_are_left_out() -> None:
    level = random_level(0)
    one = random_level(0, experts=1)
    tally = Tally()
    assert not tally.add([])
    assert not tally.add([level._replace(gates=None), one])
    assert tally.add([level._replace(gates=None), level])
    [health] = tally.health(12, {}).levels
    assert health.number == 2


# ------------------------------------------------------------------------------ real networks


def test_a_dead_expert_leaves_a_document_without_nan(dataset: PreparedDataset) -> None:
    health = looked_at(dataset, MMOE, deaden)
    document = json.loads(json.dumps(health.document(), allow_nan=False))
    [level] = document["levels"]
    assert level["scale_ratio"] is None
    assert level["zero_rate"][2] == 1.0
    assert document["rows"] == 401
    assert "health/level1/scale_ratio" not in health.metrics()


def test_a_network_without_gates_has_nothing_to_tell(dataset: PreparedDataset) -> None:
    health = looked_at(dataset, SharedBottomConfig(hidden=(8,), tower=(4,)), None)
    assert (health.levels, health.metrics(), warnings(health)) == ((), {}, [])


# ------------------------------------------------------------------------------------ training


class Memory(SilentTracker):
    def __init__(self) -> None:
        self.health: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        health = {name: value for name, value in metrics.items() if name.startswith("health/")}
        if health:
            self.health[step] = health


def run() -> RunConfig:
    """PLE over four tasks, evaluated after each of two epochs of 5 steps."""
    return small_run(batch_size=60).model_copy(update={"model": PLE})


def again(dataset: PreparedDataset, folder: Path, step: int) -> dict[str, float]:
    with restore_network(run(), dataset, path(folder, step)) as (model, process):
        return examine(model, dataset, "valid", process).metrics()


def test_training_tells_the_health_at_each_evaluation(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    tracker = Memory()
    result = train(run(), dataset, tmp_path, tracker=tracker)
    assert list(tracker.health) == [step for step, _ in result.history] == [5, 10]
    statistics = ("zero_rate_max", "scale_ratio", "gate_entropy_min", "gate_agreement")
    masses = tuple(f"own_mass/{task}" for task in TASKS)
    expected = {f"health/level1/{n}" for n in (*statistics, "occupancy_max", *masses)}
    assert set(tracker.health[10]) == expected
    assert again(dataset, tmp_path, result.step) == pytest.approx(tracker.health[result.step])


def test_looking_at_experts_does_not_change_what_is_learned(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = train(run(), dataset, tmp_path / "looked")
    monkeypatch.setattr("fulcrum.pipelines.training.trainer.examine", lambda *_: Health(0, (), {}))
    assert train(run(), dataset, tmp_path / "not").history == looked.history


@pytest.mark.slow
def test_two_processes_tell_what_one_tells(dataset: PreparedDataset, tmp_path: Path) -> None:
    tracker = Memory()
    launch(run(), dataset, tmp_path, 2, tracker)
    step = read_result(tmp_path).step
    assert again(dataset, tmp_path, step) == pytest.approx(tracker.health[step], abs=1e-6)
