"""Rows in the types that training saw, or a clear error."""

from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

from fulcrum.features.cause import first_line
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError, nearest
from fulcrum.features.raw.exact_cast import exact_cast
from fulcrum.features.raw.instant import is_no_hour, no_hour, shown

Schema = Mapping[str, pl.DataType]


def conform(
    rows: pl.LazyFrame,
    columns: Schema,
    what: str = "the rows",
    time: TimeConfig | None = None,
    origins: Mapping[str, str] = MappingProxyType({}),
) -> pl.LazyFrame:
    """Cast the named columns; others stay as they are.

    Only columns of another type are looked at (whole numbers sent as text, say), and the frame is
    read once for them. `time` says in which unit and zone times are counted, and `origins`,
    by column, where a type is from that is not from training. Raises DataError for a missing
    column, with the nearest name, and for a column with a value that is none of its type.
    """
    schema = rows.collect_schema()
    for name in columns:
        if name not in schema:
            raise DataError(f"{what} have no column `{name}`{nearest(name, schema)}")

    def unfit(name: str, value: object) -> DataError:
        origin = origins.get(name, "as in training")
        return _unfit(what, name, schema[name], columns[name], value, time, origin)

    casts: dict[str, pl.Expr] = {}
    zone = "UTC" if time is None else time.zone
    for name, dtype in columns.items():
        if schema[name] != dtype:
            unit = time.unit if time is not None and time.column == name else None
            cast = exact_cast(pl.col(name), schema[name], dtype, unit, zone)
            if cast is None:
                raise unfit(name, None)
            casts[name] = cast
    risky = {
        name: cast for name, cast in casts.items() if not _always_fits(schema[name], columns[name])
    }
    if risky:
        try:
            misfits = rows.select(
                _misfit(name, schema[name], cast) for name, cast in risky.items()
            ).collect()
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{what}: {first_line(error)}") from None
        for misfit in misfits:
            if misfit[0] is not None:
                raise unfit(misfit.name, misfit.to_list()[0])
    return rows.with_columns(cast.alias(name) for name, cast in casts.items())


def conform_frame(
    rows: pl.DataFrame, columns: Schema, what: str = "the rows", time: TimeConfig | None = None
) -> pl.DataFrame:
    """`conform` for rows in memory."""
    schema = rows.schema
    if all(schema.get(name) == dtype for name, dtype in columns.items()):
        return rows
    return conform(rows.lazy(), columns, what, time).collect()


def _unfit(
    what: str,
    name: str,
    dtype: pl.DataType,
    target: pl.DataType,
    value: object,
    time: TimeConfig | None,
    origin: str,
) -> DataError:
    zone = "UTC" if time is None else time.zone
    if isinstance(target, pl.Datetime) and isinstance(value, str) and is_no_hour(value, zone):
        return DataError(f"{what}: column `{name}` holds {value!r}, {no_hour(zone)}")
    fact = f"is {dtype}" if value is None else f"holds {value!r} as {dtype}"
    expected = f"expected values of type {target}"
    if time is not None and name == time.column:
        if isinstance(target, pl.String):
            expected = "expected text in ISO 8601"
        elif target.is_numeric() and time.unit is not None:
            expected += f", times in `{time.unit}` since 1970"
    return DataError(f"{what}: column `{name}` {fact}; {expected}, {origin}")


def _always_fits(dtype: pl.DataType, target: pl.DataType) -> bool:
    if isinstance(target, pl.String):
        plain = pl.Categorical | pl.Enum | pl.Boolean
        return dtype.is_numeric() or isinstance(dtype, plain | pl.Null)
    return isinstance(dtype, pl.Null) or isinstance(target, pl.Null)


def _misfit(name: str, dtype: pl.DataType, cast: pl.Expr) -> pl.Expr:
    """The first value that does not survive the cast, as a one-row column; null when all do."""
    column = pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)
    misfit = column.is_not_null() & cast.is_null()
    if isinstance(dtype, pl.List | pl.Array):
        values = column.arr.to_list() if isinstance(dtype, pl.Array) else column
        misfit |= values.list.drop_nulls().list.len() != cast.list.drop_nulls().list.len()
    return shown(column, dtype).filter(misfit).first().alias(name)
