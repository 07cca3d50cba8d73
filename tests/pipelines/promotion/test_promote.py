"""Candidates that were really trained, at the gate of a real registry."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from fulcrum.features.errors import ModelError, StateError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.promotion import promote as gate
from fulcrum.pipelines.promotion.promote import Promotion, promote
from fulcrum.pipelines.promotion.scores import of_keys
from fulcrum.pipelines.runs.graph_scores import graph_scores
from fulcrum.pipelines.runs.run import Options, start
from fulcrum.pipelines.tracking.mlflow import client, find_run
from fulcrum.serving.publishing.registry import Registry
from tests.pipelines.quality.arrays import arrays

YAML = """\
name: {name}
workspace: {folder}/work
data:
  events: {folder}/{log}.parquet
  time: {{column: t, unit: s, earliest: 1970-01-01}}
  outcomes: [click, like]
  keys: [row]
  group: user
  split: {{kind: time, valid: 0.1, test: 0.3}}
features:
  user: {{kind: categorical}}
  item: {{kind: categorical}}
  clicks: {{kind: window, key: user, statistic: count, where: click = 1}}
tasks:
  click: {{kind: binary, label: click}}
  like: {{kind: binary, label: like}}
model: {{architecture: shared_bottom, embedding_dim: 4, hidden: [8], tower: [4]}}
train: {{epochs: 6, batch_size: 64, precision: fp32, dense: {{lr: 0.02}}, sparse: {{lr: 0.2}}}}
tracking: {{uri: "sqlite:///{folder}/store.db", experiment: gate}}
"""
ROWS, TRAIN = 1500, 900
QUIET = Console(quiet=True)
numbers = count()


def write_logs(folder: Path) -> None:
    """The same log four times: as it is, with clicks said by another column, with clicks that
    training sees the wrong way round, and with likes that it sees shuffled."""
    random = np.random.default_rng(0)
    user, item = random.integers(0, 30, ROWS), random.integers(0, 20, ROWS)
    log = pl.DataFrame(
        {
            "row": np.arange(ROWS),
            "t": np.sort(random.integers(0, 100_000, ROWS)),
            "user": user,
            "item": item,
            "click": (random.random(ROWS) < 0.2 + 0.5 * (item % 2)).astype(int),
            "like": (random.random(ROWS) < 0.2 + 0.5 * (user % 2)).astype(int),
        }
    )
    early = pl.int_range(pl.len()) < TRAIN + 150
    shuffled = pl.Series(random.permutation(log["like"].to_numpy()))
    for name, column in {
        "plain": [],
        "leak": [pl.col("click").alias("hint")],
        "inverted": [pl.when(early).then(1 - pl.col("click")).otherwise("click").alias("click")],
        "dull": [pl.when(early).then(shuffled).otherwise("like").alias("like")],
    }.items():
        log.with_columns(column).write_parquet(folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    write_logs(folder)
    return folder


@pytest.fixture(scope="module")
def store(folder):
    return f"sqlite:///{folder}/store.db"


@pytest.fixture(scope="module")
def train(folder, store):
    """A run by the name of its log and its seed, trained when it is first asked for."""
    runs: dict[tuple[str, int], str] = {}

    def run(log: str, seed: int = 0) -> str:
        if (log, seed) not in runs:
            name = f"{log}-{seed}"
            text = YAML.format(folder=folder, name=name, log=log)
            if log == "leak":
                text = text.replace("features:\n", "features:\n  hint: {kind: numeric}\n")
            (folder / f"{name}.yaml").write_text(text)
            start(load(folder / f"{name}.yaml", [f"train.seed={seed}"]), Options(1, False, QUIET))
            runs[log, seed] = find_run(store, name).id
        return runs[log, seed]

    return run


@pytest.fixture
def model(train, store):
    """Registers runs as the versions of a new model, and gives its name; the last is candidate."""

    def register(*logs: tuple[str, int]) -> str:
        name, registry = f"model-{next(numbers)}", Registry(store)
        for log in logs:
            version = registry.register(f"runs:/{train(*log)}/model", name)
            registry.set_alias(name, "candidate", version)
        return name

    return register


def broken(promotion: Promotion) -> list[str]:
    return [finding.rule for finding in promotion.findings if not finding.holds]


def champion(store: str, name: str) -> int | None:
    return Registry(store).aliased(name, "champion")


def page(store: str, name: str, version: int) -> tuple[str, dict[str, str]]:
    found = client(store).get_model_version(name, str(version))
    return found.description, found.tags


@pytest.mark.slow
def test_the_first_is_measured_against_a_constant_and_the_next_against_it(model, store):
    """The same network with another seed is noise."""
    name = model(("plain", 0), ("plain", 1))
    first = promote(store, name, QUIET, version=1)
    assert (first.promoted, broken(first)) == (True, [])
    assert "measured against a constant" in first.said
    second = promote(store, name, QUIET)
    assert (second.promoted, broken(second)) == (True, [])
    assert "measured against version 1" in second.said
    assert champion(store, name) == 2
    again = promote(store, name, QUIET)
    assert again.promoted and "already" in again.said
    moves = Registry(store).moves(name, "champion")
    assert [(move.previous, move.version) for move in moves] == [(None, 1), (1, 2)]


def test_an_auc_below_that_of_a_constant_is_refused_and_the_page_says_why(model, store, train):
    name = model(("inverted", 0))
    done = promote(store, name, QUIET)
    assert not done.promoted
    assert "better than a constant" in broken(done)
    assert champion(store, name) is None
    text, tags = page(store, name, 1)
    assert tags["fulcrum.gate"] == "refused"
    assert "better than a constant" in tags["fulcrum.gate.reasons"]
    assert "| better than a constant | **no** | AUC of click 0." in text
    assert "| task | metric | this version | constant |" in text
    run = train("inverted", 0)
    files = {Path(file.path).name for file in client(store).list_artifacts(run, "promotion")}
    assert files == {"promotion.md", "promotion.json", "gains.png"}


@pytest.mark.slow
def test_a_feature_that_is_the_label_is_refused_by_its_name(model, store):
    done = promote(store, model(("leak", 0)), QUIET)
    [finding] = [f for f in done.findings if f.rule == "not too good to be true"]
    assert not done.promoted and not finding.holds
    assert "click has an AUC of " in finding.seen and "feature `hint` alone" in finding.seen


@pytest.mark.slow
def test_a_loss_in_one_task_is_refused_whatever_the_other_does(model, store):
    """The champion is of other data: it scores the rows from the log."""
    name = model(("plain", 0), ("dull", 0))
    assert promote(store, name, QUIET, version=1).promoted
    done = promote(store, name, QUIET)
    [finding] = [f for f in done.findings if f.rule == "no worse than the champion"]
    assert not done.promoted and not finding.holds
    assert "AUC of like" in finding.seen and "click" not in finding.seen
    assert "on 450 rows" in finding.seen
    assert champion(store, name) == 1


def test_a_champion_scores_the_same_from_the_log_as_from_prepared_rows(model, store, folder):
    name = model(("plain", 0))
    bundle = Registry(store).resolve(f"models:/{name}/1").bundle
    config = load(folder / "plain-0.yaml")
    prepared = PreparedDataset.open(folder / "work" / "prepared" / bundle.state.fingerprint)
    ours = arrays(graph_scores(bundle.graph, prepared, "test"))
    found, places = of_keys(bundle, config.data, prepared, "test")
    theirs = arrays(found)
    assert places.tolist() == list(range(450))
    assert np.abs(ours.scores - theirs.scores).max() < 1e-5
    assert (ours.labels == theirs.labels).all()


def test_force_is_kept_with_the_version(model, store):
    name = model(("inverted", 0))
    client(store).update_model_version(name, "1", "What a person wrote.")
    promote(store, name, QUIET)
    done = promote(store, name, QUIET, force="the shop is closed anyway")
    assert done.promoted and champion(store, name) == 1
    text, tags = page(store, name, 1)
    assert text.startswith("What a person wrote.\n\n## Promotion\n\nForced past the gate")
    assert text.count("## Promotion") == 1
    assert "| better than a constant | **no** |" in text
    assert tags["fulcrum.gate"] == "forced"
    assert tags["fulcrum.gate.force"] == "the shop is closed anyway"


@pytest.mark.parametrize("step", ["describe", "set_alias"])
def test_killed_in_between_it_is_no_champion_and_can_be_done_again(model, store, monkeypatch, step):
    name = model(("plain", 0))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, step, killed)
        with pytest.raises(KeyboardInterrupt):
            promote(store, name, QUIET)
    assert champion(store, name) is None
    assert promote(store, name, QUIET).promoted
    assert champion(store, name) == 1
    assert len(Registry(store).moves(name, "champion")) == 1


def test_of_two_at_once_the_second_meets_the_first(model, store):
    name = model(("plain", 0), ("plain", 1))
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(promote, store, name, QUIET, version=v) for v in (1, 2)]
        assert all(job.result().promoted for job in jobs)
    last = champion(store, name)
    first = 3 - last
    assert page(store, name, first)[1]["fulcrum.gate.against"] == "a constant"
    assert page(store, name, last)[1]["fulcrum.gate.against"] == f"version {first}"
    moves = Registry(store).moves(name, "champion")
    assert [(move.previous, move.version) for move in moves] == [(None, first), (first, last)]


def test_data_that_are_gone_are_an_error_and_with_force_a_reason(model, store, monkeypatch):
    name = model(("plain", 0))

    def gone(*_):
        raise StateError("the prepared data are gone")

    monkeypatch.setattr(gate, "_prepared", gone)
    with pytest.raises(StateError, match="are gone"):
        promote(store, name, QUIET)
    assert page(store, name, 1)[0] in (None, "")
    assert promote(store, name, QUIET, force="back to what worked").promoted
    assert "the prepared data are gone" in page(store, name, 1)[0]


def test_there_must_be_a_candidate(model, store):
    name = model(("plain", 0))
    with pytest.raises(ModelError, match="no registered model named"):
        promote(store, f"{name}s", QUIET)
    client(store).delete_registered_model_alias(name, "candidate")
    with pytest.raises(ModelError, match="no such alias"):
        promote(store, name, QUIET)


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fulcrum", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0), *capsys.readouterr()


def test_a_scheduler_reads_the_exit_code(model, store, folder, monkeypatch, capsys):
    name, here = model(("inverted", 0)), ("--tracking", store)
    code, printed, _ = run(monkeypatch, capsys, "promote", name, *here)
    assert code == 3 and "Refused by the gate" in printed
    code, printed, said = run(monkeypatch, capsys, "promote", name, *here, "--force", " ")
    assert (code, printed) == (2, "") and "expected the reason" in said
    code, printed, _ = run(monkeypatch, capsys, "promote", name, *here, "--force", "a drill")
    assert code == 0 and "(a drill)" in printed and "is @champion" in printed


def test_training_may_end_at_the_gate(train, store, monkeypatch, capsys):
    run_id = train("plain", 0)
    options = ("--resume", run_id, "--promote", "--tracking", store)
    code, printed, said = run(monkeypatch, capsys, "train", *options)
    assert code == 0, said
    assert "models:/plain-0/1 is @champion" in printed
    report = find_run(store, run_id).folder / "promotion" / "promotion.json"
    assert all(rule["holds"] for rule in json.loads(report.read_text())["rules"])
