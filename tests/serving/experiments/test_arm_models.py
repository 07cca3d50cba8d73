"""New versions of the models, as aliases move: taken over, refused, tried again."""

import json
import logging
import signal
import threading
import time
from dataclasses import fields, replace
from itertools import pairwise
from types import SimpleNamespace

import polars as pl
import pytest

from fulcrum.features.errors import ModelError
from fulcrum.features.transform.fit import fit
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.experiments.exposure_log import read_log
from fulcrum.serving.http.body import Body
from fulcrum.serving.scoring.scorer import Scorer
from tests.serving.conftest import make_log
from tests.serving.experiments.conftest import ROW, arms_of, metrics, visiting
from tests.serving.scoring.test_scorer import difference
from tests.serving.small_experiments import CHALLENGER, CHAMPION, experiment
from tests.serving.test_service import as_events, as_rows, free_port, running

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
                scores = pl.DataFrame(client.service.score(Body(body.encode()))["scores"])
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
