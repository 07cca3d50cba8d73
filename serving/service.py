"""The online service as a process: bind a port, prepare, answer, drain."""

import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Barrier
from types import FrameType

import uvicorn

from fulcrum.features.errors import ResourceError
from fulcrum.serving.http.app import app
from fulcrum.serving.http.connection import Connection
from fulcrum.serving.http.service import Service
from fulcrum.serving.scoring.history import History

DRAIN_SECONDS = 20
"""How long open requests may take after SIGTERM; a body that still arrives has less."""
UPKEEP_SECONDS = 5
"""How long the file or model in hand may take then."""
BACKLOG = 64
"""Connections that wait to be accepted; asyncio accepts so many before it looks at any."""
FOLLOW_SECONDS = 10
"""Between two looks at what the aliases of a service's models mean."""

logger = logging.getLogger(__name__)


def serve(
    load: Callable[[], Service],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    history: str | Sequence[str] | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the open ones.

    `load` is called once the port is ours; `history` are files of past events, added to the
    service's before it is ready. Raises ResourceError when the port is taken, and whatever loading
    and a bad history raise.
    """
    with on_signals(leave), listen(host, port) as listener:
        answer(load, listener, history)


def answer(
    load: Callable[[], Service],
    listener: socket.socket,
    history: str | Sequence[str] | None = None,
    others: Barrier | None = None,
) -> None:
    """`serve` on a socket that listens. A service that is one of several is not ready before the
    `others` are. Raises whatever loading and a bad history raise."""
    with closing(load()) as service:
        states = [scorer.state for scorer in service.scorers if scorer.state.past_columns]
        # Each checks that the files have its columns; any one reads them.
        pasts = [History(history, state) for state in states] if history else []
        server = http_server(service)

        def stop(number: int, frame: FrameType | None) -> None:
            server.should_exit = True

        upkeep = Upkeep(service, pasts[0] if pasts else None, server, others)
        logger.info("%s answers on http://%s:%d", service.title, *listener.getsockname()[:2])
        # uvicorn drains on a signal, then raises it again; the process should end normally.
        with on_signals(stop):
            upkeep.start()
            try:
                server.run(sockets=[listener])
            finally:
                upkeep.stop()
        if upkeep.failure is not None:
            raise upkeep.failure


def http_server(service: Service) -> uvicorn.Server:
    """What answers for a service on sockets."""
    return uvicorn.Server(
        uvicorn.Config(
            app(service),
            http=Connection,
            ws="none",
            proxy_headers=False,
            log_level="warning",
            backlog=BACKLOG,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )


class Upkeep(threading.Thread):
    """Loads the history and warms up while the port already answers "live, not ready", then follows
    the models; a failure to get ready stops the server."""

    def __init__(
        self,
        service: Service,
        past: History | None,
        server: uvicorn.Server,
        others: Barrier | None = None,
    ) -> None:
        super().__init__(name="upkeep", daemon=True)
        self.failure: Exception | None = None
        self._service, self._past, self._server, self._others = service, past, server, others
        self._end = threading.Event()

    def stop(self) -> None:
        """Returns when the file or model in hand is given up or done, or takes too long."""
        self._server.should_exit = True
        self._end.set()
        if self._others is not None:
            self._others.abort()
        deadline = time.monotonic() + UPKEEP_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            if self._service.store is not None:
                self._service.store.interrupt()
            self.join(0.1)

    def run(self) -> None:
        store = self._service.store
        try:
            if self._past is not None and store is not None:
                for file in self._past.files:
                    if self._server.should_exit:
                        return
                    store.load(file, self._past.batches(file, list(store.columns)))
            if self._others is not None:
                self._others.wait()
            self._service.open()
        except Exception as error:
            if not self._server.should_exit:
                self.failure = error
                self._server.should_exit = True
            return
        while not self._end.wait(FOLLOW_SECONDS):
            try:
                self._service.follow()
            except Exception as error:
                logger.error("the models' aliases could not be followed", exc_info=error)


@contextmanager
def listen(host: str, port: int, shared: bool = False) -> Iterator[socket.socket]:
    """A listening socket; a `shared` port may have several, which connections are dealt to. Raises
    ResourceError when the address cannot be had."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = addresses[0]
        # asyncio answers without delay only on sockets that say they are TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OverflowError as error:
        raise ResourceError(f"port {port}: expected 0 to 65535") from error
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "the port is in use by another program; choose another --port",
            errno.EACCES: "not allowed; ports below 1024 need privileges",
        }.get(error.errno or 0, error.strerror)
        raise ResourceError(f"{host}:{port}: {reason}") from error
    with listener:
        yield listener


def leave_behind() -> None:
    """End the process if a request that was given up is still worked on: Python would wait."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(1)
            if thread.is_alive():
                os._exit(0)


def leave(number: int, frame: FrameType | None) -> None:
    """Handle a signal by ending the process as if nothing had been left to do."""
    sys.exit(0)


@contextmanager
def on_signals(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGTERM and SIGINT, where signals can be handled: only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
