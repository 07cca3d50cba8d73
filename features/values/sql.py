"""Polars SQL expressions: what they read, and their values as columns.

An expression looks at one row at a time (`fulcrum.features.values.sql_grammar`), so a row's value
never depends on which other rows it is computed with. No text reaches Polars unchecked.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache

import polars as pl
from polars.exceptions import (
    ColumnNotFoundError,
    PanicException,
    PolarsError,
    SQLInterfaceError,
    SQLSyntaxError,
)

from fulcrum.features.cause import first_line
from fulcrum.features.errors import ConfigError, DataError, nearest
from fulcrum.features.values import sql_grammar

_MISSING = re.compile(r'unable to find column "(.*?)"; valid columns')
_FUNCTION = re.compile(r"unsupported function '(\w+)'")
_GUESSES = (pl.Null, pl.String, pl.Int64, pl.List(pl.String), pl.Datetime("us"))


def value(sql: str) -> str:
    """Name of the column that holds the value of an expression."""
    return f"={sql}"


def evaluate(frame: pl.LazyFrame, expressions: Mapping[str, str]) -> pl.LazyFrame:
    """Add one column per expression; the keys are their names."""
    if not expressions:
        return frame
    return frame.sql(f"SELECT *, {_items(expressions)} FROM self")


def _items(expressions: Mapping[str, str]) -> str:
    for sql in expressions.values():
        sql_grammar.check(sql)
    return ", ".join(f"({sql}) AS {_quote(name)}" for name, sql in expressions.items())


def compiled(
    expressions: Mapping[str, str], schema: Mapping[str, pl.DataType]
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """`evaluate` for any number of frames of one schema; parsed once, where that is the same.

    Raises as `evaluate` does when the schema does not fit."""
    rows = pl.LazyFrame(schema=schema)
    plan = rows.sql(f"SELECT {_items(expressions)} FROM self").explain(optimized=False)
    try:
        columns = [pl.sql_expr(f"({sql})").alias(name) for name, sql in expressions.items()]
        # SQL reads text beside a time as one when it knows types. A plan shows that, but for what
        # is in a `Series`.
        if "Series" not in plan and plan == rows.select(columns).explain(optimized=False):
            return lambda frame: frame.with_columns(columns)
    except (PolarsError, PanicException):
        pass
    return lambda frame: evaluate(frame.lazy(), expressions).collect()


def check(sql: str) -> None:
    """Raises ConfigError for what is no SQL expression over one row; needs no data."""
    sql_grammar.check(sql)
    try:
        pl.sql_expr(sql)
    except ColumnNotFoundError:
        pass  # names are looked up later, among the columns of the data
    except (PolarsError, PanicException) as error:
        reason = _reserved(sql, error) or first_line(error)
        raise ConfigError(f"`{sql}` is no SQL expression: {reason}") from None
    _discover(sql)


@lru_cache(maxsize=4096)
def mentions(sql: str) -> tuple[str, ...]:
    """Columns that an expression reads, as far as they can be told without knowing types."""
    return tuple(dict.fromkeys(name for names in _discover(sql) for name in names))


def reads(sql: str, schema: Mapping[str, pl.DataType]) -> tuple[tuple[str, ...], pl.DataType]:
    """Columns that an expression reads, and the type of its value.

    Raises DataError for a column that `schema` lacks and for types that do not fit.
    """
    columns: dict[str, pl.DataType] = {}
    while True:
        try:
            result = evaluate(_frame(columns), {value(sql): sql})
            return tuple(columns), result.collect().schema[value(sql)]
        except ColumnNotFoundError as error:
            name = _missing(error, columns)
            if name not in schema:
                hint = nearest(name, schema)
                if not hint and f'"{name}"' in sql:
                    hint = f"; text is written in single quotes, '{name}'"
                raise DataError(f"`{sql}`: there is no column `{name}`{hint}") from None
            columns[name] = schema[name]
        except (PolarsError, PanicException) as error:
            types = ", ".join(f"{name} {dtype}" for name, dtype in columns.items())
            raise DataError(
                f"`{sql}` does not fit its columns ({types}): {first_line(error)}"
            ) from None


def _discover(sql: str) -> Iterable[tuple[str, ...]]:
    """Names found with each guess of the columns' type, until one fits."""
    guesses = []
    for dtype in _GUESSES:
        columns: dict[str, pl.DataType | type[pl.DataType]] = {}
        guesses.append(columns)
        try:
            while True:
                try:
                    evaluate(_frame(columns), {value(sql): sql}).collect_schema()
                    return [tuple(columns)]
                except ColumnNotFoundError as error:
                    columns[_missing(error, columns)] = dtype
        except (SQLInterfaceError, SQLSyntaxError) as error:
            raise ConfigError(f"`{sql}` is no SQL expression: {first_line(error)}") from None
        except (PolarsError, PanicException):
            continue
    return [tuple(columns) for columns in guesses]


def _reserved(sql: str, error: BaseException) -> str | None:
    """Words such as `user` are functions of SQL, unless in double quotes."""
    match = _FUNCTION.search(str(error))
    if match is None or re.search(rf"\b{match[1]}\s*\(", sql, re.IGNORECASE):
        return None
    return f'{match[1]} is a word of SQL; for the column write "{match[1]}" in double quotes'


def _frame(columns: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.LazyFrame:
    """No rows of the columns and of one more, as an expression may read none."""
    return pl.LazyFrame(schema={"=": pl.Int64, **columns})


def _missing(error: ColumnNotFoundError, columns: Collection[str]) -> str:
    match = _MISSING.search(str(error))
    if match is None or match[1] in columns:
        raise ConfigError(first_line(error)) from None
    return match[1]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
