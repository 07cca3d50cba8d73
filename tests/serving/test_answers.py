"""Answers of the service over a real socket: those of the batch scorer, or a clear refusal."""

import gzip
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fulcrum.serving.scoring.scorer import Scorer
from tests.serving.conftest import make_log
from tests.serving.json_values import json_values, near
from tests.serving.scoring.test_scorer import SCORES, difference
from tests.serving.test_service import (
    ARROW,
    ROW,
    as_events,
    as_rows,
    as_stream,
    as_tensors,
    serving,
)


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
