"""Checks before effects: each alarms at what it is for, and at nothing else."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis.checks.balance import standardised
from fulcrum.pipelines.ab.analysis.facts import Check, Facts
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.statistics.users import Users
from tests.pipelines.ab.logs import BEGAN, analysed, experiment, log

TREATED = pl.col("arm") == "treatment"


def checks(rows: pl.DataFrame, folder: Path, test: Experiment | None = None) -> dict[str, Check]:
    return {check.name: check for check in analysed(rows, folder, test).checks}


def failing(results: dict[str, Check]) -> list[str]:
    return [name for name, check in results.items() if not check.holds]


def test_a_fair_test_passes_them_all(tmp_path: Path) -> None:
    results = checks(log(users=1000, before=7), tmp_path, experiment(pre_period={"until": BEGAN}))
    assert list(results) == [
        "sample ratio",
        "sample ratio by day",
        "sample ratio along the way",
        "one arm a unit",
        "repeated rows",
        "rows by unit",
        "balance before the test",
    ]
    assert failing(results) == []


def test_units_that_are_lost_are_a_broken_deal(tmp_path: Path) -> None:
    rows = log(users=2000).filter(~TREATED | (pl.col("user_id") % 4 > 0))
    results = checks(rows, tmp_path)
    assert "sample ratio" in failing(results)
    assert results["sample ratio"].stops
    assert results["sample ratio"].numbers["p_value"] < 0.001


def test_a_filter_that_loses_units_of_one_arm_is_seen_after_it(tmp_path: Path) -> None:
    where = "arm = 'control' or country <> 'jp'"
    test = experiment(log={"time": {"column": "time"}, "where": where})
    results = checks(log(users=2000), tmp_path, test)
    assert results["sample ratio"].holds
    assert not results["sample ratio after filters"].holds


@pytest.mark.parametrize(("share", "holds"), [(0.008, True), (0.03, False)])
def test_rows_of_nobody_are_told_and_many_of_them_stop(
    share: float, holds: bool, tmp_path: Path
) -> None:
    rows = log(users=2000).cast({"user_id": pl.String})
    count = round(share * len(rows))
    nobody = pl.when(pl.int_range(pl.len()) < count).then(pl.lit("")).otherwise("user_id")
    rows = rows.sample(fraction=1, shuffle=True, seed=0).with_columns(nobody.alias("user_id"))
    check = checks(rows, tmp_path)["rows of nobody"]
    assert (check.holds, check.stops) == (holds, True)
    assert check.numbers == {"rows": count, "share": count / len(rows)}
    assert f"{count:,} of {len(rows):,} rows of the test name nobody in `user_id`" in check.sentence
    assert ("leave them out knowingly by `analysis.log.where`" in check.sentence) != holds
    knowing = experiment(log={"time": {"column": "time"}, "where": "user_id <> ''"})
    assert "rows of nobody" not in checks(rows, tmp_path, knowing)


def test_one_day_of_a_broken_deal_is_named(tmp_path: Path) -> None:
    """As many units in all, but on the second day one arm alone."""
    rows = log(users=4000, days=1)
    other = pl.when(pl.col("user_id") % 5 == 0, ~TREATED).then(1).otherwise(0)
    wrong = rows.filter(~((pl.col("user_id") % 5 == 0) & TREATED))
    wrong = wrong.with_columns(pl.col("time") + other * pl.duration(days=1))
    results = checks(wrong, tmp_path)
    assert "not as designed in " in results["sample ratio by day"].sentence
    assert "2024-03-05" in results["sample ratio by day"].sentence


def test_a_segment_of_a_broken_deal_is_named(tmp_path: Path) -> None:
    """Among the units of one country a quarter of treatment's are lost."""
    rows = log(users=9000, days=1)
    lost = TREATED & (pl.col("user_id") % 12 == 2)
    test = experiment(segments={"country": "country"})
    results = checks(rows.filter(~lost), tmp_path, test)
    assert "sample ratio by country" in failing(results)
    assert results["sample ratio by country"].sentence.startswith(
        "By country, 3 values: not as designed in jp (smallest p "
    )
    assert failing(checks(rows, tmp_path, test)) == []


def test_shares_that_were_declared_are_those_that_count(tmp_path: Path) -> None:
    rows = log(users=2000).filter(~TREATED | (pl.col("user_id") % 4 == 0))
    test = experiment()
    arms = {"control": {"share": 0.8}, "treatment": {"share": 0.2}}
    declared = Experiment.model_validate(test.model_dump() | {"arms": arms})
    assert failing(checks(rows, tmp_path, declared)) == []
    assert "sample ratio" in failing(checks(rows, tmp_path, test))


def test_repeated_rows_are_counted_and_doubted(tmp_path: Path) -> None:
    rows = log(users=300)
    twice = pl.concat([rows, rows.head(len(rows) // 10)])
    results = checks(twice, tmp_path)
    assert failing(results) == ["repeated rows"]
    assert results["repeated rows"].numbers["rows"] == len(rows) // 10
    assert not results["repeated rows"].stops


def test_outcomes_that_one_arm_loses_are_doubted(tmp_path: Path) -> None:
    rows = log(users=600)
    lost = pl.when(TREATED, pl.col("item") < 5).then(None).otherwise("click").alias("click")
    results = checks(rows.with_columns(lost), tmp_path)
    assert failing(results) == ["missing outcomes of ctr"]
    share = rows.filter(TREATED).select((pl.col("item") < 5).mean()).item()
    assert results["missing outcomes of ctr"].numbers["share.treatment"] == pytest.approx(share)


def test_outcomes_that_both_arms_lose_alike_are_told_only(tmp_path: Path) -> None:
    lost = pl.when(pl.col("item") < 5).then(None).otherwise("click").alias("click")
    results = checks(log(users=600).with_columns(lost), tmp_path)
    assert failing(results) == []
    assert "alike" in results["missing outcomes of ctr"].sentence


def before(users: int, more: float) -> pl.DataFrame:
    """Treatment clicked more before the test began."""
    early = pl.col("time") < pl.lit(BEGAN).str.to_datetime()
    return log(users=users, before=7).with_columns(
        pl.when(early, TREATED).then(pl.col("click") + more).otherwise("click").alias("click")
    )


def test_arms_that_differed_before_are_doubted(tmp_path: Path) -> None:
    test = experiment(pre_period={"until": BEGAN})
    results = checks(before(1000, 0.1), tmp_path, test)
    assert failing(results) == ["balance before the test"]
    assert "not alike" in results["balance before the test"].sentence


def test_what_chance_explains_in_a_small_test_is_no_alarm(tmp_path: Path) -> None:
    """With 20 users an arm, chance alone makes .1 standard deviations nearly always."""
    results = checks(log(users=40, before=7), tmp_path, experiment(pre_period={"until": BEGAN}))
    numbers = results["balance before the test"].numbers
    assert abs(numbers["standardised_difference.ctr (treatment)"]) > 0.1
    assert results["balance before the test"].holds


def test_a_doubt_is_why_nothing_is_decided(tmp_path: Path) -> None:
    rows = log(users=300)
    facts: Facts = analysed(pl.concat([rows, rows]), tmp_path)
    doubt = (
        "treatment: keep running. In doubt, because a check failed (repeated rows); ctr, so far, "
    )
    assert facts.headline.startswith(doubt)
    assert not facts.withheld and not facts.sound


@pytest.mark.parametrize("until", ["2024-03-04", "2020-01-01"])
def test_a_missing_pre_period_is_told_and_nothing_is_adjusted(until: str, tmp_path: Path) -> None:
    facts = analysed(log(users=200), tmp_path, experiment(pre_period={"until": until}))
    assert facts.notes[0] == (
        f"The log has no row from before {until}, so there is no pre-period: effects are not "
        "adjusted, and balance before the test is not checked."
    )
    assert facts.judged[0].cuped is None


def test_a_pre_period_of_other_users_is_told(tmp_path: Path) -> None:
    rows = log(users=200)
    others = rows.with_columns(
        pl.col("user_id") + 10_000,
        pl.col("time") - pl.duration(days=30),
        arm=pl.lit(None, pl.String),
    )
    test = experiment(pre_period={"until": BEGAN})
    facts = analysed(pl.concat([rows, others]), tmp_path, test)
    assert facts.notes[0].startswith(f"No unit of the test has a row from before {BEGAN}")
    assert facts.judged[0].cuped is None


def test_standardised_differences_by_hand() -> None:
    """Means 1 and 2, variances 1 and 3: 1 / sqrt(2)."""
    control = Users(np.array([0.0, 1.0, 2.0]), np.ones(3))
    treatment = Users(np.array([2 - 3**0.5, 2.0, 2 + 3**0.5]), np.ones(3))
    nothing = Users(np.zeros(3), np.ones(3))
    assert standardised(control, treatment) == pytest.approx(1 / 2**0.5)
    assert standardised(control, control) == standardised(nothing, nothing) == 0
