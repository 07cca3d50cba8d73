"""`multi`: a set of ids per row, mean-pooled."""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from fulcrum.features.errors import DataError
from fulcrum.features.kinds.base import Features, Learned, Schema
from fulcrum.features.kinds.counts import Counts, fit_lookup
from fulcrum.features.kinds.sharing import SharingKind
from fulcrum.features.kinds.vocabulary import Buckets, Lookup
from fulcrum.features.layout import BagInput
from fulcrum.features.values.text import text


class MultiConfig(SharingKind):
    """Several ids per row: a list column, or a string with a separator."""

    kind: Literal["multi"] = "multi"
    separator: str | None = Field(None, min_length=1)
    """Where to cut a string column; leave it out for list columns. Blanks around an id and empty
    ids are dropped."""
    max_length: int = Field(20, ge=1)
    """Ids kept per row, the first ones."""

    def vocabulary(self, name: str, schema: Schema) -> Counts | Buckets | None:
        if self.share is not None:
            return None
        values = self._texts(name, schema).explode()
        return fit_lookup(values, pl.String(), self.min_count, self.hash_buckets)

    def inputs(self, name: str, learned: Learned, features: Features) -> Sequence[BagInput]:
        return [BagInput(name=name, table=self.table(name), max_length=self.max_length)]

    def steps(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[pl.Expr]:
        ids = lookups[self.table(name)].ids(pl.element())
        empty = pl.lit([], dtype=pl.List(pl.Int32))
        return [self._texts(name, schema).list.eval(ids).fill_null(empty).alias(name)]

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        return self._texts(name, schema).list.len().fill_null(0) == 0

    def _texts(self, name: str, schema: Schema) -> pl.Expr:
        """List(String) without nulls, cut to `max_length`."""
        column = self.column or name
        values, dtype = pl.col(column), schema[column]
        if isinstance(dtype, pl.Null):
            values = values.cast(pl.List(pl.String))
        elif isinstance(dtype, pl.List) and self.separator is None and not dtype.inner.is_nested():
            values = text(values, dtype)
        elif self.separator is not None and not isinstance(dtype, pl.List):
            parts = text(values, dtype).str.split(self.separator)
            values = parts.list.eval(pl.element().str.strip_chars().replace("", None))
        else:
            form = "a list of ids" if self.separator is None else "text to cut at its separator"
            raise DataError(f"features.{name}: column `{column}` is {dtype}; expected {form}")
        return values.list.drop_nulls().list.head(self.max_length)
