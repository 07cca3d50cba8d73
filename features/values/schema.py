"""Column types as text that people read and programs read back."""

import re
from collections.abc import Mapping
from typing import Literal

import polars as pl

_TYPES = {
    str(t): t()
    for t in (
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
        *(pl.Int128, pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Date, pl.Time, pl.Null),
    )
}
_LIST = re.compile(r"List\((.*)\)")
_UNITS: dict[str, Literal["ms", "us", "ns"]] = {"ms": "ms", "us": "us", "ns": "ns"}
_DATETIME = re.compile(r"Datetime\((ms|us|ns)(?:, (.*))?\)")


def dump_schema(schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    """Types by name, as text."""
    return {name: dump_type(dtype) for name, dtype in schema.items()}


def load_schema(texts: Mapping[str, str]) -> dict[str, pl.DataType]:
    """What `dump_schema` wrote."""
    return {name: load_type(text) for name, text in texts.items()}


def is_storable(dtype: pl.DataType) -> bool:
    """Whether a type can be written as text and read back: neither structs, durations nor bytes."""
    try:
        return load_type(dump_type(dtype)) == dtype
    except KeyError:
        return False


def dump_type(dtype: pl.DataType) -> str:
    """`Int64`, `List(String)`, `Datetime(us, UTC)`."""
    if isinstance(dtype, pl.Datetime):
        zone = f", {dtype.time_zone}" if dtype.time_zone else ""
        return f"Datetime({dtype.time_unit}{zone})"
    if isinstance(dtype, pl.List):
        inner = dtype.inner
        return f"List({dump_type(inner() if isinstance(inner, type) else inner)})"
    return str(dtype)


def load_type(text: str) -> pl.DataType:
    """What `dump_type` wrote."""
    if match := _LIST.fullmatch(text):
        return pl.List(load_type(match[1]))
    if match := _DATETIME.fullmatch(text):
        return pl.Datetime(_UNITS[match[1]], match[2])
    return _TYPES[text]
