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
    schema = rows.collect_schema()
    for name in columns:
        if name not in schema:
            raise DataError(f"{what} have no column `{name}`{nearest(name, schema)}")
    other = {name: dtype for name, dtype in columns.items() if schema[name] != dtype}
    if not other:
        return rows
    for name, dtype in other.items():
        if schema[name].is_nested() != dtype.is_nested() and not isinstance(schema[name], pl.Null):
            raise _unfit(what, name, schema[name], dtype)
    risky = {name: dtype for name, dtype in other.items() if not _always_fits(schema[name], dtype)}
    try:
        cast = {name: _cast(pl.col(name), schema[name], dtype) for name, dtype in other.items()}
        if risky:
            misfits = rows.select(
                _misfit(name, schema[name], cast[name]) for name in risky
            ).collect()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{what}: {str(error).splitlines()[0]}") from None
    for name, dtype in risky.items():
        if misfits[name][0] is not None:
            raise _unfit(what, name, schema[name], dtype, misfits[name].to_list()[0])
    return rows.with_columns(expr.alias(name) for name, expr in cast.items())


def _unfit(
    what: str, name: str, dtype: pl.DataType, target: pl.DataType, value: object = None
) -> DataError:
    fact = f"is {dtype}" if value is None else f"holds {value!r} as {dtype}"
    return DataError(f"{what}: column `{name}` {fact}; expected values of type {target}")


def _always_fits(dtype: pl.DataType, target: pl.DataType) -> bool:
    if isinstance(dtype, pl.Null) or isinstance(target, pl.Null):
        return True
    return (dtype.is_integer() and target.is_float()) or (
        isinstance(target, pl.String) and (dtype.is_numeric() or isinstance(dtype, pl.Boolean))
    )


def _cast(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    if isinstance(target, pl.Null):
        return pl.lit(None, pl.Null)
    if isinstance(target, pl.String) and not isinstance(dtype, pl.Null):
        return text(column, dtype)
    if dtype.is_float():
        column = column.fill_nan(None)
    if isinstance(dtype, pl.String) and isinstance(target, pl.Datetime):
        return column.str.to_datetime(
            time_unit=target.time_unit, time_zone=target.time_zone, strict=False
        )
    if isinstance(dtype, pl.String) and isinstance(target, pl.Date):
        return column.str.to_date(strict=False)
    if isinstance(dtype, pl.String) and isinstance(target, pl.Boolean):
        lower = column.str.to_lowercase()
        return (
            pl.when(lower.is_in(["true", "1"]))
            .then(True)
            .when(lower.is_in(["false", "0"]))
            .then(False)
        )
    return column.cast(target, strict=False)


def _misfit(name: str, dtype: pl.DataType, cast: pl.Expr) -> pl.Expr:
    """The first value that does not survive the cast, as a one-row column; null when all do."""
    column = pl.col(name)
    misfit = column.is_not_null() & cast.is_null()
    if dtype.is_float():
        near = (cast.cast(pl.Float64) - column.cast(pl.Float64)).abs() < _ROUNDING
        misfit = column.is_finite() & ~near.fill_null(False)
    if isinstance(dtype, pl.List):
        misfit |= column.list.drop_nulls().list.len() != cast.list.drop_nulls().list.len()
    return column.filter(misfit).first().alias(name)
