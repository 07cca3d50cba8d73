"""The folder that `fulcrum serve --log` writes, read as a log."""

from pathlib import Path

import polars as pl
import pytest

from fulcrum.features.errors import ConfigError, DataError
from fulcrum.pipelines.ab.analysis.analyse import analyse
from fulcrum.pipelines.ab.log.experiment import Experiment, problems
from fulcrum.pipelines.ab.log.sizing import sizes
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.serving.experiments.columns import EXPOSURE
from fulcrum.serving.experiments.exposure_log import ExposureLog
from tests.pipelines.ab.logs import BEGAN, experiment, log

LIFT = 0.15
COLUMNS = {"user_id": pl.Int64(), "item": pl.Int64(), "score.click": pl.Float64()}


def shop(**changes: object) -> Experiment:
    return experiment(log={}, **changes).model_copy(update={"outcomes": ("click",)})


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The rows of `log` as the service logs them, some in Parquet and some in the journal; 200
    units were assigned and shown nothing."""
    rows = log(users=800, lift=LIFT).with_row_index("number").sort("time")
    rows = rows.with_columns(
        pl.col("time").dt.replace_time_zone("UTC"),
        pl.col("user_id").cast(pl.String).alias("unit"),
        pl.lit(0, pl.Int32).alias("row"),
        pl.lit(0.5).alias("score.click"),
        pl.col("number").cast(pl.String).alias("request"),
        (pl.col("user_id") % 5).cast(pl.Int32).alias("instance"),
        model=pl.lit("shop"),
        version=pl.lit("1"),
    )
    folder = tmp_path / "served"
    written = ExposureLog(folder, shop(), COLUMNS, rotate_bytes=200_000)
    exposures = rows.select(*EXPOSURE, *COLUMNS)
    idle = exposures.head(200).with_columns(
        pl.Series("unit", [f"idle {n}" for n in range(200)]),
        pl.Series("arm", ["control", "treatment"] * 100),
    )
    written.assign(idle)
    for part in exposures.iter_slices(500):
        written.expose(part["request"][0], part)
    written.add_outcomes(
        rows.filter(pl.col("click") == 1).select("request", "row", "time", "click")
    )
    written.close()
    return folder


def test_what_the_service_logged_is_analysed_as_it_is(served: Path) -> None:
    """Outcomes came for clicks alone, so the metric says what a missing one means."""
    clicks = {"kind": "ratio", "numerator": "coalesce(click, 0)", "role": "primary"}
    result = analyse([str(served)], shop(metrics={"ctr": clicks}))
    assert result.log.rows == len(log(users=800))
    assert sum(result.log.units.values()) == 800 + 200
    assert result.notes[0].startswith("200 of 1,000 units were dealt to an arm and have no row")
    assert result.checks[0].name == "sample ratio of the deal"
    assert result.checks[0].numbers["units.control"] == result.log.units["control"]
    assert result.sound
    effect = result.judged[0]
    assert effect.verdict == "better" and effect.raw.low < LIFT < effect.raw.high
    assert effect.instances is not None and effect.instances.replicated.instances == 5
    assert result.over_time and len(result.days[0].days) == 7


def test_outcomes_that_never_came_are_doubted_where_arms_differ(served: Path) -> None:
    result = analyse([str(served)], shop())
    assert not result.sound
    assert "In doubt, because a check failed (missing outcomes of ctr)" in result.headline
    assert result.decision == "keep running"


def test_neither_name_of_the_unit_may_tell_arms_apart(served: Path) -> None:
    def reading(column: str) -> Experiment:
        return shop(interference={"features": {"x": {"kind": "categorical", "column": column}}})

    assert problems(reading("item")) == problems(reading("unit")) == []
    [problem] = problems(reading("user_id"))
    assert "it reads the unit `user_id`" in problem.message
    with pytest.raises(ConfigError, match="it reads the unit `unit`, whose arm never changes"):
        stage([str(served)], reading("unit"), served.parent)


def test_a_size_is_read_off_it(served: Path) -> None:
    [size] = sizes([str(served)], shop(), 0.1, False, 0.8)
    assert size.users is not None and size.days is not None


def test_it_is_read_alone(served: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected it alone, not 2, or beside it rows"):
        stage([str(served), "more.parquet"], shop(), tmp_path)


def test_files_from_before_the_test_are_its_past(served: Path, tmp_path: Path) -> None:
    """Their unit has the name that it has in the experiment."""
    rows = log(users=800, lift=LIFT)
    earlier = rows.select("user_id", "click", pl.col("time") - pl.duration(days=7))
    earlier.write_parquet(tmp_path / "before.parquet")
    clicks = {"kind": "ratio", "numerator": "coalesce(click, 0)", "role": "primary"}
    test = shop(metrics={"ctr": clicks}, pre_period={"until": BEGAN})
    result = analyse([str(served), str(tmp_path / "before.parquet")], test)
    cuped = result.judged[0].cuped
    assert result.log.before == len(rows)
    assert cuped is not None and cuped.correlation > 0.9
    assert cuped.covered == 800 / 1000
