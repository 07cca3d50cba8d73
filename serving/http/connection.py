"""Connections of the service: none stays for ever, and there are only so many at once.

uvicorn's own `limit_concurrency` would refuse a probe of health like any other request; here the
connection that has done nothing for longest makes room, so that a new one is always heard.
"""

import asyncio
import resource

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 10
"""For a head to arrive, from the start of the connection or the end of the last answer, which has
to be fetched by then."""
ANSWER_SECONDS = 60
"""For a request to be answered, from the end of its head."""
CONNECTIONS = 1000
"""Open at once, but no more than half of the descriptors that the process may have."""


class Connection(H11Protocol):
    """One that is cut when it makes no progress, or to make room."""

    _request: RequestResponseCycle | None = None
    """The one being answered."""
    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0
    """When that began, or the last one ended."""
    _cut_off = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > min(CONNECTIONS, _descriptors() // 2):
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, unless one has begun: a request has one answer.

        The rest of a body may be broken while its request is being answered, or after that.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Set the deadline anew where a request began or ended."""
        open_request = None if self.cycle is None or self.cycle.response_complete else self.cycle
        if self._deadline is not None:
            if open_request is self._request:
                return
            self._deadline.cancel()
        self._request, self._since = open_request, self.loop.time()
        seconds = HEAD_SECONDS if open_request is None else ANSWER_SECONDS
        self._deadline = self.loop.call_later(seconds, self._cut)

    def _cut(self) -> None:
        self._cut_off = True
        self.transport.abort()

    def _make_room(self) -> None:
        """Cut the oldest that no work is done for: one between requests, else one whose body has
        not arrived, else this one."""
        there = [c for c in self.connections if isinstance(c, Connection) and not c._cut_off]
        idle = [c for c in there if c is not self and c._request is None]
        slow = [c for c in there if c._request is not None and c._request.more_body]
        min(idle or slow or [self], key=lambda c: c._since)._cut()


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2 * CONNECTIONS
