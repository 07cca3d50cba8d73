"""Prepared features as columns for trees.

number                    as it is
id from a vocabulary      an id: of up to `CATEGORIES` values a category, of more a target
                          statistic of each task (`boosting`)
id in an order            its rank, such as that of a quantile's bucket
list of ids               how many, and the first of them as an id
history                   how many events; of each attribute the last event's id, and how many
                          events have the row's own; how old the last event is
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fulcrum.features.declared.session import SESSION
from fulcrum.features.layout import NULL, Layout
from fulcrum.features.prepared.dataset import PreparedDataset

CATEGORIES = 256
"""Rows of the largest table whose ids are categories."""


@dataclass(frozen=True)
class TreeColumns:
    """What trees read of a layout."""

    numbers: tuple[pl.Expr, ...]
    """Float32; NaN is missing."""
    categories: tuple[pl.Expr, ...]
    """Ids of few values."""
    ids: tuple[pl.Expr, ...]
    """Ids of many."""

    @classmethod
    def of(cls, layout: Layout, vocabularies: Collection[str]) -> "TreeColumns":
        """`vocabularies` names the tables whose ids have no order."""
        numbers = [pl.col(source.name) for source in layout.dense]
        ids: list[tuple[pl.Expr, str]] = [(pl.col(i.name), i.table) for i in layout.ids]
        for bag in layout.bags:
            column = pl.col(bag.name).list
            numbers.append(column.len().alias(f"{bag.name}.count"))
            ids.append((column.first().fill_null(NULL), bag.table))
        lengths: set[str] = set()
        for source in layout.sequences:
            column = pl.col(source.name).list
            if source.history not in lengths:
                lengths.add(source.history)
                numbers.append(column.len().alias(f"{source.history}.count"))
            ids.append((column.last().fill_null(NULL), source.table))
            if source.query is not None:
                own = (pl.col(source.name) - pl.col(source.query)).list.count_matches(0)
                numbers.append(own.alias(f"{source.name}.own"))
        sizes = {table.name: table.rows for table in layout.tables}
        for single, table in ids:
            if table not in vocabularies:
                numbers.append(pl.when(single != NULL).then(single))
        known = [(column, sizes[table]) for column, table in ids if table in vocabularies]
        return cls(
            tuple(column.cast(pl.Float32) for column in numbers),
            tuple(column for column, size in known if size <= CATEGORIES),
            tuple(column for column, size in known if size > CATEGORIES),
        )

    def __len__(self) -> int:
        return len(self.numbers) + len(self.categories) + len(self.ids)


@dataclass(frozen=True)
class Rows:
    """Rows of a split, in file order."""

    plain: np.ndarray
    """`(rows, numbers + categories)` float32."""
    categories: range
    """Places of the categories among them."""
    ids: np.ndarray
    """`(rows, ids)` int32."""
    labels: np.ndarray
    """`(rows, tasks)`."""
    observed: np.ndarray
    """`(rows, tasks)` bool."""
    weight: np.ndarray
    group: np.ndarray
    session: np.ndarray


def read_rows(dataset: PreparedDataset, split: str, columns: TreeColumns) -> Rows:
    """All rows of a split."""
    tasks = [task.name for task in dataset.state.layout.tasks]
    scan = pl.scan_parquet(dataset.shards(split), glob=False)
    if SESSION not in scan.collect_schema():
        scan = scan.with_columns(pl.lit(0, pl.Int64).alias(SESSION))
    labels, observed = ([f"{what}.{task}" for task in tasks] for what in ("label", "observed"))
    of_rows = [*labels, *observed, "row.weight", "row.group", SESSION]
    plain = [column.cast(pl.Float32) for column in (*columns.numbers, *columns.categories)]
    frame = scan.select(*plain, *columns.ids, *of_rows).collect()
    names = frame.columns
    weight, group, session = (frame[name].to_numpy() for name in of_rows[-3:])
    return Rows(
        _matrix(frame, names[: len(plain)], np.float32),
        range(len(columns.numbers), len(plain)),
        _matrix(frame, names[len(plain) : len(columns)], np.int32),
        _matrix(frame, labels, np.float64),
        _matrix(frame, observed, np.bool_),
        weight,
        group,
        session,
    )


def _matrix(frame: pl.DataFrame, names: Sequence[str], dtype: type) -> np.ndarray:
    """`(rows, names)`, though there be no name."""
    matrix: np.ndarray = np.empty((len(frame), len(names)), dtype)
    for place, name in enumerate(names):
        matrix[:, place] = frame[name].to_numpy()
    return matrix
