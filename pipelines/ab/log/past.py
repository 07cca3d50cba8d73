"""What was known of units before the test."""

from collections.abc import Mapping

import polars as pl

from fulcrum.features.values.duration import to_microseconds
from fulcrum.pipelines.ab.log.columns import ARM, KEPT, TIME, UNIT
from fulcrum.pipelines.ab.log.experiment import PrePeriodConfig
from fulcrum.pipelines.ab.log.totals import FIRST, settled, sums
from fulcrum.pipelines.ab.metrics import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import AGE, before, covariate, denominator, numerator


def past_rows(
    rows: pl.LazyFrame, units: pl.DataFrame, until: int | None, period: PrePeriodConfig | None
) -> pl.LazyFrame:
    """Rows that meet `where` from before the test began, `until` (microseconds) or, without it,
    when their unit came; with a window, those that far before their unit came, which leaves out
    rows of other units."""
    if period is None:
        return rows.clear()
    early = pl.col(ARM).is_null() if until is None else pl.col(TIME) < until
    past = rows.filter(pl.col(KEPT) & early)
    if period.window is None:
        return past
    ago = pl.col(FIRST) - pl.col(TIME)
    return (
        past.join(units.lazy().select(UNIT, FIRST), on=UNIT)
        .filter((ago > 0) & (ago <= to_microseconds(period.window)))
        .drop(FIRST)
    )


def with_past(
    units: pl.DataFrame, past: pl.LazyFrame, metrics: Mapping[str, MetricConfig]
) -> pl.DataFrame:
    """Units with `before` of each metric: what their own past rows make of it, over all arms
    together, or its covariate; null where a unit has none."""
    own = past.join(units.lazy().select(UNIT), on=UNIT, how="semi")
    totals = (
        own.with_columns(pl.lit(0, pl.Int64).alias(AGE))
        .group_by(UNIT)
        .agg(*sums(metrics))
        .collect(engine="streaming")
    )
    columns = [column(name) for name in metrics for column in (numerator, denominator)]
    totals = settled(totals, metrics).select(UNIT, *(pl.col(c).alias(before(c)) for c in columns))
    units = units.join(totals, on=UNIT, how="left")
    for name, metric in metrics.items():
        if metric.covariate is not None:
            known = pl.col(covariate(name))
            one = pl.when(known.is_not_null()).then(1.0)
            units = units.with_columns(
                known.alias(before(numerator(name))), one.alias(before(denominator(name)))
            )
    return units
