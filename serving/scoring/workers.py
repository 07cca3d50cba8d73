"""Files dealt to several processes, each of which makes one at a time."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from fulcrum.features.errors import FulcrumError, ResourceError
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.history import History
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scored_file import Note, Progress, ScoredFile
from fulcrum.serving.scoring.scorer import Scorer

POLARS_THREADS = "POLARS_MAX_THREADS"


@dataclass(frozen=True)
class Scoring:
    """What all files share; a process brings it to memory once."""

    bundle: Bundle
    past: History | None
    device: Device
    batch_size: int | None

    @contextmanager
    def begun(
        self, threads: int | None = None
    ) -> Iterator[Callable[[ScoredFile, Progress | None], Note]]:
        """What makes a file, by as many threads as the bundle says where none are given."""
        scorer = Scorer(self.bundle, self.device, self.batch_size, threads)
        with nullcontext() if self.past is None else self.past.gathered() as events:
            yield lambda file, progress: file.make(scorer, events, progress)


def score_by(
    workers: int, scoring: Scoring, files: Sequence[ScoredFile], progress: Progress | None
) -> list[Note]:
    """The notes of files made by processes of one thread each, in any order.

    Raises what stopped the first of them, and ResourceError when one dies; what the others have in
    hand is given up then.
    """
    context, waiting, notes = get_context("spawn"), list(reversed(files)), list[Note]()
    processes: dict[Connection, SpawnProcess] = {}
    try:
        with _one_polars_thread():
            for _ in range(workers):
                near, far = context.Pipe()
                processes[near] = context.Process(target=_work, args=(scoring, far), daemon=True)
                processes[near].start()
                far.close()
                _send(near, waiting.pop())
        busy = set(processes)
        while busy:
            for near in busy & {*wait([*busy])}:
                answer = _receive(near)
                if isinstance(answer, FulcrumError):
                    raise answer
                if isinstance(answer, tuple):
                    if progress is not None:
                        progress(*answer)
                elif isinstance(answer, Note):
                    notes.append(answer)
                    if waiting:
                        _send(near, waiting.pop())
                    else:
                        busy.remove(near)
                else:
                    processes[near].join()
                    raise ResourceError(
                        "a process that scores ended with exit code "
                        f"{processes[near].exitcode}; the others were stopped. Files that are done "
                        "are kept: the same command goes on with the rest"
                    )
    except BaseException:
        for process in processes.values():
            process.terminate()
        raise
    finally:
        for near, process in processes.items():
            near.close()
            process.join()
    return notes


@contextmanager
def _one_polars_thread() -> Iterator[None]:
    """For the processes started meanwhile, which read it when they import Polars."""
    before = os.environ.get(POLARS_THREADS)
    os.environ.setdefault(POLARS_THREADS, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[POLARS_THREADS]


def _send(end: Connection, file: ScoredFile) -> None:
    with suppress(ConnectionError):  # the process is dead, as the next answer says
        end.send(file)


def _receive(end: Connection) -> Any:
    """What the other process sent: a note, a pair for `Progress`, or an error; None if it ended."""
    try:
        return end.recv()
    except (EOFError, ConnectionError):
        return None


def _work(scoring: Scoring, first: Connection) -> None:
    """One of the processes. It ends with the first, whose end of the connection is gone then."""
    # Ctrl-C is for the first process. What is half done goes with the exception.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    with suppress(ConnectionError):
        try:
            with scoring.begun(threads=1) as score:
                while (file := _receive(first)) is not None:
                    first.send(score(file, lambda input, rows: first.send((input, rows))))
        except FulcrumError as error:
            first.send(error)
