"""`cross`: the combination of two or more columns as one id."""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from fulcrum.features.errors import DataError
from fulcrum.features.kinds.base import FeatureKind, Features, Learned, Read, Schema
from fulcrum.features.kinds.counts import Counts, fit_lookup
from fulcrum.features.kinds.vocabulary import Buckets, Lookup
from fulcrum.features.layout import IdInput
from fulcrum.features.values.text import is_id, no_text, text

SEPARATOR = "\x1f"
"""Between the parts of a combination: the ASCII unit separator, which ids do not contain."""


class CrossConfig(FeatureKind):
    """One id for each combination of values of several columns."""

    kind: Literal["cross"] = "cross"
    columns: tuple[str, ...] = Field(min_length=2)
    """Columns to combine; a null in any of them makes the cross null."""
    min_count: int = Field(1, ge=1)
    """Combinations seen fewer times than this in the training split count as unknown."""
    hash_buckets: int | None = Field(None, ge=1)
    """Hash combinations into this many buckets instead of fitting a vocabulary."""

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        return [
            Read(("columns", place), column, id=True) for place, column in enumerate(self.columns)
        ]

    def table(self, name: str) -> str:
        return name

    def vocabulary(self, name: str, schema: Schema) -> Counts | Buckets:
        return fit_lookup(self._text(schema), pl.String(), self.min_count, self.hash_buckets)

    def inputs(self, name: str, learned: Learned, features: Features) -> Sequence[IdInput]:
        return [IdInput(name=name, table=name)]

    def steps(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[pl.Expr]:
        return [lookups[name].ids(self._text(schema)).alias(name)]

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        self._check(schema)
        return pl.any_horizontal(no_text(pl.col(column), schema[column]) for column in self.columns)

    def _text(self, schema: Schema) -> pl.Expr:
        self._check(schema)
        parts = [text(pl.col(column), schema[column]) for column in self.columns]
        return pl.concat_str(parts, separator=SEPARATOR)

    def _check(self, schema: Schema) -> None:
        lists = [column for column in self.columns if not is_id(schema[column])]
        if lists:
            raise DataError(
                f"column `{lists[0]}` is {schema[lists[0]]}; expected one id for each row"
            )
