"""Shares that changed: who weighs what, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.log.columns import ARM, UNIT
from fulcrum.pipelines.ab.log.experiment import Experiment, problems
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.ramp import ramped
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.ab.log.units import FIRST, PERIOD, WEIGHT, Units
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator
from tests.pipelines.ab.logs import experiment, log

QUANTILE = {"kind": "quantile", "value": "click", "quantile": 0.5, "role": "primary"}
CHANGED = np.datetime64("2024-03-06", "us").astype(np.int64)


def stages(*until: str, **shares: float) -> list[dict[str, Any]]:
    shares = shares or {"control": 0.75, "treatment": 0.25}
    return [{"until": time, "shares": shares} for time in until]


def rows() -> pl.DataFrame:
    """Treatment has a quarter of the units that come until the change, and half of the others'."""
    rng = np.random.default_rng(0)
    came = log(users=1500, days=4).group_by("user_id").agg(pl.col("time").min()).sort("user_id")
    early = came["time"].dt.epoch("us").to_numpy() < CHANGED
    treated = rng.random(len(came)) < np.where(early, 0.25, 0.5)
    arms = came.select("user_id", arm=pl.Series(np.where(treated, "treatment", "control")))
    return log(users=1500, days=4).drop("arm").join(arms, on="user_id")


def made(
    folder: Path, test: Experiment, log_rows: pl.DataFrame | None = None
) -> tuple[Units, Units]:
    """Units as they are gathered, and with their weights."""
    file = folder / "log.parquet"
    (rows() if log_rows is None else log_rows).write_parquet(file)
    units = gather(stage([str(file)], test, folder), test)
    return units, ramped(units, test)


def test_a_unit_weighs_the_share_of_the_other_arm_when_it_came(tmp_path: Path) -> None:
    plain, units = made(tmp_path, experiment(ramp=stages("2024-03-06")))
    early = units.frame[FIRST] < CHANGED
    assert (units.frame[PERIOD] == (~early).cast(pl.Int64)).all()
    other = {"control": 0.25, "treatment": 0.75}
    expected = [
        other[arm] if first else 0.5 for arm, first in zip(units.frame[ARM], early, strict=True)
    ]
    assert units.frame[WEIGHT].to_list() == pytest.approx(expected)
    assert units.frame.drop(PERIOD, WEIGHT).equals(plain.frame)
    users = units.users("ctr", units.frame)
    for column, part in ((users.numerator, numerator), (users.denominator, denominator)):
        assert column == pytest.approx(plain.frame[part("ctr")].to_numpy() * np.array(expected))
    weight_of = dict(units.frame.select(UNIT, WEIGHT).iter_rows())
    weights = np.array([weight_of[unit] for unit in plain.daily[UNIT]])
    name = numerator("ctr")
    assert units.daily[name].to_numpy() == pytest.approx(plain.daily[name].to_numpy() * weights)


def test_a_ramp_that_nobody_declared_is_found_on_its_day(tmp_path: Path) -> None:
    _, units = made(tmp_path, experiment())
    assert units.ramp is not None and not units.ramp.declared
    assert units.ramp.began == (int(CHANGED),)
    assert units.ramp.shares[0]["treatment"] == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("users", [200, 3000])
def test_constant_shares_are_left_alone(users: int, tmp_path: Path) -> None:
    plain, units = made(tmp_path, experiment(), log(users=users))
    assert units is plain and units.ramp is None


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        (stages("2024-03-06", control=1.0), "expected a share of each of control, treatment"),
        (stages("2024-03-06", control=0.7, treatment=0.7), "add up to 1, got 1.4 in all"),
        (stages("2024-03-06", control=1.0, treatment=0.0), "expected shares above 0"),
    ],
)
def test_shares_of_a_stage_are_those_of_all_arms(ramp: list[dict[str, Any]], message: str) -> None:
    [problem] = problems(experiment(ramp=ramp))
    assert problem.path == ("analysis", "ramp", "0", "shares") and message in problem.message


def test_days_of_a_ramp_begin_by_the_clocks_of_the_log(tmp_path: Path) -> None:
    """The change is at midnight in Berlin, an hour before that of UTC."""
    earlier = rows().with_columns(pl.col("time") - pl.duration(hours=1))
    instants = earlier.with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    there = {"time": {"column": "time", "zone": "Europe/Berlin"}}
    _, units = made(tmp_path, experiment(log=there), instants)
    assert units.ramp is not None and units.ramp.began == (int(CHANGED) - 3_600_000_000,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log": {"time": {"column": "time"}, "cluster": "home"}}, "`analysis.log.cluster`"),
        ({"metrics": {"half": QUANTILE}}, "`half` of kind `quantile`"),
    ],
)
def test_what_is_of_all_stages_together_is_refused_beside_them(
    changes: dict[str, Any], message: str
) -> None:
    [problem] = problems(experiment(ramp=stages("2024-03-06"), **changes))
    assert problem.path == ("analysis", "ramp")
    assert problem.message.startswith(f"not beside {message}")


def test_a_ramp_is_not_looked_for_among_clusters(tmp_path: Path) -> None:
    homes = rows().with_columns(home=(pl.col("user_id") // 2).cast(pl.String))
    test = experiment(log={"time": {"column": "time"}, "cluster": "home"})
    plain, units = made(tmp_path, test, homes)
    assert units is plain


def test_units_whose_window_is_not_over_weigh_nothing_in_a_ramp(tmp_path: Path) -> None:
    metric = {"kind": "mean", "value": "click", "window": "1d", "role": "primary"}
    test = experiment(metrics={"it": metric}, ramp=stages("2024-03-06"))
    plain, units = made(tmp_path, test)
    counted = units.frame.filter(pl.col(numerator("it")).is_not_null())
    users = units.users("it", units.frame)
    assert 0 < len(users) == len(counted) < len(units.frame) == len(plain.frame)
    assert users.denominator == pytest.approx(counted[WEIGHT].to_numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ramp": stages("soon")}, r"analysis\.ramp\.0\.until: 'soon' is no time"),
        ({"ramp": stages("2024-03-06", "2024-03-05")}, r"ramp\.1\.until: 2024-03-05 is not after"),
        ({"ramp": stages("2024-03-06"), "log": {}}, r"analysis\.ramp: needs `analysis\.log\.time`"),
    ],
)
def test_a_ramp_without_an_order_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        made(tmp_path, experiment(**changes))
