"""A side table that rows are joined with: indexed once, for any number of frames of rows."""

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
import polars as pl


class SideTable:
    """The rows of a table by their key, and one more, all null, for keys that it lacks."""

    def __init__(self, table: pl.DataFrame, key: str) -> None:
        """`key` is unique (`raw.complete.prune`)."""
        self.key = key
        table = table.filter(pl.col(key).is_not_null()).sort(key)
        nobody = pl.DataFrame(schema=table.schema).clear(1)
        self.rows = pl.concat([table, nobody], rechunk=True)
        self._place = _index(table[key])

    def places(self, keys: pl.Series) -> np.ndarray:
        """Of each key its place among `rows`, int64 `[B]`; the last one for a null and for a key
        that is not there."""
        return self._place(keys)

    def only(self, names: Sequence[str]) -> "SideTable":
        """The same with some columns alone; the others let their memory go."""
        table = copy(self)
        table.rows = self.rows.select(names)
        return table

    def columns(self, places: np.ndarray) -> list[pl.Series]:
        """The columns of the rows at `places`."""
        return self.rows[places].get_columns() if self.rows.width else []


def _index(keys: pl.Series) -> Callable[[pl.Series], np.ndarray]:
    absent = len(keys)
    if keys.dtype == pl.String:
        column = pl.col(keys.name)
        at = column.cast(pl.Enum(keys), strict=False).to_physical().cast(pl.Int64)
        place = at.fill_null(absent)
        return lambda rows: rows.to_frame(keys.name).select(place).to_series().to_numpy()
    if not absent or not (keys.dtype.is_integer() or keys.dtype.is_temporal()):
        table = pl.DataFrame({keys.name: keys, "": np.arange(absent)})
        return lambda rows: _joined(rows.to_frame(keys.name), table, keys.name)
    numbers = _numbers(keys)

    def search(rows: pl.Series) -> np.ndarray:
        wanted = _numbers(rows.fill_null(keys[0]) if rows.null_count() else rows)
        place = np.minimum(numbers.searchsorted(wanted), absent - 1)
        hit = numbers[place] == wanted
        if rows.null_count():
            hit &= rows.is_not_null().to_numpy()
        return np.where(hit, place, absent)

    return search


def _numbers(keys: pl.Series) -> np.ndarray:
    return (keys.to_physical() if keys.dtype.is_temporal() else keys).to_numpy()


def _joined(rows: pl.DataFrame, table: pl.DataFrame, key: str) -> np.ndarray:
    places = rows.join(table, on=key, how="left", maintain_order="left")[""]
    return places.fill_null(len(table)).to_numpy()
