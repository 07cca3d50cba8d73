"""Weighted training where the law is known, and what its config refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.config import rules
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.yaml_text import dump
from fulcrum.pipelines.designs import LoggedRows
from fulcrum.testing.designs import ADAPTER, DesignContract
from tests.pipelines.designs.worlds import CELLS, NAMES, Known, chance, document, laws

DOCUMENT = {"propensity": {"features": ["item"]}}
WEIGHTED = ADAPTER.validate_python({"arm": "treatment", **DOCUMENT})
SPLITTING = ADAPTER.validate_python({"arm": "treatment", "design": "splitting"})


class TestWeighted(DesignContract):
    def document(self):
        return DOCUMENT

    def test_is_what_a_map_without_a_design_means(self):
        assert self.config().design == "weighted"


def world(rows, share, seed=0):
    """Rows that arms deal and show by their laws: arms, cells, and rows with the true chance."""
    random = np.random.default_rng(seed)
    control, treatment = laws()
    arm = (random.random(rows) < share).astype(int)
    shown = [random.choice(CELLS, rows, p=law) for law in (control, treatment)]
    cell = np.where(arm == 1, shown[1], shown[0])
    true = chance(cell, share, control, treatment)
    return arm, cell, Known(NAMES, arm, np.ones(rows, bool), true, (1 - share, share))


@given(st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_with_the_true_chance_weights_are_bounded_and_share_out_each_row(share, seed):
    _, _, rows = world(50, share, seed)
    weights = WEIGHTED.weights(rows)
    assert (weights >= 0).all()
    assert (weights[:, 1] <= 1 / share).all() and (weights[:, 0] <= 1 / (1 - share)).all()
    assert share * weights[:, 1] + (1 - share) * weights[:, 0] == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_with_the_true_chance_weighted_means_are_the_arms_own(share):
    _, cell, rows = world(100_000, share)
    y = np.random.default_rng(1).normal(np.sin(cell), 1.0)
    weights, cells = WEIGHTED.weights(rows), np.arange(CELLS)
    mean = np.sin(cells)
    for h, by_cell in (
        (y, mean),
        (y**2, mean**2 + 1.0**2),
        (np.cos(cell) * y, np.cos(cells) * mean),
        ((cell == 3).astype(float), (cells == 3).astype(float)),
    ):
        for k, law in enumerate(laws()):
            weighted = weights[:, k] * h
            se = weighted.std() / np.sqrt(len(weighted))
            assert abs(weighted.mean() - law @ by_cell) < 4 * se


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_a_weighted_mean_varies_less_than_splitting_by_the_known_difference(share):
    """Var(Z/p h) - Var(W h) = E[e (1 - e) h^2] / p^2 for one row (Si, arXiv 2310.17496, theorem on
    least variance); the mean of n rows has 1/n of it."""
    replications, rows = 2000, 200
    _, cell, log = world(replications * rows, share)
    h = 3 + np.cos(cell)
    means = {
        design: (design.weights(log)[:, 1] * h).reshape(replications, rows).mean(1)
        for design in (WEIGHTED, SPLITTING)
    }
    weighted, splitting = (means[design].var(ddof=1) for design in (WEIGHTED, SPLITTING))
    control, treatment = laws()
    mixture = share * treatment + (1 - share) * control
    e = share * treatment / mixture
    known = mixture @ (e * (1 - e) * (3 + np.cos(np.arange(CELLS))) ** 2) / share**2 / rows
    assert weighted < splitting
    assert splitting - weighted == pytest.approx(known, rel=0.1)


def test_arms_that_are_alike_weigh_all_rows_1():
    arm = np.array([0, 1, 1, 0, 1])
    rows = Known(NAMES, arm, np.ones(5, bool), np.tile([0.4, 0.6], (5, 1)), (0.4, 0.6))
    assert (WEIGHTED.weights(rows) == 1).all()


def test_arms_that_share_nothing_are_split():
    arm = np.array([0, 1, 1, 0, 1])
    rows = Known(NAMES, arm, np.ones(5, bool), np.eye(2)[arm], (0.4, 0.6))
    assert (WEIGHTED.weights(rows) == SPLITTING.weights(rows)).all()


REFUSALS = [
    (["itme"], {}, "there is no feature `itme`; did you mean `item`?"),
    (["user"], {}, "`user` tells who the user is: it reads the unit `user_id`"),
    (["pair"], {}, "`pair` tells who the user is: it reads the unit `user_id`"),
    (
        ["group"],
        {"group": {"kind": "categorical", "column": "hashed"}},
        "reads the unit `user_id` through `hashed`, whose arm never changes",
    ),
    (["sum"], {"sum": {"kind": "expression", "sql": "user_id * 2"}}, "reads the unit `user_id`"),
    (
        ["clicks"],
        {"clicks": {"kind": "window", "key": "user_id", "statistic": "count"}},
        "`clicks` looks back at what `user_id` did",
    ),
    (
        ["seen"],
        {"seen": {"kind": "history", "key": "hashed", "attributes": ["item"]}},
        "`seen` looks back at what `user_id` did through `hashed`",
    ),
    (
        ["which"],
        {"which": {"kind": "categorical", "column": "arm"}},
        "`which` reads the arm itself",
    ),
]


@pytest.mark.parametrize(("features", "added", "message"), REFUSALS)
def test_features_that_tell_the_arm_whatever_is_shown_are_refused(
    features, added, message, tmp_path
):
    whole = document(tmp_path)
    whole["data"]["derive"] = {"hashed": "user_id % 7"}
    whole["features"] |= added
    whole["experiment_design"]["propensity"]["features"] = ["item", *features]
    file = tmp_path / "run.yaml"
    file.write_text(dump(whole))
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value).startswith(f"{file}:")
    assert "experiment_design.propensity.features.1: " in str(error.value)
    assert message in str(error.value)


def test_a_unit_that_is_derived_is_told_by_what_it_is_derived_from(tmp_path):
    whole = document(tmp_path)
    whole["data"]["derive"] = {
        "who": "CAST(user_id AS VARCHAR)",
        "house": "item * 1000 + user_id",
    }
    whole["data"]["arms"]["unit"] = "who"
    whole["experiment_design"]["propensity"]["features"] = ["user"]
    file = tmp_path / "run.yaml"
    file.write_text(dump(whole))
    with pytest.raises(ConfigError, match="reads the unit `who` through `user_id`"):
        load(file)
    # Of several columns, each alone tells less.
    whole["data"]["arms"]["unit"] = "house"
    file.write_text(dump(whole))
    load(file)


def test_looking_back_by_what_is_shown_is_allowed(tmp_path):
    whole = document(tmp_path)
    whole["features"]["shown"] = {"kind": "window", "key": "item", "statistic": "count"}
    whole["experiment_design"]["propensity"]["features"] = ["shown"]
    file = tmp_path / "run.yaml"
    file.write_text(dump(whole))
    assert rules.problems(load(file)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": "treatment"}, "experiment_design.propensity: missing"),
        ({"propensity": {"features": ["item"]}}, "experiment_design.arm: missing"),
        (
            {"arm": "treatment", "design": "poolling"},
            "experiment_design.design: is 'poolling'; expected one of `weighted`, `pooling`, "
            "`splitting`, `snapshot`; did you mean `pooling`?",
        ),
        (
            {"arm": "treatment", "design": "pooling", "propensity": {"features": ["item"]}},
            "experiment_design.propensity: unknown key",
        ),
        (
            {"arm": "treatment", "propensity": {"features": ["item"], "kind": "forest"}},
            "experiment_design.propensity.kind: is 'forest'; expected one of `mlp`, `logistic`",
        ),
        (
            {"arm": "treatment", "propensity": {"features": ["item"], "folds": 1}},
            "experiment_design.propensity.folds: is 1; expected at least 2",
        ),
    ],
)
def test_a_wrong_key_is_told_with_its_place(change, message, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(dump(document(tmp_path, experiment_design=change)))
    with pytest.raises(ConfigError) as error:
        load(file)
    assert message in str(error.value)


def test_an_override_reaches_a_design_that_names_none(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(dump(document(tmp_path)))
    changed = load(file, ["experiment_design.arm=control", "experiment_design.propensity.folds=3"])
    assert changed.experiment_design.arm == "control"
    assert changed.experiment_design.propensity.folds == 3
    pooled = load(file, ["experiment_design.design=pooling"])
    assert pooled.experiment_design.model_dump() == {"design": "pooling", "arm": "treatment"}


def test_a_row_of_a_ramp_weighs_by_the_share_of_its_window():
    """Treatment has 5 % of the first window and half of the second: in each the weighted rows have
    the arms' own laws, and the shares' mean of weights is 1."""
    parts = [world(50_000, share, seed) for seed, share in enumerate((0.05, 0.5))]
    arm, cell, true = (
        np.concatenate(column)
        for column in zip(*((a, c, rows.chance) for a, c, rows in parts), strict=True)
    )
    window = np.repeat([0, 1], 50_000)
    rows = LoggedRows(NAMES, arm, np.ones(len(arm), bool), true, window=window)
    weights = WEIGHTED.weights(rows)
    for number in (0, 1):
        part = window == number
        shares = np.bincount(arm[part]) / part.sum()
        assert weights[part] @ shares == pytest.approx(1, abs=0.05)
        for k, law in enumerate(laws()):
            found = np.bincount(cell[part], weights[part, k], CELLS) / weights[part, k].sum()
            assert found == pytest.approx(law, abs=0.01)
    own = SPLITTING.weights(rows)[np.arange(len(arm)), arm]
    assert own.sum() == pytest.approx(2 * len(arm))
