"""A run that begins with the weights of an earlier model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from fulcrum.features.errors import ConfigError
from fulcrum.features.kinds.vocabulary import Vocabulary
from fulcrum.features.layout import IdInput, Layout, TableSpec, TaskSpec
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.transform.state import FeatureState
from fulcrum.models.network import Network
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.training import checkpoint
from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.learning_on import earlier_model
from fulcrum.pipelines.training.learning_on.carry_over import carry_over
from fulcrum.pipelines.training.learning_on.earlier_model import EarlierModel
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.processes import process_group
from fulcrum.pipelines.training.tables.sharding import distribute
from fulcrum.pipelines.training.trainer import FROM, Trainer, TrainResult, train
from tests.pipelines.small_runs import small_run
from tests.pipelines.training.test_trainer import same_weights
from tests.prepared import LAYOUT, prepare

URI = "models:/small/1"
SEQUENCES = LAYOUT.sequences
PREFIX = "objective.predictor."
DENSE = "bottom.fields.dense.weight"
FIRST = "trunk.fusion.experts.mlp.layers.0.weight"
TABLES = {"user": 50, "item": 100, "tag": 10}
"""Values of those that have a vocabulary."""
GONE = 3
"""How many of them a later day no longer has; as many are new."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 600, "valid": 200, "test": 200})


@pytest.fixture(scope="module")
def yesterday(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(small_run(epochs=1), dataset, tmp_path_factory.mktemp("yesterday"))


@pytest.fixture
def earlier(yesterday: TrainResult, dataset: PreparedDataset) -> EarlierModel:
    return EarlierModel(URI, with_values(dataset.state, lambda v: v), yesterday.checkpoint)


def with_values(state: FeatureState, order: Callable[[list[str]], list[str]]) -> FeatureState:
    """The state with vocabularies of `0`, `1`, ... in another order."""
    lookups = {}
    for table, size in TABLES.items():
        values = order([str(n) for n in range(size)])
        counts = pl.Series(range(size, 0, -1), dtype=pl.Int64)
        lookups[table] = Vocabulary(pl.DataFrame({"value": values, "count": counts}))
    return replace(state, lookups=lookups)


def shuffled(values: list[str]) -> list[str]:
    """In another order, with `GONE` values in place of the last ones."""
    kept = [*values[:-GONE], *(f"new {n}" for n in range(GONE))]
    return [kept[n] for n in np.random.default_rng(0).permutation(len(kept))]


def network(layout: Layout, **model: Any) -> Network:
    torch.manual_seed(1)
    config = small_run().model.model_copy(update=model)
    return Network(layout, config, tables_device=torch.device("cpu"))


def begin(
    earlier: EarlierModel, state: FeatureState, **model: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """Weights as they were initialised and as they are taken over, and what is said of them."""
    net = network(state.layout, **model)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    config = small_run().model.model_copy(update=model)
    lines = carry_over(net, config, state, earlier)
    return before, net.state_dict(), lines


def check_rows(
    weights: dict[str, Tensor], before: dict[str, Tensor], old: dict[str, Tensor]
) -> None:
    """Each value has its row of the earlier model, to the bit; new ones are as initialised."""
    for table, size in TABLES.items():
        (name,) = (n for n in weights if f".{table}." in n)
        assert torch.equal(weights[name][:2], old[name][:2])
        for row, value in enumerate(shuffled([str(n) for n in range(size)]), 2):
            was = before[name][row] if value.startswith("new") else old[name][2 + int(value)]
            assert torch.equal(weights[name][row], was), (table, value)


def test_every_value_keeps_its_row_to_the_bit_wherever_its_row_lies_now(
    earlier: EarlierModel,
) -> None:
    state = with_values(earlier.state, shuffled)
    before, weights, lines = begin(earlier, state)
    old = load_weights(earlier.checkpoint)
    check_rows(weights, before, dict(old))
    dense = [name for name in weights if name.startswith(PREFIX)]
    assert all(torch.equal(weights[name], old[name]) for name in dense)
    assert lines == [
        "table user: 47 of 50 values keep their row",
        "table item: 97 of 100 values keep their row",
        "table tag: 7 of 10 values keep their row",
        "table viewed:age: 8 of 8 values keep their row",
        f"{len(dense)} of {len(dense)} dense weights taken",
    ]


def test_a_new_feature_and_a_new_task_are_listed_and_the_rest_is_taken(
    earlier: EarlierModel,
) -> None:
    layout = LAYOUT.model_copy(
        update={
            "tables": (*LAYOUT.tables, TableSpec(name="hour", rows=26)),
            "ids": (*LAYOUT.ids, IdInput(name="hour", table="hour")),
            "tasks": (*LAYOUT.tasks, TaskSpec(name="buy", kind="binary", rate=0.1)),
        }
    )
    before, weights, lines = begin(earlier, replace(earlier.state, layout=layout))
    old = load_weights(earlier.checkpoint)
    assert lines[:2] == ["input hour: new", "task buy: new"]
    assert "table hour: not taken, the model has none of that name" in lines
    last = "weight towers.last.weight: not taken, its shape is (5, 3, 8), was (4, 3, 8)"
    assert last in lines
    taken = {name for name in weights if name in old and torch.equal(weights[name], old[name])}
    listed = {line.split(": ")[0] for line in lines if "not taken" in line}
    for name in weights:
        short = name.removeprefix(PREFIX)
        key = f"weight {short}" if short != name else f"table {name.split('.')[-2]}"
        if key in listed:
            assert torch.equal(weights[name], before[name])
        else:
            assert name in taken
    assert f"{PREFIX}trunk.fusion.experts.mlp.layers.1.weight" in taken
    assert f"{PREFIX}bottom.fields.histories.0.attention.event" in taken


@pytest.mark.parametrize(
    ("update", "what", "left", "kept"),
    [
        (
            {"tasks": (*LAYOUT.tasks[:2], LAYOUT.tasks[3], LAYOUT.tasks[2])},
            "tasks",
            ["towers.last.bias", "towers.hidden.layers.0.weight", "trunk.fusion.gate.linear.bias"],
            DENSE,
        ),
        ({"dense": LAYOUT.dense[::-1]}, "inputs", [DENSE], FIRST),
        (
            {"bags": (LAYOUT.bags[0].model_copy(update={"name": "labels"}),)},
            "inputs",
            [FIRST, "trunk.fusion.gate.linear.weight"],
            DENSE,
        ),
        (
            {"sequences": tuple(s.model_copy(update={"name": f"{s.name}2"}) for s in SEQUENCES)},
            "inputs",
            ["bottom.fields.histories.0.attention.event", FIRST],
            DENSE,
        ),
    ],
)
def test_weights_that_have_another_place_now_are_left_though_their_shapes_agree(
    earlier: EarlierModel, update: dict[str, Any], what: str, left: list[str], kept: str
) -> None:
    layout = LAYOUT.model_copy(update=update)
    before, weights, lines = begin(earlier, replace(earlier.state, layout=layout))
    for name in left:
        assert f"weight {name}: not taken, it is laid out by {what}" in lines
        assert torch.equal(weights[PREFIX + name], before[PREFIX + name])
    assert torch.equal(weights[PREFIX + kept], load_weights(earlier.checkpoint)[PREFIX + kept])


def test_a_table_of_another_width_is_left(earlier: EarlierModel) -> None:
    _, _, lines = begin(earlier, earlier.state, embedding_dim=4)
    assert "table user: not taken, it is 4 wide, was 8" in lines


def test_nothing_that_fits_is_refused_and_nothing_is_changed(earlier: EarlierModel) -> None:
    layout = Layout(
        tables=(TableSpec(name="other", rows=5),),
        ids=(IdInput(name="other", table="other"),),
        tasks=(TaskSpec(name="buy", kind="binary", rate=0.1),),
    )
    state, model = replace(earlier.state, layout=layout), {"expert": (5, 4), "tower": (3,)}
    net = network(layout, **model)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    config = small_run().model.model_copy(update=model)
    with pytest.raises(ConfigError, match=r"^train.from: nothing of models:/small/1 fits this run"):
        carry_over(net, config, state, earlier)
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())


def learning_on(**train_: Any) -> RunConfig:
    return small_run(epochs=1, **{"from": URI, **train_})


@pytest.fixture
def found(
    dataset: PreparedDataset, yesterday: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What was asked for."""
    asked: list[str] = []
    earlier = EarlierModel(URI, dataset.state, yesterday.checkpoint)

    def find(uri: str, tracking: str) -> EarlierModel:
        asked.append(uri)
        return earlier

    monkeypatch.setattr(earlier_model, "find", find)
    return asked


def test_without_a_step_to_speak_of_it_scores_as_the_earlier_model_does(
    dataset: PreparedDataset, yesterday: TrainResult, found: list[str], tmp_path: Path
) -> None:
    run = learning_on()
    rates = {
        part: getattr(run.train, part).model_copy(update={"lr": 0.0})
        for part in ("dense", "sparse")
    }
    still = run.model_copy(update={"train": run.train.model_copy(update=rates)})
    now = evaluate(still, dataset, train(still, dataset, tmp_path).checkpoint)
    then = evaluate(small_run(), dataset, yesterday.checkpoint)
    # A regression counts by how much its exponential is too small, whatever the rate.
    for score in ("click", "like", "page.home", "page.feed", "page.search"):
        assert np.array_equal(now.column(f"score.{score}"), then.column(f"score.{score}"))
    assert found == [URI]
    assert (tmp_path / FROM).read_text().startswith(f"learning on from {URI}\ntable user: ")


def test_stopped_and_resumed_it_ends_with_the_same_bits_and_takes_nothing_again(
    dataset: PreparedDataset, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = learning_on(checkpoint_every=4)
    whole = train(run, dataset, tmp_path / "whole")
    after = Trainer._after_step

    def stop(trainer: Trainer) -> None:
        after(trainer)
        if trainer.step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_after_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(run, dataset, tmp_path / "stopped")
    resumed = train(run, dataset, tmp_path / "stopped", resume=True)
    assert found == [URI, URI]
    assert same_weights(resumed.checkpoint, whole.checkpoint)
    cold = train(small_run(epochs=1), dataset, tmp_path / "cold")
    assert not same_weights(cold.checkpoint, whole.checkpoint)


def test_the_first_of_several_phases_learns_on_and_each_later_one_goes_on_from_it(
    dataset: PreparedDataset, found: list[str], tmp_path: Path
) -> None:
    train(learning_on(pretrain={"tasks": ["click"]}), dataset, tmp_path)
    assert found == [URI]
    assert [file.parent.name for file in tmp_path.rglob(FROM)] == ["pretrain"]


SHARED = {"user": "row_wise", "item": "column_wise", "tag": "row_wise"}


def carry_over_in_two(rank: int, folder: Path, earlier: EarlierModel) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/two", rank=rank, world_size=2)
    run = small_run(tables={name: {"sharding": kind} for name, kind in SHARED.items()})
    state = with_values(earlier.state, shuffled)
    with process_group() as process:
        torch.manual_seed(1)
        model = distribute(Network(state.layout, run.model), run.train, process)
        checkpoint.save(folder, 0, {"model": model.state_dict()}, {}, process)
        carry_over(model, run.model, state, earlier)
        checkpoint.save(folder, 1, {"model": model.state_dict()}, {}, process)
    dist.destroy_process_group()


@pytest.mark.slow
def test_of_tables_that_processes_share_each_takes_its_rows_and_columns(
    earlier: EarlierModel, tmp_path: Path
) -> None:
    multiprocessing.spawn(carry_over_in_two, (tmp_path, earlier), nprocs=2)
    before, weights = (dict(load_weights(tmp_path / f"step-{step}")) for step in (0, 1))
    check_rows(weights, before, dict(load_weights(earlier.checkpoint)))
