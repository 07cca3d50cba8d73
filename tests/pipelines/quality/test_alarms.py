"""Planted pathologies each raise their own warning."""

from collections.abc import Callable

import pytest
import torch

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.network import Network
from fulcrum.models.trunks import TrunkConfig
from fulcrum.pipelines.quality.alarms import ALARMS, warnings
from fulcrum.pipelines.quality.experts import Tally
from tests.pipelines.quality.planted import (
    MMOE,
    PLE,
    agree,
    amplify,
    bias,
    deaden,
    fix,
    ignore,
    looked_at,
    occupy,
)


@pytest.mark.parametrize(
    ("model", "plant", "beginning"),
    [
        (MMOE, deaden, "level 1: expert 3 of shared is 100% zeros (alarm above 90%)"),
        (MMOE, amplify, "level 1: what expert 2 of shared gives is "),
        (MMOE, fix, "level 1: the gate of page puts 100% of its weight on expert 1 of shared"),
        (MMOE, agree, "level 1: all gates put "),
        (MMOE, occupy, "level 1: expert 4 of shared is occupied by click, from which it has "),
        (PLE, ignore, "level 1: like (1.0% positives) gives its own experts 0.0"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_pathology_raises_its_own_warning(
    dataset: PreparedDataset, model: TrunkConfig, plant: Callable[[Network], None], beginning: str
) -> None:
    assert warnings(looked_at(dataset, model, None)) == []
    [warning] = warnings(looked_at(dataset, model, plant))
    assert warning.startswith(beginning)
    assert "try " in warning


def test_a_task_with_many_positives_may_pass_its_own_experts_by(dataset: PreparedDataset) -> None:
    def ignore_click(network: Network) -> None:
        bias(network, 0, e0=-4.0, e1=-4.0)

    health = looked_at(dataset, PLE, ignore_click)
    assert health.levels[0].own_mass["click"] < ALARMS["own_mass"]
    assert warnings(health) == []


def test_a_task_that_has_its_own_experts_added_does_not_pass_them_by() -> None:
    gates = torch.tensor([[[0.01, 0.99]]])
    native = torch.tensor([1.0, 0.0])  # the native weight of AdaTT
    rates = {"like": 0.01}
    for weights, alarms in ((gates, 1), (gates + native, 0)):
        tally = Tally()
        visible = torch.ones(1, 2, dtype=torch.bool)
        level = Level(weights, gates, torch.ones(1, 2, 3), visible, ("like",), ("like", SHARED))
        tally.add([level])
        lines = [line for line in warnings(tally.health(1, rates)) if "like (1.0%" in line]
        assert len(lines) == alarms
