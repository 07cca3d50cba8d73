"""Rows as JSON values into a typed frame, with an error that names the field."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError

Columns = Mapping[str, pl.DataType]
_LARGEST = float(np.finfo(np.float32).max)


def parse_rows(rows: Any, columns: Columns, what: str = "rows") -> pl.DataFrame:
    """A frame with exactly `columns` from a list of JSON objects; other fields are ignored.
    Dates and times stay text in ISO 8601: what they mean is the model's to say.

    Every field must be there, null where unknown. Raises DataError naming the row and the field."""
    if not isinstance(rows, list):
        raise DataError(f"{what}: expected a list of objects, got {_kind(rows)}")
    names = columns.keys()
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{what}[{i}]: expected an object, got {_kind(row)}")
        if not names <= row.keys():
            missing = next(name for name in columns if name not in row)
            raise DataError(f"{what}[{i}].{missing}: missing (null when unknown)")
    values = {name: [row[name] for row in rows] for name in columns}
    return parse_columns(values, columns, lambda name, i: f"{what}[{i}].{name}")


def parse_columns(
    values: Mapping[str, Sequence[Any]], columns: Columns, at: Callable[[str, int], str]
) -> pl.DataFrame:
    """A frame with exactly `columns` from a list of JSON values each. Raises DataError, in which
    `at(name, i)` says where the value stood."""
    series = []
    for name, dtype in columns.items():
        parsed = values[name]
        if not _fits(parsed, dtype):
            parsed = []
            for i, value in enumerate(values[name]):
                try:
                    parsed.append(_value(value, dtype))
                except ValueError as error:
                    raise DataError(f"{at(name, i)}: {error}") from None
        try:
            series.append(pl.Series(name, parsed, dtype=_spelled(dtype), strict=True))
        except (pl.exceptions.PolarsError, ArithmeticError, TypeError, ValueError) as error:
            raise DataError(f"{name}: not of type {dtype}: {error}") from error
    return pl.DataFrame(series)


def _fits(values: Sequence[Any], dtype: pl.DataType) -> bool:
    """Whether a look at the column as a whole says that every value is as Polars takes it."""
    kinds = set(map(type, values)) - {NoneType}
    if not kinds:
        return True
    if isinstance(dtype, pl.List | pl.Array):
        return kinds == {list} and _fits([*chain(*filter(None, values))], _inner(dtype))
    if dtype == pl.String:
        text = "".join(filter(None, values)) if kinds == {str} else "\0"
        return "\0" not in text and _is_unicode(text)
    if dtype.is_integer() or dtype.is_float():
        # Polars rounds a whole number to Float32 at once, `_number` by way of a Float64.
        allowed = {int} if dtype.is_integer() else {float} if dtype == pl.Float32 else {int, float}
        low, high = _range(dtype)
        numbers = [0, *filter(None, values)] if kinds <= allowed else [math.nan]
        return low <= min(numbers) and max(numbers) <= high and not math.isnan(sum(numbers))
    return dtype == pl.Boolean and kinds == {bool}


def _value(value: Any, dtype: pl.DataType) -> Any:
    """The value as Polars takes it for `dtype`; ValueError says what was expected."""
    # A column in which training saw no value has none of its own type.
    if value is None or dtype == pl.Null:
        return None
    if isinstance(dtype, pl.List | pl.Array):
        if not isinstance(value, list):
            raise _expected("a list", value)
        return [_value(item, _inner(dtype)) for item in value]
    if dtype.is_integer():
        return _whole(value, dtype)
    if dtype.is_float():
        return _number(value, dtype)
    if dtype == pl.Boolean:
        if not isinstance(value, bool):
            raise _expected("true or false", value)
        return value
    if dtype.is_temporal():
        return _moment(value, dtype)
    return _text(value)


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    inner = dtype.inner
    return inner() if isinstance(inner, type) else inner


def _whole(value: Any, dtype: pl.DataType) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _expected("a whole number", value)
    low, high = _range(dtype)
    if not low <= value <= high:
        raise ValueError(f"expected a whole number of type {dtype}, got one outside its range")
    return value


def _range(dtype: pl.DataType) -> tuple[float, float]:
    """The lowest and the highest value of a number's type."""
    if dtype.is_float():
        largest = _LARGEST if dtype == pl.Float32 else sys.float_info.max
        return -largest, largest
    bits = int("".join(c for c in str(dtype) if c.isdigit()))
    return (
        (0, 2**bits - 1)
        if dtype.is_unsigned_integer()
        else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )


def _number(value: Any, dtype: pl.DataType) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _expected("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("expected a finite number (null when unknown)")
    if abs(number) > _range(dtype)[1]:
        raise ValueError(f"expected a number of type {dtype}, got one outside its range")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _expected("a string", value)
    if not _is_unicode(value):
        raise ValueError("the string is not valid Unicode")
    if "\0" in value:
        # SQLite ends a text there.
        raise ValueError("the string holds a NUL character")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moment(value: Any, dtype: pl.DataType) -> str:
    if not isinstance(value, str):
        raise _expected("a time in ISO 8601", value)
    try:
        (time if dtype == pl.Time else datetime).fromisoformat(value)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a time in ISO 8601, got {value[:40]!r}") from None
    return value


def _spelled(dtype: pl.DataType) -> pl.DataType:
    """The type in which a column is parsed."""
    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(_spelled(_inner(dtype)))
    return pl.String() if dtype.is_temporal() else dtype


def _expected(what: str, value: Any) -> ValueError:
    return ValueError(f"expected {what}, got {_kind(value)}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
