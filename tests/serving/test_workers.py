"""Several processes on one port: one answer whoever gives it, one end for all."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import polars as pl
import psutil
import pytest

from fulcrum.serving.scoring.scorer import Scorer
from tests.serving.conftest import make_log
from tests.serving.scoring.test_scorer import difference
from tests.serving.test_service import Client, as_events, as_rows, free_port

WORKERS = 3
SERVE = f"""
import sys
from functools import partial
from pathlib import Path
from fulcrum.features.errors import FulcrumError
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.http.model_service import ModelService
from fulcrum.serving.workers import serve_by
folder, port, *history = sys.argv[1:]
load = partial(ModelService, Bundle.load(Path(folder)), "small", "3", "cpu", threads=1)
try:
    serve_by({WORKERS}, load, port=int(port), history=history)
except FulcrumError as error:
    sys.exit(f"Error: {{error}}")
"""


@contextmanager
def started(bundle, *history):
    """The first process, and its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(bundle.folder), str(port), *map(str, history)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, port
    finally:
        processes = [process.pid, *(child.pid for child in children(process))]
        for pid in processes:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


@contextmanager
def ready(bundle, *history):
    """Like `started`, once all processes answer."""
    with started(bundle, *history) as (process, port):
        deadline = time.monotonic() + 200
        times = 0
        while times < 20 and process.poll() is None and time.monotonic() < deadline:
            try:
                times = times + 1 if Client(port).get("/v2/health/ready")[0] == 200 else 0
            except OSError:
                time.sleep(0.2)
        assert process.poll() is None, process.stderr.read()
        assert times == 20
        yield process, port


def children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers(process):
    return [child for child in children(process) if "spawn_main" in " ".join(child.cmdline())]


def gone(pids):
    """Whether none of the processes is there, in the end."""
    deadline = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(map(psutil.pid_exists, pids))


def connections(port):
    """Many, and new ones: an idle one is closed by the service."""
    return [Client(port) for _ in range(20)]


def metrics(client):
    text = client.send("GET", "/metrics")[1].decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")


def busy(port):
    """Processes that answer on connections to the port."""
    return {
        c.pid
        for c in psutil.net_connections("tcp4")
        if c.laddr.port == port and c.status == "ESTABLISHED"
    }


@pytest.fixture(scope="module")
def team(bundle, log, tmp_path_factory):
    history = tmp_path_factory.mktemp("history") / "log.parquet"
    log.write_parquet(history)
    with ready(bundle, history) as both:
        yield both


def test_whoever_answers_says_the_same_and_knows_what_another_was_told(team, bundle, log):
    _, port = team
    events = make_log(60, seed=8).with_columns(pl.col("time_ms") - 86_400_000)
    rows = make_log(50, seed=5)
    scorer = Scorer(bundle, "cpu")
    for past in (log, pl.concat([log, events])):
        expected = scorer.score(rows, past.lazy())
        asked = connections(port)
        for client in asked:
            status, answer = client.post("/score", {"rows": as_rows(rows)})
            assert status == 200
            assert difference(expected, pl.DataFrame(answer["scores"])) < 1e-5
        if past is log:
            status, answer = Client(port).post("/events", {"events": as_events(events)})
            assert (status, answer["added"]) == (200, 60)
        assert len(busy(port)) > 2, "several processes answered"


def test_metrics_are_of_all_processes(team):
    _, port = team
    before = metrics(Client(port))
    for client in connections(port):
        client.post("/score", {"rows": as_rows(make_log(2, seed=1).with_columns(user_id=12345))})
    expected = {
        "fulcrum_rows_total": 2 * 20,
        'fulcrum_unknown_ids_total{feature="user"}': 2 * 20,
        'fulcrum_requests_total{method="POST",route="/score",status="200"}': 20,
    }

    def gained():
        after = metrics(Client(port))
        return {name: float(after[name]) - float(before.get(name, 0)) for name in expected}

    # A request is counted once its answer is on its way.
    deadline = time.monotonic() + 30
    while gained() != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    for client in connections(port):
        assert gained() == expected
        after = metrics(client)
        assert float(after["fulcrum_ready"]) == 1
        stage = 'fulcrum_stage_seconds_total{stage="graph"}'
        assert float(after[stage]) > float(before.get(stage, 0))


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_ends_all_and_nothing_is_left(team, bundle, number):
    with ready(bundle) as (process, port):
        asked = connections(port)
        pids = [child.pid for child in children(process)]
        assert len(workers(process)) == WORKERS
        assert all(client.get("/v2/health/live")[0] == 200 for client in asked)
        process.send_signal(number)
        assert process.wait(30) == 0, process.stderr.read()
        assert process.stderr.read() == ""
        assert gone(pids)


@pytest.mark.slow
def test_when_one_dies_all_end_and_say_so(team, bundle):
    with ready(bundle) as (process, _):
        pids = [child.pid for child in children(process)]
        workers(process)[1].kill()
        assert process.wait(30) == 1
        error = process.stderr.read()
        assert re.search(
            r"Error: a process that answers ended with exit code -9; the others", error
        )
        assert gone(pids)


@pytest.mark.slow
def test_they_do_not_outlive_the_first(team, bundle):
    with ready(bundle) as (process, _):
        pids = [child.pid for child in workers(process)]
        process.kill()
        assert gone(pids)


def test_what_breaks_in_one_is_said_once(team, bundle, tmp_path):
    broken = tmp_path / "log.parquet"
    broken.write_bytes(b"PAR1")
    with started(bundle, broken) as (process, _):
        assert process.wait(120) == 1
        [line] = [line for line in process.stderr.read().splitlines() if line]
        assert line.startswith("Error: ")
        assert "log.parquet" in line


def test_a_port_in_use_is_not_shared(team, bundle):
    """Neither with another program nor with processes like these."""
    _, port = team
    other = [sys.executable, "-c", SERVE, str(bundle.folder), str(port)]
    done = subprocess.run(other, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the port is in use by another program" in done.stderr
