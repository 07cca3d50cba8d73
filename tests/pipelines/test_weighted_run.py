"""A whole run that trains an arm's model, from YAML to what MLflow keeps."""

import json
import logging
from pathlib import Path

import pytest
from rich.console import Console

from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.yaml_text import dump
from fulcrum.pipelines.runs.run import Options, measure_run, start
from fulcrum.pipelines.tracking.mlflow import client, find_run
from tests.pipelines.designs.worlds import document, write_log

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weighted")
    write_log(folder / "log.parquet", rows=900, before=100)
    by = {
        "arm": "treatment",
        "propensity": {"features": ["item", "price"], "hidden": [8], "folds": 2},
    }
    train = {"epochs": 1, "batch_size": 128, "precision": "fp32", "divide_by": "rows"}
    whole = document(folder, experiment_design=by, train=train)
    (folder / "run.yaml").write_text(dump(whole))
    return folder


@pytest.fixture(scope="module")
def outcome(folder):
    return start(load(folder / "run.yaml"), Options(1, False, CONSOLE))


@pytest.fixture
def run(folder, outcome):
    return find_run(f"sqlite:///{folder}/store.db", "small")


@pytest.fixture
def kept(folder, run):
    return client(f"sqlite:///{folder}/store.db").get_run(run.id)


def test_the_run_keeps_the_report_its_pictures_and_its_numbers(folder, run, kept):
    store = client(f"sqlite:///{folder}/store.db")
    names = {file.path for file in store.list_artifacts(run.id, "propensity")}
    files = ("report.json", "report.txt", "reliability.png", "chance.png", "weights.png")
    assert names == {f"propensity/{name}" for name in files}
    file = store.download_artifacts(run.id, "propensity/report.json", str(folder))
    facts = json.loads(Path(file).read_text())
    metrics = kept.data.metrics
    for name in ("log_loss", "entropy", "auc", "auc_low", "auc_high", "outside", "overlap"):
        assert metrics[f"propensity/{name}"] == pytest.approx(facts["propensity"][name])
    for arm, told in facts["arms"].items():
        for name, value in told.items():
            assert metrics[f"propensity/{name}/{arm}"] == pytest.approx(value)


def test_the_report_ends_with_what_leaks(folder, run):
    store = client(f"sqlite:///{folder}/store.db")
    file = store.download_artifacts(run.id, "propensity/report.txt", str(folder))
    *_, unit = Path(file).read_text().splitlines()
    assert unit.startswith("Warning: the model reads the unit `user_id` (`pair` and `user`)")
    assert unit in (run.folder / "run.log").read_text()


def test_parameters_tell_the_design(kept):
    parameters = kept.data.params
    assert parameters["experiment_design.design"] == "weighted"
    assert parameters["experiment_design.arm"] == "treatment"
    assert parameters["experiment_design.propensity.features"] == '["item", "price"]'
    assert parameters["train.divide_by"] == "rows"


def test_the_kept_config_measures_the_same_weighted_rows_again(outcome, run, caplog):
    with caplog.at_level(logging.INFO):
        again = measure_run(run, "test", CONSOLE)
    assert "(as it was)" in caplog.text
    assert again.metrics["small"] == outcome.metrics["small"]
    assert outcome.model == "models:/small/1"
