"""`cyclic`: a number that comes round again, as the hour of the day does, on a circle."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from fulcrum.features.errors import DataError
from fulcrum.features.kinds.base import FeatureKind, Features, Learned, Read, Schema
from fulcrum.features.kinds.vocabulary import Lookup
from fulcrum.features.layout import DenseInput


class CyclicConfig(FeatureKind):
    """Two dense inputs, `<name>.sin` and `<name>.cos`, so that 23:00 is as near to midnight as 1:00
    is; both are 0, the middle of the circle, where the number is null, NaN or infinite."""

    kind: Literal["cyclic"] = "cyclic"
    column: str | None = None
    """Column to read; the feature's own name when left out."""
    period: float = Field(gt=0, allow_inf_nan=False)
    """Where the number starts again: 24 for hours, 7 for weekdays."""

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        return [Read(("column",), self.column or name)]

    def inputs(self, name: str, learned: Learned, features: Features) -> Sequence[DenseInput]:
        return [DenseInput(name=f"{name}.sin"), DenseInput(name=f"{name}.cos")]

    def steps(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[pl.Expr]:
        angle = self._number(name, schema) * (math.tau / self.period)
        places = {f"{name}.sin": angle.sin(), f"{name}.cos": angle.cos()}
        return [p.fill_null(0.0).cast(pl.Float32).alias(source) for source, p in places.items()]

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        return self._number(name, schema).is_null()

    def _number(self, name: str, schema: Schema) -> pl.Expr:
        """Float64, null unless finite."""
        column = self.column or name
        if not schema[column].is_numeric():
            raise DataError(
                f"features.{name}: column `{column}` is {schema[column]}; expected numbers"
            )
        number = pl.col(column).cast(pl.Float64)
        return pl.when(number.is_finite()).then(number)
