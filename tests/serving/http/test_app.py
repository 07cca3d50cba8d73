"""What an answer says, and what it keeps to itself."""

import sqlite3

import pytest

from fulcrum.features.errors import DataError, ResourceError, StateError
from fulcrum.serving.http.app import app
from tests.serving.http.small_service import Echo
from tests.serving.small_experiments import Visitor

PATH = "/srv/models/events.db"


@pytest.fixture
def service():
    service = Echo()
    service.open()
    return service


@pytest.fixture
def client(service):
    return Visitor(app(service))


def test_methods_that_nobody_knows_are_counted_as_one(client):
    for number in range(30):
        client.send(f"INVENTED{number}", "/score")
        client.send(f"INVENTED{number}", f"/no/such/{number}")
    lines = client.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("fulcrum_requests_total")]
    assert all('method="other"' in line for line in counts)
    assert sum(float(line.split()[-1]) for line in counts) == 2 * 30
    assert len(counts) <= 2


@pytest.mark.parametrize(
    "path", ["/score/", "/metrics/", "//evil.example/..", "/docs", "/redoc", "/openapi.json"]
)
def test_no_path_leads_to_a_host_that_the_client_names(client, path):
    for method in ("GET", "POST"):
        answer = client.send(method, path, headers={"host": "evil.example"})
        assert answer.status_code in (404, 405)
        assert "evil.example" not in f"{answer.headers}{answer.text}"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DataError("rows[0].age: missing"), 422, "rows[0].age: missing"),
        (ResourceError(f"event store {PATH}: no space left"), 503, "nothing can be stored"),
        (StateError(f"{PATH}: damaged"), 500, "internal error"),
        (OSError(5, "Input/output error", PATH), 500, "internal error"),
        (sqlite3.OperationalError(f"{PATH} is locked"), 500, "internal error"),
    ],
)
def test_no_error_shows_a_path_of_the_server(client, service, caplog, error, status, text):
    def fail(body):
        raise error

    service.answer = fail
    answer = client.post("/score", json={})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(text)
    assert PATH not in f"{answer.headers}{answer.text}"
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    assert (PATH in caplog.text) == (status >= 500)


def test_who_comes_too_early_is_told_when_to_come_back(client, service):
    service.ready = False
    answer = client.post("/score", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
