"""Groups of a small shop's tasks, and the configs that are written for them."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from fulcrum.features.errors import ConfigError
from fulcrum.models.trunks.home import HoMEConfig
from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.comparison import runs as members
from fulcrum.pipelines.comparison.affinity import Grouping
from fulcrum.pipelines.comparison.contenders import equal_weights
from fulcrum.pipelines.comparison.grouping import group, only, orphans, write_groups, write_home
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.console import terminal
from fulcrum.pipelines.runs import run as runs
from fulcrum.pipelines.tracking.mlflow import PARENT, client, find_run, find_tagged
from tests.integration.shop import write_shop

QUICK = ("--set", "train.epochs=1", "--set", "train.evaluate_every=3")
STORE = "sqlite:///mlruns.db"
CONSOLE = Console(quiet=True)


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    write_shop(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shop.yaml"


def grouping(*groups: tuple[str, ...]) -> Grouping:
    tasks = tuple(task for names in groups for task in names)
    places = [[tasks.index(task) for task in names] for names in groups]
    return Grouping(tasks, np.eye(len(tasks)), places, Path())


APART = grouping(("click", "spend"), ("buy", "verdict"))


def fulcrum(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["fulcrum", *map(str, arguments)])
        patch.setattr(terminal, "results", CONSOLE)
        patch.setattr(terminal, "messages", CONSOLE)
        main()
    return int(stop.value.code or 0)


def killed(*_):
    raise AssertionError("nothing is to be trained")


def test_each_config_keeps_its_own_tasks_only(shop, tmp_path):
    config = load(shop)
    files = write_groups(APART, config, shop, tmp_path / "deep" / "groups")
    assert [file.name for file in files] == ["group-1.yaml", "group-2.yaml"]
    first, second = map(load, files)
    assert (list(first.tasks), list(second.tasks)) == (["click", "spend"], ["buy", "verdict"])
    assert (first.name, second.name) == ("shop-group-1", "shop-group-2")
    rest = {"exclude": {"name", "tasks"}}
    assert first.model_dump(**rest) == second.model_dump(**rest) == config.model_dump(**rest)


def test_a_chain_that_is_cut_is_told_and_left_out(shop, tmp_path):
    config = load(shop)
    assert orphans(config, ["buy", "verdict"]) == ["buy"]
    assert orphans(config, ["buy", "click"]) == []
    _, cut = map(load, write_groups(APART, config, shop, tmp_path))
    assert cut.tasks["buy"] == config.tasks["buy"].model_copy(update={"given": None})
    whole, _ = map(
        load, write_groups(grouping(("click", "buy"), ("spend", "verdict")), config, shop, tmp_path)
    )
    assert whole.tasks["buy"] == config.tasks["buy"]


@pytest.mark.parametrize(
    "section",
    [
        "model: {chain: {kind: aitm}}",
        "model: {chain: {kind: escm2}}",
        "model: {architecture: home, categories: {a: [click, buy], b: [spend, verdict]}}",
        "model: {architecture: home, categories: {a: [click, spend], b: [buy, verdict]}}",
        "weighting: {method: static, weights: {click: 2, buy: 3}}",
        "weighting: {method: preference, preference: {click: 2, buy: 3}}",
        "train: {early_stopping: {metric: auc/click}}",
        "train: {early_stopping: {metric: rmse/spend}}",
        "train: {pretrain: {tasks: [click]}}",
        "train: {pretrain: {tasks: [click, buy]}}",
    ],
)
@pytest.mark.parametrize("groups", [APART, grouping(("click",), ("buy",), ("spend", "verdict"))])
def test_what_the_parent_says_of_other_tasks_is_taken_back(shop, tmp_path, section, groups):
    """`load` refuses whatever speaks of a task that is not there."""
    parent = tmp_path / "parent.yaml"
    parent.write_text(f"extends: shop.yaml\n{section}\n")
    files = write_groups(groups, load(parent), parent, tmp_path)
    assert [list(load(file).tasks) for file in files] == groups.names


def test_what_the_parent_says_of_its_own_tasks_is_kept(shop, tmp_path):
    parent = tmp_path / "parent.yaml"
    parent.write_text(
        "extends: shop.yaml\n"
        "weighting: {method: static, weights: {click: 2, buy: 3}}\n"
        "train: {early_stopping: {metric: auc/click}, pretrain: {tasks: [click, buy]}}\n"
    )
    first, second = map(load, write_groups(APART, load(parent), parent, tmp_path))
    assert (first.weighting.weights, second.weighting.weights) == ({"click": 2}, {"buy": 3})
    assert first.train.early_stopping.metric == "auc/click"
    assert second.train.early_stopping.metric == "loss"
    assert (first.train.pretrain.tasks, second.train.pretrain.tasks) == (("click",), ("buy",))


def test_home_has_a_category_for_each_group(shop, tmp_path):
    file = write_home(APART, load(shop), shop, tmp_path / "home.yaml")
    config = load(file)
    assert isinstance(config.model, HoMEConfig)
    expected = {"group_1": ("click", "spend"), "group_2": ("buy", "verdict")}
    assert config.model.categories == expected
    assert (config.model.embedding_dim, config.model.tower) == (4, (4,))
    again = write_home(grouping(tuple(config.tasks)), config, file, tmp_path / "again.yaml")
    assert load(again).model.categories == {"group_1": tuple(config.tasks)}


@pytest.mark.parametrize(
    ("change", "count", "message"),
    [
        ("tasks: {buy: null, spend: null, verdict: null}", None, "there is one task"),
        ("name: shop", 5, "--groups 5: there are 4 tasks"),
        ("model: {architecture: single_task}", None, "share nothing"),
        ("data: {split: {kind: time, test: 0.3, valid: 0}}", None, "no validation split"),
    ],
)
def test_what_cannot_be_grouped_is_refused_before_data_are_read(shop, change, count, message):
    wrong = shop.with_name("wrong.yaml")
    wrong.write_text(f"extends: shop.yaml\n{change}\n")
    with pytest.raises(ConfigError, match=message):
        group(load(wrong), count, CONSOLE)
    assert not shop.with_name(".fulcrum").exists()


def test_only_says_nothing_that_need_not_be_said(shop):
    config = load(shop)
    assert only(config, list(config.tasks), 1) == {"name": "shop-group-1", "tasks": {}}


@pytest.mark.parametrize(
    "section",
    [
        "weighting: {method: upgrad}",
        "weighting: {method: static, weights: {click: 2}}",
        "regulariser: {kind: sam}",
    ],
)
def test_gradients_are_compared_under_equal_weights_alone(shop, section):
    """What the run asks for instead is left out, under another name."""
    changed = shop.with_name("asked.yaml")
    changed.write_text(f"extends: shop.yaml\n{section}\n")
    plain = load(shop)
    assert equal_weights(plain) is plain
    expected = plain.model_copy(update={"name": "shop-equal-weights"})
    assert equal_weights(load(changed)) == expected


@pytest.mark.slow
def test_a_group_of_the_shop_is_trained(shop, monkeypatch):
    monkeypatch.setattr(runs, "draw", lambda *_: None)
    assert fulcrum("group", shop, *QUICK, "--groups", "2", "--out", "groups", "--train") == 0
    models = {model.name for model in client(STORE).search_registered_models()}
    assert models == {"shop-group-1", "shop-group-2"}
    assert find_run(STORE, "shop-group-2").finished


def test_the_command_trains_once(shop, monkeypatch):
    """And asks the same training for other groups."""
    monkeypatch.setattr(runs, "draw", lambda *_: None)
    home = shop.with_name("home.yaml")
    assert fulcrum("group", shop, *QUICK, "--home", home) == 0
    parent = find_run(STORE, "group")
    [training] = find_tagged(STORE, {PARENT: parent.id})
    assert (training.name, training.finished) == ("shop", True)
    assert client(STORE).search_registered_models() == []
    table = pl.read_csv(parent.folder / "affinity.csv")
    matrix = table.drop("task").to_numpy()
    assert table["task"].to_list() == table.columns[1:] == list(load(shop).tasks)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (np.abs(matrix) <= 1 + 1e-6).all()
    assert isinstance(load(home).model, HoMEConfig)
    written = [file.name for file in parent.folder.glob("group-*.yaml")]
    assert written
    monkeypatch.setattr(members, "start", killed)
    for count in (1, 3):
        out = shop.with_name(f"groups-{count}")
        assert fulcrum("group", shop, *QUICK, "--groups", count, "--out", out) == 0
        assert len(list(out.iterdir())) == count
    assert len(find_tagged(STORE, {})) == 2
    files = {file.path for file in client(STORE).list_artifacts(parent.id)}
    assert {"affinity.csv", "figures"} <= files
