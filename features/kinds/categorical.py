"""`categorical`: one id per row."""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.kinds.base import Features, Function, Learned, Schema, Step
from fulcrum.features.kinds.counts import Counts, fit_lookup
from fulcrum.features.kinds.sharing import SharingKind
from fulcrum.features.kinds.vocabulary import Buckets, Lookup
from fulcrum.features.layout import IdInput
from fulcrum.features.values.text import is_id, no_text, text


class CategoricalConfig(SharingKind):
    """One id per row, looked up in an embedding table."""

    kind: Literal["categorical"] = "categorical"

    def vocabulary(self, name: str, schema: Schema) -> Counts | Buckets | None:
        if self.share is not None:
            return None
        column = self._column(name, schema)
        value, dtype = pl.col(column), schema[column]
        return fit_lookup(value, dtype, self.min_count, self.hash_buckets)

    def inputs(self, name: str, learned: Learned, features: Features) -> Sequence[IdInput]:
        return [IdInput(name=name, table=self.table(name))]

    def steps(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[Step]:
        column, lookup = self._column(name, schema), lookups[self.table(name)]
        if by_number := lookup.by_number(schema[column]):
            return [Function(name, column, by_number)]
        return [lookup.ids(text(pl.col(column), schema[column])).alias(name)]

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        column = self._column(name, schema)
        return no_text(pl.col(column), schema[column])

    def _column(self, name: str, schema: Schema) -> str:
        column = self.column or name
        if not is_id(schema[column]):
            raise DataError(
                f"features.{name}: column `{column}` is {schema[column]}; expected one id for each "
                "row (`kind: multi` takes lists)"
            )
        return column
