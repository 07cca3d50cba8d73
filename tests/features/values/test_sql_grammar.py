import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ConfigError, FulcrumError
from fulcrum.features.values import sql
from fulcrum.features.values.sql_grammar import DEPTH, FUNCTIONS, LENGTH, check

PAGE = Path(__file__).parents[3] / "docs" / "sql.md"
EXAMPLE = re.compile(r"^\| `(.+)` \| `(.+)` \|$", re.MULTILINE)
HOSTILE = """
x IN (SELECT y FROM self)
x IN (FROM self)
x IN (FROM read_csv('secret.csv'))
x IN ((FROM read_csv('secret.csv')))
x IN (FROM 'secret.csv')
x IN (from READ_parquet('http://localhost/secret'))
x IN (TABLE self)
x IN (VALUES (1))
x IN (WITH a AS (SELECT 1) SELECT * FROM a)
x = ANY(SELECT y FROM self)
y = ANY(x)
x = ANY (FROM self)
EXISTS (SELECT 1)
EXISTS (FROM read_ndjson('secret.json'))
NOT EXISTS (FROM self)
(SELECT MAX(y) FROM self)
(FROM self)
(TABLE self)
((((SELECT 1))))
(SELECT * FROM read_ipc('secret.arrow'))
CASE WHEN x IN (FROM self) THEN 1 END
COALESCE(x, (SELECT y FROM self))
LEAST(x, (FROM self))
CAST((SELECT 1) AS BIGINT)
x BETWEEN (SELECT 1) AND 2
[(SELECT 1)]
tags[(SELECT 1)]
EXTRACT(hour FROM (SELECT at FROM self))
TRIM(BOTH 'a' FROM (FROM self))
SUBSTRING(name FROM (SELECT 1))
read_csv('secret.csv')
READ_PARQUET('secret.parquet')
"read_csv"('secret.csv')
scan_csv('secret.csv')
x IN read_csv('secret.csv')
x/**/IN/**/(SELECT/**/1)
x IN (--
FROM self)
x IN (/* SELECT */ 1)
x -- FROM
$$x$$ = $$(FROM self)$$
x IN ($$a$$)
E'\\' IN (FROM self)--'
'a\\' || (SELECT 1) || '
'a'(SELECT 1)'b'
N'a' = name
X'ff' = name
U&'a' = name
`x` IN (SELECT 1)
x; SELECT 1
x; DROP TABLE self
x) FROM read_csv('secret.csv') --
x) AS a, (y
x FROM self
x, y
x AS y
x WHERE y
x UNION SELECT 1
(x UNION SELECT 1)
x ORDER BY y
x LIMIT 1
SELECT x
FROM self
TABLE self
*
self.*
x.*
COUNT(*)
COUNT(x)
SUM(x)
AVG(x)
MIN(x)
MAX(x)
FIRST(x)
LAST(x)
MEDIAN(x)
STDDEV(x)
CORR(x, y)
ARRAY_AGG(x)
QUANTILE_CONT(x, 0.5)
x - AVG(x)
COUNT(*) FILTER (WHERE x > 1)
SUM(x) OVER ()
SUM(x) OVER (PARTITION BY y ORDER BY at)
x OVER (PARTITION BY y)
ABS(x) OVER (PARTITION BY y)
ROW_NUMBER()
ROW_NUMBER() OVER (ORDER BY x)
RANK() OVER (ORDER BY x)
LAG(x) OVER (ORDER BY at)
LEAD(x, 1)
UNNEST(tags)
EXPLODE(tags)
COLUMNS('x')
COLUMNS('.*') + 1
NOW()
CURRENT_DATE
CURRENT_TIME
CURRENT_TIMESTAMP
x + CURRENT_TIMESTAMP
at > CURRENT_DATE
LOCALTIMESTAMP
CURRENT_USER
RANDOM()
UUID()
x -> 'a'
x ->> 'a'
x @> y
x AT TIME ZONE 'UTC'
name COLLATE "C"
:x
?
@x
#1
{'a': x}
x ? y
COALESCE()
LEAST()
"""
SHOE = pl.DataFrame(
    {
        "x": [-2.5],
        "n": [6],
        "name": ["Blue Shoes"],
        "tags": [["a", "b"]],
        "sizes": [[40, 42]],
        "at": [datetime(2026, 3, 1, 13, 45, 30)],
    }
)
NAMES = {
    "x": pl.Float64(),
    "y": pl.Int64(),
    "name": pl.String(),
    "tags": pl.List(pl.String()),
    "at": pl.Datetime("us"),
}
ROWS = pl.DataFrame(
    {
        "x": [1.5, None, -2.0],
        "y": [2, -1, None],
        "name": ["Shoes", None, "a b"],
        "tags": [["a"], None, []],
        "at": [0, None, 86_400_000_000],
    },
    schema=NAMES,
)


def hostile() -> list[str]:
    """One a line; a line that ends in a comment goes on in the next one."""
    return HOSTILE.strip().replace("(--\n", "(--\r").replace("\n", "\0").split("\0")


@pytest.mark.parametrize("text", hostile())
def test_refuses_whatever_sees_more_than_one_row(text: str) -> None:
    with pytest.raises(ConfigError, match="no SQL expression over one row"):
        check(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x >", "cannot be read at column 3"),
        ("", "it is empty"),
        ("+", "it cannot be read"),
        ("x, y", "cannot be read at column 2"),
        ("lenght(name)", "there is no function `lenght`; did you mean `length`?"),
        ("AVG(x)", "there is no function `AVG`"),
        ("x IN (FROM self)", "it uses SUBQUERY"),
        ("x -> 'a'", "there is no operator `->`"),
        ("x -- why", "`--` stands outside of quotes"),
        ("least()", "cannot be read at column 7"),
        ("x" + " + 1" * DEPTH, f"nested more than {DEPTH} deep"),
        ("(" * 900 + "x" + ")" * 900, "nested too deeply"),
        ("address.city = 'Graz'", "`address.city` is more than the name of a column"),
        ('"^n.*$" + 1', "`^n.*$` is no column's name"),
        ('"*"', "`*` is no column's name"),
        ('"=x"', "`=x` is no column's name"),
        ("lpad(name, 3000000000, 'b')", "expected a width from 0 to 1,000"),
        ("rpad(name, y, 'b')", "expected a width from 0 to 1,000"),
        ("lpad(name, -1, 'b')", "expected a width from 0 to 1,000"),
        ("CAST(y AS DECIMAL(40, 2))", "scale <= precision <= 38"),
        ("y::DECIMAL(10, 20)", "scale <= precision <= 38"),
        ("1" + "0" * LENGTH, f"more than {LENGTH:,} characters"),
    ],
)
def test_says_what_is_in_the_way(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "'SELECT' || \"from\" || ' -- $$ `'",
        "größe + straße",
        "comment > 0 AND desc IS NOT NULL",
        "over + offsets * 2",
        "x NOT IN (1, (2)) AND name NOT ILIKE 'a%'",
        "CASE x WHEN 1 THEN y ELSE -y END",
        "'and' LIKE name",
        "like = 1 OR any > 2 AND call + map < if",
        "x::BIGINT % 3 = CAST(y AS DECIMAL(10, 2))",
        "x IS DISTINCT FROM y OR x <=> y",
        "tags[1] ^@ 'a' AND name ~ '^a'",
        "at >= DATE '2026-03-01' + INTERVAL '1 day'",
    ],
)
def test_takes_what_looks_at_one_row(text: str) -> None:
    check(text)


def test_the_page_lists_the_functions_with_their_values() -> None:
    examples = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    names = {name.lower() for text, _ in examples for name in re.findall(r"(\w+)\(", text)}
    assert names == FUNCTIONS
    values = {
        text: sql.evaluate(SHOE.lazy(), {"v": text}).collect().item(0, "v") for text, _ in examples
    }
    assert {text: shown(value) for text, value in values.items()} == dict(examples)


def shown(value: Any) -> str:
    if isinstance(value, pl.Series):
        return str(value.to_list())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


LEAVES = st.sampled_from([*NAMES, "1", "2.5", "'a'", "'%Y'", "NULL", "TRUE", "-1"])
OPERATORS = st.sampled_from("+ - * / // % = <> < <= || & | ~ <=> and or is like in".split())
CALLED = st.sampled_from(sorted(FUNCTIONS - {"cast", "try_cast"}))


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    calls = st.builds("{}({})".format, CALLED, st.lists(inner, max_size=3).map(", ".join))
    return calls | st.builds("({} {} {})".format, inner, OPERATORS, inner)


@settings(max_examples=300)
@given(st.recursive(LEAVES, nested, max_leaves=8))
def test_what_is_taken_gives_a_row_the_value_that_it_has_alone(text: str) -> None:
    try:
        sql.check(text)
        sql.reads(text, NAMES)
        together = sql.evaluate(ROWS.lazy(), {"v": text}).collect()["v"].to_list()
    except (FulcrumError, pl.exceptions.PolarsError):
        return
    alone = [sql.evaluate(ROWS[i : i + 1].lazy(), {"v": text}).collect()["v"] for i in range(3)]
    assert str(together) == str([value for column in alone for value in column.to_list()])


WORDS = (*FUNCTIONS, *"select from table values with over as in ( ) [ ] , ; -- ' \" x y 1".split())


@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_text_is_taken_or_refused(text: str) -> None:
    with suppress(ConfigError):
        sql.check(text)
