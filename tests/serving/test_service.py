"""The service as a process: what survives its end, what holds it up, and how it drains."""

import http.client
import io
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import anyio
import httpx
import polars as pl
import pytest

from fulcrum.features.errors import ResourceError
from fulcrum.serving.http import event_store, intake
from fulcrum.serving.http.app import app
from fulcrum.serving.http.model_service import ModelService
from fulcrum.serving.scoring.scorer import Scorer
from fulcrum.serving.service import serve
from tests.serving.conftest import OUTCOMES, make_log
from tests.serving.http.small_service import listening
from tests.serving.scoring.test_scorer import difference

SERVE = """
import sys
from functools import partial
from pathlib import Path
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.http.model_service import ModelService
from fulcrum.serving.service import serve
folder, port, store, *history = sys.argv[1:]
bundle, file = Bundle.load(Path(folder)), Path(store) if store else None
serve(partial(ModelService, bundle, "small", "3", "cpu", file), port=int(port), history=history)
"""


class Client:
    """One kept connection to a service."""

    def __init__(self, port):
        self.port = port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(self, method, path, body=None, headers=None):
        if isinstance(body, dict | list):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        try:
            self.connection.request(method, path, body, headers or {})
            response = self.connection.getresponse()
            return response.status, response.read()
        except (http.client.HTTPException, ConnectionError):
            self.connection.close()
            raise

    def get(self, path):
        status, body = self.send("GET", path)
        return status, json.loads(body)

    def post(self, path, body, **headers):
        status, body = self.send(
            "POST", path, body, {"content-type": "application/json", **headers}
        )
        return status, json.loads(body)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def serving(bundle, store="", history=()):
    port = free_port()
    return running(SERVE, bundle.folder, port, store, *history, port=port)


@contextmanager
def running(script, *arguments, port):
    """A client of a script in its own process, once that is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    try:
        client = Client(port)
        client.process = process
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get("/v2/health/ready")[0] == 200:
                    break
            except OSError:
                time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
        yield client
        process.kill()
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def as_rows(frame):
    return json.loads(frame.drop(OUTCOMES, strict=False).write_json())


def as_events(frame):
    return json.loads(frame.write_json())


def as_tensors(frame):
    tensors = []
    for name, kind in (
        ("user_id", "INT64"),
        ("video_id", "BYTES"),
        ("time_ms", "INT64"),
        ("duration_s", "FP64"),
        ("is_new", "BOOL"),
    ):
        data = frame[name].to_list()
        tensors.append({"name": name, "datatype": kind, "shape": [len(data)], "data": data})
    tags = [[*row, None, None, None][:3] for row in frame["tags"].to_list()]
    tensors.append({"name": "tags", "datatype": "BYTES", "shape": [len(tags), 3], "data": tags})
    return tensors


def as_stream(frame):
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    return sink.getvalue()


ARROW = "application/vnd.apache.arrow.stream"


ROW = as_rows(make_log(1, seed=9))[0]


def test_events_change_scores_and_survive_a_kill(bundle, tmp_path):
    log = make_log(100, seed=10).unique(list(bundle.state.past_columns), maintain_order=True)
    rows = log.with_columns(pl.col("time_ms") + 86_400_000)
    expected = Scorer(bundle, "cpu").score(rows, log.lazy())
    with serving(bundle, tmp_path / "events.db") as client:
        _, before = client.post("/score", {"rows": as_rows(rows)})
        assert difference(expected, pl.DataFrame(before["scores"])) > 1e-3
        own = {"rows": as_rows(rows), "events": as_events(log)}
        assert difference(expected, pl.DataFrame(client.post("/score", own)[1]["scores"])) < 1e-5
        added = client.post("/events", {"events": as_events(log)})
        assert added == (200, {"added": log.height, "ignored": 0})
        client.process.kill()
    with serving(bundle, tmp_path / "events.db") as client:
        _, after = client.post("/score", {"rows": as_rows(rows)})
        assert difference(expected, pl.DataFrame(after["scores"])) < 1e-5
        again = client.post("/events", {"events": as_events(log)})[1]
        assert again == {"added": 0, "ignored": log.height}


@contextmanager
def another_writes(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_events_that_wait_for_another_writer_hold_up_nothing_else(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(event_store, "WRITE_SECONDS", 60)
    monkeypatch.setattr(intake, "WAITING_SECONDS", 60)
    service = ModelService(bundle, "small", "3", "cpu", tmp_path / "events.db")
    event = as_events(make_log(1, seed=9))
    with closing(service), listening(service) as server, ThreadPoolExecutor(8) as threads:
        tell = partial(httpx.post, f"http://127.0.0.1:{server.port}/events", json={"events": event})
        with another_writes(tmp_path / "events.db"):
            told = [threads.submit(tell, timeout=60) for _ in range(8)]
            time.sleep(0.5)
            client = Client(server.port)
            for _ in range(5):
                assert client.post("/score", {"rows": [ROW]})[0] == 200
            assert not any(answer.done() for answer in told)
        assert sum(answer.result().json()["added"] for answer in told) == 1


def test_events_that_wait_too_long_for_another_writer_are_sent_away(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(event_store, "WRITE_SECONDS", 0.1)
    service = ModelService(bundle, "small", "3", "cpu", tmp_path / "events.db")
    body = json.dumps({"events": as_events(make_log(1, seed=9))}).encode()
    with closing(service), listening(service) as server:
        tell = partial(httpx.post, f"http://127.0.0.1:{server.port}/events", content=body)
        with another_writes(tmp_path / "events.db"):
            refused = tell(timeout=60)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "events.db" not in refused.text
        assert tell().json() == {"added": 1, "ignored": 0}


@pytest.mark.slow
def test_two_services_share_one_store(bundle, tmp_path):
    """They start together with the same history; what one is told, the other knows."""
    log = make_log(100, seed=10).unique(list(bundle.state.past_columns), maintain_order=True)
    log[:50].write_parquet(tmp_path / "log.parquet")
    rows = log.with_columns(pl.col("time_ms") + 86_400_000)
    expected = Scorer(bundle, "cpu").score(rows, log.lazy())
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        start = partial(serving, bundle, tmp_path / "events.db", [str(tmp_path / "log.parquet")])
        first, second = threads.map(lambda _: stack.enter_context(start()), range(2))
        sent = [(first.port, as_events(log[50:75])), (second.port, as_events(log[75:]))] * 3

        def tell(port, events):
            return Client(port).post("/events", {"events": events})

        answers = threads.map(lambda one: tell(*one), sent)
        statuses, bodies = zip(*answers, strict=True)
        assert set(statuses) == {200}
        assert sum(body["added"] for body in bodies) == log.height - 50
        for client in (first, second):
            scores = client.post("/score", {"rows": as_rows(rows)})[1]["scores"]
            assert difference(expected, pl.DataFrame(scores)) < 1e-5


def test_a_signal_lets_open_requests_finish(bundle, log):
    with serving(bundle) as client:
        body = json.dumps({"rows": as_rows(log.head(100))}).encode()
        connection = socket.create_connection(("127.0.0.1", client.port))
        head = f"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:100])
        time.sleep(0.3)
        client.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert client.process.poll() is None
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", client.port), timeout=1).close()
        connection.sendall(body[100:])
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["scores"]) == 100
        assert client.process.wait(10) == 0
        assert client.process.stderr.read() == ""


def test_a_port_in_use_is_said_before_anything_loads():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=rf"127.0.0.1:{port}: the port is in use"):
            serve(pytest.fail, port=port)
    with pytest.raises(ResourceError, match=r"no\.such\.host:80"):
        serve(pytest.fail, host="no.such.host", port=80)


def test_a_history_that_breaks_stops_the_service(bundle, log, tmp_path):
    whole = tmp_path / "log.parquet"
    log.write_parquet(whole)
    data = bytearray(whole.read_bytes())
    data[100:2000] = b"\0" * 1900
    whole.write_bytes(data)
    process = subprocess.run(
        [sys.executable, "-c", SERVE, str(bundle.folder), str(free_port()), "", str(whole)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    assert "fulcrum.features.errors.DataError: --history: " in process.stderr
    assert str(whole) in process.stderr


def test_nothing_is_scored_before_the_service_is_ready(bundle):
    service = ModelService(bundle, "small", "1", "cpu")

    async def visit():
        transport = httpx.ASGITransport(app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert (await client.get("/v2/health/live")).status_code == 200
            assert (await client.get("/v2/health/ready")).status_code == 503
            ready = await client.get("/v2/models/small/ready")
            assert ready.json() == {"name": "small", "ready": False}
            assert (await client.post("/score", json={"rows": []})).status_code == 503
            service.open()
            assert (await client.get("/v2/health/ready")).status_code == 200
            assert (await client.post("/score", json={"rows": [ROW]})).status_code == 200
            assert (await client.post("/events", json={"events": []})).status_code == 200
            service.store = None  # as where the model does not look back
            refused = await client.post("/events", json={"events": []})
            assert refused.status_code == 422
            assert refused.json()["error"] == "events: this model does not look at past events"

    anyio.run(visit)


def test_serving_needs_neither_torch_nor_mlflow():
    code = (
        "import sys, fulcrum.serving.service, fulcrum.serving.scoring.files\n"
        "assert not {'torch', 'mlflow', 'onnx'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
