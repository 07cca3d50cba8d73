"""Runs an iterator ahead of its consumer, on a thread of its own."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from queue import Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class _Failure:
    error: BaseException


def prefetch(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The items of `source`, at most `depth` of them made ahead of time.

    An error in `source` is raised here, in its place in the order. The thread ends with the
    generator: at its last item, on an error, and when the generator is closed early.
    """
    queue: Queue[Item | _Failure | None] = Queue(depth)
    stopped = Event()

    def run() -> None:
        try:
            for item in source:
                queue.put(item)
                if stopped.is_set():
                    return
            queue.put(None)
        except BaseException as error:
            queue.put(_Failure(error))

    thread = Thread(target=run, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            while not queue.empty():
                queue.get_nowait()
            thread.join(0.01)
