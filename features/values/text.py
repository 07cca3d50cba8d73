"""One way to write a value as text, so that 42, 42.0 and "42" are the same id."""

from typing import Annotated

import polars as pl
from pydantic import BeforeValidator

from fulcrum.features.errors import DataError

_EXACT = 2**53

Word = Annotated[str | int, BeforeValidator(lambda v: str(v).lower() if isinstance(v, bool) else v)]
"""A value of a column as a config writes it; `true` is what `text` makes of it, and not 1."""


def is_id(dtype: pl.DataType) -> bool:
    """Whether `text` writes a value of this type as one id."""
    unfit = pl.Duration | pl.Struct | pl.List | pl.Array | pl.Binary | pl.Object
    return not isinstance(dtype, unfit)


def text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """String form of a value of type `dtype`; lists are written element by element.

    Whole numbers are written without a fraction whatever their type, decimals without final zeros,
    booleans as `true` and `false`, dates and times in ISO 8601; NaN is null. Raises DataError for
    types that are no ids.
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
    if isinstance(dtype, pl.Decimal):
        digits = value.cast(pl.String)
        return digits.str.replace(r"\.?0+$", "") if dtype.scale else digits
    if not is_id(dtype):
        raise DataError(f"values of type {dtype} are no ids")
    return value.cast(pl.String)


def no_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether `text` is null, without writing it."""
    return (value.fill_nan(None) if dtype.is_float() else value).is_null()


def key_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Text of who or what a row is about; null for what names nobody: null, NaN and empty text.
    Raises as `text` does."""
    words = text(value, dtype)
    return pl.when(words != "").then(words)
