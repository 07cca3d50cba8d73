"""What every kind of metric shares: rows in, a numerator and a denominator a unit out.

A metric's value in an arm is the sum of its units' numerators over the sum of their denominators.
Nothing else of a log reaches the statistics, so that intervals, CUPED, bootstrap, looking early and
instances are the same for every kind.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from fulcrum.features.config import Config
from fulcrum.features.values.duration import Duration, to_microseconds
from fulcrum.pipelines.ab.metrics.columns import AGE, denominator


class MetricConfig(Config):
    """What all metrics have."""

    kind: str
    role: Literal["primary", "secondary", "guardrail", "exploratory"] = "secondary"
    """One metric is primary; guard-rails only have to be no worse than `margin`."""
    better: Literal["up", "down"] = "up"
    """Which direction is good."""
    margin: float | None = Field(None, gt=0)
    """How much worse a guard-rail may become, in the metric's own unit."""
    window: Duration | None = Field(None, exclude_if=lambda window: window is None)
    """How long after a unit came its rows count, for example `7d`; units for which that is not over
    when the log ends do not count. All rows of all units when left out."""
    covariate: str | None = Field(None, exclude_if=lambda covariate: covariate is None)
    """SQL expression, constant within a unit, of what was known of it before the test: the
    covariate of CUPED in place of the metric's own past."""

    numbers: ClassVar[bool] = True
    """Whether expressions of a row are numbers; else they are ids."""
    adds_up: ClassVar[bool] = True
    """Whether what a unit adds to the numerator is the sum of what its rows do."""
    daily: ClassVar[bool] = True
    """Whether the metric can be told from the rows of one day."""

    @property
    def expressions(self) -> Mapping[str, str]:
        """SQL of a row by the key that holds it, none to two: what becomes `numerator` and
        `denominator` of a row. A null of the first is a missing outcome."""
        raise NotImplementedError

    @property
    def span(self) -> int | None:
        """Microseconds from when a unit came until its value is final; None: whenever the log
        ends."""
        return None if self.window is None else to_microseconds(self.window)

    def rows(self, column: str) -> pl.Expr:
        """A column of those rows of a unit that count."""
        span = self.span
        return pl.col(column) if span is None else pl.col(column).filter(pl.col(AGE) < span)

    def totals(self, name: str) -> Sequence[pl.Expr]:
        """Aggregates of the rows of a unit, called `numerator(name)` and, if need be,
        `denominator(name)`. A unit without rows has one in which all expressions are null."""
        raise NotImplementedError

    def settled(self, units: pl.DataFrame, name: str, by: Sequence[str] = ()) -> pl.DataFrame:
        """The units with numbers (Float64) in both columns.

        units: one row a unit with the aggregates of `totals`, the numerator null where a unit does
        not count; by: columns within whose values a value is made, such as the arm's. A kind
        without a denominator counts each unit once.
        """
        if denominator(name) in units.columns:
            return units
        return units.with_columns(pl.lit(1.0).alias(denominator(name)))
