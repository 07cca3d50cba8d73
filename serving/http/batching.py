"""Dynamic batching: requests that wait for one model are scored as one.

A call costs about the same for one row as for fifty, so the rows of several requests together take
little more than those of one. What a row gets does not depend on the rows beside it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from fulcrum.serving.http.body import RequestError

LATELY = 0.1
"""Share of the last call in how long one takes."""


@dataclass(eq=False)
class Waiting:
    """A request's rows on their way to the model."""

    rows: pl.DataFrame
    since: float = field(default_factory=time.monotonic)
    is_taken: bool = False
    is_done: bool = False
    scores: pl.DataFrame | None = None


class Batching:
    """The queue before one model, which one thread at a time empties for all that wait in it."""

    def __init__(self, most: int, delay: float) -> None:
        """A call has at most `most` rows, or one request. Where none is going on, a request waits
        `delay` seconds for others."""
        self._most, self._delay = most, delay
        self._changed = threading.Condition()
        self._waiting: deque[Waiting] = deque()
        self._is_busy = False
        self._seconds = 0.0
        """That a call takes, lately."""
        self._free_at = 0.0
        """When the one that is going on should end."""

    def score(
        self, rows: pl.DataFrame, due: float, predict: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> pl.DataFrame:
        """What `predict` makes of the rows: with others, or alone where that does not work out, so
        an error is of these rows.

        `due` is the instant, by `time.monotonic()`, until which the rows may wait. Raises
        RequestError 503 then, and at once when it would come to that."""
        one = Waiting(rows)
        with self._changed:
            if self._is_late(due):
                raise RequestError(503, "too many requests are waiting; try again later")
            self._waiting.append(one)
            limit = min(due - time.monotonic(), threading.TIMEOUT_MAX)
            if not self._changed.wait_for(lambda: one.is_taken or self._is_next(one), limit):
                self._waiting.remove(one)
                raise RequestError(503, "other requests take too long; try again later")
            if one.is_taken:
                self._changed.wait_for(lambda: one.is_done)
            else:
                self._is_busy = True
        if not one.is_done:
            self._score_waiting(predict)
        return predict(rows) if one.scores is None else one.scores

    def _is_late(self, due: float) -> bool:
        """Whether rows that have to wait would have no scores when they are due."""
        calls = 1 + sum(one.rows.height for one in self._waiting) // self._most
        end = max(self._free_at, time.monotonic()) + calls * self._seconds
        return self._is_busy and end > due

    def _is_next(self, one: Waiting) -> bool:
        return not self._is_busy and self._waiting[0] is one

    def _score_waiting(self, predict: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Raises what `predict` does for a single request; several are left without scores then."""
        batch: list[Waiting] = []
        try:
            time.sleep(max(0, self._waiting[0].since + self._delay - time.monotonic()))
            with self._changed:
                batch = self._take()
                started = time.monotonic()
                self._free_at = started + self._seconds
            try:
                scores = predict(pl.concat([one.rows for one in batch], rechunk=True))
            except Exception:
                if len(batch) == 1:
                    raise
                return
            start = 0
            for one in batch:
                one.scores = scores[start : start + one.rows.height]
                start += one.rows.height
            seconds = time.monotonic() - started
            self._seconds += (seconds - self._seconds) * (LATELY if self._seconds else 1)
        finally:
            with self._changed:
                self._is_busy = False
                for one in batch:
                    one.is_done = True
                self._changed.notify_all()

    def _take(self) -> list[Waiting]:
        """The first that waits, and those behind it for whose rows there is room."""
        batch: list[Waiting] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].rows.height <= self._most):
            one = self._waiting.popleft()
            one.is_taken = True
            batch.append(one)
            rows += one.rows.height
        return batch
