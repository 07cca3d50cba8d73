"""An experiment over HTTP: rows answered by their arm's model, and logged."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fulcrum.features.errors import ConfigError, ModelError
from fulcrum.serving.experiments.assignment import instance
from fulcrum.serving.experiments.exposure_log import read_assignments, read_log
from fulcrum.serving.experiments.service import ExperimentService
from fulcrum.serving.scoring.scorer import Scorer
from tests.serving.conftest import make_log
from tests.serving.experiments.conftest import ROW, arms_of, metrics, visiting
from tests.serving.http.test_batching import Calls
from tests.serving.scoring.test_scorer import SCORES, difference
from tests.serving.small_experiments import CHALLENGER, CHAMPION, experiment
from tests.serving.test_service import as_events, as_rows


def test_each_row_is_scored_by_the_model_of_its_users_arm(client, bundle, second, log):
    rows = make_log(60, seed=3)
    answer = client.post("/score", json={"rows": as_rows(rows), "events": as_events(log)}).json()
    arms = arms_of(rows["user_id"], experiment())
    assert set(arms) == {"control", "treatment"}
    assert [row["arm"] for row in answer["scores"]] == arms
    versions = {"control": "3", "treatment": "7"}
    assert [row["version"] for row in answer["scores"]] == [versions[arm] for arm in arms]
    found = pl.DataFrame(answer["scores"])
    assert found.select("user_id", "video_id", "time_ms").equals(
        rows.select("user_id", "video_id", "time_ms")
    )
    for arm, model in (("control", bundle), ("treatment", second)):
        own = [place for place, name in enumerate(arms) if name == arm]
        expected = Scorer(model, "cpu").score(rows[own], log.lazy())
        assert difference(expected, found[own]) < 1e-5


def test_what_is_answered_is_in_the_log_with_the_requests_columns(client):
    rows = make_log(30, seed=4)
    before = datetime.now(UTC)
    answer = client.post("/score", json={"request": "r-1", "rows": as_rows(rows)}).json()
    assert answer["request"] == "r-1"
    logged = read_log(client.folder).collect()
    assert logged["request"].to_list() == ["r-1"] * 30
    assert logged["row"].to_list() == list(range(30))
    assert logged["unit"].to_list() == [str(user) for user in rows["user_id"]]
    told = pl.DataFrame(answer["scores"])
    for name in ("arm", "model", "version"):
        assert logged[name].to_list() == told[name].to_list()
    for name in SCORES:
        assert logged[f"score.{name}"].to_list() == told[name].to_list()
    given = ["user_id", "video_id", "time_ms", "duration_s", "is_new", "tags"]
    assert logged.select(given).equals(rows.select(given))
    assert before <= logged["time"].min() <= logged["time"].max() <= datetime.now(UTC)
    assert logged.select("click", "seconds").null_count().row(0) == (30, 30)


def test_an_assignment_is_no_exposure(client):
    answer = client.post("/assign", json={"units": [1, "1", 1.0, "anna"]}).json()
    assert [row["unit"] for row in answer["assignments"]] == ["1", "1", "1", "anna"]
    assert [row["arm"] for row in answer["assignments"]] == arms_of(
        ["1", "1", "1", "anna"], experiment()
    )
    assert read_log(client.folder).collect().height == 0
    assigned = read_assignments(client.folder).collect()
    assert assigned["unit"].to_list() == ["1", "anna"]
    row = {**ROW, "user_id": 1}
    client.post("/score", json={"rows": [row, {**row, "user_id": 2}]})
    assigned = read_assignments(client.folder).collect()
    assert assigned["unit"].to_list() == ["1", "anna", "2"]
    exposed = read_log(client.folder).collect()
    assert exposed["arm"].to_list() == arms_of(["1", "2"], experiment())


def test_a_retried_request_is_answered_but_logged_once(client):
    body = {"request": "once", "rows": [ROW, ROW]}
    first, again = (client.post("/score", json=body).json() for _ in range(2))
    assert first == again
    assert read_log(client.folder).collect().height == 2
    other = client.post("/score", json={"request": "once", "rows": [{**ROW, "user_id": 5}]})
    assert other.status_code == 422
    assert "'once' is the id of an earlier request" in other.json()["error"]


def test_requests_without_an_id_get_one_each(client):
    ids = {client.post("/score", json={"rows": [ROW]}).json()["request"] for _ in range(3)}
    assert len(ids) == 3
    assert set(read_log(client.folder).collect()["request"]) == ids


def test_outcomes_join_their_rows_and_the_last_value_counts(client):
    client.post("/score", json={"request": "a", "rows": [ROW] * 3})
    outcomes = [
        {"request": "a", "row": 0, "click": 1, "seconds": 7.5},
        {"request": "a", "row": 2, "click": 0},
        {"request": "a", "row": 0, "click": 0},
    ]
    answer = client.post("/outcomes", json={"outcomes": outcomes})
    assert answer.json() == {"added": 3}
    client.post("/outcomes", json={"outcomes": [{"request": "a", "row": 2, "seconds": 2}]})
    logged = read_log(client.folder).collect()
    assert logged["click"].to_list() == [0, None, 0]
    assert logged["seconds"].to_list() == [7.5, None, 2]


def test_units_outside_get_the_controls_model_and_are_not_logged(tmp_path, shelf, bundle):
    config = experiment(traffic=0.4)
    with visiting(tmp_path / "log", config, shelf) as client:
        rows = make_log(60, seed=3)
        answer = client.post("/score", json={"request": "a", "rows": as_rows(rows)}).json()
        arms = arms_of(rows["user_id"], config)
        assert set(arms) == {"control", "treatment", None}
        assert [row["arm"] for row in answer["scores"]] == arms
        versions = {None: "3", "control": "3", "treatment": "7"}
        assert [row["version"] for row in answer["scores"]] == [versions[arm] for arm in arms]
        logged = read_log(tmp_path / "log").collect()
        inside = [place for place, arm in enumerate(arms) if arm is not None]
        assert logged["row"].to_list() == inside
        assert set(read_assignments(tmp_path / "log").collect()["unit"]) == set(logged["unit"])
        outside = arms.index(None)
        refused = client.post(
            "/outcomes", json={"outcomes": [{"request": "a", "row": outside, "click": 1}]}
        )
        assert refused.status_code == 422
        assert f"request 'a' has no row {outside} in the log" in refused.json()["error"]
        assert float(metrics(client)["fulcrum_outside_total"]) == 60 - len(inside)


def test_users_are_dealt_to_the_instances_of_their_arm(tmp_path, shelf, bundle, second):
    config = experiment(
        arms={
            "control": {"share": 0.5, "models": CHAMPION},
            "treatment": {"share": 0.5, "models": [CHAMPION, CHALLENGER]},
        }
    )
    with visiting(tmp_path / "log", config, shelf) as client:
        rows = make_log(60, seed=3)
        client.post("/score", json={"rows": as_rows(rows)})
        logged = read_log(tmp_path / "log").collect()
    dealt = logged.select(
        expected=instance(pl.col("unit"), pl.col("arm"), config), instance="instance"
    )
    assert dealt["instance"].equals(dealt["expected"], check_names=False)
    answered = set(logged.select("arm", "instance", "version").iter_rows())
    assert answered == {("control", 0, "3"), ("treatment", 0, "3"), ("treatment", 1, "7")}
    assert shelf.loads == 2


def test_a_clock_that_steps_back_changes_neither_order_nor_counts(client, monkeypatch):
    steps = iter([0, -3600, 7200, -86_400, 0, -1])

    class Clock(datetime):
        @classmethod
        def now(cls, zone):
            return datetime(2024, 3, 31, 2, tzinfo=UTC) + timedelta(seconds=next(steps))

    monkeypatch.setattr("fulcrum.serving.experiments.service.datetime", Clock)
    client.post("/assign", json={"units": [ROW["user_id"]]})
    for name in ("a", "b"):
        client.post("/score", json={"request": name, "rows": [ROW]})
    for click in (1, 0):
        outcomes = [{"request": "a", "row": 0, "click": click}]
        assert client.post("/outcomes", json={"outcomes": outcomes}).status_code == 200
    assert client.post("/score", json={"request": "a", "rows": [ROW]}).status_code == 200
    logged = read_log(client.folder).collect()
    assert logged["request"].to_list() == ["a", "b"]
    assert logged["click"].to_list() == [0, None]
    assigned = read_assignments(client.folder).collect()
    assert assigned["time"].to_list() == [datetime(2024, 3, 31, 2, tzinfo=UTC)]


def test_metrics_are_counted_by_arm(client):
    rows = make_log(60, seed=3)
    for _ in range(2):
        client.post("/score", json={"request": "a", "rows": as_rows(rows)})
    client.post("/outcomes", json={"outcomes": [{"request": "a", "row": 0, "click": 1}]})
    values = metrics(client)
    arms = arms_of(rows["user_id"], experiment())
    users = set(zip(rows["user_id"], arms, strict=True))
    for arm, version in (("control", "3"), ("treatment", "7")):
        labels = f'arm="{arm}",instance="0",model="small",version="{version}"'
        assert float(values[f"fulcrum_exposures_total{{{labels}}}"]) == arms.count(arm)
        assigned = sum(own == arm for _, own in users)
        assert float(values[f'fulcrum_assignments_total{{arm="{arm}"}}']) == assigned
        assert float(values[f'fulcrum_scoring_seconds_count{{arm="{arm}"}}']) == 2
    assert float(values["fulcrum_outcomes_total"]) == 1


def test_events_are_remembered_for_every_arm(client, bundle, second, log):
    rows = make_log(40, seed=5)
    without = client.post("/score", json={"rows": as_rows(rows)}).json()
    assert client.post("/events", json={"events": as_events(log)[:200]}).status_code == 200
    found = client.post("/score", json={"rows": as_rows(rows)}).json()
    arms = [row["arm"] for row in found["scores"]]
    for arm, model in (("control", bundle), ("treatment", second)):
        own = [place for place, name in enumerate(arms) if name == arm]
        expected = Scorer(model, "cpu").score(rows[own], log[:200].lazy())
        assert difference(expected, pl.DataFrame(found["scores"])[own]) < 1e-5
        assert difference(expected, pl.DataFrame(without["scores"])[own]) > 1e-3


def test_no_rows_and_no_units_are_answered(client):
    assert client.post("/score", json={"rows": []}).json()["scores"] == []
    assert client.post("/assign", json={"units": []}).json()["assignments"] == []
    assert client.post("/outcomes", json={"outcomes": []}).json() == {"added": 0}


def test_a_unit_that_no_model_reads_is_taken_from_the_row(tmp_path, shelf):
    with visiting(tmp_path / "log", experiment(unit="household"), shelf) as client:
        refused = client.post("/score", json={"rows": [{**ROW, "hosehold": 3}]})
        assert refused.status_code == 422
        assert "rows[0].household: missing" in refused.json()["error"]
        assert "did you mean `hosehold`?" in refused.json()["error"]
        rows = [{**ROW, "household": unit} for unit in (3, "3", 3.0, "north")]
        answer = client.post("/score", json={"rows": rows}).json()
        logged = read_log(tmp_path / "log").collect()
        assert logged["unit"].to_list() == ["3", "3", "3", "north"]
        assert len({row["arm"] for row in answer["scores"][:3]}) == 1


def test_a_full_disk_is_a_503_and_loses_nothing(client, monkeypatch):
    client.post("/score", json={"request": "a", "rows": [ROW]})
    write = os.write

    def full(file, data):
        write(file, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("fulcrum.serving.experiments.journal.os.write", full)
        refused = client.post("/score", json={"request": "b", "rows": [ROW]})
        assert refused.status_code == 503
        assert "nothing can be stored at present" in refused.json()["error"]
        assert refused.headers["retry-after"] == "1"
        assert client.post("/assign", json={"units": ["z"]}).status_code == 503
    assert read_log(client.folder).collect()["request"].to_list() == ["a"]
    assert client.post("/score", json={"request": "b", "rows": [ROW]}).status_code == 200
    assert read_log(client.folder).collect()["request"].to_list() == ["a", "b"]
    assert client.post("/assign", json={"units": ["z"]}).status_code == 200
    assert "z" in set(read_assignments(client.folder).collect()["unit"])


def test_what_cannot_be_served_is_said_at_once(tmp_path, shelf):
    arms = {"control": {"share": 0.5, "models": CHAMPION}, "treatment": {"share": 0.5}}
    with pytest.raises(ConfigError, match=r"arms\.treatment\.models: an arm needs a model"):
        ExperimentService(experiment(arms=arms), shelf, tmp_path / "log", "cpu")
    arms["treatment"]["models"] = "models:/small@chalenger"
    with pytest.raises(ModelError, match=r"arms\.treatment\.models: models:/small@chalenger: no"):
        ExperimentService(experiment(arms=arms), shelf, tmp_path / "log", "cpu")
    with pytest.raises(ConfigError, match="unit: serving needs the column"):
        ExperimentService(experiment(unit=None), shelf, tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_requests_that_wait_together_are_answered_and_logged_each_for_itself(tmp_path, shelf):
    requests = [
        {"request": f"r-{number}", "rows": as_rows(make_log(1 + number, seed=number))}
        for number in range(8)
    ]
    with visiting(tmp_path / "alone", experiment(), shelf) as client:
        alone = [client.post("/score", json=request).json() for request in requests]
    with (
        visiting(tmp_path / "together", experiment(), shelf) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        limits = client.service.limits.model_copy(update={"batch_delay": 0.1})
        client.service.limits = limits
        calls = [Calls(scorer).rows for scorer in client.service.scorers]
        ask = partial(client.send, "POST", "/score")
        together = list(pool.map(lambda request: ask(json=request).json(), requests))
        assert all(len(rows) < len(requests) for rows in calls)
    for first, second in zip(alone, together, strict=True):
        assert first["request"] == second["request"]
        old, new = pl.DataFrame(first["scores"]), pl.DataFrame(second["scores"])
        assert_frame_equal(old, new, rel_tol=1e-5, abs_tol=1e-6)
    logs = (read_log(tmp_path / name).collect() for name in ("alone", "together"))
    old, new = (log.sort("request", "row").drop("time") for log in logs)
    assert_frame_equal(old, new, rel_tol=1e-5, abs_tol=1e-6)
