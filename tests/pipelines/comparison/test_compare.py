"""A comparison of three small networks, through the command line."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from rich.console import Console

from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.comparison import compare, cost
from fulcrum.pipelines.comparison import runs as members
from fulcrum.pipelines.config.load import fingerprint
from fulcrum.pipelines.config.run import TrackingConfig
from fulcrum.pipelines.console import terminal
from fulcrum.pipelines.runs import run as runs
from fulcrum.pipelines.runs.kept_config import kept_config
from fulcrum.pipelines.tracking.mlflow import (
    CONFIG,
    DATA,
    FOLDER,
    PARENT,
    MlflowTracker,
    client,
    find_run,
    find_tagged,
    start_run,
)
from tests.pipelines.comparison.test_page import Parsed
from tests.pipelines.runs.test_run import YAML, write_log
from tests.pipelines.small_runs import small_run

NETWORKS = {
    "mmoe": "{architecture: mmoe, embedding_dim: 4, experts: 2, expert: [8], tower: [4]}",
    "bottom": "{architecture: shared_bottom, embedding_dim: 4, hidden: [8], tower: [4]}",
    "alone": "{architecture: single_task, embedding_dim: 4, hidden: [8], tower: [4]}",
}
WEIGHTS = "weighting: {method: static, weights: {click: 2}}\n"
LABELS = ["mmoe", "bottom", "alone", "mmoe-equal-weights"]
TASKS = {"click": ("auc", "grouped_auc"), "watch": ("rmse", "mae")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The configs of a log; pictures of single runs are left out."""
    folder = tmp_path_factory.mktemp("compare")
    write_log(folder / "log.parquet")
    before, _, after = YAML.format(folder=folder).partition("model:")
    rest = after.partition("\n")[2]
    for name, model in NETWORKS.items():
        text = before.replace("name: small", f"name: log-{name}")
        (folder / f"{name}.yaml").write_text(f"{text}model: {model}\n{WEIGHTS}{rest}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "draw", lambda *_: None)
        patch.setattr(cost, "ROUNDS", 2)
        yield folder


@pytest.fixture(scope="module")
def store(folder):
    return f"sqlite:///{folder}/store.db"


def fulcrum(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["fulcrum", *map(str, arguments)])
        patch.setattr(terminal, "results", Console(quiet=True))
        patch.setattr(terminal, "messages", Console(quiet=True))
        main()
    return int(stop.value.code or 0)


def compared(folder: Path, *options: str) -> int:
    return fulcrum("compare", *(folder / f"{name}.yaml" for name in NETWORKS), *options)


def killed(*_):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def begun(folder, store) -> dict[str, str]:
    """A comparison that was killed in its second run; the status of each run by name."""
    calls = []
    look = runs._look

    def second(*arguments):
        calls.append(arguments)
        return killed() if len(calls) == 2 else look(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_look", second)
        assert compared(folder) != 0
    mlflow = client(store)
    parent = find_run(store, "compare").id
    members = find_tagged(store, {PARENT: parent})
    states = {run.name: mlflow.get_run(run.id).info.status for run in members}
    return {**states, "compare": mlflow.get_run(parent).info.status}


@pytest.fixture(scope="module")
def finished(folder, begun) -> Path:
    """The same command again, until it is done: the folder of its page."""
    del begun
    assert compared(folder) == 0
    [page] = folder.glob("work/runs/*/compare.html")
    return page.parent


def table(folder: Path) -> pl.DataFrame:
    return pl.read_csv(folder / "compare.csv", schema_overrides={"seed": pl.String})


def test_a_killed_comparison_leaves_its_runs(begun):
    assert begun == {"log-mmoe": "FINISHED", "log-bottom": "KILLED", "compare": "KILLED"}


def test_started_again_it_goes_on(finished, folder, store):
    """One run for each network, and one for the comparison: nothing was trained twice."""
    del folder
    mlflow = client(store)
    everything = mlflow.search_runs([e.experiment_id for e in mlflow.search_experiments()])
    names = sorted(run.info.run_name for run in everything)
    assert names == sorted(["compare", *(f"log-{name}" for name in LABELS)])
    assert {run.info.status for run in everything} == {"FINISHED"}
    parent = find_run(store, "compare")
    children = find_tagged(store, {PARENT: parent.id})
    assert {run.name for run in children} == {f"log-{name}" for name in LABELS}
    assert parent.folder == finished


def test_nothing_is_exported_or_registered(finished, store):
    assert client(store).search_registered_models() == []
    assert list(finished.parent.glob("*/bundle")) == []
    assert all(not run.finished or run.folder.exists() for run in find_tagged(store, {}))


def test_a_finished_comparison_trains_nothing(finished, folder, store, monkeypatch, caplog):
    """And writes the same numbers over the old ones."""
    before, runs_before = table(finished), len(find_tagged(store, {}))
    monkeypatch.setattr(members, "start", killed)
    monkeypatch.setattr(members, "take_up", killed)
    with caplog.at_level(logging.INFO, "fulcrum.pipelines.comparison.runs"):
        assert compared(folder) == 0
    messages = [r.getMessage() for r in caplog.records if " of 4: " in r.getMessage()]
    assert [line.rpartition(",")[0] for line in messages] == [
        f"{number} of 4: {name}, seed 0, as it was" for number, name in enumerate(LABELS, 1)
    ]
    after = table(finished)
    assert len(find_tagged(store, {})) == runs_before
    measured = pl.col("task").is_not_null()
    assert after.filter(measured).equals(before.filter(measured))


def test_the_table_is_tidy(finished):
    rows = table(finished)
    assert rows["network"].unique(maintain_order=True).to_list() == LABELS
    metrics = rows.filter(pl.col("task").is_not_null())
    assert metrics.filter(pl.col("seed") == "0").height == len(LABELS) * 4
    assert metrics.filter(pl.col("seed") == "mean").height == len(LABELS) * 4
    keys = set(metrics.select("task", "metric").iter_rows())
    assert keys == {(task, metric) for task, names in TASKS.items() for metric in names}
    sign = pl.when(pl.col("metric").is_in(["rmse", "mae"])).then(-1).otherwise(1)
    gains = metrics.select((sign * (pl.col("value") - pl.col("single_task"))).alias("gain"))
    assert gains["gain"].to_list() == pytest.approx(metrics["gain"].to_list(), abs=1e-12)
    numbers = metrics.select("value", "single_task", "gain", "low", "high")
    one_seed = metrics["seed"] == "0"
    assert numbers.filter(one_seed).drop("low", "high").null_count().sum_horizontal().item() == 0
    assert (
        numbers.filter(one_seed).select("low", "high").null_count().row(0) == (one_seed.sum(),) * 2
    )
    means = numbers.filter(~one_seed)
    assert means.null_count().sum_horizontal().item() == 0
    assert means.select(pl.all().is_finite().all()).row(0) == (True,) * 5
    assert metrics["mark"].null_count() == metrics.height, "one seed marks nothing"
    alone = metrics.filter((pl.col("network") == "alone") & (pl.col("seed") == "mean"))
    assert alone.select("gain", "low", "high").unique().rows() == [(0.0, 0.0, 0.0)]


def test_costs_are_in_the_table(finished):
    places = ["mean gain, %", "first rank", "last rank"]
    facts = table(finished).filter(pl.col("task").is_null())
    assert facts.filter(pl.col("metric").is_in(places)).height == 3 * len(LABELS)
    costs = facts.filter(~pl.col("metric").is_in(places))
    assert costs["metric"].n_unique() == 6
    assert costs.height == 6 * len(LABELS)
    assert costs.filter(pl.col("value") <= 0).is_empty()
    of = {
        (network, what): value
        for network, what, value in costs.select("network", "metric", "value").iter_rows()
    }
    assert of["alone", "parameters of tables"] == 2 * of["mmoe", "parameters of tables"]
    assert of["alone", "scoring rate over single-task"] == 1


def test_a_network_is_measured_as_the_run_measured_it(finished, store):
    rows = table(finished).filter(pl.col("seed") == "0")
    for network in LABELS:
        logged = client(store).get_run(find_run(store, f"log-{network}").id).data.metrics
        cells = rows.filter(pl.col("network") == network)
        for task, metric, value in cells.select("task", "metric", "value").iter_rows():
            assert value == pytest.approx(logged[f"test/{metric}/{task}"], abs=1e-9)


def test_the_page_is_whole(finished):
    page = Parsed((finished / "compare.html").read_text())
    assert page.open == []
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.loaded)
    assert len(page.loaded) == 2
    assert {"nan", "None", "inf", "nan]"}.isdisjoint(page.words)
    assert set(LABELS) <= set(page.words)
    assert "(user)" in page.words  # what is drawn


def test_the_comparison_keeps_its_files_and_gains(finished, store):
    parent = find_run(store, "compare").id
    files = {file.path for file in client(store).list_artifacts(parent)}
    assert {"compare.html", "compare.csv", "figures"} <= files
    metrics = client(store).get_run(parent).data.metrics
    assert {"gain/mmoe/click", "gain/bottom/watch", "mean_gain_percent/mmoe"} <= set(metrics)
    del finished


def test_more_seeds_add_runs_and_a_spread(finished, folder, store):
    before = {run.id for run in find_tagged(store, {})}
    assert compared(folder, "--seeds", "2") == 0
    added = [run for run in find_tagged(store, {}) if run.id not in before]
    assert len(added) == 1 + len(LABELS)
    [page] = set(folder.glob("work/runs/*/compare.html")) - {finished / "compare.html"}
    assert set(table(page.parent)["seed"].drop_nulls()) == {"0", "1", "mean"}
    assert "±" in page.read_text()


def test_an_unfair_comparison_is_one_message(folder, capsys):
    mmoe = (folder / "mmoe.yaml").read_text()
    (folder / "long.yaml").write_text(
        mmoe.replace("log-mmoe", "log-long").replace("epochs: 2", "epochs: 3")
    )
    assert fulcrum("compare", folder / "mmoe.yaml", folder / "long.yaml") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("train.epochs is 2 in log-mmoe, 3 in log-long: ")


def test_a_run_that_was_trained_by_itself_stays_one(tmp_path):
    """A comparison takes it as it is, and becomes the parent of the runs of others."""
    uri = f"sqlite:///{tmp_path}/store.db"
    run = small_run().model_copy(update={"tracking": TrackingConfig(uri=uri)})
    dataset = SimpleNamespace(fingerprint="0" * 16)
    tags = {CONFIG: fingerprint(run), DATA: dataset.fingerprint, FOLDER: tmp_path}
    for before, after in ((None, None), ("old", "new")):
        run_id = start_run(uri, "e", "small", before)
        with MlflowTracker(uri, run_id) as tracker:
            tracker.log_tags(tags)
        assert members.finished(run, dataset, "new", Console(quiet=True))[0].id == run_id
        assert tracker.tag(PARENT) == after


def test_what_a_network_is_made_of_is_told():
    tasks = small_run().tasks
    bottom = small_run().model_copy(update={"tasks": {"click": tasks["click"]}})
    assert compare._settings(bottom) == "mmoe, static"
    assert compare._settings(small_run()) == "mmoe + esmm, static"


@pytest.mark.slow
def test_of_trials_the_best_by_validation_is_measured(finished, folder, store):
    """Trials of two epochs are there already; those of one are trained, and not again."""
    del finished
    before, pages = len(find_tagged(store, {})), set(folder.glob("work/runs/*/compare.html"))
    configs = [folder / f"{name}.yaml" for name in ("mmoe", "alone")]
    for added in (1 + 3, 0):
        assert fulcrum("compare", *configs, "--sweep", "train.epochs=[1,2]") == 0
        assert len(find_tagged(store, {})) == before + added
        before += added
    [page] = set(folder.glob("work/runs/*/compare.html")) - pages
    assert "Every network had the same 2 trials" in page.read_text()
    for name, run in table(page.parent).drop_nulls("run").select("network", "run").unique().rows():
        told = page.read_text().partition(f'<tr><th>{name}</th><td class="left">')[2]
        epochs = kept_config(find_run(store, run)).train.epochs
        assert told.partition("</td>")[0].endswith(f"; train.epochs {epochs}")


@pytest.fixture(scope="module")
def weighed(folder, finished) -> Path:
    """One of the networks, already trained, with other weightings: the folder of its page."""
    before = set(folder.glob("work/runs/*/compare.html"))
    configs = [folder / f"{name}.yaml" for name in ("mmoe", "alone")]
    assert fulcrum("compare", *configs, "--weightings", "uncertainty,upgrad") == 0
    [page] = set(folder.glob("work/runs/*/compare.html")) - before
    del finished
    return page.parent


def test_weightings_are_an_axis(weighed, store):
    rows = table(weighed)
    control, others = "mmoe-equal-weights", {"mmoe", "mmoe+uncertainty", "mmoe+upgrad"}
    assert set(rows["network"]) == others | {control, "alone"}
    gains = rows.filter((pl.col("over") == control) & (pl.col("seed") == "mean"))
    assert set(gains["network"]) == others
    assert set(gains.filter(pl.col("task").is_null())["metric"]) == {"mean gain, %"}
    gains = gains.filter(pl.col("task").is_not_null())
    assert set(gains["metric"]) == {"auc", "grouped_auc", "log_loss", "rmse", "mae"}
    value = {(n, t, m): v for n, t, m, v in rows.select(*rows.columns[:1], *rows.columns[2:5])
             .filter(pl.col("task").is_not_null()).iter_rows()}  # fmt: skip
    for network, task, metric, gain in gains.select(
        "network", "task", "metric", "gain"
    ).iter_rows():
        sign = 1 if metric in ("auc", "grouped_auc") else -1
        change = sign * (value[network, task, metric] - value[control, task, metric])
        assert gain == pytest.approx(change, abs=1e-12)
    paces = rows.filter(pl.col("metric") == "time of a training step over static")
    assert set(paces["network"]) == others and paces["value"].min() > 0
    assert find_run(store, "log-mmoe+upgrad").finished


def test_the_balance_is_on_the_page(weighed, finished):
    page = Parsed((weighed / "compare.html").read_text())
    assert page.open == [] and len(page.loaded) == 3
    assert {"nan", "None", "inf"}.isdisjoint(page.words)
    assert "Balance" in page.words
    assert "Balance" not in Parsed((finished / "compare.html").read_text()).words


def test_an_unknown_weighting_is_one_message(folder, capsys):
    assert fulcrum("compare", folder / "mmoe.yaml", "--weightings", "upgrat") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("no weighting `upgrat`; did you mean `upgrad`?")
