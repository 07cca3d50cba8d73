"""Importance by permutation: what is ignored is worth 0, what is planted is found."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from fulcrum.features.errors import DataError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.rows import DENSE, PLACE, Lists
from fulcrum.models.network import Network
from fulcrum.pipelines.importance import permutation
from fulcrum.pipelines.importance.permutation import Importance, draw_rows, importance, shuffle
from fulcrum.pipelines.training.processes import process_group
from tests.pipelines.small_runs import small_run
from tests.prepared import LAYOUT, prepare

GROUPS = {
    "user": ("user",),
    "item": ("item",),
    "tags": ("tags",),
    "x": ("x",),
    "y": ("y",),
    "viewed": ("viewed.item", "viewed.age"),
}
ROWS = 900


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 300, "test": ROWS}, shards=1)


class Planted(nn.Module):
    """Knows the law of `tests.prepared`: clicks follow item and `x`, likes the user, watching `x`,
    and the page the item. It reads nothing else."""

    def forward(self, batch: Batch) -> tuple[None, dict[str, Tensor]]:
        user = batch.ids["user"].values()
        item = batch.sequences["item"].values()
        x = batch.dense[:, 0].double()
        click = torch.sigmoid(2.0 * (item % 2) - 1.5 + x)
        like = 0.2 + 0.6 * (user % 2)
        page = 0.1 + 0.7 * nn.functional.one_hot(item % 3, 3)
        scores = torch.column_stack([click, like, torch.expm1(x.abs()), page])
        return None, {"scores": scores, "row_losses": torch.zeros(len(x), 4)}


def measure(model: nn.Module, dataset: PreparedDataset, groups=GROUPS) -> Importance:
    with process_group() as process:
        return importance(model, dataset, "test", groups, process, lambda done: None)


@pytest.fixture(scope="module")
def planted(dataset: PreparedDataset) -> Importance:
    return measure(Planted(), dataset)


@pytest.mark.parametrize(
    ("task", "serving"),
    [
        ("click", ["x", "item"]),
        ("like", ["user"]),
        ("watch", ["x"]),
        ("page", ["item"]),
    ],
)
def test_a_task_loses_by_what_it_follows_from_and_exactly_nothing_by_all_else(
    planted, task, serving
):
    clear = [group for group in GROUPS if planted.drops[group][task].clear]
    assert sorted(clear) == sorted(serving)
    for group in set(GROUPS) - set(serving):
        loss = planted.drops[group][task]
        assert (loss.value, loss.low, loss.high) == (0, 0, 0)


def test_a_page_that_follows_from_the_item_is_then_right_by_chance(planted):
    """Three pages, nearly even: shuffled items hit a third."""
    assert planted.values["page"] == 1
    loss = planted.drops["item"]["page"]
    assert loss.value == pytest.approx(2 / 3, abs=0.05)
    assert loss.low < 2 / 3 < loss.high
    assert planted.share("item", "page") == 1


def test_groups_stand_by_what_they_serve(planted):
    ranked = planted.ranked()
    assert set(ranked[:3]) == {"x", "item", "user"}
    assert planted.metrics == {"click": "auc", "like": "auc", "watch": "rmse", "page": "accuracy"}


def test_neither_weights_of_zero_nor_a_constant_serve_a_network(tmp_path: Path):
    dataset = prepare(tmp_path, {"train": 300, "test": 200}, shards=1)
    [shard] = dataset.shards("test")
    pl.read_parquet(shard).with_columns(y=pl.lit(0.7, pl.Float32)).write_parquet(shard)
    network = Network(LAYOUT, small_run().model, tables_device=torch.device("cpu"))
    [tags] = [p for name, p in network.named_parameters() if name.endswith("tag.weight")]
    with torch.no_grad():
        tags.zero_()
    found = measure(network, dataset)
    for group, ignored in (("tags", True), ("y", True), ("x", False), ("viewed", False)):
        losses = [found.drops[group][task] for task in found.metrics]
        assert all(loss.value == loss.low == loss.high == 0 for loss in losses) is ignored, group


def test_rows_in_another_order_are_worth_the_same(planted, tmp_path: Path):
    dataset = prepare(tmp_path, {"train": 300, "test": ROWS}, shards=1)
    [shard] = dataset.shards("test")
    rows = pl.read_parquet(shard).sample(fraction=1.0, shuffle=True, seed=1)
    rows.write_parquet(shard, row_group_size=50)
    assert measure(Planted(), dataset) == planted


def test_a_group_is_worth_the_same_whichever_others_are_measured(planted, dataset):
    alone = measure(Planted(), dataset, {"x": ("x",)})
    for task, loss in alone.drops["x"].items():
        assert loss.value == planted.drops["x"][task].value


def test_a_group_moves_as_one_and_nothing_else_moves(dataset):
    cutter, columns = draw_rows(dataset, "test", ROWS)
    order = np.random.default_rng(0).permutation(ROWS)
    moved = shuffle(columns, cutter, GROUPS["viewed"], order)
    for name, column in columns.items():
        expected = lists(column, order) if name in GROUPS["viewed"] else lists(column)
        assert lists(moved[name]) == expected, name
    dense = shuffle(columns, cutter, ["x"], order)[DENSE]
    np.testing.assert_array_equal(dense[:, 0], columns[DENSE][order, 0])
    np.testing.assert_array_equal(dense[:, 1], columns[DENSE][:, 1])


def lists(column, order=None) -> list[object]:
    order = np.arange(len(column)) if order is None else order
    if isinstance(column, Lists):
        column = column.take(order)
        return [column[slice(r, r + 1)].values.tolist() for r in range(len(column))]
    return column[order].tolist()


def test_what_is_scored_is_bounded(dataset, monkeypatch):
    monkeypatch.setattr(permutation, "SCORED", 190)
    assert measure(Planted(), dataset).rows == 190 // (1 + permutation.REPEATS * len(GROUPS))


def test_a_part_of_the_rows_is_drawn_whole(dataset):
    _, some = draw_rows(dataset, "test", 100)
    _, everything = draw_rows(dataset, "test", 10 * ROWS)
    assert (len(some[PLACE]), len(everything[PLACE])) == (100, ROWS)
    for name in ("item", "viewed.age", "row.weight"):
        assert lists(some[name]) == lists(everything[name], np.arange(100))


def test_a_split_without_rows_is_told(dataset):
    with pytest.raises(DataError, match="split `valid` has no rows"):
        draw_rows(dataset, "valid", 10)
