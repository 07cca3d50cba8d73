"""The events that rows look back at: what preparing and scoring make of a log, then sort."""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path

import polars as pl

from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.kinds.lookback import (
    Recall,
    Source,
    evaluate_events,
    gather_past,
    select_past,
)
from fulcrum.features.past.buckets import Advance, Question, look_back
from fulcrum.features.past.events import AnyPast
from fulcrum.features.raw.complete import complete
from fulcrum.features.raw.conform import conform
from fulcrum.features.raw.instant import check_times, microseconds
from fulcrum.features.raw.known import known, known_times
from fulcrum.features.raw.pivot import pivot, relevant
from fulcrum.features.spec import Clock
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.values import sql

TIME = "row.moment"
"""Column of a row's or event's time in Int64 microseconds, while it is worked on; no answer can
have its name."""

Gathered = Mapping[Source, AnyPast]


def gather(
    past: pl.LazyFrame, state: FeatureState, folder: Path | None = None, partitions: int = 1
) -> Gathered:
    """Sort past events, once for any number of `Transform` calls; on disk when given a folder."""
    if not state.spec.looking_back:
        return {}
    return gather_past(
        with_clocks(complete_past(past, state, "the past events"), state),
        state.spec.looking_back,
        state.remembered,
        TIME,
        clocks=clocks_of(state),
        partitions=partitions,
        folder=folder,
    )


def look_back_at_each_other(
    rows: pl.LazyFrame,
    state: FeatureState,
    folder: Path,
    buckets: int = 1,
    advance: Advance = lambda done, total: None,
) -> pl.LazyFrame:
    """What each row of a preparation sees of those before it (`kinds.lookback.look_back`), in their
    order; `data.pivot` has made of them what they are. Arguments as of `past.buckets.look_back`."""
    assert state.time is not None
    features = state.spec.looking_back
    needs = state.lineage.needs([*(f.key for f in features.values()), state.time.column])
    asking = complete(rows.select(*needs.columns), needs, state.spec.data, state.tables)
    events = with_clocks(_complete(rows, state, "the past events"), state)
    selections = select_past(features, state.remembered, TIME, clocks_of(state))
    recall = Recall(features, TIME, state.bases, clocks_of(state))
    questions = [
        Question(selection, recall.question(source)) for source, selection in selections.items()
    ]
    return look_back(
        with_time(asking, state, "the rows"),
        TIME,
        evaluate_events(events, features),
        questions,
        buckets,
        folder,
        advance,
    )


def complete_past(past: pl.LazyFrame, state: FeatureState, what: str) -> pl.LazyFrame:
    """Past events that meet `data.where`, with their time and all that looking back reads of them;
    of a long log its impressions.

    Raises DataError when they are not what training saw: columns, types, times."""
    past = conform(past, state.past_columns, what, state.time).select(*state.past_columns)
    data = state.spec.data
    if data.pivot is not None and state.past_columns:
        with_time(relevant(past, data.pivot), state, what)
        past = pivot(past, data, state.past_needs.columns).rows
    return _complete(past, state, what)


def _complete(past: pl.LazyFrame, state: FeatureState, what: str) -> pl.LazyFrame:
    past = past.select(*state.past_needs.columns)
    past = complete(past, state.past_needs, state.spec.data, state.tables)
    if state.spec.data.where is not None:
        past = past.filter(pl.col(sql.value(state.spec.data.where)).cast(pl.Boolean))
    late = dict.fromkeys(n for clock in state.spec.clocks.values() for n in clock.outcomes)
    # The times of behaviours are those of rows, and were looked at before.
    stated = [name for name in late if name in state.spec.data.outcomes]
    for time in known_times(stated, state.spec.data):
        _timed(past, time, state, what)
    return with_time(past, state, what)


def with_clocks(past: pl.LazyFrame, state: FeatureState) -> pl.LazyFrame:
    """Complete past events with the times from which they count, where outcomes come late."""
    return past.with_columns(
        **{
            _clock(clock): known(clock, state.spec.data, state.lineage.dtype)
            for clock in state.spec.clocks.values()
        }
    )


def clocks_of(state: FeatureState) -> dict[str, str]:
    """By feature that reads late outcomes, the column of the time from which an event counts."""
    return {name: _clock(clock) for name, clock in state.spec.clocks.items()}


def _clock(clock: Clock) -> str:
    return f"past.{'settled' if clock.settled else 'known'}.{','.join(clock.outcomes)}"


def with_time(frame: pl.LazyFrame, state: FeatureState, what: str) -> pl.LazyFrame:
    """Complete rows or events with their time.

    Raises DataError for a value that is no time, or no plausible one."""
    assert state.time is not None
    return _timed(frame, state.time, state, what)


def times_of(rows: pl.DataFrame, state: FeatureState, what: str) -> pl.Series:
    """`with_time` for rows in memory: the times alone."""
    assert state.time is not None
    column, dtype = state.time.column, rows.schema[state.time.column]
    times = rows.select(_microseconds(state.time, dtype, state.time.days)).to_series()
    if times.null_count() > rows[column].null_count():
        check_times(rows.lazy().with_columns(times), TIME, state.time, dtype, what)
    return times


def _timed(frame: pl.LazyFrame, time: TimeConfig, state: FeatureState, what: str) -> pl.LazyFrame:
    dtype = state.lineage.dtype(time.column)
    timed = frame.with_columns(microseconds(time, dtype).alias(TIME))
    check_times(timed, TIME, time, dtype, what)
    return timed


@lru_cache(maxsize=64)
def _microseconds(time: TimeConfig, dtype: pl.DataType, days: tuple[date, date]) -> pl.Expr:
    """Made anew when the last plausible day is another one."""
    return microseconds(time, dtype).alias(TIME)
