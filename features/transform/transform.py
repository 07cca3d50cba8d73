"""Raw rows to the inputs of the network: the one implementation behind preparation and scoring."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl

from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError
from fulcrum.features.kinds.lookback import Source, gather_past, look_back
from fulcrum.features.past.events import AnyPast
from fulcrum.features.raw.complete import complete
from fulcrum.features.raw.conform import conform
from fulcrum.features.raw.instant import check_times, microseconds
from fulcrum.features.raw.known import known, known_times
from fulcrum.features.raw.pivot import pivot, relevant
from fulcrum.features.spec import Clock
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.values import sql

TIME = "past.time"
"""Column of a row's time in Int64 microseconds, while the plan runs."""
KEPT = "kept."
"""Before the names of columns that are only carried through, while the plan runs."""

Gathered = Mapping[Source, AnyPast]


def transform(
    rows: pl.LazyFrame,
    state: FeatureState,
    past: pl.LazyFrame | None = None,
    keep: Sequence[str] = (),
) -> pl.LazyFrame:
    """One column per input of `state.layout`, then the columns to keep; rows keep their order.

    Args:
        rows: raw rows with `state.row_columns` and `keep`; further columns are ignored.
        past: raw past events with `state.past_columns`, in any order. They may be later than some
            rows or be the rows themselves: only what lies strictly before a row counts for it.
            Without, histories are empty and windows see nothing. Read when this is called.
        keep: columns of `rows` to carry through; they must not be called like an input.

    Raises DataError for a missing column or a value that its column's type cannot hold.
    """
    gathered = None if past is None or not state.past_columns else gather(past, state)
    return encode(rows, state, gathered, keep)


def gather(
    past: pl.LazyFrame, state: FeatureState, folder: Path | None = None, partitions: int = 1
) -> Gathered:
    """Sort past events, once for any number of `encode`; on disk when given a folder."""
    if not state.spec.looking_back:
        return {}
    return _sort(complete_past(past, state, "the past events"), state, folder, partitions)


def gather_rows(
    rows: pl.LazyFrame, state: FeatureState, folder: Path | None = None, partitions: int = 1
) -> Gathered:
    """`gather` for the rows of a preparation, of which `data.pivot` has made what they are."""
    if not state.spec.looking_back:
        return {}
    return _sort(_complete(rows, state, "the past events"), state, folder, partitions)


def _sort(
    past: pl.LazyFrame, state: FeatureState, folder: Path | None, partitions: int
) -> Gathered:
    return gather_past(
        with_clocks(past, state),
        state.spec.looking_back,
        state.remembered,
        TIME,
        clocks=clocks_of(state),
        partitions=partitions,
        folder=folder,
    )


def encode(
    rows: pl.LazyFrame,
    state: FeatureState,
    past: Gathered | None = None,
    keep: Sequence[str] = (),
    extra: Sequence[pl.Expr] = (),
) -> pl.LazyFrame:
    """`transform` with events already gathered, and expressions over complete rows to add."""
    clash = sorted({source.name for source in state.layout.inputs} & set(keep))
    if clash:
        raise DataError(f"columns to keep are called like inputs of the network: {clash}")
    rows = conform(rows, state.row_columns, time=state.time)
    columns = [pl.col(name).alias(KEPT + name) for name in keep]
    rows = complete(
        rows.select(*state.row_columns, *columns), state.row_needs, state.spec.data, state.tables
    )
    if state.spec.looking_back:
        past = _no_past(state) if past is None else past
        rows = look_back(
            with_time(rows, state, "the rows"),
            past,
            state.spec.looking_back,
            TIME,
            state.bases,
            clocks_of(state),
        )
    return rows.select(*state.inputs, *(pl.col(KEPT + name).alias(name) for name in keep), *extra)


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


@lru_cache(maxsize=8)
def _no_past(state: FeatureState) -> Gathered:
    return gather(pl.LazyFrame(schema=state.past_columns), state)


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


def _timed(frame: pl.LazyFrame, time: TimeConfig, state: FeatureState, what: str) -> pl.LazyFrame:
    dtype = state.lineage.dtype(time.column)
    timed = frame.with_columns(microseconds(time, dtype).alias(TIME))
    check_times(timed, TIME, time, dtype, what)
    return timed
