from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.log.experiment import problems
from fulcrum.pipelines.ab.metrics.retention import RetentionMetric
from tests.pipelines.ab.metrics.contract import ARMS, MetricContract, asking, gathered, rows


class TestRetention(MetricContract):
    kind, settings = "retention", {"days": [1, 2]}
    has_past = False

    def by_hand(self, log: pl.DataFrame) -> float:
        """Users who come on the last day have no days after it."""
        users = log.filter(pl.col("user_id") >= 0)
        age = pl.col("time") - pl.col("time").min().over("user_id")
        again = users.filter(age.is_between(pl.duration(days=1), pl.duration(days=3), "left"))
        return again["user_id"].n_unique() / users["user_id"].n_unique()


def test_one_day_is_both_ends() -> None:
    assert RetentionMetric.model_validate({"days": 7}).days == (7, 7)


@pytest.mark.parametrize("settings", [{"days": [3, 1]}, {"days": 0}, {"days": 1, "window": "7d"}])
def test_what_has_no_meaning_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetentionMetric.model_validate(settings)


def test_late_comers_are_no_losses(tmp_path: Path) -> None:
    """Half of the users come two days later: their third day is not over when the log ends."""
    log, odd = rows(200), (pl.col("user_id") % 2 == 1) & (pl.col("user_id") >= 0)
    later = pl.when(odd).then(pl.col("time") + pl.duration(days=2)).otherwise("time")
    mixed = log.with_columns(later.alias("time")).filter(pl.col("time") <= log["time"].max())
    metric = RetentionMetric(days=(1, 2))
    units = gathered(mixed, tmp_path / "all", metric)
    alone = gathered(log.filter(~odd | (pl.col("user_id") < 0)), tmp_path / "early", metric)
    assert units.waiting["it"] == 100 + 2
    for arm in ARMS:
        one, other = (u.users("it", u.arm(arm)) for u in (units, alone))
        assert (one.value, len(one)) == (other.value, len(other))


def test_a_test_shorter_than_its_days_is_told(tmp_path: Path) -> None:
    message = r"metrics\.it: the log ends before 8 days are over for any unit of arm `control`"
    with pytest.raises(DataError, match=message):
        gathered(rows(50), tmp_path, RetentionMetric(days=(7, 7)))


def test_a_row_of_its_own_is_worth_nothing_to_policies() -> None:
    test = asking(
        RetentionMetric(days=(7, 7)), off_policy={"propensity": "chance", "action": "item"}
    )
    [problem] = problems(test)
    assert problem.message == "`it` is of kind `retention`, to which a row adds nothing of its own"
