from pathlib import Path

import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.features.files.source import scan
from tests.features.files.logs import write

ROWS = pl.DataFrame(
    {"user": [1, 2, 3, 4], "kind": ["a", None, "b", "a"], "x": [0.5, 1.0, None, 2.0]}
)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_a_folder_a_glob_and_a_list_are_one_table(tmp_path: Path, suffix: str) -> None:
    files = [write(ROWS[i : i + 2], tmp_path / "log" / f"{i}{suffix}") for i in (0, 2)]
    (tmp_path / "log" / "_SUCCESS").touch()
    (tmp_path / "log" / f".half{suffix}").write_text("nonsense")
    for path in (str(tmp_path / "log"), str(tmp_path / f"*/*{suffix}"), [str(f) for f in files]):
        source = scan(path)
        assert source.files == tuple(files)
        assert source.frame.collect().equals(ROWS)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_hive_folders_become_columns(tmp_path: Path, suffix: str) -> None:
    write(ROWS[:3], tmp_path / "day=7" / "country=de" / f"a{suffix}")
    write(ROWS[3:], tmp_path / "day=10" / "country=__HIVE_DEFAULT_PARTITION__" / f"a{suffix}")
    read = scan(str(tmp_path)).frame.sort("user").collect()
    assert read["day"].to_list() == [7, 7, 7, 10]
    assert read["country"].to_list() == ["de"] * 3 + [None]
    assert read["day"].dtype.is_integer()


def test_an_int_and_a_float_csv_are_numbers(tmp_path: Path) -> None:
    write(pl.DataFrame({"x": [1]}), tmp_path / "a.csv")
    write(pl.DataFrame({"x": [1.5]}), tmp_path / "b.csv")
    assert scan(str(tmp_path)).frame.collect()["x"].to_list() == [1.0, 1.5]


def test_a_late_text_in_a_csv_column_makes_it_text(tmp_path: Path) -> None:
    write(pl.DataFrame({"zip": [*map(str, range(20_000)), "W1A"]}), tmp_path / "a.csv")
    assert scan(str(tmp_path)).schema["zip"] == pl.String


def test_storage_types_become_value_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"c": pl.Series(["a", "b"], dtype=pl.Categorical)})
    write(frame, tmp_path / "a.parquet")
    assert scan(str(tmp_path)).schema["c"] == pl.String


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    write(ROWS, tmp_path / "events.parquet")
    with pytest.raises(DataError, match=r"event\.parquet; did you mean `events\.parquet`"):
        scan(str(tmp_path / "event.parquet"))


def test_an_empty_glob_folder_or_wrong_suffix(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    for path, message in [
        ("*.parquet", "no Parquet or CSV file matches"),
        ("", "no Parquet or CSV file in the folder"),
        ("notes.md", r"is no .parquet, .csv, "),
    ]:
        with pytest.raises(DataError, match=message):
            scan(str(tmp_path / path))


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_without_rows(tmp_path: Path, suffix: str) -> None:
    write(ROWS[:0], tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match="data.events: no rows in .*a" + suffix):
        scan(str(tmp_path))


def test_an_empty_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataError, match=r"a\.csv is empty"):
        scan(str(tmp_path))


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    file = write(ROWS, tmp_path / "a.parquet")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        scan(str(tmp_path))


def test_damage_in_the_middle_is_found_when_asked_for(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(50_000)}).select(pl.col("x").hash())
    file = write(frame, tmp_path / "a.parquet")
    content = bytearray(file.read_bytes())
    content[1000:200_000] = bytes(199_000)
    file.write_bytes(content)
    assert "a.parquet is damaged" in str(scan(str(tmp_path)).damage())
    write(frame, tmp_path / "a.parquet")
    assert scan(str(tmp_path)).damage() is None


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_type_that_changes_between_files(tmp_path: Path, suffix: str) -> None:
    write(ROWS, tmp_path / f"a{suffix}")
    write(ROWS.with_columns(user=pl.lit("anna")), tmp_path / f"b{suffix}")
    with pytest.raises(DataError, match=r"`user` is Int64 in .*a.* but String in .*b"):
        scan(str(tmp_path))


def test_a_column_that_one_file_lacks(tmp_path: Path) -> None:
    write(ROWS, tmp_path / "a.parquet")
    write(ROWS.drop("kind"), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet has no column `kind`"):
        scan(str(tmp_path))


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    write(ROWS[:2], tmp_path / "a.parquet")
    write(ROWS[2:].select("x", "user", "kind"), tmp_path / "b.parquet")
    assert scan(str(tmp_path)).frame.collect().equals(ROWS)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "expected a path, a folder, a glob or a list of them"),
        ("", "expected a path, a folder, a glob or a list of them"),
        (["a.csv", ""], "expected a path, a folder, a glob or a list of them"),
        ("a" * 5000, "File name too long: aaa"),
    ],
)
def test_what_is_no_path(paths: str | list[str], message: str) -> None:
    with pytest.raises(DataError, match=f"data.events: {message}"):
        scan(paths)
