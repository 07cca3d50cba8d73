"""Text files in the dialects of the world, and those that are not what they seem."""

from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.errors import DataError
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.source import scan
from tests.features.files.logs import write_text

ROWS = [(1, "é", 0.5), (2, None, 1.5)]
READS = Reads(mentions=frozenset({"id", "name", "x"}), whole=False)


def text(separator: str = ",", missing: str = "", header: str = "id,name,x\n") -> str:
    return f"{header}1,é,0.5\n2,{missing},1.5\n".replace(",", separator)


@pytest.mark.parametrize(
    ("name", "content", "encoding", "options"),
    [
        ("a.csv", text(), "utf-8", {}),
        ("A.CSV", text(), "utf-8", {}),
        ("a.csv", text(), "utf-8-sig", {}),
        ("a.csv", text().replace("\n", "\r\n"), "utf-8", {}),
        ("a.tsv", text("\t"), "utf-8", {}),
        ("a.txt", text(), "utf-8", {}),
        ("a.txt", text("|"), "utf-8", {"separator": "|"}),
        ("a.csv.gz", text(), "utf-8", {}),
        ("a.tsv.gz", text("\t"), "utf-8", {}),
        ("a.csv", text(";"), "utf-8", {"separator": ";"}),
        ("a.csv", text(), "latin-1", {"encoding": "latin-1"}),
        ("a.csv", text(), "utf-16", {"encoding": "utf-16"}),
        ("a.csv.gz", text(), "cp1252", {"encoding": "windows-1252"}),
        ("a.csv", text(missing="NA"), "utf-8", {"null_values": ["NA", "-"]}),
        ("a.csv", text().replace("é", "'é'"), "utf-8", {"quote": "'"}),
        ("a.csv", text(header=""), "utf-8", {"header": ["id", "name", "x"]}),
        ("a.csv", text(), "utf-8", {"header": ["id", "name", "x", "gone"]}),
    ],
)
def test_dialects(tmp_path: Path, name: str, content: str, encoding: str, options: dict) -> None:
    file = write_text(content, tmp_path / name, encoding)
    source = scan(str(file), reads=READS, csv=CsvConfig(**options))
    assert source.frame.collect().rows() == ROWS
    assert source.schema == {"id": pl.Int64(), "name": pl.String(), "x": pl.Float64()}


def test_what_is_packed_is_seen_in_the_content(tmp_path: Path) -> None:
    packed = write_text(text(), tmp_path / "a.csv.gz").rename(tmp_path / "packed.csv")
    plain = write_text(text(), tmp_path / "a.csv").rename(tmp_path / "plain.csv.gz")
    for file in (packed, plain):
        assert scan(str(file), reads=READS).frame.collect().rows() == ROWS
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"data.events: .*cut\.csv\.gz cannot be read"):
        scan(str(cut), reads=READS)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz"])
def test_a_folder_is_read_whatever_its_files_are_called(tmp_path: Path, suffix: str) -> None:
    write_text(text("\t" if suffix == "tsv" else ","), tmp_path / f"a.{suffix}")
    write_text("notes of somebody", tmp_path / "README.txt")
    assert scan(str(tmp_path), reads=READS).frame.collect().rows() == ROWS
    assert scan(str(tmp_path / "*"), reads=READS).frame.collect().rows() == ROWS


def test_a_value_may_have_lines_and_separators(tmp_path: Path) -> None:
    file = write_text('\nid,name,x\n1,"a\n\n,b",0.5\n2,"",\n', tmp_path / "a.csv")
    rows = scan(str(file), reads=READS).frame.collect().rows()
    assert rows == [(1, "a\n\n,b", 0.5), (2, "", None)]


@pytest.mark.parametrize("options", [{}, {"header": ["id", "name", "x"]}])
def test_a_value_may_be_long(tmp_path: Path, options: dict) -> None:
    long = "long " * 2**16 + "\n"
    content = ("" if options else "id,name,x\n") + f'1,"{long}",0.5\n'
    file = write_text(content, tmp_path / "a.csv")
    rows = scan(str(file), reads=READS, csv=CsvConfig(**options)).frame.collect().rows()
    assert rows == [(1, long, 0.5)]
    file.write_text(content + "2,b\n")
    with pytest.raises(DataError, match="has 2 values; expected 3"):
        scan(str(file), reads=READS, csv=CsvConfig(**options))


def test_quotes_that_mean_themselves(tmp_path: Path) -> None:
    file = write_text('name,x\n5" screen,1\n', tmp_path / "a.csv")
    rows = scan(str(file), csv=CsvConfig(quote=None)).frame.collect().rows()
    assert rows == [('5" screen', 1)]


@pytest.mark.parametrize(
    ("content", "encoding", "options", "message"),
    [
        (text(), "latin-1", {}, r"no UTF-8 text: byte 0xe9 in line 2; .*encoding: latin-1"),
        (text(), "utf-16", {}, r"no UTF-8 text: byte 0xff in line 1; .*encoding: utf-16"),
        (text(), "utf-16-le", {}, r"no UTF-8 text.*encoding: utf-16"),
        (text(), "latin-1", {"encoding": "ascii"}, r"no ASCII text: byte 0xe9 in line 2"),
        (text(";"), "utf-8", {}, r"expected commas .*not ';' \(or say `csv: \{separator: ';'\}`\)"),
        (text(), "utf-8", {"separator": ";"}, "expected ';' between columns, not ','"),
        (
            'id;name\n1;"a, ""b"""\n1;"a"\n',
            "utf-8",
            {},
            r"has one column, 'id;name'; expected commas",
        ),
        (text(header=""), "utf-8", {}, r"first line .*looks like data \('1', 'é', '0\.5'\)"),
        ("anna,red\nanna,blue\n", "utf-8", {}, r"looks like data \('anna', 'red'\).*header: \["),
        ("2024-01-02 03:04,a\n", "utf-8", {}, "looks like data"),
        ("id;name;x\n1;a;0,5\n", "utf-8", {}, r"expected commas .*separator: ';'"),
        (text() + "3,b\n", "utf-8", {}, "line 4 of .* has 2 values; expected 3"),
        (text() + "3,b,1,2\n", "utf-8", {}, "line 4 of .* has 4 values; expected 3"),
        (text() + "\n4,b,1\n", "utf-8", {}, "line 4 of .* has 0 values; expected 3"),
        (text() + '"3,b,4\n4,b,1\n', "utf-8", {}, "line 5 of .* has 1 value; expected 3"),
        (text() + '"3,b,4",b\n', "utf-8", {}, "line 4 of .* has 2 values; expected 3"),
        ('id,name,x\n1,"a\nb",2\n3,b\n', "utf-8", {}, "line 4 of .* has 2 values; expected 3"),
        (text(";") + "3;b\n", "utf-8", {"separator": ";", "quote": None}, "line 4 .* 2 values"),
        (text() + "3,ß\n", "latin-1", {"encoding": "latin-1"}, "line 4 .* 2 values"),
        ("1,a,0.5\n3,b\n", "utf-8", {"header": ["id", "name", "x"]}, "line 2 .* 2 values"),
        ("id,name,x,name\n1,a,2,b\n", "utf-8", {}, "names 2 columns `name`; rename one"),
        (text(header=""), "utf-8", {"header": ["id", "x"]}, "has 3 columns; expected 2"),
    ],
)
def test_what_is_wrong_with_a_text_is_said_once(
    tmp_path: Path, content: str, encoding: str, options: dict, message: str
) -> None:
    file = write_text(content, tmp_path / "a.csv", encoding)
    with pytest.raises(DataError, match=message) as error:
        scan(str(file), reads=READS, csv=CsvConfig(**options))
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_number_among_the_names_is_a_name_where_others_are_read(tmp_path: Path) -> None:
    write_text("id,2024,2025\n1,2,3\n", tmp_path / "a.csv")
    assert scan(str(tmp_path), reads=READS.only({"id"}, {})).frame.collect()["id"].to_list() == [1]


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "latin1-2"},
        {"encoding": "base64"},
        {"separator": ";;"},
        {"separator": "§"},
        {"quote": ""},
        {"header": []},
        {"header": ["a", "a"]},
    ],
)
def test_options_that_are_none(options: dict) -> None:
    with pytest.raises(ValidationError):
        CsvConfig(**options)
