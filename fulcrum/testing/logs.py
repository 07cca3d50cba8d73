"""Small random logs full of ties, duplicates, nulls and odd numbers; the past in plain Python."""

from typing import Any

import polars as pl
from hypothesis import strategies as st

Event = dict[str, Any]

SECOND = 1_000_000
SCHEMA = {
    "user": pl.String,
    "time": pl.Int64,
    "item": pl.Int64,
    "author": pl.String,
    "click": pl.Int8,
    "play": pl.Float64,
}

numbers = st.sampled_from([0.0, 0.1, -2.5, 1e15, -1e15, 1e-9, float("nan"), float("inf")])


def events(first: int = 0, last: int = 8) -> st.SearchStrategy[Event]:
    """One event between two times, in seconds."""
    return st.fixed_dictionaries(
        {
            "user": st.sampled_from(["ann", "bob", "", None]),
            "time": st.integers(first * 2, last * 2).map(lambda half: half * SECOND // 2),
            "item": st.none() | st.integers(0, 2),
            "author": st.none() | st.sampled_from(["x", "y"]),
            "click": st.none() | st.integers(0, 1),
            "play": st.none() | numbers | st.floats(-1e6, 1e6),
        }
    )


def repeated(log: list[Event]) -> st.SearchStrategy[list[Event]]:
    """The log with some of its events once more at the end."""
    if not log:
        return st.just(log)
    return st.lists(st.sampled_from(log), max_size=5).map(lambda again: log + again)


logs = st.lists(events(), max_size=25).flatmap(repeated)


def frame(log: list[Event]) -> pl.LazyFrame:
    return pl.LazyFrame(log, schema=SCHEMA)


def past_of(row: Event, log: list[Event]) -> list[Event]:
    """The events of the row's user strictly before the row, in any order; null and
    an empty text are no user."""
    same = [event for event in log if event["user"] == row["user"] and row["user"]]
    return [event for event in same if event["time"] < row["time"]]
