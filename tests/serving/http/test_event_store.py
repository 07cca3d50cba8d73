"""The event store: kept once, found by key, there after a restart."""

import subprocess
import sys
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ResourceError, StateError
from fulcrum.serving.http.event_store import EventStore

COLUMNS = {"user": pl.Int64(), "video": pl.String(), "time": pl.Int64(), "long": pl.Boolean()}
KEYS = ("user", "video")


def events(*rows, columns=COLUMNS):
    return pl.DataFrame(rows, schema=columns, orient="row")


A, B, C = (1, "x", 10, True), (2, "x", 20, None), (1, "y", 30, False)


def past(store, user, video):
    rows = pl.DataFrame({"user": user, "video": video}, schema_overrides={"user": pl.Int64})
    return store.past_of(rows).collect().sort("time")


@pytest.fixture(params=[None, "events.db"], ids=["memory", "file"])
def path(request, tmp_path):
    return tmp_path / request.param if request.param else None


def test_events_are_found_by_any_of_their_keys(path):
    store = EventStore(path, COLUMNS, KEYS)
    assert store.append(events(A, B, C)) == 3
    assert past(store, [1], ["z"]).equals(events(A, C))
    assert past(store, [9], ["x"]).equals(events(A, B))
    assert past(store, [1, 2], ["y", None]).equals(events(A, B, C))
    assert past(store, [None], [None]).equals(events())
    assert past(store, [], []).equals(events())


@pytest.mark.parametrize(("dtype", "nobody"), [(pl.String, ""), (pl.Float64, float("nan"))])
def test_nobody_has_no_events(dtype, nobody):
    columns = {**COLUMNS, "user": dtype()}
    store = EventStore(None, columns, ("user",))
    store.append(events((nobody, *A[1:]), (None, *A[1:]), columns=columns))
    rows = pl.DataFrame({"user": [nobody, None]}, schema={"user": dtype})
    assert store.past_of(rows).collect().is_empty()


def test_repeated_events_are_ignored(path):
    store = EventStore(path, COLUMNS, KEYS)
    assert store.append(events(A, B)) == 2
    assert store.append(events(B, C, C)) == 1
    assert store.count() == 3


def test_an_event_key_decides_what_the_same_event_is():
    store = EventStore(None, COLUMNS, KEYS, event_key=("id",))
    columns = {**COLUMNS, "id": pl.String()}
    assert store.columns == columns
    assert store.append(events((*A, "1"), (*A, "2"), (*B, "2"), columns=columns)) == 2
    assert past(store, [1], [None]).equals(events(A, A))


def test_what_is_known_later_fills_in_the_event():
    store = EventStore(None, COLUMNS, KEYS, event_key=("user", "time"))
    early, late = (1, "x", 10, None), (1, None, 10, True)
    assert store.append(events(early)) == 1
    assert store.append(events(late, A, (1, "y", 10, False))) == 1
    assert past(store, [1], [None]).equals(events(A))


def test_a_file_keeps_its_repeats_and_loads_once(tmp_path):
    store = EventStore(tmp_path / "events.db", COLUMNS, KEYS)
    store.append(events(A))
    log = tmp_path / "log.parquet"
    events(A, A, B).write_parquet(log)
    assert store.load(log, [events(A), events(A, B)]) == 2
    assert past(store, [1, 2], [None, None]).equals(events(A, A, B))
    assert store.load(log, iter(())) == 0
    log.touch()
    assert store.load(log, [events(A, A), events(B)]) == 0
    assert store.count() == 3


def test_a_file_that_breaks_off_leaves_nothing(tmp_path):
    store = EventStore(tmp_path / "events.db", COLUMNS, KEYS)
    log = tmp_path / "log.parquet"
    events(A).write_parquet(log)

    def broken():
        yield events(A)
        raise ValueError("truncated")

    with pytest.raises(ValueError, match="truncated"):
        store.load(log, broken())
    assert store.count() == 0
    assert store.load(log, [events(A)]) == 1


def test_events_survive_a_kill(tmp_path):
    path = tmp_path / "events.db"
    code = (
        "import os, polars as pl, sys\n"
        "from pathlib import Path\n"
        "from tests.serving.http.test_event_store import A, B, COLUMNS, KEYS, events\n"
        "from fulcrum.serving.http.event_store import EventStore\n"
        "EventStore(Path(sys.argv[1]), COLUMNS, KEYS).append(events(A, B))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    store = EventStore(path, COLUMNS, KEYS)
    assert past(store, [1, 2], [None, None]).equals(events(A, B))
    assert store.append(events(B, C)) == 1


def test_other_columns_or_another_kind_of_file_are_refused(tmp_path):
    path = tmp_path / "events.db"
    EventStore(path, COLUMNS, KEYS).close()
    with pytest.raises(StateError, match="other columns"):
        EventStore(path, {**COLUMNS, "more": pl.Int8()}, KEYS)
    path.with_name("text").write_text("not a database, but longer than its header would be" * 9)
    with pytest.raises(StateError, match="not an event store"):
        EventStore(path.with_name("text"), COLUMNS, KEYS)
    with pytest.raises(ResourceError, match="unable to open"):
        EventStore(tmp_path, COLUMNS, KEYS)


def test_without_a_key_among_the_columns_every_event_is_given():
    store = EventStore(None, COLUMNS, ("author",))
    store.append(events(A, B))
    assert (
        store.past_of(pl.DataFrame({"author": ["q"]})).collect().sort("time").equals(events(A, B))
    )


WIDE = {
    "user": pl.UInt64(),
    "f": pl.Float64(),
    "s": pl.String(),
    "at": pl.Datetime("us", "Europe/Berlin"),
    "day": pl.Date(),
    "tags": pl.List(pl.String()),
    "ids": pl.List(pl.Int32()),
    "bit": pl.Boolean(),
    "none": pl.Null(),
}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "user": st.none() | st.integers(0, 2**64 - 1),
                "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "s": st.none() | st.text(),
                "at": st.none()
                | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
                    lambda t: t.replace(tzinfo=UTC)
                ),
                "day": st.none() | st.dates(),
                "tags": st.none() | st.lists(st.none() | st.text(), max_size=3),
                "ids": st.none() | st.lists(st.integers(-9, 9), max_size=3),
                "bit": st.none() | st.booleans(),
            }
        ),
        max_size=6,
    )
)
def test_every_type_comes_back_as_it_went_in(rows):
    frame = pl.DataFrame(rows, schema=WIDE)
    store = EventStore(None, WIDE, ("author",))
    assert store.append(frame) == frame.unique().height
    rows = pl.DataFrame({"author": [0]})
    found = store.past_of(rows).collect()
    assert found.schema == frame.schema
    assert found.sort(pl.all()).equals(frame.unique().sort(pl.all()))
    by_user = EventStore(None, WIDE, ("user",))
    by_user.append(frame)
    users = frame.select("user").drop_nulls()
    expected = frame.unique().join(users, on="user", how="semi")
    assert by_user.past_of(users).collect().sort(pl.all()).equals(expected.sort(pl.all()))
