"""Rows of a prepared data set as numpy columns, cut into batches without per-row work."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torchrec import KeyedJaggedTensor

from fulcrum.features.declared.session import SESSION
from fulcrum.features.layout import Input, Layout
from fulcrum.features.reading.batch import Batch, key_major
from fulcrum.features.reading.granularity import spread


@dataclass
class Lists:
    """A list of ids per row: row r holds `values[offsets[r]:offsets[r + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> "Lists":
        offsets = self.offsets[rows.start : rows.stop + 1]
        return Lists(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def take(self, rows: np.ndarray) -> "Lists":
        """The lists of the given rows, in that order."""
        lengths = np.diff(self.offsets)[rows]
        source = spread(self.offsets[rows], lengths)
        return Lists(self.values[source], np.concatenate([[0], np.cumsum(lengths)]))


Column = np.ndarray | Lists
Columns = dict[str, Column]
"""By input name; dense inputs, labels and observed masks are matrices, under the names below."""

DENSE, LABELS, OBSERVED = "row.dense", "row.labels", "row.observed"
PLACE = "row.place"
"""Column of a table that is read: the place of each row in its split, int64."""


class Cutter:
    """Reads rows of one layout from shards, and cuts batches from what it has read."""

    def __init__(self, layout: Layout, sessions: bool) -> None:
        """`sessions`: whether the shards say which session a row belongs to."""
        tasks = [task.name for task in layout.tasks]
        self.pooled, self.unpooled = layout.pooled, layout.unpooled
        inputs: list[Input] = [*layout.ids, *layout.bags, *layout.sequences]
        self.stacked = {
            DENSE: ([source.name for source in layout.dense], np.float32),
            LABELS: ([f"label.{task}" for task in tasks], np.float32),
            OBSERVED: ([f"observed.{task}" for task in tasks], np.bool_),
        }
        self.single = [*(source.name for source in inputs), "row.weight", "row.group"]
        self.sessions = sessions

    @property
    def names(self) -> list[str]:
        """Columns of a shard that batches are made of."""
        stacked = (name for names, _ in self.stacked.values() for name in names)
        return [*self.single, *stacked, *([SESSION] if self.sessions else [])]

    def read(self, table: pa.Table, rows: np.ndarray | None) -> Columns:
        """The columns of an Arrow table, `PLACE` among them; of the given rows only, in that order,
        unless None."""
        count = table.num_rows if rows is None else len(rows)
        single = [*self.single, PLACE, *([SESSION] if self.sessions else [])]
        columns: Columns = {name: _take(table.column(name), rows) for name in single}
        if not self.sessions:
            columns[SESSION] = np.zeros(count, np.int64)
        for target, (names, dtype) in self.stacked.items():
            columns[target] = matrix = np.empty((count, len(names)), dtype)
            for index, name in enumerate(names):
                matrix[:, index] = _take(table.column(name), rows)
        return columns

    def cut(self, columns: Columns, rows: slice) -> Batch:
        """Rows `rows.start` to `rows.stop` as a batch."""
        return Batch(
            ids=_jagged(self.pooled, columns, rows),
            sequences=_jagged(self.unpooled, columns, rows),
            dense=_tensor(columns[DENSE], rows),
            labels=_tensor(columns[LABELS], rows),
            observed=_tensor(columns[OBSERVED], rows),
            weight=_tensor(columns["row.weight"], rows),
            group=_tensor(columns["row.group"], rows),
            session=_tensor(columns[SESSION], rows),
            row=_tensor(columns[PLACE], rows),
        )


def join_columns(parts: Sequence[Columns]) -> Columns:
    """The same columns, the rows of each part behind those of the one before it."""
    if len(parts) == 1:
        return parts[0]
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _take(column: pa.ChunkedArray, rows: np.ndarray | None) -> Column:
    array = column.combine_chunks()
    if isinstance(array, pa.ListArray | pa.LargeListArray):
        lists = Lists(array.values.to_numpy(), array.offsets.to_numpy())
        return lists[slice(0, len(lists))] if rows is None else lists.take(rows)
    values = array.to_numpy(zero_copy_only=False)
    return values if rows is None else values[rows]


def _join(parts: Sequence[Column]) -> Column:
    lists = [part for part in parts if isinstance(part, Lists)]
    if not lists:
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    starts = np.cumsum([0, *(len(part.values) for part in lists)])
    ends = [part.offsets[1:] + start for part, start in zip(lists, starts, strict=False)]
    return Lists(
        np.concatenate([part.values for part in lists]), np.concatenate([np.zeros(1, int), *ends])
    )


def _tensor(column: Column, rows: slice) -> Tensor:
    """A copy, so that nobody's write reaches the rows that other batches are cut from."""
    return torch.from_numpy(np.array(column[rows]))


def _jagged(inputs: Sequence[Input], columns: Columns, rows: slice) -> KeyedJaggedTensor:
    ones = np.ones(rows.stop - rows.start, np.int32)
    values, lengths = [], []
    for source in inputs:
        column = columns[source.name][rows]
        if isinstance(column, Lists):
            values.append(column.values)
            lengths.append(np.diff(column.offsets))
        else:
            values.append(column)
            lengths.append(ones)
    return key_major([source.name for source in inputs], values, lengths)
