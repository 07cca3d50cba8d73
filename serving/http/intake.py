"""Requests that come in faster than they can be answered: bounded queues, and an end to waiting."""

import time
from collections.abc import Callable

from anyio import CancelScope, Semaphore, fail_after, move_on_after, to_thread
from fastapi import Request, Response

from fulcrum.serving.http.body import Body, RequestError, read_body

BODY_SECONDS = 10
"""For a body to arrive, from the end of the head."""
BODIES = 128
"""That arrive at once; with one more, the one that has taken longest is given up."""
WAITING = 64
"""Requests that wait for a thread; one more is sent away."""
LATELY = 0.1
"""Share of the last request in how long one takes."""
WAITING_SECONDS = 5
"""For one to wait; then it is sent away."""


class Bodies:
    """Bodies on their way."""

    def __init__(self) -> None:
        self._arriving: dict[CancelScope, None] = {}

    async def read(self, request: Request, limit: int) -> Body:
        """Raises RequestError 408 for a body that takes too long, and what `read_body` does."""
        with move_on_after(BODY_SECONDS) as scope:
            self._arriving[scope] = None
            if len(self._arriving) > BODIES:
                oldest = next(iter(self._arriving))
                del self._arriving[oldest]
                oldest.cancel()
            try:
                return await read_body(request, limit)
            finally:
                self._arriving.pop(scope, None)
        raise RequestError(408, "the body takes too long to arrive")


class Threads:
    """Threads that work on bodies, and the queue before them."""

    def __init__(self, count: int, deadline: float | None = None) -> None:
        """`deadline` in seconds, from the end of the body to the answer."""
        self._free = Semaphore(count)
        self._count, self._deadline = count, deadline
        self._open = 0
        """Requests that wait or are worked on."""
        self._seconds = 0.0
        """That one is worked on, lately."""

    async def run(self, work: Callable[[float], Response]) -> Response:
        """The answer, which `work` gives when it is told until when, by `time.monotonic()`, it may
        wait in its turn. Raises RequestError 503 when too many wait already, or too long."""
        if self._open >= self._count + WAITING or self._is_late():
            raise RequestError(503, "too many requests are waiting; try again later")
        self._open += 1
        try:
            patience = min(WAITING_SECONDS, self._deadline or WAITING_SECONDS)
            due = time.monotonic() + patience
            await self._wait(patience)
            started = time.perf_counter()
            try:
                return await to_thread.run_sync(work, due)
            finally:
                self._free.release()
                seconds = time.perf_counter() - started
                self._seconds += (seconds - self._seconds) * (LATELY if self._seconds else 1)
        finally:
            self._open -= 1

    def _is_late(self) -> bool:
        """Whether a request that has to wait would miss the deadline."""
        rounds = self._open // self._count
        return bool(self._deadline and rounds and (rounds + 1) * self._seconds > self._deadline)

    async def _wait(self, seconds: float) -> None:
        try:
            with fail_after(seconds):
                await self._free.acquire()
        except TimeoutError:
            raise RequestError(503, "other requests take too long; try again later") from None
