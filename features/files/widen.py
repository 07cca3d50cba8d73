"""The type that holds the values of two types without loss."""

import polars as pl

_UNITS = ("ms", "us", "ns")


def value_type(dtype: pl.DataType) -> pl.DataType:
    """The type of the values, whatever they are stored as."""
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return pl.String()
    if isinstance(dtype, pl.Array | pl.List):
        return pl.List(value_type(_inner(dtype)))
    return dtype


def widen(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """None where there is no such type. Whole numbers beside floats are floats, and times beside
    finer ones as fine: whether the values fit is for `lost` to see."""
    if one == other or isinstance(other, pl.Null):
        return one
    if isinstance(one, pl.Null):
        return other
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        inner = widen(_inner(one), _inner(other))
        return None if inner is None else pl.List(inner)
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime):
        if one.time_zone != other.time_zone:
            return None
        return max(one, other, key=lambda dtype: _UNITS.index(dtype.time_unit))
    if one.is_integer() and other.is_integer():
        return _integer(one, other)
    if {type(one), type(other)} <= {pl.Float32, pl.Float64}:
        return pl.Float64()
    if one.is_numeric() and other.is_numeric() and (one.is_float() or other.is_float()):
        return pl.Float64()
    return None


def lost(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr | None:
    """The values that would be others in a wider type; None where there can be none."""
    if dtype.is_integer() and target.is_float():
        number = column.cast(pl.Int128)
        return column.filter((number > 2**53) | (number < -(2**53)))
    if isinstance(dtype, pl.Datetime) and dtype != target and "ns" in str(target):
        return column.filter(column.is_not_null() & column.cast(target, strict=False).is_null())
    return None


def _integer(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    signed = [dtype for dtype in (one, other) if dtype.is_signed_integer()]
    if len(signed) == 1 and pl.UInt64() in (one, other):
        return None
    if len(signed) == 1:
        return pl.Int128() if pl.Int128() in signed else pl.Int64()
    return max(one, other, key=lambda dtype: int(str(dtype).lstrip("UInt")))


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    inner = dtype.inner
    return inner() if isinstance(inner, type) else inner
