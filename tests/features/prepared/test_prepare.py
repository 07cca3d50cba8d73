import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from fulcrum.features.errors import ConfigError, DataError, StateError
from fulcrum.features.prepared import prepare as preparation
from fulcrum.features.prepared import shards
from fulcrum.features.prepared.manifest import VERSION
from fulcrum.features.prepared.prepare import PreparedDataset, prepare
from fulcrum.features.prepared.stage import NOBODY
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.transform import transform
from fulcrum.testing.specs import encode, learn, make_spec

FEATURES = {
    "user": {"kind": "categorical"},
    "item": {"kind": "categorical", "min_count": 2},
    "length": {"kind": "numeric"},
    "shown": {"kind": "window", "key": "user", "statistic": "count", "over": "1d"},
    "seen": {"kind": "history", "key": "user", "where": "click = 1", "attributes": ["item"]},
}
DATA = {
    "time": {"column": "t", "unit": "s", "earliest": "1970-01-01"},
    "outcomes": ["click"],
    "keys": ["user", "item"],
    "group": "user",
    "split": {"kind": "time", "valid": 0.1, "test": 0.2},
}


def log(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user": random.integers(0, 20, rows),
            "item": random.integers(0, 60, rows),
            "length": random.normal(size=rows),
            "t": random.integers(0, 10**6, rows),
            "click": random.integers(0, 2, rows),
        }
    )


def spec_for(folder: Path, frame: pl.DataFrame, data: dict[str, Any] | None = None) -> FeatureSpec:
    file = folder / "log.parquet"
    frame.write_parquet(file)
    return make_spec(FEATURES, DATA | {"events": str(file)} | (data or {}))


def read(dataset: PreparedDataset, split: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in dataset.shards(split)])


def files(folder: Path) -> dict[str, tuple[int, int]]:
    found = [f for f in folder.rglob("*") if f.is_file()]
    return {str(f): (f.stat().st_mtime_ns, f.stat().st_size) for f in found}


@pytest.mark.parametrize("nobody", [None, "", float("nan")])
def test_nobody_is_in_no_group_and_in_sessions_of_its_own(nobody: Any, tmp_path: Path) -> None:
    dtype = pl.String if nobody == "" else pl.Float64
    frame = log().cast({"user": dtype})
    whose = pl.when(pl.int_range(400) % 4 == 0).then(pl.lit(nobody, dtype)).otherwise("user")
    split = {"kind": "hash", "key": "user", "valid": 0.3, "test": 0.4}
    data = {"session": {"key": "user", "gap": "9d"}, "split": split, "keys": ["user"]}
    dataset = prepare(spec_for(tmp_path, frame.with_columns(whose.alias("user")), data), tmp_path)
    rows = pl.concat([read(dataset, s).with_columns(s=pl.lit(s)) for s in dataset.manifest.splits])
    of_nobody = rows.filter(pl.col("row.group") == NOBODY)
    assert len(of_nobody) == len(of_nobody["row.session"].unique()) == 400 // 4
    assert set(of_nobody["s"]) == {"train"}
    assert of_nobody["seen.item"].list.len().sum() == 0
    named = rows.filter(pl.col("row.group") != NOBODY)
    assert named["row.group"].n_unique() == named["row.session"].n_unique() == 20


def test_shards_hold_what_transform_gives_and_the_labels(tmp_path: Path) -> None:
    frame = log()
    dataset = prepare(spec_for(tmp_path, frame), tmp_path)
    whole = transform(frame, dataset.state, frame.lazy())
    whole = whole.with_columns(
        frame["click"].cast(pl.Float32).alias("label.click"),
        frame["user"].alias("row.key.user"),
        frame["item"].alias("row.key.item"),
        (frame["t"] * 1_000_000).alias("row.time"),
        pl.lit(1.0, pl.Float32).alias("row.weight"),
        pl.lit(True).alias("observed.click"),
    )
    start = {split: read(dataset, split)["row.time"].min() for split in ("valid", "test")}
    parts = {
        "train": pl.col("row.time") < start["valid"],
        "valid": pl.col("row.time").is_between(start["valid"], start["test"], closed="left"),
        "test": pl.col("row.time") >= start["test"],
    }
    for split, condition in parts.items():
        prepared = read(dataset, split)
        groups = prepared.select("row.key.user", "row.group").unique()
        assert groups["row.key.user"].n_unique() == groups["row.group"].n_unique() == len(groups)
        assert_frame_equal(
            prepared.drop("row.group"),
            whole.filter(condition),
            check_column_order=False,
            check_exact=True,
        )
    assert sum(dataset.rows(split) for split in parts) == len(frame)
    assert dataset.rows("test") == 80


def test_a_window_may_be_called_as_a_column_that_is_worked_with(tmp_path: Path) -> None:
    """`past.place` and `past.time` are then what it sees."""
    shown, frame = FEATURES["shown"], log()
    names = ("place", "time", "key", "bucket", "first", "last", "moment")
    frame.write_parquet(tmp_path / "log.parquet")
    features = {"item": "categorical", "shown": shown, **dict.fromkeys(names, shown)}
    dataset = prepare(
        make_spec(features, DATA | {"events": str(tmp_path / "log.parquet")}), tmp_path
    )
    state = learn(frame, features, data=DATA)
    rows = pl.concat([read(dataset, split) for split in dataset.manifest.splits])
    for seen in (rows, encode(frame, state, frame)):
        assert all(seen[name].equals(seen["shown"]) for name in names)
        assert seen["shown"].n_unique() > 2


def test_the_manifest_tells_schema_counts_boundaries_and_checksums(tmp_path: Path) -> None:
    dataset = prepare(spec_for(tmp_path, log()), tmp_path)
    manifest = dataset.manifest
    assert manifest.fingerprint == dataset.fingerprint == dataset.state.fingerprint
    assert manifest.columns["seen.item"] == "List(Int32)"
    assert set(manifest.boundaries) == {"valid from", "test from"}
    assert manifest.inputs[0][:2] == (
        str(tmp_path / "log.parquet"),
        (tmp_path / "log.parquet").stat().st_size,
    )
    train = read(dataset, "train")
    assert manifest.splits["train"].positives == {"click": train["label.click"].sum()}
    assert manifest.splits["train"].missing["seen"] == (train["seen.item"].list.len() == 0).sum()
    dataset.verify()
    shard = dataset.shards("test")[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StateError, match="has changed"):
        dataset.verify()
    shard.write_bytes(content[:-1])
    with pytest.raises(StateError, match="missing or cut short"):
        PreparedDataset.open(dataset.folder)


def test_drift_has_a_row_for_each_feature(tmp_path: Path) -> None:
    drift = prepare(spec_for(tmp_path, log()), tmp_path).drift
    assert drift["feature"].to_list() == list(FEATURES)
    by_name = {row["feature"]: row for row in drift.iter_rows(named=True)}
    assert by_name["user"]["vocabulary"] == 20
    assert by_name["user"]["unknown.test"] == 0
    assert by_name["length"]["vocabulary"] is None
    assert by_name["shown"]["psi.test"] >= 0
    assert 0 < by_name["seen"]["null.train"] < 1


def test_preparing_again_does_nothing(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, log())
    told: list[str] = []
    first = prepare(spec, tmp_path / "work", lambda what, done, total: told.append(what))
    before = files(tmp_path / "work")
    assert told[0] == "reading"
    told.clear()
    assert (
        prepare(spec, tmp_path / "work", lambda *progress: told.append("")).folder == first.folder
    )
    assert files(tmp_path / "work") == before
    assert told == []


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"where": "item > 3"}},
        {"features": {"item": {"kind": "categorical"}}},
        {"tasks": {"click": {"kind": "binary", "label": "click = 1"}}},
    ],
)
def test_a_changed_config_is_prepared_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    spec = spec_for(tmp_path, log())
    first = prepare(spec, tmp_path)
    changed = spec.model_dump()
    for part, values in change.items():
        changed[part] = {**changed[part], **values}
    second = prepare(FeatureSpec.model_validate(changed), tmp_path)
    assert second.folder != first.folder
    assert first.folder.exists()


def test_a_changed_file_is_prepared_anew(tmp_path: Path) -> None:
    first = prepare(spec_for(tmp_path, log()), tmp_path)
    second = prepare(spec_for(tmp_path, log(seed=1)), tmp_path)
    assert second.folder != first.folder


def test_two_at_once_make_one_data_set(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, log())
    made: list[PreparedDataset] = []
    threads = [
        threading.Thread(target=lambda: made.append(prepare(spec, tmp_path))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({dataset.folder for dataset in made}) == 1
    made[0].verify()
    assert os.listdir(tmp_path / "prepared") == [made[0].fingerprint]


def test_a_killed_run_leaves_nothing_to_open(tmp_path: Path) -> None:
    spec_for(tmp_path, log())
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from tests.features.prepared.test_prepare import spec_for, log, prepare\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "def stop(what, done, total):\n"
        "    if what == 'writing': os.kill(os.getpid(), signal.SIGKILL)\n"
        "prepare(spec_for(folder, log()), folder, stop)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode < 0
    left = os.listdir(tmp_path / "prepared")
    assert left
    assert all(name.startswith(".unfinished-") for name in left)
    prepare(spec_for(tmp_path, log()), tmp_path).verify()


def test_a_full_disk_leaves_earlier_results_alone(tmp_path: Path) -> None:
    first = prepare(spec_for(tmp_path, log()), tmp_path)
    program = (
        "import resource\n"
        "from pathlib import Path\n"
        "from fulcrum.features.errors import ResourceError\n"
        "from tests.features.prepared.test_prepare import spec_for, log, prepare\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "spec = spec_for(folder, log(60_000, seed=2))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        "try:\n    prepare(spec, folder)\n"
        "except ResourceError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=120, capture_output=True, text=True
    )
    assert "no space left" in done.stdout, done.stderr
    assert os.listdir(tmp_path / "prepared") == [first.fingerprint]
    first.verify()


@pytest.mark.parametrize("data", [{}, {"session": {"key": "user", "gap": "1d"}}])
def test_the_number_of_buckets_changes_no_byte(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_for(tmp_path, log(), data)
    one = prepare(spec, tmp_path / "one")
    monkeypatch.setattr(preparation, "EVENTS_PER_PART", 30)
    told: list[tuple[str, int, int]] = []
    many = prepare(spec, tmp_path / "many", lambda *progress: told.append(progress))
    assert ("looking back", 14, -(-400 // 30)) in told
    assert many.manifest == one.manifest
    assert many.state.learned == one.state.learned
    assert many.drift.equals(one.drift)


def test_row_groups_and_shards_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP", 40)
    monkeypatch.setattr(shards, "GROUPS", 3)
    whole = prepare(spec_for(tmp_path, log()), tmp_path / "small")
    assert [pq.read_metadata(f).num_rows for f in whole.shards("train")] == [120, 120, 40]
    sizes = [pq.read_metadata(f).row_group(0).num_rows for f in whole.shards("train")]
    assert sizes == [40, 40, 40]
    monkeypatch.undo()
    other = prepare(spec_for(tmp_path, log()), tmp_path / "large")
    assert_frame_equal(read(other, "train"), read(whole, "train"))


def test_repeats_go_where_asked_and_are_counted(tmp_path: Path) -> None:
    frame = log()
    twice = pl.concat([frame, frame[:50]])
    dataset = prepare(
        spec_for(tmp_path, twice, {"deduplicate": True, "where": "item < 55"}), tmp_path
    )
    kept = frame.unique().filter(pl.col("item") < 55)
    assert sum(facts.rows for facts in dataset.manifest.splits.values()) == len(kept)
    repeats = len(twice) - len(frame.unique())
    where = len(frame.unique()) - len(kept)
    assert dataset.manifest.rows_dropped == {"repeated": repeats, "where": where, "no split": 0}


def test_given_files_and_columns_split(tmp_path: Path) -> None:
    frame = log()
    for name, part in (("a", frame[:300]), ("b", frame[300:350]), ("c", frame[350:])):
        part.write_parquet(tmp_path / f"{name}.parquet")
    names = {"valid": str(tmp_path / "b.parquet"), "test": str(tmp_path / "c.parquet")}
    data = DATA | {"events": str(tmp_path / "a.parquet"), "split": {"kind": "files"} | names}
    dataset = prepare(make_spec(FEATURES, data), tmp_path)
    assert [dataset.rows(split) for split in ("train", "valid", "test")] == [300, 50, 50]

    data = {
        "derive": {"part": "item % 5"},
        "split": {"kind": "column", "column": "part", "train": [0, 1], "test": [2]},
    }
    dataset = prepare(spec_for(tmp_path, frame, data), tmp_path)
    parts = frame["item"] % 5
    assert dataset.rows("train") == (parts < 2).sum()
    assert dataset.rows("valid") == 0
    assert dataset.shards("valid") == []
    assert dataset.manifest.rows_dropped["no split"] == (parts > 2).sum()


def test_weights_reach_the_rows(tmp_path: Path) -> None:
    dataset = prepare(spec_for(tmp_path, log(), {"weight": "1 + click"}), tmp_path)
    train = read(dataset, "train")
    assert (train["row.weight"] == 1 + train["label.click"]).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"where": "item > 1000"}, "no row meets `item > 1000`"),
        ({"where": "'yes'"}, "data.where: `'yes'` is String; expected a condition"),
        ({"weight": "'7'"}, "data.weight: `'7'` is String; expected numbers"),
        ({"where": "itm > 1"}, "no column `itm`; did you mean `item`"),
        ({"derive": {"length": "1"}}, "`length` is already a column"),
        ({"weight": "click - 1"}, "null, negative or no finite"),
        ({"weight": "1e39"}, "null, negative or no finite Float32 in 400 rows"),
        ({"weight": "click * 0"}, "is 0 in every row"),
        ({"group": "usr"}, "no column `usr`; did you mean `user`"),
        ({"keys": ["usr"]}, "no column `usr`"),
        (
            {"split": {"kind": "column", "column": "item", "train": [1], "test": [999]}},
            "data.split.test: `item` holds .*; expected one of",
        ),
        (
            {"split": {"kind": "column", "column": "click", "train": [1], "test": [0]}},
            "every label in the train split is 1",
        ),
        ({"time": {"column": "when"}}, "no column `when`"),
    ],
)
def test_bad_data_settings(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(spec_for(tmp_path, log(), data), tmp_path)
    assert not any((tmp_path / "prepared").glob("*"))


def test_a_row_without_a_time(tmp_path: Path) -> None:
    frame = log().with_columns(t=pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise("t"))
    with pytest.raises(DataError, match="1 rows have no time in `t`, for example null"):
        prepare(spec_for(tmp_path, frame), tmp_path)
    text = log().with_columns(t=pl.lit("tomorrow"))
    with pytest.raises(DataError, match="column `t` holds 'tomorrow'; expected a time in ISO 8601"):
        prepare(spec_for(tmp_path, text), tmp_path)


def test_a_number_in_words_is_told_by_an_example(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    log().with_columns(price=pl.lit("5,8")).write_csv(file)
    spec = make_spec(FEATURES | {"price": {"kind": "numeric"}}, DATA | {"events": str(file)})
    with pytest.raises(DataError, match=r"features.price: column `price` is String; .* '5,8'"):
        prepare(spec, tmp_path)


def test_one_class_in_the_validation_split_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = (
        log()
        .sort("t")
        .with_columns(
            click=pl.when(pl.int_range(pl.len()).is_between(270, 330)).then(0).otherwise("click")
        )
    )
    with caplog.at_level(logging.WARNING):
        prepare(spec_for(tmp_path, frame), tmp_path)
    assert "every label in the valid split is 0" in caplog.text


def test_labels_that_deny_their_chain_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows where the earlier task is not observed say nothing of the chain."""
    click = log()["click"]
    first = pl.int_range(pl.len())
    tasks = {
        "click": {"kind": "binary", "label": "click", "when": "seen"},
        "buy": {"kind": "binary", "label": "buy", "given": "click"},
        "keep": {"kind": "binary", "label": "click = 1 AND buy = 1", "given": "buy"},
    }
    frame = log().with_columns(
        seen=first >= 100, buy=pl.when(click == 0).then(first < 103).otherwise(first % 2 == 0)
    )
    broken = frame.filter(pl.col("seen") & pl.col("buy") & (pl.col("click") == 0)).height
    assert 0 < broken <= 3
    file = tmp_path / "log.parquet"
    frame.write_parquet(file)
    features = {name: FEATURES[name] for name in ("user", "item")}
    spec = make_spec(features, DATA | {"events": str(file)}, tasks)
    with caplog.at_level(logging.WARNING):
        prepare(spec, tmp_path)
    told = f"tasks.buy.given: in {broken} of the {frame['buy'].sum()} rows with `buy`"
    assert [record.message[: len(told)] for record in caplog.records] == [told]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, log(60_000))
    file = tmp_path / "log.parquet"
    content = bytearray(file.read_bytes())
    content[500 : len(content) // 2] = bytes(len(content) // 2 - 500)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"log\.parquet is damaged"):
        prepare(spec, tmp_path)
    assert not any((tmp_path / "prepared").glob("*"))


def test_a_wrong_spec_is_told_before_any_file_is_read(tmp_path: Path) -> None:
    wrong = make_spec(FEATURES | {"click": {"kind": "numeric"}}, DATA)
    with pytest.raises(ConfigError, match="outcome `click`"):
        prepare(wrong, tmp_path)


def test_csv_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    frame = log()
    frame.write_csv(tmp_path / "log.csv")
    from_csv = prepare(make_spec(FEATURES, DATA | {"events": str(tmp_path / "log.csv")}), tmp_path)
    from_parquet = prepare(spec_for(tmp_path, frame), tmp_path)
    for split in ("train", "valid", "test"):
        assert_frame_equal(read(from_csv, split), read(from_parquet, split))


def test_an_old_version_is_refused(tmp_path: Path) -> None:
    dataset = prepare(spec_for(tmp_path, log()), tmp_path)
    file = dataset.folder / "manifest.json"
    file.write_text(file.read_text().replace(f'"version": {VERSION}', '"version": 0', 1))
    with pytest.raises(StateError, match="another version"):
        PreparedDataset.open(dataset.folder)
    with pytest.raises(StateError, match="holds no prepared data set"):
        PreparedDataset.open(tmp_path)
