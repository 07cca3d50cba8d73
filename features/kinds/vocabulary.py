"""From values, written as text, to rows of an embedding table."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import polars as pl

from fulcrum.features.layout import NULL, UNKNOWN
from fulcrum.features.values.hashing import bucket

_KNOWN = UNKNOWN + 1


class Lookup(Protocol):
    """Maps text to ids: 0 for null, 1 for unknown, 2 and up for the values themselves."""

    @property
    def rows(self) -> int:
        """Rows of the embedding table."""
        ...

    def ids(self, text: pl.Expr) -> pl.Expr:
        """Int32 ids of a String expression, never null."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """Values seen in the training split, the most frequent first."""

    values: pl.DataFrame
    """`value` String, unique, never null; `count` Int64, descending, ties by value."""

    @property
    def rows(self) -> int:
        return _KNOWN + len(self.values)

    def ids(self, text: pl.Expr) -> pl.Expr:
        place = text.cast(self._enum, strict=False).to_physical().cast(pl.Int32) + _KNOWN
        return (
            pl.when(text.is_null()).then(pl.lit(NULL, pl.Int32)).otherwise(place.fill_null(UNKNOWN))
        )

    @cached_property
    def _enum(self) -> pl.Enum:
        return pl.Enum(self.values["value"])


@dataclass(frozen=True)
class Buckets:
    """Values hashed into a fixed number of buckets; nothing is unknown."""

    buckets: int

    @property
    def rows(self) -> int:
        return _KNOWN + self.buckets

    def ids(self, text: pl.Expr) -> pl.Expr:
        return (bucket(text, self.buckets) + _KNOWN).cast(pl.Int32).fill_null(NULL)
