"""Columns that grow in place, in which blocks of places are taken and given back."""

import os
from collections.abc import Mapping
from tempfile import TemporaryFile

import numpy as np
import polars as pl

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
        self.columns = {name: np.empty(0, _dtype(dtype)) for name, dtype in schema.items()}
        """By name, places behind those taken among them."""
        self._frame: pl.DataFrame | None = None

    def take(self, count: int) -> int:
        """The first of `count` places in a row, whose values are anything."""
        if given := self._given.get(count):
            return given.pop()
        first, self._used = self._used, self._used + count
        if self._used > self._size:
            self._size = max(FIRST_SIZE, self._used + self._used // 2)
            for name, column in self.columns.items():
                self.columns[name] = self._larger(column, first)
            self._frame = None
        return first

    def give(self, first: int, count: int) -> None:
        """Places that were taken as one, which the next who takes so many gets."""
        self._given.setdefault(count, []).append(first)

    def write(self, name: str, first: int, values: np.ndarray) -> None:
        """Values from a place on; objects in a column of numbers make it one of objects."""
        column = self.columns[name]
        if values.dtype == object != column.dtype:
            column = self.columns[name] = column.astype(object)
        if column.dtype == object:
            self._frame = None
        column[first : first + len(values)] = values

    def frame(self) -> pl.DataFrame:
        """All places; numbers are seen in it as they change."""
        import pyarrow as pa

        if self._frame is None:
            columns = []
            for name, column in self.columns.items():
                if column.dtype == object:
                    series = pl.Series(name, column.tolist(), self._schema[name])
                else:
                    series = pl.Series(name, pl.from_arrow(pa.array(column)))
                columns.append(series)
            self._frame = pl.DataFrame(columns)
        return self._frame

    def _larger(self, column: np.ndarray, used: int) -> np.ndarray:
        """Pages of it that are never touched take no memory."""
        if not self._mapped or column.dtype == object:
            larger = np.empty(self._size, column.dtype)
        else:
            with TemporaryFile() as file:
                # A full disk is said here, not by a signal when a page is written.
                os.posix_fallocate(file.fileno(), 0, self._size * column.itemsize)
                larger = np.memmap(file, column.dtype, "r+", shape=(self._size,))
        larger[:used] = column[:used]
        return larger


def _dtype(dtype: pl.DataType) -> np.dtype:
    plain = dtype.is_integer() or dtype.is_float()
    return pl.Series(dtype=dtype).to_numpy().dtype if plain else np.dtype(object)
