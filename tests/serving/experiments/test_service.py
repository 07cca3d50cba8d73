"""An experiment over HTTP: rows answered by their arm's model, logged, refused clearly."""

import errno
import json
import logging
import os
import signal
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import onnx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ConfigError, ModelError
from fulcrum.features.transform.fit import fit
from fulcrum.serving.bundle.bundle import Bundle, write_bundle
from fulcrum.serving.experiments.assignment import assign, instance, unit_texts
from fulcrum.serving.experiments.exposure_log import read_assignments, read_log
from fulcrum.serving.experiments.service import ExperimentService
from fulcrum.serving.http.app import app
from fulcrum.serving.scoring.scorer import Scorer
from tests.serving.conftest import make_log
from tests.serving.scoring.test_scorer import SCORES, difference
from tests.serving.small_experiments import Shelf, Visitor, experiment
from tests.serving.test_service import as_events, as_rows, free_port, running

CHAMPION, CHALLENGER = "models:/small@champion", "models:/small@challenger"
ROW = as_rows(make_log(1, seed=9))[0]
EVENT = as_events(make_log(1, seed=9))[0]
SERVE = """
import sys
from functools import partial
from pathlib import Path
from fulcrum.serving import service
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.experiments.service import ExperimentService
from tests.serving.small_experiments import Shelf, experiment
folder, port, log, alias = sys.argv[1:]

class Registry(Shelf):
    def version(self, uri):
        self.put(uri, Bundle.load(Path(folder)), Path(alias).read_text())
        return super().version(uri)

service.FOLLOW_SECONDS = 0.1
registry, config = Registry(), experiment()
for model in ("champion", "challenger"):
    registry.version(f"models:/small@{model}")
load = partial(ExperimentService, config, registry, Path(log), "cpu")
service.serve(load, port=int(port))
"""


@pytest.fixture(scope="module")
def second(bundle, log, tmp_path_factory):
    """Other weights, made without an export."""

    def write_graph(path):
        graph = onnx.load(str(bundle.graph))
        for weights in graph.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT and len(weights.dims) == 2:
                values = 1.5 * onnx.numpy_helper.to_array(weights)
                weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(graph, str(path))
        return {"parity": {}}

    return write_bundle(
        tmp_path_factory.mktemp("second") / "model",
        state=bundle.state,
        config={"name": "second", "serving": {}},
        config_fingerprint="second",
        example=log.head(1),
        write_graph=write_graph,
    )


@pytest.fixture
def shelf(bundle, second):
    found = Shelf()
    found.put(CHAMPION, bundle, "3")
    found.put(CHALLENGER, second, "7")
    return found


@contextmanager
def visiting(folder, config, shelf):
    with closing(ExperimentService(config, shelf, folder, "cpu")) as service:
        service.open()
        client = Visitor(app(service))
        client.service, client.folder = service, folder
        yield client


@pytest.fixture
def client(tmp_path, shelf):
    with visiting(tmp_path / "log", experiment(), shelf) as client:
        yield client


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, bundle):
    """A service for requests that it refuses."""
    shelf = Shelf()
    shelf.put(CHAMPION, bundle)
    shelf.put(CHALLENGER, bundle)
    with visiting(tmp_path_factory.mktemp("untouched"), experiment(), shelf) as client:
        yield client


def arms_of(users, config):
    units = pl.DataFrame({"unit": [str(user) for user in users]})
    return units.select(assign(pl.col("unit"), config)).to_series().to_list()


def metrics(client):
    lines = client.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line[0] != "#")


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


def test_an_alias_that_moves_is_followed_and_the_log_says_when(client, shelf, bundle):
    users = {arm: place for place, arm in enumerate(arms_of(range(12), experiment()))}
    rows = [{**ROW, "user_id": users[arm]} for arm in ("control", "treatment")]
    client.post("/score", json={"rows": rows})
    shelf.put(CHALLENGER, bundle, "8")
    client.service.follow()
    answer = client.post("/score", json={"rows": rows}).json()
    assert [row["version"] for row in answer["scores"]] == ["3", "8"]
    logged = read_log(client.folder).collect()
    assert logged["version"].to_list() == ["3", "7", "3", "8"]
    loads = shelf.loads
    client.service.follow()
    assert shelf.loads == loads


def test_a_version_that_needs_other_columns_is_not_taken_over(
    client, shelf, bundle, caplog, monkeypatch
):
    class Other:
        row_columns = {**bundle.state.row_columns, "age": pl.Int64()}

        def __getattr__(self, name):
            return getattr(bundle.state, name)

    class OtherBundle(Bundle):
        example = [{**row, "age": None} for row in bundle.example]

    parts = {field.name: getattr(bundle, field.name) for field in fields(bundle)}
    shelf.put(CHALLENGER, OtherBundle(**{**parts, "state": Other()}), "9")
    with caplog.at_level(logging.WARNING):
        client.service.follow()
        client.service.follow()
    [said] = caplog.messages
    assert f"{CHALLENGER} stays at version 7" in said
    assert "version 9 has `age`, which is new or of another type" in said
    refused = f'fulcrum_refused_version{{alias="{CHALLENGER}",reason="misfit",version="9"}}'
    assert metrics(client)[refused] == "1.0"
    loads = shelf.loads
    much_later = SimpleNamespace(monotonic=lambda: 1e18)
    monkeypatch.setattr("fulcrum.serving.experiments.arm_models.time", much_later)
    client.service.follow()
    assert shelf.loads == loads
    assert client.post("/score", json={"rows": [ROW]}).status_code == 200


FAULTS = [OSError(5, "Input/output error"), ModelError("MLflow does not answer"), MemoryError()]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("asking", ["version", "resolve"])
def test_a_fault_that_passes_delays_a_version_and_no_more(
    client, shelf, bundle, monkeypatch, fault, asking
):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("fulcrum.serving.experiments.arm_models.time", clock)
    ask, attempts, healed = getattr(shelf, asking), [], False

    def failing(uri):
        if uri == CHALLENGER:
            attempts.append(clock.now)
            if not healed:
                raise fault
        return ask(uri)

    monkeypatch.setattr(shelf, asking, failing)
    shelf.put(CHAMPION, bundle, "4")
    shelf.put(CHALLENGER, bundle, "8")
    while clock.now < 3_000:
        client.service.follow()
        clock.now += 10
    versions = {model.version for model in client.service.models.all}
    assert versions == {"4", "7"}
    series = f'fulcrum_refused_version{{alias="{CHALLENGER}",reason="fault",version="8"}}'
    unread = f'fulcrum_unread_alias{{alias="{CHALLENGER}"}}'
    assert (unread in metrics(client)) == (asking == "version")
    if asking == "resolve":
        pauses = [after - before for before, after in pairwise(attempts)]
        assert pauses[:7] == [10, 20, 40, 80, 160, 320, 600]
        assert set(pauses[7:]) == {600}
        assert metrics(client)[series] == "1.0"
    healed = True
    clock.now += 600
    client.service.follow()
    assert {model.version for model in client.service.models.all} == {"4", "8"}
    assert not {series, unread} & metrics(client).keys()


def test_a_refused_version_is_forgotten_when_the_alias_moves_on(client, shelf, bundle, monkeypatch):
    shelf.put(CHALLENGER, None, "8")
    client.service.follow()
    shelf.put(CHALLENGER, bundle, "7")
    client.service.follow()
    assert not any(name.startswith("fulcrum_refused_version{") for name in metrics(client))
    shelf.put(CHALLENGER, bundle, "8")
    client.service.follow()
    assert {model.version for model in client.service.models.all} == {"3", "8"}


def test_a_version_that_looks_back_by_another_key_finds_its_events(
    tmp_path, shelf, bundle, spec, log, monkeypatch
):
    """The first versions look back by user alone, the next one by video, too: all events of the
    videos count, also those of other users."""
    rate = spec.features["rate"]
    before = spec.model_copy(
        update={"features": spec.features | {"rate": rate.model_copy(update={"key": "user_id"})}}
    )
    by_user = replace(bundle, state=fit(log.lazy(), log.lazy(), before))
    shelf.put(CHAMPION, by_user, "3")
    shelf.put(CHALLENGER, by_user, "7")
    with visiting(tmp_path / "log", experiment(), shelf) as client:
        client.post("/events", json={"events": as_events(log)[:200]})
        shelf.put(CHAMPION, bundle, "4")
        shelf.put(CHALLENGER, bundle, "8")
        client.service.follow()
        rows = make_log(40, seed=5)
        answer = client.post("/score", json={"rows": as_rows(rows)}).json()
    assert {row["version"] for row in answer["scores"]} == {"4", "8"}
    expected = Scorer(bundle, "cpu").score(rows, log[:200].lazy())
    assert difference(expected, pl.DataFrame(answer["scores"])) < 1e-5


def test_no_answer_mixes_versions_of_one_alias(tmp_path, shelf, bundle, second):
    """Both arms and two instances by one alias, which moves all the time."""
    arms = {
        "control": {"share": 0.5, "models": [CHAMPION, CHALLENGER]},
        "treatment": {"share": 0.5, "models": CHAMPION},
    }
    rows = make_log(40, seed=5)
    models = {"0": bundle, "1": second}
    expected = {n: Scorer(model, "cpu").score(rows) for n, model in models.items()}
    body, ended, mixed, seen = json.dumps({"rows": as_rows(rows)}), threading.Event(), [], set()
    with visiting(tmp_path / "log", experiment(arms=arms), shelf) as client:

        def ask():
            while not ended.is_set():
                scores = pl.DataFrame(client.service.score(body.encode())["scores"])
                of_alias = scores.with_row_index("row").filter(pl.col("version") != "7")
                versions = set(of_alias["version"])
                seen.update(versions)
                [version, *others] = versions
                own = of_alias.drop("row")
                if others or (
                    version != "3"
                    and difference(expected[str(int(version) % 2)][of_alias["row"]], own) > 1e-5
                ):
                    mixed.append(versions)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for version in range(10, 22):
            shelf.put(CHAMPION, models[str(version % 2)], str(version))
            client.service.follow()
        ended.set()
        for asker in askers:
            asker.join()
        logged = read_log(tmp_path / "log").collect()
    assert mixed == []
    assert len(seen) > 2
    by_request = logged.filter(pl.col("version") != "7").group_by("request")
    assert by_request.agg(pl.col("version").n_unique())["version"].unique().to_list() == [1]


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


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=5)
    | st.sampled_from(["a", "v1", "2024-02-29", "1e999"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*ROW, "request", "row", "click"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def near(example):
    """Objects like the example, with some other values."""
    return st.fixed_dictionaries({name: st.just(v) | VALUES for name, v in example.items()})


@pytest.mark.slow
def test_no_body_breaks_the_service(client):
    client.post("/score", json={"request": "a", "rows": [ROW]})
    bodies = {
        "/score": {"rows": st.lists(near(ROW), max_size=3), "request": st.just("a")},
        "/assign": {"units": st.lists(VALUES, max_size=3)},
        "/outcomes": {
            "outcomes": st.lists(near({"request": "a", "row": 0, "click": 1}), max_size=3)
        },
        "/events": {"events": st.lists(near(EVENT), max_size=3)},
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


def test_a_process_follows_aliases_and_leaves_a_whole_log(bundle, tmp_path):
    (tmp_path / "alias").write_text("1")
    port = free_port()
    arguments = (bundle.folder, port, tmp_path / "log", tmp_path / "alias")
    with running(SERVE, *arguments, port=port) as client:
        versions = ["1"]
        (tmp_path / "alias").write_text("2")
        deadline = time.monotonic() + 30
        while versions[-1] == "1" and time.monotonic() < deadline:
            [answer] = client.post("/score", {"rows": [ROW]})[1]["scores"]
            versions.append(answer["version"])
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(30) == 0
    assert versions[-1] == "2"
    assert list((tmp_path / "log" / "journal").iterdir()) == []
    assert read_log(tmp_path / "log").collect()["version"].to_list() == versions[1:]


def test_units_are_the_text_that_features_make_of_them():
    values = [12, "12", 12.0, 0.5, -0.0, 2**53, "é", -(2**63)]
    units = unit_texts(values, "units[{}]").to_list()
    assert units == ["12", "12", "12", "0.5", "0", str(2**53), "é", str(-(2**63))]
