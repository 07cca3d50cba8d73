"""Rows of a prepared data set as numpy columns, cut into batches without per-row work."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torchrec import KeyedJaggedTensor

from features.batch import Batch, key_major
from features.layout import Input, Layout


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
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Lists(self.values[source], offsets)


Column = np.ndarray | Lists


def columns_of(layout: Layout) -> list[str]:
    """Columns of a prepared shard that a batch is made of."""
    tasks = [task.name for task in layout.tasks]
    return [
        *(source.name for source in layout.inputs),
        *(f"label.{task}" for task in tasks),
        *(f"observed.{task}" for task in tasks),
        "row.weight",
        "row.group",
    ]


def read_columns(table: pa.Table, rows: np.ndarray | None) -> dict[str, Column]:
    """The columns of an Arrow table; of the given rows only, in that order, unless None."""
    columns: dict[str, Column] = {}
    for name, chunks in zip(table.column_names, table.columns, strict=True):
        array = chunks.combine_chunks()
        if isinstance(array, pa.ListArray | pa.LargeListArray):
            lists = Lists(array.values.to_numpy(), array.offsets.to_numpy())
            columns[name] = lists if rows is None else lists.take(rows)
        else:
            values = array.to_numpy(zero_copy_only=False)
            columns[name] = values if rows is None else values[rows]
    return columns


def join_columns(parts: Sequence[dict[str, Column]]) -> dict[str, Column]:
    """The same columns, the rows of each part behind those of the one before it."""
    if len(parts) == 1:
        return parts[0]
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _join(parts: Sequence[Column]) -> Column:
    lists = [part for part in parts if isinstance(part, Lists)]
    if not lists:
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    starts = np.cumsum([0, *(len(part.values) for part in lists)])
    return Lists(
        np.concatenate([part.values for part in lists]),
        np.concatenate(
            [
                [0],
                *(part.offsets[1:] + start for part, start in zip(lists, starts, strict=False)),
            ]
        ),
    )


def cut_batch(layout: Layout, columns: dict[str, Column], rows: slice) -> Batch:
    """Rows `rows.start` to `rows.stop` of the columns as a batch."""
    tasks = [task.name for task in layout.tasks]
    return Batch(
        ids=_jagged(layout.pooled, columns, rows),
        sequences=_jagged(layout.unpooled, columns, rows),
        dense=_stack([source.name for source in layout.dense], columns, rows, np.float32),
        labels=_stack([f"label.{task}" for task in tasks], columns, rows, np.float32),
        observed=_stack([f"observed.{task}" for task in tasks], columns, rows, np.bool_),
        weight=torch.from_numpy(np.array(columns["row.weight"][rows], np.float32)),
        group=torch.from_numpy(np.array(columns["row.group"][rows], np.int64)),
    )


def _stack(names: list[str], columns: dict[str, Column], rows: slice, dtype: type) -> Tensor:
    stacked = np.empty((rows.stop - rows.start, len(names)), dtype)
    for index, name in enumerate(names):
        stacked[:, index] = columns[name][rows]
    return torch.from_numpy(stacked)


def _jagged(inputs: Sequence[Input], columns: dict[str, Column], rows: slice) -> KeyedJaggedTensor:
    values, lengths = [], []
    for source in inputs:
        column = columns[source.name][rows]
        if isinstance(column, Lists):
            values.append(column.values)
            lengths.append(np.diff(column.offsets))
        else:
            values.append(column)
            lengths.append(np.ones(len(column), np.int32))
    return key_major([source.name for source in inputs], values, lengths)
