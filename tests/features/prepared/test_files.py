"""Odd files and paths, down to the prepared data set."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.features.files.source import scan
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.uses import row_reads
from fulcrum.testing.specs import make_spec
from tests.features.files.logs import write, write_text

ROWS = 120
ZIPS = [f"{number:05}" for number in range(1000, 1015)] + [str(n) for n in range(1000, 1015)]


def rows() -> pl.DataFrame:
    place = pl.int_range(ROWS, eager=True)
    return pl.DataFrame(
        {
            "user": place % 20,
            "zip": [ZIPS[i % 30] for i in range(ROWS)],
            "x": place / 7,
            "click": (place // 3) % 2,
        }
    )


def prepared(folder: Path, events: Path | str, **data: Any) -> PreparedDataset:
    features = {"user": "categorical", "zip": "categorical", "x": "numeric"}
    spec = make_spec(
        {name: {"kind": kind} for name, kind in features.items()},
        {"events": str(events), "keys": ["user"], "group": "user", "outcomes": ["click"]}
        | {"split": {"kind": "order", "valid": 0.1, "test": 0.2}}
        | data,
    )
    return prepare(spec, folder / "workspace")


def known(dataset: PreparedDataset, feature: str) -> int:
    return dataset.state.lookups[feature].rows - 2


@pytest.mark.parametrize("name", ["w[1]", "a?b", "a*b", "[x", "{a,b}", "w [12] ?*"])
def test_a_folder_may_be_called_like_a_pattern(tmp_path: Path, name: str) -> None:
    """Beside it lies what it would match."""
    for other in ("w1", "axb", "ab", "w 1 ab", "a"):
        write(rows().with_columns(user=99), tmp_path / other / "log" / other / "e.parquet")
    file = write(rows(), tmp_path / name / "log" / name / "events.parquet")
    for events in (file, file.parent, file.parent.parent):
        dataset = prepared(tmp_path / name, events)
        assert [path for path, *_ in dataset.manifest.inputs] == [str(file)]
        assert known(dataset, "user") == 20
        assert dataset.drift.height == 3


def test_zip_codes_and_wide_users_stay_apart(tmp_path: Path) -> None:
    frame = rows().with_columns((pl.col("user") + 2**53).cast(pl.Decimal(38, 0)))
    dataset = prepared(tmp_path, write(frame, tmp_path / "events.parquet"))
    assert (known(dataset, "user"), known(dataset, "zip")) == (20, 30)
    assert dataset.state.row_columns["user"] == pl.Int64
    text = prepared(tmp_path, write(frame, tmp_path / "events.csv"))
    assert (known(text, "user"), known(text, "zip")) == (20, 30)
    first = (pl.read_parquet(d.shards("train")[0])["row.group"] for d in (dataset, text))
    assert next(first).equals(next(first))


def test_types_are_stated_once_and_travel_with_the_state(tmp_path: Path) -> None:
    numbers = [number for number in range(1000, 1030)]
    frame = rows().with_columns(zip=pl.Series([numbers[i % 30] for i in range(ROWS)]))
    events = write(frame, tmp_path / "events.csv")
    assert prepared(tmp_path, events).state.row_columns["zip"] == pl.Int64
    dataset = prepared(tmp_path, events, types={"zip": "String", "user": "String"})
    state = FeatureState.load(dataset.folder / "state")
    later = write(frame.with_columns(zip=pl.lit(1000)).head(3), tmp_path / "later.parquet")
    read = scan(str(later), "--input", row_reads(state)).frame.collect()
    assert read["zip"].to_list() == ["1000"] * 3
    assert read["user"].dtype == pl.String


@pytest.mark.parametrize(("field", "value"), [("types", {"zpi": "String"}), ("optional", ["zpi"])])
def test_a_column_that_is_stated_must_be_there(tmp_path: Path, field: str, value: Any) -> None:
    events = write(rows(), tmp_path / "events.csv")
    with pytest.raises(DataError, match=rf"data\.{field}: there is no column `zpi`; did you mean"):
        prepared(tmp_path, events, **{field: value})


def test_splits_by_file_are_one_table(tmp_path: Path) -> None:
    """The zeros in front are in the test file alone."""
    plain = rows().with_columns(zip=pl.Series([ZIPS[15 + i % 15] for i in range(ROWS)]))
    train, test = write(plain, tmp_path / "train.csv"), write(rows(), tmp_path / "test.csv")
    dataset = prepared(tmp_path, train, split={"kind": "files", "test": str(test)})
    assert dataset.state.row_columns["zip"] == pl.String
    assert known(dataset, "zip") == 15


def test_side_tables_join_by_the_ids_of_the_events(tmp_path: Path) -> None:
    """01000 and 1000 are two shops, though no file of shops has a zero in front."""
    events = write(rows(), tmp_path / "events.csv")
    shops = pl.DataFrame({"zip": ZIPS[15:], "size": range(15)})
    tables = {"shops": {"path": str(write(shops, tmp_path / "shops.csv")), "key": "zip"}}
    dataset = prepared(tmp_path, events, tables=tables, weight="COALESCE(size, 99) + 1")
    weights = pl.read_parquet(dataset.shards("train")[0])["row.weight"]
    zeros = [ZIPS[i % 30].startswith("0") for i in range(len(weights))]
    assert (weights == 100).to_list() == zeros


@pytest.mark.parametrize("read", [False, True])
def test_a_side_table_that_nothing_reads(tmp_path: Path, read: bool) -> None:
    shops = write(pl.DataFrame({"zip": ZIPS, "size": range(30)}), tmp_path / "shops.parquet")
    tables = {"shops": {"path": str(shops), "key": "zip"}}
    weight = {"weight": "size + 1"} if read else {}
    dataset = prepared(tmp_path, write(rows(), tmp_path / "e.parquet"), tables=tables, **weight)
    assert FeatureState.load(dataset.folder / "state").tables == {}


def test_a_dialect_for_the_events_and_one_for_a_table(tmp_path: Path) -> None:
    shops = write_text("zip\tsize\n" + "".join(f"{z}\t1\n" for z in ZIPS), tmp_path / "shops.txt")
    text = rows().write_csv(separator=";", include_header=False)
    dataset = prepared(
        tmp_path,
        write_text(text, tmp_path / "events.txt"),
        csv={"separator": ";", "header": ["user", "zip", "x", "click"]},
        tables={"shops": {"path": str(shops), "key": "zip", "csv": {"separator": "\t"}}},
        weight="size",
    )
    assert (known(dataset, "user"), known(dataset, "zip")) == (20, 30)
    assert dataset.manifest.rows_read == ROWS
