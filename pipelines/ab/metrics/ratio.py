"""Sum over sum, for example clicks over impressions."""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from fulcrum.pipelines.ab.metrics.base import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator


class RatioMetric(MetricConfig):
    """Sum over sum, for example clicks over impressions; its error by the delta method."""

    kind: Literal["ratio"] = "ratio"
    numerator: str
    """SQL expression of a row."""
    denominator: str = "1"
    """SQL expression of a row; the number of rows when left out."""

    @property
    def expressions(self) -> Mapping[str, str]:
        return {"numerator": self.numerator, "denominator": self.denominator}

    def totals(self, name: str) -> Sequence[pl.Expr]:
        return [self.rows(numerator(name)).sum(), self.rows(denominator(name)).sum()]
