"""Columns that grow in place, in which blocks of places are taken and given back."""

import os
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile

import numpy as np
import polars as pl

from fulcrum.features.past.events import Arrays

FIRST_SIZE = 1024


class Arena:
    """Numbers lie in NumPy arrays, in memory or mapped from files; values of other types, and
    numbers among which there is a null, are Python objects in memory."""

    def __init__(self, schema: Mapping[str, pl.DataType], mapped: bool = False) -> None:
        """Without a place yet; the files are temporary ones that have no name."""
        self._schema = dict(schema)
        self._mapped = mapped
        self._size, self._used = 0, 0
        self._given: dict[int, list[int]] = {}
        self._objects: dict[str, np.ndarray] = {}
        self._rows: dict[str, tuple[np.dtype, int]] = {}
        kinds: dict[np.dtype, int] = {}
        for name, dtype in schema.items():
            if not is_number(dtype):
                self._objects[name] = np.empty(0, object)
                continue
            kind = pl.Series(dtype=dtype).to_numpy().dtype
            self._rows[name] = kind, kinds.get(kind, 0)
            kinds[kind] = kinds.get(kind, 0) + 1
        self._tables = {kind: np.empty((rows, 0), kind) for kind, rows in kinds.items()}
        """All columns of a type are the rows of one array."""
        self._view: tuple[pl.DataFrame, Arrays] | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        """A column, places behind those taken included."""
        if name in self._objects:
            return self._objects[name]
        kind, row = self._rows[name]
        return self._tables[kind][row]

    def part(self, names: Sequence[str]) -> np.ndarray:
        """Columns of numbers [names, places] that have one type and follow each other among those
        of this type."""
        if not names:
            return np.empty((0, self._size))
        kind, row = self._rows[names[0]]
        return self._tables[kind][row : row + len(names)]

    @property
    def used(self) -> int:
        """Places that were ever taken."""
        return self._used

    def take(self, count: int) -> int:
        """The first of `count` places in a row, whose values are anything."""
        if given := self._given.get(count):
            return given.pop()
        first, self._used = self._used, self._used + count
        if self._used > self._size:
            self._grow(first)
        return first

    def give(self, first: int, count: int) -> None:
        """Places that were taken as one, which the next who takes so many gets."""
        self._given.setdefault(count, []).append(first)

    def write(self, name: str, first: int, values: np.ndarray) -> None:
        """Values from a place on; objects in a column of numbers make it one of objects."""
        if name not in self._objects and values.dtype == object:
            self._objects[name] = self[name].astype(object)
        if name in self._objects:
            self._view = None
        self[name][first : first + len(values)] = values

    def copy(self, first: int, last: int, to: int) -> None:
        """The values of some places to others."""
        for table in (*self._tables.values(), *self._objects.values()):
            table[..., to : to + last - first] = table[..., first:last]

    def view(self) -> tuple[pl.DataFrame, Arrays]:
        """All places; numbers are seen in it as they change."""
        import pyarrow as pa

        if self._view is None:
            frame = pl.DataFrame(
                [
                    pl.Series(name, self[name].tolist(), dtype)
                    if name in self._objects
                    else pl.Series(name, pl.from_arrow(pa.array(self[name])))
                    for name, dtype in self._schema.items()
                ]
            )
            self._view = frame, Arrays(frame)
        return self._view

    def _grow(self, used: int) -> None:
        """Pages that are never touched take no memory."""
        self._size = max(FIRST_SIZE, self._used + self._used // 2)
        for kind, table in self._tables.items():
            self._tables[kind] = self._larger(table)
            self._tables[kind][:, :used] = table[:, :used]
        for name, column in self._objects.items():
            self._objects[name] = np.empty(self._size, object)
            self._objects[name][:used] = column[:used]
        self._view = None

    def _larger(self, table: np.ndarray) -> np.ndarray:
        shape = len(table), self._size
        if not self._mapped:
            return np.empty(shape, table.dtype)
        with TemporaryFile() as file:
            # A full disk is said here, not by a signal when a page is written.
            os.posix_fallocate(file.fileno(), 0, len(table) * self._size * table.itemsize)
            return np.memmap(file, table.dtype, "r+", shape=shape)


def is_number(dtype: pl.DataType) -> bool:
    """Whether values that are no null lie in arrays of NumPy."""
    return dtype.is_integer() or dtype.is_float()
