"""What every kind of metric promises. Its own test file inherits this."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter
from scipy import stats

from fulcrum.pipelines.ab.log.columns import ARM, TIME, UNIT
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import Log, stage
from fulcrum.pipelines.ab.log.totals import FIRST, aged, final, settled, sums
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.metrics import METRICS, MetricChoice, MetricConfig
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator
from fulcrum.pipelines.ab.statistics import bootstrap, cuped, effects
from fulcrum.pipelines.ab.statistics.users import Users
from tests.pipelines.ab.logs import BEGAN, HOUR, experiment

TESTS, USERS = 100, 200
ARMS = ("control", "treatment")


def rows(users: int, lift: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Visits of users with tastes of their own, who come on the first of five days and perhaps
    again on the two that follow; `lift` is how much more the treated like what they see. On the
    fifth day one more user comes to each arm, so that the log goes on until then."""
    rng = np.random.default_rng(seed)
    treated = rng.random(users) < 0.5
    taste = rng.gamma(4, 0.25, users) * (1 + lift * treated)
    who = np.repeat(np.arange(users), 1 + rng.poisson(3 * taste))
    first = np.concatenate([[True], who[1:] != who[:-1]])
    day = np.where(first, 0, rng.integers(0, 3, len(who)))
    hour = np.where(first, 0, rng.integers(0, 24, len(who)))
    log = pl.DataFrame(
        {
            "user_id": who,
            "arm": np.where(treated, *ARMS[::-1])[who],
            "hour": 24 * day + hour,
            "click": (rng.random(len(who)) < 0.1 * taste[who]).astype(float),
            "watch": rng.exponential(taste[who]),
            "item": rng.integers(0, 30, len(who)),
        }
    )
    late = {"user_id": [-1, -2], "arm": ARMS, "hour": 4 * 24, "click": 1.0, "watch": 1.0, "item": 0}
    both = pl.concat([log, pl.DataFrame(late).cast(dict(log.schema))])
    began = int(np.datetime64(BEGAN, "us").astype(np.int64))
    time = (began + pl.col("hour") * HOUR).cast(pl.Datetime("us"))
    return both.with_columns(time.alias("time")).drop("hour")


def staged(log: pl.DataFrame, folder: Path, metric: MetricConfig, **changes: Any) -> Log:
    folder.mkdir(exist_ok=True)
    log.write_parquet(folder / "log.parquet")
    return stage([str(folder / "log.parquet")], asking(metric, **changes), folder)


def asking(metric: MetricConfig, **changes: Any) -> Any:
    """The test whose only metric is called `it`."""
    return experiment(metrics={"it": metric.model_dump() | {"role": "primary"}}, **changes)


def gathered(log: pl.DataFrame, folder: Path, metric: MetricConfig, **changes: Any) -> Units:
    return gather(staged(log, folder, metric, **changes), asking(metric, **changes))


class MetricContract:
    """Tests that hold for every kind of metric."""

    kind: str
    settings: dict[str, Any]
    """Of a metric of `rows`, without its kind."""
    has_past = True
    """Whether what users did a week earlier tells anything of what they do."""

    def config(self) -> MetricConfig:
        return METRICS[self.kind].model_validate({"kind": self.kind, **self.settings})

    def by_hand(self, log: pl.DataFrame) -> float:
        """The metric's value in rows of one arm."""
        raise NotImplementedError

    def test_is_listed(self) -> None:
        assert METRICS[self.config().kind] is type(self.config())

    def test_config_round_trips(self) -> None:
        config = self.config()
        adapter = TypeAdapter[MetricConfig](MetricChoice)
        assert adapter.validate_json(config.model_dump_json()) == config

    def test_an_arms_value_is_the_metric_of_its_rows(self, tmp_path: Path) -> None:
        log = rows(400)
        units = gathered(log, tmp_path, self.config())
        for arm in ARMS:
            users = units.users("it", units.arm(arm))
            assert len(users) == units.arm(arm)[numerator("it")].count()
            by_hand = self.by_hand(log.filter(pl.col("arm") == arm))
            assert users.value == pytest.approx(by_hand, rel=1e-9)

    def test_order_of_rows_and_files_changes_nothing(self, tmp_path: Path) -> None:
        log = rows(60)
        whole = gathered(log, tmp_path / "whole", self.config())
        mixed = log.sample(fraction=1, shuffle=True, seed=1)
        files = [tmp_path / f"{n}.parquet" for n in range(3)]
        for n, file in enumerate(files):
            mixed[n::3].write_parquet(file)
        test = asking(self.config())
        parts = gather(stage([str(file) for file in files], test, tmp_path), test)
        columns = [numerator("it"), denominator("it")]
        assert parts.frame[UNIT].equals(whole.frame[UNIT])
        for one, other in ((parts.frame, whole.frame), (parts.daily, whole.daily)):
            for column in set(columns) & set(other.columns):
                np.testing.assert_allclose(one[column], other[column], rtol=1e-12)

    def test_intervals_are_wrong_as_often_as_they_say(self, tmp_path: Path) -> None:
        """100 A/A tests of 200 users at 5 %, to the ends of a binomial 99.8 % band."""
        metrics = {"it": self.config()}
        log = aged(staged(rows(TESTS * USERS), tmp_path, self.config()).rows, metrics)
        totals = log.group_by(UNIT).agg(
            pl.col(ARM).min(), pl.col(TIME).min().alias(FIRST), *sums(metrics)
        )
        end = log.select(pl.col(TIME).max()).collect().item()
        units = final(totals.collect().sort(UNIT), metrics, end).drop_nulls(numerator("it"))
        number = pl.col(UNIT).cast(pl.Int64) // USERS
        wrong = 0
        for part in units.with_columns(number.alias("test")).partition_by("test"):
            if part["test"][0] < 0:
                continue
            arms = settled(part, metrics, [ARM]).partition_by(ARM, as_dict=True)
            sides = [
                Users(*(arms[(arm,)][c("it")].to_numpy() for c in (numerator, denominator)))
                for arm in ARMS
            ]
            wrong += effects.compare(*sides).p_value < 0.05
        low, high = stats.binom.ppf([0.001, 0.999], TESTS, 0.05)
        assert low <= wrong <= high

    def test_a_planted_effect_is_found_by_formula_and_by_drawing(self, tmp_path: Path) -> None:
        units = gathered(rows(1000, lift=1.0), tmp_path, self.config())
        sides = [units.users("it", units.arm(arm)) for arm in ARMS]
        effect, drawn = effects.compare(*sides), bootstrap.compare(*sides)
        assert effect.low > 0 and drawn.low > 0
        assert drawn.se == pytest.approx(effect.se, rel=0.1)

    def test_the_same_rows_a_week_earlier_tell_most_of_it(self, tmp_path: Path) -> None:
        log = rows(400)
        earlier = log.with_columns(pl.col("time") - pl.duration(days=7))
        both = pl.concat([log, earlier])
        units = gathered(both, tmp_path, self.config(), pre_period={"until": BEGAN})
        sides = [units.users("it", units.arm(arm)) for arm in ARMS]
        correlation = cuped.adjust(*sides).correlation
        least = 0.8  # of 1; an arm's quantile is not that of both, so a few units change sides
        assert correlation > least if self.has_past else correlation < 0.5
