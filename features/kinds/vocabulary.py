"""From values, written as text, to rows of an embedding table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import polars as pl

from fulcrum.features.kinds.places import Places
from fulcrum.features.layout import NULL, UNKNOWN
from fulcrum.features.values.hashing import bucket

_KNOWN = UNKNOWN + 1
WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
"""Types of whole numbers that Int64 holds."""
_SPREAD, _SMALL = 8, 1024
"""Whole numbers are laid out in a row when they fill an eighth of it; few of them always are, when
they fill an eighth of a row for so many."""
_FEW, _MANY = 20_000, 10_000
"""An enum is faster for up to so many values, and for fewer rows at once than that."""


class Lookup(Protocol):
    """Maps text to ids: 0 for null, 1 for unknown, 2 and up for the values themselves."""

    @property
    def rows(self) -> int:
        """Rows of the embedding table."""
        ...

    def ids(self, words: pl.Expr) -> pl.Expr:
        """Int32 ids of a String expression, never null."""
        ...

    def by_number(self, dtype: pl.DataType) -> Callable[[pl.Series], pl.Series] | None:
        """`ids` of the texts of whole numbers, without writing them; None where it takes text."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """Values seen in the training split, the most frequent first."""

    values: pl.DataFrame
    """`value` String, unique, never null; `count` Int64, descending, ties by value."""

    @property
    def rows(self) -> int:
        return _KNOWN + len(self.values)

    def ids(self, words: pl.Expr) -> pl.Expr:
        if len(self.values) > _FEW:
            return words.map_batches(self._ids, return_dtype=pl.Int32, is_elementwise=True)
        return self._by_enum(words)

    def _by_enum(self, words: pl.Expr) -> pl.Expr:
        """Polars makes a table of the values for each such expression, and keeps it there."""
        enum = pl.Enum(self.values["value"])
        place = words.cast(enum, strict=False).to_physical().cast(pl.Int32) + _KNOWN
        return (
            pl.when(words.is_null())
            .then(pl.lit(NULL, pl.Int32))
            .otherwise(place.fill_null(UNKNOWN))
        )

    def by_number(self, dtype: pl.DataType) -> Callable[[pl.Series], pl.Series] | None:
        if not (isinstance(dtype, WHOLE) and self._numbers):
            return None
        return partial(_look_up, *self._numbers)

    @cached_property
    def _numbers(self) -> tuple[int, np.ndarray] | None:
        """The lowest whole number among the values, and the ids from it to the one behind the
        highest, which is unknown; None when they lie too far apart. Looking one up so is ten times
        as fast as by its text."""
        numbers = self.values["value"].cast(pl.Int64, strict=False)
        # `007` is another text than that of the number 7.
        places = np.flatnonzero((numbers.cast(pl.String) == self.values["value"]).fill_null(False))
        if not len(places):
            return None
        known = numbers.gather(places).to_numpy()
        lowest, size = int(known.min()), int(known.max()) - int(known.min()) + 1
        if size > _SPREAD * max(len(known), _SMALL):
            return None
        ids = np.full(size + 1, UNKNOWN, np.int32)
        ids[known - lowest] = _KNOWN + places
        return lowest, ids

    def _ids(self, words: pl.Series) -> pl.Series:
        if len(words) < _MANY:
            return words.alias("").to_frame().select(self._few_ids).to_series().alias(words.name)
        missing = words.null_count() > 0
        ids = self._places.of(words.fill_null("") if missing else words) + np.int32(_KNOWN)
        # A place of -1 makes `UNKNOWN` by itself.
        if missing:
            ids[words.is_null().to_numpy()] = NULL
        return pl.Series(words.name, ids)

    @cached_property
    def _few_ids(self) -> pl.Expr:
        return self._by_enum(pl.col(""))

    @cached_property
    def _places(self) -> Places:
        return Places(self.values["value"])


@dataclass(frozen=True)
class Buckets:
    """Values hashed into a fixed number of buckets; nothing is unknown."""

    buckets: int

    @property
    def rows(self) -> int:
        return _KNOWN + self.buckets

    def ids(self, words: pl.Expr) -> pl.Expr:
        return (bucket(words, self.buckets) + _KNOWN).cast(pl.Int32).fill_null(NULL)

    def by_number(self, dtype: pl.DataType) -> None:
        return None


def _look_up(lowest: int, ids: np.ndarray, values: pl.Series) -> pl.Series:
    nulls = values.is_null().to_numpy() if values.null_count() else None
    numbers = (values if nulls is None else values.fill_null(0)).cast(pl.Int64).to_numpy()
    # Modulo 2^64, so that no number is near that is far away.
    place = numbers.view(np.uint64) - np.array(lowest).astype(np.uint64)
    # The last one is that of all others.
    looked_up = ids.take(np.minimum(place, np.uint64(len(ids) - 1)).view(np.int64))
    if nulls is not None:
        looked_up[nulls] = NULL
    return pl.Series(values.name, looked_up)
