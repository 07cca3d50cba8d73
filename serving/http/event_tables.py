"""The tables of an event store, made where they are missing: events, what they were before, and
the files that they came from."""

import json
from collections.abc import Iterable, Sequence

from fulcrum.features.errors import StateError
from fulcrum.serving.http.event_file import EventFile
from fulcrum.serving.http.sqlite_values import Columns

CHANGE, UNTIL = "past.change", "past.until"
"""Columns of the number of the transaction that made an event what it is, and of the one that ended
that. The numbers grow; no column of a log is called like these."""


def make_tables(file: EventFile, columns: Columns, event_key: Sequence[str]) -> None:
    """Make what is not there yet.

    Raises StateError, and changes nothing, when there is something else, or when the events have
    other columns or another key."""
    made_for = json.dumps(
        {"columns": {n: str(t) for n, t in columns.items()}, "event_key": event_key}
    )
    with file.working():
        others = file.writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        store = file.writer.execute("PRAGMA table_info(store)").fetchall()
        if others and [name for _, name, *_ in store] != ["made_for"]:
            raise StateError(
                f"{file.path}: the database of another program, not an event store; give a new file"
            )
        file.writer.execute("PRAGMA journal_mode = WAL")
    if not others:
        with file.transaction() as connection:
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
                "CREATE TABLE IF NOT EXISTS events "
                f"(digest BLOB, ordinal INTEGER, {listed(columns)}, UNIQUE (digest, ordinal))"
            )
    with file.working():
        [there] = file.writer.execute("SELECT made_for FROM store").fetchone()
    if there != made_for:
        raise StateError(
            f"{file.path}: this event store holds other columns than the model reads "
            f"({there}, expected {made_for}); give a new file"
        )
    _number_changes(file, columns)


def _number_changes(file: EventFile, columns: Columns) -> None:
    """Number what happens from now on, in stores that were made before as in new ones: what is
    there has the number 0."""
    query = "SELECT 1 FROM sqlite_master WHERE name = 'former'"
    with file.reading() as connection:
        if connection.execute(query).fetchone():
            return
    change, until = quoted(CHANGE), quoted(UNTIL)
    old = ", ".join(f"old.{quoted(name)}" for name in columns)
    with file.transaction() as connection:
        if connection.execute(query).fetchone():
            return
        for statement in (
            f"ALTER TABLE events ADD COLUMN {change} INTEGER NOT NULL DEFAULT 0",
            f"CREATE INDEX {quoted('by ' + CHANGE)} ON events ({change})",
            f"CREATE TABLE former ({until} INTEGER, {change} INTEGER, {listed(columns)})",
            f"CREATE INDEX {quoted('by ' + UNTIL)} ON former ({until})",
            "CREATE TRIGGER changed AFTER UPDATE ON events BEGIN INSERT INTO former "
            f"VALUES (new.{change}, old.{change}, {old}); END",
        ):
            connection.execute(statement)


def quoted(name: str) -> str:
    """The name of a column or an index in SQL."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """`"a", "b"`."""
    return ", ".join(map(quoted, names))
