"""From rows to units: what is summed, what is refused, and in which words."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ConfigError, DataError
from fulcrum.pipelines.ab.log.columns import ARM, CLUSTER, UNIT, segment
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.ab.log.units import CAME, FIRST, ROWS, Units
from fulcrum.pipelines.ab.metrics.columns import numerator
from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.ab.statistics.intervals import clustered
from tests.pipelines.ab.logs import BEGAN, experiment, log


def units(rows: pl.DataFrame, folder: Path, test: Experiment | None = None) -> Units:
    file = folder / "log.parquet"
    rows.write_parquet(file)
    test = test or experiment()
    return gather(stage([str(file)], test, folder), test)


def test_a_unit_is_one_row_with_the_sums_of_its_rows(tmp_path: Path) -> None:
    rows = log(users=300)
    gathered = units(rows, tmp_path)
    by_hand = rows.group_by("user_id").agg(
        pl.col("click").sum(), pl.len(), pl.col("time").min().dt.epoch("us").alias("first")
    )
    both = gathered.frame.with_columns(pl.col(UNIT).cast(pl.Int64)).join(
        by_hand, left_on=UNIT, right_on="user_id"
    )
    assert len(both) == len(gathered.frame) == 300
    assert (both[numerator("ctr")] == both["click"]).all()
    assert (both[ROWS] == both["len"]).all()
    assert (both[FIRST] == both["first"]).all()
    assert gathered.frame[FIRST].is_sorted()
    assert gathered.rows == len(rows)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), parts=st.integers(1, 4))
def test_order_of_rows_and_files_changes_nothing(seed: int, parts: int, tmp_path: Path) -> None:
    rows = log(users=60)
    test = experiment(segments={"country": "country"})
    shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
    folder = tmp_path / f"{seed}-{parts}"
    folder.mkdir()
    files = [folder / f"{i}.parquet" for i in range(parts)]
    for i, file in enumerate(files):
        shuffled[i::parts].write_parquet(file)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    again = gather(stage([str(file) for file in files], test, out), test)
    whole = units(rows, tmp_path, test)
    assert again.frame.equals(whole.frame)
    assert again.daily.equals(whole.daily)


def test_order_changes_nothing_where_rows_are_the_units(tmp_path: Path) -> None:
    rows = log(users=100)
    test = experiment().model_copy(update={"unit": None})
    plain = units(rows, tmp_path, test).frame.drop(UNIT)
    shuffled = units(rows.sample(fraction=1, shuffle=True, seed=1), tmp_path, test).frame.drop(UNIT)
    assert len(plain) == len(rows)
    assert plain.equals(shuffled)


def test_where_and_derived_columns_are_as_in_a_run(tmp_path: Path) -> None:
    rows = log(users=200)
    test = experiment(
        log={
            "time": {"column": "time"},
            "derive": {"long": "watch > 20"},
            "where": "country <> 'jp'",
        },
        metrics={"long": {"kind": "mean", "value": "long", "role": "primary"}},
    )
    gathered = units(rows, tmp_path, test)
    remaining = rows.filter(pl.col("country") != "jp")
    assert gathered.frame[numerator("long")].sum() == (remaining["watch"] > 20).sum()
    assert gathered.filtered == len(rows) - len(remaining)
    assert sum(gathered.dealt.values()) == 200  # before the filter


def test_side_tables_say_what_rows_lack(tmp_path: Path) -> None:
    rows = log(users=100).drop("country")
    table = tmp_path / "users.csv"
    pl.DataFrame({"user_id": range(50), "plan": ["free", "paid"] * 25}).write_csv(table)
    test = experiment(
        log={
            "time": {"column": "time"},
            "tables": {"users": {"path": str(table), "key": "user_id"}},
        },
        segments={"plan": "plan"},
    )
    counts = dict(units(rows, tmp_path, test).frame[segment("plan")].value_counts().iter_rows())
    assert counts == {"free": 25, "paid": 25, "unknown": 50}


def test_rows_before_the_test_are_the_past_of_units(tmp_path: Path) -> None:
    rows = log(users=200, before=7)
    test = experiment(pre_period={"until": BEGAN})
    gathered = units(rows, tmp_path, test)
    past = rows.filter(pl.col("time") < pl.lit(BEGAN).str.to_datetime())
    here = set(rows.filter(pl.col("time") >= pl.lit(BEGAN).str.to_datetime())["user_id"])
    assert gathered.before == len(past)
    assert set(gathered.frame[UNIT].cast(pl.Int64)) == here
    clicks = past.filter(pl.col("user_id").is_in(list(here)))["click"].sum()
    assert gathered.frame[f"before.{numerator('ctr')}"].sum() == clicks
    users = gathered.users("ctr", gathered.arm("control"))
    assert users.before is not None
    with_past = set(past["user_id"])
    alone = [int(u) not in with_past for u in gathered.arm("control")[UNIT]]
    assert (np.isnan(users.before) == alone).all()


def test_a_total_is_cut_off_at_both_ends_at_quantiles_of_both_arms(tmp_path: Path) -> None:
    rows = log(users=300)
    metric = {"kind": "mean", "value": "watch", "role": "primary"}
    plain = units(rows, tmp_path, experiment(metrics={"watch": metric}))
    cut = units(rows, tmp_path, experiment(metrics={"watch": metric | {"winsorise": 0.9}}))
    totals = plain.frame[numerator("watch")]
    limit = totals.quantile(0.9, "higher")
    least = totals.quantile(0.1, "lower")
    assert cut.frame[numerator("watch")].max() == limit
    assert cut.frame[numerator("watch")].sum() == totals.clip(least, limit).sum()


def test_units_in_both_arms_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = log(users=100)
    other = pl.when(pl.col("user_id") < 3).then(pl.lit("control")).otherwise(pl.col("arm"))
    extra = rows.group_by("user_id").first().with_columns(other.alias("arm"))
    both = pl.concat([rows, extra.select(rows.columns)])
    crossers = (both.group_by("user_id").agg(pl.col("arm").n_unique())["arm"] > 1).sum()
    gathered = units(both, tmp_path)
    assert gathered.crossed == crossers > 0
    assert len(gathered.frame) == 100 - crossers
    assert (
        gathered.test.select(pl.len()).collect().item()
        == gathered.rows
        == gathered.frame[ROWS].sum()
    )


@pytest.mark.parametrize("nobody", [None, "", float("nan")])
@pytest.mark.parametrize("before", [0, 7])
def test_rows_of_nobody_change_nothing(nobody: Any, before: int, tmp_path: Path) -> None:
    """Each is of some unit, but not all are of one, which would be in both arms."""
    rows = log(users=200, before=before)
    rows = rows.cast({"user_id": pl.String if nobody == "" else pl.Float64})
    test = experiment(pre_period={"until": BEGAN}) if before else experiment()
    whose = pl.lit(nobody, rows.schema["user_id"]).alias("user_id")
    plain, mixed = (
        units(frame, tmp_path, test)
        for frame in (rows, pl.concat([rows, rows.with_columns(whose)]))
    )
    assert mixed.frame.equals(plain.frame)
    assert mixed.daily.equals(plain.daily)
    assert (mixed.crossed, mixed.rows, mixed.dealt) == (0, plain.rows, plain.dealt)
    assert (mixed.before, mixed.nobody, plain.nobody) == (plain.before, plain.rows, 0)
    with pytest.raises(DataError, match=r"no row in the log .*rows of the test name nobody in"):
        units(rows.with_columns(whose), tmp_path, test)


def test_a_value_that_an_expression_does_not_take_is_named(tmp_path: Path) -> None:
    text = pl.when(pl.int_range(pl.len()) == 16).then(pl.lit("n/a")).otherwise(pl.lit("7"))
    metric = {"kind": "mean", "value": "cost", "role": "primary"}
    derive = {"cost": "CAST(paid AS DOUBLE)"}
    test = experiment(metrics={"cost": metric}, log={"derive": derive})
    message = r"analysis\.log\.derive\.cost: .* does not fit `n/a` in `paid`.*\(row 17 of the log\)"
    with pytest.raises(DataError, match=message):
        units(log(users=50).with_columns(text.alias("paid")), tmp_path, test)


def test_rows_without_an_arm_are_outside_the_test(tmp_path: Path) -> None:
    rows = log(users=100)
    outside = rows.with_columns(
        pl.col("user_id") + 1000, pl.lit(None, pl.String).alias("arm"), click=99.0
    )
    gathered = units(pl.concat([rows, outside]), tmp_path)
    assert gathered.outside == len(rows)
    assert gathered.frame.equals(units(rows, tmp_path).frame)


def wrong(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The log with one thing that is not right."""
    later = pl.col("time") + pl.duration(days=30)
    treated = pl.col("arm") == "treatment"
    changes: dict[str, Any] = {
        "no such column": rows.rename({"click": "clicks"}),
        "arm column": rows.rename({"arm": "arms"}),
        "unnamed arm": rows.with_columns(pl.col("arm").replace("treatment", "treatmen")),
        "empty arm": rows.filter(~treated),
        "in both arms": rows.with_columns(
            pl.Series("arm", ["control", "treatment"] * (len(rows) // 2 + 1))[: len(rows)]
        ),
        "no time": rows.with_columns(pl.when(pl.col("click") == 0).then("time")),
        "one after the other": rows.with_columns(pl.when(treated).then(later).otherwise("time")),
        "text": rows.with_columns(pl.col("click").cast(pl.String) + "!"),
    }
    return changes[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no such column",
            "analysis.metrics.ctr.numerator: `click`: there is no column `click`; did you mean "
            "`clicks`?",
        ),
        ("arm column", "analysis.log.arm: there is no column `arm`; did you mean `arms`?"),
        (
            "unnamed arm",
            "the log has an arm `treatmen` that the experiment does not name; expected one of "
            "control, treatment; did you mean `treatment`?",
        ),
        ("empty arm", "arm `treatment` has no row in the log; expected rows of each arm"),
        ("no time", "rows of the test have no time in `time`"),
        ("one after the other", "never at the same time, so that times, not arms, would be"),
        ("text", "analysis.metrics.ctr.numerator: `click` is String; expected numbers"),
    ],
)
def test_bad_rows_get_one_clear_message(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        units(wrong(name, log(users=100)), tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_log_most_of_whose_units_are_in_both_arms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\d+ of 100 units are in several arms, for example '\d+'"):
        units(wrong("in both arms", log(users=100)), tmp_path)


def test_an_arm_that_the_filter_empties_is_told(tmp_path: Path) -> None:
    test = experiment(log={"time": {"column": "time"}, "where": "arm = 'control'"})
    with pytest.raises(DataError, match=r"no row in the log that meets `analysis\.log\.where`"):
        units(log(users=50), tmp_path, test)


def test_a_test_that_begins_after_its_log_is_told(tmp_path: Path) -> None:
    test = experiment(pre_period={"until": "2030-01-01"})
    with pytest.raises(DataError, match="arm `control` has no row in the log since the test began"):
        units(log(users=50), tmp_path, test)


def test_a_beginning_that_is_no_time_is_told(tmp_path: Path) -> None:
    test = experiment(pre_period={"until": "last week"})
    with pytest.raises(DataError, match="'last week' is no time; expected ISO 8601"):
        units(log(users=50), tmp_path, test)


def test_a_segment_that_is_no_property_of_units_is_told(tmp_path: Path) -> None:
    test = experiment(segments={"item": "item"})
    with pytest.raises(DataError, match=r"segments.item: `item` has several values for \d+ of 50"):
        units(log(users=50), tmp_path, test)


def test_an_experiment_without_an_analysis_is_told(tmp_path: Path) -> None:
    test = experiment().model_copy(update={"analysis": None})
    with pytest.raises(ConfigError, match="the experiment has no `analysis`"):
        stage(["nowhere"], test, tmp_path)


def test_every_unit_of_an_arm_is_its_own(tmp_path: Path) -> None:
    gathered = units(log(users=80), tmp_path)
    assert sum(len(gathered.arm(arm)) for arm in ("control", "treatment")) == len(gathered.frame)
    assert gathered.arm("control")[ARM].unique().to_list() == ["control"]


@pytest.mark.parametrize("dtype", [pl.Decimal(38, 0), pl.Int64, pl.UInt64])
def test_wide_ids_stay_apart(tmp_path: Path, dtype: Any) -> None:
    """Beyond 2^53, where neighbours would be one and the same float."""
    wide = (pl.col("user_id") + 2**53).cast(dtype)
    gathered = units(log(users=2000).with_columns(user_id=wide), tmp_path)
    assert len(gathered.frame) == 2000
    assert gathered.crossed == 0


def test_files_that_disagree_are_told_where_to_say_what_ids_are(tmp_path: Path) -> None:
    rows = log(users=20)
    rows.write_parquet(tmp_path / "a.parquet")
    rows.with_columns(pl.col("user_id").cast(pl.String)).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"`types: \{user_id: String\}` under `analysis\.log`"):
        stage([str(tmp_path)], experiment(), tmp_path)
    settings = {"time": {"column": "time"}, "types": {"user_id": "String"}}
    test = experiment(log=settings)
    logs = [str(tmp_path / f"{name}.parquet") for name in "ab"]
    assert len(gather(stage(logs, test, tmp_path), test).frame) == 20


@pytest.mark.parametrize("types", [{}, {"user_id": "String"}])
def test_units_of_text_files_keep_their_zeros(tmp_path: Path, types: dict[str, str]) -> None:
    rows = log(users=2000).with_columns(
        user_id=pl.when(pl.col("user_id") % 2 == 0)
        .then(pl.format("0{}", pl.col("user_id") // 2))
        .otherwise(pl.format("{}", pl.col("user_id") // 2))
    )
    file = tmp_path / "log.csv"
    rows.write_csv(file)
    settings = {"time": {"column": "time"}, "types": types}
    test = experiment(log=settings)
    gathered = gather(stage([str(file)], test, tmp_path), test)
    assert len(gathered.frame) == 2000


def test_arms_that_the_condition_removes_need_no_name(tmp_path: Path) -> None:
    rows = log(users=150)
    third = pl.when(pl.col("user_id") < 30).then(pl.lit("third")).otherwise("arm").alias("arm")
    test = experiment(log={"time": {"column": "time"}, "where": "arm <> 'third'"})
    gathered = units(rows.with_columns(third), tmp_path, test)
    assert len(gathered.frame) == 120 and set(gathered.dealt) == {"control", "treatment"}
    with pytest.raises(DataError, match="an arm `third` that the experiment does not name"):
        units(rows.with_columns(third), tmp_path)


def test_a_log_of_nobody_is_told_how_to_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^unit: there is no column `user_id`.* with `unit: null`"):
        units(log(users=20).drop("user_id"), tmp_path)


def test_rows_count_while_the_window_of_their_unit_is_open(tmp_path: Path) -> None:
    rows = log(users=300)
    metric = {"kind": "mean", "value": "click", "role": "primary", "window": "2d"}
    gathered = units(rows, tmp_path, experiment(metrics={"clicks": metric}))
    first = pl.col("time").min().over("user_id")
    ripe = rows.filter(first + pl.duration(days=2) <= pl.col("time").max())
    inside = ripe.filter(pl.col("time") < first + pl.duration(days=2))
    users = gathered.users("clicks", gathered.frame)
    assert len(users) == ripe["user_id"].n_unique() < 300
    assert gathered.waiting == {"clicks": 300 - len(users)}
    assert users.numerator.sum() == inside["click"].sum() > 0


def test_what_needs_times_is_refused_without_any(tmp_path: Path) -> None:
    metric = {"kind": "mean", "value": "click", "role": "primary", "window": "2d"}
    for changes in ({"metrics": {"clicks": metric}}, {"pre_period": {"until": BEGAN}}):
        with pytest.raises(ConfigError, match=r"needs `analysis\.log\.time`"):
            units(log(users=20), tmp_path, experiment(log={}, **changes))


def test_a_covariate_is_what_was_known_before(tmp_path: Path) -> None:
    rows = log(users=200).with_columns(
        known=pl.when(pl.col("user_id") % 4 > 0).then(pl.col("user_id") * 2.0)
    )
    metric = {"kind": "mean", "value": "click", "role": "primary", "covariate": "known / 2"}
    gathered = units(rows, tmp_path, experiment(metrics={"clicks": metric}))
    users = gathered.users("clicks", gathered.frame)
    who = gathered.frame[UNIT].cast(pl.Int64).to_numpy()
    assert users.before is not None and gathered.has_past
    np.testing.assert_array_equal(users.before, np.where(who % 4 > 0, who, np.nan))
    changing = metric | {"covariate": "item"}
    with pytest.raises(DataError, match=r"clicks\.covariate: `item` has several values"):
        units(rows, tmp_path, experiment(metrics={"clicks": changing}))


def test_days_begin_by_the_clocks_of_the_zone(tmp_path: Path) -> None:
    """23:30 in UTC is half past seven on the next day in Shanghai."""
    rows = log(users=50)
    late = rows.with_columns(
        pl.col("time").dt.truncate("1d").dt.offset_by("23h30m").dt.replace_time_zone("UTC")
    )
    zone = {"time": {"column": "time", "zone": "Asia/Shanghai"}}
    utc, there = (units(late, tmp_path, test) for test in (experiment(), experiment(log=zone)))
    assert (there.frame[CAME] == utc.frame[CAME] + 1).all()
    assert (there.daily["day"] == utc.daily["day"] + 1).all()


def test_devices_of_one_person_are_one_entry(tmp_path: Path) -> None:
    """Three devices each, in one arm: errors are those of a regression of devices whose errors hang
    together within persons, but for its factors of small samples."""
    rows = log(users=1200)
    person = pl.col("user_id") // 3
    arms = pl.when(person % 2 == 0).then(pl.lit("control")).otherwise(pl.lit("treatment"))
    rows = rows.with_columns(person.alias("person"), arms.alias("arm"))
    settings = {"time": {"column": "time"}, "cluster": "person"}
    metric = {"kind": "mean", "value": "click", "role": "primary"}
    test = experiment(metrics={"clicks": metric}, log=settings)
    gathered = units(rows, tmp_path, test)
    control, treatment = (
        gathered.users("clicks", gathered.arm(a)) for a in ("control", "treatment")
    )
    assert (len(gathered.frame), len(control) + len(treatment)) == (1200, 400)
    effect = effects.compare(control, treatment)
    whole = gathered.frame
    regression = clustered.compare(
        whole[numerator("clicks")].to_numpy(),
        whole[CLUSTER].to_numpy(),
        (whole[ARM] == "treatment").to_numpy(),
    )
    assert effect.difference == pytest.approx(regression.difference)
    assert effect.se == pytest.approx(regression.se, rel=0.01)
    entries = gathered.entries("clicks", whole)
    assert gathered.entries("clicks", entries).equals(entries)
    shared = rows.with_columns(person=pl.col("item"))
    with pytest.raises(DataError, match=r"analysis\.log\.cluster: `person` has several values"):
        units(shared, tmp_path, test)


def test_a_unit_without_a_cluster_is_its_own(tmp_path: Path) -> None:
    rows = log(users=90).with_columns(pl.lit(None, pl.String).alias("person"))
    settings = {"time": {"column": "time"}, "cluster": "person"}
    gathered = units(rows, tmp_path, experiment(log=settings))
    plain = units(rows, tmp_path)
    one, other = (g.users("ctr", g.frame) for g in (gathered, plain))
    np.testing.assert_array_equal(one.numerator, other.numerator)
