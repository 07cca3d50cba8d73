"""From rows to one row a unit: the form in which arms are compared.

What was dealt to arms is units, so a unit is one entry however many rows it has. The order of rows
and files changes nothing: units lie in the order in which they came, those that came at once in an
order that has nothing to do with their arms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from features.data import TimeConfig
from features.errors import DataError, nearest
from features.hashing import hash64
from features.instant import microseconds
from pipelines.ab.experiment import Experiment, MeanMetric, MetricChoice
from pipelines.ab.log import (
    ARM,
    CONTENT,
    INSTANCE,
    KEPT,
    TIME,
    UNIT,
    Log,
    denominator,
    numerator,
    segment,
)
from pipelines.ab.users import Users

MOST = 0.5
"""Share of units in several arms from which on the log is of no use."""
DAY = 24 * 60 * 60 * 1_000_000
"""Microseconds."""
ROWS, FIRST, CAME = "rows", "first", "came"
"""Columns of `Units.frame`: a unit's rows, its first time, and the day of that."""


@dataclass(frozen=True)
class Units:
    """The units of a test."""

    frame: pl.DataFrame
    """One row a unit of exactly one arm, in the order in which they came."""
    daily: pl.DataFrame
    """One row a unit and day (whole days of UTC since 1970); none without times."""
    test: pl.LazyFrame
    """The rows of the test, of units in exactly one arm."""
    metrics: Mapping[str, MetricChoice]
    has_past: bool
    """Whether the log has rows from before the test."""
    assigned: dict[str, int] | None
    """Units by arm that the service assigned, those without rows among them; None for logs that do
    not say."""
    dealt: dict[str, int]
    """Units by arm, those in several arms and those that `where` leaves out among them."""
    crossed: int
    """Units in several arms; they are left out of `frame`."""
    rows: int
    """Rows of the test, of units in exactly one arm."""
    repeated: int
    """Rows of the test that say exactly what another one says."""
    outside: int
    """Rows without an arm, since the test began."""
    filtered: int
    """Rows that `where` leaves out."""
    before: int
    """Rows from before the test."""
    began: datetime | None
    ended: datetime | None
    """Time of the first and of the last row of the test."""

    def arm(self, name: str) -> pl.DataFrame:
        """The units of an arm."""
        return self.frame.filter(pl.col(ARM) == name)

    def users(self, metric: str, frame: pl.DataFrame) -> Users:
        """What statistics see of some rows of `frame`."""
        mean = isinstance(self.metrics[metric], MeanMetric)
        ones = np.ones(len(frame))
        past = f"before.{numerator(metric)}", f"before.{denominator(metric)}"
        return Users(
            frame[numerator(metric)].to_numpy(),
            ones if mean else frame[denominator(metric)].to_numpy(),
            frame[past[0]].fill_null(np.nan).to_numpy() if self.has_past else None,
            None if mean or not self.has_past else frame[past[1]].fill_null(np.nan).to_numpy(),
        )


def gather(log: Log, experiment: Experiment) -> Units:
    """One row a unit.

    Raises DataError for an arm that the experiment does not name, an arm without rows, a test most
    of whose units are in several arms, rows without a time, arms that did not run at the same time,
    and a segment that is no property of units.
    """
    analysis = experiment.analysis
    assert analysis is not None
    rows = log.rows
    _check_times(rows, log)
    until = None if analysis.pre_period is None else instant(analysis.pre_period.until)
    during = rows if until is None else rows.filter(pl.col(TIME) >= until)
    past = rows.clear() if until is None else rows.filter((pl.col(TIME) < until) & pl.col(KEPT))
    _check_arms(during, experiment, analysis.pre_period.until if analysis.pre_period else None)
    test = during.filter(pl.col(KEPT) & pl.col(ARM).is_not_null())
    units = _per_unit(test, experiment)
    crossed = units.filter(pl.col("arms") > 1)
    if len(crossed) > MOST * len(units):
        raise DataError(
            f"{len(crossed)} of {len(units)} units are in several arms, for example "
            f"{crossed[UNIT].min()!r}; expected one arm a unit: is `unit` what was randomised?"
        )
    _check_segments(units, analysis.segments)
    units = units.filter(pl.col("arms") == 1)
    test = test.filter(~pl.col(UNIT).is_in(crossed[UNIT].implode()))
    _check_clocks(units, experiment)
    has_past = until is not None
    frame = _with_past(units, past, list(analysis.metrics)) if has_past else units
    frame = _winsorised(frame, analysis.metrics)
    counts = during.select(
        pl.col(ARM).is_null().sum().alias("outside"), (~pl.col(KEPT)).sum().alias("filtered")
    ).collect()
    return Units(
        frame=_ordered(frame, named=experiment.unit is not None),
        daily=_per_day(test, list(analysis.metrics)),
        test=test,
        metrics=analysis.metrics,
        has_past=has_past,
        assigned=log.assigned,
        dealt=_dealt(during),
        crossed=len(crossed),
        rows=int(frame[ROWS].sum()),
        repeated=_repeated(test),
        outside=int(counts["outside"][0]),
        filtered=int(counts["filtered"][0]),
        before=past.select(pl.len()).collect().item(),
        began=_moment(frame[FIRST].min()),
        ended=_moment(frame["last"].max()),
    )


def instant(until: str) -> int:
    """Microseconds of a time in ISO 8601. Raises DataError for what is none."""
    column = pl.DataFrame({"at": [until]})
    found = column.select(microseconds(TimeConfig(column="at"), pl.String())).item()
    if found is None:
        raise DataError(f"analysis.pre_period.until: {until!r} is no time; expected ISO 8601")
    return int(found)


def _check_times(rows: pl.LazyFrame, log: Log) -> None:
    if log.data.time is None:
        return
    lost = pl.col(TIME).is_null() & pl.col(KEPT) & pl.col(ARM).is_not_null()
    count = rows.select(lost.sum()).collect().item()
    if count:
        raise DataError(
            f"analysis.log.time: {count} rows of the test have no time in "
            f"`{log.data.time.column}` (null, or no time in ISO 8601)"
        )


def _check_arms(rows: pl.LazyFrame, experiment: Experiment, until: str | None) -> None:
    found = dict(
        rows.filter(pl.col(ARM).is_not_null())
        .group_by(ARM)
        .agg(pl.col(KEPT).sum())
        .collect(engine="streaming")
        .iter_rows()
    )
    for arm in sorted(found):
        if arm not in experiment.arms:
            raise DataError(
                f"the log has an arm `{arm}` that the experiment does not name; expected one of "
                f"{', '.join(experiment.arms)}{nearest(arm, experiment.arms)}"
            )
    for arm in experiment.arms:
        if not found.get(arm):
            why = ""
            if arm in found:
                why = " that meets `analysis.log.where`"
            elif until is not None:
                why = f" since the test began, {until}"
            raise DataError(f"arm `{arm}` has no row in the log{why}; expected rows of each arm")


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
            pl.col(TIME).max().alias("last"),
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


def _check_segments(units: pl.DataFrame, segments: Mapping[str, str]) -> None:
    for name, expression in segments.items():
        several = (units[f"values.{segment(name)}"] > 1).sum()
        if several:
            raise DataError(
                f"analysis.segments.{name}: `{expression}` has several values for {several} of "
                f"{len(units)} units; expected a property of the unit that its arm cannot change"
            )


def _check_clocks(units: pl.DataFrame, experiment: Experiment) -> None:
    """Arms that ran one after the other are no test."""
    spans = {
        str(arm): (int(first), int(last))
        for arm, first, last in units.filter(pl.col(FIRST).is_not_null())
        .group_by(ARM)
        .agg(pl.col(FIRST).min(), pl.col("last").max())
        .iter_rows()
    }
    own = spans.get(experiment.control)
    for arm, span in spans.items():
        if own is None or arm == experiment.control:
            continue
        if span[0] > own[1] or own[0] > span[1]:
            words = [f"{_moment(a):%F %T} to {_moment(b):%F %T}" for a, b in (own, span)]
            raise DataError(
                f"arm `{experiment.control}` ran from {words[0]} and arm `{arm}` from {words[1]}: "
                "never at the same time, so that times, not arms, would be compared"
            )


def _with_past(units: pl.DataFrame, past: pl.LazyFrame, metrics: Sequence[str]) -> pl.DataFrame:
    columns = [name for metric in metrics for name in _columns(past, metric)]
    sums = [pl.col(name).sum().alias(f"before.{name}") for name in columns]
    totals = past.group_by(UNIT).agg(*sums).collect(engine="streaming")
    return units.join(totals, on=UNIT, how="left")


def _winsorised(frame: pl.DataFrame, metrics: Mapping[str, MetricChoice]) -> pl.DataFrame:
    """Totals cut off at a quantile of both arms together, those of the pre-period at theirs."""
    cuts = []
    for name, metric in metrics.items():
        if not isinstance(metric, MeanMetric) or metric.winsorise is None:
            continue
        for column in (numerator(name), f"before.{numerator(name)}"):
            if column in frame.columns and frame[column].drop_nulls().len():
                limit = frame[column].quantile(metric.winsorise, "higher")
                cuts.append(pl.col(column).clip(upper_bound=limit))
    return frame.with_columns(cuts)


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


def _dealt(during: pl.LazyFrame) -> dict[str, int]:
    counts = (
        during.filter(pl.col(ARM).is_not_null())
        .group_by(ARM)
        .agg(pl.col(UNIT).n_unique())
        .collect(engine="streaming")
    )
    return dict(counts.sort(ARM).iter_rows())


def _repeated(test: pl.LazyFrame) -> int:
    counts = test.select(pl.len() - pl.col(CONTENT).n_unique()).collect(engine="streaming")
    return int(counts.item())


def _moment(time: object) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(int(time) / 1e6, UTC)  # type: ignore[call-overload]
