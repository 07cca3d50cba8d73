"""Whether rows tell their arm: alike, different, apart, and what may not be asked."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.ab.analysis.facts import Interference
from fulcrum.pipelines.ab.analysis.interference import describe, panel
from fulcrum.pipelines.ab.log.experiment import problems
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.designs.propensity import Propensity
from tests.pipelines.ab.logs import analysed, experiment, log

ITEM = {"item": {"kind": "categorical"}}


def panel_of(
    rows: pl.DataFrame, folder: Path, features: Any = ITEM, **changes: Any
) -> Interference:
    rows.write_parquet(folder / "log.parquet")
    test = experiment(interference={"features": features, "folds": 2}, **changes)
    staged_log = stage([str(folder / "log.parquet")], test, folder)
    return panel(staged_log, gather(staged_log, test), test, folder)


def test_arms_that_show_the_same_are_not_told_apart(tmp_path: Path) -> None:
    judged = panel_of(log(users=400), tmp_path)
    assert judged.auc_low is not None and judged.auc_low < 0.5
    assert min(judged.effective.values()) > 0.97
    assert judged.overlap == 1
    [sentence] = judged.sentences
    assert sentence.endswith("the arms are not shown to make different training data.")


def test_a_planted_preference_is_found_and_named(tmp_path: Path) -> None:
    """Treatment shows item 0 in half of its rows. Rows that each arm logs are as many, so by Bayes
    P(treatment | item 0) = (.5 + .025) / (.5 + .025 + .05) and .025 / .075 elsewhere."""
    rows = log(users=800, favoured=0.5)
    features = {"country": {"kind": "categorical"}, **ITEM}
    judged = panel_of(rows, tmp_path, features)
    share = judged.shares["treatment"]
    favoured, other = 0.525 * share, 0.025 * share
    chances = np.array(
        [favoured / (favoured + 0.05 * (1 - share)), other / (other + 0.05 * (1 - share))]
    )
    mass = np.array([favoured + 0.05 * (1 - share), 1 - favoured - 0.05 * (1 - share)])
    loss = -float(mass @ (chances * np.log(chances) + (1 - chances) * np.log(1 - chances)))
    assert judged.log_loss == pytest.approx(loss, abs=0.02)
    effective = share**2 / float(mass @ chances**2)
    assert judged.effective["treatment"] == pytest.approx(effective, abs=0.03)
    assert list(judged.features) == ["item", "country"]
    assert judged.features["item"] > 0.1 > 0.01 > judged.features["country"]
    assert "the arms show different things" in judged.sentences[0]
    assert "takes away by itself: item (" in judged.sentences[1]


def test_shares_weights_and_bins_add_up(tmp_path: Path) -> None:
    judged = panel_of(log(users=300, favoured=0.3), tmp_path)
    assert list(judged.shares) == ["control", "treatment"]
    assert sum(judged.shares.values()) == pytest.approx(1)
    assert sum(judged.histogram) == pytest.approx(1)
    mean = sum(judged.shares[arm] * judged.mean_weight[arm] for arm in judged.shares)
    assert mean == pytest.approx(1)
    for arm, share in judged.shares.items():
        assert share <= judged.effective[arm] <= 1
        assert 1 <= judged.largest_weight[arm] <= 1 / share


def test_arms_that_overlap_nowhere_are_told_with_what_parts_them(tmp_path: Path) -> None:
    rows = log(users=200).with_columns(page=pl.col("arm").str.to_uppercase())
    features = {**ITEM, "page": {"kind": "categorical"}}
    judged = panel_of(rows, tmp_path, features)
    assert judged.overlap < 0.01
    for arm, share in judged.shares.items():
        assert judged.effective[arm] == pytest.approx(share, abs=0.01)
    [apart] = [sentence for sentence in judged.sentences if "overlap nowhere" in sentence]
    assert "kept apart by page alone" in apart


@pytest.mark.parametrize(("moved", "words"), [(0.0, []), (0.1, ["mean 1.200", "by more than"])])
def test_a_guess_that_is_off_is_called_so(moved: float, words: list[str]) -> None:
    """Half of the rows are of arm b with chance .2, half with .8; `moved` is added to all."""
    right = np.repeat([0.2, 0.8], 5000)
    arm = (np.arange(10_000) % 10 < 10 * right).astype(int)
    chance = np.stack([1 - right - moved, right + moved], axis=1)
    judged = Propensity(("a", "b"), chance, arm, 0.8, 0.79, 0.81)
    sentences = describe(judged, np.arange(len(arm)), ["a", "b"], {"item": 0.3}, [], []).sentences
    assert len(sentences) == 3 + (3 if words else 0)
    assert all(any(word in sentence for sentence in sentences) for word in words)


def test_a_value_of_one_unit_each_is_warned_of(tmp_path: Path) -> None:
    rows = log(users=100).with_columns(device=pl.col("user_id") * 7)
    judged = panel_of(rows, tmp_path, {**ITEM, "device": {"kind": "categorical"}})
    assert judged.sentences[-1].startswith("Most values of device belong to one unit")


def test_derived_columns_side_tables_and_past_events_are_prepared(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    pl.DataFrame({"item": range(20), "kind": ["a", "b"] * 10}).write_csv(table)
    log_config = {
        "time": {"column": "time"},
        "tables": {"items": {"path": str(table), "key": "item"}},
        "derive": {"hour": "extract(hour from time)", "double": "2 * watch"},
    }
    features = {
        "kind": {"kind": "categorical"},
        "hour": {"kind": "categorical"},
        "seen": {"kind": "window", "key": "item", "statistic": "count", "over": "2d"},
    }
    metrics = {"watch": {"kind": "mean", "value": "double", "role": "primary"}}
    judged = panel_of(log(users=150), tmp_path, features, log=log_config, metrics=metrics)
    assert set(judged.features) == set(features)
    assert judged.rows == len(log(users=150))


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"kind": "categorical", "column": "user_id"}, "tells who the user is: it reads the unit"),
        ({"kind": "categorical", "column": "twin"}, "unit `user_id` through `twin`, whose arm"),
        ({"kind": "categorical", "column": "arm"}, "reads the arm itself"),
        ({"kind": "numeric", "column": "click"}, "reads the outcome `click`; expected what was"),
        (
            {"kind": "history", "key": "user_id", "attributes": ["fine"]},
            "looks back at what `user_id` did, and the arm chose what that was",
        ),
    ],
)
def test_what_tells_the_arm_whatever_is_shown_is_refused(feature: Any, message: str) -> None:
    test = experiment(
        log={"time": {"column": "time"}, "derive": {"twin": "user_id * 2"}},
        interference={
            "features": {"fine": {"kind": "categorical", "column": "item"}, "x": feature}
        },
    )
    [problem] = problems(test)
    assert problem.path == ("analysis", "interference", "features", "x")
    assert message in problem.message


def test_a_history_of_items_is_no_history_of_users() -> None:
    popular = {"kind": "window", "key": "item", "statistic": "count", "over": "2d"}
    assert problems(experiment(interference={"features": {"seen": popular}})) == []


def test_few_units_are_told_in_a_note(tmp_path: Path) -> None:
    """Everything else is answered."""
    test = experiment(interference={"features": ITEM, "folds": 5})
    judged = analysed(log(users=16), tmp_path, test)
    assert judged.interference is None
    note = judged.notes[-1]
    assert "units; 5 folds by unit need at least 10" in note
    with pytest.raises(ConfigError):
        panel_of(log(users=16), tmp_path, {"user_id": {"kind": "categorical"}})


def test_it_is_refused_beside_clusters() -> None:
    test = experiment(
        interference={"features": ITEM}, log={"time": {"column": "time"}, "cluster": "person"}
    )
    [problem] = problems(test)
    assert problem.path == ("analysis", "interference")
    assert problem.message.startswith("not beside `analysis.log.cluster`")
