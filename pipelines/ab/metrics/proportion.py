"""The share of units that did something at least once, for example buyers among users."""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from fulcrum.pipelines.ab.metrics.base import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import numerator


class ProportionMetric(MetricConfig):
    """Share of users with any row that counts."""

    kind: Literal["proportion"] = "proportion"
    value: str
    """SQL expression of a row, a condition or a number; a user counts when it is true, or above 0,
    in any of their rows."""

    adds_up = False

    @property
    def expressions(self) -> Mapping[str, str]:
        return {"value": self.value}

    def totals(self, name: str) -> Sequence[pl.Expr]:
        return [(self.rows(numerator(name)) > 0).any().cast(pl.Float64).alias(numerator(name))]
