import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.ab.design_study import compare_designs, table
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.yaml_text import dump
from fulcrum.pipelines.console.terminal import as_text
from fulcrum.pipelines.tracking.mlflow import client
from tests.pipelines.designs.worlds import document, write_log

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("designs")
    write_log(folder / "log.parquet", rows=3000)
    by = {
        "arm": "treatment",
        "propensity": {"features": ["item", "price"], "kind": "logistic", "folds": 2},
    }
    train = {"epochs": 1, "batch_size": 128, "precision": "fp32"}
    (folder / "run.yaml").write_text(dump(document(folder, experiment_design=by, train=train)))
    return folder


@pytest.mark.slow
def test_every_arm_under_every_design(folder):
    config = load(folder / "run.yaml")
    study = compare_designs(config, ["pooling", "splitting"], CONSOLE)
    arms, designs = ("control", "treatment"), ("weighted", "pooling", "splitting")
    assert [(x.arm, x.design) for x in study.lines if x.task == study.lines[0].task] == [
        (arm, design) for arm in arms for design in designs
    ]
    base = {(x.arm, x.task): x.loss for x in study.lines if x.design == "weighted"}
    for line in study.lines:
        if line.design == "weighted":
            assert line.difference is line.kendall is None
            continue
        apart = line.loss - base[line.arm, line.task]
        assert line.difference == pytest.approx(apart, abs=1e-9)
        assert line.low < line.difference < line.high
        assert -1 <= line.kendall <= 1
    assert len(study.sentences) == 2
    assert "Kendall" in as_text(table(study))

    store = client(config.tracking.uri)
    runs = store.search_runs([e.experiment_id for e in store.search_experiments()])
    names = {run.info.run_name for run in runs}
    assert {f"small-{arm}-{design}" for arm in arms for design in designs} <= names
    [parent] = [run for run in runs if run.info.run_name == "small-designs"]
    file = store.download_artifacts(parent.info.run_id, "designs.json", str(folder))
    assert len(json.loads(Path(file).read_text())["lines"]) == len(study.lines)

    again = compare_designs(config, ["pooling", "splitting"], CONSOLE)
    assert again == study
    trained = [run for run in store.search_runs([parent.info.experiment_id]) if run.data.params]
    assert len({run.info.run_name for run in trained}) == len(arms) * len(designs)
    assert np.isfinite([line.loss for line in again.lines]).all()


@pytest.mark.parametrize(
    ("overrides", "others", "message"),
    [
        (["experiment_design={design: pooling, arm: a}"], ["splitting"], "expected `design: w"),
        ([], ["poling"], "--designs: there is no design `poling`; did you mean `pooling`?"),
        ([], ["weighted"], "there is no design `weighted`"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_is_trained(
    folder, overrides, others, message, tmp_path
):
    fresh = [f"workspace={tmp_path}/.fulcrum", f"tracking.uri=sqlite:///{tmp_path}/store.db"]
    with pytest.raises(ConfigError) as caught:
        compare_designs(load(folder / "run.yaml", [*fresh, *overrides]), others, CONSOLE)
    assert message in str(caught.value)
    assert not (tmp_path / ".fulcrum").exists() and not (tmp_path / "store.db").exists()
