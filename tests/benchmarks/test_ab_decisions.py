"""The study of decisions: what it simulates, and a small one."""

import numpy as np
import polars as pl
import pytest

from benchmarks.ab_decisions import DAYS, INSTANCES, USERS, promised, rows, shipped, to_rich
from fulcrum.pipelines.console.terminal import as_text


def test_users_come_on_every_day_and_stay_in_their_arm_and_instance():
    log = rows(0, 0.0, learning=True)
    users = log.group_by("user_id").agg(pl.col("arm", "instance").n_unique(), pl.col("day").min())
    assert users["arm"].max() == users["instance"].max() == 1
    assert np.bincount(users["day"], minlength=DAYS).min() > 100
    assert len(users) == USERS
    assert sorted(log["instance"].unique()) == list(range(INSTANCES))


@pytest.mark.slow
def test_a_small_study_ships_seldom_what_is_no_better():
    """Four or more of six at 5 % each have a chance of 1 in 12,000."""
    found = shipped("A/A", range(6), 0.0, learning=False)
    assert found.low <= found.share <= found.high and found.shipped <= 3
    assert promised() > 0
    assert "A/A" in as_text(to_rich([found]))
