"""Open and closed loops against a service that does what the test says."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import Load

REQUESTS = [b"first", b"second"]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"


class Service:
    """Answers whatever arrives, in two pieces, and nothing in the first `stall` seconds."""

    def __init__(self, answer: bytes, stall: float = 0, cut: bool = False) -> None:
        self.answer, self.stall, self.cut = answer, stall, cut
        self.asked: list[bytes] = []
        self.port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(100):
            self.asked.append(request)
            await asyncio.sleep(self.started + self.stall - time.perf_counter())
            for piece in (self.answer[:30], self.answer[30:]):
                writer.write(piece)
                await asyncio.sleep(0.001)
            if self.cut:
                break
        writer.close()

    async def serve(self, ready: threading.Event) -> None:
        self.started = time.perf_counter()
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self.talk, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self.end.wait()


@contextmanager
def answering(service: Service) -> Iterator[Service]:
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(service.serve(ready)))
    thread.start()
    ready.wait()
    try:
        yield service
    finally:
        service.loop.call_soon_threadsafe(service.end.set)
        thread.join()


def test_an_open_loop_asks_in_turns_for_as_much_as_it_is_told():
    with answering(Service(GOOD)) as service:
        answers = Load(service.port, REQUESTS).open(rate=100, seconds=0.5)
    assert service.asked.count(REQUESTS[0]) == service.asked.count(REQUESTS[1]) == 25
    assert len(answers.latencies) == 50
    assert answers.errors == 0
    assert answers.rate == 50 / answers.seconds


def test_a_stall_counts_for_every_request_that_was_due_in_it():
    """Half of them wait for half of it; of a loop that waits for answers, one would."""
    with answering(Service(GOOD, stall=1)) as service:
        answers = Load(service.port, REQUESTS).open(rate=200, seconds=1)
    assert answers.quantile(0.5) > 0.4
    assert answers.quantile(0.99) > 0.9


def test_a_closed_loop_asks_again_once_it_is_answered():
    with answering(Service(GOOD)) as service:
        answers = Load(service.port, REQUESTS).closed(clients=3, seconds=0.3)
    assert len(answers.latencies) == len(service.asked) > 3
    assert sum(answers.latencies) <= 3 * answers.seconds


@pytest.mark.parametrize("cut", [False, True])
def test_what_is_not_answered_well_is_an_error(cut):
    with answering(Service(GOOD[:20] if cut else BUSY, cut=cut)) as service:
        answers = Load(service.port, REQUESTS).closed(clients=2, seconds=0.2)
    assert answers.errors == len(answers.latencies) > 2
    assert answers.rate == 0


def test_a_connection_that_the_service_closes_is_opened_again():
    with answering(Service(GOOD, cut=True)) as service:
        answers = Load(service.port, REQUESTS).open(rate=50, seconds=0.5)
    assert answers.errors == 0
    assert len(answers.latencies) == 25
