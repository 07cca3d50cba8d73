"""A prepared data set made on the spot: the columns of the contract, without a feature step."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.layout import (
    BagInput,
    DenseInput,
    IdInput,
    Layout,
    SequenceInput,
    TableSpec,
    TaskSpec,
)
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.manifest import Manifest, Shard, SplitFacts, checksum
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.state import FeatureState

LAYOUT = Layout(
    tables=(
        TableSpec(name="user", rows=52),
        TableSpec(name="item", rows=102),
        TableSpec(name="tag", rows=12),
        TableSpec(name="viewed.age", rows=10),
    ),
    ids=(
        IdInput(kind="id", name="user", table="user"),
        IdInput(kind="id", name="item", table="item"),
    ),
    bags=(BagInput(kind="bag", name="tags", table="tag", max_length=3),),
    dense=(DenseInput(kind="dense", name="x"), DenseInput(kind="dense", name="y")),
    sequences=(
        SequenceInput(
            kind="sequence",
            name="viewed.item",
            table="item",
            history="viewed",
            query="item",
            max_length=4,
        ),
        SequenceInput(
            kind="sequence",
            name="viewed.age",
            table="viewed.age",
            history="viewed",
            query=None,
            max_length=4,
        ),
    ),
    tasks=(
        TaskSpec(name="click", kind="binary", rate=0.4),
        TaskSpec(name="like", kind="binary", given="click", rate=0.2),
        TaskSpec(name="watch", kind="regression", transform="log1p", mean=0.7, std=0.5),
        TaskSpec(name="page", kind="multiclass", classes=("home", "feed", "search")),
    ),
)
"""Every kind of input and of task."""


def rows(count: int, seed: int = 0) -> pl.DataFrame:
    """Rows of `LAYOUT` whose labels follow from the item and `x`, with noise; `x` of row r, when
    read back from `row.key.n`, tells which row a batch holds."""
    random = np.random.default_rng(seed)
    user, item = random.integers(2, 52, count), random.integers(2, 102, count)
    x = random.standard_normal(count)
    chance = 1 / (1 + np.exp(-(2.0 * (item % 2) - 1.5 + x)))
    click = random.random(count) < chance
    like = click & (random.random(count) < 0.2 + 0.6 * (user % 2))
    lengths = random.integers(0, 5, count)

    def lists(high: int, sizes: np.ndarray) -> pl.Series:
        return pl.Series(
            [random.integers(2, high, size).tolist() for size in sizes], dtype=pl.List(pl.Int32)
        )

    return pl.DataFrame(
        {
            "user": pl.Series(user, dtype=pl.Int32),
            "item": pl.Series(item, dtype=pl.Int32),
            "tags": lists(12, random.integers(0, 4, count)),
            "x": pl.Series(x, dtype=pl.Float32),
            "y": pl.Series(random.standard_normal(count), dtype=pl.Float32),
            "viewed.item": lists(102, lengths),
            "viewed.age": lists(10, lengths),
            "label.click": pl.Series(click, dtype=pl.Float32),
            "observed.click": pl.Series(np.ones(count, bool)),
            "label.like": pl.Series(like, dtype=pl.Float32),
            "observed.like": pl.Series(random.random(count) < 0.9),
            "label.watch": pl.Series(np.expm1(np.abs(x)) * click, dtype=pl.Float32),
            "observed.watch": pl.Series(click),
            "label.page": pl.Series((item % 3), dtype=pl.Float32),
            "observed.page": pl.Series(np.ones(count, bool)),
            "row.weight": pl.Series(random.uniform(0.5, 1.5, count), dtype=pl.Float32),
            "row.group": pl.Series(user, dtype=pl.Int64),
            "row.key.n": pl.Series(np.arange(count), dtype=pl.Int64),
        }
    )


def sessions(count: int, seed: int = 0) -> pl.Series:
    """`row.session` of rows whose sessions are runs of 1 to 6 of them, numbered in no order."""
    random = np.random.default_rng([2, seed])
    lengths = random.integers(1, 7, count)
    return pl.Series("row.session", np.repeat(random.permutation(count), lengths)[:count])


def prepare(
    folder: Path,
    splits: dict[str, int],
    *,
    shards: int = 2,
    group: int = 64,
    layout: Layout = LAYOUT,
    with_sessions: bool = False,
) -> PreparedDataset:
    """Write splits of the given sizes in `shards` files with row groups of `group` rows; `layout`
    may leave out inputs of `LAYOUT`. Rows tell their session only when asked to."""
    facts = {}
    for seed, (split, count) in enumerate(splits.items()):
        frame = rows(count, seed)
        if with_sessions:
            frame = frame.with_columns(sessions(count, seed))
        (folder / split).mkdir(parents=True, exist_ok=True)
        edges = [count * shard // shards for shard in range(shards + 1)]
        files = [folder / split / f"{shard:05}.parquet" for shard in range(shards)]
        for path, start, stop in zip(files, edges, edges[1:], strict=False):
            frame[start:stop].write_parquet(path, row_group_size=group)
        facts[split] = SplitFacts(
            rows=count,
            shards=tuple(_shard(folder, path) for path in files),
            positives={},
            observed={},
            missing={},
        )
    fingerprint = "0123456789abcdef"
    state = FeatureState(
        FeatureSpec(data=DataConfig(events="events.parquet"), features={}, tasks={}),
        layout,
        row_columns={},
        past_columns={},
        tables={},
        lookups={},
        learned={},
        bases={},
        fingerprint=fingerprint,
    )
    state.save(folder / "state")
    Manifest(
        fingerprint=fingerprint,
        inputs=(),
        split="order",
        boundaries={},
        rows_read=sum(splits.values()),
        rows_dropped={},
        columns={},
        splits=facts,
    ).save(folder)
    return PreparedDataset.open(folder)


def _shard(folder: Path, path: Path) -> Shard:
    return Shard(
        name=str(path.relative_to(folder)),
        rows=pq.read_metadata(path).num_rows,
        bytes=path.stat().st_size,
        sha256=checksum(path),
    )
