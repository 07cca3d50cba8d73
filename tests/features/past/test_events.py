from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.past.events import Columns, Past, Standing, count_before
from fulcrum.testing.logs import Event, frame, logs, past_of

groups = st.lists(st.lists(st.integers(-5, 5).map(lambda t: t * 10**15), max_size=9), max_size=6)


def counts(standing: Standing) -> dict[str, np.ndarray]:
    return {"events": standing.end - standing.first}


def ask(past: Past, rows: pl.LazyFrame, key: str = "user") -> list[int]:
    frame = rows.collect()
    return past.ask(frame[key], frame["time"], counts)["events"].tolist()


@given(groups, st.data())
def test_count_before_counts_the_earlier_times_of_each_group(
    groups: list[list[int]], data: st.DataObject
) -> None:
    groups = [sorted(group) for group in groups]
    last = np.cumsum([len(group) for group in groups], dtype=np.int64)
    first = last - [len(group) for group in groups]
    time = st.integers(-6, 6).map(lambda t: t * 10**15)
    moments = np.array([data.draw(time) for _ in groups], np.int64)
    times = np.array([time for group in groups for time in group], np.int64)
    place = count_before(times, first.astype(np.int64), last, moments)
    expected = [sum(t < m for t in g) for g, m in zip(groups, moments, strict=True)]
    assert (place - first).tolist() == expected


@given(logs, logs, st.integers(1, 4))
def test_counts_what_lies_strictly_before(
    rows: list[Event], log: list[Event], partitions: int
) -> None:
    past = Past.build(frame(log), "user", "time", partitions=partitions)
    assert ask(past, frame(rows)) == [len(past_of(row, log)) for row in rows]


def test_a_tie_is_no_past_where_shifting_would_leak() -> None:
    log = pl.LazyFrame({"user": ["ann"] * 3, "time": [1, 1, 2], "click": [1, 1, 1]})
    leaking = log.select(
        pl.col("click").shift(1, fill_value=0).cum_sum().over("user", order_by="time")
    ).collect()["click"]
    past = Past.build(log, "user", "time", totals={"click": pl.col("click").cast(pl.Int64)})
    rows = log.collect()
    seen = past.ask(
        rows["user"],
        rows["time"],
        lambda standing: {"click": standing.totals(["click"], standing.since([None]))[0, 0]},
    )["click"]
    assert leaking.to_list() == [0, 1, 1 + 1]
    assert seen.tolist() == [0, 0, 1 + 1]


def test_no_key_no_time_and_unknown_keys_have_no_past() -> None:
    log = pl.LazyFrame({"user": [1, 1, None], "time": [1, None, 1]})
    rows = pl.LazyFrame({"user": [1, 1, None, 2, 0], "time": [5, None, 5, 5, 5]})
    assert ask(Past.build(log, "user", "time"), rows) == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("nobody", [None, float("nan"), ""])
@pytest.mark.parametrize("partitions", [1, 3])
def test_nobody_has_no_past(nobody: Any, partitions: int) -> None:
    somebody: Any = "1" if nobody == "" else 1.0
    log = pl.LazyFrame({"user": [somebody, nobody, nobody], "time": [1, 1, 2]}, strict=False)
    past = Past.build(log, "user", "time", partitions=partitions)
    assert ask(past, log.with_columns(time=pl.lit(5))) == [1, 0, 0]


def test_an_empty_log_and_no_rows() -> None:
    empty = pl.LazyFrame(schema={"user": pl.Int64, "time": pl.Int64})
    rows = pl.LazyFrame({"user": [1, None], "time": [1, 1]})
    for partitions in (1, 3):
        assert ask(Past.build(empty, "user", "time", partitions=partitions), rows) == [0, 0]
        assert ask(Past.build(rows, "user", "time", partitions=partitions), empty) == []


def test_keys_meet_across_types() -> None:
    times = {"time": [0, 0, 0]}
    later = {"time": [1, 1, 1]}
    whole = pl.LazyFrame({"user": pl.Series([7, 8, 7], dtype=pl.UInt16), **times})
    text = pl.LazyFrame({"user": ["7", "8", "7"], **times})
    coded = pl.LazyFrame({"user": pl.Series(["7", "8", "7"], dtype=pl.Categorical), **times})
    for log in (whole, text, coded):
        past = Past.build(log, "user", "time", partitions=2)
        assert ask(past, pl.LazyFrame({"user": [7, 8, -9], **later})) == [2, 1, 0]
        assert ask(past, pl.LazyFrame({"user": ["7", "8", "x"], **later})) == [2, 1, 0]


def test_sums_are_exact_beside_huge_values_of_the_same_key() -> None:
    log = pl.LazyFrame({"user": ["a"] * 4, "time": [0, 1, 2, 3], "x": [1e16, 0.1, 0.2, -1e16]})
    past = Past.build(log, "user", "time", totals={"x": pl.col("x")})
    total = past.ask(
        pl.Series(["a"]),
        pl.Series([3]),
        lambda standing: {"x": standing.totals(["x"], standing.since([2]))[0, 0]},
    )["x"]
    assert 1e16 + 0.1 + 0.2 - 1e16 != 0.1 + 0.2
    assert total.tolist() == [0.1 + 0.2]


def test_a_folder_gives_the_same_from_memory_maps(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    log = pl.LazyFrame(
        {
            "user": generator.integers(0, 50, 5000),
            "time": generator.integers(0, 500, 5000),
            "item": generator.integers(0, 9, 5000).astype(str),
        }
    )

    def answer(standing: Standing) -> Columns:
        newest = np.maximum(standing.end - 1, 0)
        return {**counts(standing), "item": standing.events["item"].gather(newest)}

    rows = log.collect()
    plain, stored = (
        Past.build(
            log, "user", "time", columns={"item": pl.col("item")}, partitions=parts, folder=folder
        ).ask(rows["user"], rows["time"], answer)
        for parts, folder in ((4, None), (4, tmp_path / "past"))
    )
    assert stored["item"].equals(plain["item"])
    assert stored["events"].tolist() == plain["events"].tolist()
    assert not list((tmp_path / "past").rglob("*.parquet"))
