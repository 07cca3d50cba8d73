"""How many different things a unit meets, for example items that a user clicks."""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from fulcrum.pipelines.ab.metrics.base import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import numerator


class DistinctMetric(MetricConfig):
    """Mean over users of the number of distinct values in their rows."""

    kind: Literal["distinct"] = "distinct"
    value: str
    """SQL expression of a row whose values are told apart, for example `item_id`; null, NaN and
    empty text are none: `case when click then item_id end` counts items that were clicked."""

    numbers = False
    adds_up = False

    @property
    def expressions(self) -> Mapping[str, str]:
        return {"value": self.value}

    def totals(self, name: str) -> Sequence[pl.Expr]:
        return [self.rows(numerator(name)).drop_nulls().n_unique().cast(pl.Float64)]
