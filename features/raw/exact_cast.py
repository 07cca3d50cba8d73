"""A value in another type: the same value, or none at all."""

import polars as pl

from fulcrum.features.declared.time import Unit
from fulcrum.features.raw.instant import NANOSECONDS, count
from fulcrum.features.values.text import text

_EXACT: dict[pl.DataType, int] = {pl.Float32(): 2**24, pl.Float64(): 2**53}
"""Up to it a float holds every whole number."""


def exact_cast(
    column: pl.Expr, dtype: pl.DataType, target: pl.DataType, unit: Unit | None, zone: str
) -> pl.Expr | None:
    """`column`, of type `dtype`, as `target`; null where the value has no counterpart there. None
    when no value of that type has one.

    Fractions become the nearest number of a narrower float type. Date-times without a zone are of
    `zone`; a number stands for a time, and a time for a number, only in a stated `unit`, which a
    column has that holds times: no Float32 does (`raw.instant.count`).
    """
    if unit is not None and dtype == pl.Float32:
        return None
    if isinstance(dtype, pl.Null) or isinstance(target, pl.Null):
        return pl.lit(None, target)
    if isinstance(dtype, pl.List | pl.Array) and isinstance(target, pl.List):
        element = exact_cast(pl.element(), _inner(dtype), _inner(target), unit, zone)
        as_list = column.arr.to_list() if isinstance(dtype, pl.Array) else column
        return None if element is None else as_list.list.eval(element)
    if dtype.is_nested() or target.is_nested():
        return None
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return exact_cast(column.cast(pl.String), pl.String(), target, unit, zone)
    if isinstance(target, pl.Duration) or isinstance(dtype, pl.Duration):
        return _to_duration(column, dtype, target)
    if isinstance(target, pl.Time) or isinstance(dtype, pl.Time):
        return _to_time_of_day(column, dtype, target)
    if isinstance(target, pl.Date | pl.Datetime):
        counted = count(column, dtype, unit, zone)
        return None if counted is None else _to_calendar(*counted, target, zone)
    if dtype.is_temporal():
        counted = count(column, dtype, unit, zone)
        return None if counted is None else _to_number(*counted, target, unit)
    return _to_plain(column, dtype, target)


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    inner = dtype.inner
    return inner() if isinstance(inner, type) else inner


def _to_plain(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr | None:
    """Numbers, booleans and text."""
    if not (dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.String)):
        return None  # bytes, objects and what libraries add
    if isinstance(target, pl.String):
        # A decimal fraction is spelled in more than one way; a whole one is not.
        if isinstance(dtype, pl.Decimal):
            return column.cast(pl.String) if dtype.scale == 0 else None
        return text(column, dtype)
    if isinstance(target, pl.Boolean):
        if isinstance(dtype, pl.String):
            lower = column.str.to_lowercase()
            return _either(lower.is_in(["true", "1"]), lower.is_in(["false", "0"]))
        return _either(column == 1, column == 0)
    if target.is_integer():
        return _to_whole(column, dtype, target)
    number = column.cast(pl.Float64, strict=False)
    if dtype.is_float():
        number = number.fill_nan(None)
    narrow = number.cast(target)
    return pl.when(narrow.is_finite() | number.is_infinite()).then(narrow)


def _to_whole(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    whole = column.cast(target, strict=False)
    if dtype.is_float():
        exact = column.abs() <= _EXACT.get(dtype, 2**11)
        return pl.when((column == column.round()) & exact).then(whole)
    if isinstance(dtype, pl.String):
        # `007` and `+7` are other texts than that of the number 7.
        return pl.when(whole.cast(pl.String) == column).then(whole)
    if isinstance(dtype, pl.Decimal):
        return pl.when(whole.cast(dtype, strict=False) == column).then(whole)
    return whole


def _either(true: pl.Expr, false: pl.Expr) -> pl.Expr:
    return pl.when(true).then(True).when(false).then(False)


def _to_calendar(
    number: pl.Expr, size: int, target: pl.Date | pl.Datetime, zone: str
) -> pl.Expr | None:
    if isinstance(target, pl.Date):
        local = _to_calendar(number, size, pl.Datetime("us"), zone)
        assert local is not None
        return pl.when(local.dt.truncate("1d") == local).then(local.dt.date())
    utc = _counted(number, size, NANOSECONDS[target.time_unit])
    moment = utc.cast(pl.Datetime(target.time_unit, "UTC"))
    if target.time_zone is not None:
        return moment.dt.convert_time_zone(target.time_zone)
    return moment.dt.convert_time_zone(zone).dt.replace_time_zone(None)


def _to_number(
    number: pl.Expr, size: int, target: pl.DataType, unit: Unit | None
) -> pl.Expr | None:
    if unit is None or not target.is_numeric():
        return None
    if target.is_float():
        return (number.cast(pl.Float64) * (size / NANOSECONDS[unit])).cast(target)
    return _counted(number, size, NANOSECONDS[unit]).cast(target, strict=False)


def _counted(number: pl.Expr, size: int, other: int) -> pl.Expr:
    """An Int64 number of `size` nanoseconds in one of `other`; null where that is no whole one."""
    if size >= other:
        return (number.cast(pl.Int128) * (size // other)).cast(pl.Int64, strict=False)
    return pl.when(number % (other // size) == 0).then(number // (other // size))


def _to_duration(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr | None:
    if not isinstance(dtype, pl.Duration) or not isinstance(target, pl.Duration):
        return None
    sizes = NANOSECONDS[dtype.time_unit], NANOSECONDS[target.time_unit]
    return _counted(column.to_physical(), *sizes).cast(target)


def _to_time_of_day(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr | None:
    if not isinstance(dtype, pl.String) or not isinstance(target, pl.Time):
        return None
    return column.str.to_time(strict=False)
