"""Several processes that answer on one port: they start, are ready and end together."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from types import FrameType

from fulcrum.features.errors import FulcrumError, ResourceError
from fulcrum.serving.http.metrics import FOLDER
from fulcrum.serving.http.service import Service
from fulcrum.serving.service import answer, leave, leave_behind, listen, on_signals

logger = logging.getLogger(__name__)


def serve_by(
    workers: int,
    load: Callable[..., Service],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    history: str | Sequence[str] | None = None,
    store: Path | None = None,
) -> None:
    """`serve` by processes that share the port and the events; those are in a temporary file
    without a `store`.

    `load` is pickled, and called in each of them with the file as `store`. None is restarted: when
    one ends, the others finish their open requests and end, too. Raises ResourceError when the port
    is taken or a process dies, and whatever loading and a bad history raise in one of them.
    """
    context = get_context("spawn")
    others, failures = context.Barrier(workers), context.SimpleQueue()
    processes: list[SpawnProcess] = []
    stopped = threading.Event()

    def stop(number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        stopped.set()
        for process in processes:
            process.terminate()

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="fulcrum-")))
        stack.enter_context(on_signals(stop))
        # A port that another program listens on would be shared with it.
        with listen(host, port):
            pass
        # Before the processes import Polars and the client of Prometheus, which read them then.
        os.environ[FOLDER] = stack.enter_context(TemporaryDirectory(prefix="fulcrum-"))
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
        load = partial(load, store=store or folder / "events.db")
        for number in range(workers):
            with listen(host, port, shared=True) as listener:
                arguments = (load, listener, None if number else history, others, failures)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                processes.append(process)
        if stopped.is_set():
            stop()
        logger.info("%d processes answer on http://%s:%d", workers, host, port)
        ended = wait([process.sentinel for process in processes])
        by_signal = stopped.is_set()
        stop()
        for process in processes:
            process.join()
        if not failures.empty():
            raise failures.get()
        codes = [process.exitcode for process in processes if process.sentinel in ended]
        if any(codes) and not by_signal:
            raise ResourceError(
                f"a process that answers ended with exit code {next(filter(None, codes))}; the "
                "others were stopped"
            )


def _work(
    load: Callable[[], Service],
    listener: socket,
    history: str | Sequence[str] | None,
    others: Barrier,
    failures: "SimpleQueue[FulcrumError]",
) -> None:
    """One of the processes."""
    # Ctrl-C is for the first process, which tells the others; without it, they end.
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with on_signals(leave), listener:
            answer(load, listener, history, others)
    except FulcrumError as error:
        failures.put(error)
    leave_behind()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
