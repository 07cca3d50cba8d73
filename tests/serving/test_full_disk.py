"""A disk that is really full: a small file system, where one can be mounted."""

from contextlib import closing

import polars as pl
import pytest

from fulcrum.features.errors import ModelError, ResourceError
from fulcrum.pipelines.tracking.mlflow import start_run
from fulcrum.serving.experiments.exposure_log import read_assignments, read_log
from fulcrum.serving.experiments.service import ExperimentService
from fulcrum.serving.http.app import app
from fulcrum.serving.publishing.registry import Registry
from fulcrum.serving.scoring.files import score_files
from tests.serving.conftest import make_log
from tests.serving.small_experiments import Shelf, Visitor, experiment
from tests.serving.test_service import as_events, as_rows
from tests.small_disk import fill, small_disk


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 8) as folder:
        yield folder


def test_a_service_refuses_while_its_disk_is_full_and_goes_on_after(disk, bundle):
    shelf = Shelf()
    for alias in ("champion", "challenger"):
        shelf.put(f"models:/small@{alias}", bundle)
    rows, log = as_rows(make_log(20, seed=3)), as_events(make_log(100, seed=4))
    with closing(
        ExperimentService(experiment(), shelf, disk / "log", "cpu", disk / "events.db")
    ) as service:
        service.open()
        client = Visitor(app(service))
        assert client.post("/events", json={"events": log[:10]}).status_code == 200
        assert client.post("/score", json={"request": "a", "rows": rows}).status_code == 200
        ballast = fill(disk)
        for path, body in (
            ("/events", {"events": log}),
            ("/score", {"request": "b", "rows": 9 * rows}),
            ("/assign", {"units": [f"new-{number}" for number in range(200)]}),
        ):
            refused = client.post(path, json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), path
        assert client.get("/v2/health/ready").status_code == 200
        assert service.store.count() == len({str(event) for event in log[:10]})
        ballast.unlink()
        assert client.post("/events", json={"events": log}).status_code == 200
        assert client.post("/score", json={"request": "c", "rows": rows}).status_code == 200
    assert set(read_log(disk / "log").collect()["request"]) == {"a", "c"}
    assert not read_assignments(disk / "log").collect()["unit"].str.contains("new").any()


def test_score_files_are_whole_or_not_there_on_a_full_disk(disk, bundle, tmp_path):
    make_log(100, seed=5).write_parquet(tmp_path / "log.parquet")
    ballast = fill(disk)
    with pytest.raises(ResourceError, match=r"log\.parquet: no space left"):
        score_files(bundle, str(tmp_path / "log.parquet"), disk / "scores", device="cpu")
    assert [path for path in disk.rglob("*") if path.is_file()] == [ballast]
    ballast.unlink()
    score_files(bundle, str(tmp_path / "log.parquet"), disk / "scores", device="cpu")
    assert pl.read_parquet(disk / "scores" / "log.parquet").height == 100


def test_a_version_is_registered_once_there_is_space(disk, bundle):
    uri = f"sqlite:///{disk}/mlruns.db"
    said = r"^MLflow at .*: .*(disk is full|disk I/O error|No space left)"
    ballast = fill(disk)
    with pytest.raises(ResourceError, match=said):
        start_run(uri, "tests", "run")
    assert list(disk.iterdir()) == [ballast]
    ballast.unlink()
    run, registry = start_run(uri, "tests", "run"), Registry(uri)
    for work, right in (
        (lambda: registry.log(bundle, run), "models:/m-"),
        (lambda: registry.register(f"runs:/{run}/model", "ranker"), "1"),
        (lambda: registry.set_alias("ranker", "champion", 1), "None"),
    ):
        ballast = fill(disk)
        with pytest.raises(ModelError, match=said) as error:
            work()
        assert len(str(error.value).splitlines()) == 1
        with pytest.raises(ModelError):
            registry.resolve("models:/ranker@champion")
        ballast.unlink()
        assert str(work()).startswith(right)
    assert registry.resolve("models:/ranker@champion").version == "1"
