"""`categorical`: one id per row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import polars as pl
from pydantic import Field

from features.kinds.base import FeatureKind, Learned, Read, Schema
from features.kinds.sharing import sharing
from features.layout import IdInput
from features.text import text
from features.vocabulary import Lookup, fit_lookup

if TYPE_CHECKING:
    from features.spec import FeatureSpec


class CategoricalConfig(FeatureKind):
    """One id per row, looked up in an embedding table."""

    kind: Literal["categorical"] = "categorical"
    column: str | None = None
    """Column to read; the feature's own name when left out."""
    min_count: int = Field(1, ge=1)
    """Values seen fewer times than this in the training split count as unknown."""
    hash_buckets: int | None = Field(None, ge=1)
    """Hash values into this many buckets instead of fitting a vocabulary."""
    share: str | None = None
    """Name of another categorical or multi feature whose vocabulary and table this one uses."""

    def reads(self, name: str, spec: "FeatureSpec") -> Sequence[Read]:
        return [Read(("column",), self.column or name)]

    def problems(
        self, name: str, spec: "FeatureSpec"
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield from sharing(self, name, self.share, spec)

    @property
    def owns_vocabulary(self) -> bool:
        return self.share is None

    def table(self, name: str) -> str:
        return self.share or name

    def vocabulary(self, name: str, frame: pl.LazyFrame, schema: Schema) -> Lookup | None:
        if self.share is not None:
            return None
        return fit_lookup(name, self._text(name, schema), frame, self.min_count, self.hash_buckets)

    def inputs(self, name: str, learned: Learned, spec: "FeatureSpec") -> Sequence[IdInput]:
        return [IdInput(name=name, table=self.table(name))]

    def expressions(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[pl.Expr]:
        return [lookups[self.table(name)].ids(self._text(name, schema)).alias(name)]

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        return self._text(name, schema).is_null()

    def _text(self, name: str, schema: Schema) -> pl.Expr:
        column = self.column or name
        return text(pl.col(column), schema[column])
