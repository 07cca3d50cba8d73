"""Past events of the online scorer, in SQLite: `POST /events` appends, a `LivePast` follows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from fulcrum.features.raw.conform import conform
from fulcrum.features.transform.past import complete_past
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.event_digest import digests
from fulcrum.serving.http.event_file import Connection, EventFile
from fulcrum.serving.http.event_tables import CHANGE, UNTIL, listed, make_tables, quoted
from fulcrum.serving.http.sqlite_values import Columns, decode, encode

WRITE_SECONDS = 1
"""For which a request waits while another one, or another process, writes."""
EVENTS_PER_READ = 50_000
"""Of a long answer."""


class Held(NamedTuple):
    """All events of one moment."""

    number: int
    """Of the last change among them."""
    size: int
    frames: Iterator[pl.DataFrame]


class Changes(NamedTuple):
    """What the store gained since a moment."""

    number: int
    """Of the last change."""
    gone: pl.DataFrame
    """Events as they were then and are no more."""
    new: pl.DataFrame
    """Events as they are now and were not."""


class EventStore:
    """Events, and in what order they came and changed.

    Safe to call from several threads, and to open from several processes. Writers take turns;
    readers of a file have connections of their own, which wait for no writer.

    An event is kept once. With an `event_key`, events that agree in those columns are the same one;
    without, events that agree in every column are, except that a repeat inside one file counts as
    another event, as it did in training. So loading a file again, sending an event again, or
    loading a log of events that were sent before adds nothing. But with an `event_key` an event
    that comes again fills in what was null: an outcome is sent when it is known.
    """

    def __init__(
        self,
        path: Path | None,
        columns: Columns,
        event_key: Sequence[str] = (),
        states: Sequence[FeatureState] = (),
    ) -> None:
        """Open or make the store; in memory when `path` is None. Events are kept when each of the
        models with `states` can read them.

        Raises StateError, and changes nothing, when the file holds something else; ResourceError
        when it cannot be opened."""
        self.event_key = tuple(event_key)
        text = {name: pl.String() for name in event_key if name not in columns}
        self.columns: Columns = {**columns, **text}
        """Columns that an event must carry; a key column that no feature reads is text."""
        self.past_columns = dict(columns)
        """Those of them that the models read."""
        self._states = states
        self._file = EventFile(path, WRITE_SECONDS)
        try:
            make_tables(self._file, self.columns, self.event_key)
            self._file.hurry()
        except BaseException:
            self.close()
            raise

    def count(self, since: int = -1) -> int:
        """Number of events that came or changed after the change of this number."""
        query = f"SELECT count(*) FROM events WHERE {quoted(CHANGE)} > ?"
        with self._file.reading() as connection:
            return int(connection.execute(query, [since]).fetchone()[0])

    @contextmanager
    def held(self) -> Iterator[Held]:
        """All events, read while the block lasts; of a file, whatever others write meanwhile."""
        with self._file.reading_one_moment() as connection:
            size, number = connection.execute(
                f"SELECT count(*), coalesce(max({quoted(CHANGE)}), 0) FROM events"
            ).fetchone()
            cursor = connection.execute(f"SELECT {self._read()} FROM events")
            yield Held(number, size, self._frames(partial(cursor.fetchmany, EVENTS_PER_READ)))

    def changes(self, since: int, by: Sequence[str] = ()) -> Changes:
        """What happened after the change of this number. With `by`, also what agrees in these
        columns with an event that came or changed: as it was then, and as it is now."""
        change = quoted(CHANGE)
        changed = f"{change} > :since"
        there = f"SELECT {self._read()} FROM events WHERE "
        was_there = f"{quoted(UNTIL)} > :since AND {change} <= :since"
        former = f"SELECT {self._read()} FROM former WHERE {was_there}"
        if by:
            tie = listed(by)
            shared = f"({tie}) IN (SELECT {tie} FROM events WHERE {changed})"
            former = f"{there} {shared} AND {change} <= :since UNION ALL {former}"
            changed = f"rowid IN (SELECT rowid FROM events WHERE {changed} "
            changed += f"UNION SELECT rowid FROM events WHERE {shared})"
        with self._file.reading_one_moment() as connection:
            [number] = connection.execute(f"SELECT max({change}) FROM events").fetchone()
            gone, new = (
                decode(connection.execute(query, {"since": since}).fetchall(), self.past_columns)
                for query in (former, there + changed)
            )
        return Changes(number, gone, new)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def interrupt(self) -> None:
        """Let a `load` that another thread is in end with a ResourceError, and keep nothing of its
        file."""
        self._file.interrupt()

    def index(self, by: Sequence[str]) -> None:
        """Make what agrees in these columns of the events quick to look up: of an item with a
        million events only what one user did with it is read."""
        if not by:
            return
        name = f"by {', '.join(by)}"
        with self._file.reading() as connection:
            query = "SELECT 1 FROM sqlite_master WHERE name = ?"
            there = connection.execute(query, [name]).fetchone()
        if not there:
            with self._file.transaction() as connection:
                connection.execute(
                    f"CREATE INDEX IF NOT EXISTS {quoted(name)} ON events ({listed(by)})"
                )

    def append(self, events: pl.DataFrame) -> int:
        """Add events that are not there yet, and what others lacked; gives the number of both.
        Raises ResourceError when others write for longer than `WRITE_SECONDS`."""
        records = list(self._records(events, ordinal=[0]))
        with self._file.transaction() as connection:
            return self._insert(connection, "events", records, [_next(connection)])

    def load(self, file: Path, batches: Iterable[pl.DataFrame]) -> int:
        """Add the events of a file in one transaction, unless this very file was loaded before;
        gives the number of new ones. Waits for other writers until it is interrupted, and lets them
        write while the file is read."""
        stat = file.stat()
        identity = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
        with self._file.reading() as connection:
            if connection.execute(
                "SELECT 1 FROM files WHERE (path, size, mtime) = (?, ?, ?)", identity
            ).fetchone():
                return 0
        names = listed(self.columns)
        with self._file.transaction("DEFERRED") as connection:
            # One that broke off may have left it.
            connection.execute("DROP TABLE IF EXISTS temp.staged")
            connection.execute(f"CREATE TEMP TABLE staged (digest, {names})")
            for batch in batches:
                self._file.go_on()
                self._insert(connection, "staged", self._records(batch, ordinal=[]))
        ordinal = "0" if self.event_key else "row_number() OVER (PARTITION BY digest) - 1"
        with self._file.transaction(patient=True) as connection:
            count = connection.execute(
                f"INSERT INTO events (digest, ordinal, {names}, {quoted(CHANGE)}) SELECT "
                f"digest, {ordinal}, {names}, {_next(connection)} FROM staged WHERE true "
                f"{self._again}"
            ).rowcount
            connection.execute("DROP TABLE staged")
            connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", identity)
        self._file.shrink()
        return count

    def _read(self) -> str:
        return listed(self.past_columns)

    def _frames(self, read: Callable[[], list[tuple[object, ...]]]) -> Iterator[pl.DataFrame]:
        while True:
            rows = read()
            yield decode(rows, self.past_columns)
            if not rows:
                return
            self._file.go_on()

    def _records(self, events: pl.DataFrame, ordinal: list[int]) -> Iterator[tuple[object, ...]]:
        time = next((state.time for state in self._states), None)
        typed = conform(events.lazy(), self.columns, "the events", time).select(list(self.columns))
        kept = typed.collect()
        for state in self._states:
            complete_past(kept.lazy(), state, "the events")
        frame = encode(kept)
        known_by = digests(frame, self.event_key or frame.columns)
        for digest, row in zip(known_by, frame.iter_rows(), strict=True):
            yield (digest, *ordinal, *row)

    def _insert(
        self,
        connection: Connection,
        table: str,
        records: Iterable[tuple[object, ...]],
        number: Sequence[int] = (),
    ) -> int:
        width = len(self.columns) + (2 if table == "events" else 1)
        places = ", ".join([*"?" * width, *map(str, number)])
        again = self._again if table == "events" else ""
        cursor = connection.executemany(f"INSERT INTO {table} VALUES ({places}) {again}", records)
        return max(cursor.rowcount, 0)

    @property
    def _again(self) -> str:
        """What becomes of an event that is there."""
        if not self.event_key:
            return "ON CONFLICT DO NOTHING"
        names, change = [quoted(name) for name in self.columns], quoted(CHANGE)
        fills = ", ".join(f"{name} = coalesce({name}, excluded.{name})" for name in names)
        fills += f", {change} = excluded.{change}"
        lacks = " OR ".join(f"({name} IS NULL AND excluded.{name} NOT NULL)" for name in names)
        return f"ON CONFLICT (digest, ordinal) DO UPDATE SET {fills} WHERE {lacks}"


def _next(connection: Connection) -> int:
    """Number of the change that this transaction makes."""
    query = f"SELECT coalesce(max({quoted(CHANGE)}), 0) + 1 FROM events"
    return int(connection.execute(query).fetchone()[0])


def open_store(
    states: Sequence[FeatureState], limits: ServingConfig, path: Path | None
) -> EventStore | None:
    """A store of what the models remember, when one looks back."""
    states = [state for state in states if state.past_columns]
    columns = {name: dtype for state in states for name, dtype in state.past_columns.items()}
    return EventStore(path, columns, limits.event_key, states) if columns else None
