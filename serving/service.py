"""The online scorer as a process: bind a port, prepare, answer, drain."""

import errno
import logging
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from features.errors import ResourceError
from features.kinds.history import HistoryConfig
from features.kinds.window import WindowConfig
from serving.app import ROWS_PER_CALL, Service, app
from serving.bundle import Bundle
from serving.history import History
from serving.scorer import Scorer
from serving.session import Device
from serving.store import EventStore

DRAIN_SECONDS = 30
"""How long open requests may take after SIGTERM."""
BACKLOG = 2048
"""Connections that wait to be accepted."""

logger = logging.getLogger(__name__)


def serve(
    bundle: Bundle,
    *,
    name: str,
    version: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    history: str | Sequence[str] | None = None,
    store: Path | None = None,
    device: Device = "auto",
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the open ones.

    `history` are files of past events, loaded before the service is ready; `store` is the SQLite
    file of past events, kept across restarts; in memory when left out. Raises ResourceError when
    the port is taken or the device missing, and whatever a bad history raises.
    """
    with _listen(host, port) as listener:
        scorer = Scorer(bundle, device, batch_size=ROWS_PER_CALL)
        events = _open_store(bundle, store)
        past = History(history, bundle.state) if history and events is not None else None
        service = Service(scorer, events, name, version)
        server = uvicorn.Server(
            uvicorn.Config(
                app(service),
                log_level="warning",
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        preparation = Preparation(service, past, server)
        with _stopping_quietly():
            preparation.start()
            logger.info("%s %s answers on http://%s:%d", name, version, host, port)
            server.run(sockets=[listener])
        preparation.join()
        if events is not None:
            events.close()
        if preparation.failure is not None:
            raise preparation.failure


class Preparation(threading.Thread):
    """Loads the history and warms up while the port already answers "live, not ready"; a failure
    stops the server."""

    def __init__(self, service: Service, past: History | None, server: uvicorn.Server) -> None:
        super().__init__(name="prepare", daemon=True)
        self.failure: Exception | None = None
        self._service, self._past, self._server = service, past, server

    def run(self) -> None:
        store = self._service.store
        try:
            if self._past is not None and store is not None:
                for file in self._past.files:
                    if self._server.should_exit:
                        return
                    store.load(file, self._past.batches(file, list(store.columns)))
            self._service.open()
        except Exception as error:
            self.failure = error
            self._server.should_exit = True


def _open_store(bundle: Bundle, path: Path | None) -> EventStore | None:
    """A store when the model looks back."""
    state = bundle.state
    if not state.past_columns:
        return None
    features = state.spec.features.values()
    keys = [f.key for f in features if isinstance(f, WindowConfig | HistoryConfig)]
    return EventStore(path, state.past_columns, keys, bundle.serving.event_key)


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket. Raises ResourceError when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        # asyncio answers without delay only on sockets that say they are TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


@contextmanager
def _stopping_quietly() -> Iterator[None]:
    """uvicorn drains on a signal, then raises it again; after a drain the process should end
    normally."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ignore(number: int, frame: FrameType | None) -> None:
        return

    before = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
