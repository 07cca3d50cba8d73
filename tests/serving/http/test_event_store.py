"""The event store: kept once, in the order of what happened, there after a restart."""

import resource
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ResourceError, StateError
from fulcrum.serving.http import event_store
from fulcrum.serving.http.event_store import EventStore

COLUMNS = {"user": pl.Int64(), "video": pl.String(), "time": pl.Int64(), "long": pl.Boolean()}


def events(*rows, columns=COLUMNS):
    return pl.DataFrame(rows, schema=columns, orient="row")


A, B, C = (1, "x", 10, True), (2, "x", 20, None), (1, "y", 30, False)


def past(store):
    with store.held() as held:
        found = pl.concat(held.frames)
    assert held.size == len(found)
    return found.sort("time")


@pytest.fixture(params=[None, "events.db"], ids=["memory", "file"])
def path(request, tmp_path):
    return tmp_path / request.param if request.param else None


def test_repeated_events_are_ignored(path):
    store = EventStore(path, COLUMNS)
    assert store.append(events(A, B)) == 2
    assert store.append(events(B, C, C)) == 1
    assert store.count() == 3


def test_an_event_key_decides_what_the_same_event_is():
    store = EventStore(None, COLUMNS, event_key=("id",))
    columns = {**COLUMNS, "id": pl.String()}
    assert store.columns == columns
    assert store.append(events((*A, "1"), (*A, "2"), (*B, "2"), columns=columns)) == 2
    assert past(store).equals(events(A, A))


def test_what_is_known_later_fills_in_the_event():
    store = EventStore(None, COLUMNS, event_key=("user", "time"))
    early, late = (1, "x", 10, None), (1, None, 10, True)
    assert store.append(events(early)) == 1
    assert store.append(events(late, A, (1, "y", 10, False))) == 1
    assert past(store).equals(events(A))


def test_a_file_keeps_its_repeats_and_loads_once(tmp_path):
    store = EventStore(tmp_path / "events.db", COLUMNS)
    store.append(events(A))
    log = tmp_path / "log.parquet"
    events(A, A, B).write_parquet(log)
    assert store.load(log, [events(A), events(A, B)]) == 2
    assert past(store).equals(events(A, A, B))
    assert store.load(log, iter(())) == 0
    log.touch()
    assert store.load(log, [events(A, A), events(B)]) == 0
    assert store.count() == 3


def test_a_file_that_breaks_off_leaves_nothing(tmp_path):
    store = EventStore(tmp_path / "events.db", COLUMNS)
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
        "from tests.serving.http.test_event_store import A, B, COLUMNS, events\n"
        "from fulcrum.serving.http.event_store import EventStore\n"
        "EventStore(Path(sys.argv[1]), COLUMNS).append(events(A, B))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    store = EventStore(path, COLUMNS)
    assert past(store).equals(events(A, B))
    assert store.append(events(B, C)) == 1


def test_other_columns_or_another_kind_of_file_are_refused(tmp_path):
    path = tmp_path / "events.db"
    EventStore(path, COLUMNS).close()
    with pytest.raises(StateError, match="other columns"):
        EventStore(path, {**COLUMNS, "more": pl.Int8()})
    path.with_name("text").write_text("not a database, but longer than its header would be" * 9)
    with pytest.raises(StateError, match="not an event store"):
        EventStore(path.with_name("text"), COLUMNS)
    with pytest.raises(ResourceError, match="unable to open"):
        EventStore(tmp_path, COLUMNS)


@contextmanager
def writing(path):
    """Another program that is in the middle of a write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        other.execute("ROLLBACK")


def test_a_write_that_has_to_wait_stops_neither_readers_nor_itself_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(event_store, "WRITE_SECONDS", 1)
    path = tmp_path / "events.db"
    store = EventStore(path, COLUMNS)
    store.append(events(A))
    refused = []

    def append():
        with pytest.raises(ResourceError, match="others are writing; try again"):
            store.append(events(B))
        refused.append(True)

    with writing(path):
        writers = [threading.Thread(target=append) for _ in range(2)]
        for writer in writers:
            writer.start()
        for _ in range(5):
            assert past(store).equals(events(A))
        assert not refused
        for writer in writers:
            writer.join(20)
        assert refused == [True, True]
        second = EventStore(path, COLUMNS)
        assert second.count() == 1
    assert store.append(events(B)) == 1
    assert past(second).equals(events(A, B))


def test_others_may_write_while_a_file_is_read_and_a_load_waits_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(event_store, "WRITE_SECONDS", 0.1)
    path = tmp_path / "events.db"
    store, other = EventStore(path, COLUMNS), EventStore(path, COLUMNS)
    log = tmp_path / "log.parquet"
    events(A, B).write_parquet(log)

    def batches():
        yield events(A)
        assert other.append(events(C)) == 1
        yield events(B)

    assert store.load(log, batches()) == 2
    assert past(other).equals(events(A, B, C))
    log.touch()
    with writing(path):
        loading = threading.Thread(target=store.load, args=(log, [events(A), events(B)]))
        loading.start()
        loading.join(0.5)
        assert loading.is_alive()
    loading.join(10)
    assert not loading.is_alive()


@pytest.mark.parametrize("while_waiting", [False, True])
def test_a_load_that_is_interrupted_ends_and_keeps_nothing(tmp_path, monkeypatch, while_waiting):
    monkeypatch.setattr(event_store, "WRITE_SECONDS", 0.1)
    path = tmp_path / "events.db"
    store = EventStore(path, COLUMNS)
    log = tmp_path / "log.parquet"
    events(A).write_parquet(log)
    begun, ends = threading.Event(), []

    def batches():
        yield events(A)
        begun.set()
        while not while_waiting:
            yield events(B)

    def load():
        with pytest.raises(ResourceError, match="interrupted"):
            store.load(log, batches())
        ends.append(True)

    loading = threading.Thread(target=load)
    with writing(path):
        loading.start()
        assert begun.wait(10)
        store.interrupt()
        loading.join(10)
    assert ends == [True]
    store.close()
    assert EventStore(path, COLUMNS).load(log, [events(A)]) == 1


def test_two_stores_of_one_file_keep_an_event_once(tmp_path):
    path, log = tmp_path / "events.db", tmp_path / "log.parquet"
    rows = [(user, "x", time, None) for user in range(5) for time in range(40)]
    events(*rows).write_parquet(log)
    together, counts = threading.Barrier(4), []

    def share():
        together.wait()
        with closing(EventStore(path, COLUMNS)) as store:
            count = store.load(log, [events(*rows)])
            for row in [(9, "y", time, True) for time in range(20)]:
                count += store.append(events(row))
            counts.append(count)

    threads = [threading.Thread(target=share) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == EventStore(path, COLUMNS).count() == 5 * 40 + 20


@pytest.mark.parametrize("tables", [["orders (id)"], ["store (id)"], ["store (made_for, id)"]])
def test_the_database_of_another_program_is_refused_as_it_was(tmp_path, tables):
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as other:
        for table in tables:
            other.execute(f"CREATE TABLE {table}")
    before = path.read_bytes()
    with pytest.raises(StateError, match="database of another program, not an event store"):
        EventStore(path, COLUMNS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_what_was_there(tmp_path):
    store = EventStore(tmp_path / "events.db", COLUMNS)
    store.append(events(A))
    many = events(*((user, "x" * 100, user, None) for user in range(5_000)))
    log = tmp_path / "log.parquet"
    many.write_parquet(log)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match="event store"):
            store.append(many)
        with pytest.raises(ResourceError, match="event store"):
            store.load(log, [many])
        assert past(store).equals(events(A))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.append(events(B)) == 1
    assert store.load(log, [many]) == 5_000


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


@settings(max_examples=25, deadline=None)
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
    store = EventStore(None, WIDE)
    assert store.append(frame) == frame.unique().height
    with store.held() as held:
        found = pl.concat(held.frames)
    assert found.schema == frame.schema
    assert found.sort(pl.all()).equals(frame.unique().sort(pl.all()))


def test_what_ties_in_with_a_change_is_looked_up_however_popular_its_item_is(tmp_path):
    """Steps of SQLite's machine, which are the same on any computer."""
    steps = []
    for popular in (10, 1_000):
        store = EventStore(tmp_path / f"{popular}.db", COLUMNS)
        store.index(["video", "user"])
        store.append(events(*((user, "x", user, True) for user in range(popular))))
        store.append(events((3, "x", popular, True)))
        taken = []
        with store._file.reading() as connection:
            connection.set_progress_handler(lambda taken=taken: taken.append(1), 10)
        assert len(store.changes(1, ["video", "user"]).new) == 2
        steps.append(len(taken))
        store.close()
    assert steps[1] < 2 * steps[0]
