"""Who is in which arm: stable, in the shares that were asked for, each hash by itself."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from fulcrum.features.values.hashing import hash_series
from fulcrum.serving.experiments.assignment import assign, instance, unit_texts
from tests.serving.small_experiments import experiment

UNITS = [str(i) for i in range(20_000)]
LEAST_P = 1e-4
"""The units are fixed, so a test fails always or never."""


def deal(units, config):
    """Arm and instance of each unit."""
    frame = pl.DataFrame({"unit": units}, schema={"unit": pl.String})
    frame = frame.with_columns(arm=assign(pl.col("unit"), config))
    return frame.with_columns(instance=instance(pl.col("unit"), pl.col("arm"), config))


def of_shares(*shares, models=1, **changes):
    names = ("control", "treatment", "third", "fourth")
    uris = [f"models:/m@{i}" for i in range(models)]
    arms = dict(zip(names, ({"share": s, "models": uris} for s in shares), strict=False))
    return experiment(arms=arms, **changes)


SHARES = st.lists(st.integers(1, 20), min_size=2, max_size=4).map(
    lambda parts: [part / sum(parts) for part in parts]
)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=20)


@settings(deadline=None, max_examples=30)
@given(units=TEXTS, shares=SHARES, salt=st.text(max_size=5), traffic=st.floats(0.01, 1))
def test_a_unit_has_one_arm_whoever_comes_with_it(units, shares, salt, traffic):
    config = of_shares(*shares, salt=salt, traffic=traffic, models=3)
    together = deal(units, config)
    alone = [deal([unit], config).row(0) for unit in units]
    assert list(together.iter_rows()) == alone
    assert set(together["arm"]) <= {*config.arms, None}
    assert together.filter(pl.col("arm").is_null() != pl.col("instance").is_null()).is_empty()
    assert set(together["instance"].drop_nulls()) <= {0, 1, 2}


@settings(deadline=None)
@given(
    units=TEXTS,
    shares=SHARES,
    traffics=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
)
def test_a_ramp_up_brings_units_in_and_moves_none(units, shares, traffics):
    few, more = (deal(units, of_shares(*shares, models=2, traffic=t)) for t in traffics)
    inside = few["arm"].is_not_null()
    assert few.filter(inside).equals(more.filter(inside))


def test_all_traffic_leaves_nobody_out_and_null_is_nobody():
    arms = deal([*UNITS, None], of_shares(0.1, 0.9))["arm"]
    assert arms[:-1].null_count() == 0
    assert arms[-1] is None


@pytest.mark.parametrize("traffic", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.2, 0.8), (0.1, 0.2, 0.3, 0.4)])
def test_arms_and_traffic_have_their_shares(traffic, shares):
    config = of_shares(*shares, traffic=traffic)
    arms = deal(UNITS, config)["arm"]
    inside = len(UNITS) - arms.null_count()
    if traffic < 1:
        expected = [len(UNITS) * traffic, len(UNITS) * (1 - traffic)]
        assert chisquare([inside, len(UNITS) - inside], expected).pvalue > LEAST_P
    counts = [(arms == name).sum() for name in config.arms]
    assert chisquare(counts, [inside * share for share in shares]).pvalue > LEAST_P


def independent(one, other):
    table = pl.DataFrame({"one": one, "other": other}).to_dummies()
    counts = [
        [int((table[a] * table[b]).sum()) for b in table.columns if b.startswith("other")]
        for a in table.columns
        if a.startswith("one")
    ]
    return chi2_contingency(counts).pvalue > LEAST_P


def test_traffic_arm_and_instance_are_independent_and_so_are_salts():
    config = of_shares(0.3, 0.7, models=4, salt="a")
    whole, half = deal(UNITS, config), deal(UNITS, config.model_copy(update={"traffic": 0.5}))
    inside = half["arm"].is_not_null()
    assert independent(inside, whole["arm"])
    assert independent(inside, whole["instance"])
    assert independent(whole["arm"], whole["instance"])
    other = deal(UNITS, config.model_copy(update={"salt": "b"}))
    assert independent(whole["arm"], other["arm"])
    assert not independent(whole["arm"], whole["arm"])


def test_the_name_is_the_salt_of_an_experiment_without_one():
    named, salted = of_shares(0.5, 0.5), of_shares(0.5, 0.5, name="other", salt="test")
    assert deal(UNITS, named).equals(deal(UNITS, salted))
    assert not deal(UNITS, named).equals(deal(UNITS, of_shares(0.5, 0.5, name="other")))


def test_neither_the_order_of_arms_nor_the_number_of_instances_moves_a_unit():
    config = of_shares(0.2, 0.3, 0.5)
    turned = config.model_copy(update={"arms": dict(reversed(config.arms.items()))})
    assert deal(UNITS, config).equals(deal(UNITS, turned))
    assert deal(UNITS, config)["arm"].equals(deal(UNITS, of_shares(0.2, 0.3, 0.5, models=5))["arm"])


def test_a_deal_is_three_salted_hashes_and_never_changes():
    """Users keep their arms when the software is replaced."""

    def place(unit, what):
        seed = np.uint64(hash_series(pl.Series([f"s:{what}"]))[0])
        return hash_series(pl.Series([unit]), seed)[0]

    config = of_shares(0.3, 0.7, models=10, salt="s", traffic=0.6)
    found = deal(UNITS[:200], config)
    for unit, arm, number in found.iter_rows():
        inside = (place(unit, "traffic") >> 11) / 2**53 < 0.6
        expected = "control" if (place(unit, "arm") >> 11) / 2**53 < 0.3 else "treatment"
        assert arm == (expected if inside else None)
        assert number == (place(unit, "instance") % 10 if inside else None)
    assert list(deal(["1", "anna"], of_shares(0.5, 0.5, models=10, salt="s")).iter_rows()) == [
        ("1", "treatment", 4),
        ("anna", "control", 5),
    ]


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_number_is_the_same_unit_in_every_form(number):
    assert len(set(unit_texts([number, str(number), float(number)], "units[{}]"))) == 1


def test_units_are_the_text_that_features_make_of_them():
    values = [12, "12", 12.0, 0.5, -0.0, 2**53, "é", -(2**63)]
    units = unit_texts(values, "units[{}]").to_list()
    assert units == ["12", "12", "12", "0.5", "0", str(2**53), "é", str(-(2**63))]
