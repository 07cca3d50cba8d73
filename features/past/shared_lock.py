"""Many may read at once, or one may write."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.01
"""Seconds for which a reader lets a writer go first."""


class SharedLock:
    """A reader waits while somebody writes, and for one that waits to write only for a while: so
    readers that need each other's threads, as Polars' do, cannot stop each other for good, as long
    as no writer needs them."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers, self._waiting = 0, 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nobody writes meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, PATIENCE)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if not self._readers:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile. Not for a thread that reads."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._readers)
            finally:
                self._waiting -= 1
            try:
                yield
            finally:
                self._changed.notify_all()
