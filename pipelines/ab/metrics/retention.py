"""The share of units that come again some days after they came first."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import BeforeValidator, Field, model_validator

from fulcrum.pipelines.ab.metrics.base import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import AGE, DAY, numerator


def _one_is_both(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


_Day = Annotated[int, Field(ge=1)]


class RetentionMetric(MetricConfig):
    """Share of users who come again on some days after they came.

    Days are 24 hours from each user's own first time, whatever the clock says; the first is day 0.
    Only users whose last such day is over when the log ends count, so that late-comers are no
    losses. Coming is a row of the test.
    """

    kind: Literal["retention"] = "retention"
    days: Annotated[tuple[_Day, _Day], BeforeValidator(_one_is_both)]
    """The first and the last day that count, `[1, 7]`, or the only one, `7`."""

    adds_up = False
    daily = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.days[0] > self.days[1]:
            raise ValueError(f"`days` is {list(self.days)}; expected the earlier day first")
        if self.window is not None:
            raise ValueError("`window` has no meaning here: `days` says which rows count")
        return self

    @property
    def expressions(self) -> Mapping[str, str]:
        return {}

    @property
    def span(self) -> int:
        return (self.days[1] + 1) * DAY

    def totals(self, name: str) -> Sequence[pl.Expr]:
        came = (pl.col(AGE) // DAY).is_between(*self.days)
        return [came.any().cast(pl.Float64).alias(numerator(name))]
