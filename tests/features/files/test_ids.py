"""Ids come to the last digit out of whatever files they are in, or the file is refused by name."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.errors import DataError
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.source import scan
from tests.features.files.logs import write, write_text

ID = Reads(ids=frozenset({"id"}), whole=False)
INT64, TEXT = {"id": pl.Int64()}, {"id": pl.String()}


def read(path: Path, reads: Reads = ID) -> pl.Series:
    return scan(str(path), reads=reads).frame.collect()["id"]


def column(values: list[str]) -> str:
    return "\n".join(["id,x", *(f"{value},1" for value in values)]) + "\n"


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["1", "", "-3"], [1, None, -3]),
        (["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        (["1.0", "", "7.0"], [1, None, 7]),
        (["1", "2.0"], [1, 2]),
        (["01234", "1234"], ["01234", "1234"]),
        (["00", "0"], ["00", "0"]),
        (["-0", "0"], ["-0", "0"]),
        (["+1", "1"], ["+1", "1"]),
        (["40e85", "4.0e86"], ["40e85", "4.0e86"]),
        (["1.5", "1.50"], ["1.5", "1.50"]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["99999999999999999999999999999999999999999", "1"], ["9" * 41, "1"]),
        (["true", "1"], ["true", "1"]),
        (["W1A", "12"], ["W1A", "12"]),
        (["", ""], [None, None]),
    ],
)
def test_ids_in_csv(tmp_path: Path, values: list[str], ids: list[object]) -> None:
    assert read(write_text(column(values), tmp_path / "a.csv")).to_list() == ids


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["7", "10"], [7, 10]),
        (["07", "10"], ["07", "10"]),
        (["--5", "5"], ["--5", "5"]),
        (["²", "5"], ["²", "5"]),
        (["٣", "3"], ["٣", "3"]),
        (["5-", "5"], ["5-", "5"]),
        (["9223372036854775808", "5"], ["9223372036854775808", "5"]),
        (["__HIVE_DEFAULT_PARTITION__", "5"], [5, None]),
    ],
)
def test_ids_in_folders(tmp_path: Path, values: list[str], ids: list[object]) -> None:
    for value in values:
        write(pl.DataFrame({"x": [1]}), tmp_path / f"id={value}" / "a.parquet")
    assert set(read(tmp_path)) == set(ids)


@pytest.mark.parametrize("later", ["99501", "1", ""])
def test_all_files_together_say_what_ids_are(tmp_path: Path, later: str) -> None:
    write_text(column(["01234", "99501"]), tmp_path / "a.csv")
    write_text(column([later]), tmp_path / "b.csv")
    assert read(tmp_path).to_list() == ["01234", "99501", later or None]


def test_zip_codes_keep_their_number(tmp_path: Path) -> None:
    """15 with a zero in front and 15 without, which are the same numbers."""
    codes = [f"{number:05}" for number in range(1000, 1015)]
    codes += [str(number) for number in range(1000, 1015)]
    write_text(column(codes), tmp_path / "zip.csv")
    for code in codes:
        write(pl.DataFrame({"x": [1]}), tmp_path / "hive" / f"id={code}" / "a.csv")
    assert read(tmp_path / "zip.csv").n_unique() == read(tmp_path / "hive").n_unique() == 30


@pytest.mark.parametrize(
    ("values", "dtype", "ids"),
    [
        ([2**53, 2**53 + 1], pl.Decimal(38, 0), [2**53, 2**53 + 1]),
        ([10**30, 7], pl.Decimal(38, 0), [str(10**30), "7"]),
        ([Decimal("1.50"), Decimal("2.00")], pl.Decimal(10, 2), ["1.5", "2"]),
        ([1.0, None, float("nan"), 2.0], pl.Float64, [1, None, None, 2]),
        ([0.5, 1.0], pl.Float64, ["0.5", "1"]),
        ([2**64 - 1], pl.UInt64, [2**64 - 1]),
        ([2**63 - 1, None, 7], pl.Int128, [2**63 - 1, None, 7]),
        ([2**63, 7], pl.Int128, [str(2**63), "7"]),
        (["a", "b"], pl.Categorical, ["a", "b"]),
    ],
)
def test_ids_in_parquet(tmp_path: Path, values: list[object], dtype, ids: list[object]) -> None:
    frame = pl.DataFrame({"id": pl.Series(values, dtype=dtype)})
    assert read(write(frame, tmp_path / "a.parquet")).to_list() == ids


@pytest.mark.parametrize(("dtype", "edge"), [(pl.Float64, 2.0**53), (pl.Float32, 2.0**24)])
def test_floats_that_may_be_several_ids_are_refused(tmp_path: Path, dtype, edge: float) -> None:
    frame = pl.DataFrame({"id": pl.Series([1.0, edge], dtype=dtype)})
    write(frame, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: column `id` holds .* as Float.*several ids"):
        read(tmp_path)
    assert read(tmp_path, replace(ID, types=INT64)).to_list() == [1, int(edge)]
    below = pl.DataFrame({"id": pl.Series([1.0, edge - 1], dtype=dtype)})
    assert read(write(below, tmp_path / "a.parquet")).to_list() == [1, int(edge) - 1]


def test_what_is_no_id_stays_a_number(tmp_path: Path) -> None:
    write_text("id,x,y\n007,0.50,01\n8,1e3,2\n", tmp_path / "a.csv")
    reads = Reads(numbers=frozenset({"id", "x", "y"}))
    assert scan(str(tmp_path), reads=reads).frame.collect().rows() == [(7, 0.5, 1), (8, 1000.0, 2)]


def test_an_expression_sees_zeros_in_front_and_reads_fractions_as_numbers(tmp_path: Path) -> None:
    write_text("id,x\n007,0.50\n8,1e3\n", tmp_path / "a.csv")
    reads = Reads(mentions=frozenset({"id", "x"}))
    rows = scan(str(tmp_path), reads=reads).frame.collect().rows()
    assert rows == [("007", 0.5), ("8", 1000.0)]


@pytest.mark.parametrize("read_also", ["numbers", "mentions"])
def test_a_number_may_be_an_id_too(tmp_path: Path, read_also: str) -> None:
    reads = replace(ID, **{read_also: ID.ids})
    plain = write_text(column(["0.5", "12"]), tmp_path / "a.csv")
    assert read(plain, reads).to_list() == [0.5, 12.0]
    padded = write_text(column(["0.5", "012"]), tmp_path / "b.csv")
    assert read(padded, reads).to_list() == ["0.5", "012"]


@pytest.mark.parametrize("value", ["007", "+7", "7.5", "anna", "9223372036854775808"])
@pytest.mark.parametrize("form", ["csv", "parquet", "hive"])
def test_other_ids_than_training_saw_are_refused(tmp_path: Path, form: str, value: str) -> None:
    if form == "hive":
        write(pl.DataFrame({"x": [1]}), tmp_path / f"id={value}" / "a.csv")
    else:
        write(pl.DataFrame({"id": [value, "1"]}), tmp_path / f"a.{form}")
    with pytest.raises(DataError) as error:
        read(tmp_path, replace(ID, expected=INT64))
    for word in ("a.csv" if form == "hive" else f"a.{form}", "`id`", value, "types: {id: String}"):
        assert word in str(error.value)


@pytest.mark.parametrize("form", ["csv", "hive"])
def test_digits_are_text_where_training_saw_text(tmp_path: Path, form: str) -> None:
    for value in ("01234", "99501"):
        file = "a.csv" if form == "csv" else f"id={value}/a.csv"
        frame = {"id": ["01234", "99501"]} if form == "csv" else {"x": [1]}
        write(pl.DataFrame(frame), tmp_path / file)
    assert read(tmp_path, replace(ID, expected=TEXT)).to_list() == ["01234", "99501"]


IDS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(2**63, 2**70).map(str),
    st.integers(0, 10**6).map(lambda number: f"{number:09}"),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["-0", "+0", "0", "00", "1.0", "1", "40e85", "NaN", "inf", "true", "null"]),
    st.text(st.characters(exclude_categories=["C"]), min_size=1),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(IDS, min_size=1, max_size=5), st.booleans())
def test_distinct_texts_are_distinct_ids(tmp_path: Path, values: list[str], parquet: bool) -> None:
    """Unless pandas wrote them: 1 and 1.0, where nothing in the column is more than whole."""
    file = tmp_path / ("a.parquet" if parquet else "a.csv")
    write(pl.DataFrame({"id": values}), file)
    ids = read(file)
    if ids.dtype == pl.Int64:
        assert ids.cast(pl.String).to_list() == [value.removesuffix(".0") for value in values]
    else:
        assert ids.cast(pl.String).to_list() == values


@pytest.mark.parametrize(
    ("words", "dtype"),
    [("true false", pl.Boolean), ("TRUE FALSE", pl.String), ("True true", pl.String)],
)
def test_words_for_yes_and_no_are_ids_as_they_are_spelled(
    tmp_path: Path, words: str, dtype: type[pl.DataType]
) -> None:
    write_text("id,x\n" + "".join(f"{word},1\n" for word in words.split()), tmp_path / "a.csv")
    ids = read(tmp_path)
    assert ids.dtype == dtype
    assert ids.cast(pl.String).to_list() == words.split()


@pytest.mark.parametrize("word", ["", "n/a"])
def test_a_word_for_none_is_told_how_to_declare(tmp_path: Path, word: str) -> None:
    file = write_text(f'"id","x"\n"1","1"\n"{word}","1"\n', tmp_path / "a.csv")
    with pytest.raises(DataError) as error:
        scan(str(file), reads=replace(ID, expected=INT64))
    assert f"csv: {{null_values: ['{word}']}}" in str(error.value)
    csv = CsvConfig(null_values=(word,))
    assert scan(str(file), reads=replace(ID, expected=INT64), csv=csv).frame.collect()[
        "id"
    ].to_list() == [1, None]
