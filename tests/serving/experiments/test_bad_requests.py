"""Requests that are wrong are refused with their field, and nothing of them is kept."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.serving.experiments.exposure_log import read_assignments, read_log
from tests.serving.experiments.conftest import EVENT, ROW, visiting
from tests.serving.json_values import json_values, near
from tests.serving.small_experiments import CHALLENGER, CHAMPION, Shelf, experiment


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, bundle):
    """A service for requests that it refuses."""
    shelf = Shelf()
    shelf.put(CHAMPION, bundle)
    shelf.put(CHALLENGER, bundle)
    with visiting(tmp_path_factory.mktemp("untouched"), experiment(), shelf) as client:
        yield client


def without(name):
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/score", {"rows": [{**ROW, "user_id": None}]}, "rows[0].user_id: missing; it says which"),
        ("/score", {"rows": [ROW, {**ROW, "user_id": "x"}]}, "rows[1].user_id: expected a whole"),
        ("/score", {"rows": [without("user_id")]}, "rows[0].user_id: missing"),
        ("/score", {"rows": [ROW] * 201}, "rows: 201 in one request, at most 200"),
        ("/score", {"rows": [ROW], "request": ""}, "request: expected an id of 1 to 200"),
        ("/score", {"rows": [ROW], "request": 7}, "request: expected an id of 1 to 200"),
        ("/score", {"rows": [ROW], "request": "\ud800"}, "request: expected an id of 1 to 200"),
        ("/score", {}, "rows: expected a list"),
        ("/assign", {}, "units: expected a list"),
        ("/assign", {"units": [1, None]}, "units[1]: expected a text or a number that says who"),
        ("/assign", {"units": [True]}, "units[0]: expected a text or a number"),
        ("/assign", {"units": [""]}, "units[0]: expected a text or a number"),
        ("/assign", {"units": ["\ud800"]}, "units[0]: expected a text or a number"),
        ("/assign", {"units": [2**70]}, "units[0]: expected a text or a number"),
        ("/assign", {"units": [float("inf")]}, "units[0]: expected a text or a number"),
        ("/assign", {"units": [1] * 201}, "units: 201 in one request, at most 200"),
        ("/outcomes", {"outcomes": 1}, "outcomes: expected a list of objects"),
        ("/outcomes", {"outcomes": [1]}, "outcomes[0]: expected an object"),
        (
            "/outcomes",
            {"outcomes": [{"request": "a", "row": 0, "clik": 1}]},
            "outcomes[0]: the experiment has no outcome `clik`; did you mean `click`?",
        ),
        ("/outcomes", {"outcomes": [{"row": 0, "click": 1}]}, "outcomes[0].request: missing"),
        ("/outcomes", {"outcomes": [{"request": "a", "click": 1}]}, "outcomes[0].row: missing"),
        (
            "/outcomes",
            {"outcomes": [{"request": "a", "row": 0, "click": "yes"}]},
            "outcomes[0].click: expected a number, got a string",
        ),
        (
            "/outcomes",
            {"outcomes": [{"request": "nobody", "row": 0, "click": 1}]},
            "outcomes[0].request: no request 'nobody' is in the log",
        ),
        (
            "/outcomes",
            {"outcomes": [{"request": "\ud800", "row": 0, "click": 1}]},
            "outcomes[0].request: the string is not valid Unicode",
        ),
    ],
)
def test_bad_bodies_are_refused_with_the_field_and_nothing_is_logged(untouched, path, body, error):
    answer = untouched.post(path, content=json.dumps(body).encode())
    assert answer.status_code == 422
    assert error in answer.json()["error"]
    assert read_log(untouched.folder).collect().height == 0
    assert read_assignments(untouched.folder).collect().height == 0


VALUES = json_values([*ROW, "request", "row", "click"])


@pytest.mark.slow
def test_no_body_breaks_the_service(client):
    client.post("/score", json={"request": "a", "rows": [ROW]})
    # Other rows under a name that is taken are refused, so most names are new.
    names = st.just("a") | st.uuids().map(str)
    bodies = {
        "/score": {"rows": st.lists(near(ROW, VALUES), max_size=3), "request": names},
        "/assign": {"units": st.lists(VALUES, max_size=3)},
        "/outcomes": {
            "outcomes": st.lists(near({"request": "a", "row": 0, "click": 1}, VALUES), max_size=3)
        },
        "/events": {"events": st.lists(near(EVENT, VALUES), max_size=3)},
    }
    requests = st.sampled_from(list(bodies)).flatmap(
        lambda path: st.tuples(
            st.just(path),
            st.binary(max_size=50)
            | VALUES.map(json.dumps)
            | st.fixed_dictionaries({n: v | VALUES for n, v in bodies[path].items()}).map(
                json.dumps
            ),
        )
    )
    statuses = set()

    @settings(max_examples=1000)
    @given(requests)
    def send(request):
        path, content = request
        answer = client.post(path, content=content)
        assert answer.status_code in (200, 422), (request, answer.text)
        assert ("error" in answer.json()) == (answer.status_code == 422)
        statuses.add((path, answer.status_code))

    send()
    assert statuses == {(path, status) for path in bodies for status in (200, 422)}
    read_log(client.folder).collect()


def test_one_bad_outcome_keeps_all_of_its_request_out(client):
    client.post("/score", json={"request": "a", "rows": [ROW]})
    for row in (1, -1, 2**31 - 1):
        outcomes = [{"request": "a", "row": 0, "click": 1}, {"request": "a", "row": row}]
        refused = client.post("/outcomes", json={"outcomes": outcomes})
        assert refused.status_code == 422
        assert f"outcomes[1].row: request 'a' has no row {row} in the log" in refused.text
    assert read_log(client.folder).collect()["click"].to_list() == [None]
