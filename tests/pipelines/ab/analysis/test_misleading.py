"""Logs that mislead: what would be claimed of them, and that it is not.

Each is a whole analysis, from rows to facts. Controls are honest logs that look alike.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis.facts import Check, Facts, from_json, to_json
from fulcrum.pipelines.ab.analysis.page import render
from fulcrum.pipelines.ab.log.experiment import Experiment
from tests.pipelines.ab.logs import BEGAN, HOUR, analysed, experiment, log

CONVERSION = {"kind": "mean", "value": "converted", "role": "primary"}


def units_of(
    values: dict[str, np.ndarray], treated: np.ndarray, day: np.ndarray | None = None, seed: int = 0
) -> pl.DataFrame:
    """One row a unit, each at its own time of its day."""
    rng = np.random.default_rng(seed)
    day = rng.integers(0, 7, len(treated)) if day is None else day
    began = np.datetime64(BEGAN, "us").astype(np.int64)
    time = began + day * 24 * HOUR + rng.integers(0, 24 * HOUR, len(treated))
    return pl.DataFrame(
        {
            "user_id": np.arange(len(treated)),
            "arm": np.where(treated, "treatment", "control"),
            "time": pl.Series(time).cast(pl.Datetime("us")),
            **values,
        }
    )


def shared(test: Experiment, treatment: float) -> Experiment:
    """The experiment with other shares."""
    arms = {"control": {"share": 1 - treatment}, "treatment": {"share": treatment}}
    return Experiment.model_validate(test.model_dump() | {"arms": arms})


def check(facts: Facts, name: str) -> Check:
    [one] = [check for check in facts.checks if check.name == name]
    return one


def failing(facts: Facts) -> list[str]:
    return [check.name for check in facts.checks if not check.holds]


@pytest.mark.parametrize("role", [pytest.param("primary", marks=pytest.mark.slow), "guardrail"])
def test_a_catastrophe_without_variance_is_a_number(role: str, tmp_path: Path) -> None:
    """0 of 5,000 conversions against 250, with all roads open."""
    rng = np.random.default_rng(0)
    treated = np.arange(10_000) % 2 == 1
    converted = np.zeros(10_000)
    converted[rng.choice(np.flatnonzero(~treated), 250, replace=False)] = 1
    rows = units_of(
        {
            "converted": converted,
            "country": np.where(rng.random(10_000) < 0.5, "de", "fr"),
            "instance": np.arange(10_000) // 2 % 5,
            "visit": rng.exponential(1, 10_000),
        },
        treated,
    )
    past = rows.with_columns(
        pl.col("time") - pl.duration(days=8), converted=pl.Series(rng.permutation(converted))
    )
    metric: dict[str, Any] = CONVERSION | {"role": role}
    metrics = {"conversion": metric}
    if role == "guardrail":
        metric["margin"] = 0.005
        metrics["visit"] = {"kind": "mean", "value": "visit", "role": "primary"}
    test = experiment(
        log={"time": {"column": "time"}, "instance": "instance"},
        metrics=metrics,
        segments={"country": "country"},
        pre_period={"until": BEGAN},
        plan={"kind": "sequential", "tuned_for": 5000},
    )
    facts = analysed(pl.concat([past, rows]), tmp_path, test)
    [found] = [judged for judged in facts.judged if judged.metric == "conversion"]
    assert found.raw.method == "newcombe" and found.cuped is None and found.bootstrap is None
    assert found.verdict == "worse" and -0.06 < found.raw.low < found.raw.high < -0.04
    assert found.guardrail == (None if role == "primary" else "fails")
    assert found.instances is not None and found.instances.replicated.high < 0
    assert facts.segments is not None and len(facts.segments.effects) == 2
    assert facts.over_time and facts.days and "conversion is worse" in "".join(found.sentences)
    assert render(facts, {}) and from_json(to_json(facts)) == facts


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_metric_that_is_the_same_for_everybody_is_told(value: float, tmp_path: Path) -> None:
    rows = log(users=400).with_columns(same=pl.lit(value))
    once = rows.unique("user_id", keep="first", maintain_order=True)
    metric = {"kind": "mean", "value": "same", "role": "primary"}
    test = experiment(
        log={"time": {"column": "time"}, "instance": "instance"},
        metrics={"same": metric},
        segments={"country": "country"},
        plan={"kind": "sequential", "tuned_for": 400},
    )
    [effect] = analysed(once, tmp_path, test).judged
    assert effect.raw.difference == 0 and effect.raw.low < 0 < effect.raw.high
    assert effect.verdict == "no difference shown"
    assert effect.instances is not None and effect.instances_problem is None


def carried(before: float, during: float, tmp_path: Path) -> Facts:
    """100,000 units that a test of before has moved by so many standard deviations."""
    rng = np.random.default_rng(1)
    treated = np.arange(100_000) % 2 == 1
    level = rng.normal(0, 1, 100_000)
    # Both arms have the same mean and deviation but for what is carried over: no chance.
    for arm in (treated, ~treated):
        level[arm] = (level[arm] - level[arm].mean()) / level[arm].std()
    now = level + rng.normal(0, 1, 100_000) + during * treated
    rows = units_of({"watch": now}, treated)
    past = rows.with_columns(
        pl.col("time") - pl.duration(days=8), watch=pl.Series(level + before * treated)
    )
    metric = {"kind": "mean", "value": "watch", "role": "primary"}
    test = experiment(metrics={"watch": metric}, pre_period={"until": BEGAN}, bootstrap=False)
    return analysed(pl.concat([past, rows]), tmp_path, test)


def test_a_carry_over_of_a_thirtieth_of_a_deviation_is_a_doubt(tmp_path: Path) -> None:
    """z = .034 / sqrt(2 / 50,000) = 5.4, which is no chance and became the result."""
    facts = carried(before=0.034, during=0.034 * 2**0.5, tmp_path=tmp_path)
    balance = check(facts, "balance before the test")
    assert failing(facts) == ["balance before the test"] and not balance.stops
    assert balance.numbers["standardised_difference.watch (treatment)"] == pytest.approx(
        0.034, rel=0.01
    )
    assert 1e-8 < balance.numbers["p_value"] < 1e-7
    assert "not alike, and no chance" in balance.sentence
    doubt = "treatment: keep running. In doubt, because a check failed (balance before the test)"
    assert facts.headline.startswith(doubt)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "during"), [(0.034, 1.0), (0.01, 0.0)])
def test_what_is_small_beside_the_effect_or_chance_is_none(
    before: float, during: float, tmp_path: Path
) -> None:
    facts = carried(before, during, tmp_path)
    assert failing(facts) == []
    small = "less than 10 % of the effect" in check(facts, "balance before the test").sentence
    assert small == (before == 0.034)


def heavy(tmp_path: Path, seed: int, lift: float = 1.0, **metric: Any) -> Facts:
    """1 % of 20,000 units, lognormal with sigma 3."""
    rng = np.random.default_rng(seed)
    treated = np.arange(20_000) % 100 == 0
    spend = rng.lognormal(0, 3, 20_000) * np.where(treated, lift, 1)
    declared = {"kind": "mean", "value": "spend", "role": "primary", **metric}
    test = shared(experiment(metrics={"spend": declared}, bootstrap=False), 0.01)
    return analysed(units_of({"spend": spend}, treated, seed=seed), tmp_path, test)


def test_a_small_arm_with_a_heavy_tail_is_not_judged_yet(tmp_path: Path) -> None:
    verdicts = set()
    for seed in range(2):
        facts = heavy(tmp_path, seed)
        verdicts.add(facts.judged[0].verdict)
        tail = check(facts, "tail of spend (treatment)")
        assert failing(facts) == [tail.name] and not tail.stops
        assert "cannot be judged yet" in tail.sentence and "`winsorise`" in tail.sentence
        assert tail.numbers["needed"] > tail.numbers["units"] == 200
    assert verdicts == {"no difference shown"}


def test_cut_off_at_both_ends_it_is_judged(tmp_path: Path) -> None:
    """In a test of ten times the treatment's units."""
    rng = np.random.default_rng(7)
    treated = np.arange(20_000) % 10 == 0
    spend = rng.lognormal(0, 3, 20_000) * np.where(treated, 1.5, 1)
    declared = {"kind": "mean", "value": "spend", "role": "primary", "winsorise": 0.95}
    test = shared(experiment(metrics={"spend": declared}), 0.1)
    facts = analysed(units_of({"spend": spend}, treated), tmp_path, test)
    assert failing(facts) == [] and facts.judged[0].raw.method == "welch"
    assert facts.judged[0].verdict == "better"


def ramp(users: int = 12_000, lift: float = 0.0) -> pl.DataFrame:
    """Treatment has 5 % of the units of the first three days and half of the others', and days
    differ: 10 % convert on the first, 30 % on the last."""
    rng = np.random.default_rng(3)
    day = rng.integers(0, 6, users)
    treated = rng.random(users) < np.where(day < 3, 0.05, 0.5)
    chance = np.where(day < 3, 0.1, 0.3) + lift * treated
    converted = (rng.random(users) < chance).astype(float)
    return units_of({"converted": converted}, treated, day)


STAGES = [{"until": "2024-03-07", "shares": {"control": 0.95, "treatment": 0.05}}]


@pytest.mark.parametrize("declared", [True, False])
def test_a_ramp_compares_units_of_the_same_shares(declared: bool, tmp_path: Path) -> None:
    """Pooled, treatment would be better by 12 points for its days."""
    rows = ramp()
    pooled = rows.group_by("arm").agg(pl.col("converted").mean()).sort("arm")["converted"]
    assert pooled[1] - pooled[0] > 0.08
    test = experiment(
        metrics={"conversion": CONVERSION},
        ramp=STAGES if declared else [],
        plan={"kind": "sequential", "tuned_for": 5000},
    )
    facts = analysed(rows, tmp_path, test)
    [effect] = facts.judged
    assert effect.verdict == "no difference shown" and abs(effect.raw.difference) < 0.02
    assert effect.bootstrap is not None and abs(effect.bootstrap.difference) < 0.02
    assert all(abs(value) < 0.1 for value in facts.days[0].effects)
    last = facts.over_time[0]
    assert last.low[-1] < 0 < last.high[-1]
    shares = check(facts, "constant shares")
    assert failing(facts) == ([] if declared else ["constant shares"]) and not shares.stops
    assert "Period 2, conversion of treatment: " in shares.sentence
    assert ("No `analysis.ramp` declares them" in shares.sentence) != declared


@pytest.mark.slow
def test_an_effect_is_there_in_a_ramp_as_well(tmp_path: Path) -> None:
    test = experiment(metrics={"conversion": CONVERSION}, ramp=STAGES)
    [effect] = analysed(ramp(lift=0.06), tmp_path, test).judged
    assert effect.verdict == "better" and abs(effect.raw.difference - 0.06) < 3 * effect.raw.se


@pytest.mark.slow
def test_units_that_are_lost_from_a_day_on_are_no_ramp(tmp_path: Path) -> None:
    """The shares of `arms` come first, and not last."""
    rows = log(users=6000)
    first = pl.col("time").min().over("user_id")
    late = first > pl.lit("2024-03-04T12:00").str.to_datetime()
    gone = late & (pl.col("arm") == "treatment") & (pl.col("user_id") % 2 == 0)
    facts = analysed(rows.filter(~gone), tmp_path)
    assert facts.withheld and "constant shares" not in [check.name for check in facts.checks]


def test_anonymous_rows_that_are_alike_are_no_fault(tmp_path: Path) -> None:
    rows = log(users=300)
    twice = pl.concat([rows, rows.head(len(rows) // 4)])
    nobody = Experiment.model_validate(experiment().model_dump() | {"unit": None})
    assert "repeated rows" not in [c.name for c in analysed(twice, tmp_path, nobody).checks]
    dated = twice.with_columns(pl.col("time").dt.truncate("1d"))
    assert check(analysed(dated, tmp_path), "repeated rows").holds


def test_a_unit_of_a_third_of_the_rows_is_a_doubt(tmp_path: Path) -> None:
    """`anonymous` has 30 % of all rows, and clicks more."""
    rows = log(users=1500).cast({"user_id": pl.String})
    count = round(len(rows) * 0.3 / 0.7)
    one = rows.filter(pl.col("arm") == "treatment").sample(count, with_replacement=True, seed=0)
    times = pl.col("time") + pl.duration(microseconds=pl.int_range(pl.len()))
    one = one.with_columns(times, user_id=pl.lit("anonymous"), click=pl.lit(1.0))
    facts = analysed(pl.concat([rows, one]), tmp_path)
    concentration = check(facts, "rows by unit")
    assert "rows by unit" in failing(facts) and not concentration.stops
    assert "unit 'anonymous' has 47 % of the rows of treatment" in concentration.sentence


@pytest.mark.parametrize("users", [pytest.param(10, marks=pytest.mark.slow), 1000])
def test_honest_use_is_uneven_and_no_doubt(users: int, tmp_path: Path) -> None:
    """Rows a unit by a lognormal with sigma 1.5."""
    rng = np.random.default_rng(users)
    rows = log(users=users)
    times = rng.lognormal(0, 1.5, users).round().astype(int) + 1
    owners = np.repeat(np.arange(users), times)
    arms = rows.group_by("user_id").agg(pl.col("arm").first()).sort("user_id")["arm"]
    uneven = rows.sample(len(owners), with_replacement=True, seed=1).with_columns(
        pl.Series("user_id", owners),
        arms[owners].alias("arm"),
        pl.col("time") + pl.duration(microseconds=pl.int_range(pl.len())),
    )
    assert check(analysed(uneven, tmp_path), "rows by unit").holds


@pytest.mark.parametrize(("rate", "holds"), [(0.28, False), (0.5, True)])
def test_a_ratio_that_moves_by_its_denominator_is_told(
    rate: float, holds: bool, tmp_path: Path
) -> None:
    """Treatment shows 6 rows a unit instead of 11, of which control clicks 2.2."""
    rng = np.random.default_rng(5)
    treated = np.arange(4000) % 2 == 1
    shown = rng.poisson(np.where(treated, 5, 10)) + 1.0
    clicked = rng.binomial(shown.astype(int), np.where(treated, rate, 0.2))
    rows = units_of({"shown": shown, "click": clicked.astype(float)}, treated)
    metric = {"kind": "ratio", "numerator": "click", "denominator": "shown", "role": "primary"}
    facts = analysed(rows, tmp_path, experiment(metrics={"ctr": metric}))
    found = check(facts, "denominator of ctr")
    assert facts.judged[0].verdict == ("better" if holds else "in doubt")
    assert found.holds == holds and not found.stops
    assert ("rises by its denominator alone" in found.sentence) != holds


def test_intervals_are_not_drawn_where_that_is_not_asked_for(tmp_path: Path) -> None:
    facts = analysed(log(users=300), tmp_path, experiment(bootstrap=False))
    assert facts.judged[0].bootstrap is None and facts.judged[0].agree
    assert "bootstrap" not in render(facts, {}).split("</table>")[1]
