"""What networks cost, against arithmetic."""

import pytest
import torch

from fulcrum.features.layout import DenseInput, IdInput, Layout, TableSpec, TaskSpec
from fulcrum.models.gramians import SketchConfig
from fulcrum.models.interactions.autoint import AutoIntConfig
from fulcrum.models.network import Network
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.weightings.upgrad import UPGradConfig
from fulcrum.pipelines.comparison import cost
from fulcrum.pipelines.comparison.cost import costs, flops_per_row, parameters, score_rates
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.testing.layouts import make_layout, random_batch
from tests.models.debug import MODELS, debug_model
from tests.pipelines.small_runs import small_run
from tests.prepared import prepare

D, H, W = 4, 6, 5  # embedding, expert and tower widths
LAYOUT = Layout(
    tables=(TableSpec(name="user", rows=52), TableSpec(name="item", rows=102)),
    ids=(
        IdInput(kind="id", name="user", table="user"),
        IdInput(kind="id", name="item", table="item"),
    ),
    dense=(DenseInput(kind="dense", name="x"),),
    tasks=(TaskSpec(name="click", kind="binary"), TaskSpec(name="like", kind="binary")),
)
F, T = 3, 2  # fields: two ids and a number; tasks


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("data"), {"train": 40, "test": 200}, layout=LAYOUT)


def run(model) -> RunConfig:
    return small_run().model_copy(update={"model": model})


SHARED = run(SharedBottomConfig(embedding_dim=D, hidden=(H,), tower=(W,)))
ALONE = run(SingleTaskConfig(embedding_dim=D, hidden=(H,), tower=(W,)))
MMOE = run(MMoEConfig(embedding_dim=D, experts=3, expert=(H,), tower=(W,)))
TOWERS = T * (H * W + W * 1)
"""Multiply-adds of the towers."""


def made(config: RunConfig) -> Network:
    return Network(LAYOUT, config.model, tables_device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("config", "copies", "trunk", "fused"),
    [
        (SHARED, 1, F * D * H, T * 1 * H),
        (ALONE, T, T * F * D * H, T * T * H),
        (MMOE, 1, 3 * F * D * H + T * F * D * 3, T * 3 * H),
    ],
    ids=["shared_bottom", "single_task", "mmoe"],
)
def test_operations_are_two_for_each_multiply_add(dataset, config, copies, trunk, fused):
    """Of the number's field, the trunk, the sum over experts and the towers; a network whose sum
    has one term for each task may leave the sum out."""
    flops = flops_per_row(made(config), cost._batch(dataset, "test", 100))
    least = 2 * (copies * D + trunk + TOWERS)
    assert flops in ({least + 2 * fused} if config is MMOE else {least, least + 2 * fused})


@pytest.mark.parametrize("name", MODELS)
def test_operations_of_every_network_are_counted(name):
    network = Network(make_layout(), debug_model(name), tables_device=torch.device("cpu"))
    assert flops_per_row(network, random_batch(make_layout(), 8)) > 0


def test_fused_attention_is_counted(dataset):
    """AutoInt's own operations: in a layer of H heads, d wide, four maps of every field, and for
    each pair of fields two products of the width of a head; then the map back."""
    plain = MMOE.model
    attending = plain.model_copy(update={"interaction": AutoIntConfig(layers=1, heads=2, units=8)})
    batch = cost._batch(dataset, "test", 100)
    more = flops_per_row(made(run(attending)), batch) - flops_per_row(made(run(plain)), batch)
    assert more == 2 * (F * D * 4 * 16 + 2 * F * F * 16 + F * 16 * D)


def test_operations_per_row_do_not_depend_on_the_rows(dataset):
    network = made(MMOE)
    few, many = (flops_per_row(network, cost._batch(dataset, "test", n)) for n in (50, 200))
    assert few == many


def test_parameters_of_tables_and_the_rest():
    tables, dense = parameters(made(SHARED))
    assert tables == (52 + 102) * D
    assert dense == sum(p.numel() for p in made(SHARED).parameters()) - tables
    alone, _ = parameters(made(ALONE))
    assert alone == T * tables


def test_all_networks_are_timed_side_by_side(dataset, monkeypatch):
    monkeypatch.setattr(cost, "ROUNDS", 2)
    networks = {"alone": (ALONE, dataset), "shared": (SHARED, dataset)}
    rounds = score_rates(networks, "test")
    assert [list(rates) for rates in rounds] == [["alone", "shared"]] * 2
    assert all(rate > 0 for rates in rounds for rate in rates.values())
    by_network = costs(networks, "alone", "test")
    assert by_network["alone"].pace == 1
    assert by_network["alone"].tables == T * by_network["shared"].tables
    assert by_network["alone"].flops > by_network["shared"].flops


def test_training_steps_are_timed_in_whole_periods_of_the_weighting(tmp_path, monkeypatch):
    dataset = prepare(tmp_path, {"train": 200, "test": 20})
    steps = []
    step = cost._step
    monkeypatch.setattr(cost, "_step", lambda *arguments: (steps.append(1), step(*arguments)))
    monkeypatch.setattr(cost, "STEP_ROUNDS", 1)
    static = small_run()
    upgrad = static.model_copy(
        update={"weighting": UPGradConfig(gramian=SketchConfig(every=4, buckets=64))}
    )
    networks = {"static": (static, dataset), "upgrad": (upgrad, dataset)}
    [seconds] = cost.step_seconds(networks)
    assert len(steps) == (1 + 10) + (4 + 12)  # warming up, then at least ten in whole periods
    assert all(value > 0 for value in seconds.values())
    ratios = cost.slower(networks, "static")
    assert ratios["static"] == 1 and ratios["upgrad"] is not None
