"""One way to write a value as text, so that 42, 42.0 and "42" are the same id."""

import polars as pl

from fulcrum.features.errors import DataError

_EXACT = 2**53


def text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """String form of a value of type `dtype`; lists are written element by element.

    Whole numbers are written without a fraction whatever their type, booleans as `true` and
    `false`, dates and times in ISO 8601; NaN is null. Raises DataError for types that are no ids.
    """
    if isinstance(dtype, pl.List):
        inner = dtype.inner
        element = text(pl.element(), inner() if isinstance(inner, type) else inner)
        return value.list.eval(element)
    if dtype.is_float():
        number = value.cast(pl.Float64).fill_nan(None)
        whole = (number == number.round()) & (number.abs() < _EXACT)
        as_whole = number.cast(pl.Int64, strict=False).cast(pl.String)
        return pl.when(whole).then(as_whole).otherwise(number.cast(pl.String))
    if isinstance(dtype, pl.String):
        return value
    others = pl.Boolean | pl.Null | pl.Categorical | pl.Enum
    if dtype.is_integer() or dtype.is_temporal() or isinstance(dtype, others):
        return value.cast(pl.String)
    raise DataError(f"values of type {dtype} are no ids")


def key_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Text of who or what a row is about; null for what names nobody: null, NaN and empty text.
    Raises as `text` does."""
    words = text(value, dtype)
    return pl.when(words != "").then(words)
