import numpy as np
import polars as pl
import pytest

from fulcrum.pipelines.ab.simulation.estimators.pooling import PoolingConfig
from fulcrum.pipelines.ab.simulation.estimators.snapshot import SnapshotConfig
from fulcrum.pipelines.ab.simulation.estimators.weighted import WeightedConfig
from fulcrum.pipelines.ab.simulation.feed.behaviours import EXPECTED
from fulcrum.pipelines.ab.simulation.feed.life import COLUMNS, FeedConfig, everyone, live, place

SMALL = FeedConfig(users=120, videos=200, before=2, days=3)


def log(config: FeedConfig = SMALL) -> pl.DataFrame:
    here = place(config)
    days: list[pl.DataFrame] = []
    live(here, here.treated, config.design, days.append)
    return pl.concat(days)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return log()


def test_the_log_has_kuairands_columns_then_the_tests(rows):
    assert rows.columns == [*COLUMNS, "arm", "instance"]
    assert all(dtype == pl.Int64 for name, dtype in rows.schema.items() if name != "arm")


def test_a_seed_decides_every_row(rows):
    assert rows.equals(log())
    assert not rows.equals(log(SMALL.model_copy(update={"seed": 1})))


def test_arms_begin_with_the_test_and_users_keep_theirs(rows):
    begins = rows.filter(pl.col("arm").is_not_null())["date"].min()
    assert begins == 20220411  # one day at random and two before, from the 8th
    assert rows.filter(pl.col("date") < begins)["arm"].null_count() == (rows["date"] < begins).sum()
    arms = rows.drop_nulls("arm").group_by("user_id").agg(pl.col("arm").n_unique())
    assert (arms["arm"] == 1).all()
    assert set(rows["arm"].drop_nulls()) == {"control", "treatment"}


def test_the_first_day_is_random(rows):
    assert (rows["is_rand"] == (rows["date"] == 20220408)).all()


def test_dates_are_of_beijing(rows):
    when = pl.from_epoch("time_ms", "ms").dt.convert_time_zone("Asia/Shanghai")
    assert rows.select((when.dt.strftime("%Y%m%d").cast(pl.Int64) == pl.col("date")).all()).item()
    assert rows.select((when.dt.hour().cast(pl.Int64) * 100 == pl.col("hourmin")).all()).item()


def test_nobody_watches_two_videos_at_once(rows):
    """A video begins after the last one's play and stays; sessions lie half an hour apart."""
    spent = pl.col("play_time_ms") + pl.col("profile_stay_time") + pl.col("comment_stay_time")
    ordered = rows.sort("user_id", "time_ms")
    gaps = ordered.select(
        (pl.col("time_ms") - (pl.col("time_ms") + spent).shift()).over("user_id").alias("gap")
    )["gap"].drop_nulls()
    assert gaps.min() >= 2000 - 1
    long = gaps.filter(gaps > 5000)
    assert len(long) > 100 and long.min() > 30 * 60 * 1000


def test_nothing_happens_to_who_comes_and_when_in_other_worlds():
    """Users, sessions and what is offered do not depend on what is shown."""
    here = place(SMALL)
    logs: dict[bool, list[pl.DataFrame]] = {True: [], False: []}
    for treated in logs:
        live(here, everyone(here, treated), None, logs[treated].append)
    one, other = (pl.concat(days) for days in logs.values())
    assert (
        one.group_by("user_id")
        .len()
        .sort("user_id")
        .equals(other.group_by("user_id").len().sort("user_id"))
    )
    same = [c for c in one.columns if c != "arm"]
    before = one["arm"].is_null().sum()
    assert one[:before].select(same).equals(other[:before].select(same))
    assert not one.select(same).equals(other.select(same))


def test_equal_arms_are_the_world_without_a_test():
    config = SMALL.model_copy(update={"alpha_treatment": SMALL.alpha_control})
    here = place(config)
    test = live(here, here.treated, PoolingConfig())
    alone = live(here, everyone(here, False), None)
    np.testing.assert_allclose(test.sums.sum(0), alone.sums.sum(0), rtol=1e-6)
    assert test.rows.sum() == alone.rows[0]


def test_a_classifier_that_waits_is_pooling():
    here = place(SMALL)
    pooled = live(here, here.treated, PoolingConfig())
    waiting = live(here, here.treated, WeightedConfig(delay=10**6))
    np.testing.assert_array_equal(pooled.sums, waiting.sums)


def test_snapshots_learn_until_the_test_only():
    here = place(SMALL)
    frozen = live(here, here.treated, SnapshotConfig())
    pooled = live(here, here.treated, PoolingConfig())
    assert not np.array_equal(frozen.sums, pooled.sums)


def test_recommenders_learn_and_choose_what_they_are_told_to():
    """Users like more of what the control shows than of random videos, and watch more of the
    treatment's."""
    config = FeedConfig(users=1000, videos=500, before=4, days=8)
    here = place(config)
    worlds = [live(here, everyone(here, treated), None) for treated in (False, True)]
    control, treatment = worlds[0].means[0], worlds[1].means[1]
    chance = place(config.model_copy(update={"random_days": 9, "before": 0, "days": 1}))
    days: list[pl.DataFrame] = []
    live(chance, everyone(chance, False), None, days.append)
    random = pl.concat(days[:9])
    like, watch = EXPECTED.index("like"), EXPECTED.index("watch_time")
    assert control[like] > 1.5 * random["is_like"].mean()
    assert treatment[watch] > 1.1 * control[watch]
    assert treatment[like] < control[like]


def test_instances_have_users_of_their_own():
    rows = log(SMALL.model_copy(update={"instances": 3}))
    assert set(rows["instance"]) == {0, 1, 2}
    by_user = rows.group_by("user_id").agg(pl.col("instance").n_unique())
    assert (by_user["instance"] == 1).all()
