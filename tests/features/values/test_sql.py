from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

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
