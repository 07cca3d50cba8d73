"""Streams a split of a prepared data set as batches: shuffled, sharded by rank, resumable.

An epoch is cut into `ceil(rows / batch_size)` steps. Every rank takes an equal run of the epoch's
rows and cuts it into the same number of batches, so every row is read exactly once, no rank waits
for another, and batches differ by at most one row: none is dropped, padded or left over.

What is dealt is units: rows, or whole sessions, of which runs and batches are then as equal in rows
as whole sessions allow.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fulcrum.features.declared.session import SESSION
from fulcrum.features.errors import ConfigError, DataError, StateError
from fulcrum.features.layout import Layout
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.granularity import Run, deal, places, row_runs, session_runs
from fulcrum.features.reading.prefetch import prefetch
from fulcrum.features.reading.rows import PLACE, Columns, Cutter, join_columns

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
    """Units of one run, in the order in which ranks share them out."""

    number: int
    """Of the run."""
    units: np.ndarray | None
    """Their places in the run; None for all of them as they lie."""
    sizes: np.ndarray
    """Rows of each."""

    @property
    def rows(self) -> int:
        return int(self.sizes.sum())


Block = list[Part]
"""What is read and shuffled together."""


class Reader:
    """Iterating gives the rest of the current epoch; iterating again, the next epoch.

    With `shuffle` the order depends on seed and epoch alone: row groups are dealt in random order,
    then rows are shuffled within buffers of `BUFFER_ROWS`. Without, it is file order: the batches
    of rank 0, then those of rank 1 and so on, are the rows as they lie in the files.

    With `sessions` the same is done with whole sessions: the rows of one are neighbours in one
    batch, in time order.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        split: str,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        sessions: bool = False,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        """`batch_size` is summed over ranks. Raises ConfigError when it is no multiple of the
        number of ranks or when the data have no sessions to read, DataError when the split has
        fewer units than ranks."""
        if batch_size % world:
            raise ConfigError(
                f"train.batch_size: {batch_size} does not divide by {world} processes"
            )
        self.layout: Layout = dataset.state.layout
        self.seed, self.shuffle, self.rank, self.world = seed, shuffle, rank, world
        self.pin_memory = pin_memory
        shards = [_row_groups(shard) for shard in dataset.shards(split)]
        self.groups = [group for groups, _ in shards for group in groups if group.rows]
        self.cutter = Cutter(self.layout, any(SESSION in columns for _, columns in shards))
        self.edges = np.cumsum([0, *(group.rows for group in self.groups)])
        self.rows = int(self.edges[-1])
        self.runs = self._runs(sessions)
        self.units = sum(len(run.sizes) for run in self.runs)
        if self.units < world:
            what = "sessions" if sessions else "rows"
            raise DataError(f"split `{split}` has {self.units} {what} for {world} processes")
        self.steps = min(-(-self.rows // batch_size), self.units // world)
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
        for name, now in (("steps", self.steps), ("world", self.world)):
            if state[name] != now:
                raise StateError(
                    f"the reader stood at a position with {name} = {state[name]}, but has {now} now"
                )
        self.position = state["position"]

    def _runs(self, sessions: bool) -> list[Run]:
        edges = self.edges.tolist()
        if not sessions:
            return row_runs(edges)
        if self.rows and not self.cutter.sessions:
            raise ConfigError(
                "data.session: the prepared data have no sessions; say whose they are, for example "
                "`session: {key: user_id}`, and prepare again"
            )
        tables = (_read_group(group, [SESSION], group.rows) for group in self.groups)
        return session_runs(edges, (table.column(SESSION).to_numpy() for table in tables))

    def _batches(self, epoch: int, step: int) -> Iterator[Batch]:
        """This rank's batches of an epoch from `step` on."""
        blocks = self._blocks(epoch)
        edges = self._batch_edges(blocks, epoch)
        position = 0
        parts: list[Columns] = []
        for number, block in enumerate(blocks):
            end = position + sum(part.rows for part in block)
            if end > edges[step]:
                parts.append(self._read(block, epoch, number))
                columns = join_columns(parts)
                first = end - len(columns["row.weight"])
                while step < self.steps and edges[step + 1] <= end:
                    batch = self.cutter.cut(
                        columns, slice(edges[step] - first, edges[step + 1] - first)
                    )
                    yield batch.pin_memory() if self.pin_memory else batch
                    step += 1
                parts = [
                    {
                        name: column[edges[step] - first : end - first]
                        for name, column in columns.items()
                    }
                ]
            position = end

    def _batch_edges(self, blocks: list[Block], epoch: int) -> list[int]:
        """Places in this rank's rows where its batches begin and end."""
        if self.units == self.rows:
            rows = sum(part.rows for block in blocks for part in block)
            return [rows * index // self.steps for index in range(self.steps + 1)]
        orders = [self._order(block, epoch, number) for number, block in enumerate(blocks)]
        sizes = np.concatenate([_sizes(b)[order] for b, order in zip(blocks, orders, strict=True)])
        ends = np.append(0, np.cumsum(sizes))
        return ends[deal(sizes, self.steps)].tolist()

    def _blocks(self, epoch: int) -> list[Block]:
        """This rank's units of an epoch."""
        order = np.arange(len(self.runs))
        if self.shuffle:
            order = self._random(epoch, 1).permutation(order)
        numbers = order.tolist()
        start, stop = self._share(numbers, epoch)
        blocks: list[Block] = [[]]
        size = begin = 0
        for number in numbers:
            end = begin + len(self.runs[number].sizes)
            if min(end, stop) > max(begin, start):
                if size >= BUFFER_ROWS:
                    blocks.append([])
                    size = 0
                part = self._part(number, epoch, max(begin, start) - begin, min(end, stop) - begin)
                blocks[-1].append(part)
                size += part.rows
            begin = end
        return blocks

    def _share(self, numbers: list[int], epoch: int) -> tuple[int, int]:
        """Where this rank's units begin and end among those of the runs, in the order given."""
        if self.units == self.rows:
            return self.rows * self.rank // self.world, self.rows * (self.rank + 1) // self.world
        sizes = [self.runs[number].sizes[self._within(number, epoch)] for number in numbers]
        edges = deal(np.concatenate(sizes), self.world, self.steps)
        return int(edges[self.rank]), int(edges[self.rank + 1])

    def _part(self, number: int, epoch: int, start: int, stop: int) -> Part:
        sizes = self.runs[number].sizes
        if stop - start == len(sizes):
            return Part(number, None, sizes)
        units = self._within(number, epoch)[start:stop]
        return Part(number, units, sizes[units])

    def _within(self, number: int, epoch: int) -> np.ndarray:
        """The units of a run in the order in which ranks share them out."""
        units = np.arange(len(self.runs[number].sizes))
        return self._random(epoch, 2, number).permutation(units) if self.shuffle else units

    def _order(self, block: Block, epoch: int, number: int) -> np.ndarray:
        """The units of a block in the order in which they are dealt."""
        units = np.arange(sum(len(part.sizes) for part in block))
        if not self.shuffle:
            return units
        return self._random(epoch, 3, self.rank, number).permutation(units)

    def _read(self, block: Block, epoch: int, number: int) -> Columns:
        """The rows of a block, in the order in which they are dealt."""
        tables = []
        for part in block:
            run = self.runs[part.number]
            table = self._table(run)
            if part.units is not None:
                table = table.take(pa.array(places(run.sizes, part.units)))
            tables.append(table)
        table = pa.concat_tables(tables)
        if not self.shuffle:
            return self.cutter.read(table, None)
        rows = places(_sizes(block), self._order(block, epoch, number))
        return self.cutter.read(table, rows)

    def _table(self, run: Run) -> pa.Table:
        """The rows of a run; its last ones may lie in further row groups."""
        first = int(np.searchsorted(self.edges, run.start, "right")) - 1
        tables = []
        for group, edge in zip(self.groups[first:], self.edges[first:].tolist(), strict=False):
            if edge >= run.stop:
                break
            tables.append(_read_group(group, self.cutter.names, run.stop - edge))
        table = pa.concat_tables(tables).slice(run.start - int(self.edges[first]), run.rows)
        return table.append_column(PLACE, pa.array(np.arange(run.start, run.stop)))

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed & 0xFFFFFFFF, *key])


def _sizes(block: Block) -> np.ndarray:
    """Rows of each unit of a block, as they are read."""
    return np.concatenate([part.sizes for part in block])


def _row_groups(shard: Path) -> tuple[list[RowGroup], list[str]]:
    """Of a shard, and the names of its columns."""
    try:
        metadata = pq.read_metadata(shard)
        columns = metadata.schema.to_arrow_schema().names
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"{shard}: not a readable shard: {error}") from error
    groups = [
        RowGroup(shard, index, metadata.row_group(index).num_rows)
        for index in range(metadata.num_row_groups)
    ]
    return groups, columns


def _read_group(group: RowGroup, columns: list[str], rows: int) -> pa.Table:
    """The first rows of a row group; no more of it than needed is decoded."""
    try:
        with pq.ParquetFile(group.shard, memory_map=True) as file:
            if rows >= group.rows:
                return file.read_row_group(group.index, columns=columns)
            batches = file.iter_batches(rows, row_groups=[group.index], columns=columns)
            return pa.Table.from_batches([next(batches)])
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"{group.shard}: row group {group.index} unreadable: {error}") from error
