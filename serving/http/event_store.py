"""Past events of the online scorer, in SQLite: `POST /events` appends, a `LivePast` follows."""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl

from fulcrum.features.errors import ResourceError, StateError
from fulcrum.features.raw.conform import conform
from fulcrum.features.transform.past import complete_past
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.sqlite_values import Columns, decode, encode

OPEN_SECONDS = 30
"""For which a store that another process is writing is waited for at the start."""
WRITE_SECONDS = 1
"""For which a request waits while another one, or another process, writes."""
EVENTS_PER_READ = 50_000
"""Of a long answer."""
CHANGE, UNTIL = "past.change", "past.until"
"""Columns of the number of the transaction that made an event what it is, and of the one that ended
that. The numbers grow; no column of a log is called like these."""


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
        self._path = path
        self._turn = threading.RLock()
        self._interrupted = threading.Event()
        self._idle: list[sqlite3.Connection] = []
        with self._working():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect(OPEN_SECONDS)
        try:
            self._create()
            self._number_changes()
        except BaseException:
            self.close()
            raise
        self._writer.execute(f"PRAGMA busy_timeout = {1000 * WRITE_SECONDS}")

    def count(self, since: int = -1) -> int:
        """Number of events that came or changed after the change of this number."""
        query = f"SELECT count(*) FROM events WHERE {_quoted(CHANGE)} > ?"
        with self._reading() as connection:
            return int(connection.execute(query, [since]).fetchone()[0])

    @contextmanager
    def held(self) -> Iterator[Held]:
        """All events, read while the block lasts; of a file, whatever others write meanwhile."""
        with self._reading() as connection, _moment(connection):
            size, number = connection.execute(
                f"SELECT count(*), coalesce(max({_quoted(CHANGE)}), 0) FROM events"
            ).fetchone()
            cursor = connection.execute(f"SELECT {self._read()} FROM events")
            yield Held(number, size, self._frames(cursor))

    def changes(self, since: int, by: Sequence[str] = ()) -> Changes:
        """What happened after the change of this number. With `by`, also what agrees in these
        columns with an event that came or changed: as it was then, and as it is now."""
        change = _quoted(CHANGE)
        changed = f"{change} > :since"
        there = f"SELECT {self._read()} FROM events WHERE "
        was_there = f"{_quoted(UNTIL)} > :since AND {change} <= :since"
        former = f"SELECT {self._read()} FROM former WHERE {was_there}"
        if by:
            tie = ", ".join(map(_quoted, by))
            shared = f"({tie}) IN (SELECT {tie} FROM events WHERE {changed})"
            former = f"{there} {shared} AND {change} <= :since UNION ALL {former}"
            changed = f"rowid IN (SELECT rowid FROM events WHERE {changed} "
            changed += f"UNION SELECT rowid FROM events WHERE {shared})"
        with self._reading() as connection, _moment(connection):
            [number] = connection.execute(f"SELECT max({change}) FROM events").fetchone()
            gone, new = (
                decode(connection.execute(query, {"since": since}).fetchall(), self.past_columns)
                for query in (former, there + changed)
            )
        return Changes(number, gone, new)

    def close(self) -> None:
        """Close the file."""
        for connection in (self._writer, *self._idle):
            connection.close()

    def interrupt(self) -> None:
        """Let a `load` that another thread is in end with a ResourceError, and keep nothing of its
        file."""
        self._interrupted.set()
        self._writer.interrupt()

    def index(self, keys: Iterable[str]) -> None:
        """Make these columns of the events quick to look up."""
        with self._reading() as connection:
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        names = {f"by {key}": key for key in keys}
        if missing := names.keys() - there:
            with self._transaction() as connection:
                for name in sorted(missing):
                    connection.execute(
                        f"CREATE INDEX IF NOT EXISTS {_quoted(name)} ON events "
                        f"({_quoted(names[name])})"
                    )

    def append(self, events: pl.DataFrame) -> int:
        """Add events that are not there yet, and what others lacked; gives the number of both.
        Raises ResourceError when others write for longer than `WRITE_SECONDS`."""
        records = list(self._records(events, ordinal=[0]))
        with self._transaction():
            return self._insert("events", records, [self._next()])

    def load(self, file: Path, batches: Iterable[pl.DataFrame]) -> int:
        """Add the events of a file in one transaction, unless this very file was loaded before;
        gives the number of new ones. Waits for other writers until it is interrupted, and lets them
        write while the file is read."""
        stat = file.stat()
        identity = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
        with self._reading() as connection:
            if connection.execute(
                "SELECT 1 FROM files WHERE (path, size, mtime) = (?, ?, ?)", identity
            ).fetchone():
                return 0
        names = ", ".join(self._quoted())
        with self._transaction("DEFERRED") as connection:
            # One that broke off may have left it.
            connection.execute("DROP TABLE IF EXISTS temp.staged")
            connection.execute(f"CREATE TEMP TABLE staged (digest, {names})")
            for batch in batches:
                self._go_on()
                self._insert("staged", self._records(batch, ordinal=[]))
        ordinal = "0" if self.event_key else "row_number() OVER (PARTITION BY digest) - 1"
        with self._transaction(patient=True) as connection:
            count = connection.execute(
                f"INSERT INTO events (digest, ordinal, {names}, {_quoted(CHANGE)}) SELECT "
                f"digest, {ordinal}, {names}, {self._next()} FROM staged WHERE true {self._again}"
            ).rowcount
            connection.execute("DROP TABLE staged")
            connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", identity)
            return count

    def _connect(self, seconds: float) -> sqlite3.Connection:
        return sqlite3.connect(
            self._path or ":memory:",
            check_same_thread=False,
            timeout=seconds,
            isolation_level=None,
        )

    def _create(self) -> None:
        """Make the tables, or see that they are there and hold these columns."""
        made_for = json.dumps(
            {"columns": {n: str(t) for n, t in self.columns.items()}, "event_key": self.event_key}
        )
        with self._working():
            others = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            store = self._writer.execute("PRAGMA table_info(store)").fetchall()
            if others and [name for _, name, *_ in store] != ["made_for"]:
                raise StateError(
                    f"{self._path}: the database of another program, not an event store; give a "
                    "new file"
                )
            self._writer.execute("PRAGMA journal_mode = WAL")
        if not others:
            with self._transaction() as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS store (made_for TEXT)")
                connection.execute(
                    "INSERT INTO store SELECT ? WHERE NOT EXISTS (SELECT 1 FROM store)", (made_for,)
                )
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS files "
                    "(path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER)"
                )
                # No column types: SQLite would convert text that looks like a number.
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS events (digest BLOB, ordinal INTEGER, "
                    f"{', '.join(self._quoted())}, UNIQUE (digest, ordinal))"
                )
        with self._working():
            [there] = self._writer.execute("SELECT made_for FROM store").fetchone()
        if there != made_for:
            raise StateError(
                f"{self._path}: this event store holds other columns than the model reads "
                f"({there}, expected {made_for}); give a new file"
            )

    def _number_changes(self) -> None:
        """Number what happens from now on, in stores that were made before as in new ones: what is
        there has the number 0."""
        query = "SELECT 1 FROM sqlite_master WHERE name = 'former'"
        with self._reading() as connection:
            if connection.execute(query).fetchone():
                return
        names, change, until = self._quoted(), _quoted(CHANGE), _quoted(UNTIL)
        with self._transaction() as connection:
            if connection.execute(query).fetchone():
                return
            old = ", ".join(f"old.{name}" for name in names)
            for statement in (
                f"ALTER TABLE events ADD COLUMN {change} INTEGER NOT NULL DEFAULT 0",
                f"CREATE INDEX {_quoted('by ' + CHANGE)} ON events ({change})",
                f"CREATE TABLE former ({until} INTEGER, {change} INTEGER, {', '.join(names)})",
                f"CREATE INDEX {_quoted('by ' + UNTIL)} ON former ({until})",
                "CREATE TRIGGER changed AFTER UPDATE ON events BEGIN INSERT INTO former "
                f"VALUES (new.{change}, old.{change}, {old}); END",
            ):
                connection.execute(statement)

    def _next(self) -> int:
        """Number of the change that this transaction makes."""
        query = f"SELECT coalesce(max({_quoted(CHANGE)}), 0) + 1 FROM events"
        return int(self._writer.execute(query).fetchone()[0])

    def _read(self) -> str:
        return ", ".join(self._quoted(self.past_columns))

    def _frames(self, cursor: sqlite3.Cursor) -> Iterator[pl.DataFrame]:
        while True:
            rows = cursor.fetchmany(EVENTS_PER_READ)
            yield decode(rows, self.past_columns)
            if not rows:
                return
            self._go_on()

    def _records(self, events: pl.DataFrame, ordinal: list[int]) -> Iterator[tuple[object, ...]]:
        time = next((state.time for state in self._states), None)
        typed = conform(events.lazy(), self.columns, "the events", time).select(list(self.columns))
        kept = typed.collect()
        for state in self._states:
            complete_past(kept.lazy(), state, "the events")
        frame = encode(kept)
        identity = [list(self.columns).index(name) for name in self.event_key]
        for row in frame.iter_rows():
            content = [row[i] for i in identity] if identity else row
            digest = hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()
            yield (digest, *ordinal, *row)

    def _insert(
        self, table: str, records: Iterable[tuple[object, ...]], number: Sequence[int] = ()
    ) -> int:
        width = len(self.columns) + (2 if table == "events" else 1)
        places = ", ".join([*"?" * width, *map(str, number)])
        again = self._again if table == "events" else ""
        cursor = self._writer.executemany(f"INSERT INTO {table} VALUES ({places}) {again}", records)
        return max(cursor.rowcount, 0)

    @property
    def _again(self) -> str:
        """What becomes of an event that is there."""
        if not self.event_key:
            return "ON CONFLICT DO NOTHING"
        names, change = self._quoted(), _quoted(CHANGE)
        fills = ", ".join(f"{name} = coalesce({name}, excluded.{name})" for name in names)
        fills += f", {change} = excluded.{change}"
        lacks = " OR ".join(f"({name} IS NULL AND excluded.{name} NOT NULL)" for name in names)
        return f"ON CONFLICT (digest, ordinal) DO UPDATE SET {fills} WHERE {lacks}"

    def _quoted(self, names: Iterable[str] | None = None) -> list[str]:
        return [_quoted(name) for name in names or self.columns]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else has; in memory there is but one, which takes turns."""
        with self._working():
            if self._path is None:
                with self._turn:
                    yield self._writer
                return
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect(WRITE_SECONDS)
            try:
                yield connection
            finally:
                self._idle.append(connection)

    @contextmanager
    def _transaction(
        self, mode: str = "IMMEDIATE", patient: bool = False
    ) -> Iterator[sqlite3.Connection]:
        with self._working():
            if not self._turn.acquire(timeout=-1 if patient else WRITE_SECONDS):
                raise self._busy()
            try:
                self._begin(mode, patient)
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back by itself.
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._turn.release()

    def _begin(self, mode: str, patient: bool) -> None:
        while True:
            self._go_on()
            try:
                self._writer.execute(f"BEGIN {mode}")
                return
            except sqlite3.OperationalError as error:
                if not patient or not _is_busy(error):
                    raise

    def _go_on(self) -> None:
        if self._interrupted.is_set():
            raise ResourceError(f"event store {self._path or 'in memory'}: interrupted")

    def _busy(self) -> ResourceError:
        return ResourceError(
            f"event store {self._path or 'in memory'}: others are writing; try again"
        )

    @contextmanager
    def _working(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise self._busy() from error
            raise ResourceError(f"event store {self._path or 'in memory'}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StateError(f"{self._path}: not an event store ({error})") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _moment(connection: sqlite3.Connection) -> Iterator[None]:
    """All queries of the block see the same events."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def open_store(
    states: Sequence[FeatureState], limits: ServingConfig, path: Path | None
) -> EventStore | None:
    """A store of what the models remember, when one looks back."""
    states = [state for state in states if state.past_columns]
    columns = {name: dtype for state in states for name, dtype in state.past_columns.items()}
    return EventStore(path, columns, limits.event_key, states) if columns else None
