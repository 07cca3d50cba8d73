"""Requests sent at instants set beforehand, whatever the answers take, over connections kept open.

A client that waits for one answer before it asks again spares a slow service just when it is slow
("coordinated omission"): here every latency counts from the instant at which its request was due.
"""

import asyncio
import re
import selectors
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, TypeVar

import numpy as np

CONNECTIONS = 16
"""Open at once. A request that is due while all are taken waits for one; that counts."""
CLIENTS = 8
"""Of the closed loop, each of which asks again once it is answered."""
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Result = TypeVar("Result")


@dataclass
class Answers:
    """To some requests."""

    seconds: float = 0
    """Until the last one."""
    latencies: list[float] = field(default_factory=list)
    """Of each in seconds, errors included."""
    errors: int = 0
    """Of another status than 200, or cut off."""

    @property
    def rate(self) -> float:
        """Good ones a second."""
        return (len(self.latencies) - self.errors) / self.seconds

    def quantile(self, share: float) -> float:
        """In seconds; the largest where there are too few to say."""
        return float(np.quantile(self.latencies, share, method="higher"))


class Connection(asyncio.Protocol):
    """HTTP/1.1 with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None

    async def ask(self, port: int, request: bytes) -> int:
        """The status of the answer. Raises OSError when it is cut off."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await loop.create_connection(lambda: self, "127.0.0.1", port)
        self._bytes, self._status = bytearray(), loop.create_future()
        assert self._transport is not None
        self._transport.write(request)
        return await self._status

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._status.done():
            self._status.set_exception(ConnectionResetError("cut off"))

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        end = self._bytes.find(b"\r\n\r\n")
        if end > 0:
            head = self._bytes[:end]
            length = LENGTH.search(head)
            if length and len(self._bytes) >= end + 4 + int(length[1]):
                self._status.set_result(int(head.split(maxsplit=2)[1]))


class Load:
    """What a port is asked; `requests` are whole HTTP messages that take turns."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self._port, self._requests = port, cycle(requests)

    def closed(self, clients: int, seconds: float) -> Answers:
        """Clients that each ask again once they are answered: how much the service can do."""

        async def client(answers: Answers, pool: _Pool, until: float) -> None:
            while (now := time.perf_counter()) < until:
                await pool.ask(next(self._requests), now, answers)

        async def run() -> Answers:
            answers, pool, start = Answers(), _Pool(self._port, clients), time.perf_counter()
            await asyncio.gather(*(client(answers, pool, start + seconds) for _ in range(clients)))
            answers.seconds = time.perf_counter() - start
            return answers

        return _run(run())

    def open(self, rate: float, seconds: float) -> Answers:
        """Requests at random instants (a Poisson process), `rate` a second on average."""
        gaps = np.random.default_rng(0).exponential(1 / rate, round(rate * seconds) or 1)

        async def run() -> Answers:
            answers, pool, start = Answers(), _Pool(self._port, CONNECTIONS), time.perf_counter()
            asking = []
            for due in start + np.cumsum(gaps):
                await asyncio.sleep(due - time.perf_counter())
                asked = pool.ask(next(self._requests), due, answers)
                asking.append(asyncio.create_task(asked))
            await asyncio.gather(*asking)
            answers.seconds = time.perf_counter() - start
            return answers

        return _run(run())


class _Pool:
    """Connections that take turns, opened again where the service closed them."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(connections):
            self._free.put_nowait(Connection())

    async def ask(self, request: bytes, due: float, answers: Answers) -> None:
        """Adds the answer."""
        connection = await self._free.get()
        try:
            good = await connection.ask(self._port, request) == 200
        except OSError:
            good = False
        self._free.put_nowait(connection)
        answers.errors += not good
        answers.latencies.append(time.perf_counter() - due)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """`select` wakes to the microsecond; asyncio's default rounds up to a millisecond."""
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        return runner.run(work)
