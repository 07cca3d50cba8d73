"""Logs that are no test: each is refused with what is wrong in it. All raise DataError."""

from datetime import UTC, datetime

import polars as pl

from fulcrum.features.errors import DataError, nearest
from fulcrum.pipelines.ab.log.columns import ARM, CLUSTER, KEPT, TIME, UNIT, segment
from fulcrum.pipelines.ab.log.experiment import AnalysisConfig, Experiment
from fulcrum.pipelines.ab.log.staged import Log
from fulcrum.pipelines.ab.log.units import FIRST, LAST
from fulcrum.pipelines.ab.metrics.columns import DAY, covariate, numerator

MOST = 0.5
"""Share of units in several arms from which on the log is of no use."""


def check_times(rows: pl.LazyFrame, log: Log) -> None:
    """Rows of the test that have no time, where the log has one."""
    if log.data.time is None:
        return
    lost = pl.col(TIME).is_null() & pl.col(KEPT) & pl.col(ARM).is_not_null()
    count = rows.select(lost.sum()).collect().item()
    if count:
        first, last = log.data.time.days
        raise DataError(
            f"analysis.log.time: {count} rows of the test have no time in "
            f"`{log.data.time.column}` (null, no time in ISO 8601, or not from {first} to {last}: "
            "`unit`, `zone`, `earliest` and `latest` say what it means)"
        )


def check_arms(rows: pl.LazyFrame, experiment: Experiment, until: str | None, nobody: int) -> None:
    """Arms that the experiment does not name in rows that meet `where`, and those without such rows
    since `until`; `nobody` counts the rows that name no unit and are not among `rows`."""
    rows_by_arm = dict(
        rows.filter(pl.col(ARM).is_not_null())
        .group_by(ARM)
        .agg(pl.col(KEPT).sum())
        .collect(engine="streaming")
        .iter_rows()
    )
    for arm in sorted(rows_by_arm):
        if rows_by_arm[arm] and arm not in experiment.arms:
            raise DataError(
                f"the log has an arm `{arm}` that the experiment does not name; expected one of "
                f"{', '.join(experiment.arms)}{nearest(arm, experiment.arms)}"
            )
    for arm in experiment.arms:
        if not rows_by_arm.get(arm):
            why = ""
            if arm in rows_by_arm:
                why = " that meets `analysis.log.where`"
            elif until is not None:
                why = f" since the test began, {until}"
            if nobody:
                why += f" ({nobody:,} rows of the test name nobody in `{experiment.unit}`)"
            raise DataError(f"arm `{arm}` has no row in the log{why}; expected rows of each arm")


def check_properties(units: pl.DataFrame, analysis: AnalysisConfig) -> None:
    """Segments, clusters and covariates that are no property of units."""
    declared = [(f"segments.{n}", text, segment(n)) for n, text in analysis.segments.items()]
    for name, metric in analysis.metrics.items():
        if metric.covariate is not None:
            declared.append((f"metrics.{name}.covariate", metric.covariate, covariate(name)))
    if analysis.log.cluster is not None:
        declared.append(("log.cluster", analysis.log.cluster, CLUSTER))
    for place, expression, column in declared:
        several = (units[f"values.{column}"] > 1).sum()
        if several:
            raise DataError(
                f"analysis.{place}: `{expression}` has several values for {several} of "
                f"{len(units)} units; expected a property of the unit that its arm cannot change"
            )


def check_windows(units: pl.DataFrame, experiment: Experiment) -> None:
    """Metrics that take longer than the test has run for any unit of an arm."""
    assert experiment.analysis is not None
    for name, metric in experiment.analysis.metrics.items():
        counted = dict(units.group_by(ARM).agg(pl.col(numerator(name)).count()).iter_rows())
        late = [arm for arm in experiment.arms if not counted.get(arm)]
        if metric.span is not None and late:
            raise DataError(
                f"analysis.metrics.{name}: the log ends before {metric.span / DAY:g} days are over "
                f"for any unit of arm `{late[0]}`; expected a longer log or a shorter time"
            )


def check_clocks(units: pl.DataFrame, experiment: Experiment) -> None:
    """Arms that ran one after the other are no test."""
    spans = {
        str(arm): (int(first), int(last))
        for arm, first, last in units.filter(pl.col(FIRST).is_not_null())
        .group_by(ARM)
        .agg(pl.col(FIRST).min(), pl.col(LAST).max())
        .iter_rows()
    }
    control_span = spans.get(experiment.control)
    for arm, span in spans.items():
        if control_span is None or arm == experiment.control:
            continue
        if span[0] > control_span[1] or control_span[0] > span[1]:
            words = [f"{_time(a)} to {_time(b)}" for a, b in (control_span, span)]
            raise DataError(
                f"arm `{experiment.control}` ran from {words[0]} and arm `{arm}` from {words[1]}: "
                "never at the same time, so that times, not arms, would be compared"
            )


def check_crossed(crossed: pl.DataFrame, units: int) -> None:
    """Some units in several arms are left out; many are another deal."""
    if len(crossed) > MOST * units:
        raise DataError(
            f"{len(crossed)} of {units} units are in several arms, for example "
            f"{crossed[UNIT].min()!r}; expected one arm a unit: is `unit` what was randomised?"
        )


def _time(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%F %T}"
