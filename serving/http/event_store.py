"""Past events of the online scorer, in SQLite: `POST /events` appends, scoring looks them up."""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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


class EventStore:
    """Events by the keys under which features look them up.

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
        keys: Sequence[str],
        event_key: Sequence[str] = (),
        states: Sequence[FeatureState] = (),
    ) -> None:
        """Open or make the store, indexed by `keys`; in memory when `path` is None. Events are kept
        when each of the models with `states` can read them.

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
            self.index([*keys, *(by[0] for by in self._ties(keys))])
        except BaseException:
            self.close()
            raise
        self._writer.execute(f"PRAGMA busy_timeout = {1000 * WRITE_SECONDS}")

    def count(self) -> int:
        """Number of events."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])

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
        """Make these keys quick to look up, where they are columns of the events."""
        with self._reading() as connection:
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        names = {f"by {key}": key for key in keys if key in self.past_columns}
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
        with self._transaction():
            return self._insert("events", self._records(events, ordinal=[0]))

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
                f"INSERT INTO events (digest, ordinal, {names}) "
                f"SELECT digest, {ordinal}, {names} FROM staged WHERE true {self._again}"
            ).rowcount
            connection.execute("DROP TABLE staged")
            connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", identity)
            return count

    def past_of(self, rows: pl.DataFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """Every event that shares one of the `keys` with one of the rows, and of a long log every
        one that belongs together with such an event.

        All events when a key is not a column of the events themselves but derived or joined."""
        query = f"SELECT {', '.join(self._quoted(self.past_columns))} FROM events"
        values: list[str] = []
        if all(key in self.past_columns for key in keys):
            matches = " UNION ".join(
                f"SELECT rowid FROM events WHERE {name} IN (SELECT value FROM json_each(?))"
                for name in map(_quoted, keys)
            )
            for by in self._ties(keys):
                tie = ", ".join(map(_quoted, by))
                matches = (
                    f"WITH shared AS ({matches}) SELECT * FROM shared UNION "
                    f"SELECT rowid FROM events WHERE ({tie}) IN "
                    f"(SELECT {tie} FROM events WHERE rowid IN shared)"
                )
            query += f" WHERE rowid IN ({matches})"
            texts = encode(rows.select(pl.col(k).cast(self.columns[k]) for k in keys))
            values = [json.dumps(_somebody(texts[key])) for key in keys]
        with self._reading() as connection:
            found_rows = connection.execute(query, values).fetchall()
        return decode(found_rows, self.past_columns).lazy()

    def _ties(self, keys: Sequence[str]) -> set[tuple[str, ...]]:
        """The `data.pivot.by` of models for which not all keys are in it: what belongs to an event
        need not have the others."""
        pivots = [state.spec.data.pivot for state in self._states]
        return {pivot.by for pivot in pivots if pivot is not None and not {*keys} <= {*pivot.by}}

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

    def _insert(self, table: str, records: Iterator[tuple[object, ...]]) -> int:
        width = len(self.columns) + (2 if table == "events" else 1)
        places = ", ".join("?" * width)
        again = self._again if table == "events" else ""
        cursor = self._writer.executemany(f"INSERT INTO {table} VALUES ({places}) {again}", records)
        return max(cursor.rowcount, 0)

    @property
    def _again(self) -> str:
        """What becomes of an event that is there."""
        if not self.event_key:
            return "ON CONFLICT DO NOTHING"
        names = self._quoted()
        fills = ", ".join(f"{name} = coalesce({name}, excluded.{name})" for name in names)
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


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def _somebody(keys: pl.Series) -> list[object]:
    """Distinct keys; null, NaN and empty text have no past."""
    return [key for key in keys.unique() if key not in (None, "") and key == key]


def keys_of(state: FeatureState) -> list[str]:
    """Columns by which a model looks back, each once."""
    return list(dict.fromkeys(feature.key for feature in state.spec.looking_back.values()))


def open_store(
    states: Sequence[FeatureState], limits: ServingConfig, path: Path | None
) -> EventStore | None:
    """A store of what the models remember, when one looks back."""
    states = [state for state in states if state.past_columns]
    columns = {name: dtype for state in states for name, dtype in state.past_columns.items()}
    keys = [key for state in states for key in keys_of(state)]
    return EventStore(path, columns, keys, limits.event_key, states) if columns else None
