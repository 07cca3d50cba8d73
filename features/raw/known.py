"""When the outcomes of an event were known, as Int64 microseconds since 1970 in UTC."""

from collections.abc import Callable, Iterable, Mapping

import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.raw.complete import complete, prune
from fulcrum.features.raw.instant import microseconds
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.spec import Clock, FeatureSpec
from fulcrum.features.values.duration import to_microseconds


def columns(outcomes: Iterable[str], data: DataConfig) -> list[str]:
    """Names that `known` reads; none without outcomes."""
    ats = [data.late[name].known_at for name in outcomes]
    return [data.time.column, *filter(None, ats)] if ats and data.time is not None else []


def known_times(outcomes: Iterable[str], data: DataConfig) -> list[TimeConfig]:
    """How to read the columns that say when some late outcomes were known."""
    assert data.time is not None
    ats = [data.late[name].known_at for name in outcomes]
    return [data.time.model_copy(update={"column": at}) for at in ats if at is not None]


def known(clock: Clock, data: DataConfig, dtype: Callable[[str], pl.DataType]) -> pl.Expr:
    """When all outcomes of a clock were known, never before the event; null for never. `dtype`
    gives the type of a column."""
    assert data.time is not None
    happened = microseconds(data.time, dtype(data.time.column))
    times = [happened]
    for name in clock.outcomes:
        after = data.late[name].known_after
        ats = [microseconds(time, dtype(time.column)) for time in known_times([name], data)]
        passed = [] if after is None else [happened + to_microseconds(after)]
        # Both skip nulls: without a time of its own it is known when the length has passed.
        both = pl.max_horizontal if clock.settled else pl.coalesce
        times.append(both(*ats, *passed))
    ever = pl.all_horizontal(time.is_not_null() for time in times)
    return pl.when(ever).then(pl.max_horizontal(times))


def ripe(
    outcomes: Iterable[str], data: DataConfig, dtype: Callable[[str], pl.DataType], end: int
) -> pl.Expr:
    """Whether all of them were settled when the log ended: a yes of the last hours counts no sooner
    than a no, for which they were too short."""
    return (known(Clock(tuple(outcomes), True), data, dtype) <= end).fill_null(False)


def ripe_labels(spec: FeatureSpec, lineage: Lineage, end: int | None) -> dict[str, pl.Expr]:
    """`ripe` for the tasks whose labels wait for an outcome."""
    if end is None:
        return {}
    return {
        task: ripe(outcomes, spec.data, lineage.dtype, end)
        for task, outcomes in spec.unripe.items()
    }


def log_end(
    events: pl.LazyFrame, lineage: Lineage, tables: Mapping[str, pl.LazyFrame]
) -> int | None:
    """Time of the last event; None where no outcome is late, so that nothing hangs on it."""
    time = lineage.data.time
    if time is None or not lineage.data.late:
        return None
    needs = lineage.needs([time.column])
    side_tables = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    rows = complete(events.select(*needs.columns), needs, lineage.data, side_tables)
    return rows.select(microseconds(time, lineage.dtype(time.column)).max()).collect().item()
