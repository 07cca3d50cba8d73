import json
import math
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partialmethod

import pytest
from mlflow import MlflowClient

from fulcrum.features.errors import ConfigError, ResourceError
from fulcrum.pipelines.tracking import mlflow as tracking
from fulcrum.pipelines.tracking.mlflow import (
    FOLDER,
    MlflowTracker,
    client,
    find_run,
    flatten,
    start_run,
)
from fulcrum.serving.publishing import mlflow_store
from tests.mlflow_server import free_port, mlflow_server


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlruns.db'}"


def check_a_whole_run(uri, tmp_path):
    """Everything that a run carries, written and read back."""
    run_id = start_run(uri, "clicks", "first")
    (tmp_path / "note.txt").write_text("hello")
    with MlflowTracker(uri, run_id) as tracker:
        tracker.log_params({"train": {"epochs": 3, "tower": [1, 2]}, "name": "x" * 9000})
        tracker.log_params({"train": {"epochs": 4}})
        tracker.log_params({f"p{i}": i for i in range(250)})
        tracker.log_tags({FOLDER: tmp_path, "fulcrum.config": "abc"})
        tracker.log_dataset("clicks", "f" * 64, "logs/", ["user"], {"train": 10, "test": 2})
        for step in range(300):
            tracker.log_metrics({"auc/click": step / 300, "loss": 1.0}, step)
        tracker.log_metrics({"odd": math.nan}, 300)
        tracker.log_artifact(tmp_path / "note.txt", "notes")
        tracker.log_text("name: x\n", "config.yaml")

    store = client(uri)
    run = store.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "3"
    assert run.data.params["train.tower"] == "[1, 2]"
    assert len(run.data.params["name"]) == 500
    assert run.data.params["p249"] == "249"
    assert run.data.tags["fulcrum.config"] == "abc"
    history = store.get_metric_history(run_id, "auc/click")
    assert [(m.step, m.value) for m in history] == [(s, s / 300) for s in range(300)]
    assert math.isnan(run.data.metrics["odd"])
    assert {f.path for f in store.list_artifacts(run_id)} == {"notes", "config.yaml"}
    [used] = run.inputs.dataset_inputs
    assert used.dataset.digest == "f" * 36
    assert json.loads(used.dataset.profile) == {"train": 10, "test": 2}
    found = find_run(uri, "first")
    assert (found.id, found.folder) == (run_id, tmp_path)


def test_a_whole_run_in_sqlite(store, tmp_path):
    check_a_whole_run(store, tmp_path)


@pytest.mark.slow
def test_a_whole_run_on_a_server(tmp_path):
    with mlflow_server(tmp_path, free_port()) as address:
        check_a_whole_run(address, tmp_path)
    assert list((tmp_path / "server").rglob("note.txt"))


def test_files_of_a_sqlite_store_lie_beside_it(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_id = start_run(store, "beside", "r")
    with MlflowTracker(store, run_id) as tracker:
        tracker.log_text("x", "x.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_store_is_made_whole_by_the_first_to_finish(tmp_path, monkeypatch, links):
    """The other one begins when the first is about to put its store in place."""
    uri, runs = f"sqlite:///{tmp_path / 'store.db'}", []

    def link(made, file):
        monkeypatch.undo()
        runs.append(start_run(uri, "e", "other"))
        os.link(made, file)

    def no_link(made, file):
        raise PermissionError("no links here")

    monkeypatch.setattr(mlflow_store.os, "link", link if links else no_link)
    runs.append(start_run(uri, "e", "one"))
    assert all(client(uri).get_run(run).info.status == "SCHEDULED" for run in runs)
    assert len(runs) == 1 + links
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]


def test_many_processes_may_start_runs_once_the_store_is_made(store):
    start_run(store, "crowd", "first")
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda i: start_run(store, f"crowd {i % 2}", f"r{i}"), range(4)))
    assert len(set(runs)) == 4


def test_resuming_goes_on_in_the_same_run(store):
    run_id = start_run(store, "resume", "r")
    with pytest.raises(ValueError, match="boom"), MlflowTracker(store, run_id) as tracker:
        tracker.log_metrics({"loss": 2.0}, 1)
        raise ValueError("boom")
    assert client(store).get_run(run_id).info.status == "FAILED"
    with MlflowTracker(store, run_id) as tracker:
        assert client(store).get_run(run_id).info.status == "RUNNING"
        tracker.log_metrics({"loss": 1.0}, 2)
    assert client(store).get_run(run_id).info.status == "FINISHED"
    history = client(store).get_metric_history(run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]


def test_an_interrupted_run_is_killed_and_keeps_its_numbers(store):
    run_id = start_run(store, "interrupt", "r")
    with pytest.raises(KeyboardInterrupt), MlflowTracker(store, run_id) as tracker:
        tracker.log_metrics({"loss": 2.0}, 1)
        raise KeyboardInterrupt
    run = client(store).get_run(run_id)
    assert (run.info.status, run.data.metrics["loss"]) == ("KILLED", 2.0)


def test_metrics_are_sent_in_batches(store, monkeypatch):
    monkeypatch.setattr(tracking, "FLUSH_POINTS", 5)
    tracker = MlflowTracker(store, start_run(store, "batches", "r"))
    for step in range(4):
        tracker.log_metrics({"loss": 1.0}, step)
    assert client(store).get_run(tracker.run_id).data.metrics == {}
    tracker.log_metrics({"loss": 1.0}, 4)
    assert len(client(store).get_metric_history(tracker.run_id, "loss")) == 5


def test_system_metrics_are_sampled(store, monkeypatch):
    monkeypatch.setattr(tracking, "SAMPLING_SECONDS", 0.1)
    run_id = start_run(store, "system", "r")
    with MlflowTracker(store, run_id):
        time.sleep(1.5)
    names = client(store).get_run(run_id).data.metrics
    assert "system/system_memory_usage_percentage" in names


def a_run(store, name, folder, parent=None):
    time.sleep(0.01)  # MLflow orders by milliseconds
    run_id = start_run(store, "names", name, parent)
    MlflowTracker(store, run_id).log_tags({FOLDER: folder})
    return run_id


def test_a_name_means_the_newest_run_that_no_comparison_made(store, tmp_path, caplog):
    caplog.set_level("INFO", "fulcrum")
    alone = a_run(store, "same", tmp_path / "alone")
    assert find_run(store, "same").id == alone
    assert caplog.messages == []
    parent = a_run(store, "compare", tmp_path)
    child = a_run(store, "same", tmp_path / "child", parent)
    assert find_run(store, "same").id == alone
    newer = a_run(store, "same", tmp_path / "newer")
    a_run(store, "same", tmp_path / "youngest", parent)
    assert find_run(store, "same").id == newer
    assert [text.partition(";")[0] for text in caplog.messages] == [
        f"{count} called same: taking {taken}, the newest that is trained by itself"
        for count, taken in ((2, alone), (4, newer))
    ]
    assert find_run(store, child).folder == tmp_path / "child"


def test_the_name_of_a_comparison_s_runs_means_the_newest_of_them(store, tmp_path, caplog):
    caplog.set_level("INFO", "fulcrum")
    _, newest = (a_run(store, "only-below", tmp_path, "0" * 32) for _ in range(2))
    assert find_run(store, "only-below").id == newest
    assert (
        f"2 called only-below: taking {newest}, the newest that is of a comparison" in caplog.text
    )


def test_a_run_behind_a_full_page_of_others_is_found(store, tmp_path, monkeypatch):
    """MLflow gives 1,000 runs at a time."""
    first, *_ = [a_run(store, f"page-{i}", tmp_path) for i in range(3)]
    search = MlflowClient.search_runs
    pages = partialmethod(search, max_results=1)
    monkeypatch.setattr(MlflowClient, "search_runs", pages)
    assert find_run(store, "page-0").id == find_run(store, first).id == first


def test_an_unknown_run_names_the_nearest(store, tmp_path):
    MlflowTracker(store, start_run(store, "names", "kuairand")).log_tags({FOLDER: tmp_path})
    with pytest.raises(ConfigError, match=r"no run 'kuairnad' in .*did you mean kuairand\?"):
        find_run(store, "kuairnad")


@pytest.mark.parametrize("uri", ["gopher://x", "sqlite:////dev/null/x.db"])
def test_a_store_that_does_not_work_is_named(uri):
    with pytest.raises(ResourceError, match="MLflow at "):
        start_run(uri, "e", "r")


def test_a_store_that_another_mlflow_left_half_made_is_named(tmp_path):
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as store:
        store.execute("CREATE TABLE alembic_version (version_num TEXT)")
        store.execute("INSERT INTO alembic_version VALUES ('later')")
    with pytest.raises(ResourceError, match=r"MLflow at .*: Can't locate revision .*'later'$"):
        client(f"sqlite:///{tmp_path / 'x.db'}")


def test_flatten():
    assert dict(flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None})) == {
        "a.b.c": 1,
        "a.d": [2],
        "e": None,
    }
