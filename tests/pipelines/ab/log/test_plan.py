"""When a test is judged: what may be declared, and what the log then means."""

from pathlib import Path

import polars as pl
import pytest

from fulcrum.features.errors import ConfigError, DataError
from fulcrum.pipelines.ab.log.comparisons import family, pairs
from fulcrum.pipelines.ab.log.experiment import Experiment, problems
from fulcrum.pipelines.ab.log.plan import FixedPlan, SequentialPlan
from fulcrum.pipelines.config.load import read, to_yaml
from tests.pipelines.ab.logs import analysed, experiment, log
from tests.pipelines.ab.made import test_of

METRICS = {
    "main": {"role": "primary"},
    **{f"s{n}": {} for n in range(3)},
    **{f"g{n}": {"role": "guardrail", "margin": 1.0} for n in range(4)},
}


def test_whoever_declares_nothing_may_look_whenever_they_like() -> None:
    assert experiment().analysis.plan == SequentialPlan()
    assert experiment(plan={"tuned_for": 9}).analysis.plan == SequentialPlan(tuned_for=9)
    fixed = experiment(plan={"kind": "fixed", "ends": "2024-03-11"})
    assert fixed.analysis.plan == FixedPlan(ends="2024-03-11")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequential: {tuned_for: 20}", "it is called `plan` now"),
        ("plan: {kind: fixed, ends: soon}", "'soon' is no time; expected ISO 8601"),
        ("plan: {kind: fixed}", "missing (Time in ISO 8601 at which the test ends)"),
        ("plan: {kind: fixd}", "`sequential`"),
        ("pairs: every", "`all`"),
    ],
)
def test_a_wrong_plan_gets_one_message(text: str, message: str, tmp_path: Path) -> None:
    declared = [line for line in to_yaml(experiment()).splitlines(keepends=True)]
    start = next(n for n, line in enumerate(declared) if line.startswith("  plan:"))
    end = next(n for n in range(start + 1, len(declared)) if not declared[n].startswith("    "))
    kept = declared[:start] + declared[end:]
    kept = [line for line in kept if not line.startswith("  pairs:")]
    (tmp_path / "test.yaml").write_text("".join(kept) + f"  {text}\n")
    with pytest.raises(ConfigError) as error:
        read(Experiment, tmp_path / "test.yaml", (), problems)
    assert message in str(error.value)


def test_rows_of_later_than_the_end_are_of_no_test(tmp_path: Path) -> None:
    rows = log(users=400)
    test = experiment(plan={"kind": "fixed", "ends": "2024-03-08"})
    facts = analysed(rows, tmp_path, test)
    until = rows.filter(pl.col("time") < pl.datetime(2024, 3, 8))
    assert facts.log.rows == len(until) < len(rows)
    assert facts.plan.reached and facts.decision == "do not ship"
    assert not facts.over_time


def test_an_end_needs_times(tmp_path: Path) -> None:
    test = experiment(log={}, plan={"kind": "fixed", "ends": "2024-03-08"})
    with pytest.raises(DataError, match=r"a fixed plan needs `analysis\.log\.time`"):
        analysed(log(users=50), tmp_path, test)


@pytest.mark.parametrize(
    ("arms", "pairs_of", "counts"),
    [
        (2, "control", {"primary": 1, "secondary": 3, "guardrail": 1}),
        (4, "control", {"primary": 3, "secondary": 9, "guardrail": 3}),
        (4, "all", {"primary": 6, "secondary": 9, "guardrail": 3}),
    ],
)
def test_each_comparison_has_its_share_of_alpha(arms: int, pairs_of: str, counts: dict) -> None:
    """Every pair of four arms is 4 · 3 / 2; guard-rails must all hold, so only arms count."""
    test = test_of(METRICS, arms=arms, pairs=pairs_of)
    assert len(pairs(test)) == counts["primary"]
    for role, count in counts.items():
        beside = family(test, role)
        assert (beside.comparisons, beside.alpha) == (count, 0.05 / count)
