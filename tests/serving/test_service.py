"""The service over a real socket: agrees with the batch scorer, refuses clearly, drains."""

import gzip
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
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ResourceError
from fulcrum.serving.http import event_store, intake
from fulcrum.serving.http.app import app
from fulcrum.serving.http.model_service import ModelService
from fulcrum.serving.scoring.scorer import Scorer
from fulcrum.serving.service import serve
from tests.serving.conftest import OUTCOMES, make_log
from tests.serving.http.small_service import listening
from tests.serving.json_values import json_values, near
from tests.serving.scoring.test_scorer import SCORES, difference

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


@pytest.fixture(scope="module")
def client(bundle, log, tmp_path_factory):
    history = tmp_path_factory.mktemp("history") / "log.parquet"
    log.write_parquet(history)
    with serving(bundle, history=[str(history)]) as client:
        yield client


def test_score_agrees_with_the_batch_scorer(client, bundle, log):
    rows = make_log(100, seed=5)
    status, answer = client.post("/score", {"rows": as_rows(rows)})
    assert status == 200
    assert (answer["model"], answer["version"]) == ("small", "3")
    found = pl.DataFrame(answer["scores"])
    expected = Scorer(bundle, "cpu").score(rows, log.lazy())
    assert found.columns == expected.columns
    assert found.select("user_id", "video_id", "time_ms").equals(expected[:, :3])
    assert difference(expected, found) < 1e-5
    assert difference(expected, Scorer(bundle, "cpu").score(rows)) > 1e-3


def test_infer_agrees_with_the_batch_scorer(client, bundle, log):
    rows = make_log(100, seed=6)
    expected = Scorer(bundle, "cpu").score(rows, log.lazy())
    for path in ("/v2/models/small/infer", "/v2/models/small/versions/3/infer"):
        status, answer = client.post(path, {"id": "q", "inputs": as_tensors(rows)})
        assert status == 200
        assert (answer["model_name"], answer["model_version"], answer["id"]) == ("small", "3", "q")
        found = pl.DataFrame({tensor["name"]: tensor["data"] for tensor in answer["outputs"]})
        assert found.columns == SCORES
        assert difference(expected, found) < 1e-5
    request = {"inputs": as_tensors(rows), "outputs": [{"name": "watch"}]}
    status, answer = client.post(path, request)
    assert [tensor["name"] for tensor in answer["outputs"]] == ["watch"]


def as_stream(frame):
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    return sink.getvalue()


ARROW = "application/vnd.apache.arrow.stream"


def test_rows_and_scores_may_be_arrow_streams(client, bundle, log):
    rows = make_log(100, seed=5)
    odd = rows.with_columns(
        pl.col("video_id").cast(pl.Categorical), pl.col("user_id").cast(pl.String), more=pl.lit(b"")
    )
    expected = Scorer(bundle, "cpu").score(rows, log.lazy())
    for frame in (rows, odd):
        headers = {"content-type": ARROW, "accept": ARROW}
        status, content = client.send("POST", "/score", as_stream(frame), headers)
        assert status == 200
        table = pa.ipc.open_stream(content).read_all()
        assert table.schema.metadata == {b"model": b"small", b"version": b"3"}
        found = pl.from_arrow(table)
        keys = ["user_id", "video_id", "time_ms"]
        assert found.columns == expected.columns
        assert found.select(keys).cast(pl.String).equals(frame.select(keys).cast(pl.String))
        assert difference(expected, found) < 1e-5
        status, content = client.send("POST", "/score", as_stream(frame), {"content-type": ARROW})
        answer = json.loads(content)
        assert (status, answer["model"]) == (200, "small")
        assert [score["user_id"] for score in answer["scores"]] == frame["user_id"].to_list()
        assert difference(expected, pl.DataFrame(answer["scores"])) < 1e-5
    headers = {"accept": f"text/html, {ARROW};q=0.9"}
    status, content = client.send("POST", "/score", {"rows": as_rows(rows)}, headers)
    found = pl.from_arrow(pa.ipc.open_stream(content).read_all())
    assert found[:, :3].equals(expected[:, :3])
    assert difference(expected, found) < 1e-5


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (pl.DataFrame(), "rows have no column `user_id`"),
        (make_log(2).rename({"tags": "tag"}), "rows have no column `tags`; did you mean `tag`?"),
        (make_log(2).with_columns(user_id=1.5), "rows: column `user_id` holds 1.5 as Float64"),
        (make_log(201), "rows: more than 200 in one request"),
    ],
)
def test_a_wrong_stream_is_refused_with_the_column(client, frame, error):
    status, answer = client.post("/score", as_stream(frame), **{"content-type": ARROW})
    assert (status, error in answer["error"]) == (422, True), answer


def test_tensors_may_be_bytes(client, bundle, log):
    rows = make_log(50, seed=6)
    tail = rows["user_id"].to_numpy().astype("<i8").tobytes()
    inputs = as_tensors(rows)
    del inputs[0]["data"]
    inputs[0]["parameters"] = {"binary_data_size": len(tail)}
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    client.connection.request(
        "POST",
        "/v2/models/small/infer",
        head + tail,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    response = client.connection.getresponse()
    size, content = int(response.headers["inference-header-content-length"]), response.read()
    outputs = [output["name"] for output in json.loads(content[:size])["outputs"]]
    scores = np.frombuffer(content[size:], "<f4").reshape(len(outputs), -1)
    found = pl.DataFrame(dict(zip(outputs, scores, strict=True)))
    assert difference(Scorer(bundle, "cpu").score(rows, log.lazy()), found) < 1e-5


def test_a_request_may_carry_its_own_events(client, bundle, log):
    rows, own = make_log(20, seed=7), make_log(60, seed=8)
    request = {"rows": as_rows(rows), "events": as_events(own)}
    status, answer = client.post("/score", request)
    assert status == 200
    scorer = Scorer(bundle, "cpu")
    assert difference(scorer.score(rows, own.lazy()), pl.DataFrame(answer["scores"])) < 1e-5
    _, nothing = client.post("/score", {"rows": as_rows(rows), "events": []})
    assert difference(scorer.score(rows), pl.DataFrame(nothing["scores"])) < 1e-5


def test_the_protocol_describes_server_and_model(client):
    assert client.get("/v2")[1]["name"] == "fulcrum"
    assert client.get("/v2/health/live") == (200, {"live": True})
    assert client.get("/v2/health/ready") == (200, {"ready": True})
    assert client.get("/v2/models/small/ready") == (200, {"name": "small", "ready": True})
    status, model = client.get("/v2/models/small/versions/3")
    assert status == 200
    assert (model["name"], model["versions"]) == ("small", ["3"])
    types = {tensor["name"]: tensor["datatype"] for tensor in model["inputs"]}
    assert types == {
        "user_id": "INT64",
        "video_id": "BYTES",
        "time_ms": "INT64",
        "duration_s": "FP64",
        "is_new": "BOOL",
        "tags": "BYTES",
    }
    assert [tensor["name"] for tensor in model["outputs"]] == SCORES
    for path in ("/v2/models/large", "/v2/models/small/versions/4", "/v3"):
        status, answer = client.get(path)
        assert status == 404
        assert answer["error"]
    assert client.send("DELETE", "/score")[0] == 405


def test_metrics_count_what_happened(client, log):
    client.post("/score", {"rows": as_rows(log.head(2).with_columns(user_id=12345))})
    client.send("GET", "/no/such/path")
    status, text = client.send("GET", "/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if line[0] != "#")
    assert float(values['fulcrum_requests_total{method="POST",route="/score",status="200"}']) >= 1
    assert float(values['fulcrum_unknown_ids_total{feature="user"}']) >= 2
    assert float(values["fulcrum_rows_total"]) >= 2
    assert float(values["fulcrum_ready"]) == 1
    for stage in ("parse", "past", "encode", "graph", "answer"):
        assert float(values[f'fulcrum_stage_seconds_total{{stage="{stage}"}}']) > 0
    assert any('route="other"' in key for key in values)


ROW = as_rows(make_log(1, seed=9))[0]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"rows": [{**ROW, "user_id": "seven"}]}, 422, "rows[0].user_id: expected a whole number"),
        ({"rows": [{**ROW, "user_id": 2**70}]}, 422, "rows[0].user_id"),
        ({"rows": [ROW, {**ROW, "duration_s": float("nan")}]}, 422, "rows[1].duration_s"),
        ({"rows": [{**ROW, "video_id": "\ud800"}]}, 422, "rows[0].video_id"),
        ({"rows": [{k: v for k, v in ROW.items() if k != "tags"}]}, 422, "rows[0].tags: missing"),
        ({"rows": [ROW] * 201}, 422, "201 in one request, at most 200"),
        ({"rows": [ROW], "events": [{}]}, 422, "events[0].user_id"),
        ({"rows": {}}, 422, "rows: expected a list"),
        ({}, 422, "rows: expected a list"),
        ([], 422, "must be a JSON object"),
        ("", 422, "not valid JSON"),
        ("{", 422, "not valid JSON"),
        (b"\xff\xfe", 422, "not valid UTF-8"),
        ("[" * 50_000, 422, "nested too deeply"),
        ('{"rows": [], "rows": []}', 422, "'rows': the field is there twice"),
        ('{"rows": [' + "9" * 5000 + "]}", 422, "not valid JSON"),
        ('{"rows": "' + "x" * 100_000 + '"}', 413, "larger than 100000 bytes"),
    ],
)
def test_bad_bodies_are_refused_with_the_field(client, body, status, error):
    found, answer = client.post("/score", body)
    assert found == status
    assert error in answer["error"]


def test_other_kinds_of_bodies_are_refused(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "\xe9"):
        status, answer = client.post("/score", {"rows": [ROW]}, **{"content-type": kind})
        assert status == 415
        assert "expected application/json" in answer["error"]
    for path in ("/events", "/v2/models/small/infer"):
        for kind in ("text/csv", *([ARROW] if "infer" in path else [])):
            status, answer = client.post(path, b"x", **{"content-type": kind})
            assert (status, "expected application/json" in answer["error"]) == (415, True)
    assert client.send("POST", "/score", {"rows": [ROW]})[0] == 200


@pytest.mark.parametrize("path", ["/score", "/events", "/v2/models/small/infer"])
@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"content-encoding": "gzip"}, "content-encoding: expected none, got 'gzip'"),
        ({"content-encoding": "Zstd"}, "content-encoding: expected none, got 'zstd'"),
        ({"content-encoding": "gzip, br"}, "content-encoding: expected none, got 'gzip, br'"),
        ({"inference-header-content-length": "-9"}, "expected a number, got '-9'"),
        ({"inference-header-content-length": "9" * 20}, "expected a number"),
    ],
)
def test_a_body_that_is_no_plain_json_is_told_why(client, path, headers, error):
    body = gzip.compress(b'{"rows": []}')
    status, text = client.send("POST", path, body, {"content-type": "application/json"} | headers)
    assert status == 415
    assert error in json.loads(text)["error"]
    assert client.post("/score", {"rows": [ROW]}, **{"content-encoding": "identity"})[0] == 200


def test_a_null_in_every_field_is_scored(client):
    status, answer = client.post("/score", {"rows": [dict.fromkeys(ROW)]})
    assert status == 200
    assert all(isinstance(answer["scores"][0][name], float) for name in SCORES)
    assert client.post("/score", {"rows": []}) == (
        200,
        {"model": "small", "version": "3", "scores": []},
    )


JSON = json_values([*ROW, "name", "shape", "data", "datatype", "inputs", "rows"])
NEAR = near(ROW, JSON)
NEAR_EVENT = near(as_events(make_log(1, seed=9))[0], JSON)
TENSOR = st.one_of([near(tensor, JSON) for tensor in as_tensors(make_log(1, seed=9))])
BODY = st.one_of(
    st.binary(max_size=50),
    JSON.map(json.dumps),
    st.fixed_dictionaries(
        {"rows": st.lists(NEAR, max_size=3) | JSON},
        optional={"events": st.lists(NEAR_EVENT, max_size=3) | JSON},
    ).map(json.dumps),
    st.fixed_dictionaries({"events": st.lists(NEAR_EVENT, max_size=3) | JSON}).map(json.dumps),
    st.fixed_dictionaries(
        {"inputs": st.lists(TENSOR, max_size=7) | JSON},
        optional={"outputs": JSON, "id": JSON, "parameters": JSON},
    ).map(json.dumps),
)


@pytest.mark.slow
@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=BODY, path=st.sampled_from(["/score", "/events", "/v2/models/small/infer"]))
def test_no_body_breaks_the_service(client, body, path):
    status, answer = client.send("POST", path, body, {"content-type": "application/json"})
    assert status < 500, answer
    if status != 200:
        assert json.loads(answer)["error"]


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
