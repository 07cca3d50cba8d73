"""A registry that is killed under traffic and comes back, seen by real services over HTTP."""

import threading
import time
from contextlib import ExitStack, contextmanager

import mlflow
import pytest

from fulcrum.serving.publishing.registry import Registry
from tests.mlflow_server import free_port, mlflow_server
from tests.serving.conftest import make_log
from tests.serving.publishing.test_registry import new_run
from tests.serving.test_service import Client, as_rows, running

ALIAS = "models:/ranker@champion"
EXPERIMENT = f"""\
name: away
unit: user_id
arms:
  control: {{share: 0.5, models: "{ALIAS}"}}
  treatment: {{share: 0.5, models: ["{ALIAS}", "{ALIAS}"]}}
"""
SERVE = """
import sys
from fulcrum.pipelines.__main__ import main
from fulcrum.serving import service
service.FOLLOW_SECONDS = 0.2
sys.argv = ["fulcrum", "serve", "--device", "cpu", *sys.argv[1:]]
main()
"""


def serving(*arguments):
    port = free_port()
    return running(SERVE, *arguments, "--port", port, port=port)


@contextmanager
def traffic(*ports):
    """Asks each service without a pause; gives what every answer was: the versions in it, or the
    status of one that is none."""
    ended, body = threading.Event(), {"rows": as_rows(make_log(20, seed=3))}
    heard = [[] for _ in ports]

    def ask(port, answers):
        client = Client(port)
        while not ended.is_set():
            status, answer = client.post("/score", body)
            ready = client.get("/v2/health/ready")[0]
            # An experiment tells the version of each row, a model its own.
            rows = answer.get("scores", [])
            versions = [row.get("version", answer.get("version")) for row in rows]
            answers.append(frozenset(versions) if (status, ready) == (200, 200) else status)

    threads = [threading.Thread(target=ask, args=each) for each in zip(ports, heard, strict=True)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)


def until(happens):
    end = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_request_fails_while_the_registry_is_away(bundle, other_bundle, tmp_path, monkeypatch):
    """Who follows an alias takes its next version over once the registry is back."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    (tmp_path / "away.yaml").write_text(EXPERIMENT)
    with ExitStack() as stack:
        registry_runs = stack.enter_context(ExitStack())
        address = registry_runs.enter_context(mlflow_server(tmp_path, port))
        mlflow.MlflowClient(address).create_experiment("tests")
        registry = Registry(address)
        for each in (bundle, other_bundle):
            registry.register(registry.log(each, new_run(address)), "ranker")
        registry.set_alias("ranker", "champion", 1)
        tracking = ("--tracking", address)
        test = ("--experiment", "away.yaml", "--log", "log")
        experiment = stack.enter_context(serving(*test, *tracking))
        model = stack.enter_context(serving("--model", ALIAS, *tracking))
        told, answered = stack.enter_context(traffic(experiment.port, model.port))

        def unread():
            return f'fulcrum_unread_alias{{alias="{ALIAS}"}} 1.0' in metrics(experiment)

        assert not unread()
        registry_runs.close()
        until(unread)
        before = len(told), len(answered)
        until(lambda: len(told) > before[0] + 5 and len(answered) > before[1] + 5)
        stack.enter_context(mlflow_server(tmp_path, port))
        registry.set_alias("ranker", "champion", 2)
        until(lambda: told[-1] == {"2"})
        until(lambda: not unread())
    assert set(told) == {frozenset({"1"}), frozenset({"2"})}
    assert set(answered) == {frozenset({"1"})}


def metrics(client):
    return Client(client.port).send("GET", "/metrics")[1].decode()
