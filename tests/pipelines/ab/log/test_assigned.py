"""Units that were dealt count, whether or not they have rows."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.log.columns import UNIT
from fulcrum.pipelines.ab.log.experiment import Experiment, problems
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.ab.log.units import FIRST, ROWS, Units
from fulcrum.pipelines.ab.metrics.columns import numerator
from tests.pipelines.ab.logs import BEGAN, experiment, log

MEAN = {"kind": "mean", "value": "click", "role": "primary"}


def dealt(rows: pl.DataFrame, silent: int) -> pl.DataFrame:
    """The arms of a log's units, and of others who never came, by a name of its own."""
    began = pl.lit(BEGAN).str.to_datetime("%Y-%m-%d", time_unit="us")
    known = rows.group_by("user_id").agg(pl.col("arm").first()).sort("user_id")
    others = pl.DataFrame(
        {
            "user_id": 10_000 + np.arange(silent),
            "arm": ["control", "treatment"] * (silent // 2),
        }
    )
    both = pl.concat([known, others]).with_columns(at=began)
    return both.rename({"user_id": "who", "arm": "variant"})


def asking(folder: Path, **changes: Any) -> Experiment:
    table = {"path": str(folder / "dealt.parquet"), "unit": "who", "arm": "variant"}
    settings = {"time": {"column": "time"}, "assignments": table | {"time": {"column": "at"}}}
    return experiment(**{"log": settings, "metrics": {"clicks": MEAN}} | changes)


def units(rows: pl.DataFrame, table: pl.DataFrame, folder: Path, **changes: Any) -> Units:
    rows.write_parquet(folder / "log.parquet")
    table.write_parquet(folder / "dealt.parquet")
    test = asking(folder, **changes)
    return gather(stage([str(folder / "log.parquet")], test, folder), test)


def test_who_never_came_counts_as_nothing(tmp_path: Path) -> None:
    """Rows have the arms of the table: the log itself says none."""
    rows = log(users=300)
    gathered = units(rows.drop("arm"), dealt(rows, silent=100), tmp_path)
    assert len(gathered.frame) == 300 + 100
    assert (gathered.frame[ROWS] == 0).sum() == 100
    for arm in ("control", "treatment"):
        mine = rows.filter(pl.col("arm") == arm)
        people = mine["user_id"].n_unique() + 50
        users = gathered.users("clicks", gathered.arm(arm))
        assert users.value == pytest.approx(mine["click"].sum() / people)
    assert sum((gathered.assigned or {}).values()) == 400


def test_who_was_dealt_after_the_end_of_a_fixed_plan_is_of_no_test(tmp_path: Path) -> None:
    rows = log(users=300, days=4)
    late = pl.col("who") >= 10_050
    table = dealt(rows, silent=100).with_columns(
        pl.when(late).then(pl.col("at") + pl.duration(days=3)).otherwise(pl.col("at")).alias("at")
    )
    plan = {"kind": "fixed", "ends": "2024-03-07"}
    gathered = units(rows.drop("arm"), table, tmp_path, plan=plan)
    assert (gathered.frame[ROWS] == 0).sum() >= 50 and len(gathered.frame) == 300 + 50
    assert sum((gathered.assigned or {}).values()) == 350


def test_rows_of_others_and_from_before_the_deal_are_outside(tmp_path: Path) -> None:
    rows = log(users=100, before=7)
    table = dealt(rows, silent=0).filter(pl.col("who") < 80)
    gathered = units(rows.drop("arm"), table, tmp_path)
    inside = rows.filter(pl.col("user_id") < 80, pl.col("time") >= table["at"][0])
    assert gathered.rows == len(inside)
    assert gathered.outside == len(rows) - len(inside)


def test_a_window_before_each_unit_came_is_its_past(tmp_path: Path) -> None:
    rows = log(users=100, before=7)
    table = dealt(rows, silent=0)
    period = {"window": "3d"}
    gathered = units(rows.drop("arm"), table, tmp_path, pre_period=period)
    ago = table["at"][0] - pl.col("time")
    past = rows.filter(ago.is_between(pl.duration(days=0), pl.duration(days=3), "right"))
    assert gathered.before == len(past) > 0
    assert gathered.frame[f"before.{numerator('clicks')}"].sum() == past["click"].sum()


def test_who_was_dealt_twice_is_left_out(tmp_path: Path) -> None:
    rows = log(users=100)
    table = dealt(rows, silent=0)
    other = pl.when(pl.col("variant") == "control").then(pl.lit("treatment"))
    again = table.head(3).with_columns(other.otherwise(pl.lit("control")).alias("variant"))
    gathered = units(rows.drop("arm"), pl.concat([table, again]), tmp_path)
    assert (gathered.crossed, len(gathered.frame)) == (3, 97)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "arm"}, r"assignments\.arm: there is no column `variant`"),
        ({"who": "user"}, r"assignments\.unit: there is no column `who`"),
        ({"at": "when"}, r"assignments\.time: there is no column `at`"),
    ],
)
def test_a_column_that_is_missing_is_told(
    change: dict[str, str], message: str, tmp_path: Path
) -> None:
    rows = log(users=20)
    with pytest.raises(DataError, match=message):
        units(rows, dealt(rows, 0).rename(change), tmp_path)


def test_an_arm_that_nobody_declared_is_told(tmp_path: Path) -> None:
    rows = log(users=20)
    table = dealt(rows, 0).with_columns(pl.col("variant").replace("control", "contrl"))
    with pytest.raises(
        DataError, match=r"arm `contrl` that the experiment does not name; .*did you"
    ):
        units(rows, table, tmp_path)


def test_what_does_not_go_together_is_refused_before_data_are_read(tmp_path: Path) -> None:
    test = asking(tmp_path)
    assert problems(test) == []
    [problem] = problems(test.model_copy(update={"unit": None}))
    assert "`unit` is null" in problem.message
    [problem] = problems(
        asking(tmp_path, log={"assignments": {"path": "x", "time": {"column": "t"}}})
    )
    assert "times in both" in problem.message


def test_units_lie_in_the_order_in_which_they_were_dealt(tmp_path: Path) -> None:
    rows = log(users=60)
    table = dealt(rows, silent=20)
    spread = pl.col("at") - pl.duration(hours=pl.int_range(pl.len()))
    gathered = units(rows.drop("arm"), table.with_columns(spread.alias("at")), tmp_path)
    assert gathered.frame[FIRST].is_sorted()
    assert gathered.frame[UNIT].to_list() == [str(u) for u in reversed(table["who"].to_list())]
