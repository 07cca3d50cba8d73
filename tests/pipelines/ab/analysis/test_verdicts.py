"""From units to verdicts: invariances, roles, and what a sentence says."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis.facts import Judged, Metric, Plan
from fulcrum.pipelines.ab.analysis.verdicts import judge
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.ab.statistics.multiplicity import benjamini_hochberg, bonferroni
from tests.pipelines.ab.logs import experiment, log

SWAP = {"control": "treatment", "treatment": "control"}
PRIMARY = {"kind": "ratio", "numerator": "click", "role": "primary"}
MEAN = {"kind": "mean", "value": "watch", "role": "primary"}


def judged(rows: pl.DataFrame, folder: Path, test: Experiment) -> list[Metric]:
    rows.write_parquet(folder / "log.parquet")
    units = gather(stage([str(folder / "log.parquet")], test, folder), test)
    return judge(units, test, Plan("sequential", None, True))


def only(rows: pl.DataFrame, folder: Path, metric: dict[str, Any], **changes: Any) -> Judged:
    [metric_result] = judged(rows, folder, experiment(metrics={"m": metric}, **changes))
    [effect] = metric_result.effects
    return effect


def test_swapping_arms_flips_signs_and_verdicts(tmp_path: Path) -> None:
    rows = log(users=800, lift=0.1)
    one = only(rows, tmp_path, PRIMARY)
    other = only(rows.with_columns(pl.col("arm").replace(SWAP)), tmp_path, PRIMARY)
    assert (one.verdict, other.verdict) == ("better", "worse")
    assert other.raw.difference == pytest.approx(-one.raw.difference)
    assert (other.raw.low, other.raw.high) == pytest.approx((-one.raw.high, -one.raw.low))
    assert other.raw.p_value == pytest.approx(one.raw.p_value)
    assert other.detectable == pytest.approx(one.detectable)


def test_a_scaled_outcome_scales_the_effect(tmp_path: Path) -> None:
    rows = log(users=400, lift=0.1)
    one = only(rows, tmp_path, MEAN)
    tenfold = only(rows.with_columns(pl.col("watch") * 10), tmp_path, MEAN)
    for way in ("raw", "bootstrap"):
        a, b = getattr(one, way), getattr(tenfold, way)
        assert (b.difference, b.low, b.high) == pytest.approx(
            (10 * a.difference, 10 * a.low, 10 * a.high)
        )
        assert b.p_value == pytest.approx(a.p_value)
        assert b.relative == pytest.approx(a.relative)


def test_rows_that_are_doubled_add_no_knowledge(tmp_path: Path) -> None:
    """Of a ratio; a row-level interval would shrink by the root of 2."""
    rows = log(users=400, lift=0.1)
    one = only(rows, tmp_path, PRIMARY)
    doubled = only(pl.concat([rows, rows]), tmp_path, PRIMARY)
    for way in ("raw", "bootstrap"):
        a, b = getattr(one, way), getattr(doubled, way)
        assert (b.difference, b.low, b.high) == pytest.approx((a.difference, a.low, a.high))


def test_a_fall_is_better_where_down_is_good(tmp_path: Path) -> None:
    effect = only(log(users=800, lift=-0.1), tmp_path, PRIMARY | {"better": "down"})
    assert effect.verdict == "better"
    assert effect.sentences[0].startswith("m is better in treatment than in control: ")


def bonferroni_of(p: list[float]) -> list[float]:
    return [bonferroni(value, len(p)) for value in p]


@pytest.mark.parametrize(
    ("role", "adjust"), [("secondary", bonferroni_of), ("exploratory", benjamini_hochberg)]
)
def test_p_values_are_adjusted_within_a_role(role: str, adjust: Any, tmp_path: Path) -> None:
    metrics = {
        "main": PRIMARY,
        **{
            name: {"kind": "mean", "value": value, "role": role}
            for name, value in {"a": "watch", "b": "1", "c": "click * 2"}.items()
        },
    }
    judged_metrics = judged(log(users=400, lift=0.03), tmp_path, experiment(metrics=metrics))
    main, *others = (metric.effects[0] for metric in judged_metrics)
    assert main.adjusted_p == main.effect.p_value and main.adjustment == "none"
    raw = [one.effect.p_value for one in others]
    assert [one.adjusted_p for one in others] == pytest.approx(adjust(raw))
    assert {one.adjustment for one in others} == {adjust.__name__.removesuffix("_of")}


def test_a_guard_rail_is_told_first_with_its_margin(tmp_path: Path) -> None:
    metrics = {
        "ctr": PRIMARY,
        "watch": {"kind": "mean", "value": "watch", "role": "guardrail", "margin": 1000.0},
    }
    _, rail = judged(log(users=300), tmp_path, experiment(metrics=metrics))
    [effect] = rail.effects
    assert effect.guardrail == "passes" and effect.margin == 1000
    assert effect.sentences[0].startswith("Guard-rail watch passes in treatment: even the bad end")


def test_the_first_metric_is_the_primary_one(tmp_path: Path) -> None:
    metrics = {"watch": {"kind": "mean", "value": "watch"}, "ctr": PRIMARY}
    assert [m.name for m in judged(log(users=100), tmp_path, experiment(metrics=metrics))] == [
        "ctr",
        "watch",
    ]


def test_no_difference_is_said_with_what_could_have_been_found(tmp_path: Path) -> None:
    effect = only(log(users=400), tmp_path, PRIMARY)
    [sentence] = effect.sentences
    assert sentence.startswith("m: no difference shown between treatment and control: ")
    assert "95 % interval" in sentence
    assert sentence.endswith("is what a test of this size finds in 80 % of cases.")


def test_three_arms_are_each_held_against_control(tmp_path: Path) -> None:
    rows = log(users=900)
    third = pl.col("user_id") % 3 == 0
    rows = rows.with_columns(pl.when(third).then(pl.lit("other")).otherwise("arm").alias("arm"))
    shares = {"control": 1 / 3, "treatment": 1 / 3, "other": 1 / 3}
    test = Experiment.model_validate(
        experiment().model_dump() | {"arms": {arm: {"share": s} for arm, s in shares.items()}}
    )
    [metric] = judged(rows, tmp_path, test)
    assert [effect.arm for effect in metric.effects] == ["treatment", "other"]
    assert len({effect.raw.control for effect in metric.effects}) == 1
    assert {effect.adjustment for effect in metric.effects} == {"bonferroni"}


LUCK = np.random.default_rng(3).normal(0, 0.2, (2, 10))
"""Of control's and of treatment's ten instances."""


def with_models(luck: float) -> pl.DataFrame:
    """Treatment is better by .1, and each instance is off by its luck of training."""
    rows = log(users=2000, lift=0.1).with_columns(instance=pl.col("user_id") % 10)
    treated = (rows["arm"] == "treatment").to_numpy().astype(int)
    luck_of_row = LUCK[treated, rows["instance"].to_numpy()]
    return rows.with_columns(click=pl.col("click") + luck * pl.Series(luck_of_row))


INSTANCES = {"log": {"time": {"column": "time"}, "instance": "instance"}}


def test_luck_of_training_is_in_the_interval_over_instances_only(tmp_path: Path) -> None:
    steady = only(with_models(0.0), tmp_path, PRIMARY, **INSTANCES)
    lucky = only(with_models(1.0), tmp_path, PRIMARY, **INSTANCES)
    assert steady.instances is not None and lucky.instances is not None
    planted = (LUCK[1] - LUCK[0]).var(ddof=1)
    assert lucky.instances.between == pytest.approx(planted, rel=0.2)
    assert steady.instances.between < 0.05 * lucky.instances.between
    assert lucky.instances.total_se > 3 * lucky.raw.se
    over = lucky.instances.replicated
    assert over.difference == pytest.approx(np.mean(list(lucky.instances.by_instance.values())))
    assert over.instances == len(lucky.instances.by_instance) == 10


def test_what_users_show_of_lucky_models_is_told_with_care(tmp_path: Path) -> None:
    effect = only(with_models(1.0), tmp_path, PRIMARY, **INSTANCES)
    assert effect.clear and effect.lucky and effect.verdict == "in doubt"
    assert effect.sentences[1].endswith("need not for the recommenders behind them.")


def test_an_instance_without_users_enough_loses_only_the_instances(tmp_path: Path) -> None:
    alone = pl.when(pl.col("user_id") < 2).then(9).otherwise(pl.col("user_id") % 3)
    treated = pl.when(pl.col("user_id") == 0).then(pl.lit("treatment"))
    control = pl.when(pl.col("user_id") == 1).then(pl.lit("control"))
    rows = log(users=200).with_columns(
        alone.alias("instance"), pl.coalesce(treated, control, "arm").alias("arm")
    )
    effect = only(rows, tmp_path, PRIMARY, **INSTANCES)
    assert effect.instances is None
    assert effect.instances_problem is not None and effect.instances_problem.startswith(
        "instance 9"
    )
    assert "nothing is known of the chance of training" in effect.sentences[1]


def test_intervals_that_disagree_are_told(tmp_path: Path) -> None:
    """One user has all the value, in arms of one size: no formula for large numbers holds."""
    rows = log(users=60).with_columns(
        pl.when(pl.col("user_id") % 2 == 0)
        .then(pl.lit("control"))
        .otherwise(pl.lit("treatment"))
        .alias("arm"),
        watch=pl.when(pl.col("user_id") == 7).then(1e6).otherwise("watch"),
    )
    effect = only(rows, tmp_path, MEAN)
    assert not effect.agree
    assert "trust neither before you know which users cause it" in effect.sentences[-1]
