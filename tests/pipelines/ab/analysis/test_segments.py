"""Effects among some units only: what is said, what is left out, and how many are looked at."""

from pathlib import Path

import polars as pl
import pytest
from scipy import stats

from fulcrum.pipelines.ab.analysis import segments
from fulcrum.pipelines.ab.analysis.facts import Segments
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.ab.statistics.multiplicity import benjamini_hochberg
from tests.pipelines.ab.logs import experiment, log


def effects_by_country(rows: pl.DataFrame, folder: Path, alpha: float = 0.05) -> Segments:
    rows.write_parquet(folder / "log.parquet")
    test = experiment(segments={"country": "country"}, alpha=alpha)
    return segments.by_segment(
        gather(stage([str(folder / "log.parquet")], test, folder), test), test, "ctr"
    )


def mixed() -> pl.DataFrame:
    """A lift of .3 in one country, none in the two others."""
    lifted = log(users=1200, lift=0.3)
    return pl.concat(
        [lifted.filter(country="jp"), log(users=1200).filter(pl.col("country") != "jp")]
    )


def test_an_effect_of_one_segment_is_found_there_only(tmp_path: Path) -> None:
    result = effects_by_country(mixed(), tmp_path)
    by_value = {one.value: one for one in result.effects}
    assert list(by_value) == ["de", "fr", "jp"]
    assert by_value["jp"].effect.low < 0.3 < by_value["jp"].effect.high
    assert [value for value, one in by_value.items() if one.adjusted_p < 0.05] == ["jp"]
    [differ] = result.heterogeneity
    assert differ.p_value < 1e-6
    assert result.sentences[0].startswith(
        "In country jp, ctr differs between treatment and control"
    )
    assert result.sentences[-1].startswith(
        "The effect of treatment differs between values of country"
    )


def test_p_values_are_adjusted_over_all_segments(tmp_path: Path) -> None:
    result = effects_by_country(mixed(), tmp_path)
    raw = [one.effect.p_value for one in result.effects]
    assert [one.adjusted_p for one in result.effects] == pytest.approx(benjamini_hochberg(raw))


def test_no_effect_anywhere_is_said_so(tmp_path: Path) -> None:
    result = effects_by_country(log(users=600), tmp_path)
    assert result.sentences[0] == "No difference shown in ctr in any of 3 segments."
    assert "is not shown to differ between values of country" in result.sentences[1]


def test_a_segment_with_three_users_is_left_out_by_name(tmp_path: Path) -> None:
    few = pl.when(pl.col("user_id") < 3).then(pl.lit("li")).otherwise("country").alias("country")
    result = effects_by_country(log(users=400).with_columns(few), tmp_path)
    assert [one.value for one in result.effects] == ["de", "fr", "jp"]
    [left_out] = result.left_out
    assert left_out.startswith("country li (too few units: ")
    assert left_out.endswith("30 of each are needed)")


def test_a_segment_of_few_clusters_is_left_out_however_many_units_it_has(tmp_path: Path) -> None:
    """Of 900 users 800 live in 8 towns, and each of the others alone."""
    town = pl.when(pl.col("user_id") < 800).then(pl.col("user_id") % 8).otherwise("user_id")
    rows = log(users=900).with_columns(
        town.cast(pl.String).alias("town"),
        pl.when(pl.col("user_id") < 800)
        .then(pl.lit("town"))
        .otherwise(pl.lit("land"))
        .alias("country"),
    )
    rows.write_parquet(tmp_path / "log.parquet")
    settings = {"time": {"column": "time"}, "cluster": "town"}
    test = experiment(segments={"country": "country"}, log=settings)
    staged = stage([str(tmp_path / "log.parquet")], test, tmp_path)
    result = segments.by_segment(gather(staged, test), test, "ctr")
    assert [one.value for one in result.effects] == ["land"]
    [left_out] = result.left_out
    assert left_out.startswith("country town (too few clusters: 8 in control and 8 in treatment")


def test_intervals_have_the_declared_level(tmp_path: Path) -> None:
    wide, narrow = (effects_by_country(log(users=600), tmp_path, alpha) for alpha in (0.01, 0.2))
    ends = [one.effects[0].effect.high - one.effects[0].effect.low for one in (wide, narrow)]
    quantiles = [stats.norm.ppf(1 - one.alpha / 2) for one in (wide, narrow)]
    assert ends[0] / ends[1] == pytest.approx(quantiles[0] / quantiles[1], rel=0.02)
    assert (wide.alpha, narrow.alpha) == pytest.approx((0.01 / 3, 0.2 / 3))


def test_only_the_largest_of_many_values_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MOST", 2)
    result = effects_by_country(log(users=601), tmp_path)  # 201 in de, 200 in fr and in jp
    assert [one.value for one in result.effects] == ["de", "fr"]
    assert result.left_out == ("1 smaller values of country",)
