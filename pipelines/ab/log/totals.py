"""Rows summed up: what each unit adds to each metric."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from fulcrum.pipelines.ab.log.columns import TIME, UNIT
from fulcrum.pipelines.ab.metrics import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import AGE, numerator

FIRST = "first"
"""When a unit came: was dealt, or was first seen."""


def aged(rows: pl.LazyFrame, metrics: Mapping[str, MetricConfig]) -> pl.LazyFrame:
    """Rows with how long after their unit came they are, where a metric asks that."""
    if all(metric.span is None for metric in metrics.values()):
        return rows
    came = rows.group_by(UNIT).agg(pl.col(TIME).min().alias(FIRST))
    age = (pl.col(TIME) - pl.col(FIRST)).alias(AGE)
    return rows.join(came, on=UNIT).with_columns(age).drop(FIRST)


def sums(metrics: Mapping[str, MetricConfig]) -> Iterable[pl.Expr]:
    """Aggregates of the rows of a unit."""
    return (total for name, metric in metrics.items() for total in metric.totals(name))


def final(units: pl.DataFrame, metrics: Mapping[str, MetricConfig], end: Any) -> pl.DataFrame:
    """Units with a numerator of null where their time is not over at the end of the log
    (microseconds)."""
    return units.with_columns(
        pl.when(pl.col(FIRST) + metric.span <= end).then(numerator(name)).alias(numerator(name))
        for name, metric in metrics.items()
        if metric.span is not None
    )


def settled(
    units: pl.DataFrame, metrics: Mapping[str, MetricConfig], by: Sequence[str] = ()
) -> pl.DataFrame:
    """Units with those aggregates as the numerators and denominators that they stand for, made
    within each value of the columns `by`."""
    for name, metric in metrics.items():
        units = metric.settled(units, name, by)
    return units
