"""What holds for every feature that looks back, at every row, to the last bit."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.kinds.history import HistoryConfig
from fulcrum.features.kinds.lookback import Recall, gather_past, look_back
from fulcrum.features.kinds.window import WindowConfig
from fulcrum.testing.logs import SCHEMA, SECOND, Event, events, frame, logs

FEATURES = {
    "shown": WindowConfig(key="user", statistic="count"),
    "clicks": WindowConfig(key="user", statistic="count", where="click = 1", over="3s"),
    "play": WindowConfig(key="user", statistic="sum", value="play", where="click = 1", over="3s"),
    "mean": WindowConfig(key="item", statistic="mean", value="play", over="2s", smoothing=1),
    "ctr": WindowConfig(key="item", statistic="rate", where="click = 1"),
    "viewed": HistoryConfig(key="user", length=3, attributes=("item", "author")),
    "liked": HistoryConfig(key="user", where="click = 1", length=2, attributes=("item",)),
    "fans": HistoryConfig(key="author", length=4, attributes=("user",), age=False),
}
ATTRIBUTES = {name: pl.col(name) for name in ("item", "author", "user")}


def look(rows: list[Event], log: list[Event], partitions: int = 1) -> pl.DataFrame:
    past = gather_past(frame(log), FEATURES, ATTRIBUTES, "time", partitions=partitions)
    return look_back(frame(rows), past, Recall(FEATURES, "time", {"mean": 0.5})).collect()


@settings(max_examples=20)
@given(logs)
def test_rows_keep_their_columns_order_and_number(log: list[Event]) -> None:
    assert_frame_equal(look(log, log).select(list(SCHEMA)), frame(log).collect())


@settings(max_examples=40)
@given(logs, st.lists(events(first=4), max_size=10))
def test_no_event_at_or_after_a_row_changes_it(log: list[Event], other: list[Event]) -> None:
    """Everything from second 4 on is removed or replaced; no row up to second 4 may notice."""
    now = 4 * SECOND
    rows = [event for event in log if event["time"] <= now]
    before = [event for event in log if event["time"] < now]
    seen = look(rows, log)
    assert_frame_equal(look(rows, before), seen, check_exact=True)
    assert_frame_equal(look(rows, other + before), seen, check_exact=True)


@settings(max_examples=40)
@given(logs, logs, st.data())
def test_input_order_changes_nothing(
    rows: list[Event], log: list[Event], data: st.DataObject
) -> None:
    shuffle = data.draw(st.permutations(range(len(rows))))
    seen = look([rows[i] for i in shuffle], data.draw(st.permutations(log)))
    assert_frame_equal(seen, look(rows, log)[list(shuffle)], check_exact=True)


@settings(max_examples=25)
@given(logs, logs, st.integers(2, 5))
def test_partitions_change_nothing(rows: list[Event], log: list[Event], partitions: int) -> None:
    assert_frame_equal(look(rows, log, partitions), look(rows, log), check_exact=True)


@settings(max_examples=20)
@given(logs, logs)
def test_each_row_by_itself_as_in_a_service(rows: list[Event], log: list[Event]) -> None:
    """A request brings one row and the past events of its own keys only."""
    together = look(rows[:3], log)
    for place, row in enumerate(rows[:3]):
        keys = ("user", "item", "author")
        own = [event for event in log if any(event[key] == row[key] for key in keys)]
        assert_frame_equal(look([row], own), together[[place]], check_exact=True)
