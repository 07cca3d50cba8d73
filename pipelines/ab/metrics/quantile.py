"""A quantile of units' totals or of rows, for example the slowest 5 % of answers."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from fulcrum.pipelines.ab.metrics import influence
from fulcrum.pipelines.ab.metrics.base import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator

PLACE, VALUE = "place", "value"


class QuantileMetric(MetricConfig):
    """A quantile of the users' totals, or of rows.

    Each user has what they add to the quantile's linear form about their arm's own quantile
    (`metrics.influence`), so that an arm's value is its quantile, and errors know that rows of
    one user hang together. That is approximate where only part of an arm is looked at: by segment,
    by instance and on the way, where it is one step from the whole arm's quantile with the whole
    arm's density, and in the bootstrap, which draws linear forms and so checks no more than their
    mean. With few users, or where values come in heaps, the form is not linear enough, and
    intervals are rough.
    """

    kind: Literal["quantile"] = "quantile"
    value: str
    """SQL expression of a row."""
    quantile: float = Field(gt=0, lt=1)
    """Share of the values that lie below: 0.5 is the median."""
    of: Literal["units", "rows"] = "units"
    """`units`: of the users' totals; `rows`: of the values of all rows, those that are null left
    out."""

    adds_up = False

    @property
    def expressions(self) -> Mapping[str, str]:
        return {"value": self.value}

    def totals(self, name: str) -> Sequence[pl.Expr]:
        """For `rows`, the list of a unit's values: they stay in memory, 8 bytes each."""
        rows = self.rows(numerator(name))
        return [rows.sum() if self.of == "units" else rows.drop_nulls()]

    def settled(self, units: pl.DataFrame, name: str, by: Sequence[str] = ()) -> pl.DataFrame:
        values = units.select(*by, pl.col(numerator(name)).alias(VALUE)).with_row_index(PLACE)
        counted = values.filter(pl.col(VALUE).is_not_null())
        sums = np.full((2, len(units)), np.nan)
        parts = [counted] if not by else counted.partition_by(by, maintain_order=True)
        for part in parts:
            owners, places = part.with_row_index("owner"), part[PLACE].to_numpy()
            if self.of == "rows":
                owners = owners.explode(VALUE).filter(pl.col(VALUE).is_not_null())
            sums[:, places] = influence.linear(
                owners[VALUE].to_numpy(), owners["owner"].to_numpy(), len(part), self.quantile
            )
        columns = [
            pl.Series(column(name), part)
            for column, part in zip((numerator, denominator), sums, strict=True)
        ]
        return units.with_columns(columns).with_columns(
            pl.col(numerator(name), denominator(name)).fill_nan(None)
        )
