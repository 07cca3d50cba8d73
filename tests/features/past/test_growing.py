"""A past that grows answers with the bits of one that is built of the same events at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.kinds.history import HistoryConfig
from fulcrum.features.kinds.history import compute as history
from fulcrum.features.kinds.window import WindowConfig, Windows, totals
from fulcrum.features.past import growing
from fulcrum.features.past.events import (
    KEY,
    TIME,
    Columns,
    ForgottenError,
    Past,
    Reach,
    Selection,
    Standing,
)
from fulcrum.features.past.growing import GrowingPast
from fulcrum.features.values import sql
from fulcrum.testing.logs import SECOND, Event, events, frame, repeated

WINDOWS = [
    WindowConfig(key="user", statistic=statistic, over=over, **more)
    for statistic, more in (
        ("count", {}),
        ("rate", {"where": "click = 1"}),
        ("sum", {"value": "play"}),
        ("mean", {"value": "play", "where": "click = 1"}),
    )
    for over in (None, "3s")
]
QUESTION = Windows(
    {str(n): window for n, window in enumerate(WINDOWS)},
    {str(n): 0.5 for n in range(len(WINDOWS))},
)
HISTORY = HistoryConfig(key="user", length=4, attributes=("item", "code", "author", "play", "tags"))
TEXTS = {sql.value(t): t for w in WINDOWS for t in w.event_sql().values()}
SELECTION = Selection(
    "user",
    "time",
    # Ids without a null, lists, numbers and texts with some, and NaN.
    {"code": pl.col("item").fill_null(7).cast(pl.Int32), "tags": pl.concat_list("item", "click")}
    | {name: pl.col(name) for name in ("item", "author", "play")},
    {name: total for w in WINDOWS for name, total in totals(w).items()},
    pl.col("click").is_null() | (pl.col("click") >= 0),
)


def selected(log: list[Event]) -> pl.LazyFrame:
    """What the selection reads, in a log of any length."""
    return sql.evaluate(frame(log), TEXTS)


def rows(log: list[Event]) -> pl.DataFrame:
    return SELECTION.of(selected(log)).collect()


def _answer(config: HistoryConfig, standing: Standing) -> Columns:
    return {**QUESTION(standing), **history(config, standing)}


answer = partial(_answer, HISTORY)


ASKED = frame(
    [
        {"user": user, "time": time}
        for user in ("ann", "bob", "eve", "", None)
        for time in (*range(-500_000, 9_000_000, 500_000), None)
    ]
).collect()


def bits(past: Past | GrowingPast, asked: pl.DataFrame = ASKED) -> list[Any]:
    answers = past.ask(asked["user"], asked["time"], answer)
    return [repr(pl.Series(column).to_list()) for column in answers.values()]


def check(past: GrowingPast, log: list[Event]) -> None:
    assert bits(past) == bits(Past.of(SELECTION, selected(log)))


changes = st.lists(
    st.tuples(st.lists(events(), max_size=6).flatmap(repeated), st.integers(0, 4)), max_size=8
)


@settings(max_examples=25, deadline=None)
@given(
    log=st.lists(events(), max_size=12).flatmap(repeated),
    changes=changes,
    partitions=st.integers(1, 3),
    mapped=st.booleans(),
)
def test_answers_are_those_of_all_events_sorted_at_once(
    log: list[Event],
    changes: list[tuple[list[Event], int]],
    partitions: int,
    mapped: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("past") if mapped else None
    past = GrowingPast(SELECTION, selected(log), partitions, folder)
    check(past, log)
    for new, goes in changes:
        # Every third of what is there, in no order of time.
        gone, log = log[:: max(1, len(log) // goes)][:goes] if goes else [], list(log)
        for event in gone:
            log.remove(event)
        log += new
        past.change(rows(gone), rows(new))
        check(past, log)


@settings(max_examples=20, deadline=None)
@given(
    log=st.lists(events(), min_size=20, max_size=40).flatmap(repeated),
    changes=changes,
    lateness=st.integers(0, 4).map(lambda seconds: seconds * SECOND),
    last=st.integers(1, 4),
    mapped=st.booleans(),
)
def test_what_is_forgotten_is_in_no_answer(
    log: list[Event],
    changes: list[tuple[list[Event], int]],
    lateness: int,
    last: int,
    mapped: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Rows within the lateness are answered with the same bits, and so is each other row that is
    answered at all; changes within it need no new start."""
    selection = replace(SELECTION, reach=Reach(last, 3 * SECOND))
    short = HISTORY.model_copy(update={"length": last})

    def answered(past: Past | GrowingPast, asked: pl.DataFrame) -> list[Any]:
        question = partial(_answer, short)
        answers = past.ask(asked["user"], asked["time"], question)
        return [repr(pl.Series(column).to_list()) for column in answers.values()]

    def begin() -> GrowingPast:
        folder = tmp_path_factory.mktemp("past") if mapped else None
        return GrowingPast(selection, selected(log), 1, folder, newest - lateness)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "FEWEST", 0)
        newest = max([0, *rows(log)[TIME].to_list()])
        past = begin()
        for new, goes in [([], 0), *changes]:
            kept = [event for event in log if event["time"] is not None]
            gone = kept[:: max(1, len(kept) // goes)][:goes] if goes else []
            needed = newest - lateness - 3 * SECOND
            newest = max([newest, *rows(new)[TIME].to_list()])
            log = [*log]
            for event in gone:
                log.remove(event)
            log += new
            try:
                past.change(rows(gone), rows(new), newest - lateness)
            except ForgottenError:
                changed = pl.concat([rows(gone), rows(new)])[TIME]
                assert changed.min() < needed
                past = begin()
            expected = Past.of(selection, selected(log))
            recent = ASKED.filter(pl.col("time").is_null() | (pl.col("time") >= newest - lateness))
            assert answered(past, recent) == answered(expected, recent)
            late = ASKED.filter(pl.col("user") == "ann", pl.col("time") < newest - lateness)
            for row in late[::3].iter_slices(1):
                try:
                    answers = answered(past, row)
                except ForgottenError:
                    continue
                assert answers == answered(expected, row)


def test_memory_is_that_of_what_rows_look_back_at() -> None:
    """Ten seconds and the last three events of each key, however many came before."""
    selection = Selection("user", "time", reach=Reach(last=3, length=10 * SECOND))
    nothing = pl.DataFrame(schema={KEY: pl.String, TIME: pl.Int64})
    past = GrowingPast(selection, nothing.rename({KEY: "user", TIME: "time"}).lazy())
    for second in range(0, 20_000, 100):
        times = [time * SECOND for time in range(second, second + 100)]
        past.change(nothing, pl.DataFrame({KEY: ["hot"] * 100, TIME: times}), times[-1])
        rare = pl.DataFrame({KEY: [f"{second % 1000}"], TIME: times[:1]})
        past.change(nothing, rare, times[-1])
    assert past._arena.used < 4 * growing.FEWEST
    now = pl.Series([20_000 * SECOND] * 2)
    counts = past.ask(pl.Series(["hot", "0"]), now, lambda s: {"n": s.end - s.oldest})
    assert counts["n"].tolist() == [20_000, 20]
    with pytest.raises(ForgottenError, match=r"later than the allowed lateness.*\(row 2\)$"):
        past.ask(pl.Series(["eve", "hot"]), now - 19_000 * SECOND, lambda s: {})
    late = pl.DataFrame({KEY: ["new", "hot"], TIME: [0, 0]})
    with pytest.raises(ForgottenError):
        past.change(nothing, late)
    assert "new" not in past._numbers


def test_what_is_as_it_was_needs_no_change() -> None:
    log = [{"user": "ann", "time": n, "play": play} for n, play in enumerate((0.0, -0.0, None))]
    other = [log[0], log[2] | {"play": float("nan")}, log[0]]
    gone, new = growing._differing(rows(log), rows(other))
    assert gone.equals(rows(log[1:]))
    assert new.equals(rows(other[1:]))


def test_keys_that_are_numbers() -> None:
    selection = Selection("user", "time", totals={"n": pl.lit(1, pl.Int64)})
    log = pl.LazyFrame({"user": [3, 1], "time": [1, 1]})
    past = GrowingPast(selection, log)
    more = pl.LazyFrame({"user": [2, 3, None], "time": [0, 0, 0]})
    past.change(selection.of(more).head(0).collect(), selection.of(more).collect())
    expected = Past.of(selection, pl.concat([log, more]))
    asked = pl.Series([1, 2, 3, 4, None, "3"], strict=False, dtype=pl.String)
    for time in (0, 1, 2):
        one, other = (
            p.ask(asked, pl.Series([time] * 6), lambda s: {"n": s.end - s.first})["n"]
            for p in (past, expected)
        )
        assert one.tolist() == other.tolist()


def test_a_popular_key_grows_in_place() -> None:
    """Room is doubled, so that events are moved ever more rarely, and blocks are used again."""
    selection = Selection("user", "time")
    nothing = pl.DataFrame(schema={KEY: pl.String, TIME: pl.Int64})
    past = GrowingPast(selection, nothing.lazy().rename({KEY: "user", TIME: "time"}))
    for time in range(200):
        past.change(nothing, pl.DataFrame({KEY: ["a", "b"], TIME: [time, time]}))
    taken = len(past._arena[TIME])
    assert past._arena._used <= 2 * (4 + 8 + 16 + 32 + 64 + 128 + 256) <= taken
    asked = pl.Series(["a", "b"]), pl.Series([150, 200])
    counts = past.ask(*asked, lambda s: {"n": s.end - s.first})
    assert counts["n"].tolist() == [150, 200]


def test_who_asks_meanwhile_sees_a_change_whole() -> None:
    """One event is always there, first at one time, then at the other."""
    one, other = ([{"user": "ann", "time": time, "click": 1}] for time in (1, 2))
    past = GrowingPast(SELECTION, selected(one))
    ends = threading.Event()

    def ask() -> set[int]:
        counts: set[int] = set()
        while not (counts and ends.is_set()):
            asked = pl.Series(["ann"]), pl.Series([9])
            counts |= {*past.ask(*asked, lambda s: {"n": s.end - s.first})["n"].tolist()}
        return counts

    with ThreadPoolExecutor(3) as pool:
        seen = [pool.submit(ask) for _ in range(3)]
        for _ in range(30):
            past.change(rows(one), rows(other))
            one, other = other, one
        ends.set()
        # A thread that fails is one that has not looked: its error is raised here.
        assert [each.result() for each in seen] == [{1}] * 3
    check(past, one)


def test_files_of_a_past_leave_nothing(tmp_path: Path) -> None:
    log = [
        {"user": f"{n % 9}", "time": n, "item": n, "author": None, "click": 1, "play": n / 3}
        for n in range(3_000)
    ]
    past = GrowingPast(SELECTION, selected(log[:2_000]), 3, tmp_path / "past")
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    past.change(rows([]), rows(log[2_000:]))
    check(past, log)
