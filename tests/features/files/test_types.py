"""Files whose types differ: brought to one that loses nothing, or refused by name."""

from dataclasses import replace
from datetime import datetime, time
from pathlib import Path

import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.source import Source, scan
from fulcrum.features.values.schema import load_type
from tests.features.files.logs import write, write_text

X = Reads(mentions=frozenset({"x"}), whole=False)
NULLS = pl.Series([None], dtype=pl.Null)


def both(folder: Path, one: pl.Series, other: pl.Series, reads: Reads = X) -> Source:
    write(pl.DataFrame({"x": one}), folder / "a.parquet")
    write(pl.DataFrame({"x": other}), folder / "b.parquet")
    return scan(str(folder), reads=reads)


def series(dtype: pl.DataType, *values: object) -> pl.Series:
    return pl.Series(values, dtype=dtype)


MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678)
WIDER = {
    "null, int": (NULLS, series(pl.Int64(), 1), pl.Int64()),
    "null, text": (NULLS, series(pl.String(), "a"), pl.String()),
    "null, list": (NULLS, series(pl.List(pl.Int64), [1]), pl.List(pl.Int64)),
    "int32, int64": (series(pl.Int32(), 1), series(pl.Int64(), 2**40), pl.Int64()),
    "uint32, int32": (series(pl.UInt32(), 2**32 - 1), series(pl.Int32(), -1), pl.Int64()),
    "float32, float64": (series(pl.Float32(), 0.5), series(pl.Float64(), 0.1), pl.Float64()),
    "int64, float64": (series(pl.Int64(), 2**53), series(pl.Float64(), 0.1), pl.Float64()),
    "ns, us": (
        series(pl.Datetime("ns"), MOMENT),
        series(pl.Datetime("us"), MOMENT),
        pl.Datetime("ns"),
    ),
    "enum, text": (series(pl.Enum(["a"]), "a"), series(pl.String(), "b"), pl.String()),
    "category, enum": (series(pl.Categorical(), "a"), series(pl.Enum(["b"]), "b"), pl.String()),
    "lists of nothing": (
        series(pl.List(pl.Null), [], [None]),
        series(pl.List(pl.String), ["a"]),
        pl.List(pl.String),
    ),
    "array, list": (
        series(pl.Array(pl.Int32, 2), [1, 2]),
        series(pl.List(pl.Int64), [3]),
        pl.List(pl.Int64),
    ),
    "decimals": (
        series(pl.Decimal(5, 2), "1.25"),
        series(pl.Decimal(9, 3), "1.125"),
        pl.Float64(),
    ),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", WIDER)
def test_types_widen_where_nothing_is_lost(tmp_path: Path, case: str, turned: bool) -> None:
    one, other, dtype = WIDER[case]
    pair = (other, one) if turned else (one, other)
    source = both(tmp_path, *pair)
    assert source.schema["x"] == dtype
    values = [value for part in pair for value in part.to_list()]
    number = (lambda v: float(v)) if case == "decimals" else (lambda v: v)
    assert source.frame.collect()["x"].to_list() == [
        value if value is None else number(value) for value in values
    ]


APART = {
    "int, text": (series(pl.Int64(), 1), series(pl.String(), "1")),
    "bool, int": (series(pl.Boolean(), True), series(pl.Int64(), 1)),
    "date, time": (series(pl.Date(), MOMENT.date()), series(pl.Datetime("us"), MOMENT)),
    "zones": (
        series(pl.Datetime("us", "UTC"), MOMENT),
        series(pl.Datetime("us", "Asia/Tokyo"), MOMENT),
    ),
    "int64, uint64": (series(pl.Int64(), -1), series(pl.UInt64(), 2**64 - 1)),
    "int64, float64": (series(pl.Int64(), 2**53 + 1), series(pl.Float64(), 0.5)),
    "ns, far us": (
        series(pl.Datetime("ns"), MOMENT),
        series(pl.Datetime("us"), datetime(9999, 1, 1)),
    ),
    "lists": (series(pl.List(pl.Int64), [1]), series(pl.List(pl.String), ["a"])),
    "int, list": (series(pl.Int64(), 1), series(pl.List(pl.Int64), [1])),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", APART)
def test_all_else_is_refused_by_name(tmp_path: Path, case: str, turned: bool) -> None:
    one, other = APART[case]
    with pytest.raises(DataError) as error:
        both(tmp_path, *((other, one) if turned else (one, other)))
    dtype = {"bool": "Boolean"} | dict.fromkeys(["date", "zone", "ns, "], "Datetime(us)")
    for word in ("`x`", ".parquet", f"types: {{x: {dtype.get(case[:4], 'String')}}}"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("one", "other", "dtype"),
    [
        (series(pl.Boolean(), True), series(pl.Int64(), 1), "Boolean"),
        (series(pl.Date(), MOMENT.date()), series(pl.Datetime("us"), MOMENT), "Datetime(us)"),
        (
            series(pl.Datetime("us", "UTC"), MOMENT),
            series(pl.Datetime("us"), MOMENT),
            "Datetime(us)",
        ),
    ],
)
def test_what_is_said_to_declare_helps(
    tmp_path: Path, one: pl.Series, other: pl.Series, dtype: str
) -> None:
    with pytest.raises(DataError) as error:
        both(tmp_path, one, other)
    assert f"types: {{x: {dtype}}}" in str(error.value)
    reads = replace(X, types={"x": load_type(dtype)})
    values = both(tmp_path, one, other, reads).frame.collect()["x"].to_list()
    first = datetime.combine(MOMENT.date(), time()) if one.dtype == pl.Date else other[0]
    assert values == [first, other[0]]


def test_columns_that_nothing_reads_may_differ_and_be_missing(tmp_path: Path) -> None:
    write(pl.DataFrame({"x": [1], "y": [1], "z": [1]}), tmp_path / "a.parquet")
    write(pl.DataFrame({"x": [2], "y": ["a"]}), tmp_path / "b.parquet")
    assert scan(str(tmp_path), reads=X).frame.collect().rows() == [(1,), (2,)]


def test_a_column_that_appears_later_is_null_before_when_it_may_be_missing(tmp_path: Path) -> None:
    write(pl.DataFrame({"x": [1]}), tmp_path / "a.parquet")
    write(pl.DataFrame({"x": [2], "new": [0.5]}), tmp_path / "b.parquet")
    reads = Reads(mentions=frozenset({"x", "new"}), whole=False)
    with pytest.raises(DataError, match=r"a\.parquet has no column `new`.*`optional: \[new\]`"):
        scan(str(tmp_path), reads=reads)
    reads = Reads(mentions=reads.mentions, optional=frozenset({"new"}), whole=False)
    assert scan(str(tmp_path), reads=reads).frame.collect().rows() == [(1, None), (2, 0.5)]


@pytest.mark.parametrize("form", ["csv", "parquet", "hive"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (pl.String(), "7"),
        (pl.Int64(), 7),
        (pl.Float64(), 7.0),
    ],
)
def test_a_stated_type_holds_for_every_form(tmp_path: Path, form: str, dtype, value) -> None:
    if form == "hive":
        write(pl.DataFrame({"y": [1]}), tmp_path / "x=7" / "a.parquet")
    else:
        write(pl.DataFrame({"x": [7]}), tmp_path / f"a.{form}")
    read = scan(str(tmp_path), reads=Reads(types={"x": dtype})).frame.collect()["x"]
    assert (read.dtype, read.to_list()) == (dtype, [value])


def test_a_stated_type_tells_text_from_numbers_over_all_files(tmp_path: Path) -> None:
    write_text("x\n00\n1e3\n", tmp_path / "a.csv")
    write(pl.DataFrame({"x": ["7"]}), tmp_path / "b.parquet")
    write(pl.DataFrame({"x": [8]}), tmp_path / "c.parquet")
    read = scan(str(tmp_path), reads=Reads(types={"x": pl.String()})).frame.collect()["x"]
    assert read.to_list() == ["00", "1e3", "7", "8"]


def test_a_value_that_is_not_of_its_stated_type_is_named(tmp_path: Path) -> None:
    write_text("x\n1\n", tmp_path / "a.csv")
    write_text("x\nanna\n", tmp_path / "b.csv")
    with pytest.raises(
        DataError, match=r"b\.csv: column `x` holds 'anna'.* Int64, as `data.types`"
    ):
        scan(str(tmp_path), reads=Reads(types={"x": pl.Int64()}))


def test_each_file_comes_to_what_training_saw_by_itself(tmp_path: Path) -> None:
    """A folder is accepted where each of its files alone would be."""
    write(pl.DataFrame({"x": pl.Series([1], dtype=pl.Int8)}), tmp_path / "a.parquet")
    write(pl.DataFrame({"x": [2.0]}), tmp_path / "b.parquet")
    write(pl.DataFrame({"x": ["3"]}), tmp_path / "c.parquet")
    write_text("x\n4\n", tmp_path / "d.csv")
    write(pl.DataFrame({"x": NULLS}), tmp_path / "e.parquet")
    write(pl.DataFrame({"x": ["5"]}, schema={"x": pl.Categorical}), tmp_path / "f.parquet")
    reads = Reads(mentions=frozenset({"x"}), expected={"x": pl.Int64()}, whole=False)
    assert scan(str(tmp_path), reads=reads).frame.collect()["x"].to_list() == [1, 2, 3, 4, None, 5]
    assert [scan(str(f), reads=reads).schema["x"] for f in tmp_path.iterdir()] == [pl.Int64()] * 6
