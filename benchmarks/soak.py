"""`python -m benchmarks.soak`: minutes of good, bad, slow and broken clients against one service,
and what of memory, descriptors and threads it does not give back."""

import json
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import psutil
import typer

from benchmarks.figure import Figure, show
from benchmarks.logs import Size, make_run, write_logs
from benchmarks.scoring import make_bundle, make_weights
from benchmarks.service import ready, serving
from fulcrum.features.prepared.prepare import prepare
from fulcrum.serving.bundle.bundle import Bundle

SMALL = Size(rows=4096, values=200, batch_size=128)
WARM = 1 / 5
"""Of the time, before the first look."""
CLIENTS, SLOW = 4, 8
"""That send one request after the other; that send a byte now and then."""
ROWS = 20
"""In a request."""
PAUSE = 0.5
"""Seconds between two bytes of a slow client, and for the service to come to rest."""
MEMORY_AIM, AIM = 0.9, 0.8
"""What was there before, to what is there after; a few worker threads come with chance."""
EARLIER = "after a fifth of the time"

Row = dict[str, Any]
Call = tuple[bytes, int]
"""A request and the status of its answer."""


@dataclass(frozen=True)
class Held:
    """By a process at rest."""

    memory: int
    descriptors: int
    threads: int


def soak(bundle: Bundle, rows: Sequence[Row], folder: Path, seconds: float) -> list[Figure]:
    """What a service of the bundle holds after a while, to what it holds at the end. `rows` have
    all columns of a row and of an event; the store of events is made in `folder`.

    Raises AssertionError when an answer is not the one that a request should get."""
    calls = make_calls(bundle, rows)
    answers: Counter[int] = Counter()
    model, store = str(bundle.folder), str(folder / "events.db")
    with serving(folder, "--model", model, "--store", store) as (process, port):
        answers += traffic(port, calls, WARM * seconds)
        before = at_rest(process)
        answers += traffic(port, calls, (1 - WARM) * seconds)
        after = at_rest(process)
        assert ready(port)
    told = ", ".join(f"{count:,} of {status}" for status, count in sorted(answers.items()))
    mebibytes = f"{before.memory >> 20} MiB, then {after.memory >> 20}"
    return [
        Figure("resident memory", mebibytes, before.memory / after.memory, EARLIER, MEMORY_AIM),
        compared("descriptors", before.descriptors, after.descriptors),
        compared("threads", before.threads, after.threads),
        Figure("answers", told),
    ]


def compared(what: str, before: int, after: int) -> Figure:
    return Figure(what, f"{before}, then {after}", before / after, EARLIER, AIM)


def make_calls(bundle: Bundle, rows: Sequence[Row]) -> list[Call]:
    """Every request with its answer; the parts of the log take turns."""
    calls: list[Call] = []
    for first in range(0, len(rows), ROWS):
        part = list(rows[first : first + ROWS])
        scored = [{name: row[name] for name in bundle.state.row_columns} for row in part]
        worse = [{**scored[0], next(iter(bundle.state.row_columns)): [{}]}]
        calls += [
            (post(b"/score", {"rows": scored}), 200),
            (post(b"/events", {"events": part}), 200),
            (post(b"/score", {"rows": scored, "events": part}), 200),
            (post(b"/score", {"rows": worse}), 422),
            (post(b"/events", {"events": [{}]}), 422),
            (post(b"/score", "no rows"), 422),
            (post(b"/score", {"rows": scored}, b"content-encoding: gzip\r\n"), 415),
            (get(b"/metrics"), 200),
            (get(b"/v2/health/live"), 200),
            (get(b"/nowhere"), 404),
        ]
    return calls


def head(line: bytes, more: bytes = b"") -> bytes:
    return b"%b HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n%b\r\n" % (line, more)


def get(path: bytes) -> bytes:
    return head(b"GET " + path)


def post(path: bytes, value: object, more: bytes = b"") -> bytes:
    body = json.dumps(value).encode()
    return head(b"POST " + path, b"%bcontent-length: %d\r\n" % (more, len(body))) + body


def call(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def ask(port: int, request: bytes) -> int:
    """The status of the answer."""
    with call(port) as client:
        client.sendall(request)
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    return int(answer.split(maxsplit=2)[1])


def traffic(port: int, calls: list[Call], seconds: float) -> Counter[int]:
    """Answers by status, of all clients at once; the slow ones get none."""
    ended = threading.Event()
    with ThreadPoolExecutor(CLIENTS + SLOW) as pool:
        asking = [
            pool.submit(keep_asking, port, calls[place:] + calls[:place], ended)
            for place in range(0, len(calls), len(calls) // CLIENTS + 1)
        ]
        crawling = [pool.submit(crawl, port, calls[n][0], ended) for n in range(SLOW)]
        ended.wait(seconds)
        ended.set()
        for each in crawling:
            each.result()
        return sum((each.result() for each in asking), Counter())


def keep_asking(port: int, calls: Sequence[Call], ended: threading.Event) -> Counter[int]:
    """One request after the other, and after each a client that goes away in the middle of it."""
    answers: Counter[int] = Counter()
    for request, expected in cycle(calls):
        if ended.is_set():
            break
        status = ask(port, request)
        assert status == expected, (status, request[:2000])
        answers[status] += 1
        with call(port) as client:
            client.sendall(request[: len(request) * (answers.total() % 5) // 4])
    return answers


def crawl(port: int, request: bytes, ended: threading.Event) -> None:
    """A byte now and then, from the beginning again when the service has had enough."""
    while not ended.is_set():
        with suppress(OSError), call(port) as client:
            for byte in request:
                if ended.wait(PAUSE):
                    break
                client.sendall(bytes([byte]))


def at_rest(process: psutil.Process) -> Held:
    """What a process holds once nobody calls and that does not change any more."""
    last = None
    while last != (last := (process.num_fds(), process.num_threads())):
        time.sleep(PAUSE)
    return Held(process.memory_info().rss, *last)


def main(minutes: Annotated[float, typer.Argument(min=0)] = 5) -> None:
    """Exit code 1 where the service holds more at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_logs(folder, SMALL)
        run = make_run(folder, SMALL, looking_back=True)
        dataset = prepare(run, Path(run.workspace))
        bundle = make_bundle(folder / "model", run, dataset, make_weights(run, dataset))
        rows = pl.read_parquet(folder / "logs.parquet", glob=False).tail(ROWS * 50)
        figures = soak(bundle, json.loads(rows.write_json()), folder, 60 * minutes)
    show(f"{minutes:g} minutes", figures)
    if any(figure.missed for figure in figures):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
