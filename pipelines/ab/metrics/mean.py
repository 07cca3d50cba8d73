"""The mean over units of the unit's total, for example spend a user."""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from fulcrum.pipelines.ab.metrics.base import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import numerator


class MeanMetric(MetricConfig):
    """Mean over users of the user's total."""

    kind: Literal["mean"] = "mean"
    value: str
    """SQL expression of a row; summed over the rows of a user."""
    winsorise: float | None = Field(None, gt=0.5, lt=1)
    """Quantile of the users' totals, both arms pooled, above which they are cut off; as many are at
    the other end."""

    @property
    def expressions(self) -> Mapping[str, str]:
        return {"value": self.value}

    def totals(self, name: str) -> Sequence[pl.Expr]:
        return [self.rows(numerator(name)).sum()]

    def settled(self, units: pl.DataFrame, name: str, by: Sequence[str] = ()) -> pl.DataFrame:
        """Totals are cut off at quantiles of all units together, whatever their arm: the one below
        which a share of `winsorise` lies, and the one above which as many do."""
        column = numerator(name)
        if self.winsorise is not None and units[column].count():
            low = units[column].quantile(1 - self.winsorise, "lower")
            high = units[column].quantile(self.winsorise, "higher")
            units = units.with_columns(pl.col(column).clip(low, high))
        return super().settled(units, name, by)
