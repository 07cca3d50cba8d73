import json

import polars as pl
import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.ab.simulation.config import Simulation
from fulcrum.pipelines.ab.simulation.simulate import CONFIG, RUNS, simulate
from fulcrum.pipelines.ab.simulation.worlds import WORLDS
from fulcrum.pipelines.config.load import read, to_yaml
from fulcrum.pipelines.console.terminal import as_text, messages
from fulcrum.pipelines.tracking.mlflow import client

SMALL = {
    "loop": {
        "kind": "loop",
        "users": 64,
        "videos": 4,
        "random_steps": 100,
        "warm_steps": 100,
        "steps": 150,
        "noise": 3.0,
        "replications": 4,
        "shares": [0.5],
    },
    "feed": {"kind": "feed", "users": 60, "videos": 100, "before": 1, "days": 2},
}


def small(kind: str) -> Simulation:
    return Simulation.model_validate({"name": f"small-{kind}", "world": SMALL[kind]})


@pytest.mark.parametrize("kind", WORLDS)
def test_a_world_round_trips(kind, tmp_path):
    (tmp_path / "again.yaml").write_text(to_yaml(small(kind)))
    assert read(Simulation, tmp_path / "again.yaml") == small(kind)


def test_the_family_is_complete():
    assert WORLDS.keys() == SMALL.keys()


@pytest.mark.parametrize("kind", WORLDS)
def test_files_and_run_hold_what_came_out(kind, tmp_path):
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    done = simulate(small(kind), tmp_path / "world", uri, messages)
    assert done.result.sentences and as_text(*done.result.tables).strip()
    assert all(file.exists() for file in done.files)
    assert read(Simulation, tmp_path / "world" / CONFIG) == small(kind)
    store_client = client(uri)
    experiment = store_client.get_experiment_by_name(RUNS)
    assert experiment is not None
    (run,) = store_client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["kind"] == kind
    assert {name.replace(" ", "_") for name in done.result.metrics} <= run.data.metrics.keys()
    logged = {file.path for file in store_client.list_artifacts(run.info.run_id)}
    numbers = {"loop": "loop.json", "feed": "truth.json"}[kind]
    assert {CONFIG, numbers} <= logged
    json.loads((tmp_path / "world" / numbers).read_text())


def test_a_world_is_replaced_and_nothing_else_is(tmp_path):
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    config = small("feed")
    simulate(config, tmp_path / "world", uri, messages)
    (tmp_path / "world" / "old").touch()
    simulate(config, tmp_path / "world", uri, messages)
    assert not (tmp_path / "world" / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="holds something else than a simulated world"):
        simulate(config, tmp_path / "mine", uri, messages)
    with pytest.raises(ConfigError, match="is a file"):
        simulate(config, tmp_path / "mine" / "thesis.txt", uri, messages)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_truth_is_the_difference_of_two_worlds(tmp_path):
    simulate(small("feed"), tmp_path / "world", f"sqlite:///{tmp_path / 'runs.db'}", messages)
    truth = json.loads((tmp_path / "world" / "truth.json").read_text())
    for numbers in truth["metrics"].values():
        assert numbers["effect"] == numbers["treatment"] - numbers["control"]
        assert numbers["bias"] == numbers["in_the_test"] - numbers["effect"]
    rows = pl.read_parquet(tmp_path / "world" / "log" / "*.parquet")
    assert truth["impressions"] == rows["arm"].is_not_null().sum()
    assert sum(truth["users"].values()) == 60
    days = len(list((tmp_path / "world" / "log").glob("*.parquet")))
    assert days == 1 + 1 + 2
