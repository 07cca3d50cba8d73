"""SIGTERM, by which Slurm, Kubernetes and `docker stop` end a process, and SIGHUP, by which a
terminal does that is closed, end a command as Ctrl-C does."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """What a signal raises in the main thread: whatever tidies up after Ctrl-C does so here."""


@contextmanager
def terminable() -> Iterator[None]:
    """Inside the block the signals raise Terminated, and the process then exits with 128 plus the
    signal's number. Only the first one counts: the end of a run is not interrupted in its turn.
    One that was ignored before, as `nohup` has it, stays ignored."""
    received: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        received.append(number)
        raise Terminated

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:  # whatever the interrupt has become on its way
            sys.exit(128 + received[0])
