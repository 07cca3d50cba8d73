"""SIGTERM in every phase, with clients that would hold the process for ever."""

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing

import pytest

from tests.serving.http.test_connection import HALF_BODY, HEALTH, alive, ask, call, post
from tests.serving.test_service import free_port

LIMIT = 2
"""Seconds for the drain, and again for the upkeep."""
SERVE = f"""
import sys, time
from pathlib import Path
import polars as pl
from fulcrum.serving import service
from fulcrum.serving.scoring.stages import Stages
from fulcrum.testing.specs import learn
from tests.serving.http.small_service import Echo

port, store, phase = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
service.DRAIN_SECONDS = service.UPKEEP_SECONDS = {LIMIT}
service.FOLLOW_SECONDS = 0.01
rows = pl.DataFrame({{"user": range(10_000), "at": ["2024-01-01"] * 10_000}})
seen = {{"kind": "window", "key": "user", "statistic": "count"}}

class Past:
    def __init__(self, paths, state):
        self.files = [Path(paths)]

    def batches(self, file, columns):
        print(phase, flush=True)
        if phase == "reading":
            time.sleep(1000)
        yield rows
        while phase == "inserting":
            yield rows

class Model:
    state = learn(rows.head(10), {{"seen": seen}}, data={{"time": {{"column": "at"}}}})
    unknown, stages = {{}}, Stages()

    def warm_up(self):
        print(phase, flush=True)
        if phase == "warming":
            time.sleep(1000)

class Slow(Echo):
    factor = 10_000_000
    scorers = [Model()]

    def follow(self):
        if phase == "following":
            time.sleep(1000)

def load():
    if phase == "loading":
        print(phase, flush=True)
        time.sleep(1000)
    return Slow(store)

service.History = Past
service.serve(load, port=port, history=sys.executable)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "phase", ["loading", "reading", "inserting", "locked", "warming", "following", "serving"]
)
def test_a_signal_is_obeyed_whatever_goes_on(tmp_path, phase, number):
    port, store = free_port(), tmp_path / "events.db"
    arguments = [sys.executable, "-c", SERVE, str(port), str(store), phase]
    with ExitStack() as stack:
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        stack.callback(process.stdout.close)
        stack.callback(process.stderr.close)
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout.readline() == f"{phase}\n"
        if phase == "locked":
            other = stack.enter_context(closing(sqlite3.connect(store, isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        if phase != "loading":
            while not alive(port):
                time.sleep(0.1)
            for first in (b"", b"GET /v2", HEALTH, HALF_BODY, post(b"/score"), post(b"/events")):
                stack.enter_context(call(port)).sendall(first)
        time.sleep(0.5)
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(60) == 0
        assert time.monotonic() - started < 2 * LIMIT + 10
        assert "Traceback" not in process.stderr.read()


COMMAND = f"""
import sys, time
from fulcrum.pipelines.__main__ import main
from fulcrum.serving import service
from fulcrum.serving.scoring.stages import Stages
from fulcrum.serving.http.model_service import ModelService

service.DRAIN_SECONDS = {LIMIT}
ModelService.score = lambda self, body: time.sleep(1000)
sys.argv = ["fulcrum", "serve", "--device", "cpu", "--model", sys.argv[1], "--port", sys.argv[2]]
main()
"""


@pytest.mark.slow
def test_a_request_that_never_ends_does_not_hold_the_command(bundle):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(bundle.folder), str(port)],
        stderr=subprocess.PIPE,
        text=True,
    )
    with ExitStack() as stack:
        stack.callback(process.stderr.close)
        stack.callback(process.wait)
        stack.callback(process.kill)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if ask(port, HEALTH.replace(b"live", b"ready"))[0] == 200:
                    break
            except OSError:
                time.sleep(0.1)
        stack.enter_context(call(port)).sendall(post(b"/score"))
        time.sleep(0.5)
        started = time.monotonic()
        process.terminate()
        assert process.wait(60) == 0
        assert LIMIT <= time.monotonic() - started < LIMIT + 20
