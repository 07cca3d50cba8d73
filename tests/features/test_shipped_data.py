"""The real logs that come with the repository, and the quirks that their READMEs tell of."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fulcrum.features.layout import NULL
from fulcrum.features.prepared.prepare import PreparedDataset, prepare
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.transform import transform
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.rules import spec as spec_of

ARMS = ("random", "bts")
LOG = "data/kuairand-feedback/log_feedback_4_08_to_4_18.parquet"


@pytest.fixture(scope="module")
def feedback(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(load("configs/kuairand-feedback/mmoe.yaml"), tmp_path_factory.mktemp("feedback"))


def read(dataset: PreparedDataset, split: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in dataset.shards(split)])


def test_exact_repeats_are_gone_and_time_splits(feedback: PreparedDataset) -> None:
    manifest = feedback.manifest
    assert manifest.rows_read == 35_716
    assert manifest.rows_dropped["repeated"] == 87
    assert sum(feedback.rows(split) for split in manifest.splits) == 35_716 - 87
    assert feedback.rows("test") == pytest.approx(0.2 * 35_629, abs=5)
    ends = [read(feedback, split)["row.time"] for split in ("train", "valid", "test")]
    assert ends[0].max() < ends[1].min()
    assert ends[1].max() < ends[2].min()


def test_side_tables_match_as_the_readme_says(feedback: PreparedDataset) -> None:
    rows = pl.concat([read(feedback, split) for split in ("train", "valid", "test")])
    raw = pl.read_parquet(LOG).unique()
    videos = pl.read_parquet("data/kuairand-feedback/video_features_basic_pure.parquet")
    matched = raw.join(videos.select("video_id", "author_id"), on="video_id")
    assert (rows["author_id"] != NULL).sum() == matched["author_id"].is_not_null().sum()
    assert (rows["user_active_degree"] != NULL).all()
    tags = raw.join(videos.select("video_id", "tag"), on="video_id")["tag"].drop_nulls()
    assert rows["tag"].list.len().sum() == tags.str.split(",").list.len().sum()


def test_an_unknown_length_is_null(feedback: PreparedDataset) -> None:
    rows = pl.concat([read(feedback, split) for split in ("train", "valid", "test")])
    unknown = pl.read_parquet(LOG).unique()["duration_ms"] == 0
    assert rows["length.null"].sum() == unknown.sum()
    assert (rows["length_bucket"] == NULL).sum() == unknown.sum()


def test_a_page_that_is_logged_at_once_does_not_see_itself(feedback: PreparedDataset) -> None:
    """Counts and click rates of sampled test rows, against the raw log by hand."""
    raw = pl.read_parquet(LOG).unique()
    spec, state = feedback.state.spec, feedback.state
    assert isinstance(spec, FeatureSpec)
    sample = raw.sort("time_ms", "user_id", "video_id").gather_every(500, offset=9)
    encoded = transform(sample, state, raw.lazy())
    seen, clicked = state.learned["user_seen"], state.learned["user_click"]
    base = state.bases["user_click"]
    for place, row in enumerate(sample.iter_rows(named=True)):
        past = raw.filter(
            (pl.col("user_id") == row["user_id"]) & (pl.col("time_ms") < row["time_ms"])
        )
        count = (np.log1p(len(past)) - seen.mean) / seen.std
        rate = (past["is_click"].sum() + 20 * base) / (len(past) + 20)
        assert encoded["user_seen"][place] == pytest.approx(count, abs=1e-5)
        assert encoded["user_click"][place] == pytest.approx(
            (rate - clicked.mean) / clicked.std, abs=1e-4
        )
        liked = past.filter(pl.col("long_view") == 1)
        assert encoded["viewed.age"].list.len()[place] == min(len(liked), 20)


def test_the_label_of_the_publisher_is_no_feature(feedback: PreparedDataset) -> None:
    outcomes = set(feedback.state.spec.data.outcomes)
    assert not outcomes & set(feedback.state.row_columns)
    assert "label" not in feedback.state.past_columns


def test_census_is_cut_in_file_order(tmp_path: Path) -> None:
    dataset = prepare(load("configs/census/mmoe.yaml"), tmp_path)
    assert dataset.rows("train") + dataset.rows("valid") == 66_508
    assert dataset.manifest.boundaries["test from row"] == 66_508
    raw = pl.read_parquet("data/census-income/census_income_test.parquet")[66_508:]
    test = read(dataset, "test")
    assert (test["label.income"] == (raw["income"] == "50000+.").cast(pl.Float32)).all()


def test_kuairand_is_as_its_readme_says() -> None:
    folder = Path("data/kuairand-pure")
    readme = (folder / "README.md").read_text()
    assert "CC BY-SA 4.0" in readme and "10.1145/3511808.3557624" in readme
    log = pl.read_parquet(folder / "log/*.parquet")
    assert log.height == 185_061 and log["date"].n_unique() == 11
    assert log.height - log.unique().height == 4_677
    ties = log.unique().group_by("user_id", "time_ms").len().filter(pl.col("len") > 1)
    assert ties["len"].sum() == 3_492
    for table in ("user", "video"):
        [path] = folder.glob(f"{table}_features_*.parquet")
        joined = log.join(pl.read_parquet(path), on=f"{table}_id", how="anti")
        assert joined.height == 0, table
    positives = {
        "long_view": 57_577,
        "is_like": 3_184,
        "is_profile_enter": 3_440,
        "is_comment": 471,
    }
    positives |= {"is_follow": 248, "is_hate": 157, "is_forward": 145}
    assert {name: log[name].sum() for name in positives} == positives
    assert (log["duration_ms"] == 0).sum() == 2_793


def test_the_days_of_kuairand_are_dealt_to_the_splits_and_nothing_is_told_of_the_outcome() -> None:
    data = spec_of(load("configs/kuairand/mmoe.yaml")).data
    days = (*data.split.train, *data.split.valid, *data.split.test)
    files = sorted(Path("data/kuairand-pure/log").iterdir())
    assert [int(file.stem.replace("-", "")) for file in files] == list(days)
    assert (data.split.valid, data.split.test) == ((20220504,), (20220505,))


def test_open_bandit_is_as_its_readme_says() -> None:
    folder = Path("data/open-bandit-women")
    readme = (folder / "README.md").read_text()
    assert "CC BY 4.0" in readme and "arXiv 2008.07146" in readme
    rows = {name: pl.read_parquet(folder / f"log/policy={name}/{name}.parquet") for name in ARMS}
    items = {name: pl.read_parquet(folder / f"{name}_item_context.parquet") for name in ARMS}
    for name in ARMS:
        assert rows[name].shape == (10_000, 55) and items[name].shape == (46, 5)
        assert rows[name]["click"].sum() == 46
        assert rows[name]["timestamp"].is_sorted()
        days = rows[name]["timestamp"].dt.date()
        assert [str(days.min()), str(days.max())] == ["2019-11-24", "2019-11-30"]
    for column in ("item_feature_1", "item_feature_2", "item_feature_3"):
        assert not set(items["random"][column]) & set(items["bts"][column])
    assert (rows["random"]["propensity_score"] - 1 / 46).abs().max() < 1e-6
    chance = rows["bts"]["propensity_score"]
    assert 0 < chance.min() < 2e-6 and chance.max() == pytest.approx(0.9628, abs=1e-4)
    assert (chance < 0.001).sum() == 54
    clicks = rows["bts"]["click"]
    assert (clicks / chance / 46).mean() == pytest.approx(0.0074, abs=5e-5)


def test_drift_shouts_where_features_vanish(tmp_path: Path) -> None:
    """Four migration columns are `?` in every row of 95 and in none of 94."""
    config = spec_of(load("configs/census/mmoe.yaml")).model_dump()
    config["data"]["split"] = {"kind": "column", "column": "year", "train": [94], "test": [95]}
    drift = prepare(FeatureSpec.model_validate(config), tmp_path).drift
    psi = dict(drift.select("feature", "psi.test").rows())
    vanished = [
        "migration_code_change_in_msa",
        "migration_code_change_in_reg",
        "migration_code_move_within_reg",
        "migration_prev_res_in_sunbelt",
    ]
    assert min(psi[name] for name in vanished) > 5
    assert max(psi[name] for name in ("age", "sex", "race", "education", "capital_gains")) < 0.1
    unknown = dict(drift.select("feature", "unknown.test").rows())
    assert unknown["migration_code_change_in_msa"] == 1
