"""The SQLite file of an event store: one connection that writes, any number that read."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fulcrum.features.errors import ResourceError, StateError

Connection = sqlite3.Connection
OPEN_SECONDS = 30
"""For which a store that another process is writing is waited for at the start."""


class EventFile:
    """Safe to use from several threads, and to open from several processes.

    Writers take turns; readers of a file have connections of their own, which wait for no writer.
    What SQLite refuses is a ResourceError, and a file that is no database a StateError."""

    def __init__(self, path: Path | None, patience: float) -> None:
        """Open or make the file; in memory when `path` is None. Others are waited for as many
        seconds as `patience` says, but for `OPEN_SECONDS` when writing before `hurry`."""
        self.path = path
        self._patience = patience
        self._turn = threading.RLock()
        self._interrupted = threading.Event()
        self._idle: list[Connection] = []
        with self.working():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self.writer = self._connect(OPEN_SECONDS)

    def hurry(self) -> None:
        """The file is ready: no writer waits longer for other processes than `patience` says."""
        self.writer.execute(f"PRAGMA busy_timeout = {1000 * self._patience}")

    def close(self) -> None:
        for connection in (self.writer, *self._idle):
            connection.close()

    def shrink(self) -> None:
        """Give back what a long transaction left beside the file, unless others read it."""
        with self._turn, self.working():
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def interrupt(self) -> None:
        """Let a patient transaction that another thread is in end with a ResourceError."""
        self._interrupted.set()
        self.writer.interrupt()

    def go_on(self) -> None:
        """Raises ResourceError once interrupted."""
        if self._interrupted.is_set():
            raise ResourceError(f"event store {self.path or 'in memory'}: interrupted")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that nobody else has; in memory there is but one, which takes turns."""
        with self.working():
            if self.path is None:
                with self._turn:
                    yield self.writer
                return
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect(self._patience)
            try:
                yield connection
            finally:
                self._idle.append(connection)

    @contextmanager
    def reading_one_moment(self) -> Iterator[Connection]:
        """`reading` of which all queries see the same events."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self, mode: str = "IMMEDIATE", patient: bool = False) -> Iterator[Connection]:
        """All that is written, or nothing. A patient one waits until it is interrupted."""
        with self.working():
            if not self._turn.acquire(timeout=-1 if patient else self._patience):
                raise self._busy()
            try:
                self._begin(mode, patient)
                yield self.writer
                self.writer.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back by itself.
                if self.writer.in_transaction:
                    self.writer.execute("ROLLBACK")
                raise
            finally:
                self._turn.release()

    @contextmanager
    def working(self) -> Iterator[None]:
        """What SQLite raises in the block becomes an error of ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise self._busy() from error
            raise ResourceError(f"event store {self.path or 'in memory'}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StateError(f"{self.path}: not an event store ({error})") from error

    def _connect(self, seconds: float) -> Connection:
        return sqlite3.connect(
            self.path or ":memory:",
            check_same_thread=False,
            timeout=seconds,
            isolation_level=None,
        )

    def _begin(self, mode: str, patient: bool) -> None:
        while True:
            self.go_on()
            try:
                self.writer.execute(f"BEGIN {mode}")
                return
            except sqlite3.OperationalError as error:
                if not patient or not _is_busy(error):
                    raise

    def _busy(self) -> ResourceError:
        return ResourceError(
            f"event store {self.path or 'in memory'}: others are writing; try again"
        )


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )
