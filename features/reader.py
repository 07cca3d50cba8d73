"""Streams a split of a prepared data set as batches: shuffled, sharded by rank, resumable.

An epoch is cut into `ceil(rows / batch_size)` steps. Every rank takes an equal run of the epoch's
rows and cuts it into the same number of batches, so every row is read exactly once, no rank waits
for another, and batches differ by at most one row: none is dropped, padded or left over.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.batch import Batch
from features.dataset import PreparedDataset
from features.errors import ConfigError, DataError, StateError
from features.layout import Layout
from features.prefetch import prefetch
from features.rows import Columns, Cutter, join_columns

BUFFER_ROWS = 131_072
"""Rows read and shuffled at a time; rounded up to whole row groups."""
AHEAD = 8
"""Batches made ahead of the training thread."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a shard."""

    shard: Path
    index: int
    rows: int


@dataclass(frozen=True)
class Part:
    """Places `start` to `stop` of a row group's rows, in the epoch's order of them."""

    number: int
    start: int
    stop: int


class Reader:
    """Iterating gives the rest of the current epoch; iterating again, the next epoch.

    With `shuffle` the order depends on seed and epoch alone: row groups are dealt in random order,
    then rows are shuffled within buffers of `BUFFER_ROWS`. Without, it is file order: the batches
    of rank 0, then those of rank 1 and so on, are the rows as they lie in the files.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        split: str,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        """`batch_size` is summed over ranks. Raises ConfigError when it is no multiple of the
        number of ranks, DataError when the split has fewer rows than ranks."""
        if batch_size % world:
            raise ConfigError(
                f"train.batch_size: {batch_size} does not divide by {world} processes"
            )
        self.layout: Layout = dataset.state.layout
        self.cutter = Cutter(self.layout)
        self.seed, self.shuffle, self.rank, self.world = seed, shuffle, rank, world
        self.pin_memory = pin_memory
        self.groups = [group for shard in dataset.shards(split) for group in _row_groups(shard)]
        self.rows = sum(group.rows for group in self.groups)
        if self.rows < world:
            raise DataError(f"split `{split}` has {self.rows} rows for {world} processes")
        self.steps = min(-(-self.rows // batch_size), self.rows // world)
        self.position = 0

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return self.steps

    def __iter__(self) -> Generator[Batch, None, None]:
        for batch in prefetch(self._batches(*divmod(self.position, self.steps)), AHEAD):
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The position behind the batches handed out so far, whatever was read ahead."""
        return {"position": self.position, "steps": self.steps, "world": self.world}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another reader of the same rows stood. Raises StateError when the epoch is
        cut in another way."""
        for name, own in (("steps", self.steps), ("world", self.world)):
            if state[name] != own:
                raise StateError(
                    f"the reader stood at a position with {name} = {state[name]}, but has {own} now"
                )
        self.position = state["position"]

    def _batches(self, epoch: int, step: int) -> Iterator[Batch]:
        """This rank's batches of an epoch from `step` on."""
        blocks = self._blocks(epoch)
        rows = sum(part.stop - part.start for block in blocks for part in block)
        edges = [rows * index // self.steps for index in range(self.steps + 1)]
        position = 0
        kept: list[Columns] = []
        for number, block in enumerate(blocks):
            end = position + sum(part.stop - part.start for part in block)
            if end > edges[step]:
                kept.append(self._read(block, epoch, number))
                columns = join_columns(kept)
                first = end - len(columns["row.weight"])
                while step < self.steps and edges[step + 1] <= end:
                    batch = self.cutter.cut(
                        columns, slice(edges[step] - first, edges[step + 1] - first)
                    )
                    yield batch.pin_memory() if self.pin_memory else batch
                    step += 1
                kept = [
                    {
                        name: column[edges[step] - first : end - first]
                        for name, column in columns.items()
                    }
                ]
            position = end

    def _blocks(self, epoch: int) -> list[list[Part]]:
        """This rank's rows of an epoch, in buffers that are read and shuffled together."""
        order = np.arange(len(self.groups))
        if self.shuffle:
            order = self._random(epoch, 1).permutation(order)
        ends = np.cumsum([self.groups[number].rows for number in order])
        start, stop = (self.rows * rank // self.world for rank in (self.rank, self.rank + 1))
        blocks: list[list[Part]] = [[]]
        size = 0
        for number, end in zip(order.tolist(), ends.tolist(), strict=True):
            begin = end - self.groups[number].rows
            if min(end, stop) <= max(begin, start):
                continue
            if size >= BUFFER_ROWS:
                blocks.append([])
                size = 0
            part = Part(number, max(begin, start) - begin, min(end, stop) - begin)
            blocks[-1].append(part)
            size += part.stop - part.start
        return blocks

    def _read(self, block: list[Part], epoch: int, number: int) -> Columns:
        """The rows of a block, in the order in which they are dealt."""
        tables = []
        for part in block:
            table = _read_group(self.groups[part.number], self.cutter.names)
            if part.stop - part.start < table.num_rows:
                rows = np.arange(table.num_rows)
                if self.shuffle:
                    rows = self._random(epoch, 2, part.number).permutation(rows)
                table = table.take(pa.array(rows[part.start : part.stop]))
            tables.append(table)
        table = pa.concat_tables(tables)
        if not self.shuffle:
            return self.cutter.read(table, None)
        rows = self._random(epoch, 3, self.rank, number).permutation(table.num_rows)
        return self.cutter.read(table, rows)

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed & 0xFFFFFFFF, *key])


def _row_groups(shard: Path) -> list[RowGroup]:
    try:
        metadata = pq.read_metadata(shard)
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"{shard}: not a readable shard: {error}") from error
    return [
        RowGroup(shard, index, metadata.row_group(index).num_rows)
        for index in range(metadata.num_row_groups)
    ]


def _read_group(group: RowGroup, columns: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(group.shard, memory_map=True) as file:
            return file.read_row_group(group.index, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"{group.shard}: row group {group.index} unreadable: {error}") from error
