"""A whole run on a small log, from YAML to a registered model."""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from rich.console import Console

from fulcrum.features.errors import ConfigError, ModelError, StateError
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.models.calibrations import NoCalibration
from fulcrum.models.calibrations.platt import PlattCalibration
from fulcrum.models.chains import ESMMConfig
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.calibration import fit as fitting
from fulcrum.pipelines.calibration import segments as segments_of
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.quality.alarms import ALARMS
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.runs import rounding
from fulcrum.pipelines.runs import run as runs
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.runs.register import register_run
from fulcrum.pipelines.runs.run import Options, measure_run, single_task, start, take_up
from fulcrum.pipelines.tracking.mlflow import client, find_run
from fulcrum.pipelines.training.learning_on import earlier_model
from fulcrum.pipelines.training.learning_on.earlier_model import find
from fulcrum.pipelines.training.predict import evaluate, predict, restore_network, uncalibrate
from fulcrum.pipelines.training.trainer import read_result
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.publishing.registry import Registry
from fulcrum.serving.scoring.onnx_session import Session

YAML = """\
name: small
workspace: {folder}/work
data:
  events: {folder}/log.parquet
  time: {{column: t, unit: s, earliest: 1970-01-01}}
  outcomes: [click, watch]
  keys: [row]
  group: user
features:
  user: {{kind: categorical}}
  item: {{kind: categorical}}
  price: {{kind: numeric}}
  clicks: {{kind: window, key: user, statistic: count, where: click = 1}}
tasks:
  click: {{kind: binary, label: click}}
  watch: {{kind: regression, label: watch, transform: log1p}}
model: {{architecture: mmoe, embedding_dim: 4, experts: 2, expert: [8], tower: [4]}}
train: {{epochs: 2, batch_size: 32, precision: fp32, dense: {{lr: 0.01}}, sparse: {{lr: 0.1}}}}
tracking: {{uri: "sqlite:///{folder}/store.db", experiment: small}}
"""
OPTIONS = Options(nproc=1, reference=True, console=Console(quiet=True))


def write_log(path: Path, rows: int = 900) -> None:
    random = np.random.default_rng(0)
    user, item = random.integers(0, 20, rows), random.integers(0, 30, rows)
    click = random.random(rows) < 0.2 + 0.6 * (item % 2)
    pl.DataFrame(
        {
            "row": np.arange(rows),
            "t": np.sort(random.integers(0, 100_000, rows)),
            "user": user,
            "item": item,
            "price": random.normal(size=rows),
            "click": click.astype(int),
            "watch": random.exponential(10, rows) * click,
        }
    ).write_parquet(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_log(folder / "log.parquet")
    (folder / "small.yaml").write_text(YAML.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def store(folder):
    return f"sqlite:///{folder}/store.db"


@pytest.fixture(scope="module")
def outcome(folder):
    return start(load(folder / "small.yaml"), OPTIONS)


@pytest.fixture(scope="module")
def run(outcome, store):
    return find_run(store, "small")


def test_the_model_is_measured_beside_single_task_networks_and_a_constant(outcome):
    assert list(outcome.metrics) == ["small", "single-task", "constant"]
    assert outcome.metrics["small"]["auc/click"] > 0.65
    assert outcome.metrics["constant"]["auc/click"] == 0.5
    small, constant = (outcome.metrics[m]["log_loss/click"] for m in ("small", "constant"))
    assert small < constant
    assert outcome.title == "small on the 180 rows of the test split"


def test_the_first_version_is_candidate_and_no_champion(outcome, store):
    assert outcome.model == "models:/small/1"
    for uri in ("models:/small@candidate", "models:/small/1"):
        assert Registry(store).resolve(uri).version == "1"
    with pytest.raises(ModelError, match="no such alias"):
        Registry(store).resolve("models:/small@champion")


def test_the_run_carries_all_that_the_page_of_a_run_shows(outcome, run, store):
    found = client(store).get_run(run.id)
    assert found.info.status == "FINISHED"
    files = {f.path for f in client(store).list_artifacts(run.id)}
    assert {"config.yaml", "data", "figures", "results.json", "health.json", "run.log"} <= files
    data = {f.path for f in client(store).list_artifacts(run.id, "data")}
    assert data == {"data/manifest.json", "data/features.txt"}
    figures = {Path(f.path).name for f in client(store).list_artifacts(run.id, "figures")}
    expected = {"training_curves", "conflicts", "calibration", "gain", "drift", "health"}
    assert figures == {f"{name}.png" for name in expected}
    assert found.data.params["model.architecture"] == "mmoe"
    assert found.data.params["train.batch_size"] == "32"
    assert {"fulcrum.config", "fulcrum.data", "fulcrum.folder"} <= set(found.data.tags)
    assert "test/auc/click" in found.data.metrics
    assert "reference/test/auc/click" in found.data.metrics
    for name in ("valid/auc/click", "health/level1/zero_rate_max"):
        assert len(client(store).get_metric_history(run.id, name)) == 2
    [used] = found.inputs.dataset_inputs
    assert json.loads(used.dataset.profile)["test"] == 180


def test_a_finished_run_may_be_resumed_and_stays_what_it_is(outcome, run, store):
    again = take_up(run, store, OPTIONS)
    assert again.metrics == outcome.metrics
    assert again.model == outcome.model
    assert Registry(store).resolve("models:/small@candidate").version == "1"


def test_a_run_measured_again_gives_the_same(outcome, run):
    again = measure_run(run, "test", OPTIONS.console)
    assert again.metrics["small"] == outcome.metrics["small"]


def test_a_run_is_not_measured_on_data_prepared_otherwise(outcome, run, tmp_path):
    """Its ids would mean other users."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("min_count: 1", "min_count: 2", 1))
    with pytest.raises(StateError, match=r"was trained on prepared data .*, these are"):
        measure_run(replace(run, folder=folder), "test", Console(quiet=True))


def test_a_run_learns_on_from_a_version_and_keeps_what_it_took(outcome, folder, run, store):
    """As part of a comparison, so that nothing is exported."""
    Registry(store).set_alias("small", "yesterday", 1)
    settings = ["name=next", "train.epochs=1", "train.from=models:/small@yesterday"]
    settings.append("features.tab={kind: categorical, column: item}")
    start(load(folder / "small.yaml", settings), replace(OPTIONS, reference=False, parent=run.id))
    following = find_run(store, "next")
    assert load(following.folder / "config.yaml").train.from_ == "models:/small/1"
    tags = client(store).get_run(following.id).data.tags
    assert tags["fulcrum.from"] == "models:/small/1"
    assert "from.txt" in {f.path for f in client(store).list_artifacts(following.id)}
    lines = (following.folder / "checkpoints" / "from.txt").read_text().splitlines()
    assert lines[:2] == ["learning on from models:/small/1", "input tab: new"]
    assert "table item: 30 of 30 values keep their row" in lines


def test_a_model_to_learn_on_from_is_found_while_its_run_has_a_checkpoint(
    outcome, run, store, monkeypatch
):
    best = read_result(run.folder / "checkpoints").checkpoint
    for uri in ("models:/small/1", f"runs:/{run.id}/model"):
        found = find(uri, store)
        assert found.checkpoint == best
        assert find(found.uri, store).uri == found.uri
    with pytest.raises(ModelError, match="did you mean `models:/small/1`"):
        find("models:/small/8", store)
    monkeypatch.setattr(earlier_model, "CHECKPOINTS", "gone")
    with pytest.raises(ConfigError, match=r"models:/small/1 has no checkpoint any more \(looked"):
        find("models:/small/1", store)


def test_unhealthy_experts_are_told_in_words(run, monkeypatch, caplog):
    assert json.loads((run.folder / "health.json").read_text())["split"] == "test"
    monkeypatch.setitem(ALARMS, "zero_rate", -1.0)
    measure_run(run, "test", OPTIONS.console)
    told = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert [text.partition(" is ")[0] for text in told] == [
        "level 1: expert 1 of shared",
        "level 1: expert 2 of shared",
    ]


def test_a_later_version_takes_the_candidate_and_no_other_alias(outcome, folder, store):
    registry = Registry(store)
    assert register_run(find_run(store, "small"), store, "shadow") == ("small", 1)
    second = start(load(folder / "small.yaml", ["train.seed=1"]), Options(1, False, Console()))
    assert second.model == "models:/small/2"
    assert registry.resolve("models:/small@candidate").version == "2"
    assert registry.resolve("models:/small@shadow").version == "1"
    newest = find_run(store, "small")
    assert register_run(newest, store, "shadow") == ("small", 2)
    assert [(m.previous, m.version) for m in registry.moves("small", "shadow")] == [
        (None, 1),
        (1, 2),
    ]
    with pytest.raises(ConfigError, match="expected `--alias candidate`, then `fulcrum promote`"):
        register_run(newest, store, "champion")


def test_a_run_stopped_before_its_export_has_no_model_until_it_is_resumed(
    folder, store, monkeypatch
):
    config = load(folder / "small.yaml", ["name=stopped"])
    monkeypatch.setattr(runs, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(config, Options(1, False, Console(quiet=True)))
    stopped = find_run(store, "stopped")
    assert client(store).get_run(stopped.id).info.status == "KILLED"
    with pytest.raises(ConfigError, match="has no model yet: finish it"):
        register_run(stopped, store, None)
    monkeypatch.undo()
    done = take_up(stopped, store, Options(1, False, Console(quiet=True)))
    assert done.model == "models:/stopped/1"
    assert client(store).get_run(stopped.id).info.status == "FINISHED"


def test_resuming_with_other_processes_is_told_what_to_type(run, store):
    with pytest.raises(ConfigError) as caught:
        take_up(run, store, Options(2, False, Console(quiet=True)))
    command = str(caught.value).split("`")[1]
    assert shlex.split(command)[3:] == [run.id, "--tracking", store]


@pytest.mark.slow
def test_it_goes_on_with_what_it_is_told_to_type(folder, store, monkeypatch, caplog):
    """A first phase in two processes, stopped before the second begins."""
    config = load(folder / "small.yaml", ["name=two", "train.pretrain.tasks=[click]"])
    monkeypatch.setattr(runs, "publish", interrupted)
    with caplog.at_level("INFO", "fulcrum"), pytest.raises(KeyboardInterrupt):
        start(config, Options(2, False, Console(quiet=True)))
    stopped = find_run(store, "two")
    for newest in stopped.folder.glob("checkpoints/step-*"):
        shutil.rmtree(newest)
    with pytest.raises(ConfigError) as caught:
        take_up(stopped, store, Options(1, False, Console(quiet=True)))
    command = str(caught.value).split("`")[1]
    assert f"stopped; `{command}` goes on" in caplog.messages
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (None, 0)
    assert client(store).get_run(stopped.id).info.status == "FINISHED"


def interrupted(*_):
    raise KeyboardInterrupt


def test_nothing_is_registered_when_the_graph_disagrees(folder, store, monkeypatch):
    monkeypatch.setattr("fulcrum.serving.publishing.parity.TOLERANCE", -1.0)
    config = load(folder / "small.yaml", ["name=apart"])
    with pytest.raises(ModelError):
        start(config, Options(1, False, Console(quiet=True)))
    with pytest.raises(ModelError, match="no registered model named 'apart'"):
        Registry(store).resolve("models:/apart/1")
    assert client(store).get_run(find_run(store, "apart").id).info.status == "FAILED"


@pytest.mark.slow
def test_a_model_with_tables_of_half_the_size_is_measured_before_it_is_registered(
    folder, store, monkeypatch
):
    config = load(folder / "small.yaml", ["name=half", "serving.tables=fp16"])
    monkeypatch.setattr(rounding, "measure", lambda rounded: {"auc/click": 0.25})
    with pytest.raises(ModelError, match=r"moves auc/click from 0\.\d+ to 0\.25000, by more"):
        start(config, Options(1, False, Console(quiet=True)))
    with pytest.raises(ModelError, match="no registered model named 'half'"):
        Registry(store).resolve("models:/half/1")
    monkeypatch.undo()
    run = find_run(store, "half")
    assert not (run.folder / "bundle").exists()
    assert take_up(run, store, Options(1, False, Console(quiet=True))).model == "models:/half/1"
    graph = onnx.load(str(run.folder / "bundle" / "model.onnx")).graph
    [tables] = [t for t in graph.initializer if t.name == "/tables.weight"]
    assert tables.data_type == onnx.TensorProto.FLOAT16


def test_what_is_reported_is_what_is_served(folder, store, monkeypatch):
    """With a calibration that no data would give: results, figures, segments and the graph."""
    planted = PlattCalibration(slope=0.5, offset=1.0)
    choices = {"logit": planted, "log": NoCalibration()}
    monkeypatch.setattr(fitting, "choose", lambda linked, *_: choices[linked.link])
    monkeypatch.setattr(segments_of, "USERS", 2)
    monkeypatch.setattr(segments_of, "EVENTS", 0)
    config = load(folder / "small.yaml", ["name=planted", "train.calibration.segments=[item]"])
    outcome = start(config, Options(1, False, Console(quiet=True)))
    run = find_run(store, "planted")
    dataset = prepare_dataset(config, Console(quiet=True))
    checkpoint = read_result(run.folder / "checkpoints").checkpoint
    predictions = evaluate(config, dataset, checkpoint)
    assert measure(predictions).items() <= outcome.metrics["planted"].items()
    bundle = Bundle.load(run.folder / "bundle")
    assert bundle.facts["calibration"]["click"] == planted.model_dump()
    [shard] = dataset.shards("test")
    arrays = to_arrays(pl.read_parquet(shard), bundle.state.layout)
    served = Session(bundle.graph, bundle.state.layout, "cpu").run(arrays)
    for name in bundle.state.layout.score_columns:
        found = predictions.column(f"score.{name}")
        np.testing.assert_allclose(served[name], found, rtol=1e-4, atol=1e-5)
    with restore_network(config, dataset, checkpoint) as (model, process):
        assert uncalibrate(model)
        before = predict(model, dataset, "test", process).column("score.click").astype(float)
    by_hand = 1 / (1 + np.exp(-(0.5 * np.log(before / (1 - before)) + 1.0)))
    np.testing.assert_allclose(predictions.column("score.click"), by_hand, rtol=1e-5)
    table = pl.read_csv(run.folder / "segments.csv")
    assert set(table["task"]) == {"click", "watch"} and set(table["feature"]) == {"item"}
    assert "segments.csv" in {f.path for f in client(store).list_artifacts(run.id)}
    assert len(outcome.segments) == len(table)


def test_the_reference_is_as_wide_as_what_a_task_passes():
    shared = {"embedding_dim": 3, "tower": (5,), "dropout": 0.25, "history": "mean"}
    mmoe = single_task(MMoEConfig(experts=9, expert=(7, 6), **shared))
    bottom = single_task(SharedBottomConfig(hidden=(7, 6), **shared))
    assert mmoe == bottom
    assert (mmoe.hidden, mmoe.embedding_dim, mmoe.tower) == ((7, 6), 3, (5,))


def test_no_tower_of_the_reference_hands_anything_on():
    assert single_task(MMoEConfig(chain={"kind": "aitm"})).chain == ESMMConfig()
