"""What a trained shop is told of its features, and of boosting on them."""

from types import SimpleNamespace

import polars as pl
import psutil
import pytest

from fulcrum.pipelines.tracking.mlflow import find_run
from fulcrum.serving.publishing.mlflow_store import client
from fulcrum.serving.publishing.store import STORE

pytestmark = pytest.mark.slow
TASKS = ("click", "buy", "spend", "verdict")


def test_importance_is_told_and_kept_with_the_run(fulcrum, shop):
    done = fulcrum("evaluate", "shop", "--importance")
    assert done.code == 0, done.stderr
    assert "mean of 3 permutations over the rows" in done.stdout
    folder = find_run(STORE, "shop").folder
    table = pl.read_csv(folder / "importance_test.csv")
    assert set(table["task"]) == set(TASKS)
    assert {"user", "liked", "speed, speed_bucket", "clicks"} <= set(table["features"])
    first = table.filter(pl.col("task") == "click").sort("loss", descending=True)
    assert first["features"][0] in {"item", "item_rate"}  # odd items are clicked
    picture = folder / "figures" / "importance_test.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    artifacts = {file.path for file in client(STORE).list_artifacts(find_run(STORE, "shop").id)}
    assert "importance_test.csv" in artifacts


@pytest.mark.parametrize("model", [(), ("--model", "models:/shop/1")])
def test_boosting_stands_beside_the_network(fulcrum, shop, model):
    done = fulcrum("baseline", "shop.yaml", *model)
    assert done.code == 0, done.stderr
    network = model[1] if model else "shop"
    said = ("beats boosting", "falls short of boosting", "and boosting cannot be told apart")
    for task in TASKS:
        [line] = [row for row in done.stdout.splitlines() if row.startswith(f"{task}: ")]
        assert any(f"{task}: {network} {words}" in line for words in said), line
    assert "boosting" in done.stdout
    assert "constant" in done.stdout


def test_without_a_run_boosting_stands_alone_and_says_how_to_get_one(fulcrum, shop):
    done = fulcrum("baseline", "shop.yaml", "--set", "train.seed=9")
    assert done.code == 0, done.stderr
    assert "no finished run of this config on these data" in done.stdout


def test_a_model_of_other_features_is_refused(fulcrum, shop):
    changed = ("--set", "features.shelf.hash_buckets=9", "--model", "models:/shop/1")
    done = fulcrum("baseline", "shop.yaml", *changed)
    assert done.code == 2
    assert "models:/shop/1 was made from other data or features" in done.stderr


def test_rows_that_do_not_fit_into_memory_are_refused(fulcrum, shop, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1))
    done = fulcrum("baseline", "shop.yaml")
    assert done.code == 2
    assert "boosting holds all rows at once" in done.stderr


def test_a_training_without_a_feature_says_what_it_is_worth(fulcrum, shop):
    done = fulcrum("evaluate", "shop", "--leave-out", "speed")
    assert done.code == 0, done.stderr
    assert "Without speed, speed_bucket, on the test split" in done.stdout
    without = find_run(STORE, "shop-without-speed-speed_bucket")
    assert "speed" not in (without.folder / "config.yaml").read_text().partition("features:")[2]
    assert not (without.folder / "bundle").exists()  # neither exported nor registered
    again = fulcrum("evaluate", "shop", "--leave-out", "speed_bucket")
    assert find_run(STORE, "shop-without-speed-speed_bucket").id == without.id
    assert again.stdout.splitlines()[-6:] == done.stdout.splitlines()[-6:]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("speeed", "there is no feature `speeed`; did you mean `speed`?"),
        ("item", "features.liked.attributes.0: expected a categorical feature"),
    ],
)
def test_what_cannot_be_left_out_is_one_message(fulcrum, shop, names, message):
    done = fulcrum("evaluate", "shop", "--leave-out", names)
    assert done.code == 2
    assert message in done.stderr.splitlines()[-1]
