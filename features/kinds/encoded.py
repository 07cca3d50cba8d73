"""Kinds that compute a value first and then encode it as another kind does."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from fulcrum.features.kinds.base import FeatureKind, Features, Learned, Schema
from fulcrum.features.kinds.vocabulary import Lookup
from fulcrum.features.layout import Input, TableSpec


class EncodedKind(FeatureKind):
    """A subclass has a field `encode` and says which column holds its value."""

    encode: FeatureKind

    def value_column(self, name: str) -> str:
        """The column that holds the computed value."""
        raise NotImplementedError

    def problems(
        self, name: str, features: Features
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if getattr(self.encode, "column", None) is not None:
            yield ("encode", "column"), "the value is computed, so no column is read; leave it out"
        for path, message in self.encode.problems(name, features):
            yield ("encode", *path), message

    def table(self, name: str) -> str | None:
        return self.encode.table(name)

    @property
    def learned(self) -> type[Learned]:
        return self.encode.learned

    def vocabulary(self, name: str, frame: pl.LazyFrame, schema: Schema) -> Lookup | None:
        return self._inner(name).vocabulary(name, frame, schema)

    def learn(self, name: str, frame: pl.LazyFrame, schema: Schema) -> Learned:
        return self._inner(name).learn(name, frame, schema)

    def tables(self, name: str, learned: Learned) -> Sequence[TableSpec]:
        return self._inner(name).tables(name, learned)

    def inputs(self, name: str, learned: Learned, features: Features) -> Sequence[Input]:
        return self._inner(name).inputs(name, learned, features)

    def expressions(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[pl.Expr]:
        return self._inner(name).expressions(name, learned, lookups, schema)

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        return self._inner(name).missing(name, schema)

    def _inner(self, name: str) -> FeatureKind:
        return self.encode.model_copy(update={"column": self.value_column(name)})
