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
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.bundle.config import ServingConfig

Columns = dict[str, pl.DataType]


class EventStore:
    """Events by the keys under which features look them up.

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
    ) -> None:
        """Open or make the store; in memory when `path` is None.

        Raises StateError when the file holds something else, ResourceError when it cannot be
        opened."""
        self.event_key = tuple(event_key)
        text = {name: pl.String() for name in event_key if name not in columns}
        self.columns: Columns = {**columns, **text}
        """Columns that an event must carry; a key column that no feature reads is text."""
        self.past_columns = dict(columns)
        """Those of them that the models read."""
        self._keys = [key for key in dict.fromkeys(keys) if key in columns]
        self._complete = len(self._keys) == len(set(keys))
        self._path = path
        self._lock = threading.RLock()
        with self._working():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path or ":memory:", check_same_thread=False, timeout=30, isolation_level=None
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._create()

    def count(self) -> int:
        """Number of events."""
        with self._working():
            return int(self._connection.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def append(self, events: pl.DataFrame) -> int:
        """Add events that are not there yet, and what others lacked; gives the number of both."""
        with self._transaction():
            return self._insert("events", self._records(events, ordinal=[0]))

    def load(self, file: Path, batches: Iterable[pl.DataFrame]) -> int:
        """Add the events of a file in one transaction, unless this very file was loaded before;
        gives the number of new ones."""
        stat = file.stat()
        identity = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
        with self._transaction() as connection:
            if connection.execute(
                "SELECT 1 FROM files WHERE (path, size, mtime) = (?, ?, ?)", identity
            ).fetchone():
                return 0
            names = ", ".join(self._quoted())
            connection.execute(f"CREATE TEMP TABLE staged (digest, {names})")
            for batch in batches:
                self._insert("staged", self._records(batch, ordinal=[]))
            ordinal = "0" if self.event_key else "row_number() OVER (PARTITION BY digest) - 1"
            count = connection.execute(
                f"INSERT INTO events (digest, ordinal, {names}) "
                f"SELECT digest, {ordinal}, {names} FROM staged WHERE true {self._again}"
            ).rowcount
            connection.execute("DROP TABLE staged")
            connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", identity)
            return count

    def past_of(self, rows: pl.DataFrame) -> pl.LazyFrame:
        """Every event that shares a key with one of the rows.

        All events when a key is not a column of the events themselves but derived or joined."""
        query = f"SELECT {', '.join(self._quoted(self.past_columns))} FROM events"
        values: list[str] = []
        if self._complete:
            matches = " UNION ".join(
                f"SELECT rowid FROM events WHERE {name} IN (SELECT value FROM json_each(?))"
                for name in self._quoted(self._keys)
            )
            query += f" WHERE rowid IN ({matches})"
            keys = _encode(rows.select(pl.col(k).cast(self.columns[k]) for k in self._keys))
            values = [json.dumps(_somebody(keys[key])) for key in self._keys]
        with self._working():
            found_rows = self._connection.execute(query, values).fetchall()
        return _decode(found_rows, self.past_columns).lazy()

    def _create(self) -> None:
        made_for = json.dumps(
            {"columns": {n: str(t) for n, t in self.columns.items()}, "event_key": self.event_key}
        )
        with self._transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS store (made_for TEXT)")
            row = connection.execute("SELECT made_for FROM store").fetchone()
            if row and row[0] != made_for:
                raise StateError(
                    f"{self._path}: this event store holds other columns than the model reads "
                    f"({row[0]}, expected {made_for}); give a new file"
                )
            if not row:
                connection.execute("INSERT INTO store VALUES (?)", (made_for,))
            connection.execute(
                "CREATE TABLE IF NOT EXISTS files "
                "(path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER)"
            )
            # No column types: SQLite would convert text that looks like a number.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS events (digest BLOB, ordinal INTEGER, "
                f"{', '.join(self._quoted())}, UNIQUE (digest, ordinal))"
            )
            for number, name in enumerate(self._quoted(self._keys)):
                connection.execute(f"CREATE INDEX IF NOT EXISTS key{number} ON events ({name})")

    def _records(self, events: pl.DataFrame, ordinal: list[int]) -> Iterator[tuple[object, ...]]:
        typed = conform(events.lazy(), self.columns, "the events").select(list(self.columns))
        frame = _encode(typed.collect())
        identity = [list(self.columns).index(name) for name in self.event_key]
        for row in frame.iter_rows():
            content = [row[i] for i in identity] if identity else row
            digest = hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()
            yield (digest, *ordinal, *row)

    def _insert(self, table: str, records: Iterator[tuple[object, ...]]) -> int:
        width = len(self.columns) + (2 if table == "events" else 1)
        places = ", ".join("?" * width)
        again = self._again if table == "events" else ""
        cursor = self._connection.executemany(
            f"INSERT INTO {table} VALUES ({places}) {again}", records
        )
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
        return ['"' + name.replace('"', '""') + '"' for name in names or self.columns]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._working():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                # A full disk has rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _working(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.OperationalError as error:
            raise ResourceError(f"event store {self._path or 'in memory'}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StateError(f"{self._path}: not an event store ({error})") from error


def open_store(
    states: Sequence[FeatureState], limits: ServingConfig, path: Path | None
) -> EventStore | None:
    """A store of what the models remember, when one looks back."""
    columns = {name: dtype for state in states for name, dtype in state.past_columns.items()}
    keys = [f.key for state in states for f in state.spec.looking_back.values()]
    return EventStore(path, columns, keys, limits.event_key) if columns else None


def _encode(frame: pl.DataFrame) -> pl.DataFrame:
    """Values that SQLite keeps: whole numbers, floats and text; lists as JSON text."""
    return frame.select(_encoded(name, dtype) for name, dtype in frame.schema.items())


def _encoded(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List | pl.Array):
        text = pl.struct(column).struct.json_encode()
        return pl.when(column.is_not_null()).then(text).alias(name)
    if dtype == pl.UInt64:
        return column.reinterpret(signed=True)
    if dtype.is_temporal():
        return column.to_physical()
    if dtype.is_integer() or dtype.is_float() or dtype == pl.Boolean:
        return column
    return column.cast(pl.String)


def _somebody(keys: pl.Series) -> list[object]:
    """Distinct keys; null, NaN and empty text have no past."""
    return [key for key in keys.unique() if key not in (None, "") and key == key]


def _decode(rows: Sequence[tuple[object, ...]], columns: Columns) -> pl.DataFrame:
    schema = _encode(pl.DataFrame(schema=columns)).schema
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.select(_decoded(name, dtype) for name, dtype in columns.items())


def _decoded(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List | pl.Array):
        return column.str.json_decode(pl.Struct({name: dtype})).struct.field(name)
    if dtype == pl.UInt64:
        return column.reinterpret(signed=False)
    if dtype == pl.Null:
        return pl.lit(None, pl.Null).alias(name)
    return column.cast(dtype)
