"""What is counted of a split in the pass that writes it: for its manifest, for drift and advice."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from fulcrum.features.layout import BagInput, Layout, SequenceInput
from fulcrum.features.prepared.alone import columns
from fulcrum.features.prepared.stage import NOBODY

MISSING = "missing."
"""Before the names of the columns that say where a feature has no value; counted, not written."""
DRIFT_ROWS = 100_000
"""Rows of a split that the deciles of numbers are taken from."""
ADVICE_ROWS = 20_000
"""Rows of a split in which features that tell a label are sought."""


class Sample:
    """Every n-th row of a split of `rows`, from the first, some `size` of them or all."""

    def __init__(self, columns: Sequence[str], rows: int, size: int) -> None:
        self._columns, self._step, self._skip = columns, max(1, rows // size), 0
        self._parts: list[pl.DataFrame] = []

    @property
    def frame(self) -> pl.DataFrame:
        """The rows so far."""
        return pl.concat(self._parts)

    def add(self, block: pl.DataFrame) -> None:
        self._parts.append(block.select(self._columns).gather_every(self._step, self._skip))
        self._skip = (self._skip - len(block)) % self._step


class Tally:
    """Of the encoded rows of one split, block after block."""

    def __init__(self, layout: Layout, rows: int) -> None:
        """`rows` are to come."""
        self._layout = layout
        self._sizes = {table.name: table.rows for table in layout.tables}
        self.missing: Counter[str] = Counter()
        """Rows without a value, by feature."""
        self.nobody = 0
        """Rows in no group."""
        self.uses: dict[str, np.ndarray] = {}
        """By input of ids, uses of each id, int64 `(rows of its table,)`; for lists, the number of
        empty ones behind them."""
        self.longest: Counter[str] = Counter()
        """Length of the longest list, by input."""
        self._ranges: dict[str, tuple[float, float]] = {}
        dense = [source.name for source in layout.dense]
        self.numbers = Sample(dense, rows, DRIFT_ROWS)
        """Dense inputs."""
        self.examples = Sample(columns(layout), rows, ADVICE_ROWS)
        """What tells whether a feature alone tells a label."""

    def add(self, block: pl.DataFrame) -> None:
        """Encoded rows with the flags of `MISSING`."""
        flags = [name for name in block.columns if name.startswith(MISSING)]
        for flag in flags:
            self.missing[flag.removeprefix(MISSING)] += int(block[flag].sum())
        self.nobody += int((block["row.group"] == NOBODY).sum())
        for one in self._layout.ids:
            self._use(one.name, _count(block[one.name], self._sizes[one.table]))
        lists: tuple[BagInput | SequenceInput, ...] = (
            *self._layout.bags,
            *self._layout.sequences,
        )
        for several in lists:
            members = block[several.name]
            lengths = members.list.len().to_numpy()
            uses = _count(members.explode(empty_as_null=False), self._sizes[several.table])
            self._use(several.name, np.append(uses, (lengths == 0).sum()))
            self.longest[several.name] = max(self.longest[several.name], int(lengths.max()))
        for number in self._layout.dense:
            values = block[number.name].to_numpy()
            low, high = self._ranges.get(number.name, (np.inf, -np.inf))
            self._ranges[number.name] = (
                min(low, float(values.min())),
                max(high, float(values.max())),
            )
        self.numbers.add(block)
        self.examples.add(block)

    def is_constant(self, name: str) -> bool:
        """Whether an input with one value a row has the same in all."""
        if name in self._ranges:
            low, high = self._ranges[name]
            return low == high
        return np.count_nonzero(self.uses[name]) == 1

    def _use(self, name: str, counts: np.ndarray) -> None:
        self.uses[name] = self.uses.get(name, 0) + counts


def _count(ids: pl.Series, size: int) -> np.ndarray:
    return np.bincount(ids.to_numpy(), minlength=size)
