"""What policies are worth where units come in clusters."""

from pathlib import Path

import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis import policies
from fulcrum.pipelines.ab.analysis.facts import PolicyValue
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from tests.pipelines.ab.logs import experiment, log


def valued(folder: Path, unit: str, cluster: str | None) -> PolicyValue:
    rows = log(users=300).with_columns(
        (pl.col("user_id") // 3 % 2 == 0).alias("even"), (pl.col("user_id") // 3).alias("person")
    )
    arm = pl.when("even").then(pl.lit("control")).otherwise(pl.lit("treatment"))
    rows = rows.with_columns(arm.alias("arm"), pl.lit(0.05).alias("chance"))
    rows.write_parquet(folder / "log.parquet")
    settings = {"time": {"column": "time"}} | ({} if cluster is None else {"cluster": cluster})
    test = experiment(log=settings, off_policy={"propensity": "chance", "action": "item"})
    test = test.model_copy(update={"unit": unit})
    units = gather(stage([str(folder / "log.parquet")], test, folder), test)
    return policies.values(policies.read(units, test, "ctr"), test)[0]


def test_a_cluster_is_drawn_whole(tmp_path: Path) -> None:
    """Three devices a person: as if the person were the unit."""
    devices = valued(tmp_path, "user_id", None)
    clusters = valued(tmp_path, "user_id", "person")
    persons = valued(tmp_path, "person", None)
    for part in ("low", "high", "value"):
        assert getattr(clusters.snips, part) == pytest.approx(getattr(persons.snips, part))
    assert clusters.snips.value == pytest.approx(devices.snips.value)
    assert clusters.snips.low != pytest.approx(devices.snips.low)
    assert clusters.observed_low == pytest.approx(persons.observed_low)
