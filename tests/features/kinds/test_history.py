from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.kinds.history import HistoryConfig
from fulcrum.features.kinds.lookback import Recall, gather_past, look_back
from fulcrum.testing import plain
from fulcrum.testing.kinds import Log, LookBackContract
from fulcrum.testing.logs import SECOND, Event, frame, logs, past_of

ATTRIBUTES = {"item": pl.col("item"), "author": pl.col("author")}


class TestHistory(LookBackContract):
    name = "viewed"
    others = {"item": {"kind": "categorical"}}

    def document(self) -> dict[str, Any]:
        return {"kind": "history", "key": "user", "attributes": ["item"]}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        def item(event: Event) -> int:
            return plain.ids([row["item"] for row in train], [event["item"]])[0]

        pasts = [
            sorted(past_of(row, log), key=lambda event: (event["time"], item(event))) for row in log
        ]
        seconds = [
            [(row["time"] - event["time"]) // SECOND for event in past]
            for row, past in zip(log, pasts, strict=True)
        ]
        return {
            "viewed.item": [[item(event) for event in past] for past in pasts],
            "viewed.age": [[2 + age.bit_length() for age in ages] for ages in seconds],
        }

    def absent(self, row: Event, log: Log) -> bool:
        return not past_of(row, log)


def look(rows: list[Event], log: list[Event], config: HistoryConfig) -> pl.DataFrame:
    features = {"viewed": config}
    past = gather_past(frame(log), features, ATTRIBUTES, "time")
    seen = look_back(frame(rows), past, Recall(features, "time"))
    return seen.select(pl.col(r"^past\..*$").name.replace("past.viewed.", "")).collect()


def order(event: Event) -> tuple[Any, ...]:
    """By time, then by content: attributes by name, nulls first."""
    author, item = event["author"], event["item"]
    return event["time"], author is not None, author or "", item is not None, item or 0


@given(logs, logs, st.integers(1, 6), st.booleans())
def test_equals_brute_force(
    rows: list[Event], log: list[Event], length: int, clicked: bool
) -> None:
    config = HistoryConfig(
        key="user",
        where="click = 1" if clicked else None,
        length=length,
        attributes=("item", "author"),
    )
    result = look(rows, log, config)
    assert result.height == len(rows)
    for row, seen in zip(rows, result.iter_rows(named=True), strict=True):
        chosen = [event for event in past_of(row, log) if not clicked or event["click"] == 1]
        last = sorted(chosen, key=order)[-length:]
        assert seen["item"] == [event["item"] for event in last]
        assert seen["author"] == [event["author"] for event in last]
        ages = [np.float32((row["time"] - event["time"]) / SECOND) for event in last]
        assert seen["age"] == ages


def test_keeps_the_type_of_each_attribute() -> None:
    config = HistoryConfig(key="user", attributes=("item", "author"))
    for rows in ([], [{"user": None, "time": 0}]):
        assert look(rows, [], config).schema == {
            "item": pl.List(pl.Int64),
            "author": pl.List(pl.String),
            "age": pl.List(pl.Float32),
        }


def test_last_events_oldest_first_without_the_tie() -> None:
    log = [
        {"user": "ann", "time": time * SECOND, "item": item, "author": "x"}
        for time, item in [(3, 30), (1, 10), (4, 41), (2, 20), (4, 40)]
    ]
    config = HistoryConfig(key="user", length=2, attributes=("item",), age=False)
    assert look(log, log, config)["item"].to_list() == [
        [10, 20],  # at 3
        [],  # at 1
        [20, 30],  # at 4: not the other event at 4
        [10],  # at 2
        [20, 30],  # at 4
    ]


def test_ages_are_seconds() -> None:
    log = [{"user": "ann", "time": 0}, {"user": "ann", "time": 5 * SECOND // 2}]
    config = HistoryConfig(key="user", attributes=("item",))
    result = look([{"user": "ann", "time": 86400 * SECOND}], log, config)
    assert result["age"].to_list() == [[86400.0, 86400 - 5 / 2]]


def test_attributes_may_be_ids_of_an_encoder() -> None:
    log = pl.LazyFrame({"user": ["ann", "ann"], "time": [0, 1], "item": ["a", None]})
    features = {"viewed": HistoryConfig(key="user", attributes=("item",))}
    encoded = {"item": pl.col("item").replace_strict({"a": 2}, default=0, return_dtype=pl.Int32)}
    past = gather_past(log, features, encoded, "time")
    row = pl.LazyFrame({"user": ["ann"], "time": [9]})
    seen = look_back(row, past, Recall(features, "time")).collect()["past.viewed.item"]
    assert seen.dtype == pl.List(pl.Int32)
    assert seen.to_list() == [[2, 0]]


def test_an_attribute_nobody_defined_is_named() -> None:
    features = {"viewed": HistoryConfig(key="user", attributes=("colour",))}
    with pytest.raises(KeyError, match="colour"):
        gather_past(frame([]), features, ATTRIBUTES, "time")
