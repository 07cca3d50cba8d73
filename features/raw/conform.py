"""Rows in the types that training saw, or a clear error."""

from collections.abc import Mapping

import polars as pl

from fulcrum.features.errors import DataError, nearest
from fulcrum.features.values.text import text

Schema = Mapping[str, pl.DataType]

_ROUNDING = 1e-3
"""Largest change of a number that is still the same number in a narrower type."""


def conform(rows: pl.LazyFrame, columns: Schema, what: str = "the rows") -> pl.LazyFrame:
    """Cast the named columns; others stay as they are.

    Only columns of another type are looked at (whole numbers sent as text, say), and the frame is
    read once for them. Raises DataError for a missing column, with the nearest name, and for a
    column with a value that the type cannot hold.
    """
    given = rows.collect_schema()
    for name in columns:
        if name not in given:
            raise DataError(f"{what} have no column `{name}`{nearest(name, given)}")
    other = {name: dtype for name, dtype in columns.items() if given[name] != dtype}
    if not other:
        return rows
    for name, dtype in other.items():
        if given[name].is_nested() != dtype.is_nested() and not isinstance(given[name], pl.Null):
            raise _unfit(what, name, given[name], dtype)
    risky = {name: dtype for name, dtype in other.items() if not _always_fits(given[name], dtype)}
    try:
        cast = {name: _cast(pl.col(name), given[name], dtype) for name, dtype in other.items()}
        if risky:
            lost = rows.select(_lost(name, given[name], cast[name]) for name in risky).collect()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{what}: {str(error).splitlines()[0]}") from None
    for name, dtype in risky.items():
        if lost[name][0] is not None:
            raise _unfit(what, name, given[name], dtype, lost[name].to_list()[0])
    return rows.with_columns(expr.alias(name) for name, expr in cast.items())


def _unfit(
    what: str, name: str, given: pl.DataType, wanted: pl.DataType, value: object = None
) -> DataError:
    found = f"is {given}" if value is None else f"holds {value!r} as {given}"
    return DataError(f"{what}: column `{name}` {found}; expected values of type {wanted}")


def _always_fits(given: pl.DataType, wanted: pl.DataType) -> bool:
    if isinstance(given, pl.Null) or isinstance(wanted, pl.Null):
        return True
    return (given.is_integer() and wanted.is_float()) or (
        isinstance(wanted, pl.String) and (given.is_numeric() or isinstance(given, pl.Boolean))
    )


def _cast(column: pl.Expr, given: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    if isinstance(wanted, pl.Null):
        return pl.lit(None, pl.Null)
    if isinstance(wanted, pl.String) and not isinstance(given, pl.Null):
        return text(column, given)
    if given.is_float():
        column = column.fill_nan(None)
    if isinstance(given, pl.String) and isinstance(wanted, pl.Datetime):
        return column.str.to_datetime(
            time_unit=wanted.time_unit, time_zone=wanted.time_zone, strict=False
        )
    if isinstance(given, pl.String) and isinstance(wanted, pl.Date):
        return column.str.to_date(strict=False)
    if isinstance(given, pl.String) and isinstance(wanted, pl.Boolean):
        lower = column.str.to_lowercase()
        return (
            pl.when(lower.is_in(["true", "1"]))
            .then(True)
            .when(lower.is_in(["false", "0"]))
            .then(False)
        )
    return column.cast(wanted, strict=False)


def _lost(name: str, given: pl.DataType, cast: pl.Expr) -> pl.Expr:
    """The first value that does not survive the cast, as a one-row column; null when all do."""
    column = pl.col(name)
    lost = column.is_not_null() & cast.is_null()
    if given.is_float():
        near = (cast.cast(pl.Float64) - column.cast(pl.Float64)).abs() < _ROUNDING
        lost = column.is_finite() & ~near.fill_null(False)
    if isinstance(given, pl.List):
        lost |= column.list.drop_nulls().list.len() != cast.list.drop_nulls().list.len()
    return column.filter(lost).first().alias(name)
