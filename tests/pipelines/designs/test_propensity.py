"""P(arm | row): cross-fitted by unit, calibrated, and what its weights do."""

import math
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from fulcrum.features.errors import DataError
from fulcrum.features.prepared.prepare import prepare
from fulcrum.pipelines.designs import propensity
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig
from fulcrum.pipelines.designs.design_matrix import design_matrix
from fulcrum.pipelines.designs.propensity import Propensity, effective, fit
from tests.pipelines.designs.worlds import CELLS, chance, laws, run, write_log

LOGISTIC = PropensityConfig(features=("x",), kind="logistic", calibrate="sigmoid")
MLP = PropensityConfig(features=("x",), hidden=(32,), folds=3)


def world(units=100, each=20, seed=0, share=0.5):
    """Cells that two arms show by their laws, as one-hot inputs: inputs, arms, units, cells."""
    random = np.random.default_rng(seed)
    unit = np.repeat(np.arange(units), each)
    treated = unit < share * units
    shown = [random.choice(CELLS, len(unit), p=law) for law in laws()]
    cell = np.where(treated, shown[1], shown[0])
    inputs = csr_matrix(np.eye(CELLS, dtype=np.float32)[cell])
    return inputs, np.where(treated, "treatment", "control"), unit, cell


def one_arm_a_row(arms):
    return np.arange(30) % arms


@given(st.integers(2, 5), st.integers(0, 2**31))
def test_weights_of_any_chance_are_bounded_and_share_out_each_row(arms, seed):
    judged = np.random.default_rng(seed).dirichlet(np.ones(arms), 30)
    found = Propensity(tuple("abcde"[:arms]), judged, one_arm_a_row(arms))
    weights = found.weights()
    assert (weights >= 0).all() and (weights <= 1 / found.shares * (1 + 1e-12)).all()
    assert weights @ found.shares == pytest.approx(1, abs=1e-12)


@given(arrays(float, 50, elements=st.floats(0.0, 2.0)))
def test_effective_sizes_lie_between_1_row_and_all(weights):
    size = effective(weights)
    assert 0 <= size <= 1 + 1e-12
    if weights.max() > 1e-3:
        assert size >= 1 / 50 * (1 - 1e-12)
        assert effective(3 * weights) == pytest.approx(size)


def test_effective_sizes_at_both_ends():
    arm = np.array([0, 0, 0, 1])
    alike = Propensity(("c", "t"), np.tile([0.75, 0.25], (4, 1)), arm)
    apart = Propensity(("c", "t"), np.eye(2)[arm], arm)
    assert (alike.effective("t"), alike.effective("c")) == (1, 1)
    assert (apart.effective("t"), apart.effective("c")) == (1 / 4, 3 / 4)
    assert alike.log_loss == pytest.approx(alike.entropy)
    assert alike.entropy == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert (apart.log_loss, apart.outside, apart.overlap) == (0, 1, 0)
    assert (alike.outside, alike.overlap) == (0, 1)


@pytest.mark.parametrize(
    ("config", "calibrate"), [(LOGISTIC, "isotonic"), (LOGISTIC, "sigmoid"), (MLP, "isotonic")]
)
def test_finds_the_chance_of_a_known_world(config, calibrate):
    inputs, arms, units, cell = world(400, 20)
    found = fit(inputs, arms, units, config.model_copy(update={"calibrate": calibrate}))
    true = chance(cell, 0.5, *laws())
    constant = np.abs(0.5 - true).mean()
    assert found.names == ("control", "treatment")
    assert np.abs(found.chance - true).mean() < 0.2 * constant
    assert found.weights().mean(0) == pytest.approx(1, abs=0.02)
    best = -np.log(true[np.arange(len(cell)), found.arm]).mean()
    assert best < found.log_loss < found.entropy
    assert found.log_loss - best < 0.1 * (found.entropy - best)
    for k, arm in enumerate(found.names):
        assert found.effective(arm) == pytest.approx(effective(true[:, k]), abs=0.03)


def test_the_area_is_that_of_all_pairs_and_its_interval_holds_it():
    inputs, arms, units, _ = world(60, 10)
    found = fit(inputs, arms, units, LOGISTIC)
    score, treated = found.chance[:, 1], found.arm == 1
    difference = score[treated][:, None] - score[~treated][None]
    assert found.auc == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean())
    assert 0.5 < found.auc_low < found.auc < found.auc_high < 1


def test_three_arms_have_three_chances_and_no_area():
    inputs, _, units, cell = world(90, 10)
    arms = np.array(["a", "b", "c"])[units % 3]
    inputs = inputs.multiply((cell + units % 3)[:, None] % 2).tocsr()
    found = fit(inputs, arms, units, LOGISTIC)
    assert found.names == ("a", "b", "c") and found.auc is None
    assert found.chance.sum(1) == pytest.approx(1, abs=1e-12)
    assert found.weights().mean(0) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "config", [LOGISTIC, MLP.model_copy(update={"epochs": 2})], ids=["logistic", "mlp"]
)
def test_a_row_is_judged_without_any_row_of_its_unit(config):
    """Change one row of a unit: its other rows must be judged as before, to the bit, while rows of
    other units that were judged with it in hand are not."""
    inputs, arms, units, _ = world(30, 10)
    before = fit(inputs, arms, units, config).chance
    dense = inputs.toarray()
    dense[0] = 5.0
    after = fit(csr_matrix(dense), arms, units, config).chance
    own, others = units == units[0], units != units[0]
    assert (after[own][1:] == before[own][1:]).all()
    assert (after[others] != before[others]).any()


def test_no_model_sees_a_unit_that_it_judges(monkeypatch):
    inputs, arms, units, _ = world(30, 10)
    # The unit rides along as a column of its own.
    marked = csr_matrix(np.hstack([inputs.toarray(), units[:, None]]))
    judged = []

    class Watched:
        def __init__(self, seen):
            self.seen = seen

        def predict_proba(self, rows):
            told = set(rows[:, -1].toarray()[:, 0])
            assert not told & self.seen
            judged.extend(told)
            return np.tile([0.5, 0.5], (rows.shape[0], 1))

    def classifiers(inputs, arm, unit, config, seed):
        return [Watched(set(inputs[:, -1].toarray()[:, 0]))]

    monkeypatch.setattr(propensity, "classifiers", classifiers)
    fit(marked, arms, units, LOGISTIC)
    assert sorted(judged) == sorted(set(units))


def test_folds_are_drawn_from_the_seed():
    inputs, arms, units, _ = world(30, 10)
    one, same = (fit(inputs, arms, units, LOGISTIC).chance for _ in range(2))
    assert (one == same).all()
    assert (fit(inputs, arms, units, LOGISTIC, seed=1).chance != one).any()


def test_arms_that_change_names_change_weights():
    inputs, arms, units, _ = world(60, 10)
    swapped = np.where(arms == "control", "treatment", "control")
    one, other = (fit(inputs, each, units, LOGISTIC).weights() for each in (arms, swapped))
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-3)


def test_features_that_say_nothing_give_weights_of_1():
    _, arms, units, _ = world(200, 10)
    nothing = csr_matrix(np.ones((len(arms), 1), np.float32))
    found = fit(nothing, arms, units, LOGISTIC)
    assert found.weights() == pytest.approx(1, abs=0.01)
    assert found.effective("treatment") == pytest.approx(1, abs=1e-3)
    assert found.auc_low <= 0.5 or found.auc < 0.5


def test_arms_that_share_nothing_are_told_apart_for_certain():
    _, arms, units, _ = world(40, 10)
    apart = csr_matrix(np.where(arms == "control", -1.0, 1.0)[:, None].astype(np.float32))
    found = fit(apart, arms, units, LOGISTIC.model_copy(update={"calibrate": "isotonic"}))
    assert found.chance == pytest.approx(np.eye(2)[found.arm], abs=1e-6)
    assert found.effective("treatment") == pytest.approx(found.shares[1], abs=1e-6)


def test_who_the_user_is_collapses_a_model_that_sees_its_own_rows_to_splitting():
    """Without folds by unit, the identity of users tells every arm; with them, it tells nothing of
    users that no model has seen."""
    _, arms, units, _ = world(40, 20, share=0.25)
    identity = csr_matrix(np.eye(40, dtype=np.float32)[units])
    rows = np.arange(len(arms))
    found = fit(identity, arms, rows, LOGISTIC.model_copy(update={"calibrate": "isotonic"}))
    assert found.effective("treatment") == pytest.approx(0.25, abs=0.01)
    judged = fit(identity, arms, units, LOGISTIC)
    assert judged.effective("treatment") > 0.95


def test_what_the_arm_left_in_a_users_past_collapses_it_even_with_folds_by_unit():
    _, arms, units, _ = world(40, 20, share=0.25)
    random = np.random.default_rng(0)
    past = np.where(arms == "treatment", 4.0, -4.0) + random.normal(size=len(arms))
    found = fit(csr_matrix(past[:, None].astype(np.float32)), arms, units, LOGISTIC)
    assert found.effective("treatment") == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("arms", "units", "message"),
    [
        (["a"] * 40, range(40), "the rows are of 1 arm; expected two or more"),
        (["a", "b"] * 20, [0] * 2 + list(range(1, 39)), "1 units are in several arms"),
        (
            ["a"] * 31 + ["b"] * 9,
            range(40),
            "arm `b` has 9 units; 5 folds by unit need at least 10",
        ),
    ],
)
def test_tests_that_cannot_be_judged_are_refused(arms, units, message):
    inputs = csr_matrix(np.ones((40, 1), np.float32))
    with pytest.raises(DataError, match=re.escape(message)):
        fit(inputs, np.array(arms), np.array(units), LOGISTIC)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    log = write_log(folder / "log.parquet", rows=300, users=20)
    log = log.with_columns(
        tags=pl.Series([["x", "y"][: n % 3] for n in range(300)]),
        price=pl.when(pl.col("row") % 7 > 0).then("price"),
    )
    log.write_parquet(folder / "log.parquet")
    config = run(folder, experiment_design=None)
    features = {
        "item": {"kind": "categorical"},
        "price": {"kind": "numeric", "transform": "raw"},
        "tags": {"kind": "multi"},
        "hashed": {"kind": "categorical", "column": "row", "hash_buckets": 5000},
    }
    config = type(config).model_validate(config.model_dump() | {"features": features})
    return prepare(config, folder / "work")


def test_the_matrix_has_numbers_standardised_and_ids_one_hot(dataset):
    matrix = design_matrix(dataset, ["price", "item", "tags"]).toarray()
    sizes = {table.name: table.rows for table in dataset.state.layout.tables}
    assert matrix.shape == (300, 2 + sizes["item"] + sizes["tags"])
    assert matrix[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert matrix[:, 0].std() == pytest.approx(1, abs=1e-5)
    items = matrix[:, 2 : 2 + sizes["item"]]
    assert (items.sum(1) == 1).all() and set(np.unique(items)) == {0, 1}
    tags = matrix[:, 2 + sizes["item"] :]
    assert set(np.unique(tags.sum(1))) == {0, 1}
    frame = pl.read_parquet(
        [s for split in ("train", "valid", "test") for s in dataset.shards(split)]
    )
    assert items.argmax(1).tolist() == frame["item"].to_list()


def test_large_tables_are_folded(dataset):
    matrix = design_matrix(dataset, ["hashed"])
    assert matrix.shape == (300, 4096) and (matrix.sum(1) == 1).all()


def test_the_matrix_refuses_what_is_no_feature(dataset):
    with pytest.raises(DataError, match="there is no feature `itme`; did you mean `item`"):
        design_matrix(dataset, ["itme"])
