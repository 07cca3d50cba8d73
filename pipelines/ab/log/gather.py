"""From rows to one row a unit.

The order of rows and files changes nothing: units lie in the order in which they came, those that
came at once in an order that has nothing to do with their arms.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time

import polars as pl

from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError
from fulcrum.features.raw.instant import moment
from fulcrum.features.values.hashing import hash64
from fulcrum.pipelines.ab.log import refusals
from fulcrum.pipelines.ab.log.columns import (
    ARM,
    CLUSTER,
    CONTENT,
    INSTANCE,
    KEPT,
    TIME,
    UNIT,
    VERSION,
    segment,
)
from fulcrum.pipelines.ab.log.experiment import AnalysisConfig, Experiment
from fulcrum.pipelines.ab.log.past import past_rows, with_past
from fulcrum.pipelines.ab.log.plan import FixedPlan
from fulcrum.pipelines.ab.log.staged import Log
from fulcrum.pipelines.ab.log.totals import FIRST, aged, final, settled, sums
from fulcrum.pipelines.ab.log.units import CAME, LAST, ROWS, Units, day
from fulcrum.pipelines.ab.metrics import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import AGE, before, covariate, numerator

SHOWN = "test.shown"
"""Whether it is a row of the log: a unit that was dealt stands among the rows with one that says
nothing else."""


@dataclass(frozen=True)
class _Rows:
    """The rows of a log, by what they are to its test."""

    named: pl.LazyFrame
    """Those that name a unit, until the planned end."""
    during: pl.LazyFrame
    """Of these, those since the test began."""
    test: pl.LazyFrame
    """Of these, those of an arm that meet `where`."""
    dealt: pl.LazyFrame | None
    """Who was dealt to which arm, where a table says so."""
    until: int | None
    """When the time before the test ended, where that is one moment for all."""
    nobody: int
    """Rows of the test that name no unit."""


def gather(log: Log, experiment: Experiment) -> Units:
    """One row a unit.

    Raises DataError for an arm that the experiment does not name, an arm without rows, a test most
    of whose units are in several arms, rows without a time, arms that did not run at the same time,
    a metric whose time is over for no unit of an arm, and a segment, a cluster or a covariate that
    is no property of units.
    """
    analysis = experiment.analysis
    assert analysis is not None
    zone, metrics = _zone(log.data.time), analysis.metrics
    rows = _rows(log, experiment, zone)
    units, crossed = _of_one_arm(rows, analysis)
    test = rows.test.filter(~pl.col(UNIT).is_in(crossed.implode()))
    refusals.check_clocks(units, experiment)
    daily = _per_day(test, units, metrics, zone)
    units, waiting = _over(units, experiment)
    past = past_rows(rows.named, units, rows.until, analysis.pre_period)
    outside, filtered = _left_out(rows.during)
    frame = _ordered(with_past(units, past, metrics), named=experiment.unit is not None)
    return Units(
        frame=frame.with_columns(day(pl.col(FIRST), zone).alias(CAME)),
        daily=daily,
        retrained=_retrained(test, zone),
        test=test,
        logged=log.logged,
        metrics=metrics,
        has_past=any(frame[before(numerator(name))].count() for name in metrics),
        assigned=_assigned(rows.dealt),
        dealt=_dealt(rows.during, experiment.arms),
        crossed=len(crossed),
        waiting=waiting,
        rows=int(frame[ROWS].sum()),
        repeated=_repeated(test, zone),
        nobody=rows.nobody,
        outside=outside,
        filtered=filtered,
        before=past.select(pl.len()).collect().item(),
        began=_moment(frame[FIRST].min()),
        ended=_moment(frame[LAST].max()),
    )


def _rows(log: Log, experiment: Experiment, zone: str) -> _Rows:
    """Parted by time and arm, each arm having some."""
    analysis = experiment.analysis
    assert analysis is not None
    refusals.check_times(log.rows, log)
    end, period = planned_end(experiment, log.data.time), analysis.pre_period
    until = None
    if period is not None and period.until is not None:
        until = moment(period.until, zone, "analysis.pre_period.until")
    logged = _until(end, log.rows)
    named = logged.filter(pl.col(UNIT).is_not_null())
    during = named if until is None else named.filter(pl.col(TIME) >= until)
    in_test = pl.col(KEPT) & pl.col(ARM).is_not_null()
    nobody = _nobody(logged.filter(in_test), until)
    refusals.check_arms(during, experiment, None if period is None else period.until, nobody)
    dealt = None if log.assignments is None else _until(end, log.assignments)
    return _Rows(named, during, during.filter(in_test), dealt, until, nobody)


def _of_one_arm(rows: _Rows, analysis: AnalysisConfig) -> tuple[pl.DataFrame, pl.Series]:
    """The units of the test, and the names of those that are left out for having several arms."""
    everyone = _everyone(rows.test, rows.dealt)
    units = _per_unit(aged(everyone, analysis.metrics), analysis)
    crossed = units.filter(pl.col("arms") > 1)
    refusals.check_crossed(crossed, len(units))
    refusals.check_properties(units, analysis)
    return units.filter(pl.col("arms") == 1), crossed[UNIT]


def _over(units: pl.DataFrame, experiment: Experiment) -> tuple[pl.DataFrame, dict[str, int]]:
    """What units come to in each metric, and by metric those whose time was not over."""
    analysis = experiment.analysis
    assert analysis is not None
    units = final(units, analysis.metrics, units[LAST].max())
    waiting = {name: units[numerator(name)].null_count() for name in analysis.metrics}
    refusals.check_windows(units, experiment)
    units = settled(units, analysis.metrics, [ARM])
    return units, {name: count for name, count in waiting.items() if count}


def planned_end(experiment: Experiment, config: TimeConfig | None) -> datetime | None:
    """Of a fixed plan. Raises DataError for a log without times."""
    analysis = experiment.analysis
    assert analysis is not None
    if not isinstance(analysis.plan, FixedPlan):
        return None
    if config is None:
        raise DataError("analysis.plan: a fixed plan needs `analysis.log.time`, to know its end")
    return _moment(moment(analysis.plan.ends, config.zone, "analysis.plan.ends"))


def _until(end: datetime | None, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows, or units that were dealt, of later than the planned end are of no test that was
    declared."""
    return rows if end is None else rows.filter(pl.col(TIME) < int(end.timestamp() * 1_000_000))


def _zone(config: TimeConfig | None) -> str:
    """By whose clocks days begin."""
    return "UTC" if config is None else config.zone


def _everyone(test: pl.LazyFrame, dealt: pl.LazyFrame | None) -> pl.LazyFrame:
    """The rows, and one more for each time that a unit was dealt."""
    rows = test.with_columns(pl.lit(True).alias(SHOWN))
    if dealt is None:
        return rows
    dealt = dealt.drop_nulls([UNIT, ARM]).with_columns(pl.lit(False).alias(SHOWN))
    return pl.concat([rows, dealt], how="diagonal")


def _per_unit(rows: pl.LazyFrame, analysis: AnalysisConfig) -> pl.DataFrame:
    names = rows.collect_schema().names()
    missing = [
        (pl.col(numerator(name)).is_null() & pl.col(SHOWN)).sum().alias(f"missing.{name}")
        for name, metric in analysis.metrics.items()
        if metric.expressions
    ]
    properties = [
        *map(segment, analysis.segments),
        *(covariate(name) for name in analysis.metrics if covariate(name) in names),
        *([CLUSTER] if CLUSTER in names else []),
    ]
    units = (
        rows.group_by(UNIT)
        .agg(
            pl.col(ARM).n_unique().alias("arms"),
            pl.col(ARM).min(),
            pl.col(INSTANCE).min(),
            pl.col(TIME).min().alias(FIRST),
            pl.col(TIME).filter(SHOWN).max().alias(LAST),
            pl.col(SHOWN).sum().alias(ROWS),
            *sums(analysis.metrics),
            *missing,
            *(pl.col(name).min() for name in properties),
            *(pl.col(name).drop_nulls().n_unique().alias(f"values.{name}") for name in properties),
        )
        .collect(engine="streaming")
    )
    if CLUSTER in names:
        alone = pl.concat_str(pl.lit("unit "), UNIT)
        units = units.with_columns(pl.coalesce(CLUSTER, alone).alias(CLUSTER))
    without = [name for name, metric in analysis.metrics.items() if not metric.expressions]
    return units.with_columns(
        *(pl.col(segment(name)).fill_null("unknown") for name in analysis.segments),
        *(pl.lit(0, pl.UInt32).alias(f"missing.{name}") for name in without),
    )


def _ordered(frame: pl.DataFrame, named: bool) -> pl.DataFrame:
    """Ties by a hash: in the order of names or values, units of one arm might come in a row."""
    content = hash64(pl.col(UNIT), "order") if named else pl.struct(pl.exclude(UNIT)).hash(seed=0)
    return frame.sort(FIRST, content)


def _per_day(
    test: pl.LazyFrame, units: pl.DataFrame, metrics: Mapping[str, MetricConfig], zone: str
) -> pl.DataFrame:
    """What each unit adds to each metric on each day."""
    metrics = {name: metric for name, metric in metrics.items() if metric.daily}
    came = units.select(UNIT, FIRST, *(c for c in [CLUSTER] if c in units.columns))
    rows = test.filter(pl.col(TIME).is_not_null()).drop(CLUSTER, strict=False)
    rows = rows.join(came.lazy(), on=UNIT)
    rows = rows.with_columns((pl.col(TIME) - pl.col(FIRST)).alias(AGE))
    per_unit = (
        rows.group_by(UNIT, day(pl.col(TIME), zone).alias("day"))
        .agg(pl.col(ARM).min(), pl.col(FIRST).min(), *_cluster(rows), *sums(metrics))
        .collect(engine="streaming")
    )
    per_unit = settled(final(per_unit, metrics, units[LAST].max()), metrics, [ARM, "day"])
    if CLUSTER in per_unit.columns:
        per_unit = per_unit.with_columns(pl.col(CLUSTER).alias(UNIT)).drop(CLUSTER)
    columns = [name for name in per_unit.columns if name not in ("day", ARM, UNIT, FIRST)]
    return per_unit.drop(FIRST).sort("day", ARM, *columns, UNIT)


def _cluster(rows: pl.LazyFrame) -> Iterable[pl.Expr]:
    return [pl.col(CLUSTER).min()] if CLUSTER in rows.collect_schema() else []


def _retrained(test: pl.LazyFrame, zone: str) -> dict[str, tuple[int, ...]]:
    first = (
        test.filter(pl.col(VERSION).is_not_null() & pl.col(TIME).is_not_null())
        .group_by(ARM, INSTANCE, VERSION)
        .agg(pl.col(TIME).min())
        .collect(engine="streaming")
    )
    later = first.filter(pl.col(TIME) > pl.col(TIME).min().over(ARM, INSTANCE))
    days = later.group_by(ARM).agg(day(pl.col(TIME), zone).unique().sort())
    return {arm: tuple(dates) for arm, dates in days.sort(ARM).iter_rows()}


def _assigned(dealt: pl.LazyFrame | None) -> dict[str, int] | None:
    if dealt is None:
        return None
    counts = dealt.group_by(ARM).agg(pl.col(UNIT).n_unique()).sort(ARM).collect()
    return dict(counts.drop_nulls().iter_rows())


def _dealt(during: pl.LazyFrame, arms: Iterable[str]) -> dict[str, int]:
    counts = (
        during.filter(pl.col(ARM).is_in(list(arms)))
        .group_by(ARM)
        .agg(pl.col(UNIT).n_unique())
        .collect(engine="streaming")
    )
    return dict(counts.sort(ARM).iter_rows())


def _left_out(during: pl.LazyFrame) -> tuple[int, int]:
    """Rows of no arm, and rows that do not meet `where`."""
    counts = during.select(
        pl.col(ARM).is_null().sum().alias("outside"), (~pl.col(KEPT)).sum().alias("filtered")
    ).collect()
    return counts.row(0)


def _nobody(test: pl.LazyFrame, until: int | None) -> int:
    rows = test if until is None else test.filter(pl.col(TIME) >= until)
    return int(rows.select(pl.col(UNIT).is_null().sum()).collect(engine="streaming").item())


def _repeated(test: pl.LazyFrame, zone: str) -> int:
    """Of rows whose time is known: without one, or with the day alone, many may be alike and each
    have happened."""
    moments = test.filter(pl.col(TIME).is_not_null())
    clock = pl.col(TIME).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone).dt.time()
    counts = moments.select(
        pl.when((clock != time.min).any()).then(pl.len() - pl.col(CONTENT).n_unique()).otherwise(0)
    ).collect(engine="streaming")
    return int(counts.item())


def _moment(time: object) -> datetime | None:
    """Of microseconds since 1970, UTC."""
    return None if time is None else datetime.fromtimestamp(int(time) / 1e6, UTC)  # type: ignore[call-overload]
