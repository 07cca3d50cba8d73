from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fulcrum.features.errors import ConfigError, DataError
from fulcrum.features.values import sql

TYPES = {"x": pl.Int64(), "y": pl.Int64(), "name": pl.String(), "tags": pl.List(pl.String())}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("x", ("x",)),
        ("1", ()),
        ("x >= 0.7 * y", ("x", "y")),
        ("(x // 3600000 + 8) % 24", ("x",)),
        ("LEAST(x / NULLIF(y, 0), 3.0)", ("x", "y")),
        ("name IN ('a', 'b')", ("name",)),
        ("name LIKE 'a%'", ("name",)),
        ("name LIKE 'over%' AND x // 2 = 1", ("name", "x")),
        ("CASE WHEN x > 0 THEN y END", ("x", "y")),
        ("ARRAY_LENGTH(tags)", ("tags",)),
        ('"x" + 1', ("x",)),
    ],
)
def test_mentions_the_columns_it_reads(text: str, columns: tuple[str, ...]) -> None:
    sql.check(text)
    assert sql.mentions(text) == columns
    assert sql.reads(text, TYPES)[0] == columns


def test_a_word_of_sql_is_a_column_in_double_quotes_alone() -> None:
    with pytest.raises(ConfigError, match='write "user" in double quotes'):
        sql.check("user = 1")
    sql.check('"user" = 1')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x + z", "no column `z`"),
        ("nam = 'a'", "no column `nam`; did you mean `name`"),
        ("name + 1", r"does not fit its columns \(name String\)"),
        ("name > 1", "does not fit its columns"),
    ],
)
def test_names_the_column_or_type_that_does_not_fit(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sql.reads(text, TYPES)


def test_values_become_columns_named_by_the_expression() -> None:
    text = 'x // 2 + "odd name"'
    frame = pl.LazyFrame({"x": [3, None, 8], "odd name": [1, 1, 2]})
    added = sql.evaluate(frame, {sql.value(text): text}).collect()
    assert added[sql.value(text)].to_list() == [3 // 2 + 1, None, 8 // 2 + 2]
    assert added.columns[:2] == ["x", "odd name"]


@pytest.mark.parametrize("read", [sql.check, sql.mentions, lambda text: sql.reads(text, TYPES)])
def test_no_text_reaches_polars_unchecked(read: Callable[[str], object], tmp_path: Path) -> None:
    """What is no expression is refused before the file that it names is looked for."""
    for text in ("x IN (FROM read_csv('{}'))", "x IN (SELECT y FROM read_csv('{}'))"):
        with pytest.raises(ConfigError, match="no SQL expression over one row"):
            read(text.format(tmp_path / "missing.csv"))
    with pytest.raises(ConfigError, match="no SQL expression over one row"):
        sql.evaluate(pl.LazyFrame({"x": [1]}), {"v": "x IN (FROM self)"})


def test_a_name_that_looks_like_a_message_ends_the_search() -> None:
    with pytest.raises(ConfigError):
        sql.check('"a""; valid columns"')


TIMES = {"n": pl.Int64, "x": pl.Float64, "word": pl.String, "day": pl.Date, "at": pl.Datetime("us")}


@pytest.mark.parametrize(
    "text",
    [
        "n + 1",
        "(n // 3 + 8) % 24",
        "CASE WHEN n > 0 THEN x END",
        "word || '/' || n",
        "word IN ('a', 'b')",
        "n BETWEEN 1 AND 2",
        "LEAST(x / NULLIF(n, 0), 3.0)",
        "TRY_CAST(word AS DOUBLE)",
        "1",
        "day > '2024-01-01'",
        "day IN ('2024-02-29')",
        "at BETWEEN '2024-01-01' AND '2024-12-31'",
        "EXTRACT(hour FROM at)",
        "CAST(word AS DATE) = '2024-02-29'",
    ],
)
def test_what_is_parsed_once_is_what_is_parsed_each_time(text: str) -> None:
    """Text beside a time is a time, for which the columns' types must be known."""
    rows = pl.DataFrame(
        {
            "n": [0, 1, None],
            "x": [0.5, None, 1e300],
            "word": ["a", None, "c"] if "DATE" not in text else ["2024-02-29", None, "2024-03-01"],
            "day": [date(2024, 2, 29), None, date(2023, 1, 1)],
            "at": [datetime(2024, 2, 29, 5), None, datetime(2023, 1, 1)],
        },
        schema=TIMES,
    )
    expressions = {"value": text, "twice": f"({text})"}
    compute = sql.compiled(expressions, TIMES)
    expected = sql.evaluate(rows.lazy(), expressions).collect()
    for first in range(len(rows) + 1):
        assert_frame_equal(compute(rows[first:]), expected[first:])
