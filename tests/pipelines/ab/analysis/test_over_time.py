"""The effect as units came and day by day, read off a log."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis import over_time
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics.effects import compare
from tests.pipelines.ab.logs import analysed, experiment, log

SEQUENTIAL = experiment(plan={"kind": "sequential", "tuned_for": 500})


def units(rows: pl.DataFrame, folder: Path, test: Experiment = SEQUENTIAL) -> Units:
    rows.write_parquet(folder / "log.parquet")
    return gather(stage([str(folder / "log.parquet")], test, folder), test)


def test_the_course_ends_at_the_effect_of_all_units(tmp_path: Path) -> None:
    gathered = units(log(users=600, lift=0.2), tmp_path)
    [course] = over_time.courses(gathered, SEQUENTIAL, "ctr")
    arms = [gathered.users("ctr", gathered.arm(arm)) for arm in ("control", "treatment")]
    whole = compare(*arms)
    assert course.users[-1] == 600
    assert course.difference[-1] == pytest.approx(whole.difference)
    assert course.low[-1] < whole.difference < course.high[-1]
    assert list(course.low) == sorted(course.low)
    assert list(course.high) == sorted(course.high, reverse=True)
    assert list(course.p) == sorted(course.p, reverse=True)
    assert len(course.users) == over_time.LOOKS
    assert course.sentence.endswith("(mSPRT): it leaves 0.")


def test_without_an_effect_none_is_shown(tmp_path: Path) -> None:
    [course] = over_time.courses(units(log(users=600), tmp_path), SEQUENTIAL, "ctr")
    assert course.low[-1] < 0 < course.high[-1]
    assert course.sentence.endswith("(mSPRT): it holds 0.")


def test_arms_that_swap_names_swap_the_course(tmp_path: Path) -> None:
    rows = log(users=300, lift=0.1)
    swapped = rows.with_columns(
        pl.col("arm").replace({"control": "treatment", "treatment": "control"})
    )
    [one], [other] = (
        over_time.courses(units(r, tmp_path), SEQUENTIAL, "ctr") for r in (rows, swapped)
    )
    assert other.difference == pytest.approx(-np.array(one.difference))
    assert other.low == pytest.approx(-np.array(one.high))
    assert other.p == pytest.approx(one.p)


def test_an_effect_that_grows_is_a_trend(tmp_path: Path) -> None:
    """.05 more each day, so the slope is that."""
    rows = log(users=3000)
    day = (pl.col("time").dt.day() - 4).cast(pl.Float64)
    grown = pl.when(arm="treatment").then(pl.col("click") + 0.05 * day).otherwise("click")
    test = experiment()
    [daily] = over_time.daily(units(rows.with_columns(click=grown), tmp_path, test), test, "ctr")
    assert daily.days == tuple(f"2024-03-{day:02d}" for day in range(4, 11))
    assert daily.slope_low < 0.05 < daily.slope_high
    assert "it is not the same at the end as at the beginning" in daily.sentence


def test_days_of_new_models_are_marked(tmp_path: Path) -> None:
    """Treatment's model is new from the third day on, control's never; each instance counts."""
    rows = log(users=300)
    newer = (pl.col("arm") == "treatment") & (pl.col("time").dt.day() >= 6)
    version = pl.when(newer).then(2).otherwise(1) + 10 * (pl.col("user_id") % 2)
    columns = {"time": {"column": "time"}, "version": "version", "instance": "half"}
    test = experiment(log=columns)
    rows = rows.with_columns(version=version, half=pl.col("user_id") % 2)
    [marked] = over_time.daily(units(rows, tmp_path, test), test, "ctr")
    assert marked.retrained == ("2024-03-06",)
    [plain] = over_time.daily(units(rows, tmp_path, experiment()), experiment(), "ctr")
    assert plain.retrained == ()


def test_a_steady_effect_shows_no_trend(tmp_path: Path) -> None:
    test = experiment()
    [daily] = over_time.daily(units(log(users=600, lift=0.1), tmp_path, test), test, "ctr")
    assert daily.p_value > 0.05
    assert daily.sentence.endswith(": no trend shown.")


def test_what_needs_more_is_told_in_notes_beside_all_else(tmp_path: Path) -> None:
    """Two days have no trend, and some users too few to look early at."""
    few = analysed(log(users=30, days=2), tmp_path, SEQUENTIAL)
    assert few.decision == "keep running" and not few.metrics[0].effects
    assert not few.over_time and not few.days
    compared, early, trend = few.notes
    assert compared.startswith("ctr is not compared: ") and "needs 20 in each" in compared
    assert early.startswith("Looking early: ") and "needs 20 in each" in early
    assert trend == (
        "Trend: 2 days with two or more users in both arms; a trend needs three or more."
    )


def test_a_log_without_times_has_no_order_and_is_judged_by_its_last_look(tmp_path: Path) -> None:
    test = experiment(log={})
    rows = log(users=300, lift=0.2)
    timeless = analysed(rows, tmp_path, test)
    assert "in whose order units came" in timeless.notes[0] and not timeless.over_time
    [effect] = timeless.metrics[0].effects
    ordered = analysed(rows, tmp_path, experiment()).metrics[0].effects[0]
    assert effect.effect.low <= ordered.effect.low + 1e-12
    assert timeless.decision == "ship"
