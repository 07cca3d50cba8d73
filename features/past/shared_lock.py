"""Many may read at once, or one may write."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """A reader waits only while somebody writes, never for one that waits to write: so readers that
    need each other's threads, as Polars' do, cannot stop each other, as long as no writer needs
    them. A thread that reads may read once more."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nobody writes meanwhile."""
        with self._changed:
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
            self._changed.wait_for(lambda: not self._readers)
            yield
