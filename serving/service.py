"""The online scorer as a process: bind a port, prepare, answer, drain."""

import errno
import logging
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from fulcrum.features.errors import ConfigError, ResourceError
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.experiments.arm_models import ArmModels
from fulcrum.serving.experiments.experiment import ExperimentConfig
from fulcrum.serving.experiments.exposure_log import ExposureLog
from fulcrum.serving.experiments.service import ExperimentService, logged_columns
from fulcrum.serving.http.app import ROWS_PER_CALL, Service, app, routes
from fulcrum.serving.http.event_store import EventStore
from fulcrum.serving.scoring.history import History
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scorer import Scorer

if TYPE_CHECKING:
    from fulcrum.serving.publishing.registry import Registry

DRAIN_SECONDS = 30
"""How long open requests may take after SIGTERM."""
BACKLOG = 2048
"""Connections that wait to be accepted."""
FOLLOW_SECONDS = 10
"""Between two looks at what the aliases of an experiment's models mean."""

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
        events = _open_store([bundle.state], bundle.serving, store)
        past = History(history, bundle.state) if history and events is not None else None
        service = Service(scorer, events, name, version)
        logger.info("%s %s answers on http://%s:%d", name, version, host, port)
        _run(service, app(service), listener, past)


def serve_experiment(
    experiment: ExperimentConfig,
    registry: "Registry",
    log: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    history: str | Sequence[str] | None = None,
    store: Path | None = None,
    device: Device = "auto",
) -> None:
    """`serve` for the models of an experiment's arms, which are looked up in `registry` again and
    again; `log` is the folder of what was assigned, shown and came of it.

    Raises ConfigError where the experiment says no unit or an arm no model, and as `serve`,
    `ArmModels` and `ExposureLog` do."""
    if experiment.unit is None:
        raise ConfigError("unit: serving needs the column that says whose row it is")
    with _listen(host, port) as listener:
        models = ArmModels(experiment, registry, device, batch_size=ROWS_PER_CALL)
        columns = logged_columns(models, experiment)
        with closing(ExposureLog(log, experiment, columns)) as written:
            states = [model.scorer.state for model in models.all]
            events = _open_store(states, models.control.scorer.bundle.serving, store)
            looking = [state for state in states if state.past_columns]
            # Each checks that the files have its columns; any one reads them.
            pasts = [History(history, state) for state in looking] if history else []
            past = pasts[0] if pasts else None
            service = ExperimentService(experiment, experiment.unit, models, written, events)
            logger.info("%s answers on http://%s:%d", experiment.name, host, port)
            stop = threading.Event()
            follower = threading.Thread(target=_follow, args=(models, stop), name="follow")
            follower.start()
            try:
                _run(service, routes(service)[0], listener, past)
            finally:
                stop.set()
                follower.join()


def _follow(models: ArmModels, stop: threading.Event) -> None:
    """Take over what aliases mean, until told to stop."""
    while not stop.wait(FOLLOW_SECONDS):
        try:
            models.follow()
        except Exception as error:
            logger.error("the models' aliases could not be followed", exc_info=error)


def _run(
    service: Service | ExperimentService,
    web: FastAPI,
    listener: socket.socket,
    past: History | None,
) -> None:
    """Answer until told to stop; then what the preparation raised, if anything."""
    server = uvicorn.Server(
        uvicorn.Config(web, log_level="warning", timeout_graceful_shutdown=DRAIN_SECONDS)
    )
    preparation = Preparation(service, past, server)
    with _stopping_quietly():
        preparation.start()
        server.run(sockets=[listener])
    preparation.join()
    if service.store is not None:
        service.store.close()
    if preparation.failure is not None:
        raise preparation.failure


class Preparation(threading.Thread):
    """Loads the history and warms up while the port already answers "live, not ready"; a failure
    stops the server."""

    def __init__(
        self, service: Service | ExperimentService, past: History | None, server: uvicorn.Server
    ) -> None:
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


def _open_store(
    states: Sequence[FeatureState], limits: ServingConfig, path: Path | None
) -> EventStore | None:
    """A store of what the models remember, when one looks back."""
    columns = {name: dtype for state in states for name, dtype in state.past_columns.items()}
    if not columns:
        return None
    keys = [f.key for state in states for f in state.spec.looking_back.values()]
    return EventStore(path, columns, keys, limits.event_key)


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
