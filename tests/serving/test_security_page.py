"""The limits that SECURITY.md states are those of the code."""

from pathlib import Path

import pytest

from fulcrum.serving import service
from fulcrum.serving.http import app, connection, event_store, intake

PAGE = (Path(__file__).parents[2] / "SECURITY.md").read_text()


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("connections at once", connection.CONNECTIONS),
        ("seconds for a head to arrive", connection.HEAD_SECONDS),
        ("seconds for a body to arrive", intake.BODY_SECONDS),
        ("bodies that arrive at once", intake.BODIES),
        ("requests worked on at once", app.THREADS),
        (f"of them with a body above {app.LARGE // 1024} KiB", app.LARGE_THREADS),
        ("requests that wait for a thread", intake.WAITING),
        ("seconds for a request to wait for a thread", intake.WAITING_SECONDS),
        ("seconds for a request to be answered", connection.ANSWER_SECONDS),
        ("seconds that `/events` waits for another writer", event_store.WRITE_SECONDS),
        ("seconds for open requests after SIGTERM", service.DRAIN_SECONDS),
    ],
)
def test_the_page_states_the_limit(what, limit):
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| {what} |")]
    assert row.split("|")[2].replace(",", " ").replace(";", " ").split()[0] == str(limit)
