"""Requests that are scored together get what each gets alone."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from fulcrum.features.errors import DataError
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.features.transform.past import gather
from fulcrum.features.transform.transform import Transform
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.batching import Batching
from fulcrum.serving.http.body import RequestError
from fulcrum.serving.http.model_service import ModelService
from tests.serving.conftest import make_log
from tests.serving.http.small_service import listening
from tests.serving.http.test_connection import asking, call, post, receive, wait_until
from tests.serving.scoring.test_scorer import difference
from tests.serving.test_service import (
    ARROW,
    Client,
    as_events,
    as_rows,
    as_stream,
    as_tensors,
)


class Calls:
    """Those of a scorer, by their rows; each takes `seconds` besides, once it may."""

    def __init__(self, scorer, seconds=0):
        self.rows, self.seconds, self.free = [], seconds, threading.Event()
        self._predict = scorer.predict
        self.free.set()
        scorer.predict = self.predict

    def predict(self, rows, past):
        self.rows.append(rows.height)
        time.sleep(self.seconds)
        self.free.wait(30)
        return self._predict(rows, past)


@contextmanager
def serving(bundle, seconds=0, **limits):
    """Port of a service, and the calls of its scorer."""
    with closing(ModelService(bundle, "small", "3", "cpu")) as service:
        service.limits = service.limits.model_copy(update=limits)
        calls = Calls(service.scorer, seconds)
        with listening(service) as server:
            calls.server = server
            yield server.port, calls


def score(port, rows):
    return Client(port).post("/score", {"rows": rows})


def scores(answer):
    """What an answer says as a frame, whatever its form."""
    status, content = answer
    assert status == 200, content
    if content[:1] != b"{":
        return pl.from_arrow(pa.ipc.open_stream(content).read_all())
    answer = json.loads(content)
    if "scores" in answer:
        return pl.DataFrame(answer["scores"])
    return pl.DataFrame({tensor["name"]: tensor["data"] for tensor in answer["outputs"]})


def test_requests_of_any_form_get_what_each_gets_alone(bundle, log):
    requests, kinds = [], {"content-type": ARROW, "accept": ARROW}
    for number in range(6):
        rows = make_log(1 + number, seed=number)
        tensors = {"inputs": as_tensors(rows), "outputs": [{"name": "watch"}]}
        own = {"rows": as_rows(rows), "events": as_events(make_log(9, seed=number))}
        requests += [
            ("/score", {"rows": as_rows(rows)}, {}),
            ("/score", as_stream(rows.drop("click")), kinds),
            ("/v2/models/small/infer", tensors, {}),
            ("/score", own, {}),
        ]
    with serving(bundle) as (port, calls), ThreadPoolExecutor(25) as pool:
        client = Client(port)
        client.post("/events", {"events": as_events(log)})
        calls.free.clear()
        first = pool.submit(client.post, "/score", {"rows": []})
        wait_until(lambda: calls.rows)
        asked = [pool.submit(Client(port).send, "POST", *one) for one in requests]
        wait_until(lambda: len(calls.rows) == 1 + 6)  # those with events of their own do not wait
        time.sleep(0.3)
        calls.free.set()
        together = [one.result() for one in asked]
        assert first.result()[0] == 200
        assert max(calls.rows) == 3 * (1 + 2 + 3 + 4 + 5 + 6)
        alone = [client.send("POST", *one) for one in requests]
    for first, second in zip(map(scores, together), map(scores, alone), strict=True):
        assert_frame_equal(first, second, rel_tol=1e-5, abs_tol=1e-6)


def test_the_graph_gets_the_same_bits_for_a_row_among_others(state, log):
    transform, past = Transform(state), gather(log.lazy(), state)
    requests = [make_log(rows, seed=rows) for rows in range(1, 60)]
    together = to_arrays(transform(pl.concat(requests, rechunk=True), past), state.layout)
    alone = [to_arrays(transform(rows, past), state.layout) for rows in requests]
    for name, array in together.items():
        assert array.tobytes() == np.concatenate([one[name] for one in alone]).tobytes()


def test_a_bad_request_is_refused_alone(bundle):
    row = as_rows(make_log(1))[0]
    bad = [{"rows": [row, {**row, "time_ms": -(10**17)}]}, {"rows": [{**row, "user_id": "x"}]}]
    requests = [bad[0], *({"rows": [row] * count} for count in range(1, 6)), bad[1]]
    with serving(bundle, batch_delay=0.3) as (port, calls), ThreadPoolExecutor(8) as pool:
        alone = [Client(port).post("/score", request) for request in requests]
        calls.rows.clear()
        together = list(pool.map(lambda one: Client(port).post("/score", one), requests))
        assert max(calls.rows) > 6
    assert [status for status, _ in together] == [422, *[200] * 5, 422]
    assert [together[0], together[-1]] == [alone[0], alone[-1]]
    assert "time_ms" in alone[0][1]["error"]
    assert [len(answer["scores"]) for _, answer in together[1:-1]] == [1, 2, 3, 4, 5]


def test_a_request_that_waits_beyond_its_deadline_is_sent_away(bundle):
    rows = as_rows(make_log(1))
    with serving(bundle, deadline=0.5) as (port, calls), ThreadPoolExecutor(8) as pool:
        for limit in (0.5, 0.0):  # once it is known how long a call takes, at once
            calls.free.clear()
            calls.rows.clear()
            first = pool.submit(score, port, rows)
            wait_until(lambda: calls.rows)
            started = time.monotonic()
            others = [post(b"/score", json.dumps({"rows": rows}).encode())] * 4
            with asking(port, others) as answers:
                pass
            seconds = time.monotonic() - started
            assert limit <= seconds < limit + 0.4
            assert [status for status, *_ in answers] == [503] * 4
            assert all("retry-after: 1" in head for _, head, _ in answers)
            time.sleep(max(0, 0.6 - seconds))
            calls.free.set()
            assert first.result()[0] == 200
            assert calls.rows == [1]


def test_who_leaves_while_waiting_harms_nobody(bundle):
    rows = as_rows(make_log(2))
    body = json.dumps({"rows": rows}).encode()
    with serving(bundle) as (port, calls), ThreadPoolExecutor(8) as pool:
        expected = pl.DataFrame(score(port, rows)[1]["scores"])
        calls.rows.clear()
        calls.free.clear()
        asked = [pool.submit(score, port, rows)]
        wait_until(lambda: calls.rows)
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(call(port)).sendall(post(b"/score", body))
                asked.append(pool.submit(score, port, rows))
            time.sleep(0.3)
        calls.free.set()
        for status, answer in (one.result() for one in asked):
            assert status == 200
            assert difference(pl.DataFrame(answer["scores"]), expected) < 1e-5
        assert calls.rows[0] == 2 < max(calls.rows)


def test_those_that_wait_are_answered_before_the_service_ends(bundle):
    body = json.dumps({"rows": as_rows(make_log(1))}).encode()
    with serving(bundle) as (port, calls):
        calls.free.clear()
        calls.rows.clear()
        clients = [call(port) for _ in range(5)]
        for client in clients:
            client.sendall(post(b"/score", body))
        wait_until(lambda: calls.rows)
        time.sleep(0.2)
        calls.server.should_exit = True
        time.sleep(0.2)
        calls.free.set()
        for client in clients:
            with client:
                assert receive(client)[0] == 200
        assert sum(calls.rows) == 5 > len(calls.rows)


def test_shared_time_counts_once(bundle):
    rows = as_rows(make_log(1))
    with serving(bundle, seconds=0.2, batch_delay=0.2) as (port, calls):
        with ThreadPoolExecutor(8) as pool:
            calls.rows.clear()
            list(pool.map(partial(score, port), [rows] * 8))
        _, text = Client(port).send("GET", "/metrics")
        lines = text.decode().splitlines()
        seconds = sum(float(x.split()[-1]) for x in lines if "stage_seconds_total{" in x)
        assert f"fulcrum_rows_total {sum(calls.rows):.1f}" in lines
        assert seconds < 8 * 0.2


def test_a_delay_beyond_the_deadline_is_refused():
    assert ServingConfig(batch_delay=0.01, deadline=0.02).batch_delay == 0.01
    with pytest.raises(ValidationError, match=r"batch_delay: expected less than the deadline"):
        ServingConfig(batch_delay=0.02, deadline=0.02)


REQUESTS = st.lists(st.lists(st.integers(-1, 9), max_size=8), min_size=1, max_size=12)


@settings(max_examples=50)
@given(requests=REQUESTS, most=st.integers(1, 20), delay=st.sampled_from([0, 0.001]))
def test_each_gets_its_own_rows_or_its_own_error(requests, most, delay):
    """A number below 0 is bad; the message has its row."""
    longest = max(map(len, requests))

    def predict(rows):
        assert rows.height <= max(most, longest)
        time.sleep(0.0005)
        bad = (rows["x"] < 0).arg_true()
        if len(bad):
            raise DataError(f"row {bad[0]}")
        return rows.select(pl.col("x") * 2)

    batching = Batching(most, delay)

    def ask(values):
        rows = pl.DataFrame({"x": values}, {"x": pl.Int64})
        try:
            return batching.score(rows, time.monotonic() + 30, predict)["x"].to_list()
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(ask, requests))
    assert answers == [
        f"row {values.index(-1)}" if -1 in values else [2 * value for value in values]
        for values in requests
    ]


def test_a_request_that_need_not_wait_is_never_late():
    def slowly(rows):
        time.sleep(0.05)
        return rows

    batching, rows = Batching(10, 0), pl.DataFrame({"x": [1]})
    for _ in range(2):
        assert batching.score(rows, time.monotonic() + 0.01, slowly).equals(rows)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batching.score, rows, time.monotonic() + 1, slowly)
        time.sleep(0.02)
        with pytest.raises(RequestError, match="too many requests are waiting"):
            batching.score(rows, time.monotonic() + 0.06, slowly)
        assert first.result().equals(rows)
