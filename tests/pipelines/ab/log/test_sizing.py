"""`fulcrum ab power`: how large a test must be, read off a log."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.sizing import Size, sizes
from fulcrum.pipelines.ab.statistics.effects import compare
from fulcrum.pipelines.ab.statistics.power import detectable
from fulcrum.pipelines.ab.statistics.users import Users
from fulcrum.pipelines.config.load import to_yaml
from tests.pipelines.ab.logs import experiment, log

FIXED = {"kind": "fixed", "ends": "2024-03-11"}
METRICS = {
    "watch": {"kind": "mean", "value": "watch"},
    "ctr": {"kind": "ratio", "numerator": "click", "role": "primary"},
}


@pytest.fixture
def past(tmp_path: Path) -> list[str]:
    """A log without arms."""
    log(users=1000).drop("arm").write_parquet(tmp_path / "past.parquet")
    return [str(tmp_path / "past.parquet")]


def sizes_of(past: list[str], **changes: Any) -> dict[str, Size]:
    settings = {"effect": 0.05, "relative": False, "power": 0.8} | changes
    test = settings.pop("test", experiment(metrics=METRICS, plan=FIXED))
    return {size.metric: size for size in sizes(past, test, **settings)}


def test_the_effect_is_what_a_test_of_that_size_can_find(past: list[str]) -> None:
    """By the log's own users, in closed form: (z_.975 + z_.8) s sqrt(4 / n)."""
    size = sizes_of(past)["ctr"]
    users = pl.read_parquet(past).group_by("user_id").agg(pl.col("click").sum(), pl.len())
    ratio = Users(users["click"].to_numpy(), users["len"].to_numpy().astype(float))
    se = ratio.residuals.std(ddof=1) * np.sqrt(4 / size.users)
    assert size.value == pytest.approx(ratio.value)
    assert detectable(se) == pytest.approx(0.05, rel=1e-3)


def test_a_test_of_that_size_finds_the_effect_as_often_as_said(past: list[str]) -> None:
    """400 tests of users drawn from the log; .8 to four binomial standard errors."""
    size = sizes_of(past)["ctr"]
    users = pl.read_parquet(past).group_by("user_id", maintain_order=True).agg("click")
    totals = users["click"].list.sum().to_numpy()
    rows = users["click"].list.len().to_numpy().astype(float)
    rng = np.random.default_rng(0)

    def drawn(lift: float) -> Users:
        who = rng.integers(0, len(totals), size.users // 2)
        return Users(totals[who] + lift * rows[who], rows[who])

    hits = np.mean([compare(drawn(0.0), drawn(0.05)).p_value < 0.05 for _ in range(400)])
    assert hits == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 400))


def test_half_the_effect_takes_four_times_the_users(past: list[str]) -> None:
    large, small = (sizes_of(past, effect=effect)["ctr"].users for effect in (0.05, 0.025))
    assert small == pytest.approx(4 * large, rel=0.01)


def test_a_fall_takes_as_many_as_a_rise_and_a_share_is_of_the_value(past: list[str]) -> None:
    size = sizes_of(past)["ctr"]
    assert sizes_of(past, effect=-0.05)["ctr"].users == size.users
    share = 0.05 / size.value
    assert sizes_of(past, effect=share, relative=True)["ctr"].users == pytest.approx(
        size.users, abs=1
    )


def test_unequal_arms_and_less_traffic_take_longer(past: list[str]) -> None:
    test = experiment(metrics=METRICS, plan=FIXED)
    uneven = {"control": {"share": 0.9}, "treatment": {"share": 0.1}}
    small = Experiment.model_validate(test.model_dump() | {"arms": uneven})
    part = test.model_copy(update={"traffic": 0.1})
    even = sizes_of(past, test=test)["ctr"]
    assert sizes_of(past, test=small)["ctr"].users == pytest.approx(
        even.users * 0.25 / 0.09, rel=0.01
    )
    assert sizes_of(past, test=part)["ctr"].users == even.users
    assert sizes_of(past, test=part)["ctr"].days.days > even.days.days


def test_the_primary_metric_comes_first_and_problems_are_told(tmp_path: Path) -> None:
    rows = log(users=50).with_columns(watch=0.0)
    rows.write_parquet(tmp_path / "past.parquet")
    by_metric = sizes_of([str(tmp_path / "past.parquet")])
    assert list(by_metric) == ["ctr", "watch"]
    assert "the metric is constant" in by_metric["watch"].problem
    assert by_metric["watch"].users is None


def test_looking_early_and_more_comparisons_take_more(past: list[str]) -> None:
    """Each size is for the level at which the analysis will judge."""
    many = METRICS | {f"s{n}": METRICS["watch"] for n in range(4)}
    looking = experiment(metrics=METRICS)
    once = sizes_of(past)
    assert sizes_of(past, test=looking)["ctr"].users > 1.2 * once["ctr"].users
    beside = sizes_of(past, test=experiment(metrics=many, plan=FIXED))
    assert (beside["watch"].comparisons, beside["watch"].alpha) == (5, 0.01)
    assert beside["watch"].users > once["watch"].users
    assert beside["ctr"].users == once["ctr"].users


def test_nothing_to_find_is_refused(past: list[str]) -> None:
    with pytest.raises(ConfigError, match="an effect of 0 cannot be found"):
        sizes_of(past, effect=0.0)
    with pytest.raises(ConfigError, match="the experiment has no `analysis`"):
        sizes_of(past, test=experiment().model_copy(update={"analysis": None}))


def test_the_command_prints_a_table(fulcrum: Any, past: list[str], tmp_path: Path) -> None:
    file = tmp_path / "test.yaml"
    file.write_text(to_yaml(experiment(metrics=METRICS, plan=FIXED)))
    done = fulcrum("ab", "power", *past, "--experiment", file, "--effect", "0.05")
    assert done.code == 0, done.stderr
    by_metric = sizes_of(past)
    for size in by_metric.values():
        [line] = [line for line in done.stdout.splitlines() if size.metric in line]
        assert f"{size.users:,}" in line
    assert "about: beyond the log" in done.stdout


def test_a_log_without_times_has_users_and_no_days(fulcrum: Any, tmp_path: Path) -> None:
    log(users=100).drop("time").write_parquet(tmp_path / "past.parquet")
    (tmp_path / "test.yaml").write_text(to_yaml(experiment(log={})))
    files = [tmp_path / "past.parquet", "--experiment", tmp_path / "test.yaml"]
    done = fulcrum("ab", "power", *files, "--effect", "0.1")
    assert done.code == 0, done.stderr
    assert "?: the log has no times" in done.stdout
