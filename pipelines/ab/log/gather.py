"""From rows to one row a unit.

The order of rows and files changes nothing: units lie in the order in which they came, those that
came at once in an order that has nothing to do with their arms.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import polars as pl

from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError
from fulcrum.features.raw.instant import moment
from fulcrum.features.values.hashing import hash64
from fulcrum.pipelines.ab.log import refusals
from fulcrum.pipelines.ab.log.experiment import Experiment, MeanMetric, MetricChoice
from fulcrum.pipelines.ab.log.plan import FixedPlan
from fulcrum.pipelines.ab.log.staged import (
    ARM,
    CONTENT,
    INSTANCE,
    KEPT,
    TIME,
    UNIT,
    VERSION,
    Log,
    denominator,
    numerator,
    segment,
)
from fulcrum.pipelines.ab.log.units import CAME, DAY, FIRST, LAST, ROWS, Units


def gather(log: Log, experiment: Experiment) -> Units:
    """One row a unit.

    Raises DataError for an arm that the experiment does not name, an arm without rows, a test most
    of whose units are in several arms, rows without a time, arms that did not run at the same time,
    and a segment that is no property of units.
    """
    analysis = experiment.analysis
    assert analysis is not None
    refusals.check_times(log.rows, log)
    logged = _until_the_end(log, experiment)
    rows = logged.filter(pl.col(UNIT).is_not_null())
    until = None
    if analysis.pre_period is not None:
        until = _instant(analysis.pre_period.until, log.data.time, "pre_period.until")
    during = rows if until is None else rows.filter(pl.col(TIME) >= until)
    past = rows.clear() if until is None else rows.filter((pl.col(TIME) < until) & pl.col(KEPT))
    in_test = pl.col(KEPT) & pl.col(ARM).is_not_null()
    nobody = _nobody(logged.filter(in_test), until)
    refusals.check_arms(
        during, experiment, analysis.pre_period.until if analysis.pre_period else None, nobody
    )
    test = during.filter(in_test)
    units = _per_unit(test, experiment)
    crossed = units.filter(pl.col("arms") > 1)
    refusals.check_crossed(crossed, len(units))
    refusals.check_segments(units, analysis.segments)
    units = units.filter(pl.col("arms") == 1)
    test = test.filter(~pl.col(UNIT).is_in(crossed[UNIT].implode()))
    refusals.check_clocks(units, experiment)
    has_past = until is not None
    frame = _with_past(units, past, list(analysis.metrics)) if has_past else units
    frame = _winsorised(frame, analysis.metrics)
    counts = during.select(
        pl.col(ARM).is_null().sum().alias("outside"), (~pl.col(KEPT)).sum().alias("filtered")
    ).collect()
    return Units(
        frame=_ordered(frame, named=experiment.unit is not None),
        daily=_per_day(test, list(analysis.metrics)),
        retrained=_retrained(test),
        test=test,
        metrics=analysis.metrics,
        has_past=has_past,
        assigned=log.assigned,
        dealt=_dealt(during),
        crossed=len(crossed),
        rows=int(frame[ROWS].sum()),
        repeated=_repeated(test),
        nobody=nobody,
        outside=int(counts["outside"][0]),
        filtered=int(counts["filtered"][0]),
        before=past.select(pl.len()).collect().item(),
        began=_moment(frame[FIRST].min()),
        ended=_moment(frame[LAST].max()),
    )


def planned_end(experiment: Experiment, time: TimeConfig | None) -> datetime | None:
    """Of a fixed plan. Raises DataError for a log without times."""
    analysis = experiment.analysis
    assert analysis is not None
    if not isinstance(analysis.plan, FixedPlan):
        return None
    if time is None:
        raise DataError("analysis.plan: a fixed plan needs `analysis.log.time`, to know its end")
    return _moment(_instant(analysis.plan.ends, time, "plan.ends"))


def _until_the_end(log: Log, experiment: Experiment) -> pl.LazyFrame:
    """Rows of later than the planned end are of no test that was declared."""
    end = planned_end(experiment, log.data.time)
    if end is None:
        return log.rows
    return log.rows.filter(pl.col(TIME) < int(end.timestamp() * 1_000_000))


def _instant(text: str, time: TimeConfig | None, place: str) -> int:
    """Microseconds of a time in ISO 8601, in the zone of the log."""
    return moment(text, "UTC" if time is None else time.zone, f"analysis.{place}")


def _per_unit(test: pl.LazyFrame, experiment: Experiment) -> pl.DataFrame:
    assert experiment.analysis is not None
    sums = [
        pl.col(column).sum()
        for name in experiment.analysis.metrics
        for column in _columns(test, name)
    ]
    missing = [
        pl.col(numerator(name)).is_null().sum().alias(f"missing.{name}")
        for name in experiment.analysis.metrics
    ]
    segments = [segment(name) for name in experiment.analysis.segments]
    return (
        test.group_by(UNIT)
        .agg(
            pl.col(ARM).n_unique().alias("arms"),
            pl.col(ARM).min(),
            pl.col(INSTANCE).min(),
            pl.col(TIME).min().alias(FIRST),
            pl.col(TIME).max().alias(LAST),
            pl.len().alias(ROWS),
            *sums,
            *missing,
            *(pl.col(name).min() for name in segments),
            *(pl.col(name).n_unique().alias(f"values.{name}") for name in segments),
        )
        .collect(engine="streaming")
    )


def _columns(rows: pl.LazyFrame, metric: str) -> list[str]:
    both = numerator(metric), denominator(metric)
    return [name for name in both if name in rows.collect_schema()]


def _with_past(units: pl.DataFrame, past: pl.LazyFrame, metrics: Sequence[str]) -> pl.DataFrame:
    columns = [name for metric in metrics for name in _columns(past, metric)]
    sums = [pl.col(name).sum().alias(f"before.{name}") for name in columns]
    totals = past.group_by(UNIT).agg(*sums).collect(engine="streaming")
    return units.join(totals, on=UNIT, how="left")


def _winsorised(frame: pl.DataFrame, metrics: Mapping[str, MetricChoice]) -> pl.DataFrame:
    """Totals cut off at both ends, at quantiles of both arms together, those of the pre-period at
    theirs."""
    cuts = []
    for name, metric in metrics.items():
        if not isinstance(metric, MeanMetric) or metric.winsorise is None:
            continue
        cuts += [
            pl.col(column).clip(*ends(frame[column], metric.winsorise))
            for column in (numerator(name), f"before.{numerator(name)}")
            if column in frame.columns and frame[column].count()
        ]
    return frame.with_columns(cuts)


def ends(totals: pl.Series, winsorise: float) -> tuple[float, float]:
    """Where totals are cut off: at the quantile below which a share of `winsorise` lies, and at the
    one above which as many do."""
    low, high = totals.quantile(1 - winsorise, "lower"), totals.quantile(winsorise, "higher")
    assert low is not None and high is not None
    return low, high


def _ordered(frame: pl.DataFrame, named: bool) -> pl.DataFrame:
    """Ties by a hash: in the order of names or values, units of one arm might come in a row."""
    content = hash64(pl.col(UNIT), "order") if named else pl.struct(pl.exclude(UNIT)).hash(seed=0)
    return frame.sort(FIRST, content).with_columns((pl.col(FIRST) // DAY).alias(CAME))


def _per_day(test: pl.LazyFrame, metrics: Sequence[str]) -> pl.DataFrame:
    columns = [name for metric in metrics for name in _columns(test, metric)]
    return (
        test.filter(pl.col(TIME).is_not_null())
        .group_by(UNIT, (pl.col(TIME) // DAY).alias("day"))
        .agg(pl.col(ARM).min(), *(pl.col(name).sum() for name in columns))
        .collect(engine="streaming")
        .sort("day", ARM, *columns, UNIT)
    )


def _retrained(test: pl.LazyFrame) -> dict[str, tuple[int, ...]]:
    first = (
        test.filter(pl.col(VERSION).is_not_null() & pl.col(TIME).is_not_null())
        .group_by(ARM, INSTANCE, VERSION)
        .agg(pl.col(TIME).min())
        .collect(engine="streaming")
    )
    later = first.filter(pl.col(TIME) > pl.col(TIME).min().over(ARM, INSTANCE))
    days = later.group_by(ARM).agg((pl.col(TIME) // DAY).unique().sort())
    return {arm: tuple(dates) for arm, dates in days.sort(ARM).iter_rows()}


def _dealt(during: pl.LazyFrame) -> dict[str, int]:
    counts = (
        during.filter(pl.col(ARM).is_not_null())
        .group_by(ARM)
        .agg(pl.col(UNIT).n_unique())
        .collect(engine="streaming")
    )
    return dict(counts.sort(ARM).iter_rows())


def _nobody(test: pl.LazyFrame, until: int | None) -> int:
    rows = test if until is None else test.filter(pl.col(TIME) >= until)
    return int(rows.select(pl.col(UNIT).is_null().sum()).collect(engine="streaming").item())


def _repeated(test: pl.LazyFrame) -> int:
    """Of rows whose time is known: without one, or with the day alone, many may be alike and each
    have happened."""
    moments = test.filter(pl.col(TIME).is_not_null())
    counts = moments.select(
        pl.when((pl.col(TIME) % DAY != 0).any())
        .then(pl.len() - pl.col(CONTENT).n_unique())
        .otherwise(0)
    ).collect(engine="streaming")
    return int(counts.item())


def _moment(time: object) -> datetime | None:
    """Of microseconds since 1970, UTC."""
    return None if time is None else datetime.fromtimestamp(int(time) / 1e6, UTC)  # type: ignore[call-overload]
